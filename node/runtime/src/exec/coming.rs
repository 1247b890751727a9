//! Standard input that is still on its way while its task runs.
//!
//! A large standard input is not waited for: the task is handed over as soon as the first bytes can be had, and a
//! carrier writes what arrives, verified and in order, into the executor's pipe. A transfer that breaks off fails the
//! task as this worker's fault (`task.input`), so that it is tried again.

use crate::blobs::FetchError;
use hive_executor::LeaseHandle;
use hive_protocol::{
    ids::{LeaseId, NodeId},
    task::BlobRef,
};
use std::{
    collections::BTreeMap,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    net::unix::pipe,
    task::AbortHandle,
};

/// Standard input from this size on is streamed: below, a whole transfer is over before a task has started.
pub(super) const STREAM_FROM: u64 = 1 << 20;
/// Tasks of one lease whose input is on its way at once; more wait for theirs as for any other input.
const MAX_COMING: usize = 64;

/// Verified bytes in order, the first of them while the last are still elsewhere.
pub type Reader = Box<dyn AsyncRead + Send + Unpin>;

/// Where streams come from: bound to the engine that moves files.
pub trait Streams: Send + Sync {
    /// Opens a blob of a lease for reading in order. Returns when its first bytes can be had.
    fn open<'a>(
        &'a self,
        from: NodeId,
        lease: LeaseId,
        blob: &'a BlobRef,
    ) -> Pin<Box<dyn Future<Output = Result<Reader, FetchError>> + Send + 'a>>;
}

/// A task by the executor's number, or a stream of one.
#[derive(Default)]
struct Table {
    /// Opened, and not yet handed over.
    waiting: BTreeMap<u64, (Reader, u64)>,
    /// Being written into the executor's pipe.
    carried: BTreeMap<u64, AbortHandle>,
}

/// The streams of one lease.
#[derive(Default)]
pub(super) struct Coming(Mutex<Table>);

impl Coming {
    fn lock(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether one more may come.
    pub(super) fn room(&self) -> bool {
        let table = self.lock();
        table.waiting.len().saturating_add(table.carried.len()) < MAX_COMING
    }

    /// Keeps an opened stream of `size` bytes until its task is handed over.
    pub(super) fn keep(&self, task: u64, reader: Reader, size: u64) {
        self.lock().waiting.insert(task, (reader, size));
    }

    /// The size of the stream kept for this task.
    pub(super) fn size(&self, task: u64) -> Option<u64> {
        self.lock().waiting.get(&task).map(|(_, size)| *size)
    }

    /// The task was handed over: its stream flows from now on.
    pub(super) fn flow(&self, task: u64, handle: &Arc<dyn LeaseHandle>) {
        let Some((reader, size)) = self.lock().waiting.remove(&task) else {
            return;
        };
        let writer = handle.open_stdin(task).and_then(pipe::Sender::from_file);
        match writer {
            Ok(writer) => {
                let carrier = tokio::spawn(carry(task, reader, writer, size));
                self.lock().carried.insert(task, carrier.abort_handle());
            }
            // Without a writer the task sees its input end early, which is what has happened.
            Err(e) => tracing::warn!(target: "hive_runtime::exec", task, "no pipe to standard input: {e}"),
        }
    }

    /// The task has ended, or was never handed over.
    pub(super) fn end(&self, task: u64) {
        let mut table = self.lock();
        table.waiting.remove(&task);
        if let Some(carrier) = table.carried.remove(&task) {
            carrier.abort();
        }
    }

    /// The lease has ended.
    pub(super) fn end_all(&self) {
        let table = std::mem::take(&mut *self.lock());
        for carrier in table.carried.into_values() {
            carrier.abort();
        }
    }
}

/// Writes everything into the pipe. The writing end stays open afterwards, until the task has ended: what is still in
/// the pipe would be lost with it if the task had not opened its side yet.
async fn carry(task: u64, reader: Reader, mut writer: pipe::Sender, size: u64) {
    let mut reader = reader.take(size);
    match tokio::io::copy_buf(
        &mut tokio::io::BufReader::with_capacity(64 << 10, &mut reader),
        &mut writer,
    )
    .await
    {
        Ok(written) if written == size => std::future::pending().await,
        Ok(written) => {
            tracing::debug!(target: "hive_runtime::exec", task, written, size, "a stream ended early");
        }
        Err(e) => tracing::debug!(target: "hive_runtime::exec", task, "a stream broke: {e}"),
    }
}
