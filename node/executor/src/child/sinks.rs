//! Standard output and error of one guest: captured for the result, counted against the output limit,
//! and streamed as log frames if asked for.

use super::control::Stop;
use super::lock;
use super::outbox::Outbox;
use crate::task::{Captured, MAX_INLINE, Stream};
use crate::wire::{FromChild, WireTask};
use bytes::Bytes;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamError, StreamResult};

/// A log frame goes out when this many bytes wait.
const CHUNK: usize = 4 << 10;
/// A line that is not finished goes out after this time.
const PATIENCE: Duration = Duration::from_millis(50);

/// Both streams of one task.
pub(super) struct Sinks {
    task: u64,
    stream_logs: bool,
    /// Bytes of both streams together.
    written: AtomicU64,
    limit: u64,
    /// Bytes of one stream: a large one becomes a file.
    each: u64,
    /// `work/<task>`, where large streams go.
    dir: PathBuf,
    outbox: Arc<Outbox>,
    out: Mutex<Buffers>,
    err: Mutex<Buffers>,
}

#[derive(Default)]
struct Buffers {
    written: u64,
    captured: Vec<u8>,
    spool: Option<File>,
    spooled: u64,
    log: Vec<u8>,
    log_since: Option<Instant>,
}

impl Sinks {
    pub(super) fn new(task: &WireTask, dir: PathBuf, outbox: Arc<Outbox>) -> Arc<Self> {
        Arc::new(Self {
            task: task.task,
            stream_logs: task.stream_logs,
            written: AtomicU64::new(0),
            limit: task.limits.output_bytes,
            each: task.limits.file_bytes,
            dir,
            outbox,
            out: Mutex::default(),
            err: Mutex::default(),
        })
    }

    /// Bytes of both streams so far.
    pub(super) fn written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    fn of(&self, stream: Stream) -> &Mutex<Buffers> {
        match stream {
            Stream::Out => &self.out,
            Stream::Err => &self.err,
        }
    }

    fn write(&self, stream: Stream, bytes: &[u8]) -> Result<(), Stop> {
        let before = self.written.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        let mut buffers = lock(self.of(stream));
        let room = self
            .limit
            .saturating_sub(before)
            .min(self.each.saturating_sub(buffers.written));
        let taken = bytes
            .get(..usize::try_from(room).unwrap_or(usize::MAX))
            .unwrap_or(bytes);
        buffers.written += taken.len() as u64;
        capture(&mut buffers, &self.dir, stream, taken)
            .map_err(|e| Stop::Host(format!("{}: {e}", stream.file_name())))?;
        if self.stream_logs {
            buffers.log.extend_from_slice(taken);
            if buffers.log.len() >= CHUNK {
                self.send(stream, &mut buffers);
            } else {
                buffers.log_since.get_or_insert_with(Instant::now);
            }
        }
        if taken.len() < bytes.len() {
            let what = "standard output and error".to_owned();
            return Err(Stop::Output {
                what,
                bytes: self.written(),
                limit: self.limit.min(self.each),
            });
        }
        Ok(())
    }

    fn send(&self, stream: Stream, buffers: &mut Buffers) {
        buffers.log_since = None;
        let bytes = std::mem::take(&mut buffers.log);
        if !bytes.is_empty() {
            self.outbox.push(&FromChild::Log {
                task: self.task,
                stream,
                bytes,
            });
        }
    }

    /// Called on every tick by another thread: sends finished lines, and unfinished ones that have waited.
    pub(super) fn tick(&self) {
        if !self.stream_logs {
            return;
        }
        for stream in [Stream::Out, Stream::Err] {
            // A guest that is writing just now sends by itself.
            let Ok(mut buffers) = self.of(stream).try_lock() else {
                continue;
            };
            let old = buffers.log_since.is_some_and(|since| since.elapsed() >= PATIENCE);
            if old || buffers.log.contains(&b'\n') {
                self.send(stream, &mut buffers);
            }
        }
    }

    /// The guest has ended: sends what is left of the logs and hands over what was captured.
    pub(super) fn finish(&self, stream: Stream) -> Captured {
        let mut buffers = lock(self.of(stream));
        self.send(stream, &mut buffers);
        match buffers.spool {
            Some(_) => Captured::Spooled {
                bytes: buffers.spooled,
            },
            None => Captured::Inline(std::mem::take(&mut buffers.captured)),
        }
    }
}

/// Keeps bytes in memory up to [`MAX_INLINE`], then in a file.
fn capture(buffers: &mut Buffers, dir: &Path, stream: Stream, bytes: &[u8]) -> std::io::Result<()> {
    if buffers.spool.is_none() {
        if buffers.captured.len() + bytes.len() <= MAX_INLINE {
            buffers.captured.extend_from_slice(bytes);
            return Ok(());
        }
        std::fs::create_dir_all(dir)?;
        buffers.spool = Some(File::create_new(dir.join(stream.file_name()))?);
    }
    if let Some(file) = &mut buffers.spool {
        for part in [std::mem::take(&mut buffers.captured).as_slice(), bytes] {
            file.write_all(part)?;
            buffers.spooled += part.len() as u64;
        }
    }
    Ok(())
}

/// One stream as wasmtime-wasi wants it.
#[derive(Clone)]
pub(super) struct Sink {
    pub(super) sinks: Arc<Sinks>,
    pub(super) stream: Stream,
}

/// What the guest may hand over at once; wasmtime-wasi sends portions of 4 KiB.
const PERMIT: usize = 64 << 10;

impl IsTerminal for Sink {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Sink {
    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }

    fn async_stream(&self) -> Box<dyn tokio::io::AsyncWrite + Send + Sync> {
        // Only preview 3 asks for this one; preview 1 goes through `p2_stream`.
        Box::new(tokio::io::sink())
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for Sink {
    async fn ready(&mut self) {}
}

impl OutputStream for Sink {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.sinks
            .write(self.stream, &bytes)
            .map_err(|stop| StreamError::Trap(stop.into()))
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(PERMIT)
    }
}
