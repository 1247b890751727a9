//! A small UPnP router inside a laboratory's router: found by multicast, opens ports by rules of the kernel's filter.

use hive_natlab::Lab;
use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket},
    process::Command,
    thread,
};

const GROUP: Ipv4Addr = Ipv4Addr::new(239, 255, 255, 250);
const SERVICE: &str = "urn:schemas-upnp-org:service:WANIPConnection:1";

/// Serves at the router's inner address until the process ends.
pub fn serve(lab: &Lab, router: &str, inner: Ipv4Addr) {
    let started = lab.inside(router).unwrap().enter(|| {
        let web = TcpListener::bind((inner, 0))?;
        let at = web.local_addr()?;
        let search = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 1900))?;
        search.join_multicast_v4(&GROUP, &inner)?;
        // Threads made here are inside the router, too.
        thread::spawn(move || {
            let mut buffer = [0; 1500];
            while let Ok((len, from)) = search.recv_from(&mut buffer) {
                assert!(buffer[..len].starts_with(b"M-SEARCH"));
                let text = format!("HTTP/1.1 200 OK\r\nLOCATION: http://{at}/root.xml\r\nST: igd\r\n\r\n");
                let _ = search.send_to(text.as_bytes(), from);
            }
        });
        thread::spawn(move || {
            for stream in web.incoming().flatten() {
                answer(stream).expect("an answer");
            }
        });
        Ok(())
    });
    started.unwrap();
}

fn answer(stream: TcpStream) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    let (mut head, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        if line.trim().is_empty() {
            break;
        }
        if let Some(n) = line.strip_prefix("Content-Length: ") {
            length = n.trim().parse().unwrap();
        }
        head.push_str(&line);
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let text = reply(&head, &String::from_utf8_lossy(&body));
    let mut stream = reader.into_inner();
    write!(
        stream,
        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{text}",
        text.len()
    )
}

fn reply(head: &str, body: &str) -> String {
    let field = |name: &str| {
        let text = body.split(&format!("<{name}>")).nth(1).unwrap();
        text.split('<').next().unwrap().to_owned()
    };
    if head.starts_with("GET /root.xml") {
        return format!(
            "<root><service><serviceType>{SERVICE}</serviceType><controlURL>/ctl</controlURL></service></root>"
        );
    }
    let outer = outer();
    if head.contains("#GetExternalIPAddress") {
        return format!("<NewExternalIPAddress>{outer}</NewExternalIPAddress>");
    }
    if head.contains("#AddPortMapping") {
        let (outside, inside) = (field("NewExternalPort"), field("NewInternalPort"));
        let (kind, to) = (field("NewProtocol").to_lowercase(), field("NewInternalClient"));
        let rule = format!(
            "insert rule ip lab lead iifname \"outer\" ip daddr {outer} {kind} dport {outside} dnat to {to}:{inside}"
        );
        let done = Command::new("nft").arg(rule).status().unwrap();
        assert!(done.success());
    }
    String::new()
}

/// The router's address outside.
fn outer() -> Ipv4Addr {
    let shown = Command::new("ip")
        .args(["-4", "-o", "addr", "show", "dev", "outer"])
        .output()
        .unwrap();
    let text = String::from_utf8(shown.stdout).unwrap();
    let cidr = text.split_whitespace().nth(3).unwrap();
    cidr.split('/').next().unwrap().parse().unwrap()
}
