//! Answers that come bit by bit: logs, events, blobs; and the upload of a blob.

use super::{
    failure::{self, unreadable},
    pool::{Ask, Loan, Pool, collect},
};
use crate::{
    document::{self, LogLine, VERSION},
    limits::{BLOB_CHUNK, CLIENT_LINE},
};
use bytes::{Buf, Bytes, BytesMut};
use data_encoding::BASE64;
use hive_runtime::port::{BlobView, EventView, LogChunk, Refused};
use http_body_util::BodyExt;
use hyper::{
    Method,
    body::{Body as _, Frame, Incoming, SizeHint},
};
use serde::Deserialize;
use std::{
    fmt, io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};
use tokio::io::{AsyncRead, ReadBuf};

/// Opens a streamed answer; a refusal is read whole.
async fn open(pool: &Arc<Pool>, ask: Ask) -> Result<(Incoming, Loan), Refused> {
    let (response, loan) = pool.send(ask).await?;
    let status = response.status();
    if status.is_success() {
        return Ok((response.into_body(), loan));
    }
    let bytes = collect(response).await?;
    loan.give_back();
    Err(failure::answered(status, &bytes))
}

/// Lines of an answer.
struct Lines {
    body: Incoming,
    loan: Option<Loan>,
    buffer: BytesMut,
    /// Bytes of the buffer known to hold no line end.
    searched: usize,
}

impl Lines {
    async fn open(pool: &Arc<Pool>, ask: Ask) -> Result<Self, Refused> {
        let (body, loan) = open(pool, ask).await?;
        Ok(Self {
            body,
            loan: Some(loan),
            buffer: BytesMut::new(),
            searched: 0,
        })
    }

    /// The next line without its end; `None` when the answer is over.
    async fn next(&mut self) -> Result<Option<Bytes>, Refused> {
        loop {
            let fresh = self.buffer.iter().skip(self.searched).position(|b| *b == b'\n');
            if let Some(at) = fresh {
                let line = self.buffer.split_to(self.searched + at).freeze();
                self.buffer.advance(1);
                self.searched = 0;
                if line.is_empty() {
                    continue; // a sign of life
                }
                return Ok(Some(line));
            }
            self.searched = self.buffer.len();
            if self.buffer.len() > CLIENT_LINE {
                return Err(unreadable(&"a line of the stream is too long"));
            }
            match self.body.frame().await {
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        self.buffer.extend_from_slice(&data);
                    }
                }
                Some(Err(e)) => return Err(failure::cut(&e)),
                None => {
                    if let Some(loan) = self.loan.take() {
                        loan.give_back();
                    }
                    return Ok(None);
                }
            }
        }
    }
}

/// A task's log.
pub struct LogStream(Lines);

impl fmt::Debug for LogStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LogStream")
    }
}

impl LogStream {
    pub(super) async fn open(pool: &Arc<Pool>, path: String) -> Result<Self, Refused> {
        Ok(Self(Lines::open(pool, Ask::get(path)).await?))
    }

    /// The next chunk; `None` at the end of the log. May be cancelled without loss.
    ///
    /// # Errors
    /// `daemon.connection_lost` when the daemon goes away, `api.unreadable`.
    pub async fn next(&mut self) -> Result<Option<LogChunk>, Refused> {
        let Some(line) = self.0.next().await? else {
            return Ok(None);
        };
        let log: LogLine = document::read("log", &line).map_err(|e| unreadable(&e))?;
        let bytes = BASE64.decode(log.data.as_bytes()).map_err(|e| unreadable(&e))?;
        Ok(Some(LogChunk {
            stderr: log.stderr,
            bytes,
        }))
    }
}

/// One item of the event stream.
#[derive(Debug, Clone)]
pub enum EventItem {
    /// Something happened.
    Event(EventView),
    /// This reader was too slow: so many events were dropped here.
    Lost(u64),
}

/// What happens in the daemon.
pub struct EventStream(Lines);

impl fmt::Debug for EventStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EventStream")
    }
}

#[derive(Deserialize)]
struct EventLine {
    v: u32,
    event: Option<EventView>,
    lost: Option<u64>,
}

impl EventStream {
    pub(super) async fn open(pool: &Arc<Pool>) -> Result<Self, Refused> {
        let ask = Ask {
            accept: Some("application/x-ndjson"),
            ..Ask::get("/v1/events".into())
        };
        Ok(Self(Lines::open(pool, ask).await?))
    }

    /// The next item; `None` when the daemon stops. May be cancelled without loss.
    ///
    /// # Errors
    /// `daemon.connection_lost` when the daemon goes away, `api.unreadable`.
    pub async fn next(&mut self) -> Result<Option<EventItem>, Refused> {
        let Some(line) = self.0.next().await? else {
            return Ok(None);
        };
        match serde_json::from_slice(&line).map_err(|e| unreadable(&e))? {
            EventLine {
                v: VERSION,
                event: Some(event),
                ..
            } => Ok(Some(EventItem::Event(event))),
            EventLine {
                v: VERSION,
                lost: Some(lost),
                ..
            } => Ok(Some(EventItem::Lost(lost))),
            _ => Err(unreadable(&"a line that is no event")),
        }
    }
}

/// The bytes of a blob. An early end is an error, never a short file.
pub struct BlobReader {
    body: Incoming,
    loan: Option<Loan>,
    chunk: Bytes,
    size: u64,
    left: u64,
}

impl fmt::Debug for BlobReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BlobReader({} of {} bytes left)", self.left, self.size)
    }
}

impl BlobReader {
    pub(super) async fn open(pool: &Arc<Pool>, path: String) -> Result<Self, Refused> {
        let (body, loan) = open(pool, Ask::get(path)).await?;
        let size = body
            .size_hint()
            .exact()
            .ok_or_else(|| unreadable(&"a blob without a length"))?;
        Ok(Self {
            body,
            loan: Some(loan),
            chunk: Bytes::new(),
            size,
            left: size,
        })
    }

    /// Size of the whole blob in bytes.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }
}

impl AsyncRead for BlobReader {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        while this.chunk.is_empty() {
            match ready!(Pin::new(&mut this.body).poll_frame(cx)) {
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        this.chunk = data;
                    }
                }
                Some(Err(e)) => return Poll::Ready(Err(io::Error::other(e))),
                None if this.left > 0 => {
                    return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
                }
                None => {
                    if let Some(loan) = this.loan.take() {
                        loan.give_back();
                    }
                    return Poll::Ready(Ok(()));
                }
            }
        }
        let n = this.chunk.len().min(out.remaining());
        out.put_slice(&this.chunk.split_to(n));
        this.left = this.left.saturating_sub(n as u64);
        Poll::Ready(Ok(()))
    }
}

/// A reader as a request body.
struct Upload<R> {
    reader: R,
    size: Option<u64>,
}

impl<R: AsyncRead + Unpin> hyper::body::Body for Upload<R> {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let this = self.get_mut();
        let mut chunk = vec![0; BLOB_CHUNK];
        let mut buffer = ReadBuf::new(&mut chunk);
        ready!(Pin::new(&mut this.reader).poll_read(cx, &mut buffer))?;
        let n = buffer.filled().len();
        if n == 0 {
            return Poll::Ready(None);
        }
        chunk.truncate(n);
        Poll::Ready(Some(Ok(Frame::data(chunk.into()))))
    }

    fn size_hint(&self) -> SizeHint {
        self.size.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

/// Sends a reader's bytes into the store.
pub(super) async fn upload(
    pool: &Arc<Pool>,
    reader: impl AsyncRead + Send + Unpin + 'static,
    size: Option<u64>,
) -> Result<BlobView, Refused> {
    let ask = Ask {
        method: Method::PUT,
        body: Upload { reader, size }.boxed_unsync(),
        wait: None,
        ..Ask::get("/v1/blobs".into())
    };
    let bytes = pool.fetch(ask).await?;
    document::read("blob", &bytes).map_err(|e| unreadable(&e))
}
