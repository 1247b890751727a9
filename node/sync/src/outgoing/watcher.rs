//! Notices changes below a folder: one kernel watch for each folder in it.

use rustix::{
    fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags},
    io::Errno,
};
use std::{
    collections::BTreeSet,
    mem::MaybeUninit,
    os::fd::{AsRawFd, BorrowedFd, OwnedFd},
    sync::{Arc, Mutex, PoisonError},
};
use tokio::{io::unix::AsyncFd, sync::Notify};

/// Watches of one mirror: a kernel has some 60,000 to 500,000 for all of a user's programs.
const MAX_WATCHES: usize = 100_000;
/// Changed folders that are told one by one; above that everything is looked at.
const MAX_DIRTY: usize = 4096;
/// Bytes of events read at a time.
const BUFFER: usize = 64 << 10;

const WHAT: WatchFlags = WatchFlags::CREATE
    .union(WatchFlags::DELETE)
    .union(WatchFlags::MODIFY)
    .union(WatchFlags::ATTRIB)
    .union(WatchFlags::CLOSE_WRITE)
    .union(WatchFlags::MOVED_FROM)
    .union(WatchFlags::MOVED_TO)
    .union(WatchFlags::DELETE_SELF)
    .union(WatchFlags::MOVE_SELF)
    .union(WatchFlags::EXCL_UNLINK)
    .union(WatchFlags::ONLYDIR);

/// Why there is no watch for a folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoWatch {
    /// All are used up.
    None,
    /// The folder cannot be watched.
    Failed(Errno),
}

/// What changed since it was last asked.
#[derive(Debug, Default)]
pub(crate) struct Dirty {
    /// Watches of the folders in which something changed.
    pub(crate) watches: BTreeSet<i32>,
    /// Some were lost: everything may have changed.
    pub(crate) all: bool,
}

/// The watches of one mirror.
pub(crate) struct Watcher {
    fd: AsyncFd<OwnedFd>,
    dirty: Mutex<Dirty>,
    changed: Notify,
    limit: usize,
}

impl Watcher {
    /// Begins without any watch; must be called inside a runtime.
    pub(crate) fn new() -> std::io::Result<Arc<Self>> {
        Self::with_limit(MAX_WATCHES)
    }

    pub(crate) fn with_limit(limit: usize) -> std::io::Result<Arc<Self>> {
        let fd = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
        let watcher = Arc::new(Self {
            fd: AsyncFd::new(fd)?,
            dirty: Mutex::default(),
            changed: Notify::new(),
            limit,
        });
        tokio::spawn(read(Arc::downgrade(&watcher)));
        Ok(watcher)
    }

    /// Watches an open folder besides those `in_use`; one that is watched already keeps its number.
    pub(crate) fn add(&self, dir: BorrowedFd<'_>, in_use: usize) -> Result<i32, NoWatch> {
        if in_use >= self.limit {
            return Err(NoWatch::None);
        }
        // Through the handle: exactly the folder that was opened, whatever its name leads to by now.
        let path = format!("/proc/self/fd/{}", dir.as_raw_fd());
        match inotify::add_watch(self.fd.get_ref(), path, WHAT) {
            Ok(watch) => Ok(watch),
            Err(Errno::NOSPC | Errno::NOMEM) => Err(NoWatch::None),
            Err(e) => Err(NoWatch::Failed(e)),
        }
    }

    pub(crate) fn remove(&self, watch: i32) {
        let _ = inotify::remove_watch(self.fd.get_ref(), watch);
    }

    /// Waits for a change.
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Takes what changed.
    pub(crate) fn take(&self) -> Dirty {
        std::mem::take(&mut *self.dirty.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Reads what the kernel has; true when there was something.
    fn drain(&self) -> Result<bool, Errno> {
        let mut buffer = vec![MaybeUninit::uninit(); BUFFER];
        let mut reader = Reader::new(self.fd.get_ref(), &mut buffer);
        let mut any = false;
        loop {
            let event = match reader.next() {
                Ok(event) => event,
                Err(Errno::AGAIN) => return Ok(any),
                Err(Errno::INTR) => continue,
                Err(e) => return Err(e),
            };
            any = true;
            let mut dirty = self.dirty.lock().unwrap_or_else(PoisonError::into_inner);
            if event.events().contains(ReadFlags::QUEUE_OVERFLOW) || dirty.watches.len() >= MAX_DIRTY {
                dirty.all = true;
                dirty.watches.clear();
            } else if !dirty.all {
                dirty.watches.insert(event.wd());
            }
        }
    }
}

/// Reads events as they come, also while the folder is being looked at, so that few are lost.
async fn read(watcher: std::sync::Weak<Watcher>) {
    /// How often it is looked whether anybody still wants to know.
    const LOOK: std::time::Duration = std::time::Duration::from_secs(5);
    while let Some(watcher) = watcher.upgrade() {
        let ready = tokio::time::timeout(LOOK, watcher.fd.readable()).await;
        let Ok(Ok(mut ready)) = ready else { continue };
        match watcher.drain() {
            Ok(any) => {
                ready.clear_ready();
                if any {
                    watcher.changed.notify_one();
                }
            }
            Err(error) => {
                tracing::warn!(%error, "changes of a mirrored folder cannot be read; it is looked at as a whole");
                watcher.dirty.lock().unwrap_or_else(PoisonError::into_inner).all = true;
                watcher.changed.notify_one();
                return;
            }
        }
    }
}
