//! The bulk streams that are open, by node, so that they can be ended from outside.

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
};

/// What a stream and the table of streams share.
#[derive(Default)]
struct Life {
    ended: AtomicBool,
    reader: AtomicWaker,
    writer: AtomicWaker,
    /// A second handle to the socket of a direct stream: shutting it down tells the peer even while our user does not poll.
    socket: OnceLock<OwnedFd>,
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

#[derive(Default)]
struct Table {
    next: u64,
    /// Bounded by the table's `most`.
    open: BTreeMap<u64, (NodeId, Arc<Life>)>,
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
        let mut table = self.lock();
        if table.open.len() >= self.most {
            return None;
        }
        let id = table.next;
        table.next = table.next.wrapping_add(1);
        let life = Arc::new(Life::default());
        table.open.insert(id, (node, Arc::clone(&life)));
        Some(Link {
            life,
            id,
            links: Arc::clone(self),
        })
    }

    /// The nodes that have streams open.
    pub(crate) fn nodes(&self) -> BTreeSet<NodeId> {
        self.lock().open.values().map(|(node, _)| *node).collect()
    }

    /// Ends all streams of this node; says how many.
    pub(crate) fn end(&self, node: NodeId) -> usize {
        self.end_where(|n| *n == node)
    }

    /// Ends all streams.
    pub(crate) fn end_all(&self) {
        self.end_where(|_| true);
    }

    fn end_where(&self, which: impl Fn(&NodeId) -> bool) -> usize {
        let lives: Vec<_> = {
            let table = self.lock();
            let chosen = table.open.values().filter(|(node, _)| which(node));
            chosen.map(|(_, life)| Arc::clone(life)).collect()
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
