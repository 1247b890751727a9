//! The reservations: which relays this node is reached through, is asking, or has lost.

use crate::{
    addr,
    candidates::Candidates,
    config::{ASK_LIMIT, LOST_FOR_GOOD, LOST_PATIENCE, MAX_PUBLISHED, MAX_SLOTS, STAY, WANTED_RELAYS},
    effect::Effect,
    input::When,
    report::SlotState,
};
use hive_protocol::{ids::NodeId, time::Timestamp};
use std::collections::{BTreeMap, BTreeSet};

/// A better relay must be so many times nearer, and by so many microseconds, to be worth a change.
const BETTER: u64 = 2;
const BETTER_US: u64 = 20_000;

/// One reservation.
#[derive(Debug, Clone)]
pub(crate) struct Slot {
    pub state: SlotState,
    pub since: When,
    /// Addresses through it, while it is held.
    pub addrs: Vec<String>,
}

/// All of them. At most [`MAX_SLOTS`].
#[derive(Debug, Clone, Default)]
pub(crate) struct Slots(BTreeMap<NodeId, Slot>);

impl Slots {
    pub(crate) fn get(&self, node: &NodeId) -> Option<&Slot> {
        self.0.get(node)
    }

    /// The relays, whatever their state.
    pub(crate) fn relays(&self) -> BTreeSet<NodeId> {
        self.0.keys().copied().collect()
    }

    /// The addresses through relays that stand, the longest kept first.
    pub(crate) fn held(&self) -> impl Iterator<Item = (NodeId, &[String])> {
        let mut held: Vec<_> = self
            .0
            .iter()
            .filter(|(_, s)| s.state == SlotState::Held)
            .collect();
        held.sort_by_key(|(node, s)| (s.since, **node));
        held.into_iter().map(|(node, s)| (*node, s.addrs.as_slice()))
    }

    fn count(&self, state: SlotState) -> usize {
        self.0.values().filter(|s| s.state == state).count()
    }

    /// An address through a relay stands; false for a relay that was not asked.
    pub(crate) fn reserved(&mut self, now: Timestamp, relay: NodeId, text: &str) -> bool {
        let Some(slot) = self.0.get_mut(&relay) else {
            return false;
        };
        if slot.state != SlotState::Held {
            slot.state = SlotState::Held;
            slot.since = now;
            slot.addrs.clear();
        }
        if !slot.addrs.iter().any(|a| a == text)
            && slot.addrs.len() < MAX_PUBLISHED
            && text.len() <= addr::MAX_TEXT
            && addr::is_circuit(text)
        {
            slot.addrs.push(text.to_owned());
        }
        true
    }

    /// A reservation could not be had.
    pub(crate) fn failed(&mut self, relay: &NodeId) -> bool {
        let asking = self.0.get(relay).is_some_and(|s| s.state != SlotState::Held);
        asking && self.0.remove(relay).is_some()
    }

    /// An address through a relay holds no longer.
    pub(crate) fn lost(&mut self, now: Timestamp, relay: &NodeId, text: &str) -> bool {
        let Some(slot) = self.0.get_mut(relay) else {
            return false;
        };
        slot.addrs.retain(|a| a != text);
        if slot.state == SlotState::Held && slot.addrs.is_empty() {
            slot.state = SlotState::Lost;
            slot.since = now;
        }
        true
    }

    /// Nothing is wanted: all are given up.
    pub(crate) fn drop_all(&mut self, effects: &mut Vec<Effect>) {
        for relay in std::mem::take(&mut self.0).into_keys() {
            effects.push(Effect::Unreserve { relay });
        }
    }

    /// Keeps two relays: asks for what is missing, replaces what is lost, full or far, gives up what is in excess.
    pub(crate) fn keep(&mut self, now: Timestamp, known: &mut Candidates, effects: &mut Vec<Effect>) {
        self.give_up(now, known, effects);
        let chosen = known.choose(now);
        let standing = |s: &Slot| match s.state {
            SlotState::Held | SlotState::Asking => true,
            SlotState::Lost => now < s.since + LOST_PATIENCE,
        };
        let missing = WANTED_RELAYS.saturating_sub(self.0.values().filter(|s| standing(s)).count());
        let mut wanted: Vec<NodeId> = chosen
            .iter()
            .filter(|node| !self.0.contains_key(node))
            .copied()
            .collect();
        wanted.truncate(if missing > 0 {
            missing
        } else {
            usize::from(self.worth_changing(now, known, &chosen))
        });
        for relay in wanted {
            if self.0.len() >= MAX_SLOTS {
                break;
            }
            let addrs = known.get(&relay).map(|c| c.addrs.clone()).unwrap_or_default();
            let slot = Slot {
                state: SlotState::Asking,
                since: now,
                addrs: Vec::new(),
            };
            self.0.insert(relay, slot);
            effects.push(Effect::Reserve { relay, addrs });
        }
        self.trim(known, &chosen, effects);
    }

    /// What was asked for in vain, or has been lost for long.
    fn give_up(&mut self, now: Timestamp, known: &mut Candidates, effects: &mut Vec<Effect>) {
        let gone = |s: &Slot| match s.state {
            SlotState::Asking => now >= s.since + ASK_LIMIT,
            SlotState::Lost => now >= s.since + LOST_FOR_GOOD,
            SlotState::Held => false,
        };
        let over: Vec<NodeId> = self.0.iter().filter(|(_, s)| gone(s)).map(|(n, _)| *n).collect();
        for relay in over {
            self.0.remove(&relay);
            known.refused(now, &relay, "it did not give a reservation in time");
            effects.push(Effect::Unreserve { relay });
        }
        // One that stays lost is passed over, so that another one is chosen beside it.
        for (relay, slot) in &self.0 {
            if slot.state == SlotState::Lost
                && now >= slot.since + LOST_PATIENCE
                && known.is_usable(now, relay)
            {
                known.refused(now, relay, "the reservation there is lost");
            }
        }
    }

    /// Whether one of the chosen that is not kept is much better than the worst that is.
    fn worth_changing(&self, now: Timestamp, known: &Candidates, chosen: &[NodeId]) -> bool {
        if self.count(SlotState::Held) < WANTED_RELAYS || self.count(SlotState::Asking) > 0 {
            return false;
        }
        let cost = |node: &NodeId| known.get(node).map_or(u64::MAX, |c| c.cost());
        let Some(best) = chosen.iter().filter(|n| !self.0.contains_key(n)).map(cost).min() else {
            return false;
        };
        let worst = self
            .0
            .iter()
            .filter(|(node, _)| !chosen.contains(node))
            .map(|(node, slot)| {
                let stays = now < slot.since + STAY;
                let broken = known.get(node).is_none_or(|c| c.load.is_some_and(|l| !l.serving));
                (broken, stays, cost(node))
            });
        worst
            .max_by_key(|(broken, _, cost)| (*broken, *cost))
            .is_some_and(|(broken, stays, worst)| {
                broken || (!stays && worst / BETTER > best && worst.saturating_sub(best) > BETTER_US)
            })
    }

    /// With more than two standing, those that were not chosen go, the most expensive first.
    fn trim(&mut self, known: &Candidates, chosen: &[NodeId], effects: &mut Vec<Effect>) {
        while self.count(SlotState::Held) > WANTED_RELAYS {
            let cost = |node: &NodeId| known.get(node).map_or(u64::MAX, |c| c.cost());
            let worst = self
                .0
                .iter()
                .filter(|(_, s)| s.state == SlotState::Held)
                .max_by_key(|(node, _)| (!chosen.contains(node), cost(node)))
                .map(|(node, _)| *node);
            let Some(relay) = worst else { return };
            self.0.remove(&relay);
            effects.push(Effect::Unreserve { relay });
        }
        // A lost one is waited for no longer when two stand.
        if self.count(SlotState::Held) >= WANTED_RELAYS {
            let lost: Vec<NodeId> = self
                .0
                .iter()
                .filter(|(_, s)| s.state == SlotState::Lost)
                .map(|(n, _)| *n)
                .collect();
            for relay in lost {
                self.0.remove(&relay);
                effects.push(Effect::Unreserve { relay });
            }
        }
    }

    /// When something changes by time alone.
    pub(crate) fn next_due(&self, now: Timestamp) -> Option<Timestamp> {
        self.0
            .values()
            .filter_map(|s| match s.state {
                SlotState::Asking => Some(s.since + ASK_LIMIT),
                SlotState::Lost if now < s.since + LOST_PATIENCE => Some(s.since + LOST_PATIENCE),
                SlotState::Lost => Some(s.since + LOST_FOR_GOOD),
                SlotState::Held => None,
            })
            .min()
    }

    pub(crate) fn check(&self) {
        assert!(self.0.len() <= MAX_SLOTS, "too many reservations");
        for slot in self.0.values() {
            assert!(slot.addrs.len() <= MAX_PUBLISHED);
            assert!(slot.state == SlotState::Held || slot.addrs.is_empty());
        }
    }
}
