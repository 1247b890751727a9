//! Where a node can stand: public, behind routers of each kind, in a site, alone.

use super::*;
use crate::{Filtering, MappedBy, Mapping, Passage, Reachability, ServingWhy};

fn test(rig: &mut Rig, n: u16, addr: &str, reachable: bool, stranger: bool) {
    rig.tell(Input::Tested {
        addr: addr.to_owned(),
        server: node(n),
        reachable,
        stranger,
    });
}

#[test]
fn a_public_node_serves_everybody() {
    let mut rig = Rig::new(|_| {});
    rig.listening(WAN).listening("/ip4/127.0.0.1/tcp/4001");
    rig.tell(Input::Authorities(vec![node(1)]))
        .connected(1, HOP)
        .observed(1, HOP, WAN);
    assert_eq!(rig.reach.report().mapping, Mapping::None);
    assert_eq!(rig.reach.report().reachability, Reachability::Unknown);
    rig.pass(Millis::secs(2));
    assert!(rig.taken().contains(&Effect::Test));
    test(&mut rig, 1, WAN, true, false);
    let report = rig.reach.report();
    assert_eq!(report.reachability, Reachability::Public);
    assert!(report.kad_server && report.serving.on);
    assert_eq!(report.serving.why, ServingWhy::Public);
    assert_eq!(rig.published(), [WAN], "loopback is nobody else's");
    let effects = rig.taken();
    for wanted in [
        Effect::KadServer(true),
        Effect::Serve(true),
        Effect::AnnounceRelay(true),
    ] {
        assert!(effects.contains(&wanted), "{wanted:?}");
    }
    assert!(reserves(&effects).is_empty());
    rig.tell(Input::SetMode(RelayMode::Off));
    assert_eq!(rig.taken(), [Effect::Serve(false), Effect::AnnounceRelay(false)]);
}

#[test]
fn a_confirmation_ends_without_new_success_and_after_two_failures_at_once() {
    let mut rig = Rig::new(|_| {});
    rig.listening(WAN).connected(1, HOP).observed(1, HOP, WAN);
    test(&mut rig, 1, WAN, true, true);
    assert_eq!(rig.reach.report().reachability, Reachability::Public);
    rig.pass(Millis::mins(41));
    assert_ne!(
        rig.reach.report().reachability,
        Reachability::Public,
        "nobody has said so again"
    );
    assert!(
        rig.taken().iter().filter(|e| **e == Effect::Test).count() >= 3,
        "it was asked for"
    );
    test(&mut rig, 1, WAN, true, true);
    assert_eq!(rig.reach.report().reachability, Reachability::Public);
    rig.pass(Millis::secs(1));
    test(&mut rig, 2, WAN, false, true);
    assert_eq!(
        rig.reach.report().reachability,
        Reachability::Public,
        "one may be mistaken"
    );
    test(&mut rig, 3, WAN, false, true);
    assert_eq!(rig.reach.report().reachability, Reachability::Private);
    assert!(!rig.reach.report().kad_server && !rig.reach.report().serving.on);
}

#[test]
fn routers_are_told_apart_by_two_observers() {
    let mut rig = Rig::behind_nat();
    assert_eq!(rig.reach.report().mapping, Mapping::OneObserver);
    assert_eq!(rig.reach.report().reachability, Reachability::Private);
    assert!(!rig.reach.report().kad_server, "a dead end for others");
    rig.observed(2, "/ip4/198.51.100.2/udp/1/quic-v1", WAN);
    assert_eq!(rig.reach.report().mapping, Mapping::EndpointIndependent);
    rig.observed(
        2,
        "/ip4/198.51.100.2/udp/1/quic-v1",
        "/ip4/203.0.113.9/udp/61000/quic-v1",
    );
    assert_eq!(
        rig.reach.report().mapping,
        Mapping::EndpointDependent,
        "what it said before is over"
    );
}

#[test]
fn a_router_that_lets_in_whom_was_spoken_to_is_not_public() {
    let mut rig = Rig::behind_nat();
    test(&mut rig, 1, WAN, true, false);
    let report = rig.reach.report();
    assert_eq!(
        (report.reachability, report.filtering),
        (Reachability::Private, Filtering::Address)
    );
    assert!(!rig.published().contains(&WAN.to_owned()));
    test(&mut rig, 2, WAN, true, true);
    let report = rig.reach.report();
    assert_eq!(
        (report.reachability, report.filtering),
        (Reachability::Public, Filtering::Open)
    );
    assert_eq!(
        rig.published().first().map(String::as_str),
        Some(WAN),
        "the useful one first"
    );
}

#[test]
fn strangers_that_come_in_prove_an_address() {
    let mut rig = Rig::behind_nat();
    let at = "/ip4/203.0.113.9/tcp/4001";
    let came = |rig: &mut Rig, n: u16, from: &str, addr: &str| {
        rig.tell(Input::Reached {
            by: node(n),
            from: from.to_owned(),
            addr: Some(addr.to_owned()),
        });
    };
    // A neighbour shows nothing of the router.
    came(&mut rig, 4, "/ip6/fd00::2/tcp/1", "/ip6/fd00::1/tcp/1");
    assert_eq!(rig.reach.report().filtering, Filtering::Unknown);
    came(&mut rig, 5, "/ip4/198.51.100.2/tcp/1", at);
    assert_eq!(rig.reach.report().filtering, Filtering::Open);
    assert_eq!(
        rig.reach.report().reachability,
        Reachability::Private,
        "where it dialed is its word alone"
    );
    came(&mut rig, 6, "/ip4/198.51.100.3/tcp/1", at);
    assert_eq!(
        rig.reach.report().reachability,
        Reachability::Private,
        "the same owner, perhaps"
    );
    came(&mut rig, 7, "/ip4/192.0.2.3/tcp/1", at);
    assert_eq!(rig.reach.report().reachability, Reachability::Public);
    // What another observer sees as well needs one stranger only.
    let mut rig = Rig::behind_nat();
    came(&mut rig, 5, "/ip4/198.51.100.2/tcp/1", WAN);
    assert_eq!(rig.reach.report().reachability, Reachability::Public);
}

#[test]
fn a_mapped_port_is_told_at_once_and_counts_when_somebody_came_through() {
    let mut rig = Rig::behind_nat();
    let (addr, life) = ("/ip4/203.0.113.9/udp/7777/quic-v1".to_owned(), Millis::mins(30));
    rig.tell(Input::Mapped {
        addr: addr.clone(),
        by: MappedBy::Upnp,
        life,
    });
    assert_eq!(rig.published().first(), Some(&addr));
    assert_eq!(rig.reach.report().reachability, Reachability::Private);
    test(&mut rig, 1, &addr, true, false);
    assert_eq!(rig.reach.report().reachability, Reachability::Public);
    rig.tell(Input::Unmapped {
        addr: addr.clone(),
        detail: "gone".to_owned(),
    });
    assert_eq!(
        rig.reach.report().reachability,
        Reachability::Private,
        "it was the mapping's"
    );
    // A mapping at a router that is behind another one leads nowhere.
    rig.tell(Input::Mapped {
        addr: "/ip4/100.64.0.3/tcp/1".to_owned(),
        by: MappedBy::Pcp,
        life,
    });
    assert!(!rig.published().iter().any(|a| a.contains("100.64")));
}

#[test]
fn a_site_without_routers_needs_no_relay_and_has_a_hash_table() {
    let mut rig = Rig::new(|_| {});
    rig.listening(LAN)
        .listening(LAN_TCP)
        .tell(Input::Authorities(vec![node(1)]));
    rig.connected(1, "/ip4/192.168.1.1/udp/4001/quic-v1");
    rig.observed(1, "/ip4/192.168.1.1/udp/4001/quic-v1", LAN);
    rig.pass(Millis::mins(2));
    let report = rig.reach.report();
    assert!(report.kad_server && !report.serving.on);
    assert!(reserves(&rig.taken()).is_empty());
    assert_eq!(rig.published(), [LAN, LAN_TCP]);
}

#[test]
fn loopback_meshes_stay_as_they_are() {
    let mut rig = Rig::new(|c| c.authority = true);
    let (a, b) = ("/ip4/127.0.0.1/udp/4001/quic-v1", "/ip4/127.0.0.1/tcp/4001");
    rig.listening(a)
        .listening(b)
        .connected(1, "/ip4/127.0.0.1/tcp/9")
        .pass(Millis::mins(1));
    assert_eq!(rig.published(), [a, b]);
    let report = rig.reach.report();
    assert!(
        report.kad_server && report.serving.on,
        "an authority relays: all members reach it"
    );
    assert_eq!(report.serving.why, ServingWhy::Authority);
}

#[test]
fn a_node_that_listens_nowhere_or_wants_no_direct_connections_is_reached_through_relays() {
    for (listens, direct) in [(false, true), (true, false)] {
        let mut rig = Rig::new(|c| c.direct = direct);
        if listens {
            rig.listening("/ip4/127.0.0.1/tcp/4001");
        }
        rig.tell(Input::Authorities(vec![node(1)]))
            .connected(1, "/ip4/127.0.0.1/tcp/9");
        assert_eq!(reserves(&rig.taken()), [node(1)]);
        rig.reserved(1);
        assert_eq!(rig.published(), [circuit(node(1))]);
    }
}

#[test]
fn udp_that_does_not_pass_is_noticed() {
    let mut rig = Rig::new(|_| {});
    rig.listening(LAN).listening(LAN_TCP);
    rig.heard(1, true, HOP).connected(1, "/ip4/203.0.113.1/tcp/4001");
    for _ in 0..20 {
        for effect in rig.taken() {
            if let Effect::Try { node: whose, addr } = effect {
                assert_eq!((whose, addr.as_str()), (node(1), HOP));
                rig.tell(Input::Tried { addr, reached: false });
            }
        }
        rig.pass(Millis::secs(1));
    }
    assert_eq!(rig.reach.report().udp, Passage::Blocked);
    rig.connected(2, WAN);
    assert_eq!(rig.reach.report().udp, Passage::Open, "it passes after all");
}

/// Answers what is tried for a while: over QUIC, and over TCP.
fn tries(rig: &mut Rig, quic: bool, tcp: bool) {
    for _ in 0..20 {
        for effect in rig.taken() {
            if let Effect::Try { addr, .. } = effect {
                let reached = if addr.contains("/tcp/") { tcp } else { quic };
                rig.tell(Input::Tried { addr, reached });
            }
        }
        rig.pass(Millis::secs(1));
    }
}

#[test]
fn udp_that_passes_no_longer_is_noticed_and_so_is_its_return() {
    let mut rig = Rig::behind_nat();
    let over_tcp = "/ip4/203.0.113.1/tcp/4001";
    rig.heard(1, true, HOP);
    rig.pass(Millis::mins(3));
    assert_eq!(rig.reach.report().udp, Passage::Open);
    rig.tell(Input::Moved {
        node: node(1),
        addr: over_tcp.to_owned(),
    });
    assert!(rig.reach.undecided());
    tries(&mut rig, false, true);
    let report = rig.reach.report();
    assert_eq!((report.udp, report.tcp), (Passage::Blocked, Passage::Open));
    assert!(!rig.reach.undecided());
    // Nobody's connection is lost when it comes back: it has to be asked.
    rig.tell(Input::Fresh);
    assert!(rig.reach.undecided());
    tries(&mut rig, true, true);
    assert_eq!(rig.reach.report().udp, Passage::Open);
    // And without anybody asking, some minutes later.
    rig.pass(Millis::mins(6));
    rig.taken();
    tries(&mut rig, false, true);
    rig.pass(Millis::mins(6));
    tries(&mut rig, false, true);
    assert_eq!(rig.reach.report().udp, Passage::Blocked);
    rig.pass(Millis::mins(6));
    tries(&mut rig, true, true);
    assert_eq!(rig.reach.report().udp, Passage::Open);
}

#[test]
fn with_quic_only_and_nobody_answering_udp_does_not_pass() {
    let mut rig = Rig::new(|_| {});
    rig.listening(LAN).heard(1, true, HOP).connected(1, HOP);
    rig.pass(Millis::mins(3));
    rig.tell(Input::Disconnected { node: node(1) });
    for _ in 0..5 {
        rig.pass(Millis::secs(10));
        rig.tell(Input::Silent { addr: HOP.to_owned() });
    }
    assert_eq!(rig.reach.report().udp, Passage::Blocked);
    rig.connected(1, HOP);
    assert_eq!(rig.reach.report().udp, Passage::Open);
}

#[test]
fn tcp_that_does_not_pass_is_noticed_where_quic_does() {
    for passes in [true, false] {
        let mut rig = Rig::behind_nat();
        rig.heard(1, true, "/ip4/203.0.113.1/tcp/4001");
        tries(&mut rig, true, passes);
        let wanted = if passes { Passage::Open } else { Passage::Blocked };
        assert_eq!(rig.reach.report().tcp, wanted);
        assert_eq!(rig.reach.report().udp, Passage::Open);
    }
}

#[test]
fn what_observers_said_of_another_time_makes_no_router_symmetric() {
    let at = |n: u8| format!("/ip4/198.51.100.{n}/udp/4001/quic-v1");
    let new = "/ip4/203.0.113.77/udp/4001/quic-v1";
    // Two observers; then the provider gives another address, and the second observer is gone.
    let mut rig = Rig::behind_nat();
    rig.connected(2, &at(2)).observed(2, &at(2), WAN);
    assert_eq!(rig.reach.report().mapping, Mapping::EndpointIndependent);
    rig.tell(Input::Disconnected { node: node(2) });
    rig.pass(Millis::secs(5));
    rig.observed(1, HOP, new);
    assert_eq!(rig.reach.report().mapping, Mapping::OneObserver, "of now");
    rig.connected(3, &at(3)).observed(3, &at(3), new);
    assert_eq!(rig.reach.report().mapping, Mapping::EndpointIndependent);
    // A connection that outlived the change, whose observer has not said anything since.
    let mut rig = Rig::behind_nat();
    rig.connected(2, &at(2)).observed(2, &at(2), WAN);
    rig.pass(Millis::mins(10));
    rig.observed(1, HOP, new);
    assert_ne!(rig.reach.report().mapping, Mapping::EndpointDependent);
    // Seen at the same time at two addresses, by members that are there: that is another matter.
    rig.observed(2, &at(2), WAN);
    assert_eq!(rig.reach.report().mapping, Mapping::EndpointDependent);
}

#[test]
fn one_member_that_lies_makes_no_router_symmetric() {
    let at = |n: u8| format!("/ip4/198.51.100.{n}/udp/4001/quic-v1");
    let lie = "/ip4/203.0.113.9/udp/6/quic-v1";
    let mut rig = Rig::behind_nat();
    rig.connected(2, &at(2)).observed(2, &at(2), lie);
    assert_eq!(
        rig.reach.report().mapping,
        Mapping::EndpointDependent,
        "of two nobody knows who is right"
    );
    rig.connected(3, &at(3)).observed(3, &at(3), WAN);
    assert_eq!(rig.reach.report().mapping, Mapping::EndpointIndependent);
    // Where each sees another port, nobody is in the majority.
    rig.observed(3, &at(3), "/ip4/203.0.113.9/udp/7/quic-v1");
    assert_eq!(rig.reach.report().mapping, Mapping::EndpointDependent);
    // And one that says that a public node is translated is alone with it.
    let mut rig = Rig::new(|_| {});
    rig.listening(WAN);
    for n in 2..5 {
        rig.connected(n, &at(n as u8));
        rig.observed(n, &at(n as u8), if n == 3 { lie } else { WAN });
    }
    assert_eq!(rig.reach.report().mapping, Mapping::None);
}

#[test]
fn a_new_address_makes_everything_new() {
    let mut rig = Rig::behind_nat();
    test(&mut rig, 2, WAN, true, true);
    assert_eq!(rig.reach.report().reachability, Reachability::Public);
    rig.tell(Input::NotListening { addr: LAN.to_owned() });
    assert_eq!(
        rig.reach.report().reachability,
        Reachability::Public,
        "TCP listens there still"
    );
    rig.tell(Input::NotListening {
        addr: LAN_TCP.to_owned(),
    });
    rig.listening("/ip4/10.9.9.9/udp/4001/quic-v1");
    assert_ne!(rig.reach.report().reachability, Reachability::Public);
    rig.taken();
    rig.pass(Millis::secs(2));
    assert!(rig.taken().contains(&Effect::Test), "tested again");
}

#[test]
fn ipv6_alone_is_not_everybody() {
    let mut rig = Rig::behind_nat();
    let six = "/ip6/2001:db8::7/udp/4001/quic-v1";
    rig.listening(six);
    test(&mut rig, 1, six, true, false);
    assert_eq!(rig.reach.report().reachability, Reachability::Public);
    rig.reserved(1).pass(Millis::mins(10));
    assert!(
        rig.published().contains(&circuit(node(1))),
        "for those without IPv6"
    );
    assert_eq!(rig.published().first().map(String::as_str), Some(six));
}

#[test]
fn what_the_operator_announces_is_told_and_believed() {
    let at = "/dns4/node.example/tcp/4001";
    let mut rig = Rig::new(|c| c.announce = vec![at.to_owned(), "nonsense".to_owned()]);
    rig.listening(LAN);
    assert_eq!(rig.published(), [at, LAN]);
    assert_eq!(rig.reach.report().reachability, Reachability::Public);
}

#[test]
fn what_was_never_carried_out_is_told_to_nobody() {
    // A shell that begins late: the addresses listened on are named one after another before it takes anything.
    let mut rig = Rig::new(|config| config.authority = true);
    let now = rig.now;
    for input in [
        Input::Authorities(vec![node(0)]),
        Input::Listening { addr: WAN.to_owned() },
        Input::Listening {
            addr: LAN_TCP.to_owned(),
        },
    ] {
        rig.reach.handle(now, input);
    }
    let effects: Vec<Effect> = std::iter::from_fn(|| rig.reach.poll_effect()).collect();
    let told: Vec<Vec<&str>> = effects
        .iter()
        .filter_map(|e| match e {
            Effect::Publish(list) => Some(list.iter().map(|p| p.addr.as_str()).collect()),
            _ => None,
        })
        .collect();
    assert_eq!(told, [[WAN, LAN_TCP]], "once, and all of it");
    assert_eq!(
        effects
            .iter()
            .filter(|e| matches!(e, Effect::Serve(_)))
            .collect::<Vec<_>>(),
        [&Effect::Serve(true)]
    );
}
