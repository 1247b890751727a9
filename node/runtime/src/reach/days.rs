//! What this node has relayed today, kept in the journal: a restart gives nobody a second day's bytes.

use hive_net::{Relay, RelayDay};
use hive_protocol::{codec, ids::NodeId};
use hive_store::{Journal, JournalError, Op, Record, SledJournal, journal::MAX_PAYLOAD_BYTES};
use serde::{Deserialize, Serialize};
use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

/// The journal's tree.
pub const TREE: &str = "relay";
/// The only key: the row of the newest day.
const KEY: &[u8] = b"today";
/// Version of the row. A reader takes none that it does not know.
const SCHEMA: u16 = 1;
/// It is written this often at most, and at the end.
const EVERY: Duration = Duration::from_secs(60);
/// That the day has gone on by so much is written though nothing was relayed: it may be a day that only running ends.
const GONE_ON: Duration = Duration::from_secs(600);
/// How often is looked whether there is something to write: the first of it is written soon, so that a daemon that dies
/// again and again counts at least that.
const LOOK: Duration = Duration::from_secs(5);

/// The row, version 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DayRow {
    /// Days since 1970, UTC.
    pub day: u64,
    /// For how long a running relay has counted it, in milliseconds.
    pub lasted_ms: u64,
    /// Bytes of all circuits.
    pub total: u64,
    /// Bytes of the circuits a node has opened, the biggest first.
    pub peers: Vec<(NodeId, u64)>,
    /// The same for address blocks.
    pub blocks: Vec<([u8; 7], u64)>,
}

impl From<RelayDay> for DayRow {
    fn from(d: RelayDay) -> Self {
        Self {
            day: d.day,
            lasted_ms: u64::try_from(d.lasted.as_millis()).unwrap_or(u64::MAX),
            total: d.total,
            peers: d.peers,
            blocks: d.blocks,
        }
    }
}

impl From<DayRow> for RelayDay {
    fn from(d: DayRow) -> Self {
        Self {
            day: d.day,
            lasted: Duration::from_millis(d.lasted_ms),
            total: d.total,
            peers: d.peers,
            blocks: d.blocks,
        }
    }
}

/// What the row says, and when it was last tried to write it.
#[derive(Default)]
struct Written {
    day: RelayDay,
    at: Option<Instant>,
}

impl Written {
    /// Whether a row of this says enough that is new.
    fn is_behind(&self, day: &RelayDay, at_once: bool) -> bool {
        if day.total == 0 && self.day.total == 0 {
            return false;
        }
        let gone_on = day.lasted.saturating_sub(self.day.lasted);
        let same = RelayDay {
            lasted: self.day.lasted,
            ..day.clone()
        };
        same != self.day || gone_on >= GONE_ON || (at_once && !gone_on.is_zero())
    }
}

/// Where the day's sums are kept. Cheap to clone.
#[derive(Clone)]
pub struct Days {
    journal: Arc<SledJournal>,
    written: Arc<Mutex<Written>>,
}

impl Days {
    /// In a journal that was opened with [`TREE`].
    #[must_use]
    pub fn new(journal: Arc<SledJournal>) -> Self {
        Self {
            journal,
            written: Arc::default(),
        }
    }

    /// What was kept last. A row that cannot be read is none: the day begins anew, and the log says so.
    fn kept(&self) -> Option<RelayDay> {
        let record = match self.journal.get(TREE, KEY) {
            Ok(record) => record?,
            Err(e) => {
                tracing::warn!(target: "hive_runtime::reach", code = e.code(), "what was relayed today is not known: {e}");
                return None;
            }
        };
        if record.schema != SCHEMA {
            tracing::warn!(target: "hive_runtime::reach", schema = record.schema, "what was relayed today was written by another version");
            return None;
        }
        match codec::decode::<DayRow>("relay day", &record.payload, MAX_PAYLOAD_BYTES) {
            Ok(row) => Some(row.into()),
            Err(e) => {
                tracing::warn!(target: "hive_runtime::reach", "what was relayed today is not known: {e}");
                None
            }
        }
    }

    fn write(&self, day: RelayDay) -> Result<(), JournalError> {
        let row = DayRow::from(day);
        let payload = codec::encode("relay day", &row, MAX_PAYLOAD_BYTES).map_err(|e| JournalError::Io {
            what: "write",
            path: TREE.into(),
            source: std::io::Error::other(e.to_string()),
        })?;
        let record = Record {
            schema: SCHEMA,
            payload,
        };
        self.journal.apply(vec![Op::Put {
            tree: TREE,
            key: KEY.to_vec(),
            record,
        }])
    }

    /// Has a relay that begins to serve go on with what was relayed earlier today.
    pub(super) fn take_up(&self, relay: &Relay) {
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(kept) = self.kept() {
            relay.take_up(&kept);
            written.day = kept;
        }
    }

    /// Keeps a relay's day, unless nothing has changed or, but at the end, it was written a moment ago. Blocks.
    fn keep(&self, day: impl FnOnce() -> RelayDay, at_once: bool) {
        self.keep_by(day, at_once, |day| self.write(day));
    }

    fn keep_by(
        &self,
        day: impl FnOnce() -> RelayDay,
        at_once: bool,
        write: impl FnOnce(RelayDay) -> Result<(), JournalError>,
    ) {
        // Held while it is written: what is kept last is what was seen last.
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        if !at_once && written.at.is_some_and(|at| at.elapsed() < EVERY) {
            return;
        }
        let day = day();
        if !written.is_behind(&day, at_once) {
            return;
        }
        written.at = Some(Instant::now());
        match write(day.clone()) {
            Ok(()) => written.day = day,
            Err(e) => {
                tracing::warn!(target: "hive_runtime::reach", code = e.code(), "what was relayed today cannot be kept: {e}");
            }
        }
    }

    async fn keep_of(&self, relay: Relay, at_once: bool) {
        let days = self.clone();
        // Not in the way of others: the disk may be slow.
        let _ = tokio::task::spawn_blocking(move || days.keep(|| relay.day(), at_once)).await;
    }
}

impl super::Reach {
    /// Keeps what is relayed now and then, until dropped.
    pub async fn keep_days(self) {
        loop {
            tokio::time::sleep(LOOK).await;
            if let Some(relay) = self.relay() {
                self.0.days.keep_of(relay, false).await;
            }
        }
    }

    /// Keeps what was relayed, at the end.
    pub(super) async fn keep_day(&self) {
        if let Some(relay) = self.relay() {
            self.0.days.keep_of(relay, true).await;
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn open(dir: &std::path::Path) -> Days {
        let (journal, alarm) = SledJournal::open(dir, &[TREE]).unwrap();
        assert!(alarm.is_none());
        Days::new(Arc::new(journal))
    }

    fn day(total: u64, users: usize) -> RelayDay {
        let id = |n: usize| NodeId([u8::try_from(n % 256).unwrap(); 32]);
        RelayDay {
            day: 20_000,
            lasted: Duration::from_millis(1_500),
            total,
            peers: (0..users).map(|n| (id(n), u64::MAX)).collect(),
            blocks: (0..users).map(|_| ([255; 7], u64::MAX)).collect(),
        }
    }

    #[test]
    fn a_day_outlives_a_restart_even_a_full_one() {
        let dir = tempfile::tempdir().unwrap();
        let days = open(dir.path());
        assert_eq!(days.kept(), None);
        let full = day(u64::MAX, RelayDay::MAX_USERS);
        days.keep(|| full.clone(), false);
        drop(days);
        assert_eq!(open(dir.path()).kept(), Some(full));
    }

    #[test]
    fn it_is_written_soon_then_rarely_and_at_the_end() {
        let dir = tempfile::tempdir().unwrap();
        let days = open(dir.path());
        days.keep(|| day(0, 0), false);
        assert_eq!(days.kept(), None, "nothing was relayed");
        days.keep(|| day(1, 1), false);
        assert_eq!(days.kept(), Some(day(1, 1)));
        days.keep(|| day(2, 1), false);
        assert_eq!(days.kept(), Some(day(1, 1)), "a moment ago it was written");
        days.keep(|| day(2, 1), true);
        assert_eq!(days.kept(), Some(day(2, 1)), "the end");
    }

    #[test]
    fn that_a_day_goes_on_is_written_now_and_then_and_at_the_end() {
        let written = Written {
            day: day(5, 1),
            at: None,
        };
        let later = |secs| {
            let mut day = day(5, 1);
            day.lasted += Duration::from_secs(secs);
            day
        };
        assert!(!written.is_behind(&later(0), true));
        assert!(!written.is_behind(&later(599), false));
        assert!(written.is_behind(&later(600), false));
        assert!(written.is_behind(&later(1), true));
        assert!(written.is_behind(&day(6, 1), false));
        assert!(
            written.is_behind(&day(0, 0), false),
            "a new day: the old row would be taken up"
        );
        assert!(!Written::default().is_behind(&day(0, 0), true));
    }

    #[test]
    fn what_could_not_be_written_is_written_later() {
        let dir = tempfile::tempdir().unwrap();
        let days = open(dir.path());
        let failure = JournalError::Io {
            what: "write",
            path: TREE.into(),
            source: std::io::Error::other("full"),
        };
        days.keep_by(|| day(1, 1), false, |_| Err(failure));
        assert_eq!(days.kept(), None);
        days.keep(|| day(1, 1), true);
        assert_eq!(days.kept(), Some(day(1, 1)));
    }

    #[test]
    fn a_row_of_another_version_is_not_guessed_at() {
        let dir = tempfile::tempdir().unwrap();
        let days = open(dir.path());
        for (schema, payload) in [(SCHEMA + 1, vec![0; 32]), (SCHEMA, vec![1, 2, 3])] {
            let record = Record { schema, payload };
            let key = KEY.to_vec();
            days.journal
                .apply(vec![Op::Put {
                    tree: TREE,
                    key,
                    record,
                }])
                .unwrap();
            assert_eq!(days.kept(), None);
        }
    }
}
