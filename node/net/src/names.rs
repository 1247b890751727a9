//! The two names of a peer and the text of its addresses: ours outside, libp2p's inside.

use crate::{error::NetError, event::Transport};
use hive_protocol::ids::NodeId;
use libp2p::{Multiaddr, PeerId, identity, multiaddr::Protocol, multihash::Multihash};
use std::net::{IpAddr, SocketAddr};

/// Multihash code of a key that is written out instead of hashed, as all Ed25519 peer ids are.
const IDENTITY: u64 = 0;
/// Longest address text looked at, in bytes.
const MAX_ADDR_TEXT: usize = 256;

/// What the protobuf form of an Ed25519 key begins with.
const KEY_HEAD: [u8; 4] = [0x08, 0x01, 0x12, 0x20];

/// The libp2p name of a node that is known to have one: [`peer_id`] without the arithmetic that proves it a key.
pub(crate) fn known_peer_id(node: NodeId) -> Option<PeerId> {
    let mut key = [0; 36];
    let (head, body) = key.split_at_mut(KEY_HEAD.len());
    head.copy_from_slice(&KEY_HEAD);
    body.copy_from_slice(node.as_bytes());
    PeerId::from_multihash(Multihash::wrap(IDENTITY, &key).ok()?).ok()
}

/// The libp2p name of a node.
pub(crate) fn peer_id(node: NodeId) -> Result<PeerId, NetError> {
    identity::ed25519::PublicKey::try_from_bytes(node.as_bytes())
        .map(|key| identity::PublicKey::from(key).to_peer_id())
        .map_err(|_| NetError::BadKey { node })
}

/// The node behind a libp2p name; none for keys other than Ed25519.
pub(crate) fn node_id(peer: &PeerId) -> Option<NodeId> {
    let hash = peer.as_ref();
    if hash.code() != IDENTITY {
        return None;
    }
    let key = identity::PublicKey::try_decode_protobuf(hash.digest()).ok()?;
    Some(NodeId(key.try_into_ed25519().ok()?.to_bytes()))
}

/// Reads a multiaddress this node can use, without a trailing `/p2p/…`.
pub(crate) fn address(text: &str) -> Result<Multiaddr, NetError> {
    let refuse = |detail: String| NetError::BadAddress {
        address: text.chars().take(MAX_ADDR_TEXT).collect(),
        detail,
    };
    if text.len() > MAX_ADDR_TEXT {
        return Err(refuse(format!("longer than {MAX_ADDR_TEXT} bytes")));
    }
    let addr = plain(text.parse().map_err(|e| refuse(format!("{e}")))?);
    if transport(&addr).is_none() {
        return Err(refuse(
            "want /ip4/…/udp/…/quic-v1 or /ip4/…/tcp/… (or ip6)".to_owned(),
        ));
    }
    Ok(addr)
}

/// Reads a multiaddress that begins with a name instead of an IP address; none for any other text.
pub(crate) fn named(text: &str) -> Option<Multiaddr> {
    if text.len() > MAX_ADDR_TEXT || !text.starts_with("/dns") {
        return None;
    }
    let addr: Multiaddr = text.parse().ok()?;
    let first = addr.iter().next()?;
    matches!(first, Protocol::Dns(_) | Protocol::Dns4(_) | Protocol::Dns6(_)).then_some(addr)
}

/// The address without the peer's name, which libp2p appends now and then.
pub(crate) fn plain(mut addr: Multiaddr) -> Multiaddr {
    if matches!(addr.iter().last(), Some(Protocol::P2p(_))) {
        addr.pop();
    }
    addr
}

/// Where TCP connects to for an address that leads straight to a machine over TCP.
pub(crate) fn tcp(addr: &Multiaddr) -> Option<SocketAddr> {
    let mut parts = addr.iter();
    let ip: IpAddr = match parts.next()? {
        Protocol::Ip4(ip) => ip.into(),
        Protocol::Ip6(ip) => ip.into(),
        _ => return None,
    };
    match parts.next()? {
        Protocol::Tcp(port) if !is_circuit(addr) => Some(SocketAddr::new(ip, port)),
        _ => None,
    }
}

/// How an address is carried; none when this node does not speak it.
pub(crate) fn transport(addr: &Multiaddr) -> Option<Transport> {
    if is_circuit(addr) {
        relay_of(addr)?;
        return hop(addr).map(|_| Transport::Relay);
    }
    hop(addr)
}

/// Whether an address leads through a relay.
pub(crate) fn is_circuit(addr: &Multiaddr) -> bool {
    addr.iter().any(|part| matches!(part, Protocol::P2pCircuit))
}

/// The relay an address leads through.
pub(crate) fn relay_of(addr: &Multiaddr) -> Option<NodeId> {
    let mut before = None;
    for part in addr {
        match part {
            Protocol::P2p(peer) => before = Some(peer),
            Protocol::P2pCircuit => return node_id(&before?),
            _ => {}
        }
    }
    None
}

/// The relay that an address as text leads through; none for direct ones and for what is no address.
#[must_use]
pub fn relay_in(text: &str) -> Option<NodeId> {
    let addr: Multiaddr = text.parse().ok()?;
    is_circuit(&addr).then(|| relay_of(&addr))?
}

/// How the first stretch of an address is carried.
fn hop(addr: &Multiaddr) -> Option<Transport> {
    let mut parts = addr.iter().take_while(|part| !matches!(part, Protocol::P2p(_)));
    if !matches!(parts.next(), Some(Protocol::Ip4(_) | Protocol::Ip6(_))) {
        return None;
    }
    match (parts.next(), parts.next(), parts.next()) {
        (Some(Protocol::Tcp(_)), None, None) => Some(Transport::Tcp),
        (Some(Protocol::Udp(_)), Some(Protocol::QuicV1), None) => Some(Transport::Quic),
        _ => None,
    }
}

/// The IP address that an address goes to directly; none for ways through a relay, whose address it would be.
pub(crate) fn ip(addr: &Multiaddr) -> Option<IpAddr> {
    if is_circuit(addr) {
        return None;
    }
    transport(addr)?;
    match addr.iter().next()? {
        Protocol::Ip4(ip) => Some(IpAddr::V4(ip)),
        Protocol::Ip6(ip) => Some(IpAddr::V6(ip).to_canonical()),
        _ => None,
    }
}

/// Whether an address a peer names for itself is worth keeping: one we can dial, with a port.
pub(crate) fn dialable(addr: &Multiaddr) -> bool {
    let mut usable = transport(addr).is_some();
    for part in addr {
        usable &= match part {
            Protocol::Ip4(ip) => !ip.is_unspecified() && !ip.is_multicast() && !ip.is_broadcast(),
            // A link-local one is of no use without the name of the interface.
            Protocol::Ip6(ip) => !ip.is_unspecified() && !ip.is_multicast() && !ip.is_unicast_link_local(),
            Protocol::Tcp(port) | Protocol::Udp(port) => port != 0,
            _ => true,
        };
    }
    usable
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use hive_protocol::keys::SecretKey;

    #[test]
    fn both_names_are_the_same_key() {
        let node = NodeId(SecretKey::from_seed(&[4; 32]).public());
        assert_eq!(node_id(&peer_id(node).unwrap()), Some(node));
        assert_eq!(known_peer_id(node).unwrap(), peer_id(node).unwrap());
        assert_eq!(node_id(&PeerId::random()), None);
        let key = identity::Keypair::ed25519_from_bytes([4; 32]).unwrap();
        assert_eq!(peer_id(node).unwrap(), key.public().to_peer_id());
    }

    #[test]
    fn addresses_are_read_with_and_without_a_peer() {
        let node = NodeId(SecretKey::from_seed(&[4; 32]).public());
        let peer = peer_id(node).unwrap();
        let plain = address("/ip4/10.0.0.1/tcp/4001").unwrap();
        assert_eq!(
            address(&format!("/ip4/10.0.0.1/tcp/4001/p2p/{peer}")).unwrap(),
            plain
        );
        for wrong in [
            "",
            "10.0.0.1:4001",
            "/dns4/example/tcp/1",
            "/ip4/10.0.0.1/tcp/1/ws",
            &"/ip4/10.0.0.1".repeat(40),
        ] {
            assert_eq!(address(wrong).unwrap_err().code(), "net.bad_address");
        }
        assert!(dialable(&plain));
        assert!(!dialable(&address("/ip4/0.0.0.0/tcp/4001").unwrap()));
        assert_eq!(ip(&plain), Some(IpAddr::from([10, 0, 0, 1])));
        let relayed = format!("/ip4/10.0.0.9/udp/4001/quic-v1/p2p/{peer}/p2p-circuit");
        for (text, seen) in [
            (relayed.as_str(), None),
            ("/p2p-circuit", None),
            ("/ip6/::ffff:10.0.0.2/tcp/1", Some(IpAddr::from([10, 0, 0, 2]))),
        ] {
            assert_eq!(ip(&text.parse().unwrap()), seen);
        }
        assert!(!dialable(&address("/ip4/10.0.0.1/udp/0/quic-v1").unwrap()));
    }
}
