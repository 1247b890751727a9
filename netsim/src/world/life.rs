//! Founding the mesh, and nodes that start, crash and start again from their disks.

use super::{Authority, Disk, Happen, Node, START, World};
use crate::{
    fault::Fault,
    plan::{NodePlan, Plan},
    plant::Plant,
    random::Random,
};
use hive_protocol::{
    command::{Command, CommandBody},
    credential::Delegation,
    genesis::{DEFAULT_SCORE, Genesis},
    ids::{AccountId, CommandId, InviteId, NodeId},
    keys::{SecretKey, Signed},
    money::{MicroCpt, Price},
    resources::{Capabilities, Resources, Role},
    ticket::Ticket,
    time::{Millis, Timestamp},
};
use hive_scheduler::{
    Seed,
    submitter::{self, Submitter},
    worker::{self, Terms, Worker},
};
use hive_state::{Entry, State};

/// Everything there will ever be.
const MINTED: MicroCpt = MicroCpt::cpt(1_000_000);
/// What each account is given by the founder.
const GRANT: MicroCpt = MicroCpt::cpt(2_000);

/// Founds the mesh: genesis, an invitation and a join for every node, all on disk before time begins.
pub(super) fn found(rng: &mut Random, plan: &Plan, plant: Option<Plant>) -> (Authority, Vec<Node>) {
    let key = SecretKey::from_seed(&rng.bytes());
    let founder = SecretKey::from_seed(&rng.bytes());
    let genesis = Genesis {
        name: "sim".into(),
        nonce: rng.id(),
        created: Timestamp(START - 3_600_000),
        authorities: vec![NodeId(key.public())],
        founder: AccountId(founder.public()),
        minted: MINTED,
        default_score: DEFAULT_SCORE,
    };
    let bytes = genesis.encode().unwrap_or_default();
    let state = match State::genesis(&bytes) {
        Ok(state) => state,
        Err(e) => unreachable!("the simulator's own genesis: {e}"),
    };
    let offset = i64::try_from(rng.below(40_000)).unwrap_or(0) - 20_000;
    let mut authority = Authority::new(key, bytes, state, offset);
    let mut nodes: Vec<Node> = Vec::new();
    for (n, plan) in plan.nodes.iter().enumerate() {
        let owner = match plan.account_of.and_then(|of| nodes.get(of)) {
            Some(other) => other.owner.clone(),
            None => SecretKey::from_seed(&rng.bytes()),
        };
        let node = machine(rng, n, plan.clone(), owner);
        join(rng, &mut authority, &founder, &node);
        nodes.push(node);
    }
    authority.founded();
    for node in &mut nodes {
        node.credential = authority.credential(0, &node.id).ok();
    }
    if plant == Some(Plant::StoppedClock) {
        authority.stop_clock();
    }
    (authority, nodes)
}

fn machine(rng: &mut Random, n: usize, plan: NodePlan, owner: SecretKey) -> Node {
    let key = SecretKey::from_seed(&rng.bytes());
    let cores = plan.cores;
    Node {
        name: format!("{}{n}", if plan.submits { "s" } else { "w" }),
        id: NodeId(key.public()),
        account: AccountId(owner.public()),
        key,
        owner,
        alive: false,
        life: 0,
        submitter: None,
        worker: None,
        terms: Terms {
            capabilities: Capabilities {
                total: Resources::cpu(cores * 1000, u64::from(cores) * 1024, 100_000),
                cpu_score: 100,
                runtimes: vec!["wasm".into()],
                ..Capabilities::default()
            },
            price: Price {
                per_gfuel: MicroCpt(plan.price),
            },
            max_slots: 64,
        },
        credential: None,
        executors: std::collections::BTreeMap::new(),
        disk: Disk::default(),
        calls: std::collections::BTreeMap::new(),
        authority_up: true,
        loopback: std::collections::VecDeque::new(),
        touched: false,
        plan,
    }
}

fn join(rng: &mut Random, authority: &mut Authority, founder: &SecretKey, node: &Node) {
    let (invite, secret) = (InviteId(rng.id()), rng.id());
    let role = if node.plan.works {
        Role::Worker
    } else {
        Role::Client
    };
    let now = authority.clock(0);
    let bodies = [
        (
            founder,
            CommandBody::Invite {
                invite,
                secret_hash: Ticket::secret_hash(&secret),
                role,
                score: node.plan.score,
                grant: GRANT,
                uses: 1,
                expires: now + Millis::hours(1),
            },
        ),
        (
            &node.owner,
            CommandBody::Join {
                invite,
                secret,
                delegation: match Signed::sign(
                    &node.owner,
                    &Delegation {
                        network: authority.network,
                        account: node.account,
                        node: node.id,
                        expires: now + Millis::hours(1000),
                    },
                ) {
                    Ok(signed) => signed,
                    Err(e) => unreachable!("the simulator's own delegation: {e}"),
                },
                name: node.name.clone(),
                capabilities: node.terms.capabilities.clone(),
            },
        ),
    ];
    for (by, body) in bodies {
        let command = Command {
            network: authority.network,
            account: AccountId(by.public()),
            id: CommandId(rng.id()),
            not_after: now + Millis::mins(5),
            body,
        };
        if let Ok(signed) = Signed::sign(by, &command) {
            let applied = authority.enter(0, &Entry::Command(signed), true);
            if let Err(refusal) = applied.outcome {
                unreachable!("founding: {refusal:?}");
            }
        }
    }
}

impl World {
    /// Starts a node's process: new cores, fresh ids, and what its disk remembers.
    pub(super) fn start_node(&mut self, n: usize) {
        if self.nodes[n].alive {
            return;
        }
        let network = self.authority.network;
        let fresh = [Seed(self.rng.bytes()), Seed(self.rng.bytes())];
        let hold_life = Millis(self.plan.weather.hold_life);
        let repeated = self.plant == Some(Plant::RepeatedSeed);
        let inflated = self.plant == Some(Plant::InflatedTerms);
        let node = &mut self.nodes[n];
        node.alive = true;
        node.life += 1;
        node.authority_up = true;
        let seeds = if repeated {
            [Seed([n as u8; 32]), Seed([n as u8 + 100; 32])]
        } else {
            fresh
        };
        let [of_submitter, of_worker] = seeds;
        if node.plan.submits {
            let mut config = submitter::Config::new(network, node.id, node.account);
            config.hold_life = hold_life;
            node.submitter = Some(Submitter::new(config, of_submitter));
        }
        if node.plan.works {
            let mut terms = node.terms.clone();
            if inflated {
                terms.capabilities.total = terms
                    .capabilities
                    .total
                    .saturating_add(&node.terms.capabilities.total, 2);
            }
            let config = worker::Config::new(network, node.id, node.account, terms);
            node.worker = Some(Worker::new(config, of_worker));
        }
        let life = node.life;
        self.note(n, format_args!("up, life {life}"));
        if life > 1 && !self.calm {
            self.count_fault_of(n, Fault::SubmitterRestarted, Fault::WorkerRestarted);
        }
        self.give_credential(n);
        if self.nodes[n].plan.submits && self.nodes[n].plan.works {
            let node = self.nodes[n].id;
            self.tell_submitter(n, submitter::Input::PeerConnected { node });
            self.tell_worker(n, worker::Input::PeerConnected { node });
        }
        for (lease, kept) in self.nodes[n].disk.kept.clone() {
            let input = worker::Input::KeptReceipt {
                lease,
                hold: kept.hold,
                expires: kept.expires,
                receipt: kept.receipt,
            };
            self.tell_worker(n, input);
        }
        self.restore_jobs(n);
        for peer in 0..self.nodes.len() {
            self.dial(n, peer);
        }
    }

    fn restore_jobs(&mut self, n: usize) {
        if self.nodes[n].submitter.is_none() {
            return;
        }
        for (job, j) in self.nodes[n].disk.jobs.clone() {
            let mut ended: Vec<_> = j.ended.into_iter().collect();
            if self.plant == Some(Plant::ForgetEndedTask) {
                ended.pop();
            }
            let mut spec = j.spec;
            spec.open &= !j.stopped;
            self.tell_submitter(
                n,
                submitter::Input::Restore {
                    job,
                    spec: Box::new(spec),
                    tasks: j.tasks,
                    ended,
                    spent: j.spent,
                },
            );
            if j.stopped {
                self.tell_submitter(n, submitter::Input::StopJob { job });
            }
        }
    }

    /// Kills a node's process; it starts again after a while.
    pub(super) fn crash(&mut self, n: usize) {
        if !self.nodes[n].alive {
            return;
        }
        self.note(n, format_args!("crash"));
        self.drop_links(n);
        let node = &mut self.nodes[n];
        node.alive = false;
        node.life += 1;
        node.submitter = None;
        node.worker = None;
        node.executors.clear();
        node.calls.clear();
        node.loopback.clear();
        node.touched = false;
        self.count_fault_of(n, Fault::SubmitterCrashed, Fault::WorkerCrashed);
        let after = self.rng.range(200, self.plan.weather.down_ms.max(300));
        self.later(after, Happen::Restart { node: n });
    }

    /// Counts what befell a machine for each of its roles.
    fn count_fault_of(&mut self, n: usize, submitter: Fault, worker: Fault) {
        let plan = &self.nodes[n].plan;
        if plan.submits {
            self.faults.count(submitter);
        }
        if plan.works {
            self.faults.count(worker);
        }
    }
}
