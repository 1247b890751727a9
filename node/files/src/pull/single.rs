//! A transfer of one content.

use crate::{
    error::PullError,
    pull::{
        begin,
        content::{Content, ContentPull},
        delta,
        keep::{Keeper, blocking},
        observe::{Sum, while_shown},
        report::ContentReport,
        run::Engine,
    },
    request::{Existing, Like, Target},
    transfer::{Open, Pulled, Transfer},
    view::Stage,
};
use hive_protocol::{file, ids::BlobHash};
use hive_store::files::{CopyRange, Destination, FileStore, FilesError, Partial};
use std::{path::PathBuf, sync::Arc};
use tokio::sync::watch;

/// Pulls it to its destination.
///
/// # Errors
/// As [`crate::Transfer::done`].
pub async fn pull(engine: &Engine, transfer: &Transfer) -> Result<Pulled, PullError> {
    let request = transfer.request();
    let path = match &request.target {
        Target::Path(path) => Some(path.clone()),
        Target::Store => None,
    };
    let content = Content {
        hash: request.root,
        via: request.via(),
        size: request.size_hint,
        exact: false,
        max_size: request.max_bytes,
        only: None,
    };
    if path.is_none() && whole(&engine.store, &request.root) {
        return Ok(pulled(
            transfer,
            None,
            engine.store.content(&request.root).map_or(0, |c| c.size),
            0,
            0,
        ));
    }
    let destination = Destination {
        path: path.clone(),
        overwrite: request.existing == Existing::Replace,
        tag: Some(engine.tag(transfer)),
        ..Destination::default()
    };
    let _place = begin::turn(engine, transfer).await;
    let (store, hash, limit) = (engine.store.clone(), request.root, request.max_bytes);
    let opened = begin::open(move || store.begin(&hash, &destination, limit)).await;
    let partial = match (opened, &path) {
        (Ok(partial), _) => partial,
        (Err(e @ FilesError::Exists { .. }), Some(at)) => {
            return begin::stands(engine, transfer, at).await?.ok_or_else(|| e.into());
        }
        (Err(e), _) => return Err(e.into()),
    };
    transfer.opened(Open::One(partial.clone()));
    let reused = found_here(engine, transfer, &partial).await?;
    let keeper = Arc::new(Keeper::new(partial.clone()));
    let like = match (&request.like, &path) {
        (Some(like), _) => Some(like.clone()),
        // What it replaces is the likeliest older version.
        (None, Some(path)) if request.existing == Existing::Replace => Some(Like::Path(path.clone())),
        (None, _) => None,
    };
    if let Some(like) = like.filter(|_| !partial.is_whole()) {
        delta::take(engine, transfer, &content, &keeper, &like).await;
    }
    let reused = reused.max(partial.bytes_here());
    let report = fetch(engine, transfer, content, keeper, reused).await?;
    transfer.show(|v| v.stage = Stage::Finishing);
    let root = blocking(move || partial.finish(None, None)).await??;
    drop(transfer.take_open());
    Ok(pulled(
        transfer,
        path,
        root.size,
        report.fetched,
        root.size.saturating_sub(report.fetched),
    ))
}

/// Pulls a content into the blob store on behalf of a transfer, such as a folder's manifest.
///
/// # Errors
/// As [`crate::Transfer::done`].
pub async fn into_store(engine: &Engine, transfer: &Transfer, content: Content) -> Result<(), PullError> {
    if whole(&engine.store, &content.hash) {
        return Ok(());
    }
    let destination = Destination {
        tag: Some(engine.tag(transfer)),
        ..Destination::default()
    };
    let (store, hash, limit) = (engine.store.clone(), content.hash, content.max_size);
    let partial = begin::open(move || store.begin(&hash, &destination, limit)).await?;
    let keeper = Arc::new(Keeper::new(partial.clone()));
    let (report, _seen) = watch::channel(ContentReport::default());
    let pull = ContentPull::new(
        engine.means.clone(),
        content,
        keeper,
        transfer.0.providers.clone(),
        report,
    );
    pull.run(transfer.0.wish.subscribe()).await?;
    blocking(move || partial.finish(None, None)).await??;
    Ok(())
}

fn whole(store: &FileStore, hash: &BlobHash) -> bool {
    store.content(hash).is_some_and(|c| c.whole)
}

fn pulled(transfer: &Transfer, path: Option<PathBuf>, bytes: u64, fetched: u64, reused: u64) -> Pulled {
    Pulled {
        root: transfer.request().root,
        folder: false,
        path,
        bytes,
        fetched,
        reused,
        files: 1,
    }
}

/// Takes what is on this machine already; says how many bytes are here now.
async fn found_here(engine: &Engine, transfer: &Transfer, partial: &Partial) -> Result<u64, PullError> {
    let (store, hash, partial) = (engine.store.clone(), transfer.request().root, partial.clone());
    blocking(move || {
        if whole(&store, &hash) {
            take_here(&store, &hash, &partial);
        }
        partial.bytes_here()
    })
    .await
}

/// The same content is here in another place: copied, and checked on the way. What does not work is fetched.
pub fn take_here(store: &FileStore, hash: &BlobHash, partial: &Partial) {
    let copy = || {
        let source = store.source(hash)?;
        let size = source.size();
        partial.set_tree(size, &source.segment_cvs()?)?;
        for segment in 0..file::segments(size) {
            if !partial.has_groups(segment) {
                partial.set_groups(segment, &source.group_cvs(segment)?)?;
            }
        }
        partial.copy_from(
            &source,
            &[CopyRange {
                from: 0,
                to: 0,
                len: size,
            }],
        )
    };
    if let Err(e) = copy() {
        tracing::debug!(?hash, error = %e, "what is here already could not be taken");
    }
}

async fn fetch(
    engine: &Engine,
    transfer: &Transfer,
    content: Content,
    keeper: Arc<Keeper>,
    reused: u64,
) -> Result<ContentReport, PullError> {
    transfer.show(|v| {
        v.reused = reused;
        if v.stage == Stage::Queued {
            v.stage = Stage::Starting;
        }
    });
    let (report, seen) = watch::channel(ContentReport::default());
    let pull = ContentPull::new(
        engine.means.clone(),
        content,
        keeper,
        transfer.0.providers.clone(),
        report,
    );
    let last = seen.clone();
    let sum = move || Sum {
        reused,
        ..Sum::from(&*seen.borrow())
    };
    while_shown(
        transfer,
        &engine.limits,
        sum,
        pull.run(transfer.0.wish.subscribe()),
    )
    .await?;
    Ok(last.borrow().clone())
}
