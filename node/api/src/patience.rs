//! A stream that gives up on a peer that takes nothing.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, sleep},
};

/// Wraps a stream: a write that makes no progress for `limit` fails. Reads are bounded elsewhere: the head by the
/// server's timer, bodies by whoever reads them.
pub(crate) struct Patient<S> {
    stream: S,
    limit: Duration,
    /// Made at the first write that has to wait, and used again.
    timer: Option<Pin<Box<Sleep>>>,
    waiting: bool,
}

impl<S> Patient<S> {
    pub(crate) fn new(stream: S, limit: Duration) -> Self {
        Self {
            stream,
            limit,
            timer: None,
            waiting: false,
        }
    }

    /// Passes a write's outcome on, or the end of patience.
    fn judge<T>(&mut self, cx: &mut Context<'_>, poll: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if poll.is_ready() {
            self.waiting = false;
            return poll;
        }
        let end = Instant::now() + self.limit;
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep(self.limit)));
        if !self.waiting {
            timer.as_mut().reset(end);
            self.waiting = true;
        }
        match timer.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Patient<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, out)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Patient<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let poll = Pin::new(&mut this.stream).poll_write(cx, bytes);
        this.judge(cx, poll)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let poll = Pin::new(&mut this.stream).poll_write_vectored(cx, parts);
        this.judge(cx, poll)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let poll = Pin::new(&mut this.stream).poll_flush(cx);
        this.judge(cx, poll)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let poll = Pin::new(&mut this.stream).poll_shutdown(cx);
        this.judge(cx, poll)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    /// A writer with this patience and a reader of eight portions, one in a seventh of it: how the first half of what
    /// is written ended, how the second that nobody reads, and the longest pause the reader really made.
    async fn written(patience: Duration) -> (io::Result<()>, io::Result<()>, Duration) {
        let (near, mut far) = duplex(8);
        let mut near = Patient::new(near, patience);
        let writer = tokio::spawn(async move {
            let moved = near.write_all(&[1; 64]).await;
            (moved, near.write_all(&[2; 64]).await)
        });
        let (mut taken, mut longest, mut last) = ([0; 8], Duration::ZERO, Instant::now());
        for _ in 0..8 {
            tokio::time::sleep(patience / 7).await; // paced: longer in all than the patience, but it moves
            if far.read_exact(&mut taken).await.is_err() {
                break;
            }
            longest = longest.max(last.elapsed());
            last = Instant::now();
        }
        longest = longest.max(last.elapsed());
        let (moved, stopped) = writer.await.unwrap();
        (moved, stopped, longest)
    }

    #[tokio::test]
    async fn a_reader_that_stops_is_given_up_and_a_slow_one_is_not() {
        // Where the machine stood still for longer than the patience nothing is said; then it is tried with more.
        const TRIES: u32 = 6;
        for patience in (0..TRIES).map(|n| Duration::from_millis(700 << n)) {
            let (moved, stopped, longest) = written(patience).await;
            if longest < patience {
                moved.unwrap();
                assert_eq!(stopped.unwrap_err().kind(), io::ErrorKind::TimedOut);
                return;
            }
        }
        panic!("the reader was never quick enough");
    }
}
