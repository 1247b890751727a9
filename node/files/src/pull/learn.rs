//! Asking one provider after another, before there is a swarm: for a content's tree, for chaining values, for chunks.

pub use crate::pull::links::Lane;
use crate::{
    error::PullError,
    providers::Providers,
    pull::{
        answer::{Ask, AskError, TreeAnswer, Want},
        content::Content,
        job::{SegmentEnd, SegmentJob, Sink},
        keep::{self, Keeper, Refused},
        run::Engine,
    },
};
use hive_protocol::{
    file::{FileRequest, MAX_PIPELINE},
    ids::NodeId,
};
use std::{sync::Arc, time::Duration};
use tokio::sync::{mpsc, oneshot};

/// When nobody gave an answer it is tried again after this time.
const AGAIN: Duration = Duration::from_secs(2);
/// Tries over all providers before it is given up, where an answer is not needed.
const TRIES: usize = 1;

fn closed<T>(_: T) -> AskError {
    AskError::Broken("the stream was closed".to_owned())
}

/// The first provider that can be reached, by the order in which they were named.
pub async fn any_lane(engine: &Engine, providers: &Providers) -> Option<(NodeId, Lane)> {
    for hint in providers.after(0) {
        engine.means.links.learn(&hint).await;
        if let Ok(lane) = engine.means.links.bulk(hint.node).await {
            return Some((hint.node, lane));
        }
    }
    None
}

async fn tree_of(lane: &Lane, content: &Content) -> Result<TreeAnswer, AskError> {
    let (to, answer) = oneshot::channel();
    let max_size = content.max_size;
    let request = FileRequest::Tree {
        hash: content.hash,
        via: content.via,
        max_size,
    };
    lane.ask(Ask::new(request, Want::Tree { to, max_size }));
    answer.await.map_err(closed)?
}

/// Makes sure that the tree of a content is known; false when nobody gave it. With `insist` it is asked for until
/// somebody does.
///
/// # Errors
/// Too large, or the store's refusal.
pub async fn tree(
    engine: &Engine,
    providers: &Providers,
    content: &Content,
    keeper: &Arc<Keeper>,
    insist: bool,
) -> Result<bool, PullError> {
    for round in 0.. {
        if keeper.size().is_some() {
            return Ok(true);
        }
        let (mut too_large, mut others) = (None, false);
        for hint in &providers.after(0) {
            engine.means.links.learn(hint).await;
            let Ok(lane) = engine.means.links.bulk(hint.node).await else {
                continue;
            };
            let answer = match tree_of(&lane, content).await {
                Ok(answer) if !content.exact || content.size.is_none_or(|s| s == answer.size) => answer,
                Err(AskError::TooLarge(size)) => {
                    too_large = Some(size);
                    continue;
                }
                Ok(_) | Err(_) => {
                    others = true;
                    continue;
                }
            };
            let of = Arc::clone(keeper);
            match keep::blocking(move || of.tree(answer.size, &answer.segments)).await? {
                Ok(_) => return Ok(true),
                // The swarm will meet it again and drop it with evidence.
                Err(Refused::Sender) => others = true,
                Err(Refused::Ours(e)) => return Err(e),
            }
        }
        // One who says so may lie; all who answer need not be waited beyond.
        if let Some(size) = too_large.filter(|_| !others) {
            return Err(PullError::TooLarge {
                hash: content.hash,
                size,
                limit: content.max_size,
            });
        }
        if !insist && round + 1 >= TRIES {
            return Ok(false);
        }
        providers.look();
        let mut more = providers.watch();
        tokio::select! {
            () = tokio::time::sleep(AGAIN) => {}
            _ = more.changed() => {}
        }
    }
    Ok(false)
}

/// Fetches the chaining values of these segments' groups into a sink, from one provider. What does not come is left
/// out.
pub async fn groups(
    (node, lane): (NodeId, &Lane),
    content: &Content,
    size: u64,
    segments: &[u32],
    sink: &Arc<dyn Sink>,
) {
    let (ends, mut told) = mpsc::channel::<SegmentEnd>(MAX_PIPELINE);
    let mut open = 0_usize;
    for segment in segments {
        if open >= MAX_PIPELINE / 2 {
            if told.recv().await.is_none() {
                return;
            }
            open -= 1;
        }
        let what = (node, *segment, 0, true);
        let job = SegmentJob::new(what, size, Arc::clone(sink), Arc::default(), ends.clone());
        let request = FileRequest::Segment {
            hash: content.hash,
            via: content.via,
            segment: *segment,
            mask: 0,
            hashes: true,
        };
        lane.ask(Ask::new(request, Want::Segment(Arc::new(job))));
        open += 1;
    }
    drop(ends);
    while told.recv().await.is_some() {}
}

/// A provider's list of content-defined chunks.
///
/// # Errors
/// Why not.
pub async fn chunks(lane: &Lane, content: &Content) -> Result<Vec<([u8; 32], u32)>, AskError> {
    let (to, answer) = oneshot::channel();
    let request = FileRequest::Chunks {
        hash: content.hash,
        via: content.via,
    };
    lane.ask(Ask::new(request, Want::Chunks(to)));
    answer.await.map_err(closed)?
}
