//! No hold outlives its expiry, nor expires before it: by the authority's own clock as it should run, not as it
//! believes it does.

use super::Violation;
use crate::{oracle::HoldFacts, world::World};
use hive_protocol::{authority::HoldState, ids::HoldId, time::Timestamp};

/// # Errors
/// A hold that is open after its end.
pub fn check(world: &World) -> Result<(), Violation> {
    let now = world.authority.true_clock(world.now);
    let ledger = world.authority.state.ledger();
    for (_, account) in ledger.accounts() {
        for id in &account.open {
            let Some(hold) = ledger.get_hold(id) else {
                continue;
            };
            if hold.state == HoldState::Pending && hold.expires <= now {
                return Err(Violation::new(
                    "hold_expiry",
                    format!("hold {id} is open {} ms after its end", now.since(hold.expires).0),
                ));
            }
        }
    }
    Ok(())
}

/// Looks at a capture.
///
/// # Errors
/// It comes after the hold's end.
pub fn paid(id: &HoldId, hold: &HoldFacts, time: Timestamp) -> Result<(), Violation> {
    if time >= hold.expires {
        return Err(Violation::new(
            "hold_expiry",
            format!(
                "hold {id} is paid {} ms after its end",
                time.since(hold.expires).0
            ),
        ));
    }
    Ok(())
}

/// Looks at an expiry.
///
/// # Errors
/// It comes before the hold's end.
pub fn expired(id: &HoldId, hold: &HoldFacts, time: Timestamp) -> Result<(), Violation> {
    if time < hold.expires {
        return Err(Violation::new(
            "hold_expiry",
            format!("hold {id} expires {} ms early", hold.expires.since(time).0),
        ));
    }
    Ok(())
}
