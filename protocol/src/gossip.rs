//! Wire protocol `hive/<mesh>/…` over gossipsub: what every node hears.
//!
//! Participants: all members. Three topics: demands of submitters, presence of nodes, prices of workers.
//! Goals: every worker hears of demand in one or two hops; single tasks are never gossiped. What travels is an
//! [`Announcement`]: the message and its author's signature, checked once by each node however many neighbours
//! bring it. Then the message is validated (bounds, credential, time, author) before it is forwarded.

use crate::{
    codec::Message,
    credential::Credential,
    ids::{DemandId, JobId, NetworkId, NodeId},
    keys::{self, SecretKey, Signature, Signed},
    money::{MicroCpt, Price},
    resources::{Capabilities, Resources, Role},
    task::{Placement, RuntimeKind},
    time::{Millis, Timestamp},
};
use serde::{Deserialize, Serialize};

/// A demand lives at most this long and is announced again while it stands.
pub const DEMAND_LIFE: Millis = Millis::secs(30);
/// Presence and prices live this long.
pub const PRESENCE_LIFE: Millis = Millis::secs(60);

/// The topic's name.
#[must_use]
pub fn topic(network: NetworkId, kind: &str) -> String {
    format!("hive/{}/{kind}/2", network.short())
}

/// Topic kind of demands.
pub const DEMAND: &str = "demand";
/// Topic kind of presence.
pub const PRESENCE: &str = "presence";
/// Topic kind of prices.
pub const PRICE: &str = "price";

/// The largest message an announcement carries, in bytes.
pub const MAX_MESSAGE: usize = 8 << 10;
/// What an announcement has beside its message: author, number, length, signature.
const AROUND: usize = 32 + 8 + 8 + 64;
/// What the signature of an announcement is bound to.
const DOMAIN: &str = "gossip/2";

/// A message as its author lets it go round.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct Announcement {
    /// Who says it.
    pub author: NodeId,
    /// Another one for each of an author's announcements: the same words said again are news.
    pub number: u64,
    /// The message in its envelope, at most [`MAX_MESSAGE`] bytes.
    pub bytes: Vec<u8>,
    /// The author's, over mesh, kind of topic, number and message.
    pub signature: Signature,
}

impl Message for Announcement {
    const NAME: &'static str = "announcement";
    const PROTO: u16 = 18;
    const VERSION: u16 = 1;
    const MAX: usize = MAX_MESSAGE + AROUND;
}

impl Announcement {
    /// Signs a message for one kind of topic of one mesh.
    #[must_use]
    pub fn sign(key: &SecretKey, network: NetworkId, kind: &str, number: u64, bytes: Vec<u8>) -> Self {
        let signature = key.sign(DOMAIN, &statement(network, kind, number, &bytes));
        Self {
            author: NodeId(key.public()),
            number,
            bytes,
            signature,
        }
    }

    /// Whether its author has said this, in this mesh, on this kind of topic.
    #[must_use]
    pub fn verify(&self, network: NetworkId, kind: &str) -> bool {
        let statement = statement(network, kind, self.number, &self.bytes);
        keys::verify(DOMAIN, self.author.as_bytes(), &statement, &self.signature)
    }
}

fn statement(network: NetworkId, kind: &str, number: u64, bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(32 + kind.len() + 1 + 8 + bytes.len());
    out.extend_from_slice(network.as_bytes());
    out.extend_from_slice(kind.as_bytes());
    // Ends the kind, which has no such byte.
    out.push(0);
    out.extend_from_slice(&number.to_le_bytes());
    out.extend_from_slice(bytes);
    out
}

/// A submitter wants slots.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct Demand {
    /// Changes with every new need; the same over re-announcements.
    pub id: DemandId,
    /// The job it is for.
    pub job: JobId,
    /// Who asks; must be the author.
    pub submitter: NodeId,
    /// The asker's credential.
    pub credential: Signed<Credential>,
    /// Where the asker listens (multiaddresses), at most [`crate::member::MAX_ADDRS`].
    pub addrs: Vec<String>,
    /// The engine needed.
    pub runtime: RuntimeKind,
    /// What one slot needs.
    pub need: Resources,
    /// How many slots could be used now.
    pub slots: u32,
    /// Where it may run.
    pub placement: Placement,
    /// Highest price, µCPT per Gfuel.
    pub max_price: MicroCpt,
    /// When this announcement was made.
    pub issued: Timestamp,
    /// Ignored from then on.
    pub expires: Timestamp,
}

impl Message for Demand {
    const NAME: &'static str = "demand";
    const PROTO: u16 = 7;
    const VERSION: u16 = 1;
    const MAX: usize = 4096;
}

/// A node is here.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct Presence {
    /// Who; must be the author.
    pub node: NodeId,
    /// Its credential.
    pub credential: Signed<Credential>,
    /// Its roles now.
    pub roles: Vec<Role>,
    /// What it offers.
    pub capabilities: Capabilities,
    /// What is free of it.
    pub free: Resources,
    /// Tasks running.
    pub running: u32,
    /// Where it listens (multiaddresses), at most [`crate::member::MAX_ADDRS`].
    pub addrs: Vec<String>,
    /// Whether it is leaving.
    pub leaving: bool,
    /// When this was said.
    pub issued: Timestamp,
}

impl Message for Presence {
    const NAME: &'static str = "presence";
    const PROTO: u16 = 8;
    const VERSION: u16 = 1;
    const MAX: usize = 4096;
}

/// What a worker asks for its work.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct PriceNotice {
    /// Who; must be the author.
    pub node: NodeId,
    /// Its price.
    pub price: Price,
    /// When this was said.
    pub issued: Timestamp,
}

impl Message for PriceNotice {
    const NAME: &'static str = "price notice";
    const PROTO: u16 = 9;
    const VERSION: u16 = 1;
    const MAX: usize = 256;
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::codec;

    const HERE: NetworkId = NetworkId([1; 32]);
    /// The order of the group, 2^252 + 27742317777372353535851937790883648493, little endian.
    const ORDER: [u8; 32] = [
        0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14, 0, 0,
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
    ];

    fn key() -> SecretKey {
        SecretKey::from_seed(&[4; 32])
    }

    fn good() -> Announcement {
        Announcement::sign(&key(), HERE, DEMAND, 7, b"words".to_vec())
    }

    #[test]
    fn it_counts_for_its_mesh_topic_number_words_and_author_only() {
        assert!(good().verify(HERE, DEMAND));
        assert!(!good().verify(NetworkId([2; 32]), DEMAND));
        assert!(!good().verify(HERE, PRICE));
        let changed: [fn(&mut Announcement); 4] = [
            |a| a.number = 8,
            |a| a.bytes.push(0),
            |a| a.author = NodeId(SecretKey::from_seed(&[5; 32]).public()),
            |a| a.signature.0[0] ^= 1,
        ];
        for change in changed {
            let mut other = good();
            change(&mut other);
            assert!(!other.verify(HERE, DEMAND), "{other:?}");
        }
    }

    #[test]
    fn a_signature_has_one_form_and_weak_keys_sign_nothing() {
        let mut other = good();
        let mut carry = 0;
        for (byte, order) in other.signature.0[32..].iter_mut().zip(ORDER) {
            let sum = u16::from(*byte) + u16::from(order) + carry;
            *byte = (sum & 0xff) as u8;
            carry = sum >> 8;
        }
        assert!(!other.verify(HERE, DEMAND), "the order added to s");
        // The neutral element as key and as R, with s = 0, satisfies the equation for every message.
        let mut neutral = [0; 32];
        neutral[0] = 1;
        let mut weak = good();
        weak.author = NodeId(neutral);
        weak.signature = Signature([0; 64]);
        weak.signature.0[0] = 1;
        assert!(!weak.verify(HERE, DEMAND));
    }

    #[test]
    fn the_largest_message_fits_and_no_larger_one() {
        let of = |len| Announcement::sign(&key(), HERE, DEMAND, 7, vec![1; len]);
        let sealed = codec::seal(&of(MAX_MESSAGE)).unwrap();
        assert_eq!(codec::open::<Announcement>(&sealed).unwrap(), of(MAX_MESSAGE));
        assert!(codec::seal(&of(MAX_MESSAGE + 1)).is_err());
    }
}
