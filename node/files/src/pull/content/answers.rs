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
use hive_protocol::{ids::NodeId, time::Millis};
use hive_transfer::swarm::{Failure, Input, Path};
use std::sync::Arc;
use tokio::time::Instant;

impl ContentPull {
    pub(super) async fn event(&mut self, event: Event) -> Result<(), PullError> {
        match event {
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
                self.local(local);
                Ok(())
            }
            Err(keep::Refused::Sender) => {
                self.handle(Input::Corrupt { peer, segment: 0 });
                Ok(())
            }
            Err(keep::Refused::Ours(e)) => Err(e),
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
