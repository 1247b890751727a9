//! A task's log as a stream.

use super::Route;
use crate::{
    answer::Answer,
    ask::{Args, Id},
    context::Context,
    document::{Document, LogLine},
    stream,
};
use axum::{extract::State, routing::get};
use bytes::Bytes;
use data_encoding::BASE64;
use futures::stream::unfold;
use hive_runtime::port::LogChunk;
use serde::Deserialize;
use std::convert::Infallible;

pub(super) const ROUTES: &[Route] = &[Route::new(
    "GET",
    "/v1/tasks/{id}/logs",
    "A task's log: ?follow=true until it ends, ?raw=true as bytes",
    || get(logs),
)];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct How {
    #[serde(default)]
    follow: bool,
    #[serde(default)]
    raw: bool,
}

async fn logs(State(context): State<Context>, id: Id, Args(how): Args<How>) -> Answer {
    let chunks = context.node().logs(id.of("task")?, how.follow).await?;
    let (kind, write): (_, fn(LogChunk) -> Bytes) = if how.raw {
        ("application/octet-stream", |chunk| chunk.bytes.into())
    } else {
        (stream::NDJSON, line)
    };
    // One chunk is taken when the connection has room for it: a slow reader slows the log, never fills memory.
    let body = unfold(chunks, move |mut chunks| async move {
        loop {
            let bytes = write(chunks.recv().await?);
            // An empty chunk would end a chunked body.
            if !bytes.is_empty() {
                return Some((Ok::<_, Infallible>(bytes), chunks));
            }
        }
    });
    Ok(stream::response(kind, body))
}

fn line(chunk: LogChunk) -> Bytes {
    stream::line(&Document::new(
        "log",
        LogLine {
            stderr: chunk.stderr,
            data: BASE64.encode(&chunk.bytes),
        },
    ))
}
