//! The keeper against routers of our own on the loopback interface.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use super::*;
use std::sync::Mutex;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, UdpSocket as Udp},
};

const DEADLINE: Duration = Duration::from_secs(20);
const OUTSIDE: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 5);

/// What a router has been asked, and what it does about it.
#[derive(Default)]
struct Deeds {
    /// External port by protocol number and internal port.
    open: BTreeMap<(u8, u16), u16>,
    closed: usize,
    /// Ports that belong to somebody else.
    taken: Vec<u16>,
    permanent_only: bool,
    silent: bool,
    refuses: bool,
}

type Shelf = Arc<Mutex<Deeds>>;

/// A gateway that speaks PCP, or NAT-PMP only.
async fn gateway(pcp: bool, deeds: Shelf) -> SocketAddr {
    let socket = Udp::bind("127.0.0.1:0").await.unwrap();
    let at = socket.local_addr().unwrap();
    tokio::spawn(async move {
        let mut buffer = [0; 1100];
        loop {
            let (len, from) = socket.recv_from(&mut buffer).await.unwrap();
            if deeds.lock().unwrap().silent {
                continue;
            }
            let request = &buffer[..len];
            if deeds.lock().unwrap().refuses {
                // PCP: not authorized.
                let mut answer = request.to_vec();
                answer[1] |= 0x80;
                answer[3] = 2;
                socket.send_to(&answer, from).await.unwrap();
                continue;
            }
            let port_at = |at: usize| u16::from_be_bytes([request[at], request[at + 1]]);
            let note = |number: u8, port: u16, outside: u16, lifetime: &[u8]| {
                let mut deeds = deeds.lock().unwrap();
                if lifetime == [0; 4] {
                    deeds.closed += 1;
                    deeds.open.remove(&(number, port));
                } else {
                    deeds.open.insert((number, port), outside);
                }
            };
            let answer = match (request[0], pcp) {
                (2, true) => {
                    let outside = port_at(42).wrapping_add(1);
                    note(request[36], port_at(40), outside, &request[4..8]);
                    let mut answer = request.to_vec();
                    answer[1] |= 0x80;
                    answer[42..44].copy_from_slice(&outside.to_be_bytes());
                    answer[44..60].copy_from_slice(&OUTSIDE.to_ipv6_mapped().octets());
                    answer
                }
                // Version 0, "unsupported version".
                (2, false) => vec![0, request[1] | 0x80, 0, 1, 0, 0, 0, 9],
                (0, _) if request[1] == 0 => {
                    let mut answer = vec![0, 0x80, 0, 0, 0, 0, 0, 9];
                    answer.extend_from_slice(&OUTSIDE.octets());
                    answer
                }
                _ => {
                    let number = if request[1] == 1 { 17 } else { 6 };
                    let outside = port_at(6).wrapping_add(2);
                    note(number, port_at(4), outside, &request[8..12]);
                    let mut answer = vec![0, request[1] | 0x80, 0, 0, 0, 0, 0, 9];
                    answer.extend_from_slice(&request[4..6]);
                    answer.extend_from_slice(&outside.to_be_bytes());
                    answer.extend_from_slice(&request[8..12]);
                    answer
                }
            };
            socket.send_to(&answer, from).await.unwrap();
        }
    });
    at
}

/// A UPnP router; gives back where it listens for searches.
async fn igd(deeds: Shelf) -> SocketAddr {
    let web = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = web.local_addr().unwrap();
    let search = Udp::bind("127.0.0.1:0").await.unwrap();
    let searched = search.local_addr().unwrap();
    tokio::spawn(async move {
        let mut buffer = [0; 1500];
        loop {
            let (len, from) = search.recv_from(&mut buffer).await.unwrap();
            assert!(buffer[..len].starts_with(b"M-SEARCH * HTTP/1.1\r\n"));
            // A device that lies about where it is, before the honest answer.
            for place in ["203.0.113.9:80".to_owned(), at.to_string()] {
                let text = format!("HTTP/1.1 200 OK\r\nLocation: http://{place}/root.xml\r\nST: x\r\n\r\n");
                search.send_to(text.as_bytes(), from).await.unwrap();
            }
        }
    });
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = web.accept().await.unwrap();
            let deeds = Arc::clone(&deeds);
            tokio::spawn(async move {
                let mut bytes = Vec::new();
                let request = loop {
                    stream.read_buf(&mut bytes).await.unwrap();
                    let text = String::from_utf8_lossy(&bytes).into_owned();
                    let Some((head, body)) = text.split_once("\r\n\r\n") else {
                        continue;
                    };
                    let line = head.lines().find_map(|l| l.strip_prefix("Content-Length: "));
                    if body.len() >= line.unwrap().parse::<usize>().unwrap() {
                        break text;
                    }
                };
                let (status, body) = reply(&request, &mut deeds.lock().unwrap());
                let text = format!(
                    "HTTP/1.1 {status} X\r\nContent-Length: {}\r\n\r\n{body}",
                    body.len()
                );
                stream.write_all(text.as_bytes()).await.unwrap();
            });
        }
    });
    searched
}

fn reply(request: &str, deeds: &mut Deeds) -> (u16, String) {
    let field = |name: &str| {
        let text = request.split(&format!("<{name}>")).nth(1).unwrap();
        text.split('<').next().unwrap().to_owned()
    };
    let fault = |code: u16| (500, format!("<s:Fault><errorCode>{code}</errorCode></s:Fault>"));
    if request.starts_with("GET /root.xml ") {
        let service = "urn:schemas-upnp-org:service:WANIPConnection:1";
        return (
            200,
            format!(
                "<root><service><serviceType>urn:other</serviceType><controlURL>/no</controlURL></service>\
                 <service><serviceType>{service}</serviceType><controlURL>/ctl</controlURL></service></root>"
            ),
        );
    }
    assert!(request.starts_with("POST /ctl "), "{request}");
    let number = |name: &str| if name == "UDP" { 17 } else { 6 };
    if request.contains("#GetExternalIPAddress\"") {
        (
            200,
            format!("<NewExternalIPAddress>{OUTSIDE}</NewExternalIPAddress>"),
        )
    } else if request.contains("#AddPortMapping\"") {
        let outside: u16 = field("NewExternalPort").parse().unwrap();
        assert_eq!(field("NewInternalClient"), "127.0.0.1");
        if deeds.taken.contains(&outside) {
            return fault(718);
        }
        if deeds.permanent_only && field("NewLeaseDuration") != "0" {
            return fault(725);
        }
        let inside = field("NewInternalPort").parse().unwrap();
        deeds
            .open
            .insert((number(&field("NewProtocol")), inside), outside);
        (200, String::new())
    } else {
        assert!(request.contains("#DeletePortMapping\""), "{request}");
        deeds.closed += 1;
        let outside: u16 = field("NewExternalPort").parse().unwrap();
        deeds.open.retain(|_, o| *o != outside);
        (200, String::new())
    }
}

struct Rig {
    listening: watch::Sender<Vec<String>>,
    commands: mpsc::Receiver<Command>,
    _alive: mpsc::Sender<Command>,
    shared: Arc<Shared>,
    task: tokio::task::JoinHandle<()>,
}

fn keep(gateway: SocketAddr, search: SocketAddr) -> Rig {
    let (alive, commands) = mpsc::channel(16);
    let shared = Arc::<Shared>::default();
    let places = Places {
        gateway: Some(gateway),
        search: Some(search),
        loopback: true,
    };
    let keeper = Keeper::new(Arc::clone(&shared), alive.downgrade(), places);
    let addrs = ["/ip4/127.0.0.1/udp/4001/quic-v1", "/ip4/127.0.0.1/tcp/4001"];
    let (listening, watched) = watch::channel(addrs.map(str::to_owned).to_vec());
    Rig {
        listening,
        commands,
        _alive: alive,
        shared,
        task: tokio::spawn(keeper.run(watched)),
    }
}

impl Rig {
    async fn event(&mut self) -> NetEvent {
        match timeout(DEADLINE, self.commands.recv()).await.unwrap().unwrap() {
            Command::Tell { event } => *event,
            other => panic!("{other:?}"),
        }
    }

    async fn mapped(&mut self) -> (String, Mapper) {
        match self.event().await {
            NetEvent::Mapped { addr, by, .. } => (addr, by),
            other => panic!("{other:?}"),
        }
    }

    async fn end(self) {
        drop(self.listening);
        timeout(DEADLINE, self.task).await.unwrap().unwrap();
    }
}

/// Nobody listens there.
async fn nobody() -> SocketAddr {
    let socket = Udp::bind("127.0.0.1:0").await.unwrap();
    socket.local_addr().unwrap()
}

#[tokio::test]
async fn ports_are_opened_by_pcp_and_given_back() {
    let deeds = Shelf::default();
    let mut rig = keep(gateway(true, Arc::clone(&deeds)).await, nobody().await);
    let mut all = [rig.mapped().await, rig.mapped().await];
    all.sort();
    assert_eq!(all[0].1, Mapper::Pcp);
    let ports: Vec<u16> = deeds.lock().unwrap().open.values().copied().collect();
    assert_eq!(ports.len(), 2);
    assert!(all[0].0.starts_with("/ip4/203.0.113.5/tcp/400"), "{all:?}");
    assert!(all[1].0.starts_with("/ip4/203.0.113.5/udp/400"), "{all:?}");
    assert_eq!(rig.shared.reach.facts.mapped().len(), 2);
    rig.end().await;
    assert_eq!(deeds.lock().unwrap().closed, 2);
    assert!(deeds.lock().unwrap().open.is_empty());
}

#[tokio::test]
async fn an_older_gateway_is_asked_by_nat_pmp() {
    let deeds = Shelf::default();
    let mut rig = keep(gateway(false, Arc::clone(&deeds)).await, nobody().await);
    let (addr, by) = rig.mapped().await;
    assert_eq!(by, Mapper::NatPmp);
    assert!(addr.starts_with("/ip4/203.0.113.5/"), "{addr}");
    rig.mapped().await;
    assert!(deeds.lock().unwrap().open.contains_key(&(17, 4001)));
    // It listens there no longer: the port is news once more.
    rig.listening
        .send_replace(vec!["/ip4/127.0.0.1/tcp/4001".to_owned()]);
    match rig.event().await {
        NetEvent::Unmapped { addr, .. } => assert!(addr.contains("/udp/"), "{addr}"),
        other => panic!("{other:?}"),
    }
    rig.end().await;
}

#[tokio::test]
async fn without_either_a_router_is_found_by_upnp() {
    let deeds = Shelf::default();
    {
        let mut deeds = deeds.lock().unwrap();
        deeds.taken.push(4001);
        deeds.permanent_only = true;
    }
    let mut rig = keep(nobody().await, igd(Arc::clone(&deeds)).await);
    let mut all = [rig.mapped().await, rig.mapped().await];
    all.sort();
    assert_eq!(
        all,
        [
            ("/ip4/203.0.113.5/tcp/4002".to_owned(), Mapper::Upnp),
            ("/ip4/203.0.113.5/udp/4002/quic-v1".to_owned(), Mapper::Upnp)
        ]
    );
    rig.end().await;
    assert!(deeds.lock().unwrap().open.is_empty());
}

#[tokio::test]
async fn no_router_is_said_once_with_what_each_protocol_came_to() {
    let deeds = Shelf::default();
    deeds.lock().unwrap().silent = true;
    let mut rig = keep(gateway(true, deeds).await, nobody().await);
    match rig.event().await {
        NetEvent::MapFailed { reason } => {
            assert!(reason.contains("NAT-PMP: no answer"), "{reason}");
            assert!(reason.contains("UPnP:"), "{reason}");
        }
        other => panic!("{other:?}"),
    }
    rig.end().await;
}

#[tokio::test]
async fn a_router_that_refuses_is_told_from_one_that_is_silent() {
    for refuses in [true, false] {
        let deeds = Shelf::default();
        {
            let mut deeds = deeds.lock().unwrap();
            (deeds.refuses, deeds.silent) = (refuses, !refuses);
        }
        let mut rig = keep(gateway(true, deeds).await, nobody().await);
        match rig.event().await {
            NetEvent::MapFailed { reason } => assert_eq!(reason.contains("result 2"), refuses, "{reason}"),
            other => panic!("{other:?}"),
        }
        assert_eq!(rig.shared.reach.facts.refused(), refuses);
        rig.end().await;
    }
}

#[test]
fn only_addresses_behind_a_router_are_opened() {
    let (alive, _commands) = mpsc::channel(1);
    let keeper = Keeper::new(Arc::default(), alive.downgrade(), Places::default());
    let listening = [
        "/ip4/192.168.1.5/udp/4001/quic-v1",
        "/ip4/192.168.1.5/tcp/4001",
        "/ip4/127.0.0.1/tcp/4002",
        "/ip4/203.0.113.5/tcp/4003",
        "/ip6/fd00::1/tcp/4004",
        "/ip4/192.168.1.5/tcp/4005/p2p/12D3KooWQYhTNQdmr3ArTeUHRYzFg94BKyTkoWBDWez9kSCVe2Xo/p2p-circuit",
    ]
    .map(str::to_owned);
    let wanted = keeper.wanted(&listening);
    let keys: Vec<_> = wanted.keys().copied().collect();
    assert_eq!(keys, [(Kind::Udp, 4001), (Kind::Tcp, 4001)]);
}
