//! What the ordering thread answers from its state and from the heartbeats it has heard.

use super::{
    Notice,
    core::{Admission, Core},
};
use hive_protocol::{
    authority::{Answer, Ask, Heartbeat, MAX_PAGE},
    command::Refusal,
    ids::NodeId,
    join::MAX_PEERS,
};

/// Addresses of one peer handed to a newcomer: keeps a reply within its limit.
const ADDRS_PER_PEER: usize = 3;
/// Nodes looked at to find peers for a newcomer.
const PEERS_LOOKED_AT: usize = 64;

impl Core {
    pub(super) fn beat(&mut self, node: NodeId, heartbeat: Heartbeat) -> Result<(), Refusal> {
        self.known(Some(node))?;
        self.counts.heartbeats += 1;
        if self.liveness.beat(self.now(), node, heartbeat)? {
            self.news.push(Notice::Online(node));
        }
        Ok(())
    }

    fn known(&self, asker: Option<NodeId>) -> Result<(), Refusal> {
        match asker {
            Some(node) if self.state.node(&node).is_none() => Err(Refusal::new(
                "node.unknown",
                format!("node {} is no member (or not any more)", node.short()),
            )),
            _ => Ok(()),
        }
    }

    pub(super) fn query(&self, asker: Option<NodeId>, ask: Ask) -> Result<Answer, Refusal> {
        self.known(asker)?;
        Ok(match ask {
            Ask::Account(account) => Answer::Account(self.state.account_view(&account)?),
            Ask::History {
                account,
                before,
                limit,
            } => Answer::History(self.state.history(&account, before, limit)?),
            Ask::Nodes { after } => {
                Answer::Nodes(self.state.nodes(after, MAX_PAGE, &self.liveness, self.now()))
            }
            Ask::Totals => Answer::Totals(self.state.totals()),
            Ask::Hold(hold) => Answer::Hold(self.state.hold_view(&hold)?),
            Ask::Submit(_) | Ask::Renew | Ask::Heartbeat(_) => {
                return Err(Refusal::new("authority.request", "this is no query"));
            }
        })
    }

    /// The newcomer's credential, and members to connect to: those behind it in key order, so that newcomers spread.
    pub(super) fn admission(&self, node: NodeId) -> Result<Admission, Refusal> {
        let now = self.now();
        let credential = self.state.credential_for(&node, (self.clock)())?;
        let behind = self.state.nodes(Some(node), PEERS_LOOKED_AT, &self.liveness, now);
        let ahead = self.state.nodes(None, PEERS_LOOKED_AT, &self.liveness, now);
        let mut peers: Vec<(NodeId, Vec<String>)> = Vec::new();
        for view in behind.into_iter().chain(ahead) {
            let mut addrs = view.heartbeat.addrs;
            addrs.truncate(ADDRS_PER_PEER);
            let fresh = view.node != node && peers.iter().all(|(n, _)| *n != view.node);
            if view.online && fresh && !addrs.is_empty() {
                peers.push((view.node, addrs));
            }
            if peers.len() >= MAX_PEERS {
                break;
            }
        }
        Ok(Admission { credential, peers })
    }
}
