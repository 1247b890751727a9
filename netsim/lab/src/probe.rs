//! What a NAT does, found out from both sides: a server with two addresses and two ports each, and a client behind
//! the NAT that asks to be answered from here and there (the tests of RFC 5780).

use crate::{error::LabError, raise::Lab, space::Space};
use std::{
    fmt, io,
    net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

/// The server's two ports on each of its addresses.
const PORTS: [u16; 2] = [7001, 7002];
/// The port the client sends from.
const CLIENT_PORT: u16 = 4001;
/// Tells the numbers of questions that are asked for control from the others.
const CONTROL: u8 = 0x80;
/// The last part of the server's second address.
const SECOND: u32 = 200;
/// An answer comes within this time on a machine's own wires, or never.
const PATIENCE: Duration = Duration::from_millis(400);
/// Tries of a question: the first packet may be lost while addresses are being resolved.
const TRIES: usize = 3;
/// Rounds of tries at the most of a question that must be answered unless nothing comes through at all: the machine
/// may be busy with other things.
const ROUNDS: usize = 5;

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

/// A server of questions; ends when dropped. A question is two bytes: `0` for an answer from here, `p` from this
/// address's other port, `a` from the other address; and a number. The answer is that number and the address seen, as
/// text.
struct Server {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Server {
    /// Starts it inside a namespace that has these addresses.
    fn start(space: &Space, addresses: [Ipv4Addr; 2]) -> Result<Self, LabError> {
        let sockets = space.enter(|| {
            let mut sockets = Vec::new();
            for address in addresses {
                for port in PORTS {
                    let socket = UdpSocket::bind((address, port))?;
                    socket.set_read_timeout(Some(PATIENCE))?;
                    sockets.push(socket);
                }
            }
            Ok(sockets)
        })?;
        let sockets = Arc::new(sockets);
        let stop = Arc::new(AtomicBool::new(false));
        let serve = |n| {
            let (sockets, stop) = (Arc::clone(&sockets), Arc::clone(&stop));
            std::thread::spawn(move || answer(&sockets, n, &stop))
        };
        Ok(Self {
            threads: (0..sockets.len()).map(serve).collect(),
            stop: Arc::clone(&stop),
        })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

fn answer(sockets: &[UdpSocket], n: usize, stop: &AtomicBool) {
    let Some(socket) = sockets.get(n) else { return };
    let mut question = [0; 8];
    while !stop.load(Ordering::Relaxed) {
        let Ok((_, from)) = socket.recv_from(&mut question) else {
            continue;
        };
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
}

/// `question` is what is asked and its number, by which a late answer to an earlier question is told apart.
fn ask(socket: &UdpSocket, to: SocketAddrV4, question: [u8; 2]) -> io::Result<Option<SocketAddr>> {
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
            socket.set_read_timeout(Some(left))?;
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

/// Asks what must be answered by whoever can be reached at all.
fn ask_long(socket: &UdpSocket, to: SocketAddrV4, question: [u8; 2]) -> io::Result<Option<SocketAddr>> {
    for _ in 0..ROUNDS {
        if let Some(seen) = ask(socket, to, question)? {
            return Ok(Some(seen));
        }
    }
    Ok(None)
}

/// Asks what is not answered by whoever filters. That nothing came counts only if an answer from here, asked for
/// afterwards, is in time: otherwise the machine was too busy to tell.
fn ask_judged(socket: &UdpSocket, to: SocketAddrV4, question: [u8; 2]) -> io::Result<bool> {
    for _ in 0..ROUNDS {
        if ask(socket, to, question)?.is_some() {
            return Ok(true);
        }
        if ask(socket, to, [b'0', question[1] | CONTROL])?.is_some() {
            break;
        }
    }
    Ok(false)
}

/// Asks a server at these addresses what the NAT in between does.
fn client([first, second]: [Ipv4Addr; 2]) -> io::Result<Behaviour> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, CLIENT_PORT))?;
    let at = |address, port: usize| SocketAddrV4::new(address, PORTS[port & 1]);
    // Filtering first, while nobody but one address and port was spoken to.
    let Some(seen) = ask_long(&socket, at(first, 0), [b'0', 0])? else {
        return Ok(Behaviour {
            mapping: Mapping::Blocked,
            filtering: Filtering::Blocked,
        });
    };
    let filtering = if ask_judged(&socket, at(first, 0), [b'a', 1])? {
        Filtering::EndpointIndependent
    } else if ask_judged(&socket, at(first, 0), [b'p', 2])? {
        Filtering::AddressDependent
    } else {
        Filtering::AddressAndPortDependent
    };
    let elsewhere = [
        ask_long(&socket, at(first, 1), [b'0', 3])?,
        ask_long(&socket, at(second, 0), [b'0', 4])?,
    ];
    let own = {
        // Not a packet is sent by this: it only chooses the address packets would have.
        let route = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        route.connect(at(first, 0))?;
        route.local_addr()?.ip()
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

/// Measures the NAT in front of `host` from the public host `at`.
///
/// # Errors
/// When the probes do not run.
pub fn measure(lab: &Lab, host: &str, at: &str) -> Result<Behaviour, LabError> {
    let first = lab.address(at)?;
    let second = Ipv4Addr::from(u32::from(first) & !0xff | SECOND);
    let public = lab.inside(at)?;
    // It may have been given before.
    let _ = public.ip(&["addr", "add", &format!("{second}/24"), "dev", "outer"]);
    let _server = Server::start(public, [first, second])?;
    lab.inside(host)?.enter(|| client([first, second]))
}

/// Times both hosts send: what is late on a busy machine is heard at a later one.
const PUNCHES: usize = 10;

/// Whether two hosts reach one another over UDP at the addresses at which the public host `at` sees them, when both
/// send at the same time: what hole punching needs, without any program in between.
///
/// # Errors
/// When the probes do not run.
pub fn punch(lab: &Lab, one: &str, two: &str, at: &str) -> Result<bool, LabError> {
    let first = lab.address(at)?;
    let _server = Server::start(lab.inside(at)?, [first, Ipv4Addr::LOCALHOST])?;
    let open = |host: &str, port| {
        lab.inside(host)?.enter(move || {
            let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port))?;
            let seen = ask_long(&socket, SocketAddrV4::new(first, PORTS[0]), [b'0', 0])?;
            Ok((socket, seen))
        })
    };
    let ((a, seen_a), (b, seen_b)) = (open(one, CLIENT_PORT)?, open(two, CLIENT_PORT + 1)?);
    let (Some(seen_a), Some(seen_b)) = (seen_a, seen_b) else {
        return Ok(false);
    };
    let inside = |source| LabError::Inside {
        space: one.to_owned(),
        source,
    };
    // A byte of its own: late answers of the server are no punch.
    let heard = |socket: &UdpSocket| {
        let mut byte = [0; 64];
        socket.recv_from(&mut byte).is_ok_and(|(n, _)| n == 1)
    };
    for _ in 0..PUNCHES {
        // A router may refuse aloud; the other direction may do.
        let _ = (a.send_to(b"x", seen_b), b.send_to(b"x", seen_a));
        for socket in [&a, &b] {
            socket.set_read_timeout(Some(PATIENCE / 4)).map_err(inside)?;
        }
        if heard(&a) || heard(&b) {
            return Ok(true);
        }
    }
    Ok(false)
}
