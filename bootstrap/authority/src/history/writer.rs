//! The thread that follows the log into the index.

use super::{Applied, History};
use crate::log::Tip;
use hive_protocol::{
    authority::LedgerLine,
    ids::{AccountId, NetworkId},
};
use std::{
    io,
    sync::atomic::Ordering,
    sync::mpsc::{Receiver, SyncSender, sync_channel},
    thread::{self, JoinHandle},
};

/// Batches that may wait; when sled cannot keep up the index stops following until the next start.
const MAX_FEEDS: usize = 256;
/// Lines written to sled at once when it has to catch up.
const MAX_LINES_AT_ONCE: usize = 4096;

/// Lines of durable records, and where the log ended with them.
pub(crate) struct Feed {
    pub lines: Vec<(AccountId, LedgerLine)>,
    pub tip: Tip,
}

/// The feeding end. Dropping it lets the thread finish and end.
pub(crate) struct Writer {
    feeds: Option<SyncSender<Feed>>,
    thread: Option<JoinHandle<()>>,
    applied: Applied,
}

impl Writer {
    /// Starts following; `applied` is how far the index has come already.
    pub(crate) fn start(history: History, network: NetworkId, applied: Applied) -> io::Result<Self> {
        let (feeds, rx) = sync_channel(MAX_FEEDS);
        let thread = thread::Builder::new()
            .name("hive-history".into())
            .spawn(move || follow(&history, network, &rx))?;
        Ok(Self {
            feeds: Some(feeds),
            thread: Some(thread),
            applied,
        })
    }

    /// How far the index had come when it was opened.
    pub(crate) const fn applied(&self) -> Applied {
        self.applied
    }

    /// Hands lines over while serving; never waits. Feeds must follow each other without a gap, so the first that
    /// finds no room is the last.
    pub(crate) fn feed(&mut self, feed: Feed) {
        if let Some(feeds) = &self.feeds
            && feeds.try_send(feed).is_err()
        {
            tracing::warn!(target: "hive_authority", "history index: cannot keep up; it is caught up at the next start");
            self.feeds = None;
        }
    }

    /// Hands lines over while replaying, when there is time to wait for room.
    pub(crate) fn feed_patiently(&mut self, feed: Feed) {
        if let Some(feeds) = &self.feeds
            && feeds.send(feed).is_err()
        {
            self.feeds = None;
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.feeds = None;
        if let Some(thread) = self.thread.take() {
            // A panic in sled has been printed; the index is made anew at the next start.
            let _ = thread.join();
        }
    }
}

fn follow(history: &History, network: NetworkId, feeds: &Receiver<Feed>) {
    while let Ok(mut feed) = feeds.recv() {
        while feed.lines.len() < MAX_LINES_AT_ONCE
            && let Ok(next) = feeds.try_recv()
        {
            feed.lines.extend(next.lines);
            feed.tip = next.tip;
        }
        if let Err(e) = history.apply(network, &feed.lines, &feed.tip) {
            tracing::warn!(target: "hive_authority", "{e}; it is caught up at the next start");
            return;
        }
        history.next.store(feed.tip.next, Ordering::Release);
    }
    if let Err(e) = history.flush() {
        tracing::warn!(target: "hive_authority", "{e}");
    }
}
