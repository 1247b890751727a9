//! Carries the bytes of one circuit between two TCP connections, within the kernel: through a pipe, never through
//! memory of ours.

use super::{
    book::{LARGE_PIECE, PIECE},
    copy::{Broken, LINGER, STALLED, lapsed, parted, tie},
    desk::Desk,
    terms::{CircuitId, Cut, Direction, Pass},
};
use crate::bulk::{links::Link, socket};
use hive_protocol::ids::NodeId;
use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};
use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    sync::{Mutex, PoisonError},
};
use tokio::{
    io::Interest,
    net::TcpStream,
    time::{sleep, timeout},
};

/// Pipes kept for the next bytes: only circuits on which bytes are under way need one.
const MAX_KEPT: usize = 32;
/// What a pipe is asked to hold; the system may give less.
const PIPE: usize = 256 << 10;

/// An empty pipe.
struct Pipe {
    out: OwnedFd,
    inn: OwnedFd,
}

/// Pipes that nobody uses just now.
#[derive(Default)]
pub(super) struct Pipes(Mutex<Vec<Pipe>>);

impl Pipes {
    fn take(&self) -> io::Result<Pipe> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop();
        if let Some(pipe) = kept {
            return Ok(pipe);
        }
        let (out, inn) = pipe_with(PipeFlags::NONBLOCK | PipeFlags::CLOEXEC)?;
        // Refused where a user has many large pipes: a small one does, too.
        let _ = fcntl_setpipe_size(&inn, PIPE);
        Ok(Pipe { out, inn })
    }

    fn give(&self, pipe: Pipe) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() < MAX_KEPT {
            kept.push(pipe);
        }
    }
}

/// Carries both ways until one end breaks, both have ended, or a limit is reached. Ends are nodes that have to stay
/// members.
pub(super) async fn carry(desk: &Desk, id: CircuitId, near: (NodeId, TcpStream), far: (NodeId, TcpStream)) {
    if let Err(e) = carried(desk, id, near, far).await {
        if let Broken::Cut(why) = e {
            desk.book().cut(id, why);
        }
        tracing::debug!(target: "hive_net::relay", "circuit ended: {e}");
    }
}

async fn carried(
    desk: &Desk,
    id: CircuitId,
    near: (NodeId, TcpStream),
    far: (NodeId, TcpStream),
) -> Result<(), Broken> {
    let cutter = desk.cutter();
    let links = [link(desk, &near)?, link(desk, &far)?];
    let (near, far) = (near.1, far.1);
    let ways = async {
        let forth = one_way(desk, id, Direction::Forth, &near, &far);
        let back = one_way(desk, id, Direction::Back, &far, &near);
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
    tokio::select! {
        ended = ways => ended,
        cut = lapsed(desk, id) => Err(Broken::Cut(cut)),
        () = cutter.cancelled() => Err(Broken::Cut(Cut::Drained)),
        () = parted(&links) => Err(Broken::Io(io::ErrorKind::ConnectionAborted.into())),
    }
}

/// Has the connection ended when its node is no connected member any more.
fn link(desk: &Desk, (node, tcp): &(NodeId, TcpStream)) -> io::Result<Link> {
    socket::settle(tcp)?;
    let link = tie(desk, *node)?;
    link.with_socket(tcp.as_fd().try_clone_to_owned()?);
    Ok(link)
}

async fn one_way(
    desk: &Desk,
    id: CircuitId,
    way: Direction,
    from: &TcpStream,
    to: &TcpStream,
) -> Result<(), Broken> {
    loop {
        from.readable().await?;
        let pipe = desk.pipes.take()?;
        let most = match desk.book().piece(id, way) {
            LARGE_PIECE => PIPE,
            small => small.min(PIECE),
        };
        // The pipe is empty: what would block is the socket.
        let read = match from.try_io(Interest::READABLE, || moved(from, &pipe.inn, most)) {
            Ok(0) => {
                desk.pipes.give(pipe);
                return Ok(rustix::net::shutdown(to, rustix::net::Shutdown::Write).map_err(io::Error::from)?);
            }
            Ok(read) => read,
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                desk.pipes.give(pipe);
                continue;
            }
            Err(e) => return Err(e.into()),
        };
        let (bytes, after) = match desk.book().pass(desk.now(), id, way, read as u64) {
            Pass::On { bytes, after } => (bytes, after),
            Pass::Over(why) => return Err(Broken::Cut(why)),
        };
        if !after.is_zero() {
            sleep(after).await;
        }
        let allowed = usize::try_from(bytes).unwrap_or(read).min(read);
        let mut left = allowed;
        while left > 0 {
            let ready = timeout(STALLED, to.writable()).await;
            ready.map_err(|_| Broken::Cut(Cut::Stalled))??;
            match to.try_io(Interest::WRITABLE, || moved(&pipe.out, to, left)) {
                Ok(0) => return Err(Broken::Io(io::ErrorKind::WriteZero.into())),
                Ok(sent) => left = left.saturating_sub(sent),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                Err(e) => return Err(e.into()),
            }
        }
        if allowed < read {
            // What is over the limit goes with the pipe. The book has ended the circuit already, and counted why.
            return Err(Broken::Cut(Cut::Gone));
        }
        desk.pipes.give(pipe);
    }
}

fn moved(from: impl AsFd, to: impl AsFd, most: usize) -> io::Result<usize> {
    let flags = SpliceFlags::NONBLOCK | SpliceFlags::MOVE;
    Ok(splice(from, None, to, None, most, flags)?)
}
