//! Who is in the mesh, by an authority's word: asked before it is said that somebody is not there, and waited for
//! before a newcomer is told that it has joined.
//!
//! What is heard by gossip and by the registry's list now and again is a little behind. A command that names a member
//! must not be refused because it came quicker than that.

use super::{Daemon, nodes::find_node};
use crate::{
    authority_link::ANSWER_WITHIN,
    heartbeat,
    inbox::{Asking, Inbox, JoinReply},
    port::{Call, NetCall, Refused},
};
use hive_protocol::ids::AccountId;

impl Daemon {
    /// Whether an authority is to be asked who is in the mesh before this call is answered.
    pub(super) fn wants_to_know(&self, call: &Call) -> bool {
        let Some(mesh) = self.mesh.as_ref() else {
            return false;
        };
        match call {
            Call::Nodes { .. } => !*mesh.introduced.borrow(),
            // What is shown of one node is what is known now: its price, say, comes a moment after its presence.
            Call::Node { .. } => true,
            Call::Wallet {
                account: Some(who), ..
            } => who.parse::<AccountId>().is_err() && self.is_unknown(who),
            Call::WalletSend { to, .. } => to.parse::<AccountId>().is_err() && self.is_unknown(to),
            Call::Net(NetCall::Paths { node, .. }) => self.is_unknown(node),
            // Every way there is now: it may have said a moment ago where it is reached.
            Call::Net(NetCall::Trace { .. }) => true,
            _ => false,
        }
    }

    fn is_unknown(&self, text: &str) -> bool {
        let rows = self.node_rows();
        rows.is_ok_and(|rows| find_node(&rows, text).is_err_and(|e| e.code == "node.not_found"))
    }

    /// Asks an authority who is in the mesh, then goes on with whoever wants to know: with what was known before, too,
    /// when none answers in time.
    pub(super) fn ask_who(&mut self, asking: Asking) {
        let Some(mesh) = self.mesh.as_ref() else {
            self.informed(asking);
            return;
        };
        let (authority, post) = (mesh.authority.clone(), self.post.clone());
        // As many at once as there are calls of the API, and no more at the authority than the link lets through.
        tokio::spawn(async move {
            let list = tokio::time::timeout(ANSWER_WITHIN, heartbeat::registered(&authority)).await;
            // The loop is gone when it takes nothing: nobody is answered then.
            if let Ok(Some(nodes)) = list {
                let _ = post.send(Inbox::Registry(nodes)).await;
            }
            let _ = post.send(Inbox::Informed(asking)).await;
        });
    }

    pub(super) fn informed(&mut self, asking: Asking) {
        match asking {
            Asking::Call(call) => self.answer(*call),
            Asking::Part(told) => {
                // It may have given up.
                let _ = told.send(());
            }
        }
    }

    /// A join has come to its good end. It is answered when an authority has heard of this node and said who else is
    /// there: what is asked next, here or at another member, finds it so. When that fails, it is a member all the same.
    pub(super) fn welcome(&self, reply: JoinReply) {
        let introduced = self.mesh.as_ref().map(|m| m.introduced.clone());
        let post = self.post.clone();
        tokio::spawn(async move {
            if let Some(mut introduced) = introduced {
                let _ = tokio::time::timeout(ANSWER_WITHIN, introduced.wait_for(|done| *done)).await;
            }
            let _ = post.send(Inbox::Welcome(reply)).await;
        });
    }

    pub(super) fn welcomed(&mut self, reply: JoinReply) {
        let answers = self.mesh.as_ref().map(|m| (m.authority.is_up(), m.authority_up));
        // The word that one answers may still be on its way to this loop.
        if answers == Some((true, false)) {
            self.authority_up(true);
        }
        let mesh = self.mesh_view().ok_or_else(Refused::stopping);
        match reply {
            JoinReply::Join(reply) => {
                let _ = reply.send(mesh.map(|_| self.join_view(false)));
            }
            JoinReply::Create(reply) => {
                let _ = reply.send(mesh);
            }
        }
    }
}
