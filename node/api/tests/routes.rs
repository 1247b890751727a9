//! Every route's good case through the client, and every family of refusal.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod fake;

use fake::*;
use hive_api::client::EventItem;
use hive_protocol::{
    money::MicroCpt,
    resources::{Resources, Role},
    task::{Limits, Placement},
};
use hive_runtime::port::*;
use serde_json::Value;
use tokio::io::AsyncReadExt;

fn job_request(name: &str, tasks: usize) -> JobRequest {
    JobRequest {
        name: name.into(),
        module: Source::Blob("m".into()),
        tasks: (0..tasks)
            .map(|i| TaskRequest {
                label: i.to_string(),
                args: vec!["{in}".into()],
                stdin: Some(Source::Text("hello".into())),
                inputs: vec![("a/b.txt".into(), Source::Path("/tmp/x".into()))],
                ..TaskRequest::default()
            })
            .collect(),
        need: Some(Resources::cpu(1000, 256, 10)),
        limits: Some(Limits::default()),
        placement: Placement::default(),
        max_price: Some(MicroCpt(5)),
        budget: None,
        retries: Some(2),
        open: true,
    }
}

#[tokio::test]
async fn the_mesh_and_its_nodes() {
    let d = Daemon::start().await;
    let c = &d.client;
    assert_eq!(c.status().await.unwrap().name, "heron");
    let request = MeshRequest {
        name: "attic".into(),
        mint: MicroCpt(100),
        default_score: 50,
        worker: true,
    };
    assert_eq!(c.mesh_create(&request).await.unwrap().name, "attic");
    assert_eq!(c.join("hive1abc").await.unwrap().mesh.id, "mesh1");
    let refused = c.join("nonsense").await.unwrap_err();
    assert_eq!(refused.code, "ticket.malformed");
    assert_eq!(refused.hint.as_deref(), Some("hivenode invite"));
    assert_eq!(refused.kind, Kind::Invalid);
    let invite = c
        .invite(&InviteRequest {
            role: Role::Relay,
            score: Some(10),
            grant: MicroCpt(1),
            uses: 2,
            ttl_ms: 1000,
        })
        .await
        .unwrap();
    assert_eq!((invite.role.as_str(), invite.uses), ("relay", 2));
    c.invite_revoke("i1").await.unwrap();
    assert_eq!(
        c.invite_revoke("missing").await.unwrap_err().code,
        "invite.not_found"
    );
    assert_eq!(c.nodes().await.unwrap().len(), 2);
    assert_eq!(c.node("blue heron").await.unwrap().node, "blue heron");
    let refused = c.node("missing").await.unwrap_err();
    assert_eq!(
        (refused.kind, refused.code.as_str()),
        (Kind::NotFound, "node.not_found")
    );
}

#[tokio::test]
async fn jobs_and_tasks() {
    let d = Daemon::start().await;
    let c = &d.client;
    assert_eq!(c.job_submit(&job_request("words", 3)).await.unwrap().job, "j1");
    assert_eq!(c.jobs().await.unwrap().len(), 2);
    assert_eq!(c.job("j1").await.unwrap().by_worker[0].2, 2);
    assert_eq!(c.job_wait("j1").await.unwrap().state, "succeeded");
    let tasks = job_request("", 2).tasks;
    assert_eq!(c.job_add("j1", &tasks).await.unwrap(), ["t0", "t1"]);
    let ended = c.job_add_wait("j1", &tasks).await.unwrap();
    assert_eq!(ended.len(), 2);
    assert!(ended.iter().all(|t| t.row.state == TaskState::Succeeded));
    let filter = TaskFilter {
        state: Some(TaskState::Running),
        after: Some(4),
        limit: 7,
    };
    assert_eq!(c.job_tasks("j1", &filter).await.unwrap().len(), 1);
    c.job_tasks("j1", &TaskFilter::default()).await.unwrap();
    assert_eq!(c.job_close("j1").await.unwrap().job, "j1");
    assert_eq!(c.job_stop("j1").await.unwrap().state, "stopped");
    assert_eq!(c.job_retry("j1").await.unwrap().state, "running");
    c.job_remove("j1").await.unwrap();
    assert_eq!(c.job_remove("missing").await.unwrap_err().code, "job.not_found");
    assert_eq!(c.task("t_9").await.unwrap().row.task, "t_9");
    assert_eq!(c.task_wait("t_9").await.unwrap().row.state, TaskState::Succeeded);
    assert_eq!(c.task_stop("t_9").await.unwrap().row.state, TaskState::Stopped);
    assert_eq!(c.task_retry("t_9").await.unwrap().row.state, TaskState::Queued);
    assert_eq!(c.explain_task("t_9").await.unwrap().subject, "t_9");
    assert_eq!(c.explain_job("j1").await.unwrap().subject, "j1");
    let seen = d.fake.seen.lock().unwrap().clone();
    assert_eq!(
        seen,
        [
            "submit words 3",
            "add j1 2",
            "add j1 2",
            "tasks Some(Running) Some(4) 7",
            "tasks None None 100",
        ]
    );
}

#[tokio::test]
async fn wallet_trust_metrics_and_stop() {
    let d = Daemon::start().await;
    let c = &d.client;
    assert_eq!(c.wallet(None).await.unwrap().account, "a1");
    assert_eq!(c.wallet(Some("a 2&x")).await.unwrap().account, "a 2&x");
    assert_eq!(c.wallet_history(None, 0).await.unwrap()[0].index, 7);
    assert_eq!(c.wallet_history(Some(9), 3).await.unwrap()[0].delta, -5);
    c.wallet_send("a2", MicroCpt(5), "thanks").await.unwrap();
    let trust = c.trust("n2").await.unwrap();
    assert_eq!((trust.score, trust.reasons.len()), (50, 1));
    let text = c.metrics().await.unwrap();
    assert!(text.starts_with("hivenode_up 1\n"), "{text}");
    assert!(
        text.contains(r#"requests_total{route="/v1/wallet",method="GET",status="200"} 2"#),
        "{text}"
    );
    assert!(
        text.contains(r#"request_seconds_count{route="/v1/trust/{who}"} 1"#),
        "{text}"
    );
    assert!(text.ends_with("# EOF\n"));
    c.stop(250).await.unwrap();
    assert_eq!(d.request("POST", "/v1/stop", "").await.0, 200);
    let seen = d.fake.seen.lock().unwrap().clone();
    assert_eq!(
        seen,
        [
            "history None 100",
            "history Some(9) 3",
            "send a2 5",
            "stop 250",
            "stop 0"
        ]
    );
}

#[tokio::test]
async fn blobs_go_in_and_come_out_whole() {
    let d = Daemon::start().await;
    let c = &d.client;
    let bytes: Vec<u8> = (0..3_000_001u32).map(|i| (i % 251) as u8).collect();
    // With and without a length told.
    for size in [Some(bytes.len() as u64), None] {
        let reader = std::io::Cursor::new(bytes.clone());
        let view = c.blob_put(reader, size).await.unwrap();
        assert_eq!(view.size, bytes.len() as u64);
        let mut reader = c.blob_get(&view.blob).await.unwrap();
        assert_eq!(reader.size(), view.size);
        let mut back = Vec::new();
        reader.read_to_end(&mut back).await.unwrap();
        assert!(back == bytes);
    }
    let empty = c.blob_put(tokio::io::empty(), Some(0)).await.unwrap();
    let mut back = Vec::new();
    let mut reader = c.blob_get(&empty.blob).await.unwrap();
    reader.read_to_end(&mut back).await.unwrap();
    assert!(back.is_empty());
    assert_eq!(c.blob_get("missing").await.unwrap_err().code, "blob.not_found");
    let file = d.dir().join("f");
    std::fs::write(&file, "12345").unwrap();
    assert_eq!(c.blob_import(&file).await.unwrap().blob, "b5");
    assert_eq!(
        c.blob_import(std::path::Path::new("f")).await.unwrap_err().code,
        "api.path_not_absolute"
    );
}

#[tokio::test]
async fn logs_end_when_the_task_does() {
    let d = Daemon::start().await;
    let mut log = d.client.logs("t1", true).await.unwrap();
    let first = log.next().await.unwrap().unwrap();
    assert_eq!(
        (first.stderr, first.bytes.as_slice()),
        (false, b"out\xff\n".as_slice())
    );
    // The empty chunk is a line of its own in JSON.
    assert!(log.next().await.unwrap().unwrap().bytes.is_empty());
    assert!(log.next().await.unwrap().unwrap().stderr);
    let sender = d.fake.logs.lock().unwrap().pop().unwrap();
    sender
        .send(LogChunk {
            stderr: false,
            bytes: b"late".to_vec(),
        })
        .await
        .unwrap();
    assert_eq!(log.next().await.unwrap().unwrap().bytes, b"late");
    drop(sender);
    assert!(log.next().await.unwrap().is_none());
    assert_eq!(
        d.client.logs("missing", false).await.unwrap_err().code,
        "task.not_found"
    );
    let (status, body) = d.request("GET", "/v1/tasks/t1/logs?raw=true", "").await;
    assert_eq!(status, 200);
    assert!(body.contains("out\u{fffd}\n") && body.contains("err\n"), "{body}");
}

#[tokio::test]
async fn a_log_nobody_reads_any_more_is_let_go() {
    let d = Daemon::start().await;
    let log = d.client.logs("t1", true).await.unwrap();
    let sender = d.fake.logs.lock().unwrap().pop().unwrap();
    drop(log);
    tokio::time::timeout(DEADLINE, sender.closed()).await.unwrap();
}

#[tokio::test]
async fn events_arrive_and_losses_are_told() {
    let d = Daemon::start().await;
    let mut events = d.client.events().await.unwrap();
    d.fake.events.send(event(1)).unwrap();
    match events.next().await.unwrap().unwrap() {
        EventItem::Event(e) => assert_eq!((e.seq, e.message.as_str()), (1, "a line\nand another")),
        EventItem::Lost(n) => panic!("lost {n}"),
    }
    // More than the channel holds before the server's task can run: this thread does not yield in between.
    for seq in 2..=20 {
        d.fake.events.send(event(seq)).unwrap();
    }
    let mut lost = 0;
    let mut last = 1;
    while last < 20 {
        match events.next().await.unwrap().unwrap() {
            EventItem::Event(e) => {
                assert!(e.seq > last);
                last = e.seq;
            }
            EventItem::Lost(n) => lost += n,
        }
    }
    assert_eq!(lost, 15);
}

#[tokio::test]
async fn events_as_server_sent_events() {
    use tokio::io::AsyncWriteExt;
    let bounds = hive_api::limits::Bounds {
        shutdown_grace: std::time::Duration::from_millis(100),
        ..Default::default()
    };
    let mut d = Daemon::with(bounds, false).await;
    let mut stream = tokio::net::UnixStream::connect(&d.socket).await.unwrap();
    stream
        .write_all(b"GET /v1/events HTTP/1.1\r\nhost: x\r\n\r\n")
        .await
        .unwrap();
    d.fake
        .until("subscribed", |f| f.events.receiver_count() == 1)
        .await;
    d.fake.events.send(event(1)).unwrap();
    let mut text = String::new();
    let mut chunk = [0; 4096];
    while !text.contains("\n\n\r\n") {
        let n = tokio::time::timeout(DEADLINE, stream.read(&mut chunk))
            .await
            .unwrap()
            .unwrap();
        assert!(n > 0, "{text}");
        text.push_str(std::str::from_utf8(&chunk[..n]).unwrap());
    }
    assert!(text.contains("content-type: text/event-stream"), "{text}");
    assert!(
        text.contains("event: task.ended\ndata: {\"v\":1,\"event\":{\"seq\":1,"),
        "{text}"
    );
    // A stream that would never end does not keep the daemon from stopping.
    d.stop().await;
}

#[tokio::test]
async fn each_family_has_its_status_and_comes_back_as_it_went() {
    let d = Daemon::start().await;
    for (name, status, kind, code) in [
        ("denied", 403, Kind::Denied, "trust.low"),
        ("conflict", 409, Kind::Conflict, "job.state"),
        ("unreachable", 503, Kind::Unreachable, "authority.unreachable"),
        ("timeout", 504, Kind::Timeout, "authority.timeout"),
        ("nofit", 409, Kind::NoFit, "place.no_fit"),
        ("poor", 402, Kind::NoCredit, "wallet.insufficient"),
        ("internal", 500, Kind::Internal, "store.disk"),
    ] {
        let refused = d.client.job_submit(&job_request(name, 1)).await.unwrap_err();
        assert_eq!(refused, Refused::new(kind, code, "because").retryable());
        let body = serde_json::to_string(&job_request(name, 0)).unwrap();
        let (got, text) = d.request("POST", "/v1/jobs", &body).await;
        assert_eq!(got, status, "{name}");
        let doc: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(doc["v"], 1);
        assert_eq!(doc["error"]["code"], code);
        assert_eq!(doc["error"]["retryable"], true);
        assert_eq!(doc["status"], status);
        assert_eq!(doc["detail"], "because");
        assert_eq!(doc["type"], format!("urn:hivenode:error:{code}"));
        assert!(doc["title"].is_string());
    }
}

#[tokio::test]
async fn wrong_requests_are_named() {
    let d = Daemon::start().await;
    let long = "x".repeat(200);
    let long = format!("/v1/jobs/{long}");
    for (method, path, body, status, code, says) in [
        ("GET", "/v1/nothing", "", 404, "api.no_route", "/v1/openapi.json"),
        ("PATCH", "/v1/jobs", "", 405, "api.no_method", ""),
        ("POST", "/v1/join", "", 400, "api.bad_json", ""),
        ("POST", "/v1/join", "{", 400, "api.bad_json", ""),
        (
            "POST",
            "/v1/join",
            r#"{"tikcet":"x"}"#,
            400,
            "api.bad_field",
            "did you mean `ticket`?",
        ),
        (
            "POST",
            "/v1/join",
            r#"{"ticket":7}"#,
            400,
            "api.bad_field",
            "`ticket`",
        ),
        (
            "POST",
            "/v1/jobs",
            r#"{"name":"a","module":{"path":"m"},"tasks":[]}"#,
            400,
            "api.path_not_absolute",
            "`module`",
        ),
        (
            "POST",
            "/v1/jobs",
            r#"{"name":"a","module":{"file":"m"},"tasks":[]}"#,
            400,
            "api.bad_field",
            "`file`",
        ),
        (
            "POST",
            "/v1/invites",
            r#"{"role":"boss","uses":1,"ttl_ms":1}"#,
            400,
            "api.bad_field",
            "worker",
        ),
        (
            "POST",
            "/v1/stop",
            r#"{"drain_ms":99999999999}"#,
            400,
            "api.bad_field",
            "drain_ms",
        ),
        ("GET", "/v1/jobs/j1?wait=maybe", "", 400, "api.bad_query", ""),
        (
            "GET",
            "/v1/jobs/j1?wiat=true",
            "",
            400,
            "api.bad_query",
            "did you mean `wait`?",
        ),
        (
            "GET",
            "/v1/jobs/j1/tasks?limit=0",
            "",
            400,
            "api.bad_query",
            "limit",
        ),
        (
            "GET",
            "/v1/jobs/j1/tasks?limit=1001",
            "",
            400,
            "api.bad_query",
            "1000",
        ),
        (
            "GET",
            "/v1/jobs/j1/tasks?state=runing",
            "",
            400,
            "api.bad_query",
            "did you mean `running`?",
        ),
        ("GET", "/v1/tasks/missing", "", 404, "task.not_found", "missing"),
        ("GET", "/v1/tasks/%FF", "", 404, "task.not_found", ""),
        ("GET", "/v1/tasks/..%2F..%2Fetc", "", 404, "task.not_found", ""),
        ("GET", "/v1/blobs/..", "", 404, "blob.not_found", ""),
        ("GET", "/v1/tasks/a%0Ab", "", 404, "task.not_found", ""),
        ("GET", long.as_str(), "", 404, "job.not_found", ""),
    ] {
        let (got, text) = d.request(method, path, body).await;
        let doc: Value = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{path}: {e}: {text}"));
        assert_eq!(got, status, "{method} {path} {text}");
        assert_eq!(doc["error"]["code"], code, "{method} {path} {text}");
        assert!(
            doc["error"]["message"].as_str().unwrap().contains(says),
            "{path}: {text}"
        );
    }
    let many = serde_json::json!({ "tasks": vec![serde_json::json!({}); 65] }).to_string();
    let (status, text) = d.request("POST", "/v1/jobs/j1/tasks?wait=true", &many).await;
    assert!(status == 400 && text.contains("api.wait_too_many"), "{text}");
}

#[tokio::test]
async fn the_description_lists_every_route() {
    let d = Daemon::start().await;
    let (status, text) = d.request("GET", "/v1/openapi.json", "").await;
    assert_eq!(status, 200);
    let doc: Value = serde_json::from_str(&text).unwrap();
    for route in hive_api::routes::all() {
        let method = route.method.to_ascii_lowercase();
        assert_eq!(doc["paths"][route.path][&method]["summary"], route.about);
    }
    let guide = include_str!("../../../docs/guides/api.md");
    for route in hive_api::routes::all() {
        let line = format!("| {} | `{}` |", route.method, route.path);
        assert!(guide.contains(&line), "docs/guides/api.md lacks {line}");
    }
}
