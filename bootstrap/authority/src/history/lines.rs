//! Which lines a record has made, and pages across memory and index.

use super::HistoryError;
use hive_protocol::{
    authority::{LedgerLine, MAX_PAGE},
    ids::{AccountId, HoldId, InviteId},
};
use hive_state::{Event, State};
use std::collections::BTreeSet;

/// The lines the record `index`, which has just been applied with these events, has made; by account, oldest first.
pub(crate) fn touched(state: &State, events: &[Event], index: u64) -> Vec<(AccountId, LedgerLine)> {
    let ledger = state.ledger();
    let payer = |hold: &HoldId| ledger.get_hold(hold).map(|h| h.payer);
    let maker = |invite: &InviteId| state.invitation(invite).map(|i| i.by);
    let mut accounts = BTreeSet::new();
    // A hold or invitation that ended so long ago that it was forgotten at once names nobody any more.
    let mut everybody = false;
    for event in events {
        let concerned = match event {
            Event::Joined { account, node, .. } => {
                let invite = state.node(node).and_then(|n| n.invite);
                [Some(*account), invite.as_ref().and_then(maker)]
            }
            Event::Transferred { from, to, .. } => [Some(*from), Some(*to)],
            Event::Held { payer, payee, .. } | Event::Captured { payer, payee, .. } => {
                [Some(*payer), Some(*payee)]
            }
            Event::Released { hold } | Event::Expired { hold } => {
                let payer = payer(hold);
                everybody |= payer.is_none();
                [payer, None]
            }
            Event::Invited { by, .. } => [Some(*by), None],
            Event::InviteEnded { invite } => {
                let maker = maker(invite);
                everybody |= maker.is_none();
                [maker, None]
            }
            Event::Delegated { .. } | Event::NodeRemoved { .. } | Event::Score { .. } => [None, None],
        };
        accounts.extend(concerned.into_iter().flatten());
    }
    if everybody || index == 0 {
        accounts.extend(ledger.accounts().map(|(account, _)| *account));
    }
    let mut out = Vec::new();
    for account in accounts {
        let Some(a) = ledger.account(&account) else {
            continue;
        };
        let mut new: Vec<_> = a.lines().rev().take_while(|l| l.index >= index).collect();
        new.reverse();
        out.extend(new.into_iter().map(|l| (account, l.view())));
    }
    out
}

/// A page of about `limit` lines, newest first: what memory has, then what the index has. `memory` is the state's
/// page, which the state's memory ended early. The lines of one record are never parted, so the last index of a
/// page is the `before` of the next.
pub(crate) fn merge(
    memory: Vec<LedgerLine>,
    before: u64,
    limit: u32,
    older: impl FnOnce(u64) -> Box<dyn Iterator<Item = Result<LedgerLine, HistoryError>>>,
) -> Result<Vec<LedgerLine>, HistoryError> {
    let limit = usize::try_from(limit).unwrap_or(MAX_PAGE).clamp(1, MAX_PAGE);
    // Memory may have dropped some lines of its oldest record: that one is read from the index.
    let oldest = memory
        .last()
        .map_or(before, |l| l.index.saturating_add(1).min(before));
    let newer = memory.into_iter().filter(|l| l.index >= oldest).map(Ok);
    let mut page: Vec<LedgerLine> = Vec::new();
    let mut whole = 0;
    for line in newer.chain(older(oldest)) {
        let line = line?;
        if page.last().is_some_and(|last| last.index != line.index) {
            whole = page.len();
            if page.len() >= limit {
                break;
            }
        }
        if page.len() >= limit && whole > 0 {
            page.truncate(whole);
            break;
        }
        page.push(line);
    }
    Ok(page)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use hive_protocol::{money::MicroCpt, time::Timestamp};

    fn line(index: u64) -> LedgerLine {
        LedgerLine {
            index,
            time: Timestamp(index),
            kind: "transfer".into(),
            other: None,
            delta: 1,
            available: MicroCpt(index),
            note: String::new(),
        }
    }

    fn pages(memory: &[u64], index: &[u64], limit: u32) -> Vec<u64> {
        let mut before = u64::MAX;
        let mut all = Vec::new();
        loop {
            let newest: Vec<_> = memory.iter().filter(|i| **i < before).map(|i| line(*i)).collect();
            let page = merge(newest, before, limit, |b| {
                let old: Vec<_> = index.iter().filter(|i| **i < b).map(|i| Ok(line(*i))).collect();
                Box::new(old.into_iter())
            })
            .unwrap();
            let Some(last) = page.last() else { return all };
            before = last.index;
            all.extend(page.iter().map(|l| l.index));
        }
    }

    #[test]
    fn pages_join_memory_and_index_without_gap_or_repeat() {
        let index = [9, 8, 8, 8, 7, 5, 5, 4, 2, 2, 1];
        for cut in 0..index.len() {
            for limit in 1..12 {
                assert_eq!(
                    pages(&index[..cut], &index, limit),
                    index,
                    "cut {cut} limit {limit}"
                );
            }
        }
        // The index lags behind memory.
        assert_eq!(pages(&[12, 11, 9], &index, 4)[..4], [12, 11, 9, 8]);
    }
}
