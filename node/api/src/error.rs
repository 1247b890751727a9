//! Why the API cannot start.

use hive_runtime::port::{Kind, Refused};
use std::{io, net::SocketAddr, path::PathBuf};

/// Why the API cannot start. Each has a stable code.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// Another daemon serves this socket.
    #[error("another hivenode already serves {}", .path.display())]
    SocketInUse {
        /// The socket.
        path: PathBuf,
    },
    /// The path cannot be a socket.
    #[error("cannot put the socket at {}: {why}", .path.display())]
    SocketPath {
        /// The socket.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The system refuses the socket.
    #[error("cannot listen at {}: {source}", .path.display())]
    Socket {
        /// The socket.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The address can be reached from outside.
    #[error("{addr} can be reached from other machines; the local API listens on loopback addresses only")]
    NotLoopback {
        /// The address asked for.
        addr: SocketAddr,
    },
    /// Another program has the port.
    #[error("port {} of {} is taken by another program", .addr.port(), .addr.ip())]
    PortInUse {
        /// The address asked for.
        addr: SocketAddr,
    },
    /// The system refuses the address.
    #[error("cannot listen at {addr}: {source}")]
    Listen {
        /// The address asked for.
        addr: SocketAddr,
        /// The system's reason.
        source: io::Error,
    },
    /// An address without a good token.
    #[error("the API's loopback address needs a token of at least {least} printable characters")]
    Token {
        /// Fewest characters.
        least: usize,
    },
}

impl ApiError {
    /// The stable code.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::SocketInUse { .. } => "api.socket_in_use",
            Self::SocketPath { .. } => "api.socket_path",
            Self::Socket { .. } => "api.socket",
            Self::NotLoopback { .. } => "api.not_loopback",
            Self::PortInUse { .. } => "api.port_in_use",
            Self::Listen { .. } => "api.listen",
            Self::Token { .. } => "api.token",
        }
    }
}

impl From<ApiError> for Refused {
    fn from(error: ApiError) -> Self {
        let (kind, hint) = match &error {
            ApiError::SocketInUse { .. } => (Kind::Conflict, Some("hivenode status")),
            ApiError::PortInUse { .. } => (Kind::Conflict, None),
            ApiError::NotLoopback { .. } => (Kind::Invalid, Some("use 127.0.0.1:PORT")),
            ApiError::SocketPath { .. } | ApiError::Token { .. } => (Kind::Invalid, None),
            ApiError::Socket { .. } | ApiError::Listen { .. } => (Kind::Internal, None),
        };
        let refused = Self::new(kind, error.code(), error.to_string());
        match hint {
            Some(hint) => refused.hint(hint),
            None => refused,
        }
    }
}
