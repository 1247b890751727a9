//! Files, transfers, notices and mirrors: every good case through the client, bytes that break off, bad requests.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod fake;

use fake::*;
use hive_runtime::port::*;
use serde_json::Value;
use std::path::{Path, PathBuf};
use tokio::io::AsyncReadExt;

#[tokio::test]
async fn files_and_transfers() {
    let d = Daemon::start().await;
    let c = &d.client;
    let add = AddRequest {
        path: "/data/ü".into(),
        copy: false,
        skip_unsafe: true,
        share: true,
    };
    assert_eq!(c.file_add(&add).await.unwrap().row.hash, "b1");
    assert!(
        d.fake
            .seen
            .lock()
            .unwrap()
            .contains(&"add /data/ü true".to_owned())
    );
    assert_eq!(c.files().await.unwrap().len(), 1);
    assert_eq!(c.file("b7").await.unwrap().row.hash, "b7");
    assert!(c.file_share("b7").await.unwrap().ticket.is_some());
    c.file_unshare("b7").await.unwrap();
    assert!(c.file_verify("b7").await.unwrap().good);
    c.file_remove("b7").await.unwrap();
    assert!(c.file_gc(true).await.unwrap().dry_run);
    assert_eq!(c.file("missing").await.unwrap_err().code, "file.not_found");
    let pull = PullRequest {
        what: "hivefile1x".into(),
        dest: Some("/tmp/x".into()),
        folder: false,
        from: vec![],
        like: None,
        overwrite: false,
        priority: None,
    };
    assert_eq!(c.file_pull(&pull).await.unwrap().transfer, "x1");
    assert_eq!(c.transfers().await.unwrap().len(), 1);
    assert!(c.transfer("x1", 10_000_000).await.unwrap().is_final());
    let seen = d.fake.seen.lock().unwrap().clone();
    assert!(
        seen.contains(&format!("transfer x1 {MAX_FILE_WAIT_MS}")),
        "waits are bounded: {seen:?}"
    );
    for (what, state) in [
        (TransferDo::Pause, "paused"),
        (TransferDo::Resume, "running"),
        (TransferDo::Cancel, "cancelled"),
    ] {
        assert_eq!(c.transfer_do("all", what).await.unwrap()[0].state, state);
    }
    let refused = c.transfer("missing", 0).await.unwrap_err();
    assert_eq!(
        (refused.code.as_str(), refused.hint.as_deref()),
        ("transfer.not_found", Some("hivenode file status"))
    );
}

#[tokio::test]
async fn ranges_come_whole_or_break() {
    let d = Daemon::start().await;
    let mut text = String::new();
    let mut reader = d.client.file_read("b1", 2, Some(5)).await.unwrap();
    assert_eq!(reader.size(), 3);
    reader.read_to_string(&mut text).await.unwrap();
    assert_eq!(text, "234");
    // Broken off in the middle: whether the head got out before is a matter of luck, an end it never is.
    let mut bytes = Vec::new();
    if let Ok(mut reader) = d.client.file_read("broken", 0, None).await {
        reader.read_to_end(&mut bytes).await.unwrap_err();
    }
    assert!(bytes.len() <= 3, "{bytes:?}");
    let early = d.client.file_read("nobody", 0, None).await.unwrap_err();
    assert_eq!(early.code, "file.no_provider");
    assert_eq!(
        d.client.file_read("missing", 0, None).await.unwrap_err().code,
        "file.not_found"
    );
}

#[tokio::test]
async fn notices_inbox_and_mirrors() {
    let d = Daemon::start().await;
    let c = &d.client;
    let push = PushRequest {
        path: Some("/data".into()),
        to: vec!["w1".into(), "role=worker".into()],
        ..PushRequest::default()
    };
    assert_eq!(c.push(&push).await.unwrap().notice, "u1");
    assert_eq!(c.notices().await.unwrap().len(), 1);
    assert_eq!(c.notice("u9", 1).await.unwrap().notice, "u9");
    c.notice_cancel("u9").await.unwrap();
    assert_eq!(c.inbox().await.unwrap()[0].state, "asking");
    assert_eq!(c.inbox_item("u2").await.unwrap().from_name, "heron");
    let taken = c.inbox_accept("u2", Some(Path::new("/tmp"))).await.unwrap();
    assert_eq!(taken.state, "waiting");
    assert_eq!(c.inbox_decline("u2", "no").await.unwrap().state, "declined");
    let sync = SyncRequest {
        dir: PathBuf::from("/data"),
        to: vec!["all".into()],
        watch: true,
        versions: 2,
        skip_unsafe: false,
        allow_empty: false,
    };
    assert_eq!(c.sync_start(&sync).await.unwrap().sync, "s1");
    assert_eq!(c.syncs().await.unwrap().len(), 1);
    assert_eq!(c.sync("s1", 0).await.unwrap().seq, 1);
    c.sync_remove("s1").await.unwrap();
    for (refused, code) in [
        (c.notice("missing", 0).await.err(), "notice.not_found"),
        (c.inbox_item("missing").await.err(), "inbox.not_found"),
        (c.sync("missing", 0).await.err(), "sync.not_found"),
    ] {
        assert_eq!(refused.unwrap().code, code);
    }
}

#[tokio::test]
async fn paths_must_be_whole_and_fields_known() {
    let d = Daemon::start().await;
    for (method, path, body, code) in [
        ("POST", "/v1/files", r#"{"path":"x"}"#, "api.path_not_absolute"),
        (
            "POST",
            "/v1/transfers",
            r#"{"what":"b","dest":"x"}"#,
            "api.path_not_absolute",
        ),
        (
            "POST",
            "/v1/transfers",
            r#"{"what":"b","like":"x"}"#,
            "api.path_not_absolute",
        ),
        (
            "POST",
            "/v1/syncs",
            r#"{"dir":"x","to":[]}"#,
            "api.path_not_absolute",
        ),
        (
            "POST",
            "/v1/notices",
            r#"{"path":"x","to":[]}"#,
            "api.path_not_absolute",
        ),
        (
            "POST",
            "/v1/inbox/u1/accept",
            r#"{"dest":"x"}"#,
            "api.path_not_absolute",
        ),
        (
            "POST",
            "/v1/transfers",
            r#"{"what":"b","overwite":true}"#,
            "api.bad_field",
        ),
        ("GET", "/v1/transfers/x1?wait_ms=soon", "", "api.bad_query"),
        ("GET", "/v1/files/bytes", "", "api.bad_query"),
    ] {
        let (status, text) = d.request(method, path, body).await;
        let doc: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(
            (status, doc["error"]["code"].as_str()),
            (400, Some(code)),
            "{path} {body}: {text}"
        );
    }
}
