//! The protocols this node serves, and how much of each one peer may use.

use crate::{
    bulk::{BulkInbound, BulkStream},
    error::NetError,
    stream::NetStream,
};
use hive_protocol::{ids::NodeId, member};
use libp2p::StreamProtocol;
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError, RwLock},
};
use tokio::sync::mpsc;

/// Most protocols one node serves: there are six.
const MAX_PROTOCOLS: usize = 32;

/// How a protocol is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProtocolPolicy {
    /// Whether only peers that have passed the gate may open it.
    pub members_only: bool,
    /// Streams of it one peer may have open with us at a time; more are reset.
    pub max_inbound_per_peer: usize,
    /// Streams that may wait to be accepted; more are reset and counted.
    pub backlog: usize,
}

impl Default for ProtocolPolicy {
    fn default() -> Self {
        Self {
            members_only: true,
            max_inbound_per_peer: 16,
            backlog: 256,
        }
    }
}

/// Inbound streams of one protocol. Dropping it ends the service.
pub struct Inbound {
    receiver: mpsc::Receiver<(NodeId, NetStream)>,
    protocol: &'static str,
    registry: Arc<Registry>,
}

impl std::fmt::Debug for Inbound {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Inbound({})", self.protocol)
    }
}

impl Drop for Inbound {
    fn drop(&mut self) {
        self.registry.forget(self.protocol);
    }
}

impl Inbound {
    /// The next stream; `None` after shutdown. Cancel safe.
    pub async fn accept(&mut self) -> Option<(NodeId, NetStream)> {
        self.receiver.recv().await
    }
}

/// Why an inbound stream was not handed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turned {
    NotServed,
    OverQuota,
    BacklogFull,
}

/// Who takes the streams of a protocol.
#[derive(Clone)]
enum Taker {
    Streams(mpsc::Sender<(NodeId, NetStream)>),
    Bulk(mpsc::Sender<(NodeId, BulkStream)>),
}

struct Entry {
    policy: ProtocolPolicy,
    open: Arc<Mutex<BTreeMap<NodeId, usize>>>,
    taker: Taker,
}

impl Entry {
    fn quota(&self, node: NodeId) -> Result<Quota, Turned> {
        Quota::take(&self.open, node, self.policy.max_inbound_per_peer).ok_or(Turned::OverQuota)
    }
}

fn place<T>(sender: &mpsc::Sender<T>) -> Result<mpsc::Permit<'_, T>, Turned> {
    sender.try_reserve().map_err(|e| match e {
        mpsc::error::TrySendError::Full(()) => Turned::BacklogFull,
        mpsc::error::TrySendError::Closed(()) => Turned::NotServed,
    })
}

/// The names served, cheap to clone: every poll of every connection asks for them.
#[derive(Clone)]
pub(crate) struct Names {
    list: Arc<[StreamProtocol]>,
    next: usize,
}

impl Iterator for Names {
    type Item = StreamProtocol;
    fn next(&mut self) -> Option<StreamProtocol> {
        let name = self.list.get(self.next)?;
        self.next = self.next.saturating_add(1);
        Some(name.clone())
    }
}

struct Table {
    entries: BTreeMap<&'static str, Entry>,
    names: Arc<[StreamProtocol]>,
}

impl Table {
    fn rename(&mut self) {
        self.names = std::iter::once(member::PROTOCOL)
            .chain(self.entries.keys().copied())
            .map(StreamProtocol::new)
            .collect();
    }
}

/// What is served now; shared by the handle and all connections. The gate is always served, by the loop itself.
pub(crate) struct Registry {
    table: RwLock<Table>,
}

impl Default for Registry {
    fn default() -> Self {
        let mut table = Table {
            entries: BTreeMap::new(),
            names: Arc::new([]),
        };
        table.rename();
        Self {
            table: RwLock::new(table),
        }
    }
}

impl Registry {
    fn write(&self) -> std::sync::RwLockWriteGuard<'_, Table> {
        self.table.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, Table> {
        self.table.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins to serve a protocol.
    pub(crate) fn serve(
        self: &Arc<Self>,
        protocol: &'static str,
        policy: ProtocolPolicy,
    ) -> Result<Inbound, NetError> {
        let (sender, receiver) = mpsc::channel(policy.backlog.max(1));
        self.enter(protocol, policy, Taker::Streams(sender))?;
        Ok(Inbound {
            receiver,
            protocol,
            registry: Arc::clone(self),
        })
    }

    /// Begins to serve a protocol on bulk streams.
    pub(crate) fn serve_bulk(
        self: &Arc<Self>,
        protocol: &'static str,
        policy: ProtocolPolicy,
    ) -> Result<BulkInbound, NetError> {
        let (sender, receiver) = mpsc::channel(policy.backlog.max(1));
        self.enter(protocol, policy, Taker::Bulk(sender))?;
        Ok(BulkInbound::new(receiver, protocol, Arc::clone(self)))
    }

    fn enter(&self, protocol: &'static str, policy: ProtocolPolicy, taker: Taker) -> Result<(), NetError> {
        if !protocol.starts_with('/') {
            return Err(NetError::Setup {
                detail: format!("{protocol}: a protocol's name starts with /"),
            });
        }
        let mut table = self.write();
        if table.entries.contains_key(protocol) || protocol == member::PROTOCOL {
            return Err(NetError::ServedTwice { protocol });
        }
        if table.entries.len() >= MAX_PROTOCOLS {
            return Err(NetError::Busy {
                what: "protocols served",
                limit: MAX_PROTOCOLS,
            });
        }
        table.entries.insert(
            protocol,
            Entry {
                policy,
                open: Arc::default(),
                taker,
            },
        );
        table.rename();
        Ok(())
    }

    /// Ends a service.
    pub(crate) fn forget(&self, protocol: &'static str) {
        let mut table = self.write();
        table.entries.remove(protocol);
        table.rename();
    }

    /// Ends all services: their acceptors see the end.
    pub(crate) fn clear(&self) {
        let mut table = self.write();
        table.entries.clear();
        table.rename();
    }

    /// The names served, for negotiation.
    pub(crate) fn names(&self) -> Names {
        Names {
            list: Arc::clone(&self.read().names),
            next: 0,
        }
    }

    /// The name as it was registered.
    pub(crate) fn name(&self, protocol: &str) -> Option<&'static str> {
        if protocol == member::PROTOCOL {
            return Some(member::PROTOCOL);
        }
        self.read().entries.get_key_value(protocol).map(|(name, _)| *name)
    }

    /// Whether only members may open this protocol; unknown ones count as such.
    pub(crate) fn members_only(&self, protocol: &str) -> bool {
        self.read()
            .entries
            .get(protocol)
            .is_none_or(|entry| entry.policy.members_only)
    }

    /// Hands a stream to whoever serves its protocol. `make` builds it once the quota is taken; `bulk` makes a
    /// bulk stream of it where such are served.
    pub(crate) fn deliver(
        &self,
        protocol: &str,
        node: NodeId,
        make: impl FnOnce(Quota) -> NetStream,
        bulk: impl FnOnce(NetStream) -> Option<BulkStream>,
    ) -> Result<(), Turned> {
        let table = self.read();
        let entry = table.entries.get(protocol).ok_or(Turned::NotServed)?;
        match &entry.taker {
            Taker::Streams(sender) => {
                let place = place(sender)?;
                place.send((node, make(entry.quota(node)?)));
            }
            Taker::Bulk(sender) => {
                let place = place(sender)?;
                let stream = bulk(make(entry.quota(node)?)).ok_or(Turned::BacklogFull)?;
                place.send((node, stream));
            }
        }
        Ok(())
    }

    /// The name of a protocol served on bulk streams, as it was registered.
    pub(crate) fn bulk_name(&self, protocol: &str) -> Option<&'static str> {
        let table = self.read();
        let (name, entry) = table.entries.get_key_value(protocol)?;
        matches!(entry.taker, Taker::Bulk(_)).then_some(*name)
    }

    /// A place for one more direct stream with whoever serves this protocol.
    pub(crate) fn reserve(&self, protocol: &str, node: NodeId) -> Result<Place, Turned> {
        let table = self.read();
        let entry = table.entries.get(protocol).ok_or(Turned::NotServed)?;
        let Taker::Bulk(sender) = &entry.taker else {
            return Err(Turned::NotServed);
        };
        let place = sender.clone().try_reserve_owned().map_err(|e| match e {
            mpsc::error::TrySendError::Full(_) => Turned::BacklogFull,
            mpsc::error::TrySendError::Closed(_) => Turned::NotServed,
        })?;
        let quota = entry.quota(node)?;
        Ok(Place { place, quota, node })
    }
}

/// A place taken for a direct stream.
pub(crate) struct Place {
    place: mpsc::OwnedPermit<(NodeId, BulkStream)>,
    quota: Quota,
    node: NodeId,
}

impl Place {
    /// Hands the stream over.
    pub(crate) fn send(self, stream: BulkStream) {
        self.place.send((self.node, stream.counted(self.quota)));
    }
}

/// One inbound stream of a peer, counted while it lives.
#[derive(Debug)]
pub(crate) struct Quota {
    open: Arc<Mutex<BTreeMap<NodeId, usize>>>,
    node: NodeId,
}

impl Quota {
    fn take(open: &Arc<Mutex<BTreeMap<NodeId, usize>>>, node: NodeId, limit: usize) -> Option<Self> {
        let mut counts = open.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(node).or_insert(0);
        if *count >= limit {
            return None;
        }
        *count = count.saturating_add(1);
        Some(Self {
            open: Arc::clone(open),
            node,
        })
    }
}

impl Drop for Quota {
    fn drop(&mut self) {
        let mut counts = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.node) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                counts.remove(&self.node);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_quota_is_given_back() {
        let open = Arc::default();
        let node = NodeId([1; 32]);
        let first = Quota::take(&open, node, 1).unwrap();
        assert!(Quota::take(&open, node, 1).is_none());
        assert!(Quota::take(&open, NodeId([2; 32]), 1).is_some());
        drop(first);
        assert!(Quota::take(&open, node, 1).is_some());
        assert!(open.lock().unwrap().is_empty());
    }

    #[test]
    fn a_protocol_is_served_once_and_again_after_its_server_has_gone() {
        let registry = Arc::new(Registry::default());
        let names = |r: &Registry| r.names().map(|n| n.to_string()).collect::<Vec<_>>();
        let inbound = registry.serve("/a/1", ProtocolPolicy::default()).unwrap();
        let twice = registry.serve("/a/1", ProtocolPolicy::default());
        assert_eq!(twice.unwrap_err().code(), "net.served_twice");
        assert_eq!(names(&registry), [member::PROTOCOL, "/a/1"]);
        drop(inbound);
        assert_eq!(names(&registry), [member::PROTOCOL]);
        assert!(registry.serve("/a/1", ProtocolPolicy::default()).is_ok());
        assert!(registry.members_only("/unknown/1"));
    }
}
