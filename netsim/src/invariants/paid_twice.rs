//! Holds end once: a second set of books follows every event and refuses what breaks a hold's own rules. None is
//! paid twice, none is paid more than was set aside, none is paid after its end.

use super::{Violation, balances, hold_expiry};
use crate::oracle::{Books, HoldFacts};
use hive_protocol::{
    ids::{AccountId, HoldId},
    money::MicroCpt,
    time::Timestamp,
};
use hive_state::{Event, State};

fn bad(detail: String) -> Violation {
    Violation::new("paid_twice", detail)
}

fn add(books: &mut Books, account: AccountId, amount: MicroCpt) {
    let balance = books.available.entry(account).or_default();
    *balance = balance.saturating_add(amount);
}

fn end(books: &mut Books, hold: &HoldId, what: &str) -> Result<HoldFacts, Violation> {
    let Some(h) = books.holds.get_mut(hold) else {
        return Err(bad(format!("hold {hold} is {what} and was never made")));
    };
    if !std::mem::take(&mut h.open) {
        return Err(bad(format!("hold {hold} is {what} after it had ended")));
    }
    Ok(*h)
}

/// Enters an event into the books.
///
/// # Errors
/// The rule it breaks.
pub fn follow(books: &mut Books, event: &Event, time: Timestamp, state: &State) -> Result<(), Violation> {
    match event {
        Event::Held {
            hold, payer, amount, ..
        } => {
            let Ok(view) = state.hold_view(hold) else {
                return Err(bad(format!("hold {hold} was made and is not there")));
            };
            balances::set_aside(books, hold, *payer, *amount)?;
            let facts = HoldFacts {
                lease: view.lease,
                payer: *payer,
                amount: *amount,
                expires: view.expires,
                open: true,
                paid: MicroCpt::ZERO,
            };
            if books.holds.insert(*hold, facts).is_some() {
                return Err(bad(format!("hold {hold} is made twice")));
            }
        }
        Event::Captured {
            hold, payee, paid, ..
        } => {
            let h = end(books, hold, "captured")?;
            let Some(rest) = h.amount.checked_sub(*paid) else {
                return Err(bad(format!("hold {hold} of {} pays {paid}", h.amount)));
            };
            hold_expiry::paid(hold, &h, time)?;
            if let Some(h) = books.holds.get_mut(hold) {
                h.paid = *paid;
            }
            add(books, *payee, *paid);
            add(books, h.payer, rest);
        }
        Event::Released { hold } => {
            let h = end(books, hold, "released")?;
            add(books, h.payer, h.amount);
        }
        Event::Expired { hold } => {
            let h = end(books, hold, "expired")?;
            hold_expiry::expired(hold, &h, time)?;
            add(books, h.payer, h.amount);
        }
        _ => {}
    }
    Ok(())
}
