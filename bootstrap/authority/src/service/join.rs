//! Letting newcomers in: the one thing a stranger may ask.

use super::{AuthorityHandle, core::Job};
use hive_protocol::{
    command::{CommandBody, Refusal},
    ids::NodeId,
    join::{JoinReply, JoinRequest},
    time::{MAX_CLOCK_SKEW, Timestamp},
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
    let (ahead, by) = if there > here {
        ("ahead of", there.since(here))
    } else {
        ("behind", here.since(there))
    };
    if by <= MAX_CLOCK_SKEW {
        return Ok(());
    }
    Err(Refusal::new(
        "join.clock_skew",
        format!(
            "this machine's clock says {}, the authority's {}: {}.{:03} s {ahead} it, {} s are allowed; set the clock (for example with NTP) and try again",
            utc(there),
            utc(here),
            by.0 / 1000,
            by.0 % 1000,
            MAX_CLOCK_SKEW.0 / 1000
        ),
    ))
}

/// `2026-11-21T04:13:03Z`.
fn utc(t: Timestamp) -> String {
    let seconds = t.0 / 1000;
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    // Days since 0000-03-01 in the proleptic Gregorian calendar (after Howard Hinnant's `civil_from_days`).
    let z = days.saturating_add(719_468);
    let (era, doe) = (z / 146_097, z % 146_097);
    let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let (day, month) = (
        doy - (153 * mp + 2) / 5 + 1,
        if mp < 10 { mp + 3 } else { mp - 9 },
    );
    let year = yoe + era * 400 + u64::from(month <= 2);
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z",
        rest / 3600,
        rest / 60 % 60,
        rest % 60
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn moments_read_as_dates() {
        assert_eq!(utc(Timestamp(0)), "1970-01-01T00:00:00Z");
        assert_eq!(utc(Timestamp(951_782_400_000)), "2000-02-29T00:00:00Z");
        assert_eq!(utc(Timestamp(1_795_234_383_000)), "2026-11-21T04:13:03Z");
        assert!(utc(Timestamp(u64::MAX)).ends_with('Z'));
    }

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
