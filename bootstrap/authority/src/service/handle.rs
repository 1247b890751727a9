//! The handle: bounds, signature checks and signing, all outside the ordering thread.

use super::{
    Clock, Metrics, Notice,
    core::{Job, Ready, Reply, held, lock},
};
use crate::history::{History, merge};
use hive_ledger::account::HISTORY_LINES;
use hive_protocol::{
    authority::{Answer, Ask, Done, MAX_IN_FLIGHT, MAX_PAGE, Request, Response},
    command::{Command, CommandBody, Refusal},
    credential::Credential,
    ids::{AccountId, NetworkId, NodeId},
    keys::{Document, SecretKey, Signed},
    time::Timestamp,
};
use hive_state::{Accepted, Entry, Liveness, Prepared, State};
use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
        mpsc::SyncSender,
    },
};
use tokio::sync::{Semaphore, broadcast, oneshot};

/// Requests of all askers together that may wait for an answer: about 4 KiB each, so at most 16 MiB.
pub const MAX_WAITING: usize = 4096;
/// Newcomers served at once: joining is open to strangers, so it may not fill the queue of members.
pub const MAX_JOINS: usize = 64;
/// Signature checks under way at once; more would only take the cores from the ordering thread.
const VERIFY_AT_ONCE: usize = 8;
/// Notices a slow subscriber may be behind before it loses the oldest.
const NOTICES: usize = 1024;

pub(super) struct Shared {
    jobs: SyncSender<Job>,
    pub(super) network: NetworkId,
    pub(super) genesis: Vec<u8>,
    pub(super) clock: Clock,
    key: SecretKey,
    verify: Semaphore,
    waiting: AtomicUsize,
    joining: AtomicUsize,
    peers: Mutex<BTreeMap<NodeId, usize>>,
    pub(super) metrics: Arc<Mutex<Metrics>>,
    pub(super) notices: broadcast::Sender<Notice>,
    history: Option<History>,
}

impl Shared {
    pub(super) fn new(
        jobs: SyncSender<Job>,
        state: &State,
        key: SecretKey,
        clock: Clock,
        history: Option<History>,
    ) -> Self {
        Self {
            jobs,
            network: state.network(),
            genesis: state.genesis_bytes().to_vec(),
            clock,
            key,
            verify: Semaphore::new(VERIFY_AT_ONCE),
            waiting: AtomicUsize::new(0),
            joining: AtomicUsize::new(0),
            peers: Mutex::new(BTreeMap::new()),
            metrics: Arc::new(Mutex::new(Metrics::default())),
            notices: broadcast::Sender::new(NOTICES),
            history,
        }
    }
}

/// What everybody who wants something of the authority holds.
#[derive(Clone)]
pub struct AuthorityHandle {
    shared: Arc<Shared>,
}

/// One of a bounded number; given back when dropped.
struct Place<'a>(&'a AtomicUsize);

impl<'a> Place<'a> {
    fn take(count: &'a AtomicUsize, limit: usize) -> Option<Self> {
        let place = Self(count);
        // The count is raised either way; a place not granted gives it back when dropped here.
        (count.fetch_add(1, Ordering::Relaxed) < limit).then_some(place)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A peer's unanswered request.
struct InFlight<'a> {
    peers: &'a Mutex<BTreeMap<NodeId, usize>>,
    node: NodeId,
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        let mut peers = lock(self.peers);
        if let Some(count) = peers.get_mut(&self.node) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                peers.remove(&self.node);
            }
        }
    }
}

impl AuthorityHandle {
    pub(super) const fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    pub(super) fn shared(&self) -> &Shared {
        &self.shared
    }

    /// The mesh.
    #[must_use]
    pub fn network(&self) -> NetworkId {
        self.shared.network
    }

    /// The founding document's bytes.
    #[must_use]
    pub fn genesis(&self) -> &[u8] {
        &self.shared.genesis
    }

    /// Answers a member. `node` must have been proved by the connection and let in by the membership gate.
    pub async fn ask(&self, node: NodeId, request: Request) -> Response {
        let number = request.number;
        let body = match self.in_flight(node) {
            Ok(_in_flight) => self.answer(Some(node), request.body).await,
            Err(refusal) => Err(refusal),
        };
        Response {
            number,
            body: body.unwrap_or_else(Answer::Refused),
        }
    }

    /// Answers this machine's own API. Renewals and heartbeats are a node's to ask for and are refused here.
    ///
    /// # Errors
    /// The refusal.
    pub async fn local(&self, ask: Ask) -> Result<Answer, Refusal> {
        self.answer(None, ask).await
    }

    /// Runs on a consistent, durable state; keep it short, commands wait meanwhile.
    ///
    /// # Errors
    /// `authority.busy`, `authority.down`, `ledger.disk`.
    pub async fn view<T: Send + 'static>(
        &self,
        look: impl FnOnce(&State, &Liveness, Timestamp) -> T + Send + 'static,
    ) -> Result<T, Refusal> {
        self.order(|reply| {
            Job::View(Box::new(move |state, liveness, now| {
                held(reply, Ok(look(state, liveness, now)))
            }))
        })
        .await
    }

    /// Counts and times.
    #[must_use]
    pub fn metrics(&self) -> Metrics {
        let mut metrics = lock(&self.shared.metrics).clone();
        metrics.queue = self.shared.waiting.load(Ordering::Relaxed);
        metrics
    }

    /// What happens from now on; a subscriber more than a thousand notices behind loses the oldest.
    #[must_use]
    pub fn subscribe(&self) -> broadcast::Receiver<Notice> {
        self.shared.notices.subscribe()
    }

    pub(super) fn send_stop(&self) {
        // When the thread has ended already there is nothing to stop.
        let _ = self.shared.jobs.send(Job::Stop);
    }

    fn in_flight(&self, node: NodeId) -> Result<InFlight<'_>, Refusal> {
        let mut peers = lock(&self.shared.peers);
        let count = peers.entry(node).or_default();
        if *count >= MAX_IN_FLIGHT {
            drop(peers);
            return Err(self.busy(&format!(
                "this node has {MAX_IN_FLIGHT} unanswered requests; wait for answers"
            )));
        }
        *count += 1;
        drop(peers);
        Ok(InFlight {
            peers: &self.shared.peers,
            node,
        })
    }

    fn busy(&self, detail: &str) -> Refusal {
        lock(&self.shared.metrics).busy += 1;
        Refusal::new("authority.busy", detail)
    }

    async fn answer(&self, node: Option<NodeId>, ask: Ask) -> Result<Answer, Refusal> {
        match (ask, node) {
            (Ask::Submit(signed), _) => {
                let ready = self.verify(signed, |_| Ok(())).await?;
                let accepted = self.order(|reply| Job::Command(ready, reply)).await?;
                Ok(Answer::Done(self.done(accepted)?))
            }
            (Ask::Renew, Some(node)) => {
                let credential = self.order(|reply| Job::Renew(node, reply)).await?;
                Ok(Answer::Credential(self.sign(&credential)?))
            }
            (Ask::Heartbeat(heartbeat), Some(node)) => {
                self.order(|reply| Job::Heartbeat(node, Box::new(heartbeat), reply))
                    .await?;
                Ok(Answer::Heard)
            }
            (Ask::Renew | Ask::Heartbeat(_), None) => {
                Err(Refusal::new("authority.request", "only a node can ask for this"))
            }
            (
                Ask::History {
                    account,
                    before,
                    limit,
                },
                node,
            ) => self.history(node, account, before, limit).await,
            (query, node) => self.order(|reply| Job::Query(node, query, reply)).await,
        }
    }

    /// Checks everything of a command that needs no state, off the async threads and a bounded number at a time.
    pub(super) async fn verify(
        &self,
        signed: Signed<Command>,
        check: impl FnOnce(&CommandBody) -> Result<(), Refusal> + Send + 'static,
    ) -> Result<Ready, Refusal> {
        let network = self.shared.network;
        let waiting = Place::take(&self.shared.waiting, MAX_WAITING).ok_or_else(|| self.full())?;
        let permit = self.shared.verify.acquire().await.map_err(|_| down())?;
        let ready = tokio::task::spawn_blocking(move || {
            let verified = hive_state::verify(&signed, network)?;
            check(&verified.command().body)?;
            let payload = Entry::Command(signed)
                .encode()
                .map_err(|e| Refusal::new("command.invalid", e.to_string()))?;
            Ok(Ready {
                prepared: Prepared::Command(Box::new(verified)),
                payload,
            })
        })
        .await
        .map_err(|_| down())?;
        drop((permit, waiting));
        ready
    }

    /// Lines from the state's memory, and from the index where memory ends.
    async fn history(
        &self,
        node: Option<NodeId>,
        account: AccountId,
        before: u64,
        limit: u32,
    ) -> Result<Answer, Refusal> {
        let ask = Ask::History {
            account,
            before,
            limit,
        };
        let Answer::History(page) = self.order(|reply| Job::Query(node, ask, reply)).await? else {
            return Err(down());
        };
        let oldest = page.last().map_or(before, |line| line.index);
        // A full page needs nothing more; nothing is older than the founding.
        let enough = page.len() >= usize::try_from(limit).unwrap_or(MAX_PAGE).clamp(1, MAX_PAGE);
        let Some(history) = self.shared.history.clone().filter(|_| !enough && oldest > 0) else {
            return Ok(Answer::History(page));
        };
        let in_memory = self
            .view(move |s, _, _| s.ledger().account(&account).map_or(0, |a| a.lines().count()))
            .await?;
        if in_memory < HISTORY_LINES {
            return Ok(Answer::History(page));
        }
        if history.next() < oldest.saturating_add(1).min(self.metrics().entries) {
            return if page.is_empty() {
                let detail = "older lines are still being indexed; ask again in a while, or after the authority's next start";
                Err(Refusal::new("history.behind", detail))
            } else {
                Ok(Answer::History(page))
            };
        }
        let read = tokio::task::spawn_blocking(move || {
            merge(page, before, limit, |below| {
                Box::new(history.before(&account, below))
            })
        });
        let page = read.await.map_err(|_| down())?;
        page.map(Answer::History).map_err(|e| {
            tracing::warn!(target: "hive_authority", "{e}");
            Refusal::new(
                "history.damaged",
                format!("{e}; remove the folder `history.sled` beside the ledger's files and start the authority again, it is made anew"),
            )
        })
    }

    fn full(&self) -> Refusal {
        self.busy(&format!("{MAX_WAITING} requests wait already; try again"))
    }

    /// A place among the newcomers served at once.
    pub(super) fn joining(&self) -> Result<impl Drop + '_, Refusal> {
        Place::take(&self.shared.joining, MAX_JOINS).ok_or_else(|| {
            self.busy(&format!(
                "{MAX_JOINS} newcomers are being let in already; try again"
            ))
        })
    }

    /// Hands a job to the ordering thread and waits for its answer, which comes when all it rests on is durable.
    pub(super) async fn order<T>(&self, job: impl FnOnce(Reply<T>) -> Job) -> Result<T, Refusal> {
        let _waiting = Place::take(&self.shared.waiting, MAX_WAITING).ok_or_else(|| self.full())?;
        let (reply, answer) = oneshot::channel();
        self.shared.jobs.try_send(job(reply)).map_err(|e| match e {
            std::sync::mpsc::TrySendError::Full(_) => self.full(),
            std::sync::mpsc::TrySendError::Disconnected(_) => self.gone(),
        })?;
        answer.await.unwrap_or_else(|_| Err(self.gone()))
    }

    fn gone(&self) -> Refusal {
        let stopped = lock(&self.shared.metrics).stopped.clone();
        stopped.map_or_else(down, |why| Refusal::new("ledger.disk", why))
    }

    pub(super) fn sign<T: Document>(&self, document: &T) -> Result<Signed<T>, Refusal> {
        Signed::sign(&self.shared.key, document).map_err(|e| Refusal::new("authority.sign", e.to_string()))
    }

    fn done(&self, accepted: Accepted) -> Result<Done, Refusal> {
        let grant = match &accepted.grant {
            Some(grant) => Some(self.sign(grant)?),
            None => None,
        };
        Ok(Done {
            id: accepted.id,
            index: accepted.index,
            grant,
            paid: accepted.paid,
        })
    }

    /// The credential of the authority's own node, which nobody else could issue at its start.
    ///
    /// # Errors
    /// `authority.busy`, `authority.down`, `ledger.disk`.
    pub async fn own_credential(&self) -> Result<Signed<Credential>, Refusal> {
        let node = NodeId(self.shared.key.public());
        let credential = self.order(|reply| Job::Renew(node, reply)).await?;
        self.sign(&credential)
    }
}

fn down() -> Refusal {
    Refusal::new("authority.down", "the authority is shutting down")
}
