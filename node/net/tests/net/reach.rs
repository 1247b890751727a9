//! What a node learns of how it can be reached, and what it tells of it.

use crate::mesh::{TestNode, member, member_with, nobodys_port, secret, soon, until};
use hive_net::{Config, ListenAddrs, NetEvent, Tester, Transport, Transports};
use hive_protocol::ids::NodeId;
use prost::Message;
use std::time::Instant;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

fn at(ip: &'static str) -> impl FnOnce(&mut Config) {
    move |config| {
        config.listen = ListenAddrs::Exactly(vec![
            format!("/ip4/{ip}/udp/0/quic-v1"),
            format!("/ip4/{ip}/tcp/0"),
        ]);
    }
}

fn nobody_there() -> String {
    format!("/ip4/127.0.0.1/tcp/{}", nobodys_port())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dialer_hears_which_of_its_ports_others_see() {
    let hub = member(160).await;
    for (seed, addrs, transport) in [
        (161, hub.quic(), Transport::Quic),
        (162, hub.tcp(), Transport::Tcp),
    ] {
        let mut node = member(seed).await;
        node.net.dial(hub.id(), addrs.clone()).await.unwrap();
        let (by_addr, addr) = node
            .wait(|e| match e {
                NetEvent::Observed {
                    by,
                    by_addr,
                    addr,
                    transport: t,
                } if by == hub.id() && t == transport => Some((by_addr, addr)),
                _ => None,
            })
            .await;
        assert_eq!(by_addr, addrs[0]);
        // Dials leave from the listen port: what is seen is where this node can be reached.
        assert!(node.net.listen_addrs().contains(&addr), "{addr}");
        assert_eq!(node.net.test_candidates().first(), Some(&addr));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_dials_back_and_a_closed_port_is_found_out() {
    let (server, node) = (member(165).await, member(166).await);
    node.dial(&server).await;
    for addr in node.net.listen_addrs() {
        let report = node
            .net
            .test(server.id(), addr.clone(), Tester::Server)
            .await
            .unwrap();
        assert!(report.reached, "{report:?}");
        assert_eq!((&report.addr, report.server), (&addr, server.id()));
        assert!(!report.fresh, "this node has dialed that IP address: {report:?}");
    }
    let report = node
        .net
        .test(server.id(), nobody_there(), Tester::Server)
        .await
        .unwrap();
    assert!(!report.reached && report.from.is_none(), "{report:?}");
    // Another node's door is no door of this one.
    let others = server.tcp().remove(0);
    let report = node.net.test(server.id(), others, Tester::Server).await.unwrap();
    assert!(!report.reached, "{report:?}");
    // An address elsewhere is not dialed for somebody on this machine.
    let far = "/ip4/203.0.113.5/tcp/4001".to_owned();
    let error = node.net.test(server.id(), far, Tester::Server).await.unwrap_err();
    assert_eq!(error.code(), "net.not_tested");
    // The connection they have was not disturbed.
    until("test connections are gone", async || {
        let peers = node.net.peers().await;
        peers.len() == 1 && peers[0].connections == 1 && peers[0].member
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stranger_is_found_to_dial_and_only_after_the_helper_has() {
    let helper = member_with(170, at("127.0.0.2")).await;
    let (node, stranger) = (member(171).await, member(172).await);
    node.dial(&helper).await;
    stranger.dial(&helper).await;
    let addr = node.quic().remove(0);
    let ask = |tester| node.net.test(helper.id(), addr.clone(), tester);
    let error = ask(Tester::Other).await.unwrap_err();
    assert_eq!(
        error.code(),
        "net.not_tested",
        "the helper has not reached it itself"
    );
    assert!(ask(Tester::Server).await.unwrap().reached);
    let report = ask(Tester::Other).await.unwrap();
    assert!(report.reached, "{report:?}");
    assert_eq!(report.from, Some([127, 0, 0, 1].into()));
    // The stranger came and went: it is nobody's peer.
    until("the stranger has gone", async || {
        node.net.peers().await.len() == 1
    })
    .await;
    // A node with nobody but the helper to ask gets no verdict.
    stranger.net.shutdown().await;
    until("the helper has noticed", async || {
        helper.net.peers().await.len() == 1
    })
    .await;
    let error = ask(Tester::Other).await.unwrap_err();
    assert_eq!(error.code(), "net.not_tested");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tests_asked_for_are_told_by_events() {
    let helper = member_with(175, at("127.0.0.2")).await;
    let (mut node, stranger) = (member(176).await, member(177).await);
    node.dial(&helper).await;
    stranger.dial(&helper).await;
    let addr = node.tcp().remove(0);
    node.net.test_again(Some(addr.clone())).await;
    let (reachable, strangers) = node
        .wait(|e| match e {
            NetEvent::Tested {
                addr: tested,
                server,
                reachable,
                stranger,
                ..
            } if tested == addr => {
                assert_eq!(server, helper.id());
                Some((reachable, stranger))
            }
            _ => None,
        })
        .await;
    assert!(reachable && strangers);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_asker_cannot_have_more_than_its_tests() {
    const EACH_MINUTE: u64 = 12;
    const REFUSED: u32 = 6;
    let (server, node) = (member(180).await, member(181).await);
    node.dial(&server).await;
    let addr = node.tcp().remove(0);
    let began = Instant::now();
    let (mut made, mut refused) = (0, 0);
    // A machine on which a test takes long is given those of the next minute as well.
    while refused < REFUSED {
        match node.net.test(server.id(), addr.clone(), Tester::Server).await {
            Ok(report) => {
                assert!(report.reached, "{report:?}");
                made += 1;
            }
            Err(e) => {
                assert_eq!(e.code(), "net.not_tested");
                refused += 1;
            }
        }
        let minutes = 1 + began.elapsed().as_secs() / 60;
        assert!(made <= EACH_MINUTE * minutes, "{made} in the {minutes}th minute");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn others_are_told_what_is_published_and_hear_of_changes() {
    let (mut hub, node) = (member(185).await, member(186).await);
    let first = "/ip4/203.0.113.5/udp/4001/quic-v1".to_owned();
    node.net.set_published(vec![first.clone()]).await;
    until("it is published", async || {
        node.net.told_addrs() == [first.clone()]
    })
    .await;
    node.dial(&hub).await;
    let hello = hub
        .wait(|e| match e {
            NetEvent::Connected { node: n, hello, .. } if n == node.id() => Some(hello),
            _ => None,
        })
        .await;
    assert_eq!(hello.listen, std::slice::from_ref(&first));
    let told = async |hub: &mut TestNode, wanted: &str| {
        hub.wait(|e| match e {
            NetEvent::PeerAddrs { node: n, addrs } if n == node.id() => {
                (addrs == [wanted.to_owned()]).then_some(())
            }
            _ => None,
        })
        .await;
    };
    told(&mut hub, &first).await;
    let second = "/ip6/2001:db8::5/tcp/4001".to_owned();
    node.net.set_published(vec![second.clone()]).await;
    told(&mut hub, &second).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_address_is_tried_without_disturbing_what_is_there() {
    let (hub, node) = (member(190).await, member(191).await);
    let mut inbound = hub.net.serve("/test/1", Default::default()).unwrap();
    node.dial(&hub).await;
    let stream = node.net.open(hub.id(), "/test/1").await.unwrap();
    let (_, kept) = soon("the stream", inbound.accept()).await.unwrap();
    for (addr, transport) in [
        (hub.quic().remove(0), Transport::Quic),
        (hub.tcp().remove(0), Transport::Tcp),
    ] {
        let tried = node.net.try_address(hub.id(), addr).await.unwrap();
        assert_eq!(tried.transport, transport);
    }
    let own = node.tcp().remove(0);
    let error = node.net.try_address(hub.id(), own.clone()).await.unwrap_err();
    assert!(error.to_string().contains("another node answers"), "{error}");
    node.net.hairpin(own).await.unwrap();
    let error = node.net.try_address(hub.id(), nobody_there()).await.unwrap_err();
    assert_eq!(error.code(), "net.unreachable");
    // New streams go where they went.
    let again = node.net.open(hub.id(), "/test/1").await.unwrap();
    soon("the second stream", inbound.accept()).await.unwrap();
    drop((stream, kept, again));
}

/// Answers the first line of each negotiation and nothing after it, as if whatever is larger were lost. `lines`: so
/// often.
async fn only_small(lines: usize) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let mut open = Vec::new();
        for n in 0.. {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut line = [0; 20];
            if n < lines && stream.read_exact(&mut line).await.is_ok() {
                let _ = stream.write_all(&line).await;
            }
            open.push(stream);
        }
    });
    format!("/ip4/127.0.0.1/tcp/{port}")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_packets_that_are_lost_are_told_from_a_peer_that_says_nothing() {
    let (hub, node) = (member(194).await, member(195).await);
    node.dial(&hub).await;
    let large = async |addr: String| node.net.large_passes(hub.id(), addr).await;
    assert_eq!(large(hub.tcp().remove(0)).await, Ok(true));
    let quic = large(hub.quic().remove(0)).await.unwrap_err();
    assert_eq!(quic.code(), "net.unreachable", "{quic}");
    // Small packets pass before and after; before only; not at all.
    assert_eq!(large(only_small(usize::MAX).await).await, Ok(false));
    for lines in [2, 0] {
        let error = large(only_small(lines).await).await.unwrap_err();
        assert_eq!(error.code(), "net.unreachable", "{error}");
    }
    // Another node there is no proof of anything.
    large(node.tcp().remove(0)).await.unwrap_err();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transport_that_is_off_is_neither_listened_on_nor_dialed() {
    let only_quic = |config: &mut Config| {
        config.transports = Transports {
            quic: true,
            tcp: false,
        };
    };
    let (hub, node) = (member(195).await, member_with(196, only_quic).await);
    assert!(node.net.listen_addrs().iter().all(|a| a.contains("/quic-v1")));
    let error = node.net.dial(hub.id(), hub.tcp()).await.unwrap_err();
    assert_eq!(error.code(), "net.unreachable", "{error}");
    node.net.dial(hub.id(), hub.quic()).await.unwrap();
    let facts = node.net.facts();
    assert!(facts.quic_dialed >= 1 && facts.tcp_dialed == 0, "{facts:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_in_addresses_are_looked_up() {
    let (hub, node) = (member(200).await, member(201).await);
    let named = hub.tcp()[0].replace("/ip4/127.0.0.1/", "/dns4/localhost/");
    node.net.dial(hub.id(), vec![named]).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_families_are_listened_on_with_one_port() {
    if std::net::UdpSocket::bind("[::1]:0").is_err() {
        // A kernel without IPv6: nothing to see.
        return;
    }
    let everywhere = |config: &mut Config| config.listen = ListenAddrs::Port(0);
    let (hub, node) = (member_with(205, everywhere).await, member(206).await);
    let six = |hub: &TestNode| -> Vec<String> {
        let mut addrs = hub.net.listen_addrs();
        addrs.retain(|a| a.starts_with("/ip6/::1/"));
        addrs
    };
    until("IPv6 is listened on", async || six(&hub).len() == 2).await;
    let ports: std::collections::BTreeSet<_> = hub
        .net
        .listen_addrs()
        .iter()
        .map(|a| a.split('/').nth(4).unwrap().to_owned())
        .collect();
    assert_eq!(ports.len(), 1, "{ports:?}");
    for addr in six(&hub) {
        node.net.try_address(hub.id(), addr).await.unwrap();
    }
    let without = |config: &mut Config| {
        config.listen = ListenAddrs::Port(0);
        config.ipv6 = false;
    };
    let four = member_with(207, without).await;
    assert!(four.net.listen_addrs().iter().all(|a| a.starts_with("/ip4/")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_visitor_from_where_nothing_was_sent_shows_that_the_door_is_open() {
    // The visitor's QUIC packets come from where it listens.
    let (mut hub, visitor) = (member(210).await, member_with(211, at("127.0.0.3")).await);
    visitor.net.dial(hub.id(), hub.quic()).await.unwrap();
    let wanted = hub.quic().remove(0);
    let (by, addr) = hub
        .wait(|e| match e {
            NetEvent::Reached { by, by_addr, addr } => {
                assert!(by_addr.starts_with("/ip4/127.0.0.3/"), "{by_addr}");
                Some((by, addr))
            }
            _ => None,
        })
        .await;
    assert_eq!(by, NodeId(secret(211).public()));
    assert_eq!(addr, Some(wanted));
}

/// What goes over AutoNAT's stream of requests: one of these at a time.
#[derive(Clone, PartialEq, Message)]
struct Envelope {
    #[prost(message, optional, tag = "1")]
    dial: Option<DialMe>,
    #[prost(message, optional, tag = "2")]
    done: Option<Done>,
    #[prost(message, optional, tag = "3")]
    fill: Option<Fill>,
    #[prost(message, optional, tag = "4")]
    filling: Option<Filling>,
}

#[derive(Clone, PartialEq, Message)]
struct DialMe {
    #[prost(bytes = "vec", repeated, tag = "1")]
    addrs: Vec<Vec<u8>>,
    #[prost(fixed64, tag = "2")]
    nonce: u64,
}

#[derive(Clone, PartialEq, Message)]
struct Done {
    #[prost(int32, tag = "1")]
    status: i32,
}

#[derive(Clone, PartialEq, Message)]
struct Fill {
    #[prost(uint64, tag = "2")]
    bytes: u64,
}

#[derive(Clone, PartialEq, Message)]
struct Filling {
    #[prost(bytes = "vec", tag = "1")]
    data: Vec<u8>,
}

async fn say(stream: &mut hive_net::NetStream, what: Envelope) {
    stream
        .write_all(&what.encode_length_delimited_to_vec())
        .await
        .unwrap();
    stream.flush().await.unwrap();
}

/// A short message: its length is one byte.
async fn hear(stream: &mut hive_net::NetStream) -> Envelope {
    let len = soon("an answer", stream.read_u8()).await.unwrap();
    assert!(len < 0x80);
    let mut bytes = vec![0; len.into()];
    stream.read_exact(&mut bytes).await.unwrap();
    Envelope::decode(bytes.as_slice()).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_of_another_machine_is_dialed_only_after_as_much_was_sent() {
    let (server, node) = (member(215).await, member(216).await);
    node.dial(&server).await;
    // The asker is connected from 127.0.0.1.
    let victim = tokio::net::TcpListener::bind("127.0.0.2:0").await.unwrap();
    let addr = format!("/ip4/127.0.0.2/tcp/{}", victim.local_addr().unwrap().port());
    let addr: libp2p::Multiaddr = addr.parse().unwrap();
    let open = node.net.open(server.id(), "/libp2p/autonat/2/dial-request");
    let mut stream = open.await.unwrap();
    let dial = DialMe {
        addrs: vec![addr.to_vec()],
        nonce: 7,
    };
    let ask = Envelope {
        dial: Some(dial),
        ..Default::default()
    };
    say(&mut stream, ask).await;
    let said = hear(&mut stream).await;
    let wanted = said.fill.clone().unwrap_or_else(|| panic!("{said:?}")).bytes;
    assert!((30_000..=100_000).contains(&wanted), "{wanted}");
    let mut left = usize::try_from(wanted).unwrap();
    let dialed = async || tokio::time::timeout(std::time::Duration::from_millis(200), victim.accept()).await;
    while left > 0 {
        // All but the last byte first.
        let piece = (left - 1).clamp(1, 4000);
        if left == 1 {
            assert!(dialed().await.is_err(), "dialed before all had been sent");
        }
        let filling = Filling { data: vec![0; piece] };
        let filling = Envelope {
            filling: Some(filling),
            ..Default::default()
        };
        say(&mut stream, filling).await;
        left -= piece;
    }
    drop(soon("the dial", victim.accept()).await.unwrap());
    assert_eq!(hear(&mut stream).await.done.map(|d| d.status), Some(200));
}
