//! What members see: credentials, nodes and their heartbeats, names, scores that work moves, totals.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod mesh;
use hive_protocol::{
    authority::{Heartbeat, OFFLINE_AFTER},
    credential::{CREDENTIAL_LIFE, Tier},
    ids::NodeId,
    money::{MicroCpt, Price},
    resources::{Capabilities, Resources, Role},
    time::Timestamp,
};
use hive_state::{Event, Liveness};
use mesh::*;

fn heartbeat() -> Heartbeat {
    Heartbeat {
        capabilities: Capabilities::default(),
        free: Resources::cpu(1000, 1000, 1000),
        running: 1,
        price: Price::default(),
        addrs: vec!["/ip4/127.0.0.1/udp/1/quic-v1".into()],
    }
}

#[test]
fn credentials_tell_the_truth_and_end_with_the_delegation() {
    let m = Mesh::with_members(1);
    let now = Timestamp(m.now);
    let c = m.state.credential_for(&node(1), now).unwrap();
    assert_eq!((c.node, c.account, c.score), (node(1), account(1), 50));
    assert_eq!(
        (c.name.as_str(), c.roles.as_slice()),
        ("box1", [Role::Worker].as_slice())
    );
    assert_eq!((c.issued, c.expires), (now, now + CREDENTIAL_LIFE));
    let late = Timestamp(m.now + 1000 * HOUR - 5);
    let c = m.state.credential_for(&node(1), late).unwrap();
    assert_eq!(c.expires, Timestamp(m.now + 1000 * HOUR));
    let a = m.state.credential_for(&node(0), late).unwrap();
    assert_eq!((a.account, a.score, a.tier()), (account(0), 100, Tier::High));
    assert_eq!(a.roles, [Role::Authority]);
}

#[test]
fn work_for_others_moves_scores_and_work_for_oneself_does_not() {
    let mut m = Mesh::with_members(2);
    for n in 1..=3 {
        m.ok(m.hold(0, 1, n, 100));
        m.ok(m.capture(1, 0, n, 50));
    }
    assert_eq!(m.score(1), 51, "once a pair and day");
    assert_eq!(m.score(0), 100);
    let view = m.state.account_view(&account(1)).unwrap();
    assert!(
        view.reasons[0].reason.starts_with("worked for a_"),
        "{:?}",
        view.reasons[0]
    );
    assert_eq!(view.reasons[0].score, 51);
    m.ok(m.hold(1, 1, 10, 100));
    m.ok(m.capture(1, 1, 10, 50));
    m.ok(m.hold(1, 2, 11, 100));
    m.ok(m.capture(2, 1, 11, 50));
    assert_eq!((m.score(1), m.score(2)), (51, 51), "2 was below 1, 1 not below 2");
    m.ok(m.hold(0, 2, 12, 100));
    m.now += HOUR;
    m.tick();
    assert_eq!(m.score(2), 51, "a hold that ran out proves nothing");
    assert_eq!(m.state.trust().standing(&account(2)).unwrap().unsettled, 1);
    m.check_replay();
}

#[test]
fn names_are_clean_and_unique() {
    let mut m = Mesh::new();
    m.ok(m.invite(0, 1, 200, 0));
    let wishes = [
        "a b/c",
        "a b/c",
        "",
        "\u{202e}evil\n",
        "authority",
        "..",
        &"x".repeat(64),
        &"x".repeat(64),
    ];
    let mut names = Vec::new();
    for (i, wish) in wishes.iter().enumerate() {
        let n = u8::try_from(i).unwrap() + 1;
        let (by, mut body) = m.join(n, n, 1);
        if let hive_protocol::command::CommandBody::Join { name, .. } = &mut body {
            *name = (*wish).to_owned();
        }
        m.ok((by, body));
        names.push(m.state.node(&node(n)).unwrap().name.clone());
    }
    let long = "x".repeat(52);
    let want = [
        "a-b-c",
        "a-b-c-2",
        "node",
        "evil",
        "authority-2",
        "node-2",
        &long,
        &format!("{long}-2"),
    ];
    assert_eq!(names, want);
    // After many of one name the key makes it unique.
    for n in 10..120 {
        let (by, mut body) = m.join(1, n, 1);
        if let hive_protocol::command::CommandBody::Join { name, .. } = &mut body {
            *name = "same".into();
        }
        m.ok((by, body));
    }
    m.state.check_invariants().unwrap();
}

#[test]
fn nodes_come_in_pages_with_their_heartbeats() {
    let m = Mesh::with_members(9);
    let mut live = Liveness::new();
    let now = Timestamp(m.now);
    assert_eq!(live.beat(now, node(3), heartbeat()), Ok(true));
    assert_eq!(live.beat(now, node(3), heartbeat()), Ok(false));
    let (mut after, mut all): (Option<NodeId>, Vec<_>) = (None, Vec::new());
    loop {
        let page = m.state.nodes(after, 4, &live, now);
        let Some(last) = page.last() else { break };
        assert!(page.len() <= 4);
        after = Some(last.node);
        all.extend(page);
    }
    assert_eq!(all.len(), 10);
    assert!(all.windows(2).all(|w| w[0].node < w[1].node));
    for view in all {
        assert_eq!(view.online, view.node == node(3));
        assert_eq!(view.heartbeat.running, u32::from(view.node == node(3)));
    }
    let missing = m.state.node_view(&node(77), &live, now).unwrap_err();
    assert_eq!(missing.code, "node.unknown");
}

#[test]
fn a_page_of_big_nodes_fits_a_response() {
    let mut m = Mesh::new();
    m.ok(m.invite(0, 1, 250, 0));
    let mut live = Liveness::new();
    for n in 1..=220 {
        m.ok(m.join(1, n, 1));
        let mut h = heartbeat();
        h.addrs = vec!["x".repeat(256); 8];
        live.beat(Timestamp(m.now), node(n), h).unwrap();
    }
    let page = m.state.nodes(None, 1000, &live, Timestamp(m.now));
    assert!(page.len() > 50 && page.len() < 200, "{}", page.len());
    let response = hive_protocol::authority::Response {
        number: 1,
        body: hive_protocol::authority::Answer::Nodes(page),
    };
    hive_protocol::codec::seal(&response).unwrap();
}

#[test]
fn silence_is_offline_and_a_new_beat_is_back() {
    let mut live = Liveness::new();
    let at = |s: u64| Timestamp(START + s * 1000);
    for s in [0, 5, 10] {
        live.beat(at(s), node(1), heartbeat()).unwrap();
    }
    live.beat(at(8), node(2), heartbeat()).unwrap();
    assert!(live.expire(at(27)).is_empty());
    assert_eq!(live.next_due(), Some(at(8) + OFFLINE_AFTER));
    assert_eq!(live.expire(at(28)), [node(2)]);
    assert_eq!(live.expire(at(28)), []);
    assert!(live.is_online(&node(1), at(28)) && !live.is_online(&node(2), at(28)));
    assert_eq!(live.beat(at(29), node(2), heartbeat()), Ok(true));
    assert_eq!(live.online(), 2);
    assert_eq!(live.get(&node(1)).unwrap().at, at(10));
    live.beat(at(3), node(1), heartbeat()).unwrap();
    assert_eq!(
        live.get(&node(1)).unwrap().at,
        at(10),
        "a clock that went back takes nothing away"
    );
    live.follow(&[Event::NodeRemoved { node: node(1) }]);
    assert!(live.get(&node(1)).is_none());
    assert_eq!(live.online(), 1);
    let mut bad = heartbeat();
    bad.addrs = vec![String::new(); 9];
    assert_eq!(
        live.beat(at(30), node(3), bad).unwrap_err().code,
        "heartbeat.invalid"
    );
}

#[test]
fn totals_history_and_the_next_end() {
    let mut m = Mesh::with_members(2);
    assert_eq!(m.state.next_due(), None, "the only invitation is used up");
    m.ok(m.invite(1, 5, 3, 100));
    m.ok(m.hold(1, 2, 1, 1_000));
    assert_eq!(m.state.next_due(), Some(Timestamp(m.now + HOUR)));
    let t = m.state.totals();
    assert_eq!((t.minted, t.held), (MicroCpt(1_000_000), MicroCpt(1_300)));
    assert_eq!(t.available.0 + t.held.0, t.minted.0);
    assert_eq!((t.accounts, t.entries), (3, m.state.next_index()));
    assert_eq!(t.invites, [invite_id(5)]);
    m.now += 25 * HOUR;
    m.tick();
    assert_eq!(m.state.totals().held, MicroCpt(0));
    let lines = m.state.history(&account(1), u64::MAX, 50).unwrap();
    let told: Vec<_> = lines
        .iter()
        .map(|l| (l.kind.as_str(), l.delta, l.available.0))
        .collect();
    let want = [
        ("expire", 300, 10_000),
        ("expire", 1_000, 9_700),
        ("hold", -1_000, 8_700),
        ("invite", -300, 9_700),
        ("grant", 10_000, 10_000),
    ];
    assert_eq!(told, want);
    assert_eq!(
        m.state.history(&account(9), 1, 1).unwrap_err().code,
        "member.unknown"
    );
}
