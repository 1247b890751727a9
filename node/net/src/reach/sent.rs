//! To which IP addresses this node has sent something lately. A connection that comes in from any other address shows
//! that strangers are let in; one from these shows only that a router remembers what went out.

use super::leash::{self, Leash};
use libp2p::{
    Multiaddr, PeerId,
    core::{
        muxing::StreamMuxerBox,
        transport::{Boxed, DialOpts, ListenerId, Transport, TransportError, TransportEvent},
    },
    multiaddr::Protocol,
};
use std::{
    collections::BTreeMap,
    io,
    net::IpAddr,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::{Duration, Instant},
};

/// Routers forget what went out within this time (RFC 4787 wants at least two minutes for UDP; most take at most five).
pub(crate) const QUIET: Duration = Duration::from_secs(600);
/// Addresses remembered; the oldest goes. More than a node dials in ten minutes.
const MAX_IPS: usize = 4096;

/// The addresses.
#[derive(Debug, Default)]
pub(crate) struct SentTo(Mutex<BTreeMap<IpAddr, Instant>>);

impl SentTo {
    /// Something leaves for this address now.
    pub(crate) fn note(&self, ip: IpAddr, now: Instant) {
        let mut ips = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        ips.insert(ip.to_canonical(), now);
        if ips.len() > MAX_IPS {
            ips.retain(|_, at| now.saturating_duration_since(*at) < QUIET);
        }
        if ips.len() > MAX_IPS
            && let Some(oldest) = ips.iter().min_by_key(|(_, at)| **at).map(|(ip, _)| *ip)
        {
            ips.remove(&oldest);
        }
    }

    /// Whether nothing has left for this address lately.
    pub(crate) fn stranger(&self, ip: IpAddr, now: Instant) -> bool {
        let ips = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        ips.get(&ip.to_canonical())
            .is_none_or(|at| now.saturating_duration_since(*at) >= QUIET)
    }
}

/// A transport that notes where it dials, and whose dials can be ended.
pub(crate) struct Noted {
    inner: Boxed<(PeerId, StreamMuxerBox)>,
    sent: Arc<SentTo>,
    leash: Arc<Leash>,
}

impl Noted {
    pub(crate) const fn new(inner: Inner, sent: Arc<SentTo>, leash: Arc<Leash>) -> Self {
        Self { inner, sent, leash }
    }

    fn dial_noted(
        &mut self,
        addr: Multiaddr,
        opts: DialOpts,
    ) -> Result<<Inner as Transport>::Dial, TransportError<io::Error>> {
        match addr.iter().next() {
            Some(Protocol::Ip4(ip)) => self.sent.note(ip.into(), Instant::now()),
            Some(Protocol::Ip6(ip)) => self.sent.note(ip.into(), Instant::now()),
            _ => {}
        }
        self.inner.dial(addr, opts)
    }
}

type Inner = Boxed<(PeerId, StreamMuxerBox)>;

impl Transport for Noted {
    type Output = (PeerId, StreamMuxerBox);
    type Error = io::Error;
    type ListenerUpgrade = <Inner as Transport>::ListenerUpgrade;
    type Dial = <Inner as Transport>::Dial;

    fn listen_on(&mut self, id: ListenerId, addr: Multiaddr) -> Result<(), TransportError<io::Error>> {
        self.inner.listen_on(id, addr)
    }

    fn remove_listener(&mut self, id: ListenerId) -> bool {
        self.inner.remove_listener(id)
    }

    fn dial(&mut self, addr: Multiaddr, opts: DialOpts) -> Result<Self::Dial, TransportError<io::Error>> {
        // TCP's as well: a connection in which both sides have the same role hangs, and as long as it does no other one
        // can have its four numbers.
        let held = self.leash.held();
        let dial = self.dial_noted(addr, opts)?;
        Ok(match held {
            Some(hold) => Box::pin(leash::until(hold, dial)),
            None => dial,
        })
    }

    fn poll(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<TransportEvent<Self::ListenerUpgrade, io::Error>> {
        Pin::new(&mut self.get_mut().inner).poll(cx)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn an_address_is_a_stranger_again_after_ten_minutes_and_the_list_is_bounded() {
        let sent = SentTo::default();
        let now = Instant::now();
        let ip: IpAddr = [192, 0, 2, 1].into();
        assert!(sent.stranger(ip, now));
        sent.note("::ffff:192.0.2.1".parse().unwrap(), now);
        assert!(!sent.stranger(ip, now));
        assert!(!sent.stranger(ip, now + QUIET - Duration::from_secs(1)));
        assert!(sent.stranger(ip, now + QUIET));
        for n in 0..=u32::try_from(MAX_IPS).unwrap() {
            sent.note(IpAddr::from(n.to_be_bytes()), now + Duration::from_millis(1));
        }
        assert_eq!(sent.0.lock().unwrap().len(), MAX_IPS);
        assert!(sent.stranger(ip, now), "the oldest went");
    }
}
