//! What the matrix runs: every pair of kinds, and networks that are not a pair of kinds.

use super::Plan;
use crate::kind::NatKind;

/// A laboratory with the hosts `relay`, `other`, `a` and `b`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Case {
    /// Its name in tables.
    pub name: String,
    /// Its description.
    pub text: String,
    /// The kinds on both sides, if that is all there is to it.
    pub kinds: Option<(NatKind, NatKind)>,
}

impl Case {
    /// One host behind each of two routers.
    #[must_use]
    pub fn pair(a: NatKind, b: NatKind) -> Self {
        Self {
            name: format!("{a} × {b}"),
            text: Plan::pair_text(a, b),
            kinds: Some((a, b)),
        }
    }

    /// Its plan.
    #[must_use]
    pub fn plan(&self) -> Plan {
        // The texts are constants, which a test reads.
        self.text.parse().unwrap_or_default()
    }

    /// Every pair of kinds once.
    #[must_use]
    pub fn pairs() -> Vec<Self> {
        let all = NatKind::ALL;
        let from = |n: usize| all.into_iter().skip(n);
        (0..all.len())
            .flat_map(|n| {
                from(n)
                    .take(1)
                    .flat_map(move |a| from(n).map(move |b| Self::pair(a, b)))
            })
            .collect()
    }
}

/// Networks that are not a pair of kinds, each with what it shows.
const SPECIAL: [(&str, &str); 13] = [
    (
        "same LAN",
        "router home port-restricted wan lan 192.168.1.0/24
         host a lan
         host b lan",
    ),
    (
        "double NAT × port-restricted",
        "router ispa full-cone wan mida 100.64.0.0/24
         router ra port-restricted mida lana 192.168.1.0/24
         host a lana
         router rb port-restricted wan lanb 192.168.2.0/24
         host b lanb",
    ),
    (
        "double NAT × double NAT",
        "router ispa port-restricted wan mida 100.64.0.0/24
         router ra port-restricted mida lana 192.168.1.0/24
         host a lana
         router ispb address-restricted wan midb 100.65.0.0/24
         router rb port-restricted midb lanb 192.168.2.0/24
         host b lanb",
    ),
    (
        "symmetric carrier × full-cone",
        "router ispa symmetric wan mida 100.64.0.0/24
         router ra full-cone mida lana 192.168.1.0/24
         host a lana
         router rb full-cone wan lanb 192.168.2.0/24
         host b lanb",
    ),
    (
        "one carrier with hairpin",
        "router isp full-cone wan mid 100.64.0.0/24 hairpin
         router ra port-restricted mid lana 192.168.1.0/24
         host a lana
         router rb port-restricted mid lanb 192.168.2.0/24
         host b lanb",
    ),
    (
        "one strict carrier with hairpin",
        "router isp port-restricted wan mid 100.64.0.0/24 hairpin
         router ra port-restricted mid lana 192.168.1.0/24
         host a lana
         router rb address-restricted mid lanb 192.168.2.0/24
         host b lanb",
    ),
    (
        "one carrier without hairpin",
        "router isp full-cone wan mid 100.64.0.0/24
         router ra port-restricted mid lana 192.168.1.0/24
         host a lana
         router rb port-restricted mid lanb 192.168.2.0/24
         host b lanb",
    ),
    (
        "IPv6 only, firewalls",
        "router ra port-restricted wan lana 2001:db8:a::/64
         host a lana
         router rb port-restricted wan lanb 2001:db8:b::/64
         host b lanb",
    ),
    (
        "dual stack, symmetric IPv4",
        "router ra symmetric wan lana 10.1.0.0/24 2001:db8:a::/64
         host a lana
         router rb symmetric wan lanb 10.2.0.0/24 2001:db8:b::/64
         host b lanb",
    ),
    (
        "dual stack × IPv4 only",
        "router ra port-restricted wan lana 10.1.0.0/24 2001:db8:a::/64
         host a lana
         router rb port-restricted wan lanb 10.2.0.0/24
         host b lanb",
    ),
    (
        "IPv6 only × IPv4 only",
        "router ra port-restricted wan lana 2001:db8:a::/64
         host a lana
         router rb port-restricted wan lanb 10.2.0.0/24
         host b lanb",
    ),
    (
        "port-restricted × port-restricted, 60 ms, 1 % lost",
        "router ra port-restricted wan lana 10.1.0.0/24 delay=15ms loss=0.5%
         host a lana
         router rb port-restricted wan lanb 10.2.0.0/24 delay=15ms loss=0.5%
         host b lanb",
    ),
    (
        "symmetric × symmetric, 80 ms",
        "router ra symmetric wan lana 10.1.0.0/24 delay=20ms
         host a lana
         router rb symmetric wan lanb 10.2.0.0/24 delay=20ms
         host b lanb",
    ),
];

/// Networks that are not a pair of kinds: the same LAN, NATs in a row, carriers, IPv6, slow ones.
#[must_use]
pub fn special() -> Vec<Case> {
    let case = |(name, text): &(&str, &str)| Case {
        name: (*name).to_owned(),
        text: format!("net wan 203.0.113.0/24 2001:db8::/64\nhost relay wan\nhost other wan\n{text}"),
        kinds: None,
    };
    SPECIAL.iter().map(case).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn every_case_is_a_laboratory_with_two_hosts_to_connect() {
        let pairs = Case::pairs();
        assert_eq!(pairs.len(), 28);
        for case in pairs.into_iter().chain(special()) {
            let plan: Plan = case.text.parse().unwrap();
            for host in ["relay", "other", "a", "b"] {
                assert!(plan.host(host).is_some(), "{}", case.name);
            }
            assert_eq!(case.plan(), plan);
        }
    }
}
