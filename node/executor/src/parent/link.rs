//! The pipe to one lease's executor process: requests out, answers in, and the promise that every task
//! ends exactly once whatever happens to the process. What comes in is checked as if a guest wrote it.

use super::lock;
use super::process::{Guard, Process};
use super::state::{Broken, State, Unfinished};
use crate::lease::{Event, MAX_IN_FLIGHT, SubmitError};
use crate::sandbox::{ProbeResult, SandboxReport};
use crate::task::{Failure, Limits, ProgramId, TaskDone};
use crate::wire::{FromChild, ToChild};
use hive_protocol::codec::{self, CodecError, FRAME_PREFIX_LEN, Message};
use std::collections::btree_map::Entry;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{Notify, mpsc, oneshot};

/// Bytes of requests that may wait for the process: a thousand tasks with long arguments.
const MAX_WAITING: usize = 16 << 20;
/// Bytes read from the pipe at once.
const READ_AT_ONCE: usize = 64 << 10;

/// The parent's end of one executor process.
pub(super) struct Link {
    guard: Arc<Guard>,
    waiting: Mutex<Vec<u8>>,
    filled: Notify,
    state: Mutex<State>,
}

impl Link {
    /// Starts reading and writing; the second value resolves when the process is ready.
    pub(super) fn open(
        process: Process,
        events: mpsc::Sender<Event>,
        grace: Duration,
    ) -> (Arc<Self>, oneshot::Receiver<SandboxReport>) {
        let (read, write) = process.pipe.into_split();
        let link = Arc::new(Self {
            guard: process.guard,
            waiting: Mutex::default(),
            filled: Notify::new(),
            state: Mutex::default(),
        });
        let (ready, is_ready) = oneshot::channel();
        tokio::spawn(write_all(Arc::clone(&link), write));
        tokio::spawn(serve(Arc::clone(&link), read, events, ready));
        tokio::spawn(watch(Arc::downgrade(&link), grace));
        (link, is_ready)
    }

    /// Queues a request.
    pub(super) fn send(&self, frame: &ToChild) -> Result<(), CodecError> {
        codec::frame_into(frame, &mut lock(&self.waiting))?;
        self.filled.notify_one();
        Ok(())
    }

    /// Whether another task would be taken now.
    pub(super) fn check_room(&self, task: u64) -> Result<(), SubmitError> {
        let state = lock(&self.state);
        if state.dead.is_some() {
            return Err(SubmitError::Died);
        }
        if state.tasks.contains_key(&task) {
            return Err(SubmitError::Invalid {
                task,
                why: "a task of this number is unfinished".to_owned(),
            });
        }
        if state.tasks.len() >= MAX_IN_FLIGHT || lock(&self.waiting).len() > MAX_WAITING {
            return Err(SubmitError::Busy);
        }
        Ok(())
    }

    /// Enters a task and queues its request; from here on it has exactly one end.
    pub(super) fn submit(&self, task: u64, limits: &Limits, frame: &ToChild) -> Result<(), SubmitError> {
        self.check_room(task)?;
        let invalid = |why: String| SubmitError::Invalid { task, why };
        let mut state = lock(&self.state);
        if state.dead.is_some() {
            return Err(SubmitError::Died);
        }
        match state.tasks.entry(task) {
            Entry::Occupied(_) => return Err(invalid("a task of this number is unfinished".to_owned())),
            Entry::Vacant(place) => {
                // The request goes out under the lock: the answer finds the entry.
                self.send(frame).map_err(|e| invalid(e.to_string()))?;
                place.insert(Unfinished::new(limits));
            }
        }
        Ok(())
    }

    pub(super) fn in_flight(&self) -> usize {
        lock(&self.state).tasks.len()
    }

    pub(super) fn is_unfinished(&self, task: u64) -> bool {
        lock(&self.state).tasks.contains_key(&task)
    }

    /// Asks the process to load a program and waits for its answer.
    pub(super) async fn load(&self, program: ProgramId) -> Result<(), Failure> {
        let (sender, answer) = oneshot::channel();
        {
            let mut state = lock(&self.state);
            if let Some(reason) = &state.dead {
                return Err(Failure::new("exec.died", reason.clone()));
            }
            state.loads.entry(program).or_default().push_back(sender);
        }
        self.send(&ToChild::Load { program })
            .map_err(|e| Failure::new("exec.died", e.to_string()))?;
        match answer.await {
            Ok(None) => Ok(()),
            Ok(Some(failure)) => Err(failure),
            Err(_) => Err(Failure::new("exec.died", self.reason())),
        }
    }

    /// Asks the process to try something from inside its box.
    pub(super) async fn probe(&self, id: u32, probe: crate::sandbox::Probe) -> Option<ProbeResult> {
        let (sender, answer) = oneshot::channel();
        {
            let mut state = lock(&self.state);
            if state.dead.is_some() {
                return None;
            }
            state.probes.insert(id, sender);
        }
        self.send(&ToChild::Probe { id, probe }).ok()?;
        answer.await.ok()
    }

    pub(super) fn pid(&self) -> u32 {
        self.guard.pid()
    }

    pub(super) fn kill(&self) {
        self.guard.kill();
    }

    /// Why the process is gone.
    pub(super) fn reason(&self) -> String {
        lock(&self.state)
            .dead
            .clone()
            .unwrap_or_else(|| "the executor process has ended".to_owned())
    }
}

/// Kills a process that does not end a task in spite of its limits: stopped, swapped out, waiting for a
/// dead disk, or in foreign hands.
async fn watch(link: Weak<Link>, grace: Duration) {
    let period = grace.min(Duration::from_secs(1));
    loop {
        tokio::time::sleep(period).await;
        let Some(link) = link.upgrade() else { return };
        let mut state = lock(&link.state);
        if state.dead.is_some() || state.stuck.is_some() {
            return;
        }
        if let Some((task, _)) = state.tasks.iter().find(|(_, t)| t.is_overdue(grace)) {
            state.stuck = Some(format!("task {task} did not end at its time limit"));
            link.guard.kill();
            return;
        }
    }
}

/// Writes queued requests, all that have gathered at once.
async fn write_all(link: Arc<Link>, mut pipe: OwnedWriteHalf) {
    let mut batch = Vec::new();
    loop {
        std::mem::swap(&mut batch, &mut *lock(&link.waiting));
        if batch.is_empty() {
            if lock(&link.state).dead.is_some() {
                return;
            }
            link.filled.notified().await;
            continue;
        }
        if pipe.write_all(&batch).await.is_err() {
            // The reader notices the end, too, and reports it.
            return;
        }
        batch.clear();
        // A batch of large requests must not pin its memory for the rest of the lease.
        batch.shrink_to(READ_AT_ONCE);
    }
}

/// Reads until the process is gone, then ends whatever is unfinished.
async fn serve(
    link: Arc<Link>,
    mut pipe: OwnedReadHalf,
    events: mpsc::Sender<Event>,
    ready: oneshot::Sender<SandboxReport>,
) {
    let Err(why) = read(&link, &mut pipe, &events, ready).await;
    let mut reason = link.guard.bury().await;
    if !matches!(why, Broken::Ended) {
        reason = format!("{why} ({reason})");
    }
    let unfinished = {
        let mut state = lock(&link.state);
        if let Some(stuck) = state.stuck.take() {
            reason = format!("{stuck} ({reason})");
        }
        state.dead = Some(reason.clone());
        state.loads.clear();
        state.probes.clear();
        std::mem::take(&mut state.tasks)
    };
    link.filled.notify_one();
    for task in unfinished.into_keys() {
        let failure = Failure::new("exec.died", format!("the executor process ended: {reason}"));
        if events
            .send(Event::Done(Box::new(TaskDone::failed(task, failure))))
            .await
            .is_err()
        {
            return;
        }
    }
    // The last event; nobody may be listening any more.
    let _ = events.send(Event::Died { reason }).await;
}

async fn read(
    link: &Link,
    pipe: &mut OwnedReadHalf,
    events: &mpsc::Sender<Event>,
    ready: oneshot::Sender<SandboxReport>,
) -> Result<std::convert::Infallible, Broken> {
    let mut frames = Frames::default();
    let FromChild::Ready(sandbox) = frames.next(pipe, events).await? else {
        return Err(Broken::Nonsense("the first answer is not readiness".to_owned()));
    };
    let event = Event::Ready {
        sandbox: sandbox.clone(),
    };
    events.send(event).await.map_err(|_| Broken::Abandoned)?;
    let _ = ready.send(sandbox);
    loop {
        let frame = frames.next(pipe, events).await?;
        let event = lock(&link.state).receive(frame)?;
        if let Some(event) = event {
            events.send(event).await.map_err(|_| Broken::Abandoned)?;
        }
    }
}

/// Cuts the incoming bytes into frames.
#[derive(Default)]
struct Frames {
    buffer: Vec<u8>,
    used: usize,
}

impl Frames {
    /// The next frame; gives up when nobody listens to the events any more.
    async fn next(
        &mut self,
        pipe: &mut OwnedReadHalf,
        events: &mpsc::Sender<Event>,
    ) -> Result<FromChild, Broken> {
        loop {
            let have = self.buffer.get(self.used..).unwrap_or_default();
            if let Some((prefix, rest)) = have.split_first_chunk::<FRAME_PREFIX_LEN>() {
                let len = codec::frame_len(FromChild::NAME, *prefix, FromChild::MAX)?;
                if let Some(frame) = rest.get(..len) {
                    let frame = codec::open(frame)?;
                    self.used += FRAME_PREFIX_LEN + len;
                    return Ok(frame);
                }
            }
            self.buffer.drain(..self.used);
            self.used = 0;
            self.buffer.reserve(READ_AT_ONCE);
            // Both futures may be dropped half way: a read takes nothing until it is complete.
            let read = tokio::select! {
                read = pipe.read_buf(&mut self.buffer) => read,
                () = events.closed() => return Err(Broken::Abandoned),
            };
            if read.map_or(true, |n| n == 0) {
                return Err(Broken::Ended);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[tokio::test]
    async fn an_unfinished_task_is_lost_with_its_process() {
        // A process that neither listens nor answers.
        let process = super::super::process::start(std::path::Path::new("/usr/bin/yes"))
            .await
            .unwrap();
        let (sender, mut events) = mpsc::channel(4);
        let (link, _ready) = Link::open(process, sender, Duration::from_secs(60));
        link.submit(7, &Limits::default(), &ToChild::Cancel { task: 7 })
            .unwrap();
        link.kill();
        let Some(Event::Done(lost)) = events.recv().await else {
            panic!("no end")
        };
        assert_eq!((lost.task, lost.outcome.code()), (7, Some("exec.died")));
        assert!(matches!(events.recv().await, Some(Event::Died { .. })));
        assert!(events.recv().await.is_none());
        assert_eq!(link.in_flight(), 0);
    }
}
