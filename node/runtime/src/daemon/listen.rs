//! Where this node listens: as configured, or where it listened last.

use super::Daemon;
use crate::{VERSION, config::MIN_CONNECTIONS, membership::Standing};
use hive_net::{ListenAddrs, NetError, NetEvents, NetHandle};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

/// How long a port held by a daemon that has just ended is waited for.
const PORT_PATIENCE: Duration = Duration::from_secs(2);
/// Pause between two tries.
const PORT_PAUSE: Duration = Duration::from_millis(20);

/// Bounds of a node that all others want to be connected to; an idle connection costs it about 100 KB.
const CROWD: hive_net::Limits = hive_net::Limits {
    connections: 4096,
    pending: 256,
    per_peer: 8,
    memory_bytes: 2 << 30,
    comfortable: 3072,
    ..hive_net::Limits::DEFAULT
};

impl Daemon {
    /// Starts the network; it listens when this returns. `kept` is the port of an earlier start: members find an
    /// authority where they last saw it, so the same port is taken again where it can be (an authority must).
    /// `crowd`: everybody comes here (authorities, relays).
    pub(super) fn start_net(
        &self,
        standing: &Standing,
        kept: u16,
        must: bool,
        crowd: bool,
    ) -> Result<(NetHandle, NetEvents), NetError> {
        let listen = |port| match self.config.listen.as_slice() {
            [] => ListenAddrs::Port(port),
            // Nobody can dial it; others reach it through relays.
            [one] if one == "none" => ListenAddrs::Exactly(Vec::new()),
            [one] if one == "loopback" => ListenAddrs::Loopback(port),
            [one] if one.parse::<u16>().is_ok() => ListenAddrs::Port(one.parse().unwrap_or(0)),
            many => ListenAddrs::Exactly(many.to_vec()),
        };
        let allowed = &self.config.net;
        let mut limits = if crowd { CROWD } else { hive_net::Limits::default() };
        if let Some(most) = allowed.connections {
            limits.connections = most.max(MIN_CONNECTIONS);
            limits.comfortable = limits.comfortable.min(limits.connections as usize / 2);
        }
        let spawn = |listen| {
            let config = hive_net::Config {
                secret: self.identity.node.clone(),
                network: standing.network(),
                listen,
                bulk: hive_net::BulkListen::default(),
                transports: hive_net::Transports {
                    quic: allowed.transports.quic(),
                    tcp: allowed.transports.tcp(),
                },
                ipv6: allowed.ipv6,
                upnp: allowed.upnp,
                direct: allowed.direct,
                // Until it is known that others can dial it.
                kad_server: false,
                limits: limits.clone(),
                version: VERSION.to_owned(),
                gate: Arc::new(standing.clone()),
            };
            tokio::task::block_in_place(|| {
                tokio::runtime::Handle::current().block_on(hive_net::spawn(config))
            })
        };
        let taken = |e: &NetError| e.code() == "net.port_taken";
        let began = Instant::now();
        let mut stands = spawn(listen(kept));
        // Stopped and started again at once: the process before may not have let go of its sockets yet.
        while kept != 0 && stands.as_ref().is_err_and(taken) && began.elapsed() < PORT_PATIENCE {
            tokio::task::block_in_place(|| std::thread::sleep(PORT_PAUSE));
            stands = spawn(listen(kept));
        }
        match stands {
            Err(e) if taken(&e) && kept != 0 && !must && listen(kept) != listen(0) => {
                tracing::warn!(target: "hive_runtime::net", kept, "the port of the last start is taken: another one is used");
                spawn(listen(0))
            }
            other => other,
        }
    }
}

/// The port this node listens on, from one of its addresses; 0 when it does not.
pub(super) fn port_of(net: &NetHandle) -> u16 {
    let of = |addr: &String| {
        let mut parts = addr.split('/');
        parts.find(|p| *p == "udp" || *p == "tcp")?;
        parts.next()?.parse().ok()
    };
    net.listen_addrs().iter().find_map(of).unwrap_or(0)
}
