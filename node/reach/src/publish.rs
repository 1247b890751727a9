//! Which addresses are told to others, and in which order.

use crate::{
    addr::{self, Carrier, Scope},
    config::MAX_PUBLISHED,
    effect::{Published, PublishedKind},
    own::Own,
};
use hive_protocol::{ids::NodeId, time::Timestamp};
use std::collections::BTreeSet;

/// Places kept for circuits when there are any: two for each of two relays.
const CIRCUIT_PLACES: usize = 4;

/// What is told now. `held` are the relays with the addresses through them.
pub(crate) fn list<'a>(
    own: &Own,
    now: Timestamp,
    direct: bool,
    held: impl Iterator<Item = (NodeId, &'a [String])>,
) -> Vec<Published> {
    let circuits = circuits(held);
    let mut told = if direct { straight(own, now) } else { Vec::new() };
    told.truncate(MAX_PUBLISHED - circuits.len().min(CIRCUIT_PLACES));
    told.extend(circuits);
    told.truncate(MAX_PUBLISHED);
    told
}

/// The addresses without a relay, most useful first.
fn straight(own: &Own, now: Timestamp) -> Vec<Published> {
    let mut found = Vec::new();
    for (text, row) in own.iter() {
        let kind = if row.announced {
            PublishedKind::Announced
        } else if own.confirmed(now, row).is_some() {
            PublishedKind::Confirmed
        } else if row.mapped.is_some() && row.direct.scope() == Scope::Global && !row.refuted() {
            PublishedKind::Mapped
        } else if row.listening.is_some() {
            PublishedKind::Local
        } else {
            continue;
        };
        // A local address that is only for this machine or wire says nothing to others, unless there is no other.
        let scope = row.direct.scope();
        let near = scope <= Scope::Link;
        let key = (
            near,
            kind,
            std::cmp::Reverse(scope),
            row.direct.carrier != Carrier::Quic,
        );
        found.push((key, text));
    }
    found.sort_unstable();
    if found.iter().any(|((near, ..), _)| !near) {
        found.retain(|((near, ..), _)| !near);
    }
    found
        .into_iter()
        .map(|((_, kind, ..), text)| Published {
            addr: text.to_owned(),
            kind,
            relay: None,
        })
        .collect()
}

/// The ways through relays: the first of each, then the second of each, and so on.
fn circuits<'a>(held: impl Iterator<Item = (NodeId, &'a [String])>) -> Vec<Published> {
    let mut found = Vec::new();
    for (order, (relay, addrs)) in held.enumerate() {
        let mut of_one: Vec<_> = addrs
            .iter()
            .filter_map(|text| {
                let hop = addr::parse(text.split("/p2p/").next()?)?;
                let far = hop.scope();
                Some((
                    far <= Scope::Link,
                    std::cmp::Reverse(far),
                    hop.carrier != Carrier::Quic,
                    text,
                ))
            })
            .collect();
        of_one.sort_unstable();
        // The relay's own loopback helps only where it has nothing else.
        if of_one.iter().any(|(near, ..)| !near) {
            of_one.retain(|(near, ..)| !near);
        }
        let mut hops = BTreeSet::new();
        of_one.retain(|(.., text)| hops.insert((*text).clone()));
        found.extend(
            of_one
                .into_iter()
                .enumerate()
                .map(|(rank, (.., text))| (rank, order, relay, text)),
        );
    }
    found.sort_unstable_by_key(|(rank, order, ..)| (*rank, *order));
    found
        .into_iter()
        .take(MAX_PUBLISHED)
        .map(|(.., relay, text)| Published {
            addr: text.clone(),
            kind: PublishedKind::Circuit,
            relay: Some(relay),
        })
        .collect()
}
