//! How a map ended: counts, places and every failed input by name.

use crate::{
    output::{CliError, Exit, Output, clean},
    quantity::{fuel, money, show_duration, show_size},
};
use serde::Serialize;
use std::time::Duration;

/// Failures listed for people; programs get them all.
const SHOWN: usize = 20;

/// One input that has no output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Failure {
    /// The input's name.
    pub input: String,
    /// Its task, where one was made.
    pub task: Option<String>,
    /// Stable code.
    pub code: String,
    /// One line.
    pub message: String,
    /// Exit code, where the program ended by itself.
    pub exit_code: Option<i32>,
}

/// The whole.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    /// Job id; empty when nothing could be submitted.
    pub job: String,
    /// Name.
    pub name: String,
    /// Output folder.
    pub out: String,
    /// All inputs, bad ones included.
    pub inputs: usize,
    /// Inputs with an output.
    pub succeeded: usize,
    /// Every failed input.
    pub failures: Vec<Failure>,
    /// What was no input, and why.
    pub skipped: Vec<(String, &'static str)>,
    /// Succeeded without writing any output file although `{out}` was asked for.
    pub without_output: usize,
    /// Bytes of outputs written.
    pub bytes: u64,
    /// µCPT.
    pub cost: u64,
    /// Fuel burnt.
    pub fuel: u64,
    /// Tries that were repeated.
    pub retried: u64,
    /// Milliseconds from the first submission to the last output.
    pub took_ms: u64,
}

impl Report {
    /// 0 all, 9 some, 1 none.
    pub const fn exit(&self) -> Exit {
        if self.failures.is_empty() {
            Exit::OK
        } else if self.succeeded == 0 {
            Exit::FAILED
        } else {
            Exit::PARTIAL
        }
    }

    /// Shows it.
    pub fn print(&self, out: &Output) -> Result<(), CliError> {
        if out.json {
            return out.document("map", self);
        }
        if !self.skipped.is_empty() {
            let first = self
                .skipped
                .first()
                .map_or_else(String::new, |(p, why)| format!("{} ({why})", clean(p)));
            out.warn(&format!("{} skipped, such as {first}", self.skipped.len()));
        }
        if self.without_output > 0 {
            out.warn(&format!(
                "{} tasks succeeded without writing their output file",
                self.without_output
            ));
        }
        for f in self.failures.iter().take(SHOWN) {
            let head = out.paint("31", "failed");
            out.say(&format!(
                "{head} {}: {} ({})",
                clean(&f.input),
                clean(&f.message),
                clean(&f.code)
            ));
        }
        if self.failures.len() > SHOWN {
            out.say(&format!(
                "… and {} more; all of them with --json",
                self.failures.len() - SHOWN
            ));
        }
        if out.quiet {
            out.line(&clean(&self.job));
            return Ok(());
        }
        out.line(&format!(
            "{}  {} of {} ok, {} failed  {}  {}  {}  {}  {}",
            clean(&self.job),
            self.succeeded,
            self.inputs,
            self.failures.len(),
            show_size(self.bytes),
            fuel(self.fuel),
            money(self.cost),
            show_duration(Duration::from_millis(self.took_ms)),
            clean(&self.out),
        ));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_says_all_some_none() {
        let failure = Failure {
            input: "a".into(),
            task: None,
            code: "task.exit".into(),
            message: String::new(),
            exit_code: Some(3),
        };
        let report = |succeeded, failures| Report {
            succeeded,
            failures,
            ..Report::default()
        };
        assert_eq!(report(2, vec![]).exit(), Exit::OK);
        assert_eq!(report(2, vec![failure.clone()]).exit(), Exit::PARTIAL);
        assert_eq!(report(0, vec![failure]).exit(), Exit::FAILED);
    }
}
