//! How this node can be reached: what others see it as, tests of its addresses, ports opened at routers.
//!
//! Owns the evidence; what follows from it (which addresses are published, whether the hash table is served) is decided
//! by the owner. Must not know what is said on the streams of others.

mod again;
mod arrivals;
mod ask;
mod back;
mod budget;
mod facts;
mod filter;
mod heard;
mod leash;
mod mapper;
mod probe;
mod publish;
mod resolve;
mod scope;
mod seen;
mod sent;
mod serve;
mod wire;

pub use ask::{TEST_TIMEOUT, TestReport, Tester, Tried};
pub use facts::{MappingView, NetFacts, route_mtu};

pub(crate) use arrivals::Arrival;
pub(crate) use heard::{Counted, Heard};
pub(crate) use leash::{Hold, Leash};
pub(crate) use probe::Prober;
pub(crate) use resolve::resolve;
pub(crate) use scope::{Scope, mappable, of as scope_of};
pub(crate) use sent::{Noted, SentTo};

use crate::{
    error::NetError,
    handle::{Command, NetHandle, Shared},
    registry::ProtocolPolicy,
};
use hive_protocol::{ids::NodeId, reach};
use libp2p::Multiaddr;
use std::{
    sync::{Arc, OnceLock, PoisonError, RwLock},
    time::Instant,
};
use tokio::sync::{mpsc, watch};

/// Tests one peer may ask for at a time.
const MAX_ASKING: usize = 4;
/// Requests for tests that wait; more are reset.
const BACKLOG: usize = 64;

/// What the handle, the loop and the tests share.
#[derive(Default)]
pub(crate) struct Reach {
    /// Where something was sent to lately.
    pub sent: Arc<SentTo>,
    /// How much has come from whom through relays.
    pub heard: Arc<Heard>,
    /// Ends dials before their time.
    pub leash: Arc<Leash>,
    /// Who came in lately.
    pub arrivals: arrivals::Arrivals,
    /// What this node was seen as.
    pub seen: seen::Seen,
    /// What routers let in, and which transports have worked.
    pub facts: facts::Facts,
    dial_backs: back::DialBacks,
    prober: OnceLock<Arc<Prober>>,
    /// What the owner wants to be told of this node; none before it has said.
    published: RwLock<Option<Vec<String>>>,
}

impl Reach {
    fn prober(&self) -> Option<Arc<Prober>> {
        self.prober.get().cloned()
    }

    /// The addresses the owner wants to be told, if it has said so.
    pub(crate) fn published(&self) -> Option<Vec<String>> {
        let published = self.published.read().unwrap_or_else(PoisonError::into_inner);
        published.clone()
    }

    /// From now on these.
    pub(crate) fn publish(&self, addrs: Vec<String>) {
        *self.published.write().unwrap_or_else(PoisonError::into_inner) = Some(addrs);
    }

    /// What this node seems to be from outside: mapped by a router, then seen by most members; at most 8.
    pub(crate) fn candidates(&self) -> Vec<Multiaddr> {
        let mut all: Vec<Multiaddr> = self.facts.mapped();
        all.truncate(seen::MAX_CANDIDATES / 2);
        for addr in self.seen.most(Instant::now()) {
            if !all.contains(&addr) {
                all.push(addr);
            }
        }
        all.truncate(seen::MAX_CANDIDATES);
        all
    }
}

/// Makes tests for others. Does not keep the network alive.
struct Service {
    me: NodeId,
    prober: Arc<Prober>,
    budget: budget::Budget,
    shared: Arc<Shared>,
    commands: mpsc::WeakSender<Command>,
}

impl Service {
    /// The network, while somebody else wants it.
    fn handle(&self) -> Option<NetHandle> {
        Some(NetHandle {
            me: self.me,
            commands: self.commands.upgrade()?,
            shared: Arc::clone(&self.shared),
        })
    }
}

/// Begins to have routers open the ports this node listens on.
pub(crate) fn open_ports(net: &NetHandle, listening: watch::Receiver<Vec<String>>) {
    let places = mapper::Places::default();
    let keeper = mapper::Keeper::new(Arc::clone(&net.shared), net.commands.downgrade(), places);
    tokio::spawn(keeper.run(listening));
}

/// Begins to serve tests, and to take the words of those made for this node.
pub(crate) fn start(net: &NetHandle, prober: Prober) -> Result<(), NetError> {
    let (shared, registry) = (Arc::clone(&net.shared), &net.shared.registry);
    let policy = ProtocolPolicy {
        members_only: true,
        max_inbound_per_peer: MAX_ASKING,
        backlog: BACKLOG,
    };
    let back = registry.serve(wire::DIAL_BACK, policy)?;
    tokio::spawn(shared.reach.dial_backs.clone().serve(back));
    let prober = Arc::new(prober);
    // Called once, at start: there is nothing set that could be in the way.
    let _ = shared.reach.prober.set(Arc::clone(&prober));
    let service = Arc::new(Service {
        me: net.me,
        prober,
        budget: budget::Budget::default(),
        shared: Arc::clone(&shared),
        commands: net.commands.downgrade(),
    });
    let requests = registry.serve(wire::DIAL_REQUEST, policy)?;
    tokio::spawn(serve::serve(requests, Arc::clone(&service), serve::dial_back));
    let requests = registry.serve(reach::PROTOCOL, policy)?;
    tokio::spawn(serve::serve(requests, service, serve::help));
    Ok(())
}
