//! One mirror that is sent: looks at its folder when something changed, and announces what it finds.

use super::{
    folder::Tree,
    kit::{Kit, Order, View, name, tag},
    listing::Listing,
    port::{Added, MirrorView, NewState, OutState},
    watcher::{Dirty, Watcher},
};
use crate::{error::SyncError, incoming::MAX_NAMED, rows::OutRow};
use hive_protocol::{
    ids::{BlobHash, NoticeId},
    manifest::Manifest,
    notice::{FileNotice, SyncState},
    time::{Millis, Timestamp},
};
use hive_transfer::mirror::Debounce;
use std::{
    path::PathBuf,
    sync::{Arc, PoisonError, atomic::Ordering},
    time::{Duration, Instant},
};
use tokio::sync::mpsc;

/// A watched folder is looked at as a whole so often all the same: file systems of other machines tell nothing.
const WHOLE_LOOK: Duration = Duration::from_secs(300);
/// A folder that cannot be watched is looked at so often, at least.
const POLL: Duration = Duration::from_secs(5);
/// Looking takes at most this part of the time.
const SHARE: u32 = 20;
/// What was being written is looked at again after this.
const AGAIN: Duration = Duration::from_millis(500);
/// The first and the longest pause after a state could not be handed over, or the folder is not there.
const PAUSES: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(60));

/// The mirror.
pub(crate) struct Mirror {
    kit: Kit,
    row: OutRow,
    view: View,
    dir: PathBuf,
    orders: mpsc::Receiver<Order>,
    watcher: Option<Arc<Watcher>>,
    tree: Option<Tree>,
    /// The state that was announced last, or is to be.
    manifest: Option<Arc<Manifest>>,
    debounce: Debounce,
    began: Instant,
    /// When to look at everything without a cause.
    next_look: Option<Instant>,
    /// When to look again at what was being written, or try again.
    again: Option<Instant>,
    pause: Duration,
    empty_once: bool,
    /// How long the last look took.
    took: Duration,
}

/// What one look came to.
struct Looked {
    tree: Tree,
    result: Result<(Listing, Added), SyncError>,
}

impl Mirror {
    pub(crate) fn new(kit: Kit, row: OutRow, view: View, orders: mpsc::Receiver<Order>) -> Self {
        Self {
            dir: PathBuf::from(&row.dir),
            kit,
            row,
            view,
            orders,
            watcher: None,
            tree: None,
            manifest: None,
            debounce: Debounce::default(),
            began: Instant::now(),
            next_look: None,
            again: None,
            pause: PAUSES.0,
            empty_once: false,
            took: Duration::ZERO,
        }
    }

    /// Goes on until it is stopped.
    pub(crate) async fn run(mut self) {
        self.recall().await;
        self.rewatch();
        let mut dirty = Dirty {
            all: true,
            ..Dirty::default()
        };
        loop {
            self.turn(dirty).await;
            if self.kit.cancel.load(Ordering::Relaxed) {
                return;
            }
            match self.wait().await {
                Some(next) => dirty = next,
                None => return,
            }
        }
    }

    /// Gets the state that was announced last: what cannot be read now is taken from it.
    async fn recall(&mut self) {
        let Some(root) = self.row.root else { return };
        let library = self.kit.library.clone();
        let manifest = tokio::task::spawn_blocking(move || library.manifest(&root)).await;
        self.manifest = manifest.ok().flatten().map(Arc::new);
    }

    fn rewatch(&mut self) {
        self.watcher = None;
        self.tree = None;
        if self.row.watch {
            match Watcher::new() {
                Ok(watcher) => self.watcher = Some(watcher),
                Err(error) => tracing::warn!(%error, "changes of mirrored folders cannot be watched"),
            }
        }
    }

    fn show(&self, change: impl FnOnce(&mut MirrorView)) {
        let mut view = self.view.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut view);
        view.changed = (self.kit.clock)();
        drop(view);
        self.kit.ticks.send_modify(|n| *n = n.wrapping_add(1));
    }

    /// Looks and announces.
    async fn turn(&mut self, dirty: Dirty) {
        self.again = None;
        self.show(|v| (v.state, v.detail) = (OutState::Scanning, String::new()));
        let done = self.look_and_send(dirty).await;
        let now = Instant::now();
        match done {
            Ok(()) => self.pause = PAUSES.0,
            Err(SyncError::Closed) => return,
            Err(error) => {
                tracing::warn!(dir = %self.dir.display(), code = error.code(), %error, "a mirror does not go on");
                self.show(|v| {
                    (v.state, v.detail) = (OutState::Blocked, format!("{}: {error}", error.code()))
                });
                // Those wait for somebody to do something, which is noticed or asked for.
                let patient = matches!(error, SyncError::SourceEmptied { .. } | SyncError::Unsafe { .. });
                self.again = (!patient).then(|| now + self.pause);
                self.pause = (self.pause * 2).min(PAUSES.1);
            }
        }
        let polling = self.tree.as_ref().is_none_or(|t| t.unwatched) || self.watcher.is_none();
        let pause = if polling { POLL } else { WHOLE_LOOK };
        self.next_look = self.row.watch.then(|| now + pause.max(self.took * SHARE));
    }

    async fn look_and_send(&mut self, dirty: Dirty) -> Result<(), SyncError> {
        let began = Instant::now();
        let looked = self.look(dirty).await?;
        self.took = began.elapsed();
        let unwatched = looked.tree.unwatched || self.watcher.is_none();
        self.tree = Some(looked.tree);
        let (listing, added) = looked.result?;
        if self.row.seq == 0
            && !self.row.skip_unsafe
            && let Some((path, why)) = listing.skipped.first()
        {
            let (path, why) = (path.clone(), why.clone());
            self.kit.library.release(&added.root, &tag(&self.row.id));
            return Err(SyncError::Unsafe { path, why });
        }
        if listing.hot || added.failed.iter().any(|(_, _, passing)| *passing) {
            self.again = Some(Instant::now() + AGAIN);
        }
        let skipped: Vec<String> = listing
            .skipped
            .iter()
            .map(|(path, why)| format!("{path}: {why}"))
            .chain(added.failed.iter().map(|(path, why, _)| format!("{path}: {why}")))
            .collect();
        self.show(|v| {
            v.skipped_count = skipped.len();
            v.skipped = skipped.into_iter().take(MAX_NAMED).collect();
        });
        self.announce(added).await?;
        let (watching, polling) = (self.row.watch, self.row.watch && unwatched);
        self.show(|v| {
            v.state = if polling {
                OutState::Polling
            } else {
                OutState::Sent
            };
            v.detail = match (watching, polling) {
                (_, true) => {
                    "not all of its folders can be watched (fs.inotify.max_user_watches): changes are \
                              found by looking every few seconds"
                        .to_owned()
                }
                _ => String::new(),
            };
        });
        Ok(())
    }

    /// Looks at the folder and has its files hashed, on a thread that may block.
    async fn look(&mut self, dirty: Dirty) -> Result<Looked, SyncError> {
        let mut tree = self
            .tree
            .take()
            .unwrap_or_else(|| Tree::new(&self.dir, self.watcher.clone()));
        let (library, cancel, older) = (
            self.kit.library.clone(),
            self.kit.cancel.clone(),
            self.manifest.clone(),
        );
        let (dir, tag) = (self.dir.clone(), tag(&self.row.id));
        let now_ns = i64::try_from((self.kit.clock)().0)
            .unwrap_or(i64::MAX)
            .saturating_mul(1_000_000);
        let work = move || {
            let result = tree.look(dirty, &cancel).and_then(|()| {
                let mut listing = tree.list(older.as_deref(), now_ns);
                let found = std::mem::take(&mut listing.found);
                Ok((listing, library.add(&dir, found, &tag, &cancel)?))
            });
            Looked { tree, result }
        };
        tokio::task::spawn_blocking(work)
            .await
            .map_err(|e| SyncError::Content {
                code: "sync.io",
                text: format!("looking at the folder broke off: {e}"),
            })
    }

    /// Hands a new state over, if it is one.
    async fn announce(&mut self, added: Added) -> Result<(), SyncError> {
        let manifest = Arc::new(added.manifest);
        let known = self.row.root == Some(added.root);
        let allowed = self.row.allow_empty || std::mem::take(&mut self.empty_once);
        // Rather a disk that is not mounted than a wish.
        if !known && !allowed && self.row.files > 0 && manifest.files() == 0 {
            self.kit.library.release(&added.root, &tag(&self.row.id));
            return Err(SyncError::SourceEmptied {
                dir: self.dir.clone(),
            });
        }
        if !known {
            let mut row = self.row.clone();
            row.seq += 1;
            let previous = row.root.replace(added.root);
            let replaces = row.notice.take();
            row.changed = (self.kit.clock)();
            row.files = manifest.files() as u64;
            // Written before it is sent: a number is never given to two states.
            self.kit.rows.put_out(&row)?;
            self.row = row;
            self.manifest = Some(manifest.clone());
            self.show_state(&manifest);
            self.hand_over(&manifest, previous, replaces).await?;
            if let Some(previous) = previous {
                self.kit.library.release(&previous, &tag(&self.row.id));
            }
        } else if self.row.notice.is_none() {
            self.manifest = Some(manifest.clone());
            self.hand_over(&manifest, None, None).await?;
        } else {
            self.manifest = Some(manifest.clone());
            self.show_state(&manifest);
        }
        Ok(())
    }

    fn show_state(&self, manifest: &Manifest) {
        let row = &self.row;
        self.show(|v| {
            (v.seq, v.root, v.notice) = (row.seq, row.root, row.notice);
            v.files = manifest.files() as u64;
            v.entries = manifest.entries.len() as u64;
            v.size = manifest.total_bytes();
        });
    }

    async fn hand_over(
        &mut self,
        manifest: &Manifest,
        previous: Option<BlobHash>,
        replaces: Option<NoticeId>,
    ) -> Result<(), SyncError> {
        let Some(root) = self.row.root else { return Ok(()) };
        let state = NewState {
            id: self.row.id,
            dir: self.dir.clone(),
            to: self.row.to.clone(),
            notice: FileNotice {
                root,
                folder: true,
                size: manifest.total_bytes(),
                files: manifest.files() as u64,
                name: name(&self.dir),
                sync: Some(SyncState {
                    sync: self.row.id,
                    seq: self.row.seq,
                    previous,
                    versions: self.row.versions,
                }),
            },
            replaces,
            previous,
        };
        let notice = self
            .kit
            .sender
            .send(state)
            .await
            .map_err(|why| SyncError::NotSent {
                dir: self.dir.clone(),
                why,
            })?;
        self.row.notice = Some(notice);
        self.kit.rows.put_out(&self.row)?;
        self.show_state(manifest);
        Ok(())
    }

    fn clock(&self) -> Timestamp {
        // Of this process, not of the day: nobody can set it back.
        Timestamp(u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX))
    }

    /// Waits until there is something to look at; `None` at the end.
    async fn wait(&mut self) -> Option<Dirty> {
        let all = || Dirty {
            all: true,
            ..Dirty::default()
        };
        loop {
            let ripe = self
                .debounce
                .due()
                .map(|at| Millis(at.0.saturating_sub(self.clock().0)).0);
            let now = Instant::now();
            let until = [
                ripe.map(|ms| now + Duration::from_millis(ms)),
                self.next_look,
                self.again,
            ];
            let until = until.into_iter().flatten().min().unwrap_or(now + WHOLE_LOOK);
            let watcher = self.watcher.clone();
            let changed = async {
                match &watcher {
                    Some(watcher) => watcher.changed().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                order = self.orders.recv() => match order {
                    None | Some(Order::Stop) => return None,
                    Some(order) => if self.obey(order) { return Some(all()) },
                },
                () = changed => self.debounce.change(self.clock()),
                () = tokio::time::sleep_until(until.into()) => {
                    let now = Instant::now();
                    if self.debounce.take(self.clock()) {
                        return Some(self.watcher.as_ref().map_or_else(all, |w| w.take()));
                    }
                    if self.again.is_some_and(|at| at <= now) || self.next_look.is_some_and(|at| at <= now) {
                        return Some(all());
                    }
                }
            }
        }
    }

    /// Does as asked; true when everything is to be looked at.
    fn obey(&mut self, order: Order) -> bool {
        match order {
            Order::Look { allow_empty, begun } => {
                self.empty_once |= allow_empty;
                self.show(|v| (v.state, v.detail) = (OutState::Scanning, String::new()));
                let _ = begun.send(());
            }
            Order::Recipients(to) => {
                if self.row.to == to {
                    return false;
                }
                self.row.to.clone_from(&to);
                // The state is handed over again, to all: those who have it are done at once.
                self.row.notice = None;
                self.keep();
                self.show(|v| (v.to, v.state) = (to, OutState::Scanning));
            }
            Order::Watch(watch, versions) => {
                if (self.row.watch, self.row.versions) == (watch, versions) {
                    return false;
                }
                (self.row.watch, self.row.versions) = (watch, versions);
                self.keep();
                self.rewatch();
                self.show(|v| (v.watch, v.versions) = (watch, versions));
            }
            Order::Stop => {}
        }
        true
    }

    fn keep(&self) {
        if let Err(error) = self.kit.rows.put_out(&self.row) {
            tracing::warn!(%error, "a change of a mirror could not be written down");
        }
    }
}
