//! Names in addresses (`/dns/…`, `/dns4/…`, `/dns6/…`), made into IP addresses before anything is dialed. Only the owner
//! may use names; what peers say of themselves may not make this node look anything up.

use crate::names;
use libp2p::{Multiaddr, multiaddr::Protocol};
use std::{net::IpAddr, time::Duration};

/// Names looked up for one call.
const MAX_NAMES: usize = 2;
/// IP addresses taken from one name.
const MAX_IPS: usize = 4;
/// The system's resolver answers within this time.
const LOOKUP: Duration = Duration::from_secs(3);
/// Longest name, as in the domain name system.
const MAX_NAME: usize = 253;

/// The addresses with every name replaced by what it stands for; names that stand for nothing are left out.
pub(crate) async fn resolve(addrs: Vec<String>) -> Vec<String> {
    let mut looked_up = 0usize;
    let mut out = Vec::with_capacity(addrs.len());
    for addr in addrs {
        let Some(parsed) = names::named(&addr) else {
            out.push(addr);
            continue;
        };
        looked_up = looked_up.saturating_add(1);
        if looked_up > MAX_NAMES {
            tracing::debug!(addr, "too many names at once: not looked up");
            continue;
        }
        out.extend(look_up(&parsed).await);
    }
    out
}

async fn look_up(addr: &Multiaddr) -> Vec<String> {
    let (name, four, six) = match addr.iter().next() {
        Some(Protocol::Dns(name)) => (name.into_owned(), true, true),
        Some(Protocol::Dns4(name)) => (name.into_owned(), true, false),
        Some(Protocol::Dns6(name)) => (name.into_owned(), false, true),
        _ => return Vec::new(),
    };
    if name.len() > MAX_NAME {
        return Vec::new();
    }
    let found = tokio::time::timeout(LOOKUP, tokio::net::lookup_host((name.as_str(), 0))).await;
    let ips: Vec<IpAddr> = match found {
        Ok(Ok(found)) => found.map(|at| at.ip()).collect(),
        Ok(Err(e)) => {
            tracing::warn!(name, "the name cannot be looked up: {e}");
            return Vec::new();
        }
        Err(_) => {
            tracing::warn!(name, "no answer to a name's lookup in time");
            return Vec::new();
        }
    };
    ips.into_iter()
        .filter(|ip| if ip.is_ipv4() { four } else { six })
        .take(MAX_IPS)
        .map(|ip| {
            let first = match ip {
                IpAddr::V4(ip) => Protocol::Ip4(ip),
                IpAddr::V6(ip) => Protocol::Ip6(ip),
            };
            let mut out = Multiaddr::empty().with(first);
            for part in addr.iter().skip(1) {
                out.push(part);
            }
            out.to_string()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[tokio::test]
    async fn names_become_addresses_and_the_rest_stays() {
        let plain = "/ip4/203.0.113.5/tcp/4001".to_owned();
        let found = resolve(vec!["/dns4/localhost/udp/4001/quic-v1".to_owned(), plain.clone()]).await;
        assert_eq!(found, ["/ip4/127.0.0.1/udp/4001/quic-v1".to_owned(), plain]);
        let long = format!("/dns4/{}/tcp/1", "a.".repeat(MAX_NAME));
        assert_eq!(
            resolve(vec![long.clone()]).await,
            [long],
            "not looked at: no address is so long"
        );
        let many = vec!["/dns4/localhost/tcp/1".to_owned(); 5];
        assert_eq!(resolve(many).await.len(), MAX_NAMES);
    }
}
