//! How many tasks a second the two cores drive, wired together by a perfect link in one thread.
//!
//! `cargo run --release -p hive-scheduler --example throughput -- [TASKS] [WORKERS]`
//! Signatures are real; sockets, frames, blobs and executors are not there: this is the ceiling that the
//! scheduling itself sets.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

use hive_protocol::{
    credential::Credential,
    gossip::Demand,
    ids::{AccountId, JobId, NetworkId, NodeId},
    keys::{SecretKey, Signed},
    money::{MicroCpt, Price},
    receipt::{Countersigned, HoldGrant},
    resources::{Capabilities, Resources, Role},
    task::{BlobRef, JobSpec, Limits, Outcome, Placement, Program, RuntimeKind, TaskResult, TaskSpec, Usage},
    time::Timestamp,
    work::{LeaseRequest, Offer},
};
use hive_scheduler::{
    Seed,
    submitter::{self, Submitter},
    worker::{self, Worker},
};
use std::{collections::VecDeque, sync::Arc, time::Instant};

const NET: NetworkId = NetworkId([1; 32]);

struct Node {
    key: SecretKey,
    core: Worker,
    credential: Credential,
    inputs: VecDeque<worker::Input>,
}

fn credential(key: &SecretKey, account: AccountId, role: Role) -> Credential {
    Credential {
        network: NET,
        node: NodeId(key.public()),
        account,
        name: "bench".into(),
        score: 100,
        containers: false,
        roles: vec![role],
        issued: Timestamp(0),
        expires: Timestamp(u64::MAX / 2),
    }
}

fn spec(tasks: u32) -> JobSpec {
    JobSpec {
        name: "bench".into(),
        program: Program {
            runtime: RuntimeKind::Wasm,
            module: BlobRef::of(b"\0asm"),
            need: Resources::cpu(1000, 64, 1),
            limits: Limits::default(),
            name: "noop".into(),
        },
        placement: Placement::default(),
        max_price: MicroCpt(1000),
        budget: MicroCpt::cpt(1_000_000),
        retries: 3,
        tasks,
        open: false,
    }
}

fn node(n: u8) -> Node {
    let key = SecretKey::from_seed(&[n; 32]);
    let account = AccountId([n; 32]);
    let terms = worker::Terms {
        capabilities: Capabilities {
            total: Resources::cpu(2000, 4096, 1000),
            runtimes: vec!["wasm".into()],
            ..Capabilities::default()
        },
        price: Price {
            per_gfuel: MicroCpt(10),
        },
        max_slots: 2,
    };
    let config = worker::Config::new(NET, NodeId(key.public()), account, terms);
    let credential = credential(&key, account, Role::Worker);
    let mut core = Worker::new(config, Seed([n; 32]));
    core.handle(
        Timestamp(0),
        worker::Input::OwnCredential(Box::new(credential.clone())),
    );
    Node {
        key,
        core,
        credential,
        inputs: VecDeque::new(),
    }
}

fn main() {
    let mut args = std::env::args().skip(1);
    let tasks: u32 = args.next().and_then(|a| a.parse().ok()).unwrap_or(200_000);
    let workers: u8 = args.next().and_then(|a| a.parse().ok()).unwrap_or(2);
    let key = SecretKey::from_seed(&[200; 32]);
    let authority = SecretKey::from_seed(&[201; 32]);
    let payer = AccountId([200; 32]);
    let me = NodeId(key.public());
    let own = credential(&key, payer, Role::Client);
    let mut sub = Submitter::new(submitter::Config::new(NET, me, payer), Seed([7; 32]));
    let mut nodes: Vec<Node> = (1..=workers).map(node).collect();
    let mut inputs: VecDeque<submitter::Input> = VecDeque::new();
    inputs.push_back(submitter::Input::OwnCredential(Box::new(own.clone())));
    inputs.push_back(submitter::Input::Submit {
        job: JobId([1; 16]),
        spec: Box::new(spec(tasks)),
        tasks: vec![TaskSpec::default(); tasks as usize],
    });
    let start = Instant::now();
    let (mut effects, mut events, mut rounds) = (0u64, 0u64, 0u64);
    while !sub.job(JobId([1; 16])).is_some_and(|j| j.state.is_final()) {
        rounds += 1;
        let now = Timestamp(1000 + u64::try_from(start.elapsed().as_millis()).unwrap());
        if sub.poll_timeout().is_some_and(|t| t <= now) {
            inputs.push_back(submitter::Input::Tick);
        }
        while let Some(input) = inputs.pop_front() {
            events += 1;
            sub.handle(now, input);
        }
        while let Some(effect) = sub.poll_effect() {
            effects += 1;
            for_submitter(effect, &key, &authority, me, &own, &mut nodes, &mut inputs);
        }
        for node in &mut nodes {
            if node.core.poll_timeout().is_some_and(|t| t <= now) {
                node.inputs.push_back(worker::Input::Tick);
            }
            while let Some(input) = node.inputs.pop_front() {
                events += 1;
                node.core.handle(now, input);
            }
            while let Some(effect) = node.core.poll_effect() {
                effects += 1;
                for_worker(effect, node, &mut inputs);
            }
        }
    }
    let took = start.elapsed();
    let view = sub.job(JobId([1; 16])).unwrap();
    assert_eq!(view.totals.succeeded, tasks);
    println!(
        "{tasks} tasks on {workers} workers in {took:.2?}: {:.0} tasks/s ({events} inputs, {effects} effects, {rounds} rounds, {} retries)",
        f64::from(tasks) / took.as_secs_f64(),
        view.totals.retries,
    );
}

fn for_submitter(
    effect: submitter::Effect,
    key: &SecretKey,
    authority: &SecretKey,
    me: NodeId,
    own: &Credential,
    nodes: &mut [Node],
    inputs: &mut VecDeque<submitter::Input>,
) {
    use submitter::Effect;
    match effect {
        Effect::PublishDemand(d) => {
            for node in nodes {
                node.inputs.push_back(worker::Input::DemandHeard {
                    demand: Box::new(Demand {
                        id: d.id,
                        job: d.job,
                        submitter: me,
                        credential: Signed::sign(key, own).unwrap(),
                        addrs: Vec::new(),
                        runtime: d.runtime,
                        need: d.need.clone(),
                        slots: d.slots,
                        placement: d.placement.clone(),
                        max_price: d.max_price,
                        issued: d.issued,
                        expires: d.expires,
                    }),
                    credential: Box::new(own.clone()),
                });
            }
        }
        Effect::RequestHold {
            lease,
            hold,
            payee,
            amount,
            expires,
            ..
        } => {
            let grant = HoldGrant {
                network: NET,
                hold,
                lease,
                payer: own.account,
                payee,
                amount,
                expires,
            };
            inputs.push_back(submitter::Input::HoldGranted {
                lease,
                signed: Signed::sign(authority, &grant).unwrap(),
                grant: Box::new(grant),
            });
        }
        Effect::RequestLease { to, request } => {
            let node = find(nodes, to);
            let request = *request;
            node.inputs.push_back(worker::Input::LeaseRequested {
                from: me,
                checked: Ok(Box::new(worker::Checked {
                    grant: request.hold.peek().unwrap(),
                    credential: own.clone(),
                })),
                request: Box::new(LeaseRequest {
                    lease: request.lease,
                    demand: request.demand,
                    job: request.job,
                    slots: request.slots,
                    price: request.price,
                    hold: request.hold,
                    credential: Signed::sign(key, own).unwrap(),
                    program: Arc::unwrap_or_clone(request.program),
                }),
            });
        }
        Effect::Send { to, message } => {
            find(nodes, to)
                .inputs
                .push_back(worker::Input::Message { from: me, message });
        }
        Effect::Countersign { lease, receipt } => {
            inputs.push_back(submitter::Input::Countersigned {
                lease,
                receipt: Box::new(Countersigned::sign(key, receipt)),
            });
        }
        _ => {}
    }
}

fn find(nodes: &mut [Node], id: NodeId) -> &mut Node {
    nodes.iter_mut().find(|n| n.credential.node == id).unwrap()
}

fn for_worker(effect: worker::Effect, node: &mut Node, inputs: &mut VecDeque<submitter::Input>) {
    use worker::Effect;
    let from = node.credential.node;
    match effect {
        Effect::SendOffer { offer, .. } => inputs.push_back(submitter::Input::OfferReceived {
            from,
            offer: Box::new(Offer {
                demand: offer.demand,
                slots: offer.slots,
                price: offer.price,
                load_milli: offer.load_milli,
                capabilities: offer.capabilities,
                free: offer.free,
                credential: Signed::sign(&node.key, &node.credential).unwrap(),
                expires: offer.expires,
            }),
            credential: Box::new(node.credential.clone()),
        }),
        Effect::Send { message, .. } => {
            inputs.push_back(submitter::Input::Message { from, message });
        }
        Effect::StartExecutor { lease, .. } => {
            node.inputs.push_back(worker::Input::ExecutorReady { lease });
        }
        Effect::RunTask { lease, order } => {
            let (index, attempt) = (order.index, order.attempt);
            node.inputs.push_back(worker::Input::TaskStarted {
                lease,
                index,
                attempt,
            });
            node.inputs.push_back(worker::Input::TaskDone {
                lease,
                result: Box::new(TaskResult {
                    index,
                    attempt,
                    outcome: Outcome::Exited(0),
                    stdout: None,
                    stderr: None,
                    outputs: Vec::new(),
                    usage: Usage {
                        fuel: 10_000,
                        wall_us: 20,
                        cpu_us: 20,
                        memory: 65_536,
                    },
                }),
            });
        }
        Effect::SignReceipt { lease, receipt } => {
            node.inputs.push_back(worker::Input::ReceiptSigned {
                lease,
                receipt: Signed::sign(&node.key, &*receipt).unwrap(),
            });
        }
        _ => {}
    }
}
