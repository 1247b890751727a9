//! Jobs as tables.

use crate::{
    commands::daemon::short,
    output::{CliError, Output, Table, clean},
    quantity::{fuel, money, rfc3339, show_duration, show_size},
};
use hive_runtime::port::JobView;
use std::time::Duration;

/// `job ls`
pub fn ls(out: &Output, jobs: &[JobView]) -> Result<(), CliError> {
    if out.json {
        return out.document("jobs", jobs);
    }
    if out.quiet {
        jobs.iter().for_each(|j| out.line(&clean(&j.job)));
        return Ok(());
    }
    let mut table = Table::new(&[
        "JOB",
        "NAME",
        "STATE",
        "TASKS",
        "OK",
        "FAILED",
        "RUNNING",
        "QUEUED",
        "COST",
        "SUBMITTED",
    ]);
    for j in jobs {
        table.row([
            short(&j.job).to_owned(),
            j.name.clone(),
            state(j),
            j.tasks.to_string(),
            j.succeeded.to_string(),
            j.failed.to_string(),
            j.running.to_string(),
            j.queued.saturating_add(j.assigned).to_string(),
            money(j.cost),
            rfc3339(j.submitted),
        ]);
    }
    table.print(out);
    Ok(())
}

fn state(j: &JobView) -> String {
    match &j.waiting {
        Some(why) => format!("{} ({})", j.state, why.code),
        None => j.state.clone(),
    }
}

/// `job show`
pub fn show(out: &Output, j: &JobView) -> Result<(), CliError> {
    if out.json {
        return out.document("job", j);
    }
    if out.quiet {
        out.line(&clean(&j.job));
        return Ok(());
    }
    let took = if j.ended > 0 {
        format!(
            "{}, took {}",
            rfc3339(j.ended),
            show_duration(Duration::from_millis(j.ended.saturating_sub(j.submitted)))
        )
    } else {
        "-".into()
    };
    for (word, text) in [
        ("job", j.job.clone()),
        ("name", j.name.clone()),
        ("state", state(j)),
        (
            "tasks",
            format!(
                "{}: {} ok, {} failed, {} stopped, {} running, {} assigned, {} queued; {} tries repeated",
                j.tasks, j.succeeded, j.failed, j.stopped, j.running, j.assigned, j.queued, j.retried
            ),
        ),
        ("submitted", rfc3339(j.submitted)),
        ("ended", took),
        (
            "cost",
            format!(
                "{} of at most {}",
                money(j.cost),
                if j.budget == u64::MAX {
                    "all that is free".into()
                } else {
                    money(j.budget)
                }
            ),
        ),
        ("fuel", fuel(j.fuel)),
        ("fetched", show_size(j.bytes_in)),
        ("module", j.module.clone()),
    ] {
        out.line(&format!("{word:<10} {}", clean(&text)));
    }
    if let Some(why) = &j.waiting {
        out.line(&format!(
            "waits      {}: {}",
            clean(&why.code),
            clean(&why.message)
        ));
        if let Some(hint) = &why.hint {
            out.line(&format!("try        {}", clean(hint)));
        }
    }
    if !j.by_worker.is_empty() {
        let mut table = Table::new(&["WORKER", "TASKS", "EARNED"]);
        for (node, tasks, earned) in &j.by_worker {
            table.row([short(node), &tasks.to_string(), &money(*earned)]);
        }
        out.line("");
        table.print(out);
    }
    Ok(())
}

/// The short answer of a verb that changed a job.
pub fn changed(out: &Output, what: &str, j: &JobView) -> Result<(), CliError> {
    if out.json {
        return out.document("job", j);
    }
    out.step(what, &format!("{} ({})", j.job, j.state));
    out.line(&clean(&j.job));
    Ok(())
}
