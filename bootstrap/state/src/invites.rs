//! Invitations: who may let whom in. The money for their grants and the uses left are the ledger's.

use hive_protocol::{
    command::Refusal,
    ids::{AccountId, InviteId},
    resources::Role,
    time::{Millis, Timestamp},
};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Ended invitations are remembered this long, so that a late joiner is told why.
pub const KEEP_ENDED: Millis = Millis::hours(24 * 7);
/// Ended invitations remembered at most, the oldest forgotten first.
pub const MAX_ENDED: usize = 1 << 16;

/// How an invitation ended.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub enum Ending {
    /// Every use was redeemed.
    Used,
    /// Its maker took it back.
    Revoked,
    /// Its time ran out.
    Expired,
}

/// One invitation.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct Invitation {
    /// Who made it.
    pub by: AccountId,
    /// Hash of the ticket's secret.
    pub secret_hash: [u8; 32],
    /// Role admitted to.
    pub role: Role,
    /// Score the joiner starts with.
    pub score: u32,
    /// When it ends.
    pub expires: Timestamp,
    /// How and when it ended; `None` while open.
    pub ended: Option<(Ending, Timestamp)>,
}

impl Invitation {
    /// # Errors
    /// `ticket.used`, `ticket.revoked`, `ticket.expired`.
    pub(crate) fn check_open(&self) -> Result<(), Refusal> {
        Err(match self.ended {
            None => return Ok(()),
            Some((Ending::Used, _)) => Refusal::new(
                "ticket.used",
                "this ticket has been used as often as it may be; ask for a new one with `hivenode invite`",
            ),
            Some((Ending::Revoked, _)) => Refusal::new(
                "ticket.revoked",
                "this ticket has been taken back by whoever made it; ask for a new one",
            ),
            Some((Ending::Expired, _)) => Refusal::new(
                "ticket.expired",
                "this ticket's time has run out; ask for a new one with `hivenode invite`",
            ),
        })
    }
}

/// All invitations, open and lately ended.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug, Default)]
pub(crate) struct Invites {
    all: BTreeMap<InviteId, Invitation>,
    ended: BTreeSet<(Timestamp, InviteId)>,
}

impl Invites {
    pub fn get(&self, id: &InviteId) -> Option<&Invitation> {
        self.all.get(id)
    }

    /// Open invitations in key order.
    pub fn open(&self) -> impl Iterator<Item = (&InviteId, &Invitation)> {
        self.all.iter().filter(|(_, i)| i.ended.is_none())
    }

    pub fn insert(&mut self, id: InviteId, invitation: Invitation) {
        self.all.insert(id, invitation);
    }

    pub fn end(&mut self, id: InviteId, how: Ending, at: Timestamp) {
        if let Some(invitation) = self.all.get_mut(&id)
            && invitation.ended.is_none()
        {
            invitation.ended = Some((how, at));
            self.ended.insert((at, id));
        }
    }

    pub fn forget(&mut self, now: Timestamp) {
        while let Some(&(at, id)) = self.ended.first() {
            if self.ended.len() <= MAX_ENDED && now.since(at) < KEEP_ENDED {
                break;
            }
            self.ended.pop_first();
            self.all.remove(&id);
        }
    }

    pub fn check_invariants(&self, has_reserve: impl Fn(&InviteId) -> bool) -> Result<(), String> {
        for (id, i) in &self.all {
            match i.ended {
                None if !has_reserve(id) => {
                    return Err(format!("{id:?} is open without a reserve"));
                }
                Some(_) if has_reserve(id) => {
                    return Err(format!("{id:?} has ended and still reserves"));
                }
                Some((_, at)) if !self.ended.contains(&(at, *id)) => {
                    return Err(format!("{id:?} has ended and would never be forgotten"));
                }
                _ => {}
            }
        }
        Ok(())
    }
}
