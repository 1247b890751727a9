//! To which of the addresses a peer has named a round of punching connects over QUIC, and for how long.
//!
//! Whoever names an address has this node send to it, and it may be somebody else's. A QUIC dial is the dear part of
//! that: two packets of 1,200 bytes at once, again after one second and after three, and one when it is given up. So a
//! round connects to few addresses and says it once, or to one with patience, and sends some small packets to all of
//! them: a router lets in what comes back, and the other side connects as well.

use super::{candidates::is_public, punches::Side};
use crate::{event::Transport, names};
use libp2p::Multiaddr;
use std::{collections::BTreeSet, net::IpAddr, time::Duration};

/// Addresses the side that began connects to, once each: the public ones of both families, or the one in the same
/// household and another.
const BEGINNER: usize = 2;
/// The side that answers connects for one pair only: where nobody can know what port its own router gives it. That is
/// so for IPv4 in public; in every other pair its router is open for the other side.
const ANSWERER: usize = 1;
/// Addresses that rounds with patience take in turn.
const DEEP: usize = 6;
/// The first packets are not sent again within this time: quinn does so after 999 ms.
pub(super) const ONCE: Duration = Duration::from_millis(900);
/// They are sent again once within this time.
const PATIENT: Duration = Duration::from_millis(2900);
/// A handshake over so long a round trip may not end in time when nothing is sent again.
const FAR: Duration = Duration::from_millis(600);
/// A router is opened for this long: two packets of 64 bytes on an average, at least one.
pub(super) const OPENING: Duration = Duration::from_millis(120);

/// Where to connect.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Aim {
    pub addrs: Vec<Multiaddr>,
    /// For each of them.
    pub patience: Duration,
}

/// The addresses of one transport among these.
pub(super) fn over(transport: Transport, theirs: &[Multiaddr]) -> impl Iterator<Item = &Multiaddr> {
    theirs
        .iter()
        .filter(move |a| names::transport(a) == Some(transport))
}

/// For how long each address is dialed in the nth round in vain.
pub(super) fn patience(nth: usize, trip: Duration) -> Duration {
    if trip > FAR || nth % 2 == 1 { PATIENT } else { ONCE }
}

/// Where this side connects to in the nth round in vain, with `ours` being its own addresses, and a round trip of `trip`
/// through the relay. Every second round has patience, and the first ones are for the likeliest addresses.
pub(super) fn quic(theirs: &[Multiaddr], ours: &[Multiaddr], side: Side, nth: usize, trip: Duration) -> Aim {
    let mut addrs = likeliest(theirs, ours, Transport::Quic);
    let patience = patience(nth, trip);
    if patience == PATIENT {
        addrs.truncate(DEEP);
        let turn = if trip > FAR { nth } else { nth / 2 };
        let one = turn.checked_rem(addrs.len()).and_then(|n| addrs.get(n)).cloned();
        addrs = one.into_iter().collect();
    } else {
        addrs.truncate(match side {
            Side::Begins => BEGINNER,
            Side::Answers => ANSWERER,
        });
    }
    Aim { addrs, patience }
}

/// All of one transport, likeliest first: those in the same household if it may be the same, then of each public machine
/// the first port named, both families by turns, then the others.
pub(super) fn likeliest(theirs: &[Multiaddr], ours: &[Multiaddr], transport: Transport) -> Vec<Multiaddr> {
    let outer = |all: &[Multiaddr]| -> BTreeSet<IpAddr> {
        let public = all.iter().filter(|a| is_public(a)).filter_map(names::ip);
        public.filter(IpAddr::is_ipv4).collect()
    };
    let (here, there) = (outer(ours), outer(theirs));
    let together = here.is_empty() || there.is_empty() || !here.is_disjoint(&there);
    let networks: BTreeSet<_> = ours.iter().filter_map(network).collect();
    let near = |a: &&Multiaddr| together && network(a).is_some_and(|n| networks.contains(&n));

    let (public, private): (Vec<_>, Vec<_>) = over(transport, theirs).partition(|a| is_public(a));
    let (near, far): (Vec<_>, Vec<_>) = private.into_iter().partition(near);
    // The first port of a machine is the one seen last; the first machine of each family is the likeliest.
    let (mut machines, mut families) = (BTreeSet::new(), BTreeSet::new());
    let (firsts, others): (Vec<_>, Vec<_>) = public.into_iter().partition(|a| machines.insert(names::ip(a)));
    let v4 = |a: &Multiaddr| names::ip(a).map(|ip| ip.is_ipv4());
    let (mut heads, tails): (Vec<_>, Vec<_>) = firsts.into_iter().partition(|a| families.insert(v4(a)));
    heads.sort_by_key(|a| v4(a) != Some(true));
    [near, heads, tails, far, others]
        .into_iter()
        .flatten()
        .cloned()
        .collect()
}

/// A network in the household's sense.
fn network(addr: &Multiaddr) -> Option<(bool, u128)> {
    Some(match names::ip(addr)? {
        IpAddr::V4(ip) => (true, u128::from(ip.to_bits() >> 8)),
        IpAddr::V6(ip) => (false, ip.to_bits() >> 64),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const V4: &str = "/ip4/203.0.113.5/udp/40010/quic-v1";
    const V6: &str = "/ip6/2001:db8::5/udp/4001/quic-v1";
    const HOME: &str = "/ip4/192.168.1.9/udp/4001/quic-v1";

    fn all(texts: &[&str]) -> Vec<Multiaddr> {
        texts.iter().map(|t| t.parse().unwrap()).collect()
    }

    fn named() -> Vec<Multiaddr> {
        all(&[
            V6,
            V4,
            "/ip4/203.0.113.5/udp/40011/quic-v1",
            "/ip4/203.0.113.6/udp/9/quic-v1",
            "/ip4/203.0.113.5/tcp/4001",
            "/ip4/172.17.0.1/udp/4001/quic-v1",
            HOME,
        ])
    }

    fn ours(outer: &str) -> Vec<Multiaddr> {
        all(&["/ip4/192.168.1.2/udp/4001/quic-v1", outer])
    }

    #[test]
    fn a_round_connects_to_few_addresses_once_or_to_one_with_patience() {
        let (theirs, near) = (named(), Duration::from_millis(50));
        let elsewhere = ours("/ip4/198.51.100.1/udp/9/quic-v1");
        let first = |ours: &[Multiaddr], side| quic(&theirs, ours, side, 0, near).addrs;
        assert_eq!(first(&elsewhere, Side::Begins), all(&[V4, V6]));
        assert_eq!(first(&elsewhere, Side::Answers), all(&[V4]));
        // Behind the same router, or without one, the household comes first.
        let home = ours("/ip4/203.0.113.5/udp/9/quic-v1");
        assert_eq!(first(&home, Side::Begins), all(&[HOME, V4]));
        assert_eq!(first(&home[..1], Side::Begins), all(&[HOME, V4]));
        // Whatever a peer names: so many, and over the rounds the likeliest each get their time.
        for side in [Side::Begins, Side::Answers] {
            let mut patient = Vec::new();
            for nth in 0..40 {
                let aim = quic(&theirs, &elsewhere, side, nth, near);
                assert!(aim.addrs.len() <= BEGINNER && (aim.addrs.len() == 1 || aim.patience == ONCE));
                if aim.patience == PATIENT {
                    patient.extend(aim.addrs);
                }
            }
            assert_eq!(patient[..2], all(&[V4, V6]));
            assert_eq!(patient.into_iter().collect::<BTreeSet<_>>().len(), DEEP);
        }
        assert!(quic(&theirs[4..5], &home, Side::Begins, 1, near).addrs.is_empty());
    }

    #[test]
    fn far_away_one_address_at_a_time_has_patience() {
        let far = FAR + Duration::from_millis(1);
        let aims: Vec<_> = (0..3)
            .map(|nth| quic(&named(), &[], Side::Begins, nth, far))
            .collect();
        assert!(aims.iter().all(|a| a.addrs.len() == 1 && a.patience == PATIENT));
        let tried: BTreeSet<_> = aims.into_iter().flat_map(|a| a.addrs).collect();
        assert_eq!(tried.len(), 3);
    }
}
