//! Breaking all streams of a connection at once. The library ends a connection in order, which takes as long as the
//! other side or the system's buffers take: on a way that is dead, tens of seconds.

use std::{
    collections::BTreeMap,
    io,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll, Waker},
};

/// Which half of a stream waits.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Half {
    Reading,
    Writing,
}

/// Of one connection.
#[derive(Debug, Default)]
pub(crate) struct Cut {
    done: AtomicBool,
    keys: AtomicU64,
    /// Who waits for a stream of the connection; at most two for each.
    waiting: Mutex<BTreeMap<u64, [Option<Waker>; 2]>>,
}

impl Cut {
    /// A name for one more stream.
    pub(crate) fn key(&self) -> u64 {
        self.keys.fetch_add(1, Ordering::Relaxed)
    }

    /// Breaks all streams, and those to come.
    pub(crate) fn cut(&self) {
        self.done.store(true, Ordering::SeqCst);
        let waiting = std::mem::take(&mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner));
        for waker in waiting.into_values().flatten().flatten() {
            waker.wake();
        }
    }

    /// A step of a stream, unless the connection is cut; who waits is woken when it is.
    pub(crate) fn step<T>(
        &self,
        key: u64,
        half: Half,
        cx: &Context<'_>,
        step: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if step.is_pending() {
            let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            let [reading, writing] = waiting.entry(key).or_default();
            let place = match half {
                Half::Reading => reading,
                Half::Writing => writing,
            };
            match place {
                Some(waker) => waker.clone_from(cx.waker()),
                None => *place = Some(cx.waker().clone()),
            }
        }
        if self.done.load(Ordering::SeqCst) {
            return Poll::Ready(Err(io::Error::new(
                io::ErrorKind::ConnectionAborted,
                "the connection gives no sign of life",
            )));
        }
        step
    }

    /// A stream is gone.
    pub(crate) fn forget(&self, key: u64) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.remove(&key);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use futures::future::poll_fn;
    use std::sync::Arc;

    #[tokio::test]
    async fn whoever_waits_is_woken_with_an_error() {
        let cut = Arc::new(Cut::default());
        let (one, two) = (cut.key(), cut.key());
        let waiting = |key, half| {
            let cut = Arc::clone(&cut);
            tokio::spawn(poll_fn(move |cx| cut.step::<()>(key, half, cx, Poll::Pending)))
        };
        let all = [
            waiting(one, Half::Reading),
            waiting(one, Half::Writing),
            waiting(two, Half::Reading),
        ];
        while cut.waiting.lock().unwrap().values().flatten().flatten().count() < all.len() {
            tokio::task::yield_now().await;
        }
        cut.cut();
        for task in all {
            let error = task.await.unwrap().unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::ConnectionAborted);
        }
        cut.forget(one);
        let late = poll_fn(|cx| cut.step(two, Half::Writing, cx, Poll::Ready(Ok(1)))).await;
        assert!(late.is_err());
    }
}
