//! Trying every address of a peer, for the sake of knowing: one connection each, closed again at once.

use super::{Node, alarms::Alarm};
use crate::{
    error::NetError,
    handle::Reply,
    names,
    path::{Attempt, AttemptKind, Outcome},
};
use hive_protocol::ids::NodeId;
use libp2p::{
    Multiaddr, PeerId,
    swarm::{
        ConnectionId, DialError,
        dial_opts::{DialOpts, PeerCondition},
    },
};
use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

/// Traces at a time: each may have as many dials under way as there are addresses.
const MAX_TRACES: usize = 2;
/// Addresses tried in one trace.
const MAX_TRIED: usize = 12;
/// What has not answered by then is reported so.
const PATIENCE: Duration = Duration::from_secs(10);

/// One trace.
pub(super) struct Trace {
    reply: Reply<Vec<Attempt>>,
    began: Instant,
    /// By dial; what is not over is pending.
    tried: BTreeMap<ConnectionId, Attempt>,
    /// Whether a direct way is being sought beside.
    punching: bool,
}

/// All traces, by peer.
pub(super) type Traces = BTreeMap<PeerId, Trace>;

impl Node {
    pub(super) fn trace(&mut self, node: NodeId, addrs: &[String], reply: Reply<Vec<Attempt>>) {
        let begun = self.begin_trace(node, addrs);
        let (peer, tried, punching) = match begun {
            Ok(begun) => begun,
            Err(e) => {
                let _ = reply.send(Err(e));
                return;
            }
        };
        let began = Instant::now();
        let trace = Trace {
            reply,
            began,
            tried,
            punching,
        };
        self.traces.insert(peer, trace);
        self.alarms.set(began + PATIENCE, Alarm::Trace(peer));
        self.look_at_trace(peer, false);
    }

    fn begin_trace(
        &mut self,
        node: NodeId,
        addrs: &[String],
    ) -> Result<(PeerId, BTreeMap<ConnectionId, Attempt>, bool), NetError> {
        let peer = self.peer(node)?;
        if self.traces.len() >= MAX_TRACES || self.traces.contains_key(&peer) {
            return Err(NetError::Busy {
                what: "traces",
                limit: MAX_TRACES,
            });
        }
        self.learn(peer, addrs);
        let mut all: Vec<Multiaddr> = self.book.get(&peer).to_vec();
        if let Some(known) = self.table.get(&peer) {
            let dialed = known.connections.iter().filter(|c| c.dialer);
            all.extend(dialed.map(|c| names::plain(c.addr.clone())));
        }
        if !self.may_be_direct(&node) {
            all.retain(names::is_circuit);
        }
        all.sort_by_key(names::is_circuit);
        all.dedup();
        all.truncate(MAX_TRIED);
        let mut tried = BTreeMap::new();
        for addr in all {
            let opts = DialOpts::peer_id(peer).condition(PeerCondition::Always);
            let opts = opts.addresses(vec![addr.clone()]).build();
            let id = opts.connection_id();
            let outcome = match self.swarm.dial(opts) {
                Ok(()) => Outcome::Pending,
                Err(e) => failed(&e),
            };
            let attempt = Attempt {
                at: Instant::now(),
                took: Duration::ZERO,
                kind: AttemptKind::Trace,
                addr: Some(addr.to_string()),
                outcome,
            };
            tried.insert(id, attempt);
        }
        let relayed = self
            .table
            .get(&peer)
            .is_some_and(|p| p.is_member() && !p.is_direct());
        let punching = relayed && self.punch_now(node).is_ok();
        if tried.is_empty() && !punching {
            return Err(NetError::NoAddress { node });
        }
        Ok((peer, tried, punching))
    }

    /// A connection has come up: true when it was only made to know, and is not to be kept.
    pub(super) fn traced(&mut self, peer: PeerId, id: ConnectionId) -> bool {
        let connected = self.table.get(&peer).is_some();
        let Some(attempt) = self.traces.get_mut(&peer).and_then(|t| t.tried.get_mut(&id)) else {
            return false;
        };
        attempt.took = attempt.at.elapsed();
        attempt.outcome = Outcome::Connected;
        self.look_at_trace(peer, false);
        connected
    }

    /// A dial has failed: if it was one of a trace, that is noted.
    pub(super) fn trace_failed(&mut self, peer: PeerId, id: ConnectionId, error: &DialError) {
        if let Some(attempt) = self.traces.get_mut(&peer).and_then(|t| t.tried.get_mut(&id)) {
            attempt.took = attempt.at.elapsed();
            attempt.outcome = failed(error);
            self.look_at_trace(peer, false);
        }
    }

    /// Answers a trace when all is known, or when its time is up.
    pub(super) fn look_at_trace(&mut self, peer: PeerId, time_is_up: bool) {
        let Some(trace) = self.traces.get(&peer) else {
            return;
        };
        let dialing = trace.tried.values().any(|a| a.outcome == Outcome::Pending);
        let punching = trace.punching && self.punches.is_active(&peer);
        let over = time_is_up && trace.began.elapsed() >= PATIENCE;
        if (dialing || punching) && !over {
            return;
        }
        let Some(trace) = self.traces.remove(&peer) else {
            return;
        };
        let mut all: Vec<Attempt> = trace.tried.into_values().collect();
        for attempt in &mut all {
            if attempt.outcome == Outcome::Pending {
                attempt.took = attempt.at.elapsed();
                let reason = "no answer within 10 s".to_owned();
                attempt.outcome = Outcome::Failed { reason };
            }
            self.log.keep(peer, attempt.clone());
        }
        if trace.punching {
            // The whole of the punch, not its dials.
            let of_punch =
                |a: &Attempt| a.kind == AttemptKind::Punch && a.addr.is_none() && a.at >= trace.began;
            all.extend(self.log.of(&peer).into_iter().filter(of_punch));
        }
        let _ = trace.reply.send(Ok(all));
    }
}

fn failed(error: &DialError) -> Outcome {
    let reason = match error {
        // One address was tried, and it is named beside.
        DialError::Transport(tried) => tried
            .first()
            .map_or_else(String::new, |(_, e)| super::dialing::innermost(e)),
        other => super::dialing::reasons(other).join("; "),
    };
    Outcome::Failed { reason }
}
