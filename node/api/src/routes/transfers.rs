//! Bytes on their way here.

use super::{Route, files::absolute};
use crate::{
    answer::{Answer, document, made},
    ask::{Args, Id, Json},
    context::Context,
};
use axum::{
    extract::State,
    routing::{get, post},
};
use hive_runtime::port::{MAX_FILE_WAIT_MS, PullRequest, TransferDo};
use serde::Deserialize;

pub(super) const ROUTES: &[Route] = &[
    Route::new(
        "POST",
        "/v1/transfers",
        "Begins to bring a ticket's or id's content here",
        || post(pull),
    ),
    Route::new(
        "GET",
        "/v1/transfers",
        "Transfers that run, and the latest ended ones",
        || get(list),
    ),
    Route::new(
        "GET",
        "/v1/transfers/{id}",
        "One transfer; with ?wait_ms= once it has ended or that time has passed",
        || get(one),
    ),
    Route::new(
        "POST",
        "/v1/transfers/{id}/pause",
        "Holds a transfer, or `all`",
        || post(pause),
    ),
    Route::new(
        "POST",
        "/v1/transfers/{id}/resume",
        "Goes on with a transfer, or `all`",
        || post(resume),
    ),
    Route::new(
        "POST",
        "/v1/transfers/{id}/cancel",
        "Gives a transfer up, or `all`",
        || post(cancel),
    ),
];

/// How long to wait for something to happen.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WaitMs {
    #[serde(default)]
    wait_ms: u64,
}

impl WaitMs {
    /// At most [`MAX_FILE_WAIT_MS`].
    pub(super) fn bounded(&self) -> u64 {
        self.wait_ms.min(MAX_FILE_WAIT_MS)
    }
}

async fn pull(State(context): State<Context>, Json(request): Json<PullRequest>) -> Answer {
    for (field, path) in [("dest", &request.dest), ("like", &request.like)] {
        if let Some(path) = path {
            absolute(field, path)?;
        }
    }
    let transfer = context.node().file_pull(request).await?;
    Ok(made(transfer.transfer.clone(), "transfer", transfer))
}

async fn list(State(context): State<Context>) -> Answer {
    Ok(document("transfers", context.node().transfers().await?))
}

async fn one(State(context): State<Context>, id: Id, Args(wait): Args<WaitMs>) -> Answer {
    let id = id.of("transfer")?;
    let transfer = context.node().transfer(id, wait.bounded()).await?;
    Ok(document("transfer", transfer))
}

async fn act(context: &Context, id: Id, what: TransferDo) -> Answer {
    let all = context.node().transfer_do(id.of("transfer")?, what).await?;
    Ok(document("transfers", all))
}

async fn pause(State(context): State<Context>, id: Id) -> Answer {
    act(&context, id, TransferDo::Pause).await
}

async fn resume(State(context): State<Context>, id: Id) -> Answer {
    act(&context, id, TransferDo::Resume).await
}

async fn cancel(State(context): State<Context>, id: Id) -> Answer {
    act(&context, id, TransferDo::Cancel).await
}
