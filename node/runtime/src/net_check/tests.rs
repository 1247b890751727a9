//! What is found, and what is said of it.

#![allow(clippy::unwrap_used)]
use super::*;
use crate::port::{AddrRow, MappingRow, ObservedRow, RelayHeld, RelayKnown};

fn look(reach: &ReachView, config: &NetConfig, peers: &[PathView]) -> (Verdict, Vec<CheckRow>) {
    judge(&Facts {
        reach,
        config,
        peers,
        authority: true,
    })
}

fn of<'a>(rows: &'a [CheckRow], name: &str) -> &'a CheckRow {
    rows.iter().find(|r| r.name == name).unwrap()
}

fn good() -> ReachView {
    ReachView {
        state: "public".into(),
        mapping: "none".into(),
        filtering: "none".into(),
        udp: Some(true),
        tcp: Some(true),
        ipv6: "none".into(),
        published: vec!["/ip4/203.0.113.1/udp/4001/quic-v1".into()],
        mapper: "none".into(),
        clock_skew_ms: Some(-120),
        clock_peers: 3,
        mtu: Some(1472),
        large: Some(true),
        ..ReachView::default()
    }
}

fn peer(state: &str) -> PathView {
    PathView {
        state: state.into(),
        member: true,
        ..PathView::default()
    }
}

#[test]
fn a_public_node_passes_everywhere() {
    let (worst, rows) = look(&good(), &NetConfig::default(), &[peer("direct"), peer("relay")]);
    assert_eq!(worst, Verdict::Pass, "{rows:?}");
    assert!(rows.iter().all(|r| r.fix.is_none()));
    assert!(
        of(&rows, "peers")
            .detail
            .contains("2 members connected: 1 direct, 1 relayed")
    );
    assert_eq!(of(&rows, "clock").detail, "0.120 s behind the others (3 asked)");
}

#[test]
fn large_packets_that_are_lost_without_a_word_matter_more_where_there_is_no_udp() {
    let mut reach = good();
    let row = |reach: &ReachView| of(&look(reach, &NetConfig::default(), &[peer("direct")]).1, "mtu").clone();
    assert_eq!(
        row(&reach).detail,
        "1472 bytes as the system knows it; large messages pass over TCP"
    );
    reach.large = None;
    assert_eq!(row(&reach).detail, "1472 bytes as the system knows it");
    reach.large = Some(false);
    for (udp, verdict) in [(Some(true), "warn"), (Some(false), "fail"), (None, "fail")] {
        reach.udp = udp;
        let row = row(&reach);
        assert_eq!(row.verdict, verdict, "{row:?}");
        assert!(row.fix.is_some_and(|fix| fix.contains("MSS")));
    }
}

#[test]
fn everything_that_is_wrong_says_what_to_do() {
    let mut reach = good();
    reach.udp = Some(false);
    reach.state = "private".into();
    reach.mapping = "address-dependent".into();
    reach.clock_skew_ms = Some(i64::MIN);
    reach.mtu = Some(576);
    reach.mapper = "failed".into();
    reach.published.clear();
    let (worst, rows) = look(&reach, &NetConfig::default(), &[peer("direct")]);
    assert_eq!(worst, Verdict::Fail);
    for (name, verdict) in [
        ("udp", "warn"),
        ("nat", "warn"),
        ("relays", "fail"),
        ("clock", "fail"),
        ("mtu", "fail"),
        ("port mapping", "warn"),
        ("addresses", "fail"),
    ] {
        let row = of(&rows, name);
        assert_eq!(row.verdict, verdict, "{row:?}");
        assert!(row.fix.is_some(), "{row:?}");
    }
}

#[test]
fn what_is_switched_off_is_no_fault_but_what_remains_must_work() {
    let config = NetConfig {
        transports: Transports::Quic,
        ..NetConfig::default()
    };
    let mut reach = good();
    reach.udp = Some(false);
    let (worst, rows) = look(&reach, &config, &[]);
    assert_eq!(worst, Verdict::Fail);
    assert_eq!(
        of(&rows, "udp").fix.as_deref(),
        Some("hivenode config set transports both")
    );
    let config = NetConfig {
        transports: Transports::Tcp,
        ..NetConfig::default()
    };
    assert_eq!(look(&reach, &config, &[]).0, Verdict::Pass);
}

#[test]
fn two_relays_are_enough_and_one_is_not() {
    let mut reach = good();
    reach.state = "private".into();
    reach.mapping = "endpoint-independent".into();
    reach.known_relays = vec![RelayKnown::default(); 3];
    let held = |name: &str, state: &str| RelayHeld {
        name: name.into(),
        state: state.into(),
        rtt_us: Some(14_200),
        detail: if state == "reserved" {
            String::new()
        } else {
            "is full".into()
        },
        ..RelayHeld::default()
    };
    reach.relays = vec![held("fra", "reserved"), held("ams", "refused")];
    let (worst, rows) = look(&reach, &NetConfig::default(), &[]);
    assert_eq!(worst, Verdict::Warn);
    assert_eq!(
        of(&rows, "relays").detail,
        "only fra 14.2 ms of 5 known; ams: is full"
    );
    reach.relays[1] = held("ams", "reserved");
    let (worst, rows) = look(&reach, &NetConfig::default(), &[]);
    assert_eq!(
        (worst, of(&rows, "relays").detail.as_str()),
        (Verdict::Pass, "fra 14.2 ms, ams 14.2 ms")
    );
}

#[test]
fn a_firewall_is_named_only_where_a_test_has_failed() {
    let mut reach = good();
    reach.state = "private".into();
    let mut says = |filtering: &str| {
        reach.filtering = filtering.into();
        of(&look(&reach, &NetConfig::default(), &[]).1, "nat").clone()
    };
    let (none, failed) = (says("unknown"), says("port-dependent"));
    assert!(none.detail.contains("could not be tested"), "{none:?}");
    assert!(failed.detail.contains("firewall"), "{failed:?}");
    assert!(
        [none, failed]
            .iter()
            .all(|row| row.verdict == "warn" && row.fix.is_some())
    );
}

#[test]
fn what_nobody_could_test_is_a_warning_only_where_it_matters() {
    let mut reach = good();
    reach.state = "unknown".into();
    reach.mapping = "unknown".into();
    let config = NetConfig::default();
    assert_eq!(
        of(&look(&reach, &config, &[peer("direct")]).1, "nat").verdict,
        "pass"
    );
    assert_eq!(
        of(&look(&reach, &config, &[peer("relay")]).1, "nat").verdict,
        "warn"
    );
}

#[test]
fn an_announced_address_that_fails_is_named() {
    let config = NetConfig {
        announce: vec!["/ip4/203.0.113.1/tcp/1".into()],
        ..NetConfig::default()
    };
    let mut reach = good();
    reach.tested = vec![AddrRow {
        addr: "/ip4/203.0.113.1/tcp/1".into(),
        state: "refused".into(),
        ..AddrRow::default()
    }];
    let (worst, rows) = look(&reach, &config, &[]);
    assert_eq!(worst, Verdict::Warn);
    assert!(of(&rows, "addresses").detail.contains("/tcp/1 is announced"));
}

#[test]
fn tcp_that_does_not_pass_is_a_warning_where_udp_does_and_a_fault_where_nothing_answers() {
    let config = NetConfig::default();
    let mut reach = good();
    reach.tcp = Some(false);
    let (_, rows) = look(&reach, &config, &[peer("direct")]);
    assert_eq!(of(&rows, "tcp").verdict, "warn");
    assert_eq!(of(&rows, "udp").verdict, "pass");
    reach.udp = Some(false);
    let (_, rows) = look(&reach, &config, &[]);
    for name in ["udp", "tcp"] {
        let row = of(&rows, name);
        assert_eq!(row.verdict, "fail");
        assert!(row.detail.starts_with("nothing answers over it"), "{row:?}");
    }
}

#[test]
fn a_router_that_refuses_is_not_one_that_offers_nothing() {
    let mut reach = good();
    let config = NetConfig::default();
    assert_eq!(of(&look(&reach, &config, &[]).1, "port mapping").verdict, "pass");
    reach.mapper = "failed".into();
    reach.mappings = vec![MappingRow {
        detail: "PCP and NAT-PMP: refused: result 2; UPnP: no answer".into(),
        ..MappingRow::default()
    }];
    let row = of(&look(&reach, &config, &[]).1, "port mapping").clone();
    assert_eq!(row.verdict, "warn");
    assert_eq!(
        row.detail,
        "the router refuses (PCP and NAT-PMP: refused: result 2; UPnP: no answer)"
    );
}

#[test]
fn where_no_router_can_stand_before_it_none_is_looked_for() {
    let mut reach = good();
    reach.mapper = "needless".into();
    let row = of(&look(&reach, &NetConfig::default(), &[]).1, "port mapping").clone();
    assert_eq!(row.verdict, "pass");
    assert_eq!(
        row.detail,
        "not needed: this node listens on no private IPv4 address"
    );
}

#[test]
fn who_is_reached_by_neighbours_only_is_not_reached_from_outside() {
    let mut reach = good();
    let confirmed = |addr: &str| AddrRow {
        addr: addr.into(),
        state: "confirmed".into(),
        ..AddrRow::default()
    };
    reach.tested = vec![
        confirmed("/ip6/fd00::2/udp/1/quic-v1"),
        confirmed("/ip4/10.0.0.1/tcp/1"),
    ];
    let mut says = |more: Option<AddrRow>| {
        reach.tested.extend(more);
        of(&look(&reach, &NetConfig::default(), &[]).1, "addresses")
            .detail
            .clone()
    };
    assert!(says(None).contains("0 confirmed from outside"), "{}", says(None));
    let two = says(Some(confirmed("/ip6/2001:db8::2/udp/1/quic-v1")));
    assert!(two.contains("1 confirmed from outside"), "{two}");
}

#[test]
fn a_port_of_a_router_behind_another_one_is_no_way_in() {
    let config = NetConfig::default();
    let mut reach = good();
    reach.mapper = "mapped".into();
    let mut says = |external: &str, seen: &[&str]| {
        reach.mappings = vec![MappingRow {
            protocol: "pcp".into(),
            external: external.into(),
            ..MappingRow::default()
        }];
        reach.observed = seen
            .iter()
            .map(|addr| ObservedRow {
                addr: (*addr).into(),
                ..ObservedRow::default()
            })
            .collect();
        of(&look(&reach, &config, &[]).1, "port mapping").clone()
    };
    let (outside, seen) = (
        "/ip4/203.0.113.9/udp/4001/quic-v1",
        "/ip4/203.0.113.9/udp/61000/quic-v1",
    );
    assert_eq!(says(outside, &[]).verdict, "pass");
    assert_eq!(says(outside, &[seen]).verdict, "pass");
    for inside in ["/ip4/192.168.77.5/tcp/4001", "/ip4/100.64.0.9/tcp/4001"] {
        let row = says(inside, &[]);
        assert_eq!(row.verdict, "warn", "{row:?}");
        assert!(row.fix.is_some_and(|f| f.contains("outer router")));
    }
    let row = says(outside, &["/ip4/198.51.100.7/tcp/4001"]);
    assert_eq!(row.verdict, "warn");
    assert!(
        row.detail.contains("198.51.100.7, not from 203.0.113.9"),
        "{row:?}"
    );
    // A neighbour of the same site says nothing about the way out.
    assert_eq!(says(outside, &["/ip4/192.168.1.7/tcp/4001"]).verdict, "pass");
}

#[test]
fn what_was_not_tested_says_so() {
    let config = NetConfig::default();
    let tested = look(&good(), &config, &[peer("direct")]).1;
    assert!(tested.iter().all(|r| !r.untested), "{tested:?}");
    let (worst, rows) = look(&ReachView::default(), &config, &[]);
    let untested: Vec<&str> = rows
        .iter()
        .filter(|r| r.untested)
        .map(|r| r.name.as_str())
        .collect();
    assert_eq!(untested, ["udp", "tcp", "nat", "hairpin", "ipv6", "clock", "mtu"]);
    assert_eq!(worst, Verdict::Fail, "no addresses");
}
