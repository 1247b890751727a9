//! Answers about the network. What is called `missing` is not there.

use super::Fake;
use hive_runtime::port::*;

pub fn path(node: &str) -> PathView {
    PathView {
        node: node.into(),
        state: "relay".into(),
        transport: "relay".into(),
        relay: Some("n9".into()),
        relay_name: "fra".into(),
        rtt_us: Some(1500),
        member: true,
        ..PathView::default()
    }
}

fn paths(node: &str) -> Result<PathsView, Refused> {
    if node == "missing" {
        return Err(NodeHandle::not_found("node", node));
    }
    Ok(PathsView {
        path: path(node),
        addrs: vec!["/ip4/192.0.2.1/tcp/1".into()],
        attempts: vec![AttemptRow {
            what: "dial".into(),
            outcome: "failed".into(),
            detail: "refused".into(),
            ..AttemptRow::default()
        }],
    })
}

/// Answers; a caller that has gone hears nothing.
pub fn answer(fake: &Fake, call: NetCall) {
    match call {
        NetCall::Check { fresh, reply } => {
            fake.note(&format!("check {fresh}"));
            let _ = reply.send(Ok(NetCheckView {
                verdict: "warn".into(),
                ..NetCheckView::default()
            }));
        }
        NetCall::Peers { reply } => drop(reply.send(Ok(vec![path("n2")]))),
        NetCall::Paths { node, reply } => drop(reply.send(paths(&node))),
        NetCall::Trace { node, reply } => drop(reply.send(paths(&node))),
        NetCall::Relay { reply } => drop(reply.send(Ok(RelayView::default()))),
        NetCall::RelayDo { what, reply } => {
            fake.note(&format!("relay {what:?}"));
            let mut view = RelayView::default();
            if let RelayDo::Limit(change) = &what {
                for (name, value) in change {
                    view.limits.set(name, *value);
                }
            }
            let _ = reply.send(Ok(view));
        }
    }
}
