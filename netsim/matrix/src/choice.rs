//! Which combinations of networks and transports are run.

use crate::error::MatrixError;
use hive_natlab::{Case, NatKind, Transports, Way, between, possible, special};
use std::str::FromStr;

/// A case over some transports, and what theory says about it.
#[derive(Debug, Clone)]
pub struct Combination {
    /// The networks.
    pub case: Case,
    /// What the nodes may speak.
    pub transports: Transports,
    /// What theory allows.
    pub expected: Way,
}

impl Combination {
    pub(crate) fn of(case: Case, transports: Transports) -> Option<Self> {
        let plan = case.plan();
        possible(&plan, ["a", "b"], transports).then(|| Self {
            expected: between(&plan, "a", "b", transports),
            case,
            transports,
        })
    }

    /// Its name, for people and logs.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{} ({})", self.case.name, self.transports)
    }

    /// Its name as a folder.
    #[must_use]
    pub fn slug(&self) -> String {
        let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
        let name: String = self.name().to_lowercase().chars().map(plain).collect();
        let parts: Vec<&str> = name.split('-').filter(|p| !p.is_empty()).collect();
        parts.join("-")
    }
}

/// A choice of combinations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice {
    /// Every pair of kinds over QUIC and TCP, with UDP blocked over both together, and every special network.
    All,
    /// Twelve pairs that show every kind and every way to connect, in two minutes.
    Short,
    /// Pairs of kinds only.
    Pairs,
    /// Special networks only.
    Special,
}

/// What [`Choice::Short`] runs: kinds and the transport.
const SHORT: [(NatKind, NatKind, Transports); 8] = [
    (NatKind::Open, NatKind::PortRestricted, Transports::Quic),
    (NatKind::FullCone, NatKind::Symmetric, Transports::Quic),
    (NatKind::AddressRestricted, NatKind::Symmetric, Transports::Tcp),
    (NatKind::PortRestricted, NatKind::PortRestricted, Transports::Quic),
    (NatKind::PortRestricted, NatKind::PortRestricted, Transports::Tcp),
    (NatKind::PortRestricted, NatKind::Symmetric, Transports::Quic),
    (NatKind::Symmetric, NatKind::Symmetric, Transports::Both),
    (NatKind::PortRestricted, NatKind::UdpBlocked, Transports::Both),
];
/// Special networks of [`Choice::Short`].
const SHORT_SPECIAL: [&str; 4] = [
    "symmetric × symmetric, 80 ms",
    "one carrier with hairpin",
    "IPv6 only, firewalls",
    "double NAT × port-restricted",
];

impl FromStr for Choice {
    type Err = String;
    fn from_str(s: &str) -> Result<Self, String> {
        match s {
            "all" => Ok(Self::All),
            "short" => Ok(Self::Short),
            "pairs" => Ok(Self::Pairs),
            "special" => Ok(Self::Special),
            _ => Err(format!("`{s}`: there are all, short, pairs, special")),
        }
    }
}

impl Choice {
    /// The combinations; of those only the ones whose name contains `only`, when given.
    ///
    /// # Errors
    /// When nothing is left.
    pub fn combinations(self, only: Option<&str>) -> Result<Vec<Combination>, MatrixError> {
        let pairs = || Case::pairs().into_iter().flat_map(pair);
        let specials = || special().into_iter().flat_map(each);
        let mut all: Vec<Combination> = match self {
            Self::All => pairs().chain(specials()).collect(),
            Self::Pairs => pairs().collect(),
            Self::Special => specials().collect(),
            Self::Short => {
                let kinds = SHORT
                    .into_iter()
                    .filter_map(|(a, b, t)| Combination::of(Case::pair(a, b), t));
                let networks = special()
                    .into_iter()
                    .filter(|c| SHORT_SPECIAL.contains(&c.name.as_str()))
                    .filter_map(|c| Combination::of(c, Transports::Quic));
                kinds.chain(networks).collect()
            }
        };
        if let Some(only) = only {
            all.retain(|c| c.name().contains(only));
        }
        if all.is_empty() {
            return Err(MatrixError::Choice(format!(
                "no combination is called `{}`",
                only.unwrap_or_default()
            )));
        }
        Ok(all)
    }
}

/// A pair over QUIC and TCP; where UDP is blocked, QUIC is not possible and both together are what a user has.
fn pair(case: Case) -> Vec<Combination> {
    let quic = Combination::of(case.clone(), Transports::Quic);
    let quic = quic.or_else(|| Combination::of(case.clone(), Transports::Both));
    quic.into_iter()
        .chain(Combination::of(case, Transports::Tcp))
        .collect()
}

fn each(case: Case) -> Vec<Combination> {
    [Transports::Quic, Transports::Tcp]
        .into_iter()
        .filter_map(|t| Combination::of(case.clone(), t))
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn choices_are_as_large_as_promised() {
        let all = Choice::All.combinations(None).unwrap();
        // 28 pairs and 13 networks, each over two transports.
        assert_eq!(all.len(), 82);
        let names: BTreeSet<_> = all.iter().map(Combination::slug).collect();
        assert_eq!(names.len(), all.len());
        let short = Choice::Short.combinations(None).unwrap();
        assert_eq!(
            short.len(),
            SHORT.len() + SHORT_SPECIAL.len(),
            "every name is one that there is"
        );
        assert!(short.len() >= 10);
        assert!(short.iter().any(|c| c.expected == Way::Relay));
        let some = Choice::All.combinations(Some("hairpin")).unwrap();
        assert_eq!(some.len(), 6);
        assert!(Choice::Short.combinations(Some("nothing")).is_err());
    }

    #[test]
    fn where_udp_is_blocked_nobody_is_asked_to_speak_quic_only() {
        for c in Choice::Pairs.combinations(None).unwrap() {
            let (a, b) = c.case.kinds.unwrap();
            let blocked = [a, b].contains(&NatKind::UdpBlocked);
            assert!(!(blocked && c.transports == Transports::Quic), "{}", c.name());
        }
    }
}
