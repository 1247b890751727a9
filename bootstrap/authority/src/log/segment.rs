//! Segment files: their names and their headers.
//!
//! `log-<first index, 20 digits>.seg`, beginning with: magic 4, version u16, zero u16, mesh 32, first index u64,
//! hash of the record ahead 32, BLAKE3 hash 32 of all that. Records follow without gaps.

use super::record::{Broken, Reader};
use hive_protocol::ids::NetworkId;

/// A segment that has reached this size is closed and the next one begun.
pub const SEGMENT_BYTES: u64 = 8 << 20;
pub(super) const HEADER: usize = 4 + 2 + 2 + 32 + 8 + 32 + 32;
const MAGIC: [u8; 4] = *b"hLs\xb1";
const VERSION: u16 = 1;
const KEY: [u8; 32] = *b"hivenode ledger segment head v 1";

/// What a segment says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SegmentHead {
    pub network: NetworkId,
    pub first: u64,
    pub prev: [u8; 32],
}

pub(super) fn name(first: u64) -> String {
    format!("log-{first:020}.seg")
}

/// The first index of the segment with this file name.
pub(super) fn first_of(name: &str) -> Option<u64> {
    let digits = name.strip_prefix("log-")?.strip_suffix(".seg")?;
    (digits.len() == 20).then(|| digits.parse().ok()).flatten()
}

pub(super) fn encode(head: &SegmentHead) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEADER);
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&VERSION.to_le_bytes());
    out.extend_from_slice(&[0; 2]);
    out.extend_from_slice(&head.network.0);
    out.extend_from_slice(&head.first.to_le_bytes());
    out.extend_from_slice(&head.prev);
    let hash = blake3::keyed_hash(&KEY, &out);
    out.extend_from_slice(hash.as_bytes());
    out
}

pub(super) fn parse(bytes: &[u8]) -> Result<SegmentHead, Broken> {
    let whole = bytes.get(..HEADER).ok_or(Broken::Short)?;
    let (body, hash) = whole.split_last_chunk::<32>().ok_or(Broken::Short)?;
    let mut fields = Reader(body);
    if fields.take::<4>()? != MAGIC {
        return Err(Broken::Magic);
    }
    if blake3::keyed_hash(&KEY, body) != *hash {
        return Err(Broken::Hash);
    }
    let version = u16::from_le_bytes(fields.take()?);
    if version != VERSION {
        return Err(Broken::Version(version));
    }
    fields.take::<2>()?;
    Ok(SegmentHead {
        network: NetworkId(fields.take()?),
        first: fields.number()?,
        prev: fields.take()?,
    })
}
