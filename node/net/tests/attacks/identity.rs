//! Nodes that are not who they say, and hellos that are not theirs.

use crate::{
    honest,
    mesh::{MESH, NOW, TestNode, authority, credential, id, member, secret, start, until},
};
use hive_net::{Admission, NetEvent};
use hive_protocol::{
    ids::NetworkId,
    time::{Millis, Timestamp},
};

/// The code of a refusal.
fn code(admission: &Admission) -> &str {
    match admission {
        Admission::Member => "member",
        Admission::RefusedByUs { code, .. } | Admission::RefusedByPeer { code, .. } => code,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_node_at_the_address_is_never_taken_for_the_one_that_was_asked_for() {
    let _beside = honest::beside_others().await;
    let (victim, other) = (member(60).await, member(61).await);
    for addrs in [other.tcp(), other.quic()] {
        let error = victim.net.dial(id(62), addrs).await.unwrap_err();
        assert_eq!(error.code(), "net.unreachable");
        assert!(error.to_string().contains("another node answers"), "{error}");
    }
    assert!(victim.net.peers().await.is_empty());
    assert_eq!(victim.net.counters().gate_passed, 0);
}

/// Every wrong hello, each from a node of its own.
async fn impostors(first: u8) -> Vec<(TestNode, &'static str)> {
    let later = NOW + Millis::mins(20);
    let own = |n: u8| id(first + n);
    let cases = [
        (
            NetworkId([8; 32]),
            Some(credential(&authority(), own(0), later)),
            "member.wrong_mesh",
        ),
        (
            MESH,
            Some(credential(&authority(), id(60), later)),
            "member.forged",
        ),
        (
            MESH,
            Some(credential(&secret(first + 2), own(2), later)),
            "member.forged",
        ),
        (
            MESH,
            Some(credential(&authority(), own(3), Timestamp(NOW.0 - 3_600_000))),
            "member.expired",
        ),
        (MESH, None, "member.no_credential"),
    ];
    let mut nodes = Vec::new();
    for (n, (network, credential, code)) in (0..).zip(cases) {
        nodes.push((start(first + n, network, credential, |_| {}).await, code));
    }
    nodes
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_hello_of_another_is_believed_however_often_it_is_said() {
    let _beside = honest::beside_others().await;
    let victim = member(65).await;
    for (impostor, expected) in impostors(66).await {
        assert_eq!(code(&impostor.dial(&victim).await), expected);
        for _ in 0..50 {
            let again = impostor.net.regate(victim.id()).await;
            assert!(!matches!(again, Ok(Admission::Member)), "{expected}: has passed");
        }
    }
    let counters = victim.net.counters();
    assert_eq!(counters.gate_passed, 0);
    // What a dialer was told may be counted here a moment later.
    until("each was refused", async || {
        victim.net.counters().gate_refused >= 5
    })
    .await;
    let mut victim = victim;
    while let Some(event) = victim.events.try_next() {
        assert!(!matches!(event, NetEvent::Connected { .. }), "{event:?}");
    }
}

/// More strangers than there is room for: the table of strangers stays small, and members come in.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strangers_have_a_room_of_their_own() {
    let _beside = honest::beside_others().await;
    let victim = member(75).await;
    let mut strangers = Vec::new();
    for seed in 100..190 {
        let stranger = start(seed, MESH, None, |c| {
            c.listen = hive_net::ListenAddrs::Exactly(vec![])
        })
        .await;
        let _ = stranger.net.dial(victim.id(), victim.tcp()).await;
        strangers.push(stranger);
    }
    until("only so many strangers stay", async || {
        victim.net.peers().await.len() <= 64
    })
    .await;
    let friend = member(76).await;
    assert_eq!(friend.dial(&victim).await, Admission::Member);
}
