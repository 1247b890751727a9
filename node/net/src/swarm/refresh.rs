//! When this node's routing table of the hash table is refreshed (Kademlia's bucket refresh).
//!
//! Pure: time is given. The library refreshes by itself while fewer than twenty nodes are known and one enters; its own
//! clock is switched off, because it asks as often in a mesh in which nothing has happened for a day, and because it
//! waits for ever for a refresh whose end it has lost (rust-libp2p #5432).

use std::time::{Duration, Instant};

/// Between two refreshes while nodes come, at the most; shorter by up to a fourth, another time for each node, so that
/// nodes that came together do not ask together.
const SHORTEST: Duration = Duration::from_secs(30 * 60);
/// Between two refreshes when nothing was new for long: the pause doubles up to this. Each refresh asks every server
/// of the table's some two or three questions, each on a stream of its own, which costs memory over QUIC.
const LONGEST: Duration = Duration::from_secs(8 * 60 * 60);
/// After a refresh in which nobody answered it is tried again: first after this, then twice as long each time …
const RETRY: Duration = Duration::from_secs(5);
/// … up to this.
const RETRY_LONGEST: Duration = Duration::from_secs(5 * 60);
/// A refresh that has said nothing for so long is not waited for any more: each of its queries ends after 15 s.
const LOST: Duration = Duration::from_secs(60);

/// A refresh under way, ours or one that the library began.
#[derive(Debug)]
struct Running {
    heard: Instant,
    answered: bool,
}

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct Refresh {
    next: Instant,
    pause: Duration,
    /// Whether a node has entered the table since the last refresh.
    news: bool,
    failures: u32,
    running: Option<Running>,
    /// What of each pause is left out, in thousandths.
    earlier: u32,
}

impl Refresh {
    /// `spread` is any number that differs from node to node.
    pub(crate) fn new(now: Instant, spread: u8) -> Self {
        let mut refresh = Self {
            next: now,
            pause: SHORTEST,
            news: false,
            failures: 0,
            running: None,
            earlier: 250 * u32::from(spread) / 255,
        };
        refresh.next = now + refresh.spread(SHORTEST);
        refresh
    }

    fn spread(&self, pause: Duration) -> Duration {
        pause - pause * self.earlier / 1000
    }

    /// A node has entered the routing table: a long pause ends.
    pub(crate) fn entered(&mut self, now: Instant) {
        self.news = true;
        self.next = self.next.min(now + self.spread(SHORTEST));
    }

    /// Whether a refresh is to be begun now; [`Self::started`] or [`Self::nobody`] follows.
    pub(crate) fn due(&mut self, now: Instant) -> bool {
        if let Some(running) = &self.running {
            if now.saturating_duration_since(running.heard) < LOST {
                return false;
            }
            self.ended(now, false);
        }
        now >= self.next
    }

    /// A refresh has begun.
    pub(crate) fn started(&mut self, now: Instant) {
        self.running = Some(Running {
            heard: now,
            answered: false,
        });
    }

    /// There was nobody to ask.
    pub(crate) fn nobody(&mut self, now: Instant) {
        self.ended(now, false);
    }

    /// A refresh, whoever began it, says how one of its queries ended, and whether that was the last.
    pub(crate) fn progressed(&mut self, now: Instant, answered: bool, last: bool) {
        let before = self.running.as_ref().is_some_and(|r| r.answered);
        let answered = answered || before;
        if last {
            self.ended(now, answered);
        } else {
            self.running = Some(Running { heard: now, answered });
        }
    }

    fn ended(&mut self, now: Instant, answered: bool) {
        self.running = None;
        if !answered {
            let pause = RETRY * 2u32.saturating_pow(self.failures.min(16));
            self.failures = self.failures.saturating_add(1);
            self.next = now + pause.min(RETRY_LONGEST);
            return;
        }
        self.failures = 0;
        self.pause = if std::mem::take(&mut self.news) {
            SHORTEST
        } else {
            (self.pause * 2).min(LONGEST)
        };
        self.next = now + self.spread(self.pause);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// The moment from `from` on at which a refresh is due, looked for second by second.
    fn next(refresh: &mut Refresh, from: Instant) -> Instant {
        let mut now = from;
        while !refresh.due(now) {
            now += SECOND;
            assert!(now < from + 2 * LONGEST, "never due");
        }
        now
    }

    /// A refresh that is answered at once; how long it was waited for.
    fn answered(refresh: &mut Refresh, from: Instant) -> (Instant, Duration) {
        let now = next(refresh, from);
        refresh.started(now);
        refresh.progressed(now, true, false);
        refresh.progressed(now, true, true);
        (now, now - from)
    }

    #[test]
    fn a_mesh_in_which_nothing_happens_is_asked_ever_more_rarely() {
        let start = Instant::now();
        let mut refresh = Refresh::new(start, 0);
        refresh.entered(start);
        let (mut now, mut pauses) = (start, Vec::new());
        for _ in 0..7 {
            let (then, pause) = answered(&mut refresh, now);
            pauses.push(pause.as_secs() / 60);
            now = then;
        }
        assert_eq!(pauses, [30, 30, 60, 120, 240, 480, 480]);

        // Somebody comes: half an hour again.
        refresh.entered(now + SECOND);
        let (then, pause) = answered(&mut refresh, now + SECOND);
        assert_eq!(pause, SHORTEST);
        assert_eq!(answered(&mut refresh, then).1, SHORTEST);
        // Who comes does not put off what is due earlier.
        let mut soon = Refresh::new(start, 0);
        soon.entered(start + SHORTEST - SECOND);
        assert_eq!(next(&mut soon, start), start + SHORTEST);
    }

    #[test]
    fn nodes_that_came_together_do_not_ask_together() {
        let start = Instant::now();
        let first = |spread| next(&mut Refresh::new(start, spread), start) - start;
        assert_eq!(first(0), SHORTEST);
        assert!(first(128) < first(64));
        assert_eq!(first(255), SHORTEST * 3 / 4);
    }

    #[test]
    fn without_an_answer_it_is_tried_again_soon_and_then_more_rarely() {
        let start = Instant::now();
        let mut refresh = Refresh::new(start, 0);
        let mut now = next(&mut refresh, start);
        let mut pauses = Vec::new();
        for _ in 0..8 {
            refresh.started(now);
            refresh.progressed(now, false, false);
            refresh.progressed(now, false, true);
            let then = next(&mut refresh, now);
            pauses.push((then - now).as_secs());
            now = then;
        }
        assert_eq!(pauses, [5, 10, 20, 40, 80, 160, 300, 300]);
        // One query of several was answered: that is a refresh.
        refresh.entered(now);
        refresh.started(now);
        refresh.progressed(now, true, false);
        refresh.progressed(now, false, true);
        assert_eq!(next(&mut refresh, now) - now, SHORTEST);
        // And a failure after it is tried again soon.
        let now = now + SHORTEST;
        refresh.nobody(now);
        assert_eq!(next(&mut refresh, now) - now, RETRY);
    }

    #[test]
    fn a_refresh_whose_end_is_lost_is_not_waited_for() {
        let start = Instant::now();
        let mut refresh = Refresh::new(start, 0);
        let now = next(&mut refresh, start);
        refresh.started(now);
        refresh.progressed(now + 10 * SECOND, true, false);
        assert!(!refresh.due(now + 10 * SECOND + LOST - SECOND));
        // Given up, and then tried again as after any failure.
        let again = next(&mut refresh, now + 10 * SECOND);
        assert_eq!(again, now + 10 * SECOND + LOST + RETRY);
    }
}
