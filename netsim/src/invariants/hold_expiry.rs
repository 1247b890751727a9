//! No hold outlives its expiry: by the authority's own clock as it should run, not as it believes it does.

use super::Violation;
use crate::world::World;
use hive_protocol::authority::HoldState;

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
