//! How much a relay gives, and what it says of itself.

use super::book::DAY;
use hive_protocol::ids::NodeId;
use std::time::Duration;

/// How much a relay gives. Rates are bytes a second, of both ways together; 0 is no limit for bytes and rates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RelayLimits {
    /// Nodes that may be reachable through this relay at a time; each has one reservation.
    pub reservations: usize,
    /// The same for one address block (a /24 of IPv4, a /48 of IPv6).
    pub reservations_per_block: usize,
    /// How long a reservation lasts unless it is renewed.
    pub reservation_life: Duration,
    /// Circuits at a time.
    pub circuits: usize,
    /// Circuits at a time that one node has opened. As many may lead to one node, and four times as many that connect
    /// TCP connections; a caller that has two takes an eighth at most of those still free, its address block a half.
    pub circuits_per_peer: usize,
    /// Circuits at a time that nodes of one address block have opened.
    pub circuits_per_block: usize,
    /// How long a circuit lasts.
    pub circuit_life: Duration,
    /// Bytes each way of one circuit.
    pub circuit_bytes: u64,
    /// Bytes a second of one circuit.
    pub circuit_rate: u64,
    /// Bytes a second of all circuits of which one node is an end.
    pub peer_rate: u64,
    /// The same for one address block.
    pub block_rate: u64,
    /// Bytes a second of all circuits.
    pub total_rate: u64,
    /// Bytes a day the circuits may carry that one node has opened; a day is one of UTC.
    pub peer_day: u64,
    /// The same for one address block.
    pub block_day: u64,
    /// Bytes a day of all circuits.
    pub total_day: u64,
    /// Requests a minute one node may make, for reservations and circuits together; 0 is no limit. An address block
    /// may make eight times as many.
    pub requests_per_minute: u32,
}

impl Default for RelayLimits {
    fn default() -> Self {
        Self {
            reservations: 1024,
            reservations_per_block: 128,
            reservation_life: Duration::from_secs(3600),
            circuits: 1024,
            circuits_per_peer: 64,
            circuits_per_block: 256,
            // A circuit carries work for as long as it takes; it upgrades to a direct path by itself.
            circuit_life: DAY,
            circuit_bytes: 0,
            circuit_rate: 0,
            peer_rate: 0,
            block_rate: 0,
            total_rate: 0,
            peer_day: 0,
            block_day: 0,
            total_day: 0,
            requests_per_minute: 240,
        }
    }
}

impl RelayLimits {
    /// What a node gives that nobody has asked to relay: little enough that the owner of a home line does not notice
    /// it, and enough for a transfer of a few GB a day.
    #[must_use]
    pub fn home() -> Self {
        Self {
            // 8 Mbit/s of the line each way.
            total_rate: 1 << 20,
            peer_day: 6 << 30,
            block_day: 8 << 30,
            total_day: 16 << 30,
            ..Self::default()
        }
    }

    /// The lowest rate a circuit may meet; 0 when there is none.
    pub(super) fn slowest(&self) -> u64 {
        let rates = [
            self.circuit_rate,
            self.peer_rate,
            self.block_rate,
            self.total_rate,
        ];
        rates.into_iter().filter(|rate| *rate > 0).min().unwrap_or(0)
    }
}

macro_rules! counts {
    ($($(#[$doc:meta])* $name:ident),+ $(,)?) => {
        /// A relay's counters since its start; the first two are as they are now.
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
        pub struct RelayCounts {
            $($(#[$doc])* pub $name: u64,)+
        }

        impl RelayCounts {
            /// Every counter with its name, for a metrics page.
            #[must_use]
            pub fn list(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($name), self.$name)),+]
            }
        }
    };
}

counts! {
    /// Reservations now.
    reservations,
    /// Circuits now.
    circuits,
    /// Reservations given, renewals included.
    reserved,
    /// Circuits opened.
    opened,
    /// Of those, the ones that connect two TCP connections: bulk bytes, which cost the least.
    opened_tcp,
    /// Requests refused, for whichever reason.
    refused,
    /// Refused because the relay is being shut down.
    refused_draining,
    /// Refused because all reservations, or all of an address block, were taken.
    refused_reservations,
    /// Refused because all circuits, or all of a node or an address block, or their part of a destination's, were taken.
    refused_circuits,
    /// Refused because the day's bytes were used up.
    refused_day,
    /// Refused because the node asked for has no reservation here.
    refused_no_reservation,
    /// Refused because a node may not do this: a circuit to itself, or from behind another relay.
    refused_denied,
    /// Refused because a node or an address block asked too often, or too much at a time.
    refused_rate,
    /// Requests dropped because they came too slowly or were no requests.
    malformed,
    /// Circuits not opened because the node asked for did not answer.
    unreachable,
    /// Circuits ended by this relay, for whichever reason.
    cut,
    /// Ended because their own bytes were used up.
    cut_bytes,
    /// Ended because a day's bytes were used up.
    cut_day,
    /// Ended because their time was over.
    cut_time,
    /// Ended because an end took no bytes for too long.
    cut_stalled,
    /// Ended because nothing was said on them for too long.
    cut_idle,
    /// Ended because the relay was shut down.
    cut_drained,
    /// Bytes passed on, both ways.
    bytes,
}

/// How much a relay has to do and to give: what it tells others, so that they can choose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RelayLoad {
    /// Whether it is being shut down: it takes nothing new.
    pub draining: bool,
    /// Reservations now.
    pub reservations: usize,
    /// Reservations it could still give.
    pub reservations_left: usize,
    /// Circuits now.
    pub circuits: usize,
    /// Circuits it could still open.
    pub circuits_left: usize,
    /// Bytes it may still pass on today; none without a limit.
    pub bytes_left_today: Option<u64>,
    /// Bytes passed on today.
    pub bytes_today: u64,
    /// Bytes a second passed on in the last seconds.
    pub rate: u64,
}

/// What has been relayed on one day: kept by the relay's owner over a restart, so that a day's bytes stay a day's.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RelayDay {
    /// Which: days since 1970, UTC.
    pub day: u64,
    /// For how long it has been counted by running relays: a day that the clock does not end is over after 24 hours.
    pub lasted: Duration,
    /// Bytes of all circuits.
    pub total: u64,
    /// Bytes of the circuits a node has opened; the nodes with the most, at most [`RelayDay::MAX_USERS`].
    pub peers: Vec<(NodeId, u64)>,
    /// The same for address blocks: 0 and the first three bytes of an IPv4 address, or 6 and six bytes of an IPv6 one.
    pub blocks: Vec<([u8; 7], u64)>,
}

impl RelayDay {
    /// Nodes, and address blocks, that it names.
    pub const MAX_USERS: usize = 512;
}

/// One node as a relay knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RelayPeer {
    /// Who.
    pub node: NodeId,
    /// How long its reservation lasts from now; none without one.
    pub reserved_for: Option<Duration>,
    /// Circuits of which it is an end.
    pub circuits: usize,
    /// Bytes the circuits it has opened have carried today.
    pub bytes_today: u64,
}

/// One circuit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CircuitView {
    /// Who has opened it.
    pub from: NodeId,
    /// Who is at its other end.
    pub to: NodeId,
    /// Bytes from who opened it.
    pub forth: u64,
    /// Bytes towards who opened it.
    pub back: u64,
    /// How long it has been open.
    pub age: Duration,
    /// Whether it connects two TCP connections rather than two streams of the mesh.
    pub tcp: bool,
}
