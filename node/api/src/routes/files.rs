//! Contents this node keeps: taking in, sharing, reading, clearing.

use super::Route;
use crate::{
    answer::{Answer, Failure, document, done, made},
    ask::{Args, Id, Json, parse, read},
    context::Context,
    limits::BODY_SMALL,
};
use axum::{
    body::Body,
    extract::{Request, State},
    http::{
        HeaderName, HeaderValue,
        header::{CONTENT_LENGTH, CONTENT_TYPE, ETAG},
    },
    response::Response,
    routing::{delete, get, post},
};
use futures::stream::unfold;
use hive_runtime::port::{AddRequest, FileBytes};
use serde::Deserialize;
use std::{io, path::Path};

pub(super) const ROUTES: &[Route] = &[
    Route::new(
        "POST",
        "/v1/files",
        "Takes in a file or folder of the daemon's machine, by absolute path",
        || post(add),
    ),
    Route::new("GET", "/v1/files", "All contents kept here", || get(list)),
    Route::new(
        "GET",
        "/v1/files/bytes",
        "Verified bytes of a content or ticket: ?of= &from= &to=",
        || get(bytes),
    ),
    Route::new(
        "POST",
        "/v1/files/gc",
        "Frees what nobody keeps; with dry_run only says what",
        || post(gc),
    ),
    Route::new(
        "GET",
        "/v1/files/{id}",
        "One content, by id, beginning of an id or name",
        || get(one),
    ),
    Route::new("DELETE", "/v1/files/{id}", "Keeps a content no longer", || {
        delete(remove)
    }),
    Route::new(
        "POST",
        "/v1/files/{id}/share",
        "Lets all members pull it; answers its ticket",
        || post(share),
    ),
    Route::new("DELETE", "/v1/files/{id}/share", "Ends its sharing", || {
        delete(unshare)
    }),
    Route::new(
        "POST",
        "/v1/files/{id}/verify",
        "Reads all its bytes again",
        || post(verify),
    ),
];

/// A path of the daemon's machine must be whole.
pub(super) fn absolute(field: &str, path: &Path) -> Result<(), Failure> {
    if path.is_absolute() {
        return Ok(());
    }
    Err(Failure::invalid(
        "api.path_not_absolute",
        format!(
            "`{field}`: the daemon does not know the folder you are in; give the whole path instead of `{}`",
            path.display()
        ),
    ))
}

async fn add(State(context): State<Context>, Json(request): Json<AddRequest>) -> Answer {
    absolute("path", &request.path)?;
    let file = context.node().file_add(request).await?;
    Ok(made(file.row.hash.clone(), "file", file))
}

async fn list(State(context): State<Context>) -> Answer {
    Ok(document("files", context.node().files().await?))
}

async fn one(State(context): State<Context>, id: Id) -> Answer {
    Ok(document("file", context.node().file(id.of("file")?).await?))
}

async fn remove(State(context): State<Context>, id: Id) -> Answer {
    context.node().file_remove(id.of("file")?).await?;
    Ok(done())
}

async fn share(State(context): State<Context>, id: Id) -> Answer {
    Ok(document("file", context.node().file_share(id.of("file")?).await?))
}

async fn unshare(State(context): State<Context>, id: Id) -> Answer {
    Ok(document(
        "file",
        context.node().file_unshare(id.of("file")?).await?,
    ))
}

async fn verify(State(context): State<Context>, id: Id) -> Answer {
    Ok(document(
        "verify",
        context.node().file_verify(id.of("file")?).await?,
    ))
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct Gc {
    #[serde(default)]
    dry_run: bool,
}

async fn gc(State(context): State<Context>, request: Request) -> Answer {
    let held = read(request, BODY_SMALL, &context).await?;
    let Gc { dry_run } = if held.bytes.is_empty() {
        Gc::default()
    } else {
        parse(&held.bytes)?
    };
    Ok(document("gc", context.node().file_gc(dry_run).await?))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Range {
    of: String,
    #[serde(default)]
    from: u64,
    to: Option<u64>,
}

async fn bytes(State(context): State<Context>, Args(range): Args<Range>) -> Answer {
    let FileBytes {
        hash,
        len,
        mut pieces,
        ..
    } = context.node().file_read(range.of, range.from, range.to).await?;
    // A refusal before the first byte is an answer like any other; one in the middle breaks the connection, so that
    // what has come cannot pass for the whole.
    let first = pieces.recv().await.transpose()?;
    let body = unfold((first, pieces), |(first, mut pieces)| async move {
        let piece = match first {
            Some(piece) => Ok(piece),
            None => pieces.recv().await?.map_err(io::Error::other),
        };
        Some((piece, (None, pieces)))
    });
    let mut response = Response::new(Body::from_stream(body));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    headers.insert(
        HeaderName::from_static("x-content-type-options"),
        HeaderValue::from_static("nosniff"),
    );
    headers.insert(CONTENT_LENGTH, HeaderValue::from(len));
    if let Ok(tag) = HeaderValue::try_from(format!("\"{}\"", hash.replace('"', ""))) {
        headers.insert(ETAG, tag);
    }
    Ok(response)
}
