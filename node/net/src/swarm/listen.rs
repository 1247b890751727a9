//! Where to listen, and finding out before it matters that somebody else does.

use super::{Behaviour, BehaviourEvent};
use crate::{config::ListenAddrs, error::NetError, names};
use futures::StreamExt;
use libp2p::{
    Multiaddr, Swarm, TransportError, core::transport::ListenerId, multiaddr::Protocol, swarm::SwarmEvent,
};
use std::{
    collections::{BTreeSet, HashSet},
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket},
    time::Duration,
};

/// Listeners name their addresses within this time, or listening has failed.
const LISTEN_TIMEOUT: Duration = Duration::from_secs(5);
/// Ports tried when the system is to choose one that is free for both TCP and UDP.
const PORT_TRIES: usize = 32;
/// Most addresses to listen on.
const MAX_LISTEN: usize = 16;

/// The multiaddresses to listen on.
pub(crate) fn addresses(wish: &ListenAddrs) -> Result<Vec<Multiaddr>, NetError> {
    let pair = |ip: Ipv4Addr, port: u16| -> Result<Vec<Multiaddr>, NetError> {
        let port = if port == 0 { free_port(ip)? } else { port };
        Ok(vec![
            Multiaddr::empty()
                .with(Protocol::Ip4(ip))
                .with(Protocol::Udp(port))
                .with(Protocol::QuicV1),
            Multiaddr::empty()
                .with(Protocol::Ip4(ip))
                .with(Protocol::Tcp(port)),
        ])
    };
    match wish {
        ListenAddrs::Port(port) => pair(Ipv4Addr::UNSPECIFIED, *port),
        ListenAddrs::Loopback(port) => pair(Ipv4Addr::LOCALHOST, *port),
        ListenAddrs::Exactly(addrs) if addrs.len() > MAX_LISTEN => Err(NetError::Busy {
            what: "listen addresses",
            limit: MAX_LISTEN,
        }),
        ListenAddrs::Exactly(addrs) => addrs.iter().map(|a| names::address(a)).collect(),
    }
}

/// The addresses listened on, without ports.
pub(crate) fn ips(addrs: &[Multiaddr]) -> BTreeSet<IpAddr> {
    addrs.iter().filter_map(names::ip).collect()
}

fn free_port(ip: Ipv4Addr) -> Result<u16, NetError> {
    let mut last = None;
    for _ in 0..PORT_TRIES {
        let tried = TcpListener::bind((ip, 0)).and_then(|tcp| {
            let port = tcp.local_addr()?.port();
            UdpSocket::bind((ip, port))?;
            Ok(port)
        });
        match tried {
            Ok(port) => return Ok(port),
            Err(e) => last = Some(e),
        }
    }
    Err(NetError::Listen {
        address: format!("{ip}:0"),
        detail: last.map_or_else(String::new, |e| e.to_string()),
    })
}

/// Begins to listen and waits until every listener has said where; gives back those addresses.
pub(crate) async fn start(
    swarm: &mut Swarm<Behaviour>,
    addrs: &[Multiaddr],
) -> Result<Vec<Multiaddr>, NetError> {
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
        silent.insert(id);
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
        TcpListener::bind(SocketAddr::new(ip, port))?;
    }
    if let (Some(ip), Some(port)) = (ip, udp) {
        UdpSocket::bind(SocketAddr::new(ip, port))?;
    }
    Ok(())
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
