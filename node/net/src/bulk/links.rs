//! The bulk streams that are open, by node, so that they can be ended from outside.

use super::flow::{Flow, Seen, Side};
use futures::task::AtomicWaker;
use hive_protocol::ids::NodeId;
use std::{
    collections::{BTreeMap, BTreeSet},
    os::fd::OwnedFd,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::Waker,
    time::Instant,
};

/// What a stream and the table of streams share.
#[derive(Default)]
struct Life {
    ended: AtomicBool,
    reader: AtomicWaker,
    writer: AtomicWaker,
    /// A second handle to the socket of a direct stream: shutting it down tells the peer even while our user does not poll.
    socket: OnceLock<OwnedFd>,
    flow: Flow,
}

impl Life {
    fn end(&self) {
        self.ended.store(true, Ordering::Release);
        if let Some(socket) = self.socket.get() {
            // An error means that it is closed already.
            let _ = rustix::net::shutdown(socket, rustix::net::Shutdown::Both);
        }
        self.reader.wake();
        self.writer.wake();
    }
}

/// The way of a stream on a connection of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Way {
    /// Who is at the other end.
    pub node: NodeId,
    /// The relay between, if there is one.
    pub via: Option<NodeId>,
}

impl Way {
    /// Where the socket leads.
    pub(crate) fn hop(&self) -> NodeId {
        self.via.unwrap_or(self.node)
    }
}

struct Entry {
    node: NodeId,
    /// Of streams that are watched: one of the mesh ends with its connection, and what is relayed is its ends' matter.
    way: Option<Way>,
    life: Arc<Life>,
}

#[derive(Default)]
struct Table {
    next: u64,
    /// Bounded by the table's `most`.
    open: BTreeMap<u64, Entry>,
}

/// The table.
pub(crate) struct Links {
    table: Mutex<Table>,
    /// Streams in it at most.
    most: usize,
}

impl Links {
    /// For so many streams.
    pub(crate) fn new(most: usize) -> Self {
        Self {
            table: Mutex::default(),
            most,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a new stream in; none when there are too many.
    pub(crate) fn enter(self: &Arc<Self>, node: NodeId) -> Option<Link> {
        self.insert(node, None)
    }

    /// The same for a stream that is to be ended when its way carries nothing any more.
    pub(crate) fn watch(self: &Arc<Self>, node: NodeId, via: Option<NodeId>) -> Option<Link> {
        self.insert(node, Some(Way { node, via }))
    }

    fn insert(self: &Arc<Self>, node: NodeId, way: Option<Way>) -> Option<Link> {
        let mut table = self.lock();
        if table.open.len() >= self.most {
            return None;
        }
        let id = table.next;
        table.next = table.next.wrapping_add(1);
        let life = Arc::new(Life::default());
        let entry = Entry {
            node,
            way,
            life: Arc::clone(&life),
        };
        table.open.insert(id, entry);
        Some(Link {
            life,
            id,
            links: Arc::clone(self),
        })
    }

    /// The nodes that have streams open.
    pub(crate) fn nodes(&self) -> BTreeSet<NodeId> {
        self.lock().open.values().map(|entry| entry.node).collect()
    }

    /// Where the sockets of watched streams lead.
    pub(crate) fn hops(&self) -> BTreeSet<NodeId> {
        let table = self.lock();
        let ways = table.open.values().filter_map(|entry| entry.way);
        ways.map(|way| way.hop()).collect()
    }

    /// Puts the watched streams on such ways in doubt: a connection that went there was given up.
    pub(crate) fn doubt(&self, now: Instant, which: impl Fn(&Way) -> bool) {
        let table = self.lock();
        let of_it = |entry: &&Entry| entry.way.as_ref().is_some_and(&which);
        for entry in table.open.values().filter(of_it) {
            entry.life.flow.doubt(now);
        }
    }

    /// Takes the doubt back for the watched streams on such ways: a connection that has gone there since then has given a
    /// sign of life.
    pub(crate) fn trust(&self, since: Instant, which: impl Fn(&Way) -> bool) {
        let table = self.lock();
        let of_it = |entry: &&Entry| entry.way.as_ref().is_some_and(&which);
        for entry in table.open.values().filter(of_it) {
            entry.life.flow.trust(since);
        }
    }

    /// Ends the watched streams of which this says so, and says how many.
    pub(crate) fn judge(&self, now: Instant, mut over: impl FnMut(Way, Seen) -> bool) -> usize {
        self.end_where(|entry| {
            let ended = entry.life.ended.load(Ordering::Acquire);
            entry
                .way
                .is_some_and(|way| !ended && over(way, entry.life.flow.look(now)))
        })
    }

    /// Ends all streams of this node; says how many.
    pub(crate) fn end(&self, node: NodeId) -> usize {
        self.end_where(|entry| entry.node == node)
    }

    /// Ends all streams.
    pub(crate) fn end_all(&self) {
        self.end_where(|_| true);
    }

    fn end_where(&self, mut which: impl FnMut(&Entry) -> bool) -> usize {
        let lives: Vec<_> = {
            let table = self.lock();
            let chosen = table.open.values().filter(|entry| which(entry));
            chosen.map(|entry| Arc::clone(&entry.life)).collect()
        };
        for life in &lives {
            life.end();
        }
        lives.len()
    }
}

/// A stream's place in the table, given back when it is dropped.
pub(crate) struct Link {
    life: Arc<Life>,
    id: u64,
    links: Arc<Links>,
}

impl Link {
    /// Whether the stream was ended from outside.
    pub(crate) fn ended(&self) -> bool {
        self.life.ended.load(Ordering::Acquire)
    }

    /// Gives the socket to be shut down at the end.
    pub(crate) fn with_socket(&self, socket: OwnedFd) {
        // A link has one stream, and the stream one socket: nothing is set yet.
        let _ = self.life.socket.set(socket);
        if self.ended() {
            self.life.end();
        }
    }

    /// Something has moved on a half, or come to its end; `heard` when bytes have come in.
    pub(crate) fn moved(&self, side: Side, heard: bool) {
        self.life.flow.moved(side, heard);
    }

    /// A half waits.
    pub(crate) fn waits(&self, side: Side) {
        self.life.flow.waits(side);
    }

    /// Has the reading task woken at the end; says whether it has come already.
    pub(crate) fn reader_waits(&self, waker: &Waker) -> bool {
        self.life.reader.register(waker);
        self.ended()
    }

    /// Has the writing task woken at the end; says whether it has come already.
    pub(crate) fn writer_waits(&self, waker: &Waker) -> bool {
        self.life.writer.register(waker);
        self.ended()
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.links.lock().open.remove(&self.id);
    }
}
