//! The worker core: what this machine has promised to whom, and what is owed for it.
//!
//! Owns the accounting of this node's resources over all leases. Must not know how tasks are run, how bytes
//! move, how signatures are made, or what time it is but from its inputs.
//!
//! Effects are made lazily: inputs only change state and mark leases dirty; [`Worker::poll_effect`] turns what
//! has gathered into as few messages as possible. So: hand in all inputs at hand, then drain.

mod config;
mod effect;
mod flush;
mod grants;
mod input;
mod lease;
mod messages;
mod offers;
mod peers;
mod run;
mod settle;
mod slots;
mod view;

pub use config::{Config, MAX_DEMANDS, MAX_LEASES, MAX_LEASES_PER_PEER, MAX_SETTLING};
pub use effect::{Effect, Event, OfferDraft};
pub use input::{Checked, Input, Terms};
pub use view::{Counters, LeaseView};

use crate::{
    seed::{Ids, Seed},
    timers::Timers,
};
use hive_protocol::{
    credential::Credential,
    ids::{DemandId, LeaseId, NodeId},
    resources::Resources,
    time::Timestamp,
    work::WorkMsg,
};
use lease::{Executor, Lease, Phase};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Timer {
    /// Acknowledge, or send again.
    Link(LeaseId),
    /// Sign a receipt for what has ended.
    Receipt(LeaseId),
    /// The submitter has been away or silent for too long, or the lease idle.
    Grace(LeaseId),
    /// Nobody countersigns.
    Unpaid(LeaseId),
    /// No task for too long.
    Idle(LeaseId),
    /// The hold is about to expire.
    Expiry(LeaseId),
    /// Capture again.
    Settle(LeaseId),
    /// Running tasks have had their grace.
    Drain,
}

#[derive(Clone, Debug, Default)]
struct Peer {
    connected: bool,
    leases: BTreeSet<LeaseId>,
}

/// The core. See the module.
#[derive(Clone, Debug)]
pub struct Worker {
    config: Config,
    terms: Terms,
    ids: Ids,
    now: Timestamp,
    own: Option<Credential>,
    load_milli: u32,
    draining: bool,
    free: Resources,
    slots_used: u32,
    leases: BTreeMap<LeaseId, Lease>,
    demands: BTreeMap<DemandId, offers::Heard>,
    kept: BTreeMap<LeaseId, settle::Kept>,
    peers: BTreeMap<NodeId, Peer>,
    timers: Timers<Timer>,
    effects: VecDeque<Effect>,
    dirty: BTreeSet<LeaseId>,
    counters: Counters,
}

impl Worker {
    /// A worker without leases. It offers nothing before it has its credential.
    #[must_use]
    pub fn new(config: Config, seed: Seed) -> Self {
        let terms = config.terms.clone();
        Self {
            ids: Ids::new(seed),
            now: Timestamp(0),
            own: None,
            load_milli: 0,
            draining: false,
            free: terms.capabilities.total.clone(),
            slots_used: 0,
            leases: BTreeMap::new(),
            demands: BTreeMap::new(),
            kept: BTreeMap::new(),
            peers: BTreeMap::new(),
            timers: Timers::default(),
            effects: VecDeque::new(),
            dirty: BTreeSet::new(),
            counters: Counters::default(),
            terms,
            config,
        }
    }

    /// Takes one input. A peer's fault is answered or refused, never a panic.
    pub fn handle(&mut self, now: Timestamp, input: Input) {
        self.now = self.now.max(now);
        match input {
            Input::DemandHeard { demand, credential } => self.on_demand(*demand, &credential),
            Input::LeaseRequested {
                from,
                request,
                checked,
            } => self.on_lease_request(from, *request, checked),
            Input::Message { from, message } => self.on_message(from, message),
            Input::PeerConnected { node } => self.on_connected(node),
            Input::PeerLost { node } => self.on_lost(node),
            Input::ExecutorReady { lease } => self.on_executor_ready(lease),
            Input::ExecutorFailed {
                lease,
                code,
                detail,
                retryable,
            } => self.on_executor_failed(lease, &code, &detail, retryable),
            Input::ExecutorDied { lease, detail } => self.on_executor_died(lease, &detail),
            Input::TaskStarted {
                lease,
                index,
                attempt,
            } => self.on_task_started(lease, index, attempt),
            Input::TaskDone { lease, result } => self.on_task_done(lease, *result),
            Input::TaskLog {
                lease,
                index,
                attempt,
                stderr,
                bytes,
            } => self.on_task_log(lease, index, attempt, stderr, bytes),
            Input::BlobsReady {
                lease,
                index,
                attempt,
            } => self.on_blobs(lease, index, attempt, None),
            Input::BlobsFailed {
                lease,
                index,
                attempt,
                code,
                detail,
            } => self.on_blobs(lease, index, attempt, Some((code, detail))),
            Input::ReceiptSigned { lease, receipt } => self.on_receipt_signed(lease, receipt),
            Input::CaptureDone { lease, paid } => self.on_capture_done(lease, paid),
            Input::CaptureFailed { lease, refusal } => self.on_capture_failed(lease, &refusal),
            Input::ReleaseDone { lease } => self.on_release_done(lease),
            Input::OwnCredential(credential) => self.own = Some(*credential),
            Input::Configure(terms) => self.on_configure(*terms),
            Input::Load { milli } => self.load_milli = milli.min(1000),
            Input::Drain(on) => self.on_drain(on),
            Input::AuthorityUp => self.on_authority_up(),
            Input::KeptReceipt {
                lease,
                hold,
                expires,
                receipt,
            } => self.on_kept_receipt(lease, hold, expires, receipt),
            Input::AuthorityDown | Input::Tick => {}
        }
        while let Some(timer) = self.timers.take_due(self.now) {
            self.on_timer(timer);
        }
    }

    /// The next thing to do, in order; `None` when there is nothing left.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        if self.effects.is_empty() {
            self.flush();
        }
        self.effects.pop_front()
    }

    /// When `handle` must be called next even if nothing happens.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        self.timers.next()
    }

    /// Panics if the core contradicts itself; called after every step in tests and in the simulator.
    pub fn check_invariants(&self) {
        self.timers.check();
        let mut used = 0u32;
        let mut free = self.free.clone();
        for lease in self.leases.values() {
            lease.check();
            used += lease.granted;
            free = free.saturating_add(&lease.program.need, lease.granted);
            assert!(
                self.peers
                    .get(&lease.submitter)
                    .is_some_and(|p| p.leases.contains(&lease.id)),
                "a lease its peer does not know"
            );
        }
        assert_eq!(used, self.slots_used, "slots in use");
        let total = &self.terms.capabilities.total;
        assert!(
            free.cpu_milli >= total.cpu_milli.min(free.cpu_milli)
                && self.free.cpu_milli <= total.cpu_milli.max(free.cpu_milli),
            "resources"
        );
        if !self.oversized() {
            assert_eq!(
                (free.cpu_milli, free.memory_mib, free.disk_mib, free.gpus),
                (total.cpu_milli, total.memory_mib, total.disk_mib, total.gpus),
                "free and leased make the whole"
            );
        }
        let open = self.leases.values().filter(|l| l.granted > 0).count();
        assert!(open <= MAX_LEASES, "too many leases");
        assert!(self.leases.len() <= MAX_LEASES + MAX_SETTLING);
        assert!(self.demands.len() <= MAX_DEMANDS && self.kept.len() <= MAX_SETTLING);
    }

    /// Whether less is offered now than is leased out (after a change of configuration).
    fn oversized(&self) -> bool {
        let mut leased = Resources::default();
        for lease in self.leases.values() {
            leased = leased.saturating_add(&lease.program.need, lease.granted);
        }
        let t = &self.terms.capabilities.total;
        leased.cpu_milli > t.cpu_milli
            || leased.memory_mib > t.memory_mib
            || leased.disk_mib > t.disk_mib
            || leased.gpus > t.gpus
    }

    fn on_timer(&mut self, timer: Timer) {
        match timer {
            Timer::Link(id) => self.on_link_time(id),
            Timer::Receipt(id) => {
                self.dirty.insert(id);
            }
            Timer::Grace(id) => self.on_grace(id),
            Timer::Unpaid(id) => {
                if self.leases.get(&id).is_some_and(|l| l.is_open() && l.is_unpaid()) {
                    self.end(
                        id,
                        "lease.unpaid",
                        "receipts were not countersigned in time",
                        false,
                    );
                }
            }
            Timer::Idle(id) => {
                let Some(lease) = self.leases.get(&id).filter(|l| l.is_open()) else {
                    return;
                };
                if lease.in_hand() == 0 {
                    self.end(id, "lease.idle", "no task came for a long time", false);
                } else {
                    self.timers
                        .set(Timer::Idle(id), self.now + self.config.idle_grace);
                }
            }
            Timer::Expiry(id) => self.on_expiry(id),
            Timer::Settle(id) => self.settle(id),
            Timer::Drain => self.on_drain_over(),
        }
    }

    fn send(&mut self, to: NodeId, message: WorkMsg) {
        if self.peers.get(&to).is_some_and(|p| p.connected) {
            self.effects.push_back(Effect::Send { to, message });
        }
    }

    fn event(&mut self, event: Event) {
        self.effects.push_back(Effect::Event(event));
    }

    /// Keeps the link timer in step after anything was said or heard.
    fn link_timer(&mut self, id: LeaseId) {
        match self.leases.get(&id).and_then(|l| l.link.due()) {
            Some(due) => self.timers.set(Timer::Link(id), due),
            None => self.timers.clear(Timer::Link(id)),
        }
    }

    fn on_link_time(&mut self, id: LeaseId) {
        let now = self.now;
        let Some(lease) = self.leases.get_mut(&id) else {
            return;
        };
        let to = lease.submitter;
        for message in lease.link.on_time(now) {
            self.send(to, message);
        }
        self.link_timer(id);
    }

    fn resources_changed(&mut self) {
        let running = self.running();
        self.effects.push_back(Effect::ResourcesChanged {
            free: self.free.clone(),
            running,
        });
    }

    /// Starts the executor of a lease that has at least one slot of its own.
    fn start_executor(&mut self, id: LeaseId) {
        let Some(lease) = self.leases.get_mut(&id) else {
            return;
        };
        if lease.granted == 0 || lease.executor != Executor::Waiting || lease.phase == Phase::Settling {
            return;
        }
        lease.executor = Executor::Starting;
        let effect = Effect::StartExecutor {
            lease: id,
            from: lease.submitter,
            slots: lease.slots,
            program: lease.program.clone(),
        };
        self.effects.push_back(effect);
    }
}
