//! The end: finishing what runs, handing back the rest, closing in order. And what happens at the beginning
//! and in between to jobs: taking them up from the journal, forgetting old ones.

use super::Daemon;
use crate::{
    jobs,
    port::{Problem, Reply},
};
use hive_protocol::time::{Millis, Timestamp};
use hive_scheduler::{submitter, worker};
use std::time::Duration;

/// How long the daemon waits for its last captures and messages when it is stopped.
const LAST_WORDS: Millis = Millis(1500);
/// Transfers are given this long to write down where they stand.
const CLOSE_FILES: Duration = Duration::from_secs(5);
/// The network is given this long to close.
const CLOSE_NET: Duration = Duration::from_secs(3);
/// Ended jobs the submitter core keeps for a quick retry; older ones are taken from the journal again.
const ENDED_IN_CORE: usize = 256;

/// A stop under way.
pub struct Stopping {
    /// When it ends at the latest.
    pub until: Timestamp,
    drains: bool,
    replies: Vec<Reply<()>>,
}

impl Stopping {
    /// Whether running tasks may still finish.
    #[must_use]
    pub const fn drains(&self) -> bool {
        self.drains
    }
}

impl Daemon {
    /// Begins to stop: no new leases; `drain_ms` for what runs.
    pub(super) fn begin_stop(&mut self, drain_ms: u64, reply: Option<Reply<()>>) {
        let now = self.clock.now();
        let until = now + Millis(drain_ms.saturating_add(LAST_WORDS.0));
        match self.stopping.as_mut() {
            Some(stopping) => {
                stopping.until = stopping.until.min(until);
                stopping.replies.extend(reply);
            }
            None => {
                let replies = reply.into_iter().collect();
                self.stopping = Some(Stopping {
                    until,
                    drains: drain_ms > 0,
                    replies,
                });
                self.events.say("daemon.stopping", "", "the daemon is stopping");
                if let Some(mesh) = self.mesh.as_mut() {
                    mesh.vital.send_modify(|v| v.leaving = true);
                    mesh.reach.drain_relay(true);
                }
                self.worker_input(worker::Input::Drain(true));
            }
        }
    }

    /// Whether nothing is left to wait for.
    pub(super) fn is_stopped(&self) -> bool {
        let Some(stopping) = &self.stopping else {
            return false;
        };
        if self.clock.now() >= stopping.until {
            return true;
        }
        let worker = self.mesh.as_ref().and_then(|m| m.worker.as_ref());
        worker.is_none_or(|w| w.is_idle() && (w.is_settled() || !stopping.drains))
    }

    /// Closes everything in order.
    pub(super) async fn close(mut self) {
        self.settle();
        if let Err(e) = self.journal.commit() {
            tracing::error!(target: "hive_runtime", code = e.code(), "the journal cannot be written: {e}");
        }
        if let Some(mut mesh) = self.mesh.take() {
            for lease in mesh
                .worker
                .iter()
                .flat_map(|w| w.leases())
                .map(|l| l.lease)
                .collect::<Vec<_>>()
            {
                mesh.exec.stop(lease);
            }
            // Circuits of others end by themselves where there is time for it.
            let stopping = self.stopping.as_ref().filter(|s| s.drains());
            let left = stopping.map_or(Millis(0), |s| s.until.since(self.clock.now()));
            mesh.reach.close(Duration::from_millis(left.0)).await;
            for task in &mesh.tasks {
                task.abort();
            }
            if tokio::time::timeout(CLOSE_FILES, self.desk.close())
                .await
                .is_err()
            {
                tracing::warn!(target: "hive_runtime", "transfers did not close in time; they go on from their last mark");
            }
            let _ = tokio::time::timeout(CLOSE_NET, mesh.net.shutdown()).await;
            if let Some(authority) = mesh.local_authority.take() {
                let closed = tokio::task::spawn_blocking(move || authority.close()).await;
                if let Ok(Err(e)) = closed {
                    tracing::error!(target: "hive_runtime", "the ledger could not be closed: {e}");
                }
            }
        }
        for reply in self.stopping.into_iter().flat_map(|s| s.replies) {
            let _ = reply.send(Ok(()));
        }
        tracing::info!(target: "hive_runtime", "stopped");
    }

    /// Takes up the journal's jobs.
    pub(super) fn restore_jobs(&mut self) {
        let (all, mut damaged) = match self.journal.jobs() {
            Ok(all) => all,
            Err(e) => {
                self.problem(e.code(), format!("the job journal cannot be read: {e}"));
                return;
            }
        };
        let mut newest = Timestamp(0);
        for (meta, standing) in all {
            match jobs::restore(&self.journal, &meta, standing, false) {
                Ok(restored) => {
                    damaged += restored.damaged;
                    if meta.submitted >= newest {
                        newest = meta.submitted;
                        self.book.last = Some(meta.job);
                    }
                    self.pin(&restored.entry);
                    self.pin_results(meta.job);
                    self.book.jobs.insert(meta.job, restored.entry);
                    if let Some(input) = restored.input {
                        tracing::info!(target: "hive_runtime::job", job = %meta.job, "job goes on");
                        self.tell_submitter(input);
                    }
                }
                Err(e) => self.problem(e.code(), format!("job {} cannot be read: {e}", meta.job)),
            }
        }
        if damaged > 0 {
            self.problem(
                "journal.damaged_record",
                format!(
                    "{damaged} records of the job journal are damaged; their tasks run again or are named"
                ),
            );
        }
    }

    fn pin_results(&self, job: hive_protocol::ids::JobId) {
        let owner = super::submit::job_pin(job);
        if let Ok((ended, _)) = self.journal.ended(job) {
            for (_, task) in ended {
                for hash in jobs::result_blobs(&task) {
                    let _ = self.store.pin(hash, &owner, None);
                }
            }
        }
    }

    fn problem(&mut self, code: &str, message: String) {
        tracing::error!(target: "hive_runtime", code, "{message}");
        self.problems.push(Problem {
            code: code.to_owned(),
            message,
            hint: Some("hivenode doctor".to_owned()),
        });
    }

    /// Ended jobs leave the core when there are many, and the journal when there are very many.
    pub(super) fn forget_old_jobs(&mut self) {
        let in_core = self
            .book
            .jobs
            .values()
            .filter(|e| e.in_core && e.settled && e.standing.is_final());
        let mut ended: Vec<_> = in_core.map(|e| (e.submitted, e.job)).collect();
        if ended.len() > ENDED_IN_CORE {
            ended.sort();
            let over = ended.len() - ENDED_IN_CORE;
            for (_, job) in ended.into_iter().take(over) {
                self.tell_submitter(submitter::Input::ForgetJob { job });
                if let Some(entry) = self.book.jobs.get_mut(&job) {
                    entry.in_core = false;
                }
            }
        }
        if self.book.jobs.len() > jobs::MAX_KEPT_JOBS {
            for job in self.book.surplus() {
                match self.drop_job(job) {
                    Ok(()) => self.events.say(
                        "job.removed",
                        job,
                        "removed to make room: more than 1000 ended jobs are kept",
                    ),
                    Err(e) => {
                        tracing::warn!(target: "hive_runtime::job", code = e.code(), "cannot remove a job: {e}")
                    }
                }
            }
        }
    }
}
