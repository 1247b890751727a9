//! `bench`: what the whole path costs, through the running daemon.

use crate::{
    args::BenchArgs,
    output::{CliError, Exit, Progress, Table},
    session::Session,
};
use hive_api::client::Client;
use hive_protocol::{
    resources::Resources,
    task::{Limits, Placement},
};
use hive_runtime::port::{JobRequest, JobView, Source, TaskRequest};
use serde::Serialize;
use std::time::{Duration, Instant};

/// A module that ends at once.
const NOOP: &[u8] = include_bytes!("../../../../../docs/examples/noop/noop.wasm");
/// Tasks added by one call.
const BATCH: u32 = 1000;
/// Tasks run before anything is measured: leases are there and the module is compiled then.
const WARM: usize = 8;
/// How often the end is looked for; small against the seconds measured.
const LOOK: Duration = Duration::from_millis(5);

/// The figures.
#[derive(Debug, Serialize)]
struct Figures {
    tasks: u32,
    seconds: f64,
    tasks_per_second: f64,
    tries: u32,
    p50_us: u64,
    p99_us: u64,
    max_us: u64,
}

/// `bench`
pub async fn bench(session: &Session, args: &BenchArgs) -> Result<Exit, CliError> {
    let client = session.client()?;
    let module = client.blob_put(NOOP, Some(NOOP.len() as u64)).await?.blob;
    let job = client.job_submit(&request(module)).await?;
    let measured = tokio::select! {
        measured = measure(session, &client, &job, args) => measured,
        _ = tokio::signal::ctrl_c() => Err(CliError::internal("bench.interrupted", "interrupted").exit(Exit::INTERRUPTED)),
    };
    if measured.is_err() {
        // An open job would keep its leases.
        let _ = client.job_stop(&job.job).await;
    } else {
        client.job_close(&job.job).await?;
    }
    let figures = measured?;
    if session.out.json {
        session.out.document("bench", &figures)?;
        return Ok(Exit::OK);
    }
    let ms = |us: u64| format!("{}.{:03} ms", us / 1000, us % 1000);
    let mut table = Table::new(&["MEASURE", "FIGURE"]);
    table.row(["no-op tasks", &figures.tasks.to_string()]);
    table.row(["tasks/s", &format!("{:.0}", figures.tasks_per_second)]);
    table.row(["one task, p50", &ms(figures.p50_us)]);
    table.row(["one task, p99", &ms(figures.p99_us)]);
    table.row(["one task, max", &ms(figures.max_us)]);
    table.print(&session.out);
    Ok(Exit::OK)
}

fn request(module: String) -> JobRequest {
    let limits = Limits {
        fuel: 1_000_000_000,
        wall_ms: 10_000,
        memory: 1 << 20,
        output: 1 << 20,
        files: 1,
    };
    JobRequest {
        name: "bench".into(),
        module: Source::Blob(module),
        tasks: Vec::new(),
        need: Some(Resources::cpu(1000, 1, 1)),
        limits: Some(limits),
        placement: Placement::default(),
        max_price: None,
        budget: None,
        retries: None,
        open: true,
    }
}

async fn measure(
    session: &Session,
    client: &Client,
    job: &JobView,
    args: &BenchArgs,
) -> Result<Figures, CliError> {
    let one = [TaskRequest::default()];
    for _ in 0..WARM {
        client.job_add_wait(&job.job, &one).await?;
    }
    let mut times = Vec::with_capacity(args.tries as usize);
    let mut progress = Progress::new(&session.out, "latency", u64::from(args.tries));
    for n in 0..args.tries {
        let began = Instant::now();
        client.job_add_wait(&job.job, &one).await?;
        times.push(u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX));
        progress.set(u64::from(n) + 1, u64::from(args.tries), "");
    }
    progress.finish();
    times.sort_unstable();
    let seconds = throughput(session, client, &job.job, args.tasks)
        .await?
        .as_secs_f64();
    Ok(Figures {
        tasks: args.tasks,
        seconds,
        tasks_per_second: f64::from(args.tasks) / seconds.max(f64::EPSILON),
        tries: args.tries,
        p50_us: quantile(&times, 50),
        p99_us: quantile(&times, 99),
        max_us: times.last().copied().unwrap_or(0),
    })
}

async fn throughput(session: &Session, client: &Client, job: &str, tasks: u32) -> Result<Duration, CliError> {
    let before = client.job(job).await?;
    let goal = before.tasks.saturating_add(tasks);
    let mut progress = Progress::new(&session.out, "throughput", u64::from(tasks));
    let began = Instant::now();
    let mut left = tasks;
    while left > 0 {
        let now = left.min(BATCH);
        client
            .job_add(job, &vec![TaskRequest::default(); now as usize])
            .await?;
        left -= now;
    }
    loop {
        let view = client.job(job).await?;
        let ended = view
            .succeeded
            .saturating_add(view.failed)
            .saturating_add(view.stopped);
        progress.set(
            u64::from(ended.saturating_sub(before.tasks)),
            u64::from(tasks),
            "",
        );
        if ended >= goal {
            if view.failed > 0 {
                return Err(CliError::internal(
                    "bench.failed",
                    format!("{} of the tasks failed", view.failed),
                )
                .hint(format!("hivenode task ls --job {job} --state failed")));
            }
            return Ok(began.elapsed());
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// The value below which `percent` of the sorted times lie.
fn quantile(sorted: &[u64], percent: usize) -> u64 {
    let at = (sorted.len().saturating_mul(percent))
        .div_ceil(100)
        .saturating_sub(1);
    sorted.get(at).copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles() {
        let times: Vec<u64> = (1..=100).collect();
        assert_eq!((quantile(&times, 50), quantile(&times, 99)), (50, 99));
        assert_eq!(quantile(&[7], 99), 7);
        assert_eq!(quantile(&[], 50), 0);
    }
}
