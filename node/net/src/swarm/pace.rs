//! How much gossip one neighbour may bring and one author may say a second.
//!
//! Owns buckets and who has overdrawn them. What an author says too much is not passed on by the first honest node
//! it meets, so a flood stays where it began. Must not know what is said.

use hive_protocol::ids::NodeId;
use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

/// An author's messages: a submitter with a thousand jobs announces each every 30 s, and all at once after a start.
const AUTHOR: Rate = Rate {
    second: 40.0,
    burst: 256.0,
};
/// A neighbour's messages, whoever wrote them: a thousand nodes' presence and the demand of a busy mesh.
const NEIGHBOUR: Rate = Rate {
    second: 400.0,
    burst: 1024.0,
};
/// Authors and neighbours remembered; beyond that full buckets go, then nobody new is counted.
const MAX: usize = 4096;
/// Messages over the rate from their author itself after which it is shut out: no honest node comes near.
const SHUT_OUT: u32 = 512;
/// What was too much is forgotten after so long without more of it.
const FORGET: Duration = Duration::from_secs(60);

struct Rate {
    second: f64,
    burst: f64,
}

struct Bucket {
    tokens: f64,
    last: Instant,
}

impl Bucket {
    fn take(&mut self, rate: &Rate, now: Instant) -> bool {
        self.tokens = self.filled(rate, now);
        self.last = now;
        let there = self.tokens >= 1.0;
        if there {
            self.tokens -= 1.0;
        }
        there
    }

    fn filled(&self, rate: &Rate, now: Instant) -> f64 {
        let passed = now.saturating_duration_since(self.last).as_secs_f64();
        rate.second.mul_add(passed, self.tokens).min(rate.burst)
    }
}

/// What becomes of a message by its rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Paced {
    /// Within the rates.
    Good,
    /// Too much: not passed on.
    TooMuch,
    /// Far too much from its author itself: shut it out. Said once, and again after it was forgiven.
    ShutOut,
}

/// The buckets. See the module's documentation.
#[derive(Default)]
pub(crate) struct Pace {
    authors: BTreeMap<NodeId, Bucket>,
    neighbours: BTreeMap<NodeId, Bucket>,
    /// Messages over the rate from their author itself, and when the last came; bounded as the authors are.
    offences: BTreeMap<NodeId, (u32, Instant)>,
}

impl Pace {
    /// Counts a new message that a neighbour has brought. Its author is not proved yet: who names itself can only
    /// harm itself.
    pub(crate) fn brought(&mut self, from: NodeId, author: NodeId, now: Instant) -> Paced {
        if take(&mut self.neighbours, from, &NEIGHBOUR, now) {
            Paced::Good
        } else {
            self.overdrawn(from, author, now)
        }
    }

    /// Counts a new message of an author that has been proved.
    pub(crate) fn said(&mut self, from: NodeId, author: NodeId, now: Instant) -> Paced {
        if take(&mut self.authors, author, &AUTHOR, now) {
            Paced::Good
        } else {
            self.overdrawn(from, author, now)
        }
    }

    /// Whoever was to be shut out is not: it is said again when it goes on as long as before.
    pub(crate) fn forgive(&mut self, from: NodeId) {
        self.offences.remove(&from);
    }

    fn overdrawn(&mut self, from: NodeId, author: NodeId, now: Instant) -> Paced {
        if author != from {
            return Paced::TooMuch;
        }
        if self.offences.len() >= MAX && !self.offences.contains_key(&from) {
            self.offences
                .retain(|_, (_, last)| now.saturating_duration_since(*last) < FORGET);
            if self.offences.len() >= MAX {
                return Paced::TooMuch;
            }
        }
        let (count, last) = self.offences.entry(from).or_insert((0, now));
        if now.saturating_duration_since(*last) >= FORGET {
            *count = 0;
        }
        *last = now;
        *count = count.saturating_add(1);
        if *count == SHUT_OUT {
            Paced::ShutOut
        } else {
            Paced::TooMuch
        }
    }
}

fn take(buckets: &mut BTreeMap<NodeId, Bucket>, peer: NodeId, rate: &Rate, now: Instant) -> bool {
    if buckets.len() >= MAX && !buckets.contains_key(&peer) {
        buckets.retain(|_, bucket| bucket.filled(rate, now) < rate.burst);
        if buckets.len() >= MAX {
            return true;
        }
    }
    let full = || Bucket {
        tokens: rate.burst,
        last: now,
    };
    buckets.entry(peer).or_insert_with(full).take(rate, now)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(n: usize) -> NodeId {
        let mut id = [0; 32];
        id[..8].copy_from_slice(&n.to_le_bytes());
        NodeId(id)
    }

    fn heard(pace: &mut Pace, from: NodeId, author: NodeId, now: Instant) -> Paced {
        match pace.brought(from, author, now) {
            Paced::Good => pace.said(from, author, now),
            other => other,
        }
    }

    fn count(pace: &mut Pace, from: usize, author: usize, many: usize, now: Instant, what: Paced) -> usize {
        (0..many)
            .filter(|_| heard(pace, node(from), node(author), now) == what)
            .count()
    }

    #[test]
    fn an_author_is_held_to_its_rate_and_others_are_not_hindered() {
        let (mut pace, now) = (Pace::default(), Instant::now());
        let (loud, quiet, between) = (1, 2, 3);
        let good = Paced::Good;
        assert_eq!(count(&mut pace, loud, loud, 700, now, good), 256);
        assert_eq!(count(&mut pace, between, quiet, 100, now, good), 100);
        let later = now + Duration::from_secs(1);
        assert_eq!(count(&mut pace, loud, loud, 100, later, good), 40);
    }

    #[test]
    fn a_neighbour_is_held_to_its_rate_before_authors_are_looked_at() {
        let (mut pace, now) = (Pace::default(), Instant::now());
        let good = (0..2000)
            .filter(|n| pace.brought(node(1), node(100 + n), now) == Paced::Good)
            .count();
        assert_eq!(good, 1024);
        assert!(
            pace.authors.is_empty(),
            "nobody is charged for what is not proved"
        );
    }

    #[test]
    fn who_goes_on_is_shut_out_once_and_a_messenger_never() {
        let (mut pace, now) = (Pace::default(), Instant::now());
        let (loud, messenger) = (1, 2);
        let out = Paced::ShutOut;
        assert_eq!(count(&mut pace, loud, loud, 5000, now, out), 1);
        assert_eq!(count(&mut pace, messenger, loud, 5000, now, out), 0);
    }

    #[test]
    fn who_was_kept_once_is_shut_out_when_it_goes_on() {
        let (mut pace, now) = (Pace::default(), Instant::now());
        let loud = node(1);
        let said = |pace: &mut Pace| (0..5000).position(|_| heard(pace, loud, loud, now) == Paced::ShutOut);
        assert!(said(&mut pace).is_some());
        assert_eq!(said(&mut pace), None, "said once");
        pace.forgive(loud);
        assert_eq!(said(&mut pace), Some(SHUT_OUT as usize - 1));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let (mut pace, now) = (Pace::default(), Instant::now());
        for n in 0..MAX + 100 {
            heard(&mut pace, node(n), node(n + 10_000), now);
        }
        assert!(pace.authors.len() <= MAX && pace.neighbours.len() <= MAX);
        let late = now + Duration::from_secs(10);
        heard(&mut pace, node(90_000), node(90_001), late);
        assert!(pace.authors.len() < 10, "full buckets are forgotten");
    }
}
