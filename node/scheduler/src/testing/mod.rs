//! A small mesh in virtual time around the two cores: one submitter, some workers, an authority.
//!
//! Built for tests: what the shell does is done here in the simplest true way (real signatures, real
//! message order, connections that break), and every effect is kept for looking at afterwards.

mod authority;
mod build;
mod effects;
mod node;
mod worker_effects;

pub use authority::{Authority, Hold, HoldState};
pub use node::{Executor, WorkerNode};

use crate::{
    Seed,
    submitter::{self, Submitter, TaskEnd},
    worker::{self, Worker},
};
use hive_protocol::{
    credential::Credential,
    ids::{AccountId, JobId, LeaseId, NetworkId, NodeId, TaskIndex},
    keys::SecretKey,
    money::MicroCpt,
    resources::Role,
    task::{JobSpec, TaskSpec},
    time::{Millis, Timestamp},
    work::WorkMsg,
};
use std::collections::BTreeMap;

/// Something that will happen.
#[derive(Clone, Debug)]
enum Happen {
    ToSubmitter(submitter::Input),
    ToWorker(usize, worker::Input),
    /// A message on the stream with this worker, of this connection.
    Up(usize, u64, WorkMsg),
    Down(usize, u64, WorkMsg),
    Done(usize, u64, LeaseId, TaskIndex, u16),
}

/// What a job's journal holds.
#[derive(Clone, Debug)]
pub struct Journal {
    /// The job.
    pub spec: JobSpec,
    /// Its tasks.
    pub tasks: Vec<TaskSpec>,
    /// Tasks that have ended.
    pub ended: BTreeMap<TaskIndex, TaskEnd>,
    /// What was spent.
    pub spent: MicroCpt,
}

/// The mesh. See the module.
pub struct TestHive {
    /// The moment.
    pub now: Timestamp,
    /// The coordinator.
    pub submitter: Submitter,
    /// The workers.
    pub workers: Vec<WorkerNode>,
    /// The authorities.
    pub authority: Authority,
    /// The journal of the submitter.
    pub journal: BTreeMap<JobId, Journal>,
    /// Everything the submitter wanted done.
    pub effects: Vec<submitter::Effect>,
    /// Everything the workers wanted done.
    pub worker_effects: Vec<(usize, worker::Effect)>,
    /// Looks at every message on its way; false loses it. From the worker with `true`.
    #[allow(clippy::type_complexity)]
    pub filter: Box<dyn FnMut(usize, bool, &WorkMsg) -> bool>,
    /// One way, in milliseconds.
    pub latency: Millis,
    /// Keep effects for looking at (off for long runs).
    pub keep: bool,
    /// Check invariants after every step (off for the bench).
    pub check: bool,
    /// Whether the submitter's store fails to fetch.
    pub fetch_fails: Option<String>,
    key: SecretKey,
    queue: BTreeMap<(Timestamp, u64), Happen>,
    number: u64,
    lives: u8,
    score: u32,
    minted: u64,
}

const NETWORK: NetworkId = NetworkId([9; 32]);
/// The submitter's account.
pub const PAYER: AccountId = AccountId([100; 32]);

impl TestHive {
    /// A mesh with a funded submitter and no workers.
    #[must_use]
    pub fn new() -> Self {
        let key = SecretKey::from_seed(&[200; 32]);
        let mut authority = Authority::new(NETWORK);
        let minted = MicroCpt::cpt(1_000_000);
        authority.balances.insert(PAYER, minted);
        let mut hive = Self {
            now: Timestamp(1_000_000),
            submitter: Submitter::new(Self::submitter_config(&key), Seed([1; 32])),
            workers: Vec::new(),
            authority,
            journal: BTreeMap::new(),
            effects: Vec::new(),
            worker_effects: Vec::new(),
            filter: Box::new(|_, _, _| true),
            latency: Millis(1),
            keep: true,
            check: true,
            fetch_fails: None,
            key,
            queue: BTreeMap::new(),
            number: 0,
            lives: 1,
            score: 100,
            minted: minted.0,
        };
        hive.give_credential();
        hive
    }

    fn submitter_config(key: &SecretKey) -> submitter::Config {
        submitter::Config::new(NETWORK, NodeId(key.public()), PAYER)
    }

    fn give_credential(&mut self) {
        let credential = credential(NodeId(self.key.public()), PAYER, self.score, &[Role::Client]);
        self.input(submitter::Input::OwnCredential(Box::new(credential)));
    }

    /// Hands the submitter an input now.
    pub fn input(&mut self, input: submitter::Input) {
        self.submitter.handle(self.now, input);
        self.drain();
    }

    /// Hands a worker an input now.
    pub fn tell(&mut self, n: usize, input: worker::Input) {
        let now = self.now;
        if let Some(w) = self.workers.get_mut(n)
            && w.alive
        {
            w.core.handle(now, input);
        }
        self.drain();
    }

    fn later(&mut self, after: Millis, what: Happen) {
        self.number += 1;
        self.queue.insert((self.now + after, self.number), what);
    }

    /// Brings the stream to a worker up (again).
    pub fn connect(&mut self, n: usize) {
        let Some(w) = self.workers.get_mut(n) else {
            return;
        };
        if w.connected || !w.alive {
            return;
        }
        w.connected = true;
        w.epoch += 1;
        let node = w.id;
        self.tell(
            n,
            worker::Input::PeerConnected {
                node: self.submitter_id(),
            },
        );
        self.input(submitter::Input::PeerConnected { node });
    }

    /// Cuts the stream to a worker: what is in flight is lost.
    pub fn cut(&mut self, n: usize) {
        let Some(w) = self.workers.get_mut(n) else {
            return;
        };
        if !w.connected {
            return;
        }
        w.connected = false;
        w.epoch += 1;
        let node = w.id;
        self.tell(
            n,
            worker::Input::PeerLost {
                node: self.submitter_id(),
            },
        );
        self.input(submitter::Input::PeerLost { node });
    }

    /// Kills a worker's process.
    pub fn kill(&mut self, n: usize) {
        self.cut(n);
        if let Some(w) = self.workers.get_mut(n) {
            w.alive = false;
            w.executors.clear();
        }
    }

    /// Starts a killed worker again with nothing but its keys and kept receipts.
    pub fn revive(&mut self, n: usize) {
        self.lives += 1;
        let lives = self.lives;
        let Some(w) = self.workers.get_mut(n) else {
            return;
        };
        w.alive = true;
        w.core = Worker::new(w.config.clone(), Seed([lives; 32]));
        let credential = w.credential.clone();
        let kept: Vec<_> = w.kept.values().cloned().collect();
        self.tell(n, worker::Input::OwnCredential(Box::new(credential)));
        for input in kept {
            self.tell(n, input);
        }
        self.connect(n);
    }

    /// The submitter's node.
    #[must_use]
    pub fn submitter_id(&self) -> NodeId {
        NodeId(self.key.public())
    }

    /// Kills the submitter's daemon and starts it again from its journal.
    pub fn restart_submitter(&mut self) {
        let up: Vec<usize> = (0..self.workers.len())
            .filter(|n| self.workers.get(*n).is_some_and(|w| w.connected))
            .collect();
        for n in &up {
            if let Some(w) = self.workers.get_mut(*n) {
                w.connected = false;
                w.epoch += 1;
            }
            let node = self.submitter_id();
            self.tell(*n, worker::Input::PeerLost { node });
        }
        self.queue
            .retain(|_, what| !matches!(what, Happen::ToSubmitter(_)));
        self.lives += 1;
        let config = Self::submitter_config(&self.key);
        self.submitter = Submitter::new(config, Seed([self.lives; 32]));
        self.give_credential();
        for (job, journal) in self.journal.clone() {
            self.input(submitter::Input::Restore {
                job,
                spec: Box::new(journal.spec),
                tasks: journal.tasks,
                ended: journal.ended.into_iter().collect(),
                spent: journal.spent,
            });
        }
        for n in up {
            self.connect(n);
        }
        for n in 0..self.workers.len() {
            self.announce(n);
        }
    }

    /// Runs for so many virtual milliseconds.
    pub fn run(&mut self, ms: u64) {
        let end = self.now + Millis(ms);
        while self.step(end) {}
        self.now = end;
        self.authority.expire(end);
    }

    /// Runs until this holds; false if it does not within so many virtual milliseconds.
    pub fn run_until(&mut self, ms: u64, mut f: impl FnMut(&Self) -> bool) -> bool {
        let end = self.now + Millis(ms);
        loop {
            if f(self) {
                return true;
            }
            if !self.step(end) {
                self.now = end;
                return f(self);
            }
        }
    }

    fn step(&mut self, end: Timestamp) -> bool {
        let queued = self.queue.first_key_value().map(|(k, _)| k.0);
        let timeout = self.submitter.poll_timeout();
        let others = self
            .workers
            .iter()
            .filter(|w| w.alive)
            .filter_map(|w| w.core.poll_timeout())
            .min();
        let Some(next) = [queued, timeout, others].into_iter().flatten().min() else {
            return false;
        };
        if next > end {
            return false;
        }
        self.now = self.now.max(next);
        self.authority.expire(self.now);
        if queued == Some(next) {
            // Everything of one moment goes in before effects come out, as a busy shell does it.
            while let Some(entry) = self.queue.first_entry() {
                if entry.key().0 > self.now {
                    break;
                }
                let what = entry.remove();
                self.happen(what);
            }
        } else {
            let now = self.now;
            if timeout == Some(next) {
                self.submitter.handle(now, submitter::Input::Tick);
            }
            for w in self.workers.iter_mut().filter(|w| w.alive) {
                if w.core.poll_timeout() == Some(next) {
                    w.core.handle(now, worker::Input::Tick);
                }
            }
        }
        self.drain();
        true
    }

    fn happen(&mut self, what: Happen) {
        let now = self.now;
        match what {
            Happen::ToSubmitter(input) => self.submitter.handle(now, input),
            Happen::ToWorker(n, input) => {
                if let Some(w) = self.workers.get_mut(n)
                    && w.alive
                {
                    w.core.handle(now, input);
                }
            }
            Happen::Up(n, epoch, message) => {
                if let Some(w) = self.workers.get(n)
                    && w.epoch == epoch
                {
                    let from = w.id;
                    let input = effects::to_submitter(from, message, &w.credential);
                    self.submitter.handle(now, input);
                }
            }
            Happen::Down(n, epoch, message) => {
                let from = self.submitter_id();
                if let Some(w) = self.workers.get_mut(n)
                    && w.epoch == epoch
                    && w.alive
                {
                    w.core.handle(now, worker::Input::Message { from, message });
                }
            }
            Happen::Done(n, life, lease, index, attempt) => {
                self.executor_done(n, life, lease, index, attempt);
            }
        }
    }
}

impl Default for TestHive {
    fn default() -> Self {
        Self::new()
    }
}

pub(crate) fn credential(node: NodeId, account: AccountId, score: u32, roles: &[Role]) -> Credential {
    Credential {
        network: NETWORK,
        node,
        account,
        name: node.short(),
        score,
        containers: false,
        roles: roles.to_vec(),
        issued: Timestamp(0),
        expires: Timestamp(u64::MAX / 2),
    }
}
