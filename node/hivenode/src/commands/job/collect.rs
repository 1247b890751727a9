//! Fetching the outputs of a job while it runs.

use super::{
    output_file::{Fetched, below, save_output},
    patience::{Patience, ask, given_up},
    report::Failure,
};
use crate::{
    output::{CliError, Progress, clean},
    quantity::{money, show_size},
};
use futures::{StreamExt, stream};
use hive_api::client::Client;
use hive_runtime::port::{JobView, OutputView, TaskFilter, TaskRow, TaskState};
use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

/// Tasks listed at once.
const PAGE: u32 = 1000;
/// Outputs fetched at once.
const AT_ONCE: usize = 16;
/// Shortest and longest pause between two looks at the job.
const LOOK: (Duration, Duration) = (Duration::from_millis(10), Duration::from_millis(250));

/// Where the output of a task goes, below the folder.
pub type Name<'a> = Box<dyn Fn(&TaskRow) -> String + 'a>;

/// What has been fetched.
pub struct Collector<'a> {
    client: &'a Client,
    job: String,
    out: PathBuf,
    name: Name<'a>,
    /// By index: whether the task's end was seen.
    seen: Vec<bool>,
    /// Every index below it was seen.
    low: u32,
    count: u32,
    /// Inputs with an output.
    pub succeeded: usize,
    /// Failed and stopped tasks.
    pub failures: Vec<Failure>,
    /// Succeeded without an output file.
    pub without_output: usize,
    /// Bytes written.
    pub bytes: u64,
    expects_files: bool,
}

/// The name used when nothing better is known: the label the job was submitted with.
pub fn by_label(row: &TaskRow) -> String {
    if row.label.is_empty() {
        format!("task-{}", row.index)
    } else {
        row.label.clone()
    }
}

impl<'a> Collector<'a> {
    /// Fetches into `out`.
    pub fn new(client: &'a Client, job: &str, out: &Path, name: Name<'a>, expects_files: bool) -> Self {
        Self {
            client,
            job: job.to_owned(),
            out: out.to_owned(),
            name,
            seen: Vec::new(),
            low: 0,
            count: 0,
            succeeded: 0,
            failures: Vec::new(),
            without_output: 0,
            bytes: 0,
            expects_files,
        }
    }

    /// Fetches until the job has ended and everything is here. `submitting` says whether more tasks may come.
    ///
    /// # Errors
    /// The daemon's, `out.write`, and the reason when the job cannot move for longer than `patience`.
    pub async fn run(
        &mut self,
        patience: Duration,
        progress: &mut Progress,
        submitting: impl Fn() -> bool,
        total: impl Fn() -> u64,
    ) -> Result<JobView, CliError> {
        let mut patience = Patience::new(patience);
        let mut pause = LOOK.0;
        loop {
            let more = submitting();
            let job = ask(|| self.client.job(&self.job)).await?;
            let over = !more && job.ended > 0;
            let ended = job
                .succeeded
                .saturating_add(job.failed)
                .saturating_add(job.stopped);
            let before = self.count;
            if over || ended > self.count {
                self.sweep(over).await?;
            }
            self.tell(&job, progress, total());
            if over {
                return Ok(job);
            }
            if let Some((why, exit)) = patience.look(&job, Instant::now()) {
                let error = given_up(self.client, &job, why, exit).await;
                // Left alone it would start by surprise once a worker comes. A failed stop changes nothing here.
                let _ = self.client.job_stop(&self.job).await;
                return Err(error.note(
                    "note",
                    "the job was stopped; --patience sets how long it may wait",
                ));
            }
            pause = if self.count > before {
                LOOK.0
            } else {
                (pause * 2).min(LOOK.1)
            };
            tokio::time::sleep(pause).await;
        }
    }

    /// Fetches what has ended by now.
    ///
    /// # Errors
    /// The daemon's, `out.write`.
    pub async fn sweep_all(&mut self) -> Result<(), CliError> {
        self.sweep(true).await
    }

    fn tell(&self, job: &JobView, progress: &mut Progress, total: u64) {
        let failed = if self.failures.is_empty() {
            String::new()
        } else {
            format!(" · {} failed", self.failures.len())
        };
        let waiting = job
            .waiting
            .as_ref()
            .map_or_else(String::new, |w| format!(" · waits: {}", clean(&w.message)));
        let message = format!(
            "{}/{total} done · {} running{failed} · {} · {}{waiting}",
            self.count,
            job.running,
            show_size(self.bytes),
            money(job.cost),
        );
        progress.set(u64::from(self.count), total, &message);
    }

    /// Looks through the tasks from the first unseen one on. Stops at a page without news unless `all`.
    async fn sweep(&mut self, all: bool) -> Result<(), CliError> {
        let mut after = self.low.checked_sub(1);
        loop {
            let filter = TaskFilter {
                state: None,
                after,
                limit: PAGE,
            };
            let rows = ask(|| self.client.job_tasks(&self.job, &filter)).await?;
            let Some(last) = rows.last().map(|r| r.index) else {
                return Ok(());
            };
            let before = self.count;
            self.take(rows).await?;
            after = Some(last);
            if !all && self.count == before {
                return Ok(());
            }
        }
    }

    async fn take(&mut self, rows: Vec<TaskRow>) -> Result<(), CliError> {
        let ended = |s: TaskState| matches!(s, TaskState::Succeeded | TaskState::Failed | TaskState::Stopped);
        let fresh: Vec<TaskRow> = rows
            .into_iter()
            .filter(|r| ended(r.state) && !self.seen.get(r.index as usize).copied().unwrap_or(false))
            .collect();
        let (good, bad): (Vec<_>, Vec<_>) = fresh.into_iter().partition(|r| r.state == TaskState::Succeeded);
        let saved: Vec<(u32, bool, Result<u64, CliError>)> = {
            let (client, out, name) = (self.client, &self.out, &self.name);
            stream::iter(good.iter().map(|row| async move {
                (
                    row.index,
                    row.outputs.is_empty(),
                    save(client, row, &below(out, &name(row))).await,
                )
            }))
            .buffer_unordered(AT_ONCE)
            .collect()
            .await
        };
        for (index, no_files, result) in saved {
            self.bytes = self.bytes.saturating_add(result?);
            self.succeeded += 1;
            self.without_output += usize::from(no_files && self.expects_files);
            self.mark(index);
        }
        for row in bad {
            let failure = failure(&row, (self.name)(&row));
            self.failures.push(failure);
            self.mark(row.index);
        }
        Ok(())
    }

    fn mark(&mut self, index: u32) {
        let at = index as usize;
        if self.seen.len() <= at {
            self.seen.resize(at + 1, false);
        }
        if let Some(seen) = self.seen.get_mut(at) {
            *seen = true;
        }
        self.count += 1;
        while self.seen.get(self.low as usize).copied().unwrap_or(false) {
            self.low += 1;
        }
    }
}

fn failure(row: &TaskRow, input: String) -> Failure {
    let (code, message) = match (&row.failure, row.state, row.exit_code) {
        (Some(problem), _, _) => (problem.code.clone(), problem.message.clone()),
        (None, TaskState::Stopped, _) => ("task.stopped".into(), "stopped".into()),
        (None, _, Some(code)) => ("task.exit".into(), format!("ended with exit code {code}")),
        (None, _, None) => ("task.failed".into(), "failed".into()),
    };
    Failure {
        input,
        task: Some(row.task.clone()),
        code,
        message,
        exit_code: row.exit_code,
    }
}

/// Writes what a task produced: its one output file or, without files, its standard output, at `path`;
/// several files below a folder beside it.
async fn save(client: &Client, row: &TaskRow, path: &Path) -> Result<u64, CliError> {
    match row.outputs.as_slice() {
        [] => {
            save_output(
                client,
                row.stdout.as_ref().map_or(Fetched::Empty, Fetched::Blob),
                path,
                row.index,
            )
            .await
        }
        [one] => save_output(client, Fetched::Blob(one), path, row.index).await,
        many => {
            // `a.txt` becomes the folder `a.txt.out`.
            let mut folder = path.as_os_str().to_owned();
            folder.push(".out");
            many_files(client, many, Path::new(&folder), row.index).await
        }
    }
}

/// Writes output files below a folder.
///
/// # Errors
/// Those of [`save_output`].
pub async fn many_files(
    client: &Client,
    files: &[OutputView],
    folder: &Path,
    number: u32,
) -> Result<u64, CliError> {
    let mut bytes = 0_u64;
    for file in files {
        let size = save_output(client, Fetched::Blob(file), &below(folder, &file.path), number).await?;
        bytes = bytes.saturating_add(size);
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use hive_runtime::port::Problem;

    fn row(index: u32, state: TaskState) -> TaskRow {
        TaskRow {
            task: format!("t_x.{index}"),
            index,
            label: String::new(),
            state,
            attempt: 1,
            node: None,
            exit_code: None,
            failure: None,
            fuel: 0,
            wall_us: 0,
            stdout: None,
            stderr: None,
            outputs: Vec::new(),
        }
    }

    #[tokio::test]
    async fn ends_are_taken_once_in_any_order() {
        let client = Client::unix("/nowhere");
        let mut c = Collector::new(&client, "j", Path::new("/nowhere"), Box::new(by_label), false);
        let rows = vec![
            row(2, TaskState::Failed),
            row(1, TaskState::Running),
            row(0, TaskState::Stopped),
        ];
        c.take(rows.clone()).await.ok();
        c.take(rows).await.ok();
        assert_eq!((c.count, c.low, c.failures.len()), (2, 1, 2));
        c.take(vec![row(1, TaskState::Failed)]).await.ok();
        assert_eq!((c.count, c.low), (3, 3));
    }

    #[test]
    fn failures_name_code_and_input() {
        let mut r = row(0, TaskState::Failed);
        r.exit_code = Some(3);
        assert_eq!(failure(&r, "a/b".into()).message, "ended with exit code 3");
        r.failure = Some(Problem {
            code: "task.fuel".into(),
            message: "out of fuel".into(),
            hint: None,
        });
        let f = failure(&r, "a/b".into());
        assert_eq!((f.code.as_str(), f.input.as_str()), ("task.fuel", "a/b"));
    }
}
