//! The same streams for async code. Disk work runs on blocking threads in batches, one batch ahead of the
//! network; no thread waits for a peer, and blobs of one group never leave the caller's thread.

use super::{Added, BlobStore, BlobWriter, Decoder, Encoder, GROUP_BYTES, error::BlobError};
use futures::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use hive_protocol::ids::BlobHash;
use std::io;
use tokio::task::{JoinHandle, spawn_blocking};

/// Bytes handed to a blocking thread at once: large enough that the hand-over (some 10 µs) does not count.
const BATCH_BYTES: usize = 8 * GROUP_BYTES;

type Job<T> = JoinHandle<(T, Vec<u8>, Result<(), BlobError>)>;

/// A worker on blocking threads: at most one batch is with it, at most one with the caller.
#[derive(Debug)]
struct Offload<T> {
    idle: Option<T>,
    spare: Vec<u8>,
    job: Option<Job<T>>,
}

impl<T: Send + 'static> Offload<T> {
    fn new(worker: T) -> Self {
        Self {
            idle: Some(worker),
            spare: Vec::new(),
            job: None,
        }
    }

    /// Waits for the batch under way; its buffer becomes the spare one.
    async fn settle(&mut self) -> Result<(), BlobError> {
        let Some(job) = &mut self.job else { return Ok(()) };
        let done = job.await;
        self.job = None;
        let (worker, buf, result) = done.map_err(|e| BlobError::Stream(io::Error::other(e)))?;
        self.idle = Some(worker);
        self.spare = buf;
        result
    }

    /// Starts the next batch after [`Self::settle`].
    fn start(
        &mut self,
        buf: Vec<u8>,
        work: fn(&mut T, &mut Vec<u8>) -> Result<(), BlobError>,
    ) -> Result<(), BlobError> {
        let mut worker = self.idle.take().ok_or_else(ended)?;
        self.job = Some(spawn_blocking(move || {
            let mut buf = buf;
            let result = work(&mut worker, &mut buf);
            (worker, buf, result)
        }));
        Ok(())
    }

    fn take(&mut self) -> Result<T, BlobError> {
        self.idle.take().ok_or_else(ended)
    }
}

fn ended() -> BlobError {
    BlobError::Stream(io::Error::other("the stream failed before"))
}

/// A blob's stream in pieces of about half a mebibyte; the next piece is read while this one is being sent.
#[derive(Debug)]
pub struct AsyncEncoder {
    work: Offload<Encoder>,
    size: u64,
    done: bool,
}

impl AsyncEncoder {
    /// The blob's size in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The next piece, `None` at the end. `used` is an earlier piece whose memory may be used again (or empty).
    ///
    /// # Errors
    /// As [`Encoder::fill`].
    pub async fn next(&mut self, used: Vec<u8>) -> Result<Option<Vec<u8>>, BlobError> {
        if self.size <= GROUP_BYTES as u64 {
            return self.small();
        }
        if self.work.job.is_none() && !self.done {
            self.work.start(Vec::new(), fill)?;
        }
        self.work.settle().await?;
        let piece = std::mem::take(&mut self.work.spare);
        if self.work.idle.as_ref().is_some_and(|e| e.remaining() > 0) {
            self.work.start(used, fill)?;
        } else {
            self.done = true;
        }
        Ok((!piece.is_empty()).then_some(piece))
    }

    fn small(&mut self) -> Result<Option<Vec<u8>>, BlobError> {
        if std::mem::replace(&mut self.done, true) {
            return Ok(None);
        }
        let mut piece = Vec::new();
        self.work.take()?.fill(&mut piece, 1)?;
        Ok((!piece.is_empty()).then_some(piece))
    }
}

fn fill(encoder: &mut Encoder, buf: &mut Vec<u8>) -> Result<(), BlobError> {
    buf.clear();
    encoder.fill(buf, BATCH_BYTES).map(|_| ())
}

/// Receives one blob from async code.
#[derive(Debug)]
pub struct AsyncDecoder {
    work: Offload<Decoder>,
    remaining: u64,
    small: bool,
}

impl AsyncDecoder {
    /// Bytes of the stream still to come.
    #[must_use]
    pub fn remaining(&self) -> u64 {
        self.remaining
    }

    /// Takes the next bytes of the stream, not more than [`Self::remaining`], and returns a buffer to use again.
    /// Errors may show one call later.
    ///
    /// # Errors
    /// As [`Decoder::feed`]; `blob.too_large` for bytes beyond the stream.
    pub async fn feed(&mut self, bytes: Vec<u8>) -> Result<Vec<u8>, BlobError> {
        let n = bytes.len() as u64;
        if n > self.remaining {
            return Err(BlobError::TooLarge {
                size: n,
                cap: self.remaining,
            });
        }
        self.remaining -= n;
        if self.small {
            self.work.idle.as_mut().ok_or_else(ended)?.feed(&bytes)?;
            return Ok(bytes);
        }
        self.work.settle().await?;
        let spare = std::mem::take(&mut self.work.spare);
        self.work
            .start(bytes, |decoder, buf| decoder.feed(buf).map(|_| ()))?;
        Ok(spare)
    }

    /// Makes the blob visible.
    ///
    /// # Errors
    /// As [`Decoder::finish`].
    pub async fn finish(mut self) -> Result<Added, BlobError> {
        self.work.settle().await?;
        let decoder = self.work.take()?;
        if self.small {
            return decoder.finish();
        }
        blocking(move || decoder.finish()).await
    }
}

impl BlobStore {
    /// Opens a blob for sending from async code.
    ///
    /// # Errors
    /// As [`Self::encoder`].
    pub async fn encoder_async(&self, hash: &BlobHash) -> Result<AsyncEncoder, BlobError> {
        let small = self.size(hash).is_some_and(|s| s <= GROUP_BYTES as u64);
        let encoder = if small {
            self.encoder(hash)?
        } else {
            let (store, hash) = (self.clone(), *hash);
            blocking(move || store.encoder(&hash)).await?
        };
        Ok(AsyncEncoder {
            size: encoder.size(),
            work: Offload::new(encoder),
            done: false,
        })
    }

    /// Starts to receive a blob from async code; see [`Self::decoder`].
    ///
    /// # Errors
    /// As [`Self::decoder`].
    pub fn decoder_async(&self, hash: BlobHash, size: u64, cap: u64) -> Result<AsyncDecoder, BlobError> {
        let decoder = self.decoder(hash, size, cap)?;
        let remaining = decoder.remaining();
        Ok(AsyncDecoder {
            work: Offload::new(decoder),
            remaining,
            small: size <= GROUP_BYTES as u64,
        })
    }

    /// Sends a whole blob to an async writer and flushes it; returns the bytes written. Does not close it.
    ///
    /// # Errors
    /// As [`Self::encoder`] and [`Encoder::fill`]; `blob.stream` when the writer fails.
    pub async fn send_async<W: AsyncWrite + Unpin>(
        &self,
        hash: &BlobHash,
        to: &mut W,
    ) -> Result<u64, BlobError> {
        let mut encoder = self.encoder_async(hash).await?;
        let (mut used, mut sent) = (Vec::new(), 0);
        while let Some(piece) = encoder.next(used).await? {
            to.write_all(&piece).await.map_err(BlobError::Stream)?;
            sent += piece.len() as u64;
            used = piece;
        }
        to.flush().await.map_err(BlobError::Stream)?;
        Ok(sent)
    }

    /// Receives a blob from an async reader, taking exactly the bytes of its stream. Waiting limits are the caller's.
    ///
    /// # Errors
    /// As [`Self::receive`].
    pub async fn receive_async<R: AsyncRead + Unpin>(
        &self,
        hash: BlobHash,
        size: u64,
        cap: u64,
        from: &mut R,
    ) -> Result<Added, BlobError> {
        let mut decoder = self.decoder_async(hash, size, cap)?;
        let mut buf = Vec::new();
        while decoder.remaining() > 0 {
            let want = usize::try_from(decoder.remaining())
                .unwrap_or(BATCH_BYTES)
                .min(BATCH_BYTES);
            if !read_batch(from, &mut buf, want).await? {
                // Ended early: what came is judged first, since wrong bytes matter more than missing ones.
                decoder.feed(buf).await?;
                return decoder.finish().await;
            }
            buf = decoder.feed(buf).await?;
        }
        decoder.finish().await
    }

    /// Adds everything an async reader gives, up to `cap` bytes.
    ///
    /// # Errors
    /// As [`Self::add_reader`].
    pub async fn add_async<R: AsyncRead + Unpin>(&self, from: &mut R, cap: u64) -> Result<Added, BlobError> {
        let mut work = Offload::new(self.writer(cap, 0));
        let mut buf = Vec::new();
        loop {
            let more = read_batch(from, &mut buf, BATCH_BYTES).await?;
            work.settle().await?;
            let spare = std::mem::take(&mut work.spare);
            work.start(buf, |writer: &mut BlobWriter, buf| writer.write(buf))?;
            buf = spare;
            if !more {
                work.settle().await?;
                let writer = work.take()?;
                return blocking(move || writer.finish()).await;
            }
        }
    }
}

/// Fills `buf` with `want` bytes; false when the source ended before.
async fn read_batch<R: AsyncRead + Unpin>(
    from: &mut R,
    buf: &mut Vec<u8>,
    want: usize,
) -> Result<bool, BlobError> {
    buf.resize(want, 0);
    let mut have = 0;
    while let Some(rest) = buf.get_mut(have..).filter(|r| !r.is_empty()) {
        match from.read(rest).await {
            Ok(0) => {
                buf.truncate(have);
                return Ok(false);
            }
            Ok(n) => have += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(BlobError::Stream(e)),
        }
    }
    Ok(true)
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, BlobError> + Send + 'static,
) -> Result<T, BlobError> {
    spawn_blocking(work)
        .await
        .map_err(|e| BlobError::Stream(io::Error::other(e)))?
}
