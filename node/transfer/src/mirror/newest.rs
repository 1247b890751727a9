//! Which state a receiver works on: always the newest it has heard of, one at a time, again later if it was not
//! to be had whole.

use hive_protocol::{
    ids::BlobHash,
    time::{Millis, Timestamp},
};

/// A state that is being applied may go on so long after a newer one has come: most end within it, and a folder
/// that changes all the time still gets somewhere.
pub const GRACE: Millis = Millis::secs(3);
/// The first pause before something that failed is tried again.
pub const FIRST_PAUSE: Millis = Millis::secs(2);
/// The longest such pause: contents may be with nodes that are away for days.
pub const LONGEST_PAUSE: Millis = Millis::mins(5);

/// A state of the mirrored folder.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct State {
    /// Counts up with each state.
    pub seq: u64,
    /// Its manifest.
    pub root: BlobHash,
    /// Old versions to keep.
    pub versions: u32,
}

/// How an attempt to apply a state ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// The folder is as wanted, but for what this file system cannot hold.
    Whole,
    /// Something is missing or in the way that may be better later.
    Later,
    /// Stopped because it was asked to.
    Abandoned,
}

/// What to do now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Next {
    /// Apply this state.
    Apply(State),
    /// Stop applying: a newer state waits.
    Abandon,
    /// Nothing before this time, unless something comes.
    Wait(Timestamp),
    /// Nothing until something comes.
    Idle,
}

/// The states of one mirror at its receiver.
#[derive(Clone, Debug, Default)]
pub struct Newest {
    newest: Option<State>,
    arrived: Timestamp,
    running: Option<u64>,
    whole: Option<u64>,
    pause: Millis,
    not_before: Timestamp,
}

impl Newest {
    /// As it was when the node stopped: the newest state heard of, and whether the folder has it.
    #[must_use]
    pub fn restored(newest: Option<State>, whole: bool) -> Self {
        Self {
            whole: newest.filter(|_| whole).map(|s| s.seq),
            newest,
            ..Self::default()
        }
    }

    /// A state was announced; false when it is none newer than known.
    pub fn announce(&mut self, now: Timestamp, state: State) -> bool {
        if self.newest.is_some_and(|known| known.seq >= state.seq) {
            return false;
        }
        self.newest = Some(state);
        self.arrived = now;
        self.pause = Millis(0);
        self.not_before = Timestamp(0);
        true
    }

    /// The newest state heard of.
    #[must_use]
    pub const fn newest(&self) -> Option<State> {
        self.newest
    }

    /// Whether the folder has the newest state.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.newest.is_some_and(|s| self.whole == Some(s.seq))
    }

    /// Somebody came back who may have what is missing, or the folder is to be looked at again: no more waiting.
    pub fn kick(&mut self) {
        self.not_before = Timestamp(0);
    }

    /// The folder was changed by somebody: what it has is not known any more.
    pub fn again(&mut self) {
        self.whole = None;
        self.kick();
    }

    /// What to do now; [`Next::Apply`] marks the state as being applied.
    pub fn next(&mut self, now: Timestamp) -> Next {
        let Some(newest) = self.newest else {
            return Next::Idle;
        };
        if let Some(running) = self.running {
            let patience = self.arrived + GRACE;
            return match running == newest.seq {
                true => Next::Idle,
                // Time that runs backwards counts as passed.
                false if now >= patience || now < self.arrived => Next::Abandon,
                false => Next::Wait(patience),
            };
        }
        if self.is_whole() {
            return Next::Idle;
        }
        // A clock set back must not make a pause longer than the longest.
        if now < self.not_before && self.not_before.since(now) <= LONGEST_PAUSE {
            return Next::Wait(self.not_before);
        }
        self.running = Some(newest.seq);
        Next::Apply(newest)
    }

    /// The attempt that [`Next::Apply`] began has ended.
    pub fn ended(&mut self, now: Timestamp, outcome: Outcome) {
        let Some(seq) = self.running.take() else {
            return;
        };
        let current = self.newest.is_some_and(|s| s.seq == seq);
        match outcome {
            Outcome::Whole => self.whole = Some(seq),
            Outcome::Later if current => {
                self.pause = Millis((self.pause.0 * 2).clamp(FIRST_PAUSE.0, LONGEST_PAUSE.0));
                self.not_before = now + self.pause;
            }
            Outcome::Later | Outcome::Abandoned => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(seq: u64) -> State {
        State {
            seq,
            root: BlobHash([seq as u8; 32]),
            versions: 0,
        }
    }

    #[test]
    fn the_newest_wins_and_old_ones_are_ignored() {
        let mut n = Newest::default();
        assert_eq!(n.next(Timestamp(0)), Next::Idle);
        assert!(n.announce(Timestamp(0), state(5)));
        assert!(!n.announce(Timestamp(0), state(5)) && !n.announce(Timestamp(0), state(4)));
        assert_eq!(n.next(Timestamp(0)), Next::Apply(state(5)));
        assert_eq!(n.next(Timestamp(1)), Next::Idle, "one at a time");
        assert!(n.announce(Timestamp(10), state(6)) && n.announce(Timestamp(20), state(8)));
        assert_eq!(n.next(Timestamp(21)), Next::Wait(Timestamp(20) + GRACE));
        assert_eq!(n.next(Timestamp(20) + GRACE), Next::Abandon);
        n.ended(Timestamp(4000), Outcome::Abandoned);
        assert_eq!(
            n.next(Timestamp(4000)),
            Next::Apply(state(8)),
            "7 is never worked on"
        );
        n.ended(Timestamp(5000), Outcome::Whole);
        assert!(n.is_whole());
        assert_eq!(n.next(Timestamp(5000)), Next::Idle);
        n.again();
        assert_eq!(n.next(Timestamp(5000)), Next::Apply(state(8)));
    }

    #[test]
    fn what_failed_is_tried_again_ever_more_rarely() {
        let mut n = Newest::default();
        n.announce(Timestamp(0), state(1));
        let (mut now, mut pauses) = (Timestamp(0), Vec::new());
        for _ in 0..12 {
            assert_eq!(n.next(now), Next::Apply(state(1)));
            n.ended(now, Outcome::Later);
            let Next::Wait(until) = n.next(now) else {
                unreachable!("it waits")
            };
            pauses.push(until.since(now));
            now = until;
        }
        assert_eq!((pauses[0], pauses[11]), (FIRST_PAUSE, LONGEST_PAUSE));
        n.next(now);
        n.ended(now, Outcome::Later);
        n.kick();
        assert_eq!(n.next(now), Next::Apply(state(1)), "somebody came back");
        n.ended(now, Outcome::Later);
        n.announce(now, state(2));
        assert_eq!(n.next(now), Next::Apply(state(2)), "a new state does not wait");
        n.ended(Timestamp(now.0 + 1000), Outcome::Later);
        assert_eq!(
            n.next(Timestamp(5)),
            Next::Apply(state(2)),
            "the clock was set back"
        );
    }

    #[test]
    fn it_goes_on_after_a_restart() {
        let mut done = Newest::restored(Some(state(3)), true);
        assert_eq!(done.next(Timestamp(0)), Next::Idle);
        assert!(!done.announce(Timestamp(0), state(3)));
        let mut half = Newest::restored(Some(state(3)), false);
        assert_eq!(half.next(Timestamp(0)), Next::Apply(state(3)));
    }
}
