//! What is known of one peer: what it says it has, what it owes, how it has behaved.

use super::{
    bits::Bits,
    config::Config,
    input::Path,
    pace::{Gain, Rate},
};
use hive_protocol::{
    ids::NodeId,
    time::{Millis, Timestamp},
};
use std::collections::VecDeque;

/// One ask that runs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ask {
    pub(crate) segment: u32,
    pub(crate) mask: u64,
    /// Groups of it that this peer has given.
    pub(crate) given: u64,
    pub(crate) at: Timestamp,
}

/// A question that is not about bytes: when it may be put (again), and until when its answer may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Question {
    /// Set while it runs.
    pub(crate) until: Option<Timestamp>,
    /// Not before.
    pub(crate) next: Timestamp,
    /// Answers so far.
    pub(crate) answers: u32,
}

impl Question {
    const fn new(now: Timestamp) -> Self {
        Self {
            until: None,
            next: now,
            answers: 0,
        }
    }
    pub(crate) const fn answered(&mut self, next: Timestamp) {
        self.until = None;
        self.next = next;
        self.answers = self.answers.saturating_add(1);
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Peer {
    pub(crate) path: Path,
    /// It says that it has all.
    pub(crate) whole: bool,
    /// It had only parts when it was met, so it is another fetcher and not where the content comes from.
    pub(crate) grown: bool,
    /// What it says it has; all set when `whole`. Empty before the size is known.
    pub(crate) have: Bits,
    /// Its last word before the size was known.
    pub(crate) early: Vec<u8>,
    /// Parts it did not have though it said so; not believed again.
    pub(crate) lacks: Vec<u32>,
    pub(crate) asks: VecDeque<Ask>,
    pub(crate) rate: Rate,
    /// The last byte of it, or the ask that ended its idleness.
    pub(crate) heard: Timestamp,
    /// When its last answer was over.
    pub(crate) done_at: Timestamp,
    /// Bytes and moment from which on it is watched for trickling.
    pub(crate) mark: (u64, Timestamp),
    /// Not asked before this.
    pub(crate) hold: Option<Timestamp>,
    /// Stalls and breaks since it last gave something.
    pub(crate) strikes: u32,
    pub(crate) haves: Question,
    pub(crate) tree: Question,
    /// Who fetches from it, as it says.
    pub(crate) fetchers: Vec<NodeId>,
    pub(crate) gain: Gain,
    /// Payload received from it.
    pub(crate) received: u64,
    /// Of that, verified and new.
    pub(crate) useful: u64,
    /// Groups' bytes that were asked of somebody else while this peer owed them; bounds the waste.
    pub(crate) doubled: u64,
}

impl Peer {
    pub(crate) fn new(now: Timestamp, path: Path, whole: bool, segments: Option<u32>) -> Self {
        let have = match segments {
            Some(n) if whole => Bits::full(n),
            Some(n) => Bits::new(n),
            None => Bits::default(),
        };
        Self {
            path,
            whole,
            grown: false,
            have,
            early: Vec::new(),
            lacks: Vec::new(),
            asks: VecDeque::new(),
            rate: Rate::default(),
            heard: now,
            done_at: now,
            mark: (0, now),
            hold: None,
            strikes: 0,
            haves: Question::new(now),
            tree: Question::new(now),
            fetchers: Vec::new(),
            gain: Gain::new(now),
            received: 0,
            useful: 0,
            doubled: 0,
        }
    }

    /// What it says it has, in wire form; parts it has lacked before are not believed.
    pub(crate) fn set_have(&mut self, count: u32, whole: bool, segments: &[u8]) {
        self.whole = whole && self.lacks.is_empty();
        self.have = if whole {
            Bits::full(count)
        } else {
            Bits::from_bytes(count, segments)
        };
        for segment in &self.lacks {
            self.have.set(*segment, false);
        }
    }

    /// Whether it is a source that is to be spared: who was a fetcher gives on what it got.
    pub(crate) const fn seeds(&self) -> bool {
        self.whole && !self.grown
    }

    /// Whether it may be asked something now.
    pub(crate) fn usable(&self, now: Timestamp) -> bool {
        self.hold.is_none_or(|until| until <= now)
    }

    /// Whether it has been silent for long enough, while owing, not to be counted on.
    pub(crate) fn silence(&self, now: Timestamp) -> Millis {
        if self.asks.is_empty() {
            Millis(0)
        } else {
            now.since(self.heard)
        }
    }

    /// Bytes a second to reckon with now.
    pub(crate) fn speed(&self, now: Timestamp) -> u64 {
        let expected = self.rate.delay();
        self.rate
            .after(Millis(self.silence(now).0.saturating_sub(expected.0)))
    }

    pub(crate) fn ask(&self, segment: u32) -> Option<&Ask> {
        self.asks.iter().find(|a| a.segment == segment)
    }

    pub(crate) fn take_ask(&mut self, segment: u32) -> Option<Ask> {
        let at = self.asks.iter().position(|a| a.segment == segment)?;
        self.asks.remove(at)
    }

    /// It failed once more: let alone, longer each time.
    pub(crate) fn strike(&mut self, now: Timestamp, config: &Config) {
        self.strikes = self.strikes.saturating_add(1);
        let doublings = self.strikes.saturating_sub(1).min(16);
        let pause = config
            .backoff
            .0
            .saturating_mul(1 << doublings)
            .min(config.max_backoff.0);
        self.hold_until(now + Millis(pause));
    }

    pub(crate) fn hold_until(&mut self, at: Timestamp) {
        if self.hold.is_none_or(|old| old < at) {
            self.hold = Some(at);
        }
    }

    /// It gave something that was right.
    pub(crate) const fn redeemed(&mut self) {
        self.strikes = 0;
    }
}

/// What is remembered of a peer that has gone.
#[derive(Clone, Debug)]
pub(crate) struct Past {
    /// Wrong bytes: never again.
    pub(crate) banned: bool,
    pub(crate) strikes: u32,
    pub(crate) rate: Option<u64>,
    pub(crate) lacks: Vec<u32>,
    pub(crate) received: u64,
    pub(crate) useful: u64,
    pub(crate) hold: Option<Timestamp>,
    pub(crate) at: Timestamp,
}
