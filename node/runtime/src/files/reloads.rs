//! Settings that somebody wants to be read again now: who changes one and goes on is not to meet the old one.
//!
//! Owns who waits for that. Does not read them: whoever follows the settings does.

use crate::port::{Kind, Refused, Reply};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Callers that may wait for one reading.
const MAX_ASKING: usize = 64;

/// Everybody who waits.
#[derive(Default)]
pub(super) struct Reloads(Mutex<Waiting>);

#[derive(Default)]
struct Waiting {
    /// Who reads them, while it waits to be told to.
    follower: Option<Reply<()>>,
    /// Those for whom they are to be read.
    asked: Vec<Reply<()>>,
    /// Those for whom they are being read.
    reading: Vec<Reply<()>>,
}

impl Waiting {
    /// Sends the follower off if there is one, and somebody to read for.
    fn go(&mut self) {
        if self.asked.is_empty() {
            return;
        }
        // One that has gone away comes back; a caller that has is not missed.
        if let Some(follower) = self.follower.take()
            && follower.send(Ok(())).is_ok()
        {
            self.reading.append(&mut self.asked);
        }
    }
}

impl Reloads {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The follower waits to be told to read.
    pub(super) fn follow(&self, follower: Reply<()>) {
        let mut waiting = self.waiting();
        waiting.follower = Some(follower);
        waiting.go();
    }

    /// Somebody waits for a reading that begins after this.
    pub(super) fn ask(&self, caller: Reply<()>) {
        let mut waiting = self.waiting();
        if waiting.asked.len() >= MAX_ASKING {
            let full = format!("{MAX_ASKING} callers wait for the settings already");
            let _ = caller.send(Err(Refused::new(Kind::Conflict, "api.busy", full).retryable()));
            return;
        }
        waiting.asked.push(caller);
        waiting.go();
    }

    /// They have been read, and hold.
    pub(super) fn read(&self) {
        for caller in std::mem::take(&mut self.waiting().reading) {
            // A caller that has gone does not want its answer.
            let _ = caller.send(Ok(()));
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use tokio::sync::oneshot;

    #[test]
    fn who_asks_is_answered_by_a_reading_that_began_afterwards() {
        let reloads = Reloads::default();
        let (first, mut first_told) = oneshot::channel();
        let (second, mut second_told) = oneshot::channel();
        let (follower, mut sent_off) = oneshot::channel();
        reloads.follow(follower);
        assert!(sent_off.try_recv().is_err(), "nobody wants anything");
        reloads.ask(first);
        sent_off.try_recv().unwrap().unwrap();
        // It reads already: what changes now it may have missed.
        reloads.ask(second);
        reloads.read();
        first_told.try_recv().unwrap().unwrap();
        assert!(second_told.try_recv().is_err());
        let (follower, mut sent_off) = oneshot::channel();
        reloads.follow(follower);
        sent_off.try_recv().unwrap().unwrap();
        reloads.read();
        second_told.try_recv().unwrap().unwrap();
    }

    #[test]
    fn a_follower_that_went_away_takes_nobody_along_and_there_is_an_end_to_asking() {
        let reloads = Reloads::default();
        let (follower, gone) = oneshot::channel();
        reloads.follow(follower);
        drop(gone);
        let mut callers: Vec<_> = (0..=MAX_ASKING)
            .map(|_| {
                let (caller, told) = oneshot::channel();
                reloads.ask(caller);
                told
            })
            .collect();
        let refused = callers.pop().unwrap().try_recv().unwrap().unwrap_err();
        assert_eq!(refused.code, "api.busy");
        let (follower, mut sent_off) = oneshot::channel();
        reloads.follow(follower);
        sent_off.try_recv().unwrap().unwrap();
        reloads.read();
        assert!(callers.iter_mut().all(|c| c.try_recv().is_ok()));
    }
}
