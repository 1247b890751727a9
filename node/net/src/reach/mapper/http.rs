//! As much HTTP as a router's UPnP needs: one request, one bounded answer, no redirects.

use std::{io, net::SocketAddr, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

/// Largest answer in bytes: descriptions of real routers are 3 to 20 KB.
const MAX_ANSWER: u64 = 64 << 10;
/// A router answers within this time.
const PATIENCE: Duration = Duration::from_secs(4);

/// An answer.
#[derive(Debug)]
pub(super) struct Answer {
    /// The status code.
    pub status: u16,
    /// The body as text; what is no UTF-8 is replaced.
    pub body: String,
}

/// Sends a request (its first line without the version, further header lines, a body) and reads the answer.
pub(super) async fn ask(to: SocketAddr, line: &str, headers: &str, body: &str) -> io::Result<Answer> {
    let request = format!(
        "{line} HTTP/1.1\r\nHost: {to}\r\nConnection: close\r\nContent-Length: {}\r\n{headers}\r\n{body}",
        body.len()
    );
    let asking = async {
        let mut stream = TcpStream::connect(to).await?;
        stream.write_all(request.as_bytes()).await?;
        read(&mut stream).await
    };
    timeout(PATIENCE, asking)
        .await
        .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
}

/// Reads until the answer is complete, or the router closes: not all of them do, although they are asked to.
async fn read(stream: &mut TcpStream) -> io::Result<Answer> {
    let mut bytes = Vec::new();
    let mut limited = stream.take(MAX_ANSWER);
    loop {
        let ended = limited.read_buf(&mut bytes).await? == 0;
        match answer(&bytes) {
            Some((answer, complete)) if ended || complete => return Ok(answer),
            None if ended => return Err(io::Error::new(io::ErrorKind::InvalidData, "no HTTP answer")),
            _ => {}
        }
    }
}

/// Takes an answer apart, and says whether all of it is there.
fn answer(bytes: &[u8]) -> Option<(Answer, bool)> {
    let end = bytes.windows(4).position(|w| w == b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(bytes.get(..end)?).into_owned();
    let rest = bytes.get(end.saturating_add(4)..)?;
    let mut lines = head.lines();
    let status = lines
        .next()?
        .strip_prefix("HTTP/1.")?
        .split(' ')
        .nth(1)?
        .parse()
        .ok()?;
    let header = |name: &str| {
        head.lines().skip(1).find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.trim()
                .eq_ignore_ascii_case(name)
                .then(|| value.trim().to_owned())
        })
    };
    let chunked = header("transfer-encoding").is_some_and(|v| v.to_ascii_lowercase().contains("chunked"));
    let (body, complete) = if chunked {
        dechunk(rest)
    } else {
        let length = header("content-length").and_then(|v| v.parse::<usize>().ok());
        (rest.to_vec(), length.is_some_and(|length| rest.len() >= length))
    };
    let body = String::from_utf8_lossy(&body).into_owned();
    Some((Answer { status, body }, complete))
}

/// Puts chunks together, as far as they are there; says whether the last one is.
fn dechunk(mut rest: &[u8]) -> (Vec<u8>, bool) {
    let mut body = Vec::new();
    while let Some(end) = rest.windows(2).position(|w| w == b"\r\n") {
        let line = rest.get(..end).map(String::from_utf8_lossy).unwrap_or_default();
        let digits = line.split(';').next().unwrap_or_default().trim().to_owned();
        let Ok(size) = usize::from_str_radix(&digits, 16) else {
            return (body, true);
        };
        if size == 0 {
            return (body, true);
        }
        let from = end.saturating_add(2);
        let to = from.saturating_add(size);
        let Some(chunk) = rest.get(from..to) else {
            return (body, false);
        };
        body.extend_from_slice(chunk);
        rest = rest.get(to.saturating_add(2)..).unwrap_or_default();
    }
    (body, false)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn answers_are_taken_apart_and_whole_ones_are_known() {
        let (whole, complete) = answer(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi").unwrap();
        assert_eq!((whole.status, whole.body.as_str(), complete), (200, "hi", true));
        let (part, complete) = answer(b"HTTP/1.0 500 No\r\ncontent-length: 9\r\n\r\nhi").unwrap();
        assert_eq!((part.status, complete), (500, false));
        let chunked =
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;x\r\nabc\r\n2\r\nde\r\n0\r\n\r\n";
        let (whole, complete) = answer(chunked).unwrap();
        assert_eq!((whole.body.as_str(), complete), ("abcde", true));
        let (part, complete) = answer(&chunked[..chunked.len() - 10]).unwrap();
        assert_eq!((part.body.as_str(), complete), ("abc", false));
    }

    #[test]
    fn nonsense_is_refused_and_nothing_panics() {
        for bytes in [&b""[..], b"HTTP/1.1", b"SSH-2.0\r\n\r\n", b"HTTP/1.1 x\r\n\r\n"] {
            assert!(answer(bytes).is_none());
        }
        let (_, complete) =
            answer(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\nabc").unwrap();
        assert!(!complete);
        let (_, complete) =
            answer(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nabc").unwrap();
        assert!(complete);
    }
}
