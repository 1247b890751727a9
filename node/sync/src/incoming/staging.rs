//! The staging folder of a received mirror: contents waiting for their places, one thing on its way out, the mark of
//! whose mirror it is.
//!
//! `in/<hash>` is a whole content (or part of one, under a name of the transfer's own). `swap` is what is being
//! exchanged: it is never more than one thing, and what it was is found out after a crash.

use super::scan::{Halt, hash_file};
use crate::{
    error::SyncError,
    ground::{Ground, Kind},
    ignore::STAGING,
    rows::{Key, Known},
};
use hive_protocol::ids::BlobHash;
use hive_transfer::mirror::Thing;
use rustix::io::Errno;
use std::{
    collections::{BTreeMap, BTreeSet},
    io::{Read, Write},
    sync::atomic::AtomicBool,
};

/// Where the one thing on its way is.
pub(crate) const SWAP: &str = ".hive-sync.part/swap";
/// The new thing, where two cannot be exchanged in one step.
pub(crate) const BESIDE: &str = ".hive-sync.part/new";
const COPY: &str = ".hive-sync.part/copy";
const OWNER: &str = ".hive-sync.part/mirror";
const WAITING: &str = ".hive-sync.part/in";

/// Where a whole content waits.
pub(crate) fn staged(hash: &BlobHash) -> String {
    let mut path = format!("{WAITING}/");
    for byte in hash.0 {
        path.push_str(&format!("{byte:02x}"));
    }
    path
}

fn parse(name: &str) -> Option<BlobHash> {
    let mut hash = [0; 32];
    if name.len() != 64 || !name.is_ascii() {
        return None;
    }
    for (at, byte) in hash.iter_mut().enumerate() {
        *byte = u8::from_str_radix(name.get(2 * at..2 * at + 2)?, 16).ok()?;
    }
    Some(BlobHash(hash))
}

/// What was found in the staging folder.
pub(crate) struct Found {
    pub(crate) contents: BTreeSet<BlobHash>,
    /// Something of which it is not known where it was: kept in the folder itself.
    pub(crate) stray: Option<String>,
}

fn failed<'g>(ground: &'g Ground, what: &'static str, path: &'g str) -> impl FnOnce(Errno) -> SyncError + 'g {
    move |e| SyncError::io(what, ground.full(path), e)
}

/// Makes the staging folder and says whose it is.
pub(crate) fn claim(ground: &Ground, key: &Key) -> Result<(), SyncError> {
    for folder in [STAGING, WAITING] {
        match ground.make_folder(folder, 0o700) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(e) => return Err(failed(ground, "create", folder)(e)),
        }
        // Something else of that name cannot be used.
        let fd = ground.dir(folder).map_err(failed(ground, "open", folder))?;
        drop(fd);
    }
    let mine = format!("{} {}\n", key.0, key.1);
    let mut there = String::new();
    match ground.file(OWNER) {
        Ok(file) => {
            let read = file.take(4096).read_to_string(&mut there);
            read.map_err(|e| SyncError::io("read", ground.full(OWNER), e))?;
        }
        Err(Errno::NOENT) => {}
        Err(e) => return Err(failed(ground, "read", OWNER)(e)),
    }
    // An empty one is left of a crash in the moment it was made.
    if there.is_empty() {
        let _ = ground.remove(OWNER);
        let mut file = ground
            .create(OWNER, 0o600)
            .map_err(failed(ground, "create", OWNER))?;
        return file
            .write_all(mine.as_bytes())
            .map_err(|e| SyncError::io("write", ground.full(OWNER), e));
    }
    if there != mine {
        return Err(SyncError::FolderTaken {
            dir: ground.path().to_path_buf(),
            by: there.trim().to_owned(),
        });
    }
    Ok(())
}

/// Removes everything of the staging folder, when nothing waits in it any more or the mirror is given up.
pub(crate) fn clear(ground: &Ground, whole: bool) {
    let names = ground.dir(WAITING).and_then(|dir| Ground::names(&dir));
    for name in names.unwrap_or_default().into_iter().filter_map(|n| n.name.ok()) {
        let path = format!("{WAITING}/{name}");
        if let Err(error) = ground.remove(&path) {
            tracing::warn!(path, %error, "cannot be removed from the staging folder of a mirror");
        }
    }
    let _ = ground.remove(COPY);
    if whole {
        let _ = ground.remove(OWNER);
        let _ = ground.remove_folder(WAITING);
        let _ = ground.remove_folder(STAGING);
    }
}

/// Looks at what was left, and finds out what the thing on its way was: a content goes back to those that wait, what
/// was the mirror's goes, anything else is kept under the name `keep` gives it.
pub(crate) fn recover(
    ground: &Ground,
    known: &BTreeMap<String, Known>,
    stop: &AtomicBool,
    keep: &dyn Fn(&str) -> String,
) -> Result<Found, SyncError> {
    let _ = ground.remove(COPY);
    let _ = ground.remove(BESIDE);
    let stray = recover_swap(ground, known, stop, keep)?;
    let mut contents = BTreeSet::new();
    let names = ground.dir(WAITING).and_then(|dir| Ground::names(&dir));
    for found in names.map_err(failed(ground, "read", WAITING))? {
        if let (Ok(name), Kind::File) = (&found.name, found.stamp.kind)
            && let Some(hash) = parse(name)
        {
            contents.insert(hash);
        }
    }
    Ok(Found { contents, stray })
}

fn recover_swap(
    ground: &Ground,
    known: &BTreeMap<String, Known>,
    stop: &AtomicBool,
    keep: &dyn Fn(&str) -> String,
) -> Result<Option<String>, SyncError> {
    let Some(stamp) = ground.stamp(SWAP).map_err(failed(ground, "read", SWAP))? else {
        return Ok(None);
    };
    let found = match stamp.kind {
        Kind::File => {
            let hashed = ground.file(SWAP).ok().map(|mut file| hash_file(&mut file, stop));
            match hashed {
                Some(Ok(Some(hash))) => Some(Thing::File {
                    hash,
                    size: stamp.size,
                }),
                Some(Err(Halt::Stopped)) => return Err(SyncError::Closed),
                _ => None,
            }
        }
        Kind::Link => match ground.target(SWAP) {
            Ok(Ok(target)) => Some(Thing::Link { target }),
            _ => None,
        },
        Kind::Folder | Kind::Other => None,
    };
    if let Some(thing) = &found {
        let becoming = known.values().any(|k| k.applied.becoming.as_ref() == Some(thing));
        if let (Thing::File { hash, .. }, true) = (thing, becoming) {
            match ground.rename(SWAP, &staged(hash)) {
                Ok(()) => return Ok(None),
                Err(Errno::EXIST) => {}
                Err(e) => return Err(failed(ground, "rename", SWAP)(e)),
            }
        }
        if becoming || known.values().any(|k| k.applied.owns(thing)) {
            ground.remove(SWAP).map_err(failed(ground, "remove", SWAP))?;
            return Ok(None);
        }
    }
    // Not the mirror's: changed in place perhaps, then its inode tells where it was.
    let was = known
        .iter()
        .find(|(_, k)| k.stamp.is_some_and(|(_, _, _, ino)| ino == stamp.ino))
        .map_or("recovered", |(path, _)| path.as_str());
    for name in [was, "recovered"] {
        let to = keep(name);
        match ground.rename(SWAP, &to) {
            Ok(()) => return Ok(Some(to)),
            // The folder it was in may be gone.
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {}
            Err(e) => return Err(failed(ground, "rename", SWAP)(e)),
        }
    }
    Err(failed(ground, "rename", SWAP)(Errno::NOENT))
}

/// Copies a file that stays to the contents that wait; false when it was changed since it was looked at.
pub(crate) fn copy(
    ground: &Ground,
    path: &str,
    was: &crate::ground::Stamp,
    hash: &BlobHash,
) -> Result<bool, std::io::Error> {
    let mut from = match ground.file(path) {
        Ok(file) => file,
        Err(Errno::NOENT | Errno::LOOP | Errno::NOTDIR) => return Ok(false),
        Err(e) => return Err(e.into()),
    };
    if Ground::stamp_of(&from)? != *was {
        return Ok(false);
    }
    copy_open(ground, &mut from)?;
    if Ground::stamp_of(&from)? != *was {
        return Ok(false);
    }
    match ground.rename(COPY, &staged(hash)) {
        Ok(()) | Err(Errno::EXIST) => Ok(true),
        Err(e) => Err(e.into()),
    }
}

fn copy_open(ground: &Ground, from: &mut std::fs::File) -> Result<(), std::io::Error> {
    let _ = ground.remove(COPY);
    let mut to = ground.create(COPY, 0o600)?;
    // Blocks are shared where the file system can.
    if rustix::fs::ioctl_ficlone(&to, &*from).is_err() {
        std::io::copy(from, &mut to)?;
    }
    Ok(())
}

/// Makes a copy of a waiting content to be put in a place, at [`SWAP`].
pub(crate) fn copy_to_swap(ground: &Ground, hash: &BlobHash) -> Result<(), std::io::Error> {
    let mut from = ground.file(&staged(hash))?;
    copy_open(ground, &mut from)?;
    Ok(ground.rename(COPY, SWAP)?)
}
