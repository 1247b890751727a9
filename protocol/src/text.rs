//! Text forms: the one base-32 alphabet used for every id a person sees.

use data_encoding::{Encoding, Specification};

/// RFC 4648 base 32 in lower case without padding: safe to double-click, to say and to put in a URL.
pub(crate) fn base32() -> Encoding {
    let mut spec = Specification::new();
    spec.symbols.push_str("abcdefghijklmnopqrstuvwxyz234567");
    spec.translate.from.push_str("ABCDEFGHIJKLMNOPQRSTUVWXYZ");
    spec.translate.to.push_str("abcdefghijklmnopqrstuvwxyz");
    match spec.encoding() {
        Ok(encoding) => encoding,
        // The specification above is a constant and valid; the library's own lower-case-free
        // alphabet is the fallback that keeps this function total.
        Err(_) => data_encoding::BASE32_NOPAD,
    }
}

/// Why a text is not the id it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TextError {
    /// The kind prefix (such as `n_`) is missing or another one.
    #[error("`{text}` does not start with `{prefix}`")]
    Prefix {
        /// The prefix this kind of id has.
        prefix: &'static str,
        /// What was given, cut to 80 characters.
        text: String,
    },
    /// A character outside the alphabet, or a wrong length.
    #[error("`{text}` is not a whole id of this kind: {detail}")]
    Body {
        /// What was given, cut to 80 characters.
        text: String,
        /// What is wrong with it.
        detail: String,
    },
}

pub(crate) fn cut(text: &str) -> String {
    text.chars().take(80).collect()
}

pub(crate) fn encode(prefix: &str, bytes: &[u8]) -> String {
    let mut out = String::with_capacity(prefix.len() + bytes.len() * 8 / 5 + 1);
    out.push_str(prefix);
    out.push_str(&base32().encode(bytes));
    out
}

pub(crate) fn decode<const N: usize>(prefix: &'static str, text: &str) -> Result<[u8; N], TextError> {
    let body = text.strip_prefix(prefix).ok_or_else(|| TextError::Prefix {
        prefix,
        text: cut(text),
    })?;
    let bytes = base32().decode(body.as_bytes()).map_err(|e| TextError::Body {
        text: cut(text),
        detail: e.to_string(),
    })?;
    bytes.try_into().map_err(|b: Vec<u8>| TextError::Body {
        text: cut(text),
        detail: format!("{} bytes instead of {N}", b.len()),
    })
}

/// Base 32 of `{bytes, CRC-32C of them, little endian}`: the body of every ticket.
pub(crate) fn armour(mut bytes: Vec<u8>) -> String {
    bytes.extend_from_slice(&crc32c::crc32c(&bytes).to_le_bytes());
    base32().encode(&bytes)
}

/// The bytes of an armoured text of at most `max` bytes, at least one of them; else what is wrong with it. The
/// checksum tells a bad paste from a refused ticket.
pub(crate) fn unarmour(body: &str, max: usize) -> Result<Vec<u8>, String> {
    if body.len() > (max + 4) * 8 / 5 + 8 {
        return Err("too long".to_owned());
    }
    let mut bytes = base32().decode(body.as_bytes()).map_err(|e| e.to_string())?;
    let cut = bytes.len().checked_sub(4).ok_or("too short")?;
    let sum = bytes.split_off(cut);
    if crc32c::crc32c(&bytes).to_le_bytes().as_slice() != sum {
        return Err("the checksum does not match".to_owned());
    }
    if bytes.is_empty() {
        return Err("empty".to_owned());
    }
    Ok(bytes)
}
