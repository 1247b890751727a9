//! The optional loopback address.

use crate::error::ApiError;
use std::{io, net::SocketAddr};
use tokio::net::TcpListener;

/// Fewest characters of a token: 128 bits in base 16.
pub(crate) const TOKEN_LEAST: usize = 32;

/// Listens at a loopback address.
pub(crate) async fn bind(addr: SocketAddr, token: Option<&str>) -> Result<TcpListener, ApiError> {
    if !addr.ip().is_loopback() {
        return Err(ApiError::NotLoopback { addr });
    }
    let good =
        token.is_some_and(|token| token.len() >= TOKEN_LEAST && token.bytes().all(|b| b.is_ascii_graphic()));
    if !good {
        return Err(ApiError::Token { least: TOKEN_LEAST });
    }
    TcpListener::bind(addr)
        .await
        .map_err(|source| match source.kind() {
            io::ErrorKind::AddrInUse => ApiError::PortInUse { addr },
            _ => ApiError::Listen { addr, source },
        })
}
