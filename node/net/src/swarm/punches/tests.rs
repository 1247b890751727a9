//! Of rounds, their pauses and their bounds.

#![allow(clippy::unwrap_used)]
use super::*;

const SMALL: NodeId = NodeId([1; 32]);
const LARGE: NodeId = NodeId([2; 32]);

#[test]
fn pauses_grow_and_a_success_forgets_them() {
    let (mut punches, peer, now) = (Punches::default(), PeerId::random(), Instant::now());
    let mut last = Duration::ZERO;
    let mut now = now;
    for _ in 0..PAUSES.len() {
        now += MINUTE;
        punches.start(peer, Side::Begins, now).unwrap();
        assert!(punches.is_active(&peer) && !punches.due(&peer, now));
        let (_, next) = punches.failed(&peer, now).unwrap();
        assert!(next - now > last, "longer each time");
        last = next - now;
        assert!(punches.due(&peer, next) && !punches.due(&peer, now));
    }
    now += MINUTE;
    punches.start(peer, Side::Begins, now).unwrap();
    let (_, next) = punches.failed(&peer, now).unwrap();
    assert_eq!(next - now, last, "and no longer at some point");
    punches.start(peer, Side::Begins, now).unwrap();
    punches.succeeded(&peer).unwrap();
    assert!(punches.next(&peer).is_none());
    punches.start(peer, Side::Begins, now).unwrap();
    assert_eq!(punches.failed(&peer, now).unwrap().1 - now, PAUSES[0]);
}

#[test]
fn of_two_that_begin_at_once_the_smaller_ones_counts() {
    let (mut small, mut large, now) = (Punches::default(), Punches::default(), Instant::now());
    let peer = PeerId::random();
    small.start(peer, Side::Begins, now).unwrap();
    large.start(peer, Side::Begins, now).unwrap();
    assert!(!small.may_answer(&peer, SMALL, LARGE, now));
    assert!(large.may_answer(&peer, LARGE, SMALL, now));
    assert!(large.start(peer, Side::Answers, now).is_some());
}

/// A peer that asks all the time gets this many answers in each minute.
fn answered(
    punches: &mut Punches,
    mut at: Instant,
    minutes: usize,
    mut over: impl FnMut(&mut Punches),
) -> Vec<usize> {
    let peer = PeerId::random();
    let mut counts = vec![0; minutes];
    let mut ends = None;
    for count in &mut counts {
        for _ in 0..600 {
            if ends.is_some_and(|end| end <= at) {
                punches.failed(&peer, at);
                ends = None;
            }
            if punches.may_answer(&peer, LARGE, SMALL, at) && punches.start(peer, Side::Answers, at).is_some()
            {
                *count += 1;
                ends = Some(at + Duration::from_millis(5500));
                over(punches);
            }
            at += Duration::from_millis(100);
        }
    }
    counts
}

#[test]
fn a_flood_of_wishes_is_answered_ever_less() {
    let (mut punches, now) = (Punches::default(), Instant::now());
    let counts = answered(&mut punches, now, 10, |_| {});
    assert_eq!(counts[0], 6, "{counts:?}");
    assert!(counts[1..].iter().all(|n| *n <= 1), "{counts:?}");
    // Nor is one that connects and leaves again and again answered without end.
    let counts = answered(&mut punches, now, 10, |punches| {
        let peers: Vec<_> = punches.peers.keys().copied().collect();
        for peer in peers {
            punches.succeeded(&peer);
        }
    });
    assert!(counts.iter().all(|n| *n <= TALKS_A_MINUTE + 1), "{counts:?}");
    assert!(counts.iter().sum::<usize>() <= 10 * TALKS_A_MINUTE, "{counts:?}");
}

#[test]
fn an_honest_peers_pauses_are_long_enough_to_be_answered() {
    let (mut punches, peer, mut now) = (Punches::default(), PeerId::random(), Instant::now());
    // The shortest there is: where nothing can be done over TCP.
    let round = Duration::from_millis(2000);
    // It learns something new of itself during the first round.
    punches.start(peer, Side::Answers, now).unwrap();
    now += AFRESH[0];
    for pause in PAUSES {
        assert!(punches.may_answer(&peer, LARGE, SMALL, now), "{pause:?}");
        punches.start(peer, Side::Answers, now).unwrap();
        now += round;
        punches.failed(&peer, now).unwrap();
        now += pause;
    }
}

#[test]
fn a_round_that_is_over_has_no_dials_and_changes_begin_it_anew_at_growing_pauses() {
    let (mut punches, peer, now) = (Punches::default(), PeerId::random(), Instant::now());
    let mut at = now;
    let mut leashes = Vec::new();
    for _ in 0..TALKS_A_MINUTE {
        punches.start(peer, Side::Begins, at).unwrap();
        leashes.push(punches.active(&peer).unwrap().leash.clone());
        let next = punches.afresh(&peer, at);
        assert!(next > at);
        at = next;
    }
    assert!(at > now + MINUTE && !punches.spent(&peer, at));
    let (last, earlier) = leashes.split_last().unwrap();
    assert!(!last.is_cancelled() && earlier.iter().all(|l| l.is_cancelled()));
    punches.failed(&peer, at).unwrap();
    assert!(last.is_cancelled());
    // Whoever begins them: there are so many in a minute.
    let mut started = 0;
    while punches.start(peer, Side::Begins, at).is_some() {
        started += 1;
    }
    assert!(started <= TALKS_A_MINUTE && punches.spent(&peer, at));
    assert!(!punches.spent(&peer, at + MINUTE));
}

#[test]
fn rounds_at_a_time_and_peers_are_bounded() {
    let (mut punches, now) = (Punches::default(), Instant::now());
    for _ in 0..MAX_ACTIVE {
        assert!(punches.start(PeerId::random(), Side::Begins, now).is_some());
    }
    assert!(punches.start(PeerId::random(), Side::Begins, now).is_none());
    for _ in 0..MAX_PEERS * 2 {
        punches.plan(PeerId::random(), now, now);
    }
    assert!(punches.peers.len() <= MAX_PEERS);
    punches.plan(PeerId::random(), now + FORGET, now + FORGET);
    assert!(punches.peers.len() <= MAX_ACTIVE + 1);
}

#[test]
fn as_many_addresses_are_tried_as_the_peer_has_paid_for() {
    let (mut punches, peer, now) = (Punches::default(), PeerId::random(), Instant::now());
    let addrs: Vec<Multiaddr> = (1..=5)
        .map(|n| format!("/ip4/203.0.113.{n}/udp/1/quic-v1").parse().unwrap())
        .collect();
    assert!(punches.afford(&peer, 9000, &addrs, 1).is_empty(), "no round");
    punches.start(peer, Side::Answers, now).unwrap();
    assert_eq!(punches.afford(&peer, 1000, &addrs, 1000), addrs[..3]);
    assert!(punches.afford(&peer, 1000, &addrs, 1000).is_empty());
    let (over, _) = punches.failed(&peer, now).unwrap();
    assert_eq!(over.said.len(), 1, "and it is said once: {:?}", over.said);
    // It is the peer's and not the round's.
    punches.start(peer, Side::Answers, now).unwrap();
    assert!(punches.afford(&peer, 1000, &addrs, 1000).is_empty());
    assert_eq!(punches.afford(&peer, 2000, &addrs, 600), addrs);
}
