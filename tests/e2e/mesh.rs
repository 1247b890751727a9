//! A whole mesh in a temporary folder: an authority, workers, a client with a funded account.

use crate::{
    node::Node,
    wait::{SOON, until, until_else},
};
use serde_json::{Value, json};
use std::{
    net::{TcpListener, UdpSocket},
    os::{
        linux::net::SocketAddrExt,
        unix::net::{SocketAddr, UnixListener},
    },
    path::{Path, PathBuf},
    sync::{Condvar, Mutex},
};
use tempfile::TempDir;

/// Meshes at once: tests share two cores in CI, and starved processes miss their deadlines.
const AT_ONCE: usize = 2;
static RUNNING: Mutex<usize> = Mutex::new(0);
static ENDED: Condvar = Condvar::new();

/// The right to run a mesh.
pub struct Slot(());

impl Slot {
    /// Waits for its turn.
    pub fn take() -> Self {
        let running = RUNNING.lock().unwrap_or_else(|e| e.into_inner());
        let mut running = ENDED
            .wait_while(running, |n| *n >= AT_ONCE)
            .unwrap_or_else(|e| e.into_inner());
        *running += 1;
        Self(())
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        *RUNNING.lock().unwrap_or_else(|e| e.into_inner()) -= 1;
        ENDED.notify_one();
    }
}

/// µCPT in a CPT.
pub const CPT: u64 = 1_000_000;
/// CPT the client is given.
pub const GRANT: u64 = 1000;

/// A mesh. Fields are dropped in this order: processes before their folder, the slot last.
pub struct Mesh {
    /// Keeps the ledger, does no work.
    pub authority: Node,
    /// `w1`, `w2` …
    pub workers: Vec<Node>,
    /// Submits.
    pub client: Node,
    home: TempDir,
    _slot: Slot,
}

/// A folder whose sockets have short paths.
pub fn home() -> TempDir {
    tempfile::Builder::new()
        .prefix("hn-")
        .tempdir_in("/tmp")
        .expect("a temporary folder")
}

/// Below the ports that systems give to whoever asks for any: nobody gets one of these by chance.
const PORTS: std::ops::Range<u16> = 12_000..32_000;

/// A port that nobody has, of UDP and of TCP, and that no other test gets while this process lives: an authority may
/// be started at it, stopped and started again.
pub fn free_port() -> u16 {
    static TAKEN: Mutex<Vec<UnixListener>> = Mutex::new(Vec::new());
    let first = PORTS.start
        + u16::try_from(std::process::id() * 7919 % u32::from(PORTS.end - PORTS.start)).expect("a port");
    for port in (first..PORTS.end).chain(PORTS.start..first) {
        // The system keeps these names apart, for other processes too, and gives them up with the process.
        let name = SocketAddr::from_abstract_name(format!("hivenode-test-port-{port}")).expect("a name");
        let Ok(mark) = UnixListener::bind_addr(&name) else {
            continue;
        };
        if TcpListener::bind(("127.0.0.1", port)).is_ok() && UdpSocket::bind(("127.0.0.1", port)).is_ok() {
            TAKEN.lock().unwrap_or_else(|e| e.into_inner()).push(mark);
            return port;
        }
    }
    panic!("no port is free");
}

impl Mesh {
    /// An authority, this many workers, a client.
    #[track_caller]
    pub fn of(workers: usize) -> Self {
        Self::with(workers, |node| node)
    }

    /// The same; each node may be given settings before it starts. They are named `authority`, `w1` …, `client`.
    #[track_caller]
    pub fn with(workers: usize, settle: impl Fn(Node) -> Node) -> Self {
        let slot = Slot::take();
        let home = home();
        let make = |name: &str| settle(Node::new(home.path(), name));
        let port = free_port();
        let listen = format!("/ip4/127.0.0.1/udp/{port}/quic-v1,/ip4/127.0.0.1/tcp/{port}");
        // A fixed port: whoever comes back must find the authority where it was.
        let authority = settle(Node::new(home.path(), "authority").with("listen", &listen));
        let names: Vec<String> = (1..=workers).map(|n| format!("w{n}")).collect();
        let mut mesh = Self {
            authority,
            workers: names.iter().map(|n| make(n)).collect(),
            client: make("client"),
            home,
            _slot: slot,
        };
        mesh.nodes().for_each(Node::begin);
        for node in mesh.nodes() {
            if let Err(e) = node.served() {
                panic!("{} did not start: {e}", node.name);
            }
        }
        let request = json!({"name": "lab", "mint": 1_000_000 * CPT, "default_score": 50, "worker": false});
        mesh.authority.post("/v1/mesh", &request);
        for worker in &mesh.workers {
            mesh.admit(worker, "worker", 0);
        }
        mesh.admit(&mesh.client, "client", GRANT);
        mesh.client_sees(workers);
        mesh
    }

    fn nodes(&mut self) -> impl Iterator<Item = &mut Node> {
        [&mut self.authority, &mut self.client]
            .into_iter()
            .chain(&mut self.workers)
    }

    /// A ticket for this role with this many CPT.
    #[track_caller]
    pub fn ticket(&self, role: &str, grant: u64) -> String {
        let request = json!({"role": role, "uses": 1, "ttl_ms": 3_600_000, "grant": grant * CPT});
        let answer = self.authority.post("/v1/invites", &request);
        answer["invite"]["ticket"].as_str().expect("a ticket").to_owned()
    }

    /// Lets a running node in.
    #[track_caller]
    pub fn admit(&self, node: &Node, role: &str, grant: u64) {
        node.post("/v1/join", &json!({"ticket": self.ticket(role, grant)}));
    }

    /// Waits until the client knows this many workers to be online.
    #[track_caller]
    pub fn client_sees(&self, workers: usize) {
        until(&format!("{workers} workers online for the client"), SOON, || {
            let nodes = self.client.get("/v1/nodes", "nodes")?;
            let online = |n: &&Value| {
                n["state"] == "online"
                    && n["roles"]
                        .as_array()
                        .is_some_and(|r| r.contains(&json!("worker")))
            };
            (nodes.as_array()?.iter().filter(online).count() == workers).then_some(())
        });
    }

    /// A place for files of the test.
    pub fn file(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().expect("below the folder")).expect("a folder");
        std::fs::write(&path, bytes).expect("a file");
        path
    }

    /// A path below the folder of the test.
    pub fn path(&self, name: &str) -> PathBuf {
        self.home.path().join("files").join(name)
    }

    /// A guest as a module file.
    pub fn module(&self, name: &str, text: &str) -> String {
        let bytes = wat::parse_str(text).unwrap_or_else(|e| panic!("{e}\n{text}"));
        let path = self.file(&format!("{name}.wasm"), bytes);
        path.to_str().expect("a text path").to_owned()
    }

    /// Waits until nothing is held any more, then looks whether every µCPT is where it belongs: what the client
    /// has lost, the workers have got, no more and no less, and that is what its jobs say they cost.
    #[track_caller]
    pub fn settled(&self) -> u64 {
        until("all holds are settled", SOON, || {
            (self.client.wallet()["held"] == 0).then_some(())
        });
        self.adds_up();
        let spent = GRANT * CPT - self.client.wallet()["available"].as_u64().expect("a number");
        let earned: u64 = self.workers.iter().map(|w| self.balance(&w.name)).sum();
        assert_eq!(spent, earned, "what the client lost is what the workers got");
        // The ledger has a payment a moment before the client hears that it was made.
        let jobs = || self.client.get("/v1/jobs", "jobs").unwrap_or_default();
        let cost = |jobs: &Value| -> u64 {
            let all = jobs.as_array().into_iter().flatten();
            all.filter_map(|j| j["cost"].as_u64()).sum()
        };
        until_else(
            SOON,
            || (cost(&jobs()) == spent).then_some(()),
            || format!("the jobs' costs are the {spent} that were paid: {}", jobs()),
        );
        spent
    }

    /// What a node's account has free, as the authority knows it.
    #[track_caller]
    pub fn balance(&self, name: &str) -> u64 {
        let wallet = self
            .authority
            .get(&format!("/v1/wallet?account={name}"), "wallet");
        wallet.expect("a wallet")["available"].as_u64().expect("a number")
    }

    /// Minted is free plus held, whatever happens.
    #[track_caller]
    pub fn adds_up(&self) {
        let wallet = self.authority.wallet();
        let sums: Vec<u64> = wallet["ledger"]
            .as_array()
            .expect("sums")
            .iter()
            .filter_map(Value::as_u64)
            .collect();
        assert_eq!(sums[0], sums[1] + sums[2], "minted = free + held");
        assert_eq!(sums[0], 1_000_000 * CPT);
    }
}

/// A module of docs/examples.
pub fn example(path: &str) -> String {
    let here = std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
    let mut above = Path::new(&here).ancestors();
    let file = above.find_map(|r| Some(r.join("docs/examples").join(path)).filter(|p| p.is_file()));
    file.and_then(|p| p.to_str().map(str::to_owned))
        .expect("the example module")
}
