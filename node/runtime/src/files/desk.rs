//! The desk: it takes calls about files, each answered in a task of its own.

use super::{
    counting::{Counting, Moved},
    engines::Engines,
    people::People,
    refusals::refused,
    reloads::Reloads,
};
use crate::{
    clock::Clock,
    config::FileConfig,
    inbox::{Asking, Inbox},
    port::{FileCall, Kind, Refused, Reply},
};
use hive_protocol::{authority::NodeView, ids::NodeId};
use hive_store::{DataDir, files::FileStore};
use std::{
    collections::BTreeSet,
    future::Future,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::Duration,
};
use tokio::sync::{Semaphore, mpsc, oneshot, watch};

/// Calls answered at once, those that wait for something to happen among them; further ones wait in the queue.
const MAX_CALLS: usize = 1024;
/// A call that comes while the engines are being started waits this long for them.
const START_WAIT: Duration = Duration::from_secs(15);
/// Blocking disk work of calls (adding, verifying, collecting) at once: more would only fight for the disk.
const MAX_DISK_WORK: usize = 4;

/// Whether the engines run.
#[derive(Clone)]
pub enum Standing {
    /// The node belongs to no mesh.
    Unjoined,
    /// They are being started.
    Starting,
    /// They run.
    Up(Arc<Engines>),
    /// They could not be started.
    Failed(Refused),
    /// The daemon stops.
    Stopping,
}

/// What looks after files. Clones are one desk.
#[derive(Clone)]
pub struct Desk(pub(super) Arc<Inner>);

pub(super) struct Inner {
    pub(super) store: FileStore,
    pub(super) clock: Clock,
    /// The settings in force; changed while the daemon runs.
    config: RwLock<Arc<FileConfig>>,
    /// The data folder.
    pub(super) root: PathBuf,
    pub(super) people: People,
    pub(super) standing: watch::Sender<Standing>,
    /// Members connected now: those who connect before the engines run are told to them afterwards.
    pub(super) connected: Mutex<BTreeSet<NodeId>>,
    pub(super) disk: Semaphore,
    reloads: Reloads,
    counting: Mutex<Counting>,
    post: mpsc::Sender<Inbox>,
}

impl Desk {
    /// A desk over this store. Events go to the loop's inbox.
    #[must_use]
    pub fn new(
        store: FileStore,
        clock: Clock,
        config: FileConfig,
        dir: &DataDir,
        post: mpsc::Sender<Inbox>,
    ) -> Self {
        Self(Arc::new(Inner {
            store,
            clock,
            config: RwLock::new(Arc::new(config)),
            root: dir.root().to_owned(),
            people: People::default(),
            standing: watch::channel(Standing::Unjoined).0,
            connected: Mutex::default(),
            disk: Semaphore::new(MAX_DISK_WORK),
            reloads: Reloads::default(),
            counting: Mutex::default(),
            post,
        }))
    }

    /// Answers calls until there are no more handles.
    pub async fn run(self, mut calls: mpsc::Receiver<FileCall>) {
        let places = Arc::new(Semaphore::new(MAX_CALLS));
        while let Some(call) = calls.recv().await {
            let Ok(place) = Arc::clone(&places).acquire_owned().await else {
                return;
            };
            let desk = self.clone();
            tokio::spawn(async move {
                desk.answer(call).await;
                drop(place);
            });
        }
    }

    async fn answer(&self, call: FileCall) {
        match call {
            FileCall::Add { request, reply } => give(reply, self.add(request)).await,
            FileCall::Files { reply } => give(reply, async { Ok(self.rows()) }).await,
            FileCall::File { file, reply } => give(reply, self.show(&file)).await,
            FileCall::Share { file, reply } => give(reply, self.share(&file)).await,
            FileCall::Unshare { file, reply } => give(reply, self.unshare(&file)).await,
            FileCall::Verify { file, reply } => give(reply, self.verify(&file)).await,
            FileCall::Remove { file, reply } => give(reply, self.remove(&file)).await,
            FileCall::Gc { dry_run, reply } => give(reply, self.gc(dry_run)).await,
            FileCall::Read {
                what,
                from,
                to,
                reply,
            } => give(reply, self.read(&what, from, to)).await,
            FileCall::Settings { settings, reply } => {
                give(reply, async {
                    if let Some(settings) = settings {
                        self.settle(settings);
                    }
                    self.0.reloads.read();
                    Ok(())
                })
                .await;
            }
            FileCall::SettingsWanted { reply } => self.0.reloads.follow(reply),
            FileCall::Reload { reply } => self.0.reloads.ask(reply),
            FileCall::Pull { request, reply } => give(reply, self.pull(request)).await,
            FileCall::Transfers { reply } => give(reply, self.transfers()).await,
            FileCall::Transfer {
                transfer,
                wait_ms,
                reply,
            } => give(reply, self.transfer(&transfer, wait_ms)).await,
            FileCall::TransferDo {
                transfer,
                what,
                reply,
            } => give(reply, self.transfer_do(&transfer, what)).await,
            call => self.answer_notices(call).await,
        }
    }

    async fn answer_notices(&self, call: FileCall) {
        match call {
            FileCall::Push { request, reply } => give(reply, self.push(*request)).await,
            FileCall::Notices { reply } => give(reply, self.notices()).await,
            FileCall::Notice {
                notice,
                wait_ms,
                reply,
            } => give(reply, self.notice(&notice, wait_ms)).await,
            FileCall::NoticeCancel { notice, reply } => give(reply, self.notice_cancel(&notice)).await,
            FileCall::Inbox { reply } => give(reply, self.inbox()).await,
            FileCall::InboxItem { notice, reply } => give(reply, self.inbox_item(&notice)).await,
            FileCall::InboxAccept { notice, dest, reply } => {
                give(reply, self.inbox_accept(&notice, dest)).await
            }
            FileCall::InboxDecline {
                notice,
                reason,
                reply,
            } => give(reply, self.inbox_decline(&notice, reason)).await,
            FileCall::SyncStart { request, reply } => give(reply, self.sync_start(request)).await,
            FileCall::Syncs { reply } => give(reply, self.syncs()).await,
            FileCall::Sync { sync, wait_ms, reply } => give(reply, self.sync(&sync, wait_ms)).await,
            FileCall::SyncRemove { sync, reply } => give(reply, self.sync_remove(&sync)).await,
            // All others were answered before.
            _ => {}
        }
    }

    /// The settings in force.
    pub(super) fn config(&self) -> Arc<FileConfig> {
        Arc::clone(&self.0.config.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Other settings from now on: limits for what is under way too, the rest for what comes. Hours of pushes are
    /// counted by the offset of the last start.
    fn settle(&self, config: FileConfig) {
        *self.0.config.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(config);
        if let Some(engines) = self.engines_now() {
            self.apply(&engines);
        }
    }

    /// The engines; waits a little while they are being started.
    ///
    /// # Errors
    /// `member.unjoined`, `daemon.stopping`, why they could not be started.
    pub(super) async fn engines(&self) -> Result<Arc<Engines>, Refused> {
        let mut seen = self.0.standing.subscribe();
        let settled = async {
            loop {
                let now = seen.borrow_and_update().clone();
                match now {
                    Standing::Up(engines) => return Ok(engines),
                    Standing::Unjoined => return Err(crate::daemon::unjoined()),
                    Standing::Failed(refused) => return Err(refused),
                    Standing::Stopping => return Err(Refused::stopping()),
                    Standing::Starting => {}
                }
                if seen.changed().await.is_err() {
                    return Err(Refused::stopping());
                }
            }
        };
        tokio::time::timeout(START_WAIT, settled)
            .await
            .unwrap_or_else(|_| {
                Err(Refused::new(
                    Kind::Timeout,
                    "file.starting",
                    "what moves files is still being started",
                )
                .retryable())
            })
    }

    /// The engines, if they run now.
    pub(super) fn engines_now(&self) -> Option<Arc<Engines>> {
        match &*self.0.standing.borrow() {
            Standing::Up(engines) => Some(Arc::clone(engines)),
            _ => None,
        }
    }

    /// Does blocking work on the store, a few at a time.
    ///
    /// # Errors
    /// Those of the work.
    pub(super) async fn disk<T: Send + 'static>(
        &self,
        work: impl FnOnce(&FileStore) -> Result<T, hive_store::files::FilesError> + Send + 'static,
    ) -> Result<T, Refused> {
        let _place = self.0.disk.acquire().await.map_err(|_| Refused::stopping())?;
        let store = self.0.store.clone();
        tokio::task::spawn_blocking(move || work(&store))
            .await
            .map_err(|_| Refused::stopping())?
            .map_err(|e| refused(e.code(), &e))
    }

    /// One node, by name, id or an unambiguous beginning of its id; one that is not known is asked for first.
    ///
    /// # Errors
    /// `node.not_found`, `node.ambiguous`.
    pub(super) async fn person(&self, text: &str) -> Result<NodeId, Refused> {
        match self.0.people.find(text) {
            Err(e) if e.code == "node.not_found" => {
                self.ask_who().await;
                self.0.people.find(text)
            }
            found => found,
        }
    }

    /// All nodes that these selectors mean, `me` left out. Those of whom nothing has been heard yet are among them.
    ///
    /// # Errors
    /// Those of [`People::select`].
    pub(super) async fn chosen(&self, selectors: &[String], me: NodeId) -> Result<BTreeSet<NodeId>, Refused> {
        // Whoever is meant without being named must not be left out because the list is a few seconds old.
        let many = |s: &String| s.trim() == "all" || s.contains('=');
        if !selectors.iter().any(many) {
            match self.0.people.select(selectors, me) {
                Err(e) if e.code == "node.not_found" => {}
                chosen => return chosen,
            }
        }
        self.ask_who().await;
        self.0.people.select(selectors, me)
    }

    /// Has an authority asked who is in the mesh; what it says is known afterwards.
    async fn ask_who(&self) {
        let (told, known) = oneshot::channel();
        if self.0.post.send(Inbox::AskWho(Asking::Part(told))).await.is_ok() {
            // An end without a word is the daemon's: what is known has to do.
            let _ = known.await;
        }
    }

    /// Tells the daemon's watchers that something happened.
    pub(super) fn say(&self, kind: &'static str, subject: String, message: String) {
        // A full inbox means a busy daemon: an event less is the smaller evil.
        let _ = self.0.post.try_send(Inbox::Say(kind, subject, message));
    }

    /// Something is known of a node.
    pub fn known(&self, view: &NodeView) {
        self.0.people.put(view);
        if let Some(engines) = self.engines_now() {
            self.trust_own(&engines);
        }
    }

    /// Bytes moved so far.
    pub fn moved(&self) -> Moved {
        let Some(engines) = self.engines_now() else {
            return Moved::default();
        };
        let mut counting = self.0.counting.lock().unwrap_or_else(PoisonError::into_inner);
        counting.look(&engines.files)
    }

    /// A member is connected.
    pub fn peer_up(&self, node: NodeId) {
        let mut connected = self.0.connected.lock().unwrap_or_else(PoisonError::into_inner);
        connected.insert(node);
        if let Some(engines) = self.engines_now() {
            engines.push.peer_up(node);
            engines.incoming.kick(Some(&node));
        }
    }

    /// A member is gone.
    pub fn peer_down(&self, node: NodeId) {
        let mut connected = self.0.connected.lock().unwrap_or_else(PoisonError::into_inner);
        connected.remove(&node);
        if let Some(engines) = self.engines_now() {
            engines.push.peer_down(node);
        }
    }
}

/// Gives the answer; work whose caller has gone is dropped where it stands.
async fn give<T>(mut reply: Reply<T>, work: impl Future<Output = Result<T, Refused>>) {
    tokio::select! {
        answer = work => {
            // A caller that has gone does not want its answer.
            let _ = reply.send(answer);
        }
        () = reply.closed() => {}
    }
}
