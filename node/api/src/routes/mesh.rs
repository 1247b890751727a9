//! Founding and joining a mesh.

use super::Route;
use crate::{
    answer::{Answer, made},
    ask::Json,
    context::Context,
};
use axum::{extract::State, routing::post};
use hive_runtime::port::MeshRequest;
use serde::Deserialize;

pub(super) const ROUTES: &[Route] = &[
    Route::new(
        "POST",
        "/v1/mesh",
        "Founds a mesh and runs its first authority here",
        || post(create),
    ),
    Route::new("POST", "/v1/join", "Joins the mesh of a ticket", || post(join)),
];

async fn create(State(context): State<Context>, Json(request): Json<MeshRequest>) -> Answer {
    let mesh = context.node().mesh_create(request).await?;
    Ok(made(mesh.id.clone(), "mesh", mesh))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Join {
    ticket: String,
}

async fn join(State(context): State<Context>, Json(Join { ticket }): Json<Join>) -> Answer {
    let joined = context.node().join(ticket).await?;
    Ok(made(joined.mesh.id.clone(), "join", joined))
}
