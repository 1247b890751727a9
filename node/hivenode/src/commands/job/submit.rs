//! Submitting many inputs in batches: one bad input costs itself, a daemon restarted in between costs nothing.

use super::{
    gather::Entry,
    patience::{ask, away},
    report::Failure,
};
use crate::output::CliError;
use hive_api::client::Client;
use hive_runtime::port::{Kind, Refused, Source, TaskRequest};
use std::cell::RefCell;

/// Tasks added by one call: a request of some 300 KB, and a second's work for the daemon's imports.
const BATCH: usize = 1000;

/// What was submitted so far, shared with the collector of the same thread.
#[derive(Debug, Default)]
pub struct Submitted {
    /// By task index: the entry's place.
    pub entries: Vec<usize>,
    /// Inputs the daemon refused.
    pub refused: Vec<Failure>,
    /// Whether all is said.
    pub done: bool,
}

/// The task of an input. With `{in}` it is a file below /in, else standard input.
pub fn task(entry: &Entry, args: &[String]) -> TaskRequest {
    let uses = |mark: &str| args.iter().any(|a| a.contains(mark));
    let source = Source::Path(entry.path.clone());
    let mut task = TaskRequest {
        label: entry.label.clone(),
        args: args.to_vec(),
        ..TaskRequest::default()
    };
    if uses("{in}") {
        task.inputs.push((inside_name(&entry.label), source));
    } else {
        task.stdin = Some(source);
    }
    if uses("{out}") {
        task.output_name = "out".into();
    }
    task
}

/// The file's own name inside the sandbox, so that programs that print it print something known.
fn inside_name(label: &str) -> String {
    let name = label.rsplit('/').next().unwrap_or(label);
    if hive_protocol::task::check_path(name).is_ok() {
        name.to_owned()
    } else {
        "input".to_owned()
    }
}

/// Whether a refusal is about the tasks in the batch, so that a smaller batch may pass.
fn about_the_batch(refused: &Refused) -> bool {
    matches!(refused.kind, Kind::Invalid | Kind::NotFound | Kind::Denied)
        && !refused.code.starts_with("daemon.")
        && !matches!(
            refused.code.as_str(),
            "job.not_found" | "job.unknown" | "job.closed"
        )
}

/// Adds all entries to an open job and closes it.
///
/// # Errors
/// What the daemon says when it is not about single inputs.
pub async fn submit(
    client: &Client,
    job: &str,
    entries: &[Entry],
    args: &[String],
    shared: &RefCell<Submitted>,
) -> Result<(), CliError> {
    // Ranges still to add, the next one last.
    let mut todo: Vec<(usize, usize)> = (0..entries.len())
        .step_by(BATCH)
        .map(|from| (from, (from + BATCH).min(entries.len())))
        .rev()
        .collect();
    while let Some((from, to)) = todo.pop() {
        let Some(part) = entries.get(from..to) else {
            continue;
        };
        let tasks: Vec<TaskRequest> = part.iter().map(|e| task(e, args)).collect();
        // Taken out of the `match`: a borrow in its head would last to its end.
        let before = shared.borrow().entries.len();
        match add(client, job, &tasks, before).await {
            Ok(()) => shared.borrow_mut().entries.extend(from..to),
            Err(refused) if about_the_batch(&refused) => {
                if let [entry] = part {
                    shared.borrow_mut().refused.push(Failure {
                        input: entry.label.clone(),
                        task: None,
                        code: refused.code,
                        message: refused.message,
                        exit_code: None,
                    });
                } else {
                    let middle = from + part.len() / 2;
                    todo.push((middle, to));
                    todo.push((from, middle));
                }
            }
            Err(refused) => return Err(refused.into()),
        }
    }
    match client.job_close(job).await {
        Ok(_) => {}
        // Closed by a call whose answer was lost.
        Err(refused) if refused.code == "job.closed" => {}
        Err(refused) if away(&refused) => {
            ask(|| client.job(job)).await?;
            client.job_close(job).await.map(drop).or_else(closed_is_fine)?;
        }
        Err(refused) => return Err(refused.into()),
    }
    shared.borrow_mut().done = true;
    Ok(())
}

fn closed_is_fine(refused: Refused) -> Result<(), CliError> {
    if refused.code == "job.closed" {
        Ok(())
    } else {
        Err(refused.into())
    }
}

/// Adds a batch exactly once, also when the daemon goes away in between: its journal knows how many tasks came.
async fn add(client: &Client, job: &str, tasks: &[TaskRequest], before: usize) -> Result<(), Refused> {
    loop {
        match client.job_add(job, tasks).await {
            Ok(_) => return Ok(()),
            Err(refused) if away(&refused) => {
                let there = ask(|| client.job(job)).await?.tasks as usize;
                if there == before + tasks.len() {
                    return Ok(());
                }
                if there != before {
                    return Err(Refused::new(
                        Kind::Internal,
                        "job.half_added",
                        format!(
                            "the job has {there} tasks where {before} or {} were expected",
                            before + tasks.len()
                        ),
                    ));
                }
            }
            Err(refused) => return Err(refused),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry() -> Entry {
        Entry {
            label: "a/b c.txt".into(),
            path: "/x/a/b c.txt".into(),
        }
    }

    #[test]
    fn placeholders_decide_between_files_and_streams() {
        let plain = task(&entry(), &["-l".into()]);
        assert!(plain.stdin.is_some() && plain.inputs.is_empty() && plain.output_name.is_empty());
        let files = task(&entry(), &["--in={in}".into(), "{out}".into()]);
        assert!(files.stdin.is_none());
        assert_eq!(files.inputs.first().map(|i| i.0.as_str()), Some("b c.txt"));
        assert_eq!(files.output_name, "out");
        assert_eq!(inside_name("a/x\\y"), "input");
    }

    #[test]
    fn only_refusals_of_inputs_split_a_batch() {
        let of = |kind, code: &str| about_the_batch(&Refused::new(kind, code, ""));
        assert!(of(Kind::NotFound, "job.missing_input"));
        assert!(of(Kind::Invalid, "job.unreadable_input"));
        assert!(!of(Kind::NotFound, "job.not_found"));
        assert!(!of(Kind::NoCredit, "wallet.insufficient"));
        assert!(!of(Kind::Denied, "daemon.denied"));
    }
}
