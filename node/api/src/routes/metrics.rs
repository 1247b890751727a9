//! Prometheus text.

use super::Route;
use crate::{answer::Answer, context::Context};
use axum::{
    body::Body,
    extract::State,
    http::{HeaderValue, header::CONTENT_TYPE},
    response::Response,
    routing::get,
};

pub(super) const ROUTES: &[Route] = &[Route::new(
    "GET",
    "/metrics",
    "Counters of the daemon and of this API",
    || get(metrics),
)];

async fn metrics(State(context): State<Context>) -> Answer {
    let daemon = context.node().metrics().await?;
    let mut response = Response::new(Body::from(context.metrics().join(&daemon)));
    response.headers_mut().insert(
        CONTENT_TYPE,
        HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8"),
    );
    Ok(response)
}
