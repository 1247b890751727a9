//! The relay server: reservations and circuits over raw streams, compatible on the wire with any libp2p client.
//!
//! The stock server counts both directions together, looks after it has passed bytes on, and knows neither rates nor
//! days; that is why this one exists.

use super::{
    copy,
    desk::{Desk, SWEEP, since_1970},
    terms::{CircuitId, Refusal},
    wire::{self, HopMessage, Limit, Peer, Reservation, STOP, Status, StopMessage, hop, stop},
};
use crate::{
    names,
    reach::{Scope, scope_of},
    registry::Inbound,
    stream::NetStream,
};
use hive_protocol::ids::NodeId;
use libp2p::{Multiaddr, PeerId, multiaddr::Protocol};
use std::{io, net::IpAddr, sync::Arc, time::Duration};
use tokio::{
    sync::Semaphore,
    time::{MissedTickBehavior, interval, timeout},
};

/// Requests being read or answered at once; circuits being carried do not count.
const MAX_ASKING: usize = 256;
/// A request comes within this time.
const ASKED: Duration = Duration::from_secs(5);
/// A destination answers within this time.
const PATIENCE: Duration = Duration::from_secs(10);
/// Addresses named in a reservation.
const MAX_OWN_ADDRS: usize = 4;

/// Answers until the service ends.
pub(super) async fn serve(desk: Arc<Desk>, mut inbound: Inbound) {
    let places = Arc::new(Semaphore::new(MAX_ASKING));
    let mut sweep = interval(SWEEP);
    sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let (node, stream) = tokio::select! {
            next = inbound.accept() => match next {
                Some(next) => next,
                None => return,
            },
            () = desk.stopped.cancelled() => return,
            _ = sweep.tick() => {
                desk.sweep();
                continue;
            }
        };
        // A node that asks much at a time is turned away before it can take the places of others.
        let mine = desk.asking(node);
        let place = Arc::clone(&places).try_acquire_owned();
        let (Some(mine), Ok(place)) = (mine, place) else {
            let _ = desk.book().overrun();
            continue;
        };
        let desk = Arc::clone(&desk);
        tokio::spawn(async move {
            let asked = timeout(ASKED + PATIENCE * 2, ask(&desk, node, stream)).await;
            drop((mine, place));
            match asked {
                Ok(Ok(Some(circuit))) => {
                    copy::carry(&desk, circuit.id, circuit.opener, circuit.end).await;
                    desk.ended(circuit.id);
                }
                Ok(Ok(None)) => {}
                Ok(Err(e)) => {
                    desk.book().counts_mut().malformed += 1;
                    tracing::debug!(target: "hive_net::relay", ?node, "relay request: {e}");
                }
                Err(_) => {
                    desk.book().counts_mut().malformed += 1;
                    tracing::debug!(target: "hive_net::relay", ?node, "relay request: too slow");
                }
            }
        });
    }
}

struct Opened {
    id: CircuitId,
    opener: NetStream,
    end: NetStream,
}

/// A circuit that is promised in the book and not carried yet; forgotten when it comes to nothing.
struct Promise<'a>(&'a Desk, Option<CircuitId>);

impl Promise<'_> {
    fn keep(mut self) -> Option<CircuitId> {
        self.1.take()
    }
}

impl Drop for Promise<'_> {
    fn drop(&mut self) {
        if let Some(id) = self.1.take() {
            self.0.ended(id);
        }
    }
}

/// Takes one request; a circuit comes back open, at both ends.
async fn ask(desk: &Arc<Desk>, node: NodeId, mut stream: NetStream) -> io::Result<Option<Opened>> {
    let request: HopMessage = timeout(ASKED, wire::read(&mut stream))
        .await
        .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
    // A peer behind another relay has no address of its own: it could hide behind many.
    let Some(from) = stream.remote_ip() else {
        let why = desk.book().denied();
        return answer(&mut stream, status(why)).await.map(|()| None);
    };
    let may = desk.book().asks(desk.now(), node, from);
    match (may, request.kind) {
        (Err(_), hop::RESERVE) => answer(&mut stream, Status::ReservationRefused)
            .await
            .map(|()| None),
        (Err(why), _) => answer(&mut stream, status(why)).await.map(|()| None),
        (Ok(()), hop::RESERVE) => reserve(desk, node, from, stream).await.map(|()| None),
        (Ok(()), hop::CONNECT) => connect(desk, (node, from), stream, request.peer).await,
        _ => answer(&mut stream, Status::UnexpectedMessage)
            .await
            .map(|()| None),
    }
}

async fn reserve(desk: &Desk, node: NodeId, from: IpAddr, mut stream: NetStream) -> io::Result<()> {
    let given = desk.book().reserve(desk.now(), node, from);
    let life = match given {
        Ok(life) => life,
        Err(_) => return answer(&mut stream, Status::ReservationRefused).await,
    };
    desk.bind(node, stream.alive());
    let me = names::peer_id(desk.net.me()).map_err(io::Error::other)?;
    let addrs = own(desk, from)
        .into_iter()
        .map(|a| a.with(Protocol::P2p(me)).to_vec())
        .collect();
    let reply = HopMessage {
        kind: hop::STATUS,
        peer: None,
        reservation: Some(Reservation {
            expire: since_1970().saturating_add(life).as_secs(),
            addrs,
            voucher: None,
        }),
        limit: Some(limit(desk)),
        status: Some(Status::Ok as i32),
    };
    wire::write(&mut stream, &reply).await
}

/// The addresses others reach this relay by, for a node that asks from this one: what it publishes, see [`named`].
fn own(desk: &Desk, asker: IpAddr) -> Vec<Multiaddr> {
    let told = desk.net.told_addrs();
    let told = told.iter().filter_map(|a| a.parse::<Multiaddr>().ok());
    named(told.collect(), asker)
}

/// Which of a relay's addresses it names in a reservation. Whoever gets one tells others that it is reached there, so it
/// has to lead here from anywhere. An address of a household or of one machine does only where there is no better one,
/// and for those who are in that place themselves. With none of either the first is named all the same: clients take no
/// reservation without an address, and who is connected with this relay needs none.
fn named(mut all: Vec<Multiaddr>, asker: IpAddr) -> Vec<Multiaddr> {
    all.retain(|a| !names::is_circuit(a));
    let reach = |a: &Multiaddr| names::ip(a).map_or(Scope::Global, scope_of);
    let of = |scope: Scope| -> Vec<Multiaddr> {
        let of_it = all.iter().filter(|a| reach(a) == scope);
        of_it.take(MAX_OWN_ADDRS).cloned().collect()
    };
    let near = match scope_of(asker) {
        // What is on this machine is in its household, too.
        Scope::Loopback => [Scope::Private, Scope::Loopback],
        other => [other, other],
    };
    for scope in [Scope::Global].into_iter().chain(near) {
        let named = of(scope);
        if !named.is_empty() {
            return named;
        }
    }
    all.truncate(1);
    all
}

async fn connect(
    desk: &Desk,
    from: (NodeId, IpAddr),
    mut stream: NetStream,
    peer: Option<Peer>,
) -> io::Result<Option<Opened>> {
    let named = peer
        .and_then(|p| PeerId::from_bytes(&p.id).ok())
        .and_then(|id| names::node_id(&id));
    let Some(to) = named else {
        return answer(&mut stream, Status::MalformedMessage).await.map(|()| None);
    };
    // Asked for its effect: a node that has gone has no reservation.
    desk.present(to);
    let opened = desk.book().connect(desk.now(), from, to, false);
    let promise = match opened {
        Ok(id) => Promise(desk, Some(id)),
        Err(why) => return answer(&mut stream, status(why)).await.map(|()| None),
    };
    let reached = reach(desk, from.0, to).await;
    let end = match reached {
        Ok(end) => end,
        Err(e) => {
            tracing::debug!(target: "hive_net::relay", ?to, "cannot reach the end of a circuit: {e}");
            desk.book().counts_mut().unreachable += 1;
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
    wire::write(&mut stream, &reply).await?;
    Ok(promise.keep().map(|id| Opened {
        id,
        opener: stream,
        end,
    }))
}

/// Asks the destination whether it takes the circuit.
async fn reach(desk: &Desk, from: NodeId, to: NodeId) -> io::Result<NetStream> {
    let slow = |_| io::Error::from(io::ErrorKind::TimedOut);
    let opening = desk.net.open(to, STOP);
    let mut stream = timeout(PATIENCE, opening)
        .await
        .map_err(slow)?
        .map_err(io::Error::other)?;
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
        Refusal::Reservations => Status::ReservationRefused,
        Refusal::Draining | Refusal::Circuits | Refusal::Day | Refusal::Rate => Status::ResourceLimitExceeded,
        Refusal::NoReservation => Status::NoReservation,
        Refusal::Denied => Status::PermissionDenied,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn private_addresses_are_named_only_to_those_in_the_same_place() {
        const WORLD: &str = "/ip4/203.0.113.1/udp/4001/quic-v1";
        const HOME: &str = "/ip4/192.168.1.2/tcp/4001";
        const OFFICE: &str = "/ip4/10.2.0.2/udp/4001/quic-v1";
        const HERE: &str = "/ip4/127.0.0.1/tcp/4001";
        const CIRCUIT: &str =
            "/ip4/203.0.113.9/tcp/1/p2p/12D3KooWQYhTNQdmr3ArTeUHRYzFg94BKyTkoWBDWez9kSCVe2Xo/p2p-circuit";
        let given = |told: &[&str], asker: &str| -> Vec<String> {
            let told = told.iter().map(|a| a.parse().unwrap()).collect();
            let all = named(told, asker.parse().unwrap());
            all.iter().map(ToString::to_string).collect()
        };
        let (stranger, neighbour) = ("198.51.100.7", "192.168.1.77");
        // A public one is enough for everybody.
        for asker in [stranger, neighbour, "127.0.0.1"] {
            assert_eq!(given(&[HERE, OFFICE, WORLD, HOME], asker), [WORLD], "{asker}");
        }
        // Without one, those who are there themselves get the others.
        assert_eq!(given(&[HERE, HOME, OFFICE], neighbour), [HOME, OFFICE]);
        assert_eq!(given(&[HERE], "127.0.0.1"), [HERE]);
        assert_eq!(given(&[HERE, HOME], "::ffff:127.0.0.1"), [HOME]);
        // Never a way through another relay; never more than a few; and never nothing.
        assert_eq!(given(&[CIRCUIT, WORLD], stranger), [WORLD]);
        let many: Vec<String> = (1..9).map(|n| format!("/ip4/203.0.113.{n}/tcp/1")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert_eq!(given(&many, stranger).len(), MAX_OWN_ADDRS);
        assert_eq!(given(&[HOME, OFFICE], stranger), [HOME]);
        // A name leads wherever it leads.
        assert_eq!(
            given(&["/dns4/relay.example/tcp/4001", HOME], neighbour),
            ["/dns4/relay.example/tcp/4001"]
        );
    }
}
