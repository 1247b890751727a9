//! Hands sled's changes to the operating system from one thread: callers at the same time share one flush, and a
//! flush that never ends becomes an error.
//!
//! sled 0.34 can leave a flush waiting for ever after a failed write (the writer sets its error without waking the
//! waiter), so nobody but this thread may wait for it.

use std::{
    sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    thread::{self, JoinHandle},
    time::Duration,
};

/// Callers that may wait for their turn: more than there are threads that write to a journal.
const MAX_WAITING: usize = 1024;
/// How long a flush may take: far beyond a busy disk, so that passing it means it never ends.
const DEADLINE: Duration = Duration::from_secs(30);

type Reply = SyncSender<Result<(), sled::Error>>;

/// Why a flush failed.
#[derive(Debug)]
pub(super) enum FlushFault {
    /// sled says so.
    Sled(sled::Error),
    /// It did not end in time; the journal is of no more use in this process.
    Stuck(Duration),
    /// The thread is gone, or has a full queue of callers that gave up.
    Gone,
}

#[derive(Debug)]
pub(super) struct Flusher {
    requests: Option<SyncSender<Reply>>,
    thread: Option<JoinHandle<()>>,
    deadline: Duration,
}

impl Flusher {
    pub(super) fn start(db: sled::Db) -> std::io::Result<Self> {
        let (requests, incoming) = sync_channel(MAX_WAITING);
        let thread = thread::Builder::new()
            .name("journal-flush".into())
            .spawn(move || run(&db, &incoming))?;
        Ok(Self {
            requests: Some(requests),
            thread: Some(thread),
            deadline: DEADLINE,
        })
    }

    #[cfg(test)]
    pub(super) fn set_deadline(&mut self, deadline: Duration) {
        self.deadline = deadline;
    }

    /// Waits until everything written before this call is with the operating system.
    pub(super) fn flush(&self) -> Result<(), FlushFault> {
        let (reply, answer) = sync_channel(1);
        let requests = self.requests.as_ref().ok_or(FlushFault::Gone)?;
        // Sending must not block: behind a stuck flush it would do so for ever.
        requests.try_send(reply).map_err(|_| FlushFault::Gone)?;
        match answer.recv_timeout(self.deadline) {
            Ok(result) => result.map_err(FlushFault::Sled),
            Err(RecvTimeoutError::Timeout) => Err(FlushFault::Stuck(self.deadline)),
            Err(RecvTimeoutError::Disconnected) => Err(FlushFault::Gone),
        }
    }
}

impl Drop for Flusher {
    fn drop(&mut self) {
        // Its handle on the database must be gone before the next open, unless it will never end.
        let alive = self.flush().is_ok();
        self.requests = None;
        if let Some(thread) = self.thread.take().filter(|t| alive || t.is_finished()) {
            let _ = thread.join();
        }
    }
}

fn run(db: &sled::Db, incoming: &Receiver<Reply>) {
    while let Ok(first) = incoming.recv() {
        // All who asked before the flush begins are served by it.
        let waiting: Vec<Reply> = std::iter::once(first)
            .chain(incoming.try_iter().take(MAX_WAITING))
            .collect();
        let result = db.flush().map(|_| ());
        for reply in waiting {
            // A caller that gave up does not listen any more.
            let _ = reply.try_send(result.clone());
        }
    }
}
