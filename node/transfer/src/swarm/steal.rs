//! The end: what a slow peer owes is split with one that has nothing to do; and what a reader waits for is asked of
//! a faster peer too. Only here is a group asked of two peers at once.

use super::{Swarm, bits::highest, choose::Field, pace::takes, plan::AGAIN};
use hive_protocol::{
    file::{GROUP, SEGMENT},
    ids::NodeId,
    time::Millis,
};

/// The time a split must save to be worth its waste.
const GAIN: Millis = Millis(50);
/// Bytes of one peer's asks given to others while it may still send them: the bound of the waste it can cause.
const MAX_DOUBLED: u64 = 2 * SEGMENT;
/// Segments at the head of a reader's window that are looked after.
const URGENT: u32 = 2;
/// A second peer is asked for what a reader waits for only if it is this much sooner.
const SOONER: Millis = Millis(200);

impl Swarm {
    pub(super) fn sharpen(&mut self, field: &Field) {
        self.hurry();
        if self.anything_open() {
            return;
        }
        let mut idle: Vec<(u64, NodeId)> = self
            .peers
            .iter()
            .filter(|(_, p)| p.usable(self.now) && p.asks.is_empty() && !p.have.is_empty())
            .filter(|(id, _)| !self.is_barred(id, field))
            .map(|(id, _)| (self.speed(id), *id))
            .collect();
        idle.sort_unstable_by(|a, b| b.cmp(a));
        if !idle.is_empty() && self.asks() > 0 {
            self.recheck = Some(self.later(AGAIN));
        }
        for (_, thief) in idle {
            if let Some((victim, segment, mask)) = self.split(&thief) {
                let bytes = self.content.as_ref().map_or(0, |c| c.bytes(segment, mask));
                if let Some(peer) = self.peers.get_mut(&victim) {
                    peer.doubled = peer.doubled.saturating_add(bytes);
                }
                self.make_ask(thief, segment, mask);
            }
        }
    }

    /// The ask of another that would end last, and the part of it that this peer would have sooner.
    fn split(&self, thief: &NodeId) -> Option<(NodeId, u32, u64)> {
        let (content, peer) = (self.content.as_ref()?, self.peers.get(thief)?);
        let speed = self.speed(thief);
        let start = peer.rate.delay();
        let mut best: Option<(u64, NodeId, u32, u64)> = None;
        for (segment, askers) in &self.asked {
            let [victim] = askers.as_slice() else { continue };
            if victim == thief || !peer.have.get(*segment) {
                continue;
            }
            let Some(owner) = self.peers.get(victim) else {
                continue;
            };
            let Some(ask) = owner.ask(*segment) else { continue };
            let rest = ask.mask & content.missing(*segment);
            let end = self.ends(victim, *segment);
            if best.is_none_or(|b| end.0 > b.0) && rest != 0 {
                best = Some((end.0, *victim, *segment, rest));
            }
        }
        let (end, victim, segment, rest) = best?;
        let slow = self.speed(&victim);
        let bytes = content.bytes(segment, rest);
        // Both are done at the same moment if the thief takes this part, from the far end.
        let head = end.saturating_sub(takes(bytes, slow).0);
        let both = speed.saturating_add(slow).max(1);
        let share = speed.saturating_mul(bytes.saturating_add(slow.saturating_mul(head) / 1000)) / both;
        let groups = (share.div_ceil(GROUP).max(1)).min(u64::from(rest.count_ones())) as u32;
        let mask = highest(rest, groups);
        let stolen = content.bytes(segment, mask);
        let new_end = (start.0 + takes(stolen, speed).0).max(end.saturating_sub(takes(stolen, slow).0));
        let doubled = self.peers.get(&victim).map_or(0, |p| p.doubled);
        (new_end + GAIN.0 < end && new_end * 10 < end * 7 && doubled + stolen <= MAX_DOUBLED)
            .then_some((victim, segment, mask))
    }

    /// How long until a peer has given its ask for a segment.
    fn ends(&self, id: &NodeId, segment: u32) -> Millis {
        let late = self
            .peers
            .get(id)
            .map_or(0, |p| if p.asks.len() == 1 { p.rate.delay().0 } else { 0 });
        Millis(takes(self.owed_before(id, segment), self.speed(id)).0 + late)
    }

    /// A reader's next segments, if they come from a slow peer, are asked of a faster one too.
    fn hurry(&mut self) {
        let (Some((from, _)), Some(content)) = (self.want, &self.content) else {
            return;
        };
        let to = from.saturating_add(URGENT).min(content.count());
        for segment in from..to {
            if let Some((peer, mask)) = self.sooner(segment) {
                self.make_ask(peer, segment, mask);
            }
        }
        if self.asks() > 0 {
            self.recheck = Some(self.later(AGAIN));
        }
    }

    fn sooner(&self, segment: u32) -> Option<(NodeId, u64)> {
        let content = self.content.as_ref()?;
        let [owner] = self.asked.get(&segment)?.as_slice() else {
            return None;
        };
        let rest = self.peers.get(owner)?.ask(segment)?.mask & content.missing(segment);
        let end = self.ends(owner, segment);
        let bytes = content.bytes(segment, rest);
        let (new_end, id) = self
            .peers
            .iter()
            .filter(|(id, p)| {
                *id != owner && p.usable(self.now) && p.have.get(segment) && p.asks.len() < super::MAX_ASKS
            })
            .map(|(id, p)| {
                let time = takes(self.owed(id) + bytes, self.speed(id)).0 + p.rate.delay().0;
                (time, *id)
            })
            .min()?;
        (rest != 0 && new_end * 2 + SOONER.0 < end.0).then_some((id, rest))
    }
}
