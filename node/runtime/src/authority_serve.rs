//! An authority's side of the wire: join and question streams are bound to the authority in this process.

use hive_authority::AuthorityHandle;
use hive_net::{FrameReader, FrameSender, Inbound, NetError, NetHandle, NetStream, ProtocolPolicy, frame};
use hive_protocol::{
    authority::{self, Answer, MAX_IN_FLIGHT, Request, Response},
    command::Refusal,
    ids::NodeId,
    join::{self, JoinRequest},
};
use std::{sync::Arc, time::Duration};
use tokio::{sync::Semaphore, task::JoinHandle};

/// Joins one peer may have open.
const JOINS_PER_PEER: usize = 2;
/// A newcomer must say what it wants within this time.
const JOIN_WITHIN: Duration = Duration::from_secs(10);
/// Question streams one peer may have open.
const STREAMS_PER_PEER: usize = 2;

/// Starts serving both protocols.
///
/// # Errors
/// A protocol is served already.
pub fn serve(net: &NetHandle, authority: AuthorityHandle) -> Result<Vec<JoinHandle<()>>, NetError> {
    let open = ProtocolPolicy {
        members_only: false,
        max_inbound_per_peer: JOINS_PER_PEER,
        ..ProtocolPolicy::default()
    };
    let members = ProtocolPolicy {
        max_inbound_per_peer: STREAMS_PER_PEER,
        ..ProtocolPolicy::default()
    };
    let joins = net.serve(join::PROTOCOL, open)?;
    let asks = net.serve(authority::PROTOCOL, members)?;
    Ok(vec![
        tokio::spawn(serve_joins(joins, authority.clone())),
        tokio::spawn(serve_asks(asks, authority)),
    ])
}

async fn serve_joins(mut inbound: Inbound, authority: AuthorityHandle) {
    while let Some((node, mut stream)) = inbound.accept().await {
        let authority = authority.clone();
        tokio::spawn(async move {
            let request = tokio::time::timeout(JOIN_WITHIN, frame::read::<JoinRequest, _>(&mut stream)).await;
            let Ok(Ok(Some(request))) = request else { return };
            let reply = authority.join(node, request).await;
            if let Err(e) = frame::write(&mut stream, &reply).await {
                tracing::debug!(target: "hive_runtime::join", ?node, "reply not delivered: {e}");
                return;
            }
            // The stream is held until the newcomer has read and closed it: dropping it would reset it.
            let _ = tokio::time::timeout(JOIN_WITHIN, frame::read::<JoinRequest, _>(&mut stream)).await;
        });
    }
}

async fn serve_asks(mut inbound: Inbound, authority: AuthorityHandle) {
    while let Some((node, stream)) = inbound.accept().await {
        tokio::spawn(serve_one(node, stream, authority.clone()));
    }
}

async fn serve_one(node: NodeId, stream: NetStream, authority: AuthorityHandle) {
    let (reader, writer) = stream.split();
    let mut reader = FrameReader::<Request, _>::new(reader);
    let (sender, _task) = FrameSender::<Response>::spawn(writer);
    let places = Arc::new(Semaphore::new(MAX_IN_FLIGHT));
    loop {
        let request = match reader.next().await {
            Ok(Some(request)) => request,
            Ok(None) => return,
            Err(e) => {
                tracing::debug!(target: "hive_runtime::authority", ?node, "question stream broke: {e}");
                return;
            }
        };
        let sender = sender.clone();
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
            let refusal = Refusal::new(
                "authority.busy",
                format!("more than {MAX_IN_FLIGHT} questions at once"),
            );
            let _ = sender
                .send(&Response {
                    number: request.number,
                    body: Answer::Refused(refusal),
                })
                .await;
            continue;
        };
        let authority = authority.clone();
        tokio::spawn(async move {
            let response = authority.ask(node, request).await;
            // The asker may be gone: what it asked for has happened all the same.
            let _ = sender.send(&response).await;
            drop(place);
        });
    }
}
