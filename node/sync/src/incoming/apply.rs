//! Carries out a plan on the disk, step by step. Whatever a step meets that was not there when the folder was looked
//! at is left alone or kept aside; what cannot be done is noted and the rest goes on.

use super::{
    scan::Scan,
    staging::{self, SWAP, staged},
    versions,
};
use crate::{
    error::SyncError,
    ground::{Ground, Kind, Stamp},
    rows::{Key, Known, Rows, mark},
};
use hive_protocol::{ids::BlobHash, time::Timestamp};
use hive_transfer::mirror::{Applied, Effect, Fetch, Thing, conflict_name, stamp};
use rustix::io::Errno;
use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    sync::atomic::{AtomicBool, Ordering},
};

/// Steps whose intents are written down together, before the first of them is done.
const BATCH: usize = 512;

/// What carrying out a plan has come to.
#[derive(Default, Debug)]
pub(crate) struct Report {
    /// Paths where something could not be done, with why.
    pub(crate) problems: Vec<(String, String)>,
    /// Where things were kept that were in the way.
    pub(crate) conflicts: Vec<String>,
    /// Contents that could not be had.
    pub(crate) missing: BTreeSet<BlobHash>,
    /// The disk is full: nothing more was tried.
    pub(crate) full: bool,
    /// It was asked to stop.
    pub(crate) stopped: bool,
}

/// Brings contents to the staging folder; says why if not all came.
pub(crate) trait Bring {
    fn bring(&mut self, files: &[Fetch]) -> Result<(), (String, bool)>;
    fn placing(&mut self);
}

/// The work on one folder.
pub(crate) struct Applier<'a> {
    pub(crate) ground: &'a Ground,
    pub(crate) key: &'a Key,
    pub(crate) rows: &'a Rows,
    pub(crate) known: &'a mut BTreeMap<String, Known>,
    pub(crate) scan: &'a Scan,
    pub(crate) stop: &'a AtomicBool,
    pub(crate) now: Timestamp,
    pub(crate) node: &'a str,
    pub(crate) versions: u32,
    pub(crate) report: Report,
    /// Rows that are not written yet.
    pub(crate) changed: BTreeMap<String, Option<Known>>,
}

/// Why a step was not done.
pub(super) enum Fault {
    Errno(Errno),
    Io(io::Error),
    /// Not as it was when the folder was looked at.
    Moved,
}

impl From<Errno> for Fault {
    fn from(e: Errno) -> Self {
        Self::Errno(e)
    }
}

impl From<io::Error> for Fault {
    fn from(e: io::Error) -> Self {
        match Errno::from_io_error(&e) {
            Some(errno) => Self::Errno(errno),
            None => Self::Io(e),
        }
    }
}

impl Applier<'_> {
    /// Carries out the steps; an error is the journal's.
    pub(crate) fn run(&mut self, effects: &[Effect], bring: &mut dyn Bring) -> Result<(), SyncError> {
        for batch in effects.chunks(BATCH) {
            self.intend(batch)?;
            for effect in batch {
                if self.stop.load(Ordering::Relaxed) {
                    self.report.stopped = true;
                }
                if self.report.stopped || self.report.full {
                    return self.write(false);
                }
                self.step(effect, bring);
            }
        }
        self.write(false)
    }

    /// Writes down what is known by now.
    pub(crate) fn write(&mut self, now: bool) -> Result<(), SyncError> {
        let changed = std::mem::take(&mut self.changed);
        self.rows.put_paths(self.key, &changed, now)
    }

    pub(super) fn set(&mut self, path: &str, known: Option<Known>) {
        match &known {
            Some(known) => self.known.insert(path.to_owned(), known.clone()),
            None => self.known.remove(path),
        };
        self.changed.insert(path.to_owned(), known);
    }

    /// Notes what is about to be put where, so that it is known for the mirror's own after a crash.
    fn intend(&mut self, batch: &[Effect]) -> Result<(), SyncError> {
        for effect in batch {
            let (path, thing) = match effect {
                Effect::Place { path, hash, size, .. } => (
                    path,
                    Thing::File {
                        hash: *hash,
                        size: *size,
                    },
                ),
                Effect::Link { path, target, .. } => (
                    path,
                    Thing::Link {
                        target: target.clone(),
                    },
                ),
                Effect::Folder { path } => (path, Thing::Folder),
                _ => continue,
            };
            let row = self.known.remove(path).unwrap_or_default();
            let there = self.scan.local.get(path).map(|l| &l.thing);
            let known = Known {
                applied: row.applied.before(there, thing),
                stamp: row.stamp,
            };
            self.set(path, Some(known));
        }
        self.write(true)
    }

    fn step(&mut self, effect: &Effect, bring: &mut dyn Bring) {
        if let Effect::Fetch(files) = effect {
            return self.fetch(files, bring);
        }
        let (path, done) = match effect {
            Effect::Unlock { path } => (path, self.unlock(path)),
            Effect::Copy { path, hash } => (path, self.copy(path, hash)),
            Effect::Take { path, hash } => (path, self.take(path, hash)),
            Effect::Remove { path, version } => (path, self.remove(path, *version)),
            Effect::RemoveFolder { path } => (path, self.remove_folder(path)),
            Effect::Aside { path, to } => (path, self.aside(path, to)),
            Effect::Folder { path } => (path, self.folder(path)),
            Effect::Place { path, hash, .. } if self.report.missing.contains(hash) => {
                let old = self.scan.local.get(path).map(|l| l.thing.clone());
                return self.not_placed(path, old.as_ref());
            }
            Effect::Place { path, .. } => (path, self.place(effect)),
            Effect::Link { path, .. } => (path, self.link(effect)),
            Effect::Meta { path, mode, mtime_ns } => (path, self.meta(path, *mode, *mtime_ns)),
            Effect::Fetch(_) => return,
        };
        match done {
            Ok(()) => {}
            Err(Fault::Errno(Errno::NOSPC | Errno::DQUOT)) => self.report.full = true,
            Err(Fault::Errno(e)) => self.problem(path, io::Error::from(e).to_string()),
            Err(Fault::Io(e)) => self.problem(path, e.to_string()),
            Err(Fault::Moved) => self.problem(path, "changed while the mirror was at work".to_owned()),
        }
    }

    fn problem(&mut self, path: &str, why: String) {
        tracing::debug!(path, why, "a step of a mirror was not done");
        self.report.problems.push((path.to_owned(), why));
    }

    fn fetch(&mut self, files: &[Fetch], bring: &mut dyn Bring) {
        let came = bring.bring(files);
        if self.stop.load(Ordering::Relaxed) {
            self.report.stopped = true;
        }
        for file in files {
            let there = matches!(self.ground.stamp(&staged(&file.hash)),
                Ok(Some(s)) if s.kind == Kind::File && s.size == file.size);
            if !there {
                self.report.missing.insert(file.hash);
            }
        }
        if let Err((why, full)) = came {
            self.report.full |= full;
            self.problem("", why);
        }
        bring.placing();
    }

    /// The row of a path that keeps what it has.
    fn not_placed(&mut self, path: &str, there: Option<&Thing>) {
        if let Some(known) = self.known.get(path).cloned() {
            let is = there.filter(|t| known.applied.owns(t)).cloned();
            let row = is.map(|is| Known {
                applied: Applied::of(is),
                stamp: known.stamp,
            });
            self.set(path, row);
        }
    }

    pub(super) fn was(&self, path: &str) -> Result<Stamp, Fault> {
        self.scan.stamps.get(path).copied().ok_or(Fault::Moved)
    }

    fn unlock(&mut self, path: &str) -> Result<(), Fault> {
        let mode = self.was(path)?.mode;
        Ok(self.ground.set_mode(path, mode | 0o700)?)
    }

    fn copy(&mut self, path: &str, hash: &BlobHash) -> Result<(), Fault> {
        let was = self.was(path)?;
        if staging::copy(self.ground, path, &was, hash)? {
            return Ok(());
        }
        self.report.missing.insert(*hash);
        Err(Fault::Moved)
    }

    /// Moves the mirror's own thing at a path to [`SWAP`]; what turns out to be somebody's goes aside instead.
    pub(super) fn out(&mut self, path: &str) -> Result<(), Fault> {
        let was = self.was(path)?;
        match self.ground.rename(path, SWAP) {
            Ok(()) => self.inspect(path, &was),
            // Gone by itself.
            Err(Errno::NOENT | Errno::NOTDIR) => Err(Fault::Moved),
            Err(e) => Err(e.into()),
        }
    }

    /// Looks at what came out of a path.
    pub(super) fn inspect(&mut self, path: &str, was: &Stamp) -> Result<(), Fault> {
        match self.ground.stamp(SWAP)? {
            Some(now) if now.same_content(was) => Ok(()),
            Some(_) => {
                self.keep(SWAP, path)?;
                Err(Fault::Moved)
            }
            None => Err(Fault::Moved),
        }
    }

    /// Keeps what is at `from` beside `path`.
    pub(super) fn keep(&mut self, from: &str, path: &str) -> Result<(), Fault> {
        loop {
            let to = conflict_name(path, self.now, self.node, &|p| {
                !matches!(self.ground.stamp(p), Ok(None))
            });
            match self.ground.rename(from, &to) {
                Ok(()) => {
                    self.report.conflicts.push(to);
                    return Ok(());
                }
                Err(Errno::EXIST) => {}
                Err(e) => return Err(e.into()),
            }
        }
    }

    /// Ends what is at [`SWAP`]: the mirror's own, seen to be unchanged.
    pub(super) fn end(&mut self, path: &str, version: bool) -> Result<(), Fault> {
        if version {
            let time = stamp(self.now);
            Ok(versions::store(self.ground, SWAP, path, &time, self.versions)?)
        } else {
            Ok(self.ground.remove(SWAP)?)
        }
    }

    fn take(&mut self, path: &str, hash: &BlobHash) -> Result<(), Fault> {
        if let Err(fault) = self.out(path) {
            self.report.missing.insert(*hash);
            return Err(fault);
        }
        match self.ground.rename(SWAP, &staged(hash)) {
            Ok(()) => {}
            Err(Errno::EXIST) => self.ground.remove(SWAP)?,
            Err(e) => return Err(e.into()),
        }
        self.set(path, None);
        Ok(())
    }

    fn remove(&mut self, path: &str, version: bool) -> Result<(), Fault> {
        self.out(path)?;
        self.set(path, None);
        self.end(path, version)
    }

    fn remove_folder(&mut self, path: &str) -> Result<(), Fault> {
        match self.ground.remove_folder(path) {
            Ok(()) | Err(Errno::NOENT) => {
                self.set(path, None);
                Ok(())
            }
            // Somebody has put something in: it stays.
            Err(Errno::NOTEMPTY | Errno::EXIST) => Ok(()),
            Err(e) => Err(e.into()),
        }
    }

    fn aside(&mut self, path: &str, to: &str) -> Result<(), Fault> {
        match self.ground.rename(path, to) {
            Ok(()) => self.report.conflicts.push(to.to_owned()),
            Err(Errno::EXIST) => self.keep(path, path)?,
            Err(Errno::NOENT) => return Err(Fault::Moved),
            Err(e) => return Err(e.into()),
        }
        self.set(path, None);
        Ok(())
    }

    fn folder(&mut self, path: &str) -> Result<(), Fault> {
        match self.ground.make_folder(path, 0o700) {
            Ok(()) => {}
            // One made meanwhile does as well.
            Err(Errno::EXIST) if self.ground.stamp(path)?.is_some_and(|s| s.kind == Kind::Folder) => {}
            Err(e) => return Err(e.into()),
        }
        let known = Known {
            applied: Applied::of(Thing::Folder),
            stamp: None,
        };
        self.set(path, Some(known));
        Ok(())
    }

    fn meta(&mut self, path: &str, mode: u32, mtime_ns: i64) -> Result<(), Fault> {
        let now = self.ground.stamp(path)?.ok_or(Fault::Moved)?;
        if now.kind == Kind::File && !self.scan.stamps.get(path).is_some_and(|was| *was == now) {
            // Somebody is writing to it: with another time the change would not be noticed any more.
            return Err(Fault::Moved);
        }
        if now.kind != Kind::Link && now.mode != mode {
            self.ground.set_mode(path, mode)?;
        }
        self.ground.set_time(path, mtime_ns)?;
        let after = self
            .ground
            .stamp(path)?
            .filter(|a| (a.ino, a.size) == (now.ino, now.size));
        if let (Some(after), Some(Thing::File { .. })) = (after, self.scan.local.get(path).map(|l| &l.thing))
            && let Some(known) = self.known.get(path).cloned()
        {
            let stamp = Some(mark(&after));
            self.set(path, Some(Known { stamp, ..known }));
        }
        Ok(())
    }

    /// A path that was right already is the mirror's from now on.
    pub(super) fn adopt(&mut self, path: &str) {
        let Some(thing) = self.scan.local.get(path).map(|l| l.thing.clone()) else {
            return;
        };
        let was = self.scan.stamps.get(path);
        let now = self.ground.stamp(path).ok().flatten();
        // Its time may have been set since; a change by somebody shows in the time that it has then.
        let stamp = match (was, now) {
            (Some(was), Some(now))
                if now.kind == Kind::File && (was.ino, was.size) == (now.ino, now.size) =>
            {
                let set = self.known.get(path).and_then(|k| k.stamp);
                (now == *was || set == Some(mark(&now))).then(|| mark(&now))
            }
            _ => None,
        };
        let applied = Applied::of(thing);
        self.set(path, Some(Known { applied, stamp }));
    }
}
