//! What can go wrong between client and daemon, as the same [`Refused`] everything else uses.

use hive_runtime::port::{Kind, Refused};
use hyper::StatusCode;
use serde::Deserialize;
use std::io;

/// The body of an error, as the server writes it.
#[derive(Deserialize)]
struct ErrorBody {
    error: ErrorPart,
}

#[derive(Deserialize)]
struct ErrorPart {
    code: String,
    message: String,
    #[serde(default)]
    hint: Option<String>,
    #[serde(default)]
    retryable: bool,
    #[serde(default)]
    kind: Option<Kind>,
}

/// The refusal in an answer that is not a success.
pub(super) fn answered(status: StatusCode, body: &[u8]) -> Refused {
    if let Ok(ErrorBody { error }) = serde_json::from_slice(body) {
        return Refused {
            kind: error.kind.unwrap_or_else(|| kind_of(status)),
            code: error.code,
            message: error.message,
            hint: error.hint,
            retryable: error.retryable,
        };
    }
    Refused::new(
        kind_of(status),
        "api.unreadable",
        format!("the daemon answered {status} without a reason"),
    )
}

fn kind_of(status: StatusCode) -> Kind {
    match status.as_u16() {
        404 => Kind::NotFound,
        401 | 403 => Kind::Denied,
        402 => Kind::NoCredit,
        409 => Kind::Conflict,
        408 | 504 => Kind::Timeout,
        503 => Kind::Unreachable,
        400..=499 => Kind::Invalid,
        _ => Kind::Internal,
    }
}

/// No connection came about.
pub(super) fn not_connected(place: &str, error: &io::Error) -> Refused {
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => Refused::new(
            Kind::Unreachable,
            "daemon.not_running",
            "hivenode is not running here. Start it: hivenode up",
        )
        .hint("hivenode up")
        .retryable(),
        io::ErrorKind::PermissionDenied => Refused::new(
            Kind::Denied,
            "daemon.denied",
            format!("{place} belongs to another user; only that user may control this daemon"),
        ),
        io::ErrorKind::TimedOut => Refused::new(
            Kind::Timeout,
            "daemon.slow",
            format!("the daemon at {place} takes no connection"),
        )
        .retryable(),
        _ => Refused::new(
            Kind::Unreachable,
            "daemon.unreachable",
            format!("cannot reach the daemon at {place}: {error}"),
        )
        .retryable(),
    }
}

/// The connection broke before the answer was whole.
pub(super) fn cut(error: &dyn std::fmt::Display) -> Refused {
    Refused::new(
        Kind::Unreachable,
        "daemon.connection_lost",
        format!("the connection to the daemon ended before its answer: {error}"),
    )
    .retryable()
}

/// No answer in time.
pub(super) fn slow(seconds: u64) -> Refused {
    Refused::new(
        Kind::Timeout,
        "daemon.slow",
        format!("the daemon has not answered within {seconds} s"),
    )
    .retryable()
}

/// An answer this program cannot read.
pub(super) fn unreadable(error: &dyn std::fmt::Display) -> Refused {
    Refused::new(
        Kind::Internal,
        "api.unreadable",
        format!("cannot read the daemon's answer: {error}"),
    )
    .hint("hivenode version")
}
