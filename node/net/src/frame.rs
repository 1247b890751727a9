//! Typed frames on a stream: the hot path between two nodes.
//!
//! A frame is `{length u32, envelope}` of [`hive_protocol::codec`]. The length is checked before anything is
//! allocated. [`FrameSender`] writes everything that is ready in one go: under load many messages share a
//! packet, and a message alone leaves at once. No timer is involved.

use hive_protocol::codec::{self, CodecError, FRAME_PREFIX_LEN, Message};
use std::{io, marker::PhantomData, sync::Arc};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    task::JoinHandle,
};

/// Bytes that may wait in one [`FrameSender`]: twice the largest frame, so that two always fit.
pub const MAX_QUEUED_BYTES: usize = 2 * (codec::MAX_FRAME + FRAME_PREFIX_LEN);
/// Messages that may wait in one [`FrameSender`]; small ones are bounded by this, large ones by their bytes.
pub const MAX_QUEUED_FRAMES: usize = 1024;
/// Bytes gathered before a write: more gains nothing and delays the first.
const MAX_WRITE: usize = 256 << 10;
/// Frames taken from the queue at once.
const MAX_TAKE: usize = 256;
/// First size of the read buffer: small, because most streams are idle.
const READ_FIRST: usize = 4 << 10;
/// Space kept free for a read once a stream is busy.
const READ_BUSY: usize = 64 << 10;
/// A read buffer that has grown beyond this is given back when it is empty.
const READ_KEEP: usize = 128 << 10;

/// Why a frame could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The stream broke.
    #[error("the stream broke: {0}")]
    Io(#[from] io::Error),
    /// The stream ended within a frame, or where an answer was due.
    #[error("the stream ended too early")]
    Eof,
    /// The bytes are no such message, or the message is too large.
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// The writing task has ended: the stream broke earlier or was closed.
    #[error("the stream is closed: {0}")]
    Closed(String),
}

/// Writes one frame and flushes: for exchanges of a few messages.
///
/// # Errors
/// [`FrameError::Codec`] for a message over its limit, [`FrameError::Io`] when the stream breaks.
pub async fn write<M: Message, W: AsyncWrite + Unpin>(io: &mut W, message: &M) -> Result<(), FrameError> {
    let mut out = Vec::new();
    codec::frame_into(message, &mut out)?;
    io.write_all(&out).await?;
    io.flush().await?;
    Ok(())
}

/// Reads one frame and not a byte more; `None` at a clean end. For exchanges of a few messages; not cancel safe.
///
/// # Errors
/// As [`FrameReader::next`].
pub async fn read<M: Message, R: AsyncRead + Unpin>(io: &mut R) -> Result<Option<M>, FrameError> {
    let mut prefix = [0; FRAME_PREFIX_LEN];
    let (first, rest) = prefix.split_at_mut(1);
    if io.read(first).await? == 0 {
        return Ok(None);
    }
    io.read_exact(rest).await.map_err(early)?;
    let mut body = vec![0; codec::frame_len(M::NAME, prefix, M::MAX)?];
    io.read_exact(&mut body).await.map_err(early)?;
    Ok(Some(codec::open(&body)?))
}

fn early(e: io::Error) -> FrameError {
    if e.kind() == io::ErrorKind::UnexpectedEof {
        FrameError::Eof
    } else {
        FrameError::Io(e)
    }
}

/// Reads frames of one kind of message.
#[derive(Debug)]
pub struct FrameReader<M, R> {
    io: R,
    buf: Vec<u8>,
    /// Bytes at the start of `buf` already handed out.
    taken: usize,
    kind: PhantomData<fn() -> M>,
}

impl<M: Message, R: AsyncRead + Unpin> FrameReader<M, R> {
    /// Reads from this half of a stream.
    pub const fn new(io: R) -> Self {
        Self {
            io,
            buf: Vec::new(),
            taken: 0,
            kind: PhantomData,
        }
    }

    /// The next message; `None` when the peer has ended the stream between two frames. Cancel safe.
    ///
    /// # Errors
    /// [`FrameError::Codec`] for a frame too large or malformed, after which the stream is of no use;
    /// [`FrameError::Eof`] for an end within a frame; [`FrameError::Io`] when the stream breaks.
    pub async fn next(&mut self) -> Result<Option<M>, FrameError> {
        loop {
            if let Some(message) = self.ready()? {
                return Ok(Some(message));
            }
            if self.fill().await? == 0 {
                return if self.buf.is_empty() {
                    Ok(None)
                } else {
                    Err(FrameError::Eof)
                };
            }
        }
    }

    /// The next message if all its bytes have been read already: takes no time and reads nothing. For handling a
    /// burst as one batch.
    ///
    /// # Errors
    /// [`FrameError::Codec`] as [`FrameReader::next`].
    pub fn ready(&mut self) -> Result<Option<M>, FrameError> {
        let rest = self.buf.get(self.taken..).unwrap_or_default();
        let Some((prefix, rest)) = rest.split_first_chunk::<FRAME_PREFIX_LEN>() else {
            return Ok(None);
        };
        let len = codec::frame_len(M::NAME, *prefix, M::MAX)?;
        let Some(body) = rest.get(..len) else {
            return Ok(None);
        };
        let message = codec::open(body)?;
        self.taken = self.taken.saturating_add(FRAME_PREFIX_LEN + len);
        Ok(Some(message))
    }

    /// The reader, with the bytes read ahead: for protocols that go over to raw bytes after a frame.
    #[must_use]
    pub fn into_inner(mut self) -> (Vec<u8>, R) {
        self.buf.drain(..self.taken.min(self.buf.len()));
        (self.buf, self.io)
    }

    async fn fill(&mut self) -> Result<usize, FrameError> {
        if self.taken > 0 {
            self.buf.drain(..self.taken.min(self.buf.len()));
            self.taken = 0;
            if self.buf.is_empty() && self.buf.capacity() > READ_KEEP {
                self.buf = Vec::new();
            }
        }
        let room = if self.buf.capacity() == 0 {
            READ_FIRST
        } else if self.buf.len() == self.buf.capacity() {
            READ_BUSY
        } else {
            0
        };
        self.buf.reserve(room);
        Ok(self.io.read_buf(&mut self.buf).await?)
    }
}

/// A frame ready to leave and the room it takes in the queue.
type Queued = (Vec<u8>, OwnedSemaphorePermit);

/// Writes messages of one kind; clonable, every clone feeds the same stream. When all clones are gone, what is
/// queued is written and the writing side is shut down.
#[derive(Debug)]
pub struct FrameSender<M> {
    queue: mpsc::Sender<Queued>,
    room: Arc<Semaphore>,
    kind: PhantomData<fn(M)>,
}

impl<M> Clone for FrameSender<M> {
    fn clone(&self) -> Self {
        Self {
            queue: self.queue.clone(),
            room: Arc::clone(&self.room),
            kind: PhantomData,
        }
    }
}

impl<M: Message> FrameSender<M> {
    /// Starts the task that writes. The task's result says why writing stopped; it may be dropped.
    #[must_use]
    pub fn spawn<W>(io: W) -> (Self, JoinHandle<io::Result<()>>)
    where
        W: AsyncWrite + Unpin + Send + 'static,
    {
        let (queue, receiver) = mpsc::channel(MAX_QUEUED_FRAMES);
        let task = tokio::spawn(drain(io, receiver));
        let sender = Self {
            queue,
            room: Arc::new(Semaphore::new(MAX_QUEUED_BYTES)),
            kind: PhantomData,
        };
        (sender, task)
    }

    /// Queues a message, waiting while the queue is full (the peer is slower than we are). Cancel safe: a
    /// cancelled send has queued nothing.
    ///
    /// # Errors
    /// [`FrameError::Codec`] for a message over its limit (the stream stays usable), [`FrameError::Closed`].
    pub async fn send(&self, message: &M) -> Result<(), FrameError> {
        let frame = encode(message)?;
        let room = Arc::clone(&self.room)
            .acquire_many_owned(room_of(&frame))
            .await
            .map_err(|_| closed())?;
        self.queue.send((frame, room)).await.map_err(|_| closed())
    }

    /// Queues a message if there is room now; `false` when there is none.
    ///
    /// # Errors
    /// As [`FrameSender::send`].
    pub fn try_send(&self, message: &M) -> Result<bool, FrameError> {
        let frame = encode(message)?;
        let Ok(room) = Arc::clone(&self.room).try_acquire_many_owned(room_of(&frame)) else {
            return Ok(false);
        };
        match self.queue.try_send((frame, room)) {
            Ok(()) => Ok(true),
            Err(mpsc::error::TrySendError::Full(_)) => Ok(false),
            Err(mpsc::error::TrySendError::Closed(_)) => Err(closed()),
        }
    }

    /// Whether the stream is gone, so that nothing sent now can arrive.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.queue.is_closed()
    }

    /// Resolves when the stream is gone.
    pub async fn closed(&self) {
        self.queue.closed().await;
    }
}

fn encode<M: Message>(message: &M) -> Result<Vec<u8>, FrameError> {
    let mut frame = Vec::with_capacity(128);
    codec::frame_into(message, &mut frame)?;
    Ok(frame)
}

fn room_of(frame: &[u8]) -> u32 {
    u32::try_from(frame.len().min(MAX_QUEUED_BYTES)).unwrap_or(u32::MAX)
}

fn closed() -> FrameError {
    FrameError::Closed("its writer has ended".to_owned())
}

async fn drain<W: AsyncWrite + Unpin>(mut io: W, mut queue: mpsc::Receiver<Queued>) -> io::Result<()> {
    let mut batch = Vec::new();
    let mut out = Vec::new();
    while queue.recv_many(&mut batch, MAX_TAKE).await > 0 {
        for (frame, _room) in batch.drain(..) {
            if !out.is_empty() && out.len().saturating_add(frame.len()) > MAX_WRITE {
                io.write_all(&out).await?;
                out.clear();
            }
            if frame.len() >= MAX_WRITE {
                io.write_all(&frame).await?;
            } else {
                out.extend_from_slice(&frame);
            }
        }
        if !out.is_empty() {
            io.write_all(&out).await?;
            out.clear();
        }
        io.flush().await?;
    }
    io.shutdown().await
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use hive_protocol::{
        blob::BlobRequest,
        ids::BlobHash,
        member::{Hello, Verdict},
    };

    fn request(n: u64) -> BlobRequest {
        BlobRequest {
            hash: BlobHash::of(&n.to_le_bytes()),
            lease: None,
            max_size: n,
        }
    }

    #[tokio::test]
    async fn frames_arrive_whole_and_in_order_over_any_cuts() {
        let (near, far) = tokio::io::duplex(7);
        let (sender, task) = FrameSender::<BlobRequest>::spawn(near);
        let reading = tokio::spawn(async move {
            let mut reader = FrameReader::<BlobRequest, _>::new(far);
            let mut got = Vec::new();
            while let Some(m) = reader.next().await.unwrap() {
                got.push(m.max_size);
            }
            got
        });
        for n in 0..500 {
            sender.send(&request(n)).await.unwrap();
        }
        drop(sender);
        task.await.unwrap().unwrap();
        assert_eq!(reading.await.unwrap(), (0..500).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn a_length_over_the_limit_is_refused_before_reading_on() {
        let (mut near, far) = tokio::io::duplex(64);
        near.write_all(&u32::MAX.to_le_bytes()).await.unwrap();
        let mut reader = FrameReader::<Verdict, _>::new(far);
        let error = reader.next().await.unwrap_err();
        assert!(matches!(error, FrameError::Codec(CodecError::TooLarge { .. })));
        assert!(reader.buf.capacity() <= READ_FIRST);
    }

    #[tokio::test]
    async fn an_end_within_a_frame_is_an_error_and_between_frames_is_not() {
        let (mut near, far) = tokio::io::duplex(1024);
        write(&mut near, &request(1)).await.unwrap();
        let mut cut = Vec::new();
        codec::frame_into(&request(2), &mut cut).unwrap();
        near.write_all(&cut[..9]).await.unwrap();
        drop(near);
        let mut reader = FrameReader::<BlobRequest, _>::new(far);
        assert_eq!(reader.next().await.unwrap(), Some(request(1)));
        assert!(matches!(reader.next().await, Err(FrameError::Eof)));

        let (near, mut far) = tokio::io::duplex(8);
        drop(near);
        assert!(read::<Hello, _>(&mut far).await.unwrap().is_none());
    }

    #[tokio::test]
    async fn a_full_queue_refuses_and_a_dead_stream_says_so() {
        let (near, far) = tokio::io::duplex(1);
        let (sender, _task) = FrameSender::<BlobRequest>::spawn(near);
        let mut queued = 0;
        while sender.try_send(&request(queued)).unwrap() {
            queued += 1;
            assert!(queued <= MAX_QUEUED_FRAMES as u64);
        }
        drop(far);
        tokio::time::timeout(std::time::Duration::from_secs(60), sender.closed())
            .await
            .unwrap();
        assert!(matches!(
            sender.send(&request(1)).await,
            Err(FrameError::Closed(_))
        ));
    }
}
