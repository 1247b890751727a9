//! Bytes that an older version on this machine spares: compared by the values of segments, then of groups, then by
//! content-defined chunks. Whatever is taken is checked like what a stranger sends.

use crate::{
    pull::{
        content::Content,
        job::{Sink, SinkError},
        keep::{Keeper, blocking},
        learn,
        run::Engine,
    },
    request::Like,
    transfer::Transfer,
};
use hive_protocol::file::{self, SEGMENT};
use hive_store::files::{AddOptions, CopyRange, FilesError, Source};
use hive_transfer::delta::{ChunkPlan, same_groups, same_segments};
use std::sync::{Arc, Mutex, PoisonError, atomic::AtomicBool};

/// Content smaller than this is fetched whole: looking would cost as much.
const WORTH: u64 = 256 << 10;
/// Chunks are compared when more than this part of the content is still missing: one in this many.
const CHUNKS_PART: u64 = 4;

/// Takes what an older version has. What does not work is fetched, so nothing here is an error.
pub async fn take(
    engine: &Engine,
    transfer: &Transfer,
    content: &Content,
    keeper: &Arc<Keeper>,
    like: &Like,
) {
    if content.size.is_some_and(|s| s < WORTH) {
        return;
    }
    let Some(old) = old_version(engine, like).await else {
        return;
    };
    let known = learn::tree(engine, &transfer.0.providers, content, keeper, false).await;
    if !matches!(known, Ok(true)) {
        return;
    }
    let Some(size) = keeper.size().filter(|s| *s >= WORTH) else {
        return;
    };
    let by_segment = {
        let (keeper, old) = (Arc::clone(keeper), Arc::clone(&old));
        let (store, hash) = (engine.store.clone(), content.hash);
        blocking(move || {
            let new = store.source(&hash)?.segment_cvs()?;
            equal_segments(&keeper, &new, &old, size)
        })
        .await
    };
    match by_segment {
        Ok(Ok(())) => {}
        Ok(Err(e)) => return tracing::debug!(error = %e, "an older version could not be compared"),
        Err(_) => return,
    }
    if let Err(e) = by_values(engine, transfer, content, keeper, &old, size).await {
        tracing::debug!(error = %e, "an older version could not be used to the full");
    }
}

async fn old_version(engine: &Engine, like: &Like) -> Option<Arc<Source>> {
    let (store, like) = (engine.store.clone(), like.clone());
    let opened = blocking(move || {
        let hash = match like {
            Like::Root(hash) => hash,
            Like::Path(path) => {
                if !path
                    .symlink_metadata()
                    .is_ok_and(|m| m.is_file() && m.len() >= WORTH)
                {
                    return None;
                }
                let added = store.add_path(&path, &AddOptions::default(), &AtomicBool::new(false));
                added.ok()?.root.hash
            }
        };
        store.source(&hash).ok()
    });
    opened.await.ok().flatten().map(Arc::new)
}

fn span(size: u64, segment: u64) -> CopyRange {
    let from = segment * SEGMENT;
    CopyRange {
        from,
        to: from,
        len: size.saturating_sub(from).min(SEGMENT),
    }
}

/// Segments that are the same at their place.
fn equal_segments(keeper: &Keeper, new: &[[u8; 32]], old: &Source, size: u64) -> Result<(), FilesError> {
    let partial = keeper.partial();
    let same = same_segments(size, new, old.size(), &old.segment_cvs()?);
    for (segment, same) in (0_u64..).zip(same) {
        if same && partial.missing(segment) != 0 {
            if !partial.has_groups(segment) {
                partial.set_groups(segment, &old.group_cvs(segment)?)?;
            }
            partial.copy_from(old, &[span(size, segment)])?;
        }
    }
    Ok(())
}

/// Takes in chaining values and notes which groups the older version has at the same place.
struct Compare {
    keeper: Arc<Keeper>,
    old: Arc<Source>,
    same: Mutex<Vec<(u32, u64)>>,
}

impl Sink for Compare {
    fn groups(&self, segment: u32, cvs: &[[u8; 32]]) -> Result<(), SinkError> {
        self.keeper.groups(segment, cvs)?;
        if let Ok(old) = self.old.group_cvs(u64::from(segment)) {
            let mask = same_groups(cvs, &old);
            if mask != 0 {
                self.same
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push((segment, mask));
            }
        }
        Ok(())
    }

    fn write(&self, segment: u32, mask: u64, bytes: &[u8]) -> Result<(), SinkError> {
        self.keeper.write(segment, mask, bytes)
    }
}

fn runs(size: u64, segment: u32, mut mask: u64) -> Vec<CopyRange> {
    let mut out: Vec<CopyRange> = Vec::new();
    while mask != 0 {
        let (at, len) = file::group_span(size, u64::from(segment), mask.trailing_zeros());
        mask &= mask - 1;
        match out.last_mut().filter(|r| r.to + r.len == at) {
            Some(run) => run.len += len,
            None => out.push(CopyRange {
                from: at,
                to: at,
                len,
            }),
        }
    }
    out
}

async fn by_values(
    engine: &Engine,
    transfer: &Transfer,
    content: &Content,
    keeper: &Arc<Keeper>,
    old: &Arc<Source>,
    size: u64,
) -> Result<(), crate::PullError> {
    let missing = |keeper: &Keeper| -> Vec<u32> {
        let all = 0..file::segments(size);
        let partial = keeper.partial();
        all.filter(|s| partial.missing(*s) != 0)
            .filter_map(|s| u32::try_from(s).ok())
            .collect()
    };
    let segments = missing(keeper);
    let Some((node, lane)) = learn::any_lane(engine, &transfer.0.providers)
        .await
        .filter(|_| !segments.is_empty())
    else {
        return Ok(());
    };
    let compare = Arc::new(Compare {
        keeper: Arc::clone(keeper),
        old: Arc::clone(old),
        same: Mutex::default(),
    });
    let sink = Arc::clone(&compare) as Arc<dyn Sink>;
    let wanted: Vec<u32> = {
        let partial = keeper.partial();
        segments
            .into_iter()
            .filter(|s| !partial.has_groups(u64::from(*s)))
            .collect()
    };
    learn::groups((node, &lane), content, size, &wanted, &sink).await;
    let same = std::mem::take(&mut *compare.same.lock().unwrap_or_else(PoisonError::into_inner));
    copy(
        keeper,
        old,
        same.into_iter()
            .flat_map(|(s, mask)| runs(size, s, mask))
            .collect(),
    )
    .await?;
    let left = size.saturating_sub(keeper.here());
    if left.saturating_mul(CHUNKS_PART) < size || old.size() < WORTH {
        return Ok(());
    }
    by_chunks(engine, content, keeper, old, size, &lane).await
}

async fn copy(
    keeper: &Arc<Keeper>,
    old: &Arc<Source>,
    ranges: Vec<CopyRange>,
) -> Result<(), crate::PullError> {
    if ranges.is_empty() {
        return Ok(());
    }
    let (keeper, old) = (Arc::clone(keeper), Arc::clone(old));
    blocking(move || keeper.partial().copy_from(&old, &ranges)).await??;
    Ok(())
}

/// Bytes that have moved: most of the content is missing though there is an older version.
async fn by_chunks(
    engine: &Engine,
    content: &Content,
    keeper: &Arc<Keeper>,
    old: &Arc<Source>,
    size: u64,
    lane: &learn::Lane,
) -> Result<(), crate::PullError> {
    let Ok(new) = learn::chunks(lane, content).await else {
        return Ok(());
    };
    let (store, hash) = (engine.store.clone(), old.hash());
    let plan = blocking(move || {
        let old = store.chunks(&hash)?;
        Ok::<_, FilesError>(ChunkPlan::new(size, &new, &old))
    });
    match plan.await?? {
        Ok(plan) => {
            let ranges = plan.copies.iter().map(|c| CopyRange {
                from: c.from,
                to: c.to,
                len: c.len,
            });
            copy(keeper, old, ranges.collect()).await
        }
        Err(e) => {
            tracing::debug!(error = %e, "a provider's list of chunks is of no use");
            Ok(())
        }
    }
}
