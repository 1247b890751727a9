//! Notices changes below a folder: one kernel watch for each folder in it.

use rustix::{
    fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags},
    io::Errno,
};
use std::{
    collections::BTreeSet,
    mem::MaybeUninit,
    os::fd::{AsRawFd, BorrowedFd, OwnedFd},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};
use tokio::sync::Notify;

/// Watches of one mirror: a kernel has some 60,000 to 500,000 for all of a user's programs.
const MAX_WATCHES: usize = 100_000;
/// Changed folders that are told one by one; above that everything is looked at.
const MAX_DIRTY: usize = 4096;
/// Bytes of events read at a time.
const BUFFER: usize = 64 << 10;
/// Bytes of the stack of the thread that reads them.
const STACK: usize = 256 << 10;

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
    fd: Arc<OwnedFd>,
    state: Arc<State>,
    limit: usize,
}

#[derive(Default)]
struct State {
    dirty: Mutex<Dirty>,
    changed: Notify,
    closed: AtomicBool,
}

impl Watcher {
    /// Begins without any watch.
    pub(crate) fn new() -> std::io::Result<Arc<Self>> {
        Self::with_limit(MAX_WATCHES)
    }

    pub(crate) fn with_limit(limit: usize) -> std::io::Result<Arc<Self>> {
        let fd = Arc::new(inotify::init(CreateFlags::CLOEXEC)?);
        let state = Arc::<State>::default();
        let (theirs, told) = (fd.clone(), state.clone());
        // A thread that sleeps in the kernel: events are read as they come, also while the folder is looked at, so
        // that few are lost.
        std::thread::Builder::new()
            .name("mirror-watch".to_owned())
            .stack_size(STACK)
            .spawn(move || told.read(&theirs))?;
        Ok(Arc::new(Self { fd, state, limit }))
    }

    /// Watches an open folder besides those `in_use`; one that is watched already keeps its number.
    pub(crate) fn add(&self, dir: BorrowedFd<'_>, in_use: usize) -> Result<i32, NoWatch> {
        if in_use >= self.limit {
            return Err(NoWatch::None);
        }
        // Through the handle: exactly the folder that was opened, whatever its name leads to by now.
        let path = format!("/proc/self/fd/{}", dir.as_raw_fd());
        match inotify::add_watch(&*self.fd, path, WHAT) {
            Ok(watch) => Ok(watch),
            Err(Errno::NOSPC | Errno::NOMEM) => Err(NoWatch::None),
            Err(e) => Err(NoWatch::Failed(e)),
        }
    }

    pub(crate) fn remove(&self, watch: i32) {
        let _ = inotify::remove_watch(&*self.fd, watch);
    }

    /// Waits for a change.
    pub(crate) async fn changed(&self) {
        self.state.changed.notified().await;
    }

    /// Takes what changed.
    pub(crate) fn take(&self) -> Dirty {
        std::mem::take(&mut *self.state.dirty())
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.state.closed.store(true, Ordering::Release);
        // The end of a watch is an event, which wakes the thread.
        if let Ok(watch) = inotify::add_watch(&*self.fd, "/", WatchFlags::DELETE_SELF) {
            let _ = inotify::remove_watch(&*self.fd, watch);
        }
    }
}

impl State {
    fn dirty(&self) -> MutexGuard<'_, Dirty> {
        self.dirty.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads events until nobody wants to know any more.
    fn read(&self, fd: &OwnedFd) {
        let mut buffer = vec![MaybeUninit::uninit(); BUFFER];
        let mut reader = Reader::new(fd, &mut buffer);
        while !self.closed.load(Ordering::Acquire) {
            let (watch, flags) = match reader.next() {
                Ok(event) => (event.wd(), event.events()),
                Err(Errno::INTR) => continue,
                Err(error) => {
                    tracing::warn!(%error, "changes of a mirrored folder cannot be read; it is looked at as a whole");
                    self.dirty().all = true;
                    self.changed.notify_one();
                    return;
                }
            };
            let mut dirty = self.dirty();
            if flags.contains(ReadFlags::QUEUE_OVERFLOW) || dirty.watches.len() >= MAX_DIRTY {
                dirty.all = true;
                dirty.watches.clear();
            } else if !dirty.all {
                dirty.watches.insert(watch);
            }
            drop(dirty);
            self.changed.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::{fs, os::fd::AsFd, time::Duration};

    async fn woken(watcher: &Watcher) {
        tokio::time::timeout(Duration::from_secs(30), watcher.changed())
            .await
            .unwrap();
    }

    #[tokio::test]
    async fn a_change_wakes_and_the_thread_ends_with_its_watcher() {
        let temp = tempfile::tempdir().unwrap();
        let watcher = Watcher::with_limit(1).unwrap();
        let dir = fs::File::open(temp.path()).unwrap();
        let watch = watcher.add(dir.as_fd(), 0).unwrap();
        assert_eq!(
            watcher.add(dir.as_fd(), 0),
            Ok(watch),
            "the same folder, the same watch"
        );
        assert_eq!(watcher.add(dir.as_fd(), 1), Err(NoWatch::None));
        fs::write(temp.path().join("x"), "x").unwrap();
        woken(&watcher).await;
        let dirty = watcher.take();
        assert_eq!(
            (dirty.watches.into_iter().collect::<Vec<_>>(), dirty.all),
            (vec![watch], false)
        );
        let state = watcher.state.clone();
        drop(watcher);
        let ended = tokio::task::spawn_blocking(move || {
            let until = std::time::Instant::now() + Duration::from_secs(30);
            while Arc::strong_count(&state) > 1 && std::time::Instant::now() < until {
                std::thread::yield_now();
            }
            Arc::strong_count(&state)
        });
        assert_eq!(ended.await.unwrap(), 1);
    }
}
