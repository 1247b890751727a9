//! What kind of network this node stands in, from what its own addresses went through.

use crate::{
    addr::{Carrier, Scope},
    config::{GONE_LIFE, TOGETHER, UNCONFIRMED},
    own::Own,
    report::{Filtering, Mapping, Reachability},
};
use hive_protocol::{ids::NodeId, time::Timestamp};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

/// From so many observers on the majority says how the router translates.
const MAJORITY_OF: usize = 3;

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

/// How an observer sees this node: at an address of its own, or at one that a router has given it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    Untouched,
    Outside(IpAddr, u16),
}

/// What one observer said.
struct View {
    from: IpAddr,
    ip: IpAddr,
    place: Place,
    at: Timestamp,
    /// Whether the observer is connected over this carrier now.
    current: bool,
}

/// What the router between this node and the others does to addresses, over one carrier. Compares only what is seen of
/// now: providers give new addresses, and an observer that is gone cannot take back what it has said.
pub(crate) fn mapping(
    own: &Own,
    carrier: Carrier,
    now: Timestamp,
    connected: impl Fn(&NodeId) -> bool,
) -> Mapping {
    let mut views = views(own, carrier, connected);
    let newest = views.iter().map(|v| v.at).max().unwrap_or_default();
    // Numbers seen about when the newest was: a router that gives out several does so all the time.
    let together: BTreeSet<IpAddr> = views
        .iter()
        .filter(|v| v.at + TOGETHER >= newest)
        .map(|v| v.ip)
        .collect();
    let current: BTreeSet<IpAddr> = views.iter().filter(|v| v.current).map(|v| v.ip).collect();
    views.retain(|v| {
        let held = current.is_empty() || current.contains(&v.ip);
        together.contains(&v.ip) && (v.current || held && now < v.at + GONE_LIFE)
    });
    verdict(&views)
}

/// From connections this node has made, what observers said of it.
fn views(own: &Own, carrier: Carrier, connected: impl Fn(&NodeId) -> bool) -> Vec<View> {
    let mut views = Vec::new();
    for (_, row) in own.iter() {
        let Some(ip) = row.direct.ip.filter(IpAddr::is_ipv4) else {
            continue;
        };
        if row.direct.carrier != carrier {
            continue;
        }
        let place = match own.on_interface(&row.direct) {
            true if row.direct.scope() == Scope::Global => Place::Untouched,
            // Of the same site: says nothing about the way out.
            true => continue,
            false => Place::Outside(ip, row.direct.port),
        };
        for (node, seen) in row.seen.iter().filter(|(_, s)| !s.visitor) {
            if let Some(from) = seen.from {
                views.push(View {
                    from,
                    ip,
                    place,
                    at: seen.at,
                    current: connected(node),
                });
            }
        }
    }
    views
}

/// What follows from views that count.
fn verdict(views: &[View]) -> Mapping {
    let mut by: BTreeMap<IpAddr, BTreeSet<Place>> = BTreeMap::new();
    for view in views {
        by.entry(view.from).or_default().insert(view.place);
    }
    if by.len() >= MAJORITY_OF {
        // One that lies, or is mistaken, decides nothing. Behind a symmetric router each sees another place.
        let mut votes: BTreeMap<Place, usize> = BTreeMap::new();
        for places in by.values().filter(|places| places.len() == 1) {
            for place in places {
                *votes.entry(*place).or_default() += 1;
            }
        }
        match votes.iter().find(|(_, n)| **n > by.len() / 2) {
            Some((Place::Untouched, _)) => return Mapping::None,
            Some(_) => return Mapping::EndpointIndependent,
            None => {}
        }
    }
    let outside = || views.iter().filter(|v| v.place != Place::Untouched);
    let observers: BTreeSet<IpAddr> = outside().map(|v| v.from).collect();
    let places: BTreeSet<Place> = outside().map(|v| v.place).collect();
    match (observers.len(), places.len()) {
        (0, _) if !views.is_empty() => Mapping::None,
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
