//! Having all addresses that may be reachable from outside tested, and judging what comes out.

use super::{
    ask::{TestReport, Tester},
    filter::Witness,
    scope::{self, Scope},
};
use crate::{
    event::{NetEvent, PeerView, Transport},
    handle::NetHandle,
    names,
};
use hive_protocol::ids::NodeId;
use libp2p::Multiaddr;
use std::{collections::BTreeSet, net::IpAddr};

/// Addresses tested by one [`NetHandle::test_again`].
const MAX_TESTED: usize = 8;
/// Servers asked about each.
const SERVERS: usize = 2;
/// Members looked at for one that a new port can speak to.
const WITNESSES: usize = 16;

impl NetHandle {
    /// Has addresses of this node tested now, this one or all that may be reachable from outside: each by up to two
    /// members, first by dialing back, then by a stranger. What comes out is told by [`NetEvent::Tested`]; nothing is
    /// told of an address nobody could test.
    pub async fn test_again(&self, addr: Option<String>) {
        let addrs = match addr {
            Some(addr) => vec![addr],
            None => self.test_candidates(),
        };
        let peers = self.peers().await;
        for addr in addrs.into_iter().take(MAX_TESTED) {
            let Ok(parsed) = names::address(&addr) else {
                continue;
            };
            let servers = servers_for(&parsed, &peers);
            let members = peers
                .iter()
                .filter(|p| p.member && p.direct)
                .map(|p| p.node)
                .collect();
            let net = self.clone();
            tokio::spawn(async move { net.test_at(parsed, servers, members).await });
        }
    }

    /// This node's addresses that may be reachable from outside, most often named first; at most 8.
    #[must_use]
    pub fn test_candidates(&self) -> Vec<String> {
        let mut all = self.shared.reach.candidates();
        let listening = self.listen_addrs();
        let own = listening.iter().filter_map(|a| a.parse::<Multiaddr>().ok());
        let own: Vec<_> = own.filter(|a| !names::is_circuit(a)).collect();
        let widest = own.iter().chain(&all).filter_map(names::ip).map(scope::of).max();
        all.extend(own);
        let mut seen = BTreeSet::new();
        all.into_iter()
            // Private addresses are for neighbours; loopback ones are tested only where there are no others.
            .filter(|a| {
                let scope = names::ip(a).map_or(Scope::Nowhere, scope::of);
                scope == Scope::Global || (scope == Scope::Loopback && widest == Some(Scope::Loopback))
            })
            .map(|a| a.to_string())
            .filter(|a| seen.insert(a.clone()))
            .take(MAX_TESTED)
            .collect()
    }

    async fn test_at(&self, parsed: Multiaddr, servers: Vec<NodeId>, members: Vec<NodeId>) {
        let addr = parsed.to_string();
        for server in servers {
            let back = match self.test(server, addr.clone(), Tester::Server).await {
                Ok(report) => report,
                Err(e) => {
                    tracing::debug!(target: "hive_net::reach", addr, ?server, "no test: {e}");
                    continue;
                }
            };
            let report = if back.reached && !back.fresh {
                let other = self.test(server, addr.clone(), Tester::Other).await;
                match other {
                    Ok(report) if report.fresh => report,
                    Ok(report) if !report.reached => TestReport {
                        detail: format!("{}; {}", back.detail, report.detail),
                        ..back
                    },
                    // Nobody is a stranger.
                    _ => self.judge_router(&parsed, back, &members).await,
                }
            } else {
                back
            };
            let detail = report.detail;
            let event = NetEvent::Tested {
                addr: addr.clone(),
                server,
                reachable: report.reached,
                stranger: report.reached && report.fresh,
                detail,
            };
            self.emit(event).await;
        }
    }

    /// What is to be made of an address that only those get in at to whom something was sent, as far as was tested.
    async fn judge_router(&self, addr: &Multiaddr, mut back: TestReport, members: &[NodeId]) -> TestReport {
        if self.shared.reach.facts.mapped().contains(addr) {
            back.fresh = true;
            back.detail.push_str("; a router has opened this port");
            return back;
        }
        let transport = names::transport(addr).unwrap_or(Transport::Tcp);
        let others = members.iter().filter(|node| **node != back.server);
        let Some(witness) = self.witness(addr, others).await else {
            back.detail.push_str("; nobody is left to whom nothing was sent");
            return back;
        };
        match self.lets_strangers_in(transport, &witness, back.server).await {
            Ok(true) => {
                back.fresh = true;
                back.detail
                    .push_str("; at a new port the router let in somebody to whom nothing was sent");
            }
            Ok(false) => {
                back.detail
                    .push_str("; at a new port the router let nobody in to whom nothing was sent");
            }
            Err(e) => {
                back.detail
                    .push_str(&format!("; whether strangers get in was not found out: {e}"));
            }
        }
        back
    }

    /// A member with a public address of the same transport and family, somewhere else than this node.
    async fn witness(&self, addr: &Multiaddr, members: impl Iterator<Item = &NodeId>) -> Option<Witness> {
        let own = names::ip(addr)?;
        for node in members.take(WITNESSES) {
            let Ok(path) = self.path(*node).await else {
                continue;
            };
            let found = path
                .known
                .iter()
                .filter_map(|a| a.parse().ok())
                .find(|at: &Multiaddr| {
                    names::transport(at) == names::transport(addr)
                        && names::ip(at).is_some_and(|ip| {
                            ip != own && ip.is_ipv4() == own.is_ipv4() && scope::of(ip) == Scope::Global
                        })
                });
            if let Some(addr) = found {
                return Some(Witness { node: *node, addr });
            }
        }
        None
    }
}

/// Members that can test this address: directly connected, at another IP address of the same reach; those at
/// different places first.
fn servers_for(addr: &Multiaddr, peers: &[PeerView]) -> Vec<NodeId> {
    let Some(own) = names::ip(addr) else {
        return Vec::new();
    };
    let far = scope::of(own) == Scope::Global;
    let mut places = BTreeSet::new();
    let (mut first, mut rest) = (Vec::new(), Vec::new());
    for peer in peers.iter().filter(|p| p.member && p.direct) {
        let Some(ip) = peer.addr.parse().ok().as_ref().and_then(names::ip) else {
            continue;
        };
        if (far && ip == own) || scope::of(ip) != scope::of(own) {
            continue;
        }
        if places.insert(block(ip)) {
            first.push(peer.node);
        } else {
            rest.push(peer.node);
        }
    }
    first.into_iter().chain(rest).take(SERVERS).collect()
}

/// The neighbourhood of an IP address: /16 of IPv4, /32 of IPv6.
fn block(ip: IpAddr) -> [u8; 4] {
    match ip {
        IpAddr::V4(ip) => {
            let [a, b, ..] = ip.octets();
            [a, b, 0, 0]
        }
        IpAddr::V6(ip) => {
            let [a, b, c, d, ..] = ip.octets();
            [a, b, c, d]
        }
    }
}
