//! Clients that are slow, silent, too large, too many or not allowed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod fake;

use fake::*;
use hive_api::{ApiConfig, client::Client, limits::Bounds, serve};
use hive_runtime::port::{Kind, Refused, TaskState};
use std::time::{Duration, Instant};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, UnixStream},
};

/// How long the hurried server waits: longer than a busy machine keeps a client from its first word.
const SHORT: Duration = Duration::from_secs(1);

fn hurried() -> Bounds {
    Bounds {
        head_wait: SHORT,
        body_stall: SHORT,
        write_stall: SHORT,
        ..Bounds::default()
    }
}

/// Returns when the server has closed, with what it said. `before` is from before the server began to wait: the time
/// between may be long, never short.
async fn closed(mut stream: UnixStream, before: Instant) -> String {
    let text = read_all(&mut stream).await;
    assert!(before.elapsed() >= SHORT, "closed at once: {text}");
    text
}

#[tokio::test]
async fn a_silent_connection_is_closed() {
    let d = Daemon::with(hurried(), false).await;
    let before = Instant::now();
    closed(UnixStream::connect(&d.socket).await.unwrap(), before).await;
    // And so is one that has said something before.
    let mut stream = UnixStream::connect(&d.socket).await.unwrap();
    let before = Instant::now();
    stream
        .write_all(b"GET /v1/status HTTP/1.1\r\nhost: x\r\n\r\n")
        .await
        .unwrap();
    assert!(closed(stream, before).await.contains("\"heron\""));
}

#[tokio::test]
async fn dribbled_headers_are_cut() {
    let d = Daemon::with(hurried(), false).await;
    let started = Instant::now();
    let mut stream = UnixStream::connect(&d.socket).await.unwrap();
    stream.write_all(b"GET /v1/status HTTP/1.1\r\n").await.unwrap();
    let mut tick = tokio::time::interval(Duration::from_millis(20));
    loop {
        tick.tick().await;
        if stream.write_all(b"x: y\r\n").await.is_err() {
            break;
        }
        assert!(started.elapsed() < DEADLINE, "still open");
    }
    assert!(started.elapsed() >= SHORT, "closed at once");
}

#[tokio::test]
async fn a_body_that_stalls_is_named() {
    let d = Daemon::with(hurried(), false).await;
    for (method, path) in [("POST", "/v1/join"), ("PUT", "/v1/blobs")] {
        let text = d
            .raw(format!("{method} {path} HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{{").as_bytes())
            .await;
        assert!(
            text.starts_with("HTTP/1.1 408") && text.contains("api.body_timeout"),
            "{text}"
        );
    }
}

#[tokio::test]
async fn a_client_that_reads_nothing_is_cut_off() {
    let d = Daemon::with(hurried(), false).await;
    let log = UnixStream::connect(&d.socket).await.unwrap();
    let mut log = log;
    log.write_all(b"GET /v1/tasks/t1/logs?follow=true HTTP/1.1\r\nhost: x\r\n\r\n")
        .await
        .unwrap();
    d.fake
        .until("log asked for", |f| !f.logs.lock().unwrap().is_empty())
        .await;
    let sender = d.fake.logs.lock().unwrap().pop().unwrap();
    let chunk = hive_runtime::port::LogChunk {
        stderr: false,
        bytes: vec![b'x'; 64 << 10],
    };
    // Sends until the connection is given up, which ends the channel.
    let flood = async { while sender.send(chunk.clone()).await.is_ok() {} };
    tokio::time::timeout(DEADLINE, flood)
        .await
        .expect("the server gives up");
}

#[tokio::test]
async fn heads_too_large_are_refused() {
    let d = Daemon::start().await;
    let long = format!(
        "GET /v1/status HTTP/1.1\r\nhost: x\r\nx: {}\r\n\r\n",
        "y".repeat(17 << 10)
    );
    assert!(d.raw(long.as_bytes()).await.starts_with("HTTP/1.1 431"));
    let many = format!("GET /v1/status HTTP/1.1\r\n{}\r\n", "x: y\r\n".repeat(65));
    assert!(d.raw(many.as_bytes()).await.starts_with("HTTP/1.1 431"));
    let few = format!(
        "GET /v1/status HTTP/1.1\r\nconnection: close\r\n{}\r\n",
        "x: y\r\n".repeat(60)
    );
    assert!(d.raw(few.as_bytes()).await.starts_with("HTTP/1.1 200"));
    let path = format!("GET /{} HTTP/1.1\r\nhost: x\r\n\r\n", "y".repeat(20 << 10));
    let text = d.raw(path.as_bytes()).await;
    assert!(
        text.starts_with("HTTP/1.1 431") || text.starts_with("HTTP/1.1 414"),
        "{text}"
    );
}

#[tokio::test]
async fn bodies_too_large_are_named() {
    let bounds = Bounds {
        blob_cap: 1 << 20,
        ..Bounds::default()
    };
    let d = Daemon::with(bounds, false).await;
    let large = "x".repeat(70 << 10);
    let (status, text) = d.request("POST", "/v1/join", &large).await;
    assert!(status == 413 && text.contains("api.body_too_large"), "{text}");
    // Without a length told.
    let chunked = format!(
        "POST /v1/join HTTP/1.1\r\nhost: x\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n{:x}\r\n{large}\r\n0\r\n\r\n",
        large.len()
    );
    let text = d.raw(chunked.as_bytes()).await;
    assert!(
        text.starts_with("HTTP/1.1 413") && text.contains("api.body_too_large"),
        "{text}"
    );
    // Blobs, both ways.
    for size in [Some((1u64 << 20) + 1), None] {
        let reader = std::io::Cursor::new(vec![7; (1 << 20) + 1]);
        let refused = d.client.blob_put(reader, size).await.unwrap_err();
        assert_eq!(refused.code, "api.body_too_large", "{refused:?}");
    }
    let reader = std::io::Cursor::new(vec![7; 1 << 20]);
    assert_eq!(d.client.blob_put(reader, None).await.unwrap().size, 1 << 20);
}

#[tokio::test]
async fn bodies_share_a_memory() {
    let bounds = Bounds {
        body_budget: 1000,
        body_stall: Duration::from_secs(2),
        ..Bounds::default()
    };
    let d = Daemon::with(bounds, false).await;
    let mut first = UnixStream::connect(&d.socket).await.unwrap();
    let head = "POST /v1/join HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 901\r\n\r\n";
    first.write_all(head.as_bytes()).await.unwrap();
    // The server asks for the body once it reads it.
    let mut go_on = [0; 25];
    first.read_exact(&mut go_on).await.unwrap();
    first.write_all(&[b' '; 900]).await.unwrap();
    // Nothing says when those bytes have been taken, so ask until the memory is seen to be used; it is freed when the
    // first body stalls.
    let large = format!("{{\"ticket\":\"hive1{}\"}}", "x".repeat(200));
    let mut statuses = Vec::new();
    let started = Instant::now();
    while started.elapsed() < DEADLINE {
        let (status, text) = d.request("POST", "/v1/join", &large).await;
        statuses.push(status);
        match status {
            503 => assert!(text.contains("api.busy"), "{text}"),
            200 if statuses.contains(&503) => return,
            200 => {}
            other => panic!("{other}: {text}"),
        }
    }
    panic!("never busy and then free: {statuses:?}");
}

#[tokio::test]
async fn an_upload_cut_short_is_no_blob() {
    let d = Daemon::with(hurried(), false).await;
    let mut stream = UnixStream::connect(&d.socket).await.unwrap();
    stream
        .write_all(b"PUT /v1/blobs HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\nhalf")
        .await
        .unwrap();
    stream.shutdown().await.unwrap();
    let text = read_all(&mut stream).await;
    assert!(!text.starts_with("HTTP/1.1 200"), "{text}");
    assert_eq!(d.client.blob_get("b4").await.unwrap_err().code, "blob.not_found");
}

#[tokio::test]
async fn the_address_needs_its_token() {
    let d = Daemon::with(Bounds::default(), true).await;
    let addr = d.addr();
    assert_eq!(Client::tcp(addr, TOKEN).status().await.unwrap().name, "heron");
    let almost = format!("{}x", &TOKEN[..TOKEN.len() - 1]);
    for wrong in ["", "x", almost.as_str(), &format!("{TOKEN}x")] {
        let refused = Client::tcp(addr, wrong).status().await.unwrap_err();
        assert_eq!(
            (refused.kind, refused.code.as_str()),
            (Kind::Denied, "api.unauthorized")
        );
        assert!(!refused.message.contains(TOKEN));
    }
    let mut stream = TcpStream::connect(addr).await.unwrap();
    stream
        .write_all(b"GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        .await
        .unwrap();
    let text = read_all(&mut stream).await;
    assert!(
        text.starts_with("HTTP/1.1 401") && text.contains("www-authenticate: Bearer"),
        "{text}"
    );
    assert!(!format!("{:?}", Client::tcp(addr, TOKEN)).contains(TOKEN));
}

#[tokio::test]
async fn addresses_that_others_can_reach_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let config = |tcp: &str, token: Option<&str>| ApiConfig {
        socket: dir.path().join("api.sock"),
        tcp: Some(tcp.parse().unwrap()),
        token: token.map(str::to_owned),
        bounds: Bounds::default(),
    };
    let keep = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = keep.local_addr().unwrap().to_string();
    for (tcp, token, code) in [
        ("0.0.0.0:0", Some(TOKEN), "api.not_loopback"),
        ("192.0.2.1:80", Some(TOKEN), "api.not_loopback"),
        ("[::]:0", Some(TOKEN), "api.not_loopback"),
        ("127.0.0.1:0", None, "api.token"),
        ("127.0.0.1:0", Some("short"), "api.token"),
        (taken.as_str(), Some(TOKEN), "api.port_in_use"),
    ] {
        let (handle, _fake) = fake();
        let error = serve(config(tcp, token), handle, std::future::pending())
            .await
            .expect_err(tcp);
        assert_eq!(error.code(), code, "{error}");
        assert_eq!(Refused::from(error).code, code);
        assert!(!dir.path().join("api.sock").exists());
    }
}

#[tokio::test]
async fn one_daemon_a_socket_and_none_is_named() {
    let mut d = Daemon::start().await;
    let (handle, _fake) = fake();
    let config = ApiConfig {
        socket: d.socket.clone(),
        ..ApiConfig::default()
    };
    let error = serve(config.clone(), handle, std::future::pending())
        .await
        .unwrap_err();
    assert_eq!(error.code(), "api.socket_in_use");
    d.client.status().await.unwrap();
    d.stop().await;
    assert!(!d.socket.exists());
    let refused = d.client.status().await.unwrap_err();
    assert_eq!(
        (refused.kind, refused.code.as_str()),
        (Kind::Unreachable, "daemon.not_running")
    );
    assert!(
        refused
            .message
            .contains("hivenode is not running here. Start it: hivenode up")
    );
    // The socket of a daemon that was killed: refused by the system, named the same, and replaced at the next start.
    drop(std::os::unix::net::UnixListener::bind(&d.socket).unwrap());
    let refused = d.client.status().await.unwrap_err();
    assert_eq!(refused.code, "daemon.not_running");
    let (handle, _fake) = fake();
    let _running = serve(config, handle, std::future::pending()).await.unwrap();
    d.client.status().await.unwrap();
}

#[tokio::test]
async fn a_waiting_client_that_leaves_is_noticed() {
    let d = Daemon::start().await;
    let mut stream = UnixStream::connect(&d.socket).await.unwrap();
    stream
        .write_all(b"GET /v1/tasks/held?wait=true HTTP/1.1\r\nhost: x\r\n\r\n")
        .await
        .unwrap();
    d.fake
        .until("waiting", |f| f.held.lock().unwrap().len() == 1)
        .await;
    drop(stream);
    let gone = |f: &Fake| f.seen.lock().unwrap().iter().any(|s| s == "wait abandoned");
    d.fake.until("wait abandoned", gone).await;
}

#[tokio::test]
async fn stopping_waits_for_calls_under_way_but_not_for_ever() {
    let bounds = Bounds {
        shutdown_grace: SHORT,
        ..Bounds::default()
    };
    let mut d = Daemon::with(bounds, false).await;
    let client = d.client.clone();
    let waits = tokio::spawn(async move { client.task_wait("held").await });
    d.fake
        .until("waiting", |f| f.held.lock().unwrap().len() == 1)
        .await;
    d.stop().await;
    assert_eq!(waits.await.unwrap().unwrap_err().code, "daemon.connection_lost");
}

#[tokio::test]
async fn a_call_under_way_at_the_stop_is_answered() {
    let mut d = Daemon::start().await;
    let client = d.client.clone();
    let waits = tokio::spawn(async move { client.task_wait("held").await });
    d.fake
        .until("waiting", |f| f.held.lock().unwrap().len() == 1)
        .await;
    let hold = d.fake.held.lock().unwrap().pop().unwrap();
    let (_, ended) = tokio::join!(d.stop(), async {
        hold.send(Ok(task("held", TaskState::Failed))).unwrap();
        waits.await.unwrap()
    });
    assert_eq!(ended.unwrap().row.state, TaskState::Failed);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_requests_at_once() {
    let d = Daemon::start().await;
    let mut calls = tokio::task::JoinSet::new();
    for i in 0..1000 {
        let client = d.client.clone();
        calls.spawn(async move { client.task(&format!("t{i}")).await.map(|t| (i, t.row.task)) });
    }
    let mut seen = 0;
    while let Some(ended) = calls.join_next().await {
        let (i, id) = ended.unwrap().unwrap();
        assert_eq!(id, format!("t{i}"));
        seen += 1;
    }
    assert_eq!(seen, 1000);
}

#[tokio::test]
async fn a_connection_beyond_the_bound_is_told() {
    let bounds = Bounds {
        connections: 2,
        ..Bounds::default()
    };
    let d = Daemon::with(bounds, false).await;
    let mut held = Vec::new();
    for _ in 0..2 {
        let mut stream = UnixStream::connect(&d.socket).await.unwrap();
        stream
            .write_all(b"GET /v1/status HTTP/1.1\r\nhost: x\r\n\r\n")
            .await
            .unwrap();
        let mut first = [0; 12];
        stream.read_exact(&mut first).await.unwrap();
        assert_eq!(&first, b"HTTP/1.1 200");
        held.push(stream);
    }
    let refused = d.client.status().await.unwrap_err();
    assert_eq!(refused.code, "api.busy", "{refused:?}");
    drop(held);
}

#[tokio::test]
async fn pipelined_garbage_ends_the_connection_only() {
    let d = Daemon::start().await;
    let text = d
        .raw(b"GET /v1/status HTTP/1.1\r\nhost: x\r\n\r\n\x00\x01garbage\r\n\r\n")
        .await;
    assert!(
        text.starts_with("HTTP/1.1 200") && text.contains("HTTP/1.1 400"),
        "{text}"
    );
    d.client.status().await.unwrap();
}
