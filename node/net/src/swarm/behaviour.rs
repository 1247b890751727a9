//! The behaviours of a node and the bounds each is given.

use super::{
    announced::{Bare, message_id},
    doors::Doors,
    gated::{Gated, Hears},
    on_heap::OnHeap,
    punches::MAX_DIALS,
    records::MAX_RECORDS,
    streams::Streams,
};
use crate::{config::Config, error::NetError, event::Topic, handle::Shared};
use hive_protocol::{gossip::MAX_MESSAGE, ids::NetworkId};
use libp2p::{
    PeerId, StreamProtocol,
    connection_limits::{self, ConnectionLimits},
    gossipsub::{self, IdentTopic, MessageAuthenticity, ValidationMode},
    identify,
    identity::Keypair,
    kad::{
        self,
        store::{MemoryStore, MemoryStoreConfig},
    },
    memory_connection_limits, ping, relay,
    swarm::NetworkBehaviour,
};
use std::{collections::HashMap, num::NonZeroUsize, sync::Arc, time::Duration};

/// Largest gossip message of ours in bytes; the largest kind in the protocol is 4 KiB.
pub const MAX_GOSSIP: usize = MAX_MESSAGE;
/// Largest gossip packet in bytes.
const MAX_GOSSIP_PACKET: usize = 16 << 10;
/// Between gossip heartbeats: how fast the mesh heals, against what an idle node costs.
const HEARTBEAT: Duration = Duration::from_secs(1);
/// First heartbeat after start: a newcomer is in the mesh at once.
const FIRST_HEARTBEAT: Duration = Duration::from_millis(100);
/// Fewest neighbours gossip can be told to keep: the lower bound of the mesh is one below, that of those chosen half.
const FEWEST_NEIGHBOURS: usize = 2;
/// Gossip messages queued for one slow neighbour before messages to it are dropped.
const GOSSIP_QUEUE: usize = 512;
/// A message is known as a duplicate for this long: longer than it could be taken for news. A presence is taken until a
/// minute after it was issued and a minute more for clocks that differ; issued by a clock a minute ahead, that is 180 s
/// after it was first heard. A mesh of a thousand nodes says 400 messages a second: 20 MB.
const DUPLICATES: Duration = Duration::from_secs(240);

/// Between pings; with the timeout and the failures allowed, a peer that vanished is noticed within 30 s on TCP
/// (on QUIC within its idle timeout of 10 s).
const PING_EVERY: Duration = Duration::from_secs(10);
const PING_TIMEOUT: Duration = Duration::from_secs(8);

/// Peers tell each other again what they are, though nothing has changed: changes are pushed at once, this mends a push
/// that was lost. Each time costs a stream, and over QUIC memory ([`QUIC_STREAMS`](super::transport)).
const IDENTIFY_EVERY: Duration = Duration::from_secs(6 * 60 * 60);

/// Blobs this node may announce at a time.
pub const MAX_SHARED: usize = 1024;
/// Keys it may announce: those, and the one under which relays are found.
pub(crate) const MAX_PROVIDED: usize = MAX_SHARED + 1;
/// Providers kept and returned for one blob.
pub const MAX_PROVIDERS: usize = 20;
/// A provider record of others is forgotten after this time unless announced again …
pub(crate) const PROVIDER_TTL: Duration = Duration::from_secs(2 * 3600);
/// … which happens this often.
const PROVIDE_EVERY: Duration = Duration::from_secs(40 * 60);
// Two announcements may be lost.
const _: () = assert!(PROVIDE_EVERY.as_secs() * 3 <= PROVIDER_TTL.as_secs());
/// Largest hash table packet in bytes.
const MAX_KAD_PACKET: usize = 16 << 10;
/// One query of the hash table.
const QUERY_TIMEOUT: Duration = Duration::from_secs(15);
/// Nodes asked at a time in one query, and nodes each key is stored at.
const PARALLEL: usize = 3;
const REPLICATION: usize = 20;

/// Scores below which a neighbour gets no gossip, no publications, and is not heard at all. A wrong message
/// costs 10 times the square of how many there were lately, so the third is the last.
const NO_GOSSIP: f64 = -10.0;
const NO_PUBLISH: f64 = -50.0;
const NOT_HEARD: f64 = -80.0;
const WRONG_MESSAGE: f64 = -10.0;
/// Wrong messages are forgiven by this factor each second.
const FORGIVE: f64 = 0.98;

pub(crate) type Gossip = gossipsub::Behaviour<Bare, gossipsub::WhitelistSubscriptionFilter>;
pub(crate) type Kad = kad::Behaviour<MemoryStore>;

/// What a node's swarm does, with the handlers of each connection on the heap.
pub(crate) type Behaviour = OnHeap<Parts>;
pub(crate) use PartsEvent as BehaviourEvent;

/// All behaviours. The doors and limits come first: they refuse before the others have made anything.
#[derive(NetworkBehaviour)]
pub(crate) struct Parts {
    pub doors: Doors,
    limits: connection_limits::Behaviour,
    memory: memory_connection_limits::Behaviour,
    pub streams: Streams,
    pub identify: identify::Behaviour,
    pub ping: ping::Behaviour,
    pub relay: relay::client::Behaviour,
    pub kad: Gated<Kad>,
    pub gossip: Gated<Gossip>,
}

impl Behaviour {
    pub(crate) fn new(
        config: &Config,
        key: &Keypair,
        shared: Arc<Shared>,
        relay: relay::client::Behaviour,
    ) -> Result<Self, NetError> {
        let limits = &config.limits;
        // Punches have a bound of their own, and most of their dials only open a router.
        let punches = u32::try_from(MAX_DIALS).unwrap_or(u32::MAX);
        let bounds = ConnectionLimits::default()
            .with_max_pending_outgoing(Some(limits.pending.saturating_add(punches)))
            .with_max_established(Some(limits.connections))
            .with_max_established_per_peer(Some(limits.per_peer));
        let me = key.public().to_peer_id();
        let version: String = config.version.chars().take(32).collect();
        let places = |n: u32| usize::try_from(n).unwrap_or(usize::MAX);
        // An eighth of all connections is kept for those this node makes itself.
        let inbound = places(limits.connections - limits.connections / 8);
        Ok(OnHeap(Parts {
            // One block may have a fourth of these: a laboratory that is switched on.
            doors: Doors::new(places(limits.pending.saturating_mul(8)), inbound),
            limits: connection_limits::Behaviour::new(bounds),
            memory: memory_connection_limits::Behaviour::with_max_bytes(limits.memory_bytes),
            streams: Streams::new(shared),
            identify: identify::Behaviour::new(
                identify::Config::new("/hive/1".to_owned(), key.public())
                    .with_agent_version(format!("hivenode/{version}"))
                    .with_interval(IDENTIFY_EVERY)
                    // What is told, and when, is decided in on_reach.rs.
                    .with_hide_listen_addrs(true)
                    // We keep our own address book, with our own rules.
                    .with_cache_size(0),
            ),
            ping: ping::Behaviour::new(
                ping::Config::new()
                    .with_interval(PING_EVERY)
                    .with_timeout(PING_TIMEOUT),
            ),
            kad: Gated::new(kad(config, me)?, Hears::AtOnce),
            relay,
            gossip: Gated::new(gossip(config.network, limits.neighbours)?, Hears::OnceAdmitted),
        }))
    }
}

/// The hash table's protocol of a mesh.
pub(crate) fn kad_protocol(network: NetworkId) -> Result<StreamProtocol, NetError> {
    StreamProtocol::try_from_owned(format!("/hive/kad/1/{}", network.short()))
        .map_err(|e| setup(e.to_string()))
}

/// The store of the hash table. records.rs bounds what is kept for others, so there is always room for the node's own:
/// for its keys, and for itself among the providers of a key.
pub(super) fn store(me: PeerId) -> MemoryStore {
    MemoryStore::with_config(
        me,
        MemoryStoreConfig {
            // Value records are not used: whoever sends one is not obeyed.
            max_records: 0,
            max_value_bytes: 0,
            max_provided_keys: MAX_RECORDS + MAX_PROVIDED,
            max_providers_per_key: MAX_PROVIDERS + 1,
        },
    )
}

fn kad(config: &Config, me: PeerId) -> Result<Kad, NetError> {
    let mut c = kad::Config::new(kad_protocol(config.network)?);
    c.set_query_timeout(QUERY_TIMEOUT)
        // As many paths as PARALLEL, none of which asks a node that another has asked (S/Kademlia): one liar cannot
        // lead all of a query astray.
        .disjoint_query_paths(true)
        .set_record_filtering(kad::StoreInserts::FilterBoth)
        // Only members that answer queries enter the table: on_identify.rs.
        .set_kbucket_inserts(kad::BucketInserts::Manual)
        .set_provider_record_ttl(Some(PROVIDER_TTL))
        .set_provider_publication_interval(Some(PROVIDE_EVERY))
        .set_replication_interval(None)
        .set_publication_interval(None)
        .set_caching(kad::Caching::Disabled)
        .set_max_packet_size(MAX_KAD_PACKET)
        // When the table is refreshed is decided in refresh.rs.
        .set_periodic_bootstrap_interval(None);
    if let (Some(parallel), Some(replication)) = (NonZeroUsize::new(PARALLEL), NonZeroUsize::new(REPLICATION))
    {
        c.set_parallelism(parallel).set_replication_factor(replication);
    }
    let mut kad = kad::Behaviour::with_config(me, store(me), c);
    kad.set_mode(Some(mode(config.kad_server)));
    Ok(kad)
}

/// The mode is always set by us: the automatic rule turns nodes into servers that cannot be dialed.
pub(crate) const fn mode(server: bool) -> kad::Mode {
    if server {
        kad::Mode::Server
    } else {
        kad::Mode::Client
    }
}

fn gossip(network: NetworkId, neighbours: usize) -> Result<Gossip, NetError> {
    let neighbours = neighbours.max(FEWEST_NEIGHBOURS);
    let config = gossipsub::ConfigBuilder::default()
        .heartbeat_interval(HEARTBEAT)
        .heartbeat_initial_delay(FIRST_HEARTBEAT)
        // Announcements are signed by themselves: on_gossip.rs.
        .validation_mode(ValidationMode::Anonymous)
        .validate_messages()
        .message_id_fn(message_id)
        .max_transmit_size(MAX_GOSSIP_PACKET)
        .duplicate_cache_time(DUPLICATES)
        .connection_handler_queue_len(GOSSIP_QUEUE)
        .mesh_n(neighbours)
        .mesh_n_low(neighbours - 1)
        .mesh_n_high(neighbours + 2)
        .mesh_outbound_min(neighbours / 2)
        // What is ours is at most as large as a packet or two: telling others not to send it costs more than it saves.
        .idontwant_message_size_threshold(MAX_GOSSIP_PACKET)
        // Peer exchange would hand out addresses of nodes this one has not met.
        .prune_peers(0)
        .build()
        .map_err(|e| setup(e.to_string()))?;
    let topics = Topic::ALL.map(|t| IdentTopic::new(t.name(network)));
    let filter = gossipsub::WhitelistSubscriptionFilter(topics.iter().map(IdentTopic::hash).collect());
    let mut gossip = Gossip::new_with_subscription_filter(MessageAuthenticity::Anonymous, config, filter)
        .map_err(|e| setup(e.to_owned()))?;
    gossip
        .with_peer_score(score(&topics), thresholds())
        .map_err(setup)?;
    Ok(gossip)
}

fn score(topics: &[IdentTopic]) -> gossipsub::PeerScoreParams {
    let topic = gossipsub::TopicScoreParams {
        topic_weight: 1.0,
        // Nothing is earned by time or by volume: demand comes in bursts, and quiet nodes are honest.
        time_in_mesh_weight: 0.0,
        first_message_deliveries_weight: 0.0,
        mesh_message_deliveries_weight: 0.0,
        mesh_failure_penalty_weight: 0.0,
        invalid_message_deliveries_weight: WRONG_MESSAGE,
        invalid_message_deliveries_decay: FORGIVE,
        ..Default::default()
    };
    gossipsub::PeerScoreParams {
        topics: topics
            .iter()
            .map(|t| (t.hash(), topic.clone()))
            .collect::<HashMap<_, _>>(),
        app_specific_weight: 1.0,
        // Members hold credentials, and a household or a laboratory has many nodes behind one address.
        ip_colocation_factor_weight: 0.0,
        decay_interval: Duration::from_secs(1),
        ..Default::default()
    }
}

fn thresholds() -> gossipsub::PeerScoreThresholds {
    gossipsub::PeerScoreThresholds {
        gossip_threshold: NO_GOSSIP,
        publish_threshold: NO_PUBLISH,
        graylist_threshold: NOT_HEARD,
        ..Default::default()
    }
}

fn setup(detail: String) -> NetError {
    NetError::Setup { detail }
}
