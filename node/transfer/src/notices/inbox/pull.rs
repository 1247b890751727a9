//! What is pulled when, and what becomes of it.

use super::{
    Effect, Inbox, MAX_DEST, MAX_PULLS,
    row::{Item, Key, Stage},
};
use crate::notices::{backoff, reason};
use hive_protocol::{
    ids::{BlobHash, NodeId, NoticeId, TransferId},
    notice::{DeliveryState, Priority, SyncState},
    time::Timestamp,
};

/// What a puller is to do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Order {
    /// The notice's id.
    pub id: NoticeId,
    /// Its sender.
    pub from: NodeId,
    /// A file's content, or a folder's manifest.
    pub root: BlobHash,
    /// Whether it is a folder's manifest.
    pub folder: bool,
    /// Bytes of all files, as claimed.
    pub size: u64,
    /// Number of files, as claimed.
    pub files: u64,
    /// What it is called: one plain name.
    pub name: String,
    /// The folder of the policy.
    pub into: String,
    /// Where it goes: when placing, as somebody asked for it; when beginning, as it was placed.
    pub dest: Option<String>,
    /// How urgent.
    pub priority: Priority,
    /// Who may have it: the sender first, then the other recipients.
    pub hints: Vec<NodeId>,
    /// Set for a state of a mirror.
    pub sync: Option<SyncState>,
    /// The same for the same notice for ever.
    pub transfer: TransferId,
}

impl Order {
    /// Which notice it is of.
    #[must_use]
    pub const fn key(&self) -> Key {
        (self.from, self.id)
    }
}

/// How a pull goes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum News {
    /// Verified bytes, of so many.
    Progress(u64, u64),
    /// Why it does not move.
    Waiting(String),
    /// In place.
    Done,
    /// It has failed; whether it is worth trying again.
    Failed(String, bool),
}

impl Inbox {
    pub(super) fn order(&self, item: &Item) -> Option<Order> {
        let file = item.file()?;
        let others = item.notice.to.iter().filter(|n| **n != self.config.me);
        let (from, id) = item.key();
        Some(Order {
            id,
            from,
            root: file.root,
            folder: file.folder,
            size: file.size,
            files: file.files,
            name: file.name.clone(),
            into: self.policy.folder.clone(),
            dest: item.dest.clone(),
            priority: item.notice.priority,
            hints: std::iter::once(from).chain(others.copied()).collect(),
            sync: file.sync.clone(),
            transfer: item.transfer(),
        })
    }

    /// Begins what may begin, the urgent first.
    pub(super) fn start(&mut self, now: Timestamp) {
        let mut active = 0;
        let mut ready: Vec<_> = Vec::new();
        for item in self.items.values() {
            if item.active() {
                active += 1;
            } else if matches!(item.stage, Stage::Waiting(_)) {
                ready.push((item.rank(), item.key()));
            }
        }
        ready.sort_unstable();
        for (_, key) in ready {
            let Some(item) = self.items.get(&key) else {
                continue;
            };
            if item.retry_at > now {
                continue;
            }
            let held = if item.begun {
                None
            } else {
                self.held_back(now, item)
            };
            if let Some(why) = held {
                self.wait(now, key, &why);
                continue;
            }
            if active >= MAX_PULLS {
                self.wait(now, key, "others are being pulled");
                continue;
            }
            active += 1;
            self.begin(now, key);
        }
    }

    /// Why a pull may not begin now.
    fn held_back(&self, now: Timestamp, item: &Item) -> Option<String> {
        if now >= item.notice.expires {
            return Some("its time is over".to_owned());
        }
        if let Some(hours) = self.policy.hours.filter(|h| !h.at(self.minute)) {
            return Some(format!("this node pulls at {hours} only"));
        }
        let size = item.file().map_or(0, |f| f.size);
        let free = self.free?;
        let need = size.saturating_add(self.policy.min_free);
        (free < need).then(|| format!("{size} bytes and {} to spare do not fit", self.policy.min_free))
    }

    fn wait(&mut self, now: Timestamp, key: Key, why: &str) {
        let Some(item) = self.items.get_mut(&key) else {
            return;
        };
        if item.stage == Stage::Waiting(why.to_owned()) {
            return;
        }
        item.stage = Stage::Waiting(why.to_owned());
        self.effects.push_back(Effect::Changed(key));
        self.tell(now, key);
    }

    fn begin(&mut self, now: Timestamp, key: Key) {
        let Some(item) = self.items.get_mut(&key) else {
            return;
        };
        let total = item.file().map_or(0, |f| f.size);
        // A mirror knows its own place.
        let placed = item.begun || item.sync().is_some();
        item.stage = if placed {
            Stage::Moving {
                done: 0,
                total,
                why: None,
            }
        } else {
            Stage::Placing
        };
        let first = placed && !item.begun;
        item.begun |= placed;
        let write = item.write();
        let Some(order) = self.items.get(&key).and_then(|i| self.order(i)) else {
            return;
        };
        if placed {
            if first {
                self.effects.push_back(Effect::Write(write));
            }
            self.effects.push_back(Effect::Begin(Box::new(order)));
            self.effects.push_back(Effect::Changed(key));
            self.tell(now, key);
        } else {
            self.effects.push_back(Effect::Place(Box::new(order)));
        }
    }

    pub(super) fn placed(&mut self, now: Timestamp, key: Key, place: Result<String, String>) {
        // Nothing lies there yet while another is on its way to the same place.
        let taken = place.as_ref().is_ok_and(|dest| {
            let mut others = self.items.values().filter(|i| i.begun && !i.ended());
            others.any(|i| i.key() != key && i.dest.as_ref() == Some(dest))
        });
        let Some(item) = self.items.get_mut(&key).filter(|i| i.stage == Stage::Placing) else {
            return;
        };
        match place {
            Ok(_) if taken => self.again(now, key, "another file of this name is being received"),
            Ok(dest) if dest.len() <= MAX_DEST => {
                item.dest = Some(dest);
                item.begun = true;
                let write = item.write();
                self.effects.push_back(Effect::Write(write));
                self.begin(now, key);
            }
            Ok(_) => {
                let why = "its destination is too long".to_owned();
                self.end(now, key, DeliveryState::Failed(why));
            }
            Err(why) => self.again(now, key, &why),
        }
    }

    fn again(&mut self, now: Timestamp, key: Key, why: &str) {
        let Some(item) = self.items.get_mut(&key) else {
            return;
        };
        item.failures = item.failures.saturating_add(1);
        let (first, longest) = self.config.pull_again;
        item.retry_at = now + backoff::pause(item.failures, first, longest, &mut self.seed);
        self.wait(now, key, &reason(why));
    }

    pub(super) fn news(&mut self, now: Timestamp, key: Key, news: News) {
        let Some(item) = self.items.get_mut(&key) else {
            return;
        };
        let Stage::Moving { done, total, why } = &mut item.stage else {
            return;
        };
        match news {
            News::Progress(so_far, of) => {
                item.failures = 0;
                // What people see never goes back; the total is known better with time.
                *done = (*done).max(so_far);
                *total = of;
                *why = None;
                self.effects.push_back(Effect::Changed(key));
                self.tell(now, key);
            }
            News::Waiting(text) => {
                *why = Some(reason(&text));
                self.effects.push_back(Effect::Changed(key));
                self.tell(now, key);
            }
            News::Done => self.end(now, key, DeliveryState::Done),
            News::Failed(text, false) => self.end(now, key, DeliveryState::Failed(text)),
            News::Failed(text, true) => {
                let newer = item
                    .sync()
                    .is_some_and(|(sync, seq)| self.mirrors.get(&(key.0, sync)).is_some_and(|m| seq < m.seq));
                if newer {
                    let why = "a newer state has come".to_owned();
                    self.end(now, key, DeliveryState::Declined(why));
                } else {
                    self.again(now, key, &text);
                }
            }
        }
    }

    /// When a pull that waits for a moment is due.
    pub(super) fn pull_timeout(&self) -> Option<Timestamp> {
        let waiting = self
            .items
            .values()
            .filter(|i| matches!(i.stage, Stage::Waiting(_)) && i.retry_at > self.last);
        waiting.map(|i| i.retry_at).min()
    }
}
