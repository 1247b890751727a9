//! A daemon among many members of one attacker: it keeps its authority and honest peers, its work is done, what it
//! looks for is found.

use crate::{
    guests,
    mesh::{Mesh, free_port},
    node::Node,
    trees::{noise, share, text},
    wait::{SOON, until, until_else},
};
use hive_net::{Admission, Config, Gate, Limits, ListenAddrs, NetHandle, Topic, frame};
use hive_protocol::{
    command::{Command, CommandBody},
    credential::{Credential, Delegation},
    ids::{AccountId, BlobHash, CommandId, NetworkId, NodeId},
    join::{JoinReply, JoinRequest, PROTOCOL},
    keys::{SecretKey, Signed},
    member::{Hello, Verdict},
    resources::Capabilities,
    share::FileTicket,
    ticket::Ticket,
    time::{Millis, Timestamp},
};
use serde_json::{Value, json};
use std::{
    fs,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::{runtime::Runtime, task::JoinSet, time::timeout};

/// Nine to one honest node: the authority and two workers.
const SYBILS: u8 = 27;
/// So many of them are there at least: with fewer it would be no siege.
const SIEGE: usize = 10;
/// Connections the victim has room for: fewer than come, an eighth of them for those it makes itself.
const ROOM: &str = "24";
/// Pause between two tries to come in.
const AGAIN: Duration = Duration::from_millis(100);
/// Tries: a daemon starts meanwhile.
const TRIES: u32 = 30;
/// So many say that they have what they have not, as one key has room for in the hash table beside who has it.
const CLAIMING: usize = 15;
/// One step of a Sybil takes no longer on a loaded machine.
const STEP: Duration = Duration::from_secs(30);

fn now() -> Timestamp {
    let since = std::time::UNIX_EPOCH.elapsed().expect("after 1970");
    Timestamp(u64::try_from(since.as_millis()).expect("a time"))
}

/// Shows its credential and lets everybody in.
struct Open {
    network: NetworkId,
    credential: Mutex<Option<Signed<Credential>>>,
}

impl Gate for Open {
    fn hello(&self, listen: Vec<String>) -> Hello {
        Hello {
            network: self.network,
            credential: self.credential.lock().unwrap().clone(),
            listen,
            version: "sybil".into(),
            now: now(),
        }
    }

    fn judge(&self, _: NodeId, _: &Hello) -> Verdict {
        Verdict::Welcome
    }
}

/// A member that answers where it costs nothing and does nothing for anybody: it takes gossip and passes none on, says
/// in the hash table that it has what it has not, and serves no protocol.
struct Sybil {
    net: NetHandle,
}

impl Sybil {
    /// Redeems the ticket, which is good for all of them.
    async fn join(n: u8, ticket: &Ticket) -> Self {
        let (node, account) = (
            SecretKey::from_seed(&[n; 32]),
            SecretKey::from_seed(&[n ^ 128; 32]),
        );
        let gate = Arc::new(Open {
            network: ticket.network,
            credential: Mutex::new(None),
        });
        // Each from an address block of its own, so that none has too many.
        let ip = format!("127.110.{n}.1");
        let listen = vec![format!("/ip4/{ip}/udp/0/quic-v1"), format!("/ip4/{ip}/tcp/0")];
        let (net, mut events) = hive_net::spawn(Config {
            secret: node.clone(),
            network: ticket.network,
            listen: ListenAddrs::Exactly(listen),
            bulk: hive_net::BulkListen::default(),
            transports: hive_net::Transports::default(),
            ipv6: false,
            upnp: false,
            direct: true,
            kad_server: true,
            limits: Limits::default(),
            version: "sybil".into(),
            gate: gate.clone(),
        })
        .await
        .expect("a node");
        let (authority, _) = ticket.bootstrap[0];
        let addrs = ticket.bootstrap.iter().map(|(_, addr)| addr.clone()).collect();
        net.dial(authority, addrs).await.expect("the authority answers");
        let request = request(&node, &account, ticket);
        let mut stream = net.open(authority, PROTOCOL).await.expect("a stream");
        frame::write(&mut stream, &request).await.expect("asked");
        let reply = frame::read::<JoinReply, _>(&mut stream).await.expect("a reply");
        let Some(JoinReply::Welcome { credential, .. }) = reply else {
            panic!("Sybil {n} is not let in: {reply:?}");
        };
        *gate.credential.lock().unwrap() = Some(credential);
        let admitted = net.regate(authority).await.expect("gated again");
        assert_eq!(admitted, Admission::Member);
        for topic in [Topic::Demand, Topic::Presence, Topic::Price] {
            net.subscribe(topic).await.expect("it runs");
        }
        tokio::spawn(async move { while events.next().await.is_some() {} });
        Self { net }
    }
}

fn request(node: &SecretKey, account: &SecretKey, ticket: &Ticket) -> JoinRequest {
    let delegation = Delegation {
        network: ticket.network,
        account: AccountId(account.public()),
        node: NodeId(node.public()),
        expires: now() + Millis::hours(1),
    };
    let command = Command {
        network: ticket.network,
        account: AccountId(account.public()),
        id: CommandId([node.public()[0]; 16]),
        not_after: now() + Millis::mins(5),
        body: CommandBody::Join {
            invite: ticket.invite,
            secret: ticket.secret,
            delegation: Signed::sign(account, &delegation).expect("signed"),
            name: "sybil".into(),
            capabilities: Capabilities::default(),
        },
    };
    JoinRequest {
        command: Signed::sign(account, &command).expect("signed"),
        now: now(),
    }
}

/// The attacker.
struct Attacker {
    runtime: Runtime,
    sybils: Vec<Sybil>,
}

impl Attacker {
    fn new(mesh: &Mesh) -> Self {
        let ask = json!({"role": "worker", "uses": SYBILS, "ttl_ms": 3_600_000, "grant": 0});
        let answer = mesh.authority.post("/v1/invites", &ask);
        let ticket: Ticket = answer["invite"]["ticket"].as_str().unwrap().parse().unwrap();
        hive_net::init_crypto().expect("cryptography");
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let sybils = runtime.block_on(async {
            let mut sybils = Vec::new();
            for n in 1..=SYBILS {
                sybils.push(
                    timeout(STEP, Sybil::join(n, &ticket))
                        .await
                        .expect("joined in time"),
                );
            }
            sybils
        });
        Self { runtime, sybils }
    }

    /// All come to this node at once, let in or not.
    fn besiege(&self, node: NodeId, addrs: &[String]) -> JoinSet<()> {
        let mut coming = JoinSet::new();
        for sybil in &self.sybils {
            let (net, addrs) = (sybil.net.clone(), addrs.to_vec());
            let come = async move {
                for _ in 0..TRIES {
                    if net.dial(node, addrs.clone()).await.is_ok() {
                        break;
                    }
                    tokio::time::sleep(AGAIN).await; // paced: nobody listens there yet, or it has no room
                }
            };
            coming.spawn_on(come, self.runtime.handle());
        }
        coming
    }

    fn have_come(&self, coming: JoinSet<()>) {
        // Whoever is still trying then stays outside: how many are let in is looked at by itself.
        let all = async { timeout(SOON, coming.join_all()).await };
        let _ = self.runtime.block_on(all);
    }

    /// Many say that they have it.
    fn claim(&self, what: BlobHash) {
        for sybil in self.sybils.iter().take(CLAIMING) {
            let net = sybil.net.clone();
            self.runtime.spawn(async move { net.provide(what).await });
        }
    }

    /// Who has it, as the hash table says.
    fn named(&self, what: BlobHash) -> Vec<NodeId> {
        let found = self.runtime.block_on(self.sybils[0].net.providers(what));
        found.unwrap_or_default()
    }
}

fn peers(node: &Node) -> Vec<Value> {
    let view = node.get("/v1/net/peers", "peers");
    view.and_then(|p| p.as_array().cloned()).unwrap_or_default()
}

/// The victim has its authority and both workers, and many others.
#[track_caller]
fn keeps_the_honest(victim: &Node) {
    let all = || {
        let peers = peers(victim);
        let direct = |p: &Value| p["state"] == "direct";
        let has = |name: &str| peers.iter().any(|p| p["name"] == name && direct(p));
        let sybils = peers.iter().filter(|p| {
            let name = p["name"].as_str().unwrap_or_default();
            direct(p) && !["authority", "w1", "w2"].contains(&name)
        });
        (["authority", "w1", "w2"].iter().all(|n| has(n)) && sybils.count() >= SIEGE).then_some(())
    };
    until_else(SOON, all, || {
        format!("honest peers among Sybils: {:#?}", peers(victim))
    });
    until("its authority answers", SOON, || {
        let status = victim.get("/v1/status", "status")?;
        (status["mesh"]["authority_reachable"] == true).then_some(())
    });
}

#[test]
fn nine_of_ten_members_around_a_daemon_are_one_attackers() {
    let port = free_port();
    let listen = format!("/ip4/127.0.0.1/udp/{port}/quic-v1,/ip4/127.0.0.1/tcp/{port}");
    let mut mesh = Mesh::with(2, |node| match node.name.as_str() {
        "client" => node.with("listen", &listen).with("connections", ROOM),
        _ => node,
    });
    let noop = mesh.module("noop", guests::NOOP);
    let attacker = Attacker::new(&mesh);
    let mut coming = Vec::new();
    for honest in [&mesh.client, &mesh.workers[0], &mesh.workers[1]] {
        let status = honest.get("/v1/status", "status").expect("it runs");
        let id = status["node"].as_str().unwrap().parse().unwrap();
        let addrs: Vec<String> = serde_json::from_value(status["listen"].clone()).unwrap();
        coming.push((id, addrs));
    }
    let all: Vec<_> = coming
        .iter()
        .map(|(id, addrs)| attacker.besiege(*id, addrs))
        .collect();
    all.into_iter().for_each(|coming| attacker.have_come(coming));
    keeps_the_honest(&mesh.client);
    mesh.client.run(&["task", "submit", &noop, "--wait"]).ok();
    // It comes back where they wait for it already.
    let (id, addrs) = &coming[0];
    mesh.client.stop();
    let waiting = attacker.besiege(*id, addrs);
    mesh.client.start();
    attacker.have_come(waiting);
    keeps_the_honest(&mesh.client);
    mesh.client.run(&["task", "submit", &noop, "--wait"]).ok();
    // A file that nobody names a holder of, and which all Sybils say they have.
    let file = mesh.file("from/data", noise(1 << 20, 3));
    let ticket: FileTicket = share(&mesh.workers[1], &file).parse().unwrap();
    let holder = mesh.workers[1].get("/v1/status", "status").unwrap()["node"].clone();
    let holder = holder.as_str().unwrap().parse().unwrap();
    until("the holder's word is in the hash table", SOON, || {
        attacker.named(ticket.root).contains(&holder).then_some(())
    });
    attacker.claim(ticket.root);
    until("Sybils are named as well", SOON, || {
        (attacker.named(ticket.root).len() > SIEGE).then_some(())
    });
    let (root, size) = (ticket.root, ticket.size);
    let hidden = FileTicket::new(ticket.network, root, false, size, "data".into(), Vec::new());
    let dest = mesh.path("to");
    mesh.client.run(&["pull", &hidden.to_string(), text(&dest)]).ok();
    assert_eq!(fs::read(&dest).unwrap(), fs::read(&file).unwrap());
    mesh.settled();
}
