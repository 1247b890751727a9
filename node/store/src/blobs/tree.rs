//! The BLAKE3 tree of a blob in groups of 64 KiB: sizes, hashes, and the outboard written as groups arrive.
//!
//! The outboard holds one 64-byte pair of hashes per inner node, children before parents (post-order), so it
//! can be appended to before the size is known. It is what bao-tree calls a post-order outboard.

use super::error::BlobError;
use bao_tree::BlockSize;
use blake3::{
    Hasher,
    hazmat::{HasherExt, Mode, merge_subtrees_non_root, merge_subtrees_root},
};
use hive_protocol::ids::BlobHash;
use std::io::{self, Write};

/// Bytes that are verified together; a blob up to this size needs no outboard.
pub const GROUP_BYTES: usize = 64 << 10;
/// [`GROUP_BYTES`] as bao-tree counts: 2^6 chunks of 1 KiB.
pub(crate) const BLOCK: BlockSize = BlockSize::from_chunk_log(6);
/// The largest blob, in bytes (1 TiB): keeps tree arithmetic far from overflow and its stacks below 32 entries.
pub const MAX_BLOB_BYTES: u64 = 1 << 40;
/// Bytes of one inner node: the hashes of its two children.
pub(crate) const PAIR_BYTES: usize = 64;

/// How many groups a blob of `size` bytes has; at least one.
pub(crate) const fn groups(size: u64) -> u64 {
    let n = size.div_ceil(GROUP_BYTES as u64);
    if n == 0 { 1 } else { n }
}

/// Bytes of a blob's outboard.
pub(crate) const fn outboard_len(size: u64) -> u64 {
    (groups(size) - 1) * PAIR_BYTES as u64
}

/// Bytes of the verified stream of a blob of `size` bytes.
#[must_use]
pub const fn encoded_len(size: u64) -> u64 {
    outboard_len(size) + size
}

/// What a blob of `size` bytes counts against the quota: whole 4 KiB blocks of both files, at least one, so that
/// a flood of tiny blobs is paid for too.
#[must_use]
pub const fn charge(size: u64) -> u64 {
    const BLOCK: u64 = 4096;
    let data = size.div_ceil(BLOCK);
    let data = if data == 0 { 1 } else { data };
    (data + outboard_len(size).div_ceil(BLOCK)) * BLOCK
}

/// The chaining value of one group of a blob of several groups. `data` must not be empty.
pub(crate) fn group_hash(offset: u64, data: &[u8]) -> [u8; 32] {
    Hasher::new()
        .set_input_offset(offset)
        .update(data)
        .finalize_non_root()
}

/// The hash of an inner node.
pub(crate) fn pair_hash(left: &[u8; 32], right: &[u8; 32], root: bool) -> [u8; 32] {
    if root {
        *merge_subtrees_root(left, right, Mode::Hash).as_bytes()
    } else {
        merge_subtrees_non_root(left, right, Mode::Hash)
    }
}

/// Splits a stored or received pair.
pub(crate) fn split_pair(pair: &[u8]) -> Option<([u8; 32], [u8; 32])> {
    let (left, right) = pair.split_first_chunk::<32>()?;
    Some((*left, right.try_into().ok()?))
}

/// Builds the tree from group hashes in order, writing the outboard as it goes. Holds one hash per level.
#[derive(Debug, Default)]
pub(crate) struct TreeBuilder {
    stack: Vec<[u8; 32]>,
    groups: u64,
}

impl TreeBuilder {
    /// Adds the next group.
    pub(crate) fn push(&mut self, group: [u8; 32], outboard: &mut impl Write) -> io::Result<()> {
        // A complete left subtree is merged only now that something follows it: it might have been the root.
        while self.stack.len() > self.groups.count_ones() as usize {
            self.merge(false, outboard)?;
        }
        self.stack.push(group);
        self.groups += 1;
        Ok(())
    }

    /// Closes the tree of at least two groups and returns its root.
    pub(crate) fn finish(mut self, outboard: &mut impl Write) -> io::Result<BlobHash> {
        while self.stack.len() > 1 {
            self.merge(self.stack.len() == 2, outboard)?;
        }
        self.stack
            .pop()
            .map(BlobHash)
            .ok_or_else(|| io::Error::other("a tree without groups"))
    }

    fn merge(&mut self, root: bool, outboard: &mut impl Write) -> io::Result<()> {
        if let (Some(right), Some(left)) = (self.stack.pop(), self.stack.pop()) {
            outboard.write_all(&left)?;
            outboard.write_all(&right)?;
            self.stack.push(pair_hash(&left, &right, root));
        }
        Ok(())
    }
}

/// Refuses a size no blob may have.
pub(crate) fn check_size(size: u64, cap: u64) -> Result<(), BlobError> {
    let cap = cap.min(MAX_BLOB_BYTES);
    if size > cap {
        Err(BlobError::TooLarge { size, cap })
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use bao_tree::{BaoTree, io::sync::outboard_post_order};

    #[test]
    fn builds_what_bao_tree_and_blake3_build() {
        let data: Vec<u8> = (0..3_000_000u32).map(|i| ((i * 31) >> 3) as u8).collect();
        for groups_wanted in 2..=45usize {
            for size in [groups_wanted * GROUP_BYTES, (groups_wanted - 1) * GROUP_BYTES + 1] {
                let data = &data[..size];
                let (mut ours, mut theirs) = (Vec::new(), Vec::new());
                let mut b = TreeBuilder::default();
                for (i, g) in data.chunks(GROUP_BYTES).enumerate() {
                    b.push(group_hash((i * GROUP_BYTES) as u64, g), &mut ours)
                        .unwrap();
                }
                let root = b.finish(&mut ours).unwrap();
                outboard_post_order(data, BaoTree::new(size as u64, BLOCK), &mut theirs).unwrap();
                assert_eq!(root, BlobHash::of(data), "{size}");
                assert_eq!(ours, theirs, "{size}");
                assert_eq!(ours.len() as u64, outboard_len(size as u64));
            }
        }
    }

    #[test]
    fn sizes_at_the_edges() {
        assert_eq!((outboard_len(0), encoded_len(0), charge(0)), (0, 0, 4096));
        assert_eq!((outboard_len(65_536), charge(65_536)), (0, 65_536));
        assert_eq!((outboard_len(65_537), charge(65_537)), (64, 65_536 + 8192));
        assert!(charge(MAX_BLOB_BYTES) > MAX_BLOB_BYTES);
        assert!(check_size(MAX_BLOB_BYTES + 1, u64::MAX).is_err());
    }
}
