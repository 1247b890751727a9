//! One account: its money and the latest lines of its history.

use hive_protocol::{
    authority::{LedgerLine, MAX_PAGE},
    ids::{AccountId, HoldId, InviteId},
    money::MicroCpt,
    time::Timestamp,
};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeSet, VecDeque};

/// Lines kept in memory per account; older ones are in the authority's log. About 100 bytes each.
pub const HISTORY_LINES: usize = 500;

/// What a line tells of.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub enum LineKind {
    /// The founding money.
    Mint,
    /// Money sent or received.
    Transfer,
    /// Money set aside for a lease.
    Hold,
    /// A receipt paid out: the payee's income, or the rest that came back to the payer.
    Capture,
    /// A hold given back by the payee.
    Release,
    /// A hold or invitation ended by time; what was left came back.
    Expire,
    /// Money set aside for an invitation, or come back on its revocation.
    Invite,
    /// An invitation's grant to a joiner.
    Grant,
}

impl LineKind {
    /// Its name in [`LedgerLine::kind`].
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Mint => "mint",
            Self::Transfer => "transfer",
            Self::Hold => "hold",
            Self::Capture => "capture",
            Self::Release => "release",
            Self::Expire => "expire",
            Self::Invite => "invite",
            Self::Grant => "grant",
        }
    }
}

/// What a line refers to; made into text only when asked for.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub enum Note {
    /// Nothing.
    None,
    /// The sender's words, bounded by the command.
    Memo(String),
    /// A hold.
    Hold(HoldId),
    /// A hold and what was paid from it.
    Paid(HoldId, MicroCpt),
    /// An invitation.
    Invite(InviteId),
}

impl Note {
    fn text(&self) -> String {
        match self {
            Self::None => String::new(),
            Self::Memo(m) => m.clone(),
            Self::Hold(h) => h.to_string(),
            Self::Paid(h, paid) => format!("{h} paid {paid}"),
            Self::Invite(i) => i.to_string(),
        }
    }
}

/// One line of history.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct Line {
    /// The log entry that caused it.
    pub index: u64,
    /// When it took effect; for an expiry the moment the hold ended, which may be before the entry's time.
    pub time: Timestamp,
    /// What it tells of.
    pub kind: LineKind,
    /// The other account, where there is one.
    pub other: Option<AccountId>,
    /// µCPT into the free balance, negative out of it.
    pub delta: i64,
    /// Free balance afterwards.
    pub available: MicroCpt,
    /// What it refers to.
    pub note: Note,
}

impl Line {
    /// The line as members see it.
    #[must_use]
    pub fn view(&self) -> LedgerLine {
        LedgerLine {
            index: self.index,
            time: self.time,
            kind: self.kind.name().to_owned(),
            other: self.other,
            delta: self.delta,
            available: self.available,
            note: self.note.text(),
        }
    }
}

/// One account.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug, Default)]
pub struct Account {
    /// Free to spend.
    pub available: MicroCpt,
    /// Set aside in holds and invitations.
    pub held: MicroCpt,
    /// Open holds it pays for, at most [`crate::hold::MAX_OPEN_HOLDS`].
    pub open: BTreeSet<HoldId>,
    /// Open invitations it pays for, at most [`crate::reserve::MAX_OPEN_RESERVES`].
    pub invites: u32,
    /// µCPT ever received for work.
    pub earned: MicroCpt,
    /// µCPT ever paid for work.
    pub spent: MicroCpt,
    /// Latest lines, oldest first.
    lines: VecDeque<Line>,
}

impl Account {
    pub(crate) fn with(available: MicroCpt) -> Self {
        Self {
            available,
            ..Self::default()
        }
    }

    pub(crate) fn push(&mut self, line: Line) {
        if self.lines.len() >= HISTORY_LINES {
            self.lines.pop_front();
        }
        self.lines.push_back(line);
    }

    /// Lines newest first with an index below `before`, about `limit` of them (at most [`MAX_PAGE`]). The lines of
    /// one log entry are never parted, so the last index of a page is the `before` of the next: a page may be
    /// shorter for it, and longer only where a single entry made more than `limit` lines.
    #[must_use]
    pub fn page(&self, before: u64, limit: usize) -> Vec<&Line> {
        let limit = limit.clamp(1, MAX_PAGE);
        let mut page: Vec<&Line> = Vec::new();
        let mut whole = 0;
        for line in self.lines.iter().rev().filter(|l| l.index < before) {
            if page.last().is_some_and(|last| last.index != line.index) {
                if page.len() >= limit {
                    return page;
                }
                whole = page.len();
            }
            if page.len() >= limit && whole > 0 {
                page.truncate(whole);
                return page;
            }
            page.push(line);
        }
        page
    }

    /// All lines kept, oldest first.
    pub fn lines(&self) -> impl DoubleEndedIterator<Item = &Line> {
        self.lines.iter()
    }
}
