//! Every call that changes something leaves one line, and no secret in it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod fake;

use fake::*;
use hive_api::{client::Client, limits::Bounds};
use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, Mutex},
};
use tokio::{io::AsyncWriteExt, net::UnixStream};
use tracing::instrument::WithSubscriber;
use tracing_subscriber::fmt::MakeWriter;

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Self;
    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

impl Lines {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
    fn audit(&self) -> Vec<String> {
        self.text()
            .lines()
            .filter(|l| l.contains("hive::audit"))
            .map(str::to_owned)
            .collect()
    }
}

/// A body that the fake daemon accepts, for each changing route.
fn bodies() -> BTreeMap<(&'static str, &'static str), &'static str> {
    let job = r#"{"name":"a","module":{"blob":"m"},"tasks":[]}"#;
    BTreeMap::from([
        (
            ("POST", "/v1/mesh"),
            r#"{"name":"lab","mint":1,"default_score":50,"worker":true}"#,
        ),
        (("POST", "/v1/join"), r#"{"ticket":"hive1secret"}"#),
        (
            ("POST", "/v1/invites"),
            r#"{"role":"worker","uses":1,"ttl_ms":1}"#,
        ),
        (("DELETE", "/v1/invites/{id}"), ""),
        (("POST", "/v1/jobs"), job),
        (("DELETE", "/v1/jobs/{id}"), ""),
        (("POST", "/v1/jobs/{id}/tasks"), r#"{"tasks":[{}]}"#),
        (("POST", "/v1/jobs/{id}/close"), ""),
        (("POST", "/v1/jobs/{id}/stop"), ""),
        (("POST", "/v1/jobs/{id}/retry"), ""),
        (("POST", "/v1/tasks/{id}/stop"), ""),
        (("POST", "/v1/tasks/{id}/retry"), ""),
        (("PUT", "/v1/blobs"), "bytes"),
        (("POST", "/v1/blobs"), r#"{"path":"/dev/null"}"#),
        (
            ("POST", "/v1/wallet/send"),
            r#"{"to":"a2","amount":5,"memo":"private words"}"#,
        ),
        (("POST", "/v1/reload"), ""),
        (("POST", "/v1/stop"), "{}"),
        (("POST", "/v1/net/trace/{id}"), ""),
        (("POST", "/v1/relay/limits"), r#"{"total_rate":5}"#),
        (("POST", "/v1/relay/mode"), r#"{"mode":"auto"}"#),
        (("POST", "/v1/relay/drain"), ""),
        (("POST", "/v1/relay/resume"), ""),
        (("POST", "/v1/files"), r#"{"path":"/data"}"#),
        (("POST", "/v1/files/gc"), ""),
        (("DELETE", "/v1/files/{id}"), ""),
        (("POST", "/v1/files/{id}/share"), ""),
        (("DELETE", "/v1/files/{id}/share"), ""),
        (("POST", "/v1/files/{id}/verify"), ""),
        (("POST", "/v1/transfers"), r#"{"what":"b_1"}"#),
        (("POST", "/v1/transfers/{id}/pause"), ""),
        (("POST", "/v1/transfers/{id}/resume"), ""),
        (("POST", "/v1/transfers/{id}/cancel"), ""),
        (
            ("POST", "/v1/notices"),
            r#"{"text":"private words","to":["all"]}"#,
        ),
        (("DELETE", "/v1/notices/{id}"), ""),
        (("POST", "/v1/inbox/{id}/accept"), ""),
        (
            ("POST", "/v1/inbox/{id}/decline"),
            r#"{"reason":"private words"}"#,
        ),
        (("POST", "/v1/syncs"), r#"{"dir":"/data","to":["all"]}"#),
        (("DELETE", "/v1/syncs/{id}"), ""),
    ])
}

fn subscriber(lines: &Lines) -> impl tracing::Subscriber + Send + Sync + use<> {
    tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_ansi(false)
        .with_writer(lines.clone())
        .finish()
}

// One test: the subscriber is the process's, since the server's tasks are spawned.
#[tokio::test]
async fn every_change_leaves_a_line_and_no_secret() {
    let lines = Lines::default();
    tracing::subscriber::set_global_default(subscriber(&lines)).unwrap();
    async {
        let d = Daemon::with(Bounds::default(), true).await;
        let bodies = bodies();
        let uid = rustix_uid();
        let mut expected = 0;
        for route in hive_api::routes::all() {
            let path = route.path.replace("{id}", "x1").replace("{who}", "x1");
            if route.method == "GET" {
                // Streams without an end are left out; asking changes nothing.
                if route.path != "/v1/events" {
                    let (status, text) = d.request("GET", &path, "").await;
                    assert!(status < 500, "{path} {text}");
                }
                assert_eq!(
                    lines.audit().len(),
                    expected,
                    "{} {} is no change",
                    route.method,
                    route.path
                );
                continue;
            }
            let body = bodies
                .get(&(route.method, route.path))
                .unwrap_or_else(|| panic!("add a body for {} {}", route.method, route.path));
            let (status, text) = d.request(route.method, &path, body).await;
            assert_eq!(status, 200, "{} {path} {text}", route.method);
            expected += 1;
            let audit = lines.audit();
            assert_eq!(audit.len(), expected, "{} {}", route.method, route.path);
            let last = audit.last().unwrap();
            for part in [
                format!("who=uid:{uid}"),
                format!("method=\"{}\"", route.method),
                format!("route=\"{}\"", route.path),
                "outcome=\"ok\"".to_owned(),
                "took_us=".to_owned(),
            ] {
                assert!(last.contains(&part), "{last} lacks {part}");
            }
            if route.path.contains("{id}") {
                assert!(last.contains("subject=x1"), "{last}");
            }
        }
        assert_eq!(expected, bodies.len(), "a body for a route that is no more");

        // Refused calls too, with the code; what was made is named.
        d.client.job_stop("x\n1").await.unwrap_err();
        assert!(
            lines
                .audit()
                .last()
                .unwrap()
                .contains("outcome=\"job.not_found\"")
        );
        d.request(
            "POST",
            "/v1/jobs",
            r#"{"name":"a","module":{"blob":"m"},"tasks":[]}"#,
        )
        .await;
        assert!(lines.audit().last().unwrap().contains("subject=j1"));
        let client = Client::tcp(d.addr(), TOKEN);
        client.task_stop("t7").await.unwrap();
        let last = lines.audit().pop().unwrap();
        assert!(
            last.contains("who=token") && last.contains("subject=t7"),
            "{last}"
        );
        Client::tcp(d.addr(), "wrong-token-wrong-token")
            .task_stop("t7")
            .await
            .unwrap_err();
        assert!(
            lines
                .audit()
                .last()
                .unwrap()
                .contains("outcome=\"api.unauthorized\"")
        );

        // A change whose client leaves before the answer: task ids of the fake are t0…, so wait on a held one.
        let before = lines.audit().len();
        let mut stream = UnixStream::connect(&d.socket).await.unwrap();
        stream
            .write_all(b"POST /v1/join HTTP/1.1\r\nhost: x\r\ncontent-length: 50\r\n\r\n{")
            .await
            .unwrap();
        drop(stream);
        tokio::time::timeout(DEADLINE, async {
            while lines.audit().len() == before {
                tokio::task::yield_now().await;
            }
        })
        .await
        .expect("a line for the client that left");
        let text = lines.text();
        for secret in ["hive1secret", TOKEN, "wrong-token", "private words"] {
            assert!(!text.contains(secret), "`{secret}` is in the log");
        }
    }
    .with_current_subscriber()
    .await;
}

fn rustix_uid() -> u32 {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self").unwrap().uid()
}
