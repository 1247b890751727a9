//! What peers answered, and how asks ended.

use super::{ContentPull, Event, Peer, failure};
use crate::{
    error::PullError,
    pull::{
        answer::{AskError, TreeAnswer},
        job::{Outcome, SegmentEnd},
        keep,
        links::LanePath,
    },
    request::Hint,
};
use hive_protocol::{file, ids::NodeId, time::Millis};
use hive_transfer::swarm::{Failure, Input, Path};
use std::sync::Arc;
use tokio::time::Instant;

fn is_last(size: u64, segment: u32) -> bool {
    u64::from(segment) + 1 == file::segments(size)
}

impl ContentPull {
    pub(super) async fn event(&mut self, event: Event) -> Result<(), PullError> {
        match event {
            Event::Up(node, ..) if self.liars.contains(&node) => {}
            Event::Up(node, lane, whole) => {
                let path = match lane.path {
                    LanePath::Relayed => Path::Relayed,
                    LanePath::Direct | LanePath::Mesh => Path::Direct,
                };
                match self.peers.get_mut(&node) {
                    Some(peer) => peer.lane = lane,
                    None => {
                        let received = Arc::default();
                        self.peers.insert(
                            node,
                            Peer {
                                lane,
                                received,
                                told: 0,
                            },
                        );
                    }
                }
                self.handle(Input::PeerUp {
                    peer: node,
                    path,
                    whole,
                });
            }
            Event::Gone(node, e) => {
                self.leave(node);
                self.dropped.insert(node, e.to_string());
                self.handle(Input::PeerGone { peer: node });
            }
            Event::Have(peer, Ok(have)) => {
                if let Some(size) = self.content.size.filter(|s| have.size != 0 && have.size != *s) {
                    tracing::debug!(?peer, claimed = have.size, size, "a provider claims another size");
                }
                self.handle(Input::Have {
                    peer,
                    whole: have.whole,
                    segments: have.segments,
                    fetchers: have.fetchers,
                });
            }
            Event::Have(peer, Err(e)) => self.handle(Input::HaveFailed {
                peer,
                why: failure(&e),
            }),
            Event::Tree(peer, answer) => self.tree(peer, answer).await?,
            Event::Proof(peer, end) => self.proof(peer, &end).await?,
        }
        Ok(())
    }

    async fn tree(&mut self, peer: NodeId, answer: Result<TreeAnswer, AskError>) -> Result<(), PullError> {
        let answer = match answer {
            Ok(answer) => answer,
            Err(e) => {
                if let AskError::TooLarge(size) = e {
                    self.too_large.insert(peer, size);
                    if self.peers.keys().all(|p| self.too_large.contains_key(p)) {
                        return Err(self.over(size));
                    }
                }
                let why = failure(&e);
                self.handle(Input::TreeFailed { peer, why });
                return Ok(());
            }
        };
        if self.content.size.is_some_and(|s| s != answer.size) {
            // A manifest, ticket or notice says otherwise: this provider has something else, or lies.
            self.handle(Input::TreeFailed {
                peer,
                why: Failure::NotFound,
            });
            return Ok(());
        }
        let keeper = Arc::clone(&self.keeper);
        let taken = keep::blocking(move || keeper.tree(answer.size, &answer.segments)).await?;
        match taken {
            Ok(local) => {
                let known = self.content.size.is_some()
                    || local.segments.iter().any(|(s, _, _)| is_last(local.size, *s));
                if known {
                    self.local(local);
                } else {
                    self.ask_proof(peer, local.size);
                }
                Ok(())
            }
            Err(keep::Refused::Sender) => {
                self.handle(Input::Corrupt { peer, segment: 0 });
                Ok(())
            }
            Err(keep::Refused::Ours(e)) => Err(e),
        }
    }

    /// The answer to [`Self::ask_proof`].
    async fn proof(&mut self, peer: NodeId, end: &SegmentEnd) -> Result<(), PullError> {
        match &end.outcome {
            Outcome::Failed(AskError::Corrupt) => {
                self.handle(Input::Corrupt { peer, segment: 0 });
                return Ok(());
            }
            // An answer that does not fit the size claimed is no evidence: nothing in it is signed or hashed.
            Outcome::Failed(
                e @ (AskError::Broken(_) | AskError::Wrong(_) | AskError::Stalled | AskError::Busy(_)),
            ) => {
                let why = failure(e);
                self.handle(Input::TreeFailed { peer, why });
                return Ok(());
            }
            // It does not have the end yet: its word is taken until somebody who has it says otherwise.
            Outcome::Failed(_) => self.unproven = Some(peer),
            Outcome::Done => {}
            Outcome::Store(code, detail) => {
                return Err(PullError::Store {
                    code,
                    detail: detail.clone(),
                });
            }
        }
        let keeper = Arc::clone(&self.keeper);
        if let Some(local) = keep::blocking(move || keeper.local(None)).await?? {
            self.local(local);
        }
        Ok(())
    }

    /// The tree was of a size that is not the content's: another one is needed, from somebody else.
    fn start_over(&mut self, giver: NodeId) {
        tracing::info!(?giver, content = ?self.content.hash, "a provider lied about the size");
        self.leave(giver);
        self.liars.insert(giver);
        self.dropped.insert(giver, "it said a wrong size".to_owned());
        self.unproven = None;
        for job in std::mem::take(&mut self.asks).into_values() {
            job.forget();
        }
        self.swarm = super::core(&self.means, &self.content.hash);
        let peers: Vec<NodeId> = self.peers.keys().copied().collect();
        for peer in peers {
            self.handle(Input::PeerUp {
                peer,
                path: Path::Direct,
                whole: false,
            });
        }
    }

    pub(super) fn ended(&mut self, end: SegmentEnd) -> Result<(), PullError> {
        let SegmentEnd {
            peer,
            segment,
            kept,
            wanted,
            outcome,
        } = end;
        if kept != 0 {
            self.handle(Input::Groups {
                peer,
                segment,
                mask: kept,
            });
            self.teller.grown();
        }
        if !wanted && outcome != Outcome::Failed(AskError::Corrupt) {
            return Ok(());
        }
        self.asks.remove(&(peer, segment));
        if let (Outcome::Failed(AskError::Wrong(_)), Some(giver), Some(size)) =
            (&outcome, self.unproven, self.keeper.size())
            && giver != peer
            && is_last(size, segment)
        {
            self.start_over(giver);
            return Ok(());
        }
        match outcome {
            Outcome::Done => self.handle(Input::Done { peer, segment }),
            Outcome::Failed(AskError::Corrupt) => self.handle(Input::Corrupt { peer, segment }),
            Outcome::Failed(e) => {
                let why = failure(&e);
                self.handle(Input::Failed { peer, segment, why });
                self.renew(peer, &e);
            }
            Outcome::Store("store.disk_full", words) => {
                tracing::warn!(content = ?self.content.hash, why = words, "the disk is full; a transfer waits");
                self.disk_full = Some(Instant::now());
                self.handle(Input::Failed {
                    peer,
                    segment,
                    why: Failure::Busy { retry: Millis(1000) },
                });
                self.handle(Input::Pause);
            }
            Outcome::Store(code, detail) => return Err(PullError::Store { code, detail }),
        }
        Ok(())
    }

    /// A stream that broke is opened again, in case the provider is still there.
    fn renew(&self, node: NodeId, e: &AskError) {
        if matches!(e, AskError::Broken(_) | AskError::Stalled | AskError::Wrong(_)) {
            self.meet(Hint {
                node,
                addrs: Vec::new(),
                whole: false,
            });
        }
    }
}
