//! Fetching over `/hive/blob/1`: a few long-lived streams per peer, every byte verified before it is kept.

use hive_net::{NetHandle, NetStream, frame};
use hive_protocol::{
    blob::{BlobReply, BlobRequest, GROUP, PROTOCOL},
    ids::{BlobHash, LeaseId, NodeId},
    task::BlobRef,
};
use hive_store::BlobStore;
use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{
    io::AsyncReadExt,
    sync::{OwnedSemaphorePermit, Semaphore, broadcast},
};

/// Streams to one peer: more gain nothing on one connection and cost the provider memory.
const STREAMS_PER_PEER: usize = 4;
/// Peers remembered with idle streams.
const MAX_PEERS: usize = 256;
/// Distinct blobs being fetched at once.
const MAX_FETCHING: usize = 4096;
/// A reply, or the next bytes, must come within this time.
const STALLED: Duration = Duration::from_secs(30);

/// Why a blob could not be had.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{detail}")]
pub struct FetchError {
    /// Stable code: `blob.unavailable`, `blob.corrupt`, `store.quota`, `store.disk_full`, …
    pub code: String,
    /// One line for people.
    pub detail: String,
    /// Whether this node's own disk is at fault.
    pub ours: bool,
}

impl FetchError {
    fn peer(code: &str, detail: impl Into<String>) -> Self {
        Self {
            code: code.to_owned(),
            detail: detail.into(),
            ours: false,
        }
    }
    fn store(e: &hive_store::BlobError) -> Self {
        let code = e.code();
        let ours = code.starts_with("store.");
        Self {
            code: code.to_owned(),
            detail: e.to_string(),
            ours,
        }
    }
}

struct Pool {
    idle: Mutex<Vec<NetStream>>,
    places: Arc<Semaphore>,
}

type Flight = broadcast::Sender<Option<FetchError>>;

/// Fetches blobs into the store. Cheap to clone.
#[derive(Clone)]
pub struct Fetcher {
    net: NetHandle,
    store: BlobStore,
    pools: Arc<Mutex<BTreeMap<NodeId, Arc<Pool>>>>,
    flights: Arc<Mutex<BTreeMap<BlobHash, Flight>>>,
    received: Arc<AtomicU64>,
}

impl Fetcher {
    /// A fetcher into this store; `received` counts bytes of blobs that arrived whole.
    #[must_use]
    pub fn new(net: NetHandle, store: BlobStore, received: Arc<AtomicU64>) -> Self {
        Self {
            net,
            store,
            pools: Arc::default(),
            flights: Arc::default(),
            received,
        }
    }

    /// Makes sure that a blob is in the store: from its inline bytes, or from the peer. Two that want the same
    /// blob at once share one transfer.
    ///
    /// # Errors
    /// [`FetchError`].
    pub async fn fetch(&self, from: NodeId, lease: LeaseId, blob: &BlobRef) -> Result<(), FetchError> {
        if self.store.has(&blob.hash) {
            return Ok(());
        }
        if let Some(bytes) = &blob.inline {
            return self
                .store
                .add_expected(&blob.hash, bytes)
                .map(|_| ())
                .map_err(|e| FetchError::store(&e));
        }
        let joined = {
            let mut flights = self.flights.lock().unwrap_or_else(PoisonError::into_inner);
            match flights.get(&blob.hash) {
                Some(flight) => Some(flight.subscribe()),
                None if flights.len() >= MAX_FETCHING => {
                    return Err(FetchError::peer("blob.busy", "too many transfers at once"));
                }
                None => {
                    flights.insert(blob.hash, broadcast::channel(1).0);
                    None
                }
            }
        };
        if let Some(mut flight) = joined {
            return match flight.recv().await {
                Ok(None) => Ok(()),
                Ok(Some(e)) => Err(e),
                Err(_) if self.store.has(&blob.hash) => Ok(()),
                Err(_) => Err(FetchError::peer("blob.unavailable", "the transfer was given up")),
            };
        }
        // The guard ends the flight even if this future is dropped in the middle.
        let guard = Landing {
            flights: &self.flights,
            hash: blob.hash,
            result: Some(FetchError::peer("blob.unavailable", "the transfer was given up")),
        };
        let result = self.transfer(from, lease, blob).await;
        guard.land(result.as_ref().err().cloned());
        result
    }

    async fn transfer(&self, from: NodeId, lease: LeaseId, blob: &BlobRef) -> Result<(), FetchError> {
        if blob.size > self.store.budget().free() {
            // What nobody needs any more goes first; pins keep the rest. If it is not enough the store says so.
            let (store, size) = (self.store.clone(), blob.size);
            let _ = tokio::task::spawn_blocking(move || store.make_room(size)).await;
        }
        let (pool, place) = self.place(from).await?;
        // An idle stream may have died meanwhile: then one fresh one is tried.
        let idle = pool.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        if let Some(stream) = idle {
            match self.over(stream, lease, blob).await {
                Ok(stream) => return self.done(&pool, stream, blob, place),
                Err(Failed::Blob(e)) => return Err(e),
                Err(Failed::Stream(_)) => {}
            }
        }
        let stream = self
            .net
            .open(from, PROTOCOL)
            .await
            .map_err(|e| FetchError::peer("blob.unavailable", format!("{}: {e}", blob.hash.short())))?;
        match self.over(stream, lease, blob).await {
            Ok(stream) => self.done(&pool, stream, blob, place),
            Err(Failed::Blob(e)) => Err(e),
            Err(Failed::Stream(detail)) => Err(FetchError::peer(
                "blob.unavailable",
                format!("{} from {from:?}: {detail}", blob.hash.short()),
            )),
        }
    }

    fn done(
        &self,
        pool: &Pool,
        stream: NetStream,
        blob: &BlobRef,
        place: OwnedSemaphorePermit,
    ) -> Result<(), FetchError> {
        self.received.fetch_add(blob.size, Ordering::Relaxed);
        pool.idle
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(stream);
        drop(place);
        Ok(())
    }

    async fn place(&self, from: NodeId) -> Result<(Arc<Pool>, OwnedSemaphorePermit), FetchError> {
        let pool = {
            let mut pools = self.pools.lock().unwrap_or_else(PoisonError::into_inner);
            if pools.len() >= MAX_PEERS && !pools.contains_key(&from) {
                // Only pools nobody uses may go; their idle streams close with them.
                pools.retain(|_, pool| Arc::strong_count(pool) > 1);
            }
            let fresh = || {
                Arc::new(Pool {
                    idle: Mutex::default(),
                    places: Arc::new(Semaphore::new(STREAMS_PER_PEER)),
                })
            };
            Arc::clone(pools.entry(from).or_insert_with(fresh))
        };
        let places = Arc::clone(&pool.places);
        let place = places
            .acquire_owned()
            .await
            .map_err(|_| FetchError::peer("blob.unavailable", "stopping"))?;
        Ok((pool, place))
    }

    /// One request on one stream; the stream comes back when it can be used again.
    async fn over(&self, mut stream: NetStream, lease: LeaseId, blob: &BlobRef) -> Result<NetStream, Failed> {
        let request = BlobRequest {
            hash: blob.hash,
            lease: Some(lease),
            max_size: blob.size,
        };
        let broke = |e: &dyn std::fmt::Display| Failed::Stream(e.to_string());
        frame::write(&mut stream, &request).await.map_err(|e| broke(&e))?;
        let reply = tokio::time::timeout(STALLED, frame::read::<BlobReply, _>(&mut stream))
            .await
            .map_err(|_| Failed::Stream("no reply".into()))?
            .map_err(|e| broke(&e))?;
        let name = blob.hash.short();
        let size = match reply {
            Some(BlobReply::Found { size }) if size == blob.size => size,
            Some(BlobReply::Found { size } | BlobReply::TooLarge { size }) => {
                let detail = format!("{name}: has {size} bytes there, {} were announced", blob.size);
                return Err(Failed::Blob(FetchError::peer("blob.corrupt", detail)));
            }
            Some(BlobReply::NotFound) => {
                return Err(Failed::Blob(FetchError::peer(
                    "blob.unavailable",
                    format!("{name}: the peer does not give it"),
                )));
            }
            Some(BlobReply::Busy) => {
                return Err(Failed::Blob(FetchError::peer(
                    "blob.busy",
                    format!("{name}: the peer is busy"),
                )));
            }
            None => return Err(Failed::Stream("closed instead of a reply".into())),
        };
        if size <= GROUP {
            let mut bytes = vec![0; usize::try_from(size).unwrap_or(0)];
            tokio::time::timeout(STALLED, stream.read_exact(&mut bytes))
                .await
                .map_err(|_| Failed::Stream("stalled".into()))?
                .map_err(|e| broke(&e))?;
            self.store
                .add_expected(&blob.hash, &bytes)
                .map_err(|e| Failed::Blob(FetchError::store(&e)))?;
            return Ok(stream);
        }
        let mut decoder = self
            .store
            .decoder_async(blob.hash, size, blob.size)
            .map_err(|e| Failed::Blob(FetchError::store(&e)))?;
        let mut buffer = Vec::new();
        while decoder.remaining() > 0 {
            let want = usize::try_from(decoder.remaining().min(512 << 10)).unwrap_or(512 << 10);
            buffer.clear();
            buffer.reserve(want);
            let mut part = (&mut stream).take(want as u64);
            let read = tokio::time::timeout(STALLED, part.read_buf(&mut buffer))
                .await
                .map_err(|_| Failed::Stream("stalled".into()))?
                .map_err(|e| broke(&e))?;
            if read == 0 {
                return Err(Failed::Stream(format!(
                    "ended {} bytes early",
                    decoder.remaining()
                )));
            }
            buffer = decoder
                .feed(buffer)
                .await
                .map_err(|e| Failed::Blob(FetchError::store(&e)))?;
        }
        decoder
            .finish()
            .await
            .map_err(|e| Failed::Blob(FetchError::store(&e)))?;
        Ok(stream)
    }
}

enum Failed {
    /// The stream is of no use any more; another may do.
    Stream(String),
    /// The blob cannot be had this way.
    Blob(FetchError),
}

struct Landing<'a> {
    flights: &'a Mutex<BTreeMap<BlobHash, Flight>>,
    hash: BlobHash,
    result: Option<FetchError>,
}

impl Landing<'_> {
    fn land(mut self, result: Option<FetchError>) {
        self.result = result;
    }
}

impl Drop for Landing<'_> {
    fn drop(&mut self) {
        let flight = self
            .flights
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&self.hash);
        if let Some(flight) = flight {
            // Nobody else may be waiting.
            let _ = flight.send(self.result.take());
        }
    }
}
