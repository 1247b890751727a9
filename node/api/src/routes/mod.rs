//! The routes: one file a resource, all in one table, so that the router, the description at /v1/openapi.json and the
//! tests speak of the same set.

mod blobs;
mod events;
mod files;
mod invites;
mod jobs;
mod logs;
mod mesh;
mod metrics;
mod net;
mod nodes;
mod notices;
mod openapi;
mod relay;
mod status;
mod stop;
mod syncs;
mod tasks;
mod transfers;
mod trust;
mod wallet;

use crate::{answer::Failure, context::Context, gate};
use axum::{Router, http::StatusCode, middleware, routing::MethodRouter};
use hive_runtime::port::{Kind, Refused};

/// One route.
pub struct Route {
    /// HTTP method.
    pub method: &'static str,
    /// Path, with parameters in braces.
    pub path: &'static str,
    /// What it does, in one line.
    pub about: &'static str,
    handler: fn() -> MethodRouter<Context>,
}

impl Route {
    const fn new(
        method: &'static str,
        path: &'static str,
        about: &'static str,
        handler: fn() -> MethodRouter<Context>,
    ) -> Self {
        Self {
            method,
            path,
            about,
            handler,
        }
    }
}

/// Every route of the API.
pub fn all() -> impl Iterator<Item = &'static Route> {
    [
        status::ROUTES,
        mesh::ROUTES,
        invites::ROUTES,
        nodes::ROUTES,
        net::ROUTES,
        relay::ROUTES,
        jobs::ROUTES,
        tasks::ROUTES,
        logs::ROUTES,
        blobs::ROUTES,
        files::ROUTES,
        transfers::ROUTES,
        notices::ROUTES,
        syncs::ROUTES,
        wallet::ROUTES,
        trust::ROUTES,
        events::ROUTES,
        stop::ROUTES,
        metrics::ROUTES,
        openapi::ROUTES,
    ]
    .into_iter()
    .flatten()
}

/// The router over all of them, behind the gate.
pub(crate) fn router(context: Context) -> Router {
    all()
        .fold(Router::new(), |router, route| {
            router.route(route.path, (route.handler)())
        })
        .fallback(no_route)
        .method_not_allowed_fallback(no_method)
        .layer(middleware::from_fn_with_state(context.clone(), gate::pass))
        .with_state(context)
}

async fn no_route() -> Failure {
    Refused::new(
        Kind::NotFound,
        "api.no_route",
        "the API has no such path; GET /v1/openapi.json lists all",
    )
    .into()
}

async fn no_method() -> Failure {
    Failure::with_status(
        StatusCode::METHOD_NOT_ALLOWED,
        Refused::new(
            Kind::Invalid,
            "api.no_method",
            "the API does not know this method for this path; GET /v1/openapi.json lists all",
        ),
    )
}
