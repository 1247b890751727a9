//! The accounting of this machine: what is free, what is leased, and what passes from lease to lease.

use super::{Terms, Worker, lease::Phase};
use hive_protocol::{ids::LeaseId, resources::Resources};

impl Worker {
    /// Deducts slots for a lease. The caller has looked whether they are free.
    pub(super) fn deduct(&mut self, id: LeaseId, slots: u32) {
        let Some(lease) = self.leases.get_mut(&id) else {
            return;
        };
        if let Some(free) = self.free.checked_sub(&lease.program.need, slots) {
            self.free = free;
            lease.granted += slots;
            self.slots_used += slots;
        }
    }

    /// Gives slots of a lease back to the pool.
    pub(super) fn give_back(&mut self, id: LeaseId, slots: u32) {
        let Some(lease) = self.leases.get_mut(&id) else {
            return;
        };
        let slots = slots.min(lease.granted);
        if slots == 0 {
            return;
        }
        lease.granted -= slots;
        self.slots_used -= slots;
        self.refigure_free();
    }

    /// Works out what is free from what is offered and what is leased.
    fn refigure_free(&mut self) {
        let mut leased = Resources::default();
        for lease in self.leases.values() {
            leased = leased.saturating_add(&lease.program.need, lease.granted);
        }
        let total = &self.terms.capabilities.total;
        self.free = Resources {
            cpu_milli: total.cpu_milli.saturating_sub(leased.cpu_milli),
            memory_mib: total.memory_mib.saturating_sub(leased.memory_mib),
            disk_mib: total.disk_mib.saturating_sub(leased.disk_mib),
            gpus: total.gpus.saturating_sub(leased.gpus),
            gpu_memory_mib: total.gpu_memory_mib,
            gpu_name: total.gpu_name.clone(),
        };
    }

    /// Hands slots an old lease does not need any more to its successor.
    pub(super) fn pass_on(&mut self, old: LeaseId) {
        let Some((heir, idle)) = self.leases.get(&old).and_then(|l| {
            let idle = match l.phase {
                Phase::Settling => l.granted,
                // A task that waits for its blobs keeps its slot; those without a task are the heir's.
                Phase::Ending { .. } => l.unused(),
                Phase::Open if l.queue.is_empty() => l.unused(),
                Phase::Open => 0,
            };
            (idle > 0).then_some((l.successor?, idle))
        }) else {
            return;
        };
        let wanted = self
            .leases
            .get(&heir)
            .filter(|h| h.phase != Phase::Settling)
            .map_or(0, |h| h.slots - h.granted)
            .min(idle);
        if wanted == 0 {
            return;
        }
        self.give_back(old, wanted);
        self.deduct(heir, wanted);
        self.start_executor(heir);
        self.dirty.insert(heir);
    }

    /// A lease that takes no more tasks needs only the slots of those it has: the others are free for somebody else.
    /// An heir's wants come first: it gets slots from nowhere but [`Self::pass_on`], called before.
    pub(super) fn give_up_idle(&mut self, id: LeaseId) {
        let idle = self.leases.get(&id).map_or(0, |l| match l.phase {
            Phase::Ending { .. } => l.unused(),
            Phase::Open | Phase::Settling => 0,
        });
        if idle > 0 {
            self.give_back(id, idle);
            self.resources_changed();
        }
    }

    pub(super) fn on_configure(&mut self, terms: Terms) {
        self.terms = terms;
        self.refigure_free();
        self.resources_changed();
    }
}
