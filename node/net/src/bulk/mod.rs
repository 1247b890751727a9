//! Bulk streams: the cheapest way for many bytes between two members.
//!
//! A bulk stream is a TCP connection of its own with TLS 1.3, negotiated over the mesh (`/hive/bulk/1`) and
//! proven by the same node keys, through a relay where the node is reached by one, or, where that cannot be had, an ordinary mesh stream of the same protocol. Its
//! user does not have to care which. Why there are two ways, and what each costs, is in docs/adr/0013.
//!
//! Owns the choice of the way, the listeners, tokens and the end of streams whose peer is no member any more. Must
//! not know what is said on the streams.

pub(crate) mod answer;
pub(crate) mod desk;
mod door;
mod failures;
pub(crate) mod flow;
mod inbound;
pub(crate) mod links;
mod meet;
mod open;
pub(crate) mod place;
pub(crate) mod socket;
mod stream;
pub(crate) mod tls;

pub use inbound::BulkInbound;
pub use stream::{BulkPath, BulkReader, BulkStream, BulkWriter};

use crate::{
    config::BulkListen, error::NetError, handle::Shared, registry::ProtocolPolicy, relay, swarm::explain,
};
use hive_protocol::{bulk, ids::NodeId};
use libp2p::{identity::Keypair, swarm::ConnectionId};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak},
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    task::AbortHandle,
};
use tokio_rustls::TlsAcceptor;

/// Bulk streams open at a time in all. A direct one costs two kernel buffers and, while busy, some 250 KB of ours.
pub(crate) const MAX_STREAMS: usize = 1024;
/// Ends of circuits this node carries: far more than it takes by default, two for each.
const MAX_RELAYED: usize = 16_384;
/// Meetings at relays this node may be on its way to at a time: what others can make it start.
const MAX_GOING: usize = 64;
/// Addresses of a relay at which a meeting is looked for: one of each family.
const MAX_HOPS: usize = 2;
/// Questions for ports one peer may have open at a time.
const MAX_ASKING: usize = 32;

/// What is there once bulk connections are switched on.
struct On {
    tls: tls::Tls,
    doors: Vec<SocketAddr>,
    keeper: AbortHandle,
}

/// The state of bulk streams; shared by the handle and the loop.
#[derive(Default)]
pub(crate) struct Bulk {
    pub links: Held<MAX_STREAMS>,
    /// What this node relays, by its ends.
    pub relayed: Held<MAX_RELAYED>,
    desk: desk::Desk,
    failures: failures::Failures,
    on: OnceLock<On>,
    /// Places at this node, if it relays.
    pub places: Arc<place::Places>,
    /// This node's relay, if it has one.
    relay: Mutex<Weak<relay::Desk>>,
    /// Where the mesh connections of nodes go to directly, oldest first. Bounded by the table of peers.
    hops: Mutex<BTreeMap<NodeId, Vec<(ConnectionId, IpAddr)>>>,
    /// Meetings this node is on its way to.
    on_its_way: Going,
}

/// A table of streams with its bound.
pub(crate) struct Held<const MOST: usize>(Arc<links::Links>);

impl<const MOST: usize> Default for Held<MOST> {
    fn default() -> Self {
        Self(Arc::new(links::Links::new(MOST)))
    }
}

impl<const MOST: usize> std::ops::Deref for Held<MOST> {
    type Target = Arc<links::Links>;
    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

struct Going(Arc<Semaphore>);

impl Default for Going {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(MAX_GOING)))
    }
}

fn lock<T>(what: &Mutex<T>) -> MutexGuard<'_, T> {
    what.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Bulk {
    /// The TLS of direct connections; none when they are switched off.
    fn tls(&self) -> Option<&tls::Tls> {
        self.on.get().map(|on| &on.tls)
    }

    /// Where this node listens for bulk connections.
    pub(crate) fn doors(&self) -> &[SocketAddr] {
        self.on.get().map(|on| on.doors.as_slice()).unwrap_or_default()
    }

    /// Ends a node's streams and takes its tokens back; says how many streams there were.
    pub(crate) fn end(&self, node: NodeId) -> usize {
        self.desk.forget(node);
        self.links.end(node) + self.relayed.end(node)
    }

    /// The nodes that have streams open, or circuits through this node.
    pub(crate) fn nodes(&self) -> BTreeSet<NodeId> {
        let mut nodes = self.links.nodes();
        nodes.extend(self.relayed.nodes());
        nodes
    }

    /// The nodes whose mesh connections are in use though no stream of the mesh says so: those with bulk streams, those that
    /// relay them, and those that are reachable through this node.
    pub(crate) fn kept(&self) -> BTreeSet<NodeId> {
        let mut kept = self.nodes();
        kept.extend(self.links.hops());
        if let Some(relay) = self.relay() {
            kept.extend(relay.reserved());
        }
        kept
    }

    /// A mesh connection to a node goes directly to this address.
    pub(crate) fn linked(&self, node: NodeId, connection: ConnectionId, ip: IpAddr) {
        lock(&self.hops).entry(node).or_default().push((connection, ip));
    }

    /// A mesh connection to a node is gone.
    pub(crate) fn cut(&self, node: NodeId, connection: ConnectionId) {
        let mut hops = lock(&self.hops);
        if let Some(of_node) = hops.get_mut(&node) {
            of_node.retain(|(id, _)| *id != connection);
            if of_node.is_empty() {
                hops.remove(&node);
            }
        }
    }

    /// The last mesh connection to a node is gone: the next one may take another path.
    pub(crate) fn unlinked(&self, node: NodeId) {
        self.failures.forget(node);
        lock(&self.hops).remove(&node);
    }

    /// Whether a mesh connection to a node goes there directly.
    fn near(&self, node: NodeId) -> bool {
        lock(&self.hops).contains_key(&node)
    }

    /// Where the mesh connections to a node go to directly, each address once, that of the oldest connection first. For
    /// moments there are two of them, over IPv4 and IPv6.
    fn hops(&self, node: NodeId) -> Vec<IpAddr> {
        let mut ips: Vec<IpAddr> = Vec::new();
        for (_, ip) in lock(&self.hops).get(&node).into_iter().flatten() {
            if !ips.contains(ip) {
                ips.push(*ip);
            }
        }
        ips.truncate(MAX_HOPS);
        ips
    }

    /// This node relays from now on.
    pub(crate) fn relays(&self, relay: &Arc<relay::Desk>) {
        *lock(&self.relay) = Arc::downgrade(relay);
    }

    fn relay(&self) -> Option<Arc<relay::Desk>> {
        lock(&self.relay).upgrade()
    }

    /// Lets others in by TLS; none when bulk connections are switched off.
    fn acceptor(&self) -> Option<TlsAcceptor> {
        self.on.get().map(|on| on.tls.server().into())
    }

    /// A place for one more meeting to go to.
    fn going(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.on_its_way.0).try_acquire_owned().ok()
    }

    /// Ends everything: at shutdown.
    pub(crate) fn close(&self) {
        if let Some(on) = self.on.get() {
            on.keeper.abort();
        }
        self.links.end_all();
        self.relayed.end_all();
    }
}

/// Begins to listen for bulk connections at these addresses, and to answer those that ask where.
pub(crate) async fn start(
    shared: &Arc<Shared>,
    listen: BulkListen,
    ips: BTreeSet<IpAddr>,
    key: &Keypair,
) -> Result<(), NetError> {
    let BulkListen::Port(port) = listen else {
        return Ok(());
    };
    let tls = tls::Tls::new(key, tls::ALPN)?;
    let (mut listeners, mut doors) = (Vec::new(), Vec::new());
    for ip in uncovered(&ips) {
        let wanted = SocketAddr::new(ip, port);
        let told = |e| explain(&format!("{wanted} (bulk)"), &e);
        let listener = socket::listen(wanted).map_err(told)?;
        doors.push(listener.local_addr().map_err(told)?);
        listeners.push(listener);
    }
    let policy = ProtocolPolicy {
        max_inbound_per_peer: MAX_ASKING,
        ..ProtocolPolicy::default()
    };
    let inbound = shared.registry.serve(bulk::PROTOCOL, policy)?;
    tokio::spawn(answer::serve(inbound, Arc::clone(shared)));
    let keeping = door::keep(listeners, tls.server().into(), Arc::clone(shared));
    let keeper = tokio::spawn(keeping).abort_handle();
    // Called once, at start: there is nothing set that could be in the way.
    let _ = shared.bulk.on.set(On { tls, doors, keeper });
    Ok(())
}

/// The addresses without those that another one, "any address", covers already.
fn uncovered(ips: &BTreeSet<IpAddr>) -> impl Iterator<Item = IpAddr> {
    let any = |like: &IpAddr| {
        ips.iter()
            .any(|ip| ip.is_unspecified() && ip.is_ipv4() == like.is_ipv4())
    };
    ips.iter()
        .copied()
        .filter(move |ip| ip.is_unspecified() || !any(ip))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn any_address_covers_the_others_of_its_kind() {
        let of = |list: &[&str]| {
            let ips = list.iter().map(|ip| ip.parse().unwrap()).collect();
            uncovered(&ips).map(|ip| ip.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(of(&["0.0.0.0", "10.0.0.1", "::1"]), ["0.0.0.0", "::1"]);
        assert_eq!(of(&["10.0.0.1", "127.0.0.1"]), ["10.0.0.1", "127.0.0.1"]);
        assert_eq!(of(&["::", "::1", "10.0.0.1"]), ["10.0.0.1", "::"]);
    }

    #[test]
    fn where_a_node_is_reached_is_known_as_long_as_a_connection_goes_there() {
        let (bulk, node) = (Bulk::default(), NodeId([7; 32]));
        let at = ConnectionId::new_unchecked;
        let (six, four): (IpAddr, IpAddr) = ("2001:db8::1".parse().unwrap(), "203.0.113.1".parse().unwrap());
        assert!(!bulk.near(node) && bulk.hops(node).is_empty());
        for (id, ip) in [(1, six), (2, four), (3, six)] {
            bulk.linked(node, at(id), ip);
        }
        assert_eq!(bulk.hops(node), [six, four], "the oldest first, each once");
        bulk.cut(node, at(1));
        assert_eq!(bulk.hops(node), [four, six]);
        bulk.cut(node, at(2));
        assert_eq!(bulk.hops(node), [six], "what is gone is no longer believed");
        bulk.cut(node, at(3));
        assert!(!bulk.near(node));
        for (id, last) in [(4, 4), (5, 5), (6, 6)] {
            bulk.linked(node, at(id), IpAddr::from([203, 0, 113, last]));
        }
        assert_eq!(bulk.hops(node).len(), MAX_HOPS);
        bulk.unlinked(node);
        assert!(!bulk.near(node));
    }

    #[tokio::test]
    async fn both_kinds_of_any_address_share_a_port() {
        let four = socket::listen("0.0.0.0:0".parse().unwrap()).unwrap();
        let port = four.local_addr().unwrap().port();
        match socket::listen(SocketAddr::new(std::net::Ipv6Addr::UNSPECIFIED.into(), port)) {
            Ok(six) => assert_eq!(six.local_addr().unwrap().port(), port),
            Err(e) => assert_ne!(e.kind(), std::io::ErrorKind::AddrInUse, "{e}"),
        }
    }
}
