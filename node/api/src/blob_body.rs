//! Bytes between a connection and a file: an upload as a reader, a file as a body.

use crate::{answer::Failure, limits::BLOB_CHUNK};
use axum::body::{Body, HttpBody};
use bytes::{Bytes, BytesMut};
use hyper::body::{Frame, SizeHint};
use std::{
    io,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::{
    fs::File,
    io::{AsyncRead, ReadBuf},
    time::{Instant, Sleep, sleep},
};

/// What was wrong with an upload, kept aside because a reader can only say "error".
#[derive(Clone, Default)]
pub(crate) struct Fault(Arc<Mutex<Option<Failure>>>);

impl Fault {
    pub(crate) fn take(&self) -> Option<Failure> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
    fn set(&self, failure: Failure, kind: io::ErrorKind) -> Poll<io::Result<()>> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(failure);
        Poll::Ready(Err(kind.into()))
    }
}

/// A request body as a reader with a cap and a limit on silence.
pub(crate) struct Upload {
    body: Body,
    chunk: Bytes,
    left: u64,
    cap: u64,
    stall: Duration,
    silence: Pin<Box<Sleep>>,
    fault: Fault,
}

impl Upload {
    pub(crate) fn new(body: Body, cap: u64, stall: Duration) -> (Self, Fault) {
        let fault = Fault::default();
        let upload = Self {
            body,
            chunk: Bytes::new(),
            left: cap,
            cap,
            stall,
            silence: Box::pin(sleep(stall)),
            fault: fault.clone(),
        };
        (upload, fault)
    }
}

impl AsyncRead for Upload {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        while this.chunk.is_empty() {
            match Pin::new(&mut this.body).poll_frame(cx) {
                Poll::Pending => {
                    ready!(this.silence.as_mut().poll(cx));
                    return this.fault.set(Failure::body_stalled(), io::ErrorKind::TimedOut);
                }
                Poll::Ready(None) => return Poll::Ready(Ok(())),
                Poll::Ready(Some(Err(_))) => {
                    return this.fault.set(Failure::body_cut(), io::ErrorKind::UnexpectedEof);
                }
                Poll::Ready(Some(Ok(frame))) => {
                    if let Ok(data) = frame.into_data() {
                        match this.left.checked_sub(data.len() as u64) {
                            Some(left) => this.left = left,
                            None => {
                                return this.fault.set(
                                    Failure::too_large("the blob", this.cap),
                                    io::ErrorKind::FileTooLarge,
                                );
                            }
                        }
                        this.chunk = data;
                    }
                    this.silence.as_mut().reset(Instant::now() + this.stall);
                }
            }
        }
        let n = this.chunk.len().min(out.remaining());
        out.put_slice(&this.chunk.split_to(n));
        Poll::Ready(Ok(()))
    }
}

/// A file as a response body of known length. A file that ends early breaks the connection instead of passing for whole.
pub(crate) struct FileBody {
    file: File,
    left: u64,
    buffer: BytesMut,
}

impl FileBody {
    pub(crate) fn new(file: File, size: u64) -> Self {
        Self {
            file,
            left: size,
            buffer: BytesMut::new(),
        }
    }
}

impl HttpBody for FileBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let this = self.get_mut();
        if this.left == 0 {
            return Poll::Ready(None);
        }
        let want = usize::try_from(this.left).map_or(BLOB_CHUNK, |left| left.min(BLOB_CHUNK));
        this.buffer.resize(want, 0);
        let mut buffer = ReadBuf::new(&mut this.buffer);
        ready!(Pin::new(&mut this.file).poll_read(cx, &mut buffer))?;
        let n = buffer.filled().len();
        if n == 0 {
            return Poll::Ready(Some(Err(io::ErrorKind::UnexpectedEof.into())));
        }
        this.left = this.left.saturating_sub(n as u64);
        Poll::Ready(Some(Ok(Frame::data(this.buffer.split_to(n).freeze()))))
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}
