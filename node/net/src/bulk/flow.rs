//! Whether a stream on a connection of its own still carries anything, and when it is ended because it does not.
//!
//! Such a stream's socket says nothing when its way dies without a word: TCP takes minutes to find out, and where a
//! relay stands between the ends it may never. The mesh finds out in seconds. So a stream on which somebody here waits
//! in vain has the mesh ask for signs of life on the way it goes; and when a connection of that way is given up, what
//! has moved since decides. A stream nobody waits on is left alone, and one that nobody sends on is, while its way
//! answers.

use crate::pulse::{ago, millis};
use std::{
    sync::atomic::{AtomicU8, AtomicU64, Ordering},
    time::{Duration, Instant},
};

/// Waiting for so long without a byte moving is reason to ask on the way, and enough where that has been given up.
const QUIET: Duration = Duration::from_secs(2);
/// Where somebody waits to send, and nobody to read, it takes so long until a way that was given up is enough: that
/// something moves is only heard of when the kernel's buffer has room again, and on a slow line that is long after the
/// last time though bytes leave all the while.
const SENDS_SLOWLY: Duration = Duration::from_secs(10);
/// A way is asked on behalf of a stream until it has been quiet for so long: its silence is then nothing new.
const ASKED_FOR: Duration = Duration::from_secs(15);
/// That a connection of its way was given up counts against a stream for so long: it may take this long until a slow
/// sender has filled the kernel's buffer.
const DOUBTED_FOR: Duration = Duration::from_secs(20);
/// With no connection at all to where the socket leads, a stream is left in peace for so long: enough to connect again.
pub(crate) const AWAY: Duration = Duration::from_secs(10);

/// A half of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    /// What comes in.
    Reading = 1,
    /// What goes out.
    Writing = 2,
}

/// What moves on one stream. Times as in a pulse; 0 is never.
#[derive(Debug)]
pub(crate) struct Flow {
    /// When something last moved, or somebody began to wait.
    moved: AtomicU64,
    /// Since when its way is in doubt; taken back when something comes in, or its way gives a sign of life.
    doubted: AtomicU64,
    /// Which halves wait.
    waiting: AtomicU8,
}

impl Default for Flow {
    fn default() -> Self {
        Self {
            moved: AtomicU64::new(millis(Instant::now())),
            doubted: AtomicU64::new(0),
            waiting: AtomicU8::new(0),
        }
    }
}

impl Flow {
    /// A half has come on; `heard` when bytes have come in.
    pub(crate) fn moved(&self, side: Side, heard: bool) {
        self.waiting.fetch_and(!(side as u8), Ordering::Relaxed);
        self.moved.store(millis(Instant::now()), Ordering::Relaxed);
        if heard {
            self.doubted.store(0, Ordering::Relaxed);
        }
    }

    /// A half can do nothing now, and somebody waits for it.
    pub(crate) fn waits(&self, side: Side) {
        if self.waiting.fetch_or(side as u8, Ordering::Relaxed) == 0 {
            self.moved.store(millis(Instant::now()), Ordering::Relaxed);
        }
    }

    /// A connection of its way was given up.
    pub(crate) fn doubt(&self, now: Instant) {
        self.doubted.store(millis(now), Ordering::Relaxed);
    }

    /// Its way has given a sign of life, on a connection that has stood since then. One that came about when nothing
    /// moved here any more shows that the node is reached, and not that it is where this socket leads.
    pub(crate) fn trust(&self, since: Instant) {
        if millis(since) <= self.moved.load(Ordering::Relaxed) {
            self.doubted.store(0, Ordering::Relaxed);
        }
    }

    /// What is seen of it now.
    pub(crate) fn look(&self, now: Instant) -> Seen {
        let since = |at: &AtomicU64| ago(at.load(Ordering::Relaxed), now);
        let waiting = self.waiting.load(Ordering::Relaxed);
        Seen {
            stuck: (waiting != 0).then(|| since(&self.moved)),
            sends: waiting == Side::Writing as u8,
            doubted: (self.doubted.load(Ordering::Relaxed) != 0).then(|| since(&self.doubted)),
        }
    }
}

/// What is seen of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Seen {
    /// For how long somebody here has waited without anything moving, if anybody waits.
    pub stuck: Option<Duration>,
    /// Whether it is waited for only to send.
    pub sends: bool,
    /// How long ago a connection of its way was given up, if there has been no sign of life since.
    pub doubted: Option<Duration>,
}

/// What is done with a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Judgement {
    /// Nothing.
    Leave,
    /// Its way is asked for a sign of life.
    Ask,
    /// It is ended, so that its users open another one.
    End,
}

/// Decides about a stream of which this is seen, when there has been no mesh connection to where its socket leads for
/// `away`, and a machine that comes to nothing itself is `late` by so much.
pub(crate) fn judge(seen: Seen, away: Duration, late: Duration) -> Judgement {
    let Some(stuck) = seen.stuck.filter(|stuck| *stuck >= QUIET + late) else {
        return Judgement::Leave;
    };
    let enough = if seen.sends { SENDS_SLOWLY } else { QUIET };
    let in_doubt = stuck >= enough + late && seen.doubted.is_some_and(|ago| ago < DOUBTED_FOR + late);
    let cut_off = away >= AWAY && stuck >= AWAY + late;
    if in_doubt || cut_off {
        Judgement::End
    } else if stuck < ASKED_FOR + late {
        Judgement::Ask
    } else {
        Judgement::Leave
    }
}

/// What is quiet enough on a connection for it to be asked on behalf of a stream.
pub(crate) const fn quiet() -> Duration {
    QUIET
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: Duration = Duration::ZERO;

    fn secs(n: u64) -> Option<Duration> {
        Some(Duration::from_secs(n))
    }

    /// Of a stream on which somebody waits to read.
    fn reads(stuck: Option<Duration>, doubted: Option<Duration>) -> Seen {
        Seen {
            stuck,
            sends: false,
            doubted,
        }
    }

    #[test]
    fn silence_alone_ends_nothing() {
        for stuck in [None, secs(0), secs(3), secs(1000)] {
            let seen = reads(stuck, None);
            assert_ne!(judge(seen, NONE, NONE), Judgement::End, "{seen:?}");
        }
    }

    #[test]
    fn a_way_is_asked_while_the_silence_is_news() {
        let ask = |stuck| judge(reads(stuck, None), NONE, NONE) == Judgement::Ask;
        assert!(!ask(None) && !ask(secs(1)) && ask(secs(2)) && ask(secs(14)) && !ask(secs(15)));
    }

    #[test]
    fn a_way_given_up_ends_what_waits_in_vain_and_nothing_else() {
        let of = |stuck, doubted| judge(reads(stuck, doubted), NONE, NONE);
        assert_eq!(of(secs(2), secs(0)), Judgement::End);
        assert_eq!(of(secs(60), secs(1)), Judgement::End);
        assert_eq!(of(secs(1), secs(1)), Judgement::Leave, "something has moved");
        assert_eq!(of(None, secs(1)), Judgement::Leave, "nobody waits");
        assert_ne!(of(secs(60), secs(20)), Judgement::End, "long ago");
        let seen = reads(secs(3), secs(1));
        let late = Duration::from_secs(2);
        assert_eq!(judge(seen, NONE, late), Judgement::Leave, "this machine is late");
    }

    #[test]
    fn without_any_connection_of_its_way_it_ends_after_a_grace() {
        let of = |stuck, away| judge(reads(stuck, None), Duration::from_secs(away), NONE);
        assert_eq!(of(secs(10), 10), Judgement::End);
        assert_eq!(of(secs(10), 9), Judgement::Ask);
        assert_eq!(of(secs(9), 60), Judgement::Ask, "something has moved");
        assert_eq!(of(None, 60), Judgement::Leave);
    }

    #[test]
    fn a_flow_is_stuck_from_the_first_wait_until_something_moves() {
        let (flow, now) = (Flow::default(), Instant::now());
        let later = now + Duration::from_secs(5);
        assert_eq!(flow.look(later).stuck, None, "nobody waits");
        flow.waits(Side::Reading);
        assert!(flow.look(later).stuck >= secs(4));
        // The other half comes on: what moves is no dead way.
        flow.moved(Side::Writing, false);
        assert!(flow.look(later).stuck >= secs(4), "the reader waits still");
        flow.doubt(now);
        flow.moved(Side::Writing, false);
        assert!(
            flow.look(later).doubted.is_some(),
            "what goes out is no sign of life"
        );
        flow.moved(Side::Reading, true);
        assert_eq!(flow.look(later), reads(None, None));
    }

    #[test]
    fn a_sender_whose_buffer_empties_slowly_is_given_longer() {
        let of = |stuck, sends, late| {
            let doubted = secs(1);
            let seen = Seen {
                stuck: secs(stuck),
                sends,
                doubted,
            };
            judge(seen, NONE, Duration::from_secs(late))
        };
        assert_eq!(of(2, false, 0), Judgement::End);
        assert_eq!(of(9, true, 0), Judgement::Ask, "bytes may leave all the while");
        assert_eq!(of(10, true, 0), Judgement::End);
        assert_eq!(of(11, true, 2), Judgement::Ask, "this machine is late");
        // Who waits for an answer as well hears of a way that is dead as soon as any reader.
        let (flow, later) = (Flow::default(), Instant::now() + Duration::from_secs(5));
        flow.waits(Side::Writing);
        assert!(flow.look(later).sends);
        flow.waits(Side::Reading);
        assert!(!flow.look(later).sends);
        flow.moved(Side::Reading, true);
        assert!(flow.look(later).sends);
    }

    #[test]
    fn a_sign_of_life_takes_the_doubt_back() {
        let (flow, now) = (Flow::default(), Instant::now());
        flow.waits(Side::Writing);
        flow.doubt(now);
        let later = now + Duration::from_secs(11);
        assert_eq!(judge(flow.look(later), NONE, NONE), Judgement::End);
        flow.trust(now + Duration::from_secs(1));
        assert!(flow.look(later).doubted.is_some(), "a connection of afterwards");
        flow.trust(now);
        assert_eq!(judge(flow.look(later), NONE, NONE), Judgement::Ask);
    }
}
