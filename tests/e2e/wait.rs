//! Waiting for what must become true, with a deadline that names it.

use std::{
    thread,
    time::{Duration, Instant},
};

/// What a loaded machine with two cores gets for one step.
pub const SOON: Duration = Duration::from_secs(30);
/// Pause between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Looks until there is something.
#[track_caller]
pub fn until<T>(what: &str, within: Duration, look: impl FnMut() -> Option<T>) -> T {
    until_else(within, look, || what.to_owned())
}

/// Looks until there is something; what was missing is said only then.
#[track_caller]
pub fn until_else<T>(
    within: Duration,
    mut look: impl FnMut() -> Option<T>,
    what: impl FnOnce() -> String,
) -> T {
    let deadline = Instant::now() + within;
    loop {
        if let Some(found) = look() {
            return found;
        }
        if Instant::now() >= deadline {
            panic!("not within {within:?}: {}", what());
        }
        thread::sleep(LOOK_EVERY);
    }
}
