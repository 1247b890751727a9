//! Finding relays, keeping two, changing them.

use super::*;
use crate::{SlotState, config::ASK_LIMIT};

fn held(rig: &Rig) -> Vec<NodeId> {
    let rows = rig.reach.report().relays;
    let mut held: Vec<NodeId> = rows
        .iter()
        .filter(|r| r.slot == Some(SlotState::Held))
        .map(|r| r.node)
        .collect();
    held.sort();
    held
}

fn relay_at(n: u16) -> String {
    format!("/ip4/198.51.{n}.1/udp/4001/quic-v1")
}

#[test]
fn the_authority_first_then_a_second_one_elsewhere() {
    let mut rig = Rig::behind_nat();
    let effects = rig.taken();
    assert_eq!(
        reserves(&effects),
        [node(1)],
        "at once, nobody has to be asked first"
    );
    assert!(effects.contains(&Effect::FindRelays));
    rig.reserved(1);
    assert!(rig.published().contains(&circuit(node(1))));
    // Two more at the authority's own place, one elsewhere and farther away.
    for n in [2, 3] {
        rig.heard(n, true, "/ip4/203.0.113.50/tcp/4001").told(n, 1_000, 0);
    }
    rig.heard(4, true, &relay_at(4));
    let asked = reserves(&rig.taken());
    assert!(asked.len() == 1 && asked[0] != node(1), "{asked:?}");
    rig.reserved(2).told(4, 40_000, 0).pass(Millis::mins(1));
    assert_eq!(held(&rig).len(), 2);
    let through: Vec<String> = rig.published();
    assert!(
        through.len() <= 8 && through.contains(&circuit(node(2))),
        "{through:?}"
    );
}

#[test]
fn a_refusing_relay_is_left_alone_for_longer_and_longer() {
    let mut rig = Rig::behind_nat();
    let mut asked = 0;
    for _ in 0..40 {
        asked += reserves(&rig.taken()).len();
        rig.tell(Input::ReserveFailed {
            relay: node(1),
            detail: "full".to_owned(),
        });
        rig.pass(Millis::secs(30));
    }
    assert!((3..12).contains(&asked), "{asked} times in 20 minutes");
    let row = rig
        .reach
        .report()
        .relays
        .into_iter()
        .find(|r| r.node == node(1))
        .unwrap();
    assert!(!row.detail.is_empty());
    // It is back on the line: asked at once.
    rig.taken();
    rig.connected(1, HOP);
    assert_eq!(reserves(&rig.taken()), [node(1)]);
}

#[test]
fn an_address_through_a_relay_makes_nobody_a_server() {
    let mut rig = Rig::behind_nat();
    rig.reserved(1);
    rig.heard(2, true, &relay_at(2)).told(2, 9_000, 0).reserved(2);
    rig.pass(Millis::mins(10));
    assert_eq!(held(&rig), [node(1), node(2)]);
    assert!(rig.published().contains(&circuit(node(1))));
    let serves = |e: &Effect| {
        matches!(
            e,
            Effect::KadServer(true) | Effect::Serve(true) | Effect::AnnounceRelay(true)
        )
    };
    assert!(!rig.taken().iter().any(serves));
}

#[test]
fn a_relay_that_never_answers_is_given_up_for_another() {
    let mut rig = Rig::behind_nat();
    // The authority is asked first, and is silent; not even that it was asked in vain is said.
    assert_eq!(reserves(&rig.taken()), [node(1)]);
    rig.heard(2, true, &relay_at(2)).told(2, 9_000, 0);
    assert_eq!(reserves(&rig.taken()), [node(2)], "it is not waited for");
    rig.reserved(2);
    rig.heard(3, true, &relay_at(3)).told(3, 30_000, 0);
    let just = Millis(ASK_LIMIT.0 - 1000);
    rig.pass(just);
    assert!(reserves(&rig.taken()).is_empty(), "two are enough, asked or held");
    rig.pass(Millis::secs(2));
    let effects = rig.taken();
    assert!(effects.contains(&Effect::Unreserve { relay: node(1) }));
    assert_eq!(reserves(&effects), [node(3)]);
    rig.reserved(3);
    assert_eq!(held(&rig), [node(2), node(3)]);
}

#[test]
fn a_lost_relay_is_replaced_and_waited_for() {
    let mut rig = Rig::behind_nat();
    rig.reserved(1).told(1, 5_000, 0);
    rig.heard(2, true, &relay_at(2)).told(2, 9_000, 0).reserved(2);
    rig.heard(3, true, &relay_at(3)).told(3, 20_000, 0);
    assert_eq!(held(&rig), [node(1), node(2)]);
    rig.taken();
    rig.tell(Input::ReservationLost {
        relay: node(1),
        addr: circuit(node(1)),
    });
    assert!(!rig.published().contains(&circuit(node(1))), "told no longer");
    rig.pass(Millis::secs(2));
    assert!(reserves(&rig.taken()).is_empty(), "a restart is waited for");
    rig.pass(Millis::secs(2));
    assert_eq!(reserves(&rig.taken()), [node(3)]);
    // Both come back: two are enough, the best of them.
    rig.reserved(1);
    rig.reserved(3);
    assert_eq!(held(&rig), [node(1), node(2)]);
    assert!(rig.taken().contains(&Effect::Unreserve { relay: node(3) }));
}

#[test]
fn an_only_relay_that_restarts_is_kept() {
    let mut rig = Rig::behind_nat();
    rig.reserved(1);
    rig.tell(Input::ReservationLost {
        relay: node(1),
        addr: circuit(node(1)),
    });
    rig.pass(Millis::secs(30));
    assert!(!rig.taken().contains(&Effect::Unreserve { relay: node(1) }));
    rig.reserved(1);
    assert_eq!(held(&rig), [node(1)]);
}

#[test]
fn full_and_draining_relays_are_left_for_others() {
    let mut rig = Rig::behind_nat();
    rig.reserved(1).told(1, 5_000, 0);
    rig.heard(2, true, &relay_at(2)).told(2, 9_000, 0).reserved(2);
    rig.heard(3, true, &relay_at(3)).told(3, 30_000, 100);
    rig.taken();
    // Not much worse is no reason to change.
    rig.pass(Millis::mins(30));
    assert!(reserves(&rig.taken()).is_empty());
    rig.tell(Input::RelayTold {
        node: node(2),
        rtt_us: 9_000,
        load: RelayLoad {
            serving: false,
            load_milli: 0,
        },
    });
    assert_eq!(reserves(&rig.taken()), [node(3)]);
    rig.reserved(3);
    assert_eq!(
        held(&rig),
        [node(1), node(3)],
        "the new one stands before the old one goes"
    );
}

#[test]
fn a_much_nearer_relay_is_worth_a_change_after_a_while() {
    let mut rig = Rig::behind_nat();
    rig.reserved(1).told(1, 5_000, 0);
    rig.heard(2, true, &relay_at(2)).told(2, 200_000, 0).reserved(2);
    rig.taken();
    rig.heard(3, true, &relay_at(3)).told(3, 8_000, 0);
    assert!(reserves(&rig.taken()).is_empty(), "not yet");
    rig.pass(Millis::secs(615));
    assert_eq!(reserves(&rig.taken()), [node(3)]);
    rig.reserved(3);
    assert_eq!(held(&rig), [node(1), node(3)]);
}

#[test]
fn flooding_relays_do_not_get_both_places() {
    let mut rig = Rig::behind_nat();
    rig.told(1, 80_000, 700).reserved(1);
    for n in 100..400 {
        rig.tell(Input::Found(vec![node(n)]));
        rig.heard(n, true, &format!("/ip4/198.{}.{}.1/tcp/1", n % 200, n % 100))
            .told(n, 2_000, 0);
        rig.reserved(n);
    }
    rig.pass(Millis::mins(60));
    assert!(
        held(&rig).contains(&node(1)),
        "the authority's relay stays one of the two"
    );
    assert!(rig.reach.report().relays.len() <= 128);
}

#[test]
fn found_public_the_reservations_end_after_a_while() {
    let mut rig = Rig::behind_nat();
    rig.reserved(1);
    rig.tell(Input::Tested {
        addr: WAN.to_owned(),
        server: node(2),
        reachable: true,
        stranger: true,
    });
    rig.pass(Millis::mins(1));
    assert_eq!(held(&rig), [node(1)]);
    rig.pass(Millis::mins(2));
    assert!(held(&rig).is_empty());
    assert!(rig.taken().contains(&Effect::Unreserve { relay: node(1) }));
}
