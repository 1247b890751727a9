//! Having this node's own addresses tested by others, and finding things out by dialing.

use super::{
    arrivals::Arrival,
    probe::{self, NoProbe, Probe},
    wire::{self, DIAL_REQUEST, DataResponse, DialRequest, MAX_FILLING, Said, dial, status},
};
use crate::{crypto, error::NetError, event::Transport, frame, handle::NetHandle, names};
use hive_protocol::{
    ids::NodeId,
    reach::{self, MAX_DETAIL, MAX_KNOWN, ReachAsk, ReachSaid},
};
use libp2p::Multiaddr;
use std::{
    io,
    net::IpAddr,
    time::{Duration, Instant},
};
use tokio::io::AsyncWriteExt;

/// A test has a verdict, or has failed, within this time.
pub const TEST_TIMEOUT: Duration = Duration::from_secs(20);
/// The connection a server speaks of is seen here within this time.
const SEEN: Duration = Duration::from_secs(2);

/// Who is to dial.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tester {
    /// The server itself, from a new port (AutoNAT, version 2). A router that lets in whomever something was sent to
    /// lets it in.
    Server,
    /// A member this node has sent nothing to, found by the server: proof that strangers are let in.
    Other,
}

/// What a test came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TestReport {
    /// The address tested.
    pub addr: String,
    /// Who was asked.
    pub server: NodeId,
    /// Who was to dial.
    pub tester: Tester,
    /// Whether the connection came in, as seen here.
    pub reached: bool,
    /// Where it came from.
    pub from: Option<IpAddr>,
    /// Whether it came from an IP address to which nothing had been sent for ten minutes.
    pub fresh: bool,
    /// One line for people.
    pub detail: String,
}

/// A dial that worked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tried {
    /// From the first packet until the connection stood, encrypted.
    pub took: Duration,
    /// How it was carried.
    pub transport: Transport,
}

impl NetHandle {
    /// Has a member this node is directly connected to test one of this node's own addresses. Takes up to
    /// [`TEST_TIMEOUT`].
    ///
    /// # Errors
    /// No verdict, try another server: `net.not_tested` when the server refuses, `net.not_spoken`, `net.timeout`,
    /// `net.closed_by_peer`, `net.not_member`; `net.bad_address`.
    pub async fn test(&self, server: NodeId, addr: String, tester: Tester) -> Result<TestReport, NetError> {
        let parsed = names::address(&addr)?;
        let testing = async {
            match tester {
                Tester::Server => self.test_by_server(server, &parsed).await,
                Tester::Other => self.test_by_other(server, &parsed).await,
            }
        };
        match tokio::time::timeout(TEST_TIMEOUT, testing).await {
            Ok(done) => done,
            Err(_) => Err(NetError::Timeout {
                what: format!("a test of {addr} by {server:?}"),
                millis: u64::try_from(TEST_TIMEOUT.as_millis()).unwrap_or(u64::MAX),
            }),
        }
    }

    /// Connects to a node at exactly this address, from a new port, and closes the connection again.
    ///
    /// # Errors
    /// `net.unreachable` with the reason, `net.bad_address`, `net.bad_key`.
    pub async fn try_address(&self, node: NodeId, addr: String) -> Result<Tried, NetError> {
        let probe = self.probe(node, &addr).await?;
        let took = probe.took;
        probe.close().await;
        let transport = names::address(&addr).ok().and_then(|a| names::transport(&a));
        let transport = transport.unwrap_or(Transport::Tcp);
        Ok(Tried { took, transport })
    }

    /// Whether large packets pass to a node at exactly this TCP address and back, where small ones do: it is connected
    /// to, outside of all other connections, and says 8 KiB again at once. They do not pass where something on the way
    /// drops packets as large as the line takes here without saying so; then the handshake may not even end, some of
    /// whose packets are large as well.
    ///
    /// # Errors
    /// As [`NetHandle::try_address`]; nothing is known then.
    pub async fn large_passes(&self, node: NodeId, addr: String) -> Result<bool, NetError> {
        let unreachable = |e: io::Error| NetError::Unreachable {
            node,
            reasons: vec![format!("{addr}: {e}")],
        };
        let tcp = names::tcp(&names::address(&addr)?)
            .ok_or_else(|| unreachable(io::ErrorKind::Unsupported.into()))?;
        probe::small(tcp).await.map_err(unreachable)?;
        let passes = match self.attempt(node, &addr).await? {
            Ok(mut probe) => {
                let passes = probe.large().await;
                probe.close().await;
                passes.map_err(unreachable)?
            }
            Err(NoProbe::Silent) => false,
            Err(why) => return Err(unreachable(io::Error::other(why.to_string()))),
        };
        if !passes {
            // Who answers nothing at all any more shows nothing.
            probe::small(tcp).await.map_err(unreachable)?;
        }
        Ok(passes)
    }

    /// A connection of its own to a node at exactly this address.
    async fn probe(&self, node: NodeId, addr: &str) -> Result<Probe, NetError> {
        self.attempt(node, addr)
            .await?
            .map_err(|why| NetError::Unreachable {
                node,
                reasons: vec![format!("{addr}: {why}")],
            })
    }

    /// The same; a connection that does not come about is no error of the outer kind.
    async fn attempt(&self, node: NodeId, addr: &str) -> Result<Result<Probe, NoProbe>, NetError> {
        let parsed = names::address(addr)?;
        let expected = names::peer_id(node)?;
        let prober = self.shared.reach.prober().ok_or(NetError::Stopped)?;
        Ok(match prober.dial(&parsed).await {
            Ok(probe) if probe.peer != expected => {
                probe.close().await;
                Err(NoProbe::Refused("another node answers there".to_owned()))
            }
            dialed => dialed,
        })
    }

    /// Connects to this node itself at one of its addresses outside: whether the router leads such connections back in
    /// (hairpin). How long it took.
    ///
    /// # Errors
    /// As [`NetHandle::try_address`].
    pub async fn hairpin(&self, addr: String) -> Result<Duration, NetError> {
        self.try_address(self.me, addr).await.map(|tried| tried.took)
    }

    async fn test_by_server(&self, server: NodeId, addr: &Multiaddr) -> Result<TestReport, NetError> {
        let begun = Instant::now();
        let mut random = [0; 8];
        crypto::random(&mut random)?;
        let nonce = u64::from_le_bytes(random);
        let mut word = self.shared.reach.dial_backs.expect(nonce).ok_or(NetError::Busy {
            what: "tests of this node's addresses",
            limit: super::back::MAX_EXPECTED,
        })?;
        let mut stream = self.open(server, DIAL_REQUEST).await?;
        let lost = |e: io::Error| NetError::Lost {
            node: server,
            detail: e.to_string(),
        };
        let request = DialRequest {
            addrs: vec![addr.to_vec()],
            nonce,
        };
        wire::say(&mut stream, Said::Dial(request)).await.map_err(lost)?;
        let done = loop {
            match wire::hear(&mut stream).await.map_err(lost)? {
                Said::Done(done) => break done,
                Said::Fill(wanted) => {
                    if !wire::FILLING.contains(&wanted.bytes) {
                        return Err(lost(io::Error::other("it wants too much or too little filling")));
                    }
                    fill(&mut stream, wanted.bytes).await.map_err(lost)?;
                }
                _ => return Err(lost(io::Error::other("it answers out of turn"))),
            }
        };
        let _ = stream.shutdown().await;
        if done.status != status::OK {
            return Err(NetError::NotTested {
                detail: match done.status {
                    status::REJECTED => "the server has no place for a test at the moment",
                    status::DIAL_REFUSED => "the server does not dial that address",
                    status::INTERNAL => "the server failed",
                    _ => "the server answers in a way this node does not know",
                }
                .to_owned(),
            });
        }
        let told = tokio::time::timeout(SEEN, word.heard()).await == Ok(Some(server));
        let seen = if done.dial == dial::OK && told {
            let deadline = Instant::now() + SEEN;
            self.shared.reach.arrivals.wait(server, begun, deadline).await
        } else {
            None
        };
        let why = match done.dial {
            dial::OK if told => "the connection was not seen here",
            dial::OK => "the server says it has dialed, but did not prove it",
            dial::DIAL_BACK_ERROR => "something answered, but not this node",
            _ => "no connection could be made",
        };
        Ok(report(addr, server, Tester::Server, seen, why))
    }

    async fn test_by_other(&self, server: NodeId, addr: &Multiaddr) -> Result<TestReport, NetError> {
        let begun = Instant::now();
        let direct = self.peers().await.into_iter().filter(|p| p.direct);
        let known = direct.map(|p| p.node).take(MAX_KNOWN).collect();
        let lost = |e: &dyn std::error::Error| NetError::Lost {
            node: server,
            detail: e.to_string(),
        };
        let mut stream = self.open(server, reach::PROTOCOL).await?;
        let addr_text = addr.to_string();
        let ask = ReachAsk::Another {
            addr: addr_text,
            known,
        };
        frame::write(&mut stream, &ask).await.map_err(|e| lost(&e))?;
        let said: Option<ReachSaid> = frame::read(&mut stream).await.map_err(|e| lost(&e))?;
        let _ = stream.shutdown().await;
        match said {
            Some(ReachSaid::Reached { by }) => {
                let deadline = Instant::now() + SEEN;
                let seen = self.shared.reach.arrivals.wait(by, begun, deadline).await;
                let why = "a stranger is said to have connected, but was not seen here";
                Ok(report(addr, server, Tester::Other, seen, why))
            }
            Some(ReachSaid::Failed { detail, .. }) => {
                let why: String = detail.chars().take(MAX_DETAIL).collect();
                let why = format!("a stranger could not connect: {why}");
                Ok(report(addr, server, Tester::Other, None, &why))
            }
            Some(ReachSaid::Refused { detail }) => Err(NetError::NotTested {
                detail: detail.chars().take(MAX_DETAIL).collect(),
            }),
            None => Err(lost(&io::Error::from(io::ErrorKind::UnexpectedEof))),
        }
    }
}

async fn fill(stream: &mut crate::NetStream, bytes: u64) -> io::Result<()> {
    let mut left = usize::try_from(bytes).map_err(io::Error::other)?;
    while left > 0 {
        let piece = left.min(MAX_FILLING);
        let data = vec![0; piece];
        wire::say(stream, Said::Filling(DataResponse { data })).await?;
        left = left.saturating_sub(piece);
    }
    Ok(())
}

fn report(addr: &Multiaddr, server: NodeId, tester: Tester, seen: Option<Arrival>, why: &str) -> TestReport {
    TestReport {
        addr: addr.to_string(),
        server,
        tester,
        reached: seen.is_some(),
        from: seen.map(|a| a.ip),
        fresh: seen.is_some_and(|a| a.stranger),
        detail: match seen {
            None => why.to_owned(),
            Some(a) if a.stranger => format!("reached from {}, where nothing had been sent", a.ip),
            Some(a) => format!("reached from {}, where something had been sent", a.ip),
        },
    }
}
