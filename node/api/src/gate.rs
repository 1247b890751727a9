//! The gate every request passes: who is it, may they, and afterwards the counters and the audit line.

use crate::{
    answer::{Failure, Outcome, Subject},
    context::Context,
    limits::ID_CHARS,
};
use axum::{
    extract::{MatchedPath, Request, State},
    http::{HeaderMap, Method, StatusCode, header::AUTHORIZATION},
    middleware::Next,
    response::{IntoResponse, Response},
};
use hive_runtime::port::{Kind, Refused};
use std::{fmt, time::Instant};
use subtle::ConstantTimeEq;

/// Who is at the other end of a connection.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Peer {
    /// A process of this machine, with its user where the system tells.
    Unix(Option<u32>),
    /// Somebody at the loopback address, who must show the token.
    Tcp,
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(Some(uid)) => write!(f, "uid:{uid}"),
            Self::Unix(None) => f.write_str("uid:unknown"),
            Self::Tcp => f.write_str("token"),
        }
    }
}

/// Lets a request through or not, and writes down what became of it.
pub(crate) async fn pass(State(context): State<Context>, request: Request, next: Next) -> Response {
    let peer = request.extensions().get::<Peer>().copied();
    let mut record = Record::new(&context, peer, &request);
    let response = match admit(&context, peer, request.headers()) {
        Ok(()) => next.run(request).await,
        Err(failure) => failure.into_response(),
    };
    record.end(&response);
    response
}

fn admit(context: &Context, peer: Option<Peer>, headers: &HeaderMap) -> Result<(), Failure> {
    // The socket's mode has let only its owner in.
    if let Some(Peer::Unix(_)) = peer {
        return Ok(());
    }
    let shown = headers
        .get(AUTHORIZATION)
        .map(|value| value.as_bytes())
        .and_then(|value| value.strip_prefix(b"Bearer "));
    match (shown, context.token()) {
        (Some(shown), Some(token)) if bool::from(shown.ct_eq(token.as_bytes())) => Ok(()),
        (shown, _) => {
            let message = if shown.is_some() {
                "this is not the API's token"
            } else {
                "the API's loopback address asks for its token: Authorization: Bearer TOKEN"
            };
            Err(Failure::with_status(
                StatusCode::UNAUTHORIZED,
                Refused::new(Kind::Denied, "api.unauthorized", message),
            ))
        }
    }
}

/// One request from its head to its answer. Dropped before its answer when the client goes away.
struct Record {
    context: Context,
    who: Option<Peer>,
    method: &'static str,
    route: Option<MatchedPath>,
    subject: String,
    waits: bool,
    started: Instant,
    ended: bool,
}

impl Record {
    fn new(context: &Context, who: Option<Peer>, request: &Request) -> Self {
        let route = request.extensions().get::<MatchedPath>().cloned();
        let subject = route
            .as_ref()
            .map(|route| subject(route.as_str(), request.uri().path()))
            .unwrap_or_default();
        Self {
            context: context.clone(),
            who,
            method: method_name(request.method()),
            route,
            subject,
            waits: request.uri().query().is_some_and(|q| {
                q.split('&')
                    .any(|pair| pair == "wait=true" || pair.starts_with("wait_ms="))
            }),
            started: Instant::now(),
            ended: false,
        }
    }

    fn end(&mut self, response: &Response) {
        self.ended = true;
        if let Some(Subject(made)) = response.extensions().get::<Subject>() {
            self.subject = plain(made);
        }
        let status = response.status().as_u16();
        let took = self.started.elapsed();
        self.context.metrics().answered(
            self.route.as_ref().map_or("none", MatchedPath::as_str),
            self.method,
            status,
            (!self.waits).then_some(took),
        );
        let outcome = response.extensions().get::<Outcome>();
        self.audit(outcome.map_or("ok", |o| &o.0), status);
    }

    /// One line for each call that changes something, refused or not. Neither bodies nor headers are in it: tickets,
    /// tokens and amounts stay out of logs.
    fn audit(&self, outcome: &str, status: u16) {
        let Some(route) = &self.route else { return };
        if matches!(self.method, "GET" | "HEAD") {
            return;
        }
        let who = self.who.unwrap_or(Peer::Unix(None));
        tracing::info!(
            target: "hive::audit",
            who = %who,
            method = self.method,
            route = route.as_str(),
            subject = %self.subject,
            outcome,
            status,
            took_us = u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX),
            "api call"
        );
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        if !self.ended {
            // What was asked may have been done: it must be seen in the log all the same.
            self.audit("client.gone", 499);
        }
    }
}

fn method_name(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        _ => "other",
    }
}

/// The part of a path that stands where its route has a parameter.
fn subject(route: &str, path: &str) -> String {
    route
        .split('/')
        .zip(path.split('/'))
        .find(|(name, _)| name.starts_with('{'))
        .map(|(_, id)| plain(id))
        .unwrap_or_default()
}

/// Printable ASCII only and not too long: fit for a log line.
fn plain(text: &str) -> String {
    text.chars()
        .filter(char::is_ascii_graphic)
        .take(ID_CHARS)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subjects_are_found_and_cannot_forge_log_lines() {
        assert_eq!(subject("/v1/jobs/{id}/stop", "/v1/jobs/j_1/stop"), "j_1");
        assert_eq!(subject("/v1/jobs", "/v1/jobs"), "");
        assert_eq!(plain("a\nb\u{1b}[31m c"), "ab[31mc");
    }
}
