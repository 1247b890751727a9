//! Bytes under way: a bar with a line for each peer on a terminal, a plain line every ten seconds or five percent
//! elsewhere. Never backwards; what stands still says why.

use super::{Output, clean};
use crate::quantity::show_size;
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::{
    io::{self, Write},
    time::{Duration, Instant},
};

/// Longest silence between plain lines.
const EVERY: Duration = Duration::from_secs(10);
/// A plain line is also due after this share has been done.
const STEP_PERCENT: u64 = 5;
/// Peers with a line of their own; more are summed up.
const LINES: usize = 8;

/// How things stand.
#[derive(Debug, Default, Clone)]
pub struct Now {
    /// Verified bytes.
    pub done: u64,
    /// Bytes in all; 0 while unknown.
    pub total: u64,
    /// Such as `118 MiB/s, 40 s left`.
    pub message: String,
    /// Why nothing moves.
    pub stalled: Option<String>,
    /// One line a peer.
    pub peers: Vec<String>,
}

enum Look {
    Bars {
        all: MultiProgress,
        main: ProgressBar,
        peers: Vec<ProgressBar>,
    },
    Lines {
        last: Instant,
        percent: u64,
        stalled: Option<String>,
    },
    Hidden,
}

/// Progress of one thing that moves.
pub struct Moving {
    title: String,
    look: Look,
    done: u64,
}

impl Moving {
    /// Begins.
    pub fn new(out: &Output, title: &str) -> Self {
        let title = clean(title);
        let look = if out.bars {
            let all = MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(10));
            let main = all.add(ProgressBar::new(1));
            // The template is a constant; if it were wrong the plain style would be used.
            if let Ok(style) = ProgressStyle::with_template("{prefix} {bar:24} {percent:>3}% {msg}") {
                main.set_style(style.progress_chars("━╸─"));
            }
            main.set_prefix(title.clone());
            Look::Bars {
                all,
                main,
                peers: Vec::new(),
            }
        } else if out.progress {
            Look::Lines {
                last: Instant::now(),
                percent: 0,
                stalled: None,
            }
        } else {
            Look::Hidden
        };
        Self { title, look, done: 0 }
    }

    /// Tells where things stand. What is done never shrinks.
    pub fn set(&mut self, now: &Now) {
        self.done = self.done.max(now.done);
        let total = now.total.max(self.done);
        let text = format!(
            "{}/{} {}",
            show_size(self.done),
            show_size(total),
            clean(now.stalled.as_ref().unwrap_or(&now.message))
        );
        match &mut self.look {
            Look::Bars { all, main, peers } => {
                main.set_length(total.max(1));
                main.set_position(self.done);
                main.set_message(text);
                show_peers(all, peers, &now.peers);
            }
            Look::Lines {
                last,
                percent,
                stalled,
            } => {
                let share = self.done.saturating_mul(100).checked_div(total).unwrap_or(0);
                let news = now.stalled.is_some() && now.stalled != *stalled;
                if news || last.elapsed() >= EVERY || share >= *percent + STEP_PERCENT {
                    *last = Instant::now();
                    *percent = share;
                    stalled.clone_from(&now.stalled);
                    let _ = writeln!(io::stderr(), "{} {share}% {text}", self.title);
                }
            }
            Look::Hidden => {}
        }
    }

    /// Takes the bars away.
    pub fn finish(&mut self) {
        if let Look::Bars { all, main, peers } = &self.look {
            peers.iter().for_each(ProgressBar::finish_and_clear);
            main.finish_and_clear();
            // A terminal that cannot be cleared keeps the last bar: no harm.
            let _ = all.clear();
        }
    }
}

fn show_peers(all: &MultiProgress, bars: &mut Vec<ProgressBar>, lines: &[String]) {
    let mut shown: Vec<String> = lines.iter().take(LINES).map(|l| clean(l)).collect();
    if lines.len() > LINES {
        shown.push(format!("and {} more", lines.len() - LINES));
    }
    while bars.len() > shown.len() {
        if let Some(bar) = bars.pop() {
            bar.finish_and_clear();
            all.remove(&bar);
        }
    }
    while bars.len() < shown.len() {
        let bar = all.add(ProgressBar::new(1));
        if let Ok(style) = ProgressStyle::with_template("  {msg}") {
            bar.set_style(style);
        }
        bars.push(bar);
    }
    for (bar, line) in bars.iter().zip(shown) {
        bar.set_message(line);
    }
}

impl Drop for Moving {
    fn drop(&mut self) {
        self.finish();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_done_never_shrinks() {
        let mut m = Moving::new(&Output::silent(), "x");
        let now = |done| Now {
            done,
            total: 10,
            ..Now::default()
        };
        m.set(&now(7));
        m.set(&now(3));
        assert_eq!(m.done, 7);
    }
}
