//! netsim on the command line: one seed replayed, a range of seeds, or the planted faults.
//!
//! Threads, the clock and the screen are here and nowhere else; a seed never sees them.

mod nat;

use clap::Parser;
use netsim::{
    fault::{Fault, Faults},
    plant::Plant,
    run::run,
    world::Report,
};
use std::{
    collections::BTreeMap,
    io::Write as _,
    ops::Range,
    process::ExitCode,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

/// Threads that run seeds; each seed is independent.
const THREADS: u64 = 2;
/// Seeds tried for each planted fault before it counts as missed.
const SEEDS_PER_PLANT: u64 = 40;

/// Simulates a mesh of the real cores in virtual time, everything decided by a seed.
#[derive(Parser)]
#[command(version, args_conflicts_with_subcommands = true)]
struct Args {
    #[command(subcommand)]
    what: Option<What>,
    /// Run one seed and print its summary and trace hash.
    #[arg(long, conflicts_with_all = ["seeds", "plants"])]
    seed: Option<u64>,
    /// Run the seeds A to B, B not included: `A..B`.
    #[arg(long, value_parser = range, conflicts_with = "plants")]
    seeds: Option<Range<u64>>,
    /// Plant a fault; the run is expected to fail.
    #[arg(long)]
    plant: Option<Plant>,
    /// Plant each fault in turn and expect every one to be caught.
    #[arg(long)]
    plants: bool,
    /// Print the whole trace.
    #[arg(long)]
    verbose: bool,
    /// Print the summary of one seed as JSON.
    #[arg(long)]
    json: bool,
}

/// What is asked for instead of a simulation.
#[derive(clap::Subcommand)]
enum What {
    /// The laboratory of real NATs.
    Nat(nat::NatArgs),
}

fn range(s: &str) -> Result<Range<u64>, String> {
    let number = |t: &str| t.parse::<u64>().map_err(|e| format!("`{t}`: {e}"));
    let (from, to) = s.split_once("..").ok_or("a range is A..B")?;
    let range = number(from)?..number(to)?;
    if range.is_empty() {
        return Err("the range is empty".into());
    }
    Ok(range)
}

/// A closed pipe is the reader's right, not a failure.
fn say(text: &str) {
    let _ = writeln!(std::io::stdout().lock(), "{text}");
}

fn command(seed: u64, plant: Option<Plant>) -> String {
    let plant = plant.map_or(String::new(), |p| format!(" --plant {}", p.name()));
    format!("cargo run --release -p netsim -- --seed {seed}{plant} --verbose")
}

fn words(figures: impl Iterator<Item = (&'static str, u64)>) -> String {
    let words: Vec<String> = figures
        .map(|(name, n)| format!("{} {n}", name.replace('_', " ")))
        .collect();
    words.join(", ")
}

fn show(report: &Report, json: bool) {
    for line in &report.trace {
        say(line);
    }
    let faults: BTreeMap<_, _> = report.faults.iter().map(|(f, n)| (f.name(), n)).collect();
    if json {
        let violation = report.violation.as_ref().map(ToString::to_string);
        let value = serde_json::json!({
            "seed": report.seed,
            "hash": report.hash,
            "trace_lines": report.lines,
            "figures": report.figures,
            "faults": faults,
            "violation": violation,
        });
        say(&value.to_string());
        return;
    }
    let figures = words(report.figures.iter().map(|(k, v)| (*k, *v)));
    say(&format!("seed {}: {figures}", report.seed));
    let faults = words(report.faults.iter().map(|(f, n)| (f.name(), n)));
    say(&format!("faults: {faults}"));
    say(&format!("trace {} ({} lines)", report.hash, report.lines));
    match &report.violation {
        Some(violation) => say(&format!("FAILED {violation}")),
        None => say("passed"),
    }
}

/// What many seeds came to together.
#[derive(Default)]
struct Sum {
    failed: u64,
    /// Of each fault: the fewest of a seed, in how many seeds it happened, all.
    faults: BTreeMap<Fault, (u64, u64, u64)>,
}

impl Sum {
    fn add(&mut self, faults: &Faults) {
        for (fault, n) in faults.iter() {
            let (fewest, seeds, all) = self.faults.entry(fault).or_insert((u64::MAX, 0, 0));
            *fewest = n.min(*fewest);
            *seeds += u64::from(n > 0);
            *all += n;
        }
    }

    fn show(&self) {
        for (fault, (fewest, seeds, all)) in &self.faults {
            say(&format!(
                "{:<20} {all:>9} in {seeds} seeds, at least {fewest} in each",
                fault.name().replace('_', " ")
            ));
        }
    }
}

fn many(seeds: Range<u64>, plant: Option<Plant>) -> u64 {
    let next = AtomicU64::new(seeds.start);
    let sum = Mutex::new(Sum::default());
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end {
                        return;
                    }
                    let report = run(seed, plant, false);
                    let why = report.violation.map(|v| v.to_string()).or_else(|| {
                        let missing = report.faults.missing();
                        (!missing.is_empty()).then(|| format!("nothing of this happened: {missing:?}"))
                    });
                    if let Some(why) = &why {
                        say(&format!("seed {seed} FAILED {why}\n  {}", command(seed, plant)));
                    }
                    if let Ok(mut sum) = sum.lock() {
                        sum.failed += u64::from(why.is_some());
                        sum.add(&report.faults);
                    }
                }
            });
        }
    });
    sum.into_inner().map_or(u64::MAX, |sum| {
        sum.show();
        sum.failed
    })
}

/// Runs seeds with a planted fault until it is caught.
fn is_caught(plant: Plant) -> bool {
    for seed in 0..SEEDS_PER_PLANT {
        if let Some(violation) = run(seed, Some(plant), false).violation {
            if !plant.caught_by().contains(&violation.invariant) {
                say(&format!(
                    "{:<18} caught by the wrong one: {violation}",
                    plant.name()
                ));
                return false;
            }
            let mut text = violation.to_string();
            if let Some((at, _)) = text.char_indices().nth(150) {
                text.truncate(at);
            }
            say(&format!("{:<18} caught with seed {seed} by {text}", plant.name()));
            return true;
        }
    }
    say(&format!(
        "{:<18} NOT caught with {SEEDS_PER_PLANT} seeds",
        plant.name()
    ));
    false
}

fn main() -> ExitCode {
    let args = Args::parse();
    if let Some(What::Nat(args)) = &args.what {
        return match nat::nat(args) {
            Ok(true) => ExitCode::SUCCESS,
            Ok(false) => ExitCode::FAILURE,
            Err(e) => {
                let _ = writeln!(std::io::stderr().lock(), "netsim: {e}");
                ExitCode::from(2)
            }
        };
    }
    // The cores assert; their messages are part of the report.
    std::panic::set_hook(Box::new(|_| {}));
    let good = if args.plants {
        let caught = Plant::ALL.into_iter().filter(|p| is_caught(*p)).count();
        say(&format!(
            "{caught} plants caught, {} missed",
            Plant::ALL.len() - caught
        ));
        caught == Plant::ALL.len()
    } else if let Some(seeds) = args.seeds {
        let all = seeds.end - seeds.start;
        let failed = many(seeds, args.plant);
        say(&format!("{} passed, {failed} failed", all.saturating_sub(failed)));
        failed == 0
    } else {
        let report = run(args.seed.unwrap_or(0), args.plant, args.verbose);
        show(&report, args.json);
        if report.violation.is_some() && !args.verbose {
            say(&format!("  {}", command(report.seed, args.plant)));
        }
        report.violation.is_none()
    };
    if good {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
