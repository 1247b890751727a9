//! The lines on how others get in: the router, port mappings, IPv6, relays.

use super::{Facts, Lines, Verdict};
use crate::port::ReachView;
use hive_reach::{Scope, parse};
use std::{collections::BTreeSet, net::IpAddr};

/// Relays a node behind a router wants to be reached through.
const WANTED_RELAYS: usize = 2;
/// What helps where two routers stand one behind the other.
const OUTER_ROUTER: &str = "forward the ports in the outer router, too, or set one of the two to bridge mode";
/// What helps behind a router that no punching opens.
const OPEN_PORT: &str = "forward a port of the router to this machine and name it: hivenode config set announce /ip4/ADDRESS/udp/PORT/quic-v1,/ip4/ADDRESS/tcp/PORT";

pub(super) fn router(f: &Facts<'_>, lines: &mut Lines) {
    let r = f.reach;
    let kind = format!("mapping {}, filtering {}", r.mapping, r.filtering);
    match (r.state.as_str(), r.mapping.as_str()) {
        ("public", "none") => lines.add("nat", Verdict::Pass, "none: reachable from everywhere", None),
        ("public", _) => lines.add(
            "nat",
            Verdict::Pass,
            format!("reachable from everywhere ({kind})"),
            None,
        ),
        // No test has failed: none could be made.
        ("private", "none") if r.filtering == "unknown" => lines.add(
            "nat",
            Verdict::Warn,
            "none; whether others get in could not be tested: nobody here could try",
            Some("ask again when more nodes are connected: hivenode net check"),
        ),
        ("private", "none") => lines.add(
            "nat",
            Verdict::Warn,
            "none, but a firewall keeps others out: they come by punching or through a relay",
            Some("let the listening port in, for UDP and TCP, in this machine's or the network's firewall"),
        ),
        ("private", "endpoint-independent") => lines.add(
            "nat",
            Verdict::Pass,
            format!("behind a router ({kind}): direct paths are made by punching"),
            None,
        ),
        ("private", "address-dependent") => lines.add(
            "nat",
            Verdict::Warn,
            format!(
                "behind a symmetric router ({kind}): most nodes behind routers are reached through relays"
            ),
            Some(OPEN_PORT),
        ),
        ("private", _) => lines.add(
            "nat",
            Verdict::Warn,
            format!("not reachable from outside ({kind}); too few observers to tell the router's kind"),
            Some("ask again when more nodes are connected: hivenode net check"),
        ),
        // Nodes of one network need nobody outside.
        _ if f
            .peers
            .iter()
            .all(|p| p.state != "relay" && p.state != "punching") =>
        {
            lines.untested("nat", "not tested: nobody connected is on another network")
        }
        _ => lines.add(
            "nat",
            Verdict::Warn,
            "not tested: nobody who is connected directly is on another network",
            Some("ask again when more nodes are connected: hivenode net check"),
        ),
    }
}

pub(super) fn mapping(f: &Facts<'_>, lines: &mut Lines) {
    let got: Vec<String> = f
        .reach
        .mappings
        .iter()
        .filter(|m| !m.external.is_empty())
        .map(|m| format!("{} by {}", m.external, m.protocol))
        .collect();
    let why = f
        .reach
        .mappings
        .iter()
        .find(|m| !m.detail.is_empty())
        .map_or_else(String::new, |m| format!(" ({})", m.detail));
    match f.reach.mapper.as_str() {
        "mapped" => match in_front(f.reach) {
            None => lines.add("port mapping", Verdict::Pass, got.join(", "), None),
            Some(where_to) => lines.add(
                "port mapping",
                Verdict::Warn,
                format!("{}: {where_to}", got.join(", ")),
                Some(OUTER_ROUTER),
            ),
        },
        "failed" => lines.add(
            "port mapping",
            Verdict::Warn,
            format!("the router refuses{why}"),
            Some("allow UPnP or NAT-PMP in the router, or switch asking off: hivenode config set upnp off"),
        ),
        "off" => lines.add("port mapping", Verdict::Pass, "off (upnp = off)", None),
        "needless" => lines.add(
            "port mapping",
            Verdict::Pass,
            "not needed: this node listens on no private IPv4 address",
            None,
        ),
        "searching" => lines.add(
            "port mapping",
            Verdict::Pass,
            "looking for a router that offers it",
            None,
        ),
        _ => lines.add(
            "port mapping",
            Verdict::Pass,
            "no router here offers it (UPnP, NAT-PMP, PCP)",
            None,
        ),
    }
}

/// Why the ports opened lead nowhere: the router that opened them is itself behind another one.
fn in_front(r: &ReachView) -> Option<String> {
    let ips = |texts: &mut dyn Iterator<Item = &String>| -> BTreeSet<IpAddr> {
        texts.filter_map(|t| parse(t)?.ip).collect()
    };
    let outside = ips(&mut r.mappings.iter().map(|m| &m.external));
    if let Some(ip) = outside.iter().find(|ip| Scope::of(**ip) < Scope::Global) {
        return Some(format!(
            "{ip} is no address of the internet: the router is behind another one, and nobody outside gets through"
        ));
    }
    let own = ips(&mut r.listen.iter());
    let mut seen = ips(&mut r.observed.iter().map(|o| &o.addr));
    seen.retain(|ip| ip.is_ipv4() && Scope::of(*ip) == Scope::Global && !own.contains(ip));
    let mut unknown = outside.iter().filter(|ip| !seen.contains(ip));
    match (unknown.next(), seen.iter().next()) {
        (Some(ip), Some(at)) => Some(format!(
            "others see this node come from {at}, not from {ip}: the router seems to be behind another one"
        )),
        _ => None,
    }
}

pub(super) fn hairpin(f: &Facts<'_>, lines: &mut Lines) {
    let text = match (f.reach.hairpin, f.reach.mapping.as_str()) {
        (Some(true), _) => "works: nodes behind this router reach each other by its outer address too",
        (Some(false), _) => {
            "does not work: nodes behind this router reach each other by local addresses or relays"
        }
        (None, "none") => "not needed: no router",
        (None, _) => {
            return lines.untested(
                "hairpin",
                "not tested: that takes a fresh check, and an address outside",
            );
        }
    };
    lines.add("hairpin", Verdict::Pass, text, None);
}

pub(super) fn ipv6(f: &Facts<'_>, lines: &mut Lines) {
    let text = match f.reach.ipv6.as_str() {
        "off" => "off (ipv6 = off)",
        "confirmed" => "reachable from everywhere",
        "global" => "this machine has a global address",
        "local" => "only local addresses",
        "" => return lines.untested("ipv6", "not tested"),
        _ => "this machine has none",
    };
    lines.add("ipv6", Verdict::Pass, text, None);
}

pub(super) fn relays(f: &Facts<'_>, lines: &mut Lines) {
    let r = f.reach;
    let name = |n: &str, id: &str| {
        if n.is_empty() {
            id.chars().take(12).collect()
        } else {
            n.to_owned()
        }
    };
    let held: Vec<String> = r
        .relays
        .iter()
        .filter(|h| h.state == "reserved")
        .map(|h| {
            let far = h
                .rtt_us
                .map_or_else(String::new, |us| format!(" {}.{} ms", us / 1000, us % 1000 / 100));
            format!("{}{far}", name(&h.name, &h.node))
        })
        .collect();
    let trouble = r
        .relays
        .iter()
        .find(|h| h.state != "reserved" && !h.detail.is_empty())
        .map_or_else(String::new, |h| {
            format!("; {}: {}", name(&h.name, &h.node), h.detail)
        });
    let known = r.known_relays.len() + r.relays.len();
    let more = "start one on a machine with a public address: hivenode up --role relay TICKET";
    match (r.state.as_str(), held.len()) {
        ("public", _) if f.config.direct => lines.add(
            "relays",
            Verdict::Pass,
            format!("not needed; {known} known"),
            None,
        ),
        (_, n) if n >= WANTED_RELAYS => lines.add("relays", Verdict::Pass, held.join(", "), None),
        (_, 1..) => lines.add(
            "relays",
            Verdict::Warn,
            format!("only {} of {known} known{trouble}", held.join(", ")),
            Some(more),
        ),
        ("private", _) if known == 0 => lines.add(
            "relays",
            Verdict::Fail,
            "none known: nodes behind other routers may not reach this one",
            Some(more),
        ),
        ("private", _) => lines.add(
            "relays",
            Verdict::Fail,
            format!("none of {known} known takes this node{trouble}"),
            Some(more),
        ),
        _ => lines.add(
            "relays",
            Verdict::Pass,
            format!("none held yet, {known} known{trouble}"),
            None,
        ),
    }
}
