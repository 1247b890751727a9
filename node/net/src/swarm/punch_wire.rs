//! The talk before a punch, `/libp2p/dcutr` (libp2p specs, `relay/DCUtR.md`), as any libp2p program speaks it: one
//! side names its addresses, the other names its own, and a last word sets the time.
//!
//! Those who name addresses fill the message up with a field others skip, because a peer sends no more to what was named
//! than three times what came (`purse.rs`).

use crate::{
    names,
    prefixed::{read, write},
    stream::NetStream,
};
use libp2p::Multiaddr;
use prost::Message;
use std::{
    io::{Error, ErrorKind, Result},
    time::{Duration, Instant},
};
use tokio::io::AsyncWriteExt;

/// The protocol's name.
pub(crate) const PROTOCOL: &str = "/libp2p/dcutr";
/// Addresses read of one message; what is done with them is bounded further in `on_punch.rs`.
const MAX_ADDRS: usize = 32;
/// The whole talk, every wait in it included.
const TIMEOUT: Duration = Duration::from_secs(6);

/// Bytes of a message that names addresses, filled up: pays for what an honest round sends, and stays within the 4,096
/// bytes that other programs read.
pub(super) const PADDED: usize = 3500;

/// `HolePunch.Type`.
const CONNECT: i32 = 100;
const SYNC: i32 = 300;

#[derive(Clone, PartialEq, Message)]
struct HolePunch {
    #[prost(int32, required, tag = "1")]
    kind: i32,
    #[prost(bytes = "vec", repeated, tag = "2")]
    addrs: Vec<Vec<u8>>,
    /// Ours: as many bytes as are missing. Other programs skip a field they do not know.
    #[prost(bytes = "vec", optional, tag = "1000")]
    padding: Option<Vec<u8>>,
}

fn connect(ours: &[Multiaddr]) -> HolePunch {
    /// The padding's tag and its length, two bytes each.
    const HEAD: usize = 4;
    let addrs = ours.iter().map(Multiaddr::to_vec).collect();
    let mut message = HolePunch {
        kind: CONNECT,
        addrs,
        padding: None,
    };
    let missing = PADDED.saturating_sub(message.encoded_len() + HEAD);
    message.padding = Some(vec![0; missing]);
    message
}

fn sync() -> HolePunch {
    HolePunch {
        kind: SYNC,
        addrs: Vec::new(),
        padding: None,
    }
}

/// The addresses in a first word that can be dialed at all.
fn theirs(message: HolePunch) -> Result<Vec<Multiaddr>> {
    if message.kind != CONNECT {
        return Err(Error::new(ErrorKind::InvalidData, "want a CONNECT first"));
    }
    Ok(message
        .addrs
        .into_iter()
        .take(MAX_ADDRS)
        .filter_map(|bytes| Multiaddr::try_from(bytes).ok())
        .filter(|addr| !names::is_circuit(addr))
        .map(names::plain)
        .filter(names::dialable)
        .collect())
}

/// Begins the talk. Returns the other side's addresses and the round trip through the relay; the last word has just
/// been sent, and reaches the other side half a round trip from now.
pub(crate) async fn begin(mut stream: NetStream, ours: &[Multiaddr]) -> Result<(Vec<Multiaddr>, Duration)> {
    let talk = async {
        write(&mut stream, &connect(ours)).await?;
        let sent = Instant::now();
        let addrs = theirs(read(&mut stream).await?)?;
        let round_trip = sent.elapsed();
        write(&mut stream, &sync()).await?;
        // The other side may be gone already; all is said.
        let _ = stream.shutdown().await;
        Ok((addrs, round_trip))
    };
    within(talk).await
}

/// Answers. `heard` is called with the other side's addresses before it is told ours, so that what is sent towards
/// them leaves before what they send. Returns the round trip through the relay when the last word has come.
pub(crate) async fn answer<F: Future<Output = ()>>(
    mut stream: NetStream,
    ours: &[Multiaddr],
    heard: impl FnOnce(Vec<Multiaddr>) -> F,
) -> Result<Duration> {
    let talk = async {
        heard(theirs(read(&mut stream).await?)?).await;
        write(&mut stream, &connect(ours)).await?;
        let sent = Instant::now();
        let last: HolePunch = read(&mut stream).await?;
        if last.kind != SYNC {
            return Err(Error::new(ErrorKind::InvalidData, "want a SYNC last"));
        }
        Ok(sent.elapsed())
    };
    within(talk).await
}

async fn within<T>(talk: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::time::timeout(TIMEOUT, talk).await.unwrap_or_else(|_| {
        Err(Error::new(
            ErrorKind::TimedOut,
            "the other side said nothing in time",
        ))
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_bytes_are_those_of_the_specification() {
        let addr: Multiaddr = "/ip4/1.2.3.4/tcp/5".parse().unwrap();
        // Field 1, a number: 100; field 2, eight bytes: an address (4: IPv4, 6: TCP).
        let bytes = [0x08, 100, 0x12, 8, 4, 1, 2, 3, 4, 6, 0, 5];
        let written = connect(std::slice::from_ref(&addr)).encode_to_vec();
        assert_eq!(written[..bytes.len()], bytes);
        // Field 1000, bytes: skipped by whoever does not know it.
        assert_eq!(written[bytes.len()..][..2], [0xc2, 0x3e]);
        assert_eq!(written.len(), PADDED);
        for bytes in [written.as_slice(), bytes.as_slice()] {
            let read = theirs(HolePunch::decode(bytes).unwrap()).unwrap();
            assert_eq!(read, std::slice::from_ref(&addr));
        }
        assert_eq!(sync().encode_length_delimited_to_vec(), [3, 0x08, 0xac, 0x02]);
    }

    #[test]
    fn addresses_of_no_use_are_left_out_and_the_first_word_is_checked() {
        let good: Multiaddr = "/ip4/203.0.113.7/udp/4001/quic-v1".parse().unwrap();
        let peer = libp2p::PeerId::random();
        let relay = "12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN";
        let circuit = format!("/ip4/203.0.113.9/tcp/1/p2p/{relay}/p2p-circuit");
        let mut message = connect(&[
            good.clone().with(libp2p::multiaddr::Protocol::P2p(peer)),
            circuit.parse().unwrap(),
            "/ip4/0.0.0.0/tcp/5".parse().unwrap(),
            "/dns4/example.org/tcp/5".parse().unwrap(),
        ]);
        message.addrs.push(vec![0xff; 9]);
        assert_eq!(theirs(message.clone()).unwrap(), std::slice::from_ref(&good));
        message.kind = SYNC;
        assert!(theirs(message).is_err());
        let many = connect(&vec![good; MAX_ADDRS + 5]);
        assert!(many.encoded_len() <= PADDED);
        assert_eq!(theirs(many).unwrap().len(), MAX_ADDRS);
    }
}
