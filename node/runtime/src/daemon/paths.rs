//! The ways to peers, from the network's words into those of the port.

use super::Daemon;
use crate::port::{AttemptRow, Kind, NodeRow, PathView, PathsView, PeerRow, Refused};
use hive_net::{Attempt, NetError, NetHandle, Outcome, PeerView, Transport};
use hive_protocol::ids::NodeId;
use std::{
    collections::BTreeMap,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

/// Names of nodes, for people.
pub type Names = BTreeMap<NodeId, String>;

/// Milliseconds since 1970 of a moment of the monotonic clock.
pub fn wall(at: Instant) -> u64 {
    let ago = Instant::now().saturating_duration_since(at);
    let then = SystemTime::now().checked_sub(ago).unwrap_or(UNIX_EPOCH);
    let since = then.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Whole microseconds.
pub fn micros(d: Duration) -> u64 {
    u64::try_from(d.as_micros()).unwrap_or(u64::MAX)
}

/// The word for how a connection is carried.
pub const fn carried(transport: Transport) -> &'static str {
    match transport {
        Transport::Quic => "quic",
        Transport::Tcp => "tcp",
        Transport::Relay => "relay",
    }
}

fn count(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

/// How an address is carried, by its text.
fn carrier(addr: &str) -> &'static str {
    if addr.contains("/p2p-circuit") {
        "relay"
    } else if addr.contains("/quic") {
        "quic"
    } else if addr.contains("/tcp/") {
        "tcp"
    } else {
        ""
    }
}

/// The way to a peer; what the gate knows of it comes from its connection.
fn shown(p: &hive_net::PathView, peer: Option<&PeerView>, names: &Names) -> PathView {
    let name = |node: &NodeId| names.get(node).cloned().unwrap_or_default();
    let relay = p.path.relay();
    PathView {
        node: p.node.to_string(),
        name: name(&p.node),
        state: p.path.name().to_owned(),
        addr: p.addr.clone().unwrap_or_default(),
        transport: p.transport.map(carried).unwrap_or_default().to_owned(),
        relay: relay.map(|r| r.to_string()),
        relay_name: relay.as_ref().map(name).unwrap_or_default(),
        rtt_us: p.rtt.map(micros),
        since: p.since.filter(|_| peer.is_some()).map(wall).unwrap_or_default(),
        next_punch_ms: p
            .next_punch
            .map(|d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX)),
        reason: match &p.path {
            hive_net::Path::Unreachable { reason } => Some(reason.clone()),
            _ => None,
        },
        connections: count(p.links.len()),
        streams: count(p.links.iter().map(|l| l.streams).sum()),
        member: peer.is_some_and(|p| p.member),
        version: peer.and_then(|p| p.version.clone()),
    }
}

/// The ways to everybody connected or tried lately.
pub async fn all(net: &NetHandle, names: &Names) -> Vec<PathView> {
    let (paths, peers) = tokio::join!(net.paths(), net.peers());
    let peers: BTreeMap<NodeId, PeerView> = peers.into_iter().map(|p| (p.node, p)).collect();
    let views = paths.iter().map(|p| shown(p, peers.get(&p.node), names));
    views.collect()
}

/// The way to one node and how it came about; with `trace`, after trying every way known.
///
/// # Errors
/// Those of the network when it cannot try.
pub async fn one(
    net: &NetHandle,
    node: NodeId,
    addrs: Vec<String>,
    trace: bool,
    names: &Names,
) -> Result<PathsView, Refused> {
    let attempts = if trace {
        net.trace(node, addrs.clone()).await
    } else {
        net.attempts(node).await
    };
    let attempts = attempts.map_err(|e| refused(&e))?;
    let peers = net.peers().await;
    let peer = peers.iter().find(|p| p.node == node);
    let now = net.path(node).await.ok();
    let path = match &now {
        Some(now) => shown(now, peer, names),
        // Nothing is known of it but its name.
        None => PathView {
            node: node.to_string(),
            name: names.get(&node).cloned().unwrap_or_default(),
            state: "none".to_owned(),
            ..PathView::default()
        },
    };
    let mut known = now.map(|n| n.known).unwrap_or_default();
    for addr in addrs {
        if !known.contains(&addr) {
            known.push(addr);
        }
    }
    Ok(PathsView {
        path,
        addrs: known,
        attempts: attempts.iter().map(attempt).collect(),
    })
}

fn refused(e: &NetError) -> Refused {
    let kind = match e.code() {
        "net.busy" => Kind::Conflict,
        "net.timeout" => Kind::Timeout,
        _ => Kind::Unreachable,
    };
    let refused = Refused::new(kind, e.code(), e.to_string());
    match e.code() {
        "net.no_address" => refused.hint("hivenode node ls shows who is online"),
        _ => refused,
    }
}

fn attempt(a: &Attempt) -> AttemptRow {
    let addr = a.addr.clone().unwrap_or_default();
    AttemptRow {
        at: wall(a.at),
        what: a.kind.name().to_owned(),
        transport: carrier(&addr).to_owned(),
        addr,
        took_us: (a.outcome != Outcome::Pending).then(|| micros(a.took)),
        outcome: a.outcome.name().to_owned(),
        detail: a.outcome.reason().unwrap_or_default().to_owned(),
    }
}

/// A line of the status.
pub fn peer_row(path: PathView) -> PeerRow {
    PeerRow {
        path: path.words(),
        node: path.node,
        name: path.name,
        addr: path.addr,
        transport: path.transport,
        rtt_us: path.rtt_us,
        member: path.member,
        state: path.state,
        relay: path.relay,
    }
}

/// Puts the ways to nodes into their rows.
pub fn into_rows(rows: &mut [NodeRow], paths: Vec<PathView>) {
    let mut paths: BTreeMap<String, PathView> = paths.into_iter().map(|p| (p.node.clone(), p)).collect();
    for row in rows {
        if let Some(path) = paths.remove(&row.node) {
            row.path = path.words();
            row.rtt_us = path.rtt_us;
            row.addr = path.addr;
        }
    }
}

impl Daemon {
    /// The names of all nodes known.
    pub(super) fn names(&self) -> Names {
        let known = self.mesh.iter().flat_map(|m| m.directory.iter());
        known.map(|k| (k.view.node, k.view.name.clone())).collect()
    }
}
