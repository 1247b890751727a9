//! The mark: how far the log was durable when it was last said.
//!
//! Written after every sync, without a sync of its own: it reaches the disk when the system pleases, so it may lag
//! behind the log but can never run ahead of it. Two slots in two sectors, written in turn, so that a torn
//! mark leaves the one before it.

use super::{LogError, LogFile, Storage, record::Reader};
use hive_protocol::ids::NetworkId;

pub(super) const FILE: &str = "ledger.mark";
const SLOT: u64 = 4096;
const BODY: usize = 4 + 32 + 8 + 8 + 32;
const MAGIC: [u8; 4] = *b"hLm\xb1";
const KEY: [u8; 32] = *b"hivenode ledger durability marks";

/// What a mark says: all records below `next` had been synced, and the last of them has this hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    pub sequence: u64,
    pub next: u64,
    pub hash: [u8; 32],
}

/// The open mark file.
pub(super) struct MarkFile {
    file: Box<dyn LogFile>,
    network: NetworkId,
    sequence: u64,
}

pub(super) fn encode(network: NetworkId, mark: &Mark) -> Vec<u8> {
    let mut out = Vec::with_capacity(BODY + 32);
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&network.0);
    out.extend_from_slice(&mark.sequence.to_le_bytes());
    out.extend_from_slice(&mark.next.to_le_bytes());
    out.extend_from_slice(&mark.hash);
    let hash = blake3::keyed_hash(&KEY, &out);
    out.extend_from_slice(hash.as_bytes());
    out
}

pub(super) fn parse(bytes: &[u8], network: NetworkId) -> Option<Mark> {
    let (body, hash) = bytes.get(..BODY + 32)?.split_last_chunk::<32>()?;
    let mut fields = Reader(body);
    if fields.take::<4>().ok()? != MAGIC
        || blake3::keyed_hash(&KEY, body) != *hash
        || fields.take::<32>().ok()? != network.0
    {
        return None;
    }
    Some(Mark {
        sequence: fields.number().ok()?,
        next: fields.number().ok()?,
        hash: fields.take().ok()?,
    })
}

impl MarkFile {
    /// Opens the mark file or makes it; the second value is the newest whole mark, if there is one.
    pub(super) fn open(
        storage: &dyn Storage,
        network: NetworkId,
        exists: bool,
    ) -> Result<(Self, Option<Mark>), LogError> {
        let file = if exists {
            storage.open(FILE)
        } else {
            storage.create(FILE)
        }
        .map_err(LogError::disk("opening", FILE))?;
        let len = file.len().map_err(LogError::disk("sizing", FILE))?;
        let mut newest: Option<Mark> = None;
        for slot in 0..2 {
            let at = slot * SLOT;
            if len < at + (BODY + 32) as u64 {
                continue;
            }
            let mut bytes = [0; BODY + 32];
            file.read_at(at, &mut bytes)
                .map_err(LogError::disk("reading", FILE))?;
            if let Some(mark) = parse(&bytes, network)
                && newest.is_none_or(|n| n.sequence < mark.sequence)
            {
                newest = Some(mark);
            }
        }
        let sequence = newest.map_or(0, |m| m.sequence.saturating_add(1));
        let this = Self {
            file,
            network,
            sequence,
        };
        Ok((this, newest))
    }

    /// Says that everything below `next` is durable. Call only after the sync that made it so.
    pub(super) fn write(&mut self, next: u64, hash: [u8; 32]) -> Result<(), LogError> {
        let mark = Mark {
            sequence: self.sequence,
            next,
            hash,
        };
        let at = (self.sequence % 2) * SLOT;
        self.sequence = self.sequence.saturating_add(1);
        self.file
            .write_at(at, &encode(self.network, &mark))
            .map_err(LogError::disk("writing", FILE))
    }

    /// Makes the last mark itself durable.
    pub(super) fn sync(&self) -> Result<(), LogError> {
        self.file.sync_data().map_err(LogError::disk("fdatasync", FILE))
    }
}
