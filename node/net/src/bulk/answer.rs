//! Answers members that ask on the mesh where they can connect.

use super::{Bulk, desk::Token, meet};
use crate::{
    crypto,
    frame::{self, FrameError},
    handle::Shared,
    registry::Inbound,
    stream::NetStream,
};
use hive_protocol::bulk::{BulkReply, BulkRequest, MAX_NAME, MAX_PORTS};
use std::{
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::io::AsyncWriteExt;

/// A question is asked and answered within this time.
const ASK_TIMEOUT: Duration = Duration::from_secs(2);

/// Answers until the service ends. The tasks are bounded by the streams a peer may have open.
pub(super) async fn serve(mut inbound: Inbound, shared: Arc<Shared>) {
    while let Some((node, stream)) = inbound.accept().await {
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            match tokio::time::timeout(ASK_TIMEOUT, answer(stream, &shared)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::debug!(?node, %error, "a question for bulk ports broke off"),
                Err(_) => tracing::debug!(?node, "a question for bulk ports was not asked in time"),
            }
        });
    }
}

async fn answer(mut stream: NetStream, shared: &Arc<Shared>) -> Result<(), FrameError> {
    let request = frame::read(&mut stream).await?.ok_or(FrameError::Eof)?;
    let reply = match request {
        BulkRequest::Ports { protocol } => ports(&stream, &protocol, shared),
        BulkRequest::Place { with } => match (shared.bulk.relay(), stream.remote_ip()) {
            (Some(relay), Some(ip)) => relay.meet(stream.node(), ip, with),
            _ => BulkReply::Off,
        },
        BulkRequest::Come { ports, key, protocol } => meet::come(&stream, ports, key, &protocol, shared),
        BulkRequest::Enter { .. } => BulkReply::NotServed,
    };
    frame::write(&mut stream, &reply).await?;
    stream.shutdown().await?;
    // Wait for the asker's end: dropping the stream at once may overtake the answer.
    frame::read::<BulkRequest, _>(&mut stream).await.map(|_| ())
}

fn ports(stream: &NetStream, protocol: &str, shared: &Shared) -> BulkReply {
    let Some(ip) = stream.remote_ip() else {
        return BulkReply::Off;
    };
    let ports = open_to(&shared.bulk, ip);
    if ports.is_empty() {
        return BulkReply::Off;
    }
    let name = Some(protocol).filter(|name| name.len() <= MAX_NAME);
    let Some(protocol) = name.and_then(|name| shared.registry.bulk_name(name)) else {
        return BulkReply::NotServed;
    };
    let mut token: Token = [0; 32];
    let now = Instant::now();
    if crypto::random(&mut token).is_err() || !shared.bulk.desk.issue(token, stream.node(), ip, protocol, now)
    {
        return BulkReply::Busy;
    }
    BulkReply::Ports { ports, token }
}

/// The ports that can be reached from this address, as far as one can know.
pub(crate) fn open_to(bulk: &Bulk, from: IpAddr) -> Vec<u16> {
    let reach = |at: IpAddr| at.is_ipv4() == from.is_ipv4() && (!at.is_loopback() || from.is_loopback());
    let doors = bulk.doors().iter().filter(|door| reach(door.ip()));
    doors.map(std::net::SocketAddr::port).take(MAX_PORTS).collect()
}
