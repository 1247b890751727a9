//! Which segment to ask a peer for.

use super::{
    Path, Swarm,
    bits::{Bits, ones},
    crew::Leave,
    pace::takes,
};
use hive_protocol::{file::SEGMENT, ids::NodeId, time::Millis};

/// Segments of a partial peer looked at for the rarest: enough to spread fetchers, and a bound on the work.
const CANDIDATES: usize = 256;
/// What fetchers have is left to them if they need at most so many times as long as a seeder would,
const SLOWER: u64 = 2;
/// and this.
const SPARE: Millis = Millis::secs(1);
/// So many segments before a gap are looked at for another fetcher's walk: it does not show what is on its way.
const LOOK_BACK: u32 = 4;
/// A relayed peer is left out while direct ones have at least this part of its speed.
const RELAY_PART: u64 = 4;

/// What the choice of one round needs of all peers together.
#[derive(Debug)]
pub(super) struct Field {
    /// What usable peers have that are no seeders.
    held: Bits,
    /// Bytes a second of those together.
    held_speed: u64,
    /// What other fetchers have probably begun with.
    begun: Bits,
    /// What usable direct peers have, if there are relayed ones too.
    direct: Option<Bits>,
    direct_speed: u64,
}

impl Swarm {
    pub(super) fn field(&self) -> Field {
        let count = self.content.as_ref().map_or(0, super::content::Content::count);
        let mut field = Field {
            held: Bits::new(count),
            held_speed: 0,
            begun: self.begun_by_others(),
            direct: self
                .peers
                .values()
                .any(|p| p.path == Path::Relayed)
                .then(|| Bits::new(count)),
            direct_speed: 0,
        };
        let usable = || self.peers.iter().filter(|(_, p)| p.usable(self.now));
        if let Some(direct) = &mut field.direct {
            for (id, peer) in usable().filter(|(_, p)| p.path == Path::Direct) {
                direct.add(&peer.have);
                field.direct_speed = field.direct_speed.saturating_add(self.speed(id));
            }
        }
        for (id, peer) in usable().filter(|(_, p)| !p.seeds()) {
            match field.direct.as_ref().filter(|_| self.is_barred(id, &field)) {
                // What it will not be asked for must not keep a seeder from being asked.
                Some(direct) => field.held.add_but(&peer.have, direct),
                None => field.held.add(&peer.have),
            }
            field.held_speed = field.held_speed.saturating_add(self.speed(id));
        }
        field
    }

    /// Whether a relayed peer is left alone where direct ones can give the same.
    pub(super) fn is_barred(&self, id: &NodeId, field: &Field) -> bool {
        let relayed = self.peers.get(id).is_some_and(|p| p.path == Path::Relayed);
        relayed && field.direct_speed.saturating_mul(RELAY_PART) >= self.speed(id)
    }

    /// Bytes a second of a peer; one that has shown nothing is taken for as fast as the fastest.
    pub(super) fn speed(&self, id: &NodeId) -> u64 {
        let Some(peer) = self.peers.get(id) else { return 1 };
        if peer.rate.measured().is_some() {
            return peer.speed(self.now);
        }
        let best = self.peers.values().filter_map(|p| p.rate.measured()).max();
        super::pace::fallen(best.unwrap_or(super::pace::DEFAULT_RATE), peer.silence(self.now))
    }

    /// Open segments that this peer may be asked for, as bits of one word.
    fn word(&self, id: &NodeId, field: &Field, at: usize) -> u64 {
        let (Some(peer), Some(content)) = (self.peers.get(id), &self.content) else {
            return 0;
        };
        let own = peer.asks.iter().filter(|a| (a.segment / 64) as usize == at);
        let own = own.fold(0u64, |sum, a| sum | 1 << (a.segment % 64));
        let word = content.open().word(at) & peer.have.word(at) & !own;
        match &field.direct {
            Some(direct) if self.is_barred(id, field) => word & !direct.word(at),
            _ => word,
        }
    }

    fn may(&self, id: &NodeId, field: &Field, segment: u32) -> bool {
        self.word(id, field, (segment / 64) as usize) >> (segment % 64) & 1 == 1
    }

    /// The segment to ask this peer for now, if any.
    pub(super) fn choose(&self, id: &NodeId, field: &Field) -> Option<u32> {
        let content = self.content.as_ref()?;
        if let Some((from, window)) = self.want {
            let to = from.saturating_add(window).min(content.count());
            if let Some(first) = (from..to).find(|s| self.may(id, field, *s)) {
                return Some(first);
            }
        }
        let (begun, seeds) = (content.begun(), self.peers.get(id)?.seeds());
        let unfinished = (0..begun.words()).find_map(|w| {
            // What a fetcher has begun to give it may also end.
            let spared = if seeds { field.held.word(w) } else { 0 };
            ones(begun.word(w) & self.word(id, field, w) & !spared)
                .next()
                .map(at(w))
        });
        if unfinished.is_some() {
            return unfinished;
        }
        if seeds {
            self.of_seeder(id, field)
        } else {
            self.rarest(id, field)
        }
    }

    /// Of what a partial peer has, what fewest others have.
    fn rarest(&self, id: &NodeId, field: &Field) -> Option<u32> {
        let words = self.content.as_ref()?.open().words();
        let start = (self.hash(words as u64) % words.max(1) as u64) as usize;
        let others: Vec<&Bits> = self
            .peers
            .values()
            .filter(|p| !p.seeds() && p.usable(self.now))
            .map(|p| &p.have)
            .collect();
        (0..words)
            .map(|w| (w + start) % words)
            .flat_map(|w| ones(self.word(id, field, w)).map(at(w)))
            .take(CANDIDATES)
            .min_by_key(|s| {
                let owners = others.iter().filter(|h| h.get(*s)).count();
                (owners, self.hash(u64::from(*s)))
            })
    }

    /// What to ask a peer that has all: one's own stretch; what nobody is at; what its owner is late with; what
    /// partial peers would be too slow with.
    fn of_seeder(&self, id: &NodeId, field: &Field) -> Option<u32> {
        let me = self.rank(&self.config.me)?;
        let fresh = |w: usize| self.word(id, field, w) & !field.held.word(w) & !field.begun.word(w);
        let own = self.stretch(me);
        if let Some(found) = self.walk_in(own, &fresh).or_else(|| {
            let run = longest(own, &fresh)?;
            Some(if self.is_foreign(field, run.0) {
                run.0 + run.1 / 2
            } else {
                run.0
            })
        }) {
            return Some(found);
        }
        let mut best: Option<(u32, u32)> = None;
        for rank in (0..self.crew.len()).filter(|r| *r != me) {
            let leave = self.leave(rank, id);
            if leave == Leave::Not {
                continue;
            }
            let stretch = self.stretch(rank);
            if let Some(found) = self.walk_in(stretch, &fresh) {
                return Some(found);
            }
            let n = self.crew.len();
            let place = longest(stretch, &fresh)
                .and_then(|run| Some((run.1, helper_place(run, (me, rank, n), leave == Leave::Free)?)));
            best = best.max(place);
        }
        if let Some((_, found)) = best {
            return Some(found);
        }
        self.of_slow_holders(id, field)
    }

    /// The walk goes on if it is within a stretch and finds something.
    fn walk_in(&self, stretch: (u32, u32), fresh: &impl Fn(usize) -> u64) -> Option<u32> {
        let walk = self.walk;
        (walk >= stretch.0 && walk < stretch.1 && fresh((walk / 64) as usize) >> (walk % 64) & 1 == 1)
            .then_some(walk)
    }

    /// Whether what lies just before a segment came to another fetcher first, who then probably walks this way.
    fn is_foreign(&self, field: &Field, start: u32) -> bool {
        let Some(content) = &self.content else {
            return false;
        };
        let before = start.saturating_sub(LOOK_BACK)..start;
        before
            .into_iter()
            .any(|s| field.held.get(s) && content.free(s) != 0)
    }

    /// What only slow partial peers would give is taken from the seeder after all, from the end.
    fn of_slow_holders(&self, id: &NodeId, field: &Field) -> Option<u32> {
        let words = self.content.as_ref()?.open().words();
        // Whatever was reckoned above: when nothing moves at all, the seeder is asked.
        let stuck = self.asks() == 0 && self.now.since(self.heard) >= self.config.patience;
        let held = |w: usize| {
            let word = self.word(id, field, w);
            if stuck { word } else { word & field.held.word(w) }
        };
        let open: u64 = (0..words).map(|w| u64::from(held(w).count_ones())).sum();
        let bytes = open * SEGMENT;
        let theirs = takes(bytes, field.held_speed);
        let here = takes(self.owed(id) + bytes, self.speed(id));
        if !stuck && theirs.0 <= here.0.saturating_mul(SLOWER).saturating_add(SPARE.0) {
            return None;
        }
        let last = (0..words).rev().find(|w| held(*w) != 0)?;
        Some(last as u32 * 64 + 63 - held(last).leading_zeros())
    }

    /// Whether any usable peer could be asked for an open segment.
    pub(super) fn anything_open(&self) -> bool {
        let Some(content) = &self.content else {
            return false;
        };
        let open = content.open();
        !open.is_empty()
            && self
                .peers
                .values()
                .filter(|p| p.usable(self.now))
                .any(|p| (0..open.words()).any(|w| open.word(w) & p.have.word(w) != 0))
    }
}

fn at(word: usize) -> impl Fn(u32) -> u32 {
    move |bit| word as u32 * 64 + bit
}

/// Where the member of rank `me` helps the one of rank `owner` (of `n`) in a run that the owner walks from the left:
/// each helper at another place. Of a short run each takes what falls to its rank, so that what is on its way to one
/// is not taken by another; only if nobody is at it anyone takes the rest.
fn helper_place(run: (u32, u32), of: (usize, usize, usize), free: bool) -> Option<u32> {
    let (start, len) = run;
    let (me, owner, n) = (of.0 as u32, of.1 as u32, of.2.max(1) as u32);
    let nth = (me + n - owner) % n;
    if len > 2 * n {
        let half = len / 2;
        return Some(start + half + (len - half) * nth.saturating_sub(1) / n);
    }
    let mine = (start..start + len).rev().find(|s| s % n == me);
    mine.or_else(|| free.then(|| start + len - 1 - nth % len))
}

/// First and length of the longest run of set bits within a stretch.
fn longest(stretch: (u32, u32), word: &impl Fn(usize) -> u64) -> Option<(u32, u32)> {
    let mut best: Option<(u32, u32)> = None;
    let mut run: Option<(u32, u32)> = None;
    let mut at = stretch.0;
    while at < stretch.1 {
        let bits = word((at / 64) as usize) >> (at % 64);
        let room = (64 - at % 64).min(stretch.1 - at);
        let gap = bits.trailing_zeros().min(room);
        if gap > 0 {
            run = None;
            at += gap;
            continue;
        }
        let len = bits.trailing_ones().min(room);
        let joined = run.map_or((at, len), |(s, l)| (s, l + len));
        run = Some(joined);
        if best.is_none_or(|b| joined.1 > b.1) {
            best = Some(joined);
        }
        at += len;
    }
    best
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn helpers_begin_at_places_of_their_own() {
        for n in 2..9usize {
            for len in 1..100 {
                let places = |free| (1..n).filter_map(move |me| helper_place((10, len), (me, 0, n), free));
                let mut all: Vec<u32> = places(false).collect();
                let asked = all.len();
                all.sort_unstable();
                all.dedup();
                assert_eq!(all.len(), asked, "{n} in {len}");
                assert!(
                    all.iter().all(|p| (10..10 + len).contains(p)),
                    "{n} in {len}: {all:?}"
                );
                assert!(places(true).all(|p| (10..10 + len).contains(&p)));
                assert_eq!(places(true).count(), n - 1, "what nobody is at is not left");
            }
        }
    }

    #[test]
    fn the_longest_run_is_found_across_words() {
        let mut bits = Bits::new(300);
        for s in (10..20).chain(60..200).chain(250..300) {
            bits.set(s, true);
        }
        let word = |w: usize| bits.word(w);
        assert_eq!(longest((0, 300), &word), Some((60, 140)));
        assert_eq!(longest((0, 64), &word), Some((10, 10)));
        assert_eq!(longest((190, 300), &word), Some((250, 50)));
        assert_eq!(longest((20, 60), &word), None);
        assert_eq!(longest((64, 128), &word), Some((64, 64)));
    }
}
