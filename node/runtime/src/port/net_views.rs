//! What the daemon shows of its network: how this node is reached, the paths to its peers, what it relays for others.
//! JSON documents of /v1, fields are only ever added. Ids are in their text form, times in milliseconds since 1970,
//! durations in the unit of their name, sizes in bytes, rates in bytes a second.

use crate::config::RelayLimits;
use serde::{Deserialize, Serialize};

/// Everything known of how this node is reached.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct ReachView {
    /// `public` (a confirmed address), `private` (behind a router; others come by punching or a relay),
    /// `unknown` (not tested yet), `alone` (in no mesh, or nobody connected).
    pub state: String,
    /// How the router gives out addresses: `none` (no router), `endpoint-independent`, `address-dependent`
    /// (symmetric), `unknown`.
    pub mapping: String,
    /// What the router lets in: `none` (everything), `endpoint-independent`, `address-dependent`, `port-dependent`,
    /// `unknown`.
    pub filtering: String,
    /// Whether UDP passes; absent while untested.
    pub udp: Option<bool>,
    /// Whether TCP passes; absent while untested.
    pub tcp: Option<bool>,
    /// Whether the router lets nodes behind it reach each other by its outer address; absent while untested.
    pub hairpin: Option<bool>,
    /// `off` (not wanted), `none` (this machine has none), `local` (link-local or unique-local only), `global`
    /// (an address of the whole internet), `confirmed` (and reached from outside).
    pub ipv6: String,
    /// Where this node listens.
    pub listen: Vec<String>,
    /// What others see it come from.
    pub observed: Vec<ObservedRow>,
    /// Addresses that were tested from outside.
    pub tested: Vec<AddrRow>,
    /// What this node tells others of itself, in their order.
    pub published: Vec<String>,
    /// Port mappings: `off`, `searching`, `none` (no router offers any), `needless` (no private IPv4 address
    /// is listened on), `mapped`, `failed`.
    pub mapper: String,
    /// The mappings, and what became of asking for them.
    pub mappings: Vec<MappingRow>,
    /// Relays this node is reached through, or tries to be.
    pub relays: Vec<RelayHeld>,
    /// Relays it knows of, nearest first, at most a few.
    pub known_relays: Vec<RelayKnown>,
    /// Whether this node answers hash table queries of others.
    pub dht_server: bool,
    /// By how much this machine's clock is ahead of the others', in milliseconds; the median of what peers said.
    pub clock_skew_ms: Option<i64>,
    /// How many said so.
    pub clock_peers: u32,
    /// Largest packet in bytes that the system believes the way to a peer takes: the route's, or what a router has said
    /// to something large that was sent. Absent without a peer that is reached directly.
    pub mtu: Option<u32>,
    /// Whether 8 KiB at once came to a peer and back over TCP, where a few bytes did; absent when that was not tried.
    #[serde(default)]
    pub large: Option<bool>,
    /// When anything of this was tested last; 0 never.
    pub tested_at: u64,
}

/// How this node is reached, in short; in full: [`ReachView`].
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct ReachBrief {
    /// As in [`ReachView`].
    pub state: String,
    /// As in [`ReachView`].
    pub mapping: String,
    /// What is told to others, in their order.
    pub published: Vec<String>,
    /// Names of the relays this node is reached through.
    pub relays: Vec<String>,
    /// Whether it relays for others: as in [`RelayView`].
    pub relaying: String,
}

/// An address others see this node come from.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct ObservedRow {
    /// The multiaddress.
    pub addr: String,
    /// How many peers see it.
    pub observers: u32,
    /// When one did last.
    pub last: u64,
}

/// An address of this node that was tested.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct AddrRow {
    /// The multiaddress.
    pub addr: String,
    /// `confirmed`, `refused` (not reachable from outside), `testing`, `announced` (by its owner, without test).
    pub state: String,
    /// When it was tested last.
    pub tested: u64,
    /// When the result expires; 0 never.
    pub expires: u64,
    /// Why it was refused; empty otherwise.
    pub detail: String,
}

/// A port mapping at a router.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct MappingRow {
    /// `upnp`, `nat-pmp` or `pcp`.
    pub protocol: String,
    /// Where it leads from; empty while there is none.
    pub external: String,
    /// Where it leads to.
    pub internal: String,
    /// When it ends unless renewed; 0 while there is none.
    pub expires: u64,
    /// Why there is none; empty otherwise.
    pub detail: String,
}

/// A relay this node is reached through.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct RelayHeld {
    /// Its node id.
    pub node: String,
    /// Its name.
    pub name: String,
    /// `reserved`, `asking`, `lost` (asked again soon), `refused`.
    pub state: String,
    /// The address others reach this node by; empty while there is none.
    pub addr: String,
    /// Round trip to it in microseconds, where measured.
    pub rtt_us: Option<u64>,
    /// Since when it is in that state.
    pub since: u64,
    /// Why, when it is not `reserved`.
    pub detail: String,
}

/// A relay this node knows of.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct RelayKnown {
    /// Its node id.
    pub node: String,
    /// Its name.
    pub name: String,
    /// Round trip to it in microseconds, where measured.
    pub rtt_us: Option<u64>,
    /// How full it is, in percent, as it says.
    pub load: Option<u8>,
    /// Where it was heard of: `registry`, `presence`, `dht`.
    pub source: String,
    /// Why it is not used, when it is not.
    pub detail: String,
}

/// Relaying for others.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct RelayView {
    /// `auto`, `on` or `off`: what the settings say.
    pub mode: String,
    /// `off`, `waiting` (not known to be reachable from everywhere), `serving`, `draining`.
    pub state: String,
    /// Why it is in that state, for people.
    pub detail: String,
    /// What it gives at most.
    pub limits: RelayLimits,
    /// Which of these limits the owner has set; the others are built in: within bounds for a home line
    /// in mode `auto`, without bounds on bytes otherwise.
    #[serde(default)]
    pub set: Vec<String>,
    /// Nodes that are reachable through it now.
    pub reservations: u64,
    /// Circuits now.
    pub circuits: u64,
    /// Circuits opened since the start.
    pub circuits_opened: u64,
    /// Bytes relayed since the start, both ways together.
    pub bytes: u64,
    /// Of them today.
    pub bytes_today: u64,
    /// What was refused since the start, by reason.
    pub refused: Vec<RelayRefused>,
    /// Circuits cut short since the start, by the limit they ran over.
    pub cut: Vec<RelayRefused>,
    /// The circuits, newest first, at most 64.
    pub open: Vec<CircuitRow>,
}

/// Something a relay did not do, and how often.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct RelayRefused {
    /// Such as `reservations`, `circuits`, `day`, `rate`.
    pub reason: String,
    /// How often.
    pub count: u64,
}

/// A circuit of this relay.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct CircuitRow {
    /// Who opened it.
    pub from: String,
    /// And its name.
    pub from_name: String,
    /// To whom.
    pub to: String,
    /// And its name.
    pub to_name: String,
    /// When it was opened.
    pub since: u64,
    /// Bytes it has carried, both ways together.
    pub bytes: u64,
}

/// The way to a peer.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct PathView {
    /// Node id.
    pub node: String,
    /// Name, where known.
    pub name: String,
    /// `direct`, `relay`, `punching` (relayed, and a direct path is being made), `connecting`, `unreachable`,
    /// `none` (nobody has tried), `self`.
    pub state: String,
    /// The address in use; empty without a connection.
    pub addr: String,
    /// `quic`, `tcp` or `relay`; empty without a connection.
    pub transport: String,
    /// Id of the relay in use.
    pub relay: Option<String>,
    /// Its name.
    pub relay_name: String,
    /// Round trip in microseconds, where measured.
    pub rtt_us: Option<u64>,
    /// Since when it is connected; 0 when it is not.
    pub since: u64,
    /// When a direct path is tried again, in milliseconds from now; of relayed peers.
    pub next_punch_ms: Option<u64>,
    /// Why it is unreachable.
    pub reason: Option<String>,
    /// Connections to it, normally 1.
    pub connections: u32,
    /// Streams open with it.
    pub streams: u32,
    /// Whether it has passed the membership gate.
    pub member: bool,
    /// Its program version, where known.
    pub version: Option<String>,
}

impl PathView {
    /// The path in a few words: `direct`, `relay NAME`, `punching`, `unreachable: REASON`.
    #[must_use]
    pub fn words(&self) -> String {
        let relay = || {
            if self.relay_name.is_empty() {
                self.relay.as_deref().unwrap_or("?").chars().take(12).collect()
            } else {
                self.relay_name.clone()
            }
        };
        match self.state.as_str() {
            "relay" => format!("relay {}", relay()),
            "punching" => format!("punching (relay {})", relay()),
            "unreachable" => match &self.reason {
                Some(why) => format!("unreachable: {why}"),
                None => "unreachable".to_owned(),
            },
            other => other.to_owned(),
        }
    }
}

/// One try to reach a peer, or one change of the way to it.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct AttemptRow {
    /// When it began.
    pub at: u64,
    /// `dial`, `circuit`, `punch`, `inbound`, `trace`, `probe`.
    pub what: String,
    /// The address.
    pub addr: String,
    /// `quic`, `tcp` or `relay`; empty where it does not apply.
    pub transport: String,
    /// How long it took, in microseconds; absent while it runs.
    pub took_us: Option<u64>,
    /// `pending`, `connected`, `failed`, `lost`, `given up` (another way was faster).
    pub outcome: String,
    /// Why it failed, or more about it.
    pub detail: String,
}

/// The way to a peer, and how it came about.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct PathsView {
    /// Now.
    #[serde(flatten)]
    pub path: PathView,
    /// Addresses known of it.
    pub addrs: Vec<String>,
    /// What was tried, oldest first; with `trace`: what has been tried just now.
    pub attempts: Vec<AttemptRow>,
}

/// One thing that was checked.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckRow {
    /// What: `udp`, `nat`, `addresses`, `mapping`, `ipv6`, `hairpin`, `relays`, `clock`, `mtu`, `peers`, `transports`.
    pub name: String,
    /// `pass`, `warn` or `fail`.
    pub verdict: String,
    /// Whether it could not be tested, `detail` says why: then `pass` says only that nothing is known to be wrong.
    #[serde(default)]
    pub untested: bool,
    /// What was found, on one line.
    pub detail: String,
    /// What to do about it.
    pub fix: Option<String>,
}

/// The network of this node, checked.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct NetCheckView {
    /// The worst verdict: `pass`, `warn` or `fail`.
    pub verdict: String,
    /// The checks.
    pub checks: Vec<CheckRow>,
    /// What they were judged by.
    pub reach: ReachView,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_in_a_few_words() {
        let mut path = PathView {
            state: "relay".into(),
            relay: Some("n_abcdefghijklmnop".into()),
            ..PathView::default()
        };
        assert_eq!(path.words(), "relay n_abcdefghij");
        path.relay_name = "fra".into();
        assert_eq!(path.words(), "relay fra");
        path.state = "punching".into();
        assert_eq!(path.words(), "punching (relay fra)");
        path.state = "unreachable".into();
        path.reason = Some("no address".into());
        assert_eq!(path.words(), "unreachable: no address");
    }
}
