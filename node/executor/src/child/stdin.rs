//! Standard input that is still coming: a pipe of which more bytes are expected than are there yet.
//!
//! The reader never blocks in the kernel: it must hear of cancellation and of the task's deadline. A pipe that ends
//! before the announced size is no end of file for the guest but the end of the task.

use super::control::{Control, Deadline, Stop};
use rustix::fs::{Mode, OFlags};
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, ReadBuf};
use wasmtime_wasi::cli::{IsTerminal, StdinStream};
use wasmtime_wasi::p2::{InputStream, Pollable, StreamError, StreamResult};

/// Bytes of one read: what a pipe of the system holds.
const READ_BYTES: usize = 64 << 10;
/// First pause when nothing is there: short, so that a fast source fills the pipe while the guest computes.
const SHORTEST: Duration = Duration::from_micros(100);
/// Longest pause: what a byte that comes after a long silence waits at most.
const LONGEST: Duration = Duration::from_millis(5);

/// The reading end.
#[derive(Clone)]
pub(super) struct Coming(Arc<Mutex<Pipe>>);

struct Pipe {
    file: File,
    /// Bytes still to come.
    left: u64,
    control: Arc<Control>,
    deadline: Deadline,
}

impl Coming {
    /// Opens the pipe at `path`, of which `size` bytes are expected. Its writer has opened it before.
    pub(super) fn open(
        path: &Path,
        size: u64,
        control: Arc<Control>,
        deadline: Deadline,
    ) -> std::io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = File::from(rustix::fs::open(path, flags, Mode::empty())?);
        Ok(Self(Arc::new(Mutex::new(Pipe {
            file,
            left: size,
            control,
            deadline,
        }))))
    }
}

impl Pipe {
    /// Waits for the next bytes; 0 at the announced end.
    fn next(&mut self, buffer: &mut [u8]) -> Result<usize, Stop> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        if most == 0 {
            return Ok(0);
        }
        let mut pause = SHORTEST;
        loop {
            self.control.check(&self.deadline)?;
            match self.file.read(buffer.get_mut(..most).unwrap_or_default()) {
                Ok(0) => {
                    return Err(Stop::Input(format!(
                        "standard input ended {} bytes before its announced end",
                        self.left
                    )));
                }
                Ok(n) => {
                    self.left = self.left.saturating_sub(n as u64);
                    return Ok(n);
                }
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) if e.kind() == ErrorKind::WouldBlock => {
                    self.control.sleep(Instant::now() + pause, &self.deadline)?;
                    pause = (pause * 2).min(LONGEST);
                }
                Err(e) => return Err(Stop::Host(format!("stdin: {e}"))),
            }
        }
    }
}

impl InputStream for Coming {
    fn read(&mut self, size: usize) -> StreamResult<bytes::Bytes> {
        let mut buffer = bytes::BytesMut::zeroed(size.min(READ_BYTES));
        let n = super::lock(&self.0)
            .next(&mut buffer)
            .map_err(|stop| StreamError::Trap(stop.into()))?;
        if n == 0 && size > 0 {
            return Err(StreamError::Closed);
        }
        buffer.truncate(n);
        Ok(buffer.freeze())
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for Coming {
    // Waiting is done by `read`, which is interruptible.
    async fn ready(&mut self) {}
}

impl AsyncRead for Coming {
    fn poll_read(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        let most = buf.remaining().min(READ_BYTES);
        let result = super::lock(&self.0).next(buf.initialize_unfilled_to(most));
        std::task::Poll::Ready(match result {
            Ok(n) => {
                buf.advance(n);
                Ok(())
            }
            Err(stop) => Err(std::io::Error::other(stop)),
        })
    }
}

impl IsTerminal for Coming {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdinStream for Coming {
    fn p2_stream(&self) -> Box<dyn InputStream> {
        Box::new(self.clone())
    }

    fn async_stream(&self) -> Box<dyn AsyncRead + Send + Sync> {
        Box::new(self.clone())
    }
}
