//! The ledger's log: append-only, checksummed, hash-chained segment files; the one truth the authority has.
//!
//! Owns the format of records and segments, group commit, and what may be repaired when it is opened.
//! Must not know what a payload means: bytes go in, the same bytes come out in the same order.
//!
//! **Promise.** When [`Log::sync`] has returned, every record appended before it survives power loss.
//! **How a torn tail is told from damage.** Every record says below which number all were already durable when
//! it was written, and after every sync a small mark file says how far the log reached. On opening, a broken
//! record may be cut off only when nothing proves that it had been durable: it lies in the last segment, the mark
//! does not cover it, and no readable record behind it says so. Everything else is damage and refuses to open.
//! What stays undetectable on one machine: damage to the very last batch together with the loss of the mark.

mod error;
#[cfg(test)]
mod golden;
mod mark;
mod open;
mod record;
mod segment;
mod storage;
mod write;

pub use error::LogError;
pub use open::{OpenReport, Torn};
pub use record::{MAX_PAYLOAD, MAX_RECORD, Record};
pub use segment::SEGMENT_BYTES;
pub use storage::{DirStorage, LogFile, Storage};
pub use write::{Log, LogStats, MAX_BATCH_BYTES, Tip};
