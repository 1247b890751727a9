//! What happens to a laboratory that is up: reboots, moves, new addresses, cables pulled.

use crate::{
    error::LabError,
    plan::Cable,
    raise::{Lab, Place},
    rules,
};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink, recv, send, socket_with,
    sockopt::{Timeout, set_socket_timeout},
};
use std::{io, net::Ipv4Addr, time::Duration};

/// The kernel answers at once; this is for a machine that is very busy.
const PATIENCE: Duration = Duration::from_secs(5);

/// The kernel's message that forgets all connections (`nfnetlink_conntrack`, `IPCTNL_MSG_CT_DELETE`).
const FORGET: [u8; 20] = {
    let mut message = [0; 20];
    message[0] = 20; // its length
    message[4] = 2; // what is to be done: delete
    message[5] = 1; // to whom it is said: connection tracking
    message[6] = 5; // a request that is answered
    message[8] = 1; // its number
    message
};

/// Says [`FORGET`] to the kernel, for the namespace of this thread.
fn forget() -> io::Result<()> {
    let socket = socket_with(
        AddressFamily::NETLINK,
        SocketType::RAW,
        SocketFlags::CLOEXEC,
        Some(netlink::NETFILTER),
    )?;
    set_socket_timeout(&socket, Timeout::Recv, Some(PATIENCE))?;
    send(&socket, &FORGET, SendFlags::empty())?;
    let mut answer = [0u8; 256];
    let (got, _) = recv(&socket, &mut answer, RecvFlags::empty())?;
    // An answer is a header of 16 bytes and an error number, 0 for none.
    let number = answer.get(..got).and_then(|a| a.get(16..20));
    let number = number.and_then(|n| n.try_into().ok()).map(i32::from_ne_bytes);
    match number {
        Some(0) => Ok(()),
        Some(error) => Err(io::Error::from_raw_os_error(-error)),
        None => Err(io::Error::other("the kernel's answer is cut short")),
    }
}

impl Lab {
    /// Makes a router forget all mappings, as a quick restart does.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn reboot_router(&self, router: &str) -> Result<(), LabError> {
        self.stop_router(router)?;
        self.start_router(router)
    }

    /// Switches a router off: nothing goes through.
    ///
    /// # Errors
    /// What `nft` says.
    pub fn stop_router(&self, router: &str) -> Result<(), LabError> {
        self.inside(router)?.nft(rules::OFF)
    }

    /// Switches a router on again; it knows nothing of before.
    ///
    /// # Errors
    /// What `nft` and the kernel say.
    pub fn start_router(&self, router: &str) -> Result<(), LabError> {
        let found = self.plan.router(router);
        let found = found.ok_or_else(|| LabError::NoHost(router.to_owned()))?;
        let space = self.inside(router)?;
        // Deleting what may not be there is an error; adding it first is none.
        space.nft("add table ip lab\ndelete table ip lab\nadd table ip6 lab\ndelete table ip6 lab")?;
        self.load_rules(found)?;
        space.enter(forget)?;
        space.nft("add table inet off\ndelete table inet off")
    }

    /// Gives a router another IPv4 address towards the internet, as providers do over night; mappings are lost.
    ///
    /// # Errors
    /// What `ip` and `nft` say.
    pub fn renumber_router(&mut self, router: &str, to: Ipv4Addr) -> Result<(), LabError> {
        self.stop_router(router)?;
        let found = self.plan.router(router);
        let mut changed = found
            .cloned()
            .ok_or_else(|| LabError::NoHost(router.to_owned()))?;
        let place = |v4| Place {
            net: &changed.upper,
            v4,
            v6: None,
        };
        self.address_of(router, "outer", place(changed.v4), "del")?;
        self.address_of(router, "outer", place(Some(to)), "add")?;
        self.default_route(router, &changed.upper)?;
        changed.v4 = Some(to);
        if let Some(r) = self.plan.routers.iter_mut().find(|r| r.name == router) {
            *r = changed;
        }
        self.start_router(router)
    }

    /// Gives a host another IPv4 address on its net; the old one is gone.
    ///
    /// # Errors
    /// What `ip` says.
    pub fn change_address(&mut self, host: &str, to: Ipv4Addr) -> Result<(), LabError> {
        let old = self.host(host)?.clone();
        let place = |v4| Place {
            net: &old.net,
            v4,
            v6: None,
        };
        // The old one first: with a net's first address go all later ones.
        self.address_of(host, "outer", place(old.v4), "del")?;
        self.address_of(host, "outer", place(Some(to)), "add")?;
        self.default_route(host, &old.net)?;
        if let Some(h) = self.plan.hosts.iter_mut().find(|h| h.name == host) {
            h.v4 = Some(to);
        }
        Ok(())
    }

    /// Takes a host from its net to another one, as from Wi-Fi to a mobile network: another cable, router, address.
    /// `at` is its number there.
    ///
    /// # Errors
    /// When there is no such net, and what `ip` says.
    pub fn move_host(&mut self, host: &str, net: &str, at: u32) -> Result<(), LabError> {
        let mut moved = self.host(host)?.clone();
        let to = self.net(net)?;
        (moved.v4, moved.v6) = (to.v4.map(|r| r.at(at)), to.v6.map(|r| r.at(at)));
        net.clone_into(&mut moved.net);
        self.cables.remove(host);
        // A slow cable's end is gone with it.
        let _ = self.inside(host)?.ip(&["link", "del", "outer"]);
        let place = Place::of_host(&moved);
        self.attach(host, "outer", place, &moved.cable)?;
        self.default_route(host, net)?;
        self.inside(host)?.speaks_v6(moved.v6.is_some().into())?;
        if let Some(h) = self.plan.hosts.iter_mut().find(|h| h.name == host) {
            *h = moved;
        }
        Ok(())
    }

    /// Pulls a host's cable at its far end, or plugs it in: nothing on the host notices but that nobody answers.
    ///
    /// # Errors
    /// What `ip` says.
    pub fn plug(&self, host: &str, plugged: bool) -> Result<(), LabError> {
        let wire = self.inside(&self.host(host)?.net)?;
        let end = format!("w{host}");
        let state = if plugged { "up" } else { "down" };
        if self.cables.contains_key(host) {
            return wire.ip(&["link", "set", &end, state]);
        }
        // An end that is down takes the other end's carrier with it; one that is at no bridge does not.
        if plugged {
            wire.ip(&["link", "set", &end, "master", "wire"])
        } else {
            wire.ip(&["link", "set", &end, "nomaster"])
        }
    }

    /// Changes delay and loss of a cable that was laid with some.
    ///
    /// # Errors
    /// [`LabError::Unfit`] for a cable of the kernel's.
    pub fn set_cable(&self, who: &str, cable: &Cable) -> Result<(), LabError> {
        let laid = self.cables.get(who);
        let laid =
            laid.ok_or_else(|| LabError::Unfit(format!("{who}'s cable was laid without delay or loss")))?;
        laid.set(cable);
        Ok(())
    }
}
