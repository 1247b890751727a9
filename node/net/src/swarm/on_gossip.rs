//! Gossip: what neighbours pass on, and what we say.

use super::{Node, pace::Paced};
use crate::{
    counters::count,
    error::NetError,
    event::{EVENT_QUEUE, GossipId, Judgement, NetEvent, Topic},
    names,
};
use libp2p::PeerId;
use libp2p::gossipsub::{Event, IdentTopic, Message, MessageAcceptance, MessageId, PublishError, TopicHash};
use std::time::{Duration, Instant};

/// A member that floods the mesh is not let in for this time.
const SHUT_OUT: Duration = Duration::from_secs(60);
/// Gossip is ignored when this many events wait: the other half of the queue is for what must not be lost.
const GOSSIP_ROOM: usize = EVENT_QUEUE / 2;

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
            }
            _ => {}
        }
    }

    fn heard(&mut self, from: PeerId, id: MessageId, message: Message) {
        let tally = &self.shared.tally;
        let refused = if !self.table.is_member(&from) {
            Some((&tally.gossip_dropped_stranger, MessageAcceptance::Ignore))
        } else if self.outbox.len() >= GOSSIP_ROOM {
            Some((&tally.gossip_dropped_full, MessageAcceptance::Ignore))
        } else {
            None
        };
        if let Some((counter, acceptance)) = refused {
            count(counter);
            self.report(&id, &from, acceptance);
            return;
        }
        if !self.paced(from, message.source) {
            count(&self.shared.tally.gossip_dropped_flood);
            self.report(&id, &from, MessageAcceptance::Ignore);
            return;
        }
        count(&self.shared.tally.gossip_received);
        let known = (
            names::node_id(&from),
            message.source.as_ref().and_then(names::node_id),
            self.topic(&message.topic),
            <[u8; 32]>::try_from(id.0.as_slice()),
        );
        let (Some(from), Some(source), Some(topic), Ok(id)) = known else {
            // An author that is no node, or a topic that is none of ours: no honest neighbour passes it on.
            count(&self.shared.tally.gossip_rejected);
            self.report(&id, &from, MessageAcceptance::Reject);
            return;
        };
        self.tell(NetEvent::Gossip {
            id: GossipId { id, from },
            source,
            topic,
            bytes: message.data,
        });
    }

    /// Whether a message is within what its neighbour may bring and its author may say.
    fn paced(&mut self, from: PeerId, author: Option<PeerId>) -> bool {
        let now = Instant::now();
        match self.pace.heard(from, author, now) {
            Paced::Good => true,
            Paced::TooMuch => false,
            Paced::ShutOut => {
                tracing::info!(peer = %from, "floods the mesh: shut out for {} s", SHUT_OUT.as_secs());
                self.swarm.behaviour_mut().doors.ban(from, now, SHUT_OUT);
                // An error means that it is gone already.
                let _ = self.swarm.disconnect_peer_id(from);
                false
            }
        }
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
        if let Ok(from) = names::peer_id(id.from) {
            self.report(&MessageId::from(id.id.to_vec()), &from, acceptance);
        }
    }

    pub(super) fn publish(&mut self, topic: Topic, bytes: Vec<u8>) -> Result<bool, NetError> {
        let topic = IdentTopic::new(topic.name(self.network));
        let size = bytes.len();
        let gossip = self.swarm.behaviour_mut().gossip.inner();
        match gossip.publish(topic.hash(), bytes) {
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
