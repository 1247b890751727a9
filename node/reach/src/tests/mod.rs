//! The core in virtual time, told what networks of each kind would tell it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod chaos;
mod places;
mod relays;
mod sybils;

use crate::{Config, Effect, Input, PeerFacts, Reach, RelayLoad, RelayMode, Seed};
use hive_protocol::{
    ids::{AccountId, NodeId},
    time::{Millis, Timestamp},
};
use std::collections::BTreeMap;

pub(crate) const LAN: &str = "/ip4/192.168.1.7/udp/4001/quic-v1";
pub(crate) const LAN_TCP: &str = "/ip4/192.168.1.7/tcp/4001";
pub(crate) const WAN: &str = "/ip4/203.0.113.9/udp/4001/quic-v1";
pub(crate) const HOP: &str = "/ip4/203.0.113.1/udp/4001/quic-v1";

pub(crate) fn node(n: u16) -> NodeId {
    let mut id = [7; 32];
    id[..2].copy_from_slice(&n.to_be_bytes());
    NodeId(id)
}

pub(crate) fn account(n: u16) -> AccountId {
    let mut id = [9; 32];
    id[..2].copy_from_slice(&n.to_be_bytes());
    AccountId(id)
}

pub(crate) fn circuit(relay: NodeId) -> String {
    format!("{HOP}/p2p/12D3Koo{}/p2p-circuit", relay.0[1])
}

/// A core, its clock, and what it has asked for.
pub(crate) struct Rig {
    pub reach: Reach,
    pub now: Timestamp,
    pub seen: Vec<Effect>,
    /// What relays answer when they are asked how they are.
    pub answers: BTreeMap<NodeId, (u64, RelayLoad)>,
}

impl Rig {
    pub(crate) fn new(change: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config {
            me: node(0),
            authority: false,
            relay: RelayMode::Auto,
            direct: true,
            announce: Vec::new(),
        };
        change(&mut config);
        Self {
            reach: Reach::new(config, Seed([3; 32])),
            now: Timestamp(1_000_000),
            seen: Vec::new(),
            answers: BTreeMap::new(),
        }
    }

    pub(crate) fn tell(&mut self, input: Input) -> &mut Self {
        self.reach.handle(self.now, input);
        self.reach.check_invariants();
        while let Some(effect) = self.reach.poll_effect() {
            if let Effect::AskRelay { node, .. } = &effect
                && let Some((rtt_us, load)) = self.answers.get(node).copied()
            {
                let node = *node;
                self.reach
                    .handle(self.now, Input::RelayTold { node, rtt_us, load });
            }
            self.seen.push(effect);
        }
        self
    }

    /// Lets time pass, taking every deadline.
    pub(crate) fn pass(&mut self, span: Millis) -> &mut Self {
        let end = self.now + span;
        for _ in 0..100_000 {
            match self.reach.poll_timeout().filter(|at| *at <= end) {
                Some(at) => {
                    assert!(at > self.now, "time stands still at {at:?}");
                    self.now = at;
                    self.tell(Input::Tick);
                }
                None => {
                    self.now = end;
                    return self;
                }
            }
        }
        panic!("deadlines without end");
    }

    /// What was asked for since the last call.
    pub(crate) fn taken(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.seen)
    }

    pub(crate) fn published(&self) -> Vec<String> {
        self.reach
            .report()
            .published
            .into_iter()
            .map(|p| p.addr)
            .collect()
    }

    pub(crate) fn listening(&mut self, addr: &str) -> &mut Self {
        self.tell(Input::Listening {
            addr: addr.to_owned(),
        })
    }

    pub(crate) fn connected(&mut self, n: u16, addr: &str) -> &mut Self {
        self.tell(Input::Connected {
            node: node(n),
            addr: addr.to_owned(),
            dialer: true,
        })
    }

    pub(crate) fn observed(&mut self, n: u16, from: &str, addr: &str) -> &mut Self {
        self.tell(Input::Observed {
            observer: node(n),
            addr: addr.to_owned(),
            from: from.to_owned(),
        })
    }

    pub(crate) fn heard(&mut self, n: u16, relays: bool, addr: &str) -> &mut Self {
        self.tell(Input::Heard(PeerFacts {
            node: node(n),
            account: account(n),
            score: 50,
            relays,
            addrs: vec![addr.to_owned()],
            leaving: false,
        }))
    }

    pub(crate) fn told(&mut self, n: u16, rtt_us: u64, load_milli: u32) -> &mut Self {
        let load = RelayLoad {
            serving: true,
            load_milli,
        };
        self.answers.insert(node(n), (rtt_us, load));
        self.tell(Input::RelayTold {
            node: node(n),
            rtt_us,
            load,
        })
    }

    pub(crate) fn reserved(&mut self, n: u16) -> &mut Self {
        self.tell(Input::Reserved {
            relay: node(n),
            addr: circuit(node(n)),
        })
    }

    /// Behind a router that translates, connected to an authority (1) that relays.
    pub(crate) fn behind_nat() -> Self {
        let mut rig = Self::new(|_| {});
        rig.listening(LAN).listening(LAN_TCP);
        rig.tell(Input::Authorities(vec![node(1)]));
        rig.connected(1, HOP).observed(1, HOP, WAN);
        rig
    }
}

/// The relays a rig was asked to be reached through.
pub(crate) fn reserves(effects: &[Effect]) -> Vec<NodeId> {
    let of = |e: &Effect| match e {
        Effect::Reserve { relay, .. } => Some(*relay),
        _ => None,
    };
    effects.iter().filter_map(of).collect()
}
