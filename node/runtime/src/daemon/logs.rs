//! Logs of running tasks: the last part of each is kept for those who come later, the rest streams by.

use crate::port::LogChunk;
use hive_protocol::ids::{JobId, TaskIndex};
use std::collections::{BTreeMap, VecDeque};
use tokio::sync::mpsc;

/// Bytes kept of each running task's log.
const KEEP: usize = 64 << 10;
/// Running tasks with a kept log; beyond it the oldest are forgotten (the results still have the whole).
const MAX_TASKS: usize = 1024;
/// Chunks a follower may lag behind before it is dropped.
const FOLLOW: usize = 1024;

#[derive(Default)]
struct TaskLog {
    attempt: u16,
    chunks: VecDeque<LogChunk>,
    bytes: usize,
    followers: Vec<mpsc::Sender<LogChunk>>,
}

/// All logs of running tasks.
#[derive(Default)]
pub struct Logs {
    tasks: BTreeMap<(JobId, TaskIndex), TaskLog>,
    order: VecDeque<(JobId, TaskIndex)>,
}

impl Logs {
    fn log(&mut self, key: (JobId, TaskIndex)) -> &mut TaskLog {
        if !self.tasks.contains_key(&key) {
            self.order.push_back(key);
            while self.order.len() > MAX_TASKS {
                if let Some(old) = self.order.pop_front() {
                    self.tasks.remove(&old);
                }
            }
        }
        self.tasks.entry(key).or_default()
    }

    /// Bytes of a running task.
    pub fn push(&mut self, job: JobId, index: TaskIndex, attempt: u16, stderr: bool, bytes: Vec<u8>) {
        let log = self.log((job, index));
        if log.attempt != attempt {
            // A new try begins: what the lost one wrote is no part of the task's log.
            log.attempt = attempt;
            log.chunks.clear();
            log.bytes = 0;
        }
        let chunk = LogChunk { stderr, bytes };
        log.followers.retain(|f| f.try_send(chunk.clone()).is_ok());
        log.bytes += chunk.bytes.len();
        log.chunks.push_back(chunk);
        while log.bytes > KEEP {
            match log.chunks.pop_front() {
                Some(old) => log.bytes -= old.bytes.len(),
                None => break,
            }
        }
    }

    /// What is there so far and, with `follow`, what comes until the task ends.
    pub fn read(&mut self, job: JobId, index: TaskIndex, follow: bool) -> mpsc::Receiver<LogChunk> {
        let log = self.log((job, index));
        let (sender, receiver) = mpsc::channel(FOLLOW + log.chunks.len());
        for chunk in &log.chunks {
            // The channel was made large enough for all of these.
            let _ = sender.try_send(chunk.clone());
        }
        if follow {
            log.followers.push(sender);
        }
        receiver
    }

    /// The task has ended: followers see the end of the stream.
    pub fn end(&mut self, job: JobId, index: TaskIndex) {
        if self.tasks.remove(&(job, index)).is_some() {
            self.order.retain(|k| *k != (job, index));
        }
    }
}
