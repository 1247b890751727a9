//! Links that take time: whatever is sent to a node over TCP arrives so much later, in order, as fast as it was sent.
//!
//! Nodes in one process hear each other within microseconds, so that all time between them is the processor's. A link
//! with a delay shows what a real network shows: how many hops a message makes.

use crate::Fail;
use std::time::Duration;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::mpsc,
    time::Instant,
};

/// Pieces under way on one direction of a link; then its sender waits.
const UNDER_WAY: usize = 256;
/// Bytes of a piece.
const PIECE: usize = 16 << 10;

/// An address that leads to this TCP address, with the delay both ways. Lasts as long as the process.
///
/// # Errors
/// The address is not of TCP over IPv4, or no port is left.
pub async fn delayed(addr: &str, delay: Duration) -> Result<String, Fail> {
    let parts: Vec<&str> = addr.split('/').collect();
    let ["", "ip4", ip, "tcp", port, ..] = parts.as_slice() else {
        return Err(format!("{addr}: only TCP over IPv4 can be delayed").into());
    };
    let to = format!("{ip}:{port}");
    let front = TcpListener::bind("127.0.0.1:0").await?;
    let port = front.local_addr()?.port();
    tokio::spawn(async move {
        while let Ok((near, _)) = front.accept().await {
            let to = to.clone();
            tokio::spawn(async move {
                // A node that does not answer is seen by the dialer as a link that ends.
                if let Ok(far) = TcpStream::connect(to).await {
                    join(near, far, delay);
                }
            });
        }
    });
    Ok(format!("/ip4/127.0.0.1/tcp/{port}"))
}

fn join(near: TcpStream, far: TcpStream, delay: Duration) {
    for stream in [&near, &far] {
        // Without it small frames would wait for acknowledgements: slower, never wrong.
        let _ = stream.set_nodelay(true);
    }
    let (from_near, to_near) = near.into_split();
    let (from_far, to_far) = far.into_split();
    one_way(from_near, to_far, delay);
    one_way(from_far, to_near, delay);
}

fn one_way(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, delay: Duration) {
    let (pieces, mut due) = mpsc::channel::<(Instant, Vec<u8>)>(UNDER_WAY);
    tokio::spawn(async move {
        let mut piece = vec![0; PIECE];
        while let Ok(len @ 1..) = from.read(&mut piece).await {
            let bytes = piece.get(..len).unwrap_or_default().to_vec();
            if pieces.send((Instant::now() + delay, bytes)).await.is_err() {
                break;
            }
        }
    });
    tokio::spawn(async move {
        while let Some((at, bytes)) = due.recv().await {
            tokio::time::sleep_until(at).await;
            if to.write_all(&bytes).await.is_err() {
                break;
            }
        }
    });
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[tokio::test]
    async fn bytes_come_whole_in_order_and_not_before_their_time() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let delay = Duration::from_millis(40);
        let addr = delayed(&format!("/ip4/127.0.0.1/tcp/{port}/p2p/x"), delay)
            .await
            .unwrap();
        let front = addr.rsplit('/').next().unwrap();
        let mut near = TcpStream::connect(format!("127.0.0.1:{front}")).await.unwrap();
        let (mut far, _) = listener.accept().await.unwrap();
        let sent: Vec<u8> = (0..300_000u32).map(|n| (n % 251) as u8).collect();
        let began = Instant::now();
        let (mut first, mut rest) = ([0; 1], Vec::new());
        let sending = async {
            near.write_all(&sent).await.unwrap();
            near.shutdown().await.unwrap();
        };
        let reading = async {
            far.read_exact(&mut first).await.unwrap();
            assert!(began.elapsed() >= delay);
            far.read_to_end(&mut rest).await.unwrap();
        };
        tokio::time::timeout(Duration::from_secs(20), async { tokio::join!(sending, reading) })
            .await
            .unwrap();
        assert_eq!((first[0], rest.as_slice()), (sent[0], &sent[1..]));
        assert!(delayed("/ip4/127.0.0.1/udp/1/quic-v1", delay).await.is_err());
    }
}
