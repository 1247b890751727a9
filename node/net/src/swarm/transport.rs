//! The swarm's transports: QUIC, and TCP with TLS (Noise when the peer has no TLS) and Yamux.

use super::behaviour::Behaviour;
use crate::{config::Config, error::NetError, handle::Shared};
use libp2p::{Swarm, SwarmBuilder, identity::Keypair, noise, tcp, tls, yamux};
use std::{sync::Arc, time::Duration};

/// A QUIC peer that says nothing for this long, not even a keep-alive, is gone.
const QUIC_IDLE_MS: u32 = 10_000;
/// A keep-alive is sent after this much silence: twice within the idle timeout.
const QUIC_KEEP_ALIVE: Duration = Duration::from_secs(4);
/// Streams a peer may have open on one QUIC connection, all protocols together.
const QUIC_STREAMS: u32 = 256;
/// The same for one Yamux connection.
const YAMUX_STREAMS: usize = 256;
/// Inbound streams being negotiated on one connection at a time.
const NEGOTIATING: usize = 64;
/// Events a connection may have waiting for the loop: lets a burst of streams through in one turn.
const CONNECTION_EVENTS: usize = 16;

fn yamux_config() -> yamux::Config {
    let mut yamux = yamux::Config::default();
    yamux.set_max_num_streams(YAMUX_STREAMS);
    yamux
}

/// The settings of every TCP socket: no Nagle, so that a small frame leaves at once.
pub(crate) fn tcp_config() -> tcp::Config {
    tcp::Config::default().nodelay(true)
}

/// The node's key in libp2p's clothes.
pub(crate) fn keypair(config: &Config) -> Result<Keypair, NetError> {
    Keypair::ed25519_from_bytes(config.secret.seed()).map_err(|e| setup(e.to_string()))
}

/// Builds the swarm.
pub(crate) fn build(
    config: &Config,
    key: Keypair,
    shared: Arc<Shared>,
) -> Result<Swarm<Behaviour>, NetError> {
    let swarm = SwarmBuilder::with_existing_identity(key.clone())
        .with_tokio()
        .with_tcp(tcp_config(), (tls::Config::new, noise::Config::new), yamux_config)
        .map_err(|e| setup(e.to_string()))?
        .with_quic_config(|mut quic| {
            quic.max_idle_timeout = QUIC_IDLE_MS;
            quic.keep_alive_interval = QUIC_KEEP_ALIVE;
            quic.max_concurrent_stream_limit = QUIC_STREAMS;
            quic
        })
        // What goes through a relay is encrypted between its ends.
        .with_relay_client((tls::Config::new, noise::Config::new), yamux_config)
        .map_err(|e| setup(e.to_string()))?
        .with_behaviour(|_, relay| {
            let made = Behaviour::new(config, &key, shared, relay);
            made.map_err(Box::<dyn std::error::Error + Send + Sync>::from)
        })
        .map_err(|e| setup(e.to_string()))?
        .with_swarm_config(|swarm| {
            swarm
                .with_smart_dial()
                .with_max_negotiating_inbound_streams(NEGOTIATING)
                .with_per_connection_event_buffer_size(CONNECTION_EVENTS)
        })
        .build();
    Ok(swarm)
}

fn setup(detail: String) -> NetError {
    NetError::Setup { detail }
}
