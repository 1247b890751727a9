//! Wire protocol `/hive/relay-info/1`: how a relay is, asked before it is chosen and while it is used.
//!
//! Participants: a member that is, or wants to be, reachable through a relay; the relay. Goals: distance and load in
//! one exchange; a relay that is about to stop says so. Non-goals: promises; what it gives is decided when it is
//! asked for a reservation (libp2p's own protocol). The asker opens a stream, sends [`RelayAsk`], gets [`RelayInfo`].

use crate::{
    codec::Message,
    ids::{BlobHash, NetworkId},
};
use serde::{Deserialize, Serialize};

/// The protocol's name on the wire.
pub const PROTOCOL: &str = "/hive/relay-info/1";
/// What precedes the network in the text whose hash relays announce themselves under.
const RENDEZVOUS: &[u8] = b"hive/relay/1/";

/// The key in the hash table under which the relays of a mesh are its providers.
#[must_use]
pub fn rendezvous(network: NetworkId) -> BlobHash {
    let mut text = RENDEZVOUS.to_vec();
    text.extend_from_slice(network.to_string().as_bytes());
    BlobHash::of(&text)
}

/// How are you?
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct RelayAsk {
    /// Chosen by the asker, comes back in the answer.
    pub number: u64,
}

impl Message for RelayAsk {
    const NAME: &'static str = "relay ask";
    const PROTO: u16 = 43;
    const VERSION: u16 = 1;
    const MAX: usize = 64;
}

/// How a relay is.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct RelayInfo {
    /// The question's number.
    pub number: u64,
    /// Whether it takes new reservations and circuits; not while it is being shut down.
    pub serving: bool,
    /// Nodes reachable through it now.
    pub reservations: u32,
    /// How many more it takes.
    pub reservations_left: u32,
    /// Circuits now.
    pub circuits: u32,
    /// How many more it takes.
    pub circuits_left: u32,
    /// Bytes it may still pass on today; none without a limit.
    pub bytes_left: Option<u64>,
    /// Bytes it may pass on a day; none without a limit.
    pub bytes_day: Option<u64>,
    /// Bytes a second passed on just now.
    pub rate: u64,
    /// Bytes a second it passes on at most; none without a limit.
    pub rate_most: Option<u64>,
}

impl Message for RelayInfo {
    const NAME: &'static str = "relay info";
    const PROTO: u16 = 44;
    const VERSION: u16 = 1;
    const MAX: usize = 256;
}

impl RelayInfo {
    /// How full it is, in parts of a thousand: of reservations, circuits, bytes of the day or rate, whichever is most.
    #[must_use]
    pub fn load_milli(&self) -> u32 {
        let part = |used: u64, most: u64| {
            let milli = u128::from(used).saturating_mul(1000) / u128::from(most.max(1));
            u32::try_from(milli).unwrap_or(u32::MAX).min(1000)
        };
        let of = |used: u32, left: u32| part(u64::from(used), u64::from(used) + u64::from(left));
        let day = match (self.bytes_left, self.bytes_day) {
            (Some(left), Some(day)) => part(day.saturating_sub(left), day),
            _ => 0,
        };
        let rate = self.rate_most.map_or(0, |most| part(self.rate, most));
        of(self.reservations, self.reservations_left)
            .max(of(self.circuits, self.circuits_left))
            .max(day)
            .max(rate)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fullest_counts() {
        let mut info = RelayInfo {
            number: 1,
            serving: true,
            reservations: 10,
            reservations_left: 90,
            circuits: 0,
            circuits_left: 0,
            bytes_left: None,
            bytes_day: None,
            rate: 1 << 40,
            rate_most: None,
        };
        assert_eq!(info.load_milli(), 100);
        info.bytes_left = Some(25);
        info.bytes_day = Some(100);
        assert_eq!(info.load_milli(), 750);
        info.rate_most = Some(1);
        assert_eq!(info.load_milli(), 1000);
        let other = rendezvous(NetworkId([1; 32]));
        assert_ne!(rendezvous(NetworkId([2; 32])), other);
    }
}
