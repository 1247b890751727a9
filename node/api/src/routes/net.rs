//! How this node is reached, and the ways to others.

use super::Route;
use crate::{
    answer::{Answer, document},
    ask::{Args, Id},
    context::Context,
};
use axum::{
    extract::State,
    routing::{get, post},
};
use serde::Deserialize;

pub(super) const ROUTES: &[Route] = &[
    Route::new(
        "GET",
        "/v1/net/check",
        "How this node is reached, judged line by line; with ?fresh=true after new tests, which take some seconds",
        || get(check),
    ),
    Route::new(
        "GET",
        "/v1/net/peers",
        "The ways to all peers connected or tried lately",
        || get(peers),
    ),
    Route::new(
        "GET",
        "/v1/net/paths/{id}",
        "The way to a node and how it came about",
        || get(paths),
    ),
    Route::new(
        "POST",
        "/v1/net/trace/{id}",
        "Tries every known way to a node now and says how each ended",
        || post(trace),
    ),
];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fresh {
    #[serde(default)]
    fresh: bool,
}

async fn check(State(context): State<Context>, Args(Fresh { fresh }): Args<Fresh>) -> Answer {
    Ok(document("check", context.node().net_check(fresh).await?))
}

async fn peers(State(context): State<Context>) -> Answer {
    Ok(document("peers", context.node().net_peers().await?))
}

async fn paths(State(context): State<Context>, id: Id) -> Answer {
    Ok(document("paths", context.node().net_paths(id.of("node")?).await?))
}

async fn trace(State(context): State<Context>, id: Id) -> Answer {
    Ok(document("paths", context.node().net_trace(id.of("node")?).await?))
}
