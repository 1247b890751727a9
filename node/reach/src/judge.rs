//! What kind of network this node stands in, from what its own addresses went through.

use crate::{
    addr::{Carrier, Scope},
    config::UNCONFIRMED,
    own::Own,
    report::{Filtering, Mapping, Reachability},
};
use hive_protocol::time::Timestamp;
use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

/// Whether those that have only IPv4 can reach this node.
pub(crate) fn public_v4(own: &Own, now: Timestamp) -> bool {
    own.iter().any(|(_, row)| {
        row.direct.scope() == Scope::Global
            && row.direct.ip.is_none_or(|ip| ip.is_ipv4())
            && (row.announced || own.confirmed(now, row).is_some())
    })
}

/// Whether anybody can reach this node.
pub(crate) fn reachability(own: &Own, now: Timestamp) -> Reachability {
    let mut refuted = false;
    for (_, row) in own.iter() {
        let global = row.direct.scope() == Scope::Global;
        if row.announced || (global && own.confirmed(now, row).is_some()) {
            return Reachability::Public;
        }
        let silent = row.listening.is_some_and(|since| now >= since + UNCONFIRMED);
        refuted |= global && (row.refuted() || silent && own.on_interface(&row.direct));
    }
    if own.translated() || refuted || !own.listens() {
        Reachability::Private
    } else {
        Reachability::Unknown
    }
}

/// What the router between this node and the others does to addresses, over one carrier.
pub(crate) fn mapping(own: &Own, carrier: Carrier) -> Mapping {
    // Observer's address → where it sees this node, from connections this node has made.
    let mut outside: BTreeMap<IpAddr, BTreeSet<(IpAddr, u16)>> = BTreeMap::new();
    let mut untouched = false;
    for (_, row) in own.iter() {
        let Some(ip) = row.direct.ip else { continue };
        if row.direct.carrier != carrier || !ip.is_ipv4() {
            continue;
        }
        if own.on_interface(&row.direct) {
            untouched |= !row.seen.is_empty() && row.direct.scope() == Scope::Global;
            continue;
        }
        for seen in row.seen.values().filter(|s| !s.visitor) {
            if let Some(from) = seen.from {
                outside.entry(from).or_default().insert((ip, row.direct.port));
            }
        }
    }
    let places: BTreeSet<_> = outside.values().flatten().collect();
    match (outside.len(), places.len()) {
        (0, _) if untouched => Mapping::None,
        (0, _) => Mapping::Unknown,
        (_, places) if places > 1 => Mapping::EndpointDependent,
        (1, _) => Mapping::OneObserver,
        _ => Mapping::EndpointIndependent,
    }
}

/// Whose packets come in, from the tests.
pub(crate) fn filtering(own: &Own, now: Timestamp) -> Filtering {
    let tests = || {
        own.iter()
            .filter(|(_, r)| r.direct.scope() >= Scope::Carrier)
            .flat_map(|(_, r)| r.tests.values())
    };
    if own.strangers_come(now) || tests().any(|t| t.reachable && t.stranger) {
        Filtering::Open
    } else if tests().any(|t| t.reachable) {
        Filtering::Address
    } else if tests().next().is_some() {
        Filtering::Closed
    } else {
        Filtering::Unknown
    }
}

/// Whether this node's numbers and ports reach others as they are at its own site, nothing in between known.
pub(crate) fn flat(own: &Own) -> bool {
    !own.translated()
        && own.iter().any(|(_, r)| {
            !r.seen.is_empty() && r.direct.scope() < Scope::Global && own.on_interface(&r.direct)
        })
}
