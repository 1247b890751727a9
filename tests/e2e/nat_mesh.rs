//! A whole mesh in the laboratory of real NATs: an authority and a relay in public, a worker and a client wherever
//! the laboratory puts them. Needs root.

use crate::{
    mesh::{CPT, GRANT, Slot, home},
    node::Node,
    trees::text,
    wait::{SOON, until, until_else},
};
use hive_natlab::{Lab, Plan};
use serde_json::{Value, json};
use std::{
    cell::RefCell,
    path::PathBuf,
    sync::{
        Mutex, MutexGuard,
        atomic::{AtomicU32, Ordering},
    },
};
use tempfile::TempDir;

/// One laboratory at a time: what is measured in it has deadlines of its own.
static ONE: Mutex<()> = Mutex::new(());
/// Laboratories of this process, to tell them apart.
static LABS: AtomicU32 = AtomicU32::new(0);

/// A mesh behind NATs. Daemons are dropped before their networks and folders.
pub struct NatMesh {
    /// At `relay`: keeps the ledger, relays unless told otherwise.
    pub authority: Node,
    /// At `other`: relays.
    pub relay: Node,
    /// At `a`.
    pub worker: Node,
    /// At `b`, with a funded account.
    pub client: Node,
    /// The networks.
    pub lab: Lab,
    home: TempDir,
    _slot: Slot,
    _one: MutexGuard<'static, ()>,
}

impl NatMesh {
    /// Brings it up in a laboratory with the hosts `relay`, `other`, `a` and `b`. Each node may be given settings
    /// before it starts; they are named `authority`, `relay`, `worker`, `client`.
    #[track_caller]
    pub fn raise(plan: &str, settle: impl Fn(Node) -> Node) -> Self {
        let one = ONE.lock().unwrap_or_else(|e| e.into_inner());
        let slot = Slot::take();
        let home = home();
        let plan: Plan = plan.parse().expect("a description");
        let name = format!(
            "hx{}n{}",
            std::process::id(),
            LABS.fetch_add(1, Ordering::Relaxed)
        );
        let lab = Lab::raise(&name, plan).expect("a laboratory: root, ip, nft");
        let make = |name: &str, at: &str, listen: &str, relay: &str| {
            let node = Node::new(home.path(), name)
                .inside(lab.inside(at).expect("a host").name())
                .with("listen", listen)
                .with("relay", relay)
                .with("upnp", "off")
                .with("log", "info,hive=debug");
            settle(node)
        };
        let mut mesh = Self {
            authority: make("authority", "relay", "4001", "on"),
            relay: make("relay", "other", "4001", "on"),
            worker: make("worker", "a", "", "auto"),
            client: make("client", "b", "", "auto"),
            lab,
            home,
            _slot: slot,
            _one: one,
        };
        let mut nodes = [
            &mut mesh.authority,
            &mut mesh.relay,
            &mut mesh.worker,
            &mut mesh.client,
        ];
        nodes.iter_mut().for_each(|n| n.begin());
        for node in nodes {
            if let Err(e) = node.served() {
                panic!("{} did not start: {e}", node.name);
            }
        }
        let request = json!({"name": "lab", "mint": 1_000_000 * CPT, "default_score": 50, "worker": false});
        mesh.authority.post("/v1/mesh", &request);
        mesh.admit(&mesh.relay, "client", 0);
        mesh.admit(&mesh.worker, "worker", 0);
        mesh.admit(&mesh.client, "client", GRANT);
        for node in [&mesh.worker, &mesh.client] {
            mesh.reachable(node);
        }
        until("the worker is online for the client", SOON, || {
            let nodes = mesh.client.get("/v1/nodes", "nodes")?;
            let mut workers = nodes.as_array()?.iter().filter(|n| n["name"] == "worker");
            workers.any(|n| n["state"] == "online").then_some(())
        });
        mesh
    }

    #[track_caller]
    fn admit(&self, node: &Node, role: &str, grant: u64) {
        let request = json!({"role": role, "uses": 1, "ttl_ms": 3_600_000, "grant": grant * CPT});
        let answer = self.authority.post("/v1/invites", &request);
        node.post("/v1/join", &json!({"ticket": answer["invite"]["ticket"]}));
    }

    /// Waits until others can reach a node, at an address of its own or through a relay.
    #[track_caller]
    pub fn reachable(&self, node: &Node) {
        let last = RefCell::new(Value::Null);
        let look = || {
            let reach = node.get("/v1/status", "status")?["reach"].clone();
            last.replace(reach.clone());
            let relayed = reach["relays"].as_array().is_some_and(|r| !r.is_empty());
            (relayed || reach["state"] == "public").then_some(())
        };
        until_else(SOON, look, || {
            format!("{} can be reached: {}", node.name, last.borrow())
        });
    }

    /// The way of `from` to the worker or the client, whoever it is not.
    pub fn path(&self, from: &Node) -> Option<Value> {
        let to = if from.name == "client" {
            &self.worker
        } else {
            &self.client
        };
        let id = to.get("/v1/status", "status")?["node"].as_str()?.to_owned();
        from.get(&format!("/v1/net/paths/{id}"), "paths")
    }

    /// Waits until the client's way to the worker is this one; it.
    #[track_caller]
    pub fn path_is(&self, state: &str) -> Value {
        let last = RefCell::new(Value::Null);
        let look = || {
            let path = self.path(&self.client)?;
            last.replace(path.clone());
            (path["state"] == state).then_some(path)
        };
        until_else(SOON, look, || format!("the path is {state}: {:#}", last.borrow()))
    }

    /// A path below the folder of the test.
    pub fn place(&self, name: &str) -> PathBuf {
        self.home.path().join("files").join(name)
    }

    /// A place for files of the test.
    pub fn file(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.place(name);
        std::fs::create_dir_all(path.parent().expect("below the folder")).expect("a folder");
        std::fs::write(&path, bytes).expect("a file");
        path
    }

    /// A guest as a module file.
    pub fn module(&self, name: &str, wat: &str) -> String {
        let bytes = wat::parse_str(wat).unwrap_or_else(|e| panic!("{e}\n{wat}"));
        text(&self.file(&format!("{name}.wasm"), bytes)).to_owned()
    }
}
