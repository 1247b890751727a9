//! Bulk streams through a relay: both nodes connect to it, and it connects the two TCP connections.
//!
//! The relay copies bytes it cannot read from one socket to the other, which costs it a tenth of a circuit's two
//! multiplexed and encrypted hops, and leaves the mesh's connections to control.

use super::{
    desk::Token,
    door,
    open::{Failure, connect, token_of},
    socket, tls,
};
use crate::{
    crypto,
    frame::{self, FrameError},
    handle::{NetHandle, Shared},
    stream::NetStream,
};
use hive_protocol::{
    bulk::{self, BulkReply, BulkRequest, MAX_NAME, MEET, PLACE_MILLIS},
    ids::NodeId,
};
use std::{
    io,
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{io::AsyncWriteExt, net::TcpStream};
use tokio_rustls::TlsConnector;

/// A stream through a relay stands within this time or a circuit of the mesh is used.
pub(super) const MEET_TIMEOUT: Duration = Duration::from_millis(PLACE_MILLIS);

impl NetHandle {
    /// Opens a bulk connection through a relay: the question's stream goes through it already.
    pub(super) async fn meet(
        &self,
        mut ask: NetStream,
        relay: NodeId,
        protocol: &'static str,
    ) -> Result<(tokio_rustls::client::TlsStream<socket::Socket>, Token), Failure> {
        let node = ask.node();
        let tls = self.shared.bulk.tls().ok_or(Failure::NoAddress)?;
        let mut place = self.open(relay, bulk::PROTOCOL).await?;
        let ip = place.remote_ip().ok_or(Failure::NoAddress)?;
        frame::write(&mut place, &BulkRequest::Place { with: node }).await?;
        let kept = frame::read(&mut place).await?.ok_or(FrameError::Eof)?;
        let BulkReply::Place {
            ports,
            key,
            their_ports,
            their_key,
        } = kept
        else {
            return Err(Failure::Refused(kept));
        };
        drop(place);
        let come = BulkRequest::Come {
            ports: their_ports,
            key: their_key,
            protocol: protocol.to_owned(),
        };
        frame::write(&mut ask, &come).await?;
        // Beside the answer: both take a round trip.
        let going = go(ip, &ports, &key);
        let (tcp, token) = tokio::try_join!(going, token_of(&mut ask))?;
        let connector = TlsConnector::from(tls.client(node));
        let io = connector.connect(tls::no_name(), socket::prepare(tcp)?).await?;
        Ok((io, token))
    }
}

/// Connects to a place.
async fn go(ip: IpAddr, ports: &[u16], key: &Token) -> Result<TcpStream, Failure> {
    let mut tcp = connect(ip, ports).await?;
    let mut first = MEET.to_vec();
    first.extend_from_slice(key);
    tcp.write_all(&first).await?;
    Ok(tcp)
}

/// Answers a node that wants to meet at the relay its question came through, and goes there.
pub(super) fn come(
    stream: &NetStream,
    ports: Vec<u16>,
    key: Token,
    protocol: &str,
    shared: &Arc<Shared>,
) -> BulkReply {
    // Only to addresses this node itself is connected to the relay at, never to one that is named. The relay awaits it at
    // one of them: that of the connection over which this node has its place there.
    let Some(relay) = stream.via() else {
        return BulkReply::Off;
    };
    let ips = shared.bulk.hops(relay);
    let Some(first) = ips.first().copied() else {
        return BulkReply::Off;
    };
    let Some(acceptor) = shared.bulk.acceptor() else {
        return BulkReply::Off;
    };
    let name = Some(protocol).filter(|name| name.len() <= MAX_NAME);
    let Some(protocol) = name.and_then(|name| shared.registry.bulk_name(name)) else {
        return BulkReply::NotServed;
    };
    let mut token: Token = [0; 32];
    let (node, now) = (stream.node(), Instant::now());
    let Some(place) = shared.bulk.going() else {
        return BulkReply::Busy;
    };
    if crypto::random(&mut token).is_err() || !shared.bulk.desk.issue(token, node, first, protocol, now) {
        return BulkReply::Busy;
    }
    let shared = Arc::clone(shared);
    tokio::spawn(async move {
        // Each address its part of the time. At the wrong one nothing listens, or whoever does awaits nobody from here.
        let patience = MEET_TIMEOUT / u32::try_from(ips.len()).unwrap_or(1).max(1);
        for ip in ips {
            let entering = async {
                let tcp = go(ip, &ports, &key)
                    .await
                    .map_err(|e| io::Error::other(e.to_string()))?;
                door::welcome(tcp, Some(relay), acceptor.clone(), &shared).await
            };
            let ended = tokio::time::timeout(patience, entering).await;
            match ended.unwrap_or(Err(door::Refusal::Slow)) {
                Ok(()) => break,
                Err(why) => tracing::debug!(?node, ?relay, %ip, %why, "nothing came of a meeting at a relay"),
            }
        }
        drop(place);
    });
    BulkReply::Coming { token }
}
