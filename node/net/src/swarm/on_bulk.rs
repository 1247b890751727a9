//! Bulk streams live as long as their node is a connected member, with a short grace for a lost connection, and as long
//! as the way they go carries anything: where somebody waits on one in vain the mesh's connections on the same way are
//! asked for a sign of life, and when those are given up, so is the stream.

use super::{
    Node,
    table::{Connection, Peer},
};
use crate::{
    bulk::{
        flow::{self, Judgement},
        links::Way,
    },
    event::Transport,
    names,
};
use hive_protocol::ids::NodeId;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

/// A node whose mesh connection is lost keeps its bulk streams for so long: enough to connect again.
const MESH_LOST: Duration = Duration::from_secs(10);

/// Nodes with bulk streams and without a mesh connection, and since when; bounded by the number of bulk streams.
pub(super) type Unseen = BTreeMap<NodeId, Instant>;

/// Ways on which somebody waits for a bulk stream in vain.
#[derive(Debug, Default)]
pub(super) struct Quiet(BTreeSet<Way>);

impl Quiet {
    /// Whether a connection goes one of them, or to a relay that stands on one, or to the node at its end, and is silent
    /// itself.
    pub(super) fn concerns(&self, peer: &Peer, on: &Connection, late: Duration, now: Instant) -> bool {
        on.streams.pulse().silence(now) >= flow::quiet() + late
            && self.0.iter().any(|way| bears_on(peer.node, on, way))
    }
}

/// Whether a connection to a node goes this way, or part of it.
fn goes(node: NodeId, on: &Connection, way: &Way) -> bool {
    if on.transport == Transport::Relay {
        way.node == node && way.via.is_some() && way.via == on.streams.via()
    } else {
        way.hop() == node
    }
}

/// Whether the loss of a connection to a node says something about this way: one that goes it, and a direct one to the
/// node at its end. When that node's router has got another address, a relay on the way keeps what it carried for the
/// old one, and answers as ever.
fn bears_on(node: NodeId, on: &Connection, way: &Way) -> bool {
    goes(node, on, way) || way.node == node && on.transport != Transport::Relay
}

/// Whether a connection to a node goes all of this way: one to the relay on it says nothing about what is beyond.
fn goes_all(node: NodeId, on: &Connection, way: &Way) -> bool {
    way.node == node && goes(node, on, way)
}

impl Node {
    /// Ends the bulk streams whose way carries nothing any more; says which ways are to be asked.
    pub(super) fn feel_bulk(&mut self, now: Instant, late: Duration) -> Quiet {
        let links = &self.shared.bulk.links;
        let hops = links.hops();
        let direct = |hop: &NodeId| {
            let peer = names::peer_id(*hop).ok().and_then(|peer| self.table.get(&peer));
            peer.is_some_and(Peer::is_direct)
        };
        let away: BTreeSet<_> = hops.into_iter().filter(|hop| !direct(hop)).collect();
        self.strayed.retain(|hop, _| away.contains(hop));
        for hop in away {
            self.strayed.entry(hop).or_insert(now);
        }
        let mut quiet = Quiet::default();
        if self.lag.is_too_much() {
            return quiet;
        }
        let ended = links.judge(now, |way, seen| {
            let since = self.strayed.get(&way.hop());
            let away = since.map_or(Duration::ZERO, |since| now.saturating_duration_since(*since));
            let judged = flow::judge(seen, away, late);
            match judged {
                Judgement::End => tracing::debug!(?way, ?seen, ?away, "a bulk stream's way is dead: ended"),
                Judgement::Ask => {
                    quiet.0.insert(way);
                }
                Judgement::Leave => {}
            }
            judged == Judgement::End
        });
        let counter = &self.shared.tally.bulk_given_up;
        counter.fetch_add(ended as u64, Ordering::Relaxed);
        quiet
    }

    /// A connection is given up for dead: bulk streams that go the same way are in doubt, and those that go to the same
    /// node through a relay, unless another connection of their way, which has stood for as long, was heard when this
    /// one was not.
    pub(super) fn doubt_bulk(&self, peer: &Peer, dead: &Connection, now: Instant) {
        let silence = dead.streams.pulse().silence(now);
        let heard = |c: &Connection| {
            let stood = now.saturating_duration_since(c.since) > silence;
            stood && !c.suspect && c.streams.pulse().silence(now) < silence
        };
        let links = &self.shared.bulk.links;
        links.doubt(now, |way| {
            let mut others = peer.connections.iter().filter(|c| c.id != dead.id);
            bears_on(peer.node, dead, way) && !others.any(|c| goes(peer.node, c, way) && heard(c))
        });
    }

    /// A connection has given a sign of life: bulk streams that go the same way, and have moved while it stood, are in
    /// doubt no longer.
    pub(super) fn trust_bulk(&self, peer: &Peer, alive: &Connection) {
        let links = &self.shared.bulk.links;
        links.trust(alive.since, |way| goes_all(peer.node, alive, way));
    }

    /// Ends the bulk streams of a node.
    pub(super) fn end_bulk(&mut self, node: NodeId) {
        let ended = self.shared.bulk.end(node);
        if ended > 0 {
            tracing::debug!(?node, ended, "bulk streams ended");
            let counter = &self.shared.tally.bulk_ended;
            counter.fetch_add(ended as u64, Ordering::Relaxed);
        }
    }

    /// Ends the bulk streams of nodes that are members no longer, or gone for too long.
    pub(super) fn sweep_bulk(&mut self, now: Instant) {
        let nodes = self.shared.bulk.nodes();
        self.unseen.retain(|node, _| nodes.contains(node));
        for node in nodes {
            let known = names::peer_id(node).ok().and_then(|peer| self.table.get(&peer));
            let over = match known {
                Some(peer) if peer.may_be_member() => {
                    self.unseen.remove(&node);
                    false
                }
                Some(_) => true,
                None => {
                    let since = *self.unseen.entry(node).or_insert(now);
                    now.saturating_duration_since(since) >= MESH_LOST
                }
            };
            if over {
                self.unseen.remove(&node);
                self.end_bulk(node);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::{super::table::tests::connection, *};

    #[test]
    fn a_sign_of_a_relay_says_nothing_about_who_is_behind_it() {
        let [peer, relay] = [[1; 32], [2; 32]].map(NodeId);
        let direct = connection(1, true, Instant::now());
        let (straight, around) = (
            Way {
                node: peer,
                via: None,
            },
            Way {
                node: peer,
                via: Some(relay),
            },
        );
        assert!(goes_all(peer, &direct, &straight) && !goes_all(peer, &direct, &around));
        assert!(goes(relay, &direct, &around) && !goes_all(relay, &direct, &around));
        // But that a node is lost where it was says something of what a relay carries for it.
        assert!(bears_on(peer, &direct, &around) && !goes(peer, &direct, &around));
        assert!(bears_on(relay, &direct, &around) && !bears_on(relay, &direct, &straight));
    }
}
