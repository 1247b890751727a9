//! Streams that peers open: who may, and where they go.

use super::{Node, streams::InboundStream, table::Stage};
use crate::{bulk::BulkStream, counters::count, registry::Turned, stream::NetStream};
use hive_protocol::member;

/// Streams of one peer that wait for its gate to be decided; more are reset.
const MAX_HELD: usize = 16;

impl Node {
    pub(super) fn on_stream(&mut self, inbound: InboundStream) {
        let InboundStream {
            peer,
            connection,
            protocol,
            stream,
        } = inbound;
        if protocol == member::PROTOCOL {
            self.answer_gate(peer, connection, stream);
            return;
        }
        let Some(known) = self.table.get_mut(&peer) else {
            return;
        };
        let node = known.node;
        if self.shared.registry.members_only(protocol) && !known.is_member() {
            if known.stage == Stage::Waiting {
                // A member that found us welcome first may be faster than our own verdict.
                let held = self.held.entry(peer).or_default();
                if held.len() < MAX_HELD {
                    held.push(InboundStream {
                        peer,
                        connection,
                        protocol,
                        stream,
                    });
                    return;
                }
            }
            count(&self.shared.tally.streams_refused_stranger);
            tracing::debug!(?node, protocol, "a stream of a peer that is no member");
            return;
        }
        let Some(on) = known.connection(connection) else {
            return;
        };
        let in_use = on.streams.enter();
        let shared = &self.shared;
        let delivered = shared.registry.deliver(
            protocol,
            node,
            |quota| NetStream::new(stream, node, protocol, in_use, Some(quota)),
            |stream| {
                count(&shared.tally.bulk_accepted_mesh);
                BulkStream::mesh(stream, shared)
            },
        );
        let tally = &self.shared.tally;
        match delivered {
            Ok(()) => count(&tally.streams_accepted),
            Err(why) => {
                tracing::debug!(?node, protocol, ?why, "a stream was reset");
                count(match why {
                    Turned::OverQuota => &tally.streams_refused_quota,
                    Turned::NotServed | Turned::BacklogFull => &tally.streams_refused_backlog,
                });
            }
        }
    }
}
