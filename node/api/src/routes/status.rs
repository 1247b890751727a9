//! This node at a glance.

use super::Route;
use crate::{
    answer::{Answer, document},
    context::Context,
};
use axum::{extract::State, routing::get};

pub(super) const ROUTES: &[Route] = &[Route::new("GET", "/v1/status", "This node at a glance", || {
    get(status)
})];

async fn status(State(context): State<Context>) -> Answer {
    Ok(document("status", context.node().status().await?))
}
