//! What must outlive the process: small records in a few tables.

use hive_protocol::codec::CodecError;
use serde::{Serialize, de::DeserializeOwned};

/// Largest value: a notice and a little.
const MAX_VALUE: usize = 24 << 10;

/// A kind of record.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Table {
    /// A notice of ours; key: id.
    Sent,
    /// Where it stands with one recipient; key: id, node.
    Delivery,
    /// A notice taken and listed; key: sender, id.
    Item,
    /// That a notice was taken, and what its sender has to hear; key: sender, id.
    Seen,
    /// A mirror of another node; key: sender, sync id.
    Mirror,
}

impl Table {
    /// All of them, in the order in which they must be restored.
    pub const ALL: [Self; 5] = [Self::Sent, Self::Delivery, Self::Mirror, Self::Seen, Self::Item];
}

/// One change to be made durable before anything said or begun after it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Write {
    /// Where.
    pub table: Table,
    /// Under which key, at most 64 bytes.
    pub key: Vec<u8>,
    /// What; `None` erases.
    pub value: Option<Vec<u8>>,
}

/// Why a record is passed over when restoring.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RestoreError {
    /// Not such a record.
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// The key is of another length than its table's.
    #[error("a key of {0} bytes")]
    Key(usize),
    /// It belongs to another record, which is not there.
    #[error("what it belongs to is missing")]
    Orphan,
}

pub(super) fn encode<T: Serialize>(value: &T) -> Option<Vec<u8>> {
    // Everything written was bounded when it came in; what does not fit all the same is not written.
    hive_protocol::codec::encode("notice record", value, MAX_VALUE).ok()
}

pub(super) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, RestoreError> {
    Ok(hive_protocol::codec::decode("notice record", bytes, MAX_VALUE)?)
}

/// Two ids one after the other.
pub(super) fn join(a: &[u8], b: &[u8]) -> Vec<u8> {
    let mut key = Vec::with_capacity(a.len() + b.len());
    key.extend_from_slice(a);
    key.extend_from_slice(b);
    key
}

/// The two ids of a key made by [`join`].
pub(super) fn part<const A: usize, const B: usize>(key: &[u8]) -> Result<([u8; A], [u8; B]), RestoreError> {
    let wrong = || RestoreError::Key(key.len());
    let (a, b) = key.split_at_checked(A).ok_or_else(wrong)?;
    Ok((
        a.try_into().map_err(|_| wrong())?,
        b.try_into().map_err(|_| wrong())?,
    ))
}
