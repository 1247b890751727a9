//! The trace: one line for each thing that happens, hashed, and shown when asked for.

use std::fmt::{self, Write as _};

/// The trace of a run. Two runs with the same hash did the same things at the same times in the same order.
#[derive(Debug)]
pub struct Trace {
    hasher: blake3::Hasher,
    line: String,
    lines: u64,
    shown: Option<Vec<String>>,
}

impl Trace {
    /// A trace; with `verbose` all lines are kept for showing.
    #[must_use]
    pub fn new(verbose: bool) -> Self {
        Self {
            hasher: blake3::Hasher::new(),
            line: String::new(),
            lines: 0,
            shown: verbose.then(Vec::new),
        }
    }

    /// Adds a line.
    pub fn note(&mut self, ms: u64, who: &str, what: fmt::Arguments<'_>) {
        self.line.clear();
        // Writing to a string cannot fail.
        let _ = write!(self.line, "{:>4}.{:03} {who:<5} {what}", ms / 1000, ms % 1000);
        self.hasher.update(self.line.as_bytes());
        self.hasher.update(b"\n");
        self.lines += 1;
        if let Some(shown) = &mut self.shown {
            shown.push(self.line.clone());
        }
    }

    /// How many lines there are.
    #[must_use]
    pub const fn lines(&self) -> u64 {
        self.lines
    }

    /// The hash so far, in hexadecimal.
    #[must_use]
    pub fn hash(&self) -> String {
        self.hasher.finalize().to_hex().to_string()
    }

    /// The lines, when they were kept.
    #[must_use]
    pub fn take_lines(&mut self) -> Vec<String> {
        self.shown.take().unwrap_or_default()
    }
}

/// The first bytes of an id in hexadecimal: cheap, and enough to tell ids of one run apart.
pub struct Short<'a>(pub &'a [u8]);

impl fmt::Display for Short<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for byte in self.0.iter().take(4) {
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}
