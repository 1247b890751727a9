//! Connections made only to see whether they can be made: from a new port each time, outside of the swarm, closed at
//! once. The other side sees a peer that connects and leaves without a word of the membership gate.

use super::wire::{self, DIAL_BACK, DialBack, DialBackResponse};
use crate::{
    config::{Config, Transports},
    error::NetError,
    names,
    swarm::{Base, direct},
};
use futures::AsyncWriteExt as _;
use libp2p::{
    Multiaddr, PeerId, Transport,
    core::{
        Endpoint,
        muxing::{StreamMuxerBox, StreamMuxerExt as _, SubstreamBox},
        transport::{DialOpts, PortUse, TransportError},
    },
    identity::Keypair,
};
use std::{
    fmt, io,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    task::Poll,
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
    sync::Semaphore,
    time::timeout,
};
use tokio_util::compat::{Compat, FuturesAsyncReadCompatExt as _};

/// Such connections at a time; whoever comes then waits, within the time of the test.
const MAX_PROBES: usize = 32;
/// A connection is there within this time: QUIC sends its first packet again after 1 and 3 s.
pub(super) const DIAL: Duration = Duration::from_secs(5);
/// The word that proves who dialed is said and answered within this time.
const WORD: Duration = Duration::from_secs(4);
/// A connection is closed in order within this time, or left to the system.
const CLOSING: Duration = Duration::from_secs(1);
/// A few bytes are there and back within this time, with one loss on the way.
const SMALL: Duration = Duration::from_secs(3);
/// Bytes that are said again are here within this time, several losses on the way included; slow lines take some.
const LARGE: Duration = Duration::from_secs(5);
/// Several of the largest packets there are on an ordinary line, each way.
const LARGE_BYTES: usize = 8 << 10;
/// The protocol that says 32 bytes again.
const PING: &str = "/ipfs/ping/1.0.0";
/// So many at a time.
const PING_BYTES: usize = 32;
/// The protocol that tells a peer what it is seen as.
const IDENTIFY: &str = "/ipfs/id/1.0.0";
/// First line of the stream negotiation, and its length byte.
const NEGOTIATE: &[u8] = b"\x13/multistream/1.0.0\n";

/// Makes the connections.
pub(crate) struct Prober {
    transport: Mutex<Base>,
    places: Arc<Semaphore>,
    sent: Arc<super::SentTo>,
    transports: Transports,
    key: Keypair,
}

/// Such a connection.
pub(super) struct Probe {
    /// Who answered, proven.
    pub peer: PeerId,
    /// From the first packet until the connection stood.
    pub took: Duration,
    muxer: StreamMuxerBox,
}

/// Why there is none.
#[derive(Debug)]
pub(super) enum NoProbe {
    /// Others are being tried; nothing was sent.
    Busy,
    /// Nobody answered, or not to the end of the handshake.
    Silent,
    /// It was refused, or is no address for this; for people.
    Refused(String),
}

impl fmt::Display for NoProbe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Busy => f.write_str("too many addresses are being tried"),
            Self::Silent => write!(f, "no answer within {} s", DIAL.as_secs()),
            Self::Refused(why) => f.write_str(why),
        }
    }
}

impl fmt::Debug for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Probe({})", self.peer)
    }
}

impl Prober {
    pub(crate) fn new(config: &Config, key: &Keypair, sent: Arc<super::SentTo>) -> Result<Self, NetError> {
        Ok(Self {
            transport: Mutex::new(direct(config.transports, key)?),
            places: Arc::new(Semaphore::new(MAX_PROBES)),
            sent,
            transports: config.transports,
            key: key.clone(),
        })
    }

    /// A transport of its own, which has sent nothing to anybody.
    pub(super) fn another(&self) -> Result<Base, NetError> {
        direct(self.transports, &self.key)
    }

    /// Connects to whoever answers there.
    pub(super) async fn dial(&self, addr: &Multiaddr) -> Result<Probe, NoProbe> {
        let Ok(Ok(_place)) = timeout(DIAL, self.places.acquire()).await else {
            return Err(NoProbe::Busy);
        };
        let dialing = async {
            let begun = Instant::now();
            if let Some(ip) = names::ip(addr) {
                self.sent.note(ip, begun);
            }
            let opts = DialOpts {
                role: Endpoint::Dialer,
                port_use: PortUse::New,
            };
            let future = {
                let mut transport = self.transport.lock().unwrap_or_else(PoisonError::into_inner);
                transport.dial(addr.clone(), opts)
            };
            let future = future.map_err(|e| match e {
                TransportError::MultiaddrNotSupported(_) => {
                    "this node does not use that transport".to_owned()
                }
                TransportError::Other(e) => e.to_string(),
            })?;
            let (peer, muxer) = future.await.map_err(|e| innermost(&e))?;
            Ok(Probe {
                peer,
                took: begun.elapsed(),
                muxer,
            })
        };
        match timeout(DIAL, dialing).await {
            Ok(done) => done.map_err(NoProbe::Refused),
            Err(_) => Err(NoProbe::Silent),
        }
    }

    /// Whether this node has sent nothing there lately.
    pub(super) fn stranger_to(&self, ip: IpAddr) -> bool {
        self.sent.stranger(ip, Instant::now())
    }
}

impl Probe {
    pub(super) const fn new(peer: PeerId, took: Duration, muxer: StreamMuxerBox) -> Self {
        Self { peer, took, muxer }
    }

    /// Says the word of AutoNAT on a stream of this connection and waits for the answer.
    pub(super) async fn dial_back(&mut self, nonce: u64) -> io::Result<()> {
        self.talk(WORD, DIAL_BACK, async |io| {
            wire::write(io, &DialBack { nonce }).await?;
            wire::read::<DialBackResponse>(io).await.map(|_| ())
        })
        .await
    }

    /// Asks by identify where this connection is seen to come from.
    pub(super) async fn observed(&mut self) -> io::Result<Multiaddr> {
        let told = self
            .talk(WORD, IDENTIFY, async |io| wire::read::<wire::Identify>(io).await)
            .await?;
        Multiaddr::try_from(told.observed).map_err(io::Error::other)
    }

    /// Has the peer say something small again, then something large at once. Whether that came back, too.
    pub(super) async fn large(&mut self) -> io::Result<bool> {
        self.talk(WORD + LARGE, PING, async |io| {
            echo(io, PING_BYTES).await?;
            match timeout(LARGE, echo(io, LARGE_BYTES)).await {
                Ok(done) => done.map(|()| true),
                Err(_) => Ok(false),
            }
        })
        .await
    }

    /// Opens a stream of this protocol and talks on it.
    async fn talk<T>(
        &mut self,
        within: Duration,
        protocol: &str,
        talking: impl AsyncFnOnce(&mut Compat<&mut SubstreamBox>) -> io::Result<T>,
    ) -> io::Result<T> {
        let muxer = &mut self.muxer;
        let said = async {
            let mut stream = std::future::poll_fn(|cx| {
                if let Poll::Ready(Err(e)) = muxer.poll_unpin(cx) {
                    return Poll::Ready(Err(e));
                }
                muxer.poll_outbound_unpin(cx)
            })
            .await?;
            let done = {
                let exchange = async {
                    let mut io = (&mut stream).compat();
                    negotiate(&mut io, protocol).await?;
                    talking(&mut io).await
                };
                let driving = std::future::poll_fn(|cx| {
                    loop {
                        match muxer.poll_unpin(cx) {
                            Poll::Ready(Ok(_)) => {}
                            Poll::Ready(Err(e)) => return Poll::Ready(e),
                            Poll::Pending => return Poll::Pending,
                        }
                    }
                });
                tokio::select! {
                    done = exchange => done?,
                    e = driving => return Err(e),
                }
            };
            // An error here comes after the answer: it does not matter any more.
            let _ = stream.close().await;
            Ok(done)
        };
        match timeout(within, said).await {
            Ok(done) => done,
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        }
    }

    /// Ends the connection, so that the other side knows at once.
    pub(super) async fn close(self) {
        if timeout(CLOSING, self.muxer.close()).await.is_err() {
            tracing::debug!(peer = %self.peer, "a test connection did not close in time");
        }
    }
}

/// Says so many bytes at once and hears them again.
async fn echo(io: &mut (impl AsyncRead + AsyncWrite + Unpin), bytes: usize) -> io::Result<()> {
    let said = vec![0x5a; bytes];
    io.write_all(&said).await?;
    io.flush().await?;
    let mut heard = vec![0; bytes];
    io.read_exact(&mut heard).await?;
    if heard != said {
        return Err(io::Error::other("it says something else again"));
    }
    Ok(())
}

/// Connects by TCP alone and has the first line of the negotiation answered: packets of a few bytes.
pub(super) async fn small(to: SocketAddr) -> io::Result<()> {
    let talking = async {
        let mut io = TcpStream::connect(to).await?;
        io.write_all(NEGOTIATE).await?;
        let mut answer = [0; NEGOTIATE.len()];
        io.read_exact(&mut answer).await?;
        if answer == *NEGOTIATE {
            Ok(())
        } else {
            Err(io::Error::other("it negotiates otherwise"))
        }
    };
    match timeout(SMALL, talking).await {
        Ok(done) => done,
        Err(_) => Err(io::ErrorKind::TimedOut.into()),
    }
}

/// Agrees on the protocol of a stream.
async fn negotiate(io: &mut (impl AsyncRead + AsyncWrite + Unpin), protocol: &str) -> io::Result<()> {
    let mut hello = NEGOTIATE.to_vec();
    let length = protocol.len().saturating_add(1);
    hello.push(u8::try_from(length).map_err(io::Error::other)?);
    hello.extend_from_slice(protocol.as_bytes());
    hello.push(b'\n');
    io.write_all(&hello).await?;
    io.flush().await?;
    let mut answer = vec![0; hello.len()];
    io.read_exact(&mut answer).await?;
    if answer != hello {
        return Err(io::Error::other("it does not take the test's stream"));
    }
    Ok(())
}

/// The cause at the bottom of a chain: the layers above say nothing a person can use.
pub(super) fn innermost(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}
