//! The local API by hand: HTTP over the socket of a daemon.

use serde_json::Value;
use std::{
    io::{self, Read, Write},
    os::unix::net::UnixStream,
    path::Path,
    time::{Duration, Instant},
};

/// Longest silence of the API within one answer.
const PATIENCE: Duration = Duration::from_secs(60);
/// Largest answer taken, in bytes: the files of a trial are far smaller.
const MAX_ANSWER: u64 = 16 << 20;

/// An answer.
#[derive(Debug)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// Body.
    pub body: Vec<u8>,
    /// From the request to the first byte of the body.
    pub first: Duration,
}

impl Answer {
    /// The body as JSON; null when it is none.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }
}

fn broken(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// Asks once.
///
/// # Errors
/// When nobody answers, or not in HTTP.
pub fn ask(socket: &Path, method: &str, path: &str, body: Option<&Value>) -> io::Result<Answer> {
    let begun = Instant::now();
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let body = body.map(Value::to_string).unwrap_or_default();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes())?;
    let (mut all, mut part) = (Vec::new(), [0; 4096]);
    // The head, and a byte of the body.
    let head = loop {
        let n = match stream.read(&mut part) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            read => read?,
        };
        all.extend_from_slice(part.get(..n).unwrap_or_default());
        let end = all.windows(4).position(|w| w == b"\r\n\r\n").map(|at| at + 4);
        match end {
            Some(end) if all.len() > end || n == 0 => break end,
            None if n == 0 => return Err(broken("no answer")),
            _ if all.len() as u64 > MAX_ANSWER => return Err(broken("an answer without end")),
            _ => {}
        }
    };
    let first = begun.elapsed();
    stream.take(MAX_ANSWER).read_to_end(&mut all)?;
    let body = all.split_off(head);
    let text = String::from_utf8_lossy(&all);
    let status = text.split(' ').nth(1).and_then(|s| s.parse().ok());
    // An answer that breaks off is no answer.
    let length = text.lines().find_map(|l| {
        let (name, value) = l.split_once(':')?;
        name.eq_ignore_ascii_case("content-length")
            .then(|| value.trim().parse::<usize>().ok())?
    });
    if length.is_some_and(|n| n != body.len()) {
        return Err(broken("the answer broke off"));
    }
    Ok(Answer {
        status: status.ok_or_else(|| broken("no HTTP"))?,
        body,
        first,
    })
}
