//! TCP whose dials leave from another port where theirs is taken.
//!
//! A dial leaves from the port that is listened on, at any address of this machine. Another program may have that port
//! at one of them. This is asked of TCP itself, below encryption and multiplexing: what those wrap around an error hides
//! which one it was.

use super::tcp_config;
use libp2p::{
    Multiaddr,
    core::transport::{DialOpts, ListenerId, PortUse, Transport, TransportError, TransportEvent},
    tcp,
};
use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

type Tcp = tcp::tokio::Transport;

/// The transport. See the module's documentation.
pub(super) struct AnyPort(Tcp);

impl AnyPort {
    pub(super) fn new() -> Self {
        Self(Tcp::new(tcp_config()))
    }
}

impl Transport for AnyPort {
    type Output = <Tcp as Transport>::Output;
    type Error = io::Error;
    type ListenerUpgrade = <Tcp as Transport>::ListenerUpgrade;
    type Dial = <Tcp as Transport>::Dial;

    fn listen_on(&mut self, id: ListenerId, addr: Multiaddr) -> Result<(), TransportError<io::Error>> {
        self.0.listen_on(id, addr)
    }

    fn remove_listener(&mut self, id: ListenerId) -> bool {
        self.0.remove_listener(id)
    }

    fn dial(&mut self, addr: Multiaddr, opts: DialOpts) -> Result<Self::Dial, TransportError<io::Error>> {
        let first = self.0.dial(addr.clone(), opts)?;
        // Whoever is dialed as if it had dialed expects this port and no other.
        if !opts.role.is_dialer() || opts.port_use == PortUse::New {
            return Ok(first);
        }
        Ok(Box::pin(async move {
            match first.await {
                Err(e) if e.kind() == io::ErrorKind::AddrInUse => elsewhere(addr, opts, e).await,
                done => done,
            }
        }))
    }

    fn poll(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<TransportEvent<Self::ListenerUpgrade, io::Error>> {
        Pin::new(&mut self.get_mut().0).poll(cx)
    }
}

/// The same dial from a port of its own.
async fn elsewhere(addr: Multiaddr, opts: DialOpts, taken: io::Error) -> io::Result<tcp::tokio::TcpStream> {
    tracing::debug!(%addr, "the port that is listened on is taken at another address: dialed from a new one");
    let port_use = PortUse::New;
    match Tcp::new(tcp_config()).dial(addr, DialOpts { port_use, ..opts }) {
        Ok(again) => again.await,
        Err(TransportError::Other(e)) => Err(e),
        Err(TransportError::MultiaddrNotSupported(_)) => Err(taken),
    }
}
