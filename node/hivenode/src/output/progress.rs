//! Progress: a bar on a terminal, one plain line every ten seconds or five percent elsewhere. Never backwards.

use super::{Output, clean};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::{
    io::{self, Write},
    time::{Duration, Instant},
};

/// Longest silence between plain lines.
const EVERY: Duration = Duration::from_secs(10);
/// A plain line is also due after this share has been done.
const STEP_PERCENT: u64 = 5;

enum Look {
    Bar(ProgressBar),
    Lines { last: Instant, percent: u64 },
    Hidden,
}

/// Whether a plain line is due at this share, after one at `told` so long ago. The last step is told, however small.
fn is_due(now: u64, told: u64, silence: Duration) -> bool {
    silence >= EVERY || now >= told + STEP_PERCENT || (now == 100 && told < 100)
}

/// Progress of one piece of work.
pub struct Progress {
    title: String,
    look: Look,
    total: u64,
    done: u64,
}

impl Progress {
    /// Begins. `total` may grow later.
    pub fn new(out: &Output, title: &str, total: u64) -> Self {
        let title = clean(title);
        let look = if out.bars {
            let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr_with_hz(10));
            // The template is a constant; if it were wrong the plain style would be used.
            if let Ok(style) = ProgressStyle::with_template("{prefix} {wide_bar} {percent:>3}% {msg}") {
                bar.set_style(style.progress_chars("━╸─"));
            }
            bar.set_prefix(title.clone());
            Look::Bar(bar)
        } else if out.progress {
            Look::Lines {
                last: Instant::now(),
                percent: 0,
            }
        } else {
            Look::Hidden
        };
        Self {
            title,
            look,
            total,
            done: 0,
        }
    }

    /// Tells where things stand. What is done never shrinks.
    pub fn set(&mut self, done: u64, total: u64, message: &str) {
        self.total = self.total.max(total);
        self.done = self.done.max(done).min(self.total);
        let message = clean(message);
        match &mut self.look {
            Look::Bar(bar) => {
                bar.set_length(self.total);
                bar.set_position(self.done);
                bar.set_message(message);
            }
            Look::Lines { last, percent } => {
                let now = self.done.saturating_mul(100).checked_div(self.total).unwrap_or(0);
                if is_due(now, *percent, last.elapsed()) {
                    *last = Instant::now();
                    *percent = now;
                    let _ = writeln!(io::stderr(), "{} {now}% {message}", self.title);
                }
            }
            Look::Hidden => {}
        }
    }

    /// Takes the bar away.
    pub fn finish(&mut self) {
        if let Look::Bar(bar) = &self.look {
            bar.finish_and_clear();
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.finish();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_for_each_step_and_one_for_the_end() {
        let at_once = |now, told| is_due(now, told, Duration::ZERO);
        assert!(at_once(5, 0) && !at_once(4, 0) && is_due(0, 0, EVERY));
        assert!(
            at_once(100, 97) && !at_once(99, 97),
            "the end, though it is no whole step"
        );
        assert!(!at_once(100, 100), "once");
    }

    #[test]
    fn never_backwards_and_never_over() {
        let mut p = Progress::new(&Output::silent(), "x", 10);
        p.set(5, 10, "");
        p.set(3, 10, "");
        assert_eq!(p.done, 5);
        p.set(50, 20, "");
        assert_eq!((p.done, p.total), (20, 20));
    }
}
