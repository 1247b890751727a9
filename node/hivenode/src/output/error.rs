//! The one shape in which every failure reaches people and programs.

use super::{Exit, Output, clean};
use hive_runtime::port::{Kind, Refused};
use serde_json::{Value, json};
use std::io::{self, Write};

/// A failure. One pointer wide, because every result of the command line may carry one.
#[derive(Debug, Clone)]
pub struct CliError(Box<Failing>);

impl std::ops::Deref for CliError {
    type Target = Failing;
    fn deref(&self) -> &Failing {
        &self.0
    }
}

impl std::ops::DerefMut for CliError {
    fn deref_mut(&mut self) -> &mut Failing {
        &mut self.0
    }
}

/// Code, message, details, what to type next.
#[derive(Debug, Clone)]
pub struct Failing {
    /// Stable dotted code.
    pub code: String,
    /// What, where and why, in one line.
    pub message: String,
    /// Lines such as `needs   1 gpu`: (word, text).
    pub notes: Vec<(&'static str, String)>,
    /// The next command to type.
    pub hint: Option<String>,
    /// Exit code.
    pub exit: Exit,
    /// Whether the same command may succeed later.
    pub retryable: bool,
    /// More for programs.
    pub details: Option<Value>,
}

impl CliError {
    /// A failure of a family.
    pub fn new(kind: Kind, code: &str, message: impl Into<String>) -> Self {
        Self::from(Refused::new(kind, code, message))
    }
    /// A wrong request.
    pub fn usage(code: &str, message: impl Into<String>) -> Self {
        Self::new(Kind::Invalid, code, message)
    }
    /// Our own fault, or the machine's.
    pub fn internal(code: &str, message: impl Into<String>) -> Self {
        Self::new(Kind::Internal, code, message)
    }
    /// The same with the next command.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
    /// The same with a further line.
    pub fn note(mut self, word: &'static str, text: impl Into<String>) -> Self {
        self.notes.push((word, text.into()));
        self
    }
    /// The same with another exit code.
    pub fn exit(mut self, exit: Exit) -> Self {
        self.exit = exit;
        self
    }
    /// The same with details for programs.
    pub fn details(mut self, details: Value) -> Self {
        self.details = Some(details);
        self
    }

    /// The document on standard error under `--json`.
    pub fn document(&self) -> Value {
        json!({"v": 1, "error": {
            "code": self.code,
            "message": self.message,
            "hint": self.hint,
            "retryable": self.retryable,
            "exit": self.exit.0,
            "details": self.details,
        }})
    }

    /// The text on standard error.
    pub fn text(&self, out: &Output) -> String {
        let head = out.paint("1;31", &format!("error[{}]:", clean(&self.code)));
        let mut text = format!("{head} {}", clean(&self.message));
        for (word, line) in &self.notes {
            text.push_str(&format!("\n  {word:<7} {}", clean(line)));
        }
        if let Some(hint) = &self.hint {
            text.push_str(&format!("\n  {:<7} {}", "try", clean(hint)));
        }
        text
    }

    /// Shows it.
    pub fn print(&self, out: &Output) {
        let text = if out.json {
            self.document().to_string()
        } else {
            self.text(out)
        };
        let _ = writeln!(io::stderr(), "{text}");
    }
}

impl From<Refused> for CliError {
    fn from(refused: Refused) -> Self {
        Self(Box::new(Failing {
            exit: Exit::of(refused.kind),
            code: refused.code,
            message: refused.message,
            notes: Vec::new(),
            hint: refused.hint,
            retryable: refused.retryable,
            details: None,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_says_what_and_what_next_on_one_screen() {
        let error = CliError::new(Kind::NoFit, "place.no_fit", "task t_9 cannot run\u{1b}[2J")
            .note("needs", "2 cores")
            .hint("hivenode task explain t_9");
        assert_eq!(
            error.text(&Output::silent()),
            "error[place.no_fit]: task t_9 cannot run\\u{1b}[2J\n  needs   2 cores\n  try     hivenode task explain t_9"
        );
        assert_eq!(error.exit, Exit::NO_FIT);
        let doc = error.document();
        assert_eq!(doc["v"], 1);
        assert_eq!(doc["error"]["code"], "place.no_fit");
    }

    #[test]
    fn every_family_has_its_exit_code() {
        let codes: Vec<u8> = [
            Kind::Internal,
            Kind::Invalid,
            Kind::NotFound,
            Kind::Denied,
            Kind::Unreachable,
            Kind::Timeout,
            Kind::NoFit,
            Kind::NoCredit,
        ]
        .into_iter()
        .map(|k| Exit::of(k).0)
        .collect();
        assert_eq!(codes, [1, 2, 3, 4, 5, 6, 7, 8]);
    }
}
