//! The relay as its owner holds it, and what its tasks share.

use super::{
    book::Book,
    limits::{CircuitView, RelayCounts, RelayDay, RelayLimits, RelayLoad, RelayPeer},
    serve,
    splice::Pipes,
    terms::CircuitId,
    wire::HOP,
};
use crate::{error::NetError, handle::NetHandle, registry::ProtocolPolicy, stream::Alive};
use hive_protocol::ids::NodeId;
use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// Streams one node may have open with the relay, circuits and requests: as many as a connection carries. The book
/// holds it to the limits.
const MAX_STREAMS_PER_PEER: usize = 256;
/// Requests of one node that may be under way at a time.
const MAX_ASKING_PER_PEER: usize = 8;
/// How often reservations whose node has gone are looked for.
pub(super) const SWEEP: Duration = Duration::from_secs(5);

/// What the tasks of a relay share.
pub(crate) struct Desk {
    pub(super) net: NetHandle,
    book: Mutex<Book>,
    start: Instant,
    /// The connections reservations were made on: a reservation ends with its connection. Bounded by the book's
    /// reservations.
    alive: Mutex<BTreeMap<NodeId, Alive>>,
    /// Requests under way, by node; bounded by those under way in all.
    asking: Mutex<BTreeMap<NodeId, usize>>,
    /// Ends the service.
    pub(super) stopped: CancellationToken,
    /// Ends all circuits there are.
    cut: Mutex<CancellationToken>,
    /// Told at the end of each circuit.
    ended: Notify,
    pub(super) pipes: Pipes,
}

fn lock<T>(what: &Mutex<T>) -> MutexGuard<'_, T> {
    // All that is locked here is changed by short infallible steps.
    what.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What the machine's clock says; days begin and reservations end by it.
pub(super) fn since_1970() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

impl Desk {
    pub(super) fn book(&self) -> MutexGuard<'_, Book> {
        lock(&self.book)
    }

    pub(super) fn now(&self) -> Duration {
        self.start.elapsed()
    }

    /// What ends the circuits there are.
    pub(super) fn cutter(&self) -> CancellationToken {
        lock(&self.cut).clone()
    }

    /// A circuit has ended.
    pub(super) fn ended(&self, id: CircuitId) {
        self.book().end(id);
        self.ended.notify_waiters();
    }

    /// Notes the connection a reservation is bound to.
    pub(super) fn bind(&self, node: NodeId, connection: Alive) {
        lock(&self.alive).insert(node, connection);
    }

    /// Whether the connection a node has reserved on is still there; if not, the reservation ends.
    pub(super) fn present(&self, node: NodeId) -> bool {
        let there = lock(&self.alive).get(&node).is_some_and(Alive::get);
        if !there {
            self.book().gone(&node);
        }
        there
    }

    /// Where the connection a node has reserved on goes to; none when it has gone.
    pub(super) fn whereabouts(&self, node: NodeId) -> Option<IpAddr> {
        if !self.present(node) {
            return None;
        }
        lock(&self.alive).get(&node).and_then(Alive::remote)
    }

    /// The nodes that are reachable through this relay.
    pub(crate) fn reserved(&self) -> Vec<NodeId> {
        self.book().reservations.keys().copied().collect()
    }

    /// Forgets reservations that have run out or whose connection is gone.
    pub(super) fn sweep(&self) {
        let mut book = self.book();
        book.clock(self.now(), since_1970());
        book.tidy(self.now());
        let mut alive = lock(&self.alive);
        alive.retain(|node, connection| {
            if !connection.get() {
                book.gone(node);
            }
            connection.get() && book.reservations.contains_key(node)
        });
    }

    /// A place for one more request of this node; none when it has too many under way.
    pub(super) fn asking(self: &Arc<Self>, node: NodeId) -> Option<Asking> {
        let mut asking = lock(&self.asking);
        let count = asking.entry(node).or_default();
        if *count >= MAX_ASKING_PER_PEER {
            return None;
        }
        *count += 1;
        drop(asking);
        Some(Asking(Arc::clone(self), node))
    }
}

/// A request under way, until it is dropped.
pub(super) struct Asking(Arc<Desk>, NodeId);

impl Drop for Asking {
    fn drop(&mut self) {
        let mut asking = lock(&self.0.asking);
        if let Some(count) = asking.get_mut(&self.1) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                asking.remove(&self.1);
            }
        }
    }
}

/// A relay that serves. Dropping it lets it serve on; the service ends with [`Relay::stop`] or with the network.
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

    /// The limits now.
    #[must_use]
    pub fn limits(&self) -> RelayLimits {
        *self.0.book().limits()
    }

    /// Other limits from now on. Rates and bytes hold for running circuits, too; what is there beyond a lower number
    /// of reservations or circuits runs out by itself.
    pub fn set_limits(&self, limits: RelayLimits) {
        self.0.book().set_limits(limits);
    }

    /// What it has relayed today; to be kept over a restart.
    #[must_use]
    pub fn day(&self) -> RelayDay {
        self.0.book().day(self.0.now())
    }

    /// Counts what this node has relayed earlier the same day, before a restart; one that is over counts no more.
    pub fn take_up(&self, earlier: &RelayDay) {
        self.0.book().take_up(self.0.now(), earlier);
    }

    /// How much it has to do and to give.
    #[must_use]
    pub fn load(&self) -> RelayLoad {
        self.0.book().load(self.0.now())
    }

    /// The nodes with a reservation, a circuit or bytes today, at most 4096; the busiest first.
    #[must_use]
    pub fn peers(&self) -> Vec<RelayPeer> {
        self.0.book().peers(self.0.now())
    }

    /// The circuits there are.
    #[must_use]
    pub fn circuits(&self) -> Vec<CircuitView> {
        self.0.book().circuits(self.0.now())
    }

    /// Takes no reservation and no circuit any more; those that are go on.
    pub fn drain(&self) {
        self.0.book().drain(true);
    }

    /// Takes new ones again.
    pub fn resume(&self) {
        self.0.book().drain(false);
    }

    /// Drains, waits until the last circuit has ended, but not longer than this, and ends what is left; returns how
    /// many circuits that were.
    pub async fn drained(&self, longest: Duration) -> usize {
        self.drain();
        let emptied = async {
            loop {
                // First the wish to be told, then the look: an end between the two is not missed.
                let told = self.0.ended.notified();
                tokio::pin!(told);
                told.as_mut().enable();
                if self.counts().circuits == 0 {
                    return;
                }
                told.await;
            }
        };
        let _ = tokio::time::timeout(longest, emptied).await;
        self.cut()
    }

    /// Ends the service and all circuits; [`NetHandle::serve_relay`] may be called again.
    pub fn stop(&self) {
        self.drain();
        self.0.stopped.cancel();
        self.cut();
    }

    fn cut(&self) -> usize {
        let cut = self.0.book().cut_all();
        std::mem::take(&mut *lock(&self.0.cut)).cancel();
        cut
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
                max_inbound_per_peer: MAX_STREAMS_PER_PEER,
                ..ProtocolPolicy::default()
            },
        )?;
        let mut book = Book::new(limits);
        book.clock(Duration::ZERO, since_1970());
        let desk = Arc::new(Desk {
            net: self.clone(),
            book: Mutex::new(book),
            start: Instant::now(),
            alive: Mutex::default(),
            asking: Mutex::default(),
            stopped: CancellationToken::new(),
            cut: Mutex::default(),
            ended: Notify::new(),
            pipes: Pipes::default(),
        });
        self.shared.bulk.relays(&desk);
        tokio::spawn(serve::serve(Arc::clone(&desk), inbound));
        Ok(Relay(desk))
    }
}
