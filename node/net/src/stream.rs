//! A stream with a peer: bytes both ways, in order, with back-pressure.
//!
//! A stream that ends is a clean end of file on the other side even when the sender broke off (QUIC does not
//! always tell the two apart): every protocol must carry lengths or hashes.

use crate::registry::Quota;
use hive_protocol::ids::NodeId;
use std::{
    io,
    net::IpAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::compat::{Compat, FuturesAsyncReadCompatExt};

/// One bidirectional stream. Dropping it ends it; `shutdown` ends the writing side only.
pub struct NetStream {
    io: Compat<libp2p::Stream>,
    node: NodeId,
    protocol: &'static str,
    remote: Option<IpAddr>,
    _in_use: InUse,
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
            remote: in_use.remote,
            _in_use: in_use,
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
    pub(crate) const fn remote_ip(&self) -> Option<IpAddr> {
        self.remote
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

impl AsyncRead for NetStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_read(cx, buf)
    }
}

impl AsyncWrite for NetStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().io).poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_shutdown(cx)
    }
}

/// How many streams of ours are open on one connection, and where that goes to.
#[derive(Debug, Clone, Default)]
pub(crate) struct StreamCount {
    open: Arc<AtomicUsize>,
    remote: Option<IpAddr>,
}

impl StreamCount {
    /// The streams of a connection to this address, if it goes there directly.
    pub(crate) fn to(remote: Option<IpAddr>) -> Self {
        Self {
            open: Arc::default(),
            remote,
        }
    }

    /// Counts one more until the guard is dropped.
    pub(crate) fn enter(&self) -> InUse {
        self.open.fetch_add(1, Ordering::Relaxed);
        InUse {
            open: Arc::clone(&self.open),
            remote: self.remote,
        }
    }

    pub(crate) fn get(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }
}

/// Counts a stream as open while it lives.
#[derive(Debug)]
pub(crate) struct InUse {
    open: Arc<AtomicUsize>,
    remote: Option<IpAddr>,
}

impl Drop for InUse {
    fn drop(&mut self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
    }
}
