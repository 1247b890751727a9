//! A notice comes: taken once, judged by the policy.

use super::{
    Effect, Inbox, MAX_ENDED, MAX_MIRRORS, MAX_OPEN, MAX_OPEN_OF_ONE, MAX_SEEN, MAX_SEEN_OF_ONE,
    row::{Item, Key, Mirror, Seen, Stage},
};
use hive_protocol::{
    credential::Tier,
    ids::{NodeId, SyncId},
    notice::{DeliveryState, FileNotice, Notice, NoticeBody, NoticeMsg},
    time::Timestamp,
};
use std::ops::Bound;

/// What the policy says.
enum Verdict {
    /// It is shown and that is all.
    Shown,
    Pull,
    Ask,
    Declined(String),
}

impl Inbox {
    /// From the sender itself: it gets an answer.
    pub(super) fn direct(&mut self, now: Timestamp, notice: Notice, tier: Option<Tier>) {
        let key = (notice.from, notice.id);
        if self.take(now, notice, tier) {
            self.tell(now, key);
        }
    }

    /// Takes a notice, if it is new and there is room. Whether it is known afterwards.
    pub(super) fn take(&mut self, now: Timestamp, notice: Notice, tier: Option<Tier>) -> bool {
        let key = (notice.from, notice.id);
        // Checked again: the clock may have gone on since.
        if self.seen.contains_key(&key) {
            return true;
        }
        if now >= notice.expires || !self.room(now, notice.from) {
            return false;
        }
        let verdict = self.judge(&notice, tier);
        let sync = sync_of(&notice);
        let seen = Seen {
            expires: notice.expires,
            last: None,
            told: false,
            sync,
        };
        let item = Item {
            notice,
            order: self.next_order,
            arrived: now,
            stage: match verdict {
                Verdict::Ask => Stage::Asking,
                _ => Stage::Waiting(String::new()),
            },
            dest: None,
            begun: false,
            failures: 0,
            retry_at: now,
            overdue: 0,
        };
        self.next_order = self.next_order.saturating_add(1);
        self.effects.push_back(Effect::Write(seen.write(key)));
        self.effects.push_back(Effect::Write(item.write()));
        self.seen.insert(key, seen);
        self.items.insert(key, item);
        self.effects.push_back(Effect::Arrived(key));
        if let Some((sync, seq)) = sync
            && !matches!(verdict, Verdict::Declined(_))
        {
            self.newest(now, key, sync, seq, matches!(verdict, Verdict::Pull));
        }
        match verdict {
            Verdict::Shown => self.end(now, key, DeliveryState::Done),
            Verdict::Declined(why) => self.end(now, key, DeliveryState::Declined(why)),
            Verdict::Ask | Verdict::Pull => {}
        }
        true
    }

    /// Whether one more of this sender may be taken. What may not is not answered: its sender and the mailbox keep it.
    fn room(&mut self, now: Timestamp, from: NodeId) -> bool {
        let of_sender = (
            Bound::Included((from, hive_protocol::ids::NoticeId([0; 16]))),
            Bound::Included((from, hive_protocol::ids::NoticeId([0xff; 16]))),
        );
        // Counted only when it can matter.
        let unexpired = || {
            let of_one = self.seen.range(of_sender);
            of_one.filter(|(_, s)| s.expires > now || s.owed()).count()
        };
        let open_of_one = || self.items.range(of_sender).filter(|(_, i)| !i.ended()).count();
        let open = || self.items.values().filter(|i| !i.ended()).count();
        if (self.seen.len() >= MAX_SEEN_OF_ONE && unexpired() >= MAX_SEEN_OF_ONE)
            || (self.items.len() >= MAX_OPEN_OF_ONE && open_of_one() >= MAX_OPEN_OF_ONE)
            || (self.items.len() >= MAX_OPEN && open() >= MAX_OPEN)
        {
            return false;
        }
        if self.seen.len() >= MAX_SEEN {
            self.forget_expired(now, MAX_SEEN - MAX_ENDED);
        }
        self.seen.len() < MAX_SEEN
    }

    /// Forgets traces until there are no more than `down_to`: the longest expired first, none that is still needed.
    pub(super) fn forget_expired(&mut self, now: Timestamp, down_to: usize) {
        let mut expired: Vec<(Timestamp, Key)> = self
            .seen
            .iter()
            .filter(|(key, s)| s.expires <= now && !self.items.contains_key(key))
            .map(|(key, s)| (s.expires, *key))
            .collect();
        expired.sort_unstable();
        let over = self.seen.len().saturating_sub(down_to);
        for (_, key) in expired.into_iter().take(over) {
            self.drop_seen(key);
        }
    }

    fn judge(&self, notice: &Notice, tier: Option<Tier>) -> Verdict {
        let declined = |why: &str| Verdict::Declined(why.to_owned());
        if !self.policy.takes(&notice.from, tier) {
            return declined("this node takes no notices of yours");
        }
        let NoticeBody::File(file) = &notice.body else {
            return Verdict::Shown;
        };
        if file.size > self.policy.max_size {
            return Verdict::Declined(format!(
                "{} bytes are more than the {} taken here",
                file.size, self.policy.max_size
            ));
        }
        if let Some(verdict) = self.judge_sync(notice.from, file) {
            return verdict;
        }
        if !self.policy.ask || self.policy.trusted.contains(&notice.from) {
            return Verdict::Pull;
        }
        let asking = self.items.values().filter(|i| i.stage == Stage::Asking).count();
        if asking >= usize::try_from(self.policy.max_waiting).unwrap_or(usize::MAX) {
            return declined("too many files wait for a decision here");
        }
        Verdict::Ask
    }

    fn judge_sync(&self, from: NodeId, file: &FileNotice) -> Option<Verdict> {
        let state = file.sync.as_ref()?;
        let Some(mirror) = self.mirrors.get(&(from, state.sync)) else {
            let of_one = self.mirrors.keys().filter(|(n, _)| *n == from).count();
            let full = self.mirrors.len() >= MAX_MIRRORS.0 || of_one >= MAX_MIRRORS.1;
            return full.then(|| Verdict::Declined("too many mirrors are kept here".to_owned()));
        };
        if state.seq <= mirror.seq {
            return Some(Verdict::Declined("a newer state is known here".to_owned()));
        }
        mirror.accepted.then_some(Verdict::Pull)
    }

    /// A newer state of a mirror: older ones not being applied are needless.
    fn newest(&mut self, now: Timestamp, key: Key, sync: SyncId, seq: u64, accepted: bool) {
        let place = (key.0, sync);
        let mirror = self.mirrors.entry(place).or_insert(Mirror {
            seq,
            accepted,
            dest: None,
        });
        mirror.seq = seq;
        mirror.accepted |= accepted;
        let dest = mirror.dest.clone();
        let write = mirror.write(key.0, sync);
        self.effects.push_back(Effect::Write(write));
        if let (Some(item), Some(dest)) = (self.items.get_mut(&key), dest) {
            item.dest = Some(dest);
            let write = item.write();
            self.effects.push_back(Effect::Write(write));
        }
        let older: Vec<Key> = self
            .items
            .values()
            .filter(|i| i.notice.from == key.0 && !i.ended() && !i.active())
            .filter(|i| i.sync().is_some_and(|(s, n)| s == sync && n < seq))
            .map(Item::key)
            .collect();
        for key in older {
            let why = "a newer state has come".to_owned();
            self.end(now, key, DeliveryState::Declined(why));
        }
    }

    /// The sender takes one back: what has not been done is not begun any more.
    pub(super) fn withdrawn(&mut self, now: Timestamp, from: NodeId, id: hive_protocol::ids::NoticeId) {
        let key = (from, id);
        if let Some(item) = self.items.get(&key).filter(|i| !i.ended()) {
            if item.active() {
                let order = self.order(item);
                self.effects.extend(order.map(|o| Effect::Stop(Box::new(o))));
            }
            let why = "taken back by its sender".to_owned();
            self.end(now, key, DeliveryState::Declined(why));
        }
        self.say(from, NoticeMsg::Noted(vec![id]));
    }
}

pub(super) fn sync_of(notice: &Notice) -> Option<(SyncId, u64)> {
    match &notice.body {
        NoticeBody::File(file) => file.sync.as_ref().map(|s| (s.sync, s.seq)),
        _ => None,
    }
}
