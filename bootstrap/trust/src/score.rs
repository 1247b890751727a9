//! From evidence to scores: slow to gain, quick to lose, nothing for dealing with oneself.
//!
//! The rules, all of which an attacker may read:
//! - A paid, countersigned lease of at least [`MIN_TASKS`] tasks gives each side [`GAIN`], worker and submitter alike.
//! - Once per pair of accounts and day for each side, at most [`MAX_GAIN_PER_DAY`] per account and day.
//! - It lifts nobody above the other side's score: a ring of accounts that work for each other cannot rise above
//!   its best member. Above that (and above 100, where tier high begins) only the founder lifts.
//! - Unpaid work and work between an account and itself give nothing.
//! - One proven wrong result costs a third of the score, at once and without a cap.
//! - Stories without proof (a refused receipt, a hold that ran out unused) are counted and move no score:
//!   either side could make them up to harm the other.

use hive_protocol::{
    authority::ScoreChange,
    genesis::MAX_SCORE,
    ids::AccountId,
    time::{Millis, Timestamp},
};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Reasons kept per account: what `trust show` prints.
pub const MAX_REASONS: usize = 20;
/// Longest reason in bytes; longer ones are cut.
pub const MAX_REASON: usize = 160;
/// Fewest paid tasks of a lease that count; smaller leases are paid but prove little.
pub const MIN_TASKS: u64 = 10;
/// What one counted lease gives each side.
pub const GAIN: u32 = 1;
/// Most an account gains in one UTC day: from 50 to 100 takes ten days at least.
pub const MAX_GAIN_PER_DAY: u32 = 5;
/// A proven wrong result costs this part of the score, rounded up.
pub const LOSS_DIVISOR: u32 = 3;
const DAY: Millis = Millis::hours(24);

/// What is known to have happened between two accounts.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Evidence {
    /// A countersigned receipt was paid out.
    Captured {
        /// The account that worked.
        worker: AccountId,
        /// The account that paid.
        submitter: AccountId,
        /// Tasks on the receipt.
        tasks: u64,
        /// µCPT paid.
        paid: u64,
    },
    /// Re-execution has proven that a signed result is wrong.
    ProvenWrong {
        /// The account whose node signed it.
        worker: AccountId,
        /// What was wrong, one line.
        what: String,
    },
    /// The submitter stated that it refuses a receipt; neither side is proven wrong.
    Disputed {
        /// The account that worked.
        worker: AccountId,
        /// The account that refuses.
        submitter: AccountId,
    },
    /// A hold ran out with nothing captured; nobody knows from it who failed whom.
    Abandoned {
        /// Who would have been paid.
        worker: AccountId,
        /// Whose money was set aside.
        submitter: AccountId,
    },
}

/// One account's standing.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct Standing {
    /// 0 to [`MAX_SCORE`].
    pub score: u32,
    /// Why it moved, newest first, at most [`MAX_REASONS`].
    pub reasons: VecDeque<ScoreChange>,
    /// Leases paid, as worker or submitter, with another account.
    pub captured: u64,
    /// Results proven wrong.
    pub wrong: u64,
    /// Disputes and holds that ran out, as worker or submitter; says nothing on whose fault.
    pub unsettled: u64,
    day: u64,
    gained_today: u32,
}

/// The scores of all accounts.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug, Default)]
pub struct Trust {
    accounts: BTreeMap<AccountId, Standing>,
    /// Who has gained from whom on `day`. Bounded: an account enters at most [`MAX_GAIN_PER_DAY`] times a day.
    pairs: BTreeSet<(AccountId, AccountId)>,
    day: u64,
}

impl Trust {
    /// Nobody.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Gives an account its first score (cut to [`MAX_SCORE`]). An account that has one keeps it.
    pub fn admit(&mut self, account: AccountId, score: u32, time: Timestamp, reason: &str) {
        self.accounts.entry(account).or_insert_with(|| {
            let mut standing = Standing {
                score: 0,
                reasons: VecDeque::new(),
                captured: 0,
                wrong: 0,
                unsettled: 0,
                day: 0,
                gained_today: 0,
            };
            standing.moved(score, time, reason.to_owned());
            standing
        });
    }

    /// Sets a score by hand (cut to [`MAX_SCORE`]); false for an unknown account.
    pub fn set(&mut self, account: AccountId, score: u32, time: Timestamp, reason: &str) -> bool {
        let Some(standing) = self.accounts.get_mut(&account) else {
            return false;
        };
        standing.moved(score, time, format!("set by the founder: {reason}"));
        true
    }

    /// An account's score, if it is known.
    #[must_use]
    pub fn score(&self, account: &AccountId) -> Option<u32> {
        self.accounts.get(account).map(|s| s.score)
    }

    /// An account's standing, if it is known.
    #[must_use]
    pub fn standing(&self, account: &AccountId) -> Option<&Standing> {
        self.accounts.get(account)
    }

    /// All accounts in key order.
    pub fn accounts(&self) -> impl Iterator<Item = (&AccountId, &Standing)> {
        self.accounts.iter()
    }

    /// Takes evidence into account; says whose score moved and to what. Evidence on unknown accounts is ignored.
    pub fn record(&mut self, evidence: &Evidence, time: Timestamp) -> Vec<(AccountId, ScoreChange)> {
        match evidence {
            Evidence::Captured {
                worker,
                submitter,
                tasks,
                paid,
            } => self.captured(*worker, *submitter, *tasks, *paid, time),
            Evidence::ProvenWrong { worker, what } => {
                let Some(standing) = self.accounts.get_mut(worker) else {
                    return Vec::new();
                };
                standing.wrong = standing.wrong.saturating_add(1);
                let left = standing.score - standing.score.div_ceil(LOSS_DIVISOR);
                let change = standing.moved(left, time, format!("wrong result: {what}"));
                vec![(*worker, change)]
            }
            Evidence::Disputed { worker, submitter } | Evidence::Abandoned { worker, submitter } => {
                if worker != submitter {
                    for account in [worker, submitter] {
                        if let Some(s) = self.accounts.get_mut(account) {
                            s.unsettled = s.unsettled.saturating_add(1);
                        }
                    }
                }
                Vec::new()
            }
        }
    }

    fn captured(
        &mut self,
        worker: AccountId,
        submitter: AccountId,
        tasks: u64,
        paid: u64,
        time: Timestamp,
    ) -> Vec<(AccountId, ScoreChange)> {
        let (Some(w), Some(s)) = (self.score(&worker), self.score(&submitter)) else {
            return Vec::new();
        };
        if worker == submitter {
            return Vec::new();
        }
        for account in [&worker, &submitter] {
            if let Some(standing) = self.accounts.get_mut(account) {
                standing.captured = standing.captured.saturating_add(1);
            }
        }
        if tasks < MIN_TASKS || paid == 0 {
            return Vec::new();
        }
        // Both ceilings are the scores before this lease, so the order of the two sides does not matter.
        let mut moved = Vec::new();
        moved.extend(self.gain(worker, submitter, s, time, "worked for", tasks));
        moved.extend(self.gain(submitter, worker, w, time, "paid", tasks));
        moved
    }

    fn gain(
        &mut self,
        account: AccountId,
        other: AccountId,
        ceiling: u32,
        time: Timestamp,
        verb: &str,
        tasks: u64,
    ) -> Option<(AccountId, ScoreChange)> {
        let day = time.0 / DAY.0;
        if day > self.day {
            self.day = day;
            self.pairs.clear();
        }
        let day = self.day;
        let standing = self.accounts.get_mut(&account)?;
        if standing.day != day {
            standing.day = day;
            standing.gained_today = 0;
        }
        let score = standing.score.saturating_add(GAIN);
        if score > ceiling.min(MAX_SCORE)
            || standing.gained_today >= MAX_GAIN_PER_DAY
            || !self.pairs.insert((account, other))
        {
            return None;
        }
        standing.gained_today = standing.gained_today.saturating_add(GAIN);
        let reason = format!("{verb} {}: {tasks} tasks", other.short());
        let change = standing.moved(score, time, reason);
        Some((account, change))
    }

    /// Checks what must hold after every step.
    ///
    /// # Errors
    /// The rule that is broken, in words.
    pub fn check_invariants(&self) -> Result<(), String> {
        for (account, s) in &self.accounts {
            if s.score > MAX_SCORE {
                return Err(format!("{account:?} has score {} over {MAX_SCORE}", s.score));
            }
            if s.reasons.len() > MAX_REASONS {
                return Err(format!("{account:?} keeps {} reasons", s.reasons.len()));
            }
            if s.gained_today > MAX_GAIN_PER_DAY {
                return Err(format!("{account:?} gained {} today", s.gained_today));
            }
            if s.reasons.front().is_some_and(|r| r.score != s.score) {
                return Err(format!("{account:?}: the newest reason tells another score"));
            }
        }
        let bound = self.accounts.len().saturating_mul(MAX_GAIN_PER_DAY as usize);
        if self.pairs.len() > bound {
            return Err(format!("{} pairs are over {bound}", self.pairs.len()));
        }
        Ok(())
    }
}

impl Standing {
    fn moved(&mut self, score: u32, time: Timestamp, mut reason: String) -> ScoreChange {
        let mut cut = reason.len().min(MAX_REASON);
        while !reason.is_char_boundary(cut) {
            cut -= 1;
        }
        reason.truncate(cut);
        self.score = score.min(MAX_SCORE);
        let change = ScoreChange {
            time,
            score: self.score,
            reason,
        };
        self.reasons.truncate(MAX_REASONS - 1);
        self.reasons.push_front(change.clone());
        change
    }
}
