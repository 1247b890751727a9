//! What a started daemon says to whoever started it: one line of JSON on standard output.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::io::{self, Write};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, BufReader};

/// Longest line taken from a started daemon, in bytes.
const MOST_BYTES: u64 = 64 << 10;

/// A daemon that serves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ready {
    /// Its process.
    pub pid: u32,
    /// Its socket.
    pub socket: String,
}

/// The line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Announced {
    /// It serves.
    Ready(Ready),
    /// It could not start: the error as a document.
    Failed(Value),
}

/// Says it. Nobody may be listening any more, which is fine.
pub(super) fn announce(what: &Announced) {
    if let Ok(line) = serde_json::to_string(what) {
        let mut out = io::stdout().lock();
        let _ = writeln!(out, "{line}").and_then(|()| out.flush());
    }
}

/// Reads the line; `None` when the daemon ended without one.
pub async fn read_announcement(from: impl AsyncRead + Unpin) -> Option<Announced> {
    let mut line = String::new();
    let mut from = BufReader::new(from.take(MOST_BYTES));
    from.read_line(&mut line).await.ok()?;
    serde_json::from_str(&line).ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[tokio::test]
    async fn the_line_comes_back() {
        let ready = Announced::Ready(Ready {
            pid: 7,
            socket: "/x".into(),
        });
        let line = serde_json::to_string(&ready).unwrap() + "\n";
        assert_eq!(read_announcement(line.as_bytes()).await, Some(ready));
        assert_eq!(read_announcement(&b""[..]).await, None);
        assert_eq!(read_announcement(&b"thread panicked\n"[..]).await, None);
    }
}
