//! `netsim nat`: the laboratory on the command line.

use clap::{Args, Subcommand};
use hive_natlab::{Behaviour, Filtering, Lab, LabError, Mapping, NatKind, Plan};
use hive_natmatrix::{
    Choice, Combination, EVENTS_HEAD, EventRow, EventSettings, Kept, Matrix, MatrixError, Settings, events,
    markdown, run_events, svg, text,
};
use std::{
    io::Write as _,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

/// Runs a patient matrix adds to a combination in which one missed.
const MORE: usize = 3;

/// `netsim nat`: what the laboratory is asked; the matrix when nothing is named.
#[derive(Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct NatArgs {
    #[command(subcommand)]
    what: Option<Nat>,
    #[command(flatten)]
    matrix: MatrixArgs,
}

/// What the laboratory can be asked.
#[derive(Debug, PartialEq, Eq, Subcommand)]
pub enum Nat {
    /// Build a router of each kind and measure whether it is what it claims to be (root; ip, nft).
    Kinds,
    /// Build the laboratory a file describes and keep it up until standard input ends (root; ip, nft).
    Up {
        /// The description: lines of `net`, `host` and `router`.
        plan: PathBuf,
        /// What its namespaces' names begin with.
        #[arg(long, default_value = "lab")]
        name: String,
    },
    /// Run the program in pairs of networks and hold what it does against theory (root; ip, nft); also when no command
    /// is named.
    Matrix(MatrixArgs),
    /// Let something happen to the network under a transfer: a router reboots or gets another address, a cable is out
    /// (root; ip, nft).
    Events(EventArgs),
}

/// How events are run.
#[derive(Debug, PartialEq, Eq, Args)]
pub struct EventArgs {
    /// The program under test; `hivenode` beside this one unless said.
    #[arg(long, value_name = "PATH")]
    hivenode: Option<PathBuf>,
    /// Only those whose name contains this, such as `cable` or `(tcp)`.
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
    /// Runs of each; in every second one it happens on the other side.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=1000))]
    runs: u16,
    /// Keep logs and packet captures of failed runs in this folder; `nat-failures/TIME` beside this program unless said.
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
    /// Write the table as Markdown to this file.
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
    /// Write all results as JSON to this file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// How the matrix is run.
#[derive(Debug, PartialEq, Eq, Args)]
pub struct MatrixArgs {
    /// The program under test; `hivenode` beside this one unless said, built when `cargo run` finds none there.
    #[arg(long, value_name = "PATH")]
    hivenode: Option<PathBuf>,
    /// Which pairs: all, short (about ten), pairs (of kinds), special (other networks).
    #[arg(long, default_value = "all")]
    pairs: Choice,
    /// Only combinations whose name contains this, such as `symmetric` or `(tcp)`.
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
    /// Runs of each.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=1000))]
    runs: u16,
    /// For busy machines: up to three more runs where one missed; a failure is only what failed twice in a row, or was
    /// never direct where it could be.
    #[arg(long)]
    patient: bool,
    /// Laboratories at a time.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=8))]
    jobs: u16,
    /// Print what theory allows and run nothing.
    #[arg(long)]
    theory: bool,
    /// Run nothing: take the results of these JSON files together.
    #[arg(long, value_name = "FILE", conflicts_with = "theory")]
    from: Vec<PathBuf>,
    /// Keep logs and packet captures of failed runs in this folder; `nat-failures/TIME` beside this program unless said.
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
    /// Keep runs as well that became direct later than this.
    #[arg(long, value_name = "MS")]
    slow: Option<u64>,
    /// Write the table as Markdown to this file.
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
    /// Write all results as JSON to this file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write the picture to this file.
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
}

/// What a kind's routers must be measured to do to UDP.
const fn claim(kind: NatKind) -> Behaviour {
    let (mapping, filtering) = match kind {
        NatKind::Open => (Mapping::None, Filtering::EndpointIndependent),
        NatKind::FullCone => (Mapping::EndpointIndependent, Filtering::EndpointIndependent),
        NatKind::AddressRestricted => (Mapping::EndpointIndependent, Filtering::AddressDependent),
        NatKind::PortRestricted => (Mapping::EndpointIndependent, Filtering::AddressAndPortDependent),
        NatKind::Symmetric | NatKind::Counting => {
            (Mapping::EndpointDependent, Filtering::AddressAndPortDependent)
        }
        NatKind::UdpBlocked => (Mapping::Blocked, Filtering::Blocked),
    };
    Behaviour { mapping, filtering }
}

/// Carries it out; true when all is as it should be.
///
/// # Errors
/// When the laboratory or the program does not work at all.
pub fn nat(args: &NatArgs) -> Result<bool, MatrixError> {
    match &args.what {
        None => matrix(&args.matrix),
        Some(Nat::Kinds) => Ok(kinds()?),
        Some(Nat::Up { plan, name }) => up(plan, name),
        Some(Nat::Matrix(args)) => matrix(args),
        Some(Nat::Events(args)) => happen(args),
    }
}

fn say(line: &str) {
    let _ = writeln!(std::io::stdout().lock(), "{line}");
}

fn kinds() -> Result<bool, LabError> {
    let mut good = true;
    for kind in NatKind::ALL {
        let name = format!("hvk{}", std::process::id());
        let lab = Lab::raise(&name, Plan::pair(kind, NatKind::Open))?;
        let seen = hive_natlab::measure(&lab, "a", "relay")?;
        let as_claimed = seen == claim(kind);
        let verdict = if as_claimed {
            "as claimed"
        } else {
            "NOT as claimed"
        };
        good &= as_claimed;
        let seen = seen.to_string();
        say(&format!("{kind:<20} {seen:<64} {verdict}"));
    }
    Ok(good)
}

#[allow(clippy::disallowed_methods)] // The command line is of the world.
fn up(plan: &Path, name: &str) -> Result<bool, MatrixError> {
    let text = std::fs::read_to_string(plan).map_err(|source| MatrixError::File {
        path: plan.to_owned(),
        source,
    })?;
    let lab = Lab::raise(name, text.parse()?)?;
    for host in &lab.plan().hosts {
        let addresses: Vec<String> = lab
            .addresses(&host.name)?
            .iter()
            .map(ToString::to_string)
            .collect();
        say(&format!("{name}-{:<10} {}", host.name, addresses.join("  ")));
    }
    say(&format!(
        "ip netns exec {name}-HOST COMMAND; it is gone when standard input ends"
    ));
    let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
    Ok(true)
}

fn matrix(args: &MatrixArgs) -> Result<bool, MatrixError> {
    let combinations = args.pairs.combinations(args.only.as_deref())?;
    if args.theory {
        for c in &combinations {
            say(&format!("{:<60} {}", c.name(), c.expected.name()));
        }
        return Ok(true);
    }
    let (matrix, kept) = if args.from.is_empty() {
        run(args, &combinations)?
    } else {
        (read(&args.from)?, None)
    };
    let table = markdown(&matrix);
    // The rows have been said one by one.
    let summary = table.split("\n| networks").next().unwrap_or_default();
    say(&format!("\n{summary}"));
    write(args, &matrix, &table)?;
    // The last line, where it is looked for.
    if let Some(kept) = kept {
        say(&kept);
    }
    Ok(matrix.good() || (args.patient && matrix.recovered()))
}

fn happen(args: &EventArgs) -> Result<bool, MatrixError> {
    let all = events(args.only.as_deref());
    if all.is_empty() {
        let only = args.only.as_deref().unwrap_or_default();
        return Err(MatrixError::Choice(format!(
            "nothing that happens is called `{only}`"
        )));
    }
    let settings = EventSettings {
        program: args.hivenode.clone().map_or_else(beside, Ok)?,
        runs: args.runs.into(),
        keep: Arc::new(kept(args.keep.as_deref())),
    };
    let rows = run_events(&all, &settings, &|row| say(&row.text()))?;
    let lines: String = rows.iter().map(|row| format!("{}\n", row.markdown())).collect();
    if let Some(path) = &args.markdown {
        save(path, &format!("{EVENTS_HEAD}\n{lines}"))?;
    }
    if let Some(path) = &args.json {
        save(path, &serde_json::to_string_pretty(&rows).unwrap_or_default())?;
    }
    if let Some(kept) = settings.keep.said() {
        say(&kept);
    }
    Ok(rows.iter().all(EventRow::good))
}

/// The program beside this one. Where `cargo run` has started this one it may not have been built yet: then it is.
#[allow(clippy::disallowed_methods)] // The command line is of the world.
fn beside() -> Result<PathBuf, MatrixError> {
    let here = std::env::current_exe().unwrap_or_default();
    let program = here.with_file_name("hivenode");
    if program.is_file() {
        return Ok(program);
    }
    if let Some(cargo) = std::env::var_os("CARGO") {
        say("hivenode is not built yet: cargo build -p hivenode");
        let mut build = Command::new(cargo);
        build.args(["build", "-q", "-p", "hivenode"]);
        if !cfg!(debug_assertions) {
            build.arg("--release");
        }
        let built = build.status().is_ok_and(|status| status.success());
        if built && program.is_file() {
            return Ok(program);
        }
    }
    Err(MatrixError::Start {
        name: program.display().to_string(),
        detail: "it is not built; cargo build -p hivenode, or name one with --hivenode PATH".into(),
    })
}

/// Runs it; with the matrix comes what is to be said of the failed runs that were kept.
fn run(args: &MatrixArgs, combinations: &[Combination]) -> Result<(Matrix, Option<String>), MatrixError> {
    let settings = Settings {
        program: args.hivenode.clone().map_or_else(beside, Ok)?,
        runs: args.runs.into(),
        more: if args.patient { MORE } else { 0 },
        jobs: args.jobs.into(),
        slow: args.slow,
        keep: Arc::new(kept(args.keep.as_deref())),
    };
    let matrix = hive_natmatrix::run(combinations, &settings, &|row| say(&text(row)))?;
    Ok((matrix, settings.keep.said()))
}

/// Where failed runs are kept: in a folder of its own for each matrix, beside this program, where nothing is committed.
#[allow(clippy::disallowed_methods)] // The command line is of the world.
fn keep_in() -> PathBuf {
    let here = std::env::current_exe().unwrap_or_default();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    here.with_file_name("nat-failures")
        .join(now.as_secs().to_string())
}

fn kept(asked: Option<&Path>) -> Kept {
    match asked {
        Some(folder) => Kept::new(folder.to_owned()),
        None => Kept::among_others(keep_in()),
    }
}

#[allow(clippy::disallowed_methods)] // The command line is of the world.
fn read(files: &[PathBuf]) -> Result<Matrix, MatrixError> {
    let mut sum: Option<Matrix> = None;
    for path in files {
        let unreadable = |source| MatrixError::File {
            path: path.clone(),
            source,
        };
        let text = std::fs::read_to_string(path).map_err(unreadable)?;
        let matrix: Matrix = serde_json::from_str(&text).map_err(|e| unreadable(e.into()))?;
        match &mut sum {
            Some(sum) => sum.add(matrix),
            None => sum = Some(matrix),
        }
    }
    sum.ok_or_else(|| MatrixError::Choice("no results".into()))
}

fn write(args: &MatrixArgs, matrix: &Matrix, table: &str) -> Result<(), MatrixError> {
    let json = serde_json::to_string_pretty(matrix).unwrap_or_default();
    let files = [
        (&args.markdown, table.to_owned()),
        (&args.json, json),
        (&args.svg, svg(matrix)),
    ];
    for (path, text) in files {
        if let Some(path) = path {
            save(path, &text)?;
        }
    }
    Ok(())
}

#[allow(clippy::disallowed_methods)] // The command line is of the world.
fn save(path: &Path, text: &str) -> Result<(), MatrixError> {
    std::fs::write(path, text).map_err(|source| MatrixError::File {
        path: path.to_owned(),
        source,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use clap::{Parser, error::ErrorKind};

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        nat: NatArgs,
    }

    fn read(words: &[&str]) -> Result<NatArgs, clap::Error> {
        let words = ["nat"].iter().chain(words);
        Line::try_parse_from(words).map(|line| line.nat)
    }

    #[test]
    fn without_a_command_it_is_the_matrix_with_its_defaults() {
        let bare = read(&[]).unwrap();
        assert_eq!(bare.what, None);
        let named = read(&["matrix"]).unwrap();
        assert_eq!(named.what, Some(Nat::Matrix(bare.matrix)));
        let matrix = read(&[]).unwrap().matrix;
        assert_eq!((matrix.pairs, matrix.runs, matrix.jobs), (Choice::All, 5, 1));
        assert!(!matrix.theory && !matrix.patient && matrix.from.is_empty());
        // Failed runs are kept without being asked, beside the program that runs.
        assert!(matrix.keep.is_none());
        let place = keep_in();
        let beside = std::env::current_exe().unwrap().with_file_name("nat-failures");
        assert_eq!(place.parent(), Some(beside.as_path()));
        let asked = read(&["--keep", "there"]).unwrap().matrix;
        assert_eq!(asked.keep, Some(PathBuf::from("there")));
    }

    #[test]
    fn the_options_of_the_matrix_are_taken_with_and_without_its_name() {
        let options = ["--pairs", "short", "--runs", "1", "--patient"];
        let bare = read(&options).unwrap();
        assert_eq!((bare.matrix.pairs, bare.matrix.runs), (Choice::Short, 1));
        let named = read(&[["matrix"].as_slice(), &options].concat()).unwrap();
        assert_eq!(named.what, Some(Nat::Matrix(bare.matrix)));
    }

    #[test]
    fn the_other_commands_are_what_they_were() {
        assert_eq!(read(&["kinds"]).unwrap().what, Some(Nat::Kinds));
        let up = Nat::Up {
            plan: "x".into(),
            name: "lab".into(),
        };
        assert_eq!(read(&["up", "x"]).unwrap().what, Some(up));
        let happens = read(&["events", "--only", "cable", "--runs", "3"]).unwrap().what;
        let asked = |args: &EventArgs| (args.only.as_deref() == Some("cable"), args.runs) == (true, 3);
        assert!(matches!(happens, Some(Nat::Events(args)) if asked(&args)));
        let mixed = read(&["--runs", "2", "kinds"]).err().unwrap();
        assert_eq!(mixed.kind(), ErrorKind::ArgumentConflict);
        assert!(read(&["other"]).is_err() && read(&["--runs", "0"]).is_err());
    }
}
