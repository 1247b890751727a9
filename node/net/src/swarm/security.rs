//! What encrypts a connection that is not QUIC: TLS, or Noise when the peer has no TLS. Knows nothing of addresses.

use crate::{
    error::NetError,
    reach::{Counted, Heard},
    secure,
};
use futures::{
    AsyncRead, AsyncWrite, FutureExt, TryFutureExt,
    future::{BoxFuture, Either},
};
use libp2p::{
    PeerId,
    core::upgrade::{InboundConnectionUpgrade, OutboundConnectionUpgrade, UpgradeInfo},
    identity::Keypair,
    noise,
};
use std::{io, sync::Arc};

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
    heard: Option<Arc<Heard>>,
}

impl Security {
    pub(crate) fn new(key: &Keypair) -> Result<Self, NetError> {
        let setup = |detail: String| NetError::Setup { detail };
        Ok(Self {
            tls: secure::Config::new(key)?,
            noise: noise::Config::new(key).map_err(|e| setup(e.to_string()))?,
            heard: None,
        })
    }

    /// Counts what comes from whom.
    pub(crate) fn counting(self, heard: Arc<Heard>) -> Self {
        Self {
            heard: Some(heard),
            ..self
        }
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
        let (socket, known) = counted(socket, self.heard);
        if info == NOISE {
            secured(self.noise.upgrade_inbound(socket, info), known)
        } else {
            secured(self.tls.upgrade_inbound(socket, info), known)
        }
    }
}

impl<C: AsyncRead + AsyncWrite + Send + Unpin + 'static> OutboundConnectionUpgrade<C> for Security {
    type Output = (PeerId, Secured);
    type Error = io::Error;
    type Future = BoxFuture<'static, io::Result<(PeerId, Secured)>>;

    fn upgrade_outbound(self, socket: C, info: &'static str) -> Self::Future {
        let (socket, known) = counted(socket, self.heard);
        if info == NOISE {
            secured(self.noise.upgrade_outbound(socket, info), known)
        } else {
            secured(self.tls.upgrade_outbound(socket, info), known)
        }
    }
}

/// Counts what comes on a connection, if that is asked for; and what is to be done when its peer is known.
fn counted<C>(socket: C, heard: Option<Arc<Heard>>) -> (Either<Counted<C>, C>, impl FnOnce(PeerId) + Send) {
    let (socket, count) = match &heard {
        Some(_) => {
            let (counted, count) = Counted::new(socket);
            (Either::Left(counted), Some(count))
        }
        None => (Either::Right(socket), None),
    };
    let known = move |peer| {
        if let Some((heard, count)) = heard.zip(count) {
            heard.is_of(peer, count);
        }
    };
    (socket, known)
}

/// A handshake, and what follows when it is done.
fn secured<I: Io + 'static, E: std::error::Error + Send + Sync + 'static>(
    handshake: impl Future<Output = Result<(PeerId, I), E>> + Send + 'static,
    known: impl FnOnce(PeerId) + Send + 'static,
) -> BoxFuture<'static, io::Result<(PeerId, Secured)>> {
    let done = |(peer, io)| {
        known(peer);
        (peer, Box::new(io) as Secured)
    };
    handshake.map_ok(done).map_err(io::Error::other).boxed()
}
