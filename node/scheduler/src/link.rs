//! The numbered conversation within one lease, as `/hive/work/1` describes it: in order, each message once,
//! over as many connections as it takes. Both cores use it; it knows nothing of what is said.

use hive_protocol::{
    ids::LeaseId,
    time::{Millis, Timestamp},
    work::{ACK_WITHIN, LeaseBody, MAX_UNACKED, WorkMsg},
};
use std::collections::VecDeque;

/// Without an acknowledgement for this long the oldest messages are sent again; doubled each time.
const RESEND_AFTER: Millis = Millis(1000);
/// The pause between resendings never grows beyond this.
const RESEND_MAX: Millis = Millis(8000);
/// Messages sent again by the timer at once: enough to find out where the peer stands.
const RESEND_BATCH: usize = 32;
/// A gap is complained of at most this often, and a complaint answered at most this often.
const GAP_EVERY: Millis = Millis(100);
/// An acknowledgement goes out at once after this many messages taken, well below [`MAX_UNACKED`].
const ACK_EVERY: u32 = 64;

/// What to do with a numbered message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Taken {
    /// It is the next one: use it.
    Use,
    /// It was used before: drop it.
    Duplicate,
    /// Something before it is missing: drop it.
    Gap,
    /// Its acknowledgement is for messages never sent: the peer is broken or lies.
    Broken,
}

/// One side's state of a lease's conversation.
#[derive(Clone, Debug)]
pub(crate) struct Link {
    lease: LeaseId,
    next: u64,
    unacked: VecDeque<(u64, LeaseBody)>,
    seen: u64,
    acked_to_peer: u64,
    ack_due: Option<Timestamp>,
    taken_since_ack: u32,
    resend_due: Option<Timestamp>,
    resend_pause: Millis,
    complained: Option<Timestamp>,
    answered: Option<Timestamp>,
}

impl Link {
    pub(crate) const fn new(lease: LeaseId) -> Self {
        Self {
            lease,
            next: 1,
            unacked: VecDeque::new(),
            seen: 0,
            acked_to_peer: 0,
            ack_due: None,
            taken_since_ack: 0,
            resend_due: None,
            resend_pause: RESEND_AFTER,
            complained: None,
            answered: None,
        }
    }

    /// How many more messages may be sent before the peer acknowledges some.
    pub(crate) fn room(&self) -> usize {
        MAX_UNACKED.saturating_sub(self.unacked.len())
    }

    /// Log bytes said and not acknowledged.
    pub(crate) fn logs(&self) -> usize {
        let bytes = |(_, body): &(u64, LeaseBody)| match body {
            LeaseBody::Log { bytes, .. } => bytes.len(),
            _ => 0,
        };
        self.unacked.iter().map(bytes).sum()
    }

    /// Whether everything said has been acknowledged.
    pub(crate) fn is_clear(&self) -> bool {
        self.unacked.is_empty()
    }

    /// Numbers a message and keeps it until it is acknowledged. The caller has looked at [`Link::room`];
    /// small control messages may go a little over.
    pub(crate) fn say(&mut self, now: Timestamp, body: LeaseBody) -> WorkMsg {
        let seq = self.next;
        self.next += 1;
        self.unacked.push_back((seq, body.clone()));
        if self.resend_due.is_none() {
            self.resend_due = Some(now + self.resend_pause);
        }
        self.acknowledged();
        WorkMsg::Lease {
            lease: self.lease,
            seq,
            ack: self.seen,
            body,
        }
    }

    const fn acknowledged(&mut self) {
        self.acked_to_peer = self.seen;
        self.ack_due = None;
        self.taken_since_ack = 0;
    }

    /// Takes the peer's acknowledgement. False if it is for something never said.
    pub(crate) fn ack(&mut self, now: Timestamp, ack: u64) -> bool {
        if ack >= self.next {
            return false;
        }
        let before = self.unacked.len();
        while self.unacked.front().is_some_and(|(seq, _)| *seq <= ack) {
            self.unacked.pop_front();
        }
        if self.unacked.is_empty() {
            self.resend_due = None;
            self.resend_pause = RESEND_AFTER;
        } else if self.unacked.len() < before {
            self.resend_pause = RESEND_AFTER;
            self.resend_due = Some(now + self.resend_pause);
        }
        true
    }

    /// Looks at the number of a message that has come.
    pub(crate) fn take(&mut self, now: Timestamp, seq: u64, ack: u64) -> Taken {
        if !self.ack(now, ack) {
            return Taken::Broken;
        }
        if seq == self.seen + 1 {
            self.seen = seq;
            self.taken_since_ack += 1;
            let within = if self.taken_since_ack >= ACK_EVERY {
                Millis(0)
            } else {
                ACK_WITHIN
            };
            let due = now + within;
            if self.ack_due.is_none_or(|d| d > due) {
                self.ack_due = Some(due);
            }
            return Taken::Use;
        }
        if seq <= self.seen {
            // The acknowledgement may have been lost: say it again soon.
            if self.ack_due.is_none() {
                self.ack_due = Some(now + ACK_WITHIN);
            }
            return Taken::Duplicate;
        }
        Taken::Gap
    }

    /// The complaint after [`Taken::Gap`], unless one was made just now.
    pub(crate) fn complain(&mut self, now: Timestamp) -> Option<WorkMsg> {
        if self.complained.is_some_and(|t| now.since(t) < GAP_EVERY) {
            return None;
        }
        self.complained = Some(now);
        Some(self.resume())
    }

    /// What to say when a connection is up again.
    pub(crate) fn resume(&mut self) -> WorkMsg {
        self.acknowledged();
        WorkMsg::Resume {
            lease: self.lease,
            seen: self.seen,
        }
    }

    /// A new connection: the next complaint of the peer is answered whatever was answered before.
    pub(crate) fn reconnected(&mut self, now: Timestamp) {
        self.answered = None;
        self.complained = None;
        if !self.unacked.is_empty() {
            self.resend_pause = RESEND_AFTER;
            self.resend_due = Some(Timestamp(now.0.saturating_add(RESEND_AFTER.0)));
        }
    }

    /// The peer has got as far as `seen`: everything after it again. `None` if it claims more than was said.
    pub(crate) fn on_resume(&mut self, now: Timestamp, seen: u64) -> Option<Vec<WorkMsg>> {
        if !self.ack(now, seen) {
            return None;
        }
        if self.answered.is_some_and(|t| now.since(t) < GAP_EVERY) {
            return Some(Vec::new());
        }
        self.answered = Some(now);
        Some(self.again(now, usize::MAX))
    }

    fn again(&mut self, now: Timestamp, most: usize) -> Vec<WorkMsg> {
        if !self.unacked.is_empty() {
            self.resend_due = Some(now + self.resend_pause);
            self.acknowledged();
        }
        let (lease, ack) = (self.lease, self.seen);
        self.unacked
            .iter()
            .take(most)
            .map(|(seq, body)| WorkMsg::Lease {
                lease,
                seq: *seq,
                ack,
                body: body.clone(),
            })
            .collect()
    }

    /// When [`Link::on_time`] wants to be called.
    pub(crate) fn due(&self) -> Option<Timestamp> {
        match (self.ack_due, self.resend_due) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }

    /// What has to be said because of the time.
    pub(crate) fn on_time(&mut self, now: Timestamp) -> Vec<WorkMsg> {
        let mut out = Vec::new();
        if self.resend_due.is_some_and(|t| t <= now) {
            self.resend_pause = Millis((self.resend_pause.0 * 2).min(RESEND_MAX.0));
            out = self.again(now, RESEND_BATCH);
        }
        if self.ack_due.is_some_and(|t| t <= now) {
            self.acknowledged();
            out.push(WorkMsg::Ack {
                lease: self.lease,
                ack: self.seen,
            });
        }
        out
    }

    pub(crate) fn check(&self) {
        assert!(
            self.unacked.len() <= MAX_UNACKED + 64,
            "too many unacknowledged messages"
        );
        let mut last = None;
        for (seq, _) in &self.unacked {
            assert!(last.is_none_or(|l: u64| *seq == l + 1), "gap in what was said");
            last = Some(*seq);
        }
        if let Some(last) = last {
            assert_eq!(last + 1, self.next, "last message is not the newest");
            assert!(self.resend_due.is_some(), "nothing would be sent again");
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;
    use hive_protocol::ids::TaskIndex;

    const L: LeaseId = LeaseId([1; 16]);

    fn body(n: u32) -> LeaseBody {
        LeaseBody::Cancel(vec![TaskIndex(n)])
    }

    fn feed(link: &mut Link, now: u64, msg: &WorkMsg) -> Taken {
        let WorkMsg::Lease { seq, ack, .. } = msg else {
            panic!("not numbered: {msg:?}")
        };
        link.take(Timestamp(now), *seq, *ack)
    }

    #[test]
    fn log_bytes_count_until_they_are_acknowledged() {
        let mut link = Link::new(L);
        let log = |n: usize| LeaseBody::Log {
            index: TaskIndex(0),
            attempt: 1,
            stderr: false,
            bytes: vec![0; n],
        };
        link.say(Timestamp(0), log(100));
        link.say(Timestamp(0), body(1));
        link.say(Timestamp(0), log(20));
        assert_eq!(link.logs(), 120);
        assert!(link.ack(Timestamp(1), 1));
        assert_eq!(link.logs(), 20);
        // A connection that breaks loses none of them.
        assert_eq!(link.on_resume(Timestamp(2), 1).unwrap().len(), 2);
    }

    #[test]
    fn lost_messages_come_again_after_a_complaint() {
        let (mut a, mut b) = (Link::new(L), Link::new(L));
        let m: Vec<_> = (0..4).map(|n| a.say(Timestamp(0), body(n))).collect();
        assert_eq!(feed(&mut b, 1, &m[0]), Taken::Use);
        assert_eq!(feed(&mut b, 1, &m[0]), Taken::Duplicate);
        assert_eq!(feed(&mut b, 1, &m[2]), Taken::Gap);
        let Some(WorkMsg::Resume { seen, .. }) = b.complain(Timestamp(1)) else {
            panic!("no complaint")
        };
        assert_eq!(seen, 1);
        assert_eq!(b.complain(Timestamp(2)), None, "not twice at once");
        let again = a.on_resume(Timestamp(2), seen).unwrap();
        assert_eq!(again.len(), 3);
        for m in &again {
            assert_eq!(feed(&mut b, 3, m), Taken::Use);
        }
        a.check();
        assert!(a.ack(Timestamp(4), 4));
        assert!(a.is_clear());
        assert_eq!(a.due(), None);
    }

    #[test]
    fn silence_makes_the_sender_repeat_with_growing_pauses() {
        let mut a = Link::new(L);
        a.say(Timestamp(0), body(1));
        assert_eq!(a.due(), Some(Timestamp(1000)));
        assert_eq!(a.on_time(Timestamp(1000)).len(), 1);
        assert_eq!(a.due(), Some(Timestamp(3000)));
        assert_eq!(a.on_time(Timestamp(3000)).len(), 1);
        assert_eq!(a.due(), Some(Timestamp(7000)));
    }

    #[test]
    fn acknowledgements_are_late_but_come() {
        let (mut a, mut b) = (Link::new(L), Link::new(L));
        let m = a.say(Timestamp(0), body(1));
        feed(&mut b, 0, &m);
        assert_eq!(b.due(), Some(Timestamp(200)));
        assert_eq!(b.on_time(Timestamp(200)), vec![WorkMsg::Ack { lease: L, ack: 1 }]);
        assert_eq!(b.due(), None);
    }

    #[test]
    fn many_messages_are_acknowledged_at_once() {
        let (mut a, mut b) = (Link::new(L), Link::new(L));
        for n in 0..ACK_EVERY {
            let m = a.say(Timestamp(0), body(n));
            assert_eq!(feed(&mut b, 5, &m), Taken::Use);
        }
        assert_eq!(b.due(), Some(Timestamp(5)));
    }

    #[test]
    fn an_acknowledgement_from_the_future_is_broken() {
        let mut a = Link::new(L);
        assert_eq!(a.take(Timestamp(0), 1, 1), Taken::Broken);
        assert!(a.on_resume(Timestamp(0), 7).is_none());
    }
}
