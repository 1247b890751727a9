//! The whole ledger: balances, transfers, time, totals and the invariants.

use crate::{
    account::{Account, Line, LineKind, Note},
    error::LedgerError,
    hold::{Hold, delta},
    reserve::{Ended, Reserve},
};
use hive_protocol::{
    authority::HoldState,
    ids::{AccountId, HoldId, InviteId},
    money::MicroCpt,
    time::Timestamp,
};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Accounts a ledger may have; at some 60 KB of history each when all are busy, memory decides.
pub const MAX_ACCOUNTS: usize = 100_000;

/// Where and when an operation happens.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stamp {
    /// The log entry.
    pub index: u64,
    /// The entry's time.
    pub time: Timestamp,
}

/// What ends at a moment.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, Debug)]
pub(crate) enum Due {
    Hold(HoldId),
    Reserve(InviteId),
}

/// The ledger of one mesh. All fields move together; see [`Ledger::check_invariants`].
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct Ledger {
    minted: MicroCpt,
    pub(crate) available: MicroCpt,
    pub(crate) held: MicroCpt,
    pub(crate) accounts: BTreeMap<AccountId, Account>,
    pub(crate) holds: BTreeMap<HoldId, Hold>,
    pub(crate) reserves: BTreeMap<InviteId, Reserve>,
    /// Everything open, by its end.
    pub(crate) due: BTreeSet<(Timestamp, Due)>,
    /// Resolved holds still remembered, by the moment they were resolved.
    pub(crate) resolved: BTreeSet<(Timestamp, HoldId)>,
}

impl Ledger {
    /// A ledger in which the founder owns everything. More than `i64::MAX` µCPT cannot be minted: lines of
    /// history are signed; what is above is cut.
    #[must_use]
    pub fn mint(founder: AccountId, amount: MicroCpt, stamp: Stamp) -> Self {
        let amount = MicroCpt(amount.0.min(i64::MAX.unsigned_abs()));
        let account = Account::with(amount);
        let mut ledger = Self {
            minted: amount,
            available: amount,
            held: MicroCpt::ZERO,
            accounts: BTreeMap::from([(founder, account)]),
            holds: BTreeMap::new(),
            reserves: BTreeMap::new(),
            due: BTreeSet::new(),
            resolved: BTreeSet::new(),
        };
        ledger.note(founder, stamp, LineKind::Mint, None, delta(amount), Note::None);
        ledger
    }

    /// Opens an empty account; one that exists is left as it is.
    ///
    /// # Errors
    /// When the ledger is full.
    pub fn open(&mut self, account: AccountId) -> Result<(), LedgerError> {
        if self.accounts.len() >= MAX_ACCOUNTS && !self.accounts.contains_key(&account) {
            return Err(LedgerError::Full(self.accounts.len()));
        }
        self.accounts.entry(account).or_default();
        Ok(())
    }

    /// Moves free money.
    ///
    /// # Errors
    /// Nothing to move, the same account twice, unknown accounts, too little money.
    pub fn transfer(
        &mut self,
        from: AccountId,
        to: AccountId,
        amount: MicroCpt,
        memo: &str,
        stamp: Stamp,
    ) -> Result<(), LedgerError> {
        if amount == MicroCpt::ZERO {
            return Err(LedgerError::Zero);
        }
        if from == to {
            return Err(LedgerError::SelfTransfer);
        }
        let receiver = self
            .accounts
            .get(&to)
            .ok_or(LedgerError::UnknownAccount(to))?
            .available
            .checked_add(amount);
        let sender = self.spendable(from, amount, "the transfer")?;
        let receiver = receiver.ok_or(LedgerError::Overflow("transfer"))?;
        for (account, balance) in [(from, sender), (to, receiver)] {
            if let Some(a) = self.accounts.get_mut(&account) {
                a.available = balance;
            }
        }
        let memo = || Note::Memo(memo.to_owned());
        self.note(from, stamp, LineKind::Transfer, Some(to), -delta(amount), memo());
        self.note(to, stamp, LineKind::Transfer, Some(from), delta(amount), memo());
        Ok(())
    }

    /// Lets time pass: everything due by `stamp.time` ends, in the order of its end; old memories go.
    /// Twice in steps is the same as once at the later time.
    pub fn advance(&mut self, stamp: Stamp) -> Vec<Ended> {
        let mut ended = Vec::new();
        while let Some(&(time, due)) = self.due.first()
            && time <= stamp.time
        {
            self.due.pop_first();
            let at = Stamp {
                index: stamp.index,
                time,
            };
            match due {
                Due::Hold(id) => {
                    if let Ok(hold) = self.expire_hold(id, at) {
                        ended.push(Ended::Hold(id, hold));
                    }
                }
                Due::Reserve(id) => {
                    if self.end_reserve(id, LineKind::Expire, at).is_ok() {
                        ended.push(Ended::Invite(id));
                    }
                }
            }
        }
        self.forget(stamp.time);
        ended
    }

    /// When the next hold or invitation ends.
    #[must_use]
    pub fn next_due(&self) -> Option<Timestamp> {
        self.due.first().map(|(time, _)| *time)
    }

    /// One account.
    #[must_use]
    pub fn account(&self, account: &AccountId) -> Option<&Account> {
        self.accounts.get(account)
    }

    /// All accounts in key order.
    pub fn accounts(&self) -> impl ExactSizeIterator<Item = (&AccountId, &Account)> {
        self.accounts.iter()
    }

    /// One hold, open or lately resolved.
    #[must_use]
    pub fn get_hold(&self, hold: &HoldId) -> Option<&Hold> {
        self.holds.get(hold)
    }

    /// The open grants of an invitation.
    #[must_use]
    pub fn get_reserve(&self, invite: &InviteId) -> Option<&Reserve> {
        self.reserves.get(invite)
    }

    /// µCPT ever minted.
    #[must_use]
    pub const fn minted(&self) -> MicroCpt {
        self.minted
    }

    /// Sums of all free and all held money.
    #[must_use]
    pub const fn totals(&self) -> (MicroCpt, MicroCpt) {
        (self.available, self.held)
    }

    /// The balance that stays after spending `amount`.
    fn spendable(
        &self,
        account: AccountId,
        amount: MicroCpt,
        what: &'static str,
    ) -> Result<MicroCpt, LedgerError> {
        let a = self
            .accounts
            .get(&account)
            .ok_or(LedgerError::UnknownAccount(account))?;
        a.available.checked_sub(amount).ok_or(LedgerError::Insufficient {
            what,
            need: amount,
            have: a.available,
            held: a.held,
        })
    }

    /// Moves free money of an account to what it has held.
    pub(crate) fn set_aside(
        &mut self,
        account: AccountId,
        amount: MicroCpt,
        what: &'static str,
    ) -> Result<(), LedgerError> {
        let overflow = LedgerError::Overflow("hold");
        let available = self.spendable(account, amount, what)?;
        let totals = (self.available.checked_sub(amount), self.held.checked_add(amount));
        let (Some(a), (Some(sum_available), Some(sum_held))) = (self.accounts.get_mut(&account), totals)
        else {
            return Err(overflow);
        };
        a.held = a.held.checked_add(amount).ok_or(overflow)?;
        a.available = available;
        (self.available, self.held) = (sum_available, sum_held);
        Ok(())
    }

    /// Ends held money of `payer`: `paid` becomes free money of `payee`, `rest` of the payer. All or nothing.
    pub(crate) fn settle(
        &mut self,
        payer: AccountId,
        payee: AccountId,
        paid: MicroCpt,
        rest: MicroCpt,
    ) -> Result<(), LedgerError> {
        let overflow = || LedgerError::Overflow("settlement");
        let total = paid.checked_add(rest).ok_or_else(overflow)?;
        let sum_held = self.held.checked_sub(total).ok_or_else(overflow)?;
        let sum_available = self.available.checked_add(total).ok_or_else(overflow)?;
        let from = self
            .accounts
            .get(&payer)
            .ok_or(LedgerError::UnknownAccount(payer))?;
        let held = from.held.checked_sub(total).ok_or_else(overflow)?;
        let back = if payer == payee { total } else { rest };
        let from_available = from.available.checked_add(back).ok_or_else(overflow)?;
        if payer != payee {
            let to = self
                .accounts
                .get_mut(&payee)
                .ok_or(LedgerError::UnknownAccount(payee))?;
            to.available = to.available.checked_add(paid).ok_or_else(overflow)?;
        }
        if let Some(from) = self.accounts.get_mut(&payer) {
            from.held = held;
            from.available = from_available;
        }
        (self.available, self.held) = (sum_available, sum_held);
        Ok(())
    }

    /// Writes a line of history with the balance as it is now.
    pub(crate) fn note(
        &mut self,
        account: AccountId,
        stamp: Stamp,
        kind: LineKind,
        other: Option<AccountId>,
        delta: i64,
        note: Note,
    ) {
        if let Some(a) = self.accounts.get_mut(&account) {
            let available = a.available;
            a.push(Line {
                index: stamp.index,
                time: stamp.time,
                kind,
                other,
                delta,
                available,
                note,
            });
        }
    }

    /// Checks what must hold after every step; `now` is the time of the last sweep. Costs a walk over everything.
    ///
    /// # Errors
    /// The rule that is broken, in words.
    pub fn check_invariants(&self, now: Timestamp) -> Result<(), String> {
        let sum = |f: fn(&Account) -> MicroCpt| -> u128 {
            self.accounts.values().map(|a| u128::from(f(a).0)).sum()
        };
        let (available, held) = (sum(|a| a.available), sum(|a| a.held));
        if available + held != u128::from(self.minted.0) {
            return Err(format!(
                "free {available} + held {held} is not minted {}",
                self.minted.0
            ));
        }
        if available != u128::from(self.available.0) || held != u128::from(self.held.0) {
            return Err("the running totals differ from the accounts".into());
        }
        let mut set_aside: BTreeMap<AccountId, u128> = BTreeMap::new();
        let (mut open, mut resolved) = (0_usize, 0_usize);
        for (id, h) in &self.holds {
            if h.state != HoldState::Pending {
                resolved += 1;
                if !self.resolved.contains(&(h.resolved, *id)) {
                    return Err(format!("{id:?} is resolved and would never be forgotten"));
                }
                continue;
            }
            open += 1;
            if h.expires <= now {
                return Err(format!("{id:?} is open past its end"));
            }
            if !self.due.contains(&(h.expires, Due::Hold(*id))) {
                return Err(format!("{id:?} is open and would never end"));
            }
            if !self.accounts.get(&h.payer).is_some_and(|a| a.open.contains(id)) {
                return Err(format!("{id:?} is open, its payer does not know"));
            }
            *set_aside.entry(h.payer).or_default() += u128::from(h.amount.0);
        }
        for (id, r) in &self.reserves {
            if r.expires <= now || r.left == 0 {
                return Err(format!("{id:?} is open past its end"));
            }
            if !self.due.contains(&(r.expires, Due::Reserve(*id))) {
                return Err(format!("{id:?} would never end"));
            }
            *set_aside.entry(r.owner).or_default() += u128::from(r.each.0) * u128::from(r.left);
        }
        for (id, a) in &self.accounts {
            if set_aside.remove(id).unwrap_or_default() != u128::from(a.held.0) {
                return Err(format!(
                    "{id:?} has held money without a hold or a hold without money"
                ));
            }
        }
        let known: usize = self.accounts.values().map(|a| a.open.len()).sum();
        if known != open || self.due.len() != open + self.reserves.len() {
            return Err("an index of open holds has strangers in it".into());
        }
        if self.resolved.len() != resolved {
            return Err("the index of resolved holds has strangers in it".into());
        }
        Ok(())
    }
}
