//! Verified streams in: a state machine fed with bytes as they arrive. No group is written before it is verified.

use super::{
    Added, BlobStore, GROUP_BYTES, encoded_len,
    error::BlobError,
    part::{self, Part},
    tree,
};
use bao_tree::{
    BaoTree, ChunkRanges,
    iter::{BaoChunk, ResponseIter},
};
use hive_protocol::ids::BlobHash;
use std::io::{self, Read};

/// Bytes read at once from a blocking source.
const READ_BYTES: usize = 4 * GROUP_BYTES;

/// Receives one blob. Memory: at most one group; dropped unfinished, it leaves nothing.
#[derive(Debug)]
pub struct Decoder {
    store: BlobStore,
    hash: BlobHash,
    want: u64,
    got: u64,
    state: State,
}

#[derive(Debug)]
enum State {
    /// At most one group: its hash is the check.
    Small(Vec<u8>),
    Large(Box<Large>),
    /// Wrong bytes came at this offset, or (`None`) the disk refused; nothing more is taken.
    Failed(Option<u64>),
}

#[derive(Debug)]
struct Large {
    part: Part,
    walk: ResponseIter,
    next: Option<Item>,
    /// Hashes still to be met, the next one last; one per level of the tree.
    expected: Vec<[u8; 32]>,
    /// The beginning of an item that has not arrived whole.
    partial: Vec<u8>,
}

/// What the stream holds next.
#[derive(Debug, Clone, Copy)]
struct Item {
    leaf: bool,
    root: bool,
    bytes: usize,
}

impl BlobStore {
    /// Starts to receive the blob `hash`, said to have `size` bytes, of at most `cap`.
    /// The stream is the bytes themselves up to 64 KiB, else the bao pre-order stream with 64 KiB groups.
    ///
    /// # Errors
    /// `blob.too_large`, `store.quota`, `store.disk_full`, I/O; all before a byte is taken.
    pub fn decoder(&self, hash: BlobHash, size: u64, cap: u64) -> Result<Decoder, BlobError> {
        tree::check_size(size, cap)?;
        let state = if size <= GROUP_BYTES as u64 {
            State::Small(Vec::new())
        } else {
            let mut walk = ResponseIter::new(BaoTree::new(size, tree::BLOCK), ChunkRanges::all());
            let next = item(walk.next());
            let part = Part::create(self, size)?;
            State::Large(Box::new(Large {
                part,
                walk,
                next,
                expected: vec![hash.0],
                partial: Vec::new(),
            }))
        };
        Ok(Decoder {
            store: self.clone(),
            hash,
            want: encoded_len(size),
            got: 0,
            state,
        })
    }

    /// Receives a blob from a blocking reader, taking exactly the bytes of its stream.
    ///
    /// # Errors
    /// As [`Self::decoder`], [`Decoder::feed`] and [`Decoder::finish`]; `blob.stream` when the reader fails.
    pub fn receive(
        &self,
        hash: BlobHash,
        size: u64,
        cap: u64,
        from: &mut impl Read,
    ) -> Result<Added, BlobError> {
        let mut decoder = self.decoder(hash, size, cap)?;
        decoder.read_from(from)?;
        decoder.finish()
    }

    /// As [`Self::receive`], and the source must end there.
    ///
    /// # Errors
    /// As [`Self::receive`]; `blob.too_large` when more bytes follow.
    pub fn receive_to_end(
        &self,
        hash: BlobHash,
        size: u64,
        cap: u64,
        from: &mut impl Read,
    ) -> Result<Added, BlobError> {
        let mut decoder = self.decoder(hash, size, cap)?;
        decoder.read_from(from)?;
        if decoder.is_complete() && part::read_group(from, &mut [0]).map_err(BlobError::Stream)? > 0 {
            return Err(BlobError::TooLarge {
                size: size.saturating_add(1),
                cap: size,
            });
        }
        decoder.finish()
    }
}

impl Decoder {
    /// Bytes of the stream still to come.
    #[must_use]
    pub fn remaining(&self) -> u64 {
        self.want - self.got
    }

    /// True when the whole stream has been taken and verified (small blobs: verified by [`Self::finish`]).
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.remaining() == 0 && !matches!(self.state, State::Failed(_))
    }

    /// Takes bytes of the stream in any portions and returns how many belonged to this blob;
    /// the rest of `input`, if any, follows it on the wire.
    ///
    /// # Errors
    /// `blob.corrupt` at the first wrong group; quota, full disk, I/O. Then the decoder is of no more use.
    pub fn feed(&mut self, input: &[u8]) -> Result<usize, BlobError> {
        let take = usize::try_from(self.remaining())
            .unwrap_or(usize::MAX)
            .min(input.len());
        let input = input.get(..take).unwrap_or_default();
        match &mut self.state {
            State::Failed(offset) => return Err(failed_before(self.hash, *offset)),
            State::Small(buf) => buf.extend_from_slice(input),
            State::Large(large) => {
                if let Err(e) = large.feed(input, self.hash) {
                    self.state = State::Failed(match &e {
                        BlobError::Corrupt { offset, .. } => Some(*offset),
                        _ => None,
                    });
                    return Err(e);
                }
            }
        }
        self.got += take as u64;
        Ok(take)
    }

    /// Makes the blob visible.
    ///
    /// # Errors
    /// `blob.truncated` when bytes are missing; `blob.corrupt`; quota, full disk, I/O.
    pub fn finish(self) -> Result<Added, BlobError> {
        let (hash, got, want) = (self.hash, self.got, self.want);
        match self.state {
            State::Failed(offset) => Err(failed_before(hash, offset)),
            _ if got < want => Err(BlobError::Truncated { hash, got, want }),
            State::Small(bytes) => self.store.add_expected(&hash, &bytes),
            State::Large(large) => large.part.finish(Some(hash)),
        }
    }

    fn read_from(&mut self, from: &mut impl Read) -> Result<(), BlobError> {
        let size = usize::try_from(self.remaining())
            .unwrap_or(READ_BYTES)
            .min(READ_BYTES);
        let mut buf = vec![0; size];
        while self.remaining() > 0 {
            let n = usize::try_from(self.remaining()).unwrap_or(size).min(size);
            let n = match from.read(buf.get_mut(..n).unwrap_or_default()) {
                Ok(0) => break,
                Ok(n) => n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(BlobError::Stream(e)),
            };
            self.feed(buf.get(..n).unwrap_or_default())?;
        }
        Ok(())
    }
}

impl Large {
    fn feed(&mut self, mut input: &[u8], hash: BlobHash) -> Result<(), BlobError> {
        while let Some(item) = self.next {
            if self.partial.is_empty()
                && let Some((whole, rest)) = input.split_at_checked(item.bytes)
            {
                self.accept(item, whole, hash)?;
                input = rest;
                continue;
            }
            let (now, rest) = input.split_at(input.len().min(item.bytes - self.partial.len()));
            self.partial.extend_from_slice(now);
            input = rest;
            if self.partial.len() < item.bytes {
                break;
            }
            let whole = std::mem::take(&mut self.partial);
            self.accept(item, &whole, hash)?;
            self.partial = whole;
            self.partial.clear();
        }
        Ok(())
    }

    /// Verifies one whole item and writes it if it is data.
    fn accept(&mut self, item: Item, bytes: &[u8], hash: BlobHash) -> Result<(), BlobError> {
        let offset = self.part.written();
        let expected = self.expected.pop();
        if item.leaf {
            let actual = tree::group_hash(offset, bytes);
            if expected != Some(actual) {
                return Err(BlobError::Corrupt { hash, offset });
            }
            self.part.write(bytes, actual)?;
        } else {
            let pair =
                tree::split_pair(bytes).filter(|(l, r)| expected == Some(tree::pair_hash(l, r, item.root)));
            let (left, right) = pair.ok_or(BlobError::Corrupt { hash, offset })?;
            self.expected.push(right);
            self.expected.push(left);
        }
        self.next = self::item(self.walk.next());
        Ok(())
    }
}

/// The sender is blamed again only if it was to blame.
fn failed_before(hash: BlobHash, offset: Option<u64>) -> BlobError {
    match offset {
        Some(offset) => BlobError::Corrupt { hash, offset },
        None => BlobError::Stream(io::Error::other("this blob's stream failed before")),
    }
}

fn item(chunk: Option<BaoChunk>) -> Option<Item> {
    Some(match chunk? {
        BaoChunk::Parent { is_root, .. } => Item {
            leaf: false,
            root: is_root,
            bytes: tree::PAIR_BYTES,
        },
        BaoChunk::Leaf { size, is_root, .. } => Item {
            leaf: true,
            root: is_root,
            bytes: size,
        },
    })
}
