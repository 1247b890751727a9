//! A plan becomes namespaces, wires, addresses, routes and rules.

use crate::{
    cable::SlowCable,
    error::LabError,
    plan::{Cable, Host, Net, Plan, Router},
    rules,
    space::{Space, run},
};
use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

/// A laboratory that is up. Everything is gone when it is dropped.
#[derive(Debug)]
pub struct Lab {
    pub(crate) plan: Plan,
    /// Slow cables by who holds them. Before the namespaces, so that they end first.
    pub(crate) cables: BTreeMap<String, SlowCable>,
    /// Hosts, routers and wires by name; wires' namespaces hold a bridge.
    pub(crate) spaces: BTreeMap<String, Space>,
}

/// A place in a net.
#[derive(Clone, Copy)]
pub(crate) struct Place<'a> {
    pub net: &'a str,
    pub v4: Option<Ipv4Addr>,
    pub v6: Option<Ipv6Addr>,
}

impl<'a> Place<'a> {
    pub(crate) fn of_host(host: &'a Host) -> Self {
        Self {
            net: &host.net,
            v4: host.v4,
            v6: host.v6,
        }
    }
}

impl Lab {
    /// Builds it. `prefix` (a few letters) keeps the names of two laboratories on one machine apart.
    ///
    /// # Errors
    /// Without root, `ip` or `nft`.
    pub fn raise(prefix: &str, plan: Plan) -> Result<Self, LabError> {
        let mut lab = Self {
            plan: plan.clone(),
            cables: BTreeMap::new(),
            spaces: BTreeMap::new(),
        };
        for net in &plan.nets {
            let space = lab.space(prefix, &net.name)?;
            // Without snooping a wire is a wire: neighbours find one another at once.
            space.ip(&["link", "add", "wire", "type", "bridge", "mcast_snooping", "0"])?;
            space.ip(&["link", "set", "wire", "up"])?;
        }
        for host in &plan.hosts {
            lab.space(prefix, &host.name)?;
            lab.attach(&host.name, "outer", Place::of_host(host), &host.cable)?;
            lab.default_route(&host.name, &host.net)?;
        }
        for router in &plan.routers {
            lab.router(prefix, router)?;
        }
        // When everybody has addresses.
        for router in &plan.routers {
            lab.announce(router)?;
        }
        for host in plan.hosts.iter().filter(|h| h.v6.is_some()) {
            lab.inside(&host.name)?.speaks_v6(1)?;
        }
        for router in &plan.routers {
            let inner = lab.net(&router.lower)?.v6.is_some();
            let ends = usize::from(router.v6.is_some()) + usize::from(inner);
            lab.inside(&router.name)?.speaks_v6(ends)?;
        }
        Ok(lab)
    }

    /// The namespace of a host, router or wire.
    ///
    /// # Errors
    /// [`LabError::NoHost`].
    pub fn inside(&self, name: &str) -> Result<&Space, LabError> {
        self.spaces
            .get(name)
            .ok_or_else(|| LabError::NoHost(name.to_owned()))
    }

    /// A host's IPv4 address.
    ///
    /// # Errors
    /// [`LabError::NoHost`], [`LabError::Unfit`] when it has none.
    pub fn address(&self, host: &str) -> Result<Ipv4Addr, LabError> {
        let address = self.host(host)?.v4;
        address.ok_or_else(|| LabError::Unfit(format!("{host} has no IPv4 address")))
    }

    /// A host's IPv6 address.
    ///
    /// # Errors
    /// [`LabError::NoHost`], [`LabError::Unfit`] when it has none.
    pub fn address6(&self, host: &str) -> Result<Ipv6Addr, LabError> {
        let address = self.host(host)?.v6;
        address.ok_or_else(|| LabError::Unfit(format!("{host} has no IPv6 address")))
    }

    /// All addresses of a host, IPv4 first.
    ///
    /// # Errors
    /// [`LabError::NoHost`].
    pub fn addresses(&self, host: &str) -> Result<Vec<IpAddr>, LabError> {
        let host = self.host(host)?;
        let v4 = host.v4.map(IpAddr::V4);
        Ok(v4.into_iter().chain(host.v6.map(IpAddr::V6)).collect())
    }

    /// The plan it was built from, with later changes.
    #[must_use]
    pub const fn plan(&self) -> &Plan {
        &self.plan
    }

    pub(crate) fn host(&self, name: &str) -> Result<&Host, LabError> {
        let found = self.plan.host(name);
        found.ok_or_else(|| LabError::NoHost(name.to_owned()))
    }

    pub(crate) fn net(&self, name: &str) -> Result<&Net, LabError> {
        let found = self.plan.net(name);
        found.ok_or_else(|| LabError::NoHost(name.to_owned()))
    }

    fn space(&mut self, prefix: &str, name: &str) -> Result<&Space, LabError> {
        let space = Space::make(&format!("{prefix}-{name}"))?;
        for scope in ["all", "default"] {
            space.sysctl(&format!("net.ipv6.conf.{scope}.disable_ipv6"), "0")?;
            // Nobody else has the addresses given here: no waiting for an objection.
            space.sysctl(&format!("net.ipv6.conf.{scope}.accept_dad"), "0")?;
        }
        Ok(self.spaces.entry(name.to_owned()).or_insert(space))
    }

    /// Lays a cable from `who` to a net and gives its end addresses.
    pub(crate) fn attach(
        &mut self,
        who: &str,
        interface: &str,
        place: Place<'_>,
        cable: &Cable,
    ) -> Result<(), LabError> {
        // The end at the wire is named after who holds the other: names of plans are short enough.
        let far = format!("w{who}");
        let (here, wire) = (self.inside(who)?, self.inside(place.net)?);
        if cable.slow() {
            let laid = SlowCable::lay((here, interface), (wire, &far), cable)?;
            self.cables.insert(who.to_owned(), laid);
        } else {
            let veth = ["link", "add", interface, "type", "veth", "peer", "name", &far];
            here.ip(&[&veth[..], &["netns", wire.name()]].concat())?;
        }
        let (here, wire) = (self.inside(who)?, self.inside(place.net)?);
        wire.ip(&["link", "set", &far, "master", "wire"])?;
        wire.ip(&["link", "set", &far, "up"])?;
        if let Some(rate) = &cable.rate {
            for (space, end) in [(here, interface), (wire, far.as_str())] {
                let mut tc = space.command("tc");
                tc.args(["qdisc", "add", "dev", end, "root", "tbf", "rate", rate]);
                run(tc.args(["burst", "256kb", "latency", "50ms"]))?;
            }
        }
        self.address_of(who, interface, place, "add")?;
        here.ip(&["link", "set", interface, "up"])
    }

    /// Gives or takes addresses: `what` is `add` or `del`.
    pub(crate) fn address_of(
        &self,
        who: &str,
        interface: &str,
        place: Place<'_>,
        what: &str,
    ) -> Result<(), LabError> {
        let (here, net) = (self.inside(who)?, self.net(place.net)?);
        if let (Some(address), Some(range)) = (place.v4, net.v4) {
            let text = format!("{address}/{}", range.prefix);
            here.ip(&["addr", what, &text, "dev", interface])?;
        }
        if let (Some(address), Some(range)) = (place.v6, net.v6) {
            let text = format!("{address}/{}", range.prefix);
            // Nobody else can have it: no waiting for an objection.
            let args = ["-6", "addr", what, &text, "dev", interface, "nodad"];
            here.ip(args.get(..if what == "add" { 7 } else { 6 }).unwrap_or_default())?;
        }
        Ok(())
    }

    /// Leads `who` to the router of its net, if that net has one above it.
    pub(crate) fn default_route(&self, who: &str, net: &str) -> Result<(), LabError> {
        if !self.plan.routers.iter().any(|r| r.lower == net) {
            return Ok(());
        }
        let (space, net) = (self.inside(who)?, self.net(net)?);
        let to =
            |gateway: String| space.ip(&["route", "replace", "default", "via", &gateway, "dev", "outer"]);
        if let Some(range) = net.v4 {
            to(range.at(1).to_string())?;
        }
        if let Some(range) = net.v6 {
            to(range.at(1).to_string())?;
        }
        Ok(())
    }

    fn router(&mut self, prefix: &str, router: &Router) -> Result<(), LabError> {
        self.space(prefix, &router.name)?;
        let outer = Place {
            net: &router.upper,
            v4: router.v4,
            v6: router.v6,
        };
        self.attach(&router.name, "outer", outer, &router.cable)?;
        let lower = self.net(&router.lower)?.clone();
        let inner = Place {
            net: &router.lower,
            v4: lower.v4.map(|r| r.at(1)),
            v6: lower.v6.map(|r| r.at(1)),
        };
        self.attach_inner(&router.name, inner)?;
        self.default_route(&router.name, &router.upper)?;
        let space = self.inside(&router.name)?;
        space.sysctl("net.ipv4.ip_forward", "1")?;
        space.sysctl("net.ipv6.conf.all.forwarding", "1")?;
        self.load_rules(router)
    }

    /// A router's side towards its hosts.
    fn attach_inner(&self, router: &str, place: Place<'_>) -> Result<(), LabError> {
        let far = format!("i{router}");
        let (here, wire) = (self.inside(router)?, self.inside(place.net)?);
        let veth = ["link", "add", "inner", "type", "veth", "peer", "name", &far];
        here.ip(&[&veth[..], &["netns", wire.name()]].concat())?;
        wire.ip(&["link", "set", &far, "master", "wire"])?;
        wire.ip(&["link", "set", &far, "up"])?;
        self.address_of(router, "inner", place, "add")?;
        here.ip(&["link", "set", "inner", "up"])
    }

    /// The rules of a router's kind.
    pub(crate) fn load_rules(&self, router: &Router) -> Result<(), LabError> {
        let space = self.inside(&router.name)?;
        let lower = self.net(&router.lower)?;
        if let (Some(outer), Some(inner)) = (router.v4, lower.v4) {
            let text = rules::v4(router, outer, inner);
            if !text.is_empty() {
                space.nft(&text)?;
            }
        }
        let text = rules::v6(router.kind);
        if lower.v6.is_some() && !text.is_empty() {
            space.nft(&text)?;
        }
        Ok(())
    }

    /// Where nothing is translated everybody above must know the way down: IPv6, and open routers.
    fn announce(&self, router: &Router) -> Result<(), LabError> {
        let lower = self.net(&router.lower)?;
        let v6 = lower.v6.map(|r| format!("{}/{}", r.base, r.prefix));
        let open = lower.v4.filter(|_| router.kind == crate::kind::NatKind::Open);
        let v4 = open.map(|r| format!("{}/{}", r.base, r.prefix));
        let mut at = router;
        loop {
            let via4 = at.v4.filter(|_| v4.is_some()).map(|a| a.to_string());
            let via6 = at.v6.filter(|_| v6.is_some()).map(|a| a.to_string());
            let hosts = self.plan.hosts.iter().filter(|h| h.net == at.upper);
            let hosts = hosts.map(|h| &h.name);
            let beside = self.plan.routers.iter().filter(|r| r.name != at.name);
            let beside = beside.filter(|r| r.upper == at.upper || r.lower == at.upper);
            for name in hosts.chain(beside.map(|r| &r.name)) {
                let space = self.inside(name)?;
                for (range, via) in [(&v4, &via4), (&v6, &via6)] {
                    if let (Some(range), Some(via)) = (range, via) {
                        space.ip(&["route", "replace", range, "via", via])?;
                    }
                }
            }
            match self.plan.routers.iter().find(|r| r.lower == at.upper) {
                Some(above) => at = above,
                None => return Ok(()),
            }
        }
    }
}
