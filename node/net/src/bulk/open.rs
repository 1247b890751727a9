//! Opening a bulk stream: directly if that can be had, else on the mesh.

use super::{BulkStream, MAX_STREAMS, desk::Token, meet::MEET_TIMEOUT, socket, tls};
use crate::{
    counters::count,
    error::NetError,
    frame::{self, FrameError},
    handle::NetHandle,
    stream::NetStream,
};
use hive_protocol::{
    bulk::{self, BulkReply, BulkRequest, MAX_PORTS},
    ids::NodeId,
};
use std::{
    io,
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// A direct connection stands within this time or the mesh is used. On paths where this is too short for the five
/// round trips it takes, one TCP connection would be no faster than the mesh.
const DIRECT_TIMEOUT: Duration = Duration::from_secs(1);

/// A door is given this many times as long as the question took, or at least [`KNOCK`], to take the connection: one
/// behind a firewall or a NAT says nothing at all, and whoever opens a stream should not wait for that.
const KNOCK_TRIPS: u32 = 3;
const KNOCK: Duration = Duration::from_millis(120);

/// Why there is no direct connection.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error("not in time")]
    Slow,
    #[error("nobody answers at its door")]
    Closed,
    #[error("the mesh connection has no address to connect to")]
    NoAddress,
    #[error("it answers {0:?}")]
    Refused(BulkReply),
    #[error("{0}")]
    Frame(#[from] FrameError),
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("the relay: {0}")]
    Net(#[from] NetError),
    #[error("too many bulk streams here")]
    Full,
}

impl Failure {
    /// Whether the next try would most likely fail in the same way.
    const fn lasts(&self) -> bool {
        match self {
            Self::Refused(reply) => matches!(reply, BulkReply::Off),
            Self::Full => false,
            _ => true,
        }
    }
}

impl NetHandle {
    /// Opens a bulk stream to a node: on a TCP connection of its own where that can be had, straight or through the
    /// relay the node is reached by, else on the mesh. One that fails costs at most a second (five through a relay),
    /// and is not tried again to this node for some minutes.
    ///
    /// # Errors
    /// As [`NetHandle::open`], and `net.busy` when too many bulk streams are open.
    pub async fn open_bulk(&self, node: NodeId, protocol: &'static str) -> Result<BulkStream, NetError> {
        let bulk = &self.shared.bulk;
        let relayed = !bulk.near(node);
        if bulk.tls().is_some() && !bulk.failures.lately(node, relayed, Instant::now()) {
            match self.open(node, bulk::PROTOCOL).await {
                Ok(ask) => {
                    if let Some(stream) = self.try_direct(ask, protocol).await {
                        return Ok(stream);
                    }
                }
                Err(NetError::NotSpoken { .. }) => bulk.failures.note(node, relayed, Instant::now()),
                // Not reached, or no member: the mesh stream would fail in the same way, after the same time.
                Err(e) => return Err(e),
            }
        }
        let stream = self.open(node, protocol).await?;
        let stream = BulkStream::mesh(stream, &self.shared).ok_or(NetError::Busy {
            what: "bulk streams",
            limit: MAX_STREAMS,
        })?;
        count(&self.shared.tally.bulk_opened_mesh);
        Ok(stream)
    }

    async fn try_direct(&self, ask: NetStream, protocol: &'static str) -> Option<BulkStream> {
        let (node, via) = (ask.node(), ask.via());
        let trying = self.direct(ask, protocol);
        let patience = if via.is_some() {
            MEET_TIMEOUT
        } else {
            DIRECT_TIMEOUT
        };
        let tried = tokio::time::timeout(patience, trying).await;
        match tried.unwrap_or(Err(Failure::Slow)) {
            Ok(stream) => {
                count(match via {
                    None => &self.shared.tally.bulk_opened_direct,
                    Some(_) => &self.shared.tally.bulk_opened_relayed,
                });
                Some(stream)
            }
            Err(why) => {
                count(&self.shared.tally.bulk_direct_failed);
                tracing::debug!(?node, protocol, %why, "no direct bulk connection: the mesh is used");
                if why.lasts() {
                    self.shared
                        .bulk
                        .failures
                        .note(node, via.is_some(), Instant::now());
                }
                None
            }
        }
    }

    async fn direct(&self, mut ask: NetStream, protocol: &'static str) -> Result<BulkStream, Failure> {
        let (node, via) = (ask.node(), ask.via());
        let (mut io, token) = if let Some(relay) = via {
            self.meet(ask, relay, protocol).await?
        } else {
            let ip = ask.remote_ip().ok_or(Failure::NoAddress)?;
            let tls = self.shared.bulk.tls().ok_or(Failure::NoAddress)?;
            let question = BulkRequest::Ports {
                protocol: protocol.to_owned(),
            };
            let asked = Instant::now();
            frame::write(&mut ask, &question).await?;
            let (ports, token) = match frame::read(&mut ask).await?.ok_or(FrameError::Eof)? {
                BulkReply::Ports { ports, token } => (ports, token),
                other => return Err(Failure::Refused(other)),
            };
            drop(ask);
            let patience = asked.elapsed().saturating_mul(KNOCK_TRIPS).max(KNOCK);
            let knocking = tokio::time::timeout(patience, connect(ip, &ports));
            let socket = socket::prepare(knocking.await.map_err(|_| Failure::Closed)??)?;
            let connector = TlsConnector::from(tls.client(node));
            (connector.connect(tls::no_name(), socket).await?, token)
        };
        frame::write(&mut io, &BulkRequest::Enter { token }).await?;
        match frame::read(&mut io).await?.ok_or(FrameError::Eof)? {
            BulkReply::Welcome => {}
            other => return Err(Failure::Refused(other)),
        }
        let link = self.shared.bulk.links.watch(node, via).ok_or(Failure::Full)?;
        Ok(BulkStream::direct(io.into(), node, protocol, link, &self.shared)?.through(via))
    }
}

/// The token of a node that comes to a meeting.
pub(super) async fn token_of(ask: &mut NetStream) -> Result<Token, Failure> {
    match frame::read(ask).await?.ok_or(FrameError::Eof)? {
        BulkReply::Coming { token } => Ok(token),
        other => Err(Failure::Refused(other)),
    }
}

pub(super) async fn connect(ip: IpAddr, ports: &[u16]) -> io::Result<TcpStream> {
    let mut last = io::Error::from(io::ErrorKind::InvalidData);
    for port in ports.iter().take(MAX_PORTS) {
        match TcpStream::connect(SocketAddr::new(ip, *port)).await {
            Ok(tcp) => return Ok(tcp),
            Err(e) => last = e,
        }
    }
    Err(last)
}
