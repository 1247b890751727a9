//! From a request to the bytes of its answer, piece by piece: everything here runs on blocking threads or takes
//! microseconds.

use crate::access::{Access, Verdict};
use hive_protocol::{
    codec,
    file::{self, CHUNK_ROW, FileReply, FileRequest, MAX_CHUNKS, MAX_MANY, Via},
    ids::{BlobHash, NodeId},
};
use hive_store::files::{FileStore, FilesError, Source};
use std::sync::Arc;

/// Groups of one piece: read by one thread while the piece before is encrypted and sent by another. Half a
/// megabyte fits the second level cache of both.
pub const PIECE_GROUPS: u32 = 8;
/// A provider that cannot read its own disk now says so and is asked again after this time, in milliseconds.
const DISK_RETRY_MS: u32 = 2000;
/// Bytes that one answer with small contents gives at most; the rest of those asked for is not given, and is asked
/// for again.
pub const MANY_GIVEN: usize = 4 << 20;
/// Sources kept open by one session.
const MAX_OPEN: usize = 8;

/// What one session has open.
pub struct Opened {
    store: FileStore,
    access: Access,
    node: NodeId,
    /// Most recently used last.
    sources: Vec<(Via, Arc<Source>)>,
    /// Of the access table when they were opened.
    revision: u64,
}

/// Why there is no answer of the kind asked for.
pub type Refused = FileReply;

/// A segment to send: what is left of it.
pub struct Sending {
    source: Arc<Source>,
    segment: u64,
    mask: u64,
}

fn refusal(e: &FilesError) -> Refused {
    match e {
        FilesError::NotFound { .. } | FilesError::NotHere { .. } | FilesError::Incomplete { .. } => {
            FileReply::NotFound
        }
        FilesError::Changed { .. } | FilesError::Damaged { .. } => FileReply::Changed,
        other => {
            tracing::warn!(error = %other, code = other.code(), "cannot read what was asked for");
            FileReply::Busy {
                retry_ms: DISK_RETRY_MS,
            }
        }
    }
}

/// Appends a reply's frame.
pub fn frame(reply: &FileReply, out: &mut Vec<u8>) {
    if let Err(e) = codec::frame_into(reply, out) {
        // Every reply is built within its bounds; should one not be, the fetcher hears no rather than nothing.
        tracing::error!(error = %e, "a reply over its bound");
        drop(codec::frame_into(&FileReply::NotFound, out));
    }
}

impl Opened {
    /// Nothing open yet, for this peer.
    pub const fn new(store: FileStore, access: Access, node: NodeId) -> Self {
        Self {
            store,
            access,
            node,
            sources: Vec::new(),
            revision: 0,
        }
    }

    /// Whether the peer may have this content.
    pub fn may(&self, via: Via, hash: &BlobHash) -> bool {
        match self.access.check(self.node, via, hash) {
            Verdict::Yes => true,
            Verdict::No => false,
            Verdict::IfListed(root) => self.store.lists(&root, hash),
        }
    }

    fn source(&mut self, via: Via, hash: &BlobHash) -> Result<Arc<Source>, Refused> {
        let revision = self.access.revision();
        if revision != self.revision {
            self.sources.clear();
            self.revision = revision;
        }
        if let Some(at) = self
            .sources
            .iter()
            .position(|(v, s)| *v == via && s.hash() == *hash)
        {
            let found = self.sources.remove(at);
            let source = Arc::clone(&found.1);
            self.sources.push(found);
            return Ok(source);
        }
        if !self.may(via, hash) {
            return Err(FileReply::NotFound);
        }
        let source = Arc::new(self.store.source(hash).map_err(|e| refusal(&e))?);
        if self.sources.len() >= MAX_OPEN {
            self.sources.remove(0);
        }
        self.sources.push((via, Arc::clone(&source)));
        Ok(source)
    }

    fn forget(&mut self, hash: &BlobHash) {
        self.sources.retain(|(_, s)| s.hash() != *hash);
    }

    /// Appends the answer to a request (not [`FileRequest::Have`], which may have to wait), the rest of which may
    /// have to be read piece by piece.
    pub fn reply(&mut self, request: &FileRequest, groups: u32, out: &mut Vec<u8>) -> Option<Sending> {
        match request {
            FileRequest::Tree { hash, via, max_size } => self.tree(*via, hash, *max_size, out),
            FileRequest::Segment {
                hash,
                via,
                segment,
                mask,
                hashes,
            } => {
                let what = (u64::from(*segment), *mask, *hashes);
                return self.segment((*via, hash), what, groups, out);
            }
            FileRequest::Many { via, hashes } => self.many(*via, hashes, out),
            FileRequest::Chunks { hash, via } => self.chunks(*via, hash, out),
            FileRequest::Have { .. } => frame(&FileReply::NotFound, out),
        }
        None
    }

    /// The size and segments of a content.
    fn tree(&mut self, via: Via, hash: &BlobHash, max_size: u64, out: &mut Vec<u8>) {
        let answer = self.source(via, hash).and_then(|source| {
            let size = source.size();
            if size > max_size {
                return Err(FileReply::TooLarge { size });
            }
            let cvs = source.segment_cvs().map_err(|e| refusal(&e))?;
            Ok((size, cvs))
        });
        match answer {
            Ok((size, cvs)) => {
                frame(&FileReply::Tree { size }, out);
                out.extend(cvs.iter().flatten());
            }
            Err(refused) => frame(&refused, out),
        }
    }

    /// The frame of a segment's answer, its chaining values and its first piece; the rest comes by [`Sending::next`].
    fn segment(
        &mut self,
        (via, hash): (Via, &BlobHash),
        what: (u64, u64, bool),
        groups: u32,
        out: &mut Vec<u8>,
    ) -> Option<Sending> {
        match self.begin_segment((via, hash), what, groups, out) {
            Ok(sending) => Some(sending),
            Err(refused) => {
                if refused == FileReply::Changed {
                    self.forget(hash);
                }
                out.clear();
                frame(&refused, out);
                None
            }
        }
    }

    fn begin_segment(
        &mut self,
        (via, hash): (Via, &BlobHash),
        (segment, mask, hashes): (u64, u64, bool),
        groups: u32,
        out: &mut Vec<u8>,
    ) -> Result<Sending, Refused> {
        let source = self.source(via, hash)?;
        let whole = file::whole_mask(source.size(), segment);
        // An empty mask asks for the chaining values alone.
        if (mask == 0 && !hashes) || whole == 0 || mask & !whole != 0 || !source.has(segment, mask) {
            return Err(FileReply::NotFound);
        }
        let bytes = file::mask_bytes(source.size(), segment, mask);
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        frame(&FileReply::Segment { mask, bytes }, out);
        if hashes {
            let cvs = source.group_cvs(segment).map_err(|e| refusal(&e))?;
            out.extend(cvs.iter().flatten());
        }
        let mut sending = Sending {
            source,
            segment,
            mask,
        };
        if mask == 0 {
            return Ok(sending);
        }
        sending.next(groups, out).map_err(|e| refusal(&e))?;
        Ok(sending)
    }

    /// Small contents, packed.
    fn many(&self, via: Via, hashes: &[BlobHash], out: &mut Vec<u8>) {
        if hashes.len() > MAX_MANY {
            return frame(&FileReply::NotFound, out);
        }
        let allowed: Vec<BlobHash> = hashes.iter().copied().filter(|h| self.may(via, h)).collect();
        let (mut bytes, mut given) = (Vec::new(), Vec::with_capacity(allowed.len()));
        if let Err(e) = self
            .store
            .small(&allowed, &mut bytes, &mut given, MANY_GIVEN as u64)
        {
            return frame(&refusal(&e), out);
        }
        let mut given = given.into_iter();
        let mut of_allowed = allowed.iter().peekable();
        let sizes = hashes.iter().map(|h| {
            if of_allowed.next_if(|a| *a == h).is_some() {
                given.next().unwrap_or(u32::MAX)
            } else {
                u32::MAX
            }
        });
        let sizes = sizes.collect();
        frame(&FileReply::Many { sizes }, out);
        out.append(&mut bytes);
    }

    /// Content-defined chunks.
    fn chunks(&self, via: Via, hash: &BlobHash, out: &mut Vec<u8>) {
        if !self.may(via, hash) {
            return frame(&FileReply::NotFound, out);
        }
        match self.store.chunks(hash) {
            Ok(rows) if rows.len() <= MAX_CHUNKS as usize => {
                let count = u32::try_from(rows.len()).unwrap_or(MAX_CHUNKS);
                frame(&FileReply::Chunks { count }, out);
                out.reserve(rows.len().saturating_mul(CHUNK_ROW));
                for (hash, len) in rows {
                    out.extend_from_slice(&hash);
                    out.extend_from_slice(&len.to_le_bytes());
                }
            }
            Ok(_) => frame(&FileReply::NotFound, out),
            Err(e) => frame(&refusal(&e), out),
        }
    }
}

impl Sending {
    /// Whether all has been read.
    pub const fn is_done(&self) -> bool {
        self.mask == 0
    }

    /// Appends the next groups.
    ///
    /// # Errors
    /// The source has changed or cannot be read: the stream must be broken off, because its frame has been sent.
    pub fn next(&mut self, groups: u32, out: &mut Vec<u8>) -> Result<(), FilesError> {
        let (mut now, mut rest) = (0, self.mask);
        for _ in 0..groups {
            now |= rest & rest.wrapping_neg();
            rest &= rest.wrapping_sub(1);
        }
        self.source.read(self.segment, now, out)?;
        self.mask = rest;
        Ok(())
    }
}
