//! Content as a stream that can be read before its last byte has come.

use crate::{
    Files, PullRequest, Transfer,
    error::PullError,
    reading::{From, Reading, Steps},
    transfer::Open,
};
use hive_protocol::file::SEGMENT;
use hive_store::files::Partial;
use std::{
    io,
    pin::Pin,
    sync::{Arc, PoisonError},
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::io::{AsyncRead, ReadBuf};

/// Segments asked for first, in order, ahead of the reader.
const WINDOW: u32 = 4;
/// How often it is looked whether the size is known yet.
const LOOK: Duration = Duration::from_millis(20);

/// Verified bytes in order while the rest still comes. Its end is the content's end; a transfer that fails is an
/// error of the reader.
pub struct Growing {
    steps: Steps,
    step: Vec<u8>,
    at: usize,
}

impl std::fmt::Debug for Growing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Growing")
    }
}

impl AsyncRead for Growing {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        while self.at >= self.step.len() {
            match ready!(self.steps.poll_recv(cx)) {
                Some(Ok(step)) => (self.step, self.at) = (step, 0),
                Some(Err(e)) => return Poll::Ready(Err(io::Error::other(e))),
                None => return Poll::Ready(Ok(())),
            }
        }
        let n = (self.step.len() - self.at).min(buf.remaining());
        let to = self.at + n;
        buf.put_slice(self.step.get(self.at..to).unwrap_or_default());
        self.at = to;
        Poll::Ready(Ok(()))
    }
}

impl Files {
    /// Pulls one content and opens it for reading from the first byte at once.
    ///
    /// # Errors
    /// As [`Files::pull`]; `file.request` for a folder; how the transfer failed before its size was known.
    pub async fn open_growing(&self, request: PullRequest) -> Result<(Transfer, Growing), PullError> {
        if request.folder {
            return Err(PullError::Request(
                "a folder cannot be read as a stream".to_owned(),
            ));
        }
        let hash = request.root;
        let transfer = self.pull(request).await?;
        let engine = self.engine();
        let reading = |from| Reading {
            from,
            hash,
            news: engine.means.news.clone(),
            store: engine.store.clone(),
            transfer: None,
        };
        let (from, size) = self.source_of(&transfer).await?;
        let wish = Arc::clone(&transfer.0);
        let tell = move |at: u64| {
            let segment = u32::try_from(at / SEGMENT).unwrap_or(u32::MAX);
            wish.wish.send_if_modified(|w| {
                std::mem::replace(&mut w.reader, (segment, WINDOW)) != (segment, WINDOW)
            });
        };
        let growing = Growing {
            steps: reading(from).until(&transfer).begin(0, size, tell),
            step: Vec::new(),
            at: 0,
        };
        Ok((transfer, growing))
    }

    /// Where a transfer's bytes are, once their number is known.
    async fn source_of(&self, transfer: &Transfer) -> Result<(From, u64), PullError> {
        loop {
            if let Some(partial) = partial_of(transfer)
                && let Some(size) = partial.size()
            {
                return Ok((From::Coming(partial), size));
            }
            let end = transfer.0.end.borrow().clone();
            if let Some(end) = end {
                end?;
                let (store, hash) = (self.store().clone(), transfer.request().root);
                let source = crate::pull::blocking(move || store.source(&hash)).await??;
                let size = source.size();
                return Ok((From::Whole(Arc::new(source)), size));
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}

fn partial_of(transfer: &Transfer) -> Option<Partial> {
    let open = transfer.0.open.lock().unwrap_or_else(PoisonError::into_inner);
    open.iter().find_map(|open| match open {
        Open::One(partial) => Some(partial.clone()),
        Open::Folder(_) => None,
    })
}
