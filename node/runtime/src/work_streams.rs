//! The work streams: one outbound and any inbound per peer, frames of `/hive/work/1`.
//!
//! A message for a peer without stream is dropped (the cores send again what matters); a stream whose queue
//! is full counts as lost, because a peer that does not read must not make this node remember without end.

use crate::inbox::Inbox;
use hive_net::{FrameReader, FrameSender, Inbound, NetHandle, NetStream};
use hive_protocol::{
    ids::NodeId,
    work::{MAX_BATCH, PROTOCOL, WorkFrame, WorkMsg},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};
use tokio::{sync::mpsc, task::AbortHandle};

/// Peers with a work stream, or one being opened. Beyond it new ones are refused.
pub const MAX_WORK_PEERS: usize = 1024;
/// Pause before a stream that could not be opened is tried again: a path that broke is replaced within seconds.
const AGAIN: Duration = Duration::from_secs(1);
/// Bytes of results and orders gathered in one frame before it is sent by itself, estimated.
const FRAME_BYTES: usize = 256 << 10;

/// All outbound work streams of this node.
pub struct WorkStreams {
    net: NetHandle,
    inbox: mpsc::Sender<Inbox>,
    open: BTreeMap<NodeId, FrameSender<WorkFrame>>,
    opening: BTreeSet<NodeId>,
    /// Messages gathered for each peer since the last flush.
    gathered: BTreeMap<NodeId, Vec<WorkMsg>>,
    /// Messages for a peer whose stream is being opened.
    early: BTreeMap<NodeId, Vec<WorkMsg>>,
    serial: u64,
    serials: BTreeMap<NodeId, u64>,
    /// Who says that a stream has ended; each holds its stream open.
    watchers: BTreeMap<NodeId, AbortHandle>,
}

impl WorkStreams {
    /// Starts serving inbound streams, too.
    pub fn new(net: NetHandle, inbound: Inbound, inbox: mpsc::Sender<Inbox>) -> Self {
        tokio::spawn(accept(inbound, inbox.clone()));
        Self {
            net,
            inbox,
            open: BTreeMap::new(),
            opening: BTreeSet::new(),
            gathered: BTreeMap::new(),
            early: BTreeMap::new(),
            serial: 0,
            serials: BTreeMap::new(),
            watchers: BTreeMap::new(),
        }
    }

    /// Opens a stream to a node unless there is one; answered by [`Inbox::WorkUp`] or [`Inbox::WorkDown`].
    pub fn connect(&mut self, node: NodeId, addrs: Vec<String>) {
        let room = self.open.len() + self.opening.len() < MAX_WORK_PEERS;
        if self.open.get(&node).is_some_and(|s| !s.is_closed()) || !room || !self.opening.insert(node) {
            return;
        }
        self.open_stream(node, addrs);
    }

    /// There is a better way to a node than the one its stream has taken: the stream is opened anew over that one. What
    /// is queued on the old one is written to its end; the leases' numbering puts both in order.
    pub fn move_over(&mut self, node: NodeId) {
        if self.open.get(&node).is_some_and(|s| !s.is_closed()) && self.opening.insert(node) {
            self.open_stream(node, Vec::new());
        }
    }

    fn open_stream(&self, node: NodeId, addrs: Vec<String>) {
        let (net, inbox) = (self.net.clone(), self.inbox.clone());
        tokio::spawn(async move {
            if !addrs.is_empty() {
                net.learn(node, addrs).await;
            }
            let mut opened = net.open(node, PROTOCOL).await;
            if opened.as_ref().is_err_and(|e| e.code() == "net.no_address") {
                // Nobody told us where it listens: the hash table may know.
                if let Ok(addrs) = net.find_node(node).await {
                    net.learn(node, addrs).await;
                    opened = net.open(node, PROTOCOL).await;
                }
            }
            let item = match opened {
                Ok(stream) => Inbox::WorkOpened(node, stream),
                Err(e) => {
                    tracing::debug!(target: "hive_runtime::work", ?node, code = e.code(), "no work stream: {e}");
                    Inbox::WorkDown(node, 0)
                }
            };
            let _ = inbox.send(item).await;
        });
    }

    /// Opens a stream to a node after [`AGAIN`], if it is still wanted then; [`Inbox::WorkAgain`] asks.
    pub fn again(&self, node: NodeId) {
        let inbox = self.inbox.clone();
        tokio::spawn(async move {
            tokio::time::sleep(AGAIN).await;
            let _ = inbox.send(Inbox::WorkAgain(node)).await;
        });
    }

    /// Takes a stream that has been opened. True when it is this node's stream to that peer now.
    pub fn opened(&mut self, stream: NetStream) -> bool {
        let node = stream.node();
        self.opening.remove(&node);
        let (_, writer) = stream.split();
        let (sender, _task) = FrameSender::spawn(writer);
        self.serial += 1;
        let serial = self.serial;
        let (watch, inbox) = (sender.clone(), self.inbox.clone());
        let watching = tokio::spawn(async move {
            watch.closed().await;
            let _ = inbox.send(Inbox::WorkDown(node, serial)).await;
        });
        if let Some(old) = self.watchers.insert(node, watching.abort_handle()) {
            old.abort();
        }
        self.serials.insert(node, serial);
        self.open.insert(node, sender);
        if let Some(early) = self.early.remove(&node) {
            self.gathered.entry(node).or_default().extend(early);
        }
        true
    }

    /// Hears that a stream ended (or could not be opened, serial 0). True when the peer is without stream now.
    pub fn down(&mut self, node: NodeId, serial: u64) -> bool {
        if serial == 0 {
            self.opening.remove(&node);
            self.early.remove(&node);
            return !self.open.contains_key(&node);
        }
        if self.serials.get(&node) != Some(&serial) {
            return false;
        }
        self.serials.remove(&node);
        self.watchers.remove(&node);
        self.gathered.remove(&node);
        self.open.remove(&node).is_some()
    }

    /// Gathers a message for a peer until [`WorkStreams::flush`].
    pub fn send(&mut self, node: NodeId, message: WorkMsg) {
        if self.open.contains_key(&node) {
            self.gathered.entry(node).or_default().push(message);
        } else if self.opening.contains(&node) {
            let early = self.early.entry(node).or_default();
            if early.len() < MAX_BATCH {
                early.push(message);
            }
        }
    }

    /// Sends what was gathered, many messages a frame. Returns peers whose stream was given up.
    pub fn flush(&mut self) -> Vec<NodeId> {
        let mut lost = Vec::new();
        for (node, messages) in std::mem::take(&mut self.gathered) {
            let Some(sender) = self.open.get(&node) else {
                continue;
            };
            if !send_all(sender, messages) {
                lost.push(node);
            }
        }
        for node in &lost {
            self.open.remove(node);
            self.serials.remove(node);
            if let Some(watcher) = self.watchers.remove(node) {
                watcher.abort();
            }
        }
        lost
    }
}

/// Cuts messages into frames and queues them; false when the stream cannot take them.
fn send_all(sender: &FrameSender<WorkFrame>, messages: Vec<WorkMsg>) -> bool {
    let mut frame = WorkFrame { messages: Vec::new() };
    let mut bytes = 0;
    let queue = |frame: &mut WorkFrame| {
        let ok = matches!(sender.try_send(frame), Ok(true));
        frame.messages.clear();
        ok
    };
    for message in messages {
        let size = estimate(&message);
        if !frame.messages.is_empty() && (frame.messages.len() >= MAX_BATCH || bytes + size > FRAME_BYTES) {
            bytes = 0;
            if !queue(&mut frame) {
                return false;
            }
        }
        bytes += size;
        frame.messages.push(message);
    }
    frame.messages.is_empty() || queue(&mut frame)
}

/// About how many bytes a message takes: only what can be large is looked at.
fn estimate(message: &WorkMsg) -> usize {
    use hive_protocol::{task::BlobRef, work::LeaseBody};
    let inline = |b: &BlobRef| 64 + b.inline.as_ref().map_or(0, Vec::len);
    match message {
        WorkMsg::Log { bytes, .. }
        | WorkMsg::Lease {
            body: LeaseBody::Log { bytes, .. },
            ..
        } => 64 + bytes.len(),
        WorkMsg::Lease {
            body: LeaseBody::Tasks(orders),
            ..
        } => orders
            .iter()
            .map(|o| {
                let text: usize = o.spec.args.iter().map(|a| a.len() + 8).sum();
                let env: usize = o.spec.env.iter().map(|(k, v)| k.len() + v.len() + 16).sum();
                64 + text + env + o.spec.blobs().map(inline).sum::<usize>()
            })
            .sum(),
        WorkMsg::Lease {
            body: LeaseBody::Results(results),
            ..
        } => results
            .iter()
            .map(|r| 2200 + r.blobs().map(|b| inline(b) + 100).sum::<usize>())
            .sum(),
        _ => 2048,
    }
}

async fn accept(mut inbound: Inbound, inbox: mpsc::Sender<Inbox>) {
    while let Some((node, stream)) = inbound.accept().await {
        tokio::spawn(read(node, stream, inbox.clone()));
    }
}

/// Reads one inbound stream; the inbox's bound is the back-pressure.
async fn read(node: NodeId, stream: NetStream, inbox: mpsc::Sender<Inbox>) {
    let (reader, _writer) = stream.split();
    let mut reader = FrameReader::<WorkFrame, _>::new(reader);
    if inbox.send(Inbox::WorkInbound(node)).await.is_err() {
        return;
    }
    loop {
        match reader.next().await {
            Ok(Some(frame)) if frame.messages.len() <= MAX_BATCH => {
                if inbox.send(Inbox::Work(node, frame.messages)).await.is_err() {
                    return;
                }
            }
            Ok(Some(_)) => {
                tracing::warn!(target: "hive_runtime::work", ?node, "frame with too many messages: stream closed");
                return;
            }
            Ok(None) => return,
            Err(e) => {
                tracing::debug!(target: "hive_runtime::work", ?node, "work stream broke: {e}");
                return;
            }
        }
    }
}
