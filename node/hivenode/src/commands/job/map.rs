//! `job map` and `job results`.

use super::{
    collect::{Collector, by_label},
    gather::gather,
    report::Report,
    request,
    submit::{Submitted, submit},
};
use crate::{
    args::{MapArgs, ResultsArgs},
    output::{CliError, Exit, Progress, clean},
    session::Session,
};
use hive_api::client::Client;
use hive_runtime::port::{JobView, TaskRow};
use std::{
    cell::RefCell,
    path::Path,
    time::{Duration, Instant},
};

/// `job map`: everything is looked at before anything is submitted.
pub async fn map(session: &Session, args: &MapArgs) -> Result<Exit, CliError> {
    let client = session.client()?;
    let mut request = request::job(&args.module, &args.work)?;
    output_folder(&args.out)?;
    let mut found = gather(&args.paths, &args.out)?;
    let began = Instant::now();
    let mut report = Report {
        name: request.name.clone(),
        out: args.out.display().to_string(),
        inputs: found.entries.len() + found.bad.len(),
        skipped: std::mem::take(&mut found.skipped),
        failures: std::mem::take(&mut found.bad),
        ..Report::default()
    };
    if found.entries.is_empty() {
        report.print(&session.out)?;
        return Ok(report.exit());
    }
    request.open = true;
    let job = client.job_submit(&request).await?;
    session.out.say(&format!(
        "{} {} inputs as {}",
        clean(&job.name),
        found.entries.len(),
        clean(&job.job)
    ));
    let shared = RefCell::new(Submitted::default());
    let entries = &found.entries;
    let name = |row: &TaskRow| {
        let at = shared.borrow().entries.get(row.index as usize).copied();
        at.and_then(|at| entries.get(at))
            .map_or_else(|| by_label(row), |e| e.label.clone())
    };
    let expects_files = args.args.iter().any(|a| a.contains("{out}"));
    let mut collector = Collector::new(&client, &job.job, &args.out, Box::new(name), expects_files);
    let mut progress = Progress::new(&session.out, &job.name, entries.len() as u64);
    let work = async {
        let adding = submit(&client, &job.job, entries, &args.args, &shared);
        let total = || (entries.len() - shared.borrow().refused.len()) as u64;
        let collecting = collector.run(args.work.patience, &mut progress, || !shared.borrow().done, total);
        tokio::try_join!(adding, collecting).map(|(_, job)| job)
    };
    let ended = tokio::select! {
        ended = work => Some(ended),
        _ = tokio::signal::ctrl_c() => None,
    };
    progress.finish();
    let ended = match ended {
        Some(Ok(job)) => job,
        Some(Err(error)) => return Err(leave(session, &client, &job, &shared, error).await),
        None => return Ok(detach(session, &client, &job, &shared, entries.len()).await),
    };
    report.failures.append(&mut collector.failures);
    report
        .failures
        .extend(std::mem::take(&mut shared.borrow_mut().refused));
    report.succeeded = collector.succeeded;
    report.without_output = collector.without_output;
    report.bytes = collector.bytes;
    finish(session, report, &ended, began)
}

fn finish(session: &Session, mut report: Report, job: &JobView, began: Instant) -> Result<Exit, CliError> {
    report.job.clone_from(&job.job);
    report.cost = job.cost;
    report.fuel = job.fuel;
    report.retried = job.retried;
    report.took_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    report.print(&session.out)?;
    Ok(report.exit())
}

fn output_folder(out: &Path) -> Result<(), CliError> {
    std::fs::create_dir_all(out).map_err(|e| {
        CliError::usage(
            "out.folder",
            format!("cannot use {} as output folder: {e}", out.display()),
        )
        .hint("choose another: --out DIR")
    })
}

/// After a failure on the way: a half submitted job would wait for ever for the rest.
async fn leave(
    session: &Session,
    client: &Client,
    job: &JobView,
    shared: &RefCell<Submitted>,
    error: CliError,
) -> CliError {
    let done = shared.borrow().done;
    if done {
        let more = session.command(&format!("job results {}", job.job));
        return error.note("job", job.job.clone()).note("more", more);
    }
    // The daemon may be what failed; then the job is told to stop by hand.
    match client.job_stop(&job.job).await {
        Ok(_) => error.note("note", format!("job {} was stopped", job.job)),
        Err(_) => error.note(
            "note",
            format!("stop what was submitted: hivenode job stop {}", job.job),
        ),
    }
}

/// Ctrl-C: the daemon goes on with what it has.
async fn detach(
    session: &Session,
    client: &Client,
    job: &JobView,
    shared: &RefCell<Submitted>,
    inputs: usize,
) -> Exit {
    let (done, there) = {
        let s = shared.borrow();
        (s.done, s.entries.len())
    };
    if !done {
        session.out.warn(&format!(
            "{there} of {inputs} inputs were submitted; the job goes on with these"
        ));
        if client.job_close(&job.job).await.is_err() {
            session.out.warn(&format!(
                "the job could not be closed: hivenode job stop {}",
                job.job
            ));
        }
    }
    session
        .out
        .say(&format!("detached; {} goes on in the daemon", clean(&job.job)));
    session.out.say(&format!(
        "  fetch  {}",
        clean(&session.command(&format!("job results {} -o DIR", job.job)))
    ));
    session.out.say(&format!(
        "  stop   {}",
        clean(&session.command(&format!("job stop {}", job.job)))
    ));
    Exit::INTERRUPTED
}

/// `job results`: what has ended, now; waits for nothing.
pub async fn results(session: &Session, args: &ResultsArgs) -> Result<Exit, CliError> {
    let client = session.client()?;
    let job = client.job(&args.id).await?;
    output_folder(&args.out)?;
    let began = Instant::now();
    let mut collector = Collector::new(&client, &job.job, &args.out, Box::new(by_label), false);
    let mut progress = Progress::new(&session.out, &job.name, u64::from(job.tasks));
    if job.ended > 0 {
        collector
            .run(Duration::MAX, &mut progress, || false, || u64::from(job.tasks))
            .await?;
    } else {
        collector.sweep_all().await?;
        let left = (job.tasks as usize).saturating_sub(collector.succeeded + collector.failures.len());
        session
            .out
            .warn(&format!("the job has not ended: {left} tasks have no result yet"));
    }
    progress.finish();
    let report = Report {
        name: job.name.clone(),
        out: args.out.display().to_string(),
        inputs: job.tasks as usize,
        succeeded: collector.succeeded,
        failures: std::mem::take(&mut collector.failures),
        bytes: collector.bytes,
        ..Report::default()
    };
    finish(session, report, &job, began)
}
