//! Who is told what, and when: queues, flights, pauses, timers.

use super::{
    Effect, MAX_DIALS, Outbox, Standing,
    peer::{Due, Work},
};
use crate::notices::backoff;
use hive_protocol::{
    ids::{NodeId, NoticeId},
    notice::{MAX_NOTICES_IN_FLIGHT, NoticeMsg},
    time::Timestamp,
};

impl Outbox {
    /// A clock that went back must not leave pauses longer than any may be.
    pub(super) fn clock(&mut self, now: Timestamp) {
        if now < self.last {
            for peer in self.peers.values_mut() {
                peer.retry_at = peer.retry_at.min(now + self.config.retry.1);
                peer.deadline = peer.deadline.min(now + self.config.answer_within);
            }
            let soon = now + self.config.deposit_after;
            self.deposits = self
                .deposits
                .iter()
                .map(|(at, id)| ((*at).min(soon), *id))
                .collect();
            self.next_look = self.next_look.min(now + self.config.look_every);
        }
        self.last = now;
    }

    /// Puts everything still to be said of a notice into the queues.
    pub(super) fn queue(&mut self, now: Timestamp, id: NoticeId) {
        let Some(sent) = self.sent.get(&id) else { return };
        if !sent.live(now) && !sent.cancelled {
            return;
        }
        let (priority, order, cancelled) = (sent.notice.priority, sent.order, sent.cancelled);
        let mut told: Vec<(NodeId, Work)> = Vec::new();
        let mut deposit = None;
        for (node, delivery) in &sent.to {
            match (&delivery.standing, cancelled) {
                (Standing::Queued | Standing::Kept, false) => {
                    told.push((*node, Work::Deliver));
                    if delivery.standing == Standing::Queued {
                        let away = self.peers.get(node).is_some_and(|p| !p.up && p.failures > 0);
                        let at = if away {
                            now
                        } else {
                            now + self.config.deposit_after
                        };
                        deposit = Some(deposit.map_or(at, |d: Timestamp| d.min(at)));
                    }
                }
                (standing, true) if !standing.ended() => told.push((*node, Work::Withdraw)),
                _ => {}
            }
            let needless = cancelled || matches!(delivery.standing, Standing::At(_) | Standing::Cancelled);
            if needless {
                told.extend(delivery.kept_at.iter().map(|a| (*a, Work::Release)));
            }
        }
        for (node, work) in told {
            self.enqueue(node, (priority, order, id, work));
        }
        if let Some(at) = deposit.filter(|_| !self.authorities.is_empty()) {
            self.deposits.insert((at, id));
        }
    }

    fn enqueue(&mut self, node: NodeId, due: Due) {
        let peer = self.peers.entry(node).or_default();
        if !peer.flying.contains_key(&(due.2, due.3)) {
            peer.due.insert(due);
        }
    }

    /// A word about a notice has arrived or is needless.
    pub(super) fn settle(&mut self, node: NodeId, id: NoticeId, work: Work) -> Option<Vec<NodeId>> {
        let peer = self.peers.get_mut(&node)?;
        let told = peer.settle(id, work);
        if peer.idle() && peer.failures == 0 {
            self.peers.remove(&node);
        }
        told
    }

    /// A node has answered: it is there.
    pub(super) fn heard(&mut self, now: Timestamp, node: NodeId) {
        if let Some(peer) = self.peers.get_mut(&node) {
            peer.failures = 0;
            peer.deadline = now + self.config.answer_within;
        }
    }

    pub(super) fn up(&mut self, now: Timestamp, node: NodeId) {
        let peer = self.peers.entry(node).or_default();
        peer.up = true;
        peer.failures = 0;
        peer.retry_at = now;
    }

    pub(super) fn down(&mut self, node: NodeId) {
        if let Some(peer) = self.peers.get_mut(&node) {
            peer.up = false;
            if peer.idle() {
                self.peers.remove(&node);
            }
        }
    }

    /// What is in the air to this node is lost; it is told again after a pause, its notices go to a mailbox.
    pub(super) fn broken(&mut self, now: Timestamp, node: NodeId) {
        // A stream that ends with nothing on it to be answered says nothing about the node.
        let Some(peer) = self.peers.get_mut(&node).filter(|p| !p.flying.is_empty()) else {
            return;
        };
        peer.ground();
        peer.failures = peer.failures.saturating_add(1);
        let (first, longest) = self.config.retry;
        peer.retry_at = now + backoff::pause(peer.failures, first, longest, &mut self.seed);
        let mut again = Vec::new();
        for (_, _, id, work) in &peer.due {
            if matches!(work, Work::Deliver | Work::Deposit) {
                again.push((*id, *work));
            }
        }
        for (id, work) in again {
            match work {
                // Another authority may answer: the deposit is no longer this one's.
                Work::Deposit => {
                    self.settle(node, id, Work::Deposit);
                    let at = self.peers.get(&node).map_or(now, |p| p.retry_at);
                    let at = if self.authorities.len() > 1 {
                        now + first
                    } else {
                        at
                    };
                    self.deposits.insert((at, id));
                }
                _ if self.authorities.is_empty() => {}
                _ => {
                    let queued = self
                        .delivery(id, node)
                        .is_some_and(|d| d.standing == Standing::Queued);
                    if queued && !self.depositing(id) {
                        self.deposits.retain(|(_, d)| *d != id);
                        self.deposits.insert((now, id));
                    }
                }
            }
        }
    }

    /// Whether an authority is being asked to keep it.
    fn depositing(&self, id: NoticeId) -> bool {
        self.authorities.iter().any(|a| {
            self.peers.get(a).is_some_and(|p| {
                p.flying.contains_key(&(id, Work::Deposit))
                    || p.due.iter().any(|d| d.2 == id && d.3 == Work::Deposit)
            })
        })
    }

    pub(super) fn set_authorities(&mut self, now: Timestamp, nodes: Vec<NodeId>) {
        let had_none = self.authorities.is_empty();
        self.authorities = nodes;
        self.turn = 0;
        if had_none {
            let ids: Vec<NoticeId> = self.sent.keys().copied().collect();
            for id in ids {
                self.queue(now, id);
            }
        }
    }

    /// What is due by the clock.
    pub(super) fn timers(&mut self, now: Timestamp) {
        let silent: Vec<NodeId> = self
            .peers
            .iter()
            .filter(|(_, p)| !p.flying.is_empty() && p.deadline <= now)
            .map(|(n, _)| *n)
            .collect();
        for node in silent {
            self.broken(now, node);
        }
        while let Some((at, id)) = self.deposits.first().copied() {
            if at > now {
                break;
            }
            self.deposits.pop_first();
            self.deposit(now, id);
        }
        if self.next_look <= now && !self.sent.is_empty() {
            self.next_look = now + self.config.look_every;
            self.look(now);
        }
    }

    /// Asks an authority to keep a notice for those who have not answered.
    fn deposit(&mut self, now: Timestamp, id: NoticeId) {
        let Some(sent) = self.sent.get(&id) else { return };
        let wanted = sent.to.values().any(|d| d.standing == Standing::Queued);
        if !wanted || sent.cancelled || !sent.live(now) || self.depositing(id) {
            return;
        }
        let due = (sent.notice.priority, sent.order, id, Work::Deposit);
        let Some(authority) = self.authority() else { return };
        self.enqueue(authority, due);
    }

    /// The authority to ask: one that is there, else the one that has failed least.
    fn authority(&mut self) -> Option<NodeId> {
        self.turn = self.turn.wrapping_add(1);
        let count = self.authorities.len();
        let turn = self.turn;
        (0..count)
            .filter_map(|n| {
                self.authorities
                    .get(turn.wrapping_add(n).checked_rem(count)?)
                    .copied()
            })
            .min_by_key(|a| self.peers.get(a).map_or((true, 0), |p| (!p.up, p.failures)))
    }

    /// Says what may be said now.
    pub(super) fn speak(&mut self, now: Timestamp) {
        let mut dialing = self.dialing();
        let ready: Vec<NodeId> = self
            .peers
            .iter()
            .filter(|(_, p)| p.ready(now))
            .map(|(n, _)| *n)
            .collect();
        for node in ready {
            let Some(peer) = self.peers.get(&node) else {
                continue;
            };
            let dials = !peer.up && peer.flying.is_empty();
            if dials && dialing >= MAX_DIALS {
                continue;
            }
            let before = peer.flying.len();
            self.say_all(now, node);
            let flies = self.peers.get(&node).is_some_and(|p| p.flying.len() > before);
            if dials && flies {
                dialing += 1;
            }
        }
    }

    fn say_all(&mut self, now: Timestamp, node: NodeId) {
        loop {
            let Some(peer) = self.peers.get_mut(&node) else {
                return;
            };
            if peer.flying.len() >= MAX_NOTICES_IN_FLIGHT {
                return;
            }
            let Some(due) = peer.due.pop_first() else { return };
            let Some((msg, told)) = self.word(now, node, due) else {
                continue;
            };
            let deadline = now + self.config.answer_within;
            let Some(peer) = self.peers.get_mut(&node) else {
                return;
            };
            if peer.flying.is_empty() {
                peer.deadline = deadline;
            }
            peer.flying.insert((due.2, due.3), (due, told));
            let msg = Box::new(msg);
            self.effects.push_back(Effect::Say { to: node, msg });
        }
    }

    /// The words for something due, and whom they are about; `None` when it has become needless.
    fn word(&mut self, now: Timestamp, node: NodeId, due: Due) -> Option<(NoticeMsg, Vec<NodeId>)> {
        let (_, _, id, work) = due;
        let sent = self.sent.get_mut(&id)?;
        let mut told = Vec::new();
        let msg = match work {
            Work::Deliver => {
                if !sent.live(now) || sent.cancelled {
                    return None;
                }
                let delivery = sent.to.get_mut(&node)?;
                if !matches!(delivery.standing, Standing::Queued | Standing::Kept) {
                    return None;
                }
                delivery.tries = delivery.tries.saturating_add(1);
                // Taking it back later must know that the recipient may have it.
                if delivery.tries == 1 {
                    let write = delivery.write(id, node);
                    self.effects.push_back(Effect::Write(write));
                }
                NoticeMsg::Deliver(sent.signed.clone())
            }
            Work::Withdraw => NoticeMsg::Withdraw {
                id,
                recipients: Vec::new(),
            },
            Work::Deposit => {
                if !sent.live(now) || sent.cancelled {
                    return None;
                }
                for (to, delivery) in &mut sent.to {
                    if delivery.standing == Standing::Queued && *to != node {
                        told.push(*to);
                        delivery.tries = delivery.tries.saturating_add(1);
                        if delivery.kept_at.insert(node) {
                            let write = delivery.write(id, *to);
                            self.effects.push_back(Effect::Write(write));
                        }
                    }
                }
                NoticeMsg::Deposit {
                    notice: sent.signed.clone(),
                    recipients: told.clone(),
                }
            }
            Work::Release => {
                for (to, delivery) in &sent.to {
                    let needless =
                        sent.cancelled || matches!(delivery.standing, Standing::At(_) | Standing::Cancelled);
                    if needless && delivery.kept_at.contains(&node) {
                        told.push(*to);
                    }
                }
                NoticeMsg::Withdraw {
                    id,
                    recipients: told.clone(),
                }
            }
        };
        let empty = told.is_empty() && matches!(work, Work::Deposit | Work::Release);
        (!empty).then_some((msg, told))
    }
}
