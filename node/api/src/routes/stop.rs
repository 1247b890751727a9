//! Stopping the daemon, and having it read its settings again.

use super::Route;
use crate::{
    answer::{Answer, Failure, done},
    ask::{parse, read},
    context::Context,
    limits::{BODY_SMALL, DRAIN_MOST_MS},
};
use axum::{
    extract::{Request, State},
    routing::post,
};
use serde::Deserialize;

pub(super) const ROUTES: &[Route] = &[
    Route::new(
        "POST",
        "/v1/reload",
        "Has the settings read again; answered when those that need no restart hold",
        || post(reload),
    ),
    Route::new(
        "POST",
        "/v1/stop",
        "Stops the daemon after at most drain_ms of finishing what runs",
        || post(stop),
    ),
];

async fn reload(State(context): State<Context>) -> Answer {
    context.node().reload().await?;
    Ok(done())
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct Stop {
    #[serde(default)]
    drain_ms: u64,
}

async fn stop(State(context): State<Context>, request: Request) -> Answer {
    let held = read(request, BODY_SMALL, &context).await?;
    let Stop { drain_ms } = if held.bytes.is_empty() {
        Stop::default()
    } else {
        parse(&held.bytes)?
    };
    if drain_ms > DRAIN_MOST_MS {
        return Err(Failure::invalid(
            "api.bad_field",
            format!("`drain_ms` is {drain_ms}; it may be at most {DRAIN_MOST_MS} (a day)"),
        ));
    }
    context.node().stop(drain_ms).await?;
    Ok(done())
}
