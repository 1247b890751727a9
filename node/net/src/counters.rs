//! What happened how often: for metrics, and so that nothing is dropped silently.

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident),+ $(,)?) => {
        /// Counts since start.
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
        pub struct Counters {
            $($(#[$doc])* pub $name: u64,)+
        }

        impl Counters {
            /// Every counter with its name, for a metrics page.
            #[must_use]
            pub fn list(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($name), self.$name)),+]
            }
        }

        /// The live counters.
        #[derive(Debug, Default)]
        pub(crate) struct Tally {
            $(pub $name: AtomicU64,)+
        }

        impl Tally {
            pub(crate) fn snapshot(&self) -> Counters {
                Counters { $($name: self.$name.load(Ordering::Relaxed),)+ }
            }
        }
    };
}

counters! {
    /// Connections made, inbound and outbound.
    connections_opened,
    /// Connections ended.
    connections_closed,
    /// Connections closed because a better one to the same peer exists.
    connections_duplicate,
    /// Connections closed because the peer used nothing and there were too many, or it never joined.
    connections_idle_closed,
    /// Inbound connections that failed or were over a limit.
    inbound_failed,
    /// Outbound dials that failed.
    dials_failed,
    /// Gate exchanges that made a member.
    gate_passed,
    /// Gate exchanges that did not.
    gate_refused,
    /// Streams opened by us.
    streams_opened,
    /// Streams opened by peers and accepted.
    streams_accepted,
    /// Streams reset because the peer is no member.
    streams_refused_stranger,
    /// Streams reset because the peer had too many of that protocol.
    streams_refused_quota,
    /// Streams reset because nobody accepted them in time.
    streams_refused_backlog,
    /// Events dropped because the owner did not read them.
    events_dropped,
    /// Gossip messages published by us.
    gossip_published,
    /// Signatures of gossip messages checked: one for each message, however many neighbours bring it.
    gossip_verified,
    /// Gossip messages received and handed on for judgement.
    gossip_received,
    /// Gossip messages judged good.
    gossip_accepted,
    /// Gossip messages judged wrong.
    gossip_rejected,
    /// Gossip messages judged of no use.
    gossip_ignored,
    /// Gossip messages dropped because the event queue was full.
    gossip_dropped_full,
    /// Gossip messages dropped because they came from a peer that is no member (any more).
    gossip_dropped_stranger,
    /// Gossip messages dropped because their author or their neighbour said too much.
    gossip_dropped_flood,
    /// Neighbours that could not take gossip fast enough.
    gossip_slow_peers,
    /// Neighbours sent away because they took no gossip for long.
    gossip_deaf_sent_away,
    /// Provider records of others taken into our part of the hash table.
    dht_records_stored,
    /// Provider records refused.
    dht_records_refused,
    /// Provider records given up before their time for others, of the same node or of one that has fewer.
    dht_records_displaced,
    /// Reservations at relays made.
    reservations_made,
    /// Reservations, and requests for one, that ended.
    reservations_lost,
    /// Circuits opened through relays, from here and to here.
    circuits_opened,
    /// Direct ways sought past a relay.
    punches_started,
    /// Times one was found.
    punches_done,
    /// Times none was found.
    punches_failed,
    /// Peers that were connected through a relay and then directly.
    paths_upgraded,
    /// Connections given up because they carried nothing any more.
    paths_lost,
    /// Bulk streams opened by us on a connection of their own.
    bulk_opened_direct,
    /// Bulk streams opened by us on a connection of their own that a relay passes on.
    bulk_opened_relayed,
    /// Bulk streams opened by us on the mesh.
    bulk_opened_mesh,
    /// Tries to open a bulk stream on a connection of its own that failed; the mesh was used instead.
    bulk_direct_failed,
    /// Bulk streams of peers accepted on a connection of their own.
    bulk_accepted_direct,
    /// Bulk streams of peers accepted on a connection of their own that a relay passes on.
    bulk_accepted_relayed,
    /// Bulk streams of peers accepted on the mesh.
    bulk_accepted_mesh,
    /// Bulk connections of others closed before they were let in: over a bound, too slow, wrong key or token.
    bulk_refused,
    /// Bulk streams ended because their node was no connected member any more.
    bulk_ended,
    /// Bulk streams ended because the way they went carried nothing any more.
    bulk_given_up,
    /// Bytes received on direct bulk streams.
    bulk_bytes_in_direct,
    /// Bytes sent on direct bulk streams.
    bulk_bytes_out_direct,
    /// Bytes received on bulk streams of the mesh.
    bulk_bytes_in_mesh,
    /// Bytes sent on bulk streams of the mesh.
    bulk_bytes_out_mesh,
}

/// Adds one.
pub(crate) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
