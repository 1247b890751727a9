//! The swarm's loop: turns commands into swarm calls and swarm events into events of ours.
//!
//! One file for each source of events (`on_*.rs`), each an `impl Node`. State that outlives an event is in the
//! table (connected peers), the book (addresses), the waiting room (who waits for a connection) and the queries.

mod aim;
mod alarms;
mod announced;
mod attempts;
mod behaviour;
mod book;
mod candidates;
mod crossed;
mod deaf;
mod dialing;
mod doors;
mod gated;
mod greeting;
mod guard;
mod lag;
mod listen;
mod look_around;
mod on_bulk;
mod on_command;
mod on_connection;
mod on_gate;
mod on_gossip;
mod on_heap;
mod on_identify;
mod on_kad;
mod on_ping;
mod on_probe;
mod on_punch;
mod on_reach;
mod on_relay;
mod on_stream;
mod on_tick;
mod on_trace;
mod pace;
mod punch_talk;
mod punch_wire;
mod punches;
mod purse;
mod queue;
mod records;
mod refresh;
mod room;
mod sample;
mod security;
mod stream_handler;
mod streams;
mod table;
mod transport;
mod views;
mod waiting;

pub use behaviour::{MAX_GOSSIP, MAX_PROVIDERS, MAX_SHARED};
pub use guard::MAX_PROTECTED;
pub(crate) use listen::explain;
pub use on_relay::MAX_RELAYS;
pub(crate) use transport::{Base, direct};

use crate::{
    bulk,
    config::Config,
    counters::count,
    crypto::{self, init_crypto},
    error::NetError,
    event::{EVENT_QUEUE, NetEvent, NetEvents},
    gate::Gate,
    handle::{COMMAND_QUEUE, Command, NetHandle, SHUTDOWN_TIMEOUT, Shared},
    reach,
};
use behaviour::{Behaviour, BehaviourEvent};
use futures::StreamExt;
use hive_protocol::ids::{NetworkId, NodeId};
use libp2p::{PeerId, StreamProtocol, Swarm, kad::QueryId, swarm::SwarmEvent};
use on_gate::GateDone;
use on_kad::Query;
use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::{mpsc, oneshot, watch};

/// Outcomes of gate exchanges not yet taken; a task waits when it is full.
const GATE_QUEUE: usize = 64;
/// Words of talks and probes not yet taken; a task waits when it is full.
const TALK_QUEUE: usize = 64;
/// Deadlines are looked at this often: the shortest is seconds.
const TICK: Duration = Duration::from_secs(1);

/// Everything the loop owns.
pub(crate) struct Node {
    me: NodeId,
    network: NetworkId,
    kad_protocol: StreamProtocol,
    comfortable: usize,
    swarm: Swarm<Behaviour>,
    shared: Arc<Shared>,
    gate: Arc<dyn Gate>,
    table: table::Table,
    book: book::Book,
    waiting: waiting::WaitingRoom,
    /// Streams of peers still at the gate; bounded in on_stream.rs.
    held: BTreeMap<PeerId, Vec<streams::InboundStream>>,
    /// Bounded in on_kad.rs.
    queries: HashMap<QueryId, Query>,
    /// What is kept for others in the hash table's store; bounded in records.rs.
    records: records::Records,
    refresh: refresh::Refresh,
    /// Members that have not told their topics, and what was done about it; bounded in greeting.rs.
    ungreeted: greeting::Ungreeted,
    /// Bounded in pace.rs.
    pace: pace::Pace,
    announcer: announced::Announcer,
    /// Bounded in deaf.rs.
    deaf: deaf::Deaf,
    unseen: on_bulk::Unseen,
    /// Where bulk streams lead without a direct connection of the mesh, and since when; bounded by their number.
    strayed: on_bulk::Unseen,
    /// Relays through which this node is or wants to be reachable; bounded in on_relay.rs.
    relays: on_relay::Relays,
    /// What is seen of this node from outside; bounded in on_reach.rs.
    reaching: on_reach::Reaching,
    /// Where this node listens, for whoever opens ports at routers.
    ports: watch::Sender<Vec<String>>,
    /// Dials and punches to be made at a time. Bounded in alarms.rs.
    alarms: alarms::Alarms,
    /// Where others see this node.
    candidates: candidates::Candidates,
    punches: punches::Punches,
    /// Bounded in crossed.rs.
    crossed: crossed::Crossed,
    traces: on_trace::Traces,
    log: attempts::Log,
    guard: guard::Guard,
    lag: lag::Lag,
    talks: mpsc::Sender<Talk>,
    /// Events the owner has not room for yet; at [`EVENT_QUEUE`] the swarm is not driven.
    outbox: VecDeque<NetEvent>,
    gates: mpsc::Sender<GateDone>,
}

/// What tasks of the loop's own tell it.
#[derive(Debug)]
enum Talk {
    Punch(punch_talk::PunchTalk),
    Sign(on_probe::Sign),
}

/// Starts a node's network inside the current tokio runtime and returns when it listens.
///
/// # Errors
/// `net.port_taken`, `net.listen`, `net.bad_address`, `net.setup`.
pub async fn spawn(config: Config) -> Result<(NetHandle, NetEvents), NetError> {
    init_crypto()?;
    let me = NodeId(config.secret.public());
    let key = transport::keypair(&config)?;
    let listen::Standing {
        shared,
        swarm,
        prober,
        listening,
        ips,
    } = listen::stand(&config, &key).await?;
    bulk::start(&shared, config.bulk, ips, &key).await?;

    let (commands, command_queue) = mpsc::channel(COMMAND_QUEUE);
    let (gates, gate_queue) = mpsc::channel(GATE_QUEUE);
    let (talks, talk_queue) = mpsc::channel(TALK_QUEUE);
    let wishes = shared.registry.serve(punch_wire::PROTOCOL, punch_talk::POLICY)?;
    tokio::spawn(punch_talk::take_wishes(wishes, talks.clone()));
    let (events, receiver) = mpsc::channel(EVENT_QUEUE);
    let (ports, listening_on) = watch::channel(Vec::new());
    let mut lots = [0; 32];
    crypto::random(&mut lots)?;
    let mut node = Node {
        me,
        network: config.network,
        kad_protocol: behaviour::kad_protocol(config.network)?,
        comfortable: config.limits.comfortable,
        swarm,
        shared: Arc::clone(&shared),
        gate: config.gate,
        table: table::Table::new(me),
        book: book::Book::default(),
        waiting: waiting::WaitingRoom::default(),
        held: BTreeMap::new(),
        queries: HashMap::new(),
        records: records::Records::new(hive_protocol::relay::rendezvous(config.network), lots),
        refresh: refresh::Refresh::new(Instant::now(), me.as_bytes()[0]),
        ungreeted: greeting::Ungreeted::default(),
        pace: pace::Pace::default(),
        announcer: announced::Announcer::new(config.secret.clone(), config.network)?,
        deaf: deaf::Deaf::default(),
        unseen: on_bulk::Unseen::new(),
        strayed: on_bulk::Unseen::new(),
        relays: on_relay::Relays::default(),
        reaching: on_reach::Reaching::default(),
        ports,
        alarms: alarms::Alarms::default(),
        candidates: candidates::Candidates::default(),
        punches: punches::Punches::default(),
        crossed: crossed::Crossed::default(),
        traces: BTreeMap::new(),
        log: attempts::Log::default(),
        guard: guard::Guard::new(config.direct),
        lag: lag::Lag::default(),
        talks,
        outbox: VecDeque::new(),
        gates,
    };
    for addr in listening {
        node.on_listening(&addr, true);
    }
    tokio::spawn(node.run(command_queue, gate_queue, talk_queue, events));
    let handle = NetHandle { me, commands, shared };
    reach::start(&handle, prober)?;
    if config.upnp {
        reach::open_ports(&handle, listening_on);
    }
    Ok((handle, NetEvents { receiver }))
}

impl Node {
    async fn run(
        mut self,
        mut commands: mpsc::Receiver<Command>,
        mut gates: mpsc::Receiver<GateDone>,
        mut talks: mpsc::Receiver<Talk>,
        events: mpsc::Sender<NetEvent>,
    ) {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut feel = tokio::time::interval(on_probe::FEEL_EVERY);
        feel.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let done = loop {
            let alarm = self.alarms.next().map(tokio::time::Instant::from_std);
            let room = self.outbox.len() < EVENT_QUEUE;
            tokio::select! {
                place = events.reserve(), if !self.outbox.is_empty() => match (place, self.outbox.pop_front()) {
                    (Ok(place), Some(event)) => place.send(event),
                    // The owner no longer reads events: there is nobody to tell.
                    _ => self.outbox.clear(),
                },
                command = commands.recv() => match command {
                    Some(Command::Shutdown { reply }) => break Some(reply),
                    Some(command) => self.on_command(command),
                    None => break None,
                },
                Some(outcome) = gates.recv() => self.on_gate(outcome),
                Some(talk) = talks.recv() => match talk {
                    Talk::Punch(talk) => self.on_punch(talk),
                    Talk::Sign(sign) => self.on_sign(sign),
                },
                () = wait_until(alarm), if alarm.is_some() => self.on_alarms(),
                _ = tick.tick() => self.on_tick(),
                _ = feel.tick() => {
                    let now = Instant::now();
                    self.feel(now);
                    self.mend_reservations(now);
                }
                event = self.swarm.select_next_some(), if room => self.on_swarm(event),
            }
        };
        self.close(done).await;
    }

    fn on_swarm(&mut self, event: SwarmEvent<BehaviourEvent>) {
        match event {
            SwarmEvent::Behaviour(BehaviourEvent::Streams(event)) => self.on_stream(event),
            SwarmEvent::Behaviour(BehaviourEvent::Gossip(event)) => self.on_gossip(event),
            SwarmEvent::Behaviour(BehaviourEvent::Kad(event)) => self.on_kad(event),
            SwarmEvent::Behaviour(BehaviourEvent::Identify(event)) => self.on_identify(event),
            SwarmEvent::Behaviour(BehaviourEvent::Ping(event)) => self.on_ping(event),
            SwarmEvent::Behaviour(BehaviourEvent::Relay(event)) => self.on_relay(&event),
            event => self.on_connection(event),
        }
    }

    /// Does what is due.
    fn on_alarms(&mut self) {
        let now = Instant::now();
        while let Some(alarm) = self.alarms.take(now) {
            match alarm {
                alarms::Alarm::Circuits(peer) => self.circuits_due(peer),
                alarms::Alarm::CircuitsAgain(peer, tries) => self.circuits_again(peer, tries),
                alarms::Alarm::Punch(peer, step) => self.punch_step(peer, step),
                alarms::Alarm::Verdict(peer, connection) => self.verdict(peer, connection),
                alarms::Alarm::Trace(peer) => self.look_at_trace(peer, true),
            }
        }
    }

    /// Queues an event for the owner. The swarm stops at [`EVENT_QUEUE`]; what commands and the gate add on top is
    /// dropped at twice that, loudly: the owner has not read an event for a very long time.
    fn tell(&mut self, event: NetEvent) {
        if self.outbox.len() >= 2 * EVENT_QUEUE {
            count(&self.shared.tally.events_dropped);
            tracing::warn!(?event, "nobody reads the network's events: dropped");
            return;
        }
        self.outbox.push_back(event);
    }

    /// Ends all connections in order, so that peers notice at once.
    async fn close(mut self, reply: Option<oneshot::Sender<Result<(), NetError>>>) {
        self.shared.registry.clear();
        self.shared.bulk.close();
        for peer in self.table.ids() {
            // An error means that it is gone already.
            let _ = self.swarm.disconnect_peer_id(peer);
        }
        let closing = async {
            while self.swarm.network_info().connection_counters().num_established() > 0 {
                self.swarm.next().await;
            }
        };
        if tokio::time::timeout(SHUTDOWN_TIMEOUT, closing).await.is_err() {
            tracing::debug!("some connections did not close in time");
        }
        // The sockets first: who is told that it is over may want the port again.
        drop(self);
        if let Some(reply) = reply {
            let _ = reply.send(Ok(()));
        }
    }
}

async fn wait_until(at: Option<tokio::time::Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
