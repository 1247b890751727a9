//! Whether this node's router lets strangers in, where nobody is a stranger any more.
//!
//! In a small mesh a node has soon sent something to everybody. But routers remember by the sender's port: so a port
//! nobody knows speaks to one member only, and another one, to which nothing was ever sent from that port, tries to get
//! in there. What the router does with that port it does with the others.

use super::{
    Scope,
    probe::{DIAL, Probe, innermost},
    scope_of,
    wire::{self, DIAL_REQUEST, DialRequest, Said, status},
};
use crate::{error::NetError, event::Transport, handle::NetHandle, names, swarm::Base};
use hive_protocol::ids::NodeId;
use libp2p::{
    Multiaddr, PeerId, Transport as _,
    core::{
        Endpoint,
        transport::{DialOpts, ListenerId, PortUse, TransportEvent},
    },
    multiaddr::Protocol,
};
use std::{
    net::IpAddr,
    pin::Pin,
    time::{Duration, Instant},
};
use tokio::{sync::watch, time::timeout};

/// A transport has said where it listens within this time.
const LISTEN: Duration = Duration::from_secs(2);
/// The other member's connection is there within this time after it was asked for.
const IN: Duration = Duration::from_secs(8);

/// Another member, that this node's new port speaks to.
#[derive(Debug, Clone)]
pub(super) struct Witness {
    pub node: NodeId,
    /// Its public address of the transport in question.
    pub addr: Multiaddr,
}

impl NetHandle {
    /// Whether strangers are let in: `witness` is spoken to from a new port, `server` tries to get in there.
    pub(super) async fn lets_strangers_in(
        &self,
        transport: Transport,
        witness: &Witness,
        server: NodeId,
    ) -> Result<bool, NetError> {
        let failed = |detail: &str| NetError::NotTested {
            detail: detail.to_owned(),
        };
        let prober = self.shared.reach.prober().ok_or(NetError::Stopped)?;
        let local = self
            .inner_ip(transport)
            .ok_or_else(|| failed("no inner address"))?;
        let mut outer = prober.another()?;
        let at = match transport {
            Transport::Quic => Multiaddr::from(local)
                .with(Protocol::Udp(0))
                .with(Protocol::QuicV1),
            _ => Multiaddr::from(local).with(Protocol::Tcp(0)),
        };
        let refused = |e: &dyn std::error::Error| failed(&innermost(e));
        outer.listen_on(ListenerId::next(), at).map_err(|e| refused(&e))?;
        timeout(LISTEN, listening(&mut outer))
            .await
            .map_err(|_| failed("a new port was not listened on in time"))?;
        let opts = DialOpts {
            role: Endpoint::Dialer,
            port_use: PortUse::Reuse,
        };
        let dialing = outer.dial(witness.addr.clone(), opts).map_err(|e| refused(&e))?;
        let (came, mut comes) = watch::channel(false);
        let waiting = names::peer_id(server)?;
        // Ends with the sender, at the latest when this function does.
        let accepting = tokio::spawn(accept(outer, waiting, came));
        let outcome = async {
            let begun = Instant::now();
            let (peer, muxer) = timeout(DIAL, dialing)
                .await
                .map_err(|_| failed("the witness did not answer"))?
                .map_err(|e| refused(&e))?;
            if peer != names::peer_id(witness.node)? {
                return Err(failed("another node answers at the witness's address"));
            }
            let mut probe = Probe::new(peer, begun.elapsed(), muxer);
            let seen = probe.observed().await.map_err(|e| refused(&e))?;
            let seen = names::plain(seen);
            if names::transport(&seen) != Some(transport)
                || names::ip(&seen).is_none_or(|ip| scope_of(ip) != Scope::Global)
            {
                return Err(failed("the witness does not say where it sees this node"));
            }
            let asking = self.ask_dial(server, &seen);
            let arriving = timeout(IN, comes.wait_for(|came| *came));
            // The connection to the witness stays open meanwhile: it holds the port open.
            let arriving = async { matches!(arriving.await, Ok(Ok(_))) };
            let (asked, arrived) = tokio::join!(asking, arriving);
            probe.close().await;
            if arrived {
                return Ok(true);
            }
            asked.map(|()| false)
        }
        .await;
        accepting.abort();
        outcome
    }

    /// Has the server dial there; what it says of the outcome does not matter, only that it has tried.
    async fn ask_dial(&self, server: NodeId, addr: &Multiaddr) -> Result<(), NetError> {
        let lost = |e: std::io::Error| NetError::Lost {
            node: server,
            detail: e.to_string(),
        };
        let mut stream = self.open(server, DIAL_REQUEST).await?;
        let request = DialRequest {
            addrs: vec![addr.to_vec()],
            nonce: 0,
        };
        wire::say(&mut stream, Said::Dial(request)).await.map_err(lost)?;
        match wire::hear(&mut stream).await.map_err(lost)? {
            Said::Done(done) if done.status == status::OK => Ok(()),
            _ => Err(NetError::NotTested {
                detail: "the server did not try".to_owned(),
            }),
        }
    }

    /// The private IPv4 address this node listens on with this transport.
    fn inner_ip(&self, transport: Transport) -> Option<IpAddr> {
        self.listen_addrs()
            .iter()
            .filter_map(|a| a.parse::<Multiaddr>().ok())
            .filter(|a| names::transport(a) == Some(transport))
            .filter_map(|a| names::ip(&a))
            .find(|ip| ip.is_ipv4() && scope_of(*ip) == Scope::Private)
    }
}

async fn next(
    transport: &mut Base,
) -> TransportEvent<<Base as libp2p::Transport>::ListenerUpgrade, std::io::Error> {
    std::future::poll_fn(|cx| Pin::new(&mut *transport).poll(cx)).await
}

async fn listening(transport: &mut Base) {
    while !matches!(next(transport).await, TransportEvent::NewAddress { .. }) {}
}

/// Takes connections until the one that is waited for has come.
async fn accept(mut transport: Base, waiting: PeerId, came: watch::Sender<bool>) {
    loop {
        if let TransportEvent::Incoming { upgrade, .. } = next(&mut transport).await {
            let came = came.clone();
            let ended = async move {
                if let Ok(Ok((peer, _))) = timeout(DIAL, upgrade).await
                    && peer == waiting
                {
                    came.send_replace(true);
                }
            };
            // Few come: nobody knows the port but two members. One at a time is enough.
            ended.await;
        }
    }
}
