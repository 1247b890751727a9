//! The API's loopback address: only with its token, only on this machine.

use crate::{
    command::{Going, LONGEST, bare},
    mesh::{Slot, free_port, home},
    node::Node,
};
use std::{
    fs,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    os::unix::fs::PermissionsExt,
    process::Command,
    time::Duration,
};

/// Asks over TCP; the status of the answer and all of it.
fn ask(port: u16, path: &str, token: Option<&str>) -> (u16, String) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let shown = token.map_or_else(String::new, |t| format!("Authorization: Bearer {t}\r\n"));
    let head = format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n{shown}\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let status = answer.split(' ').nth(1).and_then(|s| s.parse().ok());
    (status.unwrap_or_else(|| panic!("{answer:?}")), answer)
}

#[test]
fn the_loopback_address_asks_for_its_token() {
    let _slot = Slot::take();
    let home = home();
    let port = free_port();
    let mut node = Node::new(home.path(), "n").with("api_listen", &format!("127.0.0.1:{port}"));
    node.start();
    let file = node.dir.join("data/api.token");
    let token = fs::read_to_string(&file).unwrap().trim().to_owned();
    assert!(token.len() >= 32, "{token}");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);

    let mut wrong = token.clone();
    wrong.replace_range(..1, if token.starts_with('0') { "1" } else { "0" });
    for path in ["/v1/status", "/metrics", "/v1/nothing"] {
        for shown in [None, Some(""), Some(&*wrong), Some(&token[1..])] {
            let (status, answer) = ask(port, path, shown);
            assert_eq!(status, 401, "{path} with {shown:?}: {answer}");
            assert!(answer.contains("api.unauthorized"), "{answer}");
            assert!(!answer.contains(&token), "{answer}");
        }
    }
    let (status, answer) = ask(port, "/v1/status", Some(&token));
    assert_eq!(status, 200, "{answer}");
    assert!(answer.contains("\"unjoined\""), "{answer}");
    assert_eq!(ask(port, "/metrics", Some(&token)).0, 200);

    // The command line by the same way.
    let status = |token: Option<&str>| {
        let mut command: Command = bare();
        command.args(["--api", &format!("http://127.0.0.1:{port}"), "--data"]);
        command.arg(home.path().join("elsewhere")).arg("status");
        command.envs(token.map(|t| ("HIVENODE_TOKEN", t)));
        Going::start(command).end(LONGEST)
    };
    status(Some(&token)).ok();
    status(Some(&wrong)).fails(4, "api.unauthorized");
    status(None).fails(2, "api.no_token");

    // The token stays what it is, so that programs that know it go on.
    node.kill();
    node.start();
    assert_eq!(ask(port, "/v1/status", Some(&token)).0, 200);
}

#[test]
fn an_address_others_can_reach_is_refused_at_start_and_so_is_a_taken_one() {
    let _slot = Slot::take();
    let home = home();
    let port = free_port();
    for address in [
        format!("0.0.0.0:{port}"),
        format!("192.0.2.1:{port}"),
        format!("[::]:{port}"),
    ] {
        let mut node = Node::new(home.path(), "open").with("api_listen", &address);
        node.begin();
        let refused = node.served().unwrap_err();
        assert_eq!(refused["code"], "api.not_loopback", "{refused}");
        assert!(
            refused["message"].as_str().unwrap().contains(&address),
            "{refused}"
        );
        assert!(TcpStream::connect(("127.0.0.1", port)).is_err(), "nobody listens");
    }
    let _taken = TcpListener::bind(("127.0.0.1", port)).unwrap();
    let mut node = Node::new(home.path(), "taken").with("api_listen", &format!("127.0.0.1:{port}"));
    node.begin();
    let refused = node.served().unwrap_err();
    assert_eq!(refused["code"], "api.port_in_use", "{refused}");
    let mut node = Node::new(home.path(), "junk").with("api_listen", "here");
    node.begin();
    assert_eq!(node.served().unwrap_err()["code"], "config.bad_value");
}
