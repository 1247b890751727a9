//! What is kept of a folder: its manifest as content, its table and pack in their places.

use super::{
    FileStore,
    error::FilesError,
    index::Folder,
    rows::{FolderRow, RowPath},
    table::{self, NewRow, Table},
    types::Root,
};
use hive_protocol::manifest::{Manifest, ManifestError};
use std::{fs, path::Path, sync::Arc};

/// Earlier states of a folder that are looked at for unchanged files: the newest have nearly all of them.
const MAX_EARLIER: usize = 4;

impl FileStore {
    /// Earlier states of a folder, the newest first.
    pub(super) fn earlier(&self, path: &Path) -> Vec<Arc<Folder>> {
        let mut known = self.index().folders_at(path);
        known.sort_by_key(|f| std::cmp::Reverse(f.row.read_ns));
        known.truncate(MAX_EARLIER);
        known
    }

    /// Keeps a manifest as content; what the folder is called.
    pub(super) fn keep_manifest(&self, manifest: &Manifest, name: String) -> Result<Root, FilesError> {
        let bytes = manifest.encode().map_err(ManifestError::from)?;
        Ok(Root {
            hash: self.0.blobs.add_bytes(&bytes)?.hash,
            folder: true,
            size: manifest.total_bytes(),
            files: manifest.files() as u64,
            entries: manifest.entries.len() as u64,
            name,
        })
    }

    /// Puts the table of a folder, and the chaining values in `pack`, in their places.
    pub(super) fn write_table<'a>(
        &self,
        row: FolderRow,
        rows: impl Iterator<Item = NewRow<'a>> + Clone,
        pack: Option<&Path>,
    ) -> Result<Folder, FilesError> {
        let stem = self.0.places.folder_stem(&row);
        let (temp, to) = (self.temp("dir"), stem.with_extension("dir"));
        table::write(&temp, rows.clone().count(), rows)?;
        if let Some(pack) = pack.filter(|p| p.exists()) {
            let to = stem.with_extension("cvs");
            fs::rename(pack, &to).map_err(|e| FilesError::io("rename", &to, e))?;
        }
        fs::rename(&temp, &to).map_err(|e| FilesError::io("rename", &to, e))?;
        let table = Table::open(&to)?.ok_or_else(|| FilesError::Damaged {
            hash: row.hash,
            path: to.clone(),
        })?;
        Ok(Folder {
            path: row.path.as_ref().map(RowPath::path),
            row,
            table,
            stem,
        })
    }
}
