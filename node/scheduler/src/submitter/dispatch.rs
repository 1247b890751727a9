//! Which task goes to which lease: filling, sharing out the last ones, taking back, running stragglers twice.

use super::{
    Submitter, Timer,
    job::{LeaseNo, MAX_FETCHING, MEASURED},
    lease::Handed,
};
use hive_protocol::{
    ids::{JobId, NodeId, TaskIndex},
    task::TaskOrder,
    time::{Millis, Timestamp},
    work::{LeaseBody, MAX_PIPELINE_PER_SLOT, MAX_TASKS_IN_MESSAGE},
};

/// Room in the link that orders leave free for countersignatures and the last word.
const RESERVE: usize = 64;
/// How often the last tasks' places are looked at.
const BALANCE_EVERY: Millis = Millis(250);
/// A queue shorter than this is not worth taking tasks back from, in microseconds.
const WORTH_STEALING_US: u64 = 20_000;
/// Bytes of arguments in one message; well below the frame limit of 2 MiB.
const MAX_ORDER_BYTES: usize = 512 << 10;

impl Submitter {
    /// Hands waiting tasks to the leases of a job that have room.
    pub(super) fn dispatch(&mut self, id: JobId) {
        let Some(job) = self.jobs.get_mut(&id) else {
            return;
        };
        let hungry = std::mem::take(&mut job.refill);
        if job.arriving.len() >= MAX_FETCHING {
            // Results arrive more slowly than tasks end: let them.
            job.refill = hungry;
            return;
        }
        // The emptiest first: a task taken back for an idle lease must not go where it came from.
        let mut hungry: Vec<LeaseNo> = hungry.into_iter().collect();
        if hungry.len() > 1 {
            hungry.sort_by_key(|no| {
                let lease = self.leases.get(no);
                let load = lease.map_or(0, |l| l.assigned.len() as u64 * 1000 / u64::from(l.slots.max(1)));
                (load, *no)
            });
        }
        for no in hungry {
            self.fill(id, no);
            self.note_spare(id, no);
        }
        let Some(job) = self.jobs.get(&id) else {
            return;
        };
        if job.totals.waiting == 0 && job.totals.assigned > 0 {
            let idle = job.leases.iter().copied().find(|no| {
                self.leases
                    .get(no)
                    .is_some_and(|l| l.takes() && (l.assigned.len() as u64) < u64::from(l.slots))
            });
            if let Some(idle) = idle {
                self.steal_for(id, idle);
                self.timers
                    .set_earlier(Timer::Balance(id), self.now + BALANCE_EVERY);
            }
        }
    }

    fn fill(&mut self, id: JobId, no: LeaseNo) {
        let now = self.now;
        let (Some(job), Some(lease)) = (self.jobs.get_mut(&id), self.leases.get_mut(&no)) else {
            return;
        };
        // Said anew below; what no longer waits does not shun anybody.
        lease.unsuited = false;
        if !lease.takes() || job.totals.waiting == 0 {
            return;
        }
        let have = lease.assigned.len() as u64;
        let depth = lease.depth(job.average_us, self.config.queue_ms);
        // Towards the end everyone gets a share by its slots, and nobody hoards.
        let all = u64::from(job.to_run());
        let slots = u64::from(lease.slots);
        let total = u64::from(job.live_slots).max(slots);
        let share = (all * slots).div_ceil(total).max(slots);
        let target = depth.min(share);
        if have >= target || (target > 16 && have * 4 > target * 3) {
            return;
        }
        let affordable = lease.affordable(job.expected_fuel());
        let wanted = (target - have).min(affordable);
        let node = lease.node;
        // Who else could take a task that would rather not come here; seldom needed.
        let others: Vec<NodeId> = if job.has_avoiding() {
            job.leases
                .iter()
                .filter_map(|other| self.leases.get(other))
                .filter(|l| l.takes() && l.node != node)
                .map(|l| l.node)
                .collect()
        } else {
            Vec::new()
        };
        let Some(lease) = self.leases.get_mut(&no) else {
            return;
        };
        let mut bodies = Vec::new();
        let mut orders = Vec::new();
        let mut bytes = 0;
        for _ in 0..wanted {
            if lease.link.room() <= RESERVE + bodies.len() {
                break;
            }
            let Some(index) = job.next_for(node, &others) else {
                lease.unsuited = true;
                break;
            };
            if lease.assigned.contains_key(&index) {
                break; // Still there from before a user's stop; its end comes first.
            }
            let Some(spec) = job.tasks.get(index.0 as usize) else {
                break;
            };
            let spec = spec.clone();
            let Some(attempt) = job.hand(index, no) else {
                break;
            };
            bytes += weight(&spec);
            orders.push(TaskOrder { index, attempt, spec });
            lease.spare_since = None;
            lease.assigned.insert(
                index,
                Handed {
                    attempt,
                    at: now,
                    started: None,
                    recalled: false,
                },
            );
            if orders.len() >= MAX_TASKS_IN_MESSAGE || bytes >= MAX_ORDER_BYTES {
                bodies.push(LeaseBody::Tasks(std::mem::take(&mut orders)));
                bytes = 0;
            }
        }
        if !orders.is_empty() {
            bodies.push(LeaseBody::Tasks(orders));
        }
        // The hold is nearly used up while work waits: a further one in time.
        let left = lease.affordable(job.expected_fuel());
        let known = job.measured >= MEASURED || lease.assigned.is_empty();
        // What waits for other workers is no reason to set more money aside for this one.
        let short = known && !lease.unsuited && job.totals.waiting > 0 && left < depth.max(1);
        if short {
            job.refill.insert(no);
        }
        for body in bodies {
            self.say(no, body);
        }
        if short {
            self.renew(no);
            let spent = self
                .leases
                .get(&no)
                .is_some_and(|l| left == 0 && l.assigned.is_empty() && l.successor.is_none());
            if spent {
                // No heir could be had: give the rest of the hold back and look around again.
                self.close_lease(no);
            }
        }
    }

    /// Takes tasks that have not begun from the fullest lease, for one that has nothing to do.
    fn steal_for(&mut self, id: JobId, thief: LeaseNo) {
        let Some(job) = self.jobs.get(&id) else {
            return;
        };
        let Some(to) = self.leases.get(&thief) else {
            return;
        };
        if to.predecessor.is_some() {
            return;
        }
        // Only what it can pay for and be told of, or the task would go back and forth for ever.
        let affordable = usize::try_from(to.affordable(job.expected_fuel())).unwrap_or(usize::MAX);
        let free = (to.slots as usize)
            .saturating_sub(to.assigned.len())
            .min(affordable);
        if free == 0 || to.link.room() <= RESERVE {
            return;
        }
        let node = to.node;
        let victim = job
            .leases
            .iter()
            .filter_map(|no| self.leases.get(no))
            .filter(|l| {
                let queued = l.assigned.len().saturating_sub(l.slots as usize) as u64;
                let us = if l.average_us > 0 {
                    l.average_us
                } else {
                    job.average_us
                };
                l.no != thief
                    && l.node != node
                    && l.recalls == 0
                    && queued > 0
                    && queued.saturating_mul(us) / u64::from(l.slots.max(1)) >= WORTH_STEALING_US
            })
            .max_by_key(|l| (l.assigned.len() as u64 * 1000 / u64::from(l.slots.max(1)), l.no));
        let Some(victim) = victim else {
            return;
        };
        let spare = victim.assigned.len() - victim.slots as usize;
        let n = free.min(spare.div_ceil(2)).min(MAX_TASKS_IN_MESSAGE);
        let take: Vec<TaskIndex> = victim
            .assigned
            .iter()
            .rev()
            .filter(|(i, h)| h.started.is_none() && !h.recalled && !job.avoids(i.0, node))
            .take(n)
            .map(|(i, _)| *i)
            .collect();
        let from = victim.no;
        if !take.is_empty() {
            self.counters.stolen += take.len() as u64;
            self.cancel_at(from, &take);
        }
    }

    /// Asks a worker to stop or forget tasks; each comes back as a result all the same.
    pub(super) fn cancel_at(&mut self, no: LeaseNo, tasks: &[TaskIndex]) {
        let Some(lease) = self.leases.get_mut(&no) else {
            return;
        };
        let mut out: Vec<Vec<TaskIndex>> = Vec::new();
        for index in tasks {
            let Some(handed) = lease.assigned.get_mut(index) else {
                continue;
            };
            if handed.recalled {
                continue;
            }
            handed.recalled = true;
            lease.recalls += 1;
            match out.last_mut() {
                Some(batch) if batch.len() < MAX_TASKS_IN_MESSAGE => batch.push(*index),
                _ => out.push(vec![*index]),
            }
        }
        for batch in out {
            self.say(no, LeaseBody::Cancel(batch));
        }
    }

    /// Cancels, at every lease of a job, the tasks that are not wanted there any more.
    pub(super) fn cancel_unwanted(&mut self, id: JobId) {
        let Some(job) = self.jobs.get(&id) else {
            return;
        };
        let mut out = Vec::new();
        for no in &job.leases {
            let Some(lease) = self.leases.get(no) else {
                continue;
            };
            let unwanted: Vec<TaskIndex> = lease
                .assigned
                .keys()
                .filter(|i| !job.slot(**i).is_some_and(|s| s.has(*no)))
                .copied()
                .collect();
            out.push((*no, unwanted));
        }
        for (no, tasks) in out {
            self.cancel_at(no, &tasks);
        }
    }

    /// With nothing waiting and slots idle: take back what is queued elsewhere, double what takes too long.
    pub(super) fn balance(&mut self, id: JobId) {
        let Some(job) = self.jobs.get(&id) else {
            return;
        };
        if job.totals.waiting > 0 || job.totals.assigned == 0 {
            return;
        }
        let idle: Vec<LeaseNo> = job
            .leases
            .iter()
            .copied()
            .filter(|no| {
                self.leases.get(no).is_some_and(|l| {
                    l.takes() && l.predecessor.is_none() && (l.assigned.len() as u64) < u64::from(l.slots)
                })
            })
            .collect();
        for thief in &idle {
            self.steal_for(id, *thief);
        }
        for helper in idle {
            self.double_for(id, helper);
        }
        self.timers.set(Timer::Balance(id), self.now + BALANCE_EVERY);
    }

    /// Runs stragglers of other nodes a second time here; whichever result comes first is used.
    fn double_for(&mut self, id: JobId, helper: LeaseNo) {
        let now = self.now;
        let (Some(job), Some(to)) = (self.jobs.get(&id), self.leases.get(&helper)) else {
            return;
        };
        let node = to.node;
        let room = (to.slots as usize)
            .saturating_sub(to.assigned.len())
            .min(usize::try_from(to.affordable(job.expected_fuel())).unwrap_or(usize::MAX))
            .min(MAX_PIPELINE_PER_SLOT as usize);
        let patience = Millis(
            (job.average_us / 1000)
                .saturating_mul(u64::from(self.config.straggler_factor))
                .max(self.config.straggler_min.0),
        );
        let mut late: Vec<(Timestamp, TaskIndex)> = Vec::new();
        for no in &job.leases {
            let Some(lease) = self.leases.get(no).filter(|l| l.node != node) else {
                continue;
            };
            for (index, handed) in &lease.assigned {
                let since = handed.started.unwrap_or(handed.at);
                let single = job
                    .slot(*index)
                    .is_some_and(|s| s.has(*no) && s.copies.contains(&0));
                if single && !handed.recalled && now.since(since) >= patience {
                    late.push((since, *index));
                }
            }
        }
        late.sort_unstable();
        let mut orders = Vec::new();
        for (_, index) in late.into_iter().take(room) {
            let (Some(job), Some(lease)) = (self.jobs.get_mut(&id), self.leases.get_mut(&helper)) else {
                return;
            };
            if lease.assigned.contains_key(&index) || lease.link.room() <= RESERVE {
                continue;
            }
            let Some(spec) = job.tasks.get(index.0 as usize).cloned() else {
                continue;
            };
            let Some(attempt) = job.hand(index, helper) else {
                continue;
            };
            self.counters.doubled += 1;
            lease.spare_since = None;
            lease.assigned.insert(
                index,
                Handed {
                    attempt,
                    at: now,
                    started: None,
                    recalled: false,
                },
            );
            orders.push(TaskOrder { index, attempt, spec });
            if orders.len() >= MAX_TASKS_IN_MESSAGE {
                break;
            }
        }
        if !orders.is_empty() {
            self.say(helper, LeaseBody::Tasks(orders));
        }
    }
}

/// About how many bytes a task takes in a message.
fn weight(spec: &hive_protocol::task::TaskSpec) -> usize {
    let text: usize = spec.args.iter().map(String::len).sum::<usize>()
        + spec.env.iter().map(|(k, v)| k.len() + v.len()).sum::<usize>();
    let blobs: usize = spec
        .blobs()
        .map(|b| 64 + b.inline.as_ref().map_or(0, Vec::len))
        .sum();
    let paths: usize = spec.inputs.iter().map(|i| i.path.len()).sum();
    64 + text + blobs + paths
}
