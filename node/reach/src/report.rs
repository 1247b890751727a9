//! What people are shown of a node's reachability.

use crate::{
    addr::{Carrier, Scope},
    config::CONFIRMED_LIFE,
    core::Reach,
    effect::Published,
    input::MappedBy,
    judge,
    own::{Own, Row},
};
use hive_protocol::{ids::NodeId, time::Timestamp};

/// Whether anybody can reach this node directly.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reachability {
    /// Not known yet.
    Unknown,
    /// Only by punching or through a relay.
    Private,
    /// At a confirmed or announced address.
    Public,
}

impl Reachability {
    /// Its name for people and documents.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Private => "private",
            Self::Public => "public",
        }
    }
}

/// How the router gives out addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mapping {
    /// Not known.
    Unknown,
    /// Nothing is in between.
    None,
    /// A router translates; one observer is too few to say how.
    OneObserver,
    /// The same to all: punching works.
    EndpointIndependent,
    /// Another one to each (symmetric).
    EndpointDependent,
}

impl Mapping {
    /// Its name for people and documents.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unknown | Self::OneObserver => "unknown",
            Self::None => "none",
            Self::EndpointIndependent => "endpoint-independent",
            Self::EndpointDependent => "address-dependent",
        }
    }
}

/// Whose packets come in unasked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Filtering {
    /// Not known.
    Unknown,
    /// Everybody's.
    Open,
    /// Those of machines that were spoken to, from any port.
    Address,
    /// Nobody's else than of whom was spoken to.
    Closed,
}

impl Filtering {
    /// Its name for people and documents.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Open => "endpoint-independent",
            Self::Address => "address-dependent",
            Self::Closed => "port-dependent",
        }
    }
}

/// Whether UDP, or TCP, passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Passage {
    /// Not known.
    Unknown,
    /// It does.
    Open,
    /// It does not.
    Blocked,
}

/// An address others see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenRow {
    /// The address.
    pub addr: String,
    /// How many see it.
    pub observers: u32,
    /// When one said so last.
    pub last: Timestamp,
}

/// An address that was tested or announced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddressRow {
    /// The address.
    pub addr: String,
    /// Who can use it.
    pub scope: Scope,
    /// Whether the operator announced it.
    pub announced: bool,
    /// Since when it counts as confirmed.
    pub confirmed: Option<Timestamp>,
    /// When that ends unless renewed.
    pub expires: Option<Timestamp>,
    /// When it was tested last.
    pub tested: Option<Timestamp>,
    /// Whether all tests have failed.
    pub refused: bool,
    /// Whether some came through, of members this node had spoken to: that proves nothing about others.
    pub known_only: bool,
}

/// How a reservation stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SlotState {
    /// Asked for.
    Asking,
    /// Others reach this node through it.
    Held,
    /// It was, and is asked for again.
    Lost,
}

/// A relay this node is reached through, and every other one it knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CandidateRow {
    /// Which.
    pub node: NodeId,
    /// How the reservation there stands, if there is one.
    pub slot: Option<SlotState>,
    /// Since when.
    pub since: Timestamp,
    /// Addresses through it.
    pub addrs: Vec<String>,
    /// Round trip in microseconds.
    pub rtt_us: Option<u64>,
    /// Parts in a thousand that are in use.
    pub load_milli: Option<u32>,
    /// Where it was heard of: `authority`, `registry`, `dht`.
    pub source: &'static str,
    /// Why it is not used; empty when it is or could be.
    pub detail: String,
}

/// Why a node relays for others, or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServingWhy {
    /// The settings say so.
    Configured,
    /// It is an authority: all members reach it.
    Authority,
    /// It was found publicly reachable.
    Public,
    /// The settings say no.
    Off,
    /// It is not known to be publicly reachable.
    NotPublic,
}

impl ServingWhy {
    /// For people.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::Configured => "the settings say so",
            Self::Authority => "this node is an authority, which all members reach",
            Self::Public => "this node was found reachable from everywhere",
            Self::Off => "the settings say no",
            Self::NotPublic => "this node is not known to be reachable from everywhere",
        }
    }
}

/// Relaying for others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Serving {
    /// Whether it relays.
    pub on: bool,
    /// Why.
    pub why: ServingWhy,
    /// Whether it takes nothing new.
    pub draining: bool,
}

/// Everything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Whether any member was ever connected.
    pub met: bool,
    /// Whether anybody can reach this node.
    pub reachability: Reachability,
    /// How the router translates: of QUIC where known, else of TCP.
    pub mapping: Mapping,
    /// Whose packets come in.
    pub filtering: Filtering,
    /// Whether UDP passes.
    pub udp: Passage,
    /// Whether TCP passes.
    pub tcp: Passage,
    /// Where this node listens.
    pub listen: Vec<String>,
    /// What others see.
    pub seen: Vec<SeenRow>,
    /// What was tested.
    pub addresses: Vec<AddressRow>,
    /// Mappings of the router: address, how, until when.
    pub mapped: Vec<(String, MappedBy, Timestamp)>,
    /// Why there is none.
    pub map_failures: Vec<(MappedBy, String)>,
    /// What is told to others.
    pub published: Vec<Published>,
    /// Relays, kept ones first.
    pub relays: Vec<CandidateRow>,
    /// Whether it serves the hash table.
    pub kad_server: bool,
    /// Whether it relays.
    pub serving: Serving,
    /// Peers that are not let go.
    pub protected: Vec<NodeId>,
    /// When an address was tested last.
    pub tested_at: Option<Timestamp>,
}

impl Reach {
    /// Where a member listens, as far as this node has heard.
    #[must_use]
    pub fn addrs(&self, node: &NodeId) -> Vec<String> {
        self.anchors.addrs(node)
    }

    /// Everything that is known, for people.
    #[must_use]
    pub fn report(&self) -> Report {
        let own = &self.own;
        let now = self.now;
        Report {
            met: self.met_since.is_some(),
            reachability: self.reachability,
            mapping: self.mapping(),
            filtering: judge::filtering(own, now),
            udp: self.udp.state(),
            tcp: self.tcp.state(),
            listen: listed(own, |row| row.listening.is_some()),
            seen: own
                .iter()
                .filter(|(_, row)| !row.seen.is_empty())
                .map(|(text, row)| SeenRow {
                    addr: text.to_owned(),
                    observers: u32::try_from(row.seen.len()).unwrap_or(u32::MAX),
                    last: row.seen.values().map(|s| s.at).max().unwrap_or_default(),
                })
                .collect(),
            addresses: self.address_rows(),
            mapped: own
                .iter()
                .filter_map(|(text, row)| row.mapped.map(|(by, until)| (text.to_owned(), by, until)))
                .collect(),
            map_failures: own
                .map_failures
                .iter()
                .map(|(by, why)| (*by, why.clone()))
                .collect(),
            published: self.told.published.clone().unwrap_or_default(),
            relays: self.relay_rows(),
            kad_server: self.told.kad.unwrap_or(false),
            serving: self.serving(),
            protected: self.anchors.told().to_vec(),
            tested_at: self.tested_at,
        }
    }

    /// How the router translates over QUIC, or if that is not known over TCP.
    fn mapping(&self) -> Mapping {
        let over =
            |carrier| judge::mapping(&self.own, carrier, self.now, |n| self.anchors.is_over(n, carrier));
        match over(Carrier::Quic) {
            Mapping::Unknown => over(Carrier::Tcp),
            known => known,
        }
    }

    fn address_rows(&self) -> Vec<AddressRow> {
        let tried = self.own.iter().filter(|(_, row)| {
            row.announced || !row.tests.is_empty() || self.own.confirmed(self.now, row).is_some()
        });
        tried
            .map(|(text, row)| {
                let confirmed = self.own.confirmed(self.now, row);
                AddressRow {
                    addr: text.to_owned(),
                    scope: row.direct.scope(),
                    announced: row.announced,
                    confirmed,
                    expires: confirmed.map(|at| at + CONFIRMED_LIFE),
                    tested: row.tests.values().map(|t| t.at).max(),
                    refused: row.refuted(),
                    known_only: confirmed.is_none() && row.tests.values().any(|t| t.reachable),
                }
            })
            .collect()
    }

    fn relay_rows(&self) -> Vec<CandidateRow> {
        let mut rows: Vec<CandidateRow> = self
            .candidates
            .iter()
            .map(|(node, known)| {
                let slot = self.slots.get(node);
                CandidateRow {
                    node: *node,
                    slot: slot.map(|s| s.state),
                    since: slot.map_or(Timestamp(0), |s| s.since),
                    addrs: slot.map(|s| s.addrs.clone()).unwrap_or_default(),
                    rtt_us: known.rtt_us,
                    load_milli: known.load.map(|l| l.load_milli),
                    source: known.source.name(),
                    detail: known.trouble.clone(),
                }
            })
            .collect();
        rows.sort_by_key(|r| (r.slot.is_none(), r.rtt_us.unwrap_or(u64::MAX), r.node));
        rows
    }
}

fn listed(own: &Own, which: impl Fn(&Row) -> bool) -> Vec<String> {
    own.iter()
        .filter(|(_, row)| which(row))
        .map(|(text, _)| text.to_owned())
        .collect()
}
