//! Golden bytes of the job journal: the daemon that resumes a job may be newer than the one that was killed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../../../../protocol/tests/kept/mod.rs"]
mod kept;
#[path = "../../../../protocol/tests/seen/mod.rs"]
mod seen;

use super::{Ended, EndedTask, JobMeta, JobStanding, KeptReceipt, TaskMeta};
use crate::reach::DayRow;
use hive_protocol::{
    codec,
    ids::{BlobHash, HoldId, JobId, LeaseId, NetworkId, NodeId, TaskIndex},
    keys::{SecretKey, Signed},
    money::MicroCpt,
    receipt::{Countersigned, Receipt},
    resources::Resources,
    task::{
        BlobRef, InputFile, JobSpec, Limits, Outcome, OutputFile, Placement, Program, RuntimeKind,
        TaskResult, TaskSpec, Usage,
    },
    time::Timestamp,
};
use seen::Seen;
use serde::{Serialize, de::DeserializeOwned};

fn job() -> JobMeta {
    JobMeta {
        job: JobId([2; 16]),
        spec: JobSpec {
            name: "picture".into(),
            program: Program {
                runtime: RuntimeKind::Wasm,
                module: BlobRef::by_hash(BlobHash([3; 32]), 50_000),
                need: Resources::cpu(1000, 64, 64),
                limits: Limits::default(),
                name: "tile".into(),
            },
            placement: Placement {
                min_score: 50,
                require_location: "eu".into(),
                prefer_location: "eu-fra".into(),
            },
            max_price: MicroCpt(2000),
            budget: MicroCpt(5_000_000),
            retries: 3,
            tasks: 12,
            open: true,
        },
        submitted: Timestamp(1_700_000_000_000),
    }
}

fn task() -> TaskMeta {
    TaskMeta {
        label: "a.txt".into(),
        spec: TaskSpec {
            args: vec!["/in/a.txt".into()],
            env: vec![("SEED".into(), "7".into())],
            stdin: Some(BlobRef::of(b"small")),
            inputs: vec![InputFile {
                path: "a.txt".into(),
                blob: BlobRef::by_hash(BlobHash([1; 32]), 1 << 20),
            }],
            collect_out: true,
        },
    }
}

fn ended(end: Ended, outcome: Option<Outcome>) -> EndedTask {
    let result = outcome.map(|outcome| TaskResult {
        index: TaskIndex(17),
        attempt: 2,
        outcome,
        stdout: Some(BlobRef::of(b"out")),
        stderr: None,
        outputs: vec![OutputFile {
            path: "a/b".into(),
            blob: BlobRef::by_hash(BlobHash([4; 32]), 77),
        }],
        usage: Usage {
            fuel: 12_345,
            wall_us: 50_000,
            cpu_us: 49_000,
            memory: 1 << 20,
        },
    });
    EndedTask {
        end,
        attempts: 2,
        node: Some(NodeId([5; 32])),
        result,
        cost: MicroCpt(13),
    }
}

fn standing() -> JobStanding {
    JobStanding {
        state: "waiting".into(),
        waiting: ("place.no_worker".into(), "no worker is online".into()),
        open: true,
        spent: MicroCpt(700),
        ended: Timestamp(0),
    }
}

fn receipt() -> KeptReceipt {
    let (worker, submitter) = (SecretKey::from_seed(&[2; 32]), SecretKey::from_seed(&[4; 32]));
    let document = Receipt {
        network: NetworkId([9; 32]),
        lease: LeaseId([5; 16]),
        hold: HoldId([4; 16]),
        worker: NodeId(worker.public()),
        submitter: NodeId(submitter.public()),
        sequence: 3,
        tasks: 700,
        fuel: 12_345_678_901,
        amount: MicroCpt(12_346),
        time: Timestamp(1_700_000_100_000),
    };
    KeptReceipt {
        lease: LeaseId([5; 16]),
        hold: HoldId([4; 16]),
        expires: Timestamp(1_700_000_600_000),
        receipt: Countersigned::sign(&submitter, Signed::sign(&worker, &document).unwrap()),
    }
}

/// What a relay has carried on a day: a row of the same journal, of the node's reachability.
fn relay_day() -> DayRow {
    DayRow {
        day: 20_000,
        lasted_ms: 40_000_000,
        total: 3 << 30,
        peers: vec![(NodeId([1; 32]), 2 << 30), (NodeId([2; 32]), 1 << 30)],
        blocks: vec![
            ([0, 192, 0, 2, 0, 0, 0], 2 << 30),
            ([6, 0x20, 1, 0xd, 0xb8, 0, 1], 1 << 30),
        ],
    }
}

/// Compares a record with its golden bytes, and notes its variants.
fn check<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(
    name: &'static str,
    value: &T,
    seen: &Seen,
) -> &'static str {
    let bytes = codec::encode(name, value, 1 << 16).unwrap();
    kept::compare(name, &bytes);
    assert_eq!(
        codec::decode::<T>(name, &bytes, 1 << 16).unwrap(),
        *value,
        "{name}"
    );
    seen.look::<T>(&bytes);
    name
}

#[test]
fn every_record_of_the_journal_has_its_golden_bytes() {
    let seen = Seen::default();
    let failed = |code: &str| Ended::Failed {
        code: code.into(),
        detail: "out of fuel".into(),
    };
    let outcome = Outcome::Failed {
        code: "task.fuel".into(),
        detail: "out of fuel".into(),
        retryable: false,
    };
    let names = [
        check("journal_job", &job(), &seen),
        check("journal_task", &task(), &seen),
        check("journal_standing", &standing(), &seen),
        check("journal_receipt", &receipt(), &seen),
        check(
            "journal_ended",
            &ended(Ended::Succeeded, Some(Outcome::Exited(0))),
            &seen,
        ),
        check(
            "journal_ended_failed",
            &ended(failed("task.fuel"), Some(outcome)),
            &seen,
        ),
        check("journal_ended_stopped", &ended(Ended::Stopped, None), &seen),
        check("journal_relay_day", &relay_day(), &seen),
    ];
    // What runs a program is a word of the wire, where each of its variants has golden bytes.
    let missing = seen.missing();
    let ours = |name: &&String| !name.starts_with("RuntimeKind::");
    let missing: Vec<&String> = missing.iter().filter(ours).collect();
    assert!(missing.is_empty(), "in no golden file: {missing:?}");
    assert!(seen.enums().contains("Ended") && seen.enums().contains("Outcome"));
    kept::none_but(&names);
}
