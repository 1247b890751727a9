//! Nodes for tests and measurements: real networks on loopback, real stores, real credentials.

#![allow(dead_code)]

use hive_files::{Clock, Config, Deps, Evidence, Files, Hint, NoLeases, Transfer};
use hive_net::{Config as NetConfig, Gate, Limits, ListenAddrs, NetEvents, NetHandle, spawn};
use hive_protocol::{
    credential::Credential,
    ids::{AccountId, NetworkId, NodeId},
    keys::{SecretKey, Signed},
    member::{Hello, Verdict},
    resources::Role,
    time::{Millis, Timestamp},
};
use hive_store::{BlobStore, DataDir, DiskBudget, SledJournal, files::FileStore};
use std::{
    net::{TcpListener, UdpSocket},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

pub const MESH: NetworkId = NetworkId([7; 32]);
/// Nothing in these tests takes longer unless it is broken.
pub const DEADLINE: Duration = Duration::from_secs(60);
/// Disk quota of a test's store.
const QUOTA: u64 = 64 << 30;

/// Lets members in.
pub struct TestGate {
    credential: Signed<Credential>,
}

impl Gate for TestGate {
    fn hello(&self, listen: Vec<String>) -> Hello {
        Hello {
            network: MESH,
            credential: Some(self.credential.clone()),
            listen,
            version: "test".into(),
            now: now(),
        }
    }

    fn judge(&self, node: NodeId, hello: &Hello) -> Verdict {
        let refused = |detail: String| Verdict::Refused {
            code: "member.forged".into(),
            detail,
        };
        let Some(credential) = &hello.credential else {
            return refused("no credential".into());
        };
        let authority = NodeId(authority().public());
        match Credential::check(credential, &[authority], MESH, node, now()) {
            Ok(_) => Verdict::Welcome,
            Err(e) => refused(e.to_string()),
        }
    }
}

pub fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    Timestamp(since.as_millis() as u64)
}

fn authority() -> SecretKey {
    SecretKey::from_seed(&[255; 32])
}

pub fn secret(seed: u8) -> SecretKey {
    SecretKey::from_seed(&[seed; 32])
}

pub fn id(seed: u8) -> NodeId {
    NodeId(secret(seed).public())
}

fn credential(node: NodeId) -> Signed<Credential> {
    let document = Credential {
        network: MESH,
        node,
        account: AccountId([1; 32]),
        name: "test".into(),
        score: 50,
        containers: false,
        roles: vec![Role::Worker],
        issued: now(),
        expires: now() + Millis::hours(2),
    };
    Signed::sign(&authority(), &document).unwrap()
}

/// A network of its own on loopback.
pub async fn net(seed: u8) -> (NetHandle, NetEvents) {
    net_at(seed, ListenAddrs::Loopback(0)).await
}

/// A network of its own that listens here.
pub async fn net_at(seed: u8, listen: ListenAddrs) -> (NetHandle, NetEvents) {
    let gate = Arc::new(TestGate {
        credential: credential(id(seed)),
    });
    spawn(NetConfig {
        secret: secret(seed),
        network: MESH,
        listen,
        transports: hive_net::Transports::default(),
        ipv6: true,
        upnp: false,
        direct: true,
        kad_server: true,
        limits: Limits::default(),
        version: "test".into(),
        gate,
        bulk: hive_net::BulkListen::default(),
    })
    .await
    .unwrap()
}

/// A node that serves and pulls.
pub struct TestNode {
    pub net: NetHandle,
    pub files: Files,
    pub dir: PathBuf,
    pub evidence: Arc<Mutex<Vec<Evidence>>>,
}

/// A node with this seed that keeps its data below this folder.
pub async fn start(seed: u8, dir: &Path) -> TestNode {
    start_with(seed, dir, Config::default()).await
}

/// A node that listens nowhere: like one behind a NAT that lets nothing in.
pub async fn start_hidden(seed: u8, dir: &Path) -> TestNode {
    let net = net_at(seed, ListenAddrs::Exactly(Vec::new())).await;
    start_on(net, seed, dir, Config::default(), Arc::new(now))
}

pub async fn start_with(seed: u8, dir: &Path, config: Config) -> TestNode {
    start_on(net(seed).await, seed, dir, config, Arc::new(now))
}

/// A node on this network, with a clock of the test's.
pub fn start_on(
    (net, mut events): (NetHandle, NetEvents),
    seed: u8,
    dir: &Path,
    config: Config,
    clock: Clock,
) -> TestNode {
    tokio::spawn(async move { while events.next().await.is_some() {} });
    let (store, journal) = open(&dir.join("data"));
    let evidence: Arc<Mutex<Vec<Evidence>>> = Arc::default();
    let seen = Arc::clone(&evidence);
    let deps = Deps {
        net: net.clone(),
        store,
        journal: Arc::new(journal),
        clock,
        leases: Arc::new(NoLeases),
        on_evidence: Arc::new(move |e| seen.lock().unwrap().push(e)),
        seed: u64::from(seed) * 7919,
    };
    let files = Files::new(deps, config).unwrap();
    TestNode {
        net,
        files,
        dir: dir.to_path_buf(),
        evidence,
    }
}

/// The store and the journal of a data folder.
pub fn open(data: &Path) -> (FileStore, SledJournal) {
    let dir = DataDir::open(data).unwrap();
    let (blobs, _) = BlobStore::open_in(&dir, DiskBudget::new(QUOTA)).unwrap();
    let (store, report) = FileStore::open(&dir, blobs).unwrap();
    assert!(report.problems.is_empty(), "{report:?}");
    let (journal, alarm) = SledJournal::open(&data.join("transfers"), hive_files::TREES).unwrap();
    assert!(alarm.is_none(), "{alarm:?}");
    // The lock on the folder is the test's own business.
    std::mem::forget(dir);
    (store, journal)
}

impl TestNode {
    pub fn id(&self) -> NodeId {
        self.net.me()
    }

    /// This node as a provider that has all of it.
    pub fn hint(&self) -> Hint {
        Hint {
            node: self.id(),
            addrs: self.net.listen_addrs(),
            whole: true,
        }
    }

    /// A path in this node's folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }
}

/// Fails when this takes longer than the deadline.
pub async fn soon<T>(what: &str, doing: impl Future<Output = T>) -> T {
    match tokio::time::timeout(DEADLINE, doing).await {
        Ok(done) => done,
        Err(_) => panic!("not within the deadline: {what}"),
    }
}

/// A port for a node that is to come back to it: none of those that a system hands out by itself, so that nobody has it
/// by chance while the node is away.
pub fn own_port() -> u16 {
    const FIRST: u32 = 15_000;
    const COUNT: u32 = 15_000;
    static NEXT: AtomicU32 = AtomicU32::new(0);
    // Other processes of the same test begin somewhere else.
    let start = std::process::id().wrapping_mul(7919);
    for _ in 0..COUNT {
        let n = start.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
        let port = u16::try_from(FIRST + n % COUNT).unwrap();
        if is_free(port) {
            return port;
        }
    }
    panic!("no port is free");
}

fn is_free(port: u16) -> bool {
    let at = ("127.0.0.1", port);
    UdpSocket::bind(at).is_ok() && TcpListener::bind(at).is_ok()
}

/// What ended has let go of its port.
pub async fn until_free(port: u16) {
    let end = Instant::now() + DEADLINE;
    while !is_free(port) {
        assert!(Instant::now() < end, "port {port} stays taken");
        tokio::time::sleep(Duration::from_millis(10)).await; // paced: a port has no event when it is free
    }
}

/// Waits until nothing more comes, and says how much has been fetched by then. A view is made anew every 200 ms.
pub async fn until_still(transfer: &Transfer) -> u64 {
    const LOOKS: u32 = 5;
    let (mut last, mut same) = (transfer.view().fetched, 0);
    let end = Instant::now() + DEADLINE;
    while same < LOOKS {
        assert!(Instant::now() < end, "it does not stop");
        tokio::time::sleep(Duration::from_millis(250)).await; // paced: nothing may come for a while
        let now = transfer.view().fetched;
        same = if now == last { same + 1 } else { 0 };
        last = now;
    }
    last
}

/// Bytes that do not repeat and cannot be compressed.
pub fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut out = vec![0; len];
    let mut hasher = blake3::Hasher::new();
    hasher.update(&seed.to_le_bytes());
    hasher.finalize_xof().fill(&mut out);
    out
}
