//! The memory of commands that have taken effect: what makes sending one twice harmless.
//!
//! A command id counts within its account, so nobody can use up another's ids. An id is kept until its command's
//! own end and [`RETRY_GRACE`] longer; ids of commands that have no other id of their own to be known by (a hold
//! has one, a transfer has not) are kept for [`MAX_COMMAND_LIFE`] at least, should a client sign the same wish
//! anew. When there is no room for more, new commands are refused rather than old ids forgotten.

use hive_protocol::{
    command::{Command, CommandBody, MAX_COMMAND_LIFE, Refusal},
    ids::{AccountId, CommandId, HoldId},
    money::MicroCpt,
    time::{Millis, Timestamp},
};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// A retry is answered for this long after the command's own end.
pub const RETRY_GRACE: Millis = Millis::mins(10);
/// Command ids remembered at once, about 250 bytes each.
pub const MAX_ANSWERED: usize = 1 << 20;
/// Command ids of one account remembered at once: one account cannot fill the memory for all.
pub const MAX_ANSWERED_PER_ACCOUNT: u32 = 1 << 18;

/// Until when the id of a command accepted now is remembered.
pub(crate) fn keep_until(command: &Command, now: Timestamp) -> Timestamp {
    let own = command.not_after + RETRY_GRACE;
    match command.body {
        CommandBody::Hold { .. } | CommandBody::Capture { .. } | CommandBody::Release { .. } => own,
        _ => own.max(now + MAX_COMMAND_LIFE),
    }
}

/// The answer a command got.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub(crate) struct Answer {
    pub fingerprint: [u8; 16],
    pub index: u64,
    pub paid: MicroCpt,
    pub hold: Option<HoldId>,
    pub forget: Timestamp,
}

/// All answers still remembered.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug, Default)]
pub(crate) struct Answered {
    answers: BTreeMap<(AccountId, CommandId), Answer>,
    by_end: BTreeSet<(Timestamp, AccountId, CommandId)>,
    counts: BTreeMap<AccountId, u32>,
}

impl Answered {
    pub fn get(&self, account: AccountId, id: CommandId) -> Option<&Answer> {
        self.answers.get(&(account, id))
    }

    /// # Errors
    /// `authority.busy` when this account, or all together, have too many commands in memory.
    pub fn check_room(&self, account: AccountId) -> Result<(), Refusal> {
        let own = self.counts.get(&account).copied().unwrap_or(0);
        if own >= MAX_ANSWERED_PER_ACCOUNT || self.answers.len() >= MAX_ANSWERED {
            return Err(Refusal::new(
                "authority.busy",
                format!(
                    "{own} commands of this account and {} in all are still in force; give commands a nearer end or wait",
                    self.answers.len()
                ),
            ));
        }
        Ok(())
    }

    pub fn remember(&mut self, account: AccountId, id: CommandId, answer: Answer) {
        self.by_end.insert((answer.forget, account, id));
        if self.answers.insert((account, id), answer).is_none() {
            let count = self.counts.entry(account).or_default();
            *count = count.saturating_add(1);
        }
    }

    pub fn forget(&mut self, now: Timestamp) {
        while let Some(&(end, account, id)) = self.by_end.first()
            && end <= now
        {
            self.by_end.pop_first();
            self.answers.remove(&(account, id));
            if let Some(count) = self.counts.get_mut(&account) {
                *count = count.saturating_sub(1);
                if *count == 0 {
                    self.counts.remove(&account);
                }
            }
        }
    }

    pub fn check_invariants(&self, now: Timestamp) -> Result<(), String> {
        let counted: u64 = self.counts.values().map(|c| u64::from(*c)).sum();
        if self.by_end.len() != self.answers.len() || counted != self.answers.len() as u64 {
            return Err("the indexes of answered commands differ".into());
        }
        if self.by_end.first().is_some_and(|(end, ..)| *end <= now) {
            return Err("a command id outlived its time".into());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn answer(forget: u64) -> Answer {
        Answer {
            fingerprint: [0; 16],
            index: 1,
            paid: MicroCpt::ZERO,
            hold: None,
            forget: Timestamp(forget),
        }
    }

    fn id(n: u32) -> CommandId {
        let mut id = [0; 16];
        id[..4].copy_from_slice(&n.to_le_bytes());
        CommandId(id)
    }

    #[test]
    fn one_account_fills_its_share_only_and_time_makes_room() {
        let (full, other) = (AccountId([1; 32]), AccountId([2; 32]));
        let mut a = Answered::default();
        for n in 0..MAX_ANSWERED_PER_ACCOUNT {
            a.check_room(full).unwrap();
            a.remember(full, id(n), answer(10 + u64::from(n % 2)));
        }
        assert_eq!(a.check_room(full).unwrap_err().code, "authority.busy");
        a.check_room(other).unwrap();
        a.forget(Timestamp(9));
        assert!(a.check_room(full).is_err());
        a.forget(Timestamp(10));
        a.check_room(full).unwrap();
        assert!(a.get(full, id(0)).is_none() && a.get(full, id(1)).is_some());
        a.check_invariants(Timestamp(10)).unwrap();
        a.forget(Timestamp(11));
        assert_eq!(a, Answered::default());
    }
}
