//! What this node relays for others.

use super::Route;
use crate::{
    answer::{Answer, document},
    ask::Json,
    context::Context,
};
use axum::{
    extract::State,
    routing::{get, post},
};
use hive_runtime::{
    config::RelayMode,
    port::{RelayChange, RelayDo},
};
use serde::Deserialize;

pub(super) const ROUTES: &[Route] = &[
    Route::new(
        "GET",
        "/v1/relay",
        "What this node relays for others: state, limits, counters, circuits",
        || get(show),
    ),
    Route::new(
        "POST",
        "/v1/relay/limits",
        "Changes limits by name, such as {\"total_rate\": 1048576}, now and until the daemon ends; the rest stays",
        || post(limits),
    ),
    Route::new(
        "POST",
        "/v1/relay/mode",
        "Relays from now on: {\"mode\": \"on\"}, `off`, or `auto`; until the daemon ends",
        || post(mode),
    ),
    Route::new(
        "POST",
        "/v1/relay/drain",
        "Takes no new reservation and circuit; what runs goes on",
        || post(drain),
    ),
    Route::new("POST", "/v1/relay/resume", "Takes new ones again", || {
        post(resume)
    }),
];

async fn show(State(context): State<Context>) -> Answer {
    Ok(document("relay", context.node().relay().await?))
}

async fn act(context: &Context, what: RelayDo) -> Answer {
    Ok(document("relay", context.node().relay_do(what).await?))
}

async fn limits(State(context): State<Context>, Json(change): Json<RelayChange>) -> Answer {
    act(&context, RelayDo::Limit(change)).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Mode {
    mode: RelayMode,
}

async fn mode(State(context): State<Context>, Json(Mode { mode }): Json<Mode>) -> Answer {
    act(&context, RelayDo::Mode(mode)).await
}

async fn drain(State(context): State<Context>) -> Answer {
    act(&context, RelayDo::Drain).await
}

async fn resume(State(context): State<Context>) -> Answer {
    act(&context, RelayDo::Resume).await
}
