//! The hash table: finding nodes and providers of blobs, and what others ask us to keep.

use super::{
    Node,
    behaviour::{MAX_PROVIDERS, MAX_SHARED, PROVIDER_TTL},
    records::Kept,
};
use crate::{counters::count, error::NetError, event::Transport, handle::Reply, names};
use hive_protocol::{
    ids::{BlobHash, NodeId},
    member::MAX_ADDRS,
    relay::rendezvous,
};
use libp2p::{
    Multiaddr, PeerId,
    kad::{
        AddProviderError, Event, GetClosestPeersError, GetClosestPeersOk, GetProvidersError, GetProvidersOk,
        InboundRequest, ProviderRecord, QueryId, QueryResult, RecordKey, store::RecordStore,
    },
};
use std::{collections::BTreeSet, time::Instant};

/// Queries of ours at a time.
const MAX_QUERIES: usize = 64;
/// Bytes of a provider's address; the longest there is, through a relay and with both names, has 105.
const MAX_ADDR: usize = 128;
/// Enough providers to stop looking for more.
const ENOUGH: usize = 3;

/// Who waits for a query.
pub(crate) enum Query {
    Find {
        node: NodeId,
        peer: PeerId,
        reply: Reply<Vec<String>>,
    },
    Provide {
        reply: Reply<()>,
    },
    Providers {
        found: BTreeSet<NodeId>,
        reply: Reply<Vec<NodeId>>,
    },
}

impl Query {
    /// Whether nobody waits for it any more.
    pub(crate) fn given_up(&self) -> bool {
        match self {
            Self::Find { reply, .. } => reply.is_closed(),
            Self::Provide { reply } => reply.is_closed(),
            Self::Providers { reply, .. } => reply.is_closed(),
        }
    }
}

impl Node {
    pub(super) fn find_node(&mut self, node: NodeId, reply: Reply<Vec<String>>) {
        let peer = match self.peer(node).and_then(|p| self.query_room().map(|()| p)) {
            Ok(peer) => peer,
            Err(e) => {
                let _ = reply.send(Err(e));
                return;
            }
        };
        let id = self.swarm.behaviour_mut().kad.inner().get_closest_peers(peer);
        self.queries.insert(id, Query::Find { node, peer, reply });
    }

    pub(super) fn provide(&mut self, hash: BlobHash, reply: Reply<()>) {
        // However many blobs a relay has: it must be found. Nothing else takes that key's place.
        let (wanted, relays) = (key(hash), key(rendezvous(self.network)));
        let store = self.swarm.behaviour_mut().kad.inner().store_mut();
        let again = store.provided().any(|r| r.key == wanted);
        let blobs = store.provided().filter(|r| r.key != relays).count();
        let started = if !again && wanted != relays && blobs >= MAX_SHARED {
            Err(NetError::Busy {
                what: "blobs announced",
                limit: MAX_SHARED,
            })
        } else {
            self.query_room().and_then(|()| {
                let kad = self.swarm.behaviour_mut().kad.inner();
                kad.start_providing(key(hash)).map_err(|e| NetError::Dht {
                    what: "announcing a blob",
                    detail: format!("{e:?}"),
                })
            })
        };
        match started {
            Ok(id) => {
                self.queries.insert(id, Query::Provide { reply });
            }
            Err(e) => {
                let _ = reply.send(Err(e));
            }
        }
    }

    pub(super) fn unprovide(&mut self, hash: BlobHash) {
        let kad = self.swarm.behaviour_mut().kad.inner();
        kad.stop_providing(&key(hash));
    }

    pub(super) fn providers(&mut self, hash: BlobHash, reply: Reply<Vec<NodeId>>) {
        if let Err(e) = self.query_room() {
            let _ = reply.send(Err(e));
            return;
        }
        let id = self.swarm.behaviour_mut().kad.inner().get_providers(key(hash));
        let found = BTreeSet::new();
        self.queries.insert(id, Query::Providers { found, reply });
    }

    fn query_room(&self) -> Result<(), NetError> {
        if self.queries.len() >= MAX_QUERIES {
            return Err(NetError::Busy {
                what: "hash table queries",
                limit: MAX_QUERIES,
            });
        }
        Ok(())
    }

    pub(super) fn on_kad(&mut self, event: Event) {
        match event {
            Event::OutboundQueryProgressed {
                result: QueryResult::Bootstrap(_),
                step,
                stats,
                ..
            } => {
                // The library calls it done as well when every dial has failed.
                let answered = stats.num_successes() > 0;
                self.refresh.progressed(Instant::now(), answered, step.last);
            }
            Event::RoutingUpdated {
                is_new_peer: true, ..
            } => self.refresh.entered(Instant::now()),
            Event::OutboundQueryProgressed { id, result, step, .. } => {
                self.on_progress(id, result, step.last)
            }
            Event::InboundRequest {
                request: InboundRequest::AddProvider { record: Some(record) },
            } => self.on_provider(record),
            _ => {}
        }
    }

    fn on_provider(&mut self, mut record: ProviderRecord) {
        record.addresses.retain(worth_keeping);
        record.addresses.truncate(MAX_ADDRS);
        let store = self.swarm.behaviour_mut().kad.inner().store_mut();
        let tally = &self.shared.tally;
        match self.records.take(store, record, Instant::now() + PROVIDER_TTL) {
            Kept::Stored => count(&tally.dht_records_stored),
            Kept::InPlaceOf(_) => {
                count(&tally.dht_records_stored);
                count(&tally.dht_records_displaced);
            }
            Kept::Refused => count(&tally.dht_records_refused),
        }
    }

    /// Forgets what others have not announced again in time.
    pub(super) fn sweep_records(&mut self, now: Instant) {
        let store = self.swarm.behaviour_mut().kad.inner().store_mut();
        let expired = self.records.sweep(store, now);
        if expired > 0 {
            tracing::debug!(expired, "records of the hash table forgotten");
        }
    }

    /// Once a second: refreshes the routing table when it is time to.
    pub(super) fn refresh_routes(&mut self, now: Instant) {
        if !self.refresh.due(now) {
            return;
        }
        match self.swarm.behaviour_mut().kad.inner().bootstrap() {
            Ok(_) => self.refresh.started(now),
            Err(_) => self.refresh.nobody(now),
        }
    }

    fn on_progress(&mut self, id: QueryId, result: QueryResult, last: bool) {
        let Some(query) = self.queries.remove(&id) else {
            return;
        };
        match (query, result) {
            (Query::Find { node, peer, reply }, QueryResult::GetClosestPeers(result)) => {
                let peers = match result {
                    Ok(GetClosestPeersOk { peers, .. })
                    | Err(GetClosestPeersError::Timeout { peers, .. }) => peers,
                };
                let mut addrs: Vec<_> = peers
                    .into_iter()
                    .filter(|p| p.peer_id == peer)
                    .flat_map(|p| p.addrs)
                    .filter(names::dialable)
                    .take(MAX_ADDRS)
                    .map(names::plain)
                    .collect();
                addrs.sort_by_key(|a| names::transport(a) != Some(Transport::Quic));
                self.book.learn(peer, addrs.iter().cloned());
                let _ = reply.send(if addrs.is_empty() {
                    Err(NetError::NoAddress { node })
                } else {
                    Ok(addrs.iter().map(ToString::to_string).collect())
                });
            }
            (Query::Provide { reply }, QueryResult::StartProviding(result)) => {
                let _ = reply.send(result.map(|_| ()).map_err(|AddProviderError::Timeout { .. }| {
                    NetError::Dht {
                        what: "announcing a blob",
                        detail: "no node took it in time".to_owned(),
                    }
                }));
            }
            (Query::Providers { mut found, reply }, QueryResult::GetProviders(result)) => {
                let timed_out = match result {
                    Ok(GetProvidersOk::FoundProviders { providers, .. }) => {
                        let nodes = providers.iter().filter_map(names::node_id);
                        found.extend(nodes.filter(|n| *n != self.me).take(MAX_PROVIDERS));
                        false
                    }
                    Ok(GetProvidersOk::FinishedWithNoAdditionalRecord { .. }) => false,
                    Err(GetProvidersError::Timeout { .. }) => true,
                };
                if !last && found.len() < ENOUGH {
                    self.queries.insert(id, Query::Providers { found, reply });
                    return;
                }
                if !last && let Some(mut running) = self.swarm.behaviour_mut().kad.inner().query_mut(&id) {
                    running.finish();
                }
                let _ = reply.send(if timed_out && found.is_empty() {
                    Err(NetError::Dht {
                        what: "looking for a blob",
                        detail: "the nodes asked did not answer in time".to_owned(),
                    })
                } else {
                    Ok(found.into_iter().take(MAX_PROVIDERS).collect())
                });
            }
            (query, _) => {
                self.queries.insert(id, query);
            }
        }
    }
}

fn key(hash: BlobHash) -> RecordKey {
    RecordKey::new(hash.as_bytes())
}

/// Whether an address of a provider is kept: what follows a relay's name may be anything, as long as a packet.
fn worth_keeping(addr: &Multiaddr) -> bool {
    addr.len() <= MAX_ADDR && names::dialable(addr)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn addresses_are_kept_that_lead_somewhere_and_are_no_longer_than_they_must_be() {
        let peer = names::peer_id(NodeId(
            hive_protocol::keys::SecretKey::from_seed(&[4; 32]).public(),
        ))
        .unwrap();
        let circuit = format!("/ip6/2001:db8::1/udp/65535/quic-v1/p2p/{peer}/p2p-circuit");
        let keeps = |text: String| worth_keeping(&text.parse().unwrap());
        assert!(keeps("/ip4/10.0.0.1/tcp/1".to_owned()));
        assert!(keeps(format!("{circuit}/p2p/{peer}")));
        assert!(!keeps("/ip4/0.0.0.0/tcp/1".to_owned()));
        let long = format!("{circuit}/dns/{}", "a".repeat(4000));
        assert!(names::dialable(&long.parse().unwrap()));
        assert!(!keeps(long));
    }
}
