//! Roots: what is kept as one thing and why; leases; what is known of content in memory.

use super::{
    FileStore,
    error::FilesError,
    index::{Folder, MAX_TAG_BYTES, MAX_TAGS},
    rows::{Change, Id, ReferenceRow, RootRow, RowPath},
    stamp::now,
    types::{Content, ContentKind, Root, RootInfo},
};
use hive_protocol::{ids::BlobHash, time::Timestamp};
use std::{path::Path, sync::Arc};

/// Keeps content from being collected while it lives.
#[derive(Debug)]
pub struct Lease {
    store: FileStore,
    hash: BlobHash,
}

impl Lease {
    /// Turns the lease into a tag, leaving no moment in between in which the content could be collected.
    ///
    /// # Errors
    /// As [`FileStore::keep`]; the lease is over all the same.
    pub fn keep(self, tag: &str, until: Option<Timestamp>) -> Result<(), FilesError> {
        self.store.keep(&self.hash, tag, until)
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if self.store.write_index().unlease(&self.hash) {
            self.store.0.blobs.unpin(&self.hash, LEASE);
        }
    }
}

/// The owner's name of pins in the blob store that stand for leases.
const LEASE: &str = "files-lease";

/// A root to be registered, with all that becomes known together with it.
pub(super) struct NewRoot<'a> {
    pub root: &'a Root,
    pub path: Option<&'a Path>,
    pub folder: Option<Folder>,
    pub reference: Option<ReferenceRow>,
    /// The transfer that ends with it.
    pub transfer: Option<Id>,
    pub tag: Option<&'a str>,
    pub until: Option<Timestamp>,
}

impl<'a> NewRoot<'a> {
    pub(super) fn of(root: &'a Root) -> Self {
        Self {
            root,
            path: None,
            folder: None,
            reference: None,
            transfer: None,
            tag: None,
            until: None,
        }
    }
}

fn owner(hash: &BlobHash) -> String {
    format!("files:{}", hash.hex())
}

fn set_tag(
    tags: &mut Vec<(String, Option<Timestamp>)>,
    tag: &str,
    until: Option<Timestamp>,
) -> Result<(), FilesError> {
    if tag.is_empty() || tag.len() > MAX_TAG_BYTES {
        return Err(FilesError::Full {
            what: "bytes of a tag",
            limit: MAX_TAG_BYTES,
        });
    }
    if let Some(t) = tags.iter_mut().find(|t| t.0 == tag) {
        t.1 = until;
        return Ok(());
    }
    if tags.len() >= MAX_TAGS {
        return Err(FilesError::Full {
            what: "tags of one root",
            limit: MAX_TAGS,
        });
    }
    tags.push((tag.to_owned(), until));
    Ok(())
}

impl FileStore {
    /// Writes down a root and what came with it, in one transaction, and makes it visible.
    pub(super) fn register(&self, new: NewRoot<'_>) -> Result<(), FilesError> {
        let _change = self.change();
        let old = {
            let index = self.index();
            index.check_room(
                usize::from(new.reference.is_some()),
                usize::from(new.folder.is_some()),
            )?;
            index.roots.get(&new.root.hash).cloned()
        };
        let mut row = RootRow {
            hash: new.root.hash,
            folder: new.root.folder,
            size: new.root.size,
            files: new.root.files,
            entries: new.root.entries,
            name: new.root.name.clone(),
            path: new.path.map(RowPath::new),
            tags: old.as_ref().map(|o| o.tags.clone()).unwrap_or_default(),
            added: old.as_ref().map_or_else(now, |o| o.added),
            problem: None,
        };
        if let Some(tag) = new.tag {
            set_tag(&mut row.tags, tag, new.until)?;
        }
        let mut changes = vec![Change::Root(&row)];
        changes.extend(new.folder.as_ref().map(|f| Change::Folder(&f.row)));
        changes.extend(new.reference.as_ref().map(Change::Reference));
        changes.extend(new.transfer.as_ref().map(Change::NoPartial));
        self.0.rows.apply(&changes)?;
        let mut index = self.write_index();
        if let Some(folder) = new.folder {
            index.folders.insert(folder.row.key(), Arc::new(folder));
        }
        if let Some(reference) = new.reference {
            index.put_reference(reference);
        }
        if let Some(id) = new.transfer {
            index.partials.remove(&id);
        }
        index.roots.insert(row.hash, row.clone());
        drop(index);
        self.pin(&row)
    }

    pub(super) fn put_reference(&self, row: ReferenceRow) -> Result<(), FilesError> {
        let _change = self.change();
        self.index().check_room(1, 0)?;
        self.0.rows.apply_later(&[Change::Reference(&row)])?;
        self.write_index().put_reference(row);
        Ok(())
    }

    /// Keeps what a root has in the blob store from being collected there.
    fn pin(&self, row: &RootRow) -> Result<(), FilesError> {
        let owner = owner(&row.hash);
        let blobs = &self.0.blobs;
        if blobs.has(&row.hash) {
            blobs.pin(row.hash, &owner, None)?;
        }
        if !row.folder || row.path.is_some() {
            return Ok(());
        }
        let folders = self.index().folders_of(&row.hash);
        for folder in folders.iter().filter(|f| f.path.is_none()) {
            for file in folder.table.stream()? {
                blobs.pin(file?.hash, &owner, None)?;
            }
        }
        Ok(())
    }

    pub(super) fn unpin(&self, hash: &BlobHash) {
        self.0.blobs.unpin_all(&owner(hash));
    }

    pub(super) fn pin_all(&self) -> Result<(), FilesError> {
        let roots: Vec<RootRow> = self.index().roots.values().cloned().collect();
        roots.iter().try_for_each(|r| self.pin(r))
    }

    /// Keeps a root under this tag, until then or for ever; a tag it has is set anew.
    ///
    /// # Errors
    /// Not here; too many or too long tags; the journal.
    pub fn keep(&self, hash: &BlobHash, tag: &str, until: Option<Timestamp>) -> Result<(), FilesError> {
        let _change = self.change();
        let row = self.index().roots.get(hash).cloned();
        let mut row = match row {
            Some(row) => row,
            None => self.root_of_content(hash)?,
        };
        set_tag(&mut row.tags, tag, until)?;
        self.0.rows.apply(&[Change::Root(&row)])?;
        self.pin(&row)?;
        self.write_index().roots.insert(*hash, row);
        Ok(())
    }

    /// A root for content that is here without being one, such as a blob.
    fn root_of_content(&self, hash: &BlobHash) -> Result<RootRow, FilesError> {
        let content = self.content(hash).filter(|c| c.whole);
        let content = content.ok_or(FilesError::NotFound { hash: *hash })?;
        let path = self.index().references_of(hash).first().map(|r| r.path.clone());
        Ok(RootRow {
            hash: *hash,
            folder: false,
            size: content.size,
            files: 1,
            entries: 1,
            name: hash.short(),
            path,
            tags: Vec::new(),
            added: now(),
            problem: None,
        })
    }

    /// Takes a tag away; false when it was not there. Without tags a root goes with the next [`Self::gc`].
    ///
    /// # Errors
    /// The journal.
    pub fn drop_tag(&self, hash: &BlobHash, tag: &str) -> Result<bool, FilesError> {
        let _change = self.change();
        let Some(mut row) = self.index().roots.get(hash).cloned() else {
            return Ok(false);
        };
        let before = row.tags.len();
        row.tags.retain(|t| t.0 != tag);
        if row.tags.len() == before {
            return Ok(false);
        }
        self.0.rows.apply(&[Change::Root(&row)])?;
        self.write_index().roots.insert(*hash, row);
        Ok(true)
    }

    /// All roots, in the order of their hashes.
    #[must_use]
    pub fn roots(&self) -> Vec<RootInfo> {
        self.index().roots.values().map(info).collect()
    }

    /// One root.
    #[must_use]
    pub fn root(&self, hash: &BlobHash) -> Option<RootInfo> {
        self.index().roots.get(hash).map(info)
    }

    /// Whether this content is that root, or a file in that folder. In memory.
    #[must_use]
    pub fn lists(&self, root: &BlobHash, hash: &BlobHash) -> bool {
        if root == hash {
            return true;
        }
        let index = self.index();
        let whole = index
            .folders_of(root)
            .iter()
            .any(|f| f.table.find(hash).is_some());
        whole
            || index
                .live_folders()
                .iter()
                .any(|f| f.hash() == *root && f.lists(hash))
    }

    /// Keeps content (here or coming) from being collected until the lease is dropped.
    #[must_use]
    pub fn lease(&self, hash: &BlobHash) -> Lease {
        self.write_index().lease(*hash);
        if let Err(e) = self.0.blobs.pin(*hash, LEASE, None) {
            tracing::warn!(%hash, error = %e, "content that is in use cannot be pinned");
        }
        Lease {
            store: self.clone(),
            hash: *hash,
        }
    }

    /// What is known of content, in memory.
    #[must_use]
    pub fn content(&self, hash: &BlobHash) -> Option<Content> {
        let whole = |size, kind| Content {
            size,
            whole: true,
            segments: Vec::new(),
            kind,
        };
        if let Some(size) = self.0.blobs.size(hash) {
            return Some(whole(size, ContentKind::Blob));
        }
        let index = self.index();
        if let Some(size) = index.reference_size(hash) {
            return Some(whole(size, ContentKind::Reference));
        }
        let listed = index.folders_with(hash).find(|(f, _, _)| f.path.is_some());
        if let Some((_, size, _)) = listed {
            return Some(whole(size, ContentKind::Reference));
        }
        if let Some((_, size)) = index.live_folders().iter().find_map(|f| f.has(hash)) {
            return Some(whole(size, ContentKind::Partial));
        }
        index.live(hash).first().map(|core| Content {
            size: core.size().unwrap_or_default(),
            whole: core.is_whole(),
            segments: core.bitmap(),
            kind: ContentKind::Partial,
        })
    }

    /// Notes what was found wrong with the roots this content belongs to; a changed file is served no more.
    pub(super) fn note_changed(&self, hash: &BlobHash, path: &Path) {
        let _change = self.change();
        let (rows, gone) = {
            let mut index = self.write_index();
            let id = super::rows::path_id(path);
            let same = index.reference_at(path).is_some_and(|r| r.hash == *hash);
            let gone = same.then(|| index.take_reference(&id)).flatten();
            let roots: Vec<BlobHash> = index
                .folders_with(hash)
                .filter(|(f, ..)| f.path.as_deref().is_some_and(|p| path.starts_with(p)))
                .map(|(f, ..)| f.row.hash)
                .chain(gone.is_some().then_some(*hash))
                .collect();
            let mut rows = Vec::new();
            for root in roots {
                if let Some(row) = index.roots.get_mut(&root).filter(|r| r.problem.is_none()) {
                    let path = path.display().to_string().chars().take(1000).collect::<String>();
                    row.problem = Some(format!("{path} has been changed or taken away"));
                    rows.push(row.clone());
                }
            }
            (rows, gone)
        };
        let mut changes: Vec<_> = rows.iter().map(Change::Root).collect();
        changes.extend(gone.is_some().then_some(Change::NoReference(path)));
        if let Err(e) = self.0.rows.apply_later(&changes) {
            tracing::warn!(%hash, error = %e, "cannot note that a file has changed");
        }
    }
}

fn info(row: &RootRow) -> RootInfo {
    RootInfo {
        root: row.root(),
        path: row.path.as_ref().map(RowPath::path),
        tags: row.tags.clone(),
        added: row.added,
        problem: row.problem.clone(),
    }
}
