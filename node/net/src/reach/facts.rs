//! What is known of this node's own side of the network without asking anybody.

use crate::{
    event::{Mapper, Transport},
    handle::NetHandle,
    names,
};
use libp2p::Multiaddr;
use std::{
    io,
    net::{IpAddr, SocketAddr, UdpSocket},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

/// A port that a router has opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MappingView {
    /// The address outside.
    pub addr: String,
    /// By which protocol the router was asked.
    pub by: Mapper,
    /// How long it holds unless it is renewed.
    pub left: Duration,
}

/// A snapshot.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NetFacts {
    /// Direct QUIC connections this node has made since start.
    pub quic_dialed: u64,
    /// Direct TCP connections this node has made since start.
    pub tcp_dialed: u64,
    /// Whether it listens on an IPv6 address that reaches beyond the household.
    pub ipv6: bool,
    /// Ports routers have opened.
    pub mappings: Vec<MappingView>,
    /// Whether it listens on an address for which a router might open ports: a private one of IPv4.
    pub mappable: bool,
    /// Why no router has, if that was tried.
    pub mapping_error: Option<String>,
    /// Whether a router was there and has refused; otherwise none offers it.
    pub mapping_refused: bool,
}

#[derive(Debug, Clone)]
struct Mapping {
    addr: Multiaddr,
    by: Mapper,
    until: Instant,
}

#[derive(Debug, Default)]
struct Mappings {
    /// At most one for each port listened on and protocol.
    list: Vec<Mapping>,
    error: Option<String>,
    refused: bool,
}

/// The live facts.
#[derive(Debug, Default)]
pub(crate) struct Facts {
    quic: AtomicU64,
    tcp: AtomicU64,
    mappings: Mutex<Mappings>,
}

impl Facts {
    /// A direct connection was made from here.
    pub(crate) fn dialed(&self, transport: Transport) {
        match transport {
            Transport::Quic => self.quic.fetch_add(1, Ordering::Relaxed),
            Transport::Tcp => self.tcp.fetch_add(1, Ordering::Relaxed),
            Transport::Relay => 0,
        };
    }

    /// The addresses routers have opened.
    pub(crate) fn mapped(&self) -> Vec<Multiaddr> {
        let mappings = self.mappings.lock().unwrap_or_else(PoisonError::into_inner);
        mappings.list.iter().map(|m| m.addr.clone()).collect()
    }

    /// A router has opened a port; says whether that is news.
    pub(crate) fn map(&self, addr: Multiaddr, by: Mapper, lifetime: Duration) -> bool {
        let mut mappings = self.mappings.lock().unwrap_or_else(PoisonError::into_inner);
        (mappings.error, mappings.refused) = (None, false);
        let until = Instant::now() + lifetime;
        if let Some(old) = mappings.list.iter_mut().find(|m| m.addr == addr) {
            let same = old.by == by;
            (old.by, old.until) = (by, until);
            return !same;
        }
        mappings.list.push(Mapping { addr, by, until });
        true
    }

    /// It has closed it again; says whether it was known.
    pub(crate) fn unmap(&self, addr: &Multiaddr) -> bool {
        let mut mappings = self.mappings.lock().unwrap_or_else(PoisonError::into_inner);
        let before = mappings.list.len();
        mappings.list.retain(|m| m.addr != *addr);
        mappings.list.len() < before
    }

    /// Whether a router was there and has refused.
    #[cfg(test)]
    pub(crate) fn refused(&self) -> bool {
        let mappings = self.mappings.lock().unwrap_or_else(PoisonError::into_inner);
        mappings.refused
    }

    /// No router opens any; `refused` when one was asked and said no. Says whether the reason is news.
    pub(crate) fn unmappable(&self, reason: &str, refused: bool) -> bool {
        let mut mappings = self.mappings.lock().unwrap_or_else(PoisonError::into_inner);
        let news = mappings.error.as_deref() != Some(reason);
        (mappings.error, mappings.refused) = (Some(reason.to_owned()), refused);
        news
    }
}

impl NetHandle {
    /// What is known of this node's own side of the network: a snapshot, nothing is asked.
    #[must_use]
    pub fn facts(&self) -> NetFacts {
        let facts = &self.shared.reach.facts;
        let now = Instant::now();
        let listen = self.listen_addrs();
        let ips: Vec<IpAddr> = listen
            .iter()
            .filter_map(|a| a.parse::<Multiaddr>().ok().as_ref().and_then(names::ip))
            .collect();
        let wide = |ip: IpAddr| ip.is_ipv6() && super::scope_of(ip) == super::Scope::Global;
        let mappings = facts.mappings.lock().unwrap_or_else(PoisonError::into_inner);
        NetFacts {
            quic_dialed: facts.quic.load(Ordering::Relaxed),
            tcp_dialed: facts.tcp.load(Ordering::Relaxed),
            ipv6: ips.iter().copied().any(wide),
            mappable: ips.iter().any(|ip| super::mappable(*ip)),
            mappings: mappings
                .list
                .iter()
                .map(|m| MappingView {
                    addr: m.addr.to_string(),
                    by: m.by,
                    left: m.until.saturating_duration_since(now),
                })
                .collect(),
            mapping_error: mappings.error.clone(),
            mapping_refused: mappings.refused,
        }
    }
}

/// Largest packet in bytes, IP header included, that the system believes the way to an address takes; none when there
/// is no way. Nothing is sent.
#[must_use]
pub fn route_mtu(to: IpAddr) -> Option<u32> {
    ask_route(to).ok()
}

fn ask_route(to: IpAddr) -> io::Result<u32> {
    let any: IpAddr = if to.is_ipv4() {
        std::net::Ipv4Addr::UNSPECIFIED.into()
    } else {
        std::net::Ipv6Addr::UNSPECIFIED.into()
    };
    let socket = UdpSocket::bind(SocketAddr::new(any, 0))?;
    // The port does not matter: connecting a UDP socket only looks the way up.
    socket.connect(SocketAddr::new(to, 9))?;
    let mtu = if to.is_ipv4() {
        rustix::net::sockopt::ip_mtu(&socket)
    } else {
        rustix::net::sockopt::ipv6_mtu(&socket)
    };
    Ok(mtu?)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_way_to_this_machine_has_an_mtu() {
        let mtu = route_mtu([127, 0, 0, 1].into()).unwrap();
        assert!(mtu >= 1280, "{mtu}");
    }

    #[test]
    fn a_mapping_is_news_once_until_it_goes() {
        let facts = Facts::default();
        let addr: Multiaddr = "/ip4/203.0.113.5/tcp/4001".parse().unwrap();
        let hour = Duration::from_secs(3600);
        assert!(facts.unmappable("no router", false));
        assert!(!facts.unmappable("no router", false));
        assert!(facts.map(addr.clone(), Mapper::Upnp, hour));
        assert!(!facts.map(addr.clone(), Mapper::Upnp, hour));
        assert_eq!(facts.mapped(), std::slice::from_ref(&addr));
        assert!(
            facts.unmappable("no router", false),
            "it was forgotten when one came"
        );
        assert!(facts.unmap(&addr));
        assert!(!facts.unmap(&addr));
    }
}
