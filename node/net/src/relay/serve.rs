//! The relay server: reservations and circuits over raw streams, compatible on the wire with any libp2p client.
//!
//! The stock server counts both directions together, looks after it has passed bytes on, and knows neither rates nor
//! days; that is why this one exists.

use super::{
    book::{Book, Refusal, RelayCounts, RelayLimits},
    copy,
    wire::{self, HOP, HopMessage, Limit, Peer, Reservation, STOP, Status, StopMessage, hop, stop},
};
use crate::{
    error::NetError,
    handle::NetHandle,
    names,
    registry::{Inbound, ProtocolPolicy},
    stream::NetStream,
};
use hive_protocol::ids::NodeId;
use libp2p::{Multiaddr, PeerId, multiaddr::Protocol};
use std::{
    io,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};
use tokio::{sync::Semaphore, time::timeout};

/// Requests being read or answered at once; circuits being carried do not count.
const MAX_ASKING: usize = 256;
/// A request, and a destination's answer, come within this time.
const PATIENCE: Duration = Duration::from_secs(10);
/// Addresses named in a reservation.
const MAX_OWN_ADDRS: usize = 8;

/// What the tasks of a relay share.
pub(super) struct Desk {
    net: NetHandle,
    book: Mutex<Book>,
    start: Instant,
    /// Whether any limit on bytes is set: then they are looked at in small pieces.
    pub(super) limited: bool,
}

impl Desk {
    pub(super) fn book(&self) -> MutexGuard<'_, Book> {
        // The book is changed by short infallible steps.
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn now(&self) -> Duration {
        self.start.elapsed()
    }

    /// Where a connected peer comes from; a peer behind another relay has no address of its own.
    async fn address(&self, node: NodeId) -> Option<IpAddr> {
        let peers = self.net.peers().await;
        let addr: Multiaddr = peers.iter().find(|p| p.node == node)?.addr.parse().ok()?;
        if addr.iter().any(|part| part == Protocol::P2pCircuit) {
            return None;
        }
        addr.iter().find_map(|part| match part {
            Protocol::Ip4(v4) => Some(IpAddr::V4(v4)),
            Protocol::Ip6(v6) => Some(IpAddr::V6(v6)),
            _ => None,
        })
    }
}

/// A relay that serves. Dropping it lets running circuits go on; the service ends with the network.
#[derive(Clone)]
pub struct Relay(Arc<Desk>);

impl std::fmt::Debug for Relay {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Relay({:?})", self.counts())
    }
}

impl Relay {
    /// The counters now.
    #[must_use]
    pub fn counts(&self) -> RelayCounts {
        self.0.book().counts()
    }

    /// Takes no reservation and no circuit any more; those that are go on.
    pub fn drain(&self) {
        self.0.book().drain();
    }
}

impl NetHandle {
    /// Begins to relay for members.
    ///
    /// # Errors
    /// `net.served_twice`, `net.busy`.
    pub fn serve_relay(&self, limits: RelayLimits) -> Result<Relay, NetError> {
        let inbound = self.serve(
            HOP,
            ProtocolPolicy {
                // Each circuit is a stream of its opener.
                max_inbound_per_peer: limits.circuits_per_peer.saturating_add(2),
                ..ProtocolPolicy::default()
            },
        )?;
        let caps = [
            limits.circuit_bytes,
            limits.circuit_rate,
            limits.total_rate,
            limits.peer_day,
            limits.total_day,
        ];
        let desk = Arc::new(Desk {
            net: self.clone(),
            book: Mutex::new(Book::new(limits)),
            start: Instant::now(),
            limited: caps.iter().any(|cap| *cap != 0),
        });
        tokio::spawn(serve(Arc::clone(&desk), inbound));
        Ok(Relay(desk))
    }
}

async fn serve(desk: Arc<Desk>, mut inbound: Inbound) {
    let places = Arc::new(Semaphore::new(MAX_ASKING));
    while let Some((node, stream)) = inbound.accept().await {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else {
            return;
        };
        let desk = Arc::clone(&desk);
        tokio::spawn(async move {
            let asked = timeout(PATIENCE.saturating_mul(2), ask(&desk, node, stream)).await;
            drop(place);
            match asked {
                Ok(Ok(Some(circuit))) => {
                    copy::carry(&desk, circuit.id, circuit.opener, circuit.end).await;
                    desk.book().end(circuit.id);
                }
                Ok(Ok(None)) => {}
                Ok(Err(e)) => tracing::debug!(target: "hive_net::relay", ?node, "relay request: {e}"),
                Err(_) => tracing::debug!(target: "hive_net::relay", ?node, "relay request: too slow"),
            }
        });
    }
}

struct Opened {
    id: super::book::CircuitId,
    opener: NetStream,
    end: NetStream,
}

/// Takes one request; a circuit comes back open, at both ends.
async fn ask(desk: &Arc<Desk>, node: NodeId, mut stream: NetStream) -> io::Result<Option<Opened>> {
    let request: HopMessage = timeout(PATIENCE, wire::read(&mut stream))
        .await
        .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
    match request.kind {
        hop::RESERVE => reserve(desk, node, stream).await.map(|()| None),
        hop::CONNECT => connect(desk, node, stream, request.peer).await,
        _ => answer(&mut stream, Status::UnexpectedMessage)
            .await
            .map(|()| None),
    }
}

async fn reserve(desk: &Desk, node: NodeId, mut stream: NetStream) -> io::Result<()> {
    let Some(from) = desk.address(node).await else {
        return answer(&mut stream, Status::PermissionDenied).await;
    };
    let given = desk.book().reserve(desk.now(), node, from);
    let life = match given {
        Ok(life) => life,
        Err(why) => return answer(&mut stream, status(why)).await,
    };
    let own = desk.net.listen_addrs();
    let me = names::peer_id(desk.net.me()).map_err(io::Error::other)?;
    let addrs = own
        .iter()
        .filter_map(|a| a.parse::<Multiaddr>().ok())
        .take(MAX_OWN_ADDRS)
        .map(|a| a.with(Protocol::P2p(me)).to_vec())
        .collect();
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let reply = HopMessage {
        kind: hop::STATUS,
        peer: None,
        reservation: Some(Reservation {
            expire: since_1970.saturating_add(life).as_secs(),
            addrs,
            voucher: None,
        }),
        limit: Some(limit(desk)),
        status: Some(Status::Ok as i32),
    };
    wire::write(&mut stream, &reply).await
}

async fn connect(
    desk: &Arc<Desk>,
    node: NodeId,
    mut stream: NetStream,
    peer: Option<Peer>,
) -> io::Result<Option<Opened>> {
    let named = peer
        .and_then(|p| PeerId::from_bytes(&p.id).ok())
        .and_then(|id| names::node_id(&id));
    let Some(to) = named else {
        return answer(&mut stream, Status::MalformedMessage).await.map(|()| None);
    };
    let opened = desk.book().connect(desk.now(), node, to);
    let id = match opened {
        Ok(id) => id,
        Err(why) => return answer(&mut stream, status(why)).await.map(|()| None),
    };
    let reached = reach(desk, node, to).await;
    let end = match reached {
        Ok(end) => end,
        Err(e) => {
            tracing::debug!(target: "hive_net::relay", ?to, "cannot reach the end of a circuit: {e}");
            desk.book().end(id);
            return answer(&mut stream, Status::ConnectionFailed).await.map(|()| None);
        }
    };
    let reply = HopMessage {
        kind: hop::STATUS,
        peer: None,
        reservation: None,
        limit: Some(limit(desk)),
        status: Some(Status::Ok as i32),
    };
    if let Err(e) = wire::write(&mut stream, &reply).await {
        desk.book().end(id);
        return Err(e);
    }
    Ok(Some(Opened {
        id,
        opener: stream,
        end,
    }))
}

/// Asks the destination whether it takes the circuit.
async fn reach(desk: &Desk, from: NodeId, to: NodeId) -> io::Result<NetStream> {
    let slow = |_| io::Error::from(io::ErrorKind::TimedOut);
    let opening = desk.net.open(to, STOP);
    let mut stream = timeout(PATIENCE, opening).await.map_err(slow)?.map_err(|e| {
        if matches!(e, NetError::NoAddress { .. } | NetError::Unreachable { .. }) {
            // It is gone, and so is what it had here.
            desk.book().gone(&to);
        }
        io::Error::other(e)
    })?;
    let id = names::peer_id(from).map_err(io::Error::other)?.to_bytes();
    let request = StopMessage {
        kind: stop::CONNECT,
        peer: Some(Peer {
            id,
            addrs: Vec::new(),
        }),
        limit: Some(limit(desk)),
        status: None,
    };
    wire::write(&mut stream, &request).await?;
    let reply: StopMessage = timeout(PATIENCE, wire::read(&mut stream)).await.map_err(slow)??;
    if reply.kind == stop::STATUS && reply.status == Some(Status::Ok as i32) {
        Ok(stream)
    } else {
        Err(io::Error::other(format!(
            "refused with status {:?}",
            reply.status
        )))
    }
}

async fn answer(stream: &mut NetStream, status: Status) -> io::Result<()> {
    let reply = HopMessage {
        kind: hop::STATUS,
        peer: None,
        reservation: None,
        limit: None,
        status: Some(status as i32),
    };
    wire::write(stream, &reply).await
}

fn limit(desk: &Desk) -> Limit {
    let book = desk.book();
    let limits = book.limits();
    Limit {
        duration: Some(u32::try_from(limits.circuit_life.as_secs()).unwrap_or(u32::MAX)),
        data: Some(limits.circuit_bytes),
    }
}

const fn status(why: Refusal) -> Status {
    match why {
        Refusal::Draining | Refusal::Reservations => Status::ReservationRefused,
        Refusal::Circuits | Refusal::Day => Status::ResourceLimitExceeded,
        Refusal::NoReservation => Status::NoReservation,
        Refusal::Loop => Status::PermissionDenied,
    }
}
