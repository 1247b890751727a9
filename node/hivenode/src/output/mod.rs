//! What is shown and where: data on standard output, talk on standard error.

pub mod checks;
mod error;
mod escape;
mod exit;
mod moving;
mod progress;
mod table;

pub use error::CliError;
pub use escape::{clean, clean_block};
pub use exit::{EXIT_CODES, Exit};
pub use moving::{Moving, Now};
pub use progress::Progress;
pub use table::Table;

use clap::ValueEnum;
use hive_api::document::Document;
use serde::Serialize;
use std::{
    env,
    io::{self, IsTerminal, Write},
};

/// When to colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Default)]
pub enum Color {
    /// On a terminal, unless `NO_COLOR` is set.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// How this run talks.
#[derive(Debug, Clone)]
pub struct Output {
    /// JSON documents instead of tables.
    pub json: bool,
    /// Ids only, no talk.
    pub quiet: bool,
    /// Whether talk is coloured.
    pub color: bool,
    /// Whether bars may move: standard error is a terminal and nobody forbade it.
    pub bars: bool,
    /// Whether progress is shown at all.
    pub progress: bool,
    /// Whether standard output is a terminal.
    pub terminal: bool,
}

impl Output {
    /// Reads the environment and the flags.
    pub fn new(json: bool, quiet: bool, color: Color, no_progress: bool) -> Self {
        let err_terminal = io::stderr().is_terminal();
        let plain = env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty())
            || env::var_os("TERM").is_some_and(|t| t == "dumb");
        Self {
            json,
            quiet,
            color: match color {
                Color::Auto => err_terminal && !plain,
                Color::Always => true,
                Color::Never => false,
            },
            bars: err_terminal && !no_progress && !json && !quiet,
            progress: !no_progress && !quiet,
            terminal: io::stdout().is_terminal(),
        }
    }

    /// Writes a line of data. A reader that went away ends the program quietly.
    pub fn line(&self, text: &str) {
        self.bytes(text.as_bytes());
        self.bytes(b"\n");
    }

    /// Writes bytes of data as they are.
    pub fn bytes(&self, bytes: &[u8]) {
        let mut out = io::stdout().lock();
        let written = out.write_all(bytes).and_then(|()| out.flush());
        if let Err(e) = written {
            // `hivenode … | head` is no failure; a full disk is.
            let code = if e.kind() == io::ErrorKind::BrokenPipe {
                0
            } else {
                1
            };
            if code != 0 {
                let _ = writeln!(io::stderr(), "error[output.write]: cannot write the output: {e}");
            }
            std::process::exit(code);
        }
    }

    /// Writes one versioned JSON document.
    pub fn document(&self, name: &str, value: impl Serialize) -> Result<(), CliError> {
        let text = serde_json::to_string(&Document::new(name, value)).map_err(|e| {
            CliError::internal("output.json", format!("cannot write the answer as JSON: {e}"))
        })?;
        self.line(&text);
        Ok(())
    }

    /// Says something to people. Silent with `-q` and `--json`.
    pub fn say(&self, text: &str) {
        if !self.quiet && !self.json {
            let _ = writeln!(io::stderr(), "{text}");
        }
    }

    /// A warning: silent only with `-q`.
    pub fn warn(&self, text: &str) {
        if !self.quiet {
            let mark = self.paint("33", "warning:");
            let _ = writeln!(io::stderr(), "{mark} {}", clean(text));
        }
    }

    /// A step of a flow that has ended well: `✓ joined   mesh "lab"`.
    pub fn step(&self, what: &str, detail: &str) {
        let mark = self.paint("32", "✓");
        self.say(&format!("{mark} {what:<12} {}", clean(detail)));
    }

    /// Colours text of the talk.
    pub fn paint(&self, code: &str, text: &str) -> String {
        if self.color {
            format!("\u{1b}[{code}m{text}\u{1b}[0m")
        } else {
            text.to_owned()
        }
    }
}

#[cfg(test)]
impl Output {
    /// Talks to nobody.
    pub fn silent() -> Self {
        Self {
            json: false,
            quiet: true,
            color: false,
            bars: false,
            progress: false,
            terminal: false,
        }
    }
}
