//! Connections that carry nothing any more: noticed by what is not answered, and replaced before they are given up.
//!
//! A way can die without a word: a router restarts, a cable is pulled, an address changes. Where something was sent
//! and nothing comes back, the other side is asked for a sign of life; where that fails too, other ways are sought at
//! once, new streams go there, and the dead connection is closed, so that its streams break and are opened again.

use super::{Node, alarms::Alarm, stream_handler::OpenRequest, table::Peer};
use crate::{
    counters::count,
    error::NetError,
    path::{AttemptKind, Outcome},
    stream::NetStream,
};
use libp2p::{PeerId, swarm::ConnectionId};
use std::time::{Duration, Instant};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::oneshot,
};

/// Connections are felt for this often.
pub(super) const FEEL_EVERY: Duration = Duration::from_millis(300);
/// What was sent is answered within this time, or a sign of life is asked for.
const ANSWER_DUE: Duration = Duration::from_millis(700);
/// An idle connection is asked after this much silence: pings on it come every ten seconds.
const IDLE_SILENCE: Duration = Duration::from_millis(12_000);
/// The same for relays this node is reachable through, and for protected peers: much depends on them.
const KEEN_SILENCE: Duration = Duration::from_millis(6_000);
/// A sign of life comes within this time, or four round trips if that is longer …
const SIGN_WITHIN: Duration = Duration::from_millis(1300);
/// … but no longer than this.
const SIGN_AT_MOST: Duration = Duration::from_millis(4000);
/// A connection that gave no sign is closed after this time, unless something came in meanwhile.
const LAST_CHANCE: Duration = Duration::from_millis(2000);
/// A connection that has given a sign is not asked again for this long, whatever is due.
const ASK_EVERY: Duration = Duration::from_millis(2000);
/// Connections asked at a time.
const MAX_PROBES: usize = 128;
/// Peers to which other ways are sought at a time because they gave no sign.
const MAX_BESIDE: usize = 8;
/// A connection with more streams than this is not asked: it may have no room for the question, and its silence would
/// mean nothing. The pings on it go on.
const MAX_STREAMS: usize = 48;
/// Every libp2p program answers this: it sends back 32 bytes.
const PING: &str = "/ipfs/ping/1.0.0";
const PING_BYTES: usize = 32;

/// A sign of life, or none.
#[derive(Debug)]
pub(super) struct Sign {
    pub peer: PeerId,
    pub connection: ConnectionId,
    pub began: Instant,
    pub rtt: Option<Duration>,
}

impl Node {
    /// Feels for all connections: asks those that owe an answer, or have been silent for too long.
    pub(super) fn feel(&mut self, now: Instant) {
        self.lag.round(now, FEEL_EVERY);
        let late = self.lag.patience();
        let quiet = self.feel_bulk(now, late);
        let mut due = Vec::new();
        let mut running = 0;
        for (id, peer) in self.table.iter() {
            let keen = self.relays.wished(id) || self.is_protected(&peer.node);
            let silence = if keen { KEEN_SILENCE } else { IDLE_SILENCE };
            for c in &peer.connections {
                if let Some(since) = c.probed {
                    let over = now.saturating_duration_since(since) >= ASK_EVERY.max(SIGN_AT_MOST);
                    running += usize::from(!over);
                    continue;
                }
                let pulse = c.streams.pulse();
                if c.streams.get() > MAX_STREAMS {
                    continue;
                }
                if pulse.waiting(now) >= ANSWER_DUE + late
                    || pulse.silence(now) >= silence + late
                    || quiet.concerns(peer, c, late, now)
                {
                    due.push((*id, c.id));
                }
            }
        }
        due.truncate(MAX_PROBES.saturating_sub(running));
        for (peer, connection) in due {
            self.ask_for_sign(peer, connection, now);
        }
    }

    /// The machine's network has changed: every connection is asked at once, and relayed peers are punched anew.
    pub(super) fn network_changed(&mut self) {
        let now = Instant::now();
        let all: Vec<_> = self
            .table
            .iter()
            .flat_map(|(id, peer)| peer.connections.iter().map(|c| (*id, c.id, c.probed)))
            .filter(|(_, _, probed)| probed.is_none())
            .map(|(peer, connection, _)| (peer, connection))
            .take(MAX_PROBES)
            .collect();
        for (peer, connection) in all {
            self.ask_for_sign(peer, connection, now);
        }
        for peer in self.table.ids() {
            self.punch_afresh(peer);
        }
    }

    /// Another connection to a peer has come up: those that were suspected, and are silent still, are given up for it;
    /// those that have been silent lately are asked, because the peer may have reason to connect anew.
    pub(super) fn replaced(&mut self, peer: PeerId, by: ConnectionId) {
        let now = Instant::now();
        let Some(known) = self.table.get(&peer) else {
            return;
        };
        let silent = known.connections.iter().filter(|c| c.id != by);
        let silent = silent.filter(|c| c.streams.pulse().silence(now) >= ANSWER_DUE);
        let silent: Vec<_> = silent.map(|c| (c.id, c.suspect, c.probed.is_some())).collect();
        for (connection, suspect, asked) in silent {
            if suspect && !self.lag.is_too_much() {
                self.give_up(peer, connection);
            } else if !asked {
                self.ask_for_sign(peer, connection, now);
            }
        }
    }

    fn ask_for_sign(&mut self, peer: PeerId, connection: ConnectionId, now: Instant) {
        let Some(known) = self.table.get_mut(&peer) else {
            return;
        };
        let node = known.node;
        let Some(on) = known.connection(connection) else {
            return;
        };
        if on.streams.get() > MAX_STREAMS {
            return;
        }
        on.probed = Some(now);
        let patience = on.rtt.unwrap_or_default().saturating_mul(4);
        let patience = patience.clamp(SIGN_WITHIN, SIGN_AT_MOST) + self.lag.patience();
        let (reply, opened) = oneshot::channel();
        let request = OpenRequest::new(node, PING, &on.streams, reply);
        self.swarm.behaviour_mut().streams.open(peer, connection, request);
        let talks = self.talks.clone();
        tokio::spawn(async move {
            let rtt = tokio::time::timeout(patience, sign(opened)).await.ok().flatten();
            let sign = Sign {
                peer,
                connection,
                began: now,
                rtt,
            };
            // An error means that the loop has ended.
            let _ = talks.send(super::Talk::Sign(sign)).await;
        });
    }

    pub(super) fn on_sign(&mut self, sign: Sign) {
        let (now, peer) = (Instant::now(), sign.peer);
        let Some(known) = self.table.get_mut(&peer) else {
            return;
        };
        let node = known.node;
        let Some(on) = known.connection(sign.connection) else {
            return;
        };
        let alive = sign.rtt.is_some() || on.streams.pulse().silence(now) < now.duration_since(sign.began);
        // Where this node itself comes to nothing, silence is its own.
        if alive || self.lag.is_too_much() {
            if sign.rtt.is_some() {
                on.streams.pulse().heard();
                on.rtt = sign.rtt;
            }
            let was_suspect = std::mem::take(&mut on.suspect);
            // Not asked again at once: a stream that only sends owes nothing all the time.
            on.probed = Some(now);
            self.alarms
                .set(now + ASK_EVERY, Alarm::Verdict(peer, sign.connection));
            if sign.rtt.is_some()
                && let Some(known) = self.table.get(&peer)
                && let Some(on) = known.connections.iter().find(|c| c.id == sign.connection)
            {
                self.trust_bulk(known, on);
            }
            if was_suspect {
                self.look_at_path(peer);
            }
            return;
        }
        on.suspect = true;
        let addr = on.addr.to_string();
        let others = known
            .connections
            .iter()
            .any(|c| !c.suspect && c.since >= sign.began);
        tracing::debug!(?node, addr, "no sign of life: seeking other ways");
        self.alarms
            .set(now + LAST_CHANCE, Alarm::Verdict(peer, sign.connection));
        let reason = "no sign of life".to_owned();
        let outcome = Outcome::Failed { reason };
        self.log
            .note(peer, AttemptKind::Probe, Some(addr), sign.began, outcome);
        if others {
            self.give_up(peer, sign.connection);
            return;
        }
        self.look_at_path(peer);
        if self.sought_beside() < MAX_BESIDE {
            self.connect_beside(peer, node);
        }
    }

    /// Suspected peers to which other ways are being sought.
    fn sought_beside(&self) -> usize {
        let suspected = |peer: &Peer| peer.connections.iter().any(|c| c.suspect);
        self.table
            .iter()
            .filter(|(id, peer)| suspected(peer) && self.waiting.dialing(id))
            .count()
    }

    /// A connection that was asked has had its time.
    pub(super) fn verdict(&mut self, peer: PeerId, connection: ConnectionId) {
        let now = Instant::now();
        let Some(known) = self.table.get_mut(&peer) else {
            return;
        };
        let Some(on) = known.connection(connection) else {
            return;
        };
        on.probed = None;
        if !on.suspect {
            return;
        }
        if on.streams.pulse().silence(now) < LAST_CHANCE || self.lag.is_too_much() {
            on.suspect = false;
            self.look_at_path(peer);
            return;
        }
        self.give_up(peer, connection);
    }

    fn give_up(&mut self, peer: PeerId, connection: ConnectionId) {
        if let Some(known) = self.table.get(&peer)
            && let Some(dead) = known.connections.iter().find(|c| c.id == connection)
        {
            self.doubt_bulk(known, dead, Instant::now());
        }
        let Some(on) = self.table.get_mut(&peer).and_then(|p| p.connection(connection)) else {
            return;
        };
        tracing::debug!(%peer, addr = %on.addr, "gives no sign of life: closing the connection");
        on.dead = true;
        on.streams.cut();
        count(&self.shared.tally.paths_lost);
        // It ends in order some time later; nobody here waits for that.
        self.swarm.close_connection(connection);
        self.connection_gone(peer, connection, "no sign of life".to_owned());
    }
}

/// Asks on a stream of its own.
async fn sign(opened: oneshot::Receiver<Result<NetStream, NetError>>) -> Option<Duration> {
    let began = Instant::now();
    let mut stream = match opened.await {
        Ok(Ok(stream)) => stream,
        // It does not know the question, but it has answered.
        Ok(Err(NetError::NotSpoken { .. })) => return Some(began.elapsed()),
        _ => return None,
    };
    let asked = Instant::now();
    stream.write_all(&[0x5a; PING_BYTES]).await.ok()?;
    stream.flush().await.ok()?;
    let mut back = [0; PING_BYTES];
    stream.read_exact(&mut back).await.ok()?;
    Some(asked.elapsed())
}
