//! What people are shown of how this node is reached.

use super::{Reach, lock};
use crate::port::{AddrRow, MappingRow, ObservedRow, ReachView, RelayHeld, RelayKnown};
use hive_net::NetFacts;
use hive_protocol::{ids::NodeId, time::Timestamp};
use hive_reach::{
    AddressRow, CandidateRow, Filtering, Mapping, Passage, Reachability, Report, Scope, SlotState, parse,
};

/// Relays shown that are not used.
const SHOWN_RELAYS: usize = 16;

impl Reach {
    /// Everything known now; `name` knows what nodes are called.
    #[must_use]
    pub fn view(&self, name: impl Fn(&NodeId) -> String) -> ReachView {
        let report = self.report();
        let (facts, config) = (self.0.net.facts(), &self.0.config);
        let found = lock(&self.0.found);
        let (clock_skew_ms, clock_peers) = found.skew();
        let detail = |addr: &str| found.details.get(addr).cloned().unwrap_or_default();
        ReachView {
            state: state(&report).to_owned(),
            mapping: report.mapping.name().to_owned(),
            filtering: filtering(&report).to_owned(),
            udp: passes(report.udp),
            tcp: passes(report.tcp),
            hairpin: found.hairpin,
            ipv6: ipv6(config.ipv6, &report.addresses, &report.listen, facts.ipv6).to_owned(),
            listen: report.listen.clone(),
            observed: report.seen.iter().map(observed).collect(),
            tested: report
                .addresses
                .iter()
                .map(|row| tested(row, &detail(&row.addr)))
                .collect(),
            published: report.published.iter().map(|p| p.addr.clone()).collect(),
            mapper: mapper(config.upnp, &facts).to_owned(),
            mappings: mappings(&report, &facts),
            relays: report.relays.iter().filter_map(|row| held(row, &name)).collect(),
            known_relays: report
                .relays
                .iter()
                .filter(|row| row.slot.is_none())
                .take(SHOWN_RELAYS)
                .map(|row| known(row, &name))
                .collect(),
            dht_server: report.kad_server,
            clock_skew_ms,
            clock_peers,
            mtu: found.mtu,
            large: found.large,
            tested_at: report.tested_at.unwrap_or_default().0,
        }
    }
}

/// How far over IPv6 this node is reached, from its tested addresses, what it listens on, and whether that is global.
fn ipv6(allowed: bool, addresses: &[AddressRow], listen: &[String], global: bool) -> &'static str {
    let six = |text: &str| parse(text).and_then(|d| d.ip).is_some_and(|ip| ip.is_ipv6());
    let outside = |a: &AddressRow| a.confirmed.is_some() && a.scope == Scope::Global;
    if !allowed {
        "off"
    } else if addresses.iter().any(|a| outside(a) && six(&a.addr)) {
        "confirmed"
    } else if global {
        "global"
    } else if listen.iter().any(|a| six(a) && !a.contains("/::1/")) {
        "local"
    } else {
        "none"
    }
}

/// How it stands with ports that routers open.
fn mapper(allowed: bool, facts: &NetFacts) -> &'static str {
    if !allowed {
        "off"
    } else if !facts.mappings.is_empty() {
        "mapped"
    } else if facts.mapping_refused {
        "failed"
    } else if facts.mapping_error.is_some() {
        "none"
    } else if !facts.mappable {
        "needless"
    } else {
        "searching"
    }
}

fn state(report: &Report) -> &'static str {
    match report.reachability {
        _ if !report.met => "alone",
        Reachability::Public => "public",
        Reachability::Private => "private",
        Reachability::Unknown => "unknown",
    }
}

fn filtering(report: &Report) -> &'static str {
    match report.filtering {
        Filtering::Open if report.mapping == Mapping::None => "none",
        other => other.name(),
    }
}

const fn passes(way: Passage) -> Option<bool> {
    match way {
        Passage::Open => Some(true),
        Passage::Blocked => Some(false),
        Passage::Unknown => None,
    }
}

fn observed(row: &hive_reach::SeenRow) -> ObservedRow {
    ObservedRow {
        addr: row.addr.clone(),
        observers: row.observers,
        last: row.last.0,
    }
}

fn tested(row: &AddressRow, detail: &str) -> AddrRow {
    let state = if row.confirmed.is_some() {
        "confirmed"
    } else if row.announced {
        "announced"
    } else if row.refused {
        "refused"
    } else {
        "testing"
    };
    let at = |t: Option<Timestamp>| t.unwrap_or_default().0;
    AddrRow {
        addr: row.addr.clone(),
        state: state.to_owned(),
        tested: at(row.tested),
        expires: at(row.expires),
        detail: match state {
            "refused" => detail.to_owned(),
            "testing" if row.known_only => {
                "reached by members this node has spoken to; a stranger has to come by to show more"
                    .to_owned()
            }
            _ if row.scope < Scope::Global => "reached within its site only".to_owned(),
            _ => String::new(),
        },
    }
}

fn mappings(report: &Report, facts: &NetFacts) -> Vec<MappingRow> {
    let standing = report.mapped.iter().map(|(addr, by, until)| MappingRow {
        protocol: by.name().to_lowercase(),
        external: addr.clone(),
        internal: String::new(),
        expires: until.0,
        detail: String::new(),
    });
    let failed = facts.mapping_error.iter().map(|why| MappingRow {
        detail: why.clone(),
        ..MappingRow::default()
    });
    standing.chain(failed).collect()
}

fn held(row: &CandidateRow, name: impl Fn(&NodeId) -> String) -> Option<RelayHeld> {
    let state = match row.slot? {
        SlotState::Asking => "asking",
        SlotState::Held => "reserved",
        SlotState::Lost => "lost",
    };
    Some(RelayHeld {
        node: row.node.to_string(),
        name: name(&row.node),
        state: state.to_owned(),
        addr: row.addrs.first().cloned().unwrap_or_default(),
        rtt_us: row.rtt_us,
        since: row.since.0,
        detail: row.detail.clone(),
    })
}

fn known(row: &CandidateRow, name: impl Fn(&NodeId) -> String) -> RelayKnown {
    RelayKnown {
        node: row.node.to_string(),
        name: name(&row.node),
        rtt_us: row.rtt_us,
        load: row
            .load_milli
            .map(|m| u8::try_from(m / 10).unwrap_or(100).min(100)),
        source: row.source.to_owned(),
        detail: row.detail.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn confirmed(addr: &str, scope: Scope) -> AddressRow {
        AddressRow {
            addr: addr.to_owned(),
            scope,
            announced: false,
            confirmed: Some(Timestamp(1)),
            expires: None,
            tested: None,
            refused: false,
            known_only: false,
        }
    }

    #[test]
    fn an_address_of_the_own_site_is_not_reached_from_everywhere() {
        let site = confirmed("/ip6/fd00::2/udp/1/quic-v1", Scope::Private);
        let wide = confirmed("/ip6/2001:db8::2/udp/1/quic-v1", Scope::Global);
        let four = confirmed("/ip4/203.0.113.1/udp/1/quic-v1", Scope::Global);
        let listen = [site.addr.clone()];
        assert_eq!(ipv6(true, &[site.clone(), four.clone()], &listen, false), "local");
        assert_eq!(ipv6(true, std::slice::from_ref(&site), &listen, true), "global");
        assert_eq!(ipv6(true, &[site.clone(), wide], &listen, true), "confirmed");
        assert_eq!(ipv6(true, &[four], &["/ip6/::1/tcp/1".to_owned()], false), "none");
        assert_eq!(ipv6(false, &[site], &listen, true), "off");
    }

    #[test]
    fn a_router_is_looked_for_only_where_one_may_stand() {
        let mut facts = NetFacts::default();
        assert_eq!(mapper(true, &facts), "needless");
        facts.mappable = true;
        assert_eq!(mapper(true, &facts), "searching");
        facts.mapping_error = Some("no answer".to_owned());
        assert_eq!(mapper(true, &facts), "none");
        facts.mapping_refused = true;
        assert_eq!(mapper(true, &facts), "failed");
        assert_eq!(mapper(false, &facts), "off");
    }
}
