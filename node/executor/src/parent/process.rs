//! Starts executor processes and tells how they ended.

use super::{child_args, lock};
use std::io::{Error, Result};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::net::UnixStream;
use tokio::net::unix::pipe;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// Process starts that may wait; each takes about a millisecond.
const STARTS_QUEUED: usize = 64;
/// Bytes kept of what a process said on standard error: the last words of a crash.
const LAST_WORDS: usize = 2 << 10;

/// How long the last words of an ended process are waited for: they are in the pipe already, so passing it means that
/// something else holds the pipe open.
const LAST_WORDS_TIME: Duration = Duration::from_secs(5);

/// A started process and the parent's end of its pipe.
pub(super) struct Process {
    pub(super) pipe: UnixStream,
    pub(super) guard: Arc<Guard>,
}

/// Kills the process when the last owner lets go of it.
pub(super) struct Guard {
    child: Mutex<Child>,
    pid: u32,
    words: Arc<Mutex<Vec<u8>>>,
    /// Reads the words; until somebody waits for its end.
    listening: Mutex<Option<JoinHandle<()>>>,
}

impl Guard {
    pub(super) fn pid(&self) -> u32 {
        self.pid
    }

    pub(super) fn kill(&self) {
        // An error means it has ended already.
        let _ = lock(&self.child).kill();
    }

    /// Kills the process if it still runs, waits for its end and says how it came.
    pub(super) async fn bury(self: &Arc<Self>) -> String {
        let guard = Arc::clone(self);
        let status = super::blocking(move || {
            let mut child = lock(&guard.child);
            let ended = child.try_wait()?;
            if let Some(status) = ended {
                return Ok(status.to_string());
            }
            child.kill()?;
            child.wait().map(|status| status.to_string())
        });
        let status = status.await.unwrap_or_else(|e| e.to_string());
        // Whatever it wrote was in the pipe before it ended; the reading task may not have had its turn yet.
        let listening = lock(&self.listening).take();
        if let Some(listening) = listening {
            let _ = tokio::time::timeout(LAST_WORDS_TIME, listening).await;
        }
        let words = lock(&self.words);
        let words = String::from_utf8_lossy(&words);
        match words.trim() {
            "" => status,
            words => format!("{status}: {}", words.escape_debug()),
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let child = self
            .child
            .get_mut()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        if !matches!(child.try_wait(), Ok(Some(_))) {
            let _ = child.kill();
            // The kernel ends it within microseconds; without this it would stay a zombie.
            let _ = child.wait();
        }
    }
}

/// Starts `exe` as an executor process: no environment, no descriptor but its pipe.
pub(super) async fn start(exe: &Path) -> Result<Process> {
    let (ours, theirs) = StdStream::pair()?;
    ours.set_nonblocking(true)?;
    let (answer, started) = oneshot::channel();
    let start = Start {
        exe: exe.to_owned(),
        pipe: theirs.into(),
        answer,
    };
    starter()?
        .try_send(start)
        .map_err(|_| Error::other("too many processes are being started"))?;
    let mut child = started
        .await
        .map_err(|_| Error::other("the starting thread has ended"))??;
    let words: Arc<Mutex<Vec<u8>>> = Arc::default();
    let mut listening = None;
    if let Some(stderr) = child.stderr.take() {
        let from = pipe::Receiver::from_owned_fd(OwnedFd::from(stderr))?;
        listening = Some(tokio::spawn(listen(from, Arc::clone(&words))));
    }
    let pid = child.id();
    let guard = Arc::new(Guard {
        child: Mutex::new(child),
        pid,
        words,
        listening: Mutex::new(listening),
    });
    Ok(Process {
        pipe: UnixStream::from_std(ours)?,
        guard,
    })
}

async fn listen(mut from: pipe::Receiver, words: Arc<Mutex<Vec<u8>>>) {
    let mut buffer = [0; 512];
    while let Ok(n) = from.read(&mut buffer).await {
        let Some(new) = buffer.get(..n).filter(|b| !b.is_empty()) else {
            return;
        };
        let mut words = lock(&words);
        words.extend_from_slice(new);
        let excess = words.len().saturating_sub(LAST_WORDS);
        words.drain(..excess);
    }
}

struct Start {
    exe: PathBuf,
    pipe: OwnedFd,
    answer: oneshot::Sender<Result<Child>>,
}

/// The thread that starts processes. The kernel ties a process with a parent-death signal to the
/// *thread* that started it, and threads of an async runtime come and go: this one stays.
fn starter() -> Result<&'static SyncSender<Start>> {
    static STARTER: OnceLock<SyncSender<Start>> = OnceLock::new();
    if let Some(sender) = STARTER.get() {
        return Ok(sender);
    }
    let (sender, requests) = sync_channel::<Start>(STARTS_QUEUED);
    std::thread::Builder::new()
        .name("exec-start".to_owned())
        .spawn(move || {
            for Start { exe, pipe, answer } in requests {
                let child = Command::new(exe)
                    .args(child_args())
                    .env_clear()
                    .current_dir("/")
                    .stdin(Stdio::from(pipe))
                    .stdout(Stdio::null())
                    .stderr(Stdio::piped())
                    .spawn();
                if let Err(Ok(mut unwanted)) = answer.send(child) {
                    // Whoever asked has gone.
                    let _ = unwanted.kill();
                    let _ = unwanted.wait();
                }
            }
        })?;
    Ok(STARTER.get_or_init(|| sender))
}
