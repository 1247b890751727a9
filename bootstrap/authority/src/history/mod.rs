//! Old history: the lines of accounts that no longer fit the state's memory, in a sled index.
//!
//! Never a truth: every line comes from the log, the index says up to which record it has followed, and when it is
//! missing, behind, damaged or of another log it is caught up or made anew from the log. Its flush is no fsync,
//! and nothing waits for it.

mod lines;
mod writer;

pub(crate) use lines::{merge, touched};
pub(crate) use writer::{Feed, Writer};

use crate::log::Tip;
use hive_protocol::{
    authority::LedgerLine,
    codec,
    ids::{AccountId, NetworkId},
};
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

/// Memory sled may use for its cache.
const CACHE_BYTES: u64 = 8 << 20;
/// What a process kill may lose of the index; it is caught up from the log.
const FLUSH_EVERY_MS: u64 = 1000;
/// Largest encoded line: a memo and a few numbers.
const MAX_LINE: usize = 1024;
const VERSION: u8 = 1;
const APPLIED: &[u8] = b"applied";

/// Why the index cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HistoryError {
    /// sled.
    #[error("history index: {0}")]
    Sled(#[from] sled::Error),
    /// sled ended by a panic while opening, as it does on some damage.
    #[error("history index: sled gave up opening it")]
    Panic,
    /// A value is damaged or of another version.
    #[error("history index: the entry under {0:02x?} is damaged")]
    Damaged(Vec<u8>),
    /// A line does not fit.
    #[error("history index: {0}")]
    Codec(#[from] codec::CodecError),
    /// The old index could not be moved out of the way.
    #[error("history index: {0}")]
    Io(#[from] std::io::Error),
}

/// The open index. Cheap to clone.
#[derive(Clone)]
pub(crate) struct History {
    db: sled::Db,
    /// Records below this number are in the index.
    next: Arc<AtomicU64>,
}

/// How far the index has followed the log: all records below `next`, the last of them with this hash.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Applied {
    pub next: u64,
    pub hash: [u8; 32],
}

impl History {
    /// Opens the index of this mesh; one that is damaged or of another mesh is moved aside and begun anew.
    pub(crate) fn open(path: &Path, network: NetworkId) -> Result<(Self, Applied), HistoryError> {
        match Self::try_open(path, network) {
            Ok(opened) => Ok(opened),
            Err(e) => {
                tracing::warn!(target: "hive_authority", "{e}; it is made anew from the log");
                Self::set_aside(path)?;
                Self::try_open(path, network)
            }
        }
    }

    /// Moves the index out of the way, replacing an earlier one set aside.
    pub(crate) fn set_aside(path: &Path) -> Result<(), HistoryError> {
        let aside = path.with_extension("bad");
        if aside.exists() {
            std::fs::remove_dir_all(&aside)?;
        }
        if path.exists() {
            std::fs::rename(path, aside)?;
        }
        Ok(())
    }

    fn try_open(path: &Path, network: NetworkId) -> Result<(Self, Applied), HistoryError> {
        let open = || {
            sled::Config::new()
                .path(path)
                .cache_capacity(CACHE_BYTES)
                .flush_every_ms(Some(FLUSH_EVERY_MS))
                .open()
        };
        let db = catch_unwind(AssertUnwindSafe(open)).map_err(|_| HistoryError::Panic)??;
        let applied = match db.get(APPLIED)? {
            None => Applied::default(),
            Some(value) => {
                let (of, next, hash): (NetworkId, u64, [u8; 32]) = unseal(APPLIED, &value)?;
                if of != network {
                    return Err(HistoryError::Damaged(APPLIED.to_vec()));
                }
                Applied { next, hash }
            }
        };
        let next = Arc::new(AtomicU64::new(applied.next));
        Ok((Self { db, next }, applied))
    }

    /// Records below this number are in the index.
    pub(crate) fn next(&self) -> u64 {
        self.next.load(Ordering::Acquire)
    }

    /// Adds lines and notes how far the log has been followed, all or nothing.
    fn apply(
        &self,
        network: NetworkId,
        lines: &[(AccountId, LedgerLine)],
        tip: &Tip,
    ) -> Result<(), HistoryError> {
        let mut batch = sled::Batch::default();
        let mut last: Option<(&AccountId, u64)> = None;
        let mut number = 0_u16;
        for (account, line) in lines {
            // Lines of one account and record come together, oldest first.
            number = if last == Some((account, line.index)) {
                number.saturating_add(1)
            } else {
                0
            };
            last = Some((account, line.index));
            batch.insert(key(account, line.index, number), seal(line)?);
        }
        batch.insert(APPLIED, seal(&(network, tip.next, tip.hash))?);
        self.db.apply_batch(batch)?;
        Ok(())
    }

    /// Lines of an account in records below `before`, newest first.
    pub(crate) fn before(
        &self,
        account: &AccountId,
        before: u64,
    ) -> impl Iterator<Item = Result<LedgerLine, HistoryError>> + use<> {
        let range = key(account, 0, 0)..key(account, before, 0);
        self.db.range(range).rev().map(|entry| {
            let (key, value) = entry?;
            unseal(&key, &value)
        })
    }

    fn flush(&self) -> Result<(), HistoryError> {
        self.db.flush()?;
        Ok(())
    }
}

fn key(account: &AccountId, index: u64, number: u16) -> Vec<u8> {
    let mut key = Vec::with_capacity(42);
    key.extend_from_slice(&account.0);
    key.extend_from_slice(&index.to_be_bytes());
    key.extend_from_slice(&number.to_be_bytes());
    key
}

fn seal<T: serde::Serialize>(value: &T) -> Result<Vec<u8>, HistoryError> {
    let body = codec::encode("history line", value, MAX_LINE)?;
    let mut out = Vec::with_capacity(body.len() + 5);
    out.push(VERSION);
    out.extend_from_slice(&crc32c::crc32c(&body).to_le_bytes());
    out.extend_from_slice(&body);
    Ok(out)
}

fn unseal<T: serde::de::DeserializeOwned>(key: &[u8], value: &[u8]) -> Result<T, HistoryError> {
    let damaged = || HistoryError::Damaged(key.to_vec());
    let (head, body) = value.split_first_chunk::<5>().ok_or_else(damaged)?;
    let [version, sum @ ..] = *head;
    if version != VERSION || crc32c::crc32c(body).to_le_bytes() != sum {
        return Err(damaged());
    }
    Ok(codec::decode("history line", body, MAX_LINE)?)
}
