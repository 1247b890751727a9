//! Wire protocol `/hive/file/1`: content by hash, any part of it, from anybody who has that part.
//!
//! Participants: a node that wants content; nodes that have all or some of it. The fetcher writes [`FileRequest`]
//! frames, up to [`MAX_PIPELINE`] ahead; the provider answers each in order with one [`FileReply`] frame and the
//! raw bytes that the reply announces. It runs over a bulk channel or over a stream of the mesh.
//!
//! Content is a BLAKE3 tree cut at two heights: groups of 64 KiB and segments of 4 MiB (64 groups, a complete
//! subtree). A fetcher first learns the chaining values of all segments, which must merge to the root it asked
//! for; then, with each segment's first groups, those of its groups, which must merge to the segment's. From then
//! on every group stands for itself: it may come from anybody, in any order, and is checked before it is kept.
//!
//! Goals: at most 64 KiB unverified; partial content can be served; the provider hashes nothing and only reads.
//! Non-goals: finding providers; deciding who may have what.
//! Reference for the tree: "BLAKE3: one function, fast everywhere", sections 2.4 and 2.5.

use crate::{
    codec::Message,
    ids::{BlobHash, LeaseId, NodeId},
};
use serde::{Deserialize, Serialize};

/// The protocol's name on the wire.
pub const PROTOCOL: &str = "/hive/file/1";
/// Bytes that are verified together.
pub const GROUP: u64 = 64 << 10;
/// Groups of a segment: one bit each in a request's mask.
pub const GROUPS_PER_SEGMENT: u32 = 64;
/// Bytes of a segment, what is asked for at once.
pub const SEGMENT: u64 = GROUP * GROUPS_PER_SEGMENT as u64;
/// The largest content in bytes (1 TiB): 262,144 segments, 8 MiB of chaining values.
pub const MAX_CONTENT: u64 = 1 << 40;
/// Requests a fetcher may have unanswered on one stream.
pub const MAX_PIPELINE: usize = 16;
/// Contents of one [`FileRequest::Many`].
pub const MAX_MANY: usize = 2048;
/// Bytes all contents of one [`FileRequest::Many`] may have together; what is over it is not given.
pub const MAX_MANY_BYTES: u64 = 16 << 20;
/// The longest a provider waits before it answers [`FileRequest::Have`] without news, in milliseconds.
pub const MAX_HAVE_WAIT_MS: u32 = 10_000;
/// Fetchers that a provider names in [`FileReply::Have`].
pub const MAX_FETCHERS: usize = 32;
/// Largest content of a small file that [`FileRequest::Many`] gives, in bytes: its hash is its check.
pub const MAX_SMALL: u64 = GROUP;
/// Bytes of one row of a content-defined chunk list: hash of the chunk, then its length (u32, little endian).
pub const CHUNK_ROW: usize = 36;
/// Chunks of a content-defined chunk list at most (36 bytes each on the wire).
pub const MAX_CHUNKS: u32 = 1 << 22;

/// Number of segments of content of `size` bytes; at least one.
#[must_use]
pub const fn segments(size: u64) -> u64 {
    let n = size.div_ceil(SEGMENT);
    if n == 0 { 1 } else { n }
}

/// Number of groups of a segment of content of `size` bytes; 0 for a segment it does not have. Empty content has
/// one segment of one empty group.
#[must_use]
pub const fn groups_of(size: u64, segment: u64) -> u32 {
    if segment >= segments(size) {
        return 0;
    }
    let left = size.saturating_sub(segment * SEGMENT);
    let n = left.div_ceil(GROUP);
    if n == 0 {
        1
    } else if n > GROUPS_PER_SEGMENT as u64 {
        GROUPS_PER_SEGMENT
    } else {
        n as u32
    }
}

/// The mask of all groups of a segment.
#[must_use]
pub const fn whole_mask(size: u64, segment: u64) -> u64 {
    match groups_of(size, segment) {
        0 => 0,
        64 => u64::MAX,
        n => (1 << n) - 1,
    }
}

/// First byte and length in bytes of a group; length 0 for a group that content of `size` bytes does not have.
#[must_use]
pub const fn group_span(size: u64, segment: u64, group: u32) -> (u64, u64) {
    let at = segment
        .saturating_mul(SEGMENT)
        .saturating_add(group as u64 * GROUP);
    let left = size.saturating_sub(at);
    (at, if left < GROUP { left } else { GROUP })
}

/// Bytes of the groups of `mask` together.
#[must_use]
pub fn mask_bytes(size: u64, segment: u64, mask: u64) -> u64 {
    let mut sum = 0;
    let mut rest = mask & whole_mask(size, segment);
    while rest != 0 {
        sum += group_span(size, segment, rest.trailing_zeros()).1;
        rest &= rest - 1;
    }
    sum
}

/// Why the asker may have it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, Debug)]
pub enum Via {
    /// It is an input or output of a task under this lease.
    Lease(LeaseId),
    /// It was given to the asker: it is this root itself, or listed in this root's manifest.
    Root(BlobHash),
}

/// A wish.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub enum FileRequest {
    /// What the provider has of it; answered by [`FileReply::Have`] when it has more than `seen` segments, or has
    /// it whole, or after `wait_ms`.
    Have {
        /// Which content.
        hash: BlobHash,
        /// Why.
        via: Via,
        /// Segments known to be there already.
        seen: u32,
        /// At most [`MAX_HAVE_WAIT_MS`].
        wait_ms: u32,
    },
    /// Size and chaining values of all segments; answered by [`FileReply::Tree`].
    Tree {
        /// Which content.
        hash: BlobHash,
        /// Why.
        via: Via,
        /// The most bytes the asker would take.
        max_size: u64,
    },
    /// Groups of one segment; answered by [`FileReply::Segment`].
    Segment {
        /// Which content.
        hash: BlobHash,
        /// Why.
        via: Via,
        /// Which segment, counted from 0.
        segment: u32,
        /// Which groups, lowest bit first.
        mask: u64,
        /// Whether the chaining values of all groups of the segment go before the bytes.
        hashes: bool,
    },
    /// Several small contents, each of at most [`MAX_SMALL`] bytes; answered by [`FileReply::Many`].
    Many {
        /// Why.
        via: Via,
        /// At most [`MAX_MANY`].
        hashes: Vec<BlobHash>,
    },
    /// Boundaries and hashes of content-defined chunks; answered by [`FileReply::Chunks`]. A hint for finding bytes
    /// in an older version: what is found is checked against the tree all the same.
    Chunks {
        /// Which content.
        hash: BlobHash,
        /// Why.
        via: Via,
    },
}

impl Message for FileRequest {
    const NAME: &'static str = "file request";
    const PROTO: u16 = 15;
    const VERSION: u16 = 1;
    const MAX: usize = 128 + MAX_MANY * 32;
}

/// What the provider says before the bytes.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub enum FileReply {
    /// What is here.
    Have {
        /// Size of the content in bytes; 0 when nothing of it is known here.
        size: u64,
        /// Whether all of it is here: then `segments` is empty.
        whole: bool,
        /// One bit for each segment that is here whole, lowest bit of the first byte first; may be shorter than all.
        segments: Vec<u8>,
        /// Nodes fetching it from this provider now, the asker among them, in key order; at most [`MAX_FETCHERS`].
        fetchers: Vec<NodeId>,
    },
    /// The chaining values of all segments follow, 32 bytes each; none for content of at most one segment, whose
    /// root is checked with its groups.
    Tree {
        /// Size of the content in bytes.
        size: u64,
    },
    /// The chaining values of all groups of the segment follow if asked for (none for content of one group), then
    /// the bytes of the groups of the mask, in order.
    Segment {
        /// The mask, as asked.
        mask: u64,
        /// Bytes of the groups together, without the chaining values.
        bytes: u32,
    },
    /// The contents follow back to back, in the order asked.
    Many {
        /// Size of each in bytes, `u32::MAX` for one that is not given.
        sizes: Vec<u32>,
    },
    /// Rows of [`CHUNK_ROW`] bytes follow.
    Chunks {
        /// How many.
        count: u32,
    },
    /// Not here, or not for this peer (the two are not told apart), or not that part of it.
    NotFound,
    /// Larger than the asker takes.
    TooLarge {
        /// Size of the content in bytes.
        size: u64,
    },
    /// It was here, but its file has been changed or taken away.
    Changed,
    /// Too much asked at once; again after this time.
    Busy {
        /// Milliseconds.
        retry_ms: u32,
    },
}

impl Message for FileReply {
    const NAME: &'static str = "file reply";
    const PROTO: u16 = 16;
    const VERSION: u16 = 1;
    const MAX: usize = 64 + (1 << 15) + MAX_FETCHERS * 32;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_cover_every_byte_once() {
        for size in [
            0,
            1,
            GROUP - 1,
            GROUP,
            GROUP + 1,
            SEGMENT,
            SEGMENT + 1,
            3 * SEGMENT + 5 * GROUP + 7,
        ] {
            let (mut at, mut sum) = (0, 0);
            for segment in 0..segments(size) {
                sum += mask_bytes(size, segment, u64::MAX);
                for group in 0..groups_of(size, segment) {
                    let (from, len) = group_span(size, segment, group);
                    assert_eq!(from, at, "{size}");
                    at += len;
                }
            }
            assert_eq!((at, sum), (size, size));
            assert_eq!(groups_of(size, segments(size)), 0);
            assert_eq!(whole_mask(size, segments(size)), 0);
        }
        assert_eq!((groups_of(0, 0), whole_mask(0, 0)), (1, 1));
        assert_eq!(group_span(u64::MAX, u64::MAX, 63).1, 0);
    }
}
