//! The shell of `hive-reach`: feeds the core what the network saw, carries out what it wants, shows what it knows.
//!
//! Owns the relay server of this node and the addresses told to others. Decides nothing itself; knows no tasks, money
//! or files.

mod act;
mod days;
mod feed;
mod info;
mod probe;
mod serving;
mod view;

use crate::{
    clock::Clock,
    config::{NetConfig, RelayMode},
    membership::Standing,
};
#[cfg(test)]
pub(crate) use days::DayRow;
pub use days::{Days, TREE};
use hive_net::NetHandle;
use hive_protocol::{ids::NodeId, resources::Role};
use hive_reach::{Config, Effect, Input, PeerFacts, Report, Seed};
use probe::Found;
use serving::Desk;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{Notify, watch};

/// What this node tells others of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Told {
    /// Where it is reached, most useful first.
    pub addrs: Vec<String>,
    /// Whether it relays for others.
    pub relaying: bool,
}

/// What the shell needs.
pub struct Parts {
    /// The network.
    pub net: NetHandle,
    /// Who we are.
    pub standing: Standing,
    /// The clock.
    pub clock: Clock,
    /// What the owner allows.
    pub config: NetConfig,
    /// The role taken in the mesh.
    pub role: Role,
    /// Whether this node holds an authority.
    pub authority: bool,
    /// Where what is relayed in a day is kept.
    pub days: Days,
    /// Entropy.
    pub seed: Seed,
}

struct Inner {
    role: Role,
    core: Mutex<hive_reach::Reach>,
    net: NetHandle,
    standing: Standing,
    clock: Clock,
    config: NetConfig,
    wake: Notify,
    told: watch::Sender<Told>,
    desk: Mutex<Desk>,
    days: Days,
    found: Mutex<Found>,
    /// Counts tests that have ended.
    tests: watch::Sender<u64>,
    /// Counts what the core has been told: whoever waits for it to know something looks again.
    turns: watch::Sender<u64>,
}

/// How this node is reached. Cheap to clone.
#[derive(Clone)]
pub struct Reach(Arc<Inner>);

fn lock<T>(what: &Mutex<T>) -> MutexGuard<'_, T> {
    // Everything behind these locks is changed by short infallible steps.
    what.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Reach {
    /// A node that has just become, or is again, a member. [`Reach::run`] has to be driven.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        let mode = meant(parts.role, parts.config.relay.mode);
        let config = Config {
            me: parts.standing.node(),
            authority: parts.authority,
            relay: core_mode(mode),
            direct: parts.config.direct,
            announce: parts.config.announce.clone(),
        };
        let reach = Self(Arc::new(Inner {
            core: Mutex::new(hive_reach::Reach::new(config, parts.seed)),
            desk: Mutex::new(Desk::new(mode, parts.config.relay.limits)),
            days: parts.days,
            role: parts.role,
            net: parts.net,
            standing: parts.standing,
            clock: parts.clock,
            config: parts.config,
            wake: Notify::new(),
            told: watch::Sender::default(),
            found: Mutex::default(),
            tests: watch::Sender::default(),
            turns: watch::Sender::default(),
        }));
        reach.tell(Input::Authorities(reach.0.standing.authorities()));
        for addr in reach.0.net.listen_addrs() {
            reach.listening(addr, true);
        }
        reach
    }

    /// What is told to others, and changes of it.
    #[must_use]
    pub fn told(&self) -> watch::Receiver<Told> {
        self.0.told.subscribe()
    }

    /// Hands something to the core; what follows is done by [`Reach::run`].
    pub(super) fn tell(&self, input: Input) {
        lock(&self.0.core).handle(self.0.clock.now(), input);
        self.0.wake.notify_one();
        self.0.turns.send_modify(|n| *n = n.wrapping_add(1));
    }

    /// Completes once this holds of the core; looks when something has happened to it, and only then.
    pub(super) async fn once(&self, holds: impl Fn(&hive_reach::Reach) -> bool) {
        let mut turns = self.0.turns.subscribe();
        while !holds(&lock(&self.0.core)) {
            if turns.changed().await.is_err() {
                return;
            }
        }
    }

    /// Registry or gossip speak of a member.
    pub fn heard(&self, facts: PeerFacts) {
        self.tell(Input::Heard(facts));
    }

    /// What the core knows now.
    #[must_use]
    pub fn report(&self) -> Report {
        lock(&self.0.core).report()
    }

    /// Carries out what the core wants, until dropped.
    pub async fn run(self) {
        loop {
            while let Some(effect) = self.next_effect() {
                self.act(effect).await;
            }
            let due = lock(&self.0.core).poll_timeout();
            let timer = async {
                match due {
                    Some(at) => tokio::time::sleep_until(self.0.clock.instant(at)).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = self.0.wake.notified() => {}
                () = timer => self.tell(Input::Tick),
            }
        }
    }

    fn next_effect(&self) -> Option<Effect> {
        lock(&self.0.core).poll_effect()
    }

    fn me(&self) -> NodeId {
        self.0.net.me()
    }
}

/// What a mode means to a node of this role.
fn meant(role: Role, mode: RelayMode) -> RelayMode {
    match (role, mode) {
        // It was admitted for nothing else.
        (Role::Relay, RelayMode::Auto) => RelayMode::On,
        (_, mode) => mode,
    }
}

fn core_mode(mode: RelayMode) -> hive_reach::RelayMode {
    match mode {
        RelayMode::Auto => hive_reach::RelayMode::Auto,
        RelayMode::On => hive_reach::RelayMode::On,
        RelayMode::Off => hive_reach::RelayMode::Off,
    }
}
