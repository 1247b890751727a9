//! The daemon's loop: it takes one thing at a time from its queues, lets a core decide, and has the effects
//! carried out. Split by where things come from; nothing awaits between a core's input and its effects.

mod calls;
mod events;
mod heard;
mod introduced;
mod job_calls;
mod joining;
mod listen;
mod logs;
mod mesh;
mod money;
mod net;
mod net_calls;
mod nodes;
mod paths;
mod redeem;
mod room;
mod route;
mod status;
mod stopping;
mod submit;
mod submit_events;
mod waiters;
mod work;

pub use events::Events;
pub use joining::Identity;
pub use mesh::Vital;
pub(crate) use nodes::unjoined;

use crate::{
    clock::Clock,
    config::Config,
    files::Desk,
    inbox::Inbox,
    jobs::{Book, JobJournal},
    metrics::Metrics,
    port::{Call, NodeCalls, Problem},
};
use hive_executor::Registry;
use hive_protocol::resources::Capabilities;
use hive_store::{BlobStore, DataDir, files::FileStore};
use mesh::Mesh;
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};

/// Inputs handled before effects are carried out and the journal is written: batches make throughput, the
/// bound keeps the answer to a single task quick.
const BATCH: usize = 128;

/// What the daemon is made of before it belongs to a mesh.
pub struct Parts {
    /// Settings.
    pub config: Config,
    /// The clock.
    pub clock: Clock,
    /// The data folder, locked.
    pub dir: DataDir,
    /// Keys.
    pub identity: Identity,
    /// Blobs.
    pub store: BlobStore,
    /// The journal.
    pub journal: JobJournal,
    /// Files and content.
    pub files: FileStore,
    /// Runtimes.
    pub registry: Registry,
    /// What this machine has.
    pub capabilities: Capabilities,
    /// Things wrong since the start (a damaged journal, …).
    pub problems: Vec<Problem>,
}

/// The daemon.
pub struct Daemon {
    config: Config,
    clock: Clock,
    dir: DataDir,
    identity: Identity,
    store: BlobStore,
    desk: Desk,
    journal: JobJournal,
    registry: Registry,
    capabilities: Capabilities,
    problems: Vec<Problem>,
    started: hive_protocol::time::Timestamp,
    calls: mpsc::Receiver<Call>,
    inbox: mpsc::Receiver<Inbox>,
    post: mpsc::Sender<Inbox>,
    mesh: Option<Box<Mesh>>,
    /// What the network said before there was a mesh to tell; bounded in net.rs.
    early: Vec<hive_net::NetEvent>,
    /// A join under way: the caller waits, another one is refused.
    joining: bool,
    /// The authority of a mesh being founded, until it is taken up.
    pending_authority: Option<hive_authority::Authority>,
    book: Book,
    waiters: waiters::Waiters,
    logs: logs::Logs,
    events: Events,
    metrics: Arc<Metrics>,
    stopping: Option<stopping::Stopping>,
    fatal: Option<String>,
}

impl Daemon {
    /// A daemon that answers these calls. A membership on disk is taken up by [`Daemon::run`].
    #[must_use]
    pub fn new(parts: Parts, calls: NodeCalls) -> Self {
        let (post, inbox) = mpsc::channel(crate::inbox::INBOX);
        let files = parts.config.files.clone();
        let desk = Desk::new(parts.files, parts.clock, files, &parts.dir, post.clone());
        tokio::spawn(desk.clone().run(calls.files));
        let started = parts.clock.now();
        Self {
            config: parts.config,
            clock: parts.clock,
            dir: parts.dir,
            identity: parts.identity,
            store: parts.store,
            desk,
            journal: parts.journal,
            registry: parts.registry,
            capabilities: parts.capabilities,
            problems: parts.problems,
            started,
            calls: calls.daemon,
            inbox,
            post,
            mesh: None,
            early: Vec::new(),
            joining: false,
            pending_authority: None,
            book: Book::default(),
            waiters: waiters::Waiters::default(),
            logs: logs::Logs::default(),
            events: Events::new(parts.clock),
            metrics: Arc::default(),
            stopping: None,
            fatal: None,
        }
    }

    /// Runs until stopped by a call, or by `stop`, or by a fault that makes going on dangerous.
    ///
    /// # Errors
    /// The fault, for people.
    pub async fn run(
        mut self,
        ready: oneshot::Sender<Result<(), crate::StartError>>,
        mut stop: oneshot::Receiver<()>,
    ) -> Result<(), String> {
        let entered = self.take_up().await;
        let failed = entered.is_err();
        // The starter may have given up waiting: then nobody needs the answer.
        let _ = ready.send(entered);
        if failed {
            return Err("the membership could not be taken up".to_owned());
        }
        let mut stop_asked = false;
        loop {
            let deadline = self.deadline();
            let timer = async {
                match deadline {
                    Some(at) => tokio::time::sleep_until(self.clock.instant(at)).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                _ = &mut stop, if !stop_asked => {
                    stop_asked = true;
                    self.begin_stop(0, None);
                }
                item = self.inbox.recv() => match item {
                    Some(item) => self.take(item),
                    None => break,
                },
                call = self.calls.recv() => match call {
                    Some(call) => self.call(call).await,
                    None if stop_asked => {}
                    None => {
                        stop_asked = true;
                        self.begin_stop(0, None);
                    }
                },
                () = timer => self.tick(),
            }
            // A burst is taken as one batch: one journal write, fewer and larger frames.
            for _ in 0..BATCH {
                match self.inbox.try_recv() {
                    Ok(item) => self.take(item),
                    Err(_) => break,
                }
            }
            self.settle();
            if let Some(fault) = self.fatal.take() {
                tracing::error!(target: "hive_runtime", "stopping: {fault}");
                self.close().await;
                return Err(fault);
            }
            if self.is_stopped() {
                break;
            }
        }
        self.close().await;
        Ok(())
    }

    /// The next moment something is due.
    fn deadline(&self) -> Option<hive_protocol::time::Timestamp> {
        let mesh = self.mesh.as_ref();
        let cores = mesh.into_iter().flat_map(|m| {
            [
                m.submitter.poll_timeout(),
                m.worker.as_ref().and_then(|w| w.poll_timeout()),
            ]
        });
        cores
            .flatten()
            .chain(self.stopping.as_ref().map(|s| s.until))
            .min()
    }

    fn tick(&mut self) {
        let now = self.clock.now();
        if let Some(mesh) = self.mesh.as_mut() {
            if mesh.submitter.poll_timeout().is_some_and(|at| at <= now) {
                mesh.submitter.handle(now, hive_scheduler::submitter::Input::Tick);
            }
            if let Some(worker) = mesh.worker.as_mut()
                && worker.poll_timeout().is_some_and(|at| at <= now)
            {
                worker.handle(now, hive_scheduler::worker::Input::Tick);
            }
        }
    }

    fn take(&mut self, item: Inbox) {
        let now = self.clock.now();
        match item {
            Inbox::Net(event) => self.net_event(event),
            Inbox::Submitter(input) => {
                if let Some(mesh) = self.mesh.as_mut() {
                    mesh.submitter.handle(now, *input);
                }
            }
            Inbox::Worker(input) => self.worker_input(*input),
            Inbox::WorkerMany(inputs) => {
                for input in inputs {
                    self.worker_input(input);
                }
            }
            Inbox::Work(from, messages) => {
                for message in messages {
                    self.work_message(from, message, None);
                }
            }
            Inbox::WorkOpened(node, stream) => {
                if let Some(mesh) = self.mesh.as_mut()
                    && mesh.work.opened(stream)
                {
                    self.work_up(node);
                }
            }
            Inbox::WorkInbound(node) => {
                if let Some(mesh) = self.mesh.as_mut() {
                    mesh.work.connect(node, Vec::new());
                }
            }
            Inbox::WorkDown(node, serial) => {
                if self.mesh.as_mut().is_some_and(|m| m.work.down(node, serial)) {
                    self.work_lost(node);
                    // Serial 0 is a stream that could not be opened: not at once again.
                    if serial != 0 {
                        self.work_resume(node);
                    } else if self.works_for(node)
                        && let Some(mesh) = self.mesh.as_ref()
                    {
                        mesh.work.again(node);
                    }
                }
            }
            Inbox::WorkAgain(node) => self.work_resume(node),
            Inbox::ExecutorGone(lease) => {
                if let Some(mesh) = self.mesh.as_mut() {
                    mesh.exec.gone(&lease);
                }
            }
            Inbox::Say(kind, subject, message) => self.events.say(kind, subject, message),
            Inbox::AuthorityUp(up) => {
                if self.mesh.as_ref().is_some_and(|m| m.authority_up != up) {
                    self.authority_up(up);
                }
            }
            Inbox::Credential(signed) => self.take_credential(*signed),
            Inbox::CredentialRefused(refused) => self.credential_refused(&refused),
            Inbox::Registry(nodes) => {
                self.make_room();
                self.registry_heard(nodes);
            }
            Inbox::AskWho(asking) => self.ask_who(asking),
            Inbox::Informed(asking) => self.informed(asking),
            Inbox::Welcome(reply) => self.welcomed(reply),
            Inbox::JobAccepted(accepted, reply) => self.job_accepted(*accepted, reply),
            Inbox::TasksAccepted(job, accepted, reply) => self.tasks_accepted(job, *accepted, reply),
            Inbox::Joined(joined, reply) => self.joined(*joined, reply),
        }
    }

    /// Drains both cores until neither has effects, writes the journal, sends what was gathered, and answers
    /// who waits: in this order, so that nothing is said that a crash could take back.
    fn settle(&mut self) {
        // Effects that answer themselves (signatures, loopback) feed the cores again: bounded by the cores' own
        // windows, and by this count against a fault in either.
        for _ in 0..10_000 {
            if !self.drain_submitter() && !self.drain_worker() && !self.drain_loopback() {
                break;
            }
        }
        if self.journal.is_dirty() {
            let written = tokio::task::block_in_place(|| self.journal.commit());
            if let Err(e) = written {
                self.fatal = Some(format!("the job journal cannot be written: {}: {e}", e.code()));
                return;
            }
        }
        self.flush_work();
        self.waiters.answer(&self.book, &self.journal);
        self.forget_old_jobs();
    }
}
