//! The journal on sled 0.34. One sled tree holds all our trees (the name is part of the key), so that a batch over
//! several of them is one sled batch: atomic, also after a kill.
//!
//! sled alone is not trusted: it opens rubbish as an empty database, takes damage for the end of its log, and panics
//! on other rubbish. The [`Mark`] file says how far it was written, the [`Check`] record what must be in it, and
//! opening runs behind `catch_unwind`.

use super::{
    Journal, JournalAlarm, JournalError, MAX_KEY_BYTES, MAX_OPS, MAX_PAGE, MAX_PAYLOAD_BYTES, MAX_TREES, Op,
    Record, ScanPage,
    check::Check,
    flusher::{FlushFault, Flusher},
    mark::{self, Mark, Noted},
    record,
    sled_open::{CHECK_KEY, OpenFault, audit, fault, guarded, io_error, move_aside, open_db},
};
use crate::dir::{LOCK_PATIENCE, LOCK_PAUSE, disk_space};
use std::{
    collections::BTreeMap,
    fs,
    ops::Bound,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::Instant,
};

/// Room the disk must have for a change: sled does not survive a full disk (it may hang), so it never meets one.
/// Some sixteen of its segments.
const RESERVE_BYTES: u64 = 8 << 20;
/// The longest tree name, in bytes.
const MAX_TREE_NAME: usize = 32;
/// The journal on sled.
#[derive(Debug)]
pub struct SledJournal {
    // First, to be dropped before the database.
    flusher: Flusher,
    db: sled::Db,
    trees: Vec<&'static str>,
    path: PathBuf,
    // Also makes batches one after the other, which the check record needs.
    check: Mutex<Check>,
    mark: Mutex<Mark>,
}

impl SledJournal {
    /// Opens the journal in `path` with these trees, reading all of it once. One that cannot be read, or is not
    /// what was written, is moved to `<path>.corrupt-N` and a new one begun; one that only lost its newest batches
    /// is used. In both cases the alarm says so.
    ///
    /// # Errors
    /// `journal.locked`, too many or too long tree names, full disk, I/O.
    pub fn open(path: &Path, trees: &[&'static str]) -> Result<(Self, Option<JournalAlarm>), JournalError> {
        within("list of trees", trees.len(), MAX_TREES)?;
        for t in trees {
            within("tree name", t.len(), MAX_TREE_NAME)?;
            if t.is_empty() {
                return Err(JournalError::NoTree { tree: "" });
            }
        }
        let began = Instant::now();
        let tried = loop {
            match Self::try_open(path, trees) {
                // As with the data folder: a process killed just now may hold its lock a moment longer.
                Err(OpenFault::Other(JournalError::Locked { .. })) if began.elapsed() < LOCK_PATIENCE => {
                    std::thread::sleep(LOCK_PAUSE);
                }
                other => break other,
            }
        };
        let why = match tried {
            Ok(opened) => return Ok(opened),
            Err(OpenFault::Other(e)) => return Err(e),
            Err(OpenFault::Unreadable(why)) => why,
        };
        let moved_to = move_aside(path)?;
        tracing::error!(journal = %path.display(), moved_to = %moved_to.display(), why, "the job journal cannot be read");
        match Self::try_open(path, trees) {
            Ok((journal, _)) => Ok((journal, Some(JournalAlarm::MovedAside { moved_to, why }))),
            Err(OpenFault::Other(e)) => Err(e),
            Err(OpenFault::Unreadable(why)) => Err(JournalError::Corrupt {
                path: path.into(),
                why,
            }),
        }
    }

    fn try_open(path: &Path, trees: &[&'static str]) -> Result<(Self, Option<JournalAlarm>), OpenFault> {
        let fail = |what| move |source| OpenFault::Other(io_error(what, path, source));
        fs::create_dir_all(path).map_err(fail("create"))?;
        let mark_path = path.join("mark");
        let noted = mark::read(&mark_path).map_err(fail("read"))?;
        let db = open_db(&path.join("sled"), path)?;
        let (check, alarm) = match (audit(&db).map_err(OpenFault::Unreadable)?, noted) {
            (Some(check), Noted::Batch(n)) if n <= check.batch() => (check, None),
            (Some(check), Noted::Batch(n)) => (
                check,
                Some(JournalAlarm::RolledBack {
                    batches: Some(n - check.batch()),
                }),
            ),
            // Killed in the very first open, between the first record and the mark.
            (Some(check), Noted::Nothing) if check == Check::default() => (check, None),
            (Some(check), _) => (check, Some(JournalAlarm::RolledBack { batches: None })),
            (None, Noted::Nothing) => {
                let check = Check::default();
                db.insert(CHECK_KEY, check.to_bytes())
                    .map_err(|e| fault(e, path))?;
                db.flush().map_err(|e| fault(e, path))?;
                (check, None)
            }
            (None, _) => return Err(OpenFault::Unreadable("everything in it is gone".into())),
        };
        let mark = Mark::set(&mark_path, check.batch()).map_err(fail("write"))?;
        let flusher = Flusher::start(db.clone()).map_err(fail("start a thread for"))?;
        let journal = Self {
            flusher,
            db,
            trees: trees.to_vec(),
            path: path.to_path_buf(),
            check: Mutex::new(check),
            mark: Mutex::new(mark),
        };
        Ok((journal, alarm))
    }

    /// How many records all trees have together.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.check.lock().unwrap_or_else(PoisonError::into_inner).count()
    }

    /// True when there is no record.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of the journal's files; sled keeps up to some three times what is live.
    ///
    /// # Errors
    /// I/O.
    pub fn disk_bytes(&self) -> Result<u64, JournalError> {
        self.sled(|| self.db.size_on_disk())
    }

    fn full_key(&self, tree: &'static str, key: &[u8]) -> Result<Vec<u8>, JournalError> {
        within("key", key.len(), MAX_KEY_BYTES)?;
        if key.is_empty() {
            return Err(JournalError::TooLarge {
                what: "empty key",
                size: 0,
                limit: MAX_KEY_BYTES,
            });
        }
        self.prefix(tree, key)
    }

    fn prefix(&self, tree: &'static str, rest: &[u8]) -> Result<Vec<u8>, JournalError> {
        if !self.trees.contains(&tree) {
            return Err(JournalError::NoTree { tree });
        }
        let mut full = Vec::with_capacity(1 + tree.len() + rest.len());
        full.push(u8::try_from(tree.len()).unwrap_or(u8::MAX));
        full.extend_from_slice(tree.as_bytes());
        full.extend_from_slice(rest);
        Ok(full)
    }

    fn sled_error(&self, e: sled::Error) -> JournalError {
        match fault(e, &self.path) {
            OpenFault::Other(e) => e,
            OpenFault::Unreadable(why) => JournalError::Corrupt {
                path: self.path.clone(),
                why,
            },
        }
    }

    /// Runs a sled operation; its errors and panics become ours.
    fn sled<T>(&self, work: impl FnOnce() -> Result<T, sled::Error>) -> Result<T, JournalError> {
        match guarded(work) {
            Ok(result) => result.map_err(|e| self.sled_error(e)),
            Err(why) => Err(JournalError::Corrupt {
                path: self.path.clone(),
                why,
            }),
        }
    }

    fn room(&self) -> Result<(), JournalError> {
        let space = disk_space(&self.path).map_err(|e| io_error("measure", &self.path, e))?;
        if space.available < RESERVE_BYTES {
            return Err(JournalError::DiskFull {
                path: self.path.clone(),
            });
        }
        Ok(())
    }

    fn write(&self, ops: Vec<Op>) -> Result<(), JournalError> {
        within("batch", ops.len(), MAX_OPS)?;
        // Checked and encoded as a whole before anything changes; the last change of a key wins.
        let mut changes = BTreeMap::new();
        for op in ops {
            match op {
                Op::Put { tree, key, record } => {
                    within("record", record.payload.len(), MAX_PAYLOAD_BYTES)?;
                    let key = self.full_key(tree, &key)?;
                    let encoded = record::encode(&key, &record);
                    changes.insert(key, Some(encoded));
                }
                Op::Delete { tree, key } => {
                    changes.insert(self.full_key(tree, &key)?, None);
                }
            }
        }
        let mut check = self.check.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut next, mut batch) = (*check, sled::Batch::default());
        for (key, change) in changes {
            let old = self.sled(|| self.db.get(&key))?;
            if let Some(tag) = old.as_deref().and_then(record::stored_tag) {
                next.take(tag);
            }
            match change {
                Some((bytes, tag)) => {
                    next.add(tag);
                    batch.insert(key, bytes);
                }
                None => batch.remove(key),
            }
        }
        next.advance();
        batch.insert(CHECK_KEY, next.to_bytes());
        self.sled(|| self.db.apply_batch(batch))?;
        *check = next;
        Ok(())
    }
}

impl Journal for SledJournal {
    fn get(&self, tree: &'static str, key: &[u8]) -> Result<Option<Record>, JournalError> {
        let full = self.full_key(tree, key)?;
        let Some(bytes) = self.sled(|| self.db.get(&full))? else {
            return Ok(None);
        };
        record::decode(&full, &bytes)
            .map(Some)
            .ok_or_else(|| JournalError::Damaged {
                tree,
                key: key.to_vec(),
            })
    }

    fn apply(&self, ops: Vec<Op>) -> Result<(), JournalError> {
        self.room()?;
        self.write(ops)?;
        self.flush()
    }

    fn apply_later(&self, ops: Vec<Op>) -> Result<(), JournalError> {
        self.room()?;
        self.write(ops)
    }

    fn scan(
        &self,
        tree: &'static str,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<ScanPage, JournalError> {
        let skip = 1 + tree.len();
        let full = self.prefix(tree, prefix)?;
        let from = match after {
            Some(key) => Bound::Excluded(self.prefix(tree, key)?),
            None => Bound::Included(full.clone()),
        };
        let (limit, mut page) = (limit.clamp(1, MAX_PAGE), ScanPage::default());
        let mut items = self.db.range((from, Bound::Unbounded));
        while let Some((key, bytes)) = self.sled(|| items.next().transpose())? {
            if !key.starts_with(&full) {
                // `after` may lie before the first key of this prefix.
                if key.as_ref() < full.as_slice() {
                    continue;
                }
                break;
            }
            let ours = key.get(skip..).unwrap_or_default().to_vec();
            if page.records.len() + page.damaged.len() == limit {
                page.next = page.last();
                break;
            }
            match record::decode(&key, &bytes) {
                Some(r) => page.records.push((ours, r)),
                None => page.damaged.push(ours),
            }
        }
        Ok(page)
    }

    fn flush(&self) -> Result<(), JournalError> {
        let reached = self.check.lock().unwrap_or_else(PoisonError::into_inner).batch();
        self.flusher.flush().map_err(|fault| match fault {
            FlushFault::Sled(e) => self.sled_error(e),
            FlushFault::Stuck(after) => {
                tracing::error!(journal = %self.path.display(), ?after, "a journal write does not end");
                JournalError::Stuck {
                    path: self.path.clone(),
                }
            }
            FlushFault::Gone => JournalError::Stuck {
                path: self.path.clone(),
            },
        })?;
        let mut mark = self.mark.lock().unwrap_or_else(PoisonError::into_inner);
        mark.raise(reached).map_err(|e| io_error("write", &self.path, e))
    }
}

impl ScanPage {
    fn last(&self) -> Option<Vec<u8>> {
        self.records
            .last()
            .map(|(k, _)| k)
            .max(self.damaged.last())
            .cloned()
    }
}

fn within(what: &'static str, size: usize, limit: usize) -> Result<(), JournalError> {
    if size > limit {
        Err(JournalError::TooLarge { what, size, limit })
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use std::{process::Command, time::Duration};

    #[test]
    #[ignore = "needs root: cargo test -p hive-store -- --ignored"]
    fn a_disk_that_fills_under_sled_is_an_error_and_not_a_hang() {
        let disk = tempfile::tempdir().unwrap();
        let mount = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=4m", "t"])
            .arg(disk.path())
            .status();
        assert!(mount.unwrap().success());
        let (mut j, _) = SledJournal::open(&disk.path().join("j"), &["task"]).unwrap();
        j.flusher.set_deadline(Duration::from_secs(3));
        let error = (0..1000u64).find_map(|n| {
            let record = Record {
                schema: 1,
                payload: vec![n as u8; 20_000],
            };
            let op = Op::Put {
                tree: "task",
                key: n.to_be_bytes().to_vec(),
                record,
            };
            // Without the look at the free space that `apply` takes first.
            let error = j.write(vec![op]).and_then(|()| j.flush()).err();
            // A disk that only stood still for a while is no full one.
            error.filter(|_| j.flush().is_err())
        });
        let code = error.unwrap().code();
        assert!(
            [
                "store.disk_full",
                "journal.io",
                "journal.stuck",
                "journal.corrupt"
            ]
            .contains(&code),
            "{code}"
        );
        assert!(j.flush().is_err());
        drop(j);
        let _ = Command::new("umount").arg("-l").arg(disk.path()).status();
        println!("{code}");
    }
}
