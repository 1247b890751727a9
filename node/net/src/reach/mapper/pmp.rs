//! Asking the gateway for a port by PCP (RFC 6887) and, when it does not speak that, by NAT-PMP (RFC 6886). Small UDP
//! packets to port 5351 of the gateway; everything else that arrives is not looked at.

use super::{Granted, Kind, MapError};
use crate::{crypto, event::Mapper};
use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};
use tokio::{net::UdpSocket, time::timeout};

/// A packet is sent again after these times; then the gateway speaks neither.
const TRIES: [Duration; 3] = [
    Duration::from_millis(250),
    Duration::from_millis(500),
    Duration::from_secs(1),
];
/// Largest answer of either protocol in bytes, options included.
const MAX_ANSWER: usize = 1100;
const PCP_VERSION: u8 = 2;
const PCP_MAP: u8 = 1;
/// Bytes of a PCP map request and answer without options.
const PCP_LEN: usize = 60;
const PMP_LEN: usize = 16;
/// Bit that marks an answer.
const ANSWER: u8 = 0x80;
/// `UNSUPP_VERSION` of PCP, "unsupported version" of NAT-PMP.
const OTHER_VERSION: u8 = 1;

/// A gateway that may speak either protocol.
#[derive(Debug, Clone)]
pub(super) struct Pmp {
    gateway: SocketAddr,
    local: Ipv4Addr,
    /// Names this node's mappings to a PCP server, so that it may change them later.
    nonce: [u8; 12],
    by: Mapper,
}

impl Pmp {
    pub(super) fn new(gateway: SocketAddr, local: Ipv4Addr) -> Result<Self, MapError> {
        let mut nonce = [0; 12];
        crypto::random(&mut nonce).map_err(|e| MapError::Io(e.to_string()))?;
        Ok(Self {
            gateway,
            local,
            nonce,
            by: Mapper::Pcp,
        })
    }

    pub(super) const fn by(&self) -> Mapper {
        self.by
    }

    /// Asks for a port; a lifetime of 0 gives it back. Finds out which protocol is spoken.
    pub(super) async fn map(
        &mut self,
        kind: Kind,
        port: u16,
        outside: u16,
        lifetime: Duration,
    ) -> Result<Granted, MapError> {
        if self.by == Mapper::Pcp {
            match self.pcp(kind, port, outside, lifetime).await {
                Err(MapError::OtherVersion) => self.by = Mapper::NatPmp,
                other => return other,
            }
        }
        self.nat_pmp(kind, port, outside, lifetime).await
    }

    async fn pcp(
        &self,
        kind: Kind,
        port: u16,
        outside: u16,
        lifetime: Duration,
    ) -> Result<Granted, MapError> {
        let mut request = Vec::with_capacity(PCP_LEN);
        request.extend_from_slice(&[PCP_VERSION, PCP_MAP, 0, 0]);
        request.extend_from_slice(&seconds(lifetime).to_be_bytes());
        request.extend_from_slice(&self.local.to_ipv6_mapped().octets());
        request.extend_from_slice(&self.nonce);
        request.extend_from_slice(&[kind.number(), 0, 0, 0]);
        request.extend_from_slice(&port.to_be_bytes());
        request.extend_from_slice(&outside.to_be_bytes());
        request.extend_from_slice(&Ipv4Addr::UNSPECIFIED.to_ipv6_mapped().octets());
        let answer = self
            .exchange(&request, |a| {
                a.first() == Some(&0)
                    || (a.len() >= PCP_LEN && a.get(24..36) == Some(&self.nonce[..]))
                    || a.get(3) == Some(&OTHER_VERSION)
            })
            .await?;
        if answer.first() != Some(&PCP_VERSION) || answer.get(3) == Some(&OTHER_VERSION) {
            return Err(MapError::OtherVersion);
        }
        if answer.get(1) != Some(&(ANSWER | PCP_MAP)) {
            return Err(MapError::Odd);
        }
        match answer.get(3) {
            Some(0) => {}
            Some(code) => return Err(MapError::Refused(format!("result {code}"))),
            None => return Err(MapError::Odd),
        }
        let lifetime = Duration::from_secs(u64::from(u32_at(&answer, 4)?));
        let port = u16_at(&answer, 42)?;
        let ip: [u8; 16] = answer
            .get(44..60)
            .and_then(|b| b.try_into().ok())
            .ok_or(MapError::Odd)?;
        let IpAddr::V4(ip) = IpAddr::V6(Ipv6Addr::from(ip)).to_canonical() else {
            return Err(MapError::Odd);
        };
        Ok(Granted { ip, port, lifetime })
    }

    async fn nat_pmp(
        &self,
        kind: Kind,
        port: u16,
        outside: u16,
        lifetime: Duration,
    ) -> Result<Granted, MapError> {
        let answer = self.exchange(&[0, 0], |a| a.get(1) == Some(&ANSWER)).await?;
        pmp_result(&answer)?;
        let ip = Ipv4Addr::from(u32_at(&answer, 8)?);
        let opcode = match kind {
            Kind::Udp => 1,
            Kind::Tcp => 2,
        };
        let mut request = vec![0, opcode, 0, 0];
        request.extend_from_slice(&port.to_be_bytes());
        request.extend_from_slice(&outside.to_be_bytes());
        request.extend_from_slice(&seconds(lifetime).to_be_bytes());
        let answer = self
            .exchange(&request, |a| {
                a.get(1) == Some(&(ANSWER | opcode))
                    && (a.len() < PMP_LEN || a.get(8..10) == Some(&port.to_be_bytes()[..]))
            })
            .await?;
        pmp_result(&answer)?;
        Ok(Granted {
            ip,
            port: u16_at(&answer, 10)?,
            lifetime: Duration::from_secs(u64::from(u32_at(&answer, 12)?)),
        })
    }

    /// Sends until something that fits comes back from the gateway itself.
    async fn exchange(&self, request: &[u8], fits: impl Fn(&[u8]) -> bool) -> Result<Vec<u8>, MapError> {
        let socket = UdpSocket::bind((self.local, 0)).await?;
        // The kernel hands over what comes from there only.
        socket.connect(self.gateway).await?;
        let mut buffer = [0; MAX_ANSWER];
        for wait in TRIES {
            socket.send(request).await?;
            let hearing = async {
                loop {
                    let len = socket.recv(&mut buffer).await?;
                    let heard = buffer.get(..len).unwrap_or_default();
                    if fits(heard) {
                        return Ok::<_, MapError>(heard.to_vec());
                    }
                }
            };
            if let Ok(heard) = timeout(wait, hearing).await {
                return heard;
            }
        }
        Err(MapError::Silent)
    }
}

fn seconds(lifetime: Duration) -> u32 {
    u32::try_from(lifetime.as_secs()).unwrap_or(u32::MAX)
}

fn pmp_result(answer: &[u8]) -> Result<(), MapError> {
    match (answer.first(), u16_at(answer, 2)?) {
        (Some(0), 0) => Ok(()),
        (Some(0), code) => Err(MapError::Refused(format!("result {code}"))),
        _ => Err(MapError::Odd),
    }
}

fn u16_at(bytes: &[u8], at: usize) -> Result<u16, MapError> {
    let two = bytes
        .get(at..at.saturating_add(2))
        .and_then(|b| b.try_into().ok());
    two.map(u16::from_be_bytes).ok_or(MapError::Odd)
}

fn u32_at(bytes: &[u8], at: usize) -> Result<u32, MapError> {
    let four = bytes
        .get(at..at.saturating_add(4))
        .and_then(|b| b.try_into().ok());
    four.map(u32::from_be_bytes).ok_or(MapError::Odd)
}
