//! The life of a transfer: its turn, its work, its end.

use crate::{
    access::Access,
    error::PullError,
    limits::{Clock, Limits},
    pull::{First, Means, Ranged, folder, keep::blocking, list, single},
    request::{PullRequest, Wanted},
    rows::{MAX_LIST, Rows, TransferRow},
    transfer::{Open, Pulled, Transfer},
    view::Stage,
};
use hive_protocol::{ids::TransferId, notice::Priority};
use hive_store::files::FileStore;
use std::sync::{Arc, atomic::Ordering};
use tokio::sync::{Semaphore, watch};

/// Transfers that run at once; more wait for their turn. Interactive ones do not wait.
pub const MAX_RUNNING: usize = 8;

/// What transfers share.
#[derive(Clone)]
pub struct Engine {
    /// Where content is.
    pub store: FileStore,
    /// Streams, news, evidence.
    pub means: Means,
    /// Rates.
    pub limits: Limits,
    /// Who may have what.
    pub access: Access,
    /// Durable rows.
    pub rows: Rows,
    /// The wall clock.
    pub clock: Clock,
    /// Who fetches what.
    pub first: First,
    /// Partials that readers share.
    pub ranged: Ranged,
    /// Turns.
    pub turns: Arc<Semaphore>,
    /// Set when the process ends.
    pub closing: watch::Sender<bool>,
}

impl Engine {
    /// The tag that keeps what a transfer has pulled.
    pub fn tag(&self, transfer: &Transfer) -> String {
        format!("pull:{}", transfer.id())
    }

    /// Keeps a new transfer; false when it has a list too long for that.
    pub async fn rows_keep(
        &self,
        id: TransferId,
        request: &PullRequest,
        list: Option<&[Wanted]>,
    ) -> Result<bool, PullError> {
        if list.is_some_and(|l| l.len() > MAX_LIST) {
            return Ok(false);
        }
        let row = TransferRow {
            request: request.clone(),
            list: list.map(<[_]>::to_vec),
            paused: false,
            started: (self.clock)(),
        };
        self.rows.keep_transfer(id, &row).await.map(|()| true)
    }

    async fn closed(&self) {
        let mut closing = self.closing.subscribe();
        // The sender lives in `self`.
        let _ = closing.wait_for(|c| *c).await;
    }
}

/// Runs a transfer to its end and tells it.
pub async fn run(engine: Engine, transfer: Transfer) {
    let result = tokio::select! {
        biased;
        () = engine.closed() => Err(PullError::Stopped),
        () = transfer.cancelled() => Err(PullError::Cancelled),
        result = work(&engine, &transfer) => result,
    };
    leave(&transfer, &result).await;
    if !matches!(result, Err(PullError::Stopped)) {
        engine
            .rows
            .end_transfer(
                transfer.id(),
                matches!(result, Err(ref e) if *e != PullError::Cancelled),
            )
            .await;
    }
    let now = (engine.clock)();
    transfer.show(|view| {
        view.rate = 0;
        view.stalled = None;
        view.ended = Some(now);
        match &result {
            Ok(pulled) => {
                view.stage = Stage::Done;
                (view.done, view.total) = (pulled.bytes, pulled.bytes);
                (view.fetched, view.reused) = (pulled.fetched, pulled.reused);
                (view.files_done, view.files) = (pulled.files, pulled.files);
            }
            Err(PullError::Cancelled) => view.stage = Stage::Cancelled,
            // It goes on at the next start.
            Err(PullError::Stopped) => view.ended = None,
            Err(e) => {
                tracing::info!(id = ?transfer.id(), code = e.code(), error = %e, "a transfer has failed");
                view.stage = Stage::Failed;
                view.error = Some((e.code(), e.to_string()));
            }
        }
    });
    transfer.0.end.send_replace(Some(result));
}

async fn work(engine: &Engine, transfer: &Transfer) -> Result<Pulled, PullError> {
    let request = transfer.request();
    let _turn = if request.priority == Priority::Interactive {
        None
    } else {
        Arc::clone(&engine.turns).acquire_owned().await.ok()
    };
    transfer.unpaused().await;
    transfer.show(|v| v.stage = Stage::Starting);
    if !engine.access.grant(request.root, request.audience.clone()) {
        tracing::warn!(root = ?request.root, "the table of shared roots is full: others cannot fetch this from here");
    }
    if let Some(list) = &transfer.0.list {
        return list::pull(engine, transfer, Arc::clone(list)).await;
    }
    if request.folder {
        folder::pull(engine, transfer).await
    } else {
        single::pull(engine, transfer).await
    }
}

/// What is open is left for later, or taken away when nobody wants it any more.
async fn leave(transfer: &Transfer, result: &Result<Pulled, PullError>) {
    let keep = !matches!(result, Err(PullError::Cancelled)) || transfer.0.keep.load(Ordering::Acquire);
    let open = transfer.take_open();
    if result.is_ok() || open.is_empty() {
        return;
    }
    let left = blocking(move || {
        for open in open {
            let result = match open {
                Open::One(partial) => partial.abandon(keep),
                Open::Folder(folder) => folder.abandon(keep),
            };
            if let Err(e) = result {
                tracing::warn!(error = %e, "what an ended transfer had open could not be left in order");
            }
        }
    });
    // An error means that the process ends: what is on the disk is in order by itself.
    let _ = left.await;
}
