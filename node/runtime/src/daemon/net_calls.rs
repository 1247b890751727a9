//! Calls about the network: how this node is reached, the ways to peers, what it relays.

use super::{
    Daemon,
    nodes::{find_node, unjoined},
    paths::{self, Names},
};
use crate::{
    config::{NetConfig, RelayLimits},
    net_check::{self, Facts},
    port::{
        CircuitRow, Kind, NetCall, NetCheckView, NodeHandle, PathView, PathsView, ReachView, Refused,
        RelayDo, RelayRefused, RelayView, Reply,
    },
};
use hive_net::{CircuitView, Relay};
use hive_protocol::ids::NodeId;
use std::time::Instant;

/// Circuits shown of a relay.
const MAX_CIRCUITS: usize = 64;

impl Daemon {
    pub(super) fn net_call(&self, call: NetCall) {
        match call {
            NetCall::Check { fresh, reply } => self.net_check(fresh, reply),
            NetCall::Peers { reply } => self.net_peers(reply),
            NetCall::Paths { node, reply } => self.net_paths(&node, false, reply),
            NetCall::Trace { node, reply } => self.net_paths(&node, true, reply),
            NetCall::Relay { reply } => {
                let _ = reply.send(self.relay_view());
            }
            NetCall::RelayDo { what, reply } => {
                let answer = self.relay_do(&what).and_then(|()| self.relay_view());
                let _ = reply.send(answer);
            }
        }
    }

    fn net_check(&self, fresh: bool, reply: Reply<NetCheckView>) {
        let Some(mesh) = self.mesh.as_ref() else {
            let _ = reply.send(Err(unjoined()));
            return;
        };
        let config = self.config.net.clone();
        let (net, names, reach) = (mesh.net.clone(), self.names(), mesh.reach.clone());
        let authority = mesh.authority_up || mesh.local_authority.is_some();
        tokio::spawn(async move {
            if fresh {
                reach.fresh().await;
            }
            let peers = paths::all(&net, &names).await;
            let view = reach.view(|node| names.get(node).cloned().unwrap_or_default());
            let _ = reply.send(Ok(checked(view, &config, &peers, authority)));
        });
    }

    fn net_peers(&self, reply: Reply<Vec<PathView>>) {
        let Some(mesh) = self.mesh.as_ref() else {
            let _ = reply.send(Err(unjoined()));
            return;
        };
        let (net, names) = (mesh.net.clone(), self.names());
        tokio::spawn(async move {
            let _ = reply.send(Ok(paths::all(&net, &names).await));
        });
    }

    /// The node meant, by name, id or the beginning of its id.
    fn meant(&self, text: &str) -> Result<NodeId, Refused> {
        let rows = self.node_rows()?;
        let found = match find_node(&rows, text) {
            Ok(row) => row.node.clone(),
            // A node may be connected before anything is known of it.
            Err(e) if e.code == "node.not_found" && text.parse::<NodeId>().is_ok() => text.to_owned(),
            Err(e) => return Err(e),
        };
        found.parse().map_err(|_| NodeHandle::not_found("node", text))
    }

    fn net_paths(&self, text: &str, trace: bool, reply: Reply<PathsView>) {
        let asked = self.mesh.as_ref().ok_or_else(unjoined).and_then(|mesh| {
            let node = self.meant(text)?;
            if node == mesh.standing.node() {
                return Err(Refused::new(
                    Kind::Invalid,
                    "net.own_node",
                    format!("`{text}` is this node: there is no way to it"),
                )
                .hint("hivenode net peers"));
            }
            Ok((mesh.net.clone(), node, mesh.directory.addrs(&node)))
        });
        match asked {
            Err(e) => {
                let _ = reply.send(Err(e));
            }
            Ok((net, node, addrs)) => {
                let names = self.names();
                tokio::spawn(async move {
                    let _ = reply.send(paths::one(&net, node, addrs, trace, &names).await);
                });
            }
        }
    }

    fn relay_view(&self) -> Result<RelayView, Refused> {
        let mesh = self.mesh.as_ref().ok_or_else(unjoined)?;
        let (state, detail) = mesh.reach.relay_state();
        let mut view = RelayView {
            mode: mesh.reach.relay_mode().name().to_owned(),
            state: state.to_owned(),
            detail,
            limits: mesh.reach.relay_limits(),
            set: (mesh.reach.own_limits().names().into_iter().map(str::to_owned)).collect(),
            ..RelayView::default()
        };
        if let Some(relay) = mesh.reach.relay() {
            let names = self.names();
            shown(&mut view, &relay, &names);
        }
        Ok(view)
    }

    fn relay_do(&self, what: &RelayDo) -> Result<(), Refused> {
        let mesh = self.mesh.as_ref().ok_or_else(unjoined)?;
        match what {
            RelayDo::Drain => mesh.reach.drain_relay(true),
            RelayDo::Resume => mesh.reach.drain_relay(false),
            RelayDo::Mode(mode) => mesh.reach.set_relay_mode(*mode),
            RelayDo::Limit(change) => {
                let mut own = mesh.reach.own_limits();
                for (name, value) in change {
                    if !own.set(name, *value) {
                        return Err(unknown_limit(name));
                    }
                    if *value == 0 && RelayLimits::counts(name) {
                        return Err(Refused::new(
                            Kind::Invalid,
                            "relay.bad_limit",
                            format!("`{name}` must be above 0"),
                        )
                        .hint(
                            "to relay for nobody: hivenode relay drain, or hivenode config set relay off",
                        ));
                    }
                }
                mesh.reach.set_own_limits(own);
            }
        }
        Ok(())
    }
}

/// Puts what a relay has done and does into its view.
fn shown(view: &mut RelayView, relay: &Relay, names: &Names) {
    let counts = relay.counts();
    let name = |node: &NodeId| names.get(node).cloned().unwrap_or_default();
    view.reservations = counts.reservations;
    view.circuits = counts.circuits;
    view.circuits_opened = counts.opened;
    view.bytes = counts.bytes;
    view.bytes_today = relay.load().bytes_today;
    for (name, count) in counts.list() {
        let row = |reason: &str| RelayRefused {
            reason: reason.replace('_', " "),
            count,
        };
        if let Some(reason) = name.strip_prefix("refused_") {
            view.refused.push(row(reason));
        } else if let Some(reason) = name.strip_prefix("cut_") {
            view.cut.push(row(reason));
        }
    }
    let mut circuits = relay.circuits();
    circuits.sort_by_key(|c| c.age);
    circuits.truncate(MAX_CIRCUITS);
    let row = |c: &CircuitView| CircuitRow {
        from: c.from.to_string(),
        from_name: name(&c.from),
        to: c.to.to_string(),
        to_name: name(&c.to),
        since: Instant::now().checked_sub(c.age).map_or(0, paths::wall),
        bytes: c.forth.saturating_add(c.back),
    };
    view.open = circuits.iter().map(row).collect();
}

fn unknown_limit(name: &str) -> Refused {
    let shown: String = name.chars().take(64).collect();
    let all: Vec<&str> = RelayLimits::ALL.iter().map(|(name, ..)| *name).collect();
    Refused::new(
        Kind::Invalid,
        "relay.unknown_limit",
        format!("a relay has no limit `{shown}`; there are {}", all.join(", ")),
    )
    .hint("hivenode relay limits")
}

fn checked(reach: ReachView, config: &NetConfig, peers: &[PathView], authority: bool) -> NetCheckView {
    let (worst, checks) = net_check::judge(&Facts {
        reach: &reach,
        config,
        peers,
        authority,
    });
    NetCheckView {
        verdict: worst.name().to_owned(),
        checks,
        reach,
    }
}
