//! One bulk stream, whichever way it goes.

use super::{flow::Side, links::Link, socket::Socket};
use crate::{handle::Shared, registry::Quota, stream::NetStream};
use hive_protocol::ids::NodeId;
use std::{
    io::{self, IoSlice},
    os::fd::AsFd,
    pin::Pin,
    sync::{Arc, atomic::Ordering},
    task::{Context, Poll},
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::TlsStream;

/// Which way a bulk stream goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BulkPath {
    /// A TCP connection of its own, encrypted with TLS 1.3.
    Direct,
    /// The same, through a relay that passes its bytes on and cannot read them.
    Relayed {
        /// Which relay.
        relay: NodeId,
    },
    /// A stream of the mesh.
    Mesh {
        /// Whether the mesh connection goes through a relay.
        relayed: bool,
    },
}

/// Plain text taken in before the socket has to take the records: several go out with one system call. rustls keeps
/// each record in a piece of the heap of its own; where more than 128 KiB of those are freed at once, glibc gives
/// memory back to the system each time and the page faults cost four times as much as the encryption (measured).
const WRITE: usize = 64 << 10;

enum Io {
    Direct {
        // Boxed, both: the state of TLS is some kilobytes and streams are moved about.
        tls: Box<TlsStream<Socket>>,
        via: Option<NodeId>,
        quota: Option<Quota>,
        /// An error met behind bytes that had to be handed out first.
        broken: Option<io::Error>,
    },
    Mesh(Box<NetStream>),
}

impl Io {
    /// Reads until the buffer is full or nothing more is there: TLS alone gives one record, at most 16 KiB, a time.
    fn read(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let (tls, broken) = match self {
            Self::Direct { tls, broken, .. } => (tls, broken),
            Self::Mesh(stream) => return Pin::new(stream).poll_read(cx, buf),
        };
        if let Some(error) = broken.take() {
            return Poll::Ready(Err(error));
        }
        let first = buf.filled().len();
        loop {
            let before = buf.filled().len();
            match Pin::new(&mut *tls).poll_read(cx, buf) {
                Poll::Ready(Ok(())) if buf.filled().len() > before && buf.remaining() > 0 => {}
                Poll::Ready(Err(error)) if before > first => {
                    *broken = Some(error);
                    return Poll::Ready(Ok(()));
                }
                Poll::Pending if before > first => return Poll::Ready(Ok(())),
                other => return other,
            }
        }
    }
}

/// A stream for many bytes, both ways, in order, with back-pressure. Dropping it ends it; `shutdown` ends the
/// writing side only. It breaks with [`io::ErrorKind::ConnectionAborted`] when the peer is a member no longer, the
/// way it goes carries nothing any more, or this network shuts down. Write in pieces of 64 KiB or more where you can, read into buffers of that size, and
/// flush before you wait for an answer: what is written may stay in a buffer until then.
pub struct BulkStream {
    io: Io,
    node: NodeId,
    protocol: &'static str,
    link: Link,
    shared: Arc<Shared>,
}

impl BulkStream {
    /// A bulk stream over the mesh; none when there are too many.
    pub(crate) fn mesh(stream: NetStream, shared: &Arc<Shared>) -> Option<Self> {
        Some(Self {
            node: stream.node(),
            protocol: stream.protocol(),
            link: shared.bulk.links.enter(stream.node())?,
            io: Io::Mesh(Box::new(stream)),
            shared: Arc::clone(shared),
        })
    }

    /// A bulk stream on a connection of its own whose peer has proven to be this node.
    pub(crate) fn direct(
        mut tls: TlsStream<Socket>,
        node: NodeId,
        protocol: &'static str,
        link: Link,
        shared: &Arc<Shared>,
    ) -> io::Result<Self> {
        match &mut tls {
            TlsStream::Client(end) => end.get_mut().1.set_buffer_limit(Some(WRITE)),
            TlsStream::Server(end) => end.get_mut().1.set_buffer_limit(Some(WRITE)),
        }
        let socket = tls.get_ref().0.get_ref();
        link.with_socket(socket.as_fd().try_clone_to_owned()?);
        let tls = Box::new(tls);
        Ok(Self {
            io: Io::Direct {
                tls,
                via: None,
                quota: None,
                broken: None,
            },
            node,
            protocol,
            link,
            shared: Arc::clone(shared),
        })
    }

    /// Notes the relay it goes through.
    pub(crate) fn through(mut self, relay: Option<NodeId>) -> Self {
        if let Io::Direct { via, .. } = &mut self.io {
            *via = relay;
        }
        self
    }

    /// Counts the stream against its peer's quota while it lives.
    pub(crate) fn counted(mut self, quota: Quota) -> Self {
        if let Io::Direct { quota: place, .. } = &mut self.io {
            *place = Some(quota);
        }
        self
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

    /// Which way it goes.
    #[must_use]
    pub fn path(&self) -> BulkPath {
        match &self.io {
            Io::Direct { via: None, .. } => BulkPath::Direct,
            Io::Direct { via: Some(relay), .. } => BulkPath::Relayed { relay: *relay },
            Io::Mesh(stream) => BulkPath::Mesh {
                relayed: stream.via().is_some(),
            },
        }
    }

    /// The two halves, to be used by two tasks.
    #[must_use]
    pub fn split(self) -> (BulkReader, BulkWriter) {
        tokio::io::split(self)
    }

    fn count_read(&self, bytes: usize) {
        let tally = &self.shared.tally;
        let counter = match &self.io {
            Io::Direct { .. } => &tally.bulk_bytes_in_direct,
            Io::Mesh(_) => &tally.bulk_bytes_in_mesh,
        };
        counter.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    fn count_written(&self, bytes: usize) {
        let tally = &self.shared.tally;
        let counter = match &self.io {
            Io::Direct { .. } => &tally.bulk_bytes_out_direct,
            Io::Mesh(_) => &tally.bulk_bytes_out_mesh,
        };
        counter.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Runs a step of the writing side and looks after its end.
    fn writing<T>(
        &mut self,
        cx: &mut Context<'_>,
        step: impl FnOnce(&mut Io, &mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if self.link.ended() {
            return Poll::Ready(Err(ended()));
        }
        let step = step(&mut self.io, cx);
        if step.is_pending() {
            self.link.waits(Side::Writing);
        } else {
            self.link.moved(Side::Writing, false);
        }
        match step {
            Poll::Pending if self.link.writer_waits(cx.waker()) => Poll::Ready(Err(ended())),
            Poll::Ready(Err(_)) if self.link.ended() => Poll::Ready(Err(ended())),
            other => other,
        }
    }
}

/// The reading half of a bulk stream.
pub type BulkReader = tokio::io::ReadHalf<BulkStream>;
/// The writing half of a bulk stream.
pub type BulkWriter = tokio::io::WriteHalf<BulkStream>;

fn ended() -> io::Error {
    io::Error::new(
        io::ErrorKind::ConnectionAborted,
        "the stream was ended: its peer is not a connected member any more, its way is dead, or this network shuts down",
    )
}

impl std::fmt::Debug for BulkStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (protocol, node, path) = (self.protocol, self.node, self.path());
        write!(f, "BulkStream({protocol} with {node:?}, {path:?})")
    }
}

impl AsyncRead for BulkStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.link.ended() {
            return Poll::Ready(Err(ended()));
        }
        let before = buf.filled().len();
        let step = this.io.read(cx, buf);
        if step.is_pending() {
            this.link.waits(Side::Reading);
        } else {
            this.link.moved(Side::Reading, buf.filled().len() > before);
        }
        match step {
            Poll::Pending if this.link.reader_waits(cx.waker()) => Poll::Ready(Err(ended())),
            // A socket shut down from outside looks like an end, or like an error of its own.
            Poll::Ready(_) if this.link.ended() => Poll::Ready(Err(ended())),
            other => {
                this.count_read(buf.filled().len().saturating_sub(before));
                other
            }
        }
    }
}

impl AsyncWrite for BulkStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let step = this.writing(cx, |io, cx| match io {
            Io::Direct { tls, .. } => Pin::new(tls).poll_write(cx, buf),
            Io::Mesh(stream) => Pin::new(stream).poll_write(cx, buf),
        });
        if let Poll::Ready(Ok(bytes)) = step {
            this.count_written(bytes);
        }
        step
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let step = this.writing(cx, |io, cx| match io {
            Io::Direct { tls, .. } => Pin::new(tls).poll_write_vectored(cx, bufs),
            Io::Mesh(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
        });
        if let Poll::Ready(Ok(bytes)) = step {
            this.count_written(bytes);
        }
        step
    }

    fn is_write_vectored(&self) -> bool {
        match &self.io {
            Io::Direct { .. } => true,
            Io::Mesh(_) => false,
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().writing(cx, |io, cx| match io {
            Io::Direct { tls, .. } => Pin::new(tls).poll_flush(cx),
            Io::Mesh(stream) => Pin::new(stream).poll_flush(cx),
        })
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().writing(cx, |io, cx| match io {
            Io::Direct { tls, .. } => Pin::new(tls).poll_shutdown(cx),
            Io::Mesh(stream) => Pin::new(stream).poll_shutdown(cx),
        })
    }
}
