//! A plan becomes namespaces, wires, addresses, routes and rules.

use crate::{
    error::LabError,
    kind::NatKind,
    plan::{Host, Net, Plan, Router},
    space::Space,
};
use std::{collections::BTreeMap, net::Ipv4Addr};

/// A laboratory that is up. Everything is gone when it is dropped.
#[derive(Debug)]
pub struct Lab {
    plan: Plan,
    /// Hosts, routers and wires by name; wires' namespaces hold a bridge.
    spaces: BTreeMap<String, Space>,
}

impl Lab {
    /// Builds it. `prefix` (a few letters) keeps the names of two laboratories on one machine apart.
    ///
    /// # Errors
    /// Without root, `ip` or `nft`.
    pub fn raise(prefix: &str, plan: Plan) -> Result<Self, LabError> {
        let mut lab = Self {
            plan: plan.clone(),
            spaces: BTreeMap::new(),
        };
        for net in &plan.nets {
            let space = lab.space(prefix, &net.name)?;
            space.ip(&["link", "add", "wire", "type", "bridge"])?;
            space.ip(&["link", "set", "wire", "up"])?;
        }
        for host in &plan.hosts {
            lab.space(prefix, &host.name)?;
            lab.attach(&host.name, "outer", &host.net, host.address)?;
            lab.default_route(&host.name, &host.net)?;
        }
        for router in &plan.routers {
            lab.router(prefix, router)?;
        }
        Ok(lab)
    }

    /// The namespace of a host or router.
    ///
    /// # Errors
    /// [`LabError::NoHost`].
    pub fn inside(&self, name: &str) -> Result<&Space, LabError> {
        self.spaces
            .get(name)
            .ok_or_else(|| LabError::NoHost(name.to_owned()))
    }

    /// A host's address.
    ///
    /// # Errors
    /// [`LabError::NoHost`].
    pub fn address(&self, host: &str) -> Result<Ipv4Addr, LabError> {
        self.host(host).map(|h| h.address)
    }

    /// Gives a host another address on its net, as changing from one network to another does; the old one is gone.
    ///
    /// # Errors
    /// What `ip` says.
    pub fn change_address(&mut self, host: &str, to: Ipv4Addr) -> Result<(), LabError> {
        let (old, net) = {
            let h = self.host(host)?;
            (h.address, h.net.clone())
        };
        let prefix = self.net(&net)?.prefix;
        let space = self.inside(host)?;
        // The old one first: with a net's first address go all later ones.
        space.ip(&["addr", "del", &format!("{old}/{prefix}"), "dev", "outer"])?;
        space.ip(&["addr", "add", &format!("{to}/{prefix}"), "dev", "outer"])?;
        self.default_route(host, &net)?;
        if let Some(h) = self.plan.hosts.iter_mut().find(|h| h.name == host) {
            h.address = to;
        }
        Ok(())
    }

    /// Makes a router forget all mappings, as a restart does.
    ///
    /// # Errors
    /// What `conntrack` says.
    pub fn reboot_router(&self, router: &str) -> Result<(), LabError> {
        let mut command = self.inside(router)?.command("conntrack");
        crate::space::run(command.arg("-F")).map(|_| ())
    }

    /// The plan it was built from, with later changes.
    #[must_use]
    pub const fn plan(&self) -> &Plan {
        &self.plan
    }

    fn host(&self, name: &str) -> Result<&Host, LabError> {
        let found = self.plan.hosts.iter().find(|h| h.name == name);
        found.ok_or_else(|| LabError::NoHost(name.to_owned()))
    }

    fn net(&self, name: &str) -> Result<&Net, LabError> {
        let found = self.plan.nets.iter().find(|n| n.name == name);
        found.ok_or_else(|| LabError::NoHost(name.to_owned()))
    }

    fn space(&mut self, prefix: &str, name: &str) -> Result<&Space, LabError> {
        let space = Space::make(&format!("{prefix}-{name}"))?;
        Ok(self.spaces.entry(name.to_owned()).or_insert(space))
    }

    /// Lays a cable from `who` to a net and gives its end an address.
    fn attach(&self, who: &str, interface: &str, net: &str, address: Ipv4Addr) -> Result<(), LabError> {
        let prefix = self.net(net)?.prefix;
        let (here, wire) = (self.inside(who)?, self.inside(net)?);
        // The end at the wire is named after who holds the other: names of plans are short enough.
        let far = format!("w{who}");
        here.ip(&[
            "link",
            "add",
            interface,
            "type",
            "veth",
            "peer",
            "name",
            &far,
            "netns",
            wire.name(),
        ])?;
        wire.ip(&["link", "set", &far, "master", "wire"])?;
        wire.ip(&["link", "set", &far, "up"])?;
        here.ip(&["addr", "add", &format!("{address}/{prefix}"), "dev", interface])?;
        here.ip(&["link", "set", interface, "up"])
    }

    /// Leads `who` to the router of its net, if that net has one above it.
    fn default_route(&self, who: &str, net: &str) -> Result<(), LabError> {
        let above = self.plan.routers.iter().any(|r| r.lower == net);
        if !above {
            return Ok(());
        }
        let gateway = self.net(net)?.at(1).to_string();
        self.inside(who)?
            .ip(&["route", "replace", "default", "via", &gateway, "dev", "outer"])
    }

    fn router(&mut self, prefix: &str, router: &Router) -> Result<(), LabError> {
        self.space(prefix, &router.name)?;
        self.attach(&router.name, "outer", &router.upper, router.address)?;
        let lower = self.net(&router.lower)?.clone();
        self.attach(&router.name, "inner", &router.lower, lower.at(1))?;
        self.default_route(&router.name, &router.upper)?;
        let space = self.inside(&router.name)?;
        space.sysctl("net.ipv4.ip_forward", "1")?;
        // Unknown senders are led to the first host, or to the router behind.
        let rules = router.kind.rules(lower.at(2));
        if !rules.is_empty() {
            space.nft(&rules)?;
        }
        if router.kind == NatKind::Open {
            self.announce(router, &lower)?;
        }
        if let Some(rate) = &router.rate {
            for interface in ["outer", "inner"] {
                let mut tc = space.command("tc");
                tc.args(["qdisc", "add", "dev", interface, "root", "tbf", "rate", rate]);
                crate::space::run(tc.args(["burst", "256kb", "latency", "50ms"]))?;
            }
        }
        Ok(())
    }

    /// Without NAT everybody above must know the way down.
    fn announce(&self, router: &Router, lower: &Net) -> Result<(), LabError> {
        let range = format!("{}/{}", lower.base, lower.prefix);
        let via = router.address.to_string();
        let hosts = self
            .plan
            .hosts
            .iter()
            .filter(|h| h.net == router.upper)
            .map(|h| &h.name);
        let routers = self
            .plan
            .routers
            .iter()
            .filter(|r| r.upper == router.upper && r.name != router.name);
        for name in hosts.chain(routers.map(|r| &r.name)) {
            if let Some(space) = self.spaces.get(name) {
                space.ip(&["route", "replace", &range, "via", &via])?;
            }
        }
        Ok(())
    }
}
