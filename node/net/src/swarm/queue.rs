//! Handshakes that others begin over QUIC: so many at a time, the rest waits before anything is made for it.
//!
//! libp2p's QUIC takes every handshake on before anybody can be asked about it (`doors.rs` is asked then), and keeps what
//! it has made for three seconds more after it was refused. This transport asks for the next one only while there is
//! room; what is left waits in the endpoint's own queue, which holds first packets and no more. That queue is served in
//! order: while others begin more than some 650 handshakes a second that come to nothing, whoever is new comes in over
//! TCP. Must not know who may come in.

use super::transport::Base;
use libp2p::{
    Multiaddr, PeerId,
    core::{
        muxing::StreamMuxerBox,
        transport::{DialOpts, ListenerId, Transport, TransportError, TransportEvent},
    },
};
use std::{
    collections::VecDeque,
    io,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};
use tokio::time::Sleep;

/// Handshakes under way, refused and failed ones included as long as they are kept: 100 MB.
const MOST: usize = 2048;
/// One that came to nothing is kept for so long: three of QUIC's time-outs, before a round trip has been measured.
const KEPT: Duration = Duration::from_millis(3100);

#[derive(Default)]
struct Counts {
    pending: usize,
    /// When what came to nothing will be gone, in order.
    ended: VecDeque<Instant>,
    waker: Option<Waker>,
    full: bool,
}

fn lock(counts: &Mutex<Counts>) -> MutexGuard<'_, Counts> {
    counts.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The place of one handshake.
struct Place {
    counts: Arc<Mutex<Counts>>,
    kept: Duration,
    stands: bool,
}

impl Place {
    /// The handshake has ended; one that stands leaves nothing behind.
    fn over(mut self, stands: bool) {
        self.stands = stands;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = lock(&self.counts);
        counts.pending = counts.pending.saturating_sub(1);
        if !self.stands {
            counts.ended.push_back(Instant::now() + self.kept);
        }
        if let Some(waker) = counts.waker.take() {
            waker.wake();
        }
    }
}

/// The transport. See the module's documentation.
pub(super) struct Queue<T> {
    inner: T,
    counts: Arc<Mutex<Counts>>,
    nap: Option<Pin<Box<Sleep>>>,
    most: usize,
    kept: Duration,
}

impl Queue<Base> {
    pub(super) fn new(inner: Base) -> Self {
        Self::with(inner, MOST, KEPT)
    }
}

impl<T> Queue<T> {
    fn with(inner: T, most: usize, kept: Duration) -> Self {
        Self {
            inner,
            counts: Arc::default(),
            nap: None,
            most,
            kept,
        }
    }

    /// Whether one more may begin; if not, the task is woken when that may have changed.
    fn room(&mut self, cx: &mut Context<'_>) -> bool {
        let now = Instant::now();
        let next = {
            let mut counts = lock(&self.counts);
            while counts.ended.front().is_some_and(|at| *at <= now) {
                counts.ended.pop_front();
            }
            let full = counts.pending.saturating_add(counts.ended.len()) >= self.most;
            if full && !counts.full {
                tracing::warn!(most = self.most, "very many QUIC handshakes: others wait");
            }
            counts.full = full;
            if !full {
                return true;
            }
            counts.waker = Some(cx.waker().clone());
            counts.ended.front().copied()
        };
        if let Some(at) = next {
            let mut nap = Box::pin(tokio::time::sleep_until(at.into()));
            if nap.as_mut().poll(cx).is_ready() {
                cx.waker().wake_by_ref();
            }
            self.nap = Some(nap);
        }
        false
    }
}

type Upgrade = Pin<Box<dyn Future<Output = io::Result<(PeerId, StreamMuxerBox)>> + Send>>;

impl<T> Transport for Queue<T>
where
    T: Transport<Output = (PeerId, StreamMuxerBox), Error = io::Error> + Unpin,
    T::ListenerUpgrade: Send + 'static,
{
    type Output = T::Output;
    type Error = io::Error;
    type ListenerUpgrade = Upgrade;
    type Dial = T::Dial;

    fn listen_on(&mut self, id: ListenerId, addr: Multiaddr) -> Result<(), TransportError<io::Error>> {
        self.inner.listen_on(id, addr)
    }

    fn remove_listener(&mut self, id: ListenerId) -> bool {
        self.inner.remove_listener(id)
    }

    fn dial(&mut self, addr: Multiaddr, opts: DialOpts) -> Result<Self::Dial, TransportError<io::Error>> {
        self.inner.dial(addr, opts)
    }

    fn poll(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<TransportEvent<Self::ListenerUpgrade, io::Error>> {
        let this = self.get_mut();
        if !this.room(cx) {
            return Poll::Pending;
        }
        let (counts, kept) = (&this.counts, this.kept);
        Pin::new(&mut this.inner).poll(cx).map(|event| {
            event.map_upgrade(|upgrade| -> Upgrade {
                lock(counts).pending += 1;
                let place = Place {
                    counts: Arc::clone(counts),
                    kept,
                    stands: false,
                };
                Box::pin(async move {
                    let done = upgrade.await;
                    place.over(done.is_ok());
                    done
                })
            })
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use futures::future::{Pending, poll_fn};

    /// A handshake whenever one is asked for; none of them ends.
    struct Flood(usize);

    impl Transport for Flood {
        type Output = (PeerId, StreamMuxerBox);
        type Error = io::Error;
        type ListenerUpgrade = Pending<io::Result<Self::Output>>;
        type Dial = Pending<io::Result<Self::Output>>;

        fn listen_on(&mut self, _: ListenerId, _: Multiaddr) -> Result<(), TransportError<io::Error>> {
            Ok(())
        }

        fn remove_listener(&mut self, _: ListenerId) -> bool {
            false
        }

        fn dial(&mut self, addr: Multiaddr, _: DialOpts) -> Result<Self::Dial, TransportError<io::Error>> {
            Err(TransportError::MultiaddrNotSupported(addr))
        }

        fn poll(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<TransportEvent<Self::ListenerUpgrade, io::Error>> {
            self.0 += 1;
            Poll::Ready(TransportEvent::Incoming {
                listener_id: ListenerId::next(),
                upgrade: futures::future::pending(),
                local_addr: Multiaddr::empty(),
                send_back_addr: Multiaddr::empty(),
            })
        }
    }

    async fn next(queue: &mut Queue<Flood>) -> Upgrade {
        let event = poll_fn(|cx| Pin::new(&mut *queue).poll(cx)).await;
        event.into_incoming().unwrap().0
    }

    #[tokio::test]
    async fn so_many_handshakes_are_taken_on_and_one_more_when_one_is_gone() {
        let kept = Duration::from_millis(50);
        let mut queue = Queue::with(Flood(0), 3, kept);
        let mut held = Vec::new();
        for _ in 0..3 {
            held.push(next(&mut queue).await);
        }
        for began in 0..3 {
            let full = poll_fn(|cx| Poll::Ready(Pin::new(&mut queue).poll(cx).is_pending())).await;
            assert!(
                full && queue.inner.0 == 3 + began,
                "the others were not asked for"
            );
            // Refused: it is kept for a while.
            let refused = Instant::now();
            drop(held.remove(0));
            held.push(next(&mut queue).await);
            assert!(refused.elapsed() >= kept);
        }
        assert_eq!(lock(&queue.counts).pending, 3);
        // One that stands is counted elsewhere from then on.
        let place = Place {
            counts: Arc::clone(&queue.counts),
            kept,
            stands: false,
        };
        place.over(true);
        assert!(lock(&queue.counts).ended.is_empty());
        drop(next(&mut queue).await);
    }
}
