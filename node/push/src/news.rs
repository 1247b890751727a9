//! How a pull goes, from the puller to the loop: only the latest matters, so nothing can pile up.

use crate::feed::{Event, Feed};
use hive_transfer::notices::inbox::{self, Key};
use std::{sync::Arc, time::Duration};
use tokio::sync::watch;

/// Progress is passed on at most so often.
const PACE: Duration = Duration::from_secs(1);

/// A puller's side of one order. Dropping the last clone without an end counts as a failure worth trying again.
#[derive(Debug, Clone)]
pub struct News(Arc<watch::Sender<Option<inbox::News>>>);

const fn is_end(news: &inbox::News) -> bool {
    matches!(news, inbox::News::Done | inbox::News::Failed(..))
}

impl News {
    fn say(&self, news: inbox::News) {
        self.0.send_if_modified(|now| {
            if now.as_ref().is_some_and(is_end) || now.as_ref() == Some(&news) {
                return false;
            }
            *now = Some(news);
            true
        });
    }

    /// So many bytes are verified, of so many.
    pub fn progress(&self, done: u64, total: u64) {
        self.say(inbox::News::Progress(done, total));
    }

    /// It does not move at the moment, and why.
    pub fn waiting(&self, why: impl Into<String>) {
        self.say(inbox::News::Waiting(why.into()));
    }

    /// It is in place.
    pub fn done(&self) {
        self.say(inbox::News::Done);
    }

    /// It has failed, and why; `again` when it is worth trying later (nobody has it at the moment).
    pub fn failed(&self, why: impl Into<String>, again: bool) {
        self.say(inbox::News::Failed(why.into(), again));
    }
}

/// A puller's side, and the task that passes its news on; `attempt` tells this attempt's from others'.
pub(crate) fn channel(key: Key, attempt: u64, feed: Feed) -> (News, tokio::task::JoinHandle<()>) {
    let (sender, receiver) = watch::channel(None);
    let task = tokio::spawn(pass_on(key, attempt, receiver, feed));
    (News(Arc::new(sender)), task)
}

async fn pass_on(key: Key, attempt: u64, mut from: watch::Receiver<Option<inbox::News>>, feed: Feed) {
    loop {
        let open = from.changed().await.is_ok();
        let latest = from.borrow_and_update().clone();
        let news = match latest {
            Some(news) if open || is_end(&news) => news,
            _ if open => continue,
            _ => inbox::News::Failed("it was given up".to_owned(), true),
        };
        let (ended, passed) = (is_end(&news), news.clone());
        if feed.send(Event::Pull(key, attempt, news)).await.is_err() || ended {
            return;
        }
        // An end is passed on at once.
        let ends = from.wait_for(|n| n.as_ref().is_some_and(is_end));
        let _ = tokio::time::timeout(PACE, ends).await.map(|_| ());
        // Waiting has looked at what came meanwhile: it is still to be passed on.
        let newer = from.borrow().as_ref() != Some(&passed);
        if newer {
            from.mark_changed();
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;
    use hive_protocol::ids::{NodeId, NoticeId};
    use tokio::sync::mpsc;

    async fn next(events: &mut mpsc::Receiver<Event>) -> inbox::News {
        match events.recv().await.unwrap() {
            Event::Pull(_, 7, news) => news,
            _ => panic!("another event"),
        }
    }

    #[tokio::test]
    async fn the_latest_is_passed_on_and_the_end_at_once() {
        let (feed, mut events) = mpsc::channel(4);
        let key = (NodeId([1; 32]), NoticeId([2; 16]));
        let (news, _task) = channel(key, 7, feed.clone());
        news.progress(1, 9);
        assert_eq!(next(&mut events).await, inbox::News::Progress(1, 9));
        for n in 2..9 {
            news.progress(n, 9);
        }
        assert_eq!(next(&mut events).await, inbox::News::Progress(8, 9));
        news.progress(9, 9);
        news.done();
        news.progress(3, 9);
        assert_eq!(next(&mut events).await, inbox::News::Done);

        let (news, _task) = channel(key, 7, feed);
        news.waiting("x");
        drop(news);
        let last = loop {
            let news = next(&mut events).await;
            if is_end(&news) {
                break news;
            }
        };
        assert!(matches!(last, inbox::News::Failed(_, true)));
    }
}
