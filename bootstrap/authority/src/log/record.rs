//! One record: the bytes on disk and how they are read back.
//!
//! Little endian: magic 4, version u16, length u16 (of the whole record), mesh 32, term u64, index u64, time u64 (ms),
//! durable u64, previous record's hash 32, payload, BLAKE3 hash 32 over everything before it. The hash is the
//! checksum of this record and the link the next one names.

use hive_protocol::{ids::NetworkId, time::Timestamp};

/// Largest record in bytes: the limit of a transparency-log leaf.
pub const MAX_RECORD: usize = 65_535;
/// Bytes of a record before its payload.
pub(super) const HEAD: usize = 4 + 2 + 2 + 32 + 8 * 4 + 32;
const HASH: usize = 32;
/// Largest payload in bytes.
pub const MAX_PAYLOAD: usize = MAX_RECORD - HEAD - HASH;
/// What a segment may hold over its size and one batch: a header and one record more.
pub(super) const MAX_SLACK: u64 = (MAX_RECORD + 4096) as u64;
pub(super) const MAGIC: [u8; 4] = *b"hLr\xb1";
pub(super) const VERSION: u16 = 1;
// A key of its own: a record's hash never equals a hash of the same bytes elsewhere.
const KEY: [u8; 32] = *b"hivenode ledger record version 1";

/// A record read back from the log, checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// The mesh it belongs to.
    pub network: NetworkId,
    /// Term of the authority that wrote it.
    pub term: u64,
    /// Its number, from 0.
    pub index: u64,
    /// When it was written; never before the record ahead of it.
    pub time: Timestamp,
    /// Records below this number were known durable when it was written.
    pub durable: u64,
    /// Hash of the record ahead of it; zeros for the first.
    pub prev: [u8; 32],
    /// What it says, as received.
    pub payload: &'a [u8],
    /// Its hash.
    pub hash: [u8; 32],
}

/// Why bytes are no record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Broken {
    /// The file ends within it.
    Short,
    /// It does not begin like one.
    Magic,
    /// A length no record has.
    Length,
    /// The checksum does not match.
    Hash,
    /// The checksum matches, but the format is a newer one.
    Version(u16),
}

impl Broken {
    pub(super) const fn text(self) -> &'static str {
        match self {
            Self::Short => "the file ends within the record",
            Self::Magic => "no record begins here",
            Self::Length => "the record's length is impossible",
            Self::Hash => "the record's checksum does not match",
            Self::Version(_) => "the record has an unknown format version",
        }
    }
}

/// The fields of a record to be written.
pub(super) struct Head {
    pub network: NetworkId,
    pub term: u64,
    pub index: u64,
    pub time: Timestamp,
    pub durable: u64,
    pub prev: [u8; 32],
}

/// Appends a record to `out` and returns its hash; `None` when the payload is too large.
pub(super) fn encode(out: &mut Vec<u8>, head: &Head, payload: &[u8]) -> Option<[u8; 32]> {
    if payload.len() > MAX_PAYLOAD {
        return None;
    }
    let len = u16::try_from(HEAD + payload.len() + HASH).ok()?;
    let start = out.len();
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&VERSION.to_le_bytes());
    out.extend_from_slice(&len.to_le_bytes());
    out.extend_from_slice(&head.network.0);
    for n in [head.term, head.index, head.time.0, head.durable] {
        out.extend_from_slice(&n.to_le_bytes());
    }
    out.extend_from_slice(&head.prev);
    out.extend_from_slice(payload);
    let hash = *blake3::keyed_hash(&KEY, out.get(start..)?).as_bytes();
    out.extend_from_slice(&hash);
    Some(hash)
}

/// Reads the record at the start of `bytes` and says how long it is.
pub(super) fn parse(bytes: &[u8]) -> Result<(Record<'_>, usize), Broken> {
    let mut head = Reader(bytes);
    if head.take::<4>()? != MAGIC {
        return Err(Broken::Magic);
    }
    let version = u16::from_le_bytes(head.take()?);
    let len = usize::from(u16::from_le_bytes(head.take()?));
    if len < HEAD + HASH {
        return Err(Broken::Length);
    }
    let whole = bytes.get(..len).ok_or(Broken::Short)?;
    let (body, hash) = whole.split_last_chunk::<HASH>().ok_or(Broken::Length)?;
    if blake3::keyed_hash(&KEY, body) != *hash {
        return Err(Broken::Hash);
    }
    if version != VERSION {
        return Err(Broken::Version(version));
    }
    let record = Record {
        network: NetworkId(head.take()?),
        term: head.number()?,
        index: head.number()?,
        time: Timestamp(head.number()?),
        durable: head.number()?,
        prev: head.take()?,
        payload: body.get(HEAD..).ok_or(Broken::Length)?,
        hash: *hash,
    };
    Ok((record, len))
}

/// Takes fixed-size fields off the front of bytes.
pub(super) struct Reader<'a>(pub &'a [u8]);

impl Reader<'_> {
    pub(super) fn take<const N: usize>(&mut self) -> Result<[u8; N], Broken> {
        let (field, rest) = self.0.split_first_chunk::<N>().ok_or(Broken::Short)?;
        self.0 = rest;
        Ok(*field)
    }
    pub(super) fn number(&mut self) -> Result<u64, Broken> {
        self.take().map(u64::from_le_bytes)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    fn head() -> Head {
        Head {
            network: NetworkId([3; 32]),
            term: 1,
            index: 7,
            time: Timestamp(9),
            durable: 6,
            prev: [5; 32],
        }
    }

    #[test]
    fn round_trip_every_bit_counts_every_cut_is_noticed() {
        let mut bytes = Vec::new();
        let hash = encode(&mut bytes, &head(), b"payload").unwrap();
        let (record, len) = parse(&bytes).unwrap();
        assert_eq!(
            (len, record.hash, record.payload),
            (bytes.len(), hash, b"payload".as_slice())
        );
        assert_eq!((record.index, record.durable, record.time.0), (7, 6, 9));
        for cut in 0..bytes.len() {
            assert!(parse(&bytes[..cut]).is_err(), "cut at {cut}");
        }
        for bit in 0..bytes.len() * 8 {
            let mut bad = bytes.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(parse(&bad).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn the_largest_payload_fits_and_one_more_does_not() {
        let mut out = Vec::new();
        assert!(encode(&mut out, &head(), &vec![1; MAX_PAYLOAD]).is_some());
        assert_eq!(out.len(), MAX_RECORD);
        assert!(encode(&mut Vec::new(), &head(), &vec![1; MAX_PAYLOAD + 1]).is_none());
    }
}
