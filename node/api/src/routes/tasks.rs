//! Single tasks.

use super::{Route, jobs::Wait};
use crate::{
    answer::{Answer, document},
    ask::{Args, Id},
    context::Context,
};
use axum::{
    extract::State,
    routing::{get, post},
};

pub(super) const ROUTES: &[Route] = &[
    Route::new(
        "GET",
        "/v1/tasks/{id}",
        "One task; with ?wait=true once it has ended",
        || get(one),
    ),
    Route::new("POST", "/v1/tasks/{id}/stop", "Stops a task", || post(stop)),
    Route::new("POST", "/v1/tasks/{id}/retry", "Runs an ended task again", || {
        post(retry)
    }),
    Route::new(
        "GET",
        "/v1/tasks/{id}/explain",
        "Why it runs where it does, or nowhere",
        || get(explain),
    ),
];

async fn one(State(context): State<Context>, id: Id, Args(Wait { wait }): Args<Wait>) -> Answer {
    let id = id.of("task")?;
    let task = if wait {
        context.node().task_wait(id).await?
    } else {
        context.node().task(id).await?
    };
    Ok(document("task", task))
}

async fn stop(State(context): State<Context>, id: Id) -> Answer {
    Ok(document("task", context.node().task_stop(id.of("task")?).await?))
}

async fn retry(State(context): State<Context>, id: Id) -> Answer {
    Ok(document("task", context.node().task_retry(id.of("task")?).await?))
}

async fn explain(State(context): State<Context>, id: Id) -> Answer {
    Ok(document("explain", context.node().explain(id.of("task")?).await?))
}
