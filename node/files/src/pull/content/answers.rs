//! What peers answered, and how asks ended.

use super::{ContentPull, Event, Peer, Word, failure};
use crate::{
    error::PullError,
    pull::{
        answer::{AskError, TreeAnswer},
        job::{Outcome, SegmentEnd},
        keep,
        links::{Lane, LanePath},
    },
    request::Hint,
};
use hive_protocol::{file, ids::NodeId, time::Millis};
use hive_transfer::swarm::{Failure, Input, Path};
use std::sync::Arc;
use tokio::{sync::mpsc, time::Instant};

fn is_last(size: u64, segment: u32) -> bool {
    u64::from(segment) + 1 == file::segments(size)
}

const fn path_of(lane: &Lane) -> Path {
    match lane.path {
        LanePath::Relayed => Path::Relayed,
        LanePath::Direct | LanePath::Mesh => Path::Direct,
    }
}

/// The last group of a content, if it is in this segment.
fn end_of(size: Option<u64>, segment: u32) -> u64 {
    let Some(size) = size.filter(|s| is_last(*s, segment)) else {
        return 0;
    };
    let groups = file::groups_of(size, u64::from(segment));
    1_u64.checked_shl(groups.saturating_sub(1)).unwrap_or(0)
}

/// Whether the last group is here, which proves the size.
pub(super) fn has_end(local: &keep::Local) -> bool {
    let end = |s: &u32| end_of(Some(local.size), *s);
    local.segments.iter().any(|(s, mask, _)| mask & end(s) != 0)
}

/// Whether the stream has ended with it.
const fn breaks(e: &AskError) -> bool {
    matches!(
        e,
        AskError::Broken(_) | AskError::Stalled | AskError::Wrong(_) | AskError::Corrupt
    )
}

/// Whether this end of an ask for the last segment may come of a wrong size that was said by `word`: then it is not
/// held against the peer.
fn doubts(e: &AskError, word: Word, peer: NodeId) -> bool {
    let misfit = matches!(e, AskError::Wrong(_) | AskError::Corrupt);
    match word {
        Word::Namer => misfit || *e == AskError::NotFound,
        Word::Giver(giver) => misfit && giver != peer,
    }
}

impl ContentPull {
    pub(super) async fn event(&mut self, event: Event) -> Result<(), PullError> {
        if let Event::Up(node, ..) | Event::Gone(node, _) = &event {
            self.awaited.remove(node);
        }
        match event {
            Event::Up(node, ..) if self.liars.contains(&node) => {}
            Event::Up(node, lane, whole) => {
                let path = path_of(&lane);
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
                self.look_too_large()?;
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
                }
                let why = failure(&e);
                self.handle(Input::TreeFailed { peer, why });
                return self.look_too_large();
            }
        };
        let keeper = Arc::clone(&self.keeper);
        let taken = keep::blocking(move || keeper.tree(answer.size, &answer.segments)).await?;
        match taken {
            Ok(local) => {
                let proven = has_end(&local);
                // Two who say the same are believed until somebody says otherwise.
                let agreed = self.content.size == Some(local.size) && file::segments(local.size) > 1;
                if proven || agreed {
                    self.unproven = (!proven).then_some(Word::Giver(peer));
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
            Outcome::Failed(_) if self.contradicts() => {
                let why = Failure::NotFound;
                self.handle(Input::TreeFailed { peer, why });
                return Ok(());
            }
            // It does not have the end yet: its word is taken until somebody who has it says otherwise.
            Outcome::Failed(_) => self.unproven = Some(Word::Giver(peer)),
            Outcome::Done => self.proven()?,
            // Nothing is wrong with the word; the bytes come again when there is room.
            Outcome::Store("store.disk_full", _) => self.unproven = Some(Word::Giver(peer)),
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

    /// Whether the tree is of another size than the manifest says.
    fn contradicts(&self) -> bool {
        self.content.exact && self.content.size.is_some() && self.content.size != self.keeper.size()
    }

    /// The size is that of the tree: whatever else a manifest said is wrong.
    fn proven(&mut self) -> Result<(), PullError> {
        self.unproven = None;
        match (self.content.size, self.keeper.size()) {
            (Some(said), Some(size)) if self.contradicts() => Err(PullError::Size {
                hash: self.content.hash,
                said,
                size,
            }),
            _ => Ok(()),
        }
    }

    /// Ends the pull when all who could be reached say that it is larger than what is taken.
    fn look_too_large(&self) -> Result<(), PullError> {
        let all = !self.peers.is_empty() && self.peers.keys().all(|p| self.too_large.contains_key(p));
        match self.too_large.values().min() {
            Some(size) if all && self.awaited.is_empty() => Err(self.over(*size)),
            _ => Ok(()),
        }
    }

    /// The size gone by was not the content's: a tree is needed, from somebody else than whoever lied.
    fn start_over(&mut self, word: Word) {
        tracing::info!(?word, content = ?self.content.hash, "a size that was said is not the content's");
        match word {
            Word::Namer => {}
            Word::Giver(giver) => {
                // Said, and found not to be so: not a third party's evidence, but enough for us.
                self.leave(giver);
                self.liars.insert(giver);
                self.dropped.insert(giver, "it said a wrong size".to_owned());
            }
        }
        self.unproven = None;
        for job in std::mem::take(&mut self.asks).into_values() {
            job.forget();
        }
        // What was asked under the wrong size says nothing about anybody.
        self.ends = mpsc::channel(super::EVENTS);
        self.swarm = super::core(&self.means, &self.content.hash);
        let peers: Vec<(NodeId, Path)> = self.peers.iter().map(|(n, p)| (*n, path_of(&p.lane))).collect();
        for (peer, path) in peers {
            let whole = false;
            self.handle(Input::PeerUp { peer, path, whole });
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
            if kept & end_of(self.keeper.size(), segment) != 0 {
                self.proven()?;
            }
        }
        if !wanted && outcome != Outcome::Failed(AskError::Corrupt) {
            return Ok(());
        }
        self.asks.remove(&(peer, segment));
        if let (Outcome::Failed(e), Some(word), Some(size)) = (&outcome, self.unproven, self.keeper.size())
            && is_last(size, segment)
            && doubts(e, word, peer)
        {
            if breaks(e) {
                self.leave(peer);
            }
            self.start_over(word);
            self.renew(peer, e);
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
        if breaks(e) {
            self.meet(Hint {
                node,
                addrs: Vec::new(),
                whole: false,
            });
        }
    }
}
