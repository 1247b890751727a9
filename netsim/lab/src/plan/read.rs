//! Reading a description, line by line.

use super::{Cable, Host, Net, Plan, Range4, Range6, Router};
use crate::{error::LabError, kind::NatKind};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::{Ipv4Addr, Ipv6Addr},
    str::FromStr,
    time::Duration,
};

/// Nets, hosts and routers of one laboratory together: more than a matrix needs, few enough to be up in a second.
const MAX_THINGS: usize = 64;
/// Characters of a name: interfaces and namespaces are made of it.
const MAX_NAME: usize = 8;
/// Longest delay of a cable, in milliseconds: to the moon and back.
const MAX_DELAY: u64 = 2600;

#[derive(Default)]
struct Reader {
    plan: Plan,
    /// Next free address of each net.
    next: BTreeMap<String, u32>,
    names: BTreeSet<String>,
}

/// Where something stands in a net.
type Place = (Option<Ipv4Addr>, Option<Ipv6Addr>);

fn split(text: &str) -> Result<(&str, u8), String> {
    let (base, prefix) = text
        .split_once('/')
        .ok_or_else(|| format!("`{text}` is no net such as 10.1.0.0/24"))?;
    let prefix = prefix
        .parse()
        .map_err(|_| format!("`{prefix}` is no length of a prefix"))?;
    Ok((base, prefix))
}

fn range4(text: &str) -> Result<Range4, String> {
    let (base, prefix) = split(text)?;
    let base: Ipv4Addr = base.parse().map_err(|_| format!("`{base}` is no address"))?;
    if !(8..=28).contains(&prefix) {
        return Err("a prefix is 8 to 28".into());
    }
    if u32::from(base) & (u32::MAX >> prefix) != 0 {
        return Err(format!("`{text}`: the address is not the net's first"));
    }
    Ok(Range4 { base, prefix })
}

fn range6(text: &str) -> Result<Range6, String> {
    let (base, prefix) = split(text)?;
    let base: Ipv6Addr = base.parse().map_err(|_| format!("`{base}` is no address"))?;
    if !(32..=64).contains(&prefix) {
        return Err("a prefix is 32 to 64".into());
    }
    if u128::from(base) & (u128::MAX >> prefix) != 0 {
        return Err(format!("`{text}`: the address is not the net's first"));
    }
    Ok(Range6 { base, prefix })
}

/// Takes one option of a cable; false when it is none.
fn cable(cable: &mut Cable, option: &str) -> Result<bool, String> {
    match option.split_once('=') {
        Some(("rate", value)) => cable.rate = Some(value.to_owned()),
        Some(("delay", value)) => {
            let ms = value.strip_suffix("ms").and_then(|v| v.parse().ok());
            let ms = ms.filter(|ms| *ms <= MAX_DELAY);
            let ms = ms.ok_or_else(|| format!("`{value}` is no delay such as 20ms"))?;
            cable.delay = Duration::from_millis(ms);
        }
        Some(("loss", value)) => {
            let share = value.strip_suffix('%').and_then(|v| v.parse::<f64>().ok());
            let share = share.filter(|s| (0.0..=100.0).contains(s));
            let share = share.ok_or_else(|| format!("`{value}` is no loss such as 1%"))?;
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // 0 to 10,000
            {
                cable.loss = (share * 100.0).round() as u32;
            }
        }
        _ => return Ok(false),
    }
    Ok(true)
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

    fn net(&mut self, name: String, ranges: &[&str]) -> Result<(), String> {
        let mut net = Net {
            name,
            v4: None,
            v6: None,
        };
        for range in ranges {
            if range.contains(':') {
                net.v6 = Some(range6(range)?);
            } else {
                net.v4 = Some(range4(range)?);
            }
        }
        if net.v4.is_none() && net.v6.is_none() {
            return Err("a net has a range such as 10.1.0.0/24 or 2001:db8::/64".into());
        }
        self.plan.nets.push(net);
        Ok(())
    }

    fn place(&mut self, net: &str) -> Result<Place, String> {
        let found = self.plan.net(net);
        let net = found.ok_or_else(|| format!("there is no net `{net}` above this line"))?;
        let next = self.next.entry(net.name.clone()).or_insert(1);
        let room = net.v4.map_or(u32::MAX, |r| (1 << (32 - r.prefix)) - 1);
        if *next >= room {
            return Err(format!("`{}` is full", net.name));
        }
        let place = (net.v4.map(|r| r.at(*next)), net.v6.map(|r| r.at(*next)));
        *next += 1;
        Ok(place)
    }

    fn host(&mut self, name: &str, net: &str, options: &[&str]) -> Result<(), String> {
        let name = self.name(name)?;
        let (v4, v6) = self.place(net)?;
        let mut host = Host {
            name,
            net: net.to_owned(),
            v4,
            v6,
            cable: Cable::default(),
        };
        for option in options {
            if !cable(&mut host.cable, option)? {
                return Err(format!(
                    "`{option}` is no option of a host; there are rate=, delay=, loss="
                ));
            }
        }
        self.plan.hosts.push(host);
        Ok(())
    }

    fn router(&mut self, words: [&str; 4], rest: &[&str]) -> Result<(), String> {
        let [name, kind, upper, lower] = words;
        let name = self.name(name)?;
        let kind = NatKind::from_str(kind)?;
        let (v4, v6) = self.place(upper)?;
        let lower = self.name(lower)?;
        let ranges: Vec<&str> = rest.iter().copied().filter(|r| r.contains('/')).collect();
        self.net(lower.clone(), &ranges)?;
        // The router itself.
        self.place(&lower)?;
        let mut router = Router {
            name,
            kind,
            upper: upper.to_owned(),
            v4,
            v6,
            lower,
            hairpin: false,
            cable: Cable::default(),
        };
        for option in rest.iter().filter(|r| !r.contains('/')) {
            if *option == "hairpin" && kind.one_port() && kind != NatKind::Open {
                router.hairpin = true;
            } else if !cable(&mut router.cable, option)? {
                return Err(format!(
                    "`{option}` is no option of such a router; there are rate=, delay=, loss=, and hairpin where a port is known"
                ));
            }
        }
        self.plan.routers.push(router);
        Ok(())
    }

    fn line(&mut self, words: &[&str]) -> Result<(), String> {
        match words {
            ["net", name, ranges @ ..] => {
                let name = self.name(name)?;
                self.net(name, ranges)
            }
            ["host", name, net, options @ ..] => self.host(name, net, options),
            ["router", name, kind, upper, lower, rest @ ..] => self.router([name, kind, upper, lower], rest),
            _ => Err(
                "a line is `net NAME RANGES`, `host NAME NET` or `router NAME KIND UPPER LOWER RANGES`"
                    .into(),
            ),
        }
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;

    #[test]
    fn a_description_becomes_addresses() {
        let plan: Plan = "net wan 203.0.113.0/24 2001:db8::/64\nhost relay wan # public\n\n\
             router ra symmetric wan lana 10.1.0.0/24 rate=100mbit\nhost a lana delay=20ms loss=1.5%\n\
             router rb port-restricted lana lanb 192.168.0.0/24 hairpin\nhost b lanb\n\
             router rc full-cone wan lanc 2001:db8:3::/64\nhost c lanc"
            .parse()
            .unwrap();
        let hosts: Vec<_> = plan
            .hosts
            .iter()
            .map(|h| {
                (
                    h.name.as_str(),
                    h.v4.map(|a| a.to_string()),
                    h.v6.map(|a| a.to_string()),
                )
            })
            .collect();
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(
            hosts,
            [
                ("relay", some("203.0.113.1"), some("2001:db8::1")),
                ("a", some("10.1.0.2"), None),
                ("b", some("192.168.0.2"), None),
                ("c", None, some("2001:db8:3::2")),
            ]
        );
        assert_eq!(plan.routers[1].v4.unwrap().to_string(), "10.1.0.3");
        assert_eq!(plan.routers[0].cable.rate.as_deref(), Some("100mbit"));
        assert!(plan.routers[1].hairpin);
        assert_eq!(plan.hosts[1].cable.delay, Duration::from_millis(20));
        assert_eq!(plan.hosts[1].cable.loss, 150);
        let way: Vec<_> = plan.way_out("lanb").iter().map(|r| r.name.as_str()).collect();
        assert_eq!(way, ["rb", "ra"]);
    }

    #[test]
    fn mistakes_name_their_line() {
        for (text, part) in [
            ("net wan 203.0.113.1/24", "not the net's first"),
            ("net wan 2001:db8::1/64", "not the net's first"),
            ("net wan", "has a range"),
            ("host a wan", "no net `wan`"),
            ("net wan 10.0.0.0/24\nhost a wan\nhost a wan", "twice"),
            ("net wan 10.0.0.0/24\nhost a wan delay=soon", "no delay"),
            ("net wan 10.0.0.0/24\nhost a wan hairpin", "no option of a host"),
            (
                "net wan 10.0.0.0/24\nrouter r conic wan lan 10.1.0.0/24",
                "no kind of NAT",
            ),
            (
                "net wan 10.0.0.0/24\nrouter r symmetric wan lan 10.1.0.0/24 hairpin",
                "no option of such a router",
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
