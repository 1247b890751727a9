//! Which waiting request a provider answers next.
//!
//! Classes share by weight, so that urgent ones go first and none starves; within a class each peer gets the same
//! bytes, however many requests it has; a peer's requests keep their order.

use super::Class;
use hive_protocol::{ids::NodeId, time::Millis};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Requests that wait at once; further ones are answered `Busy`.
pub const MAX_QUEUE: usize = 4096;
/// Of one peer in one class: two streams of [`hive_protocol::file::MAX_PIPELINE`].
pub const MAX_QUEUE_PEER: usize = 32;
/// What answering costs besides the bytes, in bytes: many tiny requests are no way round the turns.
const COST: u64 = 16 << 10;
/// Virtual time of one byte at weight 1.
const UNIT: u64 = 1000;

/// A request that waits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Job {
    /// The shell's name for it; unique while it waits.
    pub id: u64,
    /// How urgent.
    pub class: Class,
    /// Who asked.
    pub peer: NodeId,
    /// Bytes the answer will have.
    pub bytes: u64,
}

/// The queue is full for this peer; `Busy` with this pause is the answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Full {
    /// How long the asker should wait.
    pub retry: Millis,
}

#[derive(Clone, Debug, Default)]
struct Turns {
    /// Virtual time, and that of each peer that waits or was served just now.
    tag: u64,
    served: u64,
    jobs: BTreeMap<NodeId, VecDeque<Job>>,
    tags: BTreeMap<NodeId, u64>,
    order: BTreeSet<(u64, NodeId)>,
}

impl Turns {
    fn push(&mut self, job: Job) {
        let waiting = self.jobs.entry(job.peer).or_default();
        if waiting.is_empty() {
            // Who has been away has saved nothing up.
            let tag = self.tags.get(&job.peer).copied().unwrap_or(0).max(self.served);
            self.tags.insert(job.peer, tag);
            self.order.insert((tag, job.peer));
        }
        waiting.push_back(job);
    }

    fn pop(&mut self) -> Option<Job> {
        let (tag, peer) = self.order.pop_first()?;
        let waiting = self.jobs.get_mut(&peer)?;
        let job = waiting.pop_front()?;
        self.served = tag;
        let next = tag + job.bytes + COST;
        self.tags.insert(peer, next);
        if waiting.is_empty() {
            self.jobs.remove(&peer);
        } else {
            self.order.insert((next, peer));
        }
        if self.tags.len() > MAX_QUEUE {
            let jobs = &self.jobs;
            self.tags.retain(|p, t| *t > tag || jobs.contains_key(p));
            while self.tags.len() > MAX_QUEUE * 2 {
                self.tags.pop_first();
            }
        }
        Some(job)
    }

    fn retain(&mut self, peer: NodeId, keep: impl Fn(&Job) -> bool) -> usize {
        let Some(waiting) = self.jobs.get_mut(&peer) else {
            return 0;
        };
        let before = waiting.len();
        waiting.retain(keep);
        let gone = before - waiting.len();
        if waiting.is_empty() {
            self.jobs.remove(&peer);
            if let Some(tag) = self.tags.get(&peer) {
                self.order.remove(&(*tag, peer));
            }
        }
        gone
    }
}

/// The queue.
#[derive(Clone, Debug, Default)]
pub struct SendQueue {
    classes: [Turns; 4],
    served: u64,
    len: usize,
}

impl SendQueue {
    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A request comes in.
    ///
    /// # Errors
    /// [`Full`] if too much waits; the pause grows with what waits.
    pub fn push(&mut self, job: Job) -> Result<(), Full> {
        let Some(turns) = self.classes.get_mut(job.class.index()) else {
            return Err(Full {
                retry: Millis::secs(1),
            });
        };
        let of_peer = turns.jobs.get(&job.peer).map_or(0, VecDeque::len);
        if of_peer >= MAX_QUEUE_PEER || self.len >= MAX_QUEUE {
            let retry = Millis((self.len as u64 * 10).clamp(200, 5000));
            return Err(Full { retry });
        }
        if turns.jobs.is_empty() {
            turns.tag = turns.tag.max(self.served);
        }
        turns.push(job);
        self.len += 1;
        Ok(())
    }

    /// Takes the request to answer now.
    #[allow(
        clippy::should_implement_trait,
        reason = "it is no iterator: what comes next changes with what is pushed"
    )]
    pub fn next(&mut self) -> Option<Job> {
        let (turns, class) = self
            .classes
            .iter_mut()
            .zip(Class::ALL)
            .filter(|(t, _)| !t.jobs.is_empty())
            .min_by_key(|(t, class)| (t.tag, *class))?;
        let job = turns.pop()?;
        self.served = turns.tag;
        turns.tag += (job.bytes + COST) * UNIT / class.weight();
        self.len -= 1;
        Some(job)
    }

    /// A request is no longer wanted; false if it does not wait (any more).
    pub fn cancel(&mut self, peer: NodeId, id: u64) -> bool {
        let gone: usize = self
            .classes
            .iter_mut()
            .map(|t| t.retain(peer, |j| j.id != id))
            .sum();
        self.len -= gone;
        gone > 0
    }

    /// A peer has gone with all it asked for.
    pub fn gone(&mut self, peer: NodeId) {
        let gone: usize = self.classes.iter_mut().map(|t| t.retain(peer, |_| false)).sum();
        self.len -= gone;
    }

    /// Requests that wait.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Requests of one peer in one class that wait.
    #[must_use]
    pub fn waiting_of(&self, class: Class, peer: NodeId) -> usize {
        let turns = self.classes.get(class.index());
        turns.and_then(|t| t.jobs.get(&peer)).map_or(0, VecDeque::len)
    }

    /// Nothing waits.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Panics if the books contradict each other: for tests.
    pub fn check_invariants(&self) {
        let mut sum = 0;
        for turns in &self.classes {
            assert_eq!(turns.order.len(), turns.jobs.len(), "turns and waiting peers");
            for (tag, peer) in &turns.order {
                assert_eq!(turns.tags.get(peer), Some(tag), "a turn out of step");
            }
            assert!(
                turns
                    .jobs
                    .values()
                    .all(|j| !j.is_empty() && j.len() <= MAX_QUEUE_PEER)
            );
            sum += turns.jobs.values().map(VecDeque::len).sum::<usize>();
        }
        assert_eq!(sum, self.len);
        assert!(self.len <= MAX_QUEUE);
    }
}
