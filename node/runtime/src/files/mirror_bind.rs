//! Joins the mirror engine with the engines that send notices and move bytes.

use super::{
    desk::Desk,
    puller::{free_bytes, make_parent, place_below},
};
use futures::future::BoxFuture;
use hive_files::{Audience, Files, PullRequest, Target, Wanted};
use hive_protocol::{
    ids::{BlobHash, NoticeId},
    manifest::{MAX_MANIFEST, Manifest},
    notice::{NoticeBody, Priority},
    time::Millis,
};
use hive_push::{Order, Puller, Push};
use hive_sync::{FetchFault, FetchFile, Fetcher, Incoming, NewState, Offer, Origin, Sender};
use std::{
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
};
use tokio::sync::watch;

/// How long a state of a mirror waits for absent receivers.
const STATE_LIFE: Millis = Millis::secs(30 * 24 * 3600);
/// Why content is kept: it is the state of a mirror here.
const MIRRORED: &str = "mirrored";
/// Permission bits of what is fetched, until the mirror gives it its own.
const FETCHED_MODE: u32 = 0o600;

/// Sends states of one's own mirrors.
pub(super) struct StateSender {
    pub(super) files: Files,
    pub(super) push: Push,
}

impl Sender for StateSender {
    fn send(&self, state: NewState) -> BoxFuture<'static, Result<NoticeId, String>> {
        let (files, push) = (self.files.clone(), self.push.clone());
        Box::pin(async move {
            let audience = Audience::Nodes(state.to.iter().copied().collect());
            let root = state.notice.root;
            files.share(root, audience).await.map_err(|e| e.to_string())?;
            let id = push
                .send(hive_push::Outgoing {
                    body: NoticeBody::File(state.notice),
                    to: state.to,
                    priority: Priority::Normal,
                    life: Some(STATE_LIFE),
                })
                .await
                .map_err(|e| e.to_string())?;
            if let Some(old) = state.replaces
                && let Err(e) = push.cancel(old).await
            {
                // Receivers drop an older state than the newest they know.
                tracing::debug!(target: "hive_runtime::files", code = e.code(), "cannot take back an older state: {e}");
            }
            // Whoever is still at the state before goes on with this one; its files are in both.
            if let Some(previous) = state.previous.filter(|p| *p != root)
                && let Err(e) = files.unshare(&previous).await
            {
                tracing::debug!(target: "hive_runtime::files", code = e.code(), "an older state stays shared: {e}");
            }
            Ok(id)
        })
    }
}

/// Fetches what a mirror wants.
pub(super) struct MirrorFetcher {
    pub(super) files: Files,
    pub(super) desk: Desk,
}

fn fault(e: &hive_files::PullError) -> FetchFault {
    FetchFault {
        code: e.code().to_owned(),
        text: e.to_string(),
        disk_full: matches!(e.code(), "store.disk_full" | "store.quota"),
    }
}

impl MirrorFetcher {
    fn hints(&self, origin: &Origin) -> Vec<hive_files::Hint> {
        let mut nodes = origin.hints.iter().copied();
        let mut hints = self.desk.hints(nodes.next(), true);
        hints.extend(self.desk.hints(nodes, false));
        hints
    }
}

impl Fetcher for MirrorFetcher {
    fn manifest(
        &self,
        origin: &Origin,
        _like: Option<BlobHash>,
    ) -> BoxFuture<'static, Result<Manifest, FetchFault>> {
        let (files, root, hints) = (self.files.clone(), origin.root, self.hints(origin));
        Box::pin(async move {
            files
                .manifest(root, hints, MAX_MANIFEST as u64)
                .await
                .map(Arc::unwrap_or_clone)
                .map_err(|e| fault(&e))
        })
    }

    fn fetch(
        &self,
        origin: &Origin,
        wanted: Vec<FetchFile>,
        progress: Arc<dyn Fn(u64) + Send + Sync>,
        mut stop: watch::Receiver<bool>,
    ) -> BoxFuture<'static, Result<(), FetchFault>> {
        // Each file has a path of its own; the folder they have in common stands for all in the list of transfers.
        let common = wanted.first().and_then(|f| f.path.parent()).map(Path::to_owned);
        let target = common.map_or(Target::Store, Target::Path);
        let mut pull = PullRequest::new(origin.root, true, target);
        pull.hints = self.hints(origin);
        pull.priority = origin.priority;
        pull.audience = Audience::Nodes(origin.hints.iter().copied().collect());
        pull.durable = false;
        pull.id = Some(origin.transfer);
        let list: Vec<Wanted> = wanted
            .into_iter()
            .map(|f| Wanted {
                hash: f.hash,
                size: f.size,
                path: f.path,
                mode: FETCHED_MODE,
                mtime_ns: 0,
                like: f.like,
            })
            .collect();
        let files = self.files.clone();
        Box::pin(async move {
            let transfer = files.pull_list(pull, list).await.map_err(|e| fault(&e))?;
            let mut seen = transfer.watch();
            loop {
                let (ended, done) = {
                    let view = seen.borrow_and_update();
                    (view.stage.ended(), view.done)
                };
                progress(done);
                if ended {
                    break;
                }
                tokio::select! {
                    changed = seen.changed() => if changed.is_err() { break },
                    stopped = stop.wait_for(|s| *s) => {
                        // Whether it was said or the asker is gone: nobody waits any more.
                        let _ = stopped;
                        transfer.cancel(true);
                        break;
                    }
                }
            }
            transfer.done().await.map(drop).map_err(|e| fault(&e))
        })
    }

    fn settled(&self, origin: &Origin, dir: &Path, manifest: &Manifest, _: &[String]) {
        let store = &self.desk.0.store;
        let kept = store.add_known(dir, manifest, Some(MIRRORED));
        let root = match kept {
            Ok(root) => root.hash,
            Err(e) => {
                tracing::debug!(target: "hive_runtime::files", code = e.code(), "a mirror here cannot be served on: {e}");
                return;
            }
        };
        // The state before is of no use any more: what it had in common is in the new one.
        let roots = store.roots();
        let old = roots.iter().filter(|r| {
            r.root.hash != root
                && r.path.as_deref() == Some(dir)
                && r.tags.iter().any(|(tag, _)| tag == MIRRORED)
        });
        for old in old {
            self.files.access().revoke(&old.root.hash);
            if let Err(e) = store.release(&old.root.hash, MIRRORED) {
                tracing::debug!(target: "hive_runtime::files", code = e.code(), "an old state stays: {e}");
            }
        }
        let audience = Audience::Nodes(origin.hints.iter().copied().collect());
        self.files.access().grant(root, audience);
    }
}

/// Gives states of others' mirrors to the mirror engine. The engine comes after the notices do: until then nothing
/// is begun, and what was not is begun again by the notices' journal.
pub(super) struct MirrorPuller {
    pub(super) incoming: Arc<OnceLock<Incoming>>,
    pub(super) desk: Desk,
}

/// What the notices hear from the mirrors.
struct Heard(hive_push::News);

impl hive_sync::News for Heard {
    fn progress(&self, done: u64, total: u64) {
        self.0.progress(done, total);
    }
    fn waiting(&self, why: String) {
        self.0.waiting(why);
    }
    fn done(&self) {
        self.0.done();
    }
    fn failed(&self, why: String, again: bool) {
        self.0.failed(why, again);
    }
}

impl MirrorPuller {
    /// Hands a state to the mirrors: a known mirror stays where it is, a new one gets a place.
    fn offer(&self, order: Order, news: &hive_push::News) {
        let (Some(incoming), Some(state)) = (self.incoming.get(), order.sync.clone()) else {
            news.failed("mirrors are not ready here yet".to_owned(), true);
            return;
        };
        let dest = match self.place(&order) {
            Ok(dest) => dest,
            Err(why) => {
                news.failed(why, true);
                return;
            }
        };
        if let Err(why) = make_parent(Path::new(&dest)) {
            news.failed(why, true);
            return;
        }
        let offer = Offer {
            sync: state.sync,
            from: order.from,
            seq: state.seq,
            root: order.root,
            versions: state.versions,
            dir: PathBuf::from(dest),
            name: order.name,
            hints: order.hints,
            priority: order.priority,
            transfer: order.transfer,
        };
        if let Err(e) = incoming.offer(offer, Arc::new(Heard(news.clone()))) {
            news.failed(e.to_string(), false);
        }
    }
}

impl Puller for MirrorPuller {
    fn place(&self, order: &Order) -> Result<String, String> {
        let known = order.sync.as_ref().and_then(|state| {
            let incoming = self.incoming.get()?;
            incoming.dir_of(&order.from, &state.sync)
        });
        match known {
            Some(dir) => dir
                .into_os_string()
                .into_string()
                .map_err(|_| "the folder's path is not UTF-8".to_owned()),
            None => place_below(&self.desk.0.people, order),
        }
    }

    fn begin(&self, order: Order, news: hive_push::News) {
        let puller = Self {
            incoming: Arc::clone(&self.incoming),
            desk: self.desk.clone(),
        };
        // Looking for a place asks the disk.
        tokio::task::spawn_blocking(move || puller.offer(order, &news));
    }

    fn cancel(&self, _: &Order) {
        // A state that is being applied is left whole: the mirror ends or goes on by the user's word.
    }

    fn free(&self, folder: &str) -> Option<u64> {
        free_bytes(Path::new(folder))
    }
}
