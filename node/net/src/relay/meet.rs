//! Places where two nodes meet by TCP: bulk bytes between them, copied from socket to socket.

use super::{
    desk::Desk,
    splice,
    terms::{CircuitId, Refusal},
};
use crate::{bulk::answer::open_to, crypto};
use hive_protocol::{bulk::BulkReply, ids::NodeId};
use std::{net::IpAddr, sync::Arc};

impl Desk {
    /// Keeps a place for a node that asks from this address and one that is reachable through this relay; what comes of
    /// it counts as a circuit.
    pub(crate) fn meet(self: &Arc<Self>, from: NodeId, ip: IpAddr, to: NodeId) -> BulkReply {
        let may = self.book().asks(self.now(), from, ip);
        let there = self.whereabouts(to);
        let promised = may.and_then(|()| self.book().connect(self.now(), (from, ip), to, true));
        let id = match promised {
            Ok(id) => id,
            Err(Refusal::NoReservation | Refusal::Denied) => return BulkReply::NotServed,
            Err(_) => return BulkReply::Busy,
        };
        let reply = self.keep(id, (from, ip), (to, there));
        if !matches!(reply, BulkReply::Place { .. }) {
            self.ended(id);
        }
        reply
    }

    fn keep(
        self: &Arc<Self>,
        id: CircuitId,
        from: (NodeId, IpAddr),
        to: (NodeId, Option<IpAddr>),
    ) -> BulkReply {
        let bulk = &self.net.shared.bulk;
        let Some(there) = to.1 else {
            return BulkReply::Off;
        };
        let (ports, their_ports) = (open_to(bulk, from.1), open_to(bulk, there));
        if ports.is_empty() || their_ports.is_empty() {
            return BulkReply::Off;
        }
        let (mut key, mut their_key) = ([0; 32], [0; 32]);
        if crypto::random(&mut key).is_err() || crypto::random(&mut their_key).is_err() {
            return BulkReply::Busy;
        }
        let Some(place) = bulk.places.keep([(key, from.1), (their_key, there)]) else {
            return BulkReply::Busy;
        };
        let desk = Arc::clone(self);
        tokio::spawn(async move {
            if let Some((near, far)) = place.both().await {
                splice::carry(&desk, id, (from.0, near), (to.0, far)).await;
            } else {
                desk.book().counts_mut().unreachable += 1;
            }
            desk.ended(id);
        });
        BulkReply::Place {
            ports,
            key,
            their_ports,
            their_key,
        }
    }
}
