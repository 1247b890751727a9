//! What is kept on the disk about mirrors: one row for each in both directions, and at a receiver one row for each
//! path that the mirror has put there.

use crate::{error::SyncError, ground::Stamp};
use hive_protocol::{
    codec,
    ids::{BlobHash, NodeId, NoticeId, SyncId},
    notice::Priority,
    time::Timestamp,
};
use hive_store::journal::{Journal, MAX_OPS, MAX_PAGE, MAX_PAYLOAD_BYTES, Op, Record};
use hive_transfer::mirror::{Applied, Thing};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::{collections::BTreeMap, sync::Arc};

/// Mirrors that are sent.
const OUT: &str = "out";
/// Mirrors that are received.
const IN: &str = "in";
/// Paths put in place by received mirrors.
const PATHS: &str = "path";
/// The trees a journal for mirrors is opened with.
pub const TREES: &[&str] = &[OUT, IN, PATHS];
const SCHEMA: u16 = 1;

/// A mirror that is sent.
#[derive(Clone, Serialize, Deserialize, Debug)]
pub(crate) struct OutRow {
    pub(crate) id: SyncId,
    pub(crate) dir: String,
    pub(crate) to: Vec<NodeId>,
    pub(crate) watch: bool,
    pub(crate) versions: u32,
    pub(crate) skip_unsafe: bool,
    /// Number of the latest state; 0 before the first.
    pub(crate) seq: u64,
    pub(crate) root: Option<BlobHash>,
    /// The notice of the latest state; `None` when it has not been handed over yet.
    pub(crate) notice: Option<NoticeId>,
    pub(crate) changed: Timestamp,
    /// Whether it may become empty.
    pub(crate) allow_empty: bool,
    /// Files of the latest state.
    pub(crate) files: u64,
}

/// A mirror that is received.
#[derive(Clone, Serialize, Deserialize, Debug)]
pub(crate) struct InRow {
    pub(crate) sync: SyncId,
    pub(crate) from: NodeId,
    pub(crate) dir: String,
    pub(crate) name: String,
    pub(crate) hints: Vec<NodeId>,
    pub(crate) priority: Priority,
    pub(crate) transfer: hive_protocol::ids::TransferId,
    pub(crate) seq: u64,
    pub(crate) root: BlobHash,
    pub(crate) versions: u32,
    /// The newest state that was reached, and its number.
    pub(crate) whole: Option<(u64, BlobHash)>,
    pub(crate) changed: Timestamp,
}

/// A thing as it is written down.
#[derive(Clone, Serialize, Deserialize)]
enum Kept {
    File(BlobHash, u64),
    Folder,
    Link(String),
}

#[derive(Serialize, Deserialize)]
struct PathRow {
    path: String,
    is: Option<Kept>,
    becoming: Option<Kept>,
    /// Size, times and inode of the file as it was put there.
    stamp: Option<(u64, i64, i64, u64)>,
}

fn kept(thing: &Thing) -> Option<Kept> {
    match thing {
        Thing::File { hash, size } => Some(Kept::File(*hash, *size)),
        Thing::Folder => Some(Kept::Folder),
        Thing::Link { target } => Some(Kept::Link(target.clone())),
        Thing::Other => None,
    }
}

fn thing(kept: Kept) -> Thing {
    match kept {
        Kept::File(hash, size) => Thing::File { hash, size },
        Kept::Folder => Thing::Folder,
        Kept::Link(target) => Thing::Link { target },
    }
}

/// What is known of a path that the mirror has put there.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Known {
    pub(crate) applied: Applied,
    /// Size, mtime, ctime and inode of the file with the content `applied.is`, if they are known.
    pub(crate) stamp: Option<(u64, i64, i64, u64)>,
}

/// As in [`Known::stamp`].
pub(crate) const fn mark(s: &Stamp) -> (u64, i64, i64, u64) {
    (s.size, s.mtime_ns, s.ctime_ns, s.ino)
}

/// Which received mirror: its sender and its id.
pub(crate) type Key = (NodeId, SyncId);

fn prefix(key: &Key) -> Vec<u8> {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&key.0.0).update(&key.1.0);
    hasher.finalize().as_bytes().iter().take(16).copied().collect()
}

fn path_key(prefix: &[u8], path: &str) -> Vec<u8> {
    let hash = blake3::hash(path.as_bytes());
    prefix.iter().chain(hash.as_bytes()).copied().collect()
}

/// The rows in the journal.
#[derive(Clone)]
pub(crate) struct Rows(pub(crate) Arc<dyn Journal>);

impl Rows {
    fn record<T: Serialize>(what: &'static str, row: &T) -> Result<Record, SyncError> {
        let payload = codec::encode(what, row, MAX_PAYLOAD_BYTES).map_err(|e| SyncError::Content {
            code: "sync.io",
            text: e.to_string(),
        })?;
        Ok(Record {
            schema: SCHEMA,
            payload,
        })
    }

    fn all<T: DeserializeOwned>(
        &self,
        tree: &'static str,
        prefix: &[u8],
        what: &'static str,
        mut each: impl FnMut(T),
    ) -> Result<(), SyncError> {
        let mut after: Option<Vec<u8>> = None;
        loop {
            let page = self.0.scan(tree, prefix, after.as_deref(), MAX_PAGE)?;
            for key in &page.damaged {
                // What is not known any more is treated as the user's own: kept, not replaced.
                tracing::warn!(tree, ?key, "a damaged row about mirrors is passed over");
            }
            for (_, record) in page.records {
                match codec::decode(what, &record.payload, MAX_PAYLOAD_BYTES) {
                    Ok(row) => each(row),
                    Err(error) => tracing::warn!(tree, %error, "a row about mirrors cannot be read"),
                }
            }
            match page.next {
                Some(next) => after = Some(next),
                None => return Ok(()),
            }
        }
    }

    pub(crate) fn outgoing(&self) -> Result<Vec<OutRow>, SyncError> {
        let mut rows = Vec::new();
        self.all(OUT, &[], "mirror", |row| rows.push(row))?;
        Ok(rows)
    }

    pub(crate) fn put_out(&self, row: &OutRow) -> Result<(), SyncError> {
        let record = Self::record("mirror", row)?;
        let key = row.id.0.to_vec();
        Ok(self.0.apply(vec![Op::Put {
            tree: OUT,
            key,
            record,
        }])?)
    }

    pub(crate) fn drop_out(&self, id: &SyncId) -> Result<(), SyncError> {
        let key = id.0.to_vec();
        Ok(self.0.apply(vec![Op::Delete { tree: OUT, key }])?)
    }

    pub(crate) fn incoming(&self) -> Result<Vec<InRow>, SyncError> {
        let mut rows = Vec::new();
        self.all(IN, &[], "replica", |row| rows.push(row))?;
        Ok(rows)
    }

    pub(crate) fn put_in(&self, row: &InRow) -> Result<(), SyncError> {
        let record = Self::record("replica", row)?;
        let key = prefix(&(row.from, row.sync));
        Ok(self.0.apply(vec![Op::Put {
            tree: IN,
            key,
            record,
        }])?)
    }

    /// Forgets a received mirror and all its paths.
    pub(crate) fn drop_in(&self, key: &Key) -> Result<(), SyncError> {
        let prefix = prefix(key);
        self.0.apply(vec![Op::Delete {
            tree: IN,
            key: prefix.clone(),
        }])?;
        loop {
            let page = self.0.scan(PATHS, &prefix, None, MAX_OPS.min(MAX_PAGE))?;
            let keys = page.records.into_iter().map(|(k, _)| k).chain(page.damaged);
            let ops: Vec<Op> = keys.map(|key| Op::Delete { tree: PATHS, key }).collect();
            if ops.is_empty() {
                return Ok(());
            }
            self.0.apply(ops)?;
        }
    }

    pub(crate) fn paths(&self, key: &Key) -> Result<BTreeMap<String, Known>, SyncError> {
        let mut known = BTreeMap::new();
        self.all(PATHS, &prefix(key), "path", |row: PathRow| {
            let applied = Applied {
                is: row.is.map(thing),
                becoming: row.becoming.map(thing),
            };
            let stamp = row.stamp;
            known.insert(row.path, Known { applied, stamp });
        })?;
        Ok(known)
    }

    /// Writes these paths (those without a row are deleted). With `now` they survive the death of this process once
    /// it returns; otherwise it may forget the last half second of them.
    pub(crate) fn put_paths(
        &self,
        key: &Key,
        changed: &BTreeMap<String, Option<Known>>,
        now: bool,
    ) -> Result<(), SyncError> {
        let prefix = prefix(key);
        let mut ops = Vec::with_capacity(changed.len().min(MAX_OPS));
        for (path, known) in changed {
            let key = path_key(&prefix, path);
            ops.push(match known {
                None => Op::Delete { tree: PATHS, key },
                Some(known) => {
                    let row = PathRow {
                        path: path.clone(),
                        is: known.applied.is.as_ref().and_then(kept),
                        becoming: known.applied.becoming.as_ref().and_then(kept),
                        stamp: known.stamp,
                    };
                    let record = Self::record("path", &row)?;
                    Op::Put {
                        tree: PATHS,
                        key,
                        record,
                    }
                }
            });
            if ops.len() == MAX_OPS {
                self.write(std::mem::take(&mut ops), now)?;
            }
        }
        if !ops.is_empty() {
            self.write(ops, now)?;
        }
        Ok(())
    }

    fn write(&self, ops: Vec<Op>, now: bool) -> Result<(), SyncError> {
        match now {
            true => self.0.apply(ops)?,
            false => self.0.apply_later(ops)?,
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use hive_store::SledJournal;

    #[test]
    fn paths_come_back_and_go_with_their_mirror() {
        let temp = tempfile::tempdir().unwrap();
        let (journal, _) = SledJournal::open(&temp.path().join("j"), TREES).unwrap();
        let rows = Rows(Arc::new(journal));
        let (one, two) = (
            (NodeId([1; 32]), SyncId([2; 16])),
            (NodeId([2; 32]), SyncId([2; 16])),
        );
        let mut changed = BTreeMap::new();
        for n in 0..2500u64 {
            let hash = BlobHash([n as u8; 32]);
            let known = Known {
                applied: Applied {
                    is: Some(Thing::File { hash, size: n }),
                    becoming: (n % 2 == 0).then(|| Thing::Link { target: "x".into() }),
                },
                stamp: Some((n, -5, 7, 9)),
            };
            changed.insert(format!("d/{n}"), Some(known));
        }
        rows.put_paths(&one, &changed, true).unwrap();
        rows.put_paths(&two, &changed, false).unwrap();
        let expected: BTreeMap<_, _> = changed
            .clone()
            .into_iter()
            .map(|(p, k)| (p, k.unwrap()))
            .collect();
        assert_eq!(rows.paths(&one).unwrap(), expected);
        rows.put_paths(&one, &BTreeMap::from([("d/7".to_owned(), None)]), true)
            .unwrap();
        assert_eq!(rows.paths(&one).unwrap().len(), 2499);
        rows.drop_in(&one).unwrap();
        assert!(rows.paths(&one).unwrap().is_empty());
        assert_eq!(rows.paths(&two).unwrap(), expected);
    }
}
