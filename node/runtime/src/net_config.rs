//! How this node reaches others and is reached: what its owner allows. Knows no addresses of others and no network.

use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Over what connections go.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Transports {
    /// QUIC first, TCP beside it.
    #[default]
    Both,
    /// QUIC over UDP only.
    Quic,
    /// TCP only.
    Tcp,
}

impl Transports {
    /// Whether QUIC is used.
    #[must_use]
    pub const fn quic(self) -> bool {
        !matches!(self, Self::Tcp)
    }
    /// Whether TCP is used.
    #[must_use]
    pub const fn tcp(self) -> bool {
        !matches!(self, Self::Quic)
    }
    /// Its name in the settings.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Both => "both",
            Self::Quic => "quic",
            Self::Tcp => "tcp",
        }
    }
}

/// Whether this node relays for others.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RelayMode {
    /// Once it was found to be reachable from everywhere.
    #[default]
    Auto,
    /// Always.
    On,
    /// Never.
    Off,
}

impl RelayMode {
    /// Its name in the settings.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::On => "on",
            Self::Off => "off",
        }
    }
}

/// What a limit counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Things.
    Count,
    /// Milliseconds.
    Millis,
    /// Bytes; 0 is no limit.
    Bytes,
    /// Bytes a second; 0 is no limit.
    Rate,
}

macro_rules! limits {
    ($($(#[doc = $doc:literal])* $unit:ident $name:ident;)*) => {
        /// How much a relay gives. Sizes in bytes, rates in bytes a second, both ways together, lives in milliseconds.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub struct RelayLimits {
            $($(#[doc = $doc])* pub $name: u64,)*
        }

        /// What the owner has set of a relay's limits. The rest follows from why the node relays: [`RelayLimits::given`].
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub struct OwnLimits {
            $($(#[doc = $doc])* pub $name: Option<u64>,)*
        }

        impl OwnLimits {
            /// Sets a limit; false when there is none of that name.
            pub fn set(&mut self, name: &str, value: u64) -> bool {
                match name {
                    $(stringify!($name) => self.$name = Some(value),)*
                    _ => return false,
                }
                true
            }

            /// The names of those that are set.
            #[must_use]
            pub fn names(&self) -> Vec<&'static str> {
                let all = [$((stringify!($name), self.$name.is_some())),*];
                all.into_iter().filter(|(_, set)| *set).map(|(name, _)| name).collect()
            }
        }

        impl RelayLimits {
            /// What a node gives: what its owner has set, and of the rest without bounds only where the owner has made
            /// it a relay. A node that relays because it happens to be reachable does so within bounds for a home line.
            #[must_use]
            pub fn given(mode: RelayMode, own: &OwnLimits) -> Self {
                let rest = match mode {
                    RelayMode::Auto => Self::from(hive_net::RelayLimits::home()),
                    // One that is told to stop lets what runs go on as it was.
                    RelayMode::On | RelayMode::Off => Self::default(),
                };
                Self {
                    $($name: own.$name.unwrap_or(rest.$name),)*
                }
            }

            /// Every limit: name, unit, what it says.
            pub const ALL: &'static [(&'static str, Unit, &'static str)] =
                &[$((stringify!($name), Unit::$unit, concat!($($doc),*).trim_ascii())),*];

            /// A limit by its name.
            #[must_use]
            pub fn get(&self, name: &str) -> Option<u64> {
                match name {
                    $(stringify!($name) => Some(self.$name),)*
                    _ => None,
                }
            }

            /// Whether 0 of it would be nothing at all rather than no limit.
            #[must_use]
            pub fn counts(name: &str) -> bool {
                let of = |row: &&(&str, Unit, &str)| row.0 == name;
                let unit = Self::ALL.iter().find(of).map(|row| row.1);
                matches!(unit, Some(Unit::Count | Unit::Millis))
            }

            /// Changes a limit; false when there is none of that name.
            pub fn set(&mut self, name: &str, value: u64) -> bool {
                match name {
                    $(stringify!($name) => self.$name = value,)*
                    _ => return false,
                }
                true
            }
        }
    };
}

limits! {
    /// nodes that may be reachable through this relay at a time
    Count reservations;
    /// the same for one address block (a /24 of IPv4, a /48 of IPv6)
    Count reservations_per_block;
    /// circuits at a time
    Count circuits;
    /// circuits at a time that one node has opened; as many lead to one node, of which a caller that has two takes an eighth of the free ones at most
    Count circuits_per_peer;
    /// circuits at a time that nodes of one address block have opened
    Count circuits_per_block;
    /// how long a circuit lasts at most
    Millis circuit_life;
    /// bytes each way of one circuit
    Bytes circuit_bytes;
    /// bytes a second of one circuit
    Rate circuit_rate;
    /// bytes a second of one node's circuits
    Rate peer_rate;
    /// bytes a second of one address block
    Rate block_rate;
    /// bytes a second of all circuits
    Rate total_rate;
    /// bytes a day of the circuits one node has opened
    Bytes peer_day;
    /// bytes a day of the circuits one address block has opened
    Bytes block_day;
    /// bytes a day of all circuits
    Bytes total_day;
    /// requests for a reservation or a circuit a minute of one node
    Count requests_per_minute;
}

impl Default for RelayLimits {
    fn default() -> Self {
        Self::from(hive_net::RelayLimits::default())
    }
}

fn wide(n: usize) -> u64 {
    u64::try_from(n).unwrap_or(u64::MAX)
}

fn narrow(n: u64) -> usize {
    usize::try_from(n).unwrap_or(usize::MAX)
}

impl From<hive_net::RelayLimits> for RelayLimits {
    fn from(l: hive_net::RelayLimits) -> Self {
        Self {
            reservations: wide(l.reservations),
            reservations_per_block: wide(l.reservations_per_block),
            circuits: wide(l.circuits),
            circuits_per_peer: wide(l.circuits_per_peer),
            circuits_per_block: wide(l.circuits_per_block),
            circuit_life: u64::try_from(l.circuit_life.as_millis()).unwrap_or(u64::MAX),
            circuit_bytes: l.circuit_bytes,
            circuit_rate: l.circuit_rate,
            peer_rate: l.peer_rate,
            block_rate: l.block_rate,
            total_rate: l.total_rate,
            peer_day: l.peer_day,
            block_day: l.block_day,
            total_day: l.total_day,
            requests_per_minute: l.requests_per_minute.into(),
        }
    }
}

impl From<RelayLimits> for hive_net::RelayLimits {
    fn from(l: RelayLimits) -> Self {
        Self {
            reservations: narrow(l.reservations),
            reservations_per_block: narrow(l.reservations_per_block),
            circuits: narrow(l.circuits),
            circuits_per_peer: narrow(l.circuits_per_peer),
            circuits_per_block: narrow(l.circuits_per_block),
            circuit_life: Duration::from_millis(l.circuit_life),
            circuit_bytes: l.circuit_bytes,
            circuit_rate: l.circuit_rate,
            peer_rate: l.peer_rate,
            block_rate: l.block_rate,
            total_rate: l.total_rate,
            peer_day: l.peer_day,
            block_day: l.block_day,
            total_day: l.total_day,
            requests_per_minute: u32::try_from(l.requests_per_minute).unwrap_or(u32::MAX),
            ..Self::default()
        }
    }
}

/// Relaying for others.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RelayConfig {
    /// Whether.
    pub mode: RelayMode,
    /// How much, where the owner has said.
    pub limits: OwnLimits,
}

/// With fewer connections a node could not keep its authorities, its relays and a few others, and serve anybody.
pub const MIN_CONNECTIONS: u32 = 16;

/// How this node reaches others and is reached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NetConfig {
    /// Over what connections go.
    pub transports: Transports,
    /// Whether IPv6 is used.
    pub ipv6: bool,
    /// Whether a port mapping is asked of the router (UPnP, NAT-PMP, PCP).
    pub upnp: bool,
    /// Whether connections go straight to other nodes. Without it only authorities and relays are reached directly,
    /// everybody else through relays.
    pub direct: bool,
    /// Most connections at a time, at least [`MIN_CONNECTIONS`]; as many as suit the role when it is not set.
    pub connections: Option<u32>,
    /// Multiaddresses the owner knows to be reachable from everywhere; told to others without a test.
    pub announce: Vec<String>,
    /// Relaying for others.
    pub relay: RelayConfig,
}

impl Default for NetConfig {
    fn default() -> Self {
        Self {
            transports: Transports::default(),
            ipv6: true,
            upnp: true,
            direct: true,
            connections: None,
            announce: Vec::new(),
            relay: RelayConfig::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_the_same_on_both_sides() {
        let ours = RelayLimits {
            reservations: 3,
            total_rate: 7,
            circuit_life: 1500,
            ..RelayLimits::default()
        };
        assert_eq!(RelayLimits::from(hive_net::RelayLimits::from(ours)), ours);
        let theirs = hive_net::RelayLimits::default();
        assert_eq!(hive_net::RelayLimits::from(RelayLimits::from(theirs)), theirs);
        let mut changed = ours;
        for (name, _, about) in RelayLimits::ALL {
            assert!(!about.is_empty() && changed.set(name, 5) && changed.get(name) == Some(5));
        }
        assert!(!changed.set("nothing", 1) && changed.get("nothing").is_none());
    }

    #[test]
    fn a_node_that_relays_by_itself_has_bounds_and_what_its_owner_sets_wins() {
        let bounds = ["total_rate", "peer_day", "block_day", "total_day"];
        let mut own = OwnLimits::default();
        let (by_itself, asked) = (
            RelayLimits::given(RelayMode::Auto, &own),
            RelayLimits::given(RelayMode::On, &own),
        );
        for name in bounds {
            assert!(by_itself.get(name).is_some_and(|n| n > 0), "{name}");
            assert_eq!(asked.get(name), Some(0), "{name}");
        }
        // A few GB a day between two nodes of one home pass, and fill no line of 10 Mbit/s.
        assert!(by_itself.peer_day >= 5_000_000_000 && by_itself.block_day >= by_itself.peer_day);
        assert!(by_itself.total_day >= by_itself.block_day && by_itself.total_rate * 8 < 10_000_000);
        assert!(own.set("total_rate", 7) && own.set("total_day", 0) && !own.set("nothing", 1));
        assert_eq!(own.names(), ["total_rate", "total_day"]);
        for mode in [RelayMode::Auto, RelayMode::On, RelayMode::Off] {
            let given = RelayLimits::given(mode, &own);
            assert_eq!((given.total_rate, given.total_day), (7, 0), "{mode:?}");
        }
        let own_peer_day = RelayLimits::given(RelayMode::Auto, &own).peer_day;
        assert_eq!(own_peer_day, by_itself.peer_day, "what is not set stays bounded");
        for (name, ..) in RelayLimits::ALL {
            assert!(own.set(name, 5), "{name}");
        }
        assert_eq!(own.names().len(), RelayLimits::ALL.len());
    }
}
