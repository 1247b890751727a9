//! What is kept here: taking in, sharing, showing, checking, clearing.

use super::{desk::Desk, engines::Engines, refusals::refused};
use crate::port::{
    AddRequest, EntryRow, FileRow, FileView, GcRow, GcView, Kind, NodeHandle, Refused, VerifyView,
};
use hive_files::Audience;
use hive_protocol::{
    ids::BlobHash,
    manifest::{Entry, EntryKind},
    share::{FileTicket, plain_name},
    time::Timestamp,
};
use hive_store::files::{AddOptions, AddedPath, FilesError, Root, RootInfo};
use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

/// Why content is kept: what a user added.
pub(super) const ADDED: &str = "added";
/// What a user shares.
pub(super) const SHARED: &str = "shared";
/// Entries of a folder shown; the rest is counted.
const MAX_LISTED: usize = 1000;
/// Names left out, things cleared and problems shown; the rest is counted.
const MAX_SHOWN: usize = 1000;

/// Ends work on another thread when whoever waits for it has gone.
struct CancelOnDrop(Arc<AtomicBool>);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// How a path is taken in.
pub(super) struct Taking {
    pub(super) path: PathBuf,
    pub(super) copy: bool,
    pub(super) skip_unsafe: bool,
    pub(super) tag: &'static str,
    pub(super) until: Option<Timestamp>,
}

impl Desk {
    /// Takes a path in. When the caller goes away it stops.
    pub(super) async fn take_in(&self, taking: Taking) -> Result<AddedPath, Refused> {
        let cancel = CancelOnDrop(Arc::default());
        let stop = Arc::clone(&cancel.0);
        self.disk(move |store| {
            let options = AddOptions {
                copy: taking.copy,
                skip_unsafe: taking.skip_unsafe,
                tag: Some(taking.tag),
                until: taking.until,
                ..AddOptions::default()
            };
            store.add_path(&taking.path, &options, &stop)
        })
        .await
    }

    pub(super) async fn add(&self, request: AddRequest) -> Result<FileView, Refused> {
        // A node without a mesh may keep files, but not share them: said before the disk is read.
        let engines = if request.share {
            Some(self.engines().await?)
        } else {
            self.engines_now()
        };
        let added = self
            .take_in(Taking {
                path: request.path,
                copy: request.copy,
                skip_unsafe: request.skip_unsafe,
                tag: if request.share { SHARED } else { ADDED },
                until: None,
            })
            .await?;
        let hash = added.root.hash;
        if let (true, Some(engines)) = (request.share, &engines) {
            engines
                .files
                .share(hash, Audience::Members)
                .await
                .map_err(|e| refused(e.code(), &e))?;
        }
        self.say("file.added", hash.to_string(), added.root.name.clone());
        let skipped = added.skipped.iter();
        let names = skipped.map(|(path, why)| format!("{}: {why}", path.display()));
        let names = names.take(MAX_SHOWN).collect();
        let info = self
            .0
            .store
            .root(&hash)
            .unwrap_or_else(|| bare(added.root.clone()));
        Ok(FileView {
            entries: if added.root.folder { added.root.entries } else { 0 },
            skipped: names,
            ticket: self.ticket(&info, engines.as_deref()),
            listing: Vec::new(),
            row: self.row(&info, engines.as_deref()),
        })
    }

    /// All contents kept, the latest first.
    pub(super) fn rows(&self) -> Vec<FileRow> {
        let engines = self.engines_now();
        let mut roots = self.0.store.roots();
        roots.sort_by_key(|r| std::cmp::Reverse(r.added));
        roots.iter().map(|r| self.row(r, engines.as_deref())).collect()
    }

    fn row(&self, info: &RootInfo, engines: Option<&Engines>) -> FileRow {
        let root = &info.root;
        let whole = || self.0.store.content(&root.hash).is_some_and(|c| c.whole);
        let state = if info.problem.is_some() {
            "changed"
        } else if root.folder || whole() {
            "whole"
        } else {
            "partial"
        };
        let shared =
            engines.is_some_and(|e| e.files.access().audience(&root.hash) == Some(Audience::Members));
        FileRow {
            hash: root.hash.to_string(),
            name: root.name.clone(),
            folder: root.folder,
            size: root.size,
            files: root.files,
            state: state.to_owned(),
            path: info.path.as_ref().map(|p| p.to_string_lossy().into_owned()),
            tags: info.tags.iter().map(|(tag, _)| tag.clone()).collect(),
            shared,
        }
    }

    /// What other members pull it with, when it is shared with all.
    fn ticket(&self, info: &RootInfo, engines: Option<&Engines>) -> Option<String> {
        let engines = engines?;
        let root = &info.root;
        if engines.files.access().audience(&root.hash) != Some(Audience::Members) {
            return None;
        }
        let name = if plain_name(&root.name) {
            root.name.clone()
        } else {
            root.hash.short()
        };
        let hints = vec![(engines.me, engines.address())];
        let ticket = FileTicket::new(engines.network, root.hash, root.folder, root.size, name, hints);
        Some(ticket.to_string())
    }

    async fn view(&self, info: &RootInfo) -> Result<FileView, Refused> {
        let engines = self.engines_now();
        let (mut entries, mut listing) = (0, Vec::new());
        if info.root.folder {
            let hash = info.root.hash;
            let manifest = self.disk(move |store| store.manifest(&hash)).await?;
            entries = manifest.entries.len() as u64;
            listing = manifest.entries.iter().take(MAX_LISTED).map(entry_row).collect();
        }
        Ok(FileView {
            row: self.row(info, engines.as_deref()),
            entries,
            skipped: Vec::new(),
            ticket: self.ticket(info, engines.as_deref()),
            listing,
        })
    }

    pub(super) async fn show(&self, file: &str) -> Result<FileView, Refused> {
        let info = self.kept(file)?;
        self.view(&info).await
    }

    pub(super) async fn share(&self, file: &str) -> Result<FileView, Refused> {
        let engines = self.engines().await?;
        let info = self.kept(file)?;
        let hash = info.root.hash;
        self.disk(move |store| store.keep(&hash, SHARED, None)).await?;
        engines
            .files
            .share(hash, Audience::Members)
            .await
            .map_err(|e| refused(e.code(), &e))?;
        self.show(&hash.to_string()).await
    }

    pub(super) async fn unshare(&self, file: &str) -> Result<FileRow, Refused> {
        let engines = self.engines().await?;
        let info = self.kept(file)?;
        let hash = info.root.hash;
        engines
            .files
            .unshare(&hash)
            .await
            .map_err(|e| refused(e.code(), &e))?;
        // What was only shared goes on being kept until it is removed by name.
        self.disk(move |store| {
            store.keep(&hash, ADDED, None)?;
            store.drop_tag(&hash, SHARED)
        })
        .await?;
        let info = self.kept(&hash.to_string())?;
        Ok(self.row(&info, Some(&engines)))
    }

    pub(super) async fn verify(&self, file: &str) -> Result<VerifyView, Refused> {
        let hash = self.kept(file)?.root.hash;
        let cancel = CancelOnDrop(Arc::default());
        let stop = Arc::clone(&cancel.0);
        let (bytes, problem) = self
            .disk(move |store| Ok(judged(store.verify(&hash, &stop))))
            .await??;
        Ok(VerifyView {
            hash: hash.to_string(),
            good: problem.is_none(),
            bytes,
            problems: problem.into_iter().collect(),
        })
    }

    pub(super) async fn remove(&self, file: &str) -> Result<(), Refused> {
        let hash = self.kept(file)?.root.hash;
        if let Some(engines) = self.engines_now() {
            engines
                .files
                .unshare(&hash)
                .await
                .map_err(|e| refused(e.code(), &e))?;
        }
        let was = self.disk(move |store| store.remove(&hash)).await?;
        if !was {
            return Err(NodeHandle::not_found("file", file));
        }
        self.say("file.removed", hash.to_string(), "kept no longer".to_owned());
        Ok(())
    }

    pub(super) async fn gc(&self, dry_run: bool) -> Result<GcView, Refused> {
        let found = self.disk(move |store| store.gc(dry_run)).await?;
        let row = |hash: BlobHash, size: u64, why: &str| GcRow {
            hash: hash.to_string(),
            size,
            why: why.to_owned(),
        };
        let roots = found
            .roots
            .iter()
            .map(|(root, size)| row(root.hash, *size, "unused"));
        let parts = found.partials.iter();
        let parts = parts.map(|(part, size)| row(part.hash, *size, "stale transfer"));
        let mut items: Vec<GcRow> = roots.chain(parts).collect();
        items.sort_by_key(|i| std::cmp::Reverse(i.size));
        let count = items.len() as u64;
        items.truncate(MAX_SHOWN);
        Ok(GcView {
            dry_run,
            freed: found.freed,
            items,
            count,
        })
    }
}

/// Damage is an answer to "is it good?", anything else a refusal.
fn judged(verified: Result<u64, FilesError>) -> Result<(u64, Option<String>), Refused> {
    match verified {
        Ok(bytes) => Ok((bytes, None)),
        Err(e @ (FilesError::Changed { .. } | FilesError::Damaged { .. } | FilesError::Missing { .. })) => {
            Ok((0, Some(format!("{}: {e}", e.code()))))
        }
        Err(e) => Err(refused(e.code(), &e)),
    }
}

fn bare(root: Root) -> RootInfo {
    RootInfo {
        root,
        path: None,
        tags: Vec::new(),
        added: Timestamp(0),
        problem: None,
    }
}

fn entry_row(entry: &Entry) -> EntryRow {
    let (kind, size, of) = match &entry.kind {
        EntryKind::File { hash, size } => ("file", *size, hash.to_string()),
        EntryKind::Folder => ("folder", 0, String::new()),
        EntryKind::Link { target } => ("link", 0, target.clone()),
    };
    EntryRow {
        path: entry.path.clone(),
        kind: kind.to_owned(),
        size,
        of,
    }
}

/// A request's word for how urgent it is.
///
/// # Errors
/// `file.request` for another word.
pub(super) fn priority(word: Option<&str>) -> Result<hive_protocol::notice::Priority, Refused> {
    use hive_protocol::notice::Priority;
    match word {
        None | Some("normal") => Ok(Priority::Normal),
        Some("interactive") => Ok(Priority::Interactive),
        Some("bulk") => Ok(Priority::Bulk),
        Some(_) => Err(Refused::new(
            Kind::Invalid,
            "file.request",
            "`priority` is `interactive`, `normal` or `bulk`",
        )),
    }
}
