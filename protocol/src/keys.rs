//! Keys, signatures and signed documents.
//!
//! A signature covers `"hivenode/" ‖ domain ‖ 0x00 ‖ bytes`, so that bytes signed as one kind of
//! document never pass as another. The exact received bytes are verified and kept; nothing is re-encoded.

use crate::codec::{self, CodecError};
use ed25519_dalek::{Signer, SigningKey, VerifyingKey};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::{fmt, marker::PhantomData};

/// An Ed25519 secret key. Never printed, wiped when dropped.
#[derive(Clone)]
pub struct SecretKey(SigningKey);

impl SecretKey {
    /// The key made from these 32 secret bytes (entropy is drawn by the caller).
    #[must_use]
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(SigningKey::from_bytes(seed))
    }
    /// The 32 secret bytes, for the key file and for the transport's identity only.
    #[must_use]
    pub fn seed(&self) -> [u8; 32] {
        self.0.to_bytes()
    }
    /// The public key: the bytes of a `NodeId` or `AccountId`.
    #[must_use]
    pub fn public(&self) -> [u8; 32] {
        self.0.verifying_key().to_bytes()
    }
    /// Signs bytes as a document of this domain.
    #[must_use]
    pub fn sign(&self, domain: &str, bytes: &[u8]) -> Signature {
        Signature(self.0.sign(&statement(domain, bytes)).to_bytes())
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretKey(…)")
    }
}

fn statement(domain: &str, bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(10 + domain.len() + bytes.len());
    out.extend_from_slice(b"hivenode/");
    out.extend_from_slice(domain.as_bytes());
    out.push(0);
    out.extend_from_slice(bytes);
    out
}

/// An Ed25519 signature.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Signature(pub [u8; 64]);

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Signature(…)")
    }
}

impl Serialize for Signature {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let (a, b) = self.0.split_at(32);
        let pair: (&[u8; 32], &[u8; 32]) = (
            a.try_into().map_err(serde::ser::Error::custom)?,
            b.try_into().map_err(serde::ser::Error::custom)?,
        );
        pair.serialize(s)
    }
}

impl<'de> Deserialize<'de> for Signature {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let (a, b) = <([u8; 32], [u8; 32])>::deserialize(d)?;
        let mut out = [0; 64];
        out[..32].copy_from_slice(&a);
        out[32..].copy_from_slice(&b);
        Ok(Self(out))
    }
}

/// Why a signed document is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignedError {
    /// The signature does not belong to these bytes, this key and this kind of document.
    #[error("{what}: the signature does not verify")]
    Signature {
        /// The document's name.
        what: &'static str,
    },
    /// Somebody else signed than must have.
    #[error("{what}: signed by another key than it must be")]
    Signer {
        /// The document's name.
        what: &'static str,
    },
    /// The bytes verify but are not such a document.
    #[error(transparent)]
    Codec(#[from] CodecError),
}

/// Checks a signature over `bytes` in `domain`, strictly (no weak keys, no malleable forms).
#[must_use]
pub fn verify(domain: &str, key: &[u8; 32], bytes: &[u8], signature: &Signature) -> bool {
    let Ok(key) = VerifyingKey::from_bytes(key) else {
        return false;
    };
    let signature = ed25519_dalek::Signature::from_bytes(&signature.0);
    key.verify_strict(&statement(domain, bytes), &signature).is_ok()
}

/// A document that is signed: has a domain of its own and a size limit.
pub trait Document: Serialize + DeserializeOwned {
    /// Its name in errors, and the domain its signature is bound to, version included.
    const DOMAIN: &'static str;
    /// The largest encoded size in bytes.
    const MAX: usize;
}

/// A document with the exact bytes that were signed. Opaque until [`Signed::verify`] has passed.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(bound = "")]
pub struct Signed<T> {
    /// The public key that signed.
    pub signer: [u8; 32],
    bytes: Vec<u8>,
    signature: Signature,
    #[serde(skip)]
    kind: PhantomData<fn() -> T>,
}

impl<T> fmt::Debug for Signed<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signed({} bytes)", self.bytes.len())
    }
}

impl<T: Document> Signed<T> {
    /// Signs a document.
    ///
    /// # Errors
    /// When it is larger than its kind may be.
    pub fn sign(key: &SecretKey, document: &T) -> Result<Self, CodecError> {
        let bytes = codec::encode(T::DOMAIN, document, T::MAX)?;
        let signature = key.sign(T::DOMAIN, &bytes);
        Ok(Self {
            signer: key.public(),
            bytes,
            signature,
            kind: PhantomData,
        })
    }

    /// Checks the signature and decodes the document.
    ///
    /// # Errors
    /// A wrong signature, or bytes that are no such document.
    pub fn verify(&self) -> Result<T, SignedError> {
        if self.bytes.len() > T::MAX {
            let (size, limit) = (self.bytes.len(), T::MAX);
            return Err(CodecError::TooLarge {
                what: T::DOMAIN,
                size,
                limit,
            }
            .into());
        }
        if !verify(T::DOMAIN, &self.signer, &self.bytes, &self.signature) {
            return Err(SignedError::Signature { what: T::DOMAIN });
        }
        Ok(codec::decode(T::DOMAIN, &self.bytes, T::MAX)?)
    }

    /// As [`Signed::verify`], and the signer must be this key.
    ///
    /// # Errors
    /// As [`Signed::verify`], or [`SignedError::Signer`].
    pub fn verify_by(&self, key: &[u8; 32]) -> Result<T, SignedError> {
        if self.signer != *key {
            return Err(SignedError::Signer { what: T::DOMAIN });
        }
        self.verify()
    }

    /// The signed bytes as received.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Reads the document WITHOUT checking the signature: only for bytes this node has verified and stored itself.
    ///
    /// # Errors
    /// Bytes that are no such document.
    pub fn peek(&self) -> Result<T, CodecError> {
        codec::decode(T::DOMAIN, &self.bytes, T::MAX)
    }
}
