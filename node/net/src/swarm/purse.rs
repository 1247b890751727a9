//! What a peer may have this node send to the addresses it names before a punch: they may be somebody else's.
//!
//! The rule is QUIC's for an address that has not answered (RFC 9000, section 8.1): at most three times what came from
//! whoever wants it sent. So a peer fills up the message in which it names its addresses (`punch_wire.rs`), and what
//! is sent is paid for before it is sent, with the most it can come to. What is left over is kept for later rounds.

use super::{aim, punch_wire::PADDED};
use std::time::Duration;

/// Bytes sent for each byte that came.
const FACTOR: u64 = 3;
/// Kept at the most, in bytes that may be sent: what four rounds bring in.
const MOST: u64 = 4 * FACTOR * PADDED as u64;
/// A datagram with which QUIC begins.
const INITIAL: u64 = 1200;
/// Small packets towards one address: of 64 bytes, each 10 to 200 ms after the one before. Two on an average.
pub(super) const OPENER: u64 = 3 * 64;
/// A TCP connection that is not answered is asked for at once, after one second and after three: 60 bytes with the head.
pub(super) const TCP: u64 = 3 * 60;

/// What is left to be sent.
#[derive(Debug, Default)]
pub(super) struct Purse {
    left: u64,
    /// What had come when it was last filled.
    came: u64,
}

impl Purse {
    /// So many bytes have come in all. Less than before is a new count.
    pub(super) fn earn(&mut self, came: u64) {
        let more = came.saturating_sub(self.came);
        self.came = came;
        self.left = self.left.saturating_add(more.saturating_mul(FACTOR)).min(MOST);
    }

    /// Takes what sending costs; false, and nothing taken, when there is not so much left.
    pub(super) fn pay(&mut self, cost: u64) -> bool {
        let left = self.left.checked_sub(cost);
        self.left = left.unwrap_or(self.left);
        left.is_some()
    }
}

/// What a QUIC dial of one address costs that ends after this time: two datagrams at once, two more after a second, and
/// one that gives it up.
pub(super) fn quic(patience: Duration) -> u64 {
    let twice = patience > aim::ONCE;
    INITIAL * if twice { 5 } else { 3 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn never_more_than_three_times_what_came() {
        let mut purse = Purse::default();
        let (mut came, mut sent) = (0, 0);
        assert!(!purse.pay(1));
        for n in 0..10_000_u64 {
            let cost = match n % 4 {
                0 => quic(aim::ONCE),
                1 => OPENER,
                2 => TCP,
                _ => quic(aim::ONCE * 3),
            };
            if n % 3 == 0 {
                came += n % 900;
                purse.earn(came);
            }
            sent += if purse.pay(cost) { cost } else { 0 };
            assert!(sent <= FACTOR * came, "{sent} for {came}");
        }
        assert!(sent > came, "and not nothing");
        purse.earn(u64::MAX);
        assert!(purse.pay(MOST) && !purse.pay(1), "what is kept is bounded");
        purse.earn(40);
        assert!(!purse.pay(1), "a new count");
        purse.earn(41);
        assert!(purse.pay(3) && !purse.pay(1));
    }

    #[test]
    fn a_filled_message_pays_for_what_an_honest_round_sends() {
        // The side that begins: two addresses or one with patience, the router opened towards three more, TCP beside.
        let (mut purse, mut came) = (Purse::default(), 0);
        for (patience, dials) in [(aim::ONCE, 2), (aim::ONCE * 3, 1)].repeat(4) {
            came += PADDED as u64;
            purse.earn(came);
            assert!((0..dials).all(|_| purse.pay(quic(patience))));
            assert!((0..3).all(|_| purse.pay(OPENER)));
            assert!((0..6).all(|_| purse.pay(TCP)));
        }
    }
}
