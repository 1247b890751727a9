//! Streams to peers: opened when there is something to say, used by both sides for everything, closed when idle.

use crate::{
    feed::{Event, Feed, LinkId},
    reader::{self, Judge},
};
use hive_net::{FrameSender, NetHandle, NetStream};
use hive_protocol::{
    ids::NodeId,
    notice::{self, NoticeMsg},
};
use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};
use tokio::task::AbortHandle;

/// Streams open at once, of all peers.
const MAX_LINKS: usize = 2048;
/// Streams of one peer: two of its own, one of ours.
pub(crate) const MAX_INBOUND: usize = 2;
/// Words that may wait for a stream to be opened: as many as may be unanswered, and answers.
const MAX_PENDING: usize = 256;
/// A stream without a word for so long is closed.
const IDLE: Duration = Duration::from_secs(60);

struct Link {
    id: LinkId,
    sender: FrameSender<NoticeMsg>,
    reader: AbortHandle,
    used: Instant,
}

impl Drop for Link {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

pub(crate) struct Links {
    net: NetHandle,
    judge: Judge,
    feed: Feed,
    next: LinkId,
    /// The one used last comes last.
    open: BTreeMap<NodeId, Vec<Link>>,
    opening: BTreeMap<NodeId, Vec<NoticeMsg>>,
}

impl Links {
    pub(crate) fn new(net: NetHandle, judge: Judge, feed: Feed) -> Self {
        Self {
            net,
            judge,
            feed,
            next: 1,
            open: BTreeMap::new(),
            opening: BTreeMap::new(),
        }
    }

    /// Says something, on this stream if it is still there. False when it cannot be said.
    pub(crate) fn say(&mut self, to: NodeId, on: Option<LinkId>, msg: NoticeMsg) -> bool {
        if let Some(links) = self.open.get_mut(&to) {
            let place = on
                .and_then(|id| links.iter().position(|l| l.id == id))
                .or_else(|| links.len().checked_sub(1));
            if let Some(link) = place.and_then(|p| links.get_mut(p)) {
                link.used = Instant::now();
                let id = link.id;
                if matches!(link.sender.try_send(&msg), Ok(true)) {
                    return true;
                }
                // Full or broken: a peer that does not read is as good as gone.
                self.close(to, id);
                return false;
            }
        }
        if let Some(pending) = self.opening.get_mut(&to) {
            if pending.len() >= MAX_PENDING {
                return false;
            }
            pending.push(msg);
            return true;
        }
        if self.count() >= MAX_LINKS {
            return false;
        }
        self.opening.insert(to, vec![msg]);
        let (net, feed) = (self.net.clone(), self.feed.clone());
        tokio::spawn(async move {
            let opened = net.open(to, notice::PROTOCOL).await.map_err(|e| e.to_string());
            // When the loop has ended nobody needs the stream.
            let _ = feed.send(Event::Opened(to, opened)).await;
        });
        true
    }

    fn count(&self) -> usize {
        self.open.len() + self.opening.len()
    }

    /// A stream of ours is open, or not: false when what waited for it is lost.
    pub(crate) fn opened(&mut self, node: NodeId, opened: Result<NetStream, String>) -> bool {
        let pending = self.opening.remove(&node).unwrap_or_default();
        match opened {
            Ok(stream) => {
                let id = self.add(node, stream);
                pending.into_iter().all(|msg| self.say(node, Some(id), msg))
            }
            Err(why) => {
                tracing::debug!(target: "hive_push", ?node, why, "cannot be told of notices");
                pending.is_empty()
            }
        }
    }

    /// A peer has opened a stream.
    pub(crate) fn inbound(&mut self, node: NodeId, stream: NetStream) {
        if self.count() < MAX_LINKS || self.open.contains_key(&node) {
            self.add(node, stream);
        }
    }

    fn add(&mut self, node: NodeId, stream: NetStream) -> LinkId {
        let id = self.next;
        self.next = id.wrapping_add(1);
        let (reader, writer) = stream.split();
        let (sender, _task) = FrameSender::spawn(writer);
        let reading = reader::read(self.judge.clone(), node, id, reader, self.feed.clone());
        let links = self.open.entry(node).or_default();
        links.push(Link {
            id,
            sender,
            reader: tokio::spawn(reading).abort_handle(),
            used: Instant::now(),
        });
        if links.len() > MAX_INBOUND + 1 {
            links.remove(0);
        }
        id
    }

    /// Something came on a stream: it is the one to answer on.
    pub(crate) fn heard(&mut self, node: NodeId, id: LinkId) {
        let Some(links) = self.open.get_mut(&node) else {
            return;
        };
        if let Some(at) = links.iter().position(|l| l.id == id) {
            let mut link = links.remove(at);
            link.used = Instant::now();
            links.push(link);
        }
    }

    /// A stream is over; whether it was still in use here.
    pub(crate) fn close(&mut self, node: NodeId, id: LinkId) -> bool {
        let Some(links) = self.open.get_mut(&node) else {
            return false;
        };
        let before = links.len();
        links.retain(|l| l.id != id);
        let gone = links.len() < before;
        if links.is_empty() {
            self.open.remove(&node);
        }
        gone
    }

    /// Closes what has not been used for long.
    pub(crate) fn close_idle(&mut self) {
        self.open.retain(|_, links| {
            links.retain(|l| l.used.elapsed() < IDLE);
            !links.is_empty()
        });
    }

    /// Closes everything.
    pub(crate) fn close_all(&mut self) {
        self.open.clear();
        self.opening.clear();
    }
}
