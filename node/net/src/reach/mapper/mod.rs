//! Having the router open the listen ports: PCP or NAT-PMP at the gateway, else UPnP. Keeps them open, gives them back.
//!
//! Only for addresses behind a router: private IPv4 ones. What a router says is evidence, no more; whether strangers get
//! through is for a test to find out.

mod gateway;
mod http;
mod pmp;
mod upnp;

use crate::{
    event::{Mapper, NetEvent},
    handle::{Command, Shared},
    names,
    reach::{Scope, mappable, scope_of},
};
use libp2p::{Multiaddr, multiaddr::Protocol};
use std::{
    collections::BTreeMap,
    fmt,
    net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket},
    sync::Arc,
    time::Duration,
};
use tokio::{
    sync::{mpsc, watch},
    time::timeout,
};

/// For how long a port is asked for.
const LIFETIME: Duration = Duration::from_secs(3600);
/// Asked again after half of what was given, and at the latest after this time: a router that was restarted has
/// forgotten, and does not say so.
const AT_LATEST: Duration = Duration::from_secs(300);
/// Never sooner than this, whatever the router says.
const AT_SOONEST: Duration = Duration::from_secs(20);
/// First and longest pause after no router gave a port.
const FIRST_PAUSE: Duration = Duration::from_secs(60);
const LONGEST_PAUSE: Duration = Duration::from_secs(1800);
/// Addresses come in bursts when an interface does.
const SETTLE: Duration = Duration::from_secs(1);
/// Ports asked for: QUIC and TCP.
const MAX_PORTS: usize = 4;
/// Ports are given back at the end within this time.
const GOODBYE: Duration = Duration::from_secs(1);
/// Where gateways listen for PCP and NAT-PMP.
const PMP_PORT: u16 = 5351;

/// What a port is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Udp,
    Tcp,
}

impl Kind {
    /// Its protocol number.
    const fn number(self) -> u8 {
        match self {
            Self::Udp => 17,
            Self::Tcp => 6,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Udp => "UDP",
            Self::Tcp => "TCP",
        }
    }

    fn address(self, ip: Ipv4Addr, port: u16) -> Multiaddr {
        let at = Multiaddr::from(IpAddr::V4(ip));
        match self {
            Self::Udp => at.with(Protocol::Udp(port)).with(Protocol::QuicV1),
            Self::Tcp => at.with(Protocol::Tcp(port)),
        }
    }
}

/// A port that was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Granted {
    ip: Ipv4Addr,
    port: u16,
    lifetime: Duration,
}

/// Why none was.
#[derive(Debug, thiserror::Error)]
enum MapError {
    #[error("no answer")]
    Silent,
    #[error("speaks another version")]
    OtherVersion,
    #[error("an answer that makes no sense")]
    Odd,
    #[error("a device that opens no ports")]
    NoService,
    #[error("refused: {0}")]
    Refused(String),
    #[error("refused with UPnP error {0}")]
    Upnp(u16),
    #[error("{0}")]
    Io(String),
}

impl MapError {
    /// Whether a router that could open the port has said no.
    const fn is_refusal(&self) -> bool {
        matches!(self, Self::Refused(_) | Self::Upnp(_))
    }
}

/// Why no router opens a port.
#[derive(Debug)]
struct Failure {
    reason: String,
    /// Whether one was there and said no: otherwise none offers it.
    refused: bool,
}

impl From<MapError> for Failure {
    fn from(e: MapError) -> Self {
        Self {
            reason: e.to_string(),
            refused: e.is_refusal(),
        }
    }
}

impl From<std::io::Error> for MapError {
    fn from(e: std::io::Error) -> Self {
        Self::Io(e.to_string())
    }
}

/// A router that opens ports, by whichever protocol.
enum Router {
    Pmp(pmp::Pmp),
    Upnp(upnp::Upnp),
}

impl Router {
    const fn by(&self) -> Mapper {
        match self {
            Self::Pmp(pmp) => pmp.by(),
            Self::Upnp(_) => Mapper::Upnp,
        }
    }

    async fn map(&mut self, kind: Kind, port: u16, outside: u16) -> Result<Granted, MapError> {
        let granted = match self {
            Self::Pmp(pmp) => pmp.map(kind, port, outside, LIFETIME).await,
            Self::Upnp(upnp) => upnp.map(kind, port, outside, LIFETIME).await,
        }?;
        if granted.ip.is_unspecified() || granted.port == 0 {
            return Err(MapError::Refused("the router has no address outside".to_owned()));
        }
        Ok(granted)
    }

    async fn unmap(&mut self, kind: Kind, port: u16, outside: u16) {
        let done = match self {
            Self::Pmp(pmp) => pmp.map(kind, port, 0, Duration::ZERO).await.map(|_| ()),
            Self::Upnp(upnp) => upnp.unmap(kind, outside).await,
        };
        if let Err(e) = done {
            tracing::debug!(target: "hive_net::reach", port, "a mapping was not given back: {e}");
        }
    }
}

/// Where routers are looked for: in tests, elsewhere than at the default gateway.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Places {
    gateway: Option<SocketAddr>,
    search: Option<SocketAddr>,
    /// Whether loopback addresses are mapped, too.
    loopback: bool,
}

/// Keeps ports open while the network runs.
pub(crate) struct Keeper {
    shared: Arc<Shared>,
    commands: mpsc::WeakSender<Command>,
    places: Places,
    router: Option<Router>,
    open: BTreeMap<(Kind, u16), Granted>,
}

impl fmt::Debug for Keeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Keeper({:?})", self.open)
    }
}

impl Keeper {
    pub(crate) fn new(shared: Arc<Shared>, commands: mpsc::WeakSender<Command>, places: Places) -> Self {
        Self {
            shared,
            commands,
            places,
            router: None,
            open: BTreeMap::new(),
        }
    }

    /// Opens ports for the addresses this node listens on, now and whenever they change, until the network ends.
    pub(crate) async fn run(mut self, mut listening: watch::Receiver<Vec<String>>) {
        let mut pause = FIRST_PAUSE;
        loop {
            let wanted = self.wanted(&listening.borrow_and_update());
            let next = match self.keep(&wanted).await {
                Ok(next) => {
                    pause = FIRST_PAUSE;
                    next
                }
                Err(failure) => {
                    self.failed(&failure).await;
                    let now = pause;
                    pause = pause.saturating_mul(2).min(LONGEST_PAUSE);
                    now
                }
            };
            match timeout(next, listening.changed()).await {
                Ok(Ok(())) => {
                    // paced: an interface that comes up brings its addresses one after another.
                    tokio::time::sleep(SETTLE).await;
                }
                Ok(Err(_)) => break,
                Err(_) => {}
            }
        }
        let _ = timeout(GOODBYE, self.give_back()).await;
    }

    /// The ports to be opened, by the local address they lead to.
    fn wanted(&self, listening: &[String]) -> BTreeMap<(Kind, u16), Ipv4Addr> {
        let mut wanted = BTreeMap::new();
        for addr in listening.iter().filter_map(|a| a.parse::<Multiaddr>().ok()) {
            let Some(IpAddr::V4(ip)) = names::ip(&addr) else {
                continue;
            };
            let here = self.places.loopback && scope_of(ip.into()) == Scope::Loopback;
            if !mappable(ip.into()) && !here {
                continue;
            }
            for part in &addr {
                let key = match part {
                    Protocol::Udp(port) => (Kind::Udp, port),
                    Protocol::Tcp(port) => (Kind::Tcp, port),
                    _ => continue,
                };
                if wanted.len() < MAX_PORTS || wanted.contains_key(&key) {
                    wanted.entry(key).or_insert(ip);
                }
            }
        }
        wanted
    }

    /// Opens what is wanted and closes what is not any more; says when to do so again.
    async fn keep(&mut self, wanted: &BTreeMap<(Kind, u16), Ipv4Addr>) -> Result<Duration, Failure> {
        let gone: Vec<_> = self
            .open
            .keys()
            .filter(|k| !wanted.contains_key(k))
            .copied()
            .collect();
        for key in gone {
            self.close(key, "this node listens there no longer").await;
        }
        if wanted.is_empty() {
            return Ok(LONGEST_PAUSE);
        }
        if let Some(mut router) = self.router.take()
            && let Ok(next) = self.renew(&mut router, wanted).await
        {
            self.router = Some(router);
            return Ok(next);
        }
        let (mut router, local) = self.find(wanted).await?;
        let reachable = wanted
            .iter()
            .filter(|(_, ip)| **ip == local || self.places.loopback);
        let mine: BTreeMap<_, _> = reachable.map(|(k, ip)| (*k, *ip)).collect();
        let next = self.renew(&mut router, &mine).await?;
        self.router = Some(router);
        Ok(next)
    }

    /// Looks for a router; the local address from which it is reached comes along.
    async fn find(&self, wanted: &BTreeMap<(Kind, u16), Ipv4Addr>) -> Result<(Router, Ipv4Addr), Failure> {
        let gateway = match self.places.gateway {
            Some(at) => Some(at),
            None => gateway::find()
                .await
                .map(|ip| SocketAddr::new(ip.into(), PMP_PORT)),
        };
        let first = wanted.iter().next().map(|((kind, port), ip)| (*kind, *port, *ip));
        let Some((kind, port, some)) = first else {
            return Err(Failure {
                reason: "nothing to open".to_owned(),
                refused: false,
            });
        };
        let local = gateway.and_then(|g| local_to(g.ip())).unwrap_or(some);
        let by_gateway = match gateway {
            None => Failure {
                reason: "no default gateway".to_owned(),
                refused: false,
            },
            Some(gateway) => {
                let asked = async {
                    let mut pmp = pmp::Pmp::new(gateway, local)?;
                    pmp.map(kind, port, port, LIFETIME).await.map(|_| pmp)
                };
                match asked.await {
                    Ok(pmp) => return Ok((Router::Pmp(pmp), local)),
                    Err(e) => Failure::from(e),
                }
            }
        };
        match upnp::search(local, self.places.search.unwrap_or(upnp::SEARCH)).await {
            Ok(found) => Ok((Router::Upnp(found), local)),
            Err(e) => Err(Failure {
                reason: format!("PCP and NAT-PMP: {}; UPnP: {e}", by_gateway.reason),
                refused: by_gateway.refused || e.is_refusal(),
            }),
        }
    }

    /// Opens all wanted ports again, each as it was before if it was.
    async fn renew(
        &mut self,
        router: &mut Router,
        wanted: &BTreeMap<(Kind, u16), Ipv4Addr>,
    ) -> Result<Duration, MapError> {
        let mut next = AT_LATEST;
        for (kind, port) in wanted.keys().copied() {
            let before = self.open.get(&(kind, port)).copied();
            let outside = before.map_or(port, |b| b.port);
            let granted = match router.map(kind, port, outside).await {
                Ok(granted) => granted,
                Err(e) => {
                    self.close((kind, port), &e.to_string()).await;
                    return Err(e);
                }
            };
            if before.is_some_and(|b| (b.ip, b.port) != (granted.ip, granted.port)) {
                self.close((kind, port), "the router gives another address").await;
            }
            self.open.insert((kind, port), granted);
            let addr = kind.address(granted.ip, granted.port);
            let by = router.by();
            if self.shared.reach.facts.map(addr.clone(), by, granted.lifetime) {
                self.tell(NetEvent::Mapped {
                    addr: addr.to_string(),
                    by,
                    lifetime: granted.lifetime,
                })
                .await;
            }
            let half = granted.lifetime.checked_div(2).unwrap_or(AT_SOONEST);
            next = next.min(half.max(AT_SOONEST));
        }
        Ok(next)
    }

    /// A port is open no longer.
    async fn close(&mut self, key: (Kind, u16), reason: &str) {
        let Some(granted) = self.open.remove(&key) else {
            return;
        };
        let addr = key.0.address(granted.ip, granted.port);
        let by = self.router.as_ref().map_or(Mapper::Upnp, Router::by);
        if self.shared.reach.facts.unmap(&addr) {
            self.tell(NetEvent::Unmapped {
                addr: addr.to_string(),
                by,
                reason: reason.to_owned(),
            })
            .await;
        }
    }

    async fn failed(&mut self, failure: &Failure) {
        let open: Vec<_> = self.open.keys().copied().collect();
        for key in open {
            self.close(key, &failure.reason).await;
        }
        if self
            .shared
            .reach
            .facts
            .unmappable(&failure.reason, failure.refused)
        {
            let reason = failure.reason.clone();
            self.tell(NetEvent::MapFailed { reason }).await;
        }
    }

    async fn give_back(&mut self) {
        let Some(mut router) = self.router.take() else {
            return;
        };
        for ((kind, port), granted) in std::mem::take(&mut self.open) {
            router.unmap(kind, port, granted.port).await;
        }
    }

    async fn tell(&self, event: NetEvent) {
        if let Some(commands) = self.commands.upgrade() {
            let event = Box::new(event);
            // An error means that the network is shut down.
            let _ = commands.send(Command::Tell { event }).await;
        }
    }
}

/// The address from which this machine sends there. Nothing is sent.
fn local_to(ip: IpAddr) -> Option<Ipv4Addr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    socket.connect(SocketAddr::new(ip, PMP_PORT)).ok()?;
    match socket.local_addr().ok()?.ip() {
        IpAddr::V4(ip) => Some(ip),
        IpAddr::V6(_) => None,
    }
}

#[cfg(test)]
mod tests;
