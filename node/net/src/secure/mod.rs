//! TLS of mesh connections over TCP and through relays: `/tls/1.0.0` of libp2p on the wire, at less cost.
//!
//! Three things differ from how libp2p does it, none of which the other side has to know: AES-GCM is preferred to
//! ChaCha20 (half the CPU on machines with instructions for it), what arrives is read from the socket in large pieces
//! (`ahead.rs`), and what Yamux writes in headers and bodies leaves in large pieces (`gather.rs`).
//!
//! Must not know who may connect: the swarm compares the peer that is proven with the one that was meant.

mod ahead;
mod gather;

use crate::{
    bulk::tls::{Tls, no_name},
    error::NetError,
};
use ahead::Ahead;
use futures::{AsyncRead, AsyncWrite, FutureExt, future::BoxFuture};
use futures_rustls::{TlsAcceptor, TlsConnector, TlsStream};
use gather::Gather;
use libp2p::{
    PeerId,
    core::upgrade::{InboundConnectionUpgrade, OutboundConnectionUpgrade, UpgradeInfo},
    identity::Keypair,
    tls::certificate,
};
use rustls::{ClientConfig, CommonState, ServerConfig};
use std::{io, sync::Arc};

/// What libp2p's peers name in the handshake.
const ALPN: &[u8] = b"libp2p";
/// Plain text taken in before the socket has to take the records: several go out with one system call. Why not more:
/// `bulk/stream.rs`.
const WRITE: usize = 64 << 10;

/// An encrypted connection.
pub(crate) type Secured<C> = Gather<TlsStream<Ahead<C>>>;

/// The TLS of a node; cheap to clone.
#[derive(Clone)]
pub(crate) struct Config {
    client: Arc<ClientConfig>,
    server: Arc<ServerConfig>,
}

impl Config {
    /// Makes the node's certificate.
    pub(crate) fn new(key: &Keypair) -> Result<Self, NetError> {
        let tls = Tls::new(key, ALPN)?;
        Ok(Self {
            client: tls.anyone(),
            server: tls.server(),
        })
    }
}

impl UpgradeInfo for Config {
    type Info = &'static str;
    type InfoIter = std::iter::Once<&'static str>;

    fn protocol_info(&self) -> Self::InfoIter {
        std::iter::once("/tls/1.0.0")
    }
}

type Upgraded<C> = BoxFuture<'static, io::Result<(PeerId, Secured<C>)>>;

impl<C: AsyncRead + AsyncWrite + Send + Unpin + 'static> InboundConnectionUpgrade<C> for Config {
    type Output = (PeerId, Secured<C>);
    type Error = io::Error;
    type Future = Upgraded<C>;

    fn upgrade_inbound(self, socket: C, _: &'static str) -> Upgraded<C> {
        async move {
            let mut io = TlsAcceptor::from(self.server).accept(Ahead::new(socket)).await?;
            io.get_mut().1.set_buffer_limit(Some(WRITE));
            let peer = proven(io.get_ref().1)?;
            Ok((peer, Gather::new(io.into())))
        }
        .boxed()
    }
}

impl<C: AsyncRead + AsyncWrite + Send + Unpin + 'static> OutboundConnectionUpgrade<C> for Config {
    type Output = (PeerId, Secured<C>);
    type Error = io::Error;
    type Future = Upgraded<C>;

    fn upgrade_outbound(self, socket: C, _: &'static str) -> Upgraded<C> {
        async move {
            let connecting = TlsConnector::from(self.client).connect(no_name(), Ahead::new(socket));
            let mut io = connecting.await?;
            io.get_mut().1.set_buffer_limit(Some(WRITE));
            let peer = proven(io.get_ref().1)?;
            Ok((peer, Gather::new(io.into())))
        }
        .boxed()
    }
}

/// Whose certificate the handshake has verified.
fn proven(state: &CommonState) -> io::Result<PeerId> {
    let wrong = |detail: &str| io::Error::new(io::ErrorKind::InvalidData, detail.to_owned());
    let Some([certificate]) = state.peer_certificates() else {
        return Err(wrong("the peer has shown no certificate"));
    };
    let parsed = certificate::parse(certificate).map_err(|e| wrong(&e.to_string()))?;
    Ok(parsed.peer_id())
}
