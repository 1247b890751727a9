//! `task …`

mod list;
mod logs;
mod submit;
mod wait;

use crate::{
    args::{ResultsArgs, TaskCommand},
    commands::job::{Fetched, collect::many_files, explain, save_output},
    output::{CliError, Exit, clean},
    quantity::show_size,
    session::Session,
};
use hive_runtime::port::TaskView;
use serde_json::json;
use std::path::Path;

/// Runs a verb.
pub async fn run(session: &Session, command: TaskCommand) -> Result<Exit, CliError> {
    let client = session.client()?;
    let out = &session.out;
    match command {
        TaskCommand::Submit(args) => return submit::submit(session, &args).await,
        TaskCommand::Ls { job, state, limit } => {
            list::ls(session, &client, job.as_deref(), state.as_deref(), limit).await?;
        }
        TaskCommand::Show(id) => list::show(out, &client.task(&id.task).await?)?,
        TaskCommand::Logs { task, follow } => return logs::logs(session, &client, &task, follow).await,
        TaskCommand::Results(args) => return results(session, &args).await,
        TaskCommand::Stop(id) => list::changed(out, "stopped", &client.task_stop(&id.task).await?)?,
        TaskCommand::Retry(id) => list::changed(out, "runs again", &client.task_retry(&id.task).await?)?,
        TaskCommand::Explain(id) => explain::show(out, &client.explain_task(&id.task).await?)?,
        TaskCommand::Wait(id) => return wait::wait(session, &client, &id.task).await,
    }
    Ok(Exit::OK)
}

async fn results(session: &Session, args: &ResultsArgs) -> Result<Exit, CliError> {
    let task = session.client()?.task(&args.id).await?;
    let bytes = fetch(session, &task, &args.out).await?;
    let (n, shown) = (task.row.outputs.len(), args.out.display().to_string());
    session
        .out
        .step("fetched", &format!("{n} files, {} to {shown}", show_size(bytes)));
    if session.out.json {
        session.out.document(
            "results",
            json!({"task": task.row.task, "out": shown, "files": n, "bytes": bytes}),
        )?;
    } else {
        session.out.line(&clean(&shown));
    }
    Ok(Exit::OK)
}

/// Writes a task's output files below `folder`, and what it said as `stdout` and `stderr` where no file has that name.
pub async fn fetch(session: &Session, task: &TaskView, folder: &Path) -> Result<u64, CliError> {
    let client = session.client()?;
    let row = &task.row;
    let mut bytes = many_files(&client, &row.outputs, folder, row.index).await?;
    for (name, stream) in [("stdout", &row.stdout), ("stderr", &row.stderr)] {
        let taken = row.outputs.iter().any(|o| o.path.split('/').next() == Some(name));
        if let (Some(stream), false) = (stream, taken) {
            let path = folder.join(name);
            if let Some(parent) = path.parent() {
                std::fs::create_dir_all(parent).map_err(|e| {
                    CliError::internal("out.write", format!("cannot make {}: {e}", parent.display()))
                })?;
            }
            bytes += save_output(&client, Fetched::Blob(stream), &path, row.index).await?;
        }
    }
    Ok(bytes)
}
