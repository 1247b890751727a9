//! Everything a node keeps on its disk except the ledger: the data folder, blobs, the job journal, keys.
//!
//! Owns file layout, integrity and disk accounting. Knows nothing of peers, jobs, money or policy:
//! what to keep, what to fetch and when to make room is decided by the runtime.

pub mod blobs;
pub mod budget;
pub mod dir;
pub mod files;
pub mod journal;
pub mod keys;

pub use blobs::{
    Added, AsyncDecoder, AsyncEncoder, BlobError, BlobStore, BlobWriter, Decoder, Encoder, GROUP_BYTES,
    GcReport, Import, LoadReport, MAX_BLOB_BYTES, Usage,
};
pub use budget::{DiskBudget, QuotaExceeded, Reservation};
pub use dir::{DataDir, DirError, FORMAT_VERSION};
pub use journal::{Journal, JournalAlarm, JournalError, Op, Record, ScanPage, SledJournal};
pub use keys::{KeyError, KeyKind};
