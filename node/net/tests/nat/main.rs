//! What nodes behind real routers find out about how they can be reached. Needs root, `ip` and `nft`:
//! `cargo test -p hive-net --test nat -- --ignored`. One laboratory stands at a time.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod igd;
#[allow(dead_code)]
#[path = "../net/mesh.rs"]
mod mesh;

use hive_natlab::{Lab, Plan};
use hive_net::{Config, ListenAddrs, Mapper, NetEvent};
use mesh::{TestNode, member_with, until};
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::runtime::{Builder, Runtime};

/// Held by the test that has its laboratory up: side by side they would take the time from each other that the nodes
/// inside wait for.
static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    // A test that has failed leaves nothing behind that another one looks at.
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

const PORT: u16 = 4001;

/// A node inside a host of the laboratory; its runtime's threads live there.
struct Guest {
    node: TestNode,
    runtime: Runtime,
}

impl Guest {
    fn start(lab: &Lab, host: &str, seed: u8, how: impl FnOnce(&mut Config) + Send) -> Self {
        let started = lab.inside(host).unwrap().enter(|| {
            let runtime = Builder::new_multi_thread()
                .worker_threads(1)
                .enable_all()
                .build()?;
            let node = runtime.block_on(member_with(seed, |config| {
                config.listen = ListenAddrs::Port(PORT);
                config.ipv6 = false;
                how(config);
            }));
            Ok(Self { node, runtime })
        });
        started.unwrap()
    }

    fn end(self) {
        drop(self.node);
        self.runtime.shutdown_background();
    }
}

fn raise(name: &str, kind: &str) -> Lab {
    let text = format!(
        "net wan 203.0.113.0/24
         host helper wan
         host stranger wan
         router home {kind} wan lan 192.168.1.0/24
         host a lan"
    );
    let plan: Plan = text.parse().unwrap();
    Lab::raise(&format!("{name}{}", std::process::id()), plan).unwrap()
}

fn quic(lab: &Lab, host: &str) -> String {
    format!("/ip4/{}/udp/{PORT}/quic-v1", lab.address(host).unwrap())
}

/// The node behind the router, a member outside that it dials, another that has never heard of it.
struct Rig {
    lab: Lab,
    helper: Guest,
    stranger: Guest,
    a: Guest,
}

impl Rig {
    fn new(name: &str, kind: &str, how: impl FnOnce(&mut Config) + Send) -> Self {
        let lab = raise(name, kind);
        let helper = Guest::start(&lab, "helper", 1, |_| {});
        let stranger = Guest::start(&lab, "stranger", 2, |_| {});
        let a = Guest::start(&lab, "a", 3, how);
        Self {
            lab,
            helper,
            stranger,
            a,
        }
    }

    async fn connect(&self) {
        let at = vec![quic(&self.lab, "helper")];
        for guest in [&self.stranger, &self.a] {
            let net = &guest.node.net;
            net.dial(self.helper.node.id(), at.clone()).await.unwrap();
        }
    }

    /// The address the router gives this transport, once somebody has seen it.
    async fn observed(&self, wanted: &str) -> String {
        let mut found = None;
        until("the node has been seen", async || {
            let seen = self.a.node.net.test_candidates();
            found = seen.into_iter().find(|a| a.contains(wanted));
            found.is_some()
        })
        .await;
        found.unwrap()
    }

    /// What a test of this address comes to.
    async fn test(&mut self, addr: &str) -> (bool, bool, String) {
        let (net, wanted) = (self.a.node.net.clone(), addr.to_owned());
        // Sockets are made where the task runs: inside the laboratory.
        let asking = self
            .a
            .runtime
            .spawn(async move { net.test_again(Some(wanted)).await });
        asking.await.unwrap();
        self.a
            .node
            .wait(|e| match e {
                NetEvent::Tested {
                    addr: tested,
                    reachable,
                    stranger,
                    detail,
                    ..
                } if tested == addr => Some((reachable, stranger, detail)),
                _ => None,
            })
            .await
    }

    fn end(self) {
        for guest in [self.a, self.stranger, self.helper] {
            guest.end();
        }
    }
}

/// Both transports, behind a router of this kind: whether those get in that something was sent to, and whether
/// strangers do.
async fn tested(rig: &mut Rig, helper: bool, stranger: bool) {
    rig.connect().await;
    // Both were dialed over QUIC only: over TCP the node has itself seen by one more connection.
    for part in ["/udp/", "/tcp/"] {
        let addr = rig.observed(part).await;
        let (reachable, strangers, detail) = rig.test(&addr).await;
        assert_eq!((reachable, strangers), (helper, stranger), "{addr}: {detail}");
    }
    // In so small a mesh everybody has soon spoken to everybody: the same comes out when nobody is a stranger.
    let net = &rig.a.node.net;
    net.dial(rig.stranger.node.id(), vec![quic(&rig.lab, "stranger")])
        .await
        .unwrap();
    for part in ["/udp/", "/tcp/"] {
        let addr = rig.observed(part).await;
        let (reachable, strangers, detail) = rig.test(&addr).await;
        assert_eq!((reachable, strangers), (helper, stranger), "{addr}: {detail}");
    }
}

fn outside() -> Runtime {
    Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap()
}

#[test]
#[ignore = "needs root, iproute2 and nftables: cargo test -p hive-net --test nat -- --ignored"]
fn a_full_cone_lets_strangers_in() {
    let _alone = alone();
    let mut rig = Rig::new("hnf", "full-cone", |_| {});
    outside().block_on(tested(&mut rig, true, true));
    rig.end();
}

/// The trap: the helper's dial back gets in, and yet nobody else would.
#[test]
#[ignore = "needs root, iproute2 and nftables: cargo test -p hive-net --test nat -- --ignored"]
fn an_address_restricted_router_is_not_taken_for_an_open_one() {
    let _alone = alone();
    let mut rig = Rig::new("hna", "address-restricted", |_| {});
    outside().block_on(tested(&mut rig, true, false));
    rig.end();
}

#[test]
#[ignore = "needs root, iproute2 and nftables: cargo test -p hive-net --test nat -- --ignored"]
fn stricter_routers_let_nobody_in() {
    let _alone = alone();
    for (name, kind) in [("hnp", "port-restricted"), ("hns", "symmetric")] {
        let mut rig = Rig::new(name, kind, |_| {});
        outside().block_on(tested(&mut rig, false, false));
        rig.end();
    }
}

/// A router of our own that speaks UPnP, with real rules behind it.
#[test]
#[ignore = "needs root, iproute2 and nftables: cargo test -p hive-net --test nat -- --ignored"]
fn a_port_opened_by_upnp_lets_strangers_in() {
    let _alone = alone();
    let lab = raise("hnu", "port-restricted");
    igd::serve(&lab, "home", "192.168.1.1".parse().unwrap());
    let helper = Guest::start(&lab, "helper", 1, |_| {});
    let stranger = Guest::start(&lab, "stranger", 2, |_| {});
    let a = Guest::start(&lab, "a", 3, |config| config.upnp = true);
    let mut rig = Rig {
        lab,
        helper,
        stranger,
        a,
    };
    outside().block_on(async {
        rig.connect().await;
        let mut mapped = Vec::new();
        while mapped.len() < 2 {
            let found = rig.a.node.wait(|e| match e {
                NetEvent::Mapped { addr, by, .. } => Some((addr, by)),
                NetEvent::MapFailed { reason } => panic!("{reason}"),
                _ => None,
            });
            mapped.push(found.await);
        }
        for (addr, by) in mapped {
            assert_eq!(by, Mapper::Upnp);
            assert!(addr.starts_with("/ip4/203.0.113."), "{addr}");
            let (reachable, strangers, detail) = rig.test(&addr).await;
            assert!(reachable && strangers, "{addr}: {detail}");
        }
    });
    rig.end();
}
