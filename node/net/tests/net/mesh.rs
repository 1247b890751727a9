//! Nodes for tests: real ones, with real credentials.

use hive_net::{Config, Gate, Limits, ListenAddrs, NetEvent, NetEvents, NetHandle, spawn};
use hive_protocol::{
    credential::{Credential, CredentialError},
    ids::{AccountId, NetworkId, NodeId},
    keys::{SecretKey, Signed},
    member::{Hello, Verdict},
    resources::Role,
    time::{Millis, Timestamp},
};
use std::{
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::time::{Instant, timeout};

pub const MESH: NetworkId = NetworkId([7; 32]);
pub const NOW: Timestamp = Timestamp(1_700_000_000_000);
/// Nothing in these tests takes longer unless it is broken.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// A port on which nobody listens, and nobody will by chance: it is not among those that systems give to whoever asks
/// for any.
pub fn nobodys_port() -> u16 {
    (9000..30_000)
        .find(|port| std::net::TcpListener::bind(("127.0.0.1", *port)).is_ok())
        .expect("a port is free")
}

/// A gate as the runtime has one: checks credentials against the authority's key.
pub struct TestGate {
    pub network: NetworkId,
    pub credential: Mutex<Option<Signed<Credential>>>,
}

impl Gate for TestGate {
    fn hello(&self, listen: Vec<String>) -> Hello {
        Hello {
            network: self.network,
            credential: self.credential.lock().unwrap().clone(),
            listen,
            version: "test".into(),
            now: NOW,
        }
    }

    fn judge(&self, node: NodeId, hello: &Hello) -> Verdict {
        let refuse = |code: &str, detail: String| Verdict::Refused {
            code: code.into(),
            detail,
        };
        if hello.network != self.network {
            return refuse("member.wrong_mesh", format!("mesh {:?}", hello.network));
        }
        let Some(credential) = &hello.credential else {
            return refuse("member.no_credential", String::new());
        };
        match Credential::check(credential, &[authority_id()], self.network, node, NOW) {
            Ok(_) => Verdict::Welcome,
            Err(e @ CredentialError::Expired { .. }) => refuse("member.expired", e.to_string()),
            Err(e) => refuse("member.forged", e.to_string()),
        }
    }
}

pub fn authority() -> SecretKey {
    SecretKey::from_seed(&[255; 32])
}

pub fn authority_id() -> NodeId {
    NodeId(authority().public())
}

/// A credential for a node, signed by this key.
pub fn credential(signer: &SecretKey, node: NodeId, expires: Timestamp) -> Signed<Credential> {
    let document = Credential {
        network: MESH,
        node,
        account: AccountId([1; 32]),
        name: "test".into(),
        score: 50,
        containers: false,
        roles: vec![Role::Worker],
        issued: NOW,
        expires,
    };
    Signed::sign(signer, &document).unwrap()
}

pub fn secret(seed: u8) -> SecretKey {
    SecretKey::from_seed(&[seed; 32])
}

pub fn id(seed: u8) -> NodeId {
    NodeId(secret(seed).public())
}

pub struct TestNode {
    pub net: NetHandle,
    pub events: NetEvents,
    pub gate: Arc<TestGate>,
}

/// A node with this seed; `how` may change its configuration.
pub async fn start(
    seed: u8,
    network: NetworkId,
    credential: Option<Signed<Credential>>,
    how: impl FnOnce(&mut Config),
) -> TestNode {
    let secret = secret(seed);
    let gate = Arc::new(TestGate {
        network,
        credential: Mutex::new(credential),
    });
    let mut config = Config {
        secret,
        network,
        listen: ListenAddrs::Loopback(0),
        bulk: Default::default(),
        transports: hive_net::Transports::default(),
        ipv6: true,
        upnp: false,
        direct: true,
        kad_server: true,
        limits: Limits::default(),
        version: "test".into(),
        gate: gate.clone(),
    };
    how(&mut config);
    let (net, events) = spawn(config).await.unwrap();
    TestNode { net, events, gate }
}

/// A member of the mesh.
pub async fn member(seed: u8) -> TestNode {
    member_with(seed, |_| {}).await
}

pub async fn member_with(seed: u8, how: impl FnOnce(&mut Config)) -> TestNode {
    let expires = NOW + Millis::mins(20);
    let credential = credential(&authority(), id(seed), expires);
    start(seed, MESH, Some(credential), how).await
}

impl TestNode {
    pub fn id(&self) -> NodeId {
        self.net.me()
    }

    pub fn quic(&self) -> Vec<String> {
        self.addrs("/quic-v1")
    }

    pub fn tcp(&self) -> Vec<String> {
        self.addrs("/tcp/")
    }

    fn addrs(&self, part: &str) -> Vec<String> {
        let mut addrs = self.net.listen_addrs();
        addrs.retain(|a| a.contains(part));
        assert!(!addrs.is_empty());
        addrs
    }

    /// The first event this finds something in.
    pub async fn wait<T>(&mut self, mut find: impl FnMut(NetEvent) -> Option<T>) -> T {
        let me = self.id();
        let finding = async {
            loop {
                let event = self.events.next().await.expect("the network has ended");
                if let Some(found) = find(event) {
                    return found;
                }
            }
        };
        match timeout(DEADLINE, finding).await {
            Ok(found) => found,
            Err(_) => panic!("{me:?} waited in vain"),
        }
    }

    pub async fn wait_connected(&mut self, other: NodeId) {
        self.wait(|e| match e {
            NetEvent::Connected { node, .. } if node == other => Some(()),
            _ => None,
        })
        .await;
    }

    pub async fn dial(&self, other: &Self) -> hive_net::Admission {
        self.net.dial(other.id(), other.net.listen_addrs()).await.unwrap()
    }
}

/// Asks again until it is so; fails at the deadline.
pub async fn until(what: &str, mut ask: impl AsyncFnMut() -> bool) {
    let end = Instant::now() + DEADLINE;
    while !ask().await {
        assert!(Instant::now() < end, "not within the deadline: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Tries at being quick.
pub const TRIES: usize = 4;

/// The quickest of some tries: what else the machine does adds to the time, nothing takes from it. The first that is
/// within the limit ends it.
pub async fn quickest(limit: Duration, mut once: impl AsyncFnMut(u8) -> Duration) -> Duration {
    let mut best = Duration::MAX;
    for n in 0..TRIES {
        best = best.min(once(n as u8).await);
        if best < limit {
            break;
        }
    }
    best
}

/// Fails when this takes longer than the deadline.
pub async fn soon<T>(what: &str, doing: impl Future<Output = T>) -> T {
    match timeout(DEADLINE, doing).await {
        Ok(done) => done,
        Err(_) => panic!("not within the deadline: {what}"),
    }
}
