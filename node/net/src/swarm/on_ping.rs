//! Round trips, and peers that have stopped answering.

use super::Node;
use libp2p::ping::{Event, Failure};

/// Pings that fail in a row before a connection is given up. QUIC notices by itself; TCP may wait for minutes.
const MAX_FAILED: u32 = 2;

impl Node {
    pub(super) fn on_ping(&mut self, event: Event) {
        let Some(known) = self.table.get_mut(&event.peer) else {
            return;
        };
        let node = known.node;
        let Some(on) = known.connection(event.connection) else {
            return;
        };
        match event.result {
            Ok(rtt) => {
                on.rtt = Some(rtt);
                on.failed_pings = 0;
                on.streams.pulse().heard();
            }
            Err(Failure::Unsupported) => {}
            Err(failure) => {
                on.failed_pings = on.failed_pings.saturating_add(1);
                if on.failed_pings >= MAX_FAILED {
                    tracing::debug!(?node, %failure, "does not answer: closing the connection");
                    self.swarm.close_connection(event.connection);
                }
            }
        }
    }
}
