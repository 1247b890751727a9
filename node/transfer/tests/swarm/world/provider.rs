//! The providing side of a node: what it answers, how its line sends, what it says it has.

use super::{BACKLOG, Ev, Idx, NAMED_FOR, QUANTUM, World};
use hive_protocol::{
    file::{GROUP, MAX_FETCHERS, mask_bytes, whole_mask},
    ids::NodeId,
    time::Millis,
};
use hive_transfer::swarm::{Failure, Input};
use std::collections::BTreeSet;

impl World {
    pub(super) fn asked(&mut self, p: Idx, f: Idx, segment: u32, mask: u64, ask: u64) {
        let faults = self.nodes[p].faults.clone();
        let lacks = (faults.lacks_each > 0 && segment.is_multiple_of(faults.lacks_each))
            || self.nodes[p].held[segment as usize] != whole_mask(self.size, u64::from(segment));
        let busy = faults.busy_one_in > 0 && self.rnd(faults.busy_one_in) == 0;
        let broken = faults.breaks_one_in > 0 && self.rnd(faults.breaks_one_in) == 0;
        let why = if lacks {
            Some(Failure::NotFound)
        } else if busy {
            Some(Failure::Busy { retry: Millis(200) })
        } else if broken {
            Some(Failure::Broken)
        } else {
            None
        };
        if let Some(why) = why {
            let at = self.now + self.far(p, f);
            return self.push(at, Ev::Fail(p, f, segment, ask, why), &[p, f]);
        }
        self.nodes[p].named.insert(f, self.now);
        self.nodes[p]
            .queues
            .entry(f)
            .or_default()
            .push_back((segment, mask, ask));
        self.send(p);
    }

    pub(super) fn send(&mut self, p: Idx) {
        if self.nodes[p].sending {
            return;
        }
        let ms = self.now / 1000 - 1000;
        if let Some((_, end)) = self.nodes[p]
            .faults
            .silent
            .iter()
            .find(|(a, b)| *a <= ms && ms < *b)
            .copied()
        {
            self.nodes[p].sending = true;
            return self.push(1_000_000 + end * 1000, Ev::Uplink(p), &[p]);
        }
        let waiting: Vec<Idx> = self.nodes[p]
            .queues
            .iter()
            .filter(|(_, q)| !q.is_empty())
            .map(|(f, _)| *f)
            .collect();
        let turn = self.nodes[p].turn;
        let after = waiting
            .iter()
            .filter(|f| **f > turn)
            .chain(waiting.iter().filter(|f| **f <= turn));
        let free = |f: &&Idx| self.nodes[**f].down_free <= self.now + BACKLOG;
        let Some(f) = after.clone().find(free).copied() else {
            if let Some(at) = waiting.iter().map(|f| self.nodes[*f].down_free - BACKLOG).min() {
                self.nodes[p].sending = true;
                self.push(at.max(self.now + 1), Ev::Uplink(p), &[p]);
            }
            return;
        };
        self.nodes[p].turn = f;
        let quantum = (self.nodes[p].up / 10 / GROUP).clamp(1, QUANTUM);
        let queue = self.nodes[p].queues.get_mut(&f).expect("a queue");
        let (segment, rest, ask) = queue.front_mut().expect("an ask");
        let (segment, ask) = (*segment, *ask);
        let mut mask = 0;
        for _ in 0..quantum {
            mask |= *rest & rest.wrapping_neg();
            *rest &= rest.wrapping_sub(1);
        }
        let last = *rest == 0;
        if last {
            queue.pop_front();
        }
        let bytes = mask_bytes(self.size, u64::from(segment), mask).max(1);
        let wrong = self.nodes[p]
            .faults
            .lies_after
            .is_some_and(|n| self.nodes[p].sent >= n);
        self.nodes[p].sent += bytes;
        let sent = self.now + bytes * 1_000_000 / self.nodes[p].up;
        let chunk = Ev::Chunk {
            to: f,
            from: p,
            segment,
            mask,
            ask,
            last,
            wrong,
        };
        self.push(
            sent + self.far(p, f),
            Ev::Arrive(Box::new(chunk), f, bytes),
            &[p, f],
        );
        self.nodes[p].sending = true;
        self.push(sent, Ev::Uplink(p), &[p]);
    }

    #[allow(clippy::too_many_arguments)]
    pub(super) fn chunk(
        &mut self,
        f: Idx,
        p: Idx,
        segment: u32,
        mask: u64,
        ask: u64,
        last: bool,
        wrong: bool,
    ) {
        let bytes = mask_bytes(self.size, u64::from(segment), mask);
        let peer = self.id(p);
        let running = self.nodes[f]
            .asked
            .get(&(p, segment))
            .is_some_and(|(a, _)| *a == ask);
        self.tell(f, Input::Bytes { peer, bytes });
        *self.nodes[f].got.entry(p).or_default() += bytes;
        if wrong {
            if running {
                self.tell(f, Input::Corrupt { peer, segment });
            }
            return;
        }
        let full = whole_mask(self.size, u64::from(segment));
        let node = &mut self.nodes[f];
        let before = node.held[segment as usize];
        node.twice += mask_bytes(self.size, u64::from(segment), before & mask);
        node.held[segment as usize] |= mask;
        let whole_now = before != full && before | mask == full;
        self.tell(f, Input::Groups { peer, segment, mask });
        if last
            && self.nodes[f]
                .asked
                .get(&(p, segment))
                .is_some_and(|(a, _)| *a == ask)
        {
            self.nodes[f].asked.remove(&(p, segment));
            self.tell(f, Input::Done { peer, segment });
        }
        if whole_now {
            self.news(f);
        }
    }

    /// A partial provider has more: those who wait for news get it.
    pub(super) fn news(&mut self, p: Idx) {
        let count = self.has(p).0;
        let complete = self.nodes[p].done_at.is_some();
        let polls: Vec<Idx> = self.nodes[p]
            .polls
            .iter()
            .filter(|(_, (seen, _))| count > *seen || complete)
            .map(|(f, _)| *f)
            .collect();
        for f in polls {
            self.answer_have(p, f);
        }
    }

    fn has(&self, p: Idx) -> (u32, Vec<u8>) {
        let mut bytes = vec![0u8; self.nodes[p].held.len().div_ceil(8)];
        let mut count = 0;
        for (s, mask) in self.nodes[p].held.iter().enumerate() {
            if *mask == whole_mask(self.size, s as u64) {
                bytes[s / 8] |= 1 << (s % 8);
                count += 1;
            }
        }
        (count, bytes)
    }

    pub(super) fn have_asked(&mut self, p: Idx, f: Idx, seen: u32, wait: u64) {
        if self.nodes[p].faults.mute {
            return;
        }
        self.nodes[p].named.insert(f, self.now);
        let whole = self.nodes[p].whole || self.nodes[p].done_at.is_some();
        if whole || wait == 0 || self.has(p).0 > seen {
            return self.answer_have(p, f);
        }
        self.asks += 1;
        let token = self.asks;
        self.nodes[p].polls.insert(f, (seen, token));
        self.push(self.now + wait, Ev::HaveOver(p, f, token), &[p, f]);
    }

    pub(super) fn answer_have(&mut self, p: Idx, f: Idx) {
        self.nodes[p].polls.remove(&f);
        let whole = self.nodes[p].whole || self.nodes[p].done_at.is_some();
        let recent: BTreeSet<NodeId> = self.nodes[p]
            .named
            .iter()
            .filter(|(n, at)| **at + NAMED_FOR > self.now && self.nodes[**n].done_at.is_none())
            .map(|(n, _)| self.id(*n))
            .collect();
        let segments = if whole { Vec::new() } else { self.has(p).1 };
        let input = Input::Have {
            peer: self.id(p),
            whole,
            segments,
            fetchers: recent.into_iter().take(MAX_FETCHERS).collect(),
        };
        self.later(p, f, input);
    }
}
