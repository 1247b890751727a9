//! Reserves: the grants of one invitation, set aside when it is made and paid one by one to its joiners.

use crate::{
    account::{LineKind, Note},
    error::LedgerError,
    hold::{Hold, delta},
    ledger::{Due, Ledger, Stamp},
};
use hive_protocol::{
    command::MAX_INVITE_LIFE,
    ids::{AccountId, HoldId, InviteId},
    money::MicroCpt,
    time::Timestamp,
};
use serde::{Deserialize, Serialize};

/// Open invitations one account may have.
pub const MAX_OPEN_RESERVES: usize = 256;

/// The open grants of an invitation.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct Reserve {
    /// Who pays.
    pub owner: AccountId,
    /// µCPT for each joiner; may be zero.
    pub each: MicroCpt,
    /// Grants left.
    pub left: u32,
    /// What is not granted by then goes back.
    pub expires: Timestamp,
}

impl Reserve {
    fn total(&self) -> MicroCpt {
        MicroCpt(self.each.0.saturating_mul(self.left.into()))
    }
}

/// Something that has ended by time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ended {
    /// A hold nobody captured.
    Hold(HoldId, Hold),
    /// An invitation.
    Invite(InviteId),
}

impl Ledger {
    /// Sets `uses` grants of `each` aside for an invitation.
    ///
    /// # Errors
    /// An unknown owner, a used id, no uses, a bad expiry, too many open invitations, too little money.
    pub fn reserve(&mut self, id: InviteId, new: Reserve, stamp: Stamp) -> Result<(), LedgerError> {
        if self.reserves.contains_key(&id) {
            return Err(LedgerError::ReserveExists(id));
        }
        if new.left == 0 {
            return Err(LedgerError::Zero);
        }
        if new.expires <= stamp.time || new.expires > stamp.time + MAX_INVITE_LIFE {
            return Err(LedgerError::ReserveExpiry {
                expires: new.expires,
                now: stamp.time,
                max_ms: MAX_INVITE_LIFE.0,
            });
        }
        let owner = self
            .accounts
            .get(&new.owner)
            .ok_or(LedgerError::UnknownAccount(new.owner))?;
        if owner.invites as usize >= MAX_OPEN_RESERVES {
            return Err(LedgerError::ReserveTooMany(MAX_OPEN_RESERVES));
        }
        // A sum beyond any amount is beyond any balance too: `total` saturates and is refused.
        self.set_aside(new.owner, new.total(), "the invitation's grants")?;
        if let Some(owner) = self.accounts.get_mut(&new.owner) {
            owner.invites = owner.invites.saturating_add(1);
        }
        if new.total() > MicroCpt::ZERO {
            self.note(
                new.owner,
                stamp,
                LineKind::Invite,
                None,
                -delta(new.total()),
                Note::Invite(id),
            );
        }
        self.due.insert((new.expires, Due::Reserve(id)));
        self.reserves.insert(id, new);
        Ok(())
    }

    /// Pays one grant to a joiner; after the last the reserve is gone.
    ///
    /// # Errors
    /// No such reserve, an unknown joiner.
    pub fn grant(&mut self, id: InviteId, joiner: AccountId, stamp: Stamp) -> Result<MicroCpt, LedgerError> {
        let reserve = *self.reserves.get(&id).ok_or(LedgerError::ReserveUnknown(id))?;
        self.settle(reserve.owner, joiner, reserve.each, MicroCpt::ZERO)?;
        if reserve.each > MicroCpt::ZERO {
            self.note(
                joiner,
                stamp,
                LineKind::Grant,
                Some(reserve.owner),
                delta(reserve.each),
                Note::Invite(id),
            );
        }
        match reserve.left.saturating_sub(1) {
            0 => self.close(id, &reserve),
            left => {
                if let Some(r) = self.reserves.get_mut(&id) {
                    r.left = left;
                }
            }
        }
        Ok(reserve.each)
    }

    /// Gives the grants that are left back.
    ///
    /// # Errors
    /// No such reserve.
    pub fn unreserve(&mut self, id: InviteId, stamp: Stamp) -> Result<(), LedgerError> {
        self.end_reserve(id, LineKind::Invite, stamp)
    }

    pub(crate) fn end_reserve(
        &mut self,
        id: InviteId,
        kind: LineKind,
        stamp: Stamp,
    ) -> Result<(), LedgerError> {
        let reserve = *self.reserves.get(&id).ok_or(LedgerError::ReserveUnknown(id))?;
        self.settle(reserve.owner, reserve.owner, MicroCpt::ZERO, reserve.total())?;
        if reserve.total() > MicroCpt::ZERO {
            self.note(
                reserve.owner,
                stamp,
                kind,
                None,
                delta(reserve.total()),
                Note::Invite(id),
            );
        }
        self.close(id, &reserve);
        Ok(())
    }

    fn close(&mut self, id: InviteId, reserve: &Reserve) {
        self.reserves.remove(&id);
        self.due.remove(&(reserve.expires, Due::Reserve(id)));
        if let Some(owner) = self.accounts.get_mut(&reserve.owner) {
            owner.invites = owner.invites.saturating_sub(1);
        }
    }
}
