//! The TCP socket of a bulk connection.

use std::{io, net::SocketAddr, time::Duration};
use tokio::{
    io::BufReader,
    net::{TcpListener, TcpSocket, TcpStream},
};

/// A silent connection is asked for a sign of life after this time: also so that a router that has forgotten it learns of
/// it again. Only what is sent from behind it can teach it that, and who waits for the other's next word sends nothing
/// (measured, a router that rebooted under a transfer through a relay: 15 s without a byte with 10 s here).
const IDLE: Duration = Duration::from_secs(2);
/// again after this,
const ASK_AGAIN: Duration = Duration::from_secs(3);
/// so often: a peer that has vanished is noticed after 20 s. There is no limit on how long sent bytes may stay
/// unacknowledged, because the kernel counts a reader that pauses like one that has vanished; when bytes are under
/// way the loss is noticed by the mesh, mostly sooner than this (flow.rs).
const ASKED: u32 = 6;
/// Read from the socket at once: TLS records alone would be read in pieces of 4 to 18 KiB, each a system call.
const READ: usize = 128 << 10;

/// The socket with what was read ahead.
pub(super) type Socket = BufReader<TcpStream>;

/// Connections the kernel keeps for us until they are accepted.
const BACKLOG: u32 = 1024;

/// Listens on exactly this address: one of IPv6 does not take IPv4's, too.
pub(super) fn listen(at: SocketAddr) -> io::Result<TcpListener> {
    let socket = if at.is_ipv4() {
        TcpSocket::new_v4()?
    } else {
        let socket = TcpSocket::new_v6()?;
        rustix::net::sockopt::set_ipv6_v6only(&socket, true)?;
        socket
    };
    socket.set_reuseaddr(true)?;
    socket.bind(at)?;
    socket.listen(BACKLOG)
}

/// Sets a fresh connection up. Buffer sizes are left to the kernel, which fits them to the path.
pub(crate) fn settle(tcp: &TcpStream) -> io::Result<()> {
    use rustix::net::sockopt;
    tcp.set_nodelay(true)?;
    sockopt::set_socket_keepalive(tcp, true)?;
    sockopt::set_tcp_keepidle(tcp, IDLE)?;
    sockopt::set_tcp_keepintvl(tcp, ASK_AGAIN)?;
    sockopt::set_tcp_keepcnt(tcp, ASKED)?;
    Ok(())
}

/// Sets a fresh connection of ours up, to be read through a buffer.
pub(super) fn prepare(tcp: TcpStream) -> io::Result<Socket> {
    settle(&tcp)?;
    Ok(BufReader::with_capacity(READ, tcp))
}
