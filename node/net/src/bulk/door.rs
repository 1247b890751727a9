//! Where bulk connections come in.
//!
//! A connection is taken only from an address that a token in force was given to, has five seconds to prove its
//! node key and to show the token, and counts as half open until then. Half-open ones are bounded; above the bound
//! the one that has been silent the longest makes room, so that a flood of silent ones keeps nobody out.

use super::{BulkStream, socket, tls};
use crate::{
    counters::count,
    frame::{self, FrameError},
    handle::Shared,
    registry::Turned,
};
use hive_protocol::{
    bulk::{BulkReply, BulkRequest, MEET},
    ids::NodeId,
};
use std::{
    collections::VecDeque,
    future::poll_fn,
    io,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::Poll,
    time::{Duration, Instant},
};
use tokio::{
    net::{TcpListener, TcpStream},
    task::{AbortHandle, JoinSet},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

/// From the first packet to the token.
const ENTER_TIMEOUT: Duration = Duration::from_secs(5);
/// Half-open connections in all: each may cost a handshake's work and some 50 KB.
const MAX_HALF_OPEN: usize = 64;
/// Half-open connections from one address: as many as tokens for one node.
const MAX_HALF_OPEN_PER_IP: usize = 32;
/// Pause after the system could not accept (no file descriptors left).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Why a connection was not let in.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refusal {
    #[error("too slow")]
    Slow,
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("{0}")]
    Frame(#[from] FrameError),
    #[error("no node key")]
    NoKey,
    #[error("{0:?}: no token, or not for this node, or used, or expired")]
    Token(NodeId),
    #[error("{0:?}: {1:?}")]
    Turned(NodeId, Turned),
}

/// A half-open connection.
struct Guest {
    ip: IpAddr,
    /// Whether it has sent anything.
    spoke: Arc<AtomicBool>,
    task: AbortHandle,
}

/// Takes connections until it is dropped.
pub(super) async fn keep(listeners: Vec<TcpListener>, acceptor: TlsAcceptor, shared: Arc<Shared>) {
    let mut tasks = JoinSet::new();
    let mut guests = VecDeque::with_capacity(MAX_HALF_OPEN);
    loop {
        let accepted = tokio::select! {
            accepted = next(&listeners) => accepted,
            Some(_) = tasks.join_next() => continue,
        };
        let (tcp, from) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "bulk connections cannot be accepted");
                // paced: trying at once would spin until somebody closes a file.
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let ip = from.ip().to_canonical();
        if !shared.bulk.desk.expects(ip, Instant::now()) && !shared.bulk.places.expects(ip) {
            count(&shared.tally.bulk_refused);
            tracing::debug!(%ip, "a bulk connection nobody is expected to make");
            continue;
        }
        if make_room(&mut guests, ip) {
            count(&shared.tally.bulk_refused);
        }
        let spoke = Arc::new(AtomicBool::new(false));
        let entering = enter(tcp, acceptor.clone(), Arc::clone(&shared), Arc::clone(&spoke));
        let task = tasks.spawn(entering);
        guests.push_back(Guest { ip, spoke, task });
    }
}

async fn next(listeners: &[TcpListener]) -> io::Result<(TcpStream, SocketAddr)> {
    poll_fn(|cx| {
        for listener in listeners {
            if let Poll::Ready(accepted) = listener.poll_accept(cx) {
                return Poll::Ready(accepted);
            }
        }
        Poll::Pending
    })
    .await
}

/// Makes room for one more from this address; says whether somebody had to go.
fn make_room(guests: &mut VecDeque<Guest>, ip: IpAddr) -> bool {
    guests.retain(|guest| !guest.task.is_finished());
    let same = guests.iter().filter(|guest| guest.ip == ip).count();
    let only_same = same >= MAX_HALF_OPEN_PER_IP;
    if !only_same && guests.len() < MAX_HALF_OPEN {
        return false;
    }
    let candidate = |guest: &Guest| !only_same || guest.ip == ip;
    let silent = guests
        .iter()
        .position(|g| candidate(g) && !g.spoke.load(Ordering::Relaxed));
    let gone = silent.or_else(|| guests.iter().position(candidate));
    if let Some(gone) = gone.and_then(|at| guests.remove(at)) {
        gone.task.abort();
    }
    true
}

async fn enter(tcp: TcpStream, acceptor: TlsAcceptor, shared: Arc<Shared>, spoke: Arc<AtomicBool>) {
    let entering = admit(tcp, acceptor, &shared, &spoke);
    let ended = tokio::time::timeout(ENTER_TIMEOUT, entering).await;
    if let Err(why) = ended.unwrap_or(Err(Refusal::Slow)) {
        count(&shared.tally.bulk_refused);
        tracing::debug!(%why, "a bulk connection was refused");
    }
}

async fn admit(
    tcp: TcpStream,
    acceptor: TlsAcceptor,
    shared: &Arc<Shared>,
    spoke: &AtomicBool,
) -> Result<(), Refusal> {
    let mut first = [0; 1];
    if tcp.peek(&mut first).await? == 0 {
        return Err(Refusal::Frame(FrameError::Eof));
    }
    spoke.store(true, Ordering::Relaxed);
    if first == MEET[..1] {
        return Ok(shared.bulk.places.sit(tcp).await?);
    }
    welcome(tcp, None, acceptor, shared).await
}

/// Lets a node in on this connection, which goes through a relay or does not: as the server, whoever has connected.
pub(super) async fn welcome(
    tcp: TcpStream,
    via: Option<NodeId>,
    acceptor: TlsAcceptor,
    shared: &Arc<Shared>,
) -> Result<(), Refusal> {
    let mut io = acceptor.accept(socket::prepare(tcp)?).await?;
    let node = tls::node_of(io.get_ref().1.peer_certificates()).ok_or(Refusal::NoKey)?;
    let request = frame::read(&mut io).await?.ok_or(FrameError::Eof)?;
    let BulkRequest::Enter { token } = request else {
        return Err(Refusal::Token(node));
    };
    let redeemed = shared.bulk.desk.redeem(&token, node, Instant::now());
    let protocol = redeemed.ok_or(Refusal::Token(node))?;
    let place = match shared.registry.reserve(protocol, node) {
        Ok(place) => place,
        Err(why) => return turn_away(&mut io, node, why).await,
    };
    let Some(link) = shared.bulk.links.watch(node, via) else {
        return turn_away(&mut io, node, Turned::BacklogFull).await;
    };
    frame::write(&mut io, &BulkReply::Welcome).await?;
    let stream = BulkStream::direct(io.into(), node, protocol, link, shared)?.through(via);
    count(match via {
        None => &shared.tally.bulk_accepted_direct,
        Some(_) => &shared.tally.bulk_accepted_relayed,
    });
    place.send(stream);
    Ok(())
}

async fn turn_away(io: &mut TlsStream<socket::Socket>, node: NodeId, why: Turned) -> Result<(), Refusal> {
    let reply = match why {
        Turned::NotServed => BulkReply::NotServed,
        Turned::OverQuota | Turned::BacklogFull => BulkReply::Busy,
    };
    frame::write(io, &reply).await?;
    Err(Refusal::Turned(node, why))
}
