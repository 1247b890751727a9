//! A worker alone with a submitter that keeps no rules: what the worker's own core must refuse.

use super::*;
use crate::{
    testing::{PAYER, TestHive, credential},
    worker::{Checked, Effect as Wanted, Input},
};
use hive_protocol::{
    command::Refusal,
    ids::{HoldId, LeaseId, NodeId},
    keys::{SecretKey, Signed},
    money::{MicroCpt, Price},
    receipt::HoldGrant,
    resources::Role,
    task::{TaskOrder, TaskSpec},
    time::Timestamp,
    work::{LeaseRequest, MAX_PIPELINE_PER_SLOT},
};

const LEASE: LeaseId = LeaseId([42; 16]);

/// A worker whose words reach nobody, so that the honest core stays out of it.
fn alone(cores: u32) -> TestHive {
    let mut hive = TestHive::new();
    hive.worker(cores);
    hive.filter = Box::new(|_, _, _| false);
    hive
}

fn grant(hive: &TestHive, amount: u64) -> HoldGrant {
    HoldGrant {
        network: hive.workers[0].config.network,
        hold: HoldId([7; 16]),
        lease: LEASE,
        payer: PAYER,
        payee: hive.workers[0].account,
        amount: MicroCpt(amount),
        expires: Timestamp(hive.now.0 + 3_600_000),
    }
}

fn request(hive: &mut TestHive, slots: u32, price: u64, grant: &HoldGrant, checked: Option<Refusal>) {
    let from = hive.submitter_id();
    let key = SecretKey::from_seed(&[250; 32]);
    let own = credential(from, PAYER, 100, &[Role::Client]);
    let request = LeaseRequest {
        lease: LEASE,
        demand: hive_protocol::ids::DemandId([1; 16]),
        job: JobId([1; 16]),
        slots,
        price: Price {
            per_gfuel: MicroCpt(price),
        },
        hold: Signed::sign(&key, grant).unwrap(),
        credential: Signed::sign(&key, &own).unwrap(),
        program: TestHive::spec(1).program,
    };
    let checked = match checked {
        None => Ok(Box::new(Checked {
            grant: grant.clone(),
            credential: own,
        })),
        Some(refusal) => Err(refusal),
    };
    hive.tell(
        0,
        Input::LeaseRequested {
            from,
            request: Box::new(request),
            checked,
        },
    );
}

fn say(hive: &mut TestHive, seq: u64, body: LeaseBody) {
    let from = hive.submitter_id();
    let message = WorkMsg::Lease {
        lease: LEASE,
        seq,
        ack: 0,
        body,
    };
    hive.tell(0, Input::Message { from, message });
}

fn tasks(range: std::ops::Range<u32>) -> LeaseBody {
    LeaseBody::Tasks(
        range
            .map(|i| TaskOrder {
                index: TaskIndex(i),
                attempt: 1,
                spec: TaskSpec::default(),
            })
            .collect(),
    )
}

fn refusals(hive: &TestHive) -> Vec<String> {
    hive.worker_effects
        .iter()
        .filter_map(|(_, e)| match e {
            Wanted::Send {
                message: WorkMsg::LeaseRefuse { code, .. },
                ..
            } => Some(code.clone()),
            _ => None,
        })
        .collect()
}

/// What the worker has reported, by code.
fn reported(hive: &TestHive, code: &str) -> usize {
    hive.worker_effects
        .iter()
        .filter_map(|(_, e)| match e {
            Wanted::Send { message, .. } => lease_body(message),
            _ => None,
        })
        .filter_map(|b| match b {
            LeaseBody::Results(results) => Some(results),
            _ => None,
        })
        .flatten()
        .filter(|r| matches!(&r.outcome, hive_protocol::task::Outcome::Failed { code: c, .. } if c == code))
        .count()
}

#[test]
fn no_task_is_started_when_the_hold_is_used_up() {
    let mut hive = alone(1);
    hive.workers[0].fuel = 1_000_000_000;
    let g = grant(&hive, 3_000);
    request(&mut hive, 1, 1000, &g, None);
    say(&mut hive, 1, tasks(0..10));
    hive.run(500);
    let ran: u32 = hive.workers[0].ran.values().sum();
    assert_eq!(ran, 3, "three tasks use the hold up");
    assert_eq!(reported(&hive, "task.recalled"), 7, "the rest is given back");
    assert_eq!(
        hive.worker_events(0, |e| matches!(e, worker::Event::LeaseEnded { code, owed, .. }
            if code == "lease.budget" && *owed == MicroCpt(3_000))),
        1
    );
}

#[test]
fn more_tasks_than_a_queue_holds_are_given_back() {
    let mut hive = alone(1);
    hive.workers[0].task_ms = 100_000;
    let g = grant(&hive, 1_000_000);
    request(&mut hive, 1, 1000, &g, None);
    say(&mut hive, 1, tasks(0..100));
    hive.run(10);
    assert_eq!(
        reported(&hive, "task.recalled"),
        100 - MAX_PIPELINE_PER_SLOT as usize
    );
    // The same tasks again under the same lease are no further work.
    say(&mut hive, 2, tasks(0..10));
    hive.run(10);
    let view = hive.workers[0].core.leases().next().unwrap();
    assert_eq!(view.queued + view.running, MAX_PIPELINE_PER_SLOT);
}

#[test]
fn a_lease_request_is_refused_by_name() {
    let good = |hive: &TestHive| grant(hive, 1_000);
    let mut hive = alone(2);
    let mut other = good(&hive);
    other.payee = hive_protocol::ids::AccountId([66; 32]);
    request(&mut hive, 1, 1000, &other, None);
    let mut late = good(&hive);
    late.expires = Timestamp(hive.now.0 + 10_000);
    request(&mut hive, 1, 1000, &late, None);
    let g = good(&hive);
    request(&mut hive, 1, 999, &g, None);
    request(
        &mut hive,
        1,
        1000,
        &g,
        Some(Refusal::new("lease.clock", "an hour off")),
    );
    let empty = grant(&hive, 0);
    request(&mut hive, 1, 1000, &empty, None);
    hive.tell(0, Input::Drain(true));
    request(&mut hive, 1, 1000, &g, None);
    hive.tell(0, Input::Drain(false));
    assert_eq!(
        refusals(&hive),
        [
            "lease.hold_invalid",
            "lease.hold_invalid",
            "lease.price",
            "lease.clock",
            "lease.hold_invalid",
            "lease.draining"
        ]
    );
    let given_back = hive
        .worker_effects
        .iter()
        .filter(|(_, e)| matches!(e, Wanted::Release { .. }))
        .count();
    assert_eq!(given_back, 4, "holds that were good for this worker");
    request(&mut hive, 5, 1000, &g, None);
    let view = hive.workers[0].core.leases().next().unwrap();
    assert_eq!(view.slots, 2, "never more than there is");
}

#[test]
fn what_only_a_worker_says_ends_the_lease() {
    let mut hive = alone(1);
    let g = grant(&hive, 1_000);
    request(&mut hive, 1, 1000, &g, None);
    say(&mut hive, 1, LeaseBody::Started(Vec::new()));
    hive.run(100);
    assert!(hive.workers[0].core.is_idle());
    assert_eq!(hive.workers[0].core.counters().broken, 1);
    assert_eq!(hive.workers[0].core.free().cpu_milli, 1000);
}

#[test]
fn nobody_speaks_for_anothers_lease() {
    let mut hive = alone(1);
    let g = grant(&hive, 1_000);
    request(&mut hive, 1, 1000, &g, None);
    let stranger = NodeId([99; 32]);
    for message in [
        WorkMsg::Unknown { lease: LEASE },
        WorkMsg::Lease {
            lease: LEASE,
            seq: 1,
            ack: 0,
            body: LeaseBody::Close,
        },
        WorkMsg::Ack { lease: LEASE, ack: 9 },
    ] {
        hive.tell(
            0,
            Input::Message {
                from: stranger,
                message,
            },
        );
    }
    assert!(!hive.workers[0].core.is_idle(), "still the submitter's");
}

#[test]
fn a_task_that_breaks_the_bounds_fails_without_running() {
    let mut hive = alone(1);
    let g = grant(&hive, 1_000);
    request(&mut hive, 1, 1000, &g, None);
    let mut order = TaskOrder {
        index: TaskIndex(0),
        attempt: 1,
        spec: TaskSpec::default(),
    };
    order.spec.args = vec!["x".into(); 300];
    say(&mut hive, 1, LeaseBody::Tasks(vec![order]));
    hive.run(100);
    assert_eq!(reported(&hive, "task.spec"), 1);
    assert_eq!(hive.total_runs(0), 0);
}

#[test]
fn work_without_countersignatures_stops_after_four_receipts() {
    let mut hive = alone(1);
    let g = grant(&hive, 1_000_000);
    request(&mut hive, 1, 1000, &g, None);
    for n in 0..60u32 {
        say(&mut hive, u64::from(n) + 1, tasks(n * 20..n * 20 + 20));
        hive.run(200);
    }
    let ran: u32 = hive.workers[0].ran.values().sum();
    // A hundred a second, a receipt each half second: about two seconds of unpaid work.
    assert!((100..=270).contains(&ran), "{ran}");
    hive.run(MINUTE + 1_000);
    assert_eq!(
        hive.worker_events(
            0,
            |e| matches!(e, worker::Event::LeaseEnded { code, .. } if code == "lease.unpaid")
        ),
        1
    );
}
