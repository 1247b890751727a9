//! The file ticket: one line with which any member of the mesh can pull a file or folder.
//!
//! Text form: `hivefile1` ‖ base 32 of `{encoded ticket, CRC-32C of it, little endian}`. It carries no secret: who
//! is let into the mesh is another ticket's matter ([`crate::ticket`]).

use crate::{
    codec,
    ids::{BlobHash, NetworkId, NodeId},
    text,
};
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// Largest encoded ticket in bytes.
pub const MAX_FILE_TICKET: usize = 1024;
/// Most providers a ticket names.
pub const MAX_HINTS: usize = 4;
/// Bytes of the name a ticket carries.
pub const MAX_TICKET_NAME: usize = 255;
const SCHEME: &str = "hivefile1";
const VERSION: u8 = 1;

/// What to pull and whom to ask first.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct FileTicket {
    version: u8,
    /// The mesh it is shared in.
    pub network: NetworkId,
    /// The content: a file, or a folder's manifest.
    pub root: BlobHash,
    /// Whether it is a folder's manifest.
    pub folder: bool,
    /// Bytes of the file, or of all files of the folder.
    pub size: u64,
    /// Its name, for people and as the destination's default; one plain name without `/`.
    pub name: String,
    /// Nodes that have it, most useful first, each with one address or an empty text.
    pub hints: Vec<(NodeId, String)>,
}

/// Why a text is no usable file ticket.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FileTicketError {
    /// Not a file ticket at all.
    #[error(
        "this is not a file ticket (one starts with `hivefile1`); get one with `hivenode file share PATH`"
    )]
    NotATicket,
    /// The paste is cut or damaged.
    #[error("the file ticket is damaged or cut short ({0}); copy the whole line again")]
    Damaged(String),
    /// Made by a newer program.
    #[error("the file ticket has version {0}, this program knows version 1; update hivenode")]
    Version(u8),
}

impl FileTicketError {
    /// The stable code.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NotATicket => "file.no_ticket",
            Self::Damaged(_) => "file.ticket_damaged",
            Self::Version(_) => "file.ticket_version",
        }
    }
}

/// Whether a text may be the name of a file or folder to be made: one name, no path.
#[must_use]
pub fn plain_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= MAX_TICKET_NAME
        && name != "."
        && name != ".."
        && !name.contains(['/', '\\', '\0'])
        && !name.chars().any(char::is_control)
}

impl FileTicket {
    /// A ticket of the current version; hints over [`MAX_HINTS`] are left out.
    #[must_use]
    pub fn new(
        network: NetworkId,
        root: BlobHash,
        folder: bool,
        size: u64,
        name: String,
        mut hints: Vec<(NodeId, String)>,
    ) -> Self {
        hints.truncate(MAX_HINTS);
        Self {
            version: VERSION,
            network,
            root,
            folder,
            size,
            name,
            hints,
        }
    }
}

impl fmt::Display for FileTicket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = codec::encode("file ticket", self, MAX_FILE_TICKET).map_err(|_| fmt::Error)?;
        write!(f, "{SCHEME}{}", text::armour(bytes))
    }
}

impl FromStr for FileTicket {
    type Err = FileTicketError;
    fn from_str(s: &str) -> Result<Self, FileTicketError> {
        let body = s.trim().strip_prefix(SCHEME).ok_or(FileTicketError::NotATicket)?;
        let damaged = |what: &str| FileTicketError::Damaged(what.to_owned());
        let bytes = text::unarmour(body, MAX_FILE_TICKET).map_err(FileTicketError::Damaged)?;
        if let Some(&v) = bytes.first().filter(|v| **v != VERSION) {
            return Err(FileTicketError::Version(v));
        }
        let ticket: Self =
            codec::decode("file ticket", &bytes, MAX_FILE_TICKET).map_err(|e| damaged(&e.to_string()))?;
        if ticket.hints.len() > MAX_HINTS {
            return Err(damaged("it names too many nodes"));
        }
        if !plain_name(&ticket.name) {
            return Err(damaged("its name is not a plain file name"));
        }
        Ok(ticket)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn round_trip_and_every_damage_is_noticed() {
        let hints = vec![(NodeId([2; 32]), "/ip4/127.0.0.1/udp/4001/quic-v1".into())];
        let t = FileTicket::new(
            NetworkId([1; 32]),
            BlobHash([3; 32]),
            true,
            7,
            "models".into(),
            hints,
        );
        let text = t.to_string();
        assert_eq!(text.parse::<FileTicket>().unwrap(), t);
        for cut in 0..text.len() {
            assert!(text[..cut].parse::<FileTicket>().is_err());
        }
        for i in 9..text.len() {
            let mut bad = text.clone().into_bytes();
            bad[i] = if bad[i] == b'a' { b'b' } else { b'a' };
            assert!(
                String::from_utf8(bad).unwrap().parse::<FileTicket>().is_err(),
                "at {i}"
            );
        }
        let evil = FileTicket {
            name: "../x".into(),
            ..t
        };
        assert!(evil.to_string().parse::<FileTicket>().is_err());
    }
}
