//! Announcements as they travel: made, named, and taken apart.
//!
//! Gossip itself signs nothing. libp2p would check the signature of every copy before it knows that it has the message
//! already; here a copy is known by its hash, and the signature is looked at once.

use crate::{crypto, error::NetError, event::Topic};
use hive_protocol::{codec, gossip::Announcement, ids::NetworkId, keys::SecretKey};
use libp2p::gossipsub::{DataTransform, Message, MessageId, RawMessage, TopicHash};
use std::io;

/// Signs what this node says.
pub(super) struct Announcer {
    secret: SecretKey,
    network: NetworkId,
    /// Of the next announcement. Begins anywhere: after a restart it must not be one that neighbours remember.
    number: u64,
}

impl Announcer {
    pub(super) fn new(secret: SecretKey, network: NetworkId) -> Result<Self, NetError> {
        let mut number = [0; 8];
        crypto::random(&mut number)?;
        Ok(Self {
            secret,
            network,
            number: u64::from_le_bytes(number),
        })
    }

    /// The bytes that go round.
    pub(super) fn announce(&mut self, topic: Topic, bytes: Vec<u8>) -> Result<Vec<u8>, NetError> {
        let size = bytes.len();
        self.number = self.number.wrapping_add(1);
        let announcement = Announcement::sign(&self.secret, self.network, topic.kind(), self.number, bytes);
        codec::seal(&announcement).map_err(|_| NetError::TooLarge {
            what: "gossip message",
            size,
            limit: super::MAX_GOSSIP,
        })
    }
}

/// What names a message: everything that can differ between two of them. Without the topic, who says it first where it
/// does not belong could keep it from being heard where it does; without the signature, who says it first with a wrong
/// one.
pub(super) fn message_id(message: &Message) -> MessageId {
    let mut hash = blake3::Hasher::new();
    let topic = message.topic.as_str().as_bytes();
    // A neighbour may name any topic: its length tells where it ends.
    hash.update(&u64::try_from(topic.len()).unwrap_or(u64::MAX).to_le_bytes());
    hash.update(topic);
    hash.update(&message.data);
    MessageId::from(hash.finalize().as_bytes().to_vec())
}

/// Takes nothing but topic and data: whatever else a neighbour adds would be passed on by everybody, with nobody's name
/// to it. Author, number and signature are refused by gossipsub itself.
#[derive(Clone, Copy, Default)]
pub(crate) struct Bare;

impl DataTransform for Bare {
    fn inbound_transform(&self, raw: RawMessage) -> io::Result<Message> {
        if raw.key.is_some() {
            return Err(io::Error::other("a key beside an announcement"));
        }
        Ok(Message {
            source: None,
            data: raw.data,
            sequence_number: None,
            topic: raw.topic,
        })
    }

    fn outbound_transform(&self, _: &TopicHash, data: Vec<u8>) -> io::Result<Vec<u8>> {
        Ok(data)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn message(topic: &str, data: &[u8]) -> Message {
        Message {
            source: None,
            data: data.to_vec(),
            sequence_number: None,
            topic: TopicHash::from_raw(topic),
        }
    }

    #[test]
    fn names_differ_with_topic_and_data() {
        let name = |topic, data: &[u8]| message_id(&message(topic, data));
        assert_eq!(name("a", b"words"), name("a", b"words"));
        assert_ne!(name("a", b"words"), name("b", b"words"));
        assert_ne!(name("a", b"words"), name("a", b"wordt"));
        assert_ne!(name("a", b"bc"), name("ab", b"c"));
        assert_ne!(name("a", b"\0b"), name("a\0", b"b"));
    }

    #[test]
    fn the_same_words_said_again_are_news() {
        let mut announcer = Announcer::new(SecretKey::from_seed(&[1; 32]), NetworkId([2; 32])).unwrap();
        let mut say = || announcer.announce(Topic::Demand, b"words".to_vec()).unwrap();
        assert_ne!(say(), say());
        let error = announcer.announce(Topic::Demand, vec![0; super::super::MAX_GOSSIP + 1]);
        assert_eq!(error.unwrap_err().code(), "net.too_large");
    }
}
