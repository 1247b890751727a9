//! Rows about files in a journal of their own: references, folders, roots, transfers. One batch is one transaction.
//!
//! Only what must be found again after a kill is here; lists and bitmaps are files beside, found by the row's key.

use super::{error::FilesError, stamp::Stamp, types::Root};
use crate::journal::{Journal, JournalAlarm, MAX_OPS, Op, Record, SledJournal};
use hive_protocol::{codec, ids::BlobHash, time::Timestamp};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::{
    ffi::OsStr,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

const REFERENCE: &str = "ref";
const FOLDER: &str = "dir";
const PARTIAL: &str = "part";
const ROOT: &str = "root";
const TREES: &[&str] = &[REFERENCE, FOLDER, PARTIAL, ROOT];
const SCHEMA: u16 = 1;
/// Bytes of a row: two paths of 4 KiB, 64 tags of 96 bytes, and some.
const MAX_ROW: usize = 24 << 10;

/// A path, or a transfer, as a key: 128 bits of a hash.
pub(super) type Id = [u8; 16];

/// The key of a path.
pub(super) fn path_id(path: &Path) -> Id {
    id_of(&[path.as_os_str().as_bytes()])
}

/// The key of a transfer: the same content to the same place is the same transfer.
pub(super) fn transfer_id(hash: &BlobHash, dest: Option<&Path>) -> Id {
    let dest = dest.map_or(b"".as_slice(), |d| d.as_os_str().as_bytes());
    id_of(&[hash.0.as_slice(), dest])
}

fn id_of(parts: &[&[u8]]) -> Id {
    let mut h = blake3::Hasher::new();
    for p in parts {
        h.update(&(p.len() as u64).to_le_bytes());
        h.update(p);
    }
    let mut id = [0; 16];
    h.finalize_xof().fill(&mut id);
    id
}

pub(super) fn hex(bytes: &[u8]) -> String {
    data_encoding::HEXLOWER.encode(bytes)
}

/// A path in a row; paths of users may be any bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct RowPath(Vec<u8>);

impl RowPath {
    pub(super) fn new(path: &Path) -> Self {
        Self(path.as_os_str().as_bytes().to_vec())
    }

    pub(super) fn path(&self) -> PathBuf {
        PathBuf::from(OsStr::from_bytes(&self.0))
    }
}

/// A file of the user's. Key: its path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ReferenceRow {
    pub hash: BlobHash,
    pub path: RowPath,
    pub stamp: Stamp,
    /// When it was read, in nanoseconds since 1970.
    pub read_ns: i64,
}

/// A folder. Key: hash of the manifest, then its path (zeros when the store keeps its bytes).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct FolderRow {
    pub hash: BlobHash,
    pub path: Option<RowPath>,
    pub read_ns: i64,
}

impl FolderRow {
    pub(super) fn key(&self) -> Vec<u8> {
        let id = self.path.as_ref().map_or([0; 16], |p| path_id(&p.path()));
        [self.hash.0.as_slice(), &id].concat()
    }
}

/// What is kept as one thing. Key: its hash.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct RootRow {
    pub hash: BlobHash,
    pub folder: bool,
    pub size: u64,
    pub files: u64,
    pub entries: u64,
    pub name: String,
    pub path: Option<RowPath>,
    pub tags: Vec<(String, Option<Timestamp>)>,
    pub added: Timestamp,
    pub problem: Option<String>,
}

impl RootRow {
    pub(super) fn root(&self) -> Root {
        Root {
            hash: self.hash,
            folder: self.folder,
            size: self.size,
            files: self.files,
            entries: self.entries,
            name: self.name.clone(),
        }
    }
}

/// Something being received. Key: [`transfer_id`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct PartialRow {
    pub hash: BlobHash,
    pub folder: bool,
    /// As given: absolute, or relative to `below`.
    pub dest: Option<RowPath>,
    pub below: Option<RowPath>,
    /// Where the bytes are until it is whole; `None` for a folder received in place.
    pub part: Option<RowPath>,
    pub overwrite: bool,
    pub tag: Option<String>,
    pub durable: bool,
    pub begun: Timestamp,
}

impl PartialRow {
    /// The destination as an absolute path.
    pub(super) fn full_dest(&self) -> Option<PathBuf> {
        let dest = self.dest.as_ref()?.path();
        Some(match &self.below {
            Some(below) => below.path().join(dest),
            None => dest,
        })
    }
}

/// A change to the rows.
pub(super) enum Change<'a> {
    Reference(&'a ReferenceRow),
    NoReference(&'a Path),
    Folder(&'a FolderRow),
    NoFolder(&'a FolderRow),
    Root(&'a RootRow),
    NoRoot(&'a BlobHash),
    Partial(&'a Id, &'a PartialRow),
    NoPartial(&'a Id),
}

/// All rows there are.
#[derive(Debug, Default)]
pub(super) struct Loaded {
    pub references: Vec<ReferenceRow>,
    pub folders: Vec<FolderRow>,
    pub roots: Vec<RootRow>,
    pub partials: Vec<(Id, PartialRow)>,
    pub problems: Vec<String>,
}

#[derive(Debug)]
pub(super) struct Rows {
    journal: SledJournal,
}

impl Rows {
    /// Opens the rows and reads all of them.
    pub(super) fn open(path: &Path) -> Result<(Self, Loaded), FilesError> {
        let (journal, alarm) = SledJournal::open(path, TREES)?;
        let rows = Self { journal };
        let mut all = Loaded::default();
        match &alarm {
            Some(JournalAlarm::MovedAside { moved_to, why }) => all.problems.push(format!(
                "the rows about files could not be read ({why}); they were moved to {}",
                moved_to.display()
            )),
            Some(JournalAlarm::RolledBack { .. }) => {
                all.problems
                    .push("the last changes of the rows about files are lost".into());
            }
            None => {}
        }
        all.references = rows
            .scan::<ReferenceRow>(REFERENCE, &mut all.problems)?
            .into_iter()
            .map(|r| r.1)
            .collect();
        all.folders = rows
            .scan::<FolderRow>(FOLDER, &mut all.problems)?
            .into_iter()
            .map(|r| r.1)
            .collect();
        all.roots = rows
            .scan::<RootRow>(ROOT, &mut all.problems)?
            .into_iter()
            .map(|r| r.1)
            .collect();
        let partials = rows.scan::<PartialRow>(PARTIAL, &mut all.problems)?;
        all.partials = partials
            .into_iter()
            .filter_map(|(key, row)| Some((key.try_into().ok()?, row)))
            .collect();
        Ok((rows, all))
    }

    fn scan<T: DeserializeOwned>(
        &self,
        tree: &'static str,
        problems: &mut Vec<String>,
    ) -> Result<Vec<(Vec<u8>, T)>, FilesError> {
        let (mut found, mut after) = (Vec::new(), None::<Vec<u8>>);
        loop {
            let page = self.journal.scan(tree, b"", after.as_deref(), usize::MAX)?;
            for (key, record) in page.records {
                match codec::decode(tree, &record.payload, MAX_ROW) {
                    Ok(row) if record.schema == SCHEMA => found.push((key, row)),
                    _ => problems.push(format!("a row of {tree} cannot be read: {}", hex(&key))),
                }
            }
            problems.extend(
                page.damaged
                    .iter()
                    .map(|k| format!("a row of {tree} is damaged: {}", hex(k))),
            );
            after = page.next;
            if after.is_none() {
                return Ok(found);
            }
        }
    }

    /// Makes these changes: up to 1024 of them all or none, more in batches of that many, in order.
    pub(super) fn apply(&self, changes: &[Change<'_>]) -> Result<(), FilesError> {
        for batch in changes.chunks(MAX_OPS) {
            let ops = batch.iter().map(op).collect::<Result<Vec<_>, _>>()?;
            self.journal.apply(ops)?;
        }
        Ok(())
    }

    /// As [`Self::apply`], but a kill may take back the last half second of it.
    pub(super) fn apply_later(&self, changes: &[Change<'_>]) -> Result<(), FilesError> {
        for batch in changes.chunks(MAX_OPS) {
            let ops = batch.iter().map(op).collect::<Result<Vec<_>, _>>()?;
            self.journal.apply_later(ops)?;
        }
        Ok(())
    }
}

fn put<T: Serialize>(tree: &'static str, key: Vec<u8>, row: &T) -> Result<Op, FilesError> {
    let payload = codec::encode(tree, row, MAX_ROW).map_err(|_| FilesError::Full {
        what: "one row about files",
        limit: MAX_ROW,
    })?;
    let record = Record {
        schema: SCHEMA,
        payload,
    };
    Ok(Op::Put { tree, key, record })
}

fn op(change: &Change<'_>) -> Result<Op, FilesError> {
    let delete = |tree, key| Ok(Op::Delete { tree, key });
    match change {
        Change::Reference(r) => put(REFERENCE, path_id(&r.path.path()).to_vec(), r),
        Change::NoReference(p) => delete(REFERENCE, path_id(p).to_vec()),
        Change::Folder(r) => put(FOLDER, r.key(), r),
        Change::NoFolder(r) => delete(FOLDER, r.key()),
        Change::Root(r) => put(ROOT, r.hash.0.to_vec(), r),
        Change::NoRoot(h) => delete(ROOT, h.0.to_vec()),
        Change::Partial(id, r) => put(PARTIAL, id.to_vec(), r),
        Change::NoPartial(id) => delete(PARTIAL, id.to_vec()),
    }
}
