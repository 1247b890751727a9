//! Notices this node sends, and those it has got.

use super::{Route, files::absolute, transfers::WaitMs};
use crate::{
    answer::{Answer, document, made},
    ask::{Args, Id, Json, parse, read},
    context::Context,
    limits::BODY_SMALL,
};
use axum::{
    extract::{Request, State},
    routing::{delete, get, post},
};
use hive_runtime::port::PushRequest;
use serde::Deserialize;
use std::path::PathBuf;

pub(super) const ROUTES: &[Route] = &[
    Route::new(
        "POST",
        "/v1/notices",
        "Sends a file, folder, text or event to nodes",
        || post(push),
    ),
    Route::new("GET", "/v1/notices", "The outbox, newest first", || get(list)),
    Route::new(
        "GET",
        "/v1/notices/{id}",
        "One notice of the outbox; with ?wait_ms= once nothing more will happen to it or that time has passed",
        || get(one),
    ),
    Route::new(
        "DELETE",
        "/v1/notices/{id}",
        "Takes a notice back from those who have not got it",
        || delete(cancel),
    ),
    Route::new(
        "GET",
        "/v1/inbox",
        "What others have sent here, newest first",
        || get(inbox),
    ),
    Route::new("GET", "/v1/inbox/{id}", "One of it", || get(item)),
    Route::new(
        "POST",
        "/v1/inbox/{id}/accept",
        "Accepts what waits for it; with dest into that folder",
        || post(accept),
    ),
    Route::new(
        "POST",
        "/v1/inbox/{id}/decline",
        "Declines it; the sender is told the reason",
        || post(decline),
    ),
];

async fn push(State(context): State<Context>, Json(request): Json<PushRequest>) -> Answer {
    if let Some(path) = &request.path {
        absolute("path", path)?;
    }
    let notice = context.node().push(Box::new(request)).await?;
    Ok(made(notice.notice.clone(), "notice", notice))
}

async fn list(State(context): State<Context>) -> Answer {
    Ok(document("notices", context.node().notices().await?))
}

async fn one(State(context): State<Context>, id: Id, Args(wait): Args<WaitMs>) -> Answer {
    let notice = context.node().notice(id.of("notice")?, wait.bounded()).await?;
    Ok(document("notice", notice))
}

async fn cancel(State(context): State<Context>, id: Id) -> Answer {
    let notice = context.node().notice_cancel(id.of("notice")?).await?;
    Ok(document("notice", notice))
}

async fn inbox(State(context): State<Context>) -> Answer {
    Ok(document("inbox", context.node().inbox().await?))
}

async fn item(State(context): State<Context>, id: Id) -> Answer {
    let item = context.node().inbox_item(id.of("inbox")?).await?;
    Ok(document("item", item))
}

#[derive(Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
struct Verdict {
    dest: Option<PathBuf>,
    reason: String,
}

async fn verdict(request: Request, context: &Context) -> Result<Verdict, crate::answer::Failure> {
    let held = read(request, BODY_SMALL, context).await?;
    if held.bytes.is_empty() {
        return Ok(Verdict::default());
    }
    parse(&held.bytes)
}

async fn accept(State(context): State<Context>, id: Id, request: Request) -> Answer {
    let Verdict { dest, .. } = verdict(request, &context).await?;
    if let Some(dest) = &dest {
        absolute("dest", dest)?;
    }
    let item = context.node().inbox_accept(id.of("inbox")?, dest).await?;
    Ok(document("item", item))
}

async fn decline(State(context): State<Context>, id: Id, request: Request) -> Answer {
    let Verdict { reason, .. } = verdict(request, &context).await?;
    let item = context.node().inbox_decline(id.of("inbox")?, reason).await?;
    Ok(document("item", item))
}
