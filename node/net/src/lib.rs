//! The mesh as this node sees it: connections, streams, gossip and the distributed hash table.
//!
//! This is the only crate that knows libp2p; no type of it leaves. A program calls [`init_crypto`] once and
//! [`spawn`] once, keeps the clonable [`NetHandle`] to say what it wants and reads [`NetEvents`] to hear what
//! happened. Peers are [`NodeId`](hive_protocol::ids::NodeId)s, addresses are multiaddresses as text.
//!
//! What it promises: a peer that has not passed the membership gate (see [`gate`]) is served the join protocol
//! only: its gossip and its hash table requests are not even read. Every queue here has a bound; what goes over
//! it is refused or dropped and counted in [`Counters`].
//!
//! It does not know what is said on the streams, who may do what, or money.

mod bulk;
mod config;
mod counters;
mod crypto;
mod cut;
mod error;
mod event;
pub mod frame;
pub mod gate;
mod handle;
mod handle_paths;
mod names;
mod path;
mod prefixed;
mod pulse;
mod reach;
mod registry;
mod relay;
mod secure;
mod stream;
mod swarm;

pub use bulk::{BulkInbound, BulkPath, BulkReader, BulkStream, BulkWriter};
pub use config::{BulkListen, Config, Limits, ListenAddrs, Transports};
pub use counters::Counters;
pub use crypto::init_crypto;
pub use error::{NetError, RefusedBy};
pub use event::{
    Admission, EVENT_QUEUE, GossipId, Judgement, Mapper, NetEvent, NetEvents, PeerView, Topic, Transport,
};
pub use frame::{FrameError, FrameReader, FrameSender};
pub use gate::Gate;
pub use handle::{DHT_TIMEOUT, DIAL_TIMEOUT, NetHandle, OPEN_TIMEOUT};
pub use handle_paths::TRACE_TIMEOUT;
pub use names::relay_in;
pub use path::{Attempt, AttemptKind, Link, MAX_ATTEMPTS, Outcome, Path, PathView};
pub use reach::{MappingView, NetFacts, TEST_TIMEOUT, TestReport, Tester, Tried, route_mtu};
pub use registry::{Inbound, ProtocolPolicy};
pub use relay::{CircuitView, Relay, RelayCounts, RelayDay, RelayLimits, RelayLoad, RelayPeer};
pub use stream::{NetReader, NetStream, NetWriter};
pub use swarm::{MAX_GOSSIP, MAX_PROTECTED, MAX_PROVIDERS, MAX_RELAYS, MAX_SHARED, spawn};
