//! Putting a test mesh together: money, workers, jobs.

use super::{Journal, NETWORK, PAYER, TestHive, WorkerNode, credential};
use crate::{
    Seed, submitter,
    worker::{self, Terms, Worker},
};
use hive_protocol::{
    ids::{AccountId, JobId, NodeId},
    keys::SecretKey,
    money::{MicroCpt, Price},
    resources::{Capabilities, Resources, Role},
    task::{BlobRef, JobSpec, Limits, Placement, Program, RuntimeKind, TaskSpec},
};
use std::collections::BTreeMap;

impl TestHive {
    /// Sets the submitter's balance; what it had is gone from the total too.
    pub fn fund(&mut self, amount: MicroCpt) {
        self.authority.balances.insert(PAYER, amount);
        self.minted = self.authority.total();
    }

    /// Sets the submitter's score.
    pub fn score(&mut self, score: u32) {
        self.score = score;
        self.give_credential();
    }

    /// Adds a worker with this many cores of 1 GiB each. It is connected and known from the start.
    pub fn worker(&mut self, cores: u32) -> usize {
        self.worker_with(cores, 50, 1000, |_| {})
    }

    /// Adds a worker with this score and price, changed by `f` before its core is made.
    pub fn worker_with(
        &mut self,
        cores: u32,
        score: u32,
        price: u64,
        f: impl FnOnce(&mut worker::Config),
    ) -> usize {
        let n = self.workers.len();
        let tag = u8::try_from(n + 1).unwrap_or(u8::MAX);
        let key = SecretKey::from_seed(&[tag; 32]);
        let id = NodeId(key.public());
        let account = AccountId([tag; 32]);
        let terms = Terms {
            capabilities: Capabilities {
                total: Resources::cpu(cores * 1000, u64::from(cores) * 1024, 100_000),
                runtimes: vec!["wasm".into()],
                ..Capabilities::default()
            },
            price: Price {
                per_gfuel: MicroCpt(price),
            },
            max_slots: 64,
        };
        let mut config = worker::Config::new(NETWORK, id, account, terms);
        f(&mut config);
        let credential = credential(id, account, score, &[Role::Worker]);
        self.workers.push(WorkerNode {
            core: Worker::new(config.clone(), Seed([tag; 32])),
            config,
            id,
            account,
            key,
            credential: credential.clone(),
            alive: true,
            connected: false,
            epoch: 0,
            executors: BTreeMap::new(),
            task_ms: 10,
            fuel: 1_000_000,
            outcomes: BTreeMap::new(),
            slow: BTreeMap::new(),
            outputs: Vec::new(),
            fetch_ms: 0,
            lie: 1,
            ran: BTreeMap::new(),
            peak: 0,
            kept: BTreeMap::new(),
        });
        self.connect(n);
        self.tell(n, worker::Input::OwnCredential(Box::new(credential)));
        self.announce(n);
        n
    }

    /// Tells the submitter of a worker, as presence does.
    pub fn announce(&mut self, n: usize) {
        let Some(w) = self.workers.get(n) else { return };
        let facts = submitter::NodeFacts {
            credential: w.credential.clone(),
            capabilities: w.config.terms.capabilities.clone(),
            free: w.core.free().clone(),
            price: Some(w.config.terms.price),
            leaving: false,
            online: w.alive,
        };
        let node = w.id;
        self.input(submitter::Input::NodeSeen {
            node,
            facts: Box::new(facts),
        });
    }

    /// A job of `tasks` tasks that need one core each.
    #[must_use]
    pub fn spec(tasks: u32) -> JobSpec {
        JobSpec {
            name: "test".into(),
            program: Program {
                runtime: RuntimeKind::Wasm,
                module: BlobRef::of(b"\0asm"),
                need: Resources::cpu(1000, 512, 10),
                limits: Limits {
                    fuel: 1_000_000_000,
                    ..Limits::default()
                },
                name: "test".into(),
            },
            placement: Placement::default(),
            max_price: MicroCpt(2000),
            budget: MicroCpt::cpt(1000),
            retries: 3,
            tasks,
            open: false,
        }
    }

    /// Submits a job.
    pub fn submit(&mut self, spec: JobSpec) -> JobId {
        let job = JobId([u8::try_from(self.journal.len() + 1).unwrap_or(u8::MAX); 16]);
        let tasks = vec![TaskSpec::default(); spec.tasks as usize];
        self.journal.insert(
            job,
            Journal {
                spec: spec.clone(),
                tasks: tasks.clone(),
                ended: BTreeMap::new(),
                spent: MicroCpt::ZERO,
            },
        );
        self.input(submitter::Input::Submit {
            job,
            spec: Box::new(spec),
            tasks,
        });
        job
    }
}
