//! What a router does, as rules of the kernel's packet filter.
//!
//! Unsolicited packets are dropped without an answer, as home routers do: a router that answers them breaks hole
//! punching and is a fault of the laboratory, not a kind of NAT.
//!
//! A mapping that does not depend on the destination is remembered in the map `ports` when a host sends, so that
//! several hosts can stand behind one router and nothing is open that was not opened from inside. Whom a port has
//! spoken to is in the set `spoken`. The kernel's own connection tracking does the rest.

use crate::{
    kind::NatKind,
    plan::{Range4, Router},
};
use std::{fmt::Write as _, net::Ipv4Addr};

/// How long a mapping lives without a packet from inside, in seconds. RFC 4787 asks for two minutes at least.
const LIFE: u32 = 120;

/// Leads a packet to the host whose port it is.
const LEAD: &str = "meta l4proto { tcp, udp } dnat to meta l4proto . th dport map @ports";

/// What a filter looks at besides the port of its host: the other's address, and port.
#[derive(Clone, Copy)]
enum Filter {
    Nothing,
    Address,
    AddressAndPort,
}

impl Filter {
    const fn of(kind: NatKind) -> Self {
        match kind {
            NatKind::Open | NatKind::FullCone => Self::Nothing,
            NatKind::AddressRestricted => Self::Address,
            _ => Self::AddressAndPort,
        }
    }

    /// The fields it compares, of the own port, the other's address and the other's port; an empty one is left out.
    fn fields(self, all: &[&'static str; 3]) -> Option<String> {
        let count = match self {
            Self::Nothing => return None,
            Self::Address => 2,
            Self::AddressAndPort => 3,
        };
        let used = all.iter().take(count).filter(|f| !f.is_empty());
        Some(used.fold("meta l4proto".to_owned(), |text, f| format!("{text} . {f}")))
    }

    fn set(self, name: &str, all: &[&'static str; 3]) -> String {
        self.fields(all).map_or_else(String::new, |f| {
            format!("    set {name} {{ typeof {f}; flags dynamic,timeout; timeout {LIFE}s; size 65535; }}\n")
        })
    }

    fn remembers(self, name: &str, all: &[&'static str; 3]) -> String {
        let fields = self.fields(all);
        fields.map_or_else(String::new, |f| format!("update @{name} {{ {f} }}"))
    }

    fn matches(self, name: &str, all: &[&'static str; 3]) -> String {
        self.fields(all)
            .map_or_else(String::new, |f| format!("{f} @{name}"))
    }
}

/// A counting router's first port, and how many it has before it begins again.
const COUNTED: (u16, u16) = (40_000, 2048);

/// Translates to the next port. Through a map, since a bare counter would count in the wrong order of bytes.
fn counted() -> String {
    let (first, count) = COUNTED;
    let mut rule = format!("masquerade to :numgen inc mod {count} map {{ ");
    for n in 0..count {
        let _ = write!(rule, "{n} : {}, ", first + n);
    }
    rule.push('}');
    rule
}

/// IPv4 rules of a router at `outer` towards the internet with the hosts of `inner` behind it; empty without NAT.
#[must_use]
pub fn v4(router: &Router, outer: Ipv4Addr, inner: Range4) -> String {
    let kind = router.kind;
    let masquerade = match kind {
        NatKind::Open => return String::new(),
        NatKind::Symmetric => "masquerade fully-random".to_owned(),
        NatKind::Counting => counted(),
        _ => "masquerade".to_owned(),
    };
    let range = format!("{}/{}", inner.base, inner.prefix);
    let filter = Filter::of(kind);
    let mut led = String::new();
    if matches!(kind, NatKind::FullCone | NatKind::AddressRestricted) {
        let heard = filter.matches("spoken", &["th dport", "ip saddr", "th sport"]);
        let _ = writeln!(led, "        iifname \"outer\" ip daddr {outer} {heard} {LEAD}");
    }
    let mut remember = filter.remembers("spoken", &["th sport", "ip daddr", "th dport"]);
    let mut sets = filter.set("spoken", &["th sport", "ip daddr", "th dport"]);
    let mut back = String::new();
    if router.hairpin {
        // Whoever comes from inside comes from the router's own address: only ports tell them apart.
        let heard = filter.matches("turned", &["th dport", "", "th sport"]);
        let _ = writeln!(led, "        iifname \"inner\" ip daddr {outer} {heard} {LEAD}");
        sets.push_str(&filter.set("turned", &["th sport", "", "th dport"]));
        let turned = filter.remembers("turned", &["th sport", "", "th dport"]);
        if !turned.is_empty() {
            let _ = write!(
                remember,
                "\n        iifname \"inner\" ip daddr {outer} meta l4proto {{ tcp, udp }} {turned}"
            );
        }
        // The sender shows its outer address, as RFC 4787 asks of a hairpin.
        back = format!("oifname \"inner\" ip saddr {range} ct status dnat snat to {outer}");
    }
    let blocked = if kind == NatKind::UdpBlocked {
        "meta l4proto udp drop"
    } else {
        ""
    };
    format!(
        "table ip lab {{
    map ports {{ typeof meta l4proto . th sport : ip saddr; flags dynamic,timeout; timeout {LIFE}s; size 65535; }}
{sets}    chain remember {{
        type filter hook prerouting priority mangle; policy accept
        iifname \"inner\" ip daddr != {range} meta l4proto {{ tcp, udp }} update @ports {{ meta l4proto . th sport : ip saddr }} {remember}
    }}
    chain lead {{
        type nat hook prerouting priority dstnat; policy accept
{led}    }}
    chain leave {{
        type nat hook postrouting priority srcnat; policy accept
        {back}
        oifname \"outer\" meta l4proto {{ tcp, udp }} {masquerade}
        oifname \"outer\" masquerade
    }}
    chain through {{
        type filter hook forward priority filter; policy drop
        {blocked}
        iifname \"inner\" accept
        ct state established,related accept
        ct status dnat accept
    }}
    chain into {{
        type filter hook input priority filter; policy accept
        ip daddr {outer} ct state established,related accept
        ip daddr {outer} drop
    }}
}}
"
    )
}

/// IPv6 rules: no translation, but a firewall that lets in only answers; empty for an open router.
#[must_use]
pub fn v6(kind: NatKind) -> String {
    let blocked = match kind {
        NatKind::Open => return String::new(),
        NatKind::UdpBlocked => "meta l4proto udp drop",
        _ => "",
    };
    format!(
        "table ip6 lab {{
    chain through {{
        type filter hook forward priority filter; policy drop
        {blocked}
        iifname \"inner\" accept
        meta l4proto ipv6-icmp accept
        ct state established,related accept
    }}
    chain into {{
        type filter hook input priority filter; policy accept
        meta l4proto ipv6-icmp accept
        iifname \"outer\" ct state established,related accept
        iifname \"outer\" drop
    }}
}}
"
    )
}

/// A router that is off: nothing goes through, in or out.
pub const OFF: &str = "table inet off {
    chain through { type filter hook forward priority -300; policy drop; }
    chain into { type filter hook input priority -300; policy drop; }
    chain from { type filter hook output priority -300; policy drop; }
}
";
