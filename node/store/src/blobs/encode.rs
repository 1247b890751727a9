//! Verified streams out: the blob with the hashes that prove each group, checked while it is read, so that a
//! damaged copy is noticed here and not by every receiver.

use super::{BlobStore, GROUP_BYTES, encoded_len, error::BlobError, outboard_path, tree};
use bao_tree::{
    BaoTree, ChunkRanges, TreeNode,
    iter::{BaoChunk, ResponseIter},
};
use hive_protocol::ids::BlobHash;
use std::{
    fs::File,
    io::{self, Write},
    os::unix::fs::FileExt,
};

/// Bytes gathered before they are written to a blocking sink.
const WRITE_BYTES: usize = 4 * GROUP_BYTES;

/// Produces one blob's stream piece by piece. Memory: what the caller asks for at once.
#[derive(Debug)]
pub struct Encoder {
    store: BlobStore,
    hash: BlobHash,
    size: u64,
    file: File,
    sent: u64,
    tree: Option<Walk>,
}

/// The way through the tree of a blob of several groups.
#[derive(Debug)]
struct Walk {
    tree: BaoTree,
    steps: ResponseIter,
    outboard: File,
    expected: Vec<[u8; 32]>,
    /// Bytes of the blob passed so far.
    offset: u64,
    mended: bool,
}

impl BlobStore {
    /// Opens a blob for sending. It can be sent to the end even if it is removed meanwhile.
    ///
    /// # Errors
    /// Not here, damaged, I/O.
    pub fn encoder(&self, hash: &BlobHash) -> Result<Encoder, BlobError> {
        let size = self.used(hash)?;
        let file = self.open_file(hash)?;
        let tree = if size <= GROUP_BYTES as u64 {
            None
        } else {
            let tree = BaoTree::new(size, tree::BLOCK);
            Some(Walk {
                tree,
                steps: ResponseIter::new(tree, ChunkRanges::all()),
                outboard: self.open_outboard(hash)?,
                expected: vec![hash.0],
                offset: 0,
                mended: false,
            })
        };
        Ok(Encoder {
            store: self.clone(),
            hash: *hash,
            size,
            file,
            sent: 0,
            tree,
        })
    }

    /// Sends a whole blob to a blocking writer; returns the bytes written.
    ///
    /// # Errors
    /// As [`Self::encoder`] and [`Encoder::fill`]; `blob.stream` when the writer fails.
    pub fn send(&self, hash: &BlobHash, to: &mut impl Write) -> Result<u64, BlobError> {
        let mut encoder = self.encoder(hash)?;
        let mut buf = Vec::new();
        loop {
            buf.clear();
            let more = encoder.fill(&mut buf, WRITE_BYTES)?;
            to.write_all(&buf).map_err(BlobError::Stream)?;
            if !more {
                return Ok(encoder.sent);
            }
        }
    }

    fn open_outboard(&self, hash: &BlobHash) -> Result<File, BlobError> {
        let path = outboard_path(&self.path(hash));
        match File::open(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                self.verify(hash)?;
                File::open(&path).map_err(|e| BlobError::io("open", &path, e))
            }
            other => other.map_err(|e| BlobError::io("open", &path, e)),
        }
    }
}

impl Encoder {
    /// The blob's size in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Bytes of the stream not yet produced.
    #[must_use]
    pub fn remaining(&self) -> u64 {
        encoded_len(self.size).saturating_sub(self.sent)
    }

    /// Appends the next items of the stream until `out` has at least `target` bytes (it may end up with up to a
    /// group more) or the blob ends. True when more is to come.
    ///
    /// # Errors
    /// `blob.damaged` when our copy is not what it was: then it is dropped. I/O.
    pub fn fill(&mut self, out: &mut Vec<u8>, target: usize) -> Result<bool, BlobError> {
        let before = out.len();
        let result = match self.tree.as_mut() {
            None => self.fill_small(out),
            Some(_) => self.fill_tree(out, target),
        };
        self.sent = self.sent.saturating_add((out.len() - before) as u64);
        result.map(|()| self.remaining() > 0)
    }

    fn fill_small(&self, out: &mut Vec<u8>) -> Result<(), BlobError> {
        if self.sent > 0 {
            return Ok(());
        }
        let start = out.len();
        self.read_data(out, 0, usize::try_from(self.size).unwrap_or_default())?;
        if BlobHash::of(out.get(start..).unwrap_or_default()) != self.hash {
            out.truncate(start);
            return Err(self.store.damaged(&self.hash, 0));
        }
        Ok(())
    }

    fn fill_tree(&mut self, out: &mut Vec<u8>, target: usize) -> Result<(), BlobError> {
        let left = usize::try_from(self.remaining()).unwrap_or(usize::MAX);
        out.reserve(left.min(target.saturating_add(GROUP_BYTES)));
        while out.len() < target {
            let Some(step) = self.tree.as_mut().and_then(|w| w.steps.next()) else {
                break;
            };
            match step {
                BaoChunk::Parent { node, is_root, .. } => self.pair(out, node, is_root)?,
                BaoChunk::Leaf { size, .. } => self.group(out, size)?,
            }
        }
        Ok(())
    }

    fn group(&mut self, out: &mut Vec<u8>, size: usize) -> Result<(), BlobError> {
        let Some(offset) = self.tree.as_ref().map(|w| w.offset) else {
            return Ok(());
        };
        let start = out.len();
        self.read_data(out, offset, size)?;
        let actual = tree::group_hash(offset, out.get(start..).unwrap_or_default());
        let Some(walk) = self.tree.as_mut() else {
            return Ok(());
        };
        if walk.expected.pop() != Some(actual) {
            out.truncate(start);
            return Err(self.store.damaged(&self.hash, offset));
        }
        walk.offset += size as u64;
        Ok(())
    }

    fn pair(&mut self, out: &mut Vec<u8>, node: TreeNode, root: bool) -> Result<(), BlobError> {
        let Some(walk) = self.tree.as_mut() else {
            return Ok(());
        };
        let expected = walk.expected.pop();
        loop {
            let pair = walk.load(node);
            let sound = pair
                .and_then(|p| Some((p, tree::split_pair(&p)?)))
                .filter(|(_, (l, r))| expected == Some(tree::pair_hash(l, r, root)));
            if let Some((pair, (left, right))) = sound {
                out.extend_from_slice(&pair);
                walk.expected.push(right);
                walk.expected.push(left);
                return Ok(());
            }
            if walk.mended {
                return Err(self.store.damaged(&self.hash, walk.offset));
            }
            // The hashes are wrong, not necessarily the bytes: make the hashes anew from the bytes, once.
            walk.mended = true;
            self.store.verify(&self.hash)?;
            walk.outboard = self.store.open_outboard(&self.hash)?;
        }
    }

    fn read_data(&self, out: &mut Vec<u8>, offset: u64, size: usize) -> Result<(), BlobError> {
        let start = out.len();
        out.resize(start + size, 0);
        let buf = out.get_mut(start..).unwrap_or_default();
        self.file.read_exact_at(buf, offset).map_err(|e| match e.kind() {
            io::ErrorKind::UnexpectedEof => self.store.damaged(&self.hash, offset),
            _ => BlobError::io("read", &self.store.path(&self.hash), e),
        })
    }
}

impl Walk {
    fn load(&self, node: TreeNode) -> Option<[u8; tree::PAIR_BYTES]> {
        let mut pair = [0; tree::PAIR_BYTES];
        let at = self
            .tree
            .post_order_offset(node)?
            .value()
            .checked_mul(tree::PAIR_BYTES as u64)?;
        self.outboard.read_exact_at(&mut pair, at).ok()?;
        Some(pair)
    }
}
