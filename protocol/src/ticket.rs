//! The ticket: one line that lets a machine into a mesh.
//!
//! Text form: `hive1` ‖ role ‖ `1` ‖ base 32 of `{encoded ticket, CRC-32C of it, little endian}`.
//! The checksum tells a bad paste from a refused ticket.

use crate::{
    codec,
    ids::{InviteId, NetworkId, NodeId},
    resources::Role,
    text,
    time::Timestamp,
};
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// Largest encoded ticket in bytes.
pub const MAX_TICKET: usize = 768;
/// Most bootstrap addresses a ticket carries.
pub const MAX_TICKET_ADDRS: usize = 3;
const SCHEME: &str = "hive1";
const VERSION: u8 = 1;

/// Where to go and the proof to show there.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ticket {
    version: u8,
    /// The mesh.
    pub network: NetworkId,
    /// The name of the mesh, for people.
    pub mesh: String,
    /// Authorities and where each answers (multiaddresses), most useful first.
    pub bootstrap: Vec<(NodeId, String)>,
    /// Which invitation this redeems.
    pub invite: InviteId,
    /// The one-time secret; the authority knows only its hash.
    pub secret: [u8; 16],
    /// The role it admits to.
    pub role: Role,
    /// When it stops working.
    pub expires: Timestamp,
}

/// Why a text is no usable ticket.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TicketError {
    /// Not a ticket at all.
    #[error(
        "this is not a hivenode ticket (a ticket starts with `hive1`); ask for one with `hivenode invite`"
    )]
    NotATicket,
    /// The paste is cut or damaged.
    #[error("the ticket is damaged or cut short ({0}); copy the whole line again")]
    Damaged(String),
    /// Made by a newer program.
    #[error("the ticket has version {0}, this program knows version 1; update hivenode")]
    Version(u8),
}

impl Ticket {
    /// A ticket of the current version.
    #[must_use]
    pub fn new(
        network: NetworkId,
        mesh: String,
        bootstrap: Vec<(NodeId, String)>,
        invite: InviteId,
        secret: [u8; 16],
        role: Role,
        expires: Timestamp,
    ) -> Self {
        Self {
            version: VERSION,
            network,
            mesh,
            bootstrap,
            invite,
            secret,
            role,
            expires,
        }
    }

    /// What the authority stores instead of the secret.
    #[must_use]
    pub fn secret_hash(secret: &[u8; 16]) -> [u8; 32] {
        blake3::derive_key("hivenode invitation secret 1", secret)
    }
}

impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ticket({} {} {:?})", self.mesh, self.role.name(), self.invite)
    }
}

impl fmt::Display for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = codec::encode("ticket", self, MAX_TICKET).map_err(|_| fmt::Error)?;
        write!(f, "{SCHEME}{}1{}", self.role.name(), text::armour(bytes))
    }
}

impl FromStr for Ticket {
    type Err = TicketError;
    fn from_str(s: &str) -> Result<Self, TicketError> {
        let s = s.trim();
        let rest = s.strip_prefix(SCHEME).ok_or(TicketError::NotATicket)?;
        let damaged = |what: &str| TicketError::Damaged(what.to_owned());
        let (_, body) = rest.split_once('1').ok_or_else(|| damaged("no body"))?;
        let bytes = text::unarmour(body, MAX_TICKET).map_err(TicketError::Damaged)?;
        if let Some(&v) = bytes.first().filter(|v| **v != VERSION) {
            return Err(TicketError::Version(v));
        }
        let ticket: Self =
            codec::decode("ticket", &bytes, MAX_TICKET).map_err(|e| damaged(&e.to_string()))?;
        if ticket.bootstrap.is_empty() || ticket.bootstrap.len() > MAX_TICKET_ADDRS {
            return Err(damaged("it names no address, or too many"));
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
        let t = Ticket::new(
            NetworkId([1; 32]),
            "lab".into(),
            vec![(NodeId([2; 32]), "/ip4/127.0.0.1/udp/4001/quic-v1".into())],
            InviteId([3; 16]),
            [4; 16],
            Role::Worker,
            Timestamp(5),
        );
        let text = t.to_string();
        assert!(text.starts_with("hive1worker1"), "{text}");
        assert_eq!(text.parse::<Ticket>().unwrap(), t);
        for cut in 0..text.len() {
            assert!(text[..cut].parse::<Ticket>().is_err());
        }
        for i in 12..text.len() {
            let mut bad = text.clone().into_bytes();
            bad[i] = if bad[i] == b'a' { b'b' } else { b'a' };
            assert!(
                String::from_utf8(bad).unwrap().parse::<Ticket>().is_err(),
                "at {i}"
            );
        }
    }
}
