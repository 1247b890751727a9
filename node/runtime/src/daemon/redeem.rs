//! The newcomer's side of `/hive/join/1`: one authority after the other, until one answers.

use super::joining::{internal, net_refused};
use crate::{
    home::Membership,
    membership::Standing,
    port::{Kind, Refused},
};
use hive_net::{Admission, NetHandle, frame};
use hive_protocol::{
    credential::Delegation,
    genesis::Genesis,
    ids::NodeId,
    join::{JoinReply as WireReply, JoinRequest, PROTOCOL},
    keys::Signed,
    ticket::Ticket,
};
use std::time::Duration;

/// An authority must answer a join within this time.
const JOIN_ANSWER: Duration = Duration::from_secs(15);

/// Asks the ticket's authorities in turn.
pub(super) async fn redeem(
    net: &NetHandle,
    standing: &Standing,
    ticket: &Ticket,
    request: JoinRequest,
    delegation: Signed<Delegation>,
) -> Result<Membership, Refused> {
    let mut reasons = Vec::new();
    // All addresses of one authority at once: where UDP does not pass, TCP is not to wait for it.
    let mut bootstrap: Vec<(NodeId, Vec<String>)> = Vec::new();
    for (node, addr) in &ticket.bootstrap {
        match bootstrap.iter_mut().find(|(known, _)| known == node) {
            Some((_, addrs)) => addrs.push(addr.clone()),
            None => bootstrap.push((*node, vec![addr.clone()])),
        }
    }
    for (node, addrs) in &bootstrap {
        let addr = addrs.join(", ");
        match net.dial(*node, addrs.clone()).await {
            Ok(_) => {}
            Err(e) => {
                reasons.push(format!("{addr}: {e}"));
                continue;
            }
        }
        let asked = tokio::time::timeout(JOIN_ANSWER, ask(net, *node, &request)).await;
        match asked {
            Ok(Ok(reply)) => {
                return welcome(net, standing, ticket, (*node, addrs.clone()), reply, delegation).await;
            }
            Ok(Err(e)) => reasons.push(format!("{addr}: {e}")),
            Err(_) => reasons.push(format!("{addr}: no answer within {} s", JOIN_ANSWER.as_secs())),
        }
    }
    let message = format!(
        "no authority of mesh \"{}\" could be reached: {}",
        ticket.mesh,
        reasons.join("; ")
    );
    Err(Refused::new(Kind::Unreachable, "join.unreachable", message)
        .hint("is the authority running? there: hivenode status")
        .retryable())
}

async fn ask(net: &NetHandle, node: NodeId, request: &JoinRequest) -> Result<WireReply, String> {
    let mut stream = net.open(node, PROTOCOL).await.map_err(|e| e.to_string())?;
    frame::write(&mut stream, request)
        .await
        .map_err(|e| e.to_string())?;
    let reply = frame::read::<WireReply, _>(&mut stream)
        .await
        .map_err(|e| e.to_string())?;
    reply.ok_or_else(|| "closed instead of a reply".to_owned())
}

async fn welcome(
    net: &NetHandle,
    standing: &Standing,
    ticket: &Ticket,
    (node, addrs): (NodeId, Vec<String>),
    reply: WireReply,
    delegation: Signed<Delegation>,
) -> Result<Membership, Refused> {
    let (bytes, credential, peers) = match reply {
        WireReply::Welcome {
            genesis,
            credential,
            peers,
        } => (genesis, credential, peers),
        WireReply::Refused(refusal) => {
            let refused = Refused::new(Kind::Denied, &refusal.code, refusal.detail);
            return Err(match refusal.code.as_str() {
                "join.clock_skew" => refused.hint("set this machine's clock, then try again"),
                code if code.starts_with("ticket.") => refused.hint("ask for a new ticket: hivenode invite"),
                _ => refused,
            });
        }
    };
    let genesis = Genesis::decode(&bytes).map_err(|e| internal(&e))?;
    if Genesis::network_of(&bytes) != ticket.network || !genesis.authorities.contains(&node) {
        let message = "the authority's genesis is not the one the ticket names: somebody stands in between";
        return Err(Refused::new(Kind::Denied, "join.wrong_mesh", message));
    }
    standing.set_genesis(&genesis);
    standing
        .set_credential(credential.clone())
        .map_err(|e| Refused::new(Kind::Denied, "join.bad_credential", e.to_string()))?;
    match net.regate(node).await {
        Ok(Admission::Member) => {}
        Ok(other) => return Err(Refused::new(Kind::Denied, "join.gate", format!("{other:?}"))),
        Err(e) => return Err(net_refused(&e).retryable()),
    }
    let mut membership = Membership::new(bytes, delegation, ticket.role, false);
    membership.credential = Some(credential);
    membership.invite = Some(ticket.invite);
    membership.peers = vec![(node, addrs)];
    for (peer, addrs) in peers.into_iter().take(hive_protocol::join::MAX_PEERS) {
        let addrs: Vec<String> = addrs.into_iter().take(hive_protocol::member::MAX_ADDRS).collect();
        net.learn(peer, addrs.clone()).await;
        membership.peers.push((peer, addrs));
    }
    // Members find each other by the hash table and by gossip; the first connections make both quick.
    for (peer, addrs) in membership.peers.iter().skip(1).cloned() {
        let net = net.clone();
        tokio::spawn(async move { net.dial(peer, addrs).await.map(|_| ()) });
    }
    Ok(membership)
}
