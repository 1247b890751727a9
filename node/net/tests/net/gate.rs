//! The membership gate: who passes, and what a stranger cannot do.

use crate::mesh::{MESH, NOW, TestNode, authority, credential, id, member, secret, soon, start, until};
use hive_net::{Admission, NetEvent, ProtocolPolicy, RefusedBy, Topic};
use hive_protocol::{
    ids::NetworkId,
    join,
    time::{Millis, Timestamp},
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const WORK: &str = "/hive/work/1";

fn open_to_all() -> ProtocolPolicy {
    ProtocolPolicy {
        members_only: false,
        ..Default::default()
    }
}

/// Strangers of every kind, and the code each is refused with.
async fn strangers(first: u8) -> Vec<(TestNode, &'static str)> {
    let later = NOW + Millis::mins(20);
    let own = |n: u8| id(first + n);
    let forged = credential(&secret(200), own(2), later);
    let stolen = credential(&authority(), id(99), later);
    let expired = credential(&authority(), own(4), Timestamp(NOW.0 - 3_600_000));
    vec![
        (
            start(first, NetworkId([8; 32]), None, |_| {}).await,
            "member.wrong_mesh",
        ),
        (start(first + 1, MESH, None, |_| {}).await, "member.no_credential"),
        (
            start(first + 2, MESH, Some(forged), |_| {}).await,
            "member.forged",
        ),
        (
            start(first + 3, MESH, Some(stolen), |_| {}).await,
            "member.forged",
        ),
        (
            start(first + 4, MESH, Some(expired), |_| {}).await,
            "member.expired",
        ),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strangers_are_refused_whoever_dials() {
    let mut server = member(50).await;
    for (mut stranger, code) in strangers(51).await {
        let admission = stranger.dial(&server).await;
        let refused = match admission {
            // In another mesh the refusal is mutual; a node always names its own first.
            Admission::RefusedByUs { code, .. } | Admission::RefusedByPeer { code, .. } => code,
            Admission::Member => panic!("{code}: a stranger has passed"),
        };
        assert_eq!(refused, code);
        let who = stranger.id();
        let seen = server
            .wait(|e| match e {
                NetEvent::JoinOnly { node, admission, .. } if node == who => Some(admission),
                NetEvent::Connected { .. } => panic!("a stranger has passed"),
                _ => None,
            })
            .await;
        assert!(matches!(seen, Admission::RefusedByUs { code: c, .. } if c == code));
        let error = stranger.net.open(server.id(), WORK).await.unwrap_err();
        assert_eq!(error.code(), "net.not_member", "{error}");
        let error = server.net.open(who, WORK).await.unwrap_err();
        assert!(
            matches!(
                error,
                hive_net::NetError::NotMember {
                    by: RefusedBy::Us,
                    ..
                }
            ),
            "{error}"
        );

        // The other way round.
        stranger.net.disconnect(server.id(), "test").await;
        server
            .wait(|e| matches!(e, NetEvent::Disconnected { .. }).then_some(()))
            .await;
        stranger
            .wait(|e| matches!(e, NetEvent::Disconnected { .. }).then_some(()))
            .await;
        let admission = server.dial(&stranger).await;
        assert!(
            matches!(&admission, Admission::RefusedByUs { code: c, .. } if c == code),
            "{admission:?}"
        );
    }
}

/// A stranger that does not obey its own side of the gate: its streams are reset and its gossip is not read.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stranger_that_goes_on_regardless_gets_nowhere() {
    let mut server = member(60).await;
    let mut served = server.net.serve(WORK, ProtocolPolicy::default()).unwrap();
    server.net.subscribe(Topic::Demand).await.unwrap();
    let stranger = start(61, MESH, None, |_| {}).await;
    stranger.net.subscribe(Topic::Demand).await.unwrap();
    stranger.dial(&server).await;
    server
        .wait(|e| matches!(e, NetEvent::JoinOnly { .. }).then_some(()))
        .await;

    // It declares the server a member and opens a stream all the same.
    stranger.net.set_member(server.id(), true).await;
    let mut stream = stranger.net.open(server.id(), WORK).await.unwrap();
    let mut buf = [0; 1];
    let ended = soon("the reset", stream.read(&mut buf)).await;
    assert!(matches!(ended, Ok(0) | Err(_)));
    // Counted a moment after it was reset.
    until("it is counted", async || {
        server.net.counters().streams_refused_stranger == 1
    })
    .await;

    // The server does not subscribe with it, so it has nobody to publish to; and what a member says is heard.
    let published = stranger.net.publish(Topic::Demand, b"evil".to_vec()).await;
    assert!(!published.unwrap());
    let friend = member(62).await;
    friend.net.subscribe(Topic::Demand).await.unwrap();
    friend.dial(&server).await;
    until("the friend publishes", async || {
        let said = friend.net.publish(Topic::Demand, b"good".to_vec()).await;
        said.unwrap()
    })
    .await;
    let (source, bytes) = server
        .wait(|e| match e {
            NetEvent::Gossip { source, bytes, .. } => Some((source, bytes)),
            _ => None,
        })
        .await;
    assert_eq!((source, bytes), (friend.id(), b"good".to_vec()));
    // Nothing of what members say reaches the stranger, and its queries are not answered.
    let found = stranger.net.find_node(friend.id()).await;
    assert!(found.is_err());
    drop(stream);
    let nobody = tokio::time::timeout(std::time::Duration::from_millis(1), served.accept()).await;
    assert!(nobody.is_err(), "no stream of the stranger was served");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_newcomer_joins_and_then_everything_is_open() {
    let mut server = member(65).await;
    let mut joining = server.net.serve(join::PROTOCOL, open_to_all()).unwrap();
    let mut working = server.net.serve(WORK, ProtocolPolicy::default()).unwrap();
    let mut newcomer = start(66, MESH, None, |_| {}).await;

    let admission = newcomer.dial(&server).await;
    assert!(
        matches!(&admission, Admission::RefusedByPeer { code, .. } if code == "member.no_credential"),
        "{admission:?}"
    );
    let mut ask = newcomer.net.open(server.id(), join::PROTOCOL).await.unwrap();
    ask.write_all(b"please").await.unwrap();
    ask.shutdown().await.unwrap();
    let (who, mut answer) = soon("the request", joining.accept()).await.unwrap();
    assert_eq!(who, newcomer.id());
    let mut request = String::new();
    answer.read_to_string(&mut request).await.unwrap();
    assert_eq!(request, "please");

    let granted = credential(&authority(), newcomer.id(), NOW + Millis::mins(20));
    *newcomer.gate.credential.lock().unwrap() = Some(granted);
    let admission = newcomer.net.regate(server.id()).await.unwrap();
    assert_eq!(admission, Admission::Member);
    newcomer.wait_connected(server.id()).await;
    server.wait_connected(newcomer.id()).await;
    let _work = newcomer.net.open(server.id(), WORK).await.unwrap();
    soon("the work stream", working.accept()).await.unwrap();
    assert_eq!(server.net.peers().await[0].connections, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revoked_member_opens_nothing_new_and_is_taken_back() {
    let mut server = member(68).await;
    let mut working = server.net.serve(WORK, ProtocolPolicy::default()).unwrap();
    let client = member(69).await;
    client.dial(&server).await;
    server.wait_connected(client.id()).await;
    let mut before = client.net.open(server.id(), WORK).await.unwrap();
    let (_, mut served) = soon("the stream", working.accept()).await.unwrap();

    server.net.set_member(client.id(), false).await;
    assert!(!server.net.peers().await[0].member);
    let mut after = client.net.open(server.id(), WORK).await.unwrap();
    let ended = soon("the reset", after.read(&mut [0; 1])).await;
    assert!(matches!(ended, Ok(0) | Err(_)));
    let error = server.net.open(client.id(), WORK).await.unwrap_err();
    assert_eq!(error.code(), "net.not_member");
    // What runs, runs on.
    before.write_all(b"x").await.unwrap();
    before.flush().await.unwrap();
    let mut one = [0; 1];
    soon("the byte", served.read_exact(&mut one)).await.unwrap();

    server.net.set_member(client.id(), true).await;
    assert!(server.net.peers().await[0].member);
    let _again = client.net.open(server.id(), WORK).await.unwrap();
    soon("the stream", working.accept()).await.unwrap();
}
