//! A stream with a peer: bytes both ways, in order, with back-pressure.
//!
//! A stream that breaks, with its connection or because the peer broke off, reads as an error and not as an end. There
//! is one exception: over QUIC a peer that drops a stream without ending it looks as if it had ended it (the library
//! says no more), so a protocol still carries lengths or hashes where that matters.

use crate::{
    cut::{Cut, Half},
    event::Transport,
    pulse::Pulse,
    registry::Quota,
};
use hive_protocol::ids::NodeId;
use std::{
    io,
    net::IpAddr,
    pin::Pin,
    sync::{
        Arc, Weak,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker},
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::compat::{Compat, FuturesAsyncReadCompatExt};

/// One bidirectional stream. Dropping it ends it; `shutdown` ends the writing side only.
pub struct NetStream {
    io: Compat<libp2p::Stream>,
    node: NodeId,
    protocol: &'static str,
    in_use: InUse,
    /// Whether our own writing side has been ended.
    ended: bool,
    /// Who waits to write: Yamux remembers only the last one that asked, which a look at its state must not be.
    writer: Option<Waker>,
    _quota: Option<Quota>,
}

/// The reading half of a stream.
pub type NetReader = tokio::io::ReadHalf<NetStream>;
/// The writing half of a stream.
pub type NetWriter = tokio::io::WriteHalf<NetStream>;

impl NetStream {
    pub(crate) fn new(
        io: libp2p::Stream,
        node: NodeId,
        protocol: &'static str,
        in_use: InUse,
        quota: Option<Quota>,
    ) -> Self {
        Self {
            io: io.compat(),
            node,
            protocol,
            in_use,
            ended: false,
            writer: None,
            _quota: quota,
        }
    }

    /// Who is at the other end, proven by the connection.
    #[must_use]
    pub const fn node(&self) -> NodeId {
        self.node
    }

    /// The protocol spoken.
    #[must_use]
    pub const fn protocol(&self) -> &'static str {
        self.protocol
    }

    /// Where the connection goes to that carries this stream; none unless it goes there directly.
    pub(crate) fn remote_ip(&self) -> Option<IpAddr> {
        self.in_use.0.remote
    }

    /// The relay that the connection goes through, if it does.
    pub(crate) fn via(&self) -> Option<NodeId> {
        self.in_use.0.via
    }

    /// Tells, later and without this stream, whether the connection that carries it is still there.
    pub(crate) fn alive(&self) -> Alive {
        Alive(Arc::downgrade(&self.in_use.0))
    }

    /// The two halves, to be used by two tasks.
    #[must_use]
    pub fn split(self) -> (NetReader, NetWriter) {
        tokio::io::split(self)
    }
}

impl std::fmt::Debug for NetStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "NetStream({} with {:?})", self.protocol, self.node)
    }
}

impl NetStream {
    /// Whether an end that was read is one the peer has said. Yamux shows a stream that was reset, and one whose
    /// connection is lost, as ended; what tells them apart is that nothing can be written to those any more. Once our
    /// own side has ended there is nothing to tell by.
    fn said(&mut self) -> io::Result<()> {
        if self.ended || !self.in_use.0.yamux {
            return Ok(());
        }
        let waker = self.writer.as_ref().unwrap_or_else(|| Waker::noop());
        match Pin::new(&mut self.io).poll_write(&mut Context::from_waker(waker), &[]) {
            Poll::Ready(Err(_)) => Err(io::Error::new(
                io::ErrorKind::ConnectionAborted,
                "the stream was broken off, or its connection is lost",
            )),
            _ => Ok(()),
        }
    }
}

impl NetStream {
    fn writing<T>(&mut self, cx: &Context<'_>, step: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        self.writer = step.is_pending().then(|| cx.waker().clone());
        self.in_use.step(Half::Writing, cx, step)
    }
}

impl AsyncRead for NetStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let (before, room) = (buf.filled().len(), buf.remaining());
        let step = Pin::new(&mut this.io).poll_read(cx, buf);
        match this.in_use.step(Half::Reading, cx, step) {
            Poll::Ready(Ok(())) if buf.filled().len() == before && room > 0 => Poll::Ready(this.said()),
            Poll::Ready(Ok(())) => {
                this.in_use.0.pulse.heard();
                Poll::Ready(Ok(()))
            }
            other => other,
        }
    }
}

impl AsyncWrite for NetStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let step = Pin::new(&mut this.io).poll_write(cx, buf);
        if step.is_ready() {
            this.in_use.0.pulse.sent();
        }
        this.writing(cx, step)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let step = Pin::new(&mut this.io).poll_flush(cx);
        this.writing(cx, step)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.ended = true;
        let step = Pin::new(&mut this.io).poll_shutdown(cx);
        this.writing(cx, step)
    }
}

/// The connection that carries streams, as they know it. The table keeps one and each stream another.
#[derive(Debug, Default)]
struct Carrier {
    open: AtomicUsize,
    remote: Option<IpAddr>,
    via: Option<NodeId>,
    yamux: bool,
    pulse: Pulse,
    cut: Cut,
}

/// How many streams of ours are open on one connection, and where that goes to.
#[derive(Debug, Clone, Default)]
pub(crate) struct StreamCount(Arc<Carrier>);

impl StreamCount {
    /// The streams of a connection to this address, if it goes there directly, or through this relay.
    pub(crate) fn to(remote: Option<IpAddr>, transport: Transport, via: Option<NodeId>) -> Self {
        Self(Arc::new(Carrier {
            open: AtomicUsize::new(0),
            remote,
            via,
            yamux: transport != Transport::Quic,
            pulse: Pulse::default(),
            cut: Cut::default(),
        }))
    }

    /// Counts one more until the guard is dropped.
    pub(crate) fn enter(&self) -> InUse {
        self.0.open.fetch_add(1, Ordering::Relaxed);
        let key = self.0.cut.key();
        InUse(Arc::clone(&self.0), key)
    }

    /// Breaks all its streams at once: it is given up for dead.
    pub(crate) fn cut(&self) {
        self.0.cut.cut();
    }

    /// The relay that the connection goes through, if it does.
    pub(crate) fn via(&self) -> Option<NodeId> {
        self.0.via
    }

    /// Whether the connection still carries anything.
    pub(crate) fn pulse(&self) -> &Pulse {
        &self.0.pulse
    }

    pub(crate) fn get(&self) -> usize {
        self.0.open.load(Ordering::Relaxed)
    }
}

/// Counts a stream as open while it lives.
#[derive(Debug)]
pub(crate) struct InUse(Arc<Carrier>, u64);

impl InUse {
    fn step<T>(&self, half: Half, cx: &Context<'_>, step: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        self.0.cut.step(self.1, half, cx, step)
    }

    /// Something has come in on the connection.
    pub(crate) fn heard(&self) {
        self.0.pulse.heard();
    }
}

impl Drop for InUse {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
        self.0.cut.forget(self.1);
    }
}

/// Whether a connection is still there: in the table, or with a stream that has not noticed its end yet.
#[derive(Debug, Clone)]
pub(crate) struct Alive(Weak<Carrier>);

impl Alive {
    pub(crate) fn get(&self) -> bool {
        self.0.strong_count() > 0
    }

    /// Where it goes to, if it is there and goes there directly.
    pub(crate) fn remote(&self) -> Option<IpAddr> {
        self.0.upgrade()?.remote
    }
}
