//! What is found out beside the core: clocks of others, the router's hairpin, the largest packet as the system knows it,
//! and whether large messages pass.

use super::{Reach, lock};
use hive_net::PeerView;
use hive_protocol::{ids::NodeId, time::Timestamp};
use hive_reach::{Carrier, Direct, Input, Scope, parse};
use std::{
    collections::{BTreeMap, VecDeque},
    future::Future,
    time::Duration,
};
use tokio::time::{Instant, timeout};

/// Clocks of others that are remembered.
const MAX_CLOCKS: usize = 32;
/// Addresses whose last test is explained.
const MAX_DETAILS: usize = 64;
/// New tests are waited for at most so long.
const FRESH_LIMIT: Duration = Duration::from_secs(12);
/// Whether UDP and TCP pass takes some tries of five seconds where they do not.
const WAYS_LIMIT: Duration = Duration::from_secs(17);
/// Whether much at once passes is known by then, or not at all: within the time of a fresh check.
const LARGE_LIMIT: Duration = Duration::from_secs(11);
/// Members tried for whether much at once passes.
const MAX_LARGE: usize = 2;
/// The first of them comes within this time, or none does.
const FIRST_TEST: Duration = Duration::from_secs(7);
/// And the others follow each other closely.
const NEXT_TEST: Duration = Duration::from_secs(2);

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Ours minus theirs, in milliseconds, newest last.
    skews: VecDeque<i64>,
    /// Why an address was refused.
    pub details: BTreeMap<String, String>,
    pub hairpin: Option<bool>,
    pub mtu: Option<u32>,
    /// Whether much at once passes over TCP where little does.
    pub large: Option<bool>,
}

impl Found {
    /// A peer has told its time.
    pub(super) fn clock(&mut self, ours: Timestamp, theirs: Timestamp) {
        let signed = |t: Timestamp| i64::try_from(t.0).unwrap_or(i64::MAX);
        self.skews.push_back(signed(ours).saturating_sub(signed(theirs)));
        while self.skews.len() > MAX_CLOCKS {
            self.skews.pop_front();
        }
    }

    /// The median of what peers said, and of how many.
    pub(super) fn skew(&self) -> (Option<i64>, u32) {
        let mut all: Vec<i64> = self.skews.iter().copied().collect();
        all.sort_unstable();
        let middle = all.get(all.len() / 2).copied();
        (middle, u32::try_from(all.len()).unwrap_or(u32::MAX))
    }

    pub(super) fn tested(&mut self, addr: &str, reachable: bool, detail: &str) {
        if reachable {
            self.details.remove(addr);
        } else if self.details.len() < MAX_DETAILS || self.details.contains_key(addr) {
            self.details.insert(addr.to_owned(), detail.to_owned());
        }
    }
}

impl Reach {
    /// Tests everything anew; completes when the outcome is in, at the latest after 12 s, or 17 s where UDP or TCP
    /// does not pass.
    pub fn fresh(&self) -> impl Future<Output = ()> + Send + 'static {
        let reach = self.clone();
        async move {
            let mut tests = reach.0.tests.subscribe();
            reach.tell(Input::Fresh);
            let until = Instant::now() + FRESH_LIMIT;
            let look = reach.look();
            let anybody = !reach.0.net.peers().await.is_empty();
            let wait = async {
                if !anybody {
                    // Nobody tests.
                    return;
                }
                let mut patience = FIRST_TEST;
                loop {
                    let left = until.saturating_duration_since(Instant::now());
                    if timeout(patience.min(left), tests.changed()).await.is_err() || left.is_zero() {
                        return;
                    }
                    patience = NEXT_TEST;
                }
            };
            let tested = timeout(FRESH_LIMIT, async { tokio::join!(look, wait) });
            let ways = timeout(WAYS_LIMIT, reach.once(|core| !core.undecided()));
            let _ = tokio::join!(tested, ways);
        }
    }

    /// The hairpin and the largest packet.
    async fn look(&self) {
        let peers = self.0.net.peers().await;
        let far = |text: &str| -> Option<Direct> { parse(text).filter(|d| d.ip.is_some()) };
        let towards = peers
            .iter()
            .filter(|p| p.direct)
            .filter_map(|p| far(&p.addr))
            .max_by_key(Direct::scope);
        let report = self.report();
        let outside = report
            .seen
            .iter()
            .filter(|s| !report.listen.contains(&s.addr))
            .find(|s| parse(&s.addr).is_some_and(|d| d.scope() == Scope::Global));
        let turned = async {
            let seen = outside?;
            Some(self.0.net.hairpin(seen.addr.clone()).await.is_ok())
        };
        // Each is told as it comes.
        let hairpin = async {
            let hairpin = turned.await;
            lock(&self.0.found).hairpin = hairpin;
        };
        let size = async {
            let large = timeout(LARGE_LIMIT, self.large(&peers)).await.unwrap_or(None);
            // Only now: if a router has complained of what was too large, the system knows it.
            let mtu = towards.and_then(|d| d.ip).and_then(hive_net::route_mtu);
            let mut found = lock(&self.0.found);
            (found.large, found.mtu) = (large, mtu);
        };
        tokio::join!(hairpin, size);
    }

    /// Whether much at once passes over TCP, to whoever is connected and is farthest away.
    async fn large(&self, peers: &[PeerView]) -> Option<bool> {
        if !self.0.config.transports.tcp() {
            return None;
        }
        for (node, addr) in self.over_tcp(peers) {
            match self.0.net.large_passes(node, addr).await {
                Ok(passes) => return Some(passes),
                Err(e) => {
                    tracing::debug!(target: "hive_runtime::reach", ?node, "whether much at once passes: {e}")
                }
            }
        }
        None
    }

    /// Members connected directly that listen for TCP at the place where they are.
    fn over_tcp(&self, peers: &[PeerView]) -> Vec<(NodeId, String)> {
        let core = lock(&self.0.core);
        let mut found: Vec<(Scope, NodeId, String)> = peers
            .iter()
            .filter(|p| p.direct && p.member)
            .filter_map(|p| {
                let at = parse(&p.addr)?;
                let there = |text: &String| {
                    parse(text).is_some_and(|d| d.carrier == Carrier::Tcp && d.ip.is_some() && d.ip == at.ip)
                };
                let dialed = p.dialer.then(|| p.addr.clone());
                let addr = core.addrs(&p.node).into_iter().chain(dialed).find(there)?;
                Some((at.scope(), p.node, addr))
            })
            .collect();
        found.sort_by_key(|(scope, ..)| std::cmp::Reverse(*scope));
        let nearer = found.into_iter().map(|(_, node, addr)| (node, addr));
        nearer.take(MAX_LARGE).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_clock_counts() {
        let mut found = Found::default();
        assert_eq!(found.skew(), (None, 0));
        for theirs in [1000, 1010, 900_000] {
            found.clock(Timestamp(1005), Timestamp(theirs));
        }
        assert_eq!(found.skew(), (Some(-5), 3));
        for _ in 0..100 {
            found.clock(Timestamp(0), Timestamp(u64::MAX));
        }
        assert_eq!(found.skew().1, 32);
    }
}
