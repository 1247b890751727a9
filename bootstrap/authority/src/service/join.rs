//! Letting newcomers in: the one thing a stranger may ask.

use super::{AuthorityHandle, core::Job};
use crate::clocks;
use hive_protocol::{
    command::{CommandBody, Refusal},
    ids::NodeId,
    join::{JoinReply, JoinRequest},
    time::Timestamp,
};

impl AuthorityHandle {
    /// Redeems a ticket for the node that has proved to be `from`. Sent again, it is answered alike (with a fresh credential).
    pub async fn join(&self, from: NodeId, request: JoinRequest) -> JoinReply {
        match self.admit(from, request).await {
            Ok(welcome) => welcome,
            Err(refusal) => JoinReply::Refused(refusal),
        }
    }

    async fn admit(&self, from: NodeId, request: JoinRequest) -> Result<JoinReply, Refusal> {
        let _place = self.joining()?;
        check_clocks((self.shared().clock)(), request.now)?;
        let ready = self
            .verify(request.command, move |body| check_body(body, from))
            .await
            .map_err(|r| match r.code.as_str() {
                "command.wrong_mesh" => Refusal::new("join.wrong_mesh", r.detail),
                _ => r,
            })?;
        let admission = self.order(|reply| Job::Join(ready, from, reply)).await?;
        Ok(JoinReply::Welcome {
            genesis: self.genesis().to_vec(),
            credential: self.sign(&admission.credential)?,
            peers: admission.peers,
        })
    }
}

fn check_body(body: &CommandBody, from: NodeId) -> Result<(), Refusal> {
    let CommandBody::Join { delegation, .. } = body else {
        return Err(Refusal::new(
            "join.request",
            format!("`{}` is no wish to join", body.name()),
        ));
    };
    // Already verified with the command; only who it names is looked at here.
    let named = delegation
        .peek()
        .map_err(|e| Refusal::new("delegation.invalid", e.to_string()))?
        .node;
    if named == from {
        return Ok(());
    }
    Err(Refusal::new(
        "join.node",
        format!("the ticket is to be redeemed for node {named}, but node {from} sent it"),
    ))
}

fn check_clocks(here: Timestamp, there: Timestamp) -> Result<(), Refusal> {
    match clocks::apart(("this machine's", there), ("the authority's", here)) {
        None => Ok(()),
        Some(text) => Err(Refusal::new(
            "join.clock_skew",
            format!("{text}; set the clock (for example with NTP) and try again"),
        )),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use hive_protocol::time::MAX_CLOCK_SKEW;

    #[test]
    fn a_skew_names_both_clocks_and_the_difference() {
        let here = Timestamp(1_795_234_383_000);
        assert!(check_clocks(here, here + MAX_CLOCK_SKEW).is_ok());
        assert!(check_clocks(here + MAX_CLOCK_SKEW, here).is_ok());
        let refusal = check_clocks(here, Timestamp(here.0 - 3_600_000)).unwrap_err();
        assert_eq!(refusal.code, "join.clock_skew");
        for part in [
            "2026-11-21T03:13:03Z",
            "2026-11-21T04:13:03Z",
            "3600.000 s behind",
        ] {
            assert!(refusal.detail.contains(part), "{}", refusal.detail);
        }
    }
}
