//! Refusals and documents as HTTP responses.

use crate::document::{Document, VERSION};
use axum::{
    body::Body,
    http::{
        HeaderValue, StatusCode,
        header::{CONTENT_TYPE, WWW_AUTHENTICATE},
    },
    response::{IntoResponse, Response},
};
use hive_runtime::port::{Kind, Refused};
use serde::Serialize;

/// What a handler answers.
pub(crate) type Answer = Result<Response, Failure>;

/// A refusal on its way out, with a status of its own where HTTP has a better one than the family's.
#[derive(Debug)]
pub(crate) struct Failure {
    refused: Refused,
    status: StatusCode,
}

impl Failure {
    pub(crate) fn with_status(status: StatusCode, refused: Refused) -> Self {
        Self { refused, status }
    }

    /// A request that says something wrong.
    pub(crate) fn invalid(code: &str, message: impl Into<String>) -> Self {
        Refused::new(Kind::Invalid, code, message).into()
    }

    /// 413.
    pub(crate) fn too_large(what: &str, most: u64) -> Self {
        let message = format!("{what} is larger than the {most} bytes taken here");
        Self::with_status(
            StatusCode::PAYLOAD_TOO_LARGE,
            Refused::new(Kind::Invalid, "api.body_too_large", message),
        )
    }

    /// 408.
    pub(crate) fn body_stalled() -> Self {
        Self::with_status(
            StatusCode::REQUEST_TIMEOUT,
            Refused::new(
                Kind::Timeout,
                "api.body_timeout",
                "the rest of the request body did not come in time",
            )
            .retryable(),
        )
    }

    /// The body ended before its length.
    pub(crate) fn body_cut() -> Self {
        Self::invalid("api.body_cut", "the request body ended early or is malformed")
    }

    /// 503: a bound of this API is reached.
    pub(crate) fn busy(what: &str) -> Self {
        Refused::new(Kind::Unreachable, "api.busy", what)
            .retryable()
            .into()
    }
}

impl From<Refused> for Failure {
    fn from(refused: Refused) -> Self {
        let status = match refused.kind {
            Kind::Invalid => StatusCode::BAD_REQUEST,
            Kind::NotFound => StatusCode::NOT_FOUND,
            Kind::Denied => StatusCode::FORBIDDEN,
            Kind::Conflict | Kind::NoFit => StatusCode::CONFLICT,
            Kind::Unreachable => StatusCode::SERVICE_UNAVAILABLE,
            Kind::Timeout => StatusCode::GATEWAY_TIMEOUT,
            Kind::NoCredit => StatusCode::PAYMENT_REQUIRED,
            Kind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self { refused, status }
    }
}

/// The code of a refusal, left on its response for the audit line.
#[derive(Debug, Clone)]
pub(crate) struct Outcome(pub(crate) String);

/// The id of what a call has made, left on its response for the audit line.
#[derive(Debug, Clone)]
pub(crate) struct Subject(pub(crate) String);

#[derive(Serialize)]
struct ErrorPart<'a> {
    code: &'a str,
    kind: Kind,
    message: &'a str,
    hint: Option<&'a str>,
    retryable: bool,
}

/// The error body: ours, and RFC 9457's fields beside it.
#[derive(Serialize)]
struct ErrorBody<'a> {
    v: u32,
    error: ErrorPart<'a>,
    r#type: String,
    title: &'a str,
    status: u16,
    detail: &'a str,
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let Self { refused, status } = self;
        let body = ErrorBody {
            v: VERSION,
            error: ErrorPart {
                code: &refused.code,
                kind: refused.kind,
                message: &refused.message,
                hint: refused.hint.as_deref(),
                retryable: refused.retryable,
            },
            r#type: format!("urn:hivenode:error:{}", refused.code),
            title: status.canonical_reason().unwrap_or("Error"),
            status: status.as_u16(),
            detail: &refused.message,
        };
        let mut response = json(status, "application/problem+json", &body);
        if status == StatusCode::UNAUTHORIZED {
            response
                .headers_mut()
                .insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response.extensions_mut().insert(Outcome(refused.code));
        response
    }
}

fn json(status: StatusCode, kind: &'static str, value: &impl Serialize) -> Response {
    match serde_json::to_vec(value) {
        Ok(bytes) => {
            let mut response = Response::new(Body::from(bytes));
            *response.status_mut() = status;
            response
                .headers_mut()
                .insert(CONTENT_TYPE, HeaderValue::from_static(kind));
            response
        }
        // Only a map with keys that are no text fails, and no document has one.
        Err(error) => {
            tracing::error!(target: "hive::api", %error, "an answer could not be written as JSON");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

/// A success: `{"v":1, name: value}`.
pub(crate) fn document(name: &str, value: impl Serialize) -> Response {
    json(StatusCode::OK, "application/json", &Document::new(name, value))
}

/// A success that made something: like [`document`], and the audit line names it.
pub(crate) fn made(subject: String, name: &str, value: impl Serialize) -> Response {
    let mut response = document(name, value);
    response.extensions_mut().insert(Subject(subject));
    response
}

/// A success with nothing to show.
pub(crate) fn done() -> Response {
    document("done", true)
}
