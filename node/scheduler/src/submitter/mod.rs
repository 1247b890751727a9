//! The submitter core: coordinator of all jobs of one daemon.
//!
//! Owns the state of every task, which worker has it, and what may be spent. Must not know how bytes move,
//! how signatures are made, or what time it is but from its inputs.
//!
//! Effects are made lazily: inputs only change state and mark jobs and leases dirty;
//! [`Submitter::poll_effect`] turns what has gathered into as few messages as possible. So: hand in all
//! inputs at hand, then drain.

mod config;
mod demand;
mod dispatch;
mod effect;
mod explain;
mod input;
mod invariants;
mod job;
mod lease;
mod lifecycle;
mod messages;
mod money;
mod peers;
mod places;
mod receipts;
mod record;
mod results;
mod timeouts;
mod users;
mod view;

pub use config::{Config, MAX_JOBS, MAX_LEASES, MAX_LEASES_PER_JOB, MAX_NODES, MAX_OFFERS, MAX_TASKS};
pub use effect::{DemandDraft, Effect, Event, LeaseDraft};
pub use explain::{Explain, Step};
pub use input::{Input, NodeFacts};
pub use record::{JobRecord, JobState, TaskEnd, TaskRecord, Totals};
pub use view::{Counters, JobView, LeaseView, TaskStage, TaskView};

use crate::{
    seed::{Ids, Seed},
    timers::Timers,
};
use hive_protocol::{
    credential::Credential,
    ids::{DemandId, JobId, LeaseId, NodeId},
    time::Timestamp,
    work::WorkMsg,
};
use job::{Job, LeaseNo};
use lease::Lease;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Timer {
    /// Announce the demand again.
    Demand(JobId),
    /// Enough offers have been gathered.
    Offers(JobId),
    /// See how the job stands: state, idle leases, money.
    Review(JobId),
    /// See whether idle places of one job are of use to another.
    Places,
    /// See whether the last tasks are well placed.
    Balance(JobId),
    /// Acknowledge, or send again.
    Link(LeaseNo),
    /// The worker has not answered the request.
    Answer(LeaseNo),
    /// The authority is asked again for the hold.
    Hold(LeaseNo),
    /// The authority is asked again for the capture.
    Capture(LeaseNo),
    /// The worker has been away for too long.
    Grace(LeaseNo),
    /// Try to connect again.
    Connect(LeaseNo),
    /// The hold expires soon: another lease, then close this one.
    Renew(LeaseNo),
    /// The worker should have closed by now.
    Close(LeaseNo),
}

/// What is known of a peer's conduct.
#[derive(Clone, Debug, Default)]
struct Peer {
    connected: bool,
    strikes: u32,
    /// Offers are not taken before.
    pause_until: Timestamp,
    leases: BTreeSet<LeaseNo>,
}

/// The core. See the module.
#[derive(Clone, Debug)]
pub struct Submitter {
    config: Config,
    ids: Ids,
    now: Timestamp,
    own: Option<Credential>,
    authority_up: bool,
    jobs: BTreeMap<JobId, Job>,
    task_count: usize,
    leases: BTreeMap<LeaseNo, Lease>,
    by_id: BTreeMap<LeaseId, LeaseNo>,
    next_no: LeaseNo,
    by_demand: BTreeMap<DemandId, JobId>,
    nodes: BTreeMap<NodeId, NodeFacts>,
    peers: BTreeMap<NodeId, Peer>,
    timers: Timers<Timer>,
    effects: VecDeque<Effect>,
    dirty_jobs: BTreeSet<JobId>,
    dirty_leases: BTreeSet<LeaseNo>,
    counters: Counters,
}

impl Submitter {
    /// A coordinator without jobs.
    #[must_use]
    pub fn new(config: Config, seed: Seed) -> Self {
        Self {
            config,
            ids: Ids::new(seed),
            now: Timestamp(0),
            own: None,
            authority_up: true,
            jobs: BTreeMap::new(),
            task_count: 0,
            leases: BTreeMap::new(),
            by_id: BTreeMap::new(),
            next_no: 1,
            by_demand: BTreeMap::new(),
            nodes: BTreeMap::new(),
            peers: BTreeMap::new(),
            timers: Timers::default(),
            effects: VecDeque::new(),
            dirty_jobs: BTreeSet::new(),
            dirty_leases: BTreeSet::new(),
            counters: Counters::default(),
        }
    }

    /// Takes one input. A peer's fault is refused and remembered, never a panic.
    pub fn handle(&mut self, now: Timestamp, input: Input) {
        self.now = self.now.max(now);
        match input {
            Input::Submit { job, spec, tasks } => self.on_submit(job, *spec, tasks),
            Input::Restore {
                job,
                spec,
                tasks,
                ended,
                spent,
            } => self.on_restore(job, *spec, tasks, ended, spent),
            Input::AddTasks { job, tasks } => self.on_add(job, tasks),
            Input::CloseJob { job } => self.on_close_job(job),
            Input::StopJob { job } => self.on_stop_job(job),
            Input::StopTask { job, index } => self.on_stop_task(job, index),
            Input::RetryTask { job, index } => self.on_retry(job, index),
            Input::ForgetJob { job } => self.on_forget(job),
            Input::OwnCredential(credential) => {
                self.own = Some(*credential);
                self.touch_all();
            }
            Input::NodeSeen { node, facts } => self.on_node(node, *facts),
            Input::PriceSeen { node, price } => {
                if let Some(facts) = self.nodes.get_mut(&node) {
                    facts.price = Some(price);
                }
            }
            Input::NodeGone { node } => {
                if let Some(facts) = self.nodes.get_mut(&node) {
                    facts.online = false;
                }
            }
            Input::OfferReceived {
                from,
                offer,
                credential,
            } => self.on_offer(from, *offer, *credential),
            Input::HoldGranted { lease, grant, signed } => self.on_hold_granted(lease, &grant, signed),
            Input::HoldRefused { lease, refusal } => self.on_hold_refused(lease, &refusal),
            Input::Message { from, message } => self.on_message(from, message),
            Input::PeerConnected { node } => self.on_connected(node),
            Input::PeerLost { node } => self.on_lost(node),
            Input::Countersigned { lease, receipt } => self.on_countersigned(lease, receipt),
            Input::CaptureDone { lease, .. } => self.on_capture_done(lease),
            Input::CaptureFailed { lease, refusal } => self.on_capture_failed(lease, &refusal),
            Input::ResultStored { job, index, attempt } => self.on_stored(job, index, attempt),
            Input::ResultStoreFailed {
                job,
                index,
                attempt,
                code,
                detail,
            } => self.on_store_failed(job, index, attempt, code, detail),
            Input::AuthorityUp => self.on_authority(true),
            Input::AuthorityDown => self.on_authority(false),
            Input::Tick => {}
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

    fn flush(&mut self) {
        while let Some(id) = self.dirty_jobs.pop_first() {
            self.dispatch(id);
            self.look_for_slots(id);
            self.conclude(id);
        }
        while let Some(no) = self.dirty_leases.pop_first() {
            self.link_timer(no);
            self.forget_lease(no);
        }
    }

    fn touch_all(&mut self) {
        self.dirty_jobs.extend(self.jobs.keys().copied());
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
    fn link_timer(&mut self, no: LeaseNo) {
        match self
            .leases
            .get(&no)
            .filter(|l| !l.gone)
            .and_then(|l| l.link.due())
        {
            Some(due) => self.timers.set(Timer::Link(no), due),
            None => self.timers.clear(Timer::Link(no)),
        }
    }

    /// Says something within a lease.
    fn say(&mut self, no: LeaseNo, body: hive_protocol::work::LeaseBody) {
        let now = self.now;
        let Some(lease) = self.leases.get_mut(&no) else {
            return;
        };
        if lease.gone {
            return;
        }
        let to = lease.node;
        let message = lease.link.say(now, body);
        self.dirty_leases.insert(no);
        self.send(to, message);
    }
}
