//! Reading a stream: frames are checked beside the loop, a bounded number of them waits, and none comes too fast.

use crate::{
    feed::{Event, Feed, Frame, LinkId},
    handle::Tally,
    ports::Clock,
};
use hive_net::{FrameReader, NetReader};
use hive_protocol::{
    ids::{NetworkId, NodeId},
    notice::{MAX_MAIL, NoticeMsg},
};
use hive_transfer::notices::check;
use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};
use tokio::{sync::Semaphore, time::Instant};

/// Frames of one stream that may wait for the loop: one peer cannot fill the queue of all.
const WAITING: usize = 8;
/// Frames a peer may send at once, and for each of them the time after which it may send one more.
const BURST: u32 = 256;
const REFILL: Duration = Duration::from_millis(5);

/// What is needed to judge a frame.
#[derive(Clone)]
pub(crate) struct Judge {
    pub network: NetworkId,
    pub me: NodeId,
    pub clock: Clock,
    pub tally: Arc<Tally>,
}

impl Judge {
    /// A frame as it may be used; `None` when there is nothing to do about it.
    pub(crate) fn frame(&self, from: NodeId, msg: NoticeMsg) -> Option<Frame> {
        match msg {
            NoticeMsg::Deliver(signed) => match check(&signed, self.network, self.me, (self.clock)()) {
                Ok(notice) if notice.from == from => Some(Frame::Notice(Box::new(notice))),
                // Brought by somebody else than its sender: only mail comes so.
                Ok(_) => self.refuse(from, "brought by another node"),
                Err(unfit) => self.refuse(from, &unfit.to_string()),
            },
            NoticeMsg::Mail(page) => {
                let end = page.is_empty();
                let (mut notices, mut useless) = (Vec::new(), Vec::new());
                for signed in page.iter().take(MAX_MAIL) {
                    match check(signed, self.network, self.me, (self.clock)()) {
                        Ok(notice) => notices.push(notice),
                        Err(unfit) => {
                            let _: Option<Frame> = self.refuse(from, &unfit.to_string());
                            // Never fit: the mailbox need not keep it. Without an id nobody can say so.
                            if !unfit.passing()
                                && let Ok(notice) = signed.peek()
                            {
                                useless.push(notice.id);
                            }
                        }
                    }
                }
                Some(Frame::Mail {
                    notices,
                    useless,
                    end,
                })
            }
            other => Some(Frame::Other(Box::new(other))),
        }
    }

    fn refuse(&self, from: NodeId, why: &str) -> Option<Frame> {
        self.tally.refused.fetch_add(1, Ordering::Relaxed);
        tracing::debug!(target: "hive_push", ?from, why, "a notice is not taken");
        None
    }
}

/// Reads until the stream ends.
pub(crate) async fn read(judge: Judge, node: NodeId, link: LinkId, reader: NetReader, feed: Feed) {
    let mut reader = FrameReader::<NoticeMsg, _>::new(reader);
    let places = Arc::new(Semaphore::new(WAITING));
    let mut credit = Instant::now();
    loop {
        let msg = match reader.next().await {
            Ok(Some(msg)) => msg,
            Ok(None) => break,
            Err(e) => {
                tracing::debug!(target: "hive_push", ?node, "a stream of notices broke: {e}");
                break;
            }
        };
        let now = Instant::now();
        credit = credit.max(now.checked_sub(REFILL * BURST).unwrap_or(now)) + REFILL;
        if credit > now {
            // paced: a peer that says more than a peer may waits here, and with it only its own stream.
            tokio::time::sleep_until(credit).await;
        }
        judge.tally.frames.fetch_add(1, Ordering::Relaxed);
        let Some(frame) = judge.frame(node, msg) else {
            continue;
        };
        let Ok(place) = Arc::clone(&places).acquire_owned().await else {
            break;
        };
        let event = Event::Frame(node, Some(link), frame, Some(place));
        if feed.send(event).await.is_err() {
            return;
        }
    }
    // When the loop has ended nobody needs to know.
    let _ = feed.send(Event::Ended(node, link)).await;
}
