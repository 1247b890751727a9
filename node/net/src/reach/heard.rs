//! How much has come from whom through relays: a peer may have this node send three times as much to the addresses it
//! names before a punch (`swarm/purse.rs`). Counted below the encryption, from the first byte of its handshake.

use futures::{AsyncRead, AsyncWrite};
use libp2p::PeerId;
use std::{
    collections::BTreeMap,
    io::{IoSlice, Result},
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
};

/// Peers of whom more than their live connections is remembered.
const MAX_GONE: usize = 1024;

/// Bytes that came on one connection.
pub(crate) type Count = Arc<AtomicU64>;

#[derive(Debug, Default)]
struct FromPeer {
    /// On connections that have ended.
    ended: u64,
    live: Vec<Count>,
}

impl FromPeer {
    fn fold(&mut self) {
        let Self { ended, live } = self;
        live.retain(|count| {
            let is_live = Arc::strong_count(count) > 1;
            if !is_live {
                *ended = ended.saturating_add(count.load(Ordering::Relaxed));
            }
            is_live
        });
    }
}

/// Of each peer, the bytes that have come from it. As many peers as have connections, and some that had.
#[derive(Debug, Default)]
pub(crate) struct Heard(Mutex<BTreeMap<PeerId, FromPeer>>);

impl Heard {
    /// Whose connection it is that this counts.
    pub(crate) fn is_of(&self, peer: PeerId, count: Count) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= MAX_GONE && !all.contains_key(&peer) {
            all.retain(|_, from| {
                from.fold();
                !from.live.is_empty()
            });
        }
        let from = all.entry(peer).or_default();
        from.fold();
        from.live.push(count);
    }

    /// All that has come from a peer; less than before once it was forgotten.
    pub(crate) fn bytes(&self, peer: &PeerId) -> u64 {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(from) = all.get_mut(peer) else {
            return 0;
        };
        from.fold();
        let live = from.live.iter().map(|count| count.load(Ordering::Relaxed));
        live.fold(from.ended, u64::saturating_add)
    }
}

/// A connection whose incoming bytes are counted.
pub(crate) struct Counted<C> {
    inner: C,
    count: Count,
}

impl<C> Counted<C> {
    /// Counts from now on.
    pub(crate) fn new(inner: C) -> (Self, Count) {
        let count = Count::default();
        let counted = Self {
            inner,
            count: Arc::clone(&count),
        };
        (counted, count)
    }
}

impl<C: AsyncRead + Unpin> AsyncRead for Counted<C> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<Result<usize>> {
        let read = Pin::new(&mut self.inner).poll_read(cx, buf);
        if let Poll::Ready(Ok(n)) = read {
            self.count
                .fetch_add(u64::try_from(n).unwrap_or(u64::MAX), Ordering::Relaxed);
        }
        read
    }
}

impl<C: AsyncWrite + Unpin> AsyncWrite for Counted<C> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(cx, bufs)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.inner).poll_close(cx)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use futures::{AsyncReadExt, executor::block_on, io::Cursor};

    #[test]
    fn what_came_is_remembered_when_the_connection_has_ended() {
        let (heard, peer) = (Heard::default(), PeerId::random());
        assert_eq!(heard.bytes(&peer), 0);
        let read = |bytes: usize| {
            let (mut io, count) = Counted::new(Cursor::new(vec![7; bytes]));
            heard.is_of(peer, count);
            block_on(io.read_to_end(&mut Vec::new())).unwrap();
            io
        };
        let first = read(100);
        assert_eq!(heard.bytes(&peer), 100);
        let second = read(11);
        drop(first);
        assert_eq!(heard.bytes(&peer), 111);
        drop(second);
        assert_eq!(heard.bytes(&peer), 111);
        read(5);
        assert_eq!(heard.bytes(&peer), 116);
        assert_eq!(heard.bytes(&PeerId::random()), 0);
    }

    #[test]
    fn of_those_who_are_gone_a_bounded_number_is_remembered() {
        let heard = Heard::default();
        let (_io, count) = Counted::new(Cursor::new(Vec::<u8>::new()));
        count.store(9, Ordering::Relaxed);
        let live = PeerId::random();
        heard.is_of(live, count);
        for _ in 0..3 * MAX_GONE {
            heard.is_of(PeerId::random(), Count::default());
        }
        assert!(heard.0.lock().unwrap().len() <= MAX_GONE);
        assert_eq!(heard.bytes(&live), 9);
    }
}
