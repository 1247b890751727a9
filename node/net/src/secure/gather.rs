//! Gathers what the multiplexer writes: a header, a body, a flush for each frame. Left alone, each would be a record and
//! a system call of its own.
//!
//! A flush is put off until the multiplexer turns to reading (which it does as soon as it has nothing more to write, in
//! the same turn) or asks again without having written: a frame on its own still leaves at once, and of many that
//! are ready as many leave together as fit.

use futures::{AsyncRead, AsyncWrite};
use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

/// Bytes gathered: four TLS records.
const MOST: usize = 64 << 10;
/// A buffer of at most this size is given back when it is empty.
const SMALL: usize = 4 << 10;

/// A connection with what has been written to it and has not left.
pub(crate) struct Gather<C> {
    io: C,
    buffer: Vec<u8>,
    /// Bytes of the buffer that have left.
    sent: usize,
    /// Whether something was written since the last flush was asked for.
    fresh: bool,
    /// Whether a flush was asked for and has not been done.
    wanted: bool,
}

impl<C: AsyncWrite + Unpin> Gather<C> {
    pub(super) const fn new(io: C) -> Self {
        Self {
            io,
            buffer: Vec::new(),
            sent: 0,
            fresh: false,
            wanted: false,
        }
    }

    /// Hands on what was gathered.
    fn drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(rest) = self.buffer.get(self.sent..).filter(|rest| !rest.is_empty()) {
            let taken = ready!(Pin::new(&mut self.io).poll_write(cx, rest))?;
            if taken == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.sent = self.sent.saturating_add(taken);
        }
        self.sent = 0;
        if self.buffer.len() <= SMALL {
            self.buffer = Vec::new();
        } else {
            self.buffer.clear();
        }
        Poll::Ready(Ok(()))
    }

    fn flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.drain(cx))?;
        ready!(Pin::new(&mut self.io).poll_flush(cx))?;
        self.wanted = false;
        Poll::Ready(Ok(()))
    }
}

impl<C: AsyncRead + AsyncWrite + Unpin> AsyncRead for Gather<C> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut [u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        // Not done is not wrong: the socket wakes this task when it takes more, and reading goes on meanwhile.
        if this.wanted
            && let Poll::Ready(Err(e)) = this.flush(cx)
        {
            return Poll::Ready(Err(e));
        }
        Pin::new(&mut this.io).poll_read(cx, out)
    }
}

impl<C: AsyncWrite + Unpin> AsyncWrite for Gather<C> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.buffer.len().saturating_add(buf.len()) > MOST {
            ready!(this.drain(cx))?;
            if buf.len() >= MOST {
                return Pin::new(&mut this.io).poll_write(cx, buf);
            }
        }
        this.buffer.extend_from_slice(buf);
        this.fresh = true;
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.wanted = true;
        if std::mem::take(&mut this.fresh) {
            return Poll::Ready(Ok(()));
        }
        this.flush(cx)
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.drain(cx))?;
        Pin::new(&mut this.io).poll_close(cx)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use futures::{AsyncWriteExt, task::noop_waker};

    /// Notes the size of each write and takes at most so much at a time.
    struct Sink {
        most: usize,
        writes: Vec<usize>,
        bytes: Vec<u8>,
        flushed: usize,
    }

    impl AsyncWrite for Sink {
        fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
            let taken = buf.len().min(self.most);
            self.writes.push(taken);
            self.bytes.extend_from_slice(&buf[..taken]);
            Poll::Ready(Ok(taken))
        }

        fn poll_flush(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            self.flushed = self.bytes.len();
            Poll::Ready(Ok(()))
        }

        fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    impl AsyncRead for Sink {
        fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, _: &mut [u8]) -> Poll<io::Result<usize>> {
            Poll::Pending
        }
    }

    fn sink(most: usize) -> Gather<Sink> {
        Gather::new(Sink {
            most,
            writes: Vec::new(),
            bytes: Vec::new(),
            flushed: 0,
        })
    }

    #[tokio::test]
    async fn frames_leave_together_and_before_anything_is_waited_for() {
        let mut gather = sink(usize::MAX);
        for _ in 0..3 {
            gather.write_all(&[1; 12]).await.unwrap();
            gather.write_all(&[2; 16_384]).await.unwrap();
            AsyncWriteExt::flush(&mut gather).await.unwrap();
        }
        assert_eq!(gather.io.writes.len(), 0, "nothing has left yet");
        let waker = noop_waker();
        let mut cx = Context::from_waker(&waker);
        assert!(Pin::new(&mut gather).poll_read(&mut cx, &mut [0; 8]).is_pending());
        assert_eq!(gather.io.writes, [3 * 16_396]);
        assert_eq!(gather.io.flushed, 3 * 16_396);
        // A second flush in a row is one that is meant.
        gather.write_all(&[3; 100]).await.unwrap();
        AsyncWriteExt::flush(&mut gather).await.unwrap();
        AsyncWriteExt::flush(&mut gather).await.unwrap();
        assert_eq!(gather.io.flushed, 3 * 16_396 + 100);
        assert_eq!(gather.buffer.capacity(), 0, "at rest nothing is held");
    }

    #[tokio::test]
    async fn more_than_fits_goes_on_and_closing_loses_nothing() {
        let mut gather = sink(10_000);
        let sent: Vec<u8> = (0..500_000u32).map(|n| (n ^ (n >> 7)) as u8).collect();
        for piece in sent.chunks(7_001) {
            gather.write_all(piece).await.unwrap();
        }
        gather.write_all(&sent).await.unwrap();
        gather.close().await.unwrap();
        assert!(gather.io.bytes == [sent.clone(), sent].concat());
    }
}
