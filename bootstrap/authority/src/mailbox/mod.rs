//! The mailbox at work: notices for members who are away, on the disk before anybody is told that they are kept.
//!
//! Owns its folder, its thread and its handle; what is kept for whom is decided by `hive_mailbox`. Survives the death
//! of the process. It is no part of the ledger: damage here costs mail, which its senders still have, and nothing
//! else.

mod disk;
mod handle;
mod worker;

pub use handle::{Answered, MailboxHandle};

use crate::service::{AuthorityHandle, Clock};
use disk::Disk;
use std::{path::Path, sync::mpsc, thread};

/// Requests that may wait for the mailbox's thread: at most some 20 KiB each.
pub(crate) const MAX_WAITING: usize = 256;

/// Why the mailbox does not open or does not write.
#[derive(Debug, thiserror::Error)]
pub enum MailboxError {
    /// sled.
    #[error("mailbox: {0}")]
    Sled(#[from] sled::Error),
    /// sled ended by a panic, as it does on some damage.
    #[error("mailbox: sled gave up")]
    Panic,
    /// Too little room.
    #[error("mailbox: too little space left on the disk")]
    Full,
    /// The file system refuses.
    #[error("mailbox: {0}")]
    Io(#[from] std::io::Error),
}

impl MailboxError {
    /// The stable code.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Full => "store.disk_full",
            _ => "mailbox.disk",
        }
    }
}

/// What opening found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MailboxReport {
    /// Notices kept.
    pub notices: usize,
    /// Their bytes.
    pub bytes: usize,
    /// Records that are of no use: damaged, or without what they belong to.
    pub damaged: usize,
    /// Whether the old folder could not be read and was moved aside.
    pub moved_aside: bool,
}

/// A running mailbox. Dropping it stops it.
pub struct Mailbox {
    handle: MailboxHandle,
    thread: Option<thread::JoinHandle<()>>,
}

impl Mailbox {
    /// Opens the mailbox in this folder and starts its thread. A folder that cannot be read is moved to `<dir>.bad`
    /// and a new one begun.
    ///
    /// # Errors
    /// `mailbox.disk`.
    pub fn open(
        dir: &Path,
        authority: AuthorityHandle,
        clock: Clock,
    ) -> Result<(Self, MailboxReport), MailboxError> {
        let (disk, moved_aside) = Disk::open(dir)?;
        let now = clock();
        let (core, damaged) = disk.load(now)?;
        let (notices, bytes) = core.size();
        let report = MailboxReport {
            notices,
            bytes,
            damaged,
            moved_aside,
        };
        let (jobs, rx) = mpsc::sync_channel(MAX_WAITING);
        let own_clock = std::sync::Arc::clone(&clock);
        let thread = thread::Builder::new()
            .name("hive-mailbox".into())
            .spawn(move || worker::run(&disk, core, &own_clock, &rx))?;
        let mailbox = Self {
            handle: MailboxHandle::new(authority, clock, jobs),
            thread: Some(thread),
        };
        Ok((mailbox, report))
    }

    /// The handle everybody asks; cheap to clone.
    #[must_use]
    pub fn handle(&self) -> MailboxHandle {
        self.handle.clone()
    }
}

impl Drop for Mailbox {
    fn drop(&mut self) {
        if self.handle.stop()
            && let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!(target: "hive_authority", "the mailbox's thread ended by a panic");
        }
    }
}
