//! The description of a laboratory: a few lines of text.
//!
//! ```text
//! net wan 203.0.113.0/24             # a wire everybody on it shares
//! host relay wan                     # a host on it; it gets the next address
//! router ra symmetric wan lana 10.1.0.0/24 rate=100mbit
//! host a lana                        # behind the router, which has the first address of lana
//! ```
//!
//! A router's upper net may be another router's lower one: two NATs in a row.

use crate::{error::LabError, kind::NatKind};
use std::{collections::BTreeMap, net::Ipv4Addr, str::FromStr};

/// Nets, hosts and routers of one laboratory together: more than a matrix needs, few enough to be up in a second.
const MAX_THINGS: usize = 64;
/// Characters of a name: interfaces and namespaces are made of it.
const MAX_NAME: usize = 8;

/// A wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Net {
    /// Its name.
    pub name: String,
    /// Its first address (`.0`).
    pub base: Ipv4Addr,
    /// Length of its prefix, 8 to 28.
    pub prefix: u8,
}

/// A host on a net.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    /// Its name.
    pub name: String,
    /// Its net.
    pub net: String,
    /// Its address.
    pub address: Ipv4Addr,
}

/// A router between two nets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Router {
    /// Its name.
    pub name: String,
    /// What it does to packets.
    pub kind: NatKind,
    /// The net towards the internet.
    pub upper: String,
    /// Its address there.
    pub address: Ipv4Addr,
    /// The net of its hosts; it has the first address there.
    pub lower: String,
    /// Bandwidth each way, as `tc` writes it; none for no limit.
    pub rate: Option<String>,
}

/// A whole laboratory as described.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Plan {
    /// Wires.
    pub nets: Vec<Net>,
    /// Hosts.
    pub hosts: Vec<Host>,
    /// Routers.
    pub routers: Vec<Router>,
}

impl Net {
    /// The `n`th address.
    #[must_use]
    pub fn at(&self, n: u32) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(self.base).saturating_add(n))
    }

    fn parse(name: &str, text: &str) -> Result<Self, String> {
        let (base, prefix) = text
            .split_once('/')
            .ok_or_else(|| format!("`{text}` is no net such as 10.1.0.0/24"))?;
        let base: Ipv4Addr = base.parse().map_err(|_| format!("`{base}` is no address"))?;
        let prefix: u8 = prefix
            .parse()
            .ok()
            .filter(|p| (8..=28).contains(p))
            .ok_or("a prefix is 8 to 28")?;
        if u32::from(base) & (u32::MAX >> prefix) != 0 {
            return Err(format!("`{text}`: the address is not the net's first"));
        }
        Ok(Self {
            name: name.to_owned(),
            base,
            prefix,
        })
    }
}

#[derive(Default)]
struct Reader {
    plan: Plan,
    /// Next free address of each net.
    next: BTreeMap<String, u32>,
    names: std::collections::BTreeSet<String>,
}

impl Reader {
    fn name(&mut self, name: &str) -> Result<String, String> {
        let plain = !name.is_empty()
            && name.len() <= MAX_NAME
            && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        if !plain {
            return Err(format!(
                "`{name}`: a name has 1 to {MAX_NAME} lower-case letters and digits"
            ));
        }
        if !self.names.insert(name.to_owned()) {
            return Err(format!("`{name}` is there twice"));
        }
        if self.names.len() > MAX_THINGS {
            return Err(format!("more than {MAX_THINGS} things"));
        }
        Ok(name.to_owned())
    }

    fn place(&mut self, net: &str) -> Result<Ipv4Addr, String> {
        let found = self.plan.nets.iter().find(|n| n.name == net);
        let net = found.ok_or_else(|| format!("there is no net `{net}` above this line"))?;
        let next = self.next.entry(net.name.clone()).or_insert(1);
        if *next >= (1u32 << (32 - net.prefix)) - 1 {
            return Err(format!("`{}` is full", net.name));
        }
        let address = net.at(*next);
        *next += 1;
        Ok(address)
    }

    fn line(&mut self, words: &[&str]) -> Result<(), String> {
        match words {
            ["net", name, range] => {
                let name = self.name(name)?;
                self.plan.nets.push(Net::parse(&name, range)?);
            }
            ["host", name, net] => {
                let name = self.name(name)?;
                let address = self.place(net)?;
                self.plan.hosts.push(Host {
                    name,
                    net: (*net).to_owned(),
                    address,
                });
            }
            ["router", name, kind, upper, lower, range, options @ ..] => {
                let name = self.name(name)?;
                let kind = NatKind::from_str(kind)?;
                let address = self.place(upper)?;
                let lower = self.name(lower)?;
                self.plan.nets.push(Net::parse(&lower, range)?);
                // The router itself.
                self.place(&lower)?;
                let mut rate = None;
                for option in options {
                    match option.split_once('=') {
                        Some(("rate", value)) => rate = Some(value.to_owned()),
                        _ => return Err(format!("`{option}` is no option of a router; there is rate=")),
                    }
                }
                self.plan.routers.push(Router {
                    name,
                    kind,
                    upper: (*upper).to_owned(),
                    address,
                    lower,
                    rate,
                });
            }
            _ => {
                return Err(
                    "a line is `net NAME RANGE`, `host NAME NET` or `router NAME KIND UPPER LOWER RANGE`"
                        .into(),
                );
            }
        }
        Ok(())
    }
}

impl FromStr for Plan {
    type Err = LabError;
    fn from_str(text: &str) -> Result<Self, LabError> {
        let mut reader = Reader::default();
        for (n, line) in text.lines().enumerate() {
            let line = line.split('#').next().unwrap_or_default();
            let words: Vec<&str> = line.split_whitespace().collect();
            if !words.is_empty() {
                reader
                    .line(&words)
                    .map_err(|why| LabError::Plan { line: n + 1, why })?;
            }
        }
        Ok(reader.plan)
    }
}

impl Plan {
    /// A public host `relay` and one host, `a` and `b`, behind a router of each kind; a host behind nothing is public.
    #[must_use]
    pub fn pair(a: NatKind, b: NatKind) -> Self {
        let side = |host: &str, kind: NatKind, n: u8| match kind {
            NatKind::Open => format!("host {host} wan\n"),
            _ => format!("router r{host} {kind} wan lan{host} 10.{n}.0.0/24\nhost {host} lan{host}\n"),
        };
        let text = format!(
            "net wan 203.0.113.0/24\nhost relay wan\nhost other wan\n{}{}",
            side("a", a, 1),
            side("b", b, 2)
        );
        // The text above is made of constants and is in order; an empty plan would fail at once.
        text.parse().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;

    #[test]
    fn a_description_becomes_addresses() {
        let plan: Plan = "net wan 203.0.113.0/24\nhost relay wan # public\n\n\
             router ra symmetric wan lana 10.1.0.0/24 rate=100mbit\nhost a lana\n\
             router rb port-restricted lana lanb 192.168.0.0/24\nhost b lanb"
            .parse()
            .unwrap();
        let hosts: Vec<_> = plan
            .hosts
            .iter()
            .map(|h| (h.name.as_str(), h.address.to_string()))
            .collect();
        let seen: Vec<_> = hosts.iter().map(|(n, a)| (*n, a.as_str())).collect();
        assert_eq!(
            seen,
            [("relay", "203.0.113.1"), ("a", "10.1.0.2"), ("b", "192.168.0.2")]
        );
        assert_eq!(plan.routers[1].address.to_string(), "10.1.0.3");
        assert_eq!(plan.routers[0].rate.as_deref(), Some("100mbit"));
    }

    #[test]
    fn mistakes_name_their_line() {
        for (text, part) in [
            ("net wan 203.0.113.1/24", "not the net's first"),
            ("host a wan", "no net `wan`"),
            ("net wan 10.0.0.0/24\nhost a wan\nhost a wan", "twice"),
            (
                "net wan 10.0.0.0/24\nrouter r conic wan lan 10.1.0.0/24",
                "no kind of NAT",
            ),
            ("net wan 10.0.0.0/28\nbridge x", "a line is"),
            ("net Wan 10.0.0.0/24", "lower-case"),
        ] {
            let e = text.parse::<Plan>().unwrap_err().to_string();
            assert!(e.contains(part), "{e}");
            assert!(e.starts_with(&format!("line {}", text.lines().count())), "{e}");
        }
    }

    #[test]
    fn every_pair_has_its_plan() {
        for a in NatKind::ALL {
            for b in NatKind::ALL {
                let plan = Plan::pair(a, b);
                assert_eq!(plan.hosts.len(), 4, "{a} {b}");
                let routers = usize::from(a != NatKind::Open) + usize::from(b != NatKind::Open);
                assert_eq!(plan.routers.len(), routers);
            }
        }
    }
}
