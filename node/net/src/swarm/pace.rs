//! How much gossip one neighbour may bring and one author may say a second.
//!
//! Owns buckets and who has overdrawn them. What an author says too much is not passed on by the first honest node
//! it meets, so a flood stays where it began. Must not know what is said.

use libp2p::PeerId;
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
    /// Far too much from its author itself: shut it out. Said once.
    ShutOut,
}

/// The buckets. See the module's documentation.
#[derive(Default)]
pub(crate) struct Pace {
    authors: BTreeMap<PeerId, Bucket>,
    neighbours: BTreeMap<PeerId, Bucket>,
    /// Messages over the rate from their author itself, and when the last came; bounded as the authors are.
    offences: BTreeMap<PeerId, (u32, Instant)>,
}

impl Pace {
    /// Counts a new message that a neighbour has brought.
    pub(crate) fn heard(&mut self, from: PeerId, author: Option<PeerId>, now: Instant) -> Paced {
        let brought = take(&mut self.neighbours, from, &NEIGHBOUR, now);
        let said = author.is_none_or(|author| take(&mut self.authors, author, &AUTHOR, now));
        if brought && said {
            return Paced::Good;
        }
        if author != Some(from) {
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

fn take(buckets: &mut BTreeMap<PeerId, Bucket>, peer: PeerId, rate: &Rate, now: Instant) -> bool {
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

    fn good(pace: &mut Pace, from: PeerId, author: PeerId, count: usize, now: Instant) -> usize {
        (0..count)
            .filter(|_| pace.heard(from, Some(author), now) == Paced::Good)
            .count()
    }

    #[test]
    fn an_author_is_held_to_its_rate_and_others_are_not_hindered() {
        let (mut pace, now) = (Pace::default(), Instant::now());
        let [loud, quiet, between] = [(); 3].map(|()| PeerId::random());
        assert_eq!(good(&mut pace, loud, loud, 700, now), 256);
        assert_eq!(good(&mut pace, between, quiet, 100, now), 100);
        assert_eq!(good(&mut pace, loud, loud, 100, now + Duration::from_secs(1)), 40);
    }

    #[test]
    fn who_goes_on_is_shut_out_once_and_a_messenger_never() {
        let (mut pace, now) = (Pace::default(), Instant::now());
        let (loud, messenger) = (PeerId::random(), PeerId::random());
        let outs = (0..5000)
            .filter(|_| pace.heard(loud, Some(loud), now) == Paced::ShutOut)
            .count();
        assert_eq!(outs, 1);
        let outs = (0..5000)
            .filter(|_| pace.heard(messenger, Some(loud), now) == Paced::ShutOut)
            .count();
        assert_eq!(outs, 0);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let (mut pace, now) = (Pace::default(), Instant::now());
        for _ in 0..MAX + 100 {
            pace.heard(PeerId::random(), Some(PeerId::random()), now);
        }
        assert!(pace.authors.len() <= MAX && pace.neighbours.len() <= MAX);
        let late = now + Duration::from_secs(10);
        pace.heard(PeerId::random(), Some(PeerId::random()), late);
        assert!(pace.authors.len() < 10, "full buckets are forgotten");
    }
}
