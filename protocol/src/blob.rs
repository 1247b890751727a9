//! Wire protocol `/hive/blob/1`: fetching content by hash.
//!
//! Participants: a node that wants a blob; a node that has it. The fetcher keeps a stream open and writes
//! [`BlobRequest`] frames; the provider answers each in order with one [`BlobReply`] frame and, for
//! `Found`, the bytes as a bao stream (64 KiB groups, pre-order, combined) of the whole blob. Goals: nothing
//! unverified reaches the disk; a provider cannot send more than it announced. Non-goal: finding providers.
//! Blobs of at most one group (64 KiB) travel as plain bytes: their hash is the check.

use crate::{
    codec::Message,
    ids::{BlobHash, LeaseId},
};
use serde::{Deserialize, Serialize};

/// The protocol's name on the wire.
pub const PROTOCOL: &str = "/hive/blob/1";
/// Requests a fetcher may have unanswered on one stream.
pub const MAX_PIPELINE: usize = 64;
/// Size of a verified group in bytes.
pub const GROUP: u64 = 64 << 10;

/// A wish for one blob.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct BlobRequest {
    /// Which blob.
    pub hash: BlobHash,
    /// The lease that entitles the asker; absent for shared blobs.
    pub lease: Option<LeaseId>,
    /// The most bytes the asker will take.
    pub max_size: u64,
}

impl Message for BlobRequest {
    const NAME: &'static str = "blob request";
    const PROTO: u16 = 11;
    const VERSION: u16 = 1;
    const MAX: usize = 128;
}

/// What the provider says before the bytes.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub enum BlobReply {
    /// The bytes follow.
    Found {
        /// Size of the blob in bytes.
        size: u64,
    },
    /// Not here, or not for this peer (the two are not told apart).
    NotFound,
    /// Larger than the asker takes.
    TooLarge {
        /// Size of the blob in bytes.
        size: u64,
    },
    /// Too much asked at once; try again later.
    Busy,
}

impl Message for BlobReply {
    const NAME: &'static str = "blob reply";
    const PROTO: u16 = 12;
    const VERSION: u16 = 1;
    const MAX: usize = 64;
}
