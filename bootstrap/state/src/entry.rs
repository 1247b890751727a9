//! What a record of the authorities' log carries.

use crate::verify::Verified;
use hive_protocol::{
    codec::{self, CodecError, Message},
    command::{Command, Refusal},
    ids::NetworkId,
    keys::Signed,
};
use serde::{Deserialize, Serialize};

/// The payload of one log record, kept as the owner's signed bytes.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub enum Entry {
    /// The founding document; only as record 0.
    Genesis(Vec<u8>),
    /// A signed command.
    Command(Signed<Command>),
    /// Nothing but time passing, so that holds end although nobody commands anything.
    Tick,
}

impl Message for Entry {
    const NAME: &'static str = "log entry";
    const PROTO: u16 = 256;
    const VERSION: u16 = 1;
    const MAX: usize = 8 << 10;
}

impl Entry {
    /// The bytes of a record's payload, envelope included.
    ///
    /// # Errors
    /// When it is larger than an entry may be.
    pub fn encode(&self) -> Result<Vec<u8>, CodecError> {
        codec::seal(self)
    }

    /// Reads a payload.
    ///
    /// # Errors
    /// Another version, or malformed bytes.
    pub fn decode(payload: &[u8]) -> Result<Self, CodecError> {
        codec::open(payload)
    }

    /// Checks everything that can be checked without the state, signatures first.
    ///
    /// # Errors
    /// The refusal to answer with.
    pub fn prepare(&self, network: NetworkId) -> Result<Prepared, Refusal> {
        Ok(match self {
            Self::Genesis(bytes) => Prepared::Genesis(bytes.clone()),
            Self::Command(signed) => Prepared::Command(Box::new(crate::verify::verify(signed, network)?)),
            Self::Tick => Prepared::Tick,
        })
    }

    /// As [`Entry::prepare`] without checking signatures: only for records of this authority's own,
    /// checksummed log, which were verified before they were written.
    ///
    /// # Errors
    /// The refusal to answer with.
    pub fn prepare_trusted(&self, network: NetworkId) -> Result<Prepared, Refusal> {
        Ok(match self {
            Self::Command(signed) => Prepared::Command(Box::new(Verified::trusted(signed, network)?)),
            other => other.prepare(network)?,
        })
    }
}

/// An entry whose signatures have been checked, ready to apply.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Prepared {
    /// The founding document.
    Genesis(Vec<u8>),
    /// A verified command.
    Command(Box<Verified>),
    /// Time passing.
    Tick,
}
