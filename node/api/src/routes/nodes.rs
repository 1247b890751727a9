//! The nodes of the mesh.

use super::Route;
use crate::{
    answer::{Answer, document},
    ask::Id,
    context::Context,
};
use axum::{extract::State, routing::get};

pub(super) const ROUTES: &[Route] = &[
    Route::new("GET", "/v1/nodes", "All nodes of the mesh", || get(list)),
    Route::new("GET", "/v1/nodes/{id}", "One node, by id, prefix or name", || {
        get(one)
    }),
];

async fn list(State(context): State<Context>) -> Answer {
    Ok(document("nodes", context.node().nodes().await?))
}

async fn one(State(context): State<Context>, id: Id) -> Answer {
    Ok(document("node", context.node().node(id.of("node")?).await?))
}
