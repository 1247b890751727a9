//! The swarm's transports: QUIC, TCP with TLS (Noise when the peer has no TLS) and Yamux, and circuits through relays.

mod any_port;

use self::any_port::AnyPort;
use super::{behaviour::Behaviour, queue::Queue, security::Security};
use crate::{
    config::{Config, Transports},
    error::NetError,
    handle::Shared,
    reach::Noted,
};
use libp2p::{
    PeerId, Swarm, Transport,
    core::{
        muxing::StreamMuxerBox,
        transport::{Boxed, OptionalTransport, timeout::TransportTimeout},
        upgrade::Version,
    },
    identity::Keypair,
    quic, relay, swarm, tcp, yamux,
};
use rustix::net::sockopt;
use socket2::SockRef;
use std::{sync::Arc, time::Duration};

/// A QUIC peer that says nothing for this long, not even a keep-alive, is gone.
const QUIC_IDLE_MS: u32 = 10_000;
/// A keep-alive is sent after this much silence: twice within the idle timeout.
const QUIC_KEEP_ALIVE: Duration = Duration::from_secs(4);
/// Streams a peer may have open on one QUIC connection, all protocols together; a further one waits. Each costs a place
/// in two tables from the start, used or not: above 112 both double, 5 KB more for each idle peer. And quinn keeps what
/// it has allocated to receive a stream for the stream this many later: until a peer has opened so many, one after the
/// other, each leaves 0.4 KB behind. Enough for the circuits a relay grants one node, 64, and the rest beside them.
const QUIC_STREAMS: u32 = 110;
/// The same for one Yamux connection.
const YAMUX_STREAMS: usize = 256;
/// Inbound streams being negotiated on one connection at a time.
const NEGOTIATING: usize = 64;
/// Bytes sent on TCP are acknowledged within this time, in milliseconds, or the connection has ended.
const TCP_UNACKNOWLEDGED_MS: u32 = 10_000;
/// A silent TCP connection is asked for a sign of life after this time, again after the next, and so often.
const TCP_IDLE: Duration = Duration::from_secs(15);
const TCP_ASK_AGAIN: Duration = Duration::from_secs(5);
const TCP_ASKED: u32 = 3;
/// Events a connection may have waiting for the loop: lets a burst of streams through in one turn.
const CONNECTION_EVENTS: usize = 16;
/// A connection stands, encrypted and multiplexed, within this time after its first packet.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// A QUIC handshake begun by another stands within this time after its first packet. Until it does, its address may be
/// somebody else's. The first flight and what is sent again after one second stay below three times what came; what
/// would be sent again after three would not (quinn sends a packet whole that begins within the bound).
const QUIC_GREETING: Duration = Duration::from_millis(2900);

/// Bytes the system keeps ready to be sent: more would only stand before a frame of control that comes after them.
const TCP_UNSENT: u32 = 128 << 10;

/// A transport that gives a proven peer and its connection.
pub(crate) type Base = Boxed<(PeerId, StreamMuxerBox)>;

fn yamux_config() -> yamux::Config {
    let mut yamux = yamux::Config::default();
    yamux.set_max_num_streams(YAMUX_STREAMS);
    yamux
}

/// The settings of every TCP socket: no Nagle, so that a small frame leaves at once.
fn tcp_config() -> tcp::Config {
    tcp::Config::default().nodelay(true)
}

/// A connection whose peer has vanished must not hang for minutes: its ports could not be used for another try.
fn prepared(stream: tcp::tokio::TcpStream) -> tcp::tokio::TcpStream {
    let set = || -> std::io::Result<()> {
        sockopt::set_tcp_user_timeout(&stream.0, TCP_UNACKNOWLEDGED_MS)?;
        sockopt::set_tcp_keepidle(&stream.0, TCP_IDLE)?;
        sockopt::set_tcp_keepintvl(&stream.0, TCP_ASK_AGAIN)?;
        sockopt::set_tcp_keepcnt(&stream.0, TCP_ASKED)?;
        sockopt::set_socket_keepalive(&stream.0, true)?;
        SockRef::from(&stream.0).set_tcp_notsent_lowat(TCP_UNSENT)
    };
    if let Err(e) = set() {
        tracing::debug!("a TCP connection keeps the system's timeouts: {e}");
    }
    stream
}

fn quic_config(key: &Keypair) -> quic::Config {
    let mut quic = quic::Config::new(key);
    quic.max_idle_timeout = QUIC_IDLE_MS;
    quic.keep_alive_interval = QUIC_KEEP_ALIVE;
    quic.max_concurrent_stream_limit = QUIC_STREAMS;
    quic
}

/// The node's key in libp2p's clothes.
pub(crate) fn keypair(config: &Config) -> Result<Keypair, NetError> {
    Keypair::ed25519_from_bytes(config.secret.seed()).map_err(|e| setup(e.to_string()))
}

/// The direct transports this node may use. One that listens nowhere dials from a new port each time.
pub(crate) fn direct(used: Transports, key: &Keypair) -> Result<Base, NetError> {
    let security = Security::new(key)?;
    let tcp = used.tcp.then(|| {
        AnyPort::new()
            .map(|stream, _| prepared(stream))
            .upgrade(Version::V1Lazy)
            .authenticate(security)
            .multiplex(yamux_config())
            .map(|(peer, muxer), _| (peer, StreamMuxerBox::new(muxer)))
    });
    let quic = used.quic.then(|| {
        let quic = quic::tokio::Transport::new(quic_config(key))
            .map(|(peer, muxer), _| (peer, StreamMuxerBox::new(muxer)));
        TransportTimeout::with_ingoing_timeout(Queue::new(quic.boxed()), QUIC_GREETING)
    });
    let tcp = tcp.map_or_else(OptionalTransport::none, OptionalTransport::some);
    let quic = quic.map_or_else(OptionalTransport::none, OptionalTransport::some);
    let both = quic.or_transport(tcp).map(|either, _| either.into_inner());
    Ok(both.boxed())
}

/// Builds the swarm.
pub(crate) fn build(
    config: &Config,
    key: &Keypair,
    shared: Arc<Shared>,
) -> Result<Swarm<Behaviour>, NetError> {
    let me = key.public().to_peer_id();
    let (circuits, client) = relay::client::new(me);
    // What goes through a relay is encrypted between its ends.
    let circuits = circuits
        .upgrade(Version::V1Lazy)
        .authenticate(Security::new(key)?.counting(Arc::clone(&shared.reach.heard)))
        .multiplex(yamux_config())
        .map(|(peer, muxer), _| (peer, StreamMuxerBox::new(muxer)));
    let direct = {
        let reach = &shared.reach;
        Noted::new(
            direct(config.transports, key)?,
            Arc::clone(&reach.sent),
            Arc::clone(&reach.leash),
        )
    };
    let all = circuits.or_transport(direct).map(|either, _| either.into_inner());
    let behaviour = Behaviour::new(config, key, shared, client)?;
    let settings = swarm::Config::with_tokio_executor()
        .with_smart_dial()
        .with_max_negotiating_inbound_streams(NEGOTIATING)
        .with_per_connection_event_buffer_size(CONNECTION_EVENTS);
    let all = TransportTimeout::new(all, CONNECT_TIMEOUT).boxed();
    Ok(Swarm::new(all, behaviour, me, settings))
}

fn setup(detail: String) -> NetError {
    NetError::Setup { detail }
}
