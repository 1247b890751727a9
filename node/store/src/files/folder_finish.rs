//! Ending a folder: empty folders and links, then modes and times, then its name, then the record.

use super::{
    beneath, cvs,
    error::FilesError,
    folder_core::FolderCore,
    folder_partial::FolderPartial,
    roots::NewRoot,
    rows::{FolderRow, RowPath},
    stamp::{Stamp, now_ns},
    table::{self, NewRow},
    types::Root,
};
use hive_protocol::{
    file::GROUP,
    manifest::{Entry, EntryKind},
};
use rustix::fs::FileType;
use std::{fs::File, path::Path, sync::atomic::Ordering};

/// Permissions of the folder itself: a manifest does not say.
const ROOT_MODE: u32 = 0o755;
impl FolderCore {
    /// Makes folders without files, and links.
    fn make_rest(&self) -> Result<(), FilesError> {
        let entries = &self.manifest.entries;
        for e in entries {
            match &e.kind {
                EntryKind::Folder => drop(self.beneath.dir(&e.path, true)?),
                EntryKind::Link { target } => self.make_link(e, target)?,
                EntryKind::File { .. } => {}
            }
        }
        Ok(())
    }

    /// Sets what folders look like, the deepest first: the mode of one may forbid to look into it.
    fn dress_folders(&self) -> Result<(), FilesError> {
        let entries = &self.manifest.entries;
        for e in entries.iter().rev().filter(|e| e.kind == EntryKind::Folder) {
            self.beneath.dress_dir(&e.path, e.mode, e.mtime_ns)?;
        }
        Ok(())
    }

    fn make_link(&self, e: &Entry, target: &str) -> Result<(), FilesError> {
        if let Some(stat) = self.beneath.stat(&e.path)? {
            let link = FileType::from_raw_mode(stat.st_mode) == FileType::Symlink;
            if link && self.beneath.link_target(&e.path)?.as_deref() == Some(target) {
                return self.beneath.dress_link(&e.path, e.mtime_ns);
            }
            if self.in_place && !self.overwrite {
                return Err(FilesError::Exists {
                    path: self.beneath.full(&e.path),
                });
            }
        }
        let part = self.part_of(&e.path);
        self.beneath.remove(&part)?;
        self.beneath.link(target, &part)?;
        self.beneath.dress_link(&part, e.mtime_ns)?;
        self.beneath.rename(&part, &e.path, true)
    }

    /// The chaining values of all larger files in one pack; where each begins.
    fn pack(&self, to: &Path) -> Result<Vec<u64>, FilesError> {
        let sizes = (0..)
            .take(self.manifest.entries.len())
            .map(|n| self.file(n).map_or(0, |f| f.2));
        let (starts, len) = table::layout(sizes);
        if len == 0 {
            return Ok(starts);
        }
        let failed = |e| FilesError::io("write", to, e);
        let pack = File::create(to).map_err(failed)?;
        pack.set_len(len).map_err(failed)?;
        for (n, at) in (0..).zip(&starts) {
            let Some((_, hash, size)) = self.file(n).filter(|f| f.2 > GROUP) else {
                continue;
            };
            // Of entries with equal content only one came. Without values they are computed when they are wanted.
            let from = self.same(&hash).find_map(|o| File::open(self.cvs_of(o)).ok());
            let Some(from) = from else { continue };
            cvs::copy_body(&from, cvs::HEAD, &pack, *at, size);
        }
        Ok(starts)
    }
}

impl FolderPartial {
    /// Ends the transfer of a whole folder: makes empty folders and links, sets modes and times, gives the folder
    /// its name, and remembers its files where they are.
    ///
    /// # Errors
    /// `file.incomplete`; `file.exists` (something came in the way); I/O.
    pub fn finish(&self) -> Result<Root, FilesError> {
        let core = &*self.0;
        if !self.is_whole() {
            return Err(FilesError::Incomplete { hash: core.hash });
        }
        core.check_open("a second end")?;
        let store = &core.store;
        let row = store.index().partials.get(&core.id).map(|s| s.row.clone());
        let row = row.ok_or(FilesError::NotFound { hash: core.hash })?;
        let dest = row.full_dest().unwrap_or_default();
        core.make_rest()?;
        let stamps = core.stamps()?;
        core.dress_folders()?;
        if core.closed.swap(true, Ordering::AcqRel) {
            return Err(FilesError::Order {
                hash: core.hash,
                what: "a second end",
            });
        }
        core.take_name(&dest)
            .inspect_err(|_| core.closed.store(false, Ordering::Release))?;
        let temp = store.temp("pack");
        let starts = core.pack(&temp)?;
        let root = Root {
            hash: core.hash,
            folder: true,
            size: core.manifest.total_bytes(),
            files: core.manifest.files() as u64,
            entries: core.manifest.entries.len() as u64,
            name: dest
                .file_name()
                .map(|n| n.to_string_lossy().into_owned())
                .unwrap_or_default(),
        };
        let table_row = FolderRow {
            hash: core.hash,
            path: Some(RowPath::new(&dest)),
            read_ns: now_ns(),
        };
        let rows = (0..).zip(&core.manifest.entries).filter_map(|(n, e)| {
            let EntryKind::File { hash, .. } = e.kind else {
                return None;
            };
            Some(NewRow {
                hash,
                stamp: stamps.get(n as usize).copied().unwrap_or_default(),
                cvs_at: starts.get(n as usize).copied().unwrap_or_default(),
                entry: n,
                path: &e.path,
            })
        });
        let folder = store.write_table(table_row, rows, Some(&temp))?;
        store.register(NewRoot {
            path: Some(&dest),
            folder: Some(folder),
            transfer: Some(core.id),
            tag: row.tag.as_deref(),
            ..NewRoot::of(&root)
        })?;
        store.remove_notes(&core.id);
        Ok(root)
    }

    /// Ends the transfer for all its clones. With `keep` it can be begun again at once, where it is now; otherwise what came is removed, but
    /// for files that took their place in an existing folder.
    ///
    /// # Errors
    /// The journal, I/O.
    pub fn abandon(&self, keep: bool) -> Result<(), FilesError> {
        let core = &*self.0;
        if core.closed.swap(true, Ordering::AcqRel) {
            return Ok(());
        }
        if keep {
            core.store.close_partial(&core.id);
            return Ok(());
        }
        if core.in_place {
            for n in (0..).take(core.manifest.entries.len()) {
                if let Some((e, _, size)) = core.file(n).filter(|_| !core.is_done(n))
                    && size > GROUP
                {
                    core.beneath.remove(&core.part_of(&e.path))?;
                }
            }
        } else {
            super::remove(core.path())?;
        }
        core.store.forget_partial(&core.id)
    }
}

impl FolderCore {
    fn stamps(&self) -> Result<Vec<Stamp>, FilesError> {
        let one = |e: &Entry| match e.kind {
            EntryKind::File { .. } => {
                let stat = self.beneath.stat(&e.path)?;
                Ok(stat.map_or_else(Stamp::default, |s| Stamp::of_stat(&s)))
            }
            EntryKind::Folder | EntryKind::Link { .. } => Ok(Stamp::default()),
        };
        self.manifest.entries.iter().map(one).collect()
    }

    /// Renames a staged folder to what it shall be called.
    fn take_name(&self, dest: &Path) -> Result<(), FilesError> {
        if self.in_place {
            return Ok(());
        }
        self.beneath.dress_root(ROOT_MODE)?;
        let name = |p: &Path| {
            p.file_name()
                .and_then(|n| n.to_str())
                .unwrap_or_default()
                .to_owned()
        };
        let (from, to) = (name(self.path()), name(dest));
        beneath::rename((&self.parent, &from), (&self.parent, &to), false, dest)
    }
}
