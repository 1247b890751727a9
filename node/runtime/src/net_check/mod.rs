//! What is made of how this node is reached: a line for each thing checked, with a verdict and what to do.
//! Pure: facts in, lines out. Must not know the network that gathered them.

mod outside;
#[cfg(test)]
mod tests;

use crate::{
    config::{NetConfig, Transports},
    port::{CheckRow, PathView, ReachView},
};
use hive_protocol::time::MAX_CLOCK_SKEW;
use hive_reach::{Scope, parse};

/// Clocks that are this far apart are worth a word, in milliseconds: logs and price hours no longer line up.
const SKEW_WORD_MS: u64 = 2_000;
/// Smallest datagram QUIC needs to pass, in bytes.
const QUIC_MTU: u32 = 1_200;
/// What an ordinary line lets pass; less says that there is a tunnel in between.
const PLAIN_MTU: u32 = 1_400;

/// A verdict, the worst last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// As it should be.
    Pass,
    /// It works, but could be better.
    Warn,
    /// Something does not work.
    Fail,
}

impl Verdict {
    /// Its word.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Warn => "warn",
            Self::Fail => "fail",
        }
    }
}

/// What is judged.
#[derive(Debug)]
pub struct Facts<'a> {
    /// How this node is reached.
    pub reach: &'a ReachView,
    /// What its owner allows.
    pub config: &'a NetConfig,
    /// The ways to its peers.
    pub peers: &'a [PathView],
    /// Whether an authority answers, or is in this process.
    pub authority: bool,
}

struct Lines(Vec<(Verdict, CheckRow)>);

impl Lines {
    fn add(&mut self, name: &str, verdict: Verdict, detail: impl Into<String>, fix: Option<&str>) {
        let row = CheckRow {
            name: name.to_owned(),
            verdict: verdict.name().to_owned(),
            detail: detail.into(),
            fix: fix.filter(|_| verdict != Verdict::Pass).map(str::to_owned),
            untested: false,
        };
        self.0.push((verdict, row));
    }

    /// Nothing is known that speaks against it, and nothing that speaks for it.
    fn untested(&mut self, name: &str, detail: &str) {
        self.add(name, Verdict::Pass, detail, None);
        if let Some((_, row)) = self.0.last_mut() {
            row.untested = true;
        }
    }
}

/// Judges everything; the worst verdict and the lines.
#[must_use]
pub fn judge(facts: &Facts<'_>) -> (Verdict, Vec<CheckRow>) {
    let mut lines = Lines(Vec::new());
    peers(facts, &mut lines);
    transports(facts, &mut lines);
    outside::router(facts, &mut lines);
    addresses(facts, &mut lines);
    outside::mapping(facts, &mut lines);
    outside::hairpin(facts, &mut lines);
    outside::ipv6(facts, &mut lines);
    outside::relays(facts, &mut lines);
    clock(facts, &mut lines);
    mtu(facts, &mut lines);
    let worst = lines.0.iter().map(|(v, _)| *v).max().unwrap_or(Verdict::Pass);
    (worst, lines.0.into_iter().map(|(_, row)| row).collect())
}

fn connected(peer: &&PathView) -> bool {
    matches!(peer.state.as_str(), "direct" | "relay" | "punching")
}

fn peers(f: &Facts<'_>, lines: &mut Lines) {
    let all = f.peers.iter().filter(connected).filter(|p| p.member).count();
    let direct = f.peers.iter().filter(|p| p.member && p.state == "direct").count();
    let lost = f.peers.iter().filter(|p| p.state == "unreachable").count();
    let mut text = format!(
        "{all} members connected: {direct} direct, {} relayed",
        all - direct
    );
    if lost > 0 {
        text.push_str(&format!("; {lost} could not be reached lately"));
    }
    match (all, f.authority) {
        (0, false) => lines.add(
            "peers",
            Verdict::Fail,
            "connected to nobody, and no authority answers",
            Some("is this machine online? does the authority run? hivenode status there"),
        ),
        (_, false) => lines.add(
            "peers",
            Verdict::Warn,
            format!("{text}; no authority answers"),
            Some("does the authority run? hivenode status there"),
        ),
        _ => lines.add("peers", Verdict::Pass, text, None),
    }
}

/// What may be so when nobody answers at all.
const NOBODY: &str =
    "nothing answers over it: it is blocked, or this machine or all that it knows are offline";
/// Why that may not be known.
const UNTRIED: &str = "not tested: nobody to try it with, or not tried to its end";
/// And what to do.
const ONLINE: &str = "is this machine online? does the authority run? else let this machine reach the authority's port in the firewall, over UDP or TCP";

fn transports(f: &Facts<'_>, lines: &mut Lines) {
    let tcp_works = f.reach.tcp == Some(true);
    let alone = !f.peers.iter().any(|p| connected(&p));
    match (f.config.transports, f.reach.udp) {
        (Transports::Tcp, _) => lines.add("udp", Verdict::Pass, "not used (transports = tcp)", None),
        (_, Some(true)) => lines.add("udp", Verdict::Pass, "passes: connections use QUIC", None),
        (Transports::Quic, Some(false)) if alone => lines.add(
            "udp",
            Verdict::Fail,
            format!("{NOBODY}; TCP is switched off (transports = quic)"),
            Some("hivenode config set transports both"),
        ),
        (Transports::Both, Some(false)) if alone => lines.add("udp", Verdict::Fail, NOBODY, Some(ONLINE)),
        (Transports::Quic, Some(false)) => lines.add(
            "udp",
            Verdict::Fail,
            "is blocked, and TCP is switched off (transports = quic)",
            Some("hivenode config set transports both"),
        ),
        (Transports::Both, Some(false)) if tcp_works => lines.add(
            "udp",
            Verdict::Warn,
            "is blocked: connections go over TCP, and direct paths are found less often",
            Some("let UDP out of this network in its firewall, to any port"),
        ),
        (Transports::Both, Some(false)) => lines.add(
            "udp",
            Verdict::Fail,
            "is blocked, and TCP has not worked either",
            Some("let this machine reach the authority's port in the firewall, over UDP or TCP"),
        ),
        (_, None) => lines.untested("udp", UNTRIED),
    }
    match (f.config.transports, f.reach.tcp) {
        (Transports::Quic, _) => lines.add("tcp", Verdict::Pass, "not used (transports = quic)", None),
        (_, Some(true)) => lines.add("tcp", Verdict::Pass, "passes", None),
        (_, Some(false)) if alone => lines.add("tcp", Verdict::Fail, NOBODY, Some(ONLINE)),
        (_, Some(false)) if f.reach.udp == Some(true) => lines.add(
            "tcp",
            Verdict::Warn,
            "is blocked: bulk connections of their own are not possible",
            Some("let TCP out of this network in its firewall"),
        ),
        (_, Some(false)) => lines.add(
            "tcp",
            Verdict::Fail,
            "is blocked",
            Some("let this machine reach the authority's port in the firewall, over UDP or TCP"),
        ),
        (_, None) => lines.untested("tcp", UNTRIED),
    }
}

fn addresses(f: &Facts<'_>, lines: &mut Lines) {
    let published = &f.reach.published;
    let outside = |a: &&crate::port::AddrRow| {
        a.state == "confirmed" && parse(&a.addr).is_some_and(|d| d.scope() >= Scope::Carrier)
    };
    let confirmed = f.reach.tested.iter().filter(outside).count();
    let refused = f.reach.tested.iter().filter(|a| a.state == "refused").count();
    let announced_bad = f.config.announce.iter().find(|said| {
        let bad = |a: &&crate::port::AddrRow| a.addr == **said && a.state == "refused";
        f.reach.tested.iter().find(bad).is_some()
    });
    if published.is_empty() {
        lines.add(
            "addresses",
            Verdict::Fail,
            "none to tell others: only nodes this one connects to itself can talk to it",
            Some("hivenode config get listen; hivenode config get direct"),
        );
    } else if let Some(addr) = announced_bad {
        lines.add(
            "addresses",
            Verdict::Warn,
            format!("{addr} is announced, but was not reachable from outside"),
            Some("check the forwarding in the router, or take it back: hivenode config set announce ''"),
        );
    } else {
        let relayed = published.iter().filter(|a| a.contains("/p2p-circuit")).count();
        let own = published.len() - relayed;
        let text = if f.config.direct {
            format!(
                "{own} of this node's own and {relayed} through relays are told to others; {confirmed} confirmed from outside, {refused} refused"
            )
        } else {
            format!("{relayed} through relays are told to others (direct = off)")
        };
        lines.add("addresses", Verdict::Pass, text, None);
    }
}

fn clock(f: &Facts<'_>, lines: &mut Lines) {
    let Some(skew) = f.reach.clock_skew_ms else {
        return lines.untested("clock", "not compared: nobody is connected");
    };
    let (off, n) = (skew.unsigned_abs(), f.reach.clock_peers);
    let way = if skew > 0 { "ahead of" } else { "behind" };
    let text = format!("{}.{:03} s {way} the others ({n} asked)", off / 1000, off % 1000);
    let fix = Some("set this machine's clock (timedatectl set-ntp true)");
    if off > MAX_CLOCK_SKEW.0 {
        lines.add("clock", Verdict::Fail, text, fix);
    } else if off > SKEW_WORD_MS {
        lines.add("clock", Verdict::Warn, text, fix);
    } else {
        lines.add("clock", Verdict::Pass, text, None);
    }
}

/// What helps where large packets are lost.
const NARROW: &str = "have the router clamp the MSS to the line's MTU, or give this machine's interface a smaller MTU (ip link set dev NAME mtu 1280), or: hivenode config set transports quic";

/// What the system has for the way, narrower only after a router has said so; and whether much at once passes, which
/// shows the routers that do not say so.
fn mtu(f: &Facts<'_>, lines: &mut Lines) {
    let large = match f.reach.large {
        Some(true) => "; large messages pass over TCP",
        _ => "",
    };
    match f.reach.mtu {
        _ if f.reach.large == Some(false) => {
            // QUIC finds out by itself how large its packets may be.
            let works = f.reach.udp == Some(true);
            let verdict = if works { Verdict::Warn } else { Verdict::Fail };
            let text = "small messages pass over TCP, large ones do not: something on the way drops large packets and does not say so";
            lines.add("mtu", verdict, text, Some(NARROW));
        }
        None => lines.untested(
            "mtu",
            "not measured: that takes a fresh check, and somebody connected directly",
        ),
        Some(n) if n < QUIC_MTU => lines.add(
            "mtu",
            Verdict::Fail,
            format!("{n} bytes as the system knows it: QUIC needs {QUIC_MTU}"),
            Some("raise the MTU of the tunnel or line, or: hivenode config set transports tcp"),
        ),
        Some(n) if n < PLAIN_MTU => lines.add(
            "mtu",
            Verdict::Pass,
            format!("{n} bytes as the system knows it: a tunnel or VPN is in between{large}"),
            None,
        ),
        Some(n) => lines.add(
            "mtu",
            Verdict::Pass,
            format!("{n} bytes as the system knows it{large}"),
            None,
        ),
    }
}
