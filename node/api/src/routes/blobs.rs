//! Blob bytes in and out.

use super::Route;
use crate::{
    answer::{Answer, Failure, made},
    ask::{Id, Json, told_length},
    blob_body::{FileBody, Upload},
    context::Context,
};
use axum::{
    body::Body,
    extract::{Request, State},
    http::{
        HeaderName, HeaderValue,
        header::{CONTENT_LENGTH, CONTENT_TYPE, ETAG},
    },
    response::Response,
    routing::{get, post, put},
};
use serde::Deserialize;
use std::path::PathBuf;

pub(super) const ROUTES: &[Route] = &[
    Route::new(
        "PUT",
        "/v1/blobs",
        "Stores the bytes of the body; answers their hash",
        || put(store),
    ),
    Route::new(
        "POST",
        "/v1/blobs",
        "Stores a file of the daemon's machine, by absolute path",
        || post(import),
    ),
    Route::new("GET", "/v1/blobs/{id}", "The bytes of a blob", || get(load)),
];

async fn store(State(context): State<Context>, request: Request) -> Answer {
    let cap = context.bounds().blob_cap;
    let told = told_length(&request);
    let mut body = request.into_body();
    if told.is_some_and(|n| n > cap) {
        crate::ask::drain(&mut body).await;
        return Err(Failure::too_large("the blob", cap));
    }
    let (upload, fault) = Upload::new(body, cap, context.bounds().body_stall);
    let stored = context.node().blobs().put(Box::new(upload), cap).await;
    // What went wrong with the body is the cause of whatever the store says about it.
    if let Some(failure) = fault.take() {
        return Err(failure);
    }
    let blob = stored?;
    Ok(made(blob.blob.clone(), "blob", blob))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Import {
    path: PathBuf,
}

async fn import(State(context): State<Context>, Json(Import { path }): Json<Import>) -> Answer {
    if !path.is_absolute() {
        return Err(Failure::invalid(
            "api.path_not_absolute",
            format!(
                "`path`: the daemon does not know the folder you are in; give the whole path instead of `{}`",
                path.display()
            ),
        ));
    }
    let blob = context.node().blobs().import(&path).await?;
    Ok(made(blob.blob.clone(), "blob", blob))
}

async fn load(State(context): State<Context>, id: Id) -> Answer {
    let id = id.of("blob")?;
    let (file, size) = context.node().blobs().open(&id).await?;
    let mut response = Response::new(Body::new(FileBody::new(file, size)));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    headers.insert(
        HeaderName::from_static("x-content-type-options"),
        HeaderValue::from_static("nosniff"),
    );
    headers.insert(CONTENT_LENGTH, HeaderValue::from(size));
    // A blob's id is its hash; quotes cannot stand in one.
    if let Ok(tag) = HeaderValue::try_from(format!("\"{}\"", id.replace('"', ""))) {
        headers.insert(ETAG, tag);
    }
    Ok(response)
}
