//! Carrying bytes between the two ends of a circuit, as far as the book allows.

use super::{
    book::{CircuitId, Direction, PIECE, Pass},
    serve::Desk,
};
use crate::stream::NetStream;
use std::{io, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf},
    time::timeout,
};

/// Bytes read at once where nothing is limited: large reads are what makes a relay cheap.
const LARGE_PIECE: usize = 128 << 10;
/// An end that takes no byte for this long is given up.
const STALLED: Duration = Duration::from_secs(60);
/// After one end has said its last byte the other one has this long for its own.
const LINGER: Duration = Duration::from_secs(30);

/// Carries both ways until one end breaks, both have ended, or a limit is reached.
pub(super) async fn carry(desk: &Arc<Desk>, id: CircuitId, opener: NetStream, end: NetStream) {
    let (from_opener, to_opener) = opener.split();
    let (from_end, to_end) = end.split();
    let forth = one_way(desk, id, Direction::Forth, from_opener, to_end);
    let back = one_way(desk, id, Direction::Back, from_end, to_opener);
    tokio::pin!(forth, back);
    let ended = tokio::select! {
        ended = &mut forth => match ended {
            Ok(()) => timeout(LINGER, &mut back).await.unwrap_or(Ok(())),
            broken => broken,
        },
        ended = &mut back => match ended {
            Ok(()) => timeout(LINGER, &mut forth).await.unwrap_or(Ok(())),
            broken => broken,
        },
    };
    if let Err(e) = ended {
        tracing::debug!(target: "hive_net::relay", "circuit ended: {e}");
    }
}

async fn one_way(
    desk: &Arc<Desk>,
    id: CircuitId,
    way: Direction,
    mut from: ReadHalf<NetStream>,
    mut to: WriteHalf<NetStream>,
) -> io::Result<()> {
    let mut buffer = vec![0; if desk.limited { PIECE } else { LARGE_PIECE }];
    loop {
        let read = from.read(&mut buffer).await?;
        if read == 0 {
            return to.shutdown().await;
        }
        let (bytes, after) = match desk.book().pass(desk.now(), id, way, read as u64) {
            Pass::On { bytes, after } => (bytes, after),
            Pass::Over(why) => return Err(io::Error::other(why)),
        };
        if !after.is_zero() {
            tokio::time::sleep(after).await;
        }
        let allowed = usize::try_from(bytes).unwrap_or(read).min(read);
        let sending = async {
            to.write_all(buffer.get(..allowed).unwrap_or_default()).await?;
            to.flush().await
        };
        timeout(STALLED, sending)
            .await
            .map_err(|_| io::Error::other("an end takes no bytes"))??;
        if allowed < read {
            return Err(io::Error::other("over a limit"));
        }
    }
}
