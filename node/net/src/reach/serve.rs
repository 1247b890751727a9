//! Tests made for others: dialing a member back (AutoNAT, version 2), finding a stranger to dial it, being the stranger.
//!
//! Bounded by requests a minute and by what may be dialed: addresses that reach as far as the asker's own, and for an
//! IP address that is not the asker's only after the filling AutoNAT demands.

use super::{
    Service,
    probe::DIAL,
    scope::{self, Scope},
    wire::{self, DataRequest, DialResponse, FILLING, Said, dial, status},
};
use crate::{
    crypto,
    event::Transport,
    frame::{self, FrameError},
    names,
    registry::Inbound,
    stream::NetStream,
};
use hive_protocol::{
    ids::NodeId,
    reach::{self, MAX_ADDR, MAX_DETAIL, MAX_KNOWN, ReachAsk, ReachSaid},
};
use libp2p::Multiaddr;
use std::{
    collections::BTreeSet,
    io,
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::Semaphore,
    time::timeout,
};

/// Requests being answered at a time; more wait in the backlog, and are reset beyond it.
const MAX_SERVING: usize = 32;
/// A request of AutoNAT is answered within this time: filling, dial, word.
const SERVE: Duration = Duration::from_secs(18);
/// Addresses of a request that are looked at.
const MAX_ASKED: usize = 16;
/// Strangers asked for one test: the first may have no place, or be no stranger.
const STRANGERS: usize = 2;
/// A stranger answers within this time.
const STRANGER: Duration = Duration::from_secs(8);

/// Answers the requests of one protocol until the service ends.
pub(super) async fn serve<F, A>(mut inbound: Inbound, service: Arc<Service>, answer: F)
where
    F: Fn(Arc<Service>, NodeId, NetStream) -> A,
    A: Future<Output = io::Result<()>> + Send + 'static,
{
    let places = Arc::new(Semaphore::new(MAX_SERVING));
    while let Some((node, stream)) = inbound.accept().await {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else {
            return;
        };
        let answering = answer(Arc::clone(&service), node, stream);
        tokio::spawn(async move {
            match timeout(SERVE, answering).await {
                Ok(Ok(())) => {}
                Ok(Err(e)) => tracing::debug!(target: "hive_net::reach", ?node, "a test broke off: {e}"),
                Err(_) => tracing::debug!(target: "hive_net::reach", ?node, "a test took too long"),
            }
            drop(place);
        });
    }
}

/// Whether an address may be dialed for a peer that is connected from there; the IP address it leads to.
pub(super) fn askable(addr: &Multiaddr, from: IpAddr) -> Result<IpAddr, &'static str> {
    if !names::dialable(addr) || names::transport(addr) == Some(Transport::Relay) {
        return Err("not a direct QUIC or TCP address");
    }
    let ip = names::ip(addr).ok_or("not a direct QUIC or TCP address")?;
    match (scope::of(from), scope::of(ip)) {
        (Scope::Global, Scope::Global) | (Scope::Loopback, Scope::Loopback) => Ok(ip),
        (Scope::Private, Scope::Private) if ip == from.to_canonical() => Ok(ip),
        _ => Err("an address of another reach than the one you are connected from"),
    }
}

/// AutoNAT: dials back whoever asks.
pub(super) async fn dial_back(service: Arc<Service>, node: NodeId, mut stream: NetStream) -> io::Result<()> {
    let Said::Dial(request) = wire::hear(&mut stream).await? else {
        return refuse(&mut stream, status::REJECTED, 0).await;
    };
    let Some(from) = stream.remote_ip() else {
        // Asked through a relay: where the asker is cannot be seen.
        return refuse(&mut stream, status::REJECTED, 0).await;
    };
    let asked = request.addrs.iter().take(MAX_ASKED).enumerate();
    let found = asked
        .filter_map(|(n, bytes)| {
            let addr = names::plain(Multiaddr::try_from(bytes.clone()).ok()?);
            let ip = askable(&addr, from).ok()?;
            Some((u32::try_from(n).ok()?, addr, ip))
        })
        .next();
    let Some((index, addr, ip)) = found else {
        return refuse(&mut stream, status::DIAL_REFUSED, 0).await;
    };
    if !service.budget.take(node, Instant::now()) {
        return refuse(&mut stream, status::REJECTED, index).await;
    }
    if ip != from.to_canonical() {
        fill(&mut stream, index).await?;
    }
    let dialed = match names::peer_id(node) {
        Ok(expected) => reached(&service, &addr, expected, Some(request.nonce)).await,
        Err(_) => dial::DIAL_ERROR,
    };
    if dialed == dial::OK {
        service.budget.proved(node, addr.to_string(), Instant::now());
    }
    let done = DialResponse {
        status: status::OK,
        addr: index,
        dial: dialed,
    };
    finish(&mut stream, done).await
}

async fn refuse(stream: &mut NetStream, status: i32, addr: u32) -> io::Result<()> {
    let dial = dial::UNUSED;
    finish(stream, DialResponse { status, addr, dial }).await
}

async fn finish(stream: &mut NetStream, done: DialResponse) -> io::Result<()> {
    wire::say(stream, Said::Done(done)).await?;
    stream.shutdown().await?;
    // Wait for the asker's end: dropping the stream at once may overtake the answer.
    let _ = stream.read(&mut [0; 1]).await;
    Ok(())
}

/// Has the asker send as much as a dial may cost somebody else.
async fn fill(stream: &mut NetStream, addr: u32) -> io::Result<()> {
    let mut random = [0; 4];
    crypto::random(&mut random).map_err(io::Error::other)?;
    let span = FILLING.end().saturating_sub(*FILLING.start());
    let more = u64::from(u32::from_le_bytes(random)).checked_rem(span);
    let mut left = FILLING.start().saturating_add(more.unwrap_or(0));
    wire::say(stream, Said::Fill(DataRequest { addr, bytes: left })).await?;
    while left > 0 {
        let Said::Filling(piece) = wire::hear(stream).await? else {
            return Err(io::Error::other("something else than filling came"));
        };
        if piece.data.is_empty() {
            return Err(io::Error::other("empty filling came"));
        }
        left = left.saturating_sub(u64::try_from(piece.data.len()).unwrap_or(u64::MAX));
    }
    Ok(())
}

async fn reached(service: &Service, addr: &Multiaddr, expected: libp2p::PeerId, nonce: Option<u64>) -> i32 {
    let mut probe = match service.prober.dial(addr).await {
        Ok(probe) => probe,
        Err(why) => {
            tracing::debug!(target: "hive_net::reach", %addr, %why, "not reached");
            return dial::DIAL_ERROR;
        }
    };
    let outcome = if probe.peer == expected {
        match nonce {
            Some(nonce) => match probe.dial_back(nonce).await {
                Ok(()) => dial::OK,
                Err(e) => {
                    tracing::debug!(target: "hive_net::reach", %addr, "the word was not taken: {e}");
                    dial::DIAL_BACK_ERROR
                }
            },
            None => dial::OK,
        }
    } else {
        dial::DIAL_ERROR
    };
    probe.close().await;
    outcome
}

/// The own protocol: helps an asker find a stranger, or is the stranger.
pub(super) async fn help(service: Arc<Service>, node: NodeId, mut stream: NetStream) -> io::Result<()> {
    let ask: ReachAsk = frame::read(&mut stream)
        .await
        .map_err(io::Error::other)?
        .ok_or(io::ErrorKind::UnexpectedEof)?;
    let from = stream.remote_ip();
    let said = match ask {
        ReachAsk::Another { addr, known } => another(&service, node, from, addr, known).await,
        ReachAsk::Dial { node: to, addr } => be_stranger(&service, node, from, to, &addr).await,
    };
    frame::write(&mut stream, &said).await.map_err(io::Error::other)?;
    stream.shutdown().await?;
    // Wait for the asker's end: dropping the stream at once may overtake the answer.
    let _ = stream.read(&mut [0; 1]).await;
    Ok(())
}

fn refused(detail: &str) -> ReachSaid {
    ReachSaid::Refused {
        detail: detail.to_owned(),
    }
}

/// Finds a stranger to the asker among the members this node is connected to.
async fn another(
    service: &Service,
    asker: NodeId,
    from: Option<IpAddr>,
    addr: String,
    known: Vec<NodeId>,
) -> ReachSaid {
    let now = Instant::now();
    let Some(from) = from else {
        return refused("asked through a relay");
    };
    if known.len() > MAX_KNOWN || addr.len() > MAX_ADDR {
        return refused("too many known nodes, or too long an address");
    }
    let Ok(parsed) = names::address(&addr) else {
        return refused("not an address");
    };
    if let Err(why) = askable(&parsed, from) {
        return refused(why);
    }
    if !service.budget.proven(asker, &parsed.to_string(), now) {
        return refused("this node has not reached that address itself lately");
    }
    if !service.budget.take(asker, now) {
        return refused("too many tests this minute");
    }
    let Some(net) = service.handle() else {
        return refused("the network is shut down");
    };
    let known: BTreeSet<_> = known.into_iter().collect();
    let mut strangers: Vec<_> = net
        .peers()
        .await
        .into_iter()
        .filter(|p| p.member && p.direct && p.node != asker && !known.contains(&p.node))
        .filter_map(|p| {
            let ip = p.addr.parse().ok().as_ref().and_then(names::ip)?;
            // Behind the same router it would be let in by a short cut.
            (scope::of(ip) == Scope::Loopback || ip != from.to_canonical()).then_some(p.node)
        })
        .collect();
    // Not always the same ones: by how near their ids are to a random point.
    let mut point = [0; 32];
    if crypto::random(&mut point).is_ok() {
        strangers.sort_by_key(|node| {
            let bytes = node.as_bytes().iter().zip(point);
            bytes.map(|(a, b)| a ^ b).collect::<Vec<_>>()
        });
    }
    let mut last = refused("no other member is connected here");
    for stranger in strangers.into_iter().take(STRANGERS) {
        let asking = ask_stranger(&net, stranger, asker, addr.clone());
        match timeout(STRANGER, asking).await {
            Ok(Ok(ReachSaid::Reached { .. })) => return ReachSaid::Reached { by: stranger },
            Ok(Ok(ReachSaid::Failed { detail, .. })) => {
                return ReachSaid::Failed {
                    by: stranger,
                    detail: cut(detail),
                };
            }
            Ok(Ok(ReachSaid::Refused { detail })) => last = refused(&cut(detail)),
            Ok(Err(e)) => last = refused(&cut(e.to_string())),
            Err(_) => last = refused("the stranger did not answer in time"),
        }
    }
    last
}

async fn ask_stranger(
    net: &crate::NetHandle,
    stranger: NodeId,
    node: NodeId,
    addr: String,
) -> Result<ReachSaid, FrameError> {
    let opened = net.open(stranger, reach::PROTOCOL).await;
    let mut stream = opened.map_err(|e| FrameError::Closed(e.to_string()))?;
    frame::write(&mut stream, &ReachAsk::Dial { node, addr }).await?;
    let said = frame::read(&mut stream).await?.ok_or(FrameError::Eof)?;
    stream.shutdown().await?;
    Ok(said)
}

/// Dials a node nothing was sent to, because a member this node is connected to asks for it.
async fn be_stranger(
    service: &Service,
    helper: NodeId,
    from: Option<IpAddr>,
    node: NodeId,
    addr: &str,
) -> ReachSaid {
    let local = from.is_some_and(|ip| scope::of(ip) == Scope::Loopback);
    let (Ok(parsed), Ok(expected)) = (names::address(addr), names::peer_id(node)) else {
        return refused("not an address");
    };
    let Some(ip) = names::ip(&parsed).filter(|_| names::dialable(&parsed)) else {
        return refused("not a direct QUIC or TCP address");
    };
    if scope::of(ip) != Scope::Global && !(local && scope::of(ip) == Scope::Loopback) {
        return refused("not an address everybody could reach");
    }
    if !local && !service.prober.stranger_to(ip) {
        return refused("no stranger: it has sent something there lately");
    }
    if node == service.me || !service.budget.take(helper, Instant::now()) {
        return refused("too many tests this minute");
    }
    let by = service.me;
    match reached(service, &parsed, expected, None).await {
        dial::OK => ReachSaid::Reached { by },
        _ => ReachSaid::Failed {
            by,
            detail: format!("no connection within {} s", DIAL.as_secs()),
        },
    }
}

fn cut(mut text: String) -> String {
    let mut end = text.len().min(MAX_DETAIL);
    while !text.is_char_boundary(end) {
        end = end.saturating_sub(1);
    }
    text.truncate(end);
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn only_addresses_of_the_askers_reach_are_dialed_for_it() {
        let may = |addr: &str, from: &str| askable(&addr.parse().unwrap(), from.parse().unwrap()).is_ok();
        assert!(may("/ip4/203.0.113.5/udp/4001/quic-v1", "203.0.113.5"));
        assert!(may("/ip6/2001:db8::1/tcp/4001", "203.0.113.5"));
        assert!(may("/ip4/127.0.0.1/tcp/4001", "127.0.0.1"));
        assert!(may("/ip4/10.0.0.5/tcp/4001", "10.0.0.5"));
        for (addr, from) in [
            // The server's own insides, and its neighbours.
            ("/ip4/127.0.0.1/tcp/4001", "203.0.113.5"),
            ("/ip4/10.0.0.1/tcp/22", "203.0.113.5"),
            ("/ip4/10.0.0.1/tcp/22", "10.0.0.5"),
            ("/ip4/169.254.169.254/tcp/80", "203.0.113.5"),
            ("/ip4/203.0.113.5/tcp/4001", "10.0.0.5"),
            ("/ip4/0.0.0.0/tcp/4001", "127.0.0.1"),
            ("/ip4/203.0.113.5/tcp/0", "203.0.113.5"),
            ("/dns4/example.org/tcp/80", "203.0.113.5"),
            (
                "/ip4/203.0.113.5/tcp/1/p2p/12D3KooWQYhTNQdmr3ArTeUHRYzFg94BKyTkoWBDWez9kSCVe2Xo/p2p-circuit",
                "203.0.113.5",
            ),
        ] {
            assert!(!may(addr, from), "{addr} asked from {from}");
        }
    }

    #[test]
    fn long_text_is_cut_between_characters() {
        let long = "ü".repeat(MAX_DETAIL);
        assert!(cut(long).len() <= MAX_DETAIL);
        assert_eq!(cut("short".to_owned()), "short");
    }
}
