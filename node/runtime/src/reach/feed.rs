//! What the network says, in the core's words.

use super::{Reach, lock};
use hive_net::{Mapper, NetEvent, Path};
use hive_protocol::time::Millis;
use hive_reach::{Input, MappedBy};
use std::time::Duration;

fn by(mapper: Mapper) -> MappedBy {
    match mapper {
        Mapper::Upnp => MappedBy::Upnp,
        Mapper::NatPmp => MappedBy::NatPmp,
        Mapper::Pcp => MappedBy::Pcp,
    }
}

/// Addresses of one failed dial that are looked at.
const MAX_SILENT: usize = 8;

/// What a failed dial says of the way to an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Heard {
    /// Somebody answered, whoever it was.
    Somebody,
    /// The port is closed, or a firewall says so in its name.
    Refusal,
    /// Nobody did.
    Nothing,
}

/// The address of a line about a dial, and what was heard from there.
pub(super) fn heard(line: &str) -> Option<(&str, Heard)> {
    let (addr, why) = line.split_once(": ").filter(|(addr, _)| addr.starts_with('/'))?;
    let why = why.to_lowercase();
    let heard = if why.contains("answers there") || why.contains("this node itself") {
        Heard::Somebody
    } else if why.contains("refused") {
        Heard::Refusal
    } else {
        Heard::Nothing
    };
    Some((addr, heard))
}

/// The address of a line about a dial, if nothing has answered there.
fn unanswered(line: &str) -> Option<&str> {
    heard(line).and_then(|(addr, heard)| (heard == Heard::Nothing).then_some(addr))
}

fn millis(d: Duration) -> Millis {
    Millis(u64::try_from(d.as_millis()).unwrap_or(u64::MAX))
}

impl Reach {
    /// Something happened on the network.
    pub fn network(&self, event: &NetEvent) {
        match event {
            NetEvent::Listening { addr } => self.listening(addr.clone(), true),
            NetEvent::NotListening { addr } => self.listening(addr.clone(), false),
            NetEvent::Connected {
                node,
                addr,
                dialer,
                hello,
            } => {
                lock(&self.0.found).clock(self.0.clock.now(), hello.now);
                self.tell(Input::Connected {
                    node: *node,
                    addr: addr.clone(),
                    dialer: *dialer,
                });
            }
            NetEvent::Path {
                node,
                path: Path::Direct,
                addr: Some(addr),
            } => self.tell(Input::Connected {
                node: *node,
                addr: addr.clone(),
                dialer: false,
            }),
            NetEvent::Path {
                node,
                addr: Some(addr),
                ..
            }
            | NetEvent::Carried { node, addr } => self.tell(Input::Moved {
                node: *node,
                addr: addr.clone(),
            }),
            NetEvent::DialFailed { reasons, .. } => self.silent(reasons),
            NetEvent::Disconnected { node, .. } => self.tell(Input::Disconnected { node: *node }),
            NetEvent::Observed {
                by, by_addr, addr, ..
            } => self.tell(Input::Observed {
                observer: *by,
                addr: addr.clone(),
                from: by_addr.clone(),
            }),
            NetEvent::Reached { by, by_addr, addr } => self.tell(Input::Reached {
                by: *by,
                from: by_addr.clone(),
                addr: addr.clone(),
            }),
            other => self.tests_and_mappings(other),
        }
    }

    fn tests_and_mappings(&self, event: &NetEvent) {
        match event {
            NetEvent::Tested {
                addr,
                server,
                reachable,
                stranger,
                detail,
            } => {
                lock(&self.0.found).tested(addr, *reachable, detail);
                self.tell(Input::Tested {
                    addr: addr.clone(),
                    server: *server,
                    reachable: *reachable,
                    stranger: *stranger,
                });
                self.0.tests.send_modify(|n| *n = n.wrapping_add(1));
            }
            NetEvent::Mapped {
                addr,
                by: how,
                lifetime,
            } => self.tell(Input::Mapped {
                addr: addr.clone(),
                by: by(*how),
                life: millis(*lifetime),
            }),
            NetEvent::Unmapped { addr, reason, .. } => self.tell(Input::Unmapped {
                addr: addr.clone(),
                detail: reason.clone(),
            }),
            _ => {}
        }
    }

    /// Addresses were dialed in vain, each with its reason. Where a machine has refused, packets pass.
    fn silent(&self, reasons: &[String]) {
        for addr in reasons
            .iter()
            .filter_map(|line| unanswered(line))
            .take(MAX_SILENT)
        {
            self.tell(Input::Silent {
                addr: addr.to_owned(),
            });
        }
    }

    /// An address is listened on, or no longer; those of reservations come like this, too.
    pub(super) fn listening(&self, addr: String, here: bool) {
        let input = match (hive_net::relay_in(&addr), here) {
            (Some(relay), true) => Input::Reserved { relay, addr },
            (Some(relay), false) => Input::ReservationLost { relay, addr },
            (None, true) => Input::Listening { addr },
            (None, false) => Input::NotListening { addr },
        };
        self.tell(input);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_refuses_is_not_silent() {
        let quic = "/ip4/203.0.113.1/udp/4001/quic-v1";
        assert_eq!(unanswered(&format!("{quic}: no answer within 5 s")), Some(quic));
        assert_eq!(
            unanswered("/ip4/203.0.113.1/tcp/1: Connection refused (os error 111)"),
            None
        );
        for answer in ["another node answers there: n_x", "that is this node itself"] {
            let line = format!("{quic}: {answer}");
            assert_eq!(heard(&line), Some((quic, Heard::Somebody)));
            assert_eq!(unanswered(&line), None);
        }
        assert_eq!(unanswered("no address known"), None);
        assert_eq!(unanswered("the dial was given up: yes"), None);
    }
}
