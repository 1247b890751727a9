//! Holds: money set aside for one lease, resolved exactly once: captured, released or expired.

use crate::{
    account::{LineKind, Note},
    error::LedgerError,
    ledger::{Due, Ledger, Stamp},
};
use hive_protocol::{
    authority::{HoldState, HoldView},
    command::MAX_HOLD_LIFE,
    ids::{AccountId, HoldId, LeaseId},
    money::MicroCpt,
    time::{Millis, Timestamp},
};
use serde::{Deserialize, Serialize};

/// Open holds one account may have: one per lease, so this is the number of workers it may use at once.
pub const MAX_OPEN_HOLDS: usize = 4096;
/// Resolved holds are remembered this long, so that a late retry is told what became of them.
pub const KEEP_RESOLVED: Millis = Millis::hours(48);
/// Resolved holds remembered at most, the oldest forgotten first; about 200 bytes each.
pub const MAX_RESOLVED: usize = 1 << 18;

/// A hold asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NewHold {
    /// Its id, made by the client.
    pub hold: HoldId,
    /// The lease it pays for.
    pub lease: LeaseId,
    /// Who pays.
    pub payer: AccountId,
    /// Who may be paid; may be the payer (one owner's own machines).
    pub payee: AccountId,
    /// At most this much; may be zero for a worker that asks nothing.
    pub amount: MicroCpt,
    /// What is not captured by then goes back.
    pub expires: Timestamp,
}

/// A hold and where it stands.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct Hold {
    /// The lease it pays for.
    pub lease: LeaseId,
    /// Who pays.
    pub payer: AccountId,
    /// Who may be paid.
    pub payee: AccountId,
    /// µCPT set aside.
    pub amount: MicroCpt,
    /// When it ends.
    pub expires: Timestamp,
    /// Where it stands.
    pub state: HoldState,
    /// The log entry that made it.
    pub index: u64,
    /// When it was resolved; zero while open.
    pub resolved: Timestamp,
}

impl Hold {
    /// The hold as members see it.
    #[must_use]
    pub const fn view(&self, hold: HoldId) -> HoldView {
        HoldView {
            hold,
            lease: self.lease,
            payer: self.payer,
            payee: self.payee,
            amount: self.amount,
            expires: self.expires,
            state: self.state,
        }
    }

    fn same_terms(&self, new: &NewHold) -> bool {
        self.lease == new.lease
            && self.payer == new.payer
            && self.payee == new.payee
            && self.amount == new.amount
            && self.expires == new.expires
    }
}

impl Ledger {
    /// Sets money aside. The same hold asked for again is answered with the entry that made it.
    ///
    /// # Errors
    /// Unknown accounts, a bad expiry, too little money, too many holds, an id with other terms.
    pub fn hold(&mut self, new: &NewHold, stamp: Stamp) -> Result<u64, LedgerError> {
        if let Some(old) = self.holds.get(&new.hold) {
            return if old.same_terms(new) {
                Ok(old.index)
            } else {
                Err(LedgerError::HoldExists(new.hold))
            };
        }
        if new.expires <= stamp.time || new.expires > stamp.time + MAX_HOLD_LIFE {
            return Err(LedgerError::HoldExpiry {
                expires: new.expires,
                now: stamp.time,
                max_ms: MAX_HOLD_LIFE.0,
            });
        }
        if !self.accounts.contains_key(&new.payee) {
            return Err(LedgerError::UnknownAccount(new.payee));
        }
        let payer = self
            .accounts
            .get_mut(&new.payer)
            .ok_or(LedgerError::UnknownAccount(new.payer))?;
        if payer.open.len() >= MAX_OPEN_HOLDS {
            return Err(LedgerError::HoldTooMany(payer.open.len()));
        }
        self.set_aside(new.payer, new.amount, "the hold")?;
        self.note(
            new.payer,
            stamp,
            LineKind::Hold,
            Some(new.payee),
            -delta(new.amount),
            Note::Hold(new.hold),
        );
        if let Some(payer) = self.accounts.get_mut(&new.payer) {
            payer.open.insert(new.hold);
        }
        self.due.insert((new.expires, Due::Hold(new.hold)));
        self.holds.insert(
            new.hold,
            Hold {
                lease: new.lease,
                payer: new.payer,
                payee: new.payee,
                amount: new.amount,
                expires: new.expires,
                state: HoldState::Pending,
                index: stamp.index,
                resolved: Timestamp(0),
            },
        );
        Ok(stamp.index)
    }

    /// Pays `amount` of a hold to its payee and gives the rest back. Exactly once.
    ///
    /// # Errors
    /// Unknown or resolved holds, more than was set aside.
    pub fn capture(&mut self, id: HoldId, amount: MicroCpt, stamp: Stamp) -> Result<Hold, LedgerError> {
        let hold = self.open_hold(id)?;
        let rest = hold.amount.checked_sub(amount).ok_or(LedgerError::HoldExceeded {
            hold: id,
            asked: amount,
            amount: hold.amount,
        })?;
        self.settle(hold.payer, hold.payee, amount, rest)?;
        if let Some(payer) = self.accounts.get_mut(&hold.payer) {
            payer.spent = payer.spent.saturating_add(amount);
        }
        if let Some(payee) = self.accounts.get_mut(&hold.payee) {
            payee.earned = payee.earned.saturating_add(amount);
        }
        let paid = || Note::Paid(id, amount);
        self.note(
            hold.payer,
            stamp,
            LineKind::Capture,
            Some(hold.payee),
            delta(rest),
            paid(),
        );
        self.note(
            hold.payee,
            stamp,
            LineKind::Capture,
            Some(hold.payer),
            delta(amount),
            paid(),
        );
        Ok(self.resolve(id, hold, HoldState::Captured(amount), stamp.time))
    }

    /// Gives a hold back whole. Released again, it is answered alike.
    ///
    /// # Errors
    /// Unknown, captured or expired holds.
    pub fn release(&mut self, id: HoldId, stamp: Stamp) -> Result<Hold, LedgerError> {
        if let Some(hold) = self.holds.get(&id)
            && hold.state == HoldState::Released
        {
            return Ok(*hold);
        }
        let hold = self.open_hold(id)?;
        self.end_hold(id, hold, HoldState::Released, LineKind::Release, stamp)
    }

    pub(crate) fn expire_hold(&mut self, id: HoldId, stamp: Stamp) -> Result<Hold, LedgerError> {
        let hold = self.open_hold(id)?;
        self.end_hold(id, hold, HoldState::Expired, LineKind::Expire, stamp)
    }

    fn end_hold(
        &mut self,
        id: HoldId,
        hold: Hold,
        state: HoldState,
        kind: LineKind,
        stamp: Stamp,
    ) -> Result<Hold, LedgerError> {
        self.settle(hold.payer, hold.payer, MicroCpt::ZERO, hold.amount)?;
        self.note(
            hold.payer,
            stamp,
            kind,
            Some(hold.payee),
            delta(hold.amount),
            Note::Hold(id),
        );
        Ok(self.resolve(id, hold, state, stamp.time))
    }

    /// The hold, if it is open.
    fn open_hold(&self, id: HoldId) -> Result<Hold, LedgerError> {
        let hold = self.holds.get(&id).ok_or(LedgerError::HoldUnknown(id))?;
        match hold.state {
            HoldState::Pending => Ok(*hold),
            HoldState::Captured(paid) => Err(LedgerError::HoldCaptured { hold: id, paid }),
            HoldState::Released => Err(LedgerError::HoldReleased(id)),
            HoldState::Expired => Err(LedgerError::HoldExpired {
                hold: id,
                ended: hold.resolved,
            }),
        }
    }

    fn resolve(&mut self, id: HoldId, mut hold: Hold, state: HoldState, time: Timestamp) -> Hold {
        hold.state = state;
        hold.resolved = time;
        self.holds.insert(id, hold);
        self.due.remove(&(hold.expires, Due::Hold(id)));
        if let Some(payer) = self.accounts.get_mut(&hold.payer) {
            payer.open.remove(&id);
        }
        self.resolved.insert((time, id));
        hold
    }

    /// Forgets resolved holds that are old or too many.
    pub(crate) fn forget(&mut self, now: Timestamp) {
        while let Some(&(time, id)) = self.resolved.first() {
            if self.resolved.len() <= MAX_RESOLVED && now.since(time) < KEEP_RESOLVED {
                break;
            }
            self.resolved.pop_first();
            self.holds.remove(&id);
        }
    }
}

/// An amount as a signed change; amounts never exceed the minted sum, which fits.
pub(crate) fn delta(amount: MicroCpt) -> i64 {
    i64::try_from(amount.0).unwrap_or(i64::MAX)
}
