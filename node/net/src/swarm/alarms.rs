//! Things to be done at a time: what the loop's tick of a second is too coarse for.

use libp2p::{PeerId, swarm::ConnectionId};
use std::{collections::BTreeMap, time::Instant};

/// Alarms at a time; beyond it the ticks of the loop do what is left undone. A peer has a handful at most.
const MAX: usize = 4096;

/// What is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Alarm {
    /// Dial the ways through relays, beside a direct dial that has not come to anything yet.
    Circuits(PeerId),
    /// Dial them again while somebody still waits; how often that was done.
    CircuitsAgain(PeerId, u8),
    /// The next step of a punch.
    Punch(PeerId, Step),
    /// A connection that was asked for a sign of life has had its time.
    Verdict(PeerId, ConnectionId),
    /// A trace has had its time.
    Trace(PeerId),
}

/// A step of a punch, by number of its round: one that is over does nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Step {
    pub round: u64,
    pub what: What,
}

/// What is done in a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum What {
    /// Begin, or begin again.
    Begin,
    /// Connect over QUIC.
    Quic,
    /// Connect over TCP from the listening port, both sides at once.
    TcpTogether,
    /// Connect over TCP from a new port, for peers that let in every port or this address.
    TcpAlone,
    /// It has had its time.
    End,
}

/// All alarms, earliest first.
#[derive(Debug, Default)]
pub(crate) struct Alarms {
    due: BTreeMap<(Instant, u64), Alarm>,
    count: u64,
}

impl Alarms {
    /// Sets one; false when there are too many.
    pub(crate) fn set(&mut self, at: Instant, alarm: Alarm) -> bool {
        if self.due.len() >= MAX {
            return false;
        }
        self.count = self.count.wrapping_add(1);
        self.due.insert((at, self.count), alarm);
        true
    }

    /// When the next goes off.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.due.first_key_value().map(|((at, _), _)| *at)
    }

    /// Takes one that is due.
    pub(crate) fn take(&mut self, now: Instant) -> Option<Alarm> {
        let first = self.due.first_entry()?;
        (first.key().0 <= now).then(|| first.remove())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::time::Duration;

    #[test]
    fn alarms_go_off_in_order_and_are_bounded() {
        let (mut alarms, now, peer) = (Alarms::default(), Instant::now(), PeerId::random());
        let later = now + Duration::from_millis(5);
        let end = Step {
            round: 1,
            what: What::End,
        };
        assert!(alarms.set(later, Alarm::Punch(peer, end)));
        assert!(alarms.set(now, Alarm::Circuits(peer)));
        assert_eq!(alarms.next(), Some(now));
        assert_eq!(alarms.take(now), Some(Alarm::Circuits(peer)));
        assert_eq!(alarms.take(now), None);
        assert_eq!(alarms.take(later), Some(Alarm::Punch(peer, end)));
        for _ in 0..MAX {
            assert!(alarms.set(now, Alarm::Circuits(peer)));
        }
        assert!(!alarms.set(now, Alarm::Circuits(peer)));
    }
}
