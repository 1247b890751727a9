//! A transfer of a list of files that belong to one folder's root, each to a path of its own: for mirrors.

use crate::{
    error::PullError,
    pull::{
        batch::{Small, SmallFiles},
        board::Board,
        content::{Content, ContentPull},
        delta,
        keep::{Keeper, blocking},
        observe::{Sum, while_shown},
        report::ContentReport,
        run::Engine,
        small::SmallPull,
    },
    request::{Like, Wanted},
    transfer::{Open, Pulled, Transfer},
    view::Stage,
};
use hive_protocol::file::{self, MAX_SMALL};
use hive_store::files::{Destination, FileStore, FilesError};
use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicU64, Ordering},
};
use tokio::{sync::watch, task::JoinSet};

/// Large files at a time.
const AT_ONCE: usize = 4;
/// Files looked at in one go.
const PAGE: usize = 2048;

struct Shared {
    store: FileStore,
    list: Arc<[Wanted]>,
    tag: String,
    /// Bytes of files that are whole.
    here: AtomicU64,
    /// Small files handed out up to here.
    next: Mutex<usize>,
}

/// Pulls all of them.
///
/// # Errors
/// As [`crate::Transfer::done`].
pub async fn pull(engine: &Engine, transfer: &Transfer, list: Arc<[Wanted]>) -> Result<Pulled, PullError> {
    let total = list.iter().fold(0_u64, |sum, w| sum.saturating_add(w.size));
    let request = transfer.request();
    if total > request.max_bytes {
        return Err(PullError::TooLarge {
            hash: request.root,
            size: total,
            limit: request.max_bytes,
        });
    }
    let files = list.len() as u64;
    let shared = Arc::new(Shared {
        store: engine.store.clone(),
        list,
        tag: engine.tag(transfer),
        here: AtomicU64::new(0),
        next: Mutex::new(0),
    });
    let board = Arc::new(Board::default());
    let sum = {
        let (shared, board) = (Arc::clone(&shared), Arc::clone(&board));
        move || {
            let sum = board.sum();
            Sum {
                here: shared
                    .here
                    .load(Ordering::Relaxed)
                    .saturating_add(board.running_here()),
                total: Some(total),
                files: (sum.files.0, files),
                ..sum
            }
        }
    };
    let via = request.via();
    let small = SmallPull::new(
        engine.clone(),
        transfer.clone(),
        via,
        Arc::clone(&shared) as Arc<dyn SmallFiles>,
        Arc::clone(&board),
    );
    let large = large(engine, transfer, &shared, &board);
    let work = async { tokio::try_join!(small.run(), large).map(|_| ()) };
    while_shown(transfer, &engine.limits, sum, work).await?;
    transfer.show(|v| v.stage = Stage::Finishing);
    let fetched = board.sum().fetched;
    Ok(Pulled {
        root: request.root,
        folder: true,
        path: None,
        bytes: total,
        fetched,
        reused: total.saturating_sub(fetched),
        files,
    })
}

impl Shared {
    fn destination(&self, wanted: &Wanted) -> Destination {
        Destination {
            path: Some(wanted.path.clone()),
            overwrite: true,
            tag: Some(self.tag.clone()),
            ..Destination::default()
        }
    }

    /// Makes one small file; false when the bytes are wrong.
    fn make(&self, wanted: &Wanted, bytes: &[u8]) -> Result<bool, FilesError> {
        let partial = self
            .store
            .begin(&wanted.hash, &self.destination(wanted), wanted.size)?;
        if bytes.len() as u64 != wanted.size {
            partial.abandon(false)?;
            return Ok(false);
        }
        if partial.size().is_none() {
            partial.set_tree(wanted.size, &[])?;
        }
        match partial.write_mask(0, file::whole_mask(wanted.size, 0), bytes) {
            Ok(_) => {}
            Err(FilesError::Corrupt { .. }) => {
                partial.abandon(false)?;
                return Ok(false);
            }
            Err(e) => return Err(e),
        }
        partial.finish(Some(wanted.mode), Some(wanted.mtime_ns))?;
        self.here.fetch_add(wanted.size, Ordering::Relaxed);
        Ok(true)
    }
}

impl SmallFiles for Shared {
    fn more(&self) -> Result<Vec<Small>, PullError> {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let from = *next;
            let page = self
                .list
                .get(from..from.saturating_add(PAGE).min(self.list.len()))
                .unwrap_or_default();
            if page.is_empty() {
                return Ok(Vec::new());
            }
            *next += page.len();
            let small = page.iter().enumerate().filter(|(_, w)| w.size <= MAX_SMALL);
            let small: Vec<Small> = small
                .map(|(n, w)| (u32::try_from(from + n).unwrap_or(u32::MAX), w.hash, w.size))
                .collect();
            if !small.is_empty() {
                return Ok(small);
            }
        }
    }

    fn keep(&self, files: &[(u32, &[u8])]) -> Result<Vec<u32>, PullError> {
        let mut wrong = Vec::new();
        for (n, bytes) in files {
            let Some(wanted) = self.list.get(*n as usize) else {
                continue;
            };
            if !self.make(wanted, bytes)? {
                wrong.push(*n);
            }
        }
        Ok(wrong)
    }
}

async fn large(
    engine: &Engine,
    transfer: &Transfer,
    shared: &Arc<Shared>,
    board: &Arc<Board>,
) -> Result<(), PullError> {
    let mut running = JoinSet::new();
    for (n, wanted) in shared.list.iter().enumerate().filter(|(_, w)| w.size > MAX_SMALL) {
        while running.len() >= AT_ONCE {
            joined(running.join_next().await)?;
        }
        let (engine, transfer, wanted) = (engine.clone(), transfer.clone(), wanted.clone());
        let (shared, board) = (Arc::clone(shared), Arc::clone(board));
        running.spawn(async move { one(&engine, &transfer, &shared, n, &wanted, &board).await });
    }
    while !running.is_empty() {
        joined(running.join_next().await)?;
    }
    Ok(())
}

fn joined(done: Option<Result<Result<(), PullError>, tokio::task::JoinError>>) -> Result<(), PullError> {
    match done {
        None => Ok(()),
        Some(done) => done.map_err(|_| PullError::Stopped)?,
    }
}

async fn one(
    engine: &Engine,
    transfer: &Transfer,
    shared: &Arc<Shared>,
    n: usize,
    wanted: &Wanted,
    board: &Arc<Board>,
) -> Result<(), PullError> {
    let entry = u32::try_from(n).unwrap_or(u32::MAX);
    let (of, destination) = (Arc::clone(shared), shared.destination(wanted));
    let (hash, size) = (wanted.hash, wanted.size);
    let partial = blocking(move || of.store.begin(&hash, &destination, size)).await??;
    transfer.opened(Open::One(partial.clone()));
    let (report, seen) = watch::channel(ContentReport::default());
    board.begin(entry, seen);
    let content = Content {
        hash,
        via: transfer.request().via(),
        size: Some(size),
        exact: true,
        max_size: size,
        only: None,
    };
    let keeper = Arc::new(Keeper::new(partial.clone()));
    if let Some(like) = &wanted.like {
        delta::take(engine, transfer, &content, &keeper, &Like::Path(like.clone())).await;
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
    let (mode, mtime) = (wanted.mode, wanted.mtime_ns);
    blocking(move || partial.finish(Some(mode), Some(mtime))).await??;
    shared.here.fetch_add(size, Ordering::Relaxed);
    Ok(())
}
