//! The bounded codec: the only way bytes of a peer or of a file become values.
//!
//! Encoding is bincode 1.3.3 with fixed-width little-endian integers. Every message travels in an
//! envelope `{protocol u16, version u16, body}` and every frame on a stream is `{length u32, envelope}`,
//! all little endian. A byte limit is checked before anything is allocated and trailing bytes are refused.

use bincode::Options;
use serde::{Serialize, de::DeserializeOwned};

/// Bytes of the envelope before the body: protocol and version, two bytes each.
pub const ENVELOPE_LEN: usize = 4;
/// Bytes of a frame's length prefix.
pub const FRAME_PREFIX_LEN: usize = 4;
/// The largest frame any protocol may ask for, envelope included.
pub const MAX_FRAME: usize = 4 << 20;

/// Why bytes could not become a value, or a value bytes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// More bytes than this message may have.
    #[error("{what}: {size} bytes are over the limit of {limit}")]
    TooLarge {
        /// The message's name.
        what: &'static str,
        /// Its size in bytes, where known.
        size: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// Not a whole, well-formed value of this type, or bytes left over after it.
    #[error("{what}: malformed: {detail}")]
    Malformed {
        /// The message's name.
        what: &'static str,
        /// What the decoder met.
        detail: String,
    },
    /// The envelope names another protocol.
    #[error("{what}: protocol {found} instead of {expected}")]
    Protocol {
        /// The message's name.
        what: &'static str,
        /// The number found.
        found: u16,
        /// The number this message has.
        expected: u16,
    },
    /// The envelope names a version this program does not speak.
    #[error(
        "{what}: version {found} is not spoken here (this program speaks {spoken}); update the older side"
    )]
    Version {
        /// The message's name.
        what: &'static str,
        /// The version found.
        found: u16,
        /// The version this program speaks.
        spoken: u16,
    },
}

/// A type that travels in an envelope.
pub trait Message: Serialize + DeserializeOwned {
    /// Its name in errors and in docs/protocol.
    const NAME: &'static str;
    /// The protocol number in the envelope; unique in this crate.
    const PROTO: u16;
    /// The version in the envelope.
    const VERSION: u16;
    /// The largest body in bytes, at most [`MAX_FRAME`] less the envelope.
    const MAX: usize;
}

fn options(limit: usize) -> impl Options {
    bincode::DefaultOptions::new()
        .with_fixint_encoding()
        .with_little_endian()
        .with_limit(limit as u64)
        .reject_trailing_bytes()
}

fn malformed(what: &'static str, e: &bincode::ErrorKind) -> CodecError {
    CodecError::Malformed {
        what,
        detail: e.to_string().chars().take(200).collect(),
    }
}

/// Encodes a bare value (no envelope) of at most `limit` bytes.
///
/// # Errors
/// [`CodecError::TooLarge`] over the limit.
pub fn encode<T: Serialize + ?Sized>(
    what: &'static str,
    value: &T,
    limit: usize,
) -> Result<Vec<u8>, CodecError> {
    options(limit).serialize(value).map_err(|e| match *e {
        bincode::ErrorKind::SizeLimit => CodecError::TooLarge {
            what,
            size: limit.saturating_add(1),
            limit,
        },
        other => malformed(what, &other),
    })
}

/// Decodes a bare value (no envelope) from at most `limit` bytes, all of which must be used.
///
/// # Errors
/// [`CodecError::TooLarge`] over the limit, [`CodecError::Malformed`] otherwise.
pub fn decode<T: DeserializeOwned>(what: &'static str, bytes: &[u8], limit: usize) -> Result<T, CodecError> {
    if bytes.len() > limit {
        return Err(CodecError::TooLarge {
            what,
            size: bytes.len(),
            limit,
        });
    }
    options(limit).deserialize(bytes).map_err(|e| malformed(what, &e))
}

/// Encodes a message with its envelope.
///
/// # Errors
/// As [`encode`].
pub fn seal<M: Message>(message: &M) -> Result<Vec<u8>, CodecError> {
    let mut out = Vec::with_capacity(64);
    seal_into(message, &mut out)?;
    Ok(out)
}

/// Appends a message with its envelope to `out`; on error `out` is as it was.
///
/// # Errors
/// As [`encode`].
pub fn seal_into<M: Message>(message: &M, out: &mut Vec<u8>) -> Result<(), CodecError> {
    let start = out.len();
    out.extend_from_slice(&M::PROTO.to_le_bytes());
    out.extend_from_slice(&M::VERSION.to_le_bytes());
    let result = options(M::MAX).serialize_into(&mut *out, message);
    result.map_err(|e| {
        out.truncate(start);
        match *e {
            bincode::ErrorKind::SizeLimit => CodecError::TooLarge {
                what: M::NAME,
                size: M::MAX.saturating_add(1),
                limit: M::MAX,
            },
            other => malformed(M::NAME, &other),
        }
    })
}

/// Appends a whole frame `{length, envelope, body}` to `out`; on error `out` is as it was.
///
/// # Errors
/// As [`encode`].
pub fn frame_into<M: Message>(message: &M, out: &mut Vec<u8>) -> Result<(), CodecError> {
    let start = out.len();
    out.extend_from_slice(&[0; FRAME_PREFIX_LEN]);
    if let Err(e) = seal_into(message, out) {
        out.truncate(start);
        return Err(e);
    }
    let len = out.len().saturating_sub(start + FRAME_PREFIX_LEN);
    let prefix = u32::try_from(len).unwrap_or(u32::MAX).to_le_bytes();
    if let Some(place) = out.get_mut(start..start + FRAME_PREFIX_LEN) {
        place.copy_from_slice(&prefix);
    }
    Ok(())
}

/// Reads a message out of its envelope.
///
/// # Errors
/// A [`CodecError`] that names the message and what is wrong.
pub fn open<M: Message>(bytes: &[u8]) -> Result<M, CodecError> {
    let what = M::NAME;
    let (head, body) = bytes
        .split_at_checked(ENVELOPE_LEN)
        .ok_or_else(|| CodecError::Malformed {
            what,
            detail: format!("{} bytes are no envelope", bytes.len()),
        })?;
    let proto = u16::from_le_bytes([head[0], head[1]]);
    let version = u16::from_le_bytes([head[2], head[3]]);
    if proto != M::PROTO {
        return Err(CodecError::Protocol {
            what,
            found: proto,
            expected: M::PROTO,
        });
    }
    if version != M::VERSION {
        return Err(CodecError::Version {
            what,
            found: version,
            spoken: M::VERSION,
        });
    }
    decode(what, body, M::MAX)
}

/// The length of the frame that starts with this prefix, envelope included, if it may be read for a
/// message of at most `max_body` bytes.
///
/// # Errors
/// [`CodecError::TooLarge`] before anything is allocated.
pub fn frame_len(
    what: &'static str,
    prefix: [u8; FRAME_PREFIX_LEN],
    max_body: usize,
) -> Result<usize, CodecError> {
    let size = u32::from_le_bytes(prefix) as usize;
    let limit = max_body.saturating_add(ENVELOPE_LEN).min(MAX_FRAME);
    if size > limit {
        return Err(CodecError::TooLarge { what, size, limit });
    }
    Ok(size)
}
