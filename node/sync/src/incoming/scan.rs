//! What is in a mirror's folder now: every path, with hashes of those files that matter to the plan.
//!
//! A file whose size, times and inode are as they were when it was last hashed or put there is not read.

use crate::{
    ground::{Ground, Kind, Stamp},
    ignore::{STAGING, VERSIONS},
    rows::{Known, mark},
};
use hive_protocol::{
    ids::BlobHash,
    manifest::{EntryKind, MAX_DEPTH, MAX_ENTRIES, Manifest},
};
use hive_transfer::mirror::{Local, Thing};
use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, Read},
    sync::atomic::{AtomicBool, Ordering},
};

/// Bytes read at a time.
const PIECE: usize = 1 << 20;

/// The folder as it was found.
#[derive(Default)]
pub(crate) struct Scan {
    pub(crate) local: BTreeMap<String, Local>,
    pub(crate) stamps: BTreeMap<String, Stamp>,
    /// Folders that could not be read.
    pub(crate) blind: BTreeSet<String>,
}

/// Hashes of local files that are not the mirror's, by path and mark: so that they are not read at every state.
pub(crate) type Seen = BTreeMap<String, ((u64, i64, i64, u64), BlobHash)>;

/// Why there is no scan.
#[derive(Debug)]
pub(crate) enum Halt {
    Stopped,
    Failed(io::Error),
    TooMany,
}

/// Hashes an open file; `None` when it was changed meanwhile.
pub(crate) fn hash_file(file: &mut std::fs::File, stop: &AtomicBool) -> Result<Option<BlobHash>, Halt> {
    let failed = |e: io::Error| Halt::Failed(e);
    let before = Ground::stamp_of(&*file).map_err(|e| failed(e.into()))?;
    let (mut hasher, mut piece) = (blake3::Hasher::new(), Vec::new());
    piece.resize(PIECE.min(usize::try_from(before.size).unwrap_or(PIECE) + 1), 0);
    loop {
        if stop.load(Ordering::Relaxed) {
            return Err(Halt::Stopped);
        }
        match file.read(&mut piece) {
            Ok(0) => break,
            Ok(n) => {
                hasher.update(piece.get(..n).unwrap_or_default());
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(failed(e)),
        }
    }
    let after = Ground::stamp_of(&*file).map_err(|e| failed(e.into()))?;
    Ok((before == after).then(|| BlobHash(*hasher.finalize().as_bytes())))
}

/// Looks at everything in the folder.
pub(crate) struct Scanner<'a> {
    pub(crate) ground: &'a Ground,
    pub(crate) known: &'a BTreeMap<String, Known>,
    pub(crate) wanted: &'a Manifest,
    pub(crate) stop: &'a AtomicBool,
    pub(crate) seen: &'a mut Seen,
}

impl Scanner<'_> {
    pub(crate) fn run(&mut self) -> Result<Scan, Halt> {
        let mut scan = Scan::default();
        self.walk(&mut scan)?;
        self.hash(&mut scan)?;
        Ok(scan)
    }

    fn walk(&self, scan: &mut Scan) -> Result<(), Halt> {
        let mut todo = vec![String::new()];
        while let Some(folder) = todo.pop() {
            if self.stop.load(Ordering::Relaxed) {
                return Err(Halt::Stopped);
            }
            let names = self.ground.dir(&folder).and_then(|dir| Ground::names(&dir));
            let names = match names {
                Ok(names) => names,
                Err(e) if folder.is_empty() => return Err(Halt::Failed(e.into())),
                Err(rustix::io::Errno::NOENT) => continue,
                Err(error) => {
                    tracing::warn!(folder, %error, "a folder in a mirror cannot be read");
                    scan.blind.insert(folder);
                    continue;
                }
            };
            if scan.stamps.len().saturating_add(names.len()) > 2 * MAX_ENTRIES {
                return Err(Halt::TooMany);
            }
            for (at, found) in names.into_iter().enumerate() {
                let (name, readable) = match found.name {
                    Ok(name) => (name, true),
                    // No path of a manifest has a zero byte: it is in nobody's way and cannot be meant.
                    Err(lossy) => (format!("{lossy}\0{at}"), false),
                };
                if folder.is_empty() && (name == STAGING || name == VERSIONS) {
                    continue;
                }
                let path = if folder.is_empty() {
                    name
                } else {
                    format!("{folder}/{name}")
                };
                let thing = match found.stamp.kind {
                    Kind::Folder if readable && path.split('/').count() < 2 * MAX_DEPTH => {
                        todo.push(path.clone());
                        Thing::Folder
                    }
                    Kind::Link if readable => match self.ground.target(&path) {
                        Ok(Ok(target)) => Thing::Link { target },
                        _ => Thing::Other,
                    },
                    // Files get theirs below, if it matters.
                    _ => Thing::Other,
                };
                let local = Local {
                    thing,
                    mode: found.stamp.mode,
                    mtime_ns: found.stamp.mtime_ns,
                };
                scan.local.insert(path.clone(), local);
                scan.stamps.insert(path, found.stamp);
            }
        }
        Ok(())
    }

    /// Gives files their hashes: those that are the mirror's or in the place of a wanted one, and those that may have
    /// a content that is not here otherwise.
    fn hash(&mut self, scan: &mut Scan) -> Result<(), Halt> {
        let wanted: BTreeSet<&str> = self.wanted.entries.iter().map(|e| e.path.as_str()).collect();
        let mut seen = Seen::new();
        let mut rest = Vec::new();
        let mut have: BTreeSet<BlobHash> = BTreeSet::new();
        for (path, stamp) in &scan.stamps {
            if stamp.kind != Kind::File || path.contains('\0') {
                continue;
            }
            let known = self.known.get(path);
            if known.is_none() && !wanted.contains(path.as_str()) {
                rest.push((path.clone(), *stamp));
                continue;
            }
            if let Some(hash) = self.one(path, stamp, known, &mut seen)? {
                have.insert(hash);
                set_file(&mut scan.local, path, hash, stamp.size);
            }
        }
        let missing: BTreeSet<u64> = self
            .wanted
            .entries
            .iter()
            .filter_map(|e| match &e.kind {
                EntryKind::File { hash, size } if *size > 0 && !have.contains(hash) => Some(*size),
                _ => None,
            })
            .collect();
        for (path, stamp) in rest {
            let kept = self.seen.get(&path).filter(|(m, _)| *m == mark(&stamp)).is_some();
            if (missing.contains(&stamp.size) || kept)
                && let Some(hash) = self.one(&path, &stamp, None, &mut seen)?
            {
                set_file(&mut scan.local, &path, hash, stamp.size);
            }
        }
        *self.seen = seen;
        Ok(())
    }

    fn one(
        &self,
        path: &str,
        stamp: &Stamp,
        known: Option<&Known>,
        seen: &mut Seen,
    ) -> Result<Option<BlobHash>, Halt> {
        if let Some(Known {
            applied,
            stamp: Some(at),
        }) = known
            && *at == mark(stamp)
            && let Some(Thing::File { hash, .. }) = &applied.is
        {
            return Ok(Some(*hash));
        }
        if let Some((_, hash)) = self.seen.get(path).filter(|(m, _)| *m == mark(stamp)) {
            seen.insert(path.to_owned(), (mark(stamp), *hash));
            return Ok(Some(*hash));
        }
        let opened = self.ground.file(path).map_err(io::Error::from);
        let hashed = match opened {
            Ok(mut file) if Ground::stamp_of(&file).is_ok_and(|now| now == *stamp) => {
                hash_file(&mut file, self.stop)
            }
            Ok(_) => Ok(None),
            Err(e) => Err(Halt::Failed(e)),
        };
        match hashed {
            Ok(Some(hash)) => {
                seen.insert(path.to_owned(), (mark(stamp), hash));
                Ok(Some(hash))
            }
            Err(Halt::Stopped) => Err(Halt::Stopped),
            // Not to be read, or being written to: it stays what it is, not the mirror's.
            Ok(None) | Err(_) => Ok(None),
        }
    }
}

fn set_file(local: &mut BTreeMap<String, Local>, path: &str, hash: BlobHash, size: u64) {
    if let Some(local) = local.get_mut(path) {
        local.thing = Thing::File { hash, size };
    }
}
