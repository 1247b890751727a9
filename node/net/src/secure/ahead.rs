//! Reads ahead: from the socket in large pieces, whatever is asked for. A connection at rest holds no buffer.

use futures::{AsyncRead, AsyncWrite};
use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll},
};

/// First and smallest piece: most connections carry a few small frames now and then.
const SMALL: usize = 4 << 10;
/// Largest piece: several TLS records for one system call.
const LARGE: usize = 64 << 10;

/// A socket with what was read ahead of it.
pub(crate) struct Ahead<C> {
    io: C,
    buffer: Vec<u8>,
    /// The bytes read and not yet asked for.
    from: usize,
    to: usize,
    /// How large the next piece is.
    piece: usize,
}

impl<C> Ahead<C> {
    pub(super) const fn new(io: C) -> Self {
        Self {
            io,
            buffer: Vec::new(),
            from: 0,
            to: 0,
            piece: SMALL,
        }
    }

    fn io(self: Pin<&mut Self>) -> Pin<&mut C>
    where
        C: Unpin,
    {
        Pin::new(&mut self.get_mut().io)
    }
}

impl<C: AsyncRead + Unpin> AsyncRead for Ahead<C> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut [u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.from == this.to {
            if this.buffer.len() != this.piece {
                this.buffer = vec![0; this.piece];
            }
            let Poll::Ready(read) = Pin::new(&mut this.io).poll_read(cx, &mut this.buffer) else {
                if this.piece == SMALL {
                    this.buffer = Vec::new();
                }
                return Poll::Pending;
            };
            let read = read?;
            (this.from, this.to) = (0, read);
            if read == this.buffer.len() {
                this.piece = LARGE;
            } else if read < SMALL / 4 {
                this.piece = SMALL;
            }
        }
        let ready = this.buffer.get(this.from..this.to).unwrap_or_default();
        let taken = ready.len().min(out.len());
        if let (Some(out), Some(ready)) = (out.get_mut(..taken), ready.get(..taken)) {
            out.copy_from_slice(ready);
        }
        this.from = this.from.saturating_add(taken);
        Poll::Ready(Ok(taken))
    }
}

impl<C: AsyncWrite + Unpin> AsyncWrite for Ahead<C> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.io().poll_write(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.io().poll_write_vectored(cx, bufs)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.io().poll_flush(cx)
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.io().poll_close(cx)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use futures::{AsyncReadExt, io::Cursor};

    #[tokio::test]
    async fn every_byte_comes_in_order_whatever_is_asked_for() {
        let sent: Vec<u8> = (0..300_000u32).map(|n| (n ^ (n >> 8)) as u8).collect();
        for ask in [1, 5, 4096, 5000, 65_536, 200_000] {
            let mut ahead = Ahead::new(Cursor::new(sent.clone()));
            let (mut got, mut out) = (Vec::new(), vec![0; ask]);
            loop {
                let read = ahead.read(&mut out).await.unwrap();
                if read == 0 {
                    break;
                }
                got.extend_from_slice(&out[..read]);
            }
            assert!(got == sent, "in pieces of {ask}");
        }
    }

    #[test]
    fn at_rest_no_buffer_is_held() {
        struct Silent;
        impl AsyncRead for Silent {
            fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, _: &mut [u8]) -> Poll<io::Result<usize>> {
                Poll::Pending
            }
        }
        let mut ahead = Ahead::new(Silent);
        let mut cx = Context::from_waker(std::task::Waker::noop());
        assert!(Pin::new(&mut ahead).poll_read(&mut cx, &mut [0; 10]).is_pending());
        assert_eq!(ahead.buffer.capacity(), 0);
    }
}
