//! Mirrored folders.

use super::{Route, files::absolute, transfers::WaitMs};
use crate::{
    answer::{Answer, document, done, made},
    ask::{Args, Id, Json},
    context::Context,
};
use axum::{
    extract::State,
    routing::{delete, get, post},
};
use hive_runtime::port::SyncRequest;

pub(super) const ROUTES: &[Route] = &[
    Route::new("POST", "/v1/syncs", "Begins to mirror a folder to nodes", || {
        post(start)
    }),
    Route::new("GET", "/v1/syncs", "All mirrors, out and in", || get(list)),
    Route::new(
        "GET",
        "/v1/syncs/{id}",
        "One mirror; with ?wait_ms= once all receivers have its latest state or that time has passed",
        || get(one),
    ),
    Route::new(
        "DELETE",
        "/v1/syncs/{id}",
        "Ends a mirror; what receivers have stays",
        || delete(remove),
    ),
];

async fn start(State(context): State<Context>, Json(request): Json<SyncRequest>) -> Answer {
    absolute("dir", &request.dir)?;
    let sync = context.node().sync_start(request).await?;
    Ok(made(sync.sync.clone(), "sync", sync))
}

async fn list(State(context): State<Context>) -> Answer {
    Ok(document("syncs", context.node().syncs().await?))
}

async fn one(State(context): State<Context>, id: Id, Args(wait): Args<WaitMs>) -> Answer {
    let sync = context.node().sync(id.of("sync")?, wait.bounded()).await?;
    Ok(document("sync", sync))
}

async fn remove(State(context): State<Context>, id: Id) -> Answer {
    context.node().sync_remove(id.of("sync")?).await?;
    Ok(done())
}
