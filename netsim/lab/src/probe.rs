//! What a NAT does, found out from both sides: a server with two addresses and two ports each, and a client behind
//! the NAT that asks to be answered from here and there (the tests of RFC 5780).

use crate::{error::LabError, raise::Lab};
use std::{
    fmt,
    io::{self, BufRead, BufReader},
    net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket},
    path::Path,
    process::{Child, Stdio},
    time::{Duration, Instant},
};

/// The server's two ports on each of its addresses.
const PORTS: [u16; 2] = [7001, 7002];
/// The port the client sends from.
const CLIENT_PORT: u16 = 4001;
/// The last part of the server's second address.
const SECOND: u32 = 200;
/// An answer comes within this time on a machine's own wires, or never.
const PATIENCE: Duration = Duration::from_millis(400);
/// Tries of a question: the first packet may be lost while addresses are being resolved.
const TRIES: usize = 3;

/// To which ports a NAT maps one port of a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mapping {
    /// None: the host's own address is seen.
    None,
    /// The same for every destination.
    EndpointIndependent,
    /// Another one for other destinations.
    EndpointDependent,
    /// Nothing came through.
    Blocked,
}

/// Who may send to a mapped port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Filtering {
    /// Anybody.
    EndpointIndependent,
    /// Addresses that were spoken to.
    AddressDependent,
    /// Only the very address and port that was spoken to.
    AddressAndPortDependent,
    /// Nothing came through.
    Blocked,
}

/// A NAT's behaviour towards UDP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Behaviour {
    /// Its mapping.
    pub mapping: Mapping,
    /// Its filtering.
    pub filtering: Filtering,
}

impl fmt::Display for Behaviour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "mapping {:?}, filtering {:?}", self.mapping, self.filtering)
    }
}

fn probe(e: io::Error) -> LabError {
    LabError::Probe(e.to_string())
}

/// Serves questions until killed; says `ready` on standard output. A question is two bytes: `0` for an answer from
/// here, `p` from this address's other port, `a` from the other address; and a number. The answer is that number and
/// the address seen, as text.
///
/// # Errors
/// When the addresses are not this host's.
pub fn server(first: Ipv4Addr, second: Ipv4Addr) -> Result<(), LabError> {
    let mut sockets = Vec::new();
    for address in [first, second] {
        for port in PORTS {
            sockets.push(UdpSocket::bind((address, port)).map_err(probe)?);
        }
    }
    println!("ready");
    std::thread::scope(|scope| {
        for (n, socket) in sockets.iter().enumerate() {
            let sockets = &sockets;
            scope.spawn(move || {
                let mut question = [0; 8];
                while let Ok((_, from)) = socket.recv_from(&mut question) {
                    let other = match question[0] {
                        b'p' => n ^ 1,
                        b'a' => n ^ 2,
                        _ => n,
                    };
                    if let Some(answering) = sockets.get(other) {
                        // Whoever asks asks again.
                        let mut answer = vec![question[1]];
                        answer.extend_from_slice(from.to_string().as_bytes());
                        let _ = answering.send_to(&answer, from);
                    }
                }
            });
        }
    });
    Ok(())
}

/// `question` is what is asked and its number, by which a late answer to an earlier question is told apart.
fn ask(socket: &UdpSocket, to: SocketAddrV4, question: [u8; 2]) -> Result<Option<SocketAddr>, LabError> {
    let mut answer = [0; 64];
    for _ in 0..TRIES {
        if socket.send_to(&question, to).is_err() {
            // A router that refuses aloud.
            continue;
        }
        let until = Instant::now() + PATIENCE;
        while let Some(left) = until
            .checked_duration_since(Instant::now())
            .filter(|l| !l.is_zero())
        {
            socket.set_read_timeout(Some(left)).map_err(probe)?;
            let Ok((n, _)) = socket.recv_from(&mut answer) else {
                break;
            };
            let seen = answer
                .get(..n)
                .and_then(|a| a.strip_prefix(&[question[1]]))
                .and_then(|a| std::str::from_utf8(a).ok()?.parse().ok());
            if seen.is_some() {
                return Ok(seen);
            }
        }
    }
    Ok(None)
}

/// Asks a server at these addresses what the NAT in between does.
///
/// # Errors
/// Without a socket to ask with.
pub fn client(first: Ipv4Addr, second: Ipv4Addr) -> Result<Behaviour, LabError> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, CLIENT_PORT)).map_err(probe)?;
    let at = |address, port: usize| SocketAddrV4::new(address, PORTS[port & 1]);
    // Filtering first, while nobody but one address and port was spoken to.
    let Some(seen) = ask(&socket, at(first, 0), [b'0', 0])? else {
        return Ok(Behaviour {
            mapping: Mapping::Blocked,
            filtering: Filtering::Blocked,
        });
    };
    let filtering = if ask(&socket, at(first, 0), [b'a', 1])?.is_some() {
        Filtering::EndpointIndependent
    } else if ask(&socket, at(first, 0), [b'p', 2])?.is_some() {
        Filtering::AddressDependent
    } else {
        Filtering::AddressAndPortDependent
    };
    let elsewhere = [
        ask(&socket, at(first, 1), [b'0', 3])?,
        ask(&socket, at(second, 0), [b'0', 4])?,
    ];
    let own = {
        // Not a packet is sent by this: it only chooses the address packets would have.
        let route = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).map_err(probe)?;
        route.connect(at(first, 0)).map_err(probe)?;
        route.local_addr().map_err(probe)?.ip()
    };
    let mapping = if elsewhere.iter().any(|e| *e != Some(seen)) {
        Mapping::EndpointDependent
    } else if seen.ip() == own {
        Mapping::None
    } else {
        Mapping::EndpointIndependent
    };
    Ok(Behaviour { mapping, filtering })
}

struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Measures the NAT in front of `host` from the public host `at`. `program` is the binary whose arguments
/// `nat probe-server A B` and `nat probe A B` lead to [`server`] and [`client`].
///
/// # Errors
/// When the probes do not run.
pub fn measure(lab: &Lab, host: &str, at: &str, program: &Path) -> Result<String, LabError> {
    let first = lab.address(at)?;
    let second = Ipv4Addr::from(u32::from(first) & !0xff | SECOND);
    let public = lab.inside(at)?;
    // It may have been given before.
    let _ = public.ip(&["addr", "add", &format!("{second}/24"), "dev", "outer"]);
    let addresses = [first.to_string(), second.to_string()];
    let mut serving = public.command(program);
    serving
        .args(["nat", "probe-server"])
        .args(&addresses)
        .stdout(Stdio::piped());
    let mut child = Killed(serving.spawn().map_err(probe)?);
    let mut ready = String::new();
    if let Some(out) = child.0.stdout.take() {
        BufReader::new(out).read_line(&mut ready).map_err(probe)?;
    }
    if ready.trim() != "ready" {
        return Err(LabError::Probe("the server did not start".into()));
    }
    let mut asking = lab.inside(host)?.command(program);
    let output = crate::space::run(asking.args(["nat", "probe"]).args(&addresses))?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
