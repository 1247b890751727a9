//! The membership gate: `/hive/member/1`, spoken before anything else on a new connection.
//!
//! The dialer opens the stream. Both send [`Hello`], each judges the other's, both send [`Verdict`]; a peer is a
//! member here when our verdict and its verdict are both `Welcome`. What is said and how it is judged is the
//! owner's, through [`Gate`]; this module keeps the order, the bounds and the deadline.

use crate::{
    event::Admission,
    frame::{self, FrameError},
    stream::NetStream,
};
use hive_protocol::{
    ids::NodeId,
    member::{GATE_TIMEOUT, Hello, MAX_ADDRS, Verdict},
};
use std::time::Duration;
use tokio::io::AsyncWriteExt;

/// Longest version text taken from a hello, in bytes.
const MAX_VERSION: usize = 32;
/// Longest code and detail taken from a verdict, in bytes.
const MAX_CODE: usize = 64;
const MAX_DETAIL: usize = 256;

/// Says this node's first words and judges those of others. Called from the network's tasks: must not block for
/// longer than a signature check.
pub trait Gate: Send + Sync + 'static {
    /// This node's hello now; `listen` are the addresses it listens on, at most 8.
    fn hello(&self, listen: Vec<String>) -> Hello;
    /// What this node makes of a peer's hello. The connection proves that the peer is `node`.
    fn judge(&self, node: NodeId, hello: &Hello) -> Verdict;
}

/// What one run of the gate came to.
#[derive(Debug, Clone)]
pub(crate) struct Outcome {
    /// What the peer said, if it said anything usable.
    pub hello: Option<Box<Hello>>,
    /// What it came to.
    pub admission: Admission,
    /// Whether both sides have spoken; otherwise the exchange broke off.
    pub judged: bool,
    /// Whether there was no exchange because the connection it was to be on has ended.
    pub lost: bool,
}

/// Runs the exchange on its stream, within [`GATE_TIMEOUT`].
pub(crate) async fn exchange(mut stream: NetStream, gate: &dyn Gate, listen: Vec<String>) -> Outcome {
    let node = stream.node();
    let mut hello = None;
    let limit = Duration::from_millis(GATE_TIMEOUT.0);
    match tokio::time::timeout(limit, talk(&mut stream, gate, node, listen, &mut hello)).await {
        Ok(Ok(admission)) => Outcome {
            hello,
            admission,
            judged: true,
            lost: false,
        },
        Ok(Err(e)) => Outcome {
            hello,
            admission: unsaid("member.malformed", format!("the exchange broke off: {e}")),
            judged: false,
            lost: false,
        },
        Err(_) => Outcome {
            hello,
            admission: silence(),
            judged: false,
            lost: false,
        },
    }
}

/// The admission of a peer that said nothing in time.
pub(crate) fn silence() -> Admission {
    unsaid(
        "member.timeout",
        format!(
            "the peer did not finish the membership exchange within {} ms",
            GATE_TIMEOUT.0
        ),
    )
}

/// The admission of a peer whose exchange broke off.
pub(crate) fn unsaid(code: &str, detail: String) -> Admission {
    Admission::RefusedByUs {
        code: code.to_owned(),
        detail,
    }
}

async fn talk(
    stream: &mut NetStream,
    gate: &dyn Gate,
    node: NodeId,
    listen: Vec<String>,
    heard: &mut Option<Box<Hello>>,
) -> Result<Admission, FrameError> {
    frame::write(stream, &gate.hello(listen)).await?;
    let hello: Hello = frame::read(stream).await?.ok_or(FrameError::Eof)?;
    let ours = if hello.listen.len() > MAX_ADDRS || hello.version.len() > MAX_VERSION {
        Verdict::Refused {
            code: "member.malformed".to_owned(),
            detail: format!(
                "{} addresses (at most {MAX_ADDRS}) and a version of {} bytes (at most {MAX_VERSION})",
                hello.listen.len(),
                hello.version.len()
            ),
        }
    } else {
        gate.judge(node, &hello)
    };
    *heard = Some(Box::new(hello));
    frame::write(stream, &ours).await?;
    let theirs: Verdict = frame::read(stream).await?.ok_or(FrameError::Eof)?;
    // The peer may have gone as soon as it had our verdict: its end of the stream does not matter any more.
    let _ = stream.shutdown().await;
    Ok(match (ours, theirs) {
        (Verdict::Welcome, Verdict::Welcome) => Admission::Member,
        (Verdict::Refused { code, detail }, _) => Admission::RefusedByUs { code, detail },
        (Verdict::Welcome, Verdict::Refused { code, detail }) => Admission::RefusedByPeer {
            code: cut(code, MAX_CODE),
            detail: cut(detail, MAX_DETAIL),
        },
    })
}

fn cut(text: String, limit: usize) -> String {
    if text.len() <= limit {
        return text;
    }
    let mut end = limit;
    while !text.is_char_boundary(end) {
        end = end.saturating_sub(1);
    }
    text.get(..end).unwrap_or_default().to_owned()
}
