//! A node of hive-net with a credential, as the daemon makes one, but for what the daemon does with it.

use crate::{
    Fail,
    node::{Ear, Make, Stat, Tally},
};
use hive_net::{
    Admission, BulkListen, Config, Gate, Judgement, Limits, ListenAddrs, NetEvent, NetEvents, NetHandle,
    Topic, Transports,
};
use hive_protocol::{
    credential::Credential,
    ids::{AccountId, NetworkId, NodeId},
    keys::{SecretKey, Signed},
    member::{Hello, Verdict},
    resources::Role,
    time::{Millis, Timestamp},
};
use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

const MESH: NetworkId = NetworkId([7; 32]);
/// The laboratory's time stands still: credentials do not expire in it.
const NOW: Timestamp = Timestamp(1_700_000_000_000);
/// Peers a serving node has room for, and does not send away: more than any run has.
const ROOM: usize = 8192;

fn authority() -> SecretKey {
    SecretKey::from_seed(&[255; 32])
}

/// The key of the nth node.
fn secret(n: u64) -> SecretKey {
    let mut seed = [17; 32];
    for (to, from) in seed.iter_mut().zip(n.to_le_bytes()) {
        *to = from;
    }
    SecretKey::from_seed(&seed)
}

/// The gate as the runtime has one: checks credentials against the authority's key.
struct Door {
    authority: NodeId,
    credential: Signed<Credential>,
}

impl Gate for Door {
    fn hello(&self, listen: Vec<String>) -> Hello {
        Hello {
            network: MESH,
            credential: Some(self.credential.clone()),
            listen,
            version: "swarmlab".into(),
            now: NOW,
        }
    }

    fn judge(&self, node: NodeId, hello: &Hello) -> Verdict {
        let refuse = |code: &str, detail: String| Verdict::Refused {
            code: code.into(),
            detail,
        };
        let Some(credential) = &hello.credential else {
            return refuse("member.no_credential", String::new());
        };
        match Credential::check(credential, &[self.authority], MESH, node, NOW) {
            Ok(_) => Verdict::Welcome,
            Err(e) => refuse("member.forged", e.to_string()),
        }
    }
}

/// A running node.
pub struct Member {
    pub net: NetHandle,
    tally: Arc<Tally>,
}

impl Member {
    pub async fn start(make: Make) -> Result<Self, Fail> {
        let secret = secret(make.n);
        let node = NodeId(secret.public());
        let document = Credential {
            network: MESH,
            node,
            account: AccountId([1; 32]),
            name: format!("n{}", make.n),
            score: 50,
            containers: false,
            roles: vec![Role::Worker],
            issued: NOW,
            expires: NOW + Millis::mins(20),
        };
        let door = Door {
            authority: NodeId(authority().public()),
            credential: Signed::sign(&authority(), &document)?,
        };
        let listen = if make.listen {
            vec![make.carrier.listen().to_owned()]
        } else {
            Vec::new()
        };
        let mut limits = Limits::default();
        limits.neighbours = make.neighbours.unwrap_or(limits.neighbours);
        if make.serves {
            limits.connections = u32::try_from(ROOM)?;
            limits.comfortable = ROOM;
            limits.memory_bytes = 8 << 30;
        }
        let config = Config {
            secret,
            network: MESH,
            listen: ListenAddrs::Exactly(listen),
            bulk: BulkListen::Off,
            transports: Transports::default(),
            ipv6: false,
            upnp: false,
            direct: true,
            kad_server: make.serves,
            limits,
            version: "swarmlab".into(),
            gate: Arc::new(door),
        };
        let (net, events) = hive_net::spawn(config).await?;
        let tally = Arc::new(Tally::default());
        tokio::spawn(hear(
            events,
            net.clone(),
            Arc::clone(&tally),
            make.ear,
            make.silent,
        ));
        for topic in Topic::ALL {
            net.subscribe(topic).await?;
        }
        Ok(Self { net, tally })
    }

    pub fn id(&self) -> String {
        self.net.me().to_string()
    }

    pub fn addr(&self) -> Option<String> {
        self.net.listen_addrs().into_iter().next()
    }

    pub async fn join(&self, id: &str, addr: &str) -> Result<(), String> {
        let node = id.parse().map_err(|e| format!("{id}: {e}"))?;
        match self.net.dial(node, vec![addr.to_owned()]).await {
            Ok(Admission::Member) => Ok(()),
            Ok(refused) => Err(format!("{refused:?}")),
            Err(e) => Err(e.to_string()),
        }
    }

    pub async fn publish(&self, bytes: Vec<u8>) -> Result<bool, String> {
        self.net
            .publish(Topic::Demand, bytes)
            .await
            .map_err(|e| e.to_string())
    }

    pub fn stat(&self) -> Stat {
        let counters = self.net.counters();
        Stat {
            peers: self.tally.peers.load(Ordering::Relaxed),
            opened: counters.connections_opened,
            closed: counters.connections_closed,
            failed: counters.inbound_failed + counters.dials_failed,
            failed_in: counters.inbound_failed,
            duplicate: counters.connections_duplicate,
        }
    }

    /// Ends it as a process that is stopped in order.
    pub async fn stop(&self) {
        let _ = tokio::time::timeout(Duration::from_secs(5), self.net.shutdown()).await;
    }
}

async fn hear(mut events: NetEvents, net: NetHandle, tally: Arc<Tally>, ear: Option<Ear>, silent: bool) {
    let judgement = if silent {
        Judgement::Ignore
    } else {
        Judgement::Accept
    };
    while let Some(event) = events.next().await {
        match event {
            NetEvent::Connected { .. } => Tally::add(&tally.peers),
            NetEvent::Disconnected { member: true, .. } => Tally::sub(&tally.peers),
            NetEvent::Gossip {
                id, source, bytes, ..
            } => {
                let from = id.from;
                net.validated(id, judgement).await;
                if let Some(ear) = &ear {
                    ear(&bytes, from == source);
                }
            }
            _ => {}
        }
    }
}
