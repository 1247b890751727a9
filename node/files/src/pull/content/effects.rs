//! What the core wants done: asking, meeting, leaving.

use super::{ContentPull, Event};
use crate::{
    evidence::{Evidence, EvidenceKind},
    pull::{
        answer::{Ask, AskError, HaveAnswer, Want},
        job::{SegmentJob, Sink},
        links::Links,
        report::Standing,
    },
    request::Hint,
};
use hive_protocol::{
    file::{self, FileRequest},
    ids::NodeId,
    time::Millis,
};
use hive_transfer::swarm::{Effect, Input};
use std::sync::{Arc, atomic::Ordering};
use tokio::sync::{mpsc, oneshot};

impl ContentPull {
    /// Connects to providers that are new.
    pub(super) fn meet_new(&mut self) {
        let new = self.providers.after(self.asked);
        self.asked += new.len();
        for hint in new {
            self.awaited.insert(hint.node);
            self.meet(hint);
        }
    }

    /// Tries those again that could not be reached or were dropped: a provider that restarts breaks every stream for
    /// a while. The core remembers who lied and takes no notice of them.
    fn meet_again(&self) {
        for hint in self.providers.after(0).into_iter().take(self.asked) {
            if !self.peers.contains_key(&hint.node) && !self.liars.contains(&hint.node) {
                self.meet(hint);
            }
        }
    }

    pub(super) fn meet(&self, hint: Hint) {
        let (links, events) = (self.means.links.clone(), self.events.0.clone());
        tokio::spawn(async move {
            links.learn(&hint).await;
            let event = match links.bulk(hint.node).await {
                Ok(lane) => Event::Up(hint.node, lane, hint.whole),
                Err(e) => Event::Gone(hint.node, e),
            };
            // An error means that the content is not wanted any more.
            drop(events.send(event).await);
        });
    }

    /// Does what the core wants; true when all is here.
    pub(super) fn effects(&mut self) -> bool {
        while let Some(effect) = self.swarm.poll_effect() {
            match effect {
                Effect::Ask {
                    peer,
                    segment,
                    mask,
                    hashes,
                } => self.ask(peer, segment, mask, hashes),
                Effect::Cancel { peer, segment } => {
                    if let Some(job) = self.asks.remove(&(peer, segment)) {
                        job.cancel();
                    }
                }
                Effect::AskTree { peer } => self.ask_tree(peer),
                Effect::AskHave { peer, seen, wait } => self.ask_have(peer, seen, wait),
                Effect::Meet { peer } => self.meet(Hint {
                    node: peer,
                    addrs: Vec::new(),
                    whole: false,
                }),
                Effect::DropPeer { peer, reason } => {
                    if reason.evidence() {
                        (self.means.on_evidence)(Evidence {
                            node: peer,
                            hash: self.content.hash,
                            kind: EvidenceKind::WrongBytes,
                        });
                    }
                    self.leave(peer);
                    tracing::info!(?peer, content = ?self.content.hash, reason = reason.text(), "a provider was dropped");
                    self.dropped.insert(peer, reason.text().to_owned());
                }
                Effect::WantPeers => {
                    self.providers.look();
                    self.meet_again();
                }
                Effect::State(state) => self.standing = Standing::from(state),
                Effect::Complete => return true,
            }
        }
        false
    }

    pub(super) fn leave(&mut self, node: NodeId) {
        self.asks.retain(|(peer, _), job| {
            let stays = *peer != node;
            if !stays {
                job.forget();
            }
            stays
        });
        if let Some(peer) = self.peers.remove(&node) {
            self.fetched_gone += peer.received.load(Ordering::Relaxed);
        }
    }

    fn ask(&mut self, node: NodeId, segment: u32, mask: u64, hashes: bool) {
        let (Some(peer), Some(size)) = (self.peers.get(&node), self.keeper.size()) else {
            return self.handle(Input::PeerGone { peer: node });
        };
        let job = Arc::new(SegmentJob::new(
            (node, segment, mask, hashes),
            size,
            Arc::clone(&self.keeper) as Arc<dyn Sink>,
            Arc::clone(&peer.received),
            self.ends.0.clone(),
        ));
        self.asks.insert((node, segment), Arc::clone(&job));
        let request = FileRequest::Segment {
            hash: self.content.hash,
            via: self.content.via,
            segment,
            mask,
            hashes,
        };
        peer.lane.ask(Ask::new(request, Want::Segment(job)));
    }

    fn ask_tree(&mut self, node: NodeId) {
        let Some(peer) = self.peers.get(&node) else {
            return self.handle(Input::PeerGone { peer: node });
        };
        let (to, answer) = oneshot::channel();
        let max_size = self.content.max_size;
        let request = FileRequest::Tree {
            hash: self.content.hash,
            via: self.content.via,
            max_size,
        };
        peer.lane.ask(Ask::new(request, Want::Tree { to, max_size }));
        self.forward(node, answer, Event::Tree);
    }

    /// Asks the giver of a tree for the last group: only that proves the size, which all others are cut by.
    pub(super) fn ask_proof(&self, node: NodeId, size: u64) {
        let Some(peer) = self.peers.get(&node) else { return };
        let last = file::segments(size).saturating_sub(1);
        let groups = file::groups_of(size, last);
        let segment = u32::try_from(last).unwrap_or(u32::MAX);
        let mask = 1_u64.checked_shl(groups.saturating_sub(1)).unwrap_or(1);
        let (ends, mut told) = mpsc::channel(1);
        let job = SegmentJob::new(
            (node, segment, mask, true),
            size,
            Arc::clone(&self.keeper) as Arc<dyn Sink>,
            Arc::clone(&peer.received),
            ends,
        );
        let request = FileRequest::Segment {
            hash: self.content.hash,
            via: self.content.via,
            segment,
            mask,
            hashes: true,
        };
        peer.lane.ask(Ask::new(request, Want::Segment(Arc::new(job))));
        let events = self.events.0.clone();
        tokio::spawn(async move {
            // The job tells its end however it ends.
            if let Some(end) = told.recv().await {
                drop(events.send(Event::Proof(node, end)).await);
            }
        });
    }

    fn ask_have(&self, node: NodeId, seen: u32, wait: Millis) {
        let (links, hash, via) = (self.means.links.clone(), self.content.hash, self.content.via);
        let events = self.events.0.clone();
        tokio::spawn(async move {
            let wait_ms = u32::try_from(wait.0).unwrap_or(file::MAX_HAVE_WAIT_MS);
            let wait_ms = wait_ms.min(file::MAX_HAVE_WAIT_MS);
            let answer = have(
                &links,
                node,
                FileRequest::Have {
                    hash,
                    via,
                    seen,
                    wait_ms,
                },
            )
            .await;
            drop(events.send(Event::Have(node, answer)).await);
        });
    }

    fn forward<T: Send + 'static>(
        &self,
        node: NodeId,
        answer: oneshot::Receiver<Result<T, AskError>>,
        event: fn(NodeId, Result<T, AskError>) -> Event,
    ) {
        let events = self.events.0.clone();
        tokio::spawn(async move {
            let answer = answer.await;
            let answer = answer.unwrap_or_else(|_| Err(AskError::Broken("the stream was closed".to_owned())));
            drop(events.send(event(node, answer)).await);
        });
    }
}

async fn have(links: &Links, node: NodeId, request: FileRequest) -> Result<HaveAnswer, AskError> {
    let lane = links.words(node).await?;
    let (to, answer) = oneshot::channel();
    lane.ask(Ask::new(request, Want::Have(to)));
    let closed = |_| AskError::Broken("the stream was closed".to_owned());
    answer.await.map_err(closed)?
}
