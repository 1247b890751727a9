//! `task submit`: a job of one task.

use super::{
    fetch, logs,
    wait::{exit_of, own_fault, say_failure},
};
use crate::{
    args::SubmitArgs,
    commands::job::{
        patience::{Patience, ask, given_up},
        request,
    },
    output::{CliError, Exit, clean},
    session::Session,
};
use hive_api::client::Client;
use hive_runtime::port::{JobView, Kind, Source, TaskFilter, TaskRequest, TaskView};
use serde_json::json;
use std::{
    path::Path,
    time::{Duration, Instant},
};

/// How often a waiting job is asked why it does not move.
const LOOK: Duration = Duration::from_millis(250);

/// A file of this machine by its whole path.
fn file(path: &str) -> Result<Source, CliError> {
    let whole = Path::new(path)
        .canonicalize()
        .map_err(|e| CliError::new(Kind::NotFound, "job.missing_input", format!("input {path}: {e}")))?;
    if whole.to_str().is_none() {
        return Err(CliError::usage(
            "job.bad_name",
            format!("input {path}: the path is not UTF-8"),
        ));
    }
    if !whole.is_file() {
        return Err(
            CliError::usage("job.unreadable_input", format!("input {path} is no regular file"))
                .hint("a folder is taken file by file: hivenode job map MODULE DIR"),
        );
    }
    Ok(Source::Path(whole))
}

/// `PATH` or `PATH=NAME`: where it lies and what it is called below /in.
fn input(text: &str) -> Result<(String, Source), CliError> {
    // A file may have `=` in its name: the whole text counts first.
    let (path, name) = match text.rsplit_once('=') {
        Some((path, name)) if !Path::new(text).exists() => (path, name.to_owned()),
        _ => {
            let own = Path::new(text)
                .file_name()
                .map(|n| n.to_string_lossy().into_owned());
            (text, own.unwrap_or_else(|| "input".into()))
        }
    };
    hive_protocol::task::check_path(&name)
        .map_err(|e| CliError::usage("job.bad_name", format!("--in {text}: {e}")))?;
    Ok((name, file(path)?))
}

fn variable(text: &str) -> Result<(String, String), CliError> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err(CliError::usage(
            "job.bad_env",
            format!("--env {text}: write NAME=VALUE"),
        )),
    }
}

/// `task submit`
pub async fn submit(session: &Session, args: &SubmitArgs) -> Result<Exit, CliError> {
    let client = session.client()?;
    let mut job = request::job(&args.module, &args.work)?;
    let inputs = args
        .inputs
        .iter()
        .map(|i| input(i))
        .collect::<Result<Vec<_>, _>>()?;
    if inputs.is_empty() && args.args.iter().any(|a| a.contains("{in}")) {
        return Err(
            CliError::usage("job.no_input", "an argument says {in}, and no input is named").hint("--in FILE"),
        );
    }
    let stdin = match args.stdin.as_deref() {
        Some("-") => Some(Source::Blob(
            client.blob_put(tokio::io::stdin(), None).await?.blob,
        )),
        Some(path) => Some(file(path)?),
        None => None,
    };
    let label = inputs.first().map(|(name, _)| name.clone()).unwrap_or_default();
    job.tasks.push(TaskRequest {
        label,
        args: args.args.clone(),
        env: args.env.iter().map(|e| variable(e)).collect::<Result<_, _>>()?,
        stdin,
        inputs,
        output_name: if args.args.iter().any(|a| a.contains("{out}")) {
            "out".into()
        } else {
            String::new()
        },
    });
    let job = client.job_submit(&job).await?;
    let first = TaskFilter {
        limit: 1,
        ..TaskFilter::default()
    };
    let rows = client.job_tasks(&job.job, &first).await?;
    let Some(row) = rows.into_iter().next() else {
        return Err(CliError::internal(
            "job.empty",
            format!("job {} has no task", job.job),
        ));
    };
    if !args.wait {
        if session.out.json {
            session.out.document(
                "task",
                json!({"task": row.task, "job": job.job, "state": row.state}),
            )?;
        } else {
            session.out.line(&clean(&row.task));
            session.out.say(&format!(
                "  follow  {}",
                clean(&session.command(&format!("task logs -f {}", row.task)))
            ));
        }
        return Ok(Exit::OK);
    }
    follow(session, &client, &job, &row.task, args).await
}

async fn follow(
    session: &Session,
    client: &Client,
    job: &JobView,
    task: &str,
    args: &SubmitArgs,
) -> Result<Exit, CliError> {
    session.out.say(&clean(task));
    let work = async {
        tokio::try_join!(
            show_log(session, client, task),
            ended(client, &job.job, task, args.work.patience)
        )
    };
    let (_, view) = tokio::select! {
        ended = work => ended?,
        _ = tokio::signal::ctrl_c() => {
            session.out.say(&format!("the task goes on: {}", clean(&session.command(&format!("task logs -f {task}")))));
            return Ok(Exit::INTERRUPTED);
        }
    };
    if let Some(folder) = &args.out {
        fetch(session, &view, folder).await.map_err(own_fault)?;
    }
    say_failure(session, &view);
    if session.out.json {
        session.out.document("task", &view)?;
    }
    Ok(exit_of(&view))
}

/// What the task writes, while it writes. With --json the document at the end names the bytes instead.
async fn show_log(session: &Session, client: &Client, task: &str) -> Result<(), CliError> {
    if session.out.json {
        return Ok(());
    }
    match logs::stream(&session.out, client, task, true).await {
        // The result tells whether the task is well; a log that breaks off says nothing of that.
        Err(error) if error.retryable => {
            session.out.warn(&format!("the log broke off: {}", error.message));
            Ok(())
        }
        other => other.map_err(own_fault),
    }
}

/// The task once it has ended; gives up on a job that cannot move.
async fn ended(client: &Client, job: &str, task: &str, patience: Duration) -> Result<TaskView, CliError> {
    let stuck = async {
        let mut patience = Patience::new(patience);
        loop {
            tokio::time::sleep(LOOK).await;
            let view = ask(|| client.job(job)).await?;
            if let Some((why, exit)) = patience.look(&view, Instant::now()) {
                return Ok::<CliError, CliError>(given_up(client, &view, why, exit).await);
            }
        }
    };
    let error = tokio::select! {
        view = ask(|| client.task_wait(task)) => return view.map_err(own_fault),
        error = stuck => error?,
    };
    // Left alone it would start by surprise once a worker comes. A failed stop changes nothing here. Not beside the
    // waiting above: the stopped task would be its answer.
    let _ = client.job_stop(job).await;
    Err(error)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn inputs_are_named_after_their_file_or_as_asked() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a=b.txt");
        std::fs::write(&path, "x").unwrap();
        let text = path.to_str().unwrap();
        assert_eq!(input(text).unwrap().0, "a=b.txt");
        assert_eq!(input(&format!("{text}=sub/c.txt")).unwrap().0, "sub/c.txt");
        assert_eq!(input(&format!("{text}=../c")).unwrap_err().code, "job.bad_name");
        assert_eq!(input("/nowhere/x").unwrap_err().exit.0, 3);
        assert_eq!(
            input(dir.path().to_str().unwrap()).unwrap_err().code,
            "job.unreadable_input"
        );
        assert_eq!(variable("A=b=c").unwrap(), ("A".into(), "b=c".into()));
        assert!(variable("=b").is_err());
    }
}
