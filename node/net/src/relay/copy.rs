//! Carries the bytes of one circuit.

use super::{
    book::{LARGE_PIECE, PIECE},
    desk::Desk,
    terms::{CircuitId, Cut, Direction, Pass},
};
use crate::{bulk::links::Link, stream::NetStream};
use hive_protocol::ids::NodeId;
use std::{future::poll_fn, io, sync::Arc, task::Poll, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf},
    time::{sleep, timeout},
};

/// A circuit at rest holds a buffer of this size each way.
const AT_REST: usize = 2 << 10;
/// So many small pieces in a row say that the bulk is over.
const SMALL_IN_A_ROW: u8 = 8;
/// An end that takes no byte for this long is given up.
pub(super) const STALLED: Duration = Duration::from_secs(60);
/// After one end has said its last byte the other one has this long for its own.
pub(super) const LINGER: Duration = Duration::from_secs(30);

/// Why one way has ended before its reader said so.
#[derive(Debug, thiserror::Error)]
pub(super) enum Broken {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("{0}")]
    Cut(Cut),
}

/// Carries both ways until one end breaks, both have ended, or a limit is reached. What breaks is not passed on as an
/// end: both streams are dropped without one.
pub(super) async fn carry(desk: &Arc<Desk>, id: CircuitId, opener: NetStream, end: NetStream) {
    let cutter = desk.cutter();
    let tied = [tie(desk, opener.node()), tie(desk, end.node())];
    let [Ok(near), Ok(far)] = tied else {
        tracing::debug!(target: "hive_net::relay", "too many circuits");
        return;
    };
    let links = [near, far];
    let (from_opener, to_opener) = opener.split();
    let (from_end, to_end) = end.split();
    let ways = async {
        let forth = one_way(desk, id, Direction::Forth, from_opener, to_end);
        let back = one_way(desk, id, Direction::Back, from_end, to_opener);
        tokio::pin!(forth, back);
        tokio::select! {
            ended = &mut forth => match ended {
                Ok(()) => timeout(LINGER, &mut back).await.unwrap_or(Ok(())),
                broken => broken,
            },
            ended = &mut back => match ended {
                Ok(()) => timeout(LINGER, &mut forth).await.unwrap_or(Ok(())),
                broken => broken,
            },
        }
    };
    let ended = tokio::select! {
        ended = ways => ended,
        cut = lapsed(desk, id) => Err(Broken::Cut(cut)),
        () = cutter.cancelled() => Err(Broken::Cut(Cut::Drained)),
        () = parted(&links) => Err(Broken::Io(io::ErrorKind::ConnectionAborted.into())),
    };
    if let Err(e) = ended {
        if let Broken::Cut(why) = e {
            desk.book().cut(id, why);
        }
        tracing::debug!(target: "hive_net::relay", "circuit ended: {e}");
    }
}

/// Has a circuit know when this end of it is no connected member any more.
pub(super) fn tie(desk: &Desk, node: NodeId) -> io::Result<Link> {
    let relayed = &desk.net.shared.bulk.relayed;
    relayed
        .enter(node)
        .ok_or_else(|| io::Error::other("too many circuits"))
}

/// Waits until one of the two is no connected member any more.
pub(super) async fn parted(links: &[Link]) {
    poll_fn(|cx| {
        // All are asked, so that each knows whom to wake.
        let ended = links.iter().filter(|link| link.reader_waits(cx.waker())).count();
        if ended > 0 { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

/// Waits until a circuit's time, or the patience with its silence, is over.
pub(super) async fn lapsed(desk: &Desk, id: CircuitId) -> Cut {
    loop {
        let Some(until) = desk.book().until(id) else {
            return Cut::Gone;
        };
        sleep(until.saturating_sub(desk.now())).await;
        if let Some(why) = desk.book().lapse(desk.now(), id) {
            return why;
        }
    }
}

async fn one_way(
    desk: &Arc<Desk>,
    id: CircuitId,
    way: Direction,
    mut from: ReadHalf<NetStream>,
    mut to: WriteHalf<NetStream>,
) -> Result<(), Broken> {
    let mut buffer = Buffer::new();
    loop {
        let most = desk.book().piece(id, way);
        let read = from.read(buffer.room(most)).await?;
        if read == 0 {
            to.shutdown().await?;
            return Ok(());
        }
        let (bytes, after) = match desk.book().pass(desk.now(), id, way, read as u64) {
            Pass::On { bytes, after } => (bytes, after),
            Pass::Over(why) => return Err(Broken::Cut(why)),
        };
        if !after.is_zero() {
            sleep(after).await;
        }
        let allowed = usize::try_from(bytes).unwrap_or(read).min(read);
        let sending = async {
            to.write_all(buffer.first(allowed)).await?;
            to.flush().await
        };
        timeout(STALLED, sending)
            .await
            .map_err(|_| Broken::Cut(Cut::Stalled))??;
        if allowed < read {
            // The book has ended it already, and counted why.
            return Err(Broken::Cut(Cut::Gone));
        }
        buffer.fit(read);
    }
}

/// A buffer that grows with what comes, and shrinks when it comes no more.
struct Buffer {
    bytes: Vec<u8>,
    /// Small pieces in a row.
    small: u8,
}

impl Buffer {
    fn new() -> Self {
        Self {
            bytes: vec![0; AT_REST],
            small: 0,
        }
    }

    fn room(&mut self, most: usize) -> &mut [u8] {
        let room = self.bytes.len().min(most);
        self.bytes.get_mut(..room).unwrap_or_default()
    }

    fn first(&self, bytes: usize) -> &[u8] {
        self.bytes.get(..bytes).unwrap_or_default()
    }

    fn fit(&mut self, read: usize) {
        self.small = if read < AT_REST {
            self.small.saturating_add(1)
        } else {
            0
        };
        if read == self.bytes.len() && read < LARGE_PIECE {
            let larger = if read < PIECE { PIECE } else { LARGE_PIECE };
            self.bytes.resize(larger, 0);
        } else if self.small >= SMALL_IN_A_ROW && self.bytes.len() > AT_REST {
            self.bytes = vec![0; AT_REST];
        }
    }
}
