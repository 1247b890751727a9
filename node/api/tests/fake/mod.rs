//! A daemon made of answers: what the API and its client are tested against.
#![allow(dead_code)] // each test file uses its part
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod files;
mod net;
mod views;

pub use views::*;

use hive_api::{ApiConfig, Running, client::Client, limits::Bounds, serve};
use hive_runtime::port::*;
use std::{
    collections::BTreeMap,
    future::Future,
    io::Write,
    path::{Path, PathBuf},
    pin::Pin,
    sync::{Arc, Mutex},
    time::Duration,
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    sync::{broadcast, mpsc, oneshot},
};

/// Longest time any wait in these tests may take.
pub const DEADLINE: Duration = Duration::from_secs(30);
pub const TOKEN: &str = "0123456789abcdef0123456789abcdef";

/// Blobs in a map; ids are lengths, contents are checked by the tests.
#[derive(Default)]
pub struct Blobs(Mutex<BTreeMap<String, Vec<u8>>>);

type Boxed<'a, T> = Pin<Box<dyn Future<Output = Result<T, Refused>> + Send + 'a>>;

impl Blobs {
    fn keep(&self, bytes: Vec<u8>) -> BlobView {
        let view = BlobView {
            blob: format!("b{}", bytes.len()),
            size: bytes.len() as u64,
        };
        self.0.lock().unwrap().insert(view.blob.clone(), bytes);
        view
    }
}

impl BlobPort for Blobs {
    fn put(&self, mut reader: Box<dyn AsyncRead + Send + Unpin>, cap: u64) -> Boxed<'_, BlobView> {
        Box::pin(async move {
            let mut bytes = Vec::new();
            (&mut reader)
                .take(cap + 1)
                .read_to_end(&mut bytes)
                .await
                .map_err(|e| Refused::new(Kind::Internal, "store.read", e.to_string()))?;
            Ok(self.keep(bytes))
        })
    }
    fn import<'a>(&'a self, path: &'a Path) -> Boxed<'a, BlobView> {
        Box::pin(async move {
            let bytes = tokio::fs::read(path)
                .await
                .map_err(|e| Refused::new(Kind::NotFound, "store.no_file", e.to_string()))?;
            Ok(self.keep(bytes))
        })
    }
    fn open<'a>(&'a self, blob: &'a str) -> Boxed<'a, (tokio::fs::File, u64)> {
        Box::pin(async move {
            let bytes = self.0.lock().unwrap().get(blob).cloned();
            let bytes = bytes.ok_or_else(|| NodeHandle::not_found("blob", blob))?;
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(&bytes).unwrap();
            std::io::Seek::rewind(&mut file).unwrap();
            Ok((tokio::fs::File::from_std(file), bytes.len() as u64))
        })
    }
}

/// What the daemon was asked, one word a call, and the reins of what it holds back.
pub struct Fake {
    pub events: broadcast::Sender<EventView>,
    /// Logs: every chunk sent here goes to all who asked for a log with follow.
    pub logs: Mutex<Vec<mpsc::Sender<LogChunk>>>,
    /// Waits for `held`: each is answered by hand or never.
    pub held: Mutex<Vec<oneshot::Sender<Result<TaskView, Refused>>>>,
    pub seen: Mutex<Vec<String>>,
    pub changed: tokio::sync::Notify,
}

impl Fake {
    pub fn note(&self, what: &str) {
        self.seen.lock().unwrap().push(what.to_owned());
    }
    /// Returns when `test` holds; the daemon says whenever something has changed.
    pub async fn until(&self, what: &str, test: impl Fn(&Self) -> bool) {
        tokio::time::timeout(DEADLINE, async {
            loop {
                let changed = self.changed.notified();
                if test(self) {
                    return;
                }
                changed.await;
            }
        })
        .await
        .unwrap_or_else(|_| panic!("never: {what}"));
    }

    fn answer(self: &Arc<Self>, call: Call) {
        // A caller that is gone hears nothing.
        macro_rules! say {
            ($reply:expr, $value:expr) => {{
                let _ = $reply.send($value);
            }};
        }
        fn known<T>(what: &str, id: &str, value: T) -> Result<T, Refused> {
            if id == "missing" {
                Err(NodeHandle::not_found(what, id))
            } else {
                Ok(value)
            }
        }
        match call {
            Call::Status { reply } => say!(reply, Ok(status())),
            Call::MeshCreate { request, reply } => say!(
                reply,
                Ok(MeshView {
                    name: request.name,
                    ..mesh()
                })
            ),
            Call::Join { ticket, reply } => say!(
                reply,
                if ticket.starts_with("hive1") {
                    Ok(JoinView {
                        mesh: mesh(),
                        name: "heron".into(),
                        score: 50,
                        tier: "normal".into(),
                        already: false,
                    })
                } else {
                    Err(
                        Refused::new(Kind::Invalid, "ticket.malformed", "this is no ticket")
                            .hint("hivenode invite"),
                    )
                }
            ),
            Call::Invite { request, reply } => say!(
                reply,
                Ok(InviteView {
                    invite: "i1".into(),
                    ticket: "hive1secret".into(),
                    role: request.role.name().into(),
                    uses: request.uses,
                    expires: request.ttl_ms,
                })
            ),
            Call::InviteRevoke { invite, reply } => say!(reply, known("invite", &invite, ())),
            Call::Nodes { reply } => say!(reply, Ok(vec![node("n1"), node("n2")])),
            Call::Node { node: id, reply } => say!(reply, known("node", &id, node(&id))),
            Call::JobSubmit { request, reply } => {
                self.note(&format!("submit {} {}", request.name, request.tasks.len()));
                // The families of refusals, by name.
                let refuse = |kind, code: &str| Err(Refused::new(kind, code, "because").retryable());
                say!(
                    reply,
                    match request.name.as_str() {
                        "denied" => refuse(Kind::Denied, "trust.low"),
                        "conflict" => refuse(Kind::Conflict, "job.state"),
                        "unreachable" => refuse(Kind::Unreachable, "authority.unreachable"),
                        "timeout" => refuse(Kind::Timeout, "authority.timeout"),
                        "nofit" => refuse(Kind::NoFit, "place.no_fit"),
                        "poor" => refuse(Kind::NoCredit, "wallet.insufficient"),
                        "internal" => refuse(Kind::Internal, "store.disk"),
                        _ => Ok(job("j1", "running")),
                    }
                )
            }
            Call::JobAdd { job, tasks, reply } => {
                self.note(&format!("add {} {}", job, tasks.len()));
                let ids = (0..tasks.len()).map(|i| format!("t{i}")).collect();
                say!(reply, known("job", &job, ids))
            }
            Call::JobClose { job: id, reply } => say!(reply, known("job", &id, job(&id, "running"))),
            Call::Jobs { reply } => say!(reply, Ok(vec![job("j2", "open"), job("j1", "running")])),
            Call::Job { job: id, reply } => say!(reply, known("job", &id, job(&id, "running"))),
            Call::JobTasks { job, filter, reply } => {
                self.note(&format!(
                    "tasks {:?} {:?} {}",
                    filter.state, filter.after, filter.limit
                ));
                let rows = vec![task("t1", TaskState::Running).row];
                say!(reply, known("job", &job, rows))
            }
            Call::JobWait { job: id, reply } => say!(reply, Ok(job(&id, "succeeded"))),
            Call::JobStop { job: id, reply } => say!(reply, Ok(job(&id, "stopped"))),
            Call::JobRetry { job: id, reply } => say!(reply, Ok(job(&id, "running"))),
            Call::JobRemove { job, reply } => say!(reply, known("job", &job, ())),
            Call::Task { task: id, reply } => {
                say!(reply, known("task", &id, task(&id, TaskState::Running)))
            }
            Call::TaskWait { task: id, reply } => {
                if id == "held" {
                    let fake = Arc::clone(self);
                    let (hold, held) = oneshot::channel();
                    self.held.lock().unwrap().push(hold);
                    tokio::spawn(async move {
                        let mut reply = reply;
                        tokio::select! {
                            answer = held => { let _ = reply.send(answer.unwrap()); }
                            () = reply.closed() => fake.note("wait abandoned"),
                        }
                        fake.changed.notify_waiters();
                    });
                } else {
                    say!(reply, Ok(task(&id, TaskState::Succeeded)));
                }
            }
            Call::TaskStop { task: id, reply } => say!(reply, Ok(task(&id, TaskState::Stopped))),
            Call::TaskRetry { task: id, reply } => say!(reply, Ok(task(&id, TaskState::Queued))),
            Call::Explain { subject, reply } => say!(reply, Ok(funnel(subject))),
            Call::Logs { task, follow, reply } => {
                let (sender, receiver) = mpsc::channel(4);
                let chunk = |stderr, bytes: &[u8]| LogChunk {
                    stderr,
                    bytes: bytes.to_vec(),
                };
                sender.try_send(chunk(false, b"out\xff\n")).unwrap();
                sender.try_send(chunk(false, b"")).unwrap();
                sender.try_send(chunk(true, b"err\n")).unwrap();
                if follow {
                    self.logs.lock().unwrap().push(sender);
                }
                say!(reply, known("task", &task, receiver));
            }
            Call::Events { reply } => say!(reply, Ok(self.events.subscribe())),
            Call::Wallet { account, reply } => {
                let account = account.unwrap_or_else(|| "a1".into());
                let view = WalletView {
                    account: account.clone(),
                    available: 95,
                    held: 5,
                    score: 50,
                    tier: "normal".into(),
                    reasons: vec![(1, 50, "invited".into())],
                    holds: vec![],
                    ledger: (100, 95, 5),
                };
                say!(reply, known("account", &account, view))
            }
            Call::WalletHistory { before, limit, reply } => {
                self.note(&format!("history {before:?} {limit}"));
                say!(reply, Ok(vec![line()]))
            }
            Call::WalletSend {
                to, amount, reply, ..
            } => {
                self.note(&format!("send {to} {}", amount.0));
                say!(reply, Ok(line()))
            }
            Call::Metrics { reply } => say!(reply, Ok("hivenode_up 1\n# EOF\n".into())),
            Call::Net(call) => net::answer(self, call),
            Call::Stop { drain_ms, reply } => {
                self.note(&format!("stop {drain_ms}"));
                say!(reply, Ok(()))
            }
        }
    }
}

/// A fake daemon behind a real API.
pub struct Daemon {
    pub fake: Arc<Fake>,
    pub running: Option<Running>,
    pub client: Client,
    pub socket: PathBuf,
    stop: Option<oneshot::Sender<()>>,
    dir: TempDir,
}

impl Daemon {
    pub async fn start() -> Self {
        Self::with(Bounds::default(), false).await
    }

    pub async fn with(bounds: Bounds, tcp: bool) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("api.sock");
        let (handle, fake) = fake();
        let (stop, stopped) = oneshot::channel();
        let config = ApiConfig {
            socket: socket.clone(),
            tcp: tcp.then(|| "127.0.0.1:0".parse().unwrap()),
            token: tcp.then(|| TOKEN.to_owned()),
            bounds,
        };
        let running = serve(config, handle, async {
            let _ = stopped.await;
        })
        .await
        .unwrap();
        Self {
            fake,
            running: Some(running),
            client: Client::unix(&socket),
            socket,
            stop: Some(stop),
            dir,
        }
    }

    pub fn addr(&self) -> std::net::SocketAddr {
        self.running.as_ref().unwrap().tcp.unwrap()
    }

    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub async fn stop(&mut self) {
        self.stop.take().unwrap().send(()).unwrap();
        tokio::time::timeout(DEADLINE, self.running.take().unwrap().finished())
            .await
            .expect("the API stops");
    }

    /// Sends bytes and returns everything that comes back until the server closes.
    pub async fn raw(&self, request: &[u8]) -> String {
        use tokio::io::AsyncWriteExt;
        let mut stream = tokio::net::UnixStream::connect(&self.socket).await.unwrap();
        stream.write_all(request).await.unwrap();
        read_all(&mut stream).await
    }

    /// One request with `connection: close`; the status and the body.
    pub async fn request(&self, method: &str, path: &str, body: &str) -> (u16, String) {
        let text = self
            .raw(
                format!(
                    "{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
                    body.len()
                )
                .as_bytes(),
            )
            .await;
        let status = text.split(' ').nth(1).unwrap().parse().unwrap();
        let body = text.split_once("\r\n\r\n").unwrap().1.to_owned();
        (status, body)
    }
}

pub async fn read_all(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut bytes = Vec::new();
    // A reset after the answer ends it as well.
    let _ = tokio::time::timeout(DEADLINE, stream.read_to_end(&mut bytes))
        .await
        .expect("the server closes");
    String::from_utf8_lossy(&bytes).into_owned()
}

/// A daemon that answers, and its reins.
pub fn fake() -> (NodeHandle, Arc<Fake>) {
    let (handle, mut calls) = NodeHandle::new(Arc::new(Blobs::default()));
    let fake = Arc::new(Fake {
        events: broadcast::channel(4).0,
        logs: Mutex::default(),
        held: Mutex::default(),
        seen: Mutex::default(),
        changed: tokio::sync::Notify::new(),
    });
    let daemon = Arc::clone(&fake);
    tokio::spawn(async move {
        while let Some(call) = calls.daemon.recv().await {
            daemon.answer(call);
            daemon.changed.notify_waiters();
        }
    });
    let desk = Arc::clone(&fake);
    tokio::spawn(async move {
        while let Some(call) = calls.files.recv().await {
            files::answer(&desk, call);
            desk.changed.notify_waiters();
        }
    });
    (handle, fake)
}
