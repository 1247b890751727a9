//! The simulator itself: a seed is one run, seeds differ, the first ones pass with every fault in them, every planted
//! fault is caught by the invariant that is there for it, and every invariant has caught one.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::print_stdout
)]

use netsim::{
    fault::{Fault, Faults},
    invariants::{self, Violation},
    plant::Plant,
    run::run,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

/// Seeds that are looked at closely.
const SEEDS: u64 = 16;
/// Seeds tried for each planted fault before it counts as missed.
const SEEDS_PER_PLANT: u64 = 40;

#[test]
fn a_seed_does_the_same_every_time() {
    for seed in [1, 7] {
        let (a, b) = (run(seed, None, false), run(seed, None, true));
        assert_eq!(a.hash, b.hash, "shown or not");
        assert_eq!((a.lines, &a.figures), (b.lines, &b.figures));
        assert_eq!(a.faults, b.faults);
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
fn a_seed_is_large_enough_has_every_fault_and_passes() {
    let mut fewest: BTreeMap<Fault, u64> = BTreeMap::new();
    let mut all: BTreeMap<Fault, u64> = BTreeMap::new();
    for seed in 0..SEEDS {
        let report = run(seed, None, false);
        assert_eq!(report.violation, None, "seed {seed}");
        let figure = |name| report.figures.get(name).copied().unwrap_or(0);
        assert!(figure("nodes") >= 6, "five and the authority");
        assert!(figure("tasks") >= 200 && figure("virtual_seconds") >= 600);
        assert!(figure("captures") > 0);
        let counted: Vec<String> = report
            .faults
            .iter()
            .map(|(f, n)| format!("{} {n}", f.name()))
            .collect();
        println!("seed {seed}: {}", counted.join(", "));
        for fault in [
            Fault::Lost,
            Fault::Delayed,
            Fault::Doubled,
            Fault::Broken,
            Fault::Partitioned,
            Fault::WorkerCrashed,
            Fault::WorkerRestarted,
            Fault::SubmitterCrashed,
            Fault::SubmitterRestarted,
            Fault::AuthorityCrashed,
            Fault::AuthorityRestarted,
            Fault::Lied,
        ] {
            assert!(fault.is_sure());
            assert!(
                report.faults.get(fault) > 0,
                "seed {seed} had no {}",
                fault.name()
            );
        }
        assert!(report.faults.missing().is_empty());
        for (fault, n) in report.faults.iter() {
            let least = fewest.entry(fault).or_insert(n);
            *least = n.min(*least);
            *all.entry(fault).or_default() += n;
        }
    }
    for (fault, n) in &all {
        println!("{:<20} {n:>6}, at least {} a seed", fault.name(), fewest[fault]);
        // A seed has one way of lying for sure, a few seeds have them all.
        assert!(*n > 0 || *fault == Fault::Unpaid, "no seed had {}", fault.name());
    }
}

#[test]
fn a_fault_that_did_not_happen_is_missed() {
    let mut faults = Faults::default();
    for fault in Fault::ALL.into_iter().filter(|f| *f != Fault::Partitioned) {
        faults.count(fault);
    }
    assert_eq!(faults.missing(), ["partitions"]);
    assert_eq!(faults.get(Fault::Lied), 5, "each lie is one");
    faults.count(Fault::Partitioned);
    assert!(faults.missing().is_empty());
}

/// Runs seeds with a plant until the invariant that it was planted for has caught it.
fn caught(plant: Plant) -> Violation {
    let expected = plant.caught_by();
    for seed in 0..SEEDS_PER_PLANT {
        let Some(violation) = run(seed, Some(plant), false).violation else {
            continue;
        };
        assert!(
            expected.contains(&violation.invariant),
            "{} is for {expected:?}, caught by {violation}",
            plant.name()
        );
        if violation.invariant == expected[0] {
            return violation;
        }
    }
    panic!("{} was not caught by {}", plant.name(), expected[0]);
}

#[test]
fn every_planted_fault_is_caught_and_every_invariant_has_caught_one() {
    let seen: BTreeSet<&str> = Plant::ALL
        .into_iter()
        .map(|plant| {
            let violation = caught(plant);
            println!("{:<18} {violation}", plant.name());
            violation.invariant
        })
        .collect();
    let all: BTreeSet<&str> = invariants::ALL.into_iter().collect();
    assert_eq!(seen, all, "what has never been seen to fail proves nothing");
}

/// Names that a source file gives to violations, with or without a line break before them.
fn named_in(source: &str) -> BTreeSet<String> {
    let calls = source.split("Violation::new(").skip(1);
    calls
        .map(|rest| {
            let name = rest
                .trim_start()
                .strip_prefix('"')
                .expect("a name in plain sight");
            name.split('"').next().unwrap().to_owned()
        })
        .collect()
}

#[test]
fn every_invariant_has_a_file_and_names_itself() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/invariants");
    let mut files = BTreeSet::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let named = named_in(&std::fs::read_to_string(&path).unwrap());
        if name == "mod" {
            // `Violation::new` is private to this folder, so that no other place can name one.
            assert!(named.is_empty(), "mod.rs names {named:?}");
            continue;
        }
        assert_eq!(named, BTreeSet::from([name.clone()]), "in {name}.rs");
        files.insert(name);
    }
    let all: BTreeSet<String> = invariants::ALL.into_iter().map(str::to_owned).collect();
    assert_eq!(files, all);
    for plant in Plant::ALL {
        assert!(plant.caught_by().iter().all(|name| all.contains(*name)));
    }
}
