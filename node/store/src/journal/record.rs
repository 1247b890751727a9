//! How a record lies in the journal: schema, checksum over key and content, payload.

/// The longest key, in bytes.
pub const MAX_KEY_BYTES: usize = 256;
/// The largest payload, in bytes; larger things are blobs.
pub const MAX_PAYLOAD_BYTES: usize = 32 << 10;

pub(super) const TAG_BYTES: usize = 16;
const SCHEMA_BYTES: usize = 2;

/// A small versioned record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Version of the payload's format; the reader decides what it understands.
    pub schema: u16,
    /// At most [`MAX_PAYLOAD_BYTES`].
    pub payload: Vec<u8>,
}

/// BLAKE3 cut to 128 bits over key and content: a record under a wrong key is damaged too.
pub(super) type Tag = [u8; TAG_BYTES];

fn tag(key: &[u8], schema: u16, payload: &[u8]) -> Tag {
    let mut h = blake3::Hasher::new();
    h.update(&(key.len() as u64).to_le_bytes());
    h.update(key);
    h.update(&schema.to_le_bytes());
    h.update(payload);
    let mut tag = [0; TAG_BYTES];
    h.finalize_xof().fill(&mut tag);
    tag
}

/// The bytes stored for a record under the full key, and their tag.
pub(super) fn encode(key: &[u8], record: &Record) -> (Vec<u8>, Tag) {
    let tag = tag(key, record.schema, &record.payload);
    let mut bytes = Vec::with_capacity(SCHEMA_BYTES + TAG_BYTES + record.payload.len());
    bytes.extend_from_slice(&record.schema.to_le_bytes());
    bytes.extend_from_slice(&tag);
    bytes.extend_from_slice(&record.payload);
    (bytes, tag)
}

/// The record stored under the full key; `None` when it is damaged.
pub(super) fn decode(key: &[u8], bytes: &[u8]) -> Option<Record> {
    let (schema, rest) = bytes.split_first_chunk::<SCHEMA_BYTES>()?;
    let (stored, payload) = rest.split_first_chunk::<TAG_BYTES>()?;
    let schema = u16::from_le_bytes(*schema);
    (tag(key, schema, payload) == *stored).then(|| Record {
        schema,
        payload: payload.to_vec(),
    })
}

/// The tag a stored record carries, right or wrong.
pub(super) fn stored_tag(bytes: &[u8]) -> Option<Tag> {
    bytes.get(SCHEMA_BYTES..)?.first_chunk::<TAG_BYTES>().copied()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn every_flipped_bit_and_every_other_key_is_noticed() {
        let r = Record {
            schema: 3,
            payload: b"task 7 done".to_vec(),
        };
        let (bytes, tag) = encode(b"k", &r);
        assert_eq!(decode(b"k", &bytes), Some(r));
        assert_eq!(stored_tag(&bytes), Some(tag));
        assert_eq!(decode(b"l", &bytes), None);
        for bit in 0..bytes.len() * 8 {
            let mut b = bytes.clone();
            b[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(decode(b"k", &b), None, "bit {bit}");
        }
        for n in 0..bytes.len() {
            assert_eq!(decode(b"k", &bytes[..n]), None);
        }
    }
}
