//! What the fake daemon shows.

use hive_protocol::task::Limits;
use hive_runtime::port::*;

pub fn mesh() -> MeshView {
    MeshView {
        id: "mesh1".into(),
        name: "lab".into(),
        authorities: vec!["n1".into()],
        authority_reachable: true,
    }
}

pub fn status() -> StatusView {
    StatusView {
        node: "n1".into(),
        account: "a1".into(),
        name: "heron".into(),
        state: "ready".into(),
        mesh: Some(mesh()),
        roles: vec!["worker".into()],
        score: 50,
        tier: "normal".into(),
        credential_expires: 1,
        version: "0.1.0".into(),
        started: 2,
        now: 3,
        listen: vec![],
        reach: None,
        peers: vec![],
        capabilities: Default::default(),
        free: Default::default(),
        leases: vec![],
        running: 0,
        jobs_active: 0,
        earned: 0,
        store_bytes: 0,
        store_quota: 0,
        problems: vec![],
    }
}

pub fn node(id: &str) -> NodeRow {
    NodeRow {
        node: id.into(),
        account: "a1".into(),
        name: "heron".into(),
        roles: vec![],
        state: "online".into(),
        path: "self".into(),
        addr: String::new(),
        rtt_us: None,
        score: 50,
        tier: "normal".into(),
        capabilities: Default::default(),
        free: Default::default(),
        running: 0,
        price: 1,
        last_seen: 2,
        addrs: vec![],
    }
}

pub fn job(id: &str, state: &str) -> JobView {
    JobView {
        job: id.into(),
        name: "words".into(),
        state: state.into(),
        waiting: None,
        submitted: 1,
        ended: 0,
        tasks: 1,
        queued: 0,
        assigned: 0,
        running: 1,
        succeeded: 0,
        failed: 0,
        stopped: 0,
        retried: 0,
        cost: 0,
        budget: 0,
        fuel: 0,
        bytes_in: 0,
        by_worker: vec![("n2".into(), 1, 2)],
        module: "m".into(),
        limits: Limits::default(),
    }
}

pub fn task(id: &str, state: TaskState) -> TaskView {
    TaskView {
        row: TaskRow {
            task: id.into(),
            index: 0,
            label: "a.txt".into(),
            state,
            attempt: 1,
            node: Some("n2".into()),
            exit_code: Some(0),
            failure: None,
            fuel: 1,
            wall_us: 2,
            stdout: None,
            stderr: None,
            outputs: vec![],
        },
        job: "j1".into(),
        args: vec![],
        cpu_us: 0,
        memory: 0,
    }
}

pub fn line() -> WalletLine {
    WalletLine {
        index: 7,
        time: 1,
        kind: "transfer".into(),
        other: Some("a2".into()),
        delta: -5,
        available: 95,
        note: "thanks".into(),
    }
}

pub fn funnel(subject: String) -> FunnelView {
    FunnelView {
        subject,
        state: "queued".into(),
        needs: "1 cpu".into(),
        steps: vec![],
        fixes: vec![],
    }
}

pub fn event(seq: u64) -> EventView {
    EventView {
        seq,
        time: 1,
        kind: "task.ended".into(),
        subject: "t1".into(),
        message: "a line\nand another".into(),
    }
}
