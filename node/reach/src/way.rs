//! Whether UDP and TCP pass: a connection over the one or the other shows that it does; tries of addresses of peers
//! that are connected over the other one show that it does not. What was shown once grows old, and is asked again
//! when the last such connection is lost.

use crate::{
    addr::{self, Carrier},
    report::Passage,
};
use hive_protocol::{
    ids::NodeId,
    time::{Millis, Timestamp},
};
use std::collections::BTreeSet;

/// Failed tries, of different addresses, before a way counts as blocked.
const FAILED: usize = 2;
/// With fewer peers at hand, failed tries of the same address count after as many.
const TRIES: u8 = 3;

/// Pause between two tries: a lost packet or a peer that restarts is over by then.
const TRY_EVERY: Millis = Millis::secs(3);
/// A try that nobody answers for is over after this time.
const TRY_LIMIT: Millis = Millis::secs(20);
/// What was found, with no connection that shows it any more, is asked again after this time.
const FOUND_LIFE: Millis = Millis::mins(5);
/// A dial that fails elsewhere casts doubt on what was found, if that is not younger than this.
const DOUBT_AFTER: Millis = Millis::mins(1);
/// Peers looked at for an address to try.
const MAX_LOOKED: usize = 64;

/// Who is connected over what, as far as it matters here.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Standing {
    /// Whether a member is connected over this carrier.
    pub here: bool,
    /// Whether any member is connected at all.
    pub anybody: bool,
}

/// What is known of one carrier.
#[derive(Debug, Clone)]
pub(crate) struct Way {
    carrier: Carrier,
    state: Passage,
    /// When that was shown last.
    at: Timestamp,
    /// Whether a connection over it stood when last looked at.
    stood: bool,
    /// Whether it is to be asked although it is known.
    doubted: bool,
    /// Whether it was found blocked while nobody was connected by any way: this machine may have been offline.
    alone: bool,
    failed: BTreeSet<String>,
    tries: u8,
    asked: Option<(String, Timestamp)>,
    /// No try before.
    next: Timestamp,
}

impl Way {
    pub(crate) fn new(carrier: Carrier) -> Self {
        Self {
            carrier,
            state: Passage::Unknown,
            at: Timestamp(0),
            stood: false,
            doubted: false,
            alone: false,
            failed: BTreeSet::new(),
            tries: 0,
            asked: None,
            next: Timestamp(0),
        }
    }

    pub(crate) fn state(&self) -> Passage {
        self.state
    }

    /// Addresses have changed: everything may be different.
    pub(crate) fn reset(&mut self) {
        *self = Self::new(self.carrier);
    }

    fn found(&mut self, now: Timestamp, state: Passage) {
        self.state = state;
        self.at = now;
        self.alone = false;
        self.doubted = false;
        self.failed.clear();
        self.tries = 0;
    }

    /// A direct connection has come about at this address, however long it lasts.
    pub(crate) fn connected(&mut self, now: Timestamp, text: &str) {
        if addr::parse(text).is_some_and(|d| d.carrier == self.carrier) {
            self.found(now, Passage::Open);
        }
    }

    /// Draws what follows from who is connected and from time.
    pub(crate) fn look(&mut self, now: Timestamp, standing: Standing) {
        if self.asked.as_ref().is_some_and(|(_, at)| now >= *at + TRY_LIMIT) {
            self.asked = None;
        }
        if standing.here {
            self.found(now, Passage::Open);
        } else if self.stood {
            // The last one is lost. That may be the peer's end, or the way's.
            self.doubted = true;
            self.at = now;
        }
        self.stood = standing.here;
        if self.alone && standing.anybody {
            // Somebody answers by another way: now it can be told.
            self.found(now, Passage::Unknown);
        }
        if now >= self.at + FOUND_LIFE {
            match self.state {
                Passage::Open => self.found(now, Passage::Unknown),
                // Nothing has shown otherwise.
                Passage::Blocked => self.doubted = true,
                Passage::Unknown => {}
            }
        }
    }

    /// Somebody wants to know how it is now. What no connection shows at this moment counts no longer.
    pub(crate) fn ask_again(&mut self) {
        if self.stood {
            return;
        }
        if self.state == Passage::Open {
            self.state = Passage::Unknown;
        }
        self.doubted = true;
    }

    /// A dial of an address has failed without an answer, for whatever reason.
    pub(crate) fn silent(&mut self, now: Timestamp, text: &str, anybody: bool) {
        let mine = addr::parse(text).is_some_and(|d| d.carrier == self.carrier);
        if !mine || self.stood {
            return;
        }
        if anybody {
            // The node dialed may be gone; one that is connected is tried to find out.
            self.doubted |= self.state == Passage::Open && now >= self.at + DOUBT_AFTER;
        } else if self.asking() && now >= self.next {
            self.next = now + TRY_EVERY;
            self.failure(now, text);
            self.alone = self.state == Passage::Blocked;
        }
    }

    /// Whether it is to be found out.
    fn asking(&self) -> bool {
        !self.stood && (self.doubted || self.state == Passage::Unknown)
    }

    /// Whether a try is under way, or one will be: `wanted` says whether there is anybody to try.
    pub(crate) fn undecided(&self, wanted: bool) -> bool {
        self.asking() && (self.asked.is_some() || wanted)
    }

    /// An address that would tell something. `others`: peers that are connected over the other carrier, where, and
    /// where else they listen.
    pub(crate) fn candidate<'a>(
        &self,
        others: impl Iterator<Item = (NodeId, &'a str, &'a [String])>,
    ) -> Option<(NodeId, String)> {
        if !self.asking() {
            return None;
        }
        let mut tried = None;
        for (node, via, addrs) in others.take(MAX_LOOKED) {
            let Some(ip) = addr::parse(via).and_then(|d| d.ip) else {
                continue;
            };
            let same = |text: &&String| {
                addr::parse(text).is_some_and(|d| d.carrier == self.carrier && d.ip == Some(ip))
            };
            // One that was not tried yet tells more.
            match addrs.iter().find(same) {
                Some(addr) if !self.failed.contains(addr) => return Some((node, addr.clone())),
                Some(addr) => tried = tried.or_else(|| Some((node, addr.clone()))),
                None => {}
            }
        }
        tried
    }

    /// Whether a try may begin now.
    pub(crate) fn free(&self, now: Timestamp) -> bool {
        self.asking() && self.asked.is_none() && now >= self.next
    }

    /// This address is being tried.
    pub(crate) fn tries(&mut self, now: Timestamp, text: &str) {
        self.next = now + TRY_EVERY;
        self.asked = Some((text.to_owned(), now));
    }

    /// When to look again; `wanted`: whether there is anybody to try.
    pub(crate) fn next_due(&self, now: Timestamp, wanted: bool) -> Option<Timestamp> {
        let old = (!self.stood && self.state != Passage::Unknown).then_some(self.at + FOUND_LIFE);
        let tried = match &self.asked {
            Some((_, at)) => Some(*at + TRY_LIMIT),
            None => (self.asking() && wanted).then_some(self.next.max(now + Millis(1))),
        };
        [old, tried].into_iter().flatten().filter(|at| *at > now).min()
    }

    pub(crate) fn tried(&mut self, now: Timestamp, text: &str, reached: bool) {
        if self.asked.as_ref().is_none_or(|(asked, _)| asked != text) {
            return;
        }
        self.asked = None;
        if reached {
            self.found(now, Passage::Open);
        } else if self.asking() {
            self.failure(now, text);
        }
    }

    fn failure(&mut self, now: Timestamp, text: &str) {
        self.tries = self.tries.saturating_add(1);
        if self.failed.len() < FAILED {
            self.failed.insert(text.to_owned());
        }
        if self.failed.len() >= FAILED || self.tries >= TRIES {
            self.found(now, Passage::Blocked);
        }
    }

    pub(crate) fn check(&self) {
        assert!(
            self.failed.len() <= FAILED && self.tries <= TRIES,
            "too many tries"
        );
        assert!(!self.stood || self.state == Passage::Open, "what stands passes");
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const QUIC: &str = "/ip4/203.0.113.1/udp/4001/quic-v1";
    const QUIC_2: &str = "/ip4/203.0.113.2/udp/4001/quic-v1";
    const TCP: &str = "/ip4/203.0.113.1/tcp/4001";
    const ON_IT: Standing = Standing {
        here: true,
        anybody: true,
    };
    const ON_OTHER: Standing = Standing {
        here: false,
        anybody: true,
    };
    const NOBODY: Standing = Standing {
        here: false,
        anybody: false,
    };

    fn udp() -> Way {
        Way::new(Carrier::Quic)
    }

    /// One try that fails, if one is wanted.
    fn fails(way: &mut Way, now: Timestamp) -> bool {
        let (node, addrs) = (NodeId([1; 32]), [TCP.to_owned(), QUIC.to_owned()]);
        if !way.free(now) {
            return false;
        }
        let found = way.candidate([(node, TCP, addrs.as_slice())].into_iter());
        let Some((_, addr)) = found else { return false };
        way.tries(now, &addr);
        way.look(now, ON_OTHER);
        way.tried(now, &addr, false);
        true
    }

    #[test]
    fn a_connection_that_stands_shows_that_it_passes() {
        let mut way = udp();
        way.connected(Timestamp(1), TCP);
        assert_eq!(way.state(), Passage::Unknown);
        way.connected(Timestamp(1), QUIC);
        way.look(Timestamp(1), ON_IT);
        let much_later = Timestamp(1) + Millis::mins(90);
        assert!(!fails(&mut way, much_later), "nothing to find out");
        way.silent(much_later, QUIC_2, true);
        way.ask_again();
        assert_eq!(way.state(), Passage::Open);
    }

    #[test]
    fn tries_of_a_peer_on_the_other_one_show_that_it_does_not() {
        let (mut way, node) = (udp(), NodeId([1; 32]));
        let addrs = [TCP.to_owned(), QUIC.to_owned()];
        let mut now = Timestamp(1);
        let elsewhere = [(node, "/ip4/192.0.2.1/tcp/1", addrs.as_slice())];
        assert_eq!(way.candidate(elsewhere.into_iter()), None, "another place");
        for _ in 0..3 {
            way.look(now, ON_OTHER);
            assert_eq!(way.state(), Passage::Unknown);
            assert!(fails(&mut way, now));
            assert!(!fails(&mut way, now), "not at once");
            now = now + TRY_EVERY;
        }
        assert_eq!(way.state(), Passage::Blocked);
        assert!(!fails(&mut way, now), "it is known");
        way.connected(now, QUIC);
        assert_eq!(way.state(), Passage::Open);
    }

    #[test]
    fn the_loss_of_the_last_connection_asks_again_and_so_does_age() {
        let mut way = udp();
        let mut now = Timestamp(1);
        way.look(now, ON_IT);
        now = now + Millis::mins(30);
        way.look(now, ON_OTHER);
        assert_eq!(way.state(), Passage::Open, "a loss alone shows nothing");
        for _ in 0..3 {
            assert!(fails(&mut way, now));
            now = now + TRY_EVERY;
        }
        assert_eq!(way.state(), Passage::Blocked);
        // It stays so until it is asked again, which age does.
        now = now + FOUND_LIFE;
        way.look(now, ON_OTHER);
        assert_eq!(way.state(), Passage::Blocked);
        way.tries(now, QUIC);
        way.tried(now, QUIC, true);
        assert_eq!(way.state(), Passage::Open);
        now = now + FOUND_LIFE;
        way.look(now, ON_OTHER);
        assert_eq!(way.state(), Passage::Unknown, "of five minutes ago");
    }

    #[test]
    fn with_nobody_connected_dials_that_nobody_answers_show_it() {
        let mut way = udp();
        let mut now = Timestamp(1);
        way.look(now, ON_IT);
        way.look(now, NOBODY);
        way.silent(now, QUIC, false);
        way.silent(now, QUIC_2, false);
        assert_eq!(way.state(), Passage::Open, "all at once is one failure");
        now = now + TRY_EVERY;
        way.silent(now, TCP, false);
        assert_eq!(way.state(), Passage::Open, "that is no UDP");
        way.silent(now, QUIC_2, false);
        assert_eq!(way.state(), Passage::Blocked);
        // Somebody comes by the other way: it is asked anew, with a peer that is there.
        way.look(now, ON_OTHER);
        assert_eq!(way.state(), Passage::Unknown);
        assert!(fails(&mut way, now + TRY_EVERY));
    }

    #[test]
    fn a_dial_that_fails_elsewhere_asks_one_that_is_there() {
        let mut way = udp();
        let mut now = Timestamp(1);
        way.look(now, ON_OTHER);
        way.tries(now, QUIC);
        way.tried(now, QUIC, true);
        way.silent(now, QUIC_2, true);
        assert!(!way.undecided(true), "just found");
        now = now + DOUBT_AFTER;
        way.silent(now, QUIC_2, true);
        assert!(way.undecided(true) && way.state() == Passage::Open);
    }

    #[test]
    fn who_asks_is_told_of_now() {
        let mut way = udp();
        let now = Timestamp(1);
        way.connected(now, QUIC);
        way.look(now, ON_OTHER);
        assert_eq!(way.state(), Passage::Open);
        way.ask_again();
        assert_eq!(way.state(), Passage::Unknown);
        assert!(fails(&mut way, now));
        way.ask_again();
        assert!(
            fails(&mut way, now + TRY_EVERY),
            "asking twice takes nothing back"
        );
    }
}
