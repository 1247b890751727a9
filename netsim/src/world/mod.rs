//! The simulated mesh: virtual time, one queue of what will happen, and the machines it happens to.
//!
//! The world is the shell of the real cores: it carries out their effects in the simplest true way (real
//! signatures, real ledger, connections that break) and decides by its seed what goes wrong. Must not know
//! clocks, threads or files.

mod authority;
mod calls;
mod executor;
mod faults;
mod happen;
mod life;
mod network;
mod node;
mod planted;
mod submit;
mod users;
mod work;

pub use authority::Authority;
pub use happen::Report;
pub use node::{CallFor, Disk, JournalJob, KeptReceipt, Node, START, Side};

use crate::{
    fault::{Fault, Faults},
    invariants::{self, Violation},
    oracle::Oracle,
    plan::{Plan, STORM},
    plant::Plant,
    random::Random,
    trace::Trace,
};
use happen::Happen;
use hive_protocol::ids::LeaseId;
use hive_scheduler::{submitter, worker};
use network::Link;
use std::{collections::BTreeMap, fmt};

/// The calm may last this long, in virtual milliseconds: longer than any hold lives, and as long again.
const CALM: u64 = 75 * 60_000;
/// How often everything is looked at in the calm, to see whether it is over.
const LOOK_EVERY: u64 = 5_000;
/// From then on a planted fault of time shows, in virtual milliseconds.
const PLANTED_AT: u64 = 60_000;
/// In so many of 10,000 cases a node dies while it carries out its cores' effects.
const DIES_IN_THE_MIDDLE: u32 = 3;

/// The mesh. See the module.
pub struct World {
    /// What the seed has decided.
    pub plan: Plan,
    /// A fault planted on purpose.
    pub plant: Option<Plant>,
    /// The seed's chance.
    pub rng: Random,
    /// Virtual milliseconds since the start.
    pub now: u64,
    /// The machines, authority apart.
    pub nodes: Vec<Node>,
    /// The authority.
    pub authority: Authority,
    /// What the simulator knows for itself.
    pub oracle: Oracle,
    /// No more faults.
    pub calm: bool,
    /// Faults that really happened.
    pub faults: Faults,
    queue: BTreeMap<(u64, u64), Happen>,
    number: u64,
    links: BTreeMap<(usize, usize), Link>,
    /// The latest message that a node has had under a lease, by who said it, to whom.
    heard: BTreeMap<(usize, usize, LeaseId), u64>,
    /// Which side of a partition each node is on; the authority is last.
    sides: Option<Vec<bool>>,
    trace: Trace,
    violation: Option<Violation>,
}

impl World {
    /// The world of a seed before anything has happened.
    #[must_use]
    pub fn new(seed: u64, plant: Option<Plant>, verbose: bool) -> Self {
        let mut rng = Random::new(seed);
        let plan = Plan::new(&mut rng);
        let (authority, nodes) = life::found(&mut rng, &plan, plant);
        let liars = (0..nodes.len())
            .filter(|n| plan.nodes[*n].lies.as_worker())
            .collect();
        let mut world = Self {
            oracle: Oracle::new(&authority.state, liars),
            plan,
            plant,
            rng,
            now: 0,
            nodes,
            authority,
            calm: false,
            faults: Faults::default(),
            queue: BTreeMap::new(),
            number: 0,
            links: BTreeMap::new(),
            heard: BTreeMap::new(),
            sides: None,
            trace: Trace::new(verbose),
            violation: None,
        };
        world.begin();
        world
    }

    fn begin(&mut self) {
        for n in 0..self.nodes.len() {
            self.start_node(n);
            let after = self.rng.below(3000);
            self.later(after, Happen::Beat { node: n });
            if self.nodes[n].plan.lies.rogue {
                self.later(10_000, Happen::Rogue { node: n });
            }
        }
        for job in 0..self.plan.jobs.len() {
            let at = self.plan.jobs[job].at;
            self.later(at, Happen::Submit { job });
        }
        self.schedule_faults();
    }

    /// The whole run: the storm, then the calm in which everything must come to its end.
    #[must_use]
    pub fn run(mut self, seed: u64) -> Report {
        self.run_until(STORM);
        if self.violation.is_none() {
            self.become_calm();
            let end = STORM + CALM;
            while self.violation.is_none() && self.now < end && !self.is_over() {
                self.run_until((self.now + LOOK_EVERY).min(end));
                self.give_up_unaffordable();
            }
        }
        if self.violation.is_none()
            && let Err(violation) = invariants::at_the_end(&self)
        {
            self.violation = Some(violation);
        }
        self.report(seed)
    }

    fn report(mut self, seed: u64) -> Report {
        let mut figures = self.oracle.figures.clone();
        figures.insert("nodes", self.nodes.len() as u64 + 1);
        figures.insert("virtual_seconds", self.now / 1000);
        figures.insert("log_entries", self.authority.log_len() as u64);
        Report {
            seed,
            hash: self.trace.hash(),
            lines: self.trace.lines(),
            figures,
            faults: self.faults,
            violation: self.violation.take(),
            trace: self.trace.take_lines(),
        }
    }

    pub(crate) fn later(&mut self, after: u64, what: Happen) {
        self.number += 1;
        self.queue.insert((self.now + after, self.number), what);
    }

    pub(crate) fn note(&mut self, n: usize, what: fmt::Arguments<'_>) {
        self.trace.note(self.now, &self.nodes[n].name, what);
    }

    pub(crate) fn note_authority(&mut self, what: fmt::Arguments<'_>) {
        self.trace.note(self.now, "auth", what);
    }

    /// A fault with this chance in 10,000; never in the calm.
    pub(crate) fn faulty(&mut self, chance: u32) -> bool {
        !self.calm && self.rng.chance(chance)
    }

    /// A fault with this chance in 10,000, counted.
    pub(crate) fn happens(&mut self, fault: Fault, chance: u32) -> bool {
        let happens = self.faulty(chance);
        if happens {
            self.faults.count(fault);
        }
        happens
    }

    pub(crate) fn violated(&mut self, result: Result<(), Violation>) {
        if let Err(violation) = result
            && self.violation.is_none()
        {
            self.trace.note(self.now, "!", format_args!("{violation}"));
            self.violation = Some(violation);
        }
    }

    fn run_until(&mut self, end: u64) {
        let (mut moment, mut steps) = (self.now, 0);
        while self.violation.is_none() && self.step(end) {
            steps = if self.now == moment { steps + 1 } else { 0 };
            moment = self.now;
            let checked = invariants::progress::moment(self, steps);
            self.violated(checked);
        }
        self.now = self.now.max(end);
    }

    /// Everything of the next moment goes in, then effects come out, as a busy shell does it.
    fn step(&mut self, end: u64) -> bool {
        let queued = self.queue.first_key_value().map(|(k, _)| k.0);
        let cores = self.nodes.iter().filter_map(Node::due).min();
        let authority = self.authority.due();
        let Some(next) = [queued, cores, authority].into_iter().flatten().min() else {
            return false;
        };
        let next = next.max(self.now);
        if next > end {
            return false;
        }
        self.now = next;
        while let Some(entry) = self.queue.first_entry() {
            if entry.key().0 > self.now {
                break;
            }
            let what = entry.remove();
            self.happen(what);
        }
        if self.authority.due().is_some_and(|t| t <= self.now) {
            self.authority_tick();
        }
        for n in 0..self.nodes.len() {
            if self.nodes[n].due().is_some_and(|t| t <= self.now) {
                self.tick(n);
            }
            if std::mem::take(&mut self.nodes[n].touched) && self.nodes[n].alive {
                self.drain(n);
                let checked = invariants::of_a_node(self, n);
                self.violated(checked);
            }
        }
        true
    }

    fn tick(&mut self, n: usize) {
        let now = self.now;
        // What the cores do when they contradict themselves.
        assert!(
            self.plant != Some(Plant::FailedAssertion) || now < PLANTED_AT,
            "planted"
        );
        let node = &mut self.nodes[n];
        let due = node.clock(now);
        let mut clock = due;
        if self.plant == Some(Plant::EarlyTick) && now > PLANTED_AT {
            clock.0 -= 1;
        }
        if let Some(s) = node
            .submitter
            .as_mut()
            .filter(|s| s.poll_timeout().is_some_and(|t| t <= due))
        {
            s.handle(clock, submitter::Input::Tick);
        }
        if let Some(w) = node
            .worker
            .as_mut()
            .filter(|w| w.poll_timeout().is_some_and(|t| t <= due))
        {
            w.handle(clock, worker::Input::Tick);
        }
        node.touched = true;
    }

    fn happen(&mut self, what: Happen) {
        match what {
            Happen::Submitter { node, life, input } => {
                if self.nodes[node].life == life {
                    self.tell_submitter(node, *input);
                }
            }
            Happen::Worker { node, life, input } => {
                if self.nodes[node].life == life {
                    self.tell_worker(node, *input);
                }
            }
            Happen::Executor {
                node,
                life,
                number,
                input,
            } => self.executor_says(node, life, number, *input),
            Happen::TaskEnds {
                node,
                life,
                number,
                lease,
                order,
            } => self.task_ends(node, life, number, lease, &order),
            Happen::Message {
                from,
                to,
                epoch,
                message,
            } => self.arrives(from, to, epoch, *message),
            Happen::Dialled { a, b } => self.dialled(a, b),
            Happen::Up { side, peer, epoch } => self.hears_up(side, peer, epoch),
            Happen::Lost { side, peer, epoch } => self.hears_lost(side, peer, epoch),
            Happen::Demand { to, demand } => self.hears_demand(to, *demand),
            Happen::ToAuthority {
                from,
                life,
                call,
                request,
            } => self.authority_hears(from, life, call, *request),
            Happen::FromAuthority {
                to,
                life,
                call,
                reply,
            } => self.answered(to, life, call, *reply),
            Happen::CallTimeout { node, life, call } => self.call_timeout(node, life, call),
            Happen::Synced { life, upto } => self.synced(life, upto),
            Happen::Beat { node } => self.beat(node),
            Happen::Fetched(transfer) => self.fetched(*transfer),
            Happen::Submit { job } => self.user_submits(job),
            Happen::Whim => self.whim(),
            Happen::Crash => self.crash_one(),
            Happen::CrashNode { node } => self.crash(node),
            Happen::Restart { node } => self.start_node(node),
            Happen::CrashAuthority => self.crash_authority(),
            Happen::AuthorityDies => self.authority_dies(),
            Happen::RestartAuthority => self.restart_authority(),
            Happen::Partition => self.partition(),
            Happen::FallInTwo => self.fall_in_two(),
            Happen::Whole { number } => self.whole(number),
            Happen::KillExecutor => self.kill_some_executor(),
            Happen::Rogue { node } => self.rogue(node),
        }
    }

    pub(crate) fn tell_submitter(&mut self, n: usize, input: submitter::Input) {
        let now = self.now;
        let node = &mut self.nodes[n];
        if !node.alive {
            return;
        }
        let clock = node.clock(now);
        if let Some(s) = &mut node.submitter {
            s.handle(clock, input);
            node.touched = true;
        }
    }

    pub(crate) fn tell_worker(&mut self, n: usize, input: worker::Input) {
        let now = self.now;
        let node = &mut self.nodes[n];
        if !node.alive {
            return;
        }
        let clock = node.clock(now);
        if let Some(w) = &mut node.worker {
            w.handle(clock, input);
            node.touched = true;
        }
    }

    pub(crate) fn submitter_later(&mut self, n: usize, after: u64, input: submitter::Input) {
        let life = self.nodes[n].life;
        self.later(
            after,
            Happen::Submitter {
                node: n,
                life,
                input: Box::new(input),
            },
        );
    }

    pub(crate) fn worker_later(&mut self, n: usize, after: u64, input: worker::Input) {
        let life = self.nodes[n].life;
        self.later(
            after,
            Happen::Worker {
                node: n,
                life,
                input: Box::new(input),
            },
        );
    }

    /// Carries out effects until there are none.
    fn drain(&mut self, n: usize) {
        // A process dies between two effects as well as between two inputs.
        let dies = self.faulty(DIES_IN_THE_MIDDLE).then(|| self.rng.below(6));
        let (mut done, mut rounds) = (0, 0);
        loop {
            let mut any = false;
            while let Some(effect) = self.nodes[n].submitter.as_mut().and_then(|s| s.poll_effect()) {
                any = true;
                if dies == Some(done) {
                    self.crash(n);
                    return;
                }
                done += 1;
                self.submitter_effect(n, effect);
            }
            while let Some(effect) = self.nodes[n].worker.as_mut().and_then(|w| w.poll_effect()) {
                any = true;
                if dies == Some(done) {
                    self.crash(n);
                    return;
                }
                done += 1;
                self.worker_effect(n, effect);
            }
            while let Some((side, message)) = self.nodes[n].loopback.pop_front() {
                any = true;
                self.deliver(n, n, message, Some(side));
            }
            if !any || self.violation.is_some() {
                break;
            }
            rounds += 1;
            let checked = invariants::progress::talk(self, n, rounds);
            self.violated(checked);
        }
        self.nodes[n].touched = false;
    }
}
