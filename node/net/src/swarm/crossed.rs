//! Two ordinary dials over TCP that have met each other on their way.
//!
//! Where both nodes dial at the same moment from the ports they listen on, through firewalls that let in answers only,
//! TCP makes one connection of it, and each side takes itself for who has dialed: no handshake can come of that. But both
//! learn it at the same moment, and both firewalls are open. So both dial once more, in roles that follow from their
//! ids: as after a talk (`on_punch.rs`), without one.

use super::Node;
use crate::{path::AttemptKind, reach::Hold};
use hive_protocol::ids::NodeId;
use libp2p::{
    Multiaddr, PeerId,
    swarm::{
        ConnectionId, DialError,
        dial_opts::{DialOpts, PeerCondition},
    },
};
use std::{collections::BTreeSet, error::Error, io, time::Duration};
use tokio_util::sync::CancellationToken;

/// Second dials under way; what crosses beyond that is left to other ways.
const MAX: usize = 16;
/// They are made so much later: the ports are the same, and the first connection is only forgotten when the other side
/// has answered its end.
const PAUSE: Duration = Duration::from_millis(300);
/// A SYN that came too soon is sent again after one second. In the other role a peer that has not dialed again would
/// never answer.
const PATIENCE: Duration = Duration::from_millis(1500);

/// Second dials under way.
#[derive(Debug, Default)]
pub(super) struct Crossed(BTreeSet<ConnectionId>);

impl Crossed {
    /// A dial has ended, well or not; says whether it was a second one.
    pub(super) fn ended(&mut self, id: ConnectionId) -> bool {
        self.0.remove(&id)
    }
}

impl Node {
    /// An ordinary dial has failed: dials again what has met the peer's own dial.
    pub(super) fn dial_crossed(&mut self, peer: PeerId, node: NodeId, error: &DialError) {
        let addrs = crossed(error);
        if addrs.is_empty() || self.crossed.0.len() >= MAX {
            return;
        }
        let opts = DialOpts::peer_id(peer)
            .condition(PeerCondition::Disconnected)
            .addresses(addrs.clone());
        // Of two connections the one that the smaller id has dialed is kept; so it dials here as well.
        let opts = if self.me < node {
            opts.build()
        } else {
            opts.override_role().build()
        };
        let id = opts.connection_id();
        let hold = Hold {
            token: CancellationToken::new(),
            pause: PAUSE,
            patience: PATIENCE,
        };
        match self.shared.reach.leash.hold(hold, || self.swarm.dial(opts)) {
            Ok(()) => {
                tracing::debug!(%peer, "its dial and ours have met: once more");
                self.crossed.0.insert(id);
                self.log.begin(peer, id, AttemptKind::Dial, &addrs);
                // Also where nobody waits: an ordinary dial beside it would meet the other's second one.
                self.waiting.dialed(peer, id, addrs);
            }
            Err(error) => tracing::debug!(%peer, %error, "what has met could not be dialed again"),
        }
    }
}

/// Where a dial has met the peer's own.
fn crossed(error: &DialError) -> Vec<Multiaddr> {
    let DialError::Transport(tried) = error else {
        return Vec::new();
    };
    let met = tried.iter().filter(|(_, e)| is_crossed(e));
    met.map(|(addr, _)| addr.clone()).collect()
}

/// Whether a handshake was answered by the beginning of another one.
fn is_crossed(error: &(dyn Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if matches!(
            error.downcast_ref(),
            Some(rustls::Error::InappropriateHandshakeMessage {
                got_type: rustls::HandshakeType::ClientHello,
                ..
            })
        ) {
            return true;
        }
        // What an I/O error wraps is not its source, but itself.
        let wrapped = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        next = match wrapped {
            Some(inner) => Some(inner),
            None => error.source(),
        };
    }
    false
}
