//! The sum of balances is constant: free and set aside make what was minted, counted account by account, and
//! every balance is what the naive books say.

use super::Violation;
use crate::{oracle::Books, world::World};
use hive_protocol::{
    ids::{AccountId, HoldId},
    money::MicroCpt,
};

/// # Errors
/// Money made, lost, or in the wrong pocket.
pub fn check(world: &World) -> Result<(), Violation> {
    let bad = |detail| Err(Violation::new("balances", detail));
    let state = &world.authority.state;
    let mut sum = MicroCpt::ZERO;
    for (id, account) in state.ledger().accounts() {
        sum = sum.saturating_add(account.available).saturating_add(account.held);
        let booked = world.oracle.books.available.get(id).copied().unwrap_or_default();
        if booked != account.available {
            return bad(format!(
                "{id} has {}, by the events it should be {booked}",
                account.available
            ));
        }
    }
    let minted = world.oracle.minted;
    if sum != minted {
        return bad(format!("{minted} were minted, there are {sum}"));
    }
    let totals = state.totals();
    if totals.available.saturating_add(totals.held) != minted {
        return bad(format!(
            "{minted} were minted, the totals say {} and {}",
            totals.available, totals.held
        ));
    }
    Ok(())
}

/// Takes a hold's amount out of its payer's free money in the naive books.
///
/// # Errors
/// There is not so much.
pub fn set_aside(
    books: &mut Books,
    hold: &HoldId,
    payer: AccountId,
    amount: MicroCpt,
) -> Result<(), Violation> {
    let balance = books.available.entry(payer).or_default();
    let Some(rest) = balance.checked_sub(amount) else {
        return Err(Violation::new(
            "balances",
            format!("hold {hold} of {amount} on a balance of {balance}"),
        ));
    };
    *balance = rest;
    Ok(())
}
