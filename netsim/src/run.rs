//! Running a seed, panics of the cores' own assertions included.

use crate::{
    fault::Faults,
    invariants::cores,
    plant::Plant,
    world::{Report, World},
};
use std::{
    collections::BTreeMap,
    panic::{AssertUnwindSafe, catch_unwind},
};

/// Runs a seed to its end or to its first violation.
#[must_use]
pub fn run(seed: u64, plant: Option<Plant>, verbose: bool) -> Report {
    let result = catch_unwind(AssertUnwindSafe(|| World::new(seed, plant, verbose).run(seed)));
    result.unwrap_or_else(|panic| {
        let text = panic
            .downcast_ref::<String>()
            .cloned()
            .or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_owned()))
            .unwrap_or_default();
        Report {
            seed,
            hash: String::new(),
            lines: 0,
            figures: BTreeMap::new(),
            faults: Faults::default(),
            violation: Some(cores::panicked(text)),
            trace: Vec::new(),
        }
    })
}
