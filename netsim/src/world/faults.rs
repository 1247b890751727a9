//! The storm's schedule, and the calm after it.

use super::{Happen, World};
use crate::fault::Fault;
use hive_protocol::{
    ids::{LeaseId, TaskIndex},
    work::{LeaseBody, WorkMsg},
};
use hive_scheduler::worker;

/// How long the killer of executors waits when none runs.
const IDLE: u64 = 500;

impl World {
    pub(super) fn schedule_faults(&mut self) {
        let w = self.plan.weather.clone();
        for (every, what) in [
            (w.whim_every, Happen::Whim),
            (w.crash_every, Happen::Crash),
            (w.authority_every, Happen::CrashAuthority),
            (w.partition_every, Happen::Partition),
            (w.executor_every, Happen::KillExecutor),
        ] {
            let after = self.rng.range(1, every * 2);
            self.later(after, what);
        }
        let sure = self.plan.sure;
        for (at, what) in [
            (sure.worker.1, Happen::CrashNode { node: sure.worker.0 }),
            (
                sure.submitter.1,
                Happen::CrashNode {
                    node: sure.submitter.0,
                },
            ),
            (sure.authority, Happen::AuthorityDies),
            (sure.partition, Happen::FallInTwo),
        ] {
            self.later(at, what);
        }
    }

    pub(super) fn crash_one(&mut self) {
        if self.calm {
            return;
        }
        let next = self.rng.range(1, self.plan.weather.crash_every * 2);
        self.later(next, Happen::Crash);
        let n = self.rng.index(self.nodes.len());
        self.crash(n);
    }

    pub(super) fn kill_some_executor(&mut self) {
        if self.calm {
            return;
        }
        let busy: Vec<usize> = (0..self.nodes.len())
            .filter(|n| self.nodes[*n].executors.values().any(|e| e.ready))
            .collect();
        // Nobody to kill: it waits for one.
        let mut next = IDLE;
        if !busy.is_empty() {
            let n = busy[self.rng.index(busy.len())];
            self.kill_executor(n);
            next = self.rng.range(1, self.plan.weather.executor_every * 2);
        }
        self.later(next, Happen::KillExecutor);
    }

    pub(super) fn partition(&mut self) {
        if self.calm {
            return;
        }
        let next = self.rng.range(1, self.plan.weather.partition_every * 2);
        self.later(next, Happen::Partition);
        self.fall_in_two();
    }

    pub(super) fn fall_in_two(&mut self) {
        if self.calm || self.sides.is_some() {
            return;
        }
        let mut sides: Vec<bool> = (0..=self.nodes.len()).map(|_| self.rng.once_in(2)).collect();
        if sides.iter().all(|s| *s == sides[0]) {
            let alone = self.rng.index(sides.len());
            sides[alone] = !sides[alone];
        }
        self.note_authority(format_args!("partition {sides:?}"));
        self.faults.count(Fault::Partitioned);
        self.sides = Some(sides);
        for (a, b) in self.connected_pairs() {
            if !self.reachable(a, b) {
                self.break_link(a, b, 10_000);
            }
        }
        self.number += 1;
        let number = self.number;
        let after = self.rng.range(1000, self.plan.weather.partition_ms);
        self.later(after, Happen::Whole { number });
    }

    pub(super) fn whole(&mut self, _number: u64) {
        if self.sides.take().is_some() {
            self.note_authority(format_args!("whole again"));
        }
    }

    /// A rogue says what nobody asked for, about leases it may have heard of.
    pub(super) fn rogue(&mut self, n: usize) {
        if self.calm {
            return;
        }
        let next = self.rng.range(200, 10_000);
        self.later(next, Happen::Rogue { node: n });
        let leases: Vec<LeaseId> = self.oracle.lease_ids();
        if !self.nodes[n].alive || leases.is_empty() {
            return;
        }
        let lease = leases[self.rng.index(leases.len())];
        let peer = self.rng.index(self.nodes.len());
        let far = self.rng.below(2000);
        let index = TaskIndex(u32::try_from(self.rng.below(100)).unwrap_or(0));
        let message = match self.rng.below(8) {
            0 => WorkMsg::Unknown { lease },
            1 => WorkMsg::Resume { lease, seen: far },
            2 => WorkMsg::Ack { lease, ack: far },
            3 => WorkMsg::LeaseRefuse {
                lease,
                code: "lease.no_room".into(),
                detail: String::new(),
            },
            4 => WorkMsg::LeaseAccept {
                lease,
                slots: 200,
                price: hive_protocol::money::Price::default(),
            },
            5 => WorkMsg::Lease {
                lease,
                seq: far,
                ack: 0,
                body: LeaseBody::Close,
            },
            6 => WorkMsg::Lease {
                lease,
                seq: 1 + far % 8,
                ack: 0,
                body: LeaseBody::Cancel(vec![index]),
            },
            _ => WorkMsg::Lease {
                lease,
                seq: 1 + far % 8,
                ack: 0,
                body: LeaseBody::Started(vec![(index, 1)]),
            },
        };
        if peer != n && self.send(n, peer, message) {
            self.faults.count(Fault::OutOfTurn);
        }
    }

    /// No more faults: everything comes back, and stays.
    pub(super) fn become_calm(&mut self) {
        self.calm = true;
        self.sides = None;
        self.note_authority(format_args!("calm"));
        self.restart_authority();
        for n in 0..self.nodes.len() {
            self.start_node(n);
            self.tell_worker(n, worker::Input::Drain(false));
        }
        for a in 0..self.nodes.len() {
            for b in 0..a {
                self.dial(a, b);
            }
        }
        self.close_all();
    }

    /// Whether everything has come to its end.
    pub(super) fn is_over(&self) -> bool {
        crate::invariants::all_ended(self).is_ok()
    }
}
