//! What encrypts a connection that is not QUIC: TLS, or Noise when the peer has no TLS. Knows nothing of addresses.

use crate::{error::NetError, secure};
use futures::{AsyncRead, AsyncWrite, FutureExt, TryFutureExt, future::BoxFuture};
use libp2p::{
    PeerId,
    core::upgrade::{InboundConnectionUpgrade, OutboundConnectionUpgrade, UpgradeInfo},
    identity::Keypair,
    noise,
};
use std::io;

/// The name TLS is negotiated by.
const TLS: &str = "/tls/1.0.0";
/// The name Noise is negotiated by.
const NOISE: &str = "/noise";

/// Bytes both ways, encrypted.
pub(crate) trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// A stream of either kind.
pub(crate) type Secured = Box<dyn Io>;

/// Offers TLS first, then Noise; proves the node's key by either.
#[derive(Clone)]
pub(crate) struct Security {
    tls: secure::Config,
    noise: noise::Config,
}

impl Security {
    pub(crate) fn new(key: &Keypair) -> Result<Self, NetError> {
        let setup = |detail: String| NetError::Setup { detail };
        Ok(Self {
            tls: secure::Config::new(key)?,
            noise: noise::Config::new(key).map_err(|e| setup(e.to_string()))?,
        })
    }
}

impl UpgradeInfo for Security {
    type Info = &'static str;
    type InfoIter = [&'static str; 2];

    fn protocol_info(&self) -> Self::InfoIter {
        [TLS, NOISE]
    }
}

impl<C: AsyncRead + AsyncWrite + Send + Unpin + 'static> InboundConnectionUpgrade<C> for Security {
    type Output = (PeerId, Secured);
    type Error = io::Error;
    type Future = BoxFuture<'static, io::Result<(PeerId, Secured)>>;

    fn upgrade_inbound(self, socket: C, info: &'static str) -> Self::Future {
        if info == NOISE {
            let done = self.noise.upgrade_inbound(socket, info);
            done.map_ok(|(peer, io)| (peer, Box::new(io) as Secured))
                .map_err(io::Error::other)
                .boxed()
        } else {
            let done = self.tls.upgrade_inbound(socket, info);
            done.map_ok(|(peer, io)| (peer, Box::new(io) as Secured))
                .map_err(io::Error::other)
                .boxed()
        }
    }
}

impl<C: AsyncRead + AsyncWrite + Send + Unpin + 'static> OutboundConnectionUpgrade<C> for Security {
    type Output = (PeerId, Secured);
    type Error = io::Error;
    type Future = BoxFuture<'static, io::Result<(PeerId, Secured)>>;

    fn upgrade_outbound(self, socket: C, info: &'static str) -> Self::Future {
        if info == NOISE {
            let done = self.noise.upgrade_outbound(socket, info);
            done.map_ok(|(peer, io)| (peer, Box::new(io) as Secured))
                .map_err(io::Error::other)
                .boxed()
        } else {
            let done = self.tls.upgrade_outbound(socket, info);
            done.map_ok(|(peer, io)| (peer, Box::new(io) as Secured))
                .map_err(io::Error::other)
                .boxed()
        }
    }
}
