//! The simulator itself: a seed is one run, seeds differ, the first ones pass, and every planted fault is caught
//! by the invariant that is there for it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use netsim::{plant::Plant, run::run};

#[test]
fn a_seed_does_the_same_every_time() {
    for seed in [1, 7] {
        let (a, b) = (run(seed, None, false), run(seed, None, true));
        assert_eq!(a.hash, b.hash, "shown or not");
        assert_eq!((a.lines, &a.figures), (b.lines, &b.figures));
        assert_eq!(b.trace.len() as u64, b.lines);
        assert!(a.trace.is_empty());
    }
}

#[test]
fn seeds_differ() {
    let mut hashes: Vec<String> = (0..6).map(|seed| run(seed, None, false).hash).collect();
    hashes.sort();
    hashes.dedup();
    assert_eq!(hashes.len(), 6);
}

#[test]
fn a_seed_is_large_enough_and_passes() {
    for seed in 0..8 {
        let report = run(seed, None, false);
        assert_eq!(report.violation, None, "seed {seed}");
        let figure = |name| report.figures.get(name).copied().unwrap_or(0);
        assert!(figure("nodes") >= 6, "five and the authority");
        assert!(figure("tasks") >= 200 && figure("virtual_seconds") >= 600);
        assert!(figure("captures") > 0 && figure("crashes") > 0);
    }
}

#[test]
fn every_planted_fault_is_caught_by_its_invariant() {
    for plant in Plant::ALL {
        let caught = (0..40).find_map(|seed| run(seed, Some(plant), false).violation);
        let Some(violation) = caught else {
            panic!("{} was not caught", plant.name());
        };
        let expected = plant.caught_by();
        assert!(
            expected.contains(&violation.invariant),
            "{} is for {expected:?}, caught by {violation}",
            plant.name()
        );
    }
}
