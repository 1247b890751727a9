//! The laboratory's networks are what they claim to be: measured through the kernel's own NAT. Needs root.

#![allow(clippy::unwrap_used, clippy::expect_used)]
// The laboratory is of the world, and so are its tests; the simulator beside it is not.
#![allow(clippy::disallowed_methods)]

use hive_natlab::{
    Behaviour, Cable, Capture, Case, Filtering, Lab, Mapping, NatKind, Plan, measure, punch, special,
};
use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream, UdpSocket},
    time::{Duration, Instant},
};

/// For what must come: at once, but for a machine that is very busy.
const SOON: Duration = Duration::from_secs(30);
/// For what must not come: it would come at once.
const NEVER: Duration = Duration::from_millis(300);

/// A laboratory with a name of its own.
fn raise(name: &str, text: &str) -> Lab {
    let plan: Plan = text.parse().unwrap();
    Lab::raise(&format!("{name}{}", std::process::id()), plan).unwrap()
}

fn behaviour(mapping: Mapping, filtering: Filtering) -> Behaviour {
    Behaviour { mapping, filtering }
}

#[test]
#[ignore = "needs root, iproute2 and nftables: cargo test -p netsim --test lab -- --ignored"]
fn every_kind_is_as_claimed() {
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_netsim"))
        .args(["nat", "kinds"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert_eq!(said.matches(" as claimed").count(), 7, "{said}");
}

#[test]
#[ignore = "needs root, iproute2 and nftables: cargo test -p netsim --test lab -- --ignored"]
fn of_two_nats_in_a_row_the_stricter_one_shows() {
    let lab = raise(
        "hvt",
        "net wan 203.0.113.0/24
         host relay wan
         router isp full-cone wan mid 100.64.0.0/24
         router home symmetric mid lan 192.168.1.0/24
         host a lan",
    );
    let strict = behaviour(Mapping::EndpointDependent, Filtering::AddressAndPortDependent);
    assert_eq!(measure(&lab, "a", "relay").unwrap(), strict);
    let lab = raise(
        "hvu",
        "net wan 203.0.113.0/24
         host relay wan
         router isp full-cone wan mid 100.64.0.0/24
         router home full-cone mid lan 192.168.1.0/24 rate=50mbit
         host a lan",
    );
    let open = behaviour(Mapping::EndpointIndependent, Filtering::EndpointIndependent);
    assert_eq!(measure(&lab, "a", "relay").unwrap(), open);
}

#[test]
#[ignore = "needs root, iproute2 and nftables: cargo test -p netsim --test lab -- --ignored"]
fn several_hosts_behind_one_cone_are_each_reached() {
    let lab = raise(
        "hvs",
        "net wan 203.0.113.0/24
         host relay wan
         router home full-cone wan lan 192.168.1.0/24
         host a lan
         host b lan",
    );
    let open = behaviour(Mapping::EndpointIndependent, Filtering::EndpointIndependent);
    assert_eq!(measure(&lab, "a", "relay").unwrap(), open);
    lab.reboot_router("home").unwrap();
    assert_eq!(measure(&lab, "b", "relay").unwrap(), open);
}

/// A server and a client that both send over UDP, without any program in between, get what the table says.
#[test]
#[ignore = "needs root, iproute2 and nftables: cargo test -p netsim --test lab -- --ignored"]
fn packets_get_through_where_theory_says_so() {
    use NatKind::*;
    let pairs = [
        (FullCone, Symmetric, true),
        (AddressRestricted, Symmetric, true),
        (AddressRestricted, PortRestricted, true),
        (PortRestricted, PortRestricted, true),
        (PortRestricted, Symmetric, false),
        (Counting, PortRestricted, false),
        (Symmetric, Symmetric, false),
    ];
    for (a, b, direct) in pairs {
        let lab = raise("hvp", &Case::pair(a, b).text);
        assert_eq!(punch(&lab, "a", "b", "relay").unwrap(), direct, "{a} × {b}");
    }
    for (name, direct) in [
        ("one carrier with hairpin", true),
        ("one strict carrier with hairpin", true),
        ("one carrier without hairpin", false),
        ("double NAT × double NAT", true),
    ] {
        let case = special().into_iter().find(|c| c.name == name).unwrap();
        let lab = raise("hvp", &case.text);
        assert_eq!(punch(&lab, "a", "b", "relay").unwrap(), direct, "{name}");
    }
}

#[test]
#[ignore = "needs root, iproute2 and nftables: cargo test -p netsim --test lab -- --ignored"]
fn a_host_can_move_and_a_laboratory_leaves_nothing_behind() {
    let mut lab = raise(
        "hvm",
        "net wan 203.0.113.0/24
         host relay wan
         router home port-restricted wan lan 192.168.1.0/24
         router cell symmetric wan mobile 10.64.0.0/24
         host a lan",
    );
    let before = measure(&lab, "a", "relay").unwrap();
    lab.change_address("a", "192.168.1.77".parse().unwrap()).unwrap();
    assert_eq!(lab.address("a").unwrap().to_string(), "192.168.1.77");
    assert_eq!(measure(&lab, "a", "relay").unwrap(), before);
    lab.renumber_router("home", "203.0.113.99".parse().unwrap())
        .unwrap();
    assert_eq!(measure(&lab, "a", "relay").unwrap(), before);
    lab.move_host("a", "mobile", 5).unwrap();
    assert_eq!(lab.address("a").unwrap().to_string(), "10.64.0.5");
    let strict = behaviour(Mapping::EndpointDependent, Filtering::AddressAndPortDependent);
    assert_eq!(measure(&lab, "a", "relay").unwrap(), strict);
    lab.plug("a", false).unwrap();
    assert_eq!(measure(&lab, "a", "relay").unwrap().mapping, Mapping::Blocked);
    lab.plug("a", true).unwrap();
    assert_eq!(measure(&lab, "a", "relay").unwrap(), strict);
    drop(lab);
    let left = std::process::Command::new("ip")
        .args(["netns", "list"])
        .output()
        .unwrap();
    let ours = format!("hvm{}-", std::process::id());
    assert!(!String::from_utf8_lossy(&left.stdout).contains(&ours));
}

#[test]
#[ignore = "needs root, iproute2 and nftables: cargo test -p netsim --test lab -- --ignored"]
fn a_router_that_reboots_forgets() {
    let lab = raise(
        "hvr",
        "net wan 203.0.113.0/24
         host relay wan
         router home port-restricted wan lan 192.168.1.0/24
         host a lan",
    );
    let public = lab.address("relay").unwrap();
    let server = lab
        .inside("relay")
        .unwrap()
        .enter(|| UdpSocket::bind((public, 7000)));
    let server = server.unwrap();
    let client = lab
        .inside("a")
        .unwrap()
        .enter(|| UdpSocket::bind(("0.0.0.0", 4001)));
    let client = client.unwrap();
    let hears = |socket: &UdpSocket, within| {
        socket.set_read_timeout(Some(within)).unwrap();
        socket.recv_from(&mut [0; 8])
    };
    client.send_to(b"1", (public, 7000)).unwrap();
    let (_, seen) = hears(&server, SOON).unwrap();
    server.send_to(b"2", seen).unwrap();
    assert!(hears(&client, SOON).is_ok());
    lab.reboot_router("home").unwrap();
    server.send_to(b"3", seen).unwrap();
    assert!(hears(&client, NEVER).is_err(), "the mapping outlived the reboot");
    // Off is off, on is on.
    lab.stop_router("home").unwrap();
    let _ = client.send_to(b"4", (public, 7000));
    assert!(hears(&server, NEVER).is_err());
    lab.start_router("home").unwrap();
    client.send_to(b"5", (public, 7000)).unwrap();
    assert!(hears(&server, SOON).is_ok());
}

#[test]
#[ignore = "needs root, iproute2 and nftables: cargo test -p netsim --test lab -- --ignored"]
fn ipv6_goes_down_to_every_host_and_firewalls_keep_strangers_out() {
    let lab = raise(
        "hvi",
        "net wan 203.0.113.0/24 2001:db8::/64
         host relay wan
         router isp open wan mid 100.64.0.0/24 2001:db8:1::/64
         router home port-restricted mid lan 192.168.1.0/24 2001:db8:2::/64
         host a lan",
    );
    let (far, near) = (lab.address6("relay").unwrap(), lab.address6("a").unwrap());
    let listen = |host: &str, address| {
        let listener = lab
            .inside(host)
            .unwrap()
            .enter(move || TcpListener::bind((address, 7000)));
        listener.unwrap()
    };
    let dial = |host: &str, address: std::net::IpAddr, within| {
        lab.inside(host)
            .unwrap()
            .enter(move || TcpStream::connect_timeout(&(address, 7000).into(), within))
    };
    let (outside, inside) = (listen("relay", far), listen("a", near));
    let mut out = dial("a", far.into(), SOON).unwrap();
    let (mut accepted, from) = outside.accept().unwrap();
    assert_eq!(from.ip(), near, "nothing is translated");
    out.write_all(b"x").unwrap();
    accepted.read_exact(&mut [0]).unwrap();
    assert!(
        dial("relay", near.into(), NEVER).is_err(),
        "a stranger came through the firewall"
    );
    drop(inside);
}

/// Dials whose time is taken: one of them must meet a machine that is not busy.
const TRIES: usize = 8;

#[test]
#[ignore = "needs root, iproute2, nftables, /dev/net/tun: cargo test -p netsim --test lab -- --ignored"]
fn a_cable_delays_and_loses_as_it_is_told() {
    let lab = raise(
        "hvc",
        "net wan 203.0.113.0/24
         host relay wan
         host a wan delay=20ms",
    );
    let public = lab.address("relay").unwrap();
    let listener = lab
        .inside("relay")
        .unwrap()
        .enter(|| TcpListener::bind((public, 7000)));
    let listener = listener.unwrap();
    let mut quickest = SOON;
    for _ in 0..TRIES {
        let begun = Instant::now();
        lab.inside("a")
            .unwrap()
            .enter(|| TcpStream::connect_timeout(&(public, 7000).into(), SOON))
            .unwrap();
        listener.accept().unwrap();
        let round = begun.elapsed();
        assert!(round >= Duration::from_millis(40), "{round:?}");
        quickest = quickest.min(round);
    }
    // Finding the neighbour takes a round trip too, and a machine with other work some more.
    assert!(quickest < Duration::from_millis(400), "{quickest:?}");
    let mut client = lab
        .inside("a")
        .unwrap()
        .enter(|| TcpStream::connect_timeout(&(public, 7000).into(), SOON))
        .unwrap();
    // Whole segments arrive whole: what the kernel hands over in pieces of 64 KiB comes as frames.
    let (mut server, _) = listener.accept().unwrap();
    let sent: Vec<u8> = (0..1_000_000u32).map(|n| (n % 251) as u8).collect();
    let copy = sent.clone();
    let writing = std::thread::spawn(move || client.write_all(&copy).map(|()| client));
    let mut got = vec![0; sent.len()];
    server.set_read_timeout(Some(SOON)).unwrap();
    server.read_exact(&mut got).unwrap();
    assert!(got == sent);
    drop(writing.join().unwrap().unwrap());
    // All of it lost.
    let lost = Cable {
        loss: 10_000,
        ..Cable::default()
    };
    lab.set_cable("a", &lost).unwrap();
    let dial = |within| {
        lab.inside("a")
            .unwrap()
            .enter(move || TcpStream::connect_timeout(&(public, 7000).into(), within))
    };
    assert!(dial(NEVER).is_err());
    lab.set_cable("a", &Cable::default()).unwrap();
    assert!(dial(SOON).is_ok());
}

#[test]
#[ignore = "needs root, iproute2 and nftables: cargo test -p netsim --test lab -- --ignored"]
fn a_capture_holds_what_went_over_the_wire() {
    let lab = raise("hvw", "net wan 203.0.113.0/24\nhost relay wan\nhost a wan");
    let file = std::env::temp_dir().join(format!("hvw{}.pcap", std::process::id()));
    let public = lab.address("relay").unwrap();
    let capture = Capture::start(lab.inside("a").unwrap(), &file).unwrap();
    let socket = lab
        .inside("a")
        .unwrap()
        .enter(|| UdpSocket::bind("0.0.0.0:0"))
        .unwrap();
    socket.send_to(b"look for this", (public, 7000)).unwrap();
    let deadline = Instant::now() + SOON;
    // The answer to it (nobody listens) is what is waited for: by then it was captured.
    socket.connect((public, 7000)).unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    while socket.send(b"look for this").is_ok()
        && socket
            .recv(&mut [0; 8])
            .is_err_and(|e| e.kind() == std::io::ErrorKind::WouldBlock)
    {
        assert!(Instant::now() < deadline);
    }
    drop(capture);
    let bytes = std::fs::read(&file).unwrap();
    std::fs::remove_file(&file).unwrap();
    assert_eq!(bytes[..4], 0xa1b2_c3d4_u32.to_le_bytes());
    assert!(bytes.windows(13).any(|w| w == b"look for this"));
}

#[test]
#[ignore = "needs root, iproute2 and nftables: cargo test -p netsim --test lab -- --ignored"]
fn the_ports_of_a_counting_router_can_be_foreseen_and_those_of_a_symmetric_one_cannot() {
    let steps = |kind: NatKind| {
        let lab = raise("hvn", &Plan::pair_text(kind, NatKind::Open));
        let public = lab.address("relay").unwrap();
        let client = lab.inside("a").unwrap().enter(|| UdpSocket::bind("0.0.0.0:4001"));
        let client = client.unwrap();
        let seen: Vec<u16> = (0..4)
            .map(|n| {
                let bind = || UdpSocket::bind((public, 7000 + n));
                let server = lab.inside("relay").unwrap().enter(bind).unwrap();
                server.set_read_timeout(Some(SOON)).unwrap();
                client.send_to(b"x", (public, 7000 + n)).unwrap();
                server.recv_from(&mut [0; 8]).unwrap().1.port()
            })
            .collect();
        seen.windows(2)
            .map(|w| w[1].wrapping_sub(w[0]))
            .collect::<Vec<_>>()
    };
    assert_eq!(steps(NatKind::Counting), [1, 1, 1]);
    assert_eq!(steps(NatKind::PortRestricted), [0, 0, 0]);
    let random = steps(NatKind::Symmetric);
    // One of them may follow the one before by chance, three in a row do not.
    assert!(random.iter().any(|s| *s > 1), "{random:?}");
}
