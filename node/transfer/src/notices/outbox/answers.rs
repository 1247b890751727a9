//! What recipients and authorities answer, and taking back.

use super::{Effect, Outbox, Standing, peer::Work};
use crate::notices::{cut, is_final};
use hive_protocol::{
    command::Refusal,
    ids::{NodeId, NoticeId},
    notice::{DeliveryState, NoticeMsg},
    time::Timestamp,
};

impl Outbox {
    pub(super) fn state(&mut self, now: Timestamp, from: NodeId, id: NoticeId, state: DeliveryState) {
        self.heard(now, from);
        let (state, last) = (cut(state.clone()), is_final(&state));
        // Also for what is forgotten here: the recipient need not remember it for our sake.
        if last {
            self.say(from, NoticeMsg::Noted(vec![id]));
        }
        let Some(sent) = self.sent.get(&id) else { return };
        if !sent.to.contains_key(&from) {
            return;
        }
        let cancelled = sent.cancelled;
        self.settle(from, id, Work::Deliver);
        if last {
            self.settle(from, id, Work::Withdraw);
        }
        let known = match &self.delivery(id, from).map(|d| d.standing.clone()) {
            Some(Standing::At(at)) => is_final(at),
            None => true,
            // Taken back or given up here, and yet it has arrived: that is what is so.
            Some(Standing::Cancelled | Standing::Expired) => !last,
            Some(Standing::Queued | Standing::Kept) => false,
        };
        if !known {
            self.stand(now, id, from, Standing::At(state));
        }
        if cancelled && !last {
            self.requeue_withdrawal(id, from);
        }
        self.release(id, from);
    }

    fn requeue_withdrawal(&mut self, id: NoticeId, node: NodeId) {
        let Some(sent) = self.sent.get(&id) else { return };
        let due = (sent.notice.priority, sent.order, id, Work::Withdraw);
        let peer = self.peers.entry(node).or_default();
        if !peer.flying.contains_key(&(id, Work::Withdraw)) {
            peer.due.insert(due);
        }
    }

    /// Tells the authorities that may keep it for this recipient that they need not any more.
    fn release(&mut self, id: NoticeId, node: NodeId) {
        let Some(sent) = self.sent.get(&id) else { return };
        let due = (sent.notice.priority, sent.order, id, Work::Release);
        let Some(delivery) = sent.to.get(&node) else {
            return;
        };
        for authority in delivery.kept_at.clone() {
            let peer = self.peers.entry(authority).or_default();
            if !peer.flying.contains_key(&(id, Work::Release)) {
                peer.due.insert(due);
            }
        }
    }

    fn say(&mut self, to: NodeId, msg: NoticeMsg) {
        let msg = Box::new(msg);
        self.effects.push_back(Effect::Say { to, msg });
    }

    pub(super) fn deposited(
        &mut self,
        now: Timestamp,
        from: NodeId,
        id: NoticeId,
        kept: &[NodeId],
        refused: Option<&Refusal>,
    ) {
        self.heard(now, from);
        // Only what was asked for is believed.
        let Some(told) = self.settle(from, id, Work::Deposit) else {
            return;
        };
        for node in told {
            let is_kept = kept.contains(&node);
            let Some(delivery) = self.sent.get_mut(&id).and_then(|s| s.to.get_mut(&node)) else {
                continue;
            };
            let standing = delivery.standing.clone();
            if is_kept {
                if standing == Standing::Queued {
                    self.stand(now, id, node, Standing::Kept);
                }
            } else if delivery.kept_at.remove(&from) {
                let write = delivery.write(id, node);
                self.effects.push_back(Effect::Write(write));
            }
            // Delivered meanwhile: it need not be kept after all.
            if is_kept && !matches!(standing, Standing::Queued | Standing::Kept) {
                self.release(id, node);
            }
        }
        let cancelled = self.sent.get(&id).is_some_and(|s| s.cancelled);
        if cancelled {
            self.queue(now, id);
        } else if refused.is_some() {
            // Full or busy: room comes with time.
            self.deposits.insert((now + self.config.look_every, id));
        }
    }

    pub(super) fn noted(&mut self, now: Timestamp, from: NodeId, ids: &[NoticeId]) {
        self.heard(now, from);
        for id in ids.iter().copied() {
            for node in self.settle(from, id, Work::Release).unwrap_or_default() {
                let Some(delivery) = self.sent.get_mut(&id).and_then(|s| s.to.get_mut(&node)) else {
                    continue;
                };
                if delivery.kept_at.remove(&from) {
                    let write = delivery.write(id, node);
                    self.effects.push_back(Effect::Write(write));
                }
            }
            if self.settle(from, id, Work::Withdraw).is_some() {
                let open = self.delivery(id, from).is_some_and(|d| !d.standing.ended());
                if open {
                    self.stand(now, id, from, Standing::Cancelled);
                }
            }
        }
    }

    pub(super) fn cancel(&mut self, now: Timestamp, id: NoticeId) {
        if self.may_cancel(id).is_err() {
            return;
        }
        let Some(sent) = self.sent.get_mut(&id) else {
            return;
        };
        sent.cancelled = true;
        self.effects.push_back(Effect::Write(sent.write()));
        let nodes: Vec<(NodeId, bool)> = sent
            .to
            .iter()
            .filter(|(_, d)| !d.standing.ended())
            .map(|(n, d)| (*n, d.tries == 0 && d.kept_at.is_empty()))
            .collect();
        for (node, untold) in nodes {
            self.settle(node, id, Work::Deliver);
            if untold {
                self.stand(now, id, node, Standing::Cancelled);
            }
        }
        self.queue(now, id);
    }
}
