//! Messages of AutoNAT, version 2 (libp2p specs, `autonat/autonat-v2.md`), as any libp2p program speaks them: protobuf
//! with a variable-length prefix.

pub(super) use crate::prefixed::{read, write};
use prost::Message;
use std::io::{Error, ErrorKind, Result};
use tokio::io::{AsyncRead, AsyncWrite};

/// A client asks a server to dial it.
pub(super) const DIAL_REQUEST: &str = "/libp2p/autonat/2/dial-request";
/// The server proves on the new connection that it has dialed.
pub(super) const DIAL_BACK: &str = "/libp2p/autonat/2/dial-back";
/// Fewest and most bytes a server may want to see before it dials an address that is not the client's own, so that it
/// cannot be used to make much traffic out of little.
pub(super) const FILLING: std::ops::RangeInclusive<u64> = 30_000..=100_000;
/// Filling in one message.
pub(super) const MAX_FILLING: usize = 4096;

/// `DialResponse.ResponseStatus`.
pub(super) mod status {
    pub(in super::super) const INTERNAL: i32 = 0;
    pub(in super::super) const REJECTED: i32 = 100;
    pub(in super::super) const DIAL_REFUSED: i32 = 101;
    pub(in super::super) const OK: i32 = 200;
}

/// `DialStatus`.
pub(super) mod dial {
    pub(in super::super) const UNUSED: i32 = 0;
    pub(in super::super) const DIAL_ERROR: i32 = 100;
    pub(in super::super) const DIAL_BACK_ERROR: i32 = 101;
    pub(in super::super) const OK: i32 = 200;
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct DialRequest {
    #[prost(bytes = "vec", repeated, tag = "1")]
    pub addrs: Vec<Vec<u8>>,
    #[prost(fixed64, tag = "2")]
    pub nonce: u64,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct DialResponse {
    #[prost(int32, tag = "1")]
    pub status: i32,
    #[prost(uint32, tag = "2")]
    pub addr: u32,
    #[prost(int32, tag = "3")]
    pub dial: i32,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct DataRequest {
    #[prost(uint32, tag = "1")]
    pub addr: u32,
    #[prost(uint64, tag = "2")]
    pub bytes: u64,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct DataResponse {
    #[prost(bytes = "vec", tag = "1")]
    pub data: Vec<u8>,
}

/// What goes over a dial-request stream.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Envelope {
    #[prost(oneof = "Said", tags = "1, 2, 3, 4")]
    pub said: Option<Said>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
pub(super) enum Said {
    #[prost(message, tag = "1")]
    Dial(DialRequest),
    #[prost(message, tag = "2")]
    Done(DialResponse),
    #[prost(message, tag = "3")]
    Fill(DataRequest),
    #[prost(message, tag = "4")]
    Filling(DataResponse),
}

/// What the server says on the new connection.
#[derive(Clone, PartialEq, Message)]
pub(super) struct DialBack {
    #[prost(fixed64, tag = "1")]
    pub nonce: u64,
}

/// What the client answers there; 0 is the only status.
#[derive(Clone, PartialEq, Message)]
pub(super) struct DialBackResponse {
    #[prost(int32, tag = "1")]
    pub status: i32,
}

/// What is taken of a message of identify: where the asker is seen.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Identify {
    #[prost(bytes = "vec", tag = "4")]
    pub observed: Vec<u8>,
}

/// Writes one message of a dial-request stream.
pub(super) async fn say(to: &mut (impl AsyncWrite + Unpin), said: Said) -> Result<()> {
    write(to, &Envelope { said: Some(said) }).await
}

/// Reads one message of a dial-request stream.
pub(super) async fn hear(from: &mut (impl AsyncRead + Unpin)) -> Result<Said> {
    let envelope: Envelope = read(from).await?;
    envelope
        .said
        .ok_or_else(|| Error::new(ErrorKind::InvalidData, "an AutoNAT message of no kind"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::prefixed::{MAX_MESSAGE, MAX_PREFIX};

    /// The bytes are those of the specification's protobuf, written out by hand.
    #[tokio::test]
    async fn bytes_are_those_of_the_specification() {
        let request = Said::Dial(DialRequest {
            addrs: vec![vec![0xaa, 0xbb]],
            nonce: 0x0102_0304_0506_0708,
        });
        let mut out = Vec::new();
        say(&mut out, request.clone()).await.unwrap();
        assert_eq!(
            out,
            [15, 0x0a, 13, 0x0a, 2, 0xaa, 0xbb, 0x11, 8, 7, 6, 5, 4, 3, 2, 1]
        );
        assert_eq!(hear(&mut out.as_slice()).await.unwrap(), request);
        let done = Said::Done(DialResponse {
            status: status::OK,
            addr: 1,
            dial: dial::DIAL_ERROR,
        });
        let mut out = Vec::new();
        say(&mut out, done.clone()).await.unwrap();
        assert_eq!(out, [9, 0x12, 7, 0x08, 0xc8, 1, 0x10, 1, 0x18, 100]);
        assert_eq!(hear(&mut out.as_slice()).await.unwrap(), done);
    }

    #[tokio::test]
    async fn the_largest_filling_fits_and_anything_larger_is_refused() {
        let mut out = Vec::new();
        let data = vec![0; MAX_FILLING];
        say(&mut out, Said::Filling(DataResponse { data })).await.unwrap();
        assert!(out.len() <= MAX_MESSAGE + MAX_PREFIX);
        assert!(matches!(
            hear(&mut out.as_slice()).await.unwrap(),
            Said::Filling(_)
        ));
        for bytes in [
            &[0xff, 0xff, 0x7f][..],
            &[0x89, 0x20][..],
            &[0][..],
            &[2, 0x0a, 5][..],
            &[],
        ] {
            let mut rest = bytes;
            assert!(hear(&mut rest).await.is_err(), "{bytes:?}");
        }
    }

    #[tokio::test]
    async fn cut_and_changed_messages_never_panic() {
        let mut whole = Vec::new();
        let fill = Said::Fill(DataRequest {
            addr: 3,
            bytes: 40_000,
        });
        say(&mut whole, fill).await.unwrap();
        for at in 0..whole.len() {
            for byte in 0..=255 {
                let mut bad = whole.clone();
                bad[at] = byte;
                let _ = hear(&mut bad.as_slice()).await;
                let _ = read::<DialBack>(&mut bad.as_slice()).await;
            }
        }
    }
}
