//! The streams to providers: opened when first asked for, shared by all transfers, closed when idle.

use crate::{
    buffers::Buffers,
    limits::Limits,
    pull::{
        answer::{Ask, AskError},
        lane::{self, LaneParts, MAX_WAITING},
    },
    request::Hint,
};
use hive_net::{BulkPath, NetError, NetHandle};
use hive_protocol::{file, ids::NodeId};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex as StdMutex, PoisonError},
};
use tokio::sync::{Mutex, mpsc};

/// Providers with streams at once over all transfers; each has at most two streams.
pub const MAX_LINKS: usize = 256;
/// Addresses of one provider that are passed on to the network.
const MAX_ADDRS: usize = 16;

/// How a lane's bytes travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LanePath {
    /// A connection of its own.
    Direct,
    /// A stream of the mesh, straight to the peer.
    Mesh,
    /// A stream of the mesh, through a third node.
    Relayed,
}

impl LanePath {
    /// As shown to people.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Mesh => "mesh",
            Self::Relayed => "relayed",
        }
    }
}

/// A stream that can be asked on.
#[derive(Clone)]
pub struct Lane {
    asks: mpsc::Sender<Ask>,
    /// How it goes.
    pub path: LanePath,
}

impl Lane {
    /// Asks. An ask that cannot be taken is answered with an error at once.
    pub fn ask(&self, ask: Ask) {
        match self.asks.try_send(ask) {
            Ok(()) => {}
            Err(mpsc::error::TrySendError::Full(ask)) => ask.fail(&AskError::Busy(100)),
            Err(mpsc::error::TrySendError::Closed(ask)) => {
                ask.fail(&AskError::Broken("the stream was closed".to_owned()));
            }
        }
    }

    fn usable(&self) -> bool {
        !self.asks.is_closed()
    }
}

/// The streams to one node: one for bytes, one of the mesh for questions that may take their time.
#[derive(Default)]
struct Link {
    bulk: Mutex<Option<Lane>>,
    words: Mutex<Option<Lane>>,
}

/// All links. Clones share them.
#[derive(Clone)]
pub struct Links {
    net: NetHandle,
    buffers: Buffers,
    limits: Limits,
    table: Arc<StdMutex<BTreeMap<NodeId, Arc<Link>>>>,
}

fn refused(e: &NetError) -> AskError {
    AskError::Broken(format!("{}: {e}", e.code()))
}

impl Links {
    /// No links yet.
    pub fn new(net: NetHandle, buffers: Buffers, limits: Limits) -> Self {
        Self {
            net,
            buffers,
            limits,
            table: Arc::default(),
        }
    }

    /// This node.
    pub const fn me(&self) -> NodeId {
        self.net.me()
    }

    fn link(&self, node: NodeId) -> Result<Arc<Link>, AskError> {
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        if table.len() >= MAX_LINKS && !table.contains_key(&node) {
            table.retain(|_, link| Arc::strong_count(link) > 1 || in_use(link));
            if table.len() >= MAX_LINKS {
                return Err(AskError::Busy(1000));
            }
        }
        Ok(Arc::clone(table.entry(node).or_default()))
    }

    /// Tells the network where a provider may listen.
    pub async fn learn(&self, hint: &Hint) {
        if !hint.addrs.is_empty() {
            let addrs = hint.addrs.iter().take(MAX_ADDRS).cloned().collect();
            self.net.learn(hint.node, addrs).await;
        }
    }

    /// Asks the hash table where a node is whose address nobody told, such as another fetcher.
    async fn find(&self, node: NodeId) -> bool {
        match self.net.find_node(node).await {
            Ok(addrs) => {
                let addrs = addrs.into_iter().take(MAX_ADDRS).collect();
                self.net.learn(node, addrs).await;
                true
            }
            Err(_) => false,
        }
    }

    /// The stream for bytes; opened if there is none, which the network bounds to some seconds.
    pub async fn bulk(&self, node: NodeId) -> Result<Lane, AskError> {
        let link = self.link(node)?;
        let mut place = link.bulk.lock().await;
        if let Some(lane) = place.as_ref().filter(|l| l.usable()) {
            return Ok(lane.clone());
        }
        let mut opened = self.net.open_bulk(node, file::PROTOCOL).await;
        if matches!(opened, Err(NetError::NoAddress { .. })) && self.find(node).await {
            opened = self.net.open_bulk(node, file::PROTOCOL).await;
        }
        let stream = opened.map_err(|e| refused(&e))?;
        let path = match stream.path() {
            BulkPath::Direct => LanePath::Direct,
            BulkPath::Mesh { relayed: false } => LanePath::Mesh,
            BulkPath::Relayed { .. } | BulkPath::Mesh { relayed: true } => LanePath::Relayed,
        };
        let (asks, waiting) = mpsc::channel(MAX_WAITING);
        let (reader, writer) = stream.split();
        tokio::spawn(lane::run(self.parts(node), reader, writer, waiting));
        let lane = Lane { asks, path };
        *place = Some(lane.clone());
        Ok(lane)
    }

    /// The stream for questions that may be answered late.
    pub async fn words(&self, node: NodeId) -> Result<Lane, AskError> {
        let link = self.link(node)?;
        let mut place = link.words.lock().await;
        if let Some(lane) = place.as_ref().filter(|l| l.usable()) {
            return Ok(lane.clone());
        }
        let stream = self
            .net
            .open(node, file::PROTOCOL)
            .await
            .map_err(|e| refused(&e))?;
        let (asks, waiting) = mpsc::channel(MAX_WAITING);
        let (reader, writer) = stream.split();
        tokio::spawn(lane::run(self.parts(node), reader, writer, waiting));
        let lane = Lane {
            asks,
            path: LanePath::Mesh,
        };
        *place = Some(lane.clone());
        Ok(lane)
    }

    fn parts(&self, node: NodeId) -> LaneParts {
        LaneParts {
            node,
            buffers: self.buffers.clone(),
            limits: self.limits.clone(),
        }
    }
}

fn in_use(link: &Link) -> bool {
    // A lock that is held is a stream being opened.
    let open = |lane: &Mutex<Option<Lane>>| {
        lane.try_lock()
            .map_or(true, |l| l.as_ref().is_some_and(Lane::usable))
    };
    open(&link.bulk) || open(&link.words)
}
