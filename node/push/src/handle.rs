//! The handle: sending, looking, deciding.

use crate::{
    calls::{Call, Signals},
    engine::{self, Cores},
    error::{PushError, StartError},
    ports::{Clock, Deps, Sign},
};
use hive_protocol::{
    ids::{NetworkId, NodeId, NoticeId},
    notice::{MAX_NOTICE_LIFE, MAX_RECIPIENTS, Notice, NoticeBody, Priority},
    time::Millis,
};
use hive_transfer::notices::{
    inbox::InView,
    outbox::{OutView, Standing},
    policy::Policy,
};
use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicU64, Ordering},
};
use tokio::sync::{Notify, broadcast, mpsc, oneshot};

/// Something to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outgoing {
    /// What it says.
    pub body: NoticeBody,
    /// To whom, in any order; this node and repeats are left out.
    pub to: Vec<NodeId>,
    /// How urgent.
    pub priority: Priority,
    /// How long it is delivered; a second to 90 days.
    pub life: Option<Millis>,
}

/// Something happened to a notice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PushEvent {
    /// One has been taken.
    Arrived(InView),
    /// One that was taken stands otherwise now.
    InChanged(InView),
    /// One that was sent stands otherwise with a recipient now.
    OutChanged {
        /// Which.
        id: NoticeId,
        /// With whom.
        node: NodeId,
        /// How.
        standing: Standing,
    },
}

/// What starting found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Started {
    /// Notices in the outbox.
    pub sent: usize,
    /// Notices in the inbox.
    pub received: usize,
    /// Records of the journal that are of no use.
    pub damaged: usize,
}

/// Counters since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Frames that came.
    pub frames: u64,
    /// Notices that were not taken: forged, of another mesh, for others, out of time.
    pub refused: u64,
    /// Notices taken.
    pub taken: u64,
    /// Notices sent from here.
    pub sent: u64,
    /// Streams that broke while something was to be said.
    pub broken: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub frames: AtomicU64,
    pub refused: AtomicU64,
    pub taken: AtomicU64,
    pub sent: AtomicU64,
    pub broken: AtomicU64,
}

pub(crate) struct Shared {
    pub me: NodeId,
    pub network: NetworkId,
    pub clock: Clock,
    pub sign: Sign,
    pub cores: Mutex<Cores>,
    pub calls: mpsc::Sender<(Call, crate::calls::Reply)>,
    pub signals: Mutex<Signals>,
    pub signal: Notify,
    pub events: broadcast::Sender<PushEvent>,
    pub tally: Arc<Tally>,
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A clonable handle to this node's notices. When the last one is dropped they end.
#[derive(Clone)]
pub struct Push {
    pub(crate) shared: Arc<Shared>,
}

impl std::fmt::Debug for Push {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Push({:?})", self.shared.me)
    }
}

impl Push {
    /// Reads the journal and begins. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// The journal cannot be read; the protocol is served already.
    pub async fn start(deps: Deps, policy: Policy) -> Result<(Self, Started), StartError> {
        engine::start(deps, policy).await
    }

    /// A member is connected.
    pub fn peer_up(&self, node: NodeId) {
        self.signal(|s| {
            s.peers.insert(node, true);
        });
    }

    /// A member is no longer connected.
    pub fn peer_down(&self, node: NodeId) {
        self.signal(|s| {
            s.peers.insert(node, false);
        });
    }

    /// Whose mailboxes are used from now on.
    pub fn set_authorities(&self, nodes: Vec<NodeId>) {
        self.signal(|s| s.authorities = Some(nodes));
    }

    /// What is done with notices that come from now on.
    pub fn set_policy(&self, policy: Policy) {
        self.signal(|s| s.policy = Some(policy));
    }

    /// The policy in force, or about to be.
    #[must_use]
    pub fn policy(&self) -> Policy {
        let next = lock(&self.shared.signals).policy.clone();
        next.unwrap_or_else(|| lock(&self.shared.cores).inbox.policy().clone())
    }

    fn signal(&self, leave: impl FnOnce(&mut Signals)) {
        leave(&mut lock(&self.shared.signals));
        self.shared.signal.notify_one();
    }

    /// Sends a notice. It is durable when this returns, and on its way.
    ///
    /// # Errors
    /// `notice.recipients`, `notice.invalid`, `notice.life`, `notice.too_many`, `notice.not_kept`, `notice.stopped`.
    pub async fn send(&self, outgoing: Outgoing) -> Result<NoticeId, PushError> {
        let me = self.shared.me;
        let mut to = outgoing.to;
        to.sort_unstable();
        to.dedup();
        to.retain(|n| *n != me);
        if to.is_empty() || to.len() > MAX_RECIPIENTS {
            return Err(PushError::Recipients(to.len()));
        }
        let usual = match outgoing.body {
            NoticeBody::File(_) => crate::FILE_LIFE,
            _ => crate::USUAL_LIFE,
        };
        let life = outgoing.life.unwrap_or(usual);
        if life < Millis::secs(1) || life > MAX_NOTICE_LIFE {
            return Err(PushError::Life(life.0));
        }
        let mut id = [0; 16];
        getrandom::fill(&mut id).map_err(|e| PushError::NotKept(e.to_string()))?;
        let created = (self.shared.clock)();
        let notice = Notice {
            id: NoticeId(id),
            network: self.shared.network,
            from: me,
            to,
            body: outgoing.body,
            priority: outgoing.priority,
            created,
            expires: created + life,
        };
        if let Some(fault) = notice.fault() {
            return Err(PushError::Invalid(fault));
        }
        let signed = (self.shared.sign)(&notice).map_err(|e| PushError::Sign(notice.id, e.to_string()))?;
        let id = notice.id;
        self.call(Call::Send(Box::new((notice, signed)))).await?;
        self.shared.tally.sent.fetch_add(1, Ordering::Relaxed);
        Ok(id)
    }

    /// Takes a notice back: those who have not begun with it will not.
    ///
    /// # Errors
    /// `notice.unknown`, `notice.ended`, `notice.not_kept`.
    pub async fn cancel(&self, id: NoticeId) -> Result<(), PushError> {
        self.call(Call::Cancel(id)).await
    }

    /// Takes an ended notice off the list.
    ///
    /// # Errors
    /// `notice.unknown`, `notice.open`.
    pub async fn forget(&self, id: NoticeId) -> Result<(), PushError> {
        self.call(Call::Forget(id)).await
    }

    /// Accepts a file that waits for somebody's word, to go where `dest` says.
    ///
    /// # Errors
    /// `notice.unknown`, `notice.state`, `notice.destination`.
    pub async fn accept(&self, id: NoticeId, dest: Option<String>) -> Result<(), PushError> {
        self.call(Call::Accept(id, dest)).await
    }

    /// Declines a file, also one that is being pulled; the sender hears why.
    ///
    /// # Errors
    /// `notice.unknown`, `notice.state`.
    pub async fn decline(&self, id: NoticeId, why: String) -> Result<(), PushError> {
        self.call(Call::Decline(id, why)).await
    }

    /// Takes an ended notice off the inbox's list.
    ///
    /// # Errors
    /// `notice.unknown`, `notice.state`.
    pub async fn remove(&self, id: NoticeId) -> Result<(), PushError> {
        self.call(Call::Remove(id)).await
    }

    async fn call(&self, call: Call) -> Result<(), PushError> {
        let (reply, answer) = oneshot::channel();
        let asked = self.shared.calls.send((call, reply)).await;
        asked.map_err(|_| PushError::Stopped)?;
        answer.await.map_err(|_| PushError::Stopped)?
    }

    /// Notices sent from here, the newest first.
    #[must_use]
    pub fn outbox(&self) -> Vec<OutView> {
        lock(&self.shared.cores).outbox.list((self.shared.clock)())
    }

    /// One notice sent from here.
    #[must_use]
    pub fn sent(&self, id: NoticeId) -> Option<OutView> {
        lock(&self.shared.cores).outbox.show((self.shared.clock)(), id)
    }

    /// Notices that came, the newest first.
    #[must_use]
    pub fn inbox(&self) -> Vec<InView> {
        lock(&self.shared.cores).inbox.list()
    }

    /// One notice that came; of several with this id the newest.
    #[must_use]
    pub fn received(&self, id: NoticeId) -> Option<InView> {
        self.inbox().into_iter().find(|v| v.id == id)
    }

    /// What happens from now on; a listener more than a thousand events behind loses the oldest.
    #[must_use]
    pub fn events(&self) -> broadcast::Receiver<PushEvent> {
        self.shared.events.subscribe()
    }

    /// The counters now.
    #[must_use]
    pub fn metrics(&self) -> Counts {
        let get = |n: &AtomicU64| n.load(Ordering::Relaxed);
        let tally = &self.shared.tally;
        Counts {
            frames: get(&tally.frames),
            refused: get(&tally.refused),
            taken: get(&tally.taken),
            sent: get(&tally.sent),
            broken: get(&tally.broken),
        }
    }

    /// Ends: what is under way is journalled, streams are closed.
    pub async fn close(&self) {
        // Stopped already is as good.
        let _ = self.call(Call::Close).await;
    }
}
