//! Running a choice of combinations, several laboratories at a time, and keeping what explains a failure.

use crate::{
    choice::Combination,
    error::MatrixError,
    kept::Kept,
    result::{Matrix, Row, Trial},
    scene::Scene,
    trial::trial,
};
use hive_natlab::{Capture, Way};
use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

/// Laboratories at once, at most: each is four daemons.
const MAX_JOBS: usize = 8;

/// How a matrix is run.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The program under test.
    pub program: PathBuf,
    /// Runs of each combination.
    pub runs: usize,
    /// Runs that may be added to a combination in which some missed, until it is good enough.
    pub more: usize,
    /// Laboratories at once.
    pub jobs: usize,
    /// Runs that became direct later than this, in milliseconds, are kept as failed ones are; none when not set.
    pub slow: Option<u64>,
    /// Where logs and captures of failed runs go.
    pub keep: Arc<Kept>,
}

/// Runs everything; `tell` hears of each row when it is complete.
///
/// # Errors
/// When the program cannot be run at all. What fails between nodes is in the result.
pub fn run(
    combinations: &[Combination],
    settings: &Settings,
    tell: &(dyn Fn(&Row) + Sync),
) -> Result<Matrix, MatrixError> {
    let program = version(&settings.program)?;
    let rows: Mutex<Vec<(usize, Row)>> = Mutex::new(Vec::new());
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..settings.jobs.clamp(1, MAX_JOBS) {
            scope.spawn(|| {
                while let Some((n, combination)) = take(combinations, &next) {
                    let row = row(combination, settings);
                    tell(&row);
                    let mut rows = rows.lock().unwrap_or_else(|e| e.into_inner());
                    rows.push((n, row));
                }
            });
        }
    });
    let mut rows = rows.into_inner().unwrap_or_else(|e| e.into_inner());
    rows.sort_by_key(|(n, _)| *n);
    Ok(Matrix {
        program,
        runs: settings.runs,
        rows: rows.into_iter().map(|(_, row)| row).collect(),
    })
}

fn take<'a>(all: &'a [Combination], next: &AtomicUsize) -> Option<(usize, &'a Combination)> {
    let n = next.fetch_add(1, Ordering::Relaxed);
    all.get(n).map(|c| (n, c))
}

pub(crate) fn version(program: &Path) -> Result<String, MatrixError> {
    let failed = |detail: String| MatrixError::Start {
        name: program.display().to_string(),
        detail,
    };
    let output = Command::new(program)
        .arg("--version")
        .output()
        .map_err(|e| failed(e.to_string()))?;
    if !output.status.success() {
        return Err(failed(String::from_utf8_lossy(&output.stderr).into_owned()));
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn row(combination: &Combination, settings: &Settings) -> Row {
    let mut row = Row::of(combination);
    let mut scene = None;
    for n in 0..settings.runs + settings.more {
        if n >= settings.runs && (row.good() || row.recovered()) {
            break;
        }
        // A laboratory that did not come up, or in which something broke, is built anew.
        let built = match scene.take() {
            Some(scene) => Ok(scene),
            None => Scene::build(&settings.program, combination),
        };
        let mut there = match built {
            Ok(there) => there,
            Err(e) => {
                row.trials.push(Trial::failed(e.to_string()));
                continue;
            }
        };
        let captures = captures(&there);
        let trial = trial(&mut there, combination.expected, n);
        drop(captures);
        if failed(&trial, combination.expected) || slow(&trial, settings.slow) {
            let plan = format!("{:#?}\n", there.lab.plan());
            settings.keep.keep(&combination.slug(), n, there.home(), &plan);
        }
        there.sweep();
        let broken = trial.trouble.is_some();
        row.trials.push(trial);
        if !broken {
            scene = Some(there);
        }
    }
    row
}

/// Whether a run is one to look into: nothing arrived, or not directly where theory allows it.
fn failed(trial: &Trial, expected: Way) -> bool {
    trial.way == "none" || (expected == Way::Direct && trial.way != "direct")
}

/// Whether a run was direct, but late.
fn slow(trial: &Trial, limit: Option<u64>) -> bool {
    let late = |limit| trial.direct_ms.is_some_and(|ms| ms > limit);
    trial.way == "direct" && limit.is_some_and(late)
}

/// Captures at both nodes and their routers, until dropped.
pub(crate) fn captures(scene: &Scene) -> Vec<Capture> {
    let routers = scene.lab.plan().routers.iter().map(|r| r.name.as_str());
    ["a", "b"]
        .into_iter()
        .chain(routers)
        .filter_map(|name| {
            let space = scene.lab.inside(name).ok()?;
            Capture::start(space, &scene.home().join(format!("{name}.pcap"))).ok()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_slow_when_it_became_direct_later_than_asked() {
        let mut trial = Trial::failed(String::new());
        trial.direct_ms = Some(3001);
        assert!(!slow(&trial, Some(3000)), "that has failed");
        trial.way = "direct".into();
        assert!(slow(&trial, Some(3000)) && !slow(&trial, Some(3001)) && !slow(&trial, None));
        trial.direct_ms = None;
        assert!(!slow(&trial, Some(0)));
    }
}
