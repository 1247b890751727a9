//! The storm's schedule, and the calm after it.

use super::{Happen, World};
use hive_protocol::{
    ids::{LeaseId, TaskIndex},
    work::{LeaseBody, WorkMsg},
};
use hive_scheduler::worker;

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
        let next = self.rng.range(1, self.plan.weather.executor_every * 2);
        self.later(next, Happen::KillExecutor);
        let busy: Vec<usize> = (0..self.nodes.len())
            .filter(|n| self.nodes[*n].executors.values().any(|e| e.ready))
            .collect();
        if !busy.is_empty() {
            let n = busy[self.rng.index(busy.len())];
            self.kill_executor(n);
        }
    }

    pub(super) fn partition(&mut self) {
        if self.calm {
            return;
        }
        let next = self.rng.range(1, self.plan.weather.partition_every * 2);
        self.later(next, Happen::Partition);
        if self.sides.is_some() {
            return;
        }
        let sides: Vec<bool> = (0..=self.nodes.len()).map(|_| self.rng.once_in(2)).collect();
        self.note_authority(format_args!("partition {sides:?}"));
        self.oracle.count("partitions");
        self.sides = Some(sides);
        for (a, b) in self.connected_pairs() {
            if !self.reachable(a, b) {
                self.break_link(a, b, 10_000);
            }
        }
        self.number += 1;
        let number = self.number;
        let after = self.rng.range(100, self.plan.weather.partition_ms.max(200));
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
        if peer != n {
            self.send(n, peer, message);
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
