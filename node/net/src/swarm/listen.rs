//! Where to listen, and finding out before it matters that somebody else does.

use super::{Behaviour, BehaviourEvent, transport};
use crate::{
    config::{Config, ListenAddrs},
    error::NetError,
    event::Transport,
    handle::Shared,
    names,
    reach::Prober,
};
use futures::StreamExt;
use libp2p::{
    Multiaddr, Swarm, TransportError, core::transport::ListenerId, identity::Keypair, multiaddr::Protocol,
    swarm::SwarmEvent,
};
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};
use std::{
    collections::{BTreeSet, HashSet},
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket},
    os::fd::OwnedFd,
    sync::Arc,
    time::Duration,
};

/// Listeners name their addresses within this time, or listening has failed.
const LISTEN_TIMEOUT: Duration = Duration::from_secs(5);
/// Ports tried when the system is to choose one that is free for both TCP and UDP.
const PORT_TRIES: usize = 32;
/// How often a chosen port may be lost to another program before that is an error.
const RACES: usize = 8;
/// Most addresses to listen on.
const MAX_LISTEN: usize = 16;

/// Finds a port that is free at all these addresses.
type Choose<'a> = dyn FnMut(&[IpAddr]) -> Result<u16, NetError> + Send + 'a;

/// The multiaddresses to listen on, of the transports in use.
fn addresses(config: &Config, choose: &mut Choose<'_>) -> Result<Vec<Multiaddr>, NetError> {
    let mut with = |ips: &[IpAddr], port: u16| -> Result<Vec<Multiaddr>, NetError> {
        let port = if port == 0 { choose(ips)? } else { port };
        let both = ips.iter().flat_map(|ip| {
            let at = Multiaddr::from(*ip);
            [
                at.clone().with(Protocol::Udp(port)).with(Protocol::QuicV1),
                at.with(Protocol::Tcp(port)),
            ]
        });
        Ok(both.collect())
    };
    let mut addrs = match &config.listen {
        ListenAddrs::Port(port) => {
            let mut ips = vec![Ipv4Addr::UNSPECIFIED.into()];
            if config.ipv6 && has_ipv6() {
                ips.push(Ipv6Addr::UNSPECIFIED.into());
            }
            with(&ips, *port)?
        }
        ListenAddrs::Loopback(port) => with(&[Ipv4Addr::LOCALHOST.into()], *port)?,
        ListenAddrs::Exactly(addrs) if addrs.len() > MAX_LISTEN => {
            return Err(NetError::Busy {
                what: "listen addresses",
                limit: MAX_LISTEN,
            });
        }
        ListenAddrs::Exactly(addrs) => addrs
            .iter()
            .map(|a| names::address(a))
            .collect::<Result<_, _>>()?,
    };
    let used = |addr: &Multiaddr| match names::transport(addr) {
        Some(Transport::Quic) => config.transports.quic,
        Some(Transport::Tcp) => config.transports.tcp,
        _ => true,
    };
    addrs.retain(used);
    Ok(addrs)
}

/// Whether the system speaks IPv6 at all: a kernel may do without.
fn has_ipv6() -> bool {
    UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)).is_ok()
}

/// The addresses listened on, without ports.
fn ips(addrs: &[Multiaddr]) -> BTreeSet<IpAddr> {
    addrs.iter().filter_map(names::ip).collect()
}

/// A port that is free for both transports at all these addresses.
fn free_port(ips: &[IpAddr]) -> Result<u16, NetError> {
    let Some(first) = ips.first() else { return Ok(0) };
    let mut last = None;
    for _ in 0..PORT_TRIES {
        let tried = bind_tcp(SocketAddr::new(*first, 0)).and_then(|tcp| {
            let port = tcp.local_addr()?.port();
            bind_udp(SocketAddr::new(*first, port))?;
            for other in ips.iter().skip(1) {
                bind_tcp(SocketAddr::new(*other, port))?;
                bind_udp(SocketAddr::new(*other, port))?;
            }
            Ok(port)
        });
        match tried {
            Ok(port) => return Ok(port),
            Err(e) => last = Some(e),
        }
    }
    Err(NetError::Listen {
        address: format!("{first}:0"),
        detail: last.map_or_else(String::new, |e| e.to_string()),
    })
}

/// A swarm that listens.
pub(crate) struct Standing {
    pub(crate) shared: Arc<Shared>,
    pub(crate) swarm: Swarm<Behaviour>,
    pub(crate) prober: Prober,
    pub(crate) listening: Vec<Multiaddr>,
    /// Where, without ports.
    pub(crate) ips: BTreeSet<IpAddr>,
}

/// Builds a swarm and begins to listen.
pub(crate) async fn stand(config: &Config, key: &Keypair) -> Result<Standing, NetError> {
    stand_at(config, key, &mut free_port).await
}

/// As [`stand`], with a port that `choose` finds where the system is to choose one.
async fn stand_at(config: &Config, key: &Keypair, choose: &mut Choose<'_>) -> Result<Standing, NetError> {
    let mut lost = 0;
    loop {
        match stand_once(config, key, choose).await {
            Err(e) if is_lost_race(&config.listen, &e) && lost < RACES => lost += 1,
            stands => return stands,
        }
    }
}

/// Whether the port was free when it was chosen, and somebody else was faster. One that was asked for is not given up.
fn is_lost_race(listen: &ListenAddrs, e: &NetError) -> bool {
    listen.is_any_port() && matches!(e, NetError::PortTaken { .. })
}

async fn stand_once(config: &Config, key: &Keypair, choose: &mut Choose<'_>) -> Result<Standing, NetError> {
    let addrs = addresses(config, choose)?;
    let shared = Arc::new(Shared::default());
    let mut swarm = transport::build(config, key, Arc::clone(&shared))?;
    let prober = Prober::new(config, key, Arc::clone(&shared.reach.sent))?;
    let listening = start(&mut swarm, &addrs).await?;
    Ok(Standing {
        shared,
        swarm,
        prober,
        listening,
        ips: ips(&addrs),
    })
}

/// Begins to listen and waits until every listener has said where; gives back those addresses.
async fn start(swarm: &mut Swarm<Behaviour>, addrs: &[Multiaddr]) -> Result<Vec<Multiaddr>, NetError> {
    let mut silent = HashSet::new();
    for addr in addrs {
        // libp2p binds TCP with SO_REUSEPORT, so that a second program of the same user would share the port
        // without an error and get half of the connections. A plain bind finds out.
        probe(addr).map_err(|e| explain(&addr.to_string(), &e))?;
        let id = swarm.listen_on(addr.clone()).map_err(|e| match e {
            TransportError::Other(e) => explain(&addr.to_string(), &e),
            TransportError::MultiaddrNotSupported(addr) => NetError::BadAddress {
                address: addr.to_string(),
                detail: "no transport for it".to_owned(),
            },
        })?;
        if names::ip(addr) != Some(Ipv6Addr::UNSPECIFIED.into()) {
            // There may be no interface with an IPv6 address now; one may come later.
            silent.insert(id);
        }
    }
    let mut found = Vec::new();
    let waiting = hear(swarm, &mut silent, &mut found);
    match tokio::time::timeout(LISTEN_TIMEOUT, waiting).await {
        Ok(Ok(())) => Ok(found),
        Ok(Err(e)) => Err(e),
        Err(_) => Err(NetError::Listen {
            address: addrs
                .iter()
                .map(Multiaddr::to_string)
                .collect::<Vec<_>>()
                .join(", "),
            detail: "no interface to listen on".to_owned(),
        }),
    }
}

async fn hear(
    swarm: &mut Swarm<Behaviour>,
    silent: &mut HashSet<ListenerId>,
    found: &mut Vec<Multiaddr>,
) -> Result<(), NetError> {
    while !silent.is_empty() {
        let event: SwarmEvent<BehaviourEvent> = swarm.select_next_some().await;
        match event {
            SwarmEvent::NewListenAddr { listener_id, address } => {
                silent.remove(&listener_id);
                found.push(address);
            }
            SwarmEvent::ListenerClosed {
                addresses, reason, ..
            } => {
                let detail = match reason {
                    Ok(()) => "the listener closed".to_owned(),
                    Err(e) => e.to_string(),
                };
                return Err(NetError::Listen {
                    address: format!("{addresses:?}"),
                    detail,
                });
            }
            // A peer may dial before we are ready; its connection is not in the table and is closed by it.
            SwarmEvent::ConnectionEstablished { connection_id, .. } => {
                swarm.close_connection(connection_id);
            }
            _ => {}
        }
    }
    Ok(())
}

fn probe(addr: &Multiaddr) -> io::Result<()> {
    let (mut ip, mut tcp, mut udp) = (None, None, None);
    for part in addr {
        match part {
            Protocol::Ip4(v4) => ip = Some(IpAddr::V4(v4)),
            Protocol::Ip6(v6) => ip = Some(IpAddr::V6(v6)),
            Protocol::Tcp(port) => tcp = Some(port),
            Protocol::Udp(port) => udp = Some(port),
            _ => {}
        }
    }
    if let (Some(ip), Some(port)) = (ip, tcp) {
        bind_tcp(SocketAddr::new(ip, port))?;
    }
    if let (Some(ip), Some(port)) = (ip, udp) {
        bind_udp(SocketAddr::new(ip, port))?;
    }
    Ok(())
}

/// A socket as the transports bind theirs: one of IPv6 does not take IPv4's port, too.
fn bind_tcp(at: SocketAddr) -> io::Result<TcpListener> {
    let socket = bind(at, SocketType::STREAM)?;
    rustix::net::listen(&socket, 1)?;
    Ok(socket.into())
}

/// The same for UDP.
fn bind_udp(at: SocketAddr) -> io::Result<UdpSocket> {
    Ok(bind(at, SocketType::DGRAM)?.into())
}

fn bind(at: SocketAddr, kind: SocketType) -> io::Result<OwnedFd> {
    let family = if at.is_ipv4() {
        AddressFamily::INET
    } else {
        AddressFamily::INET6
    };
    let socket = rustix::net::socket_with(family, kind, SocketFlags::CLOEXEC, None)?;
    if at.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, true)?;
    }
    if kind == SocketType::STREAM {
        // Connections of an earlier start that are still ending are no obstacle.
        sockopt::set_socket_reuseaddr(&socket, true)?;
    }
    rustix::net::bind(&socket, &at)?;
    Ok(socket)
}

/// A failed bind as an error that names the address.
pub(crate) fn explain(address: &str, e: &io::Error) -> NetError {
    if e.kind() == io::ErrorKind::AddrInUse {
        NetError::PortTaken {
            address: address.to_owned(),
        }
    } else {
        NetError::Listen {
            address: address.to_owned(),
            detail: e.to_string(),
        }
    }
}

#[cfg(test)]
#[path = "listen_tests.rs"]
mod tests;
