//! One stream to a provider: requests go out ahead, answers come in order.
//!
//! Bytes go from the stream into pooled buffers and from there to blocking threads that verify and write them; the
//! stream is read on meanwhile. A stream whose peer breaks the protocol, goes silent or sends wrong bytes ends, and
//! with it everything asked on it.

use crate::{
    buffers::Buffers,
    limits::Limits,
    pull::{
        answer::{Ask, AskError},
        take::Reading,
    },
};
use hive_protocol::{codec, file::MAX_PIPELINE, ids::NodeId};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt},
    sync::mpsc,
    time::{Instant, MissedTickBehavior},
};

/// Asks that may wait for a place in a stream: the cores hand out no more than fit a pipeline for each content.
pub const MAX_WAITING: usize = 64;
/// A stream on which something is due and no byte comes for so long is given up. Longer than any provider may wait
/// with an answer.
pub const SILENCE: Duration = Duration::from_secs(20);
/// A stream on which nothing has been asked for so long is closed.
pub const IDLE: Duration = Duration::from_secs(30);

/// What a lane needs besides its stream.
#[derive(Clone)]
pub struct LaneParts {
    /// Who is at the other end.
    pub node: NodeId,
    /// The pool.
    pub buffers: Buffers,
    /// How fast.
    pub limits: Limits,
}

/// Runs a stream until it is idle, broken, or nobody can ask any more. Whatever is unanswered then is told so.
pub async fn run<R, W>(parts: LaneParts, reader: R, mut writer: W, mut asks: mpsc::Receiver<Ask>)
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let (sent, mut answers) = mpsc::channel(MAX_PIPELINE);
    let moved = Arc::new(AtomicU64::new(0));
    let due = Arc::new(AtomicU64::new(0));
    let mut lane = Reading::new(parts, reader, Arc::clone(&moved));
    let end = {
        let writing = write(&mut writer, &mut asks, &sent, &due);
        let reading = lane.answers(&mut answers, &due);
        tokio::select! {
            end = writing => end,
            end = reading => end,
            end = watch(&moved, &due) => end,
        }
    };
    asks.close();
    answers.close();
    while let Ok(ask) = answers.try_recv() {
        ask.fail(&end);
    }
    while let Ok(ask) = asks.try_recv() {
        ask.fail(&end);
    }
    // The peer may have gone: there is nobody to tell of an error.
    let _ = writer.shutdown().await;
}

/// Ends when something is due and nothing moves.
async fn watch(moved: &AtomicU64, due: &AtomicU64) -> AskError {
    let mut every = tokio::time::interval(Duration::from_secs(1));
    every.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut last, mut since) = (0, Instant::now());
    loop {
        every.tick().await;
        let now = moved.load(Ordering::Relaxed);
        if now != last || due.load(Ordering::Relaxed) == 0 {
            (last, since) = (now, Instant::now());
        } else if since.elapsed() >= SILENCE {
            return AskError::Stalled;
        }
    }
}

async fn write<W: AsyncWrite + Unpin>(
    io: &mut W,
    asks: &mut mpsc::Receiver<Ask>,
    sent: &mpsc::Sender<Ask>,
    due: &AtomicU64,
) -> AskError {
    let closed = || AskError::Broken("the stream was closed".to_owned());
    let mut out = Vec::new();
    loop {
        let Ok(place) = sent.reserve().await else {
            return closed();
        };
        let next = tokio::time::timeout(IDLE, asks.recv()).await;
        let ask = match next {
            Ok(Some(ask)) => ask,
            Ok(None) => {
                // Nobody can ask any more: what is under way may end.
                if due.load(Ordering::Relaxed) == 0 {
                    return closed();
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
            Err(_) if due.load(Ordering::Relaxed) == 0 => return closed(),
            Err(_) => continue,
        };
        out.clear();
        if let Err(e) = codec::frame_into(&ask.request, &mut out) {
            ask.fail(&AskError::Broken(e.to_string()));
            continue;
        }
        due.fetch_add(1, Ordering::Relaxed);
        place.send(ask);
        let written = async {
            io.write_all(&out).await?;
            io.flush().await
        };
        if let Err(e) = written.await {
            return AskError::Broken(format!("the stream broke: {e}"));
        }
    }
}
