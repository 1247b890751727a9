//! A transfer of a folder: its manifest, then many small files at a time and several large ones at once.

use crate::{
    error::PullError,
    pull::{
        batch::{Small, SmallFiles},
        begin,
        board::Board,
        content::{Content, ContentPull},
        delta,
        keep::{Keeper, blocking},
        observe::{Sum, while_shown},
        report::ContentReport,
        run::Engine,
        single,
        small::SmallPull,
    },
    request::{Existing, Like, PullRequest, Target},
    transfer::{Open, Pulled, Transfer},
    view::Stage,
};
use hive_protocol::{
    file::MAX_SMALL,
    ids::BlobHash,
    manifest::{MAX_MANIFEST, Manifest},
};
use hive_store::files::{Destination, FilesError, FolderPartial};
use std::{
    collections::VecDeque,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};
use tokio::{sync::watch, task::JoinSet};

/// Large files of one folder at a time: enough to hide the ends of one behind the middles of others.
const AT_ONCE: usize = 4;
/// Entries looked at in one go.
const PAGE: usize = 4096;

/// Pulls a folder to its destination.
///
/// # Errors
/// As [`crate::Transfer::done`].
pub async fn pull(engine: &Engine, transfer: &Transfer) -> Result<Pulled, PullError> {
    let request = transfer.request();
    let Target::Path(path) = request.target.clone() else {
        return Err(PullError::Request("a folder needs a path to go to".to_owned()));
    };
    let _place = begin::turn(engine, transfer).await;
    let manifest = manifest(engine, transfer).await?;
    let (total, files) = (manifest.total_bytes(), manifest.files() as u64);
    if total > request.max_bytes {
        return Err(PullError::TooLarge {
            hash: request.root,
            size: total,
            limit: request.max_bytes,
        });
    }
    let folder = match open(engine, transfer, &path, Arc::clone(&manifest)).await {
        Ok(folder) => folder,
        Err(e @ FilesError::Exists { .. }) => {
            return begin::stands(engine, transfer, &path)
                .await?
                .ok_or_else(|| e.into());
        }
        Err(e) => return Err(e.into()),
    };
    transfer.opened(Open::Folder(folder.clone()));
    transfer.show(|v| (v.total, v.files) = (total, files));
    let filled = folder.clone();
    blocking(move || filled.fill_from_store(&std::sync::atomic::AtomicBool::new(false))).await??;
    let reused = folder.bytes_here();
    let board = Arc::new(Board::default());
    let missing = count_missing(&folder).await?;
    board.found(files.saturating_sub(missing));
    let sum = {
        let (board, folder) = (Arc::clone(&board), folder.clone());
        move || {
            let sum = board.sum();
            Sum {
                here: folder.bytes_here(),
                total: Some(total),
                reused,
                files: (sum.files.0, files),
                ..sum
            }
        }
    };
    let older = Older::of_request(engine, request, &path, manifest);
    let work = fetch(engine, transfer, &folder, &older, &board);
    while_shown(transfer, &engine.limits, sum, work).await?;
    transfer.show(|v| v.stage = Stage::Finishing);
    blocking(move || folder.finish()).await??;
    drop(transfer.take_open());
    Ok(Pulled {
        root: request.root,
        folder: true,
        path: Some(path),
        bytes: total,
        fetched: board.sum().fetched,
        reused,
        files,
    })
}

/// The manifest, fetched if it is not here.
async fn manifest(engine: &Engine, transfer: &Transfer) -> Result<Arc<Manifest>, PullError> {
    let request = transfer.request();
    let content = Content {
        hash: request.root,
        via: request.via(),
        size: None,
        exact: false,
        max_size: MAX_MANIFEST as u64,
        only: None,
    };
    single::into_store(engine, transfer, content).await?;
    let (store, root) = (engine.store.clone(), request.root);
    Ok(blocking(move || store.manifest(&root)).await??)
}

async fn open(
    engine: &Engine,
    transfer: &Transfer,
    path: &Path,
    manifest: Arc<Manifest>,
) -> Result<FolderPartial, FilesError> {
    let request = transfer.request();
    let destination = Destination {
        path: Some(path.to_path_buf()),
        overwrite: request.existing == Existing::Replace,
        tag: Some(engine.tag(transfer)),
        ..Destination::default()
    };
    let (store, root, limit) = (engine.store.clone(), request.root, request.max_bytes);
    begin::open(move || store.begin_folder(&root, &manifest, &destination, limit)).await
}

async fn count_missing(folder: &FolderPartial) -> Result<u64, PullError> {
    let folder = folder.clone();
    blocking(move || {
        let (mut after, mut count) = (None, 0);
        loop {
            let page = folder.wanted(after, PAGE);
            let Some(last) = page.last() else {
                return count;
            };
            after = Some(last.0);
            count += page.len() as u64;
        }
    })
    .await
}

/// The folder's missing entries of one kind, page by page.
struct Entries {
    folder: FolderPartial,
    small: bool,
    after: Mutex<Option<u32>>,
}

impl Entries {
    fn page(&self) -> Vec<Small> {
        let mut after = self.after.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let page = self.folder.wanted(*after, PAGE);
            let Some(last) = page.last() else {
                return Vec::new();
            };
            *after = Some(last.0);
            let mine: Vec<Small> = page
                .into_iter()
                .filter(|e| (e.2 <= MAX_SMALL) == self.small)
                .collect();
            if !mine.is_empty() {
                return mine;
            }
        }
    }
}

impl SmallFiles for Entries {
    fn more(&self) -> Result<Vec<Small>, PullError> {
        Ok(self.page())
    }

    fn keep(&self, files: &[(u32, &[u8])]) -> Result<Vec<u32>, PullError> {
        Ok(self.folder.write_small(files)?)
    }
}

async fn fetch(
    engine: &Engine,
    transfer: &Transfer,
    folder: &FolderPartial,
    older: &Older,
    board: &Arc<Board>,
) -> Result<(), PullError> {
    let via = transfer.request().via();
    let entries = |small| Entries {
        folder: folder.clone(),
        small,
        after: Mutex::new(None),
    };
    let small = SmallPull::new(
        engine.clone(),
        transfer.clone(),
        via,
        Arc::new(entries(true)),
        Arc::clone(board),
    );
    let large = fetch_large(engine, transfer, Arc::new(entries(false)), older, board);
    tokio::try_join!(small.run(), large)?;
    Ok(())
}

async fn fetch_large(
    engine: &Engine,
    transfer: &Transfer,
    entries: Arc<Entries>,
    older: &Older,
    board: &Arc<Board>,
) -> Result<(), PullError> {
    let mut waiting: VecDeque<Small> = VecDeque::new();
    let mut running = JoinSet::new();
    let mut exhausted = false;
    loop {
        if waiting.is_empty() && !exhausted {
            let entries = Arc::clone(&entries);
            waiting.extend(blocking(move || entries.page()).await?);
            exhausted = waiting.is_empty();
        }
        while running.len() < AT_ONCE {
            let Some((entry, hash, size)) = waiting.pop_front() else {
                break;
            };
            let (engine, transfer, board) = (engine.clone(), transfer.clone(), Arc::clone(board));
            let folder = entries.folder.clone();
            let like = older.of(entry);
            running.spawn(async move {
                one(&engine, &transfer, &folder, (entry, hash, size), like, &board).await
            });
        }
        match running.join_next().await {
            Some(done) => done.map_err(|_| PullError::Stopped)??,
            None if exhausted && waiting.is_empty() => return Ok(()),
            None => {}
        }
    }
}

async fn one(
    engine: &Engine,
    transfer: &Transfer,
    folder: &FolderPartial,
    (entry, hash, size): (u32, BlobHash, u64),
    like: Option<PathBuf>,
    board: &Arc<Board>,
) -> Result<(), PullError> {
    let via = transfer.request().via();
    let folder = folder.clone();
    let partial = blocking(move || folder.begin_entry(entry)).await??;
    let (report, seen) = watch::channel(ContentReport::default());
    board.begin(entry, seen);
    let content = Content {
        hash,
        via,
        size: Some(size),
        exact: true,
        max_size: size,
        only: None,
    };
    let keeper = Arc::new(Keeper::new(partial.clone()));
    if let Some(like) = like.filter(|_| !partial.is_whole()) {
        delta::take(engine, transfer, &content, &keeper, &Like::Path(like)).await;
    }
    let pull = ContentPull::new(
        engine.means.clone(),
        content,
        keeper,
        transfer.0.providers.clone(),
        report,
    );
    let result = pull.run(transfer.0.wish.subscribe()).await;
    board.end(entry, result.is_ok());
    result?;
    // Mode and time are the manifest's: the folder knows them.
    blocking(move || partial.finish(None, None)).await??;
    Ok(())
}

/// The older version of a folder, file by file at the same paths.
struct Older {
    folder: Option<PathBuf>,
    manifest: Arc<Manifest>,
}

impl Older {
    fn of_request(engine: &Engine, request: &PullRequest, path: &Path, manifest: Arc<Manifest>) -> Self {
        let folder = match &request.like {
            Some(Like::Path(path)) => Some(path.clone()),
            Some(Like::Root(root)) => engine.store.root(root).and_then(|info| info.path),
            // What it replaces is the likeliest older version.
            None => (request.existing == Existing::Replace).then(|| path.to_path_buf()),
        };
        Self { folder, manifest }
    }

    fn of(&self, entry: u32) -> Option<PathBuf> {
        let entry = self.manifest.entries.get(entry as usize)?;
        Some(self.folder.as_ref()?.join(&entry.path))
    }
}
