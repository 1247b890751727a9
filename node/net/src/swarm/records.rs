//! What this node keeps for others in its part of the hash table: until when, how much of whom, and who makes room.
//!
//! libp2p's store has a bound and no more: what has expired goes only when somebody asks for that very key, and once
//! full it refuses everything new, the node's own announcements too. This book stands beside the store. It knows each
//! record of others in it, ends those whose time has come, and when there is no room takes it from the node that has
//! the most. Must not know what is behind a key, nor what time it is.

use super::{
    behaviour::{MAX_PROVIDED, MAX_PROVIDERS},
    sample::Sample,
};
use hive_protocol::ids::BlobHash;
use libp2p::{
    PeerId,
    kad::{ProviderRecord, RecordKey, store::RecordStore},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Instant,
};

/// Records of one node: as many as an honest one announces. In a mesh of up to 20 nodes each keeps all keys of all.
const MAX_OF_ONE: usize = MAX_PROVIDED;
/// Records of all others. A key costs the store 3 KiB and a record its addresses: with the node's own, 17 MiB at most.
pub(crate) const MAX_RECORDS: usize = 2 * MAX_OF_ONE;

/// A record by what tells it from others: a key, and who provides it.
type Name = (BlobHash, PeerId);

/// What became of a record.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Kept {
    /// It is kept.
    Stored,
    /// It is kept, and this one is not any more.
    InPlaceOf(Name),
    /// It is not kept.
    Refused,
}

/// The book. See the module's documentation.
#[derive(Default)]
pub(crate) struct Records {
    /// A key that gives way to no other one of its provider's.
    lasting: Option<BlobHash>,
    /// By provider: keys and when they expire. At most [`MAX_RECORDS`] over all.
    nodes: BTreeMap<PeerId, BTreeMap<BlobHash, Instant>>,
    /// Who provides a key.
    keys: BTreeMap<BlobHash, BTreeSet<PeerId>>,
    /// Who stays where more provide a key than are kept.
    sample: Sample,
    /// Providers by how many keys they have.
    sizes: BTreeSet<(usize, PeerId)>,
    total: usize,
    /// Nothing expires before this.
    soonest: Option<Instant>,
}

impl Records {
    /// An empty one; a provider's record of this key is the last to go, so that nobody's own announcements, however
    /// many, take its place. `secret` is random and told to nobody.
    pub(crate) fn new(lasting: BlobHash, secret: [u8; 32]) -> Self {
        Self {
            lasting: Some(lasting),
            sample: Sample::new(secret),
            ..Self::default()
        }
    }

    /// Takes a record of another node into the store if it is to be kept, and out what has to go for it. `expires` is
    /// for a record that does not say.
    pub(crate) fn take(
        &mut self,
        store: &mut impl RecordStore,
        record: ProviderRecord,
        expires: Instant,
    ) -> Kept {
        // Only blob hashes are keys here.
        let Ok(key) = <[u8; size_of::<BlobHash>()]>::try_from(record.key.as_ref()) else {
            return Kept::Refused;
        };
        let (key, provider) = (BlobHash(key), record.provider);
        let kept = self.keep(key, provider, record.expires.unwrap_or(expires));
        match &kept {
            Kept::Refused => return kept,
            Kept::InPlaceOf((key, provider)) => {
                store.remove_provider(&RecordKey::new(key.as_bytes()), provider)
            }
            Kept::Stored => {}
        }
        if store.add_provider(record).is_err() {
            // Its bounds are wider than those here.
            self.forget(&key, &provider);
            return Kept::Refused;
        }
        kept
    }

    /// Takes out of the store what has expired; says how many records.
    pub(crate) fn sweep(&mut self, store: &mut impl RecordStore, now: Instant) -> usize {
        let over = self.expired(now);
        for (key, provider) in &over {
            store.remove_provider(&RecordKey::new(key.as_bytes()), provider);
        }
        over.len()
    }

    /// Decides about a record. Whoever says it again has it for longer. Of more providers of a key than are kept, the one
    /// with the worst lot goes. Beyond what one may have, its own oldest goes:
    /// what it says now counts more. Beyond what all may have, the oldest of the node with the most goes, unless that
    /// would leave it with less than the one that comes.
    fn keep(&mut self, key: BlobHash, provider: PeerId, expires: Instant) -> Kept {
        if let Some(known) = self.nodes.get_mut(&provider).and_then(|of| of.get_mut(&key)) {
            *known = expires;
            self.expects(expires);
            return Kept::Stored;
        }
        let had = self.nodes.get(&provider).map_or(0, BTreeMap::len);
        if let Some(last) = self.last_of_full(&key) {
            if had >= MAX_OF_ONE || self.sample.lot(&key, &provider) > self.sample.lot(&key, &last) {
                return Kept::Refused;
            }
            self.forget(&key, &last);
            self.insert(key, provider, expires);
            return Kept::InPlaceOf((key, last));
        }
        let loser = if had >= MAX_OF_ONE {
            Some(provider)
        } else if self.total < MAX_RECORDS {
            None
        } else {
            match self.sizes.last() {
                Some((most, node)) if *most > had.saturating_add(1) => Some(*node),
                _ if had > 0 => Some(provider),
                _ => return Kept::Refused,
            }
        };
        let gone = loser.and_then(|node| self.oldest(&node).map(|key| (key, node)));
        if let Some((key, node)) = &gone {
            self.forget(key, node);
        }
        self.insert(key, provider, expires);
        gone.map_or(Kept::Stored, Kept::InPlaceOf)
    }

    /// The provider with the worst lot of a key that has as many as are kept.
    fn last_of_full(&self, key: &BlobHash) -> Option<PeerId> {
        let of = self.keys.get(key).filter(|of| of.len() >= MAX_PROVIDERS)?;
        of.iter().copied().max_by_key(|p| self.sample.lot(key, p))
    }

    /// Forgets what has expired and names it.
    fn expired(&mut self, now: Instant) -> Vec<Name> {
        if self.soonest.is_none_or(|soonest| soonest > now) {
            return Vec::new();
        }
        let all = self
            .nodes
            .iter()
            .flat_map(|(node, of)| of.iter().map(move |(key, expires)| ((*key, *node), *expires)));
        let mut over = Vec::new();
        let mut next: Option<Instant> = None;
        for (name, expires) in all {
            if expires <= now {
                over.push(name);
            } else {
                next = Some(next.map_or(expires, |n| n.min(expires)));
            }
        }
        self.soonest = next;
        for (key, node) in &over {
            self.forget(key, node);
        }
        over
    }

    fn oldest(&self, node: &PeerId) -> Option<BlobHash> {
        let of = self.nodes.get(node)?;
        of.iter()
            .min_by_key(|(key, expires)| (self.lasting == Some(**key), **expires))
            .map(|(key, _)| *key)
    }

    fn insert(&mut self, key: BlobHash, node: PeerId, expires: Instant) {
        let of = self.nodes.entry(node).or_default();
        let had = of.len();
        if of.insert(key, expires).is_some() {
            return;
        }
        self.sizes.remove(&(had, node));
        self.sizes.insert((had.saturating_add(1), node));
        self.keys.entry(key).or_default().insert(node);
        self.total = self.total.saturating_add(1);
        self.expects(expires);
    }

    fn forget(&mut self, key: &BlobHash, node: &PeerId) {
        let Some(of) = self.nodes.get_mut(node) else {
            return;
        };
        let had = of.len();
        if of.remove(key).is_none() {
            return;
        }
        self.sizes.remove(&(had, *node));
        if of.is_empty() {
            self.nodes.remove(node);
        } else {
            self.sizes.insert((had.saturating_sub(1), *node));
        }
        if let Some(providers) = self.keys.get_mut(key) {
            providers.remove(node);
            if providers.is_empty() {
                self.keys.remove(key);
            }
        }
        self.total = self.total.saturating_sub(1);
    }

    fn expects(&mut self, expires: Instant) {
        self.soonest = Some(self.soonest.map_or(expires, |s| s.min(expires)));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::{super::behaviour, *};
    use std::time::Duration;

    const TTL: Duration = Duration::from_secs(7200);

    fn key(n: usize) -> BlobHash {
        BlobHash::of(&n.to_le_bytes())
    }

    fn record(n: usize, provider: PeerId, expires: Instant) -> ProviderRecord {
        let mut record = ProviderRecord::new(RecordKey::new(key(n).as_bytes()), provider, Vec::new());
        record.expires = Some(expires);
        record
    }

    /// The book and its counts say the same.
    fn sound(book: &Records) {
        let sum: usize = book.nodes.values().map(BTreeMap::len).sum();
        assert_eq!(sum, book.total);
        assert_eq!(sum, book.keys.values().map(BTreeSet::len).sum::<usize>());
        let sizes: BTreeSet<_> = book.nodes.iter().map(|(node, of)| (of.len(), *node)).collect();
        assert_eq!(sizes, book.sizes);
        assert!(book.total <= MAX_RECORDS);
        let first = book.nodes.values().flat_map(BTreeMap::values).min();
        assert!(first.is_none_or(|f| book.soonest.is_some_and(|s| s <= *f)));
    }

    /// How many records of these keys were refused, and how many took the place of another.
    fn announce(
        book: &mut Records,
        provider: PeerId,
        keys: std::ops::Range<usize>,
        expires: Instant,
    ) -> (usize, usize) {
        let mut came = (0, 0);
        for n in keys {
            match book.keep(key(n), provider, expires) {
                Kept::Stored => {}
                Kept::Refused => came.0 += 1,
                Kept::InPlaceOf(_) => came.1 += 1,
            }
        }
        sound(book);
        came
    }

    fn has(book: &Records, provider: &PeerId) -> usize {
        book.nodes.get(provider).map_or(0, BTreeMap::len)
    }

    #[test]
    fn what_has_expired_goes_unasked_and_what_was_said_again_stays() {
        let (mut book, now) = (Records::default(), Instant::now());
        let mut store = behaviour::store(PeerId::random());
        let [once, again] = [(); 2].map(|()| PeerId::random());
        for provider in [once, again] {
            assert_eq!(
                book.take(&mut store, record(1, provider, now + TTL), now),
                Kept::Stored
            );
        }
        book.take(&mut store, record(1, again, now + TTL * 2), now);
        assert_eq!(book.sweep(&mut store, now + TTL - Duration::from_secs(1)), 0);
        assert_eq!(book.sweep(&mut store, now + TTL), 1);
        sound(&book);
        let left = store.providers(&RecordKey::new(key(1).as_bytes()));
        assert_eq!(left.iter().map(|r| r.provider).collect::<Vec<_>>(), [again]);
        assert_eq!(book.sweep(&mut store, now + TTL * 2), 1);
        assert!(store.providers(&RecordKey::new(key(1).as_bytes())).is_empty());
        assert!(book.nodes.is_empty() && book.keys.is_empty() && book.soonest.is_none());
    }

    #[test]
    fn new_keys_for_ever_never_fill_the_store() {
        let (mut book, mut now) = (Records::default(), Instant::now());
        let mut store = behaviour::store(PeerId::random());
        let provider = PeerId::random();
        for n in 0..3 * MAX_RECORDS {
            now += TTL / 500;
            book.sweep(&mut store, now);
            assert_eq!(
                book.take(&mut store, record(n, provider, now + TTL), now),
                Kept::Stored
            );
        }
        sound(&book);
    }

    #[test]
    fn one_node_has_so_many_and_then_its_own_oldest_goes() {
        let (mut book, now) = (Records::default(), Instant::now());
        let (loud, quiet) = (PeerId::random(), PeerId::random());
        announce(&mut book, quiet, 0..3, now + TTL);
        assert_eq!(announce(&mut book, loud, 0..MAX_PROVIDED, now + TTL), (0, 0));
        assert_eq!(book.keep(key(9), loud, now + TTL * 2), Kept::Stored, "said again");
        let late = now + TTL * 2;
        assert_eq!(
            announce(&mut book, loud, MAX_PROVIDED..2 * MAX_PROVIDED - 1, late),
            (0, MAX_PROVIDED - 1)
        );
        assert_eq!((has(&book, &loud), has(&book, &quiet)), (MAX_OF_ONE, 3));
        assert!(book.nodes[&loud].values().all(|e| *e == late), "the oldest went");
    }

    #[test]
    fn the_key_that_lasts_goes_last_whoever_makes_room() {
        let (mut book, now) = (Records::new(key(0), [7; 32]), Instant::now());
        let (relay, other) = (PeerId::random(), PeerId::random());
        // Said first, so that it is the oldest.
        announce(&mut book, relay, 0..1, now + TTL);
        announce(&mut book, relay, 1..3 * MAX_OF_ONE, now + TTL * 2);
        assert!(book.nodes[&relay].contains_key(&key(0)));
        announce(&mut book, other, 5000..5000 + MAX_OF_ONE, now + TTL);
        for n in 0..MAX_RECORDS {
            book.keep(key(10_000 + n), PeerId::random(), now + TTL);
        }
        sound(&book);
        assert!(has(&book, &relay) < 10 && book.nodes[&relay].contains_key(&key(0)));
        // It is no more than that.
        assert_eq!(
            book.expired(now + TTL)
                .iter()
                .filter(|(k, _)| *k == key(0))
                .count(),
            1
        );
    }

    #[test]
    fn when_full_the_one_with_most_makes_room_until_nobody_has_more() {
        let (mut book, now) = (Records::default(), Instant::now());
        let nodes = [(); 4].map(|()| PeerId::random());
        announce(&mut book, nodes[0], 0..MAX_OF_ONE, now + TTL);
        announce(&mut book, nodes[1], 0..MAX_OF_ONE, now + TTL);
        assert_eq!(book.total, MAX_RECORDS);
        // Those who came first keep saying it all; the others do not go for it.
        for (n, keys) in [(2, 10), (3, MAX_OF_ONE), (0, MAX_OF_ONE), (1, MAX_OF_ONE)] {
            let (refused, _) = announce(&mut book, nodes[n], 5000..5000 + keys, now + TTL);
            assert_eq!(refused, 0);
        }
        assert_eq!(has(&book, &nodes[2]), 10, "the little one lost nothing");
        let fair = (MAX_RECORDS - 10) / 3;
        for node in [0, 1, 3] {
            assert!(has(&book, &nodes[node]).abs_diff(fair) <= 1);
        }
    }

    #[test]
    fn when_all_have_one_a_newcomer_is_refused() {
        let (mut book, now) = (Records::default(), Instant::now());
        for n in 0..MAX_RECORDS {
            book.keep(key(n), PeerId::random(), now + TTL);
        }
        assert_eq!(book.keep(key(0), PeerId::random(), now + TTL), Kept::Refused);
        assert_eq!(book.expired(now + TTL).len(), MAX_RECORDS);
        assert_eq!(book.keep(key(0), PeerId::random(), now + TTL), Kept::Stored);
        sound(&book);
    }

    #[test]
    fn many_that_claim_a_key_first_leave_room_for_who_comes_last_at_most_nodes() {
        let (now, honest) = (Instant::now(), PeerId::random());
        let liars: Vec<_> = (0..27).map(|_| PeerId::random()).collect();
        let mut kept = 0;
        for n in 0..100 {
            let mut book = Records::new(key(1), [n; 32]);
            for provider in liars.iter().chain([&honest]) {
                book.keep(key(0), *provider, now + TTL);
            }
            sound(&book);
            let first = book.keys[&key(0)].clone();
            assert_eq!(first.len(), MAX_PROVIDERS);
            // Who has lost does not win by saying it again.
            for provider in liars.iter().chain([&honest]) {
                let again = book.keep(key(0), *provider, now + TTL);
                assert_eq!(again == Kept::Stored, first.contains(provider));
            }
            kept += usize::from(first.contains(&honest));
        }
        // Twenty places for twenty-eight: 71 of 100 nodes, give or take.
        assert!((50..=90).contains(&kept), "{kept}");
    }

    #[test]
    fn other_keys_than_hashes_are_refused() {
        let (mut book, now) = (Records::default(), Instant::now());
        let mut store = behaviour::store(PeerId::random());
        for length in [0, 31, 33, 4096] {
            let name = RecordKey::new(&vec![1; length]);
            let record = ProviderRecord::new(name.clone(), PeerId::random(), Vec::new());
            assert_eq!(book.take(&mut store, record, now), Kept::Refused);
            assert!(store.providers(&name).is_empty());
        }
        assert_eq!(book.total, 0);
    }

    #[test]
    fn however_full_the_nodes_own_keys_fit() {
        let (mut book, now) = (Records::default(), Instant::now());
        let me = PeerId::random();
        let mut store = behaviour::store(me);
        // One key that as many provide as may, and as many others as there is room for.
        let many: Vec<_> = (0..MAX_PROVIDERS).map(|_| PeerId::random()).collect();
        for n in 0..MAX_RECORDS {
            let provider = many[n % MAX_PROVIDERS];
            let n = if n < MAX_PROVIDERS { 0 } else { n };
            assert_eq!(
                book.take(&mut store, record(n, provider, now + TTL), now),
                Kept::Stored
            );
        }
        assert_eq!(book.total, MAX_RECORDS);
        for n in (0..1).chain(10_000..10_000 + MAX_PROVIDED - 1) {
            let own = ProviderRecord::new(RecordKey::new(key(n).as_bytes()), me, Vec::new());
            store.add_provider(own).unwrap();
        }
        assert_eq!(store.provided().count(), MAX_PROVIDED);
        // And what is swept is never the node's own.
        assert_eq!(book.sweep(&mut store, now + TTL), MAX_RECORDS);
        assert_eq!(store.provided().count(), MAX_PROVIDED);
        assert_eq!(store.providers(&RecordKey::new(key(0).as_bytes())).len(), 1);
    }
}
