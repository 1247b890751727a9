//! What happens, as it happens.

use super::Route;
use crate::{answer::Answer, context::Context, document::Document, limits::EVENT_HEARTBEAT, stream};
use axum::{
    extract::State,
    http::{HeaderMap, header::ACCEPT},
    routing::get,
};
use bytes::Bytes;
use futures::stream::unfold;
use serde::Serialize;
use std::convert::Infallible;
use tokio::{sync::broadcast::error::RecvError, time::timeout};

pub(super) const ROUTES: &[Route] = &[Route::new(
    "GET",
    "/v1/events",
    "Everything that happens from now on, as server-sent events or (Accept: application/x-ndjson) a document a line",
    || get(events),
)];

async fn events(State(context): State<Context>, headers: HeaderMap) -> Answer {
    let lines = headers
        .get(ACCEPT)
        .and_then(|accept| accept.to_str().ok())
        .is_some_and(|accept| accept.contains(stream::NDJSON));
    let receiver = context.node().events().await?;
    let body = unfold(receiver, move |mut receiver| async move {
        let bytes = match timeout(EVENT_HEARTBEAT, receiver.recv()).await {
            Ok(Ok(event)) => write(lines, &event.kind, "event", &event),
            Ok(Err(RecvError::Lagged(lost))) => write(lines, "lost", "lost", &lost),
            Ok(Err(RecvError::Closed)) => return None,
            // An empty line or comment: says that the stream is alive and finds out whether its reader is.
            Err(_) if lines => Bytes::from_static(b"\n"),
            Err(_) => Bytes::from_static(b":\n\n"),
        };
        Some((Ok::<_, Infallible>(bytes), receiver))
    });
    let kind = if lines { stream::NDJSON } else { stream::SSE };
    Ok(stream::response(kind, body))
}

fn write(lines: bool, kind: &str, name: &str, value: &impl Serialize) -> Bytes {
    let line = stream::line(&Document::new(name, value));
    if lines {
        return line;
    }
    // JSON has no bare line ends and kinds are dotted words: neither can break the framing.
    let kind: String = kind.chars().filter(|c| !c.is_control()).collect();
    let mut text = format!("event: {kind}\ndata: ").into_bytes();
    text.extend_from_slice(&line);
    text.push(b'\n');
    text.into()
}
