//! What a lease's process still owes, and whether an answer of it can be true. Everything that comes in
//! is taken as if a guest that broke out had written it.

use super::stage;
use crate::lease::Event;
use crate::sandbox::ProbeResult;
use crate::task::{Captured, Failure, Limits, MAX_FILES, MAX_INLINE, MAX_OUTPUT_DEPTH, ProgramId, TaskDone};
use crate::wire::FromChild;
use hive_protocol::codec::CodecError;
use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// The parent's view of one process.
#[derive(Default)]
pub(super) struct State {
    /// Why the process is gone, once it is.
    pub(super) dead: Option<String>,
    /// Why it was killed by the watchdog.
    pub(super) stuck: Option<String>,
    pub(super) tasks: BTreeMap<u64, Unfinished>,
    pub(super) loads: BTreeMap<ProgramId, VecDeque<oneshot::Sender<Option<Failure>>>>,
    pub(super) probes: BTreeMap<u32, oneshot::Sender<ProbeResult>>,
}

/// What the process may still send about a task.
pub(super) struct Unfinished {
    pub(super) log_bytes: u64,
    pub(super) files: u32,
    /// Wall clock limit of its run.
    pub(super) wall: Duration,
    /// When it started to run.
    pub(super) since: Option<Instant>,
}

/// Why the pipe was given up.
#[derive(Debug, thiserror::Error)]
pub(super) enum Broken {
    #[error("the executor process has ended")]
    Ended,
    #[error("the executor process sent nonsense: {0}")]
    Codec(#[from] CodecError),
    #[error("the executor process sent nonsense: {0}")]
    Nonsense(String),
    #[error("the lease was given up")]
    Abandoned,
}

impl Unfinished {
    /// A task with these limits that has not started.
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            log_bytes: limits.output_bytes,
            files: limits.files.min(MAX_FILES),
            wall: Duration::from_millis(limits.wall_ms),
            since: None,
        }
    }

    /// Whether it has not ended `grace` after its time limit.
    pub(super) fn is_overdue(&self, grace: Duration) -> bool {
        self.since
            .is_some_and(|since| since.elapsed() > self.wall.saturating_add(grace))
    }
}

impl State {
    /// Takes in one answer; what the caller should hear comes back.
    pub(super) fn receive(&mut self, frame: FromChild) -> Result<Option<Event>, Broken> {
        let nonsense = |why: &str| Err(Broken::Nonsense(why.to_owned()));
        match frame {
            FromChild::Started { task } => {
                let Some(unfinished) = self.tasks.get_mut(&task) else {
                    return nonsense("start of an unknown task");
                };
                unfinished.since = Some(Instant::now());
                Ok(Some(Event::Started { task }))
            }
            FromChild::Log { task, stream, bytes } => {
                let Some(unfinished) = self.tasks.get_mut(&task) else {
                    return nonsense("log of an unknown task");
                };
                match unfinished.log_bytes.checked_sub(bytes.len() as u64) {
                    Some(left) => unfinished.log_bytes = left,
                    None => return nonsense("more logs than the task's output limit"),
                }
                Ok(Some(Event::Log { task, stream, bytes }))
            }
            FromChild::Done(done) => {
                let Some(unfinished) = self.tasks.get(&done.task) else {
                    return nonsense("the end of an unknown task");
                };
                check_done(&done, unfinished)?;
                self.tasks.remove(&done.task);
                Ok(Some(Event::Done(done)))
            }
            FromChild::Loaded { program, failure } => {
                let waiters = self.loads.get_mut(&program);
                if let Some(waiter) = waiters.and_then(VecDeque::pop_front) {
                    // Whoever waited may have given up.
                    let _ = waiter.send(failure);
                }
                if self.loads.get(&program).is_some_and(VecDeque::is_empty) {
                    self.loads.remove(&program);
                }
                Ok(None)
            }
            FromChild::Probed { id, result } => {
                if let Some(waiter) = self.probes.remove(&id) {
                    let _ = waiter.send(result);
                }
                Ok(None)
            }
            FromChild::Ready(_) | FromChild::Compiled { .. } => nonsense("an answer nobody asked for"),
        }
    }
}

/// Whether what the process says a task left behind can be so.
fn check_done(done: &TaskDone, unfinished: &Unfinished) -> Result<(), Broken> {
    let inline =
        |captured: &Captured| matches!(captured, Captured::Inline(bytes) if bytes.len() > MAX_INLINE);
    let why = if done.files.len() > unfinished.files as usize {
        "more files than allowed"
    } else if inline(&done.stdout) || inline(&done.stderr) {
        "more output by value than allowed"
    } else if done
        .files
        .iter()
        .any(|f| !stage::is_plain(&f.path, MAX_OUTPUT_DEPTH))
    {
        "an output's path leads elsewhere"
    } else {
        return Ok(());
    };
    Err(Broken::Nonsense(why.to_owned()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use crate::sandbox::SandboxReport;
    use crate::task::{Outcome, OutputFile, Stream, Usage};

    fn done(task: u64) -> TaskDone {
        let (stdout, stderr) = (Captured::default(), Captured::default());
        TaskDone {
            task,
            outcome: Outcome::Exited(0),
            usage: Usage::default(),
            stdout,
            stderr,
            files: Vec::new(),
        }
    }

    #[test]
    fn lies_of_a_process_in_foreign_hands_are_caught() {
        let limits = Limits {
            files: 1,
            output_bytes: 10,
            ..Limits::default()
        };
        let mut state = State::default();
        state.tasks.insert(7, Unfinished::new(&limits));
        let file = |path: &str| OutputFile {
            path: path.to_owned(),
            bytes: 1,
        };
        let files = |paths: &[&str]| paths.iter().map(|p| file(p)).collect::<Vec<_>>();
        let end = |done: TaskDone| FromChild::Done(Box::new(done));
        let lies = [
            FromChild::Ready(SandboxReport::default()),
            FromChild::Compiled { failure: None },
            FromChild::Started { task: 8 },
            FromChild::Log {
                task: 8,
                stream: Stream::Out,
                bytes: vec![0],
            },
            FromChild::Log {
                task: 7,
                stream: Stream::Out,
                bytes: vec![0; 11],
            },
            end(done(8)),
            end(TaskDone {
                files: files(&["a", "b"]),
                ..done(7)
            }),
            end(TaskDone {
                files: files(&["../../key"]),
                ..done(7)
            }),
            end(TaskDone {
                files: files(&["/etc/shadow"]),
                ..done(7)
            }),
            end(TaskDone {
                stdout: Captured::Inline(vec![0; MAX_INLINE + 1]),
                ..done(7)
            }),
        ];
        for lie in lies {
            assert!(
                matches!(state.receive(lie.clone()), Err(Broken::Nonsense(_))),
                "{lie:?}"
            );
        }
        assert!(
            state
                .receive(FromChild::Log {
                    task: 7,
                    stream: Stream::Err,
                    bytes: vec![0; 10]
                })
                .unwrap()
                .is_some()
        );
        assert!(state.receive(end(done(7))).unwrap().is_some());
        assert!(state.receive(end(done(7))).is_err(), "a task ends once");
    }
}
