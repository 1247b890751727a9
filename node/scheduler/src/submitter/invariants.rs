//! What must hold between jobs, leases, peers and money after every step.

use super::{MAX_JOBS, MAX_LEASES, MAX_NODES, MAX_OFFERS, MAX_TASKS, Submitter, job::Stage};
use hive_protocol::money::MicroCpt;

impl Submitter {
    /// Panics if the core contradicts itself; called after every step in tests and in the simulator.
    pub fn check_invariants(&self) {
        self.timers.check();
        assert!(self.jobs.len() <= MAX_JOBS && self.leases.len() <= MAX_LEASES);
        assert!(self.nodes.len() <= MAX_NODES && self.task_count <= MAX_TASKS);
        assert_eq!(self.leases.len(), self.by_id.len(), "leases and their ids");
        let tasks: usize = self.jobs.values().map(|j| j.tasks.len()).sum();
        assert_eq!(tasks, self.task_count, "tasks in memory");
        for (no, lease) in &self.leases {
            lease.check();
            assert_eq!(self.by_id.get(&lease.id), Some(no));
            assert!(
                self.peers.get(&lease.node).is_some_and(|p| p.leases.contains(no)),
                "a lease its peer does not know"
            );
            assert!(
                self.jobs.get(&lease.job).is_some_and(|j| j.leases.contains(no)),
                "a lease without its job"
            );
        }
        for job in self.jobs.values() {
            job.check();
            assert!(job.offers.len() <= MAX_OFFERS);
            let mut running = 0;
            let (mut held, mut owed) = (MicroCpt::ZERO, MicroCpt::ZERO);
            let mut slots = 0u32;
            for no in &job.leases {
                let lease = self.leases.get(no);
                assert!(lease.is_some(), "a job's lease is missing");
                let Some(lease) = lease else { continue };
                running += lease.started;
                if lease.is_live() {
                    held = held.saturating_add(lease.amount);
                    owed = owed.saturating_add(lease.accepted.amount);
                }
                if lease.counts() {
                    slots = slots.saturating_add(lease.slots);
                }
            }
            assert_eq!(running, job.totals.running, "tasks said to run");
            assert_eq!(slots, job.live_slots, "slots at work for {:?}", job.id);
            let settled = job.totals.spent.saturating_sub(owed);
            assert!(
                settled.saturating_add(held) <= job.spec.budget || held == MicroCpt::ZERO,
                "more set aside than the budget allows"
            );
            for (i, slot) in job.slots.iter().enumerate() {
                if slot.stage != Stage::Assigned {
                    continue;
                }
                for no in slot.copies.iter().filter(|no| **no != 0) {
                    let index = hive_protocol::ids::TaskIndex(u32::try_from(i).unwrap_or(0));
                    assert!(
                        self.leases
                            .get(no)
                            .is_some_and(|l| l.assigned.contains_key(&index)),
                        "task {i} is said to be where it is not"
                    );
                }
            }
            if let Some(demand) = &job.demand {
                assert_eq!(self.by_demand.get(&demand.id), Some(&job.id));
            }
        }
        let standing = self.jobs.values().filter(|j| j.demand.is_some()).count();
        assert_eq!(standing, self.by_demand.len(), "demands that stand");
    }
}
