//! Dialing a peer: its direct addresses first, the ways through relays shortly after, whichever is up first.

use super::{Node, alarms::Alarm};
use crate::{error::NetError, event::NetEvent, names, path::AttemptKind};
use hive_protocol::ids::NodeId;
use libp2p::{
    Multiaddr, PeerId,
    swarm::{
        DialError,
        dial_opts::{DialOpts, PeerCondition},
    },
};
use std::time::{Duration, Instant};

/// Ways through relays are dialed so long after the direct addresses: long enough for a neighbour to answer, so that
/// most direct dials cost no relay anything, short enough that nobody waits for a dead address.
const CIRCUITS_AFTER: Duration = Duration::from_millis(150);
/// While somebody waits they are dialed again this often: a relay that restarts, or a peer that is just asking it for
/// a place, is there a moment later.
const CIRCUITS_AGAIN: Duration = Duration::from_millis(1000);
/// How often, at most.
const MAX_AGAIN: u8 = 12;
/// A dial that is so old does not stand in the way of another one to a relay that is needed.
const EAGER: Duration = Duration::from_millis(900);
/// Dials of one peer at a time.
const MAX_DIALS: usize = 6;

impl Node {
    /// Makes sure that a connection is there or under way; whoever waits is told when that fails.
    pub(super) fn connect(&mut self, peer: PeerId, node: NodeId) {
        if self.table.get(&peer).is_some() {
            return;
        }
        if self.waiting.dialing(&peer) {
            self.dial_news(peer, node);
            return;
        }
        // Not "and not dialing": the hash table may be dialing an old address while we know a new one.
        self.reach_out(peer, node, PeerCondition::Disconnected);
    }

    /// Seeks another connection to a peer whose present one does not answer, by all ways at once.
    pub(super) fn connect_beside(&mut self, peer: PeerId, node: NodeId) {
        if !self.waiting.dialing(&peer) {
            self.reach_out(peer, node, PeerCondition::Always);
            self.dial_circuits(peer);
        }
    }

    /// Addresses that have become known while others are being dialed are dialed beside: the first ones may be dead, and
    /// take long to say so.
    pub(super) fn dial_news(&mut self, peer: PeerId, node: NodeId) {
        let news = self
            .book
            .get(&peer)
            .iter()
            .filter(|a| !self.waiting.trying(&peer, a));
        let (mut circuits, mut direct): (Vec<_>, Vec<_>) = news.cloned().partition(names::is_circuit);
        if !self.may_be_direct(&node) {
            direct.clear();
        }
        if self.waiting.holds_back(&peer) {
            // They go with the others, in a moment.
            circuits.clear();
        }
        for (kind, addrs) in [(AttemptKind::Dial, direct), (AttemptKind::Circuit, circuits)] {
            if addrs.is_empty() {
                continue;
            }
            if let Err(error) = self.dial_some(peer, PeerCondition::Always, kind, addrs, false) {
                tracing::debug!(%peer, %error, "addresses that came late could not be dialed");
            }
        }
    }

    fn reach_out(&mut self, peer: PeerId, node: NodeId, condition: PeerCondition) {
        let known = self.book.get(&peer).iter().cloned();
        let (circuits, direct): (Vec<_>, Vec<_>) = known.partition(names::is_circuit);
        let tried = if self.may_be_direct(&node) {
            self.dial_some(peer, condition, AttemptKind::Dial, direct, true)
        } else {
            Err(DialError::NoAddresses)
        };
        if let Err(DialError::DialPeerConditionFalse(_)) = tried {
            // It has just been connected, and the loop is about to hear of it; or a connection given up for dead is
            // still on its way out.
            if self.table.get(&peer).is_none() {
                self.reach_out(peer, node, PeerCondition::Always);
            }
            return;
        }
        if !circuits.is_empty() {
            self.waiting.hold_back(peer);
            if tried.is_err() {
                self.dial_circuits(peer);
            } else {
                self.alarms
                    .set(Instant::now() + CIRCUITS_AFTER, Alarm::Circuits(peer));
            }
        }
        let Err(error) = tried else { return };
        if self.waiting.dialing(&peer) {
            return;
        }
        match error {
            DialError::NoAddresses => {
                let error = NetError::NoAddress { node };
                self.waiting.take(&peer).fail(&error);
            }
            e => self.unreachable(peer, node, reasons(&e)),
        }
    }

    /// Dials the ways through relays that were held back, if they still are.
    pub(super) fn dial_circuits(&mut self, peer: PeerId) {
        if !self.waiting.let_go(&peer) {
            return;
        }
        let circuits = self.book.get(&peer).iter().filter(|a| names::is_circuit(a));
        let circuits = circuits.cloned().collect();
        let tried = self.dial_some(peer, PeerCondition::Always, AttemptKind::Circuit, circuits, false);
        match tried {
            Ok(()) => {
                self.alarms
                    .set(Instant::now() + CIRCUITS_AGAIN, Alarm::CircuitsAgain(peer, 1));
            }
            Err(error) => tracing::debug!(%peer, %error, "no way through a relay"),
        }
    }

    /// Dials the ways through relays once more, while somebody waits and nothing has come of the others.
    pub(super) fn circuits_again(&mut self, peer: PeerId, tries: u8) {
        if tries > MAX_AGAIN || self.table.get(&peer).is_some() || !self.waiting.any(&peer) {
            return;
        }
        let now = Instant::now();
        let (dials, _) = self.waiting.youngest(&peer, now);
        let circuits = self.book.get(&peer).iter().filter(|a| names::is_circuit(a));
        let circuits: Vec<_> = circuits.cloned().collect();
        if dials < MAX_DIALS && !circuits.is_empty() {
            // An error is one more try that came to nothing.
            let _ = self.dial_some(peer, PeerCondition::Always, AttemptKind::Circuit, circuits, false);
        }
        let again = Alarm::CircuitsAgain(peer, tries.saturating_add(1));
        self.alarms.set(now + CIRCUITS_AGAIN, again);
    }

    /// As [`Node::connect`], for a peer much depends on: an old dial that hangs does not stand in the way.
    pub(super) fn connect_eagerly(&mut self, peer: PeerId, node: NodeId) {
        let (dials, youngest) = self.waiting.youngest(&peer, Instant::now());
        if self.table.get(&peer).is_none() && (1..MAX_DIALS).contains(&dials) && youngest >= EAGER {
            let direct = self.book.get(&peer).iter().filter(|a| !names::is_circuit(a));
            let direct = direct.cloned().collect();
            // An error is one more try that came to nothing.
            let _ = self.dial_some(peer, PeerCondition::Always, AttemptKind::Dial, direct, false);
        } else {
            self.connect(peer, node);
        }
    }

    /// The alarm for the ways through relays: nothing to do when a connection is there.
    pub(super) fn circuits_due(&mut self, peer: PeerId) {
        if self.table.get(&peer).is_some() {
            self.waiting.let_go(&peer);
        } else {
            self.dial_circuits(peer);
        }
    }

    fn dial_some(
        &mut self,
        peer: PeerId,
        condition: PeerCondition,
        kind: AttemptKind,
        addrs: Vec<Multiaddr>,
        ask_others: bool,
    ) -> Result<(), DialError> {
        let opts = DialOpts::peer_id(peer)
            .condition(condition)
            .addresses(addrs.clone());
        let opts = if ask_others {
            opts.extend_addresses_through_behaviour().build()
        } else {
            opts.build()
        };
        let id = opts.connection_id();
        self.swarm.dial(opts)?;
        self.log.begin(peer, id, kind, &addrs);
        self.waiting.dialed(peer, id, addrs);
        Ok(())
    }

    /// Takes note that a dial on behalf of those who wait has failed; the last one to fail is told to everybody.
    pub(super) fn dial_is_over(&mut self, peer: PeerId, error: &DialError) {
        self.waiting.said(peer, reasons(error));
        // What was held back need not wait any longer.
        self.dial_circuits(peer);
        if self.table.get(&peer).is_some() {
            self.waiting.reached(&peer);
            return;
        }
        if self.waiting.dialing(&peer) {
            return;
        }
        let all = self.waiting.all_said(&peer);
        if let Some(node) = names::node_id(&peer) {
            self.unreachable(peer, node, all);
        }
    }

    /// Tells whoever waits, and the owner, that no way led to a peer.
    fn unreachable(&mut self, peer: PeerId, node: NodeId, reasons: Vec<String>) {
        self.log.failed(peer, &reasons.join("; "));
        let waiters = self.waiting.take(&peer);
        waiters.fail(&NetError::Unreachable {
            node,
            reasons: reasons.clone(),
        });
        self.tell(NetEvent::DialFailed { node, reasons });
    }
}

/// A dial error as one line for each address tried.
pub(super) fn reasons(error: &DialError) -> Vec<String> {
    match error {
        DialError::Transport(tried) => tried
            .iter()
            .map(|(addr, e)| format!("{addr}: {}", innermost(e)))
            .collect(),
        DialError::WrongPeerId { obtained, address } => vec![match names::node_id(obtained) {
            Some(node) => format!("{address}: another node answers there: {node}"),
            None => format!("{address}: something else answers there: {obtained}"),
        }],
        DialError::LocalPeerId { address } => vec![format!("{address}: that is this node itself")],
        DialError::NoAddresses => vec!["no address known".to_owned()],
        DialError::Denied { cause } => vec![format!("this node's own limit: {}", innermost(cause))],
        DialError::Aborted => vec!["the dial was given up".to_owned()],
        DialError::DialPeerConditionFalse(_) => vec!["already connected".to_owned()],
    }
}

/// The cause at the bottom of a chain: the layers above say nothing a person can use.
pub(super) fn innermost(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}
