//! Messages of the circuit relay protocol, version 2 (libp2p specs, `relay/circuit-v2.md`), as any libp2p program
//! speaks them: protobuf with a variable-length prefix.

pub(super) use crate::prefixed::{read, write};
use prost::Message;

/// What a client asks a relay.
pub(super) const HOP: &str = "/libp2p/circuit/relay/0.2.0/hop";
/// What a relay asks the destination of a circuit.
pub(super) const STOP: &str = "/libp2p/circuit/relay/0.2.0/stop";

/// `HopMessage.Type`.
pub(super) mod hop {
    pub(in super::super) const RESERVE: i32 = 0;
    pub(in super::super) const CONNECT: i32 = 1;
    pub(in super::super) const STATUS: i32 = 2;
}

/// `StopMessage.Type`.
pub(super) mod stop {
    pub(in super::super) const CONNECT: i32 = 0;
    pub(in super::super) const STATUS: i32 = 1;
}

/// `Status`: how a relay or a destination answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i32)]
pub(super) enum Status {
    Ok = 100,
    ReservationRefused = 200,
    ResourceLimitExceeded = 201,
    PermissionDenied = 202,
    ConnectionFailed = 203,
    NoReservation = 204,
    MalformedMessage = 400,
    UnexpectedMessage = 401,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Peer {
    #[prost(bytes = "vec", required, tag = "1")]
    pub id: Vec<u8>,
    #[prost(bytes = "vec", repeated, tag = "2")]
    pub addrs: Vec<Vec<u8>>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Reservation {
    /// Unix time in seconds.
    #[prost(uint64, required, tag = "1")]
    pub expire: u64,
    #[prost(bytes = "vec", repeated, tag = "2")]
    pub addrs: Vec<Vec<u8>>,
    #[prost(bytes = "vec", optional, tag = "3")]
    pub voucher: Option<Vec<u8>>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Limit {
    /// Seconds.
    #[prost(uint32, optional, tag = "1")]
    pub duration: Option<u32>,
    /// Bytes each way; 0 for no limit.
    #[prost(uint64, optional, tag = "2")]
    pub data: Option<u64>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct HopMessage {
    #[prost(int32, required, tag = "1")]
    pub kind: i32,
    #[prost(message, optional, tag = "2")]
    pub peer: Option<Peer>,
    #[prost(message, optional, tag = "3")]
    pub reservation: Option<Reservation>,
    #[prost(message, optional, tag = "4")]
    pub limit: Option<Limit>,
    #[prost(int32, optional, tag = "5")]
    pub status: Option<i32>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct StopMessage {
    #[prost(int32, required, tag = "1")]
    pub kind: i32,
    #[prost(message, optional, tag = "2")]
    pub peer: Option<Peer>,
    #[prost(message, optional, tag = "3")]
    pub limit: Option<Limit>,
    #[prost(int32, optional, tag = "4")]
    pub status: Option<i32>,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[tokio::test]
    async fn messages_come_back_and_nothing_is_read_ahead() {
        let message = HopMessage {
            kind: hop::CONNECT,
            peer: Some(Peer {
                id: vec![7; 38],
                addrs: vec![],
            }),
            reservation: None,
            limit: Some(Limit {
                duration: Some(60),
                data: Some(1 << 40),
            }),
            status: Some(Status::Ok as i32),
        };
        let mut bytes = Vec::new();
        write(&mut bytes, &message).await.unwrap();
        bytes.extend_from_slice(b"circuit");
        let mut rest = bytes.as_slice();
        assert_eq!(read::<HopMessage>(&mut rest).await.unwrap(), message);
        assert_eq!(rest, b"circuit");
    }

    #[tokio::test]
    async fn garbage_is_refused_before_it_is_stored() {
        for bytes in [
            &[0xff, 0xff, 0xff, 0x7f][..],
            &[0x81, 0x20][..],
            &[3, 0xff, 0xff, 0xff][..],
            &[][..],
        ] {
            let mut rest = bytes;
            assert!(read::<HopMessage>(&mut rest).await.is_err(), "{bytes:?}");
        }
        // Cut and mutated messages never panic.
        let mut whole = Vec::new();
        let message = StopMessage {
            kind: stop::STATUS,
            peer: None,
            limit: None,
            status: Some(203),
        };
        write(&mut whole, &message).await.unwrap();
        for at in 0..whole.len() {
            for byte in 0..=255 {
                let mut bad = whole.clone();
                bad[at] = byte;
                let _ = read::<StopMessage>(&mut bad.as_slice()).await;
                let _ = read::<HopMessage>(&mut bad.as_slice()).await;
            }
        }
    }
}
