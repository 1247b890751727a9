//! Gossip: what neighbours pass on, and what we say.

use super::{Node, pace::Paced};
use crate::{
    counters::count,
    error::NetError,
    event::{EVENT_QUEUE, GossipId, Judgement, NetEvent, Topic},
    names,
};
use hive_protocol::{codec, gossip::Announcement};
use libp2p::PeerId;
use libp2p::gossipsub::{Event, IdentTopic, Message, MessageAcceptance, MessageId, PublishError, TopicHash};
use std::time::{Duration, Instant};

/// A member that floods the mesh is neither let in nor sought for this time.
const SHUT_OUT: Duration = Duration::from_secs(60);
/// A neighbour that takes no gossip is not let in for this time: long enough for another to take its place, and shorter
/// than what bulk streams and leases outlive, for it may be slow and honest.
const DEAF_OUT: Duration = Duration::from_secs(5);
/// Gossip is ignored when this many events wait: the other half of the queue is for what must not be lost.
const GOSSIP_ROOM: usize = EVENT_QUEUE / 2;

/// Why a message is not handed on.
enum Refused {
    /// Its bearer is no member (any more).
    Stranger,
    /// Too much waits for the owner.
    Full,
    /// More than its bearer may bring or its author may say.
    Flood,
    /// This node itself is named as its author.
    Own,
    /// No announcement, or not by its author for this mesh and topic: no honest neighbour passes it on.
    Wrong,
}

impl Node {
    pub(super) fn on_gossip(&mut self, event: Event) {
        match event {
            Event::Message {
                propagation_source,
                message_id,
                message,
            } => self.heard(propagation_source, message_id, message),
            Event::SlowPeer { peer_id, .. } => {
                count(&self.shared.tally.gossip_slow_peers);
                tracing::debug!(peer = %peer_id, "a neighbour does not take gossip fast enough");
                self.slow(peer_id);
            }
            _ => {}
        }
    }

    /// Sends a neighbour away that stays deaf: it may come back after a while. Those that are kept whatever happens are
    /// there for other things than gossip, and so are those that somebody here has called or has streams with. A machine
    /// without time to spare is slow itself.
    fn slow(&mut self, peer: PeerId) {
        let now = Instant::now();
        let busy = self.shared.bulk.kept();
        let kept = self.table.get(&peer).is_none_or(|known| {
            known.wanted
                || known.streams() > 0
                || busy.contains(&known.node)
                || self.is_protected(&known.node)
        });
        if kept || self.lag.is_too_much() || !self.deaf.slow(peer, now) {
            return;
        }
        count(&self.shared.tally.gossip_deaf_sent_away);
        tracing::info!(%peer, "takes no gossip: sent away for {} s", DEAF_OUT.as_secs());
        self.swarm.behaviour_mut().doors.ban(peer, now, DEAF_OUT);
        // An error means that it is gone already.
        let _ = self.swarm.disconnect_peer_id(peer);
    }

    fn heard(&mut self, from: PeerId, id: MessageId, message: Message) {
        match self.look_at(from, &id, &message) {
            Ok(news) => {
                count(&self.shared.tally.gossip_received);
                self.tell(news);
            }
            Err(refused) => {
                let tally = &self.shared.tally;
                let (counter, acceptance) = match refused {
                    Refused::Stranger => (&tally.gossip_dropped_stranger, MessageAcceptance::Ignore),
                    Refused::Full => (&tally.gossip_dropped_full, MessageAcceptance::Ignore),
                    Refused::Flood => (&tally.gossip_dropped_flood, MessageAcceptance::Ignore),
                    Refused::Own => (&tally.gossip_ignored, MessageAcceptance::Ignore),
                    Refused::Wrong => (&tally.gossip_rejected, MessageAcceptance::Reject),
                };
                count(counter);
                self.report(&id, &from, acceptance);
            }
        }
    }

    /// What is cheap comes first, the signature late, and what its author is charged for after it.
    fn look_at(&mut self, from: PeerId, id: &MessageId, message: &Message) -> Result<NetEvent, Refused> {
        let neighbour = self.table.get(&from).filter(|peer| peer.is_member());
        let neighbour = neighbour.ok_or(Refused::Stranger)?.node;
        if self.outbox.len() >= GOSSIP_ROOM {
            return Err(Refused::Full);
        }
        let now = Instant::now();
        let announcement = codec::open::<Announcement>(&message.data);
        // What cannot be read is its bearer's.
        let author = announcement.as_ref().map_or(neighbour, |a| a.author);
        let paced = self.pace.brought(neighbour, author, now);
        self.held_to(paced, from, now)?;
        let announcement = announcement.map_err(|_| Refused::Wrong)?;
        if author == self.me {
            // This node said it before it was started anew, or somebody pretends so: nothing to learn from either.
            return Err(Refused::Own);
        }
        let topic = self.topic(&message.topic).ok_or(Refused::Wrong)?;
        count(&self.shared.tally.gossip_verified);
        if !announcement.verify(self.network, topic.kind()) {
            return Err(Refused::Wrong);
        }
        let paced = self.pace.said(neighbour, author, now);
        self.held_to(paced, from, now)?;
        let id = <[u8; 32]>::try_from(id.0.as_slice()).map_err(|_| Refused::Wrong)?;
        Ok(NetEvent::Gossip {
            id: GossipId { id, from: neighbour },
            source: author,
            topic,
            bytes: announcement.bytes,
        })
    }

    /// Refuses what is over the rates, and shuts out who floods.
    fn held_to(&mut self, paced: Paced, from: PeerId, now: Instant) -> Result<(), Refused> {
        match paced {
            Paced::Good => return Ok(()),
            Paced::TooMuch => {}
            Paced::ShutOut => self.shut_out(from, now),
        }
        Err(Refused::Flood)
    }

    /// Who floods is shut out. An authority or a relay is needed all the same: what is too much of it is dropped, and
    /// when it is kept no longer, and floods still, it is shut out then.
    fn shut_out(&mut self, from: PeerId, now: Instant) {
        let flooder = names::node_id(&from);
        if let Some(node) = flooder.filter(|node| self.is_protected(node)) {
            // Said again and again while it goes on: nothing that fills a log by itself.
            tracing::debug!(peer = %from, "floods the mesh, and is kept for what it does for others");
            self.pace.forgive(node);
            return;
        }
        tracing::info!(peer = %from, "floods the mesh: shut out for {} s", SHUT_OUT.as_secs());
        self.swarm.behaviour_mut().doors.ban(from, now, SHUT_OUT);
        // An error means that it is gone already.
        let _ = self.swarm.disconnect_peer_id(from);
    }

    fn report(&mut self, id: &MessageId, from: &PeerId, acceptance: MessageAcceptance) {
        let gossip = self.swarm.behaviour_mut().gossip.inner();
        // `false` means that the message has left the cache: it came too late to matter.
        gossip.report_message_validation_result(id, from, acceptance);
    }

    pub(super) fn validated(&mut self, id: &GossipId, judgement: Judgement) {
        let tally = &self.shared.tally;
        let (counter, acceptance) = match judgement {
            Judgement::Accept => (&tally.gossip_accepted, MessageAcceptance::Accept),
            Judgement::Reject => (&tally.gossip_rejected, MessageAcceptance::Reject),
            Judgement::Ignore => (&tally.gossip_ignored, MessageAcceptance::Ignore),
        };
        count(counter);
        if let Some(from) = names::known_peer_id(id.from) {
            self.report(&MessageId::from(id.id.to_vec()), &from, acceptance);
        }
    }

    pub(super) fn publish(&mut self, topic: Topic, bytes: Vec<u8>) -> Result<bool, NetError> {
        let size = bytes.len();
        let announcement = self.announcer.announce(topic, bytes)?;
        let topic = IdentTopic::new(topic.name(self.network));
        let gossip = self.swarm.behaviour_mut().gossip.inner();
        match gossip.publish(topic.hash(), announcement) {
            Ok(_) => {
                count(&self.shared.tally.gossip_published);
                Ok(true)
            }
            Err(PublishError::NoPeersSubscribedToTopic) => Ok(false),
            // The same words again within the duplicate time cannot happen: every message has its own number.
            Err(PublishError::Duplicate) => Ok(true),
            Err(PublishError::MessageTooLarge) => Err(NetError::TooLarge {
                what: "gossip message",
                size,
                limit: super::MAX_GOSSIP,
            }),
            Err(PublishError::AllQueuesFull(peers)) => Err(NetError::Busy {
                what: "gossip queues of all neighbours",
                limit: peers,
            }),
            Err(e) => Err(NetError::Setup {
                detail: format!("publishing: {e}"),
            }),
        }
    }

    pub(super) fn subscribe(&mut self, topic: Topic, on: bool) -> Result<(), NetError> {
        let topic = IdentTopic::new(topic.name(self.network));
        let gossip = self.swarm.behaviour_mut().gossip.inner();
        if on {
            gossip.subscribe(&topic).map_err(|e| NetError::Setup {
                detail: format!("subscribing: {e}"),
            })?;
        } else {
            gossip.unsubscribe(&topic);
        }
        Ok(())
    }

    fn topic(&self, hash: &TopicHash) -> Option<Topic> {
        Topic::ALL
            .into_iter()
            .find(|t| t.name(self.network) == hash.as_str())
    }
}
