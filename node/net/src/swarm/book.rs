//! Where nodes listen, as far as this node has heard.

use crate::names;
use libp2p::{Multiaddr, PeerId};
use std::collections::{BTreeMap, VecDeque};

/// Nodes remembered; the one heard of longest ago goes first. Runtime and hash table remember more.
const MAX_NODES: usize = 2048;
/// Addresses for one node: more than a real machine has that matter.
const MAX_ADDRS: usize = 8;

/// The address book.
#[derive(Default)]
pub(crate) struct Book {
    nodes: BTreeMap<PeerId, Vec<Multiaddr>>,
    /// By when the node was first heard of, oldest first.
    order: VecDeque<PeerId>,
}

impl Book {
    /// Remembers addresses of a node, newest first; says whether any was new.
    pub(crate) fn learn(&mut self, peer: PeerId, addrs: impl IntoIterator<Item = Multiaddr>) -> bool {
        let known = self.nodes.entry(peer).or_insert_with(|| {
            self.order.push_back(peer);
            Vec::new()
        });
        let mut new = false;
        for addr in addrs.into_iter().take(MAX_ADDRS).map(names::plain) {
            let before = known.len();
            known.retain(|a| *a != addr);
            new |= known.len() == before;
            known.insert(0, addr);
            known.truncate(MAX_ADDRS);
        }
        if known.is_empty() {
            self.nodes.remove(&peer);
            self.order.retain(|p| *p != peer);
        }
        while self.nodes.len() > MAX_NODES {
            let Some(oldest) = self.order.pop_front() else {
                break;
            };
            self.nodes.remove(&oldest);
        }
        new
    }

    /// What is known of a node.
    pub(crate) fn get(&self, peer: &PeerId) -> &[Multiaddr] {
        self.nodes.get(peer).map_or(&[], Vec::as_slice)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn addr(n: usize) -> Multiaddr {
        format!("/ip4/10.0.0.1/tcp/{}", n + 1).parse().unwrap()
    }

    #[test]
    fn both_bounds_hold_and_the_newest_stay() {
        let mut book = Book::default();
        let first = PeerId::random();
        for n in 0..20 {
            assert!(book.learn(first, [addr(n)]));
        }
        assert_eq!(book.get(&first).len(), MAX_ADDRS);
        assert_eq!(book.get(&first).first(), Some(&addr(19)));
        assert!(!book.learn(first, [addr(19)]));
        for _ in 0..MAX_NODES {
            book.learn(PeerId::random(), [addr(1)]);
        }
        assert_eq!(book.nodes.len(), MAX_NODES);
        assert_eq!(book.order.len(), MAX_NODES);
        assert!(book.get(&first).is_empty());
        let nobody = PeerId::random();
        assert!(!book.learn(nobody, []));
        assert!(book.get(&nobody).is_empty());
    }
}
