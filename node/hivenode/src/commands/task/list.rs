//! Tasks as tables.

use crate::{
    commands::daemon::short,
    output::{CliError, Output, Table, clean},
    quantity::{fuel, show_duration, show_size},
    session::Session,
};
use hive_api::client::Client;
use hive_runtime::port::{OutputView, TaskFilter, TaskRow, TaskState, TaskView};
use std::time::Duration;

/// Tasks asked for at once.
const PAGE: u32 = 1000;

fn state_name(state: TaskState) -> &'static str {
    match state {
        TaskState::Queued => "queued",
        TaskState::Assigned => "assigned",
        TaskState::Running => "running",
        TaskState::Succeeded => "succeeded",
        TaskState::Failed => "failed",
        TaskState::Stopped => "stopped",
    }
}

fn state(text: &str) -> Result<TaskState, CliError> {
    use TaskState::{Assigned, Failed, Queued, Running, Stopped, Succeeded};
    [Queued, Assigned, Running, Succeeded, Failed, Stopped]
        .into_iter()
        .find(|s| state_name(*s) == text)
        .ok_or_else(|| {
            CliError::usage(
                "task.bad_state",
                format!("`{text}` is no state: queued, assigned, running, succeeded, failed, stopped"),
            )
        })
}

/// `task ls`
pub async fn ls(
    session: &Session,
    client: &Client,
    job: Option<&str>,
    wanted: Option<&str>,
    limit: u32,
) -> Result<(), CliError> {
    let wanted = wanted.map(state).transpose()?;
    let jobs = match job {
        Some(job) => vec![client.job(job).await?.job],
        None => client.jobs().await?.into_iter().map(|j| j.job).collect(),
    };
    let most = limit as usize;
    let mut rows: Vec<TaskRow> = Vec::new();
    for job in jobs {
        let mut after = None;
        while rows.len() < most {
            let left = u32::try_from(most - rows.len()).unwrap_or(PAGE);
            let filter = TaskFilter {
                state: wanted,
                after,
                limit: left.min(PAGE),
            };
            let page = client.job_tasks(&job, &filter).await?;
            let Some(last) = page.last().map(|r| r.index) else {
                break;
            };
            after = Some(last);
            rows.extend(page);
        }
    }
    print(&session.out, &rows)
}

fn print(out: &Output, rows: &[TaskRow]) -> Result<(), CliError> {
    if out.json {
        return out.document("tasks", rows);
    }
    if out.quiet {
        rows.iter().for_each(|r| out.line(&clean(&r.task)));
        return Ok(());
    }
    let mut table = Table::new(&[
        "TASK", "INPUT", "STATE", "TRY", "NODE", "EXIT", "FUEL", "TIME", "FAILURE",
    ]);
    for r in rows {
        table.row([
            r.task.clone(),
            r.label.clone(),
            state_name(r.state).to_owned(),
            r.attempt.to_string(),
            r.node.as_deref().map_or("-", short).to_owned(),
            r.exit_code.map_or_else(|| "-".into(), |c| c.to_string()),
            fuel(r.fuel),
            show_duration(Duration::from_micros(r.wall_us)),
            r.failure.as_ref().map_or_else(String::new, |f| f.code.clone()),
        ]);
    }
    table.print(out);
    Ok(())
}

fn output(o: &OutputView) -> String {
    format!("{} ({}, {})", o.path, show_size(o.size), short(&o.blob))
}

/// `task show`
pub fn show(out: &Output, t: &TaskView) -> Result<(), CliError> {
    if out.json {
        return out.document("task", t);
    }
    let r = &t.row;
    if out.quiet {
        out.line(&clean(&r.task));
        return Ok(());
    }
    let failure = r
        .failure
        .as_ref()
        .map_or_else(|| "-".into(), |f| format!("{}: {}", f.code, f.message));
    for (word, text) in [
        ("task", r.task.clone()),
        ("job", t.job.clone()),
        ("input", r.label.clone()),
        ("args", t.args.join(" ")),
        ("state", format!("{}, try {}", state_name(r.state), r.attempt)),
        ("node", r.node.clone().unwrap_or_else(|| "-".into())),
        ("exit", r.exit_code.map_or_else(|| "-".into(), |c| c.to_string())),
        ("failure", failure),
        (
            "used",
            format!(
                "{}, {} wall, {} cpu, {} memory",
                fuel(r.fuel),
                show_duration(Duration::from_micros(r.wall_us)),
                show_duration(Duration::from_micros(t.cpu_us)),
                show_size(t.memory)
            ),
        ),
    ] {
        out.line(&format!("{word:<8} {}", clean(&text)));
    }
    for (word, stream) in [("stdout", &r.stdout), ("stderr", &r.stderr)] {
        if let Some(o) = stream {
            out.line(&format!("{word:<8} {}", show_size(o.size)));
        }
    }
    for o in &r.outputs {
        out.line(&format!("output   {}", clean(&output(o))));
    }
    Ok(())
}

/// The short answer of a verb that changed a task.
pub fn changed(out: &Output, what: &str, t: &TaskView) -> Result<(), CliError> {
    if out.json {
        return out.document("task", t);
    }
    out.step(what, &format!("{} ({})", t.row.task, state_name(t.row.state)));
    out.line(&clean(&t.row.task));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_read_as_they_show() {
        assert_eq!(state("running").ok(), Some(TaskState::Running));
        assert!(state("runing").is_err());
    }
}
