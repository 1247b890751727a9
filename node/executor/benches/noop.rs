//! No-op tasks through one executor process: throughput with a full pipeline, latency one at a time,
//! cost of opening a lease. Run with `cargo bench -p hive-executor`.

use hive_executor::{
    CHILD_ARG, Event, Executor, Lease, LeaseConfig, Program, ProgramSource, TaskRun, WasmConfig, WasmExecutor,
};
use std::error::Error;
use std::time::{Duration, Instant};

const SLOTS: u16 = 2;
const TASKS: u64 = 100_000;
const WINDOW: u64 = 1000;
const ROUNDS: u64 = 5000;

const NOOP: &str = "(module (func (export \"_start\")))";
const NOOP_WITH_MEMORY: &str = "(module (memory (export \"memory\") 16) (data (i32.const 0) \"x\")
    (func (export \"_start\")))";

fn main() -> Result<(), Box<dyn Error>> {
    if std::env::args().nth(1).as_deref() == Some(CHILD_ARG) {
        hive_executor::child_main();
    }
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?
        .block_on(run())
}

async fn run() -> Result<(), Box<dyn Error>> {
    let top = std::env::temp_dir().join(format!("hive-executor-bench-{}", std::process::id()));
    let dir = top.join("lease");
    std::fs::create_dir_all(&dir)?;
    let executor = WasmExecutor::new(WasmConfig::new(std::env::current_exe()?, top.join("cache")))?;
    let config = LeaseConfig {
        dir,
        slots: SLOTS,
        memory_bytes: 256 << 20,
        file_bytes: 64 << 20,
    };
    let start = Instant::now();
    let mut lease = executor.spawn(config).await?;
    println!("lease opened in {:.1} ms", start.elapsed().as_secs_f64() * 1e3);
    for (name, text) in [("no-op", NOOP), ("no-op with 1 MiB of memory", NOOP_WITH_MEMORY)] {
        let bytes = wat::parse_str(text)?;
        let id = *blake3::hash(&bytes).as_bytes();
        let start = Instant::now();
        lease
            .handle
            .prepare(Program {
                id,
                source: ProgramSource::Bytes(bytes),
            })
            .await?;
        println!(
            "{name}: prepared in {:.1} ms",
            start.elapsed().as_secs_f64() * 1e3
        );
        let run = TaskRun {
            program: id,
            argv: vec!["noop".to_owned()],
            ..TaskRun::default()
        };
        let elapsed = throughput(&mut lease, &run).await?;
        println!(
            "{name}: {:.0} tasks/s with {SLOTS} slots",
            TASKS as f64 / elapsed.as_secs_f64()
        );
        let (p50, p99) = latency(&mut lease, &run).await?;
        println!(
            "{name}: one at a time p50 {:.1} µs, p99 {:.1} µs",
            p50.as_secs_f64() * 1e6,
            p99.as_secs_f64() * 1e6
        );
    }
    drop(lease);
    std::fs::remove_dir_all(&top)?;
    Ok(())
}

async fn finish(lease: &mut Lease) -> Result<(), Box<dyn Error>> {
    loop {
        match lease.events.recv().await.ok_or("the lease ended")? {
            Event::Done(done) if done.outcome.code().is_none() => return Ok(()),
            Event::Done(done) => return Err(format!("{:?}", done.outcome).into()),
            Event::Died { reason } => return Err(reason.into()),
            _ => {}
        }
    }
}

async fn throughput(lease: &mut Lease, run: &TaskRun) -> Result<Duration, Box<dyn Error>> {
    let start = Instant::now();
    for task in 0..TASKS {
        if task >= WINDOW {
            finish(lease).await?;
        }
        lease.handle.submit(TaskRun { task, ..run.clone() }).await?;
    }
    for _ in 0..WINDOW {
        finish(lease).await?;
    }
    Ok(start.elapsed())
}

async fn latency(lease: &mut Lease, run: &TaskRun) -> Result<(Duration, Duration), Box<dyn Error>> {
    let mut times = Vec::with_capacity(ROUNDS as usize);
    for task in 0..ROUNDS {
        let start = Instant::now();
        lease.handle.submit(TaskRun { task, ..run.clone() }).await?;
        finish(lease).await?;
        times.push(start.elapsed());
    }
    times.sort();
    let at = |part: usize| times.get(times.len() * part / 100).copied().unwrap_or_default();
    Ok((at(50), at(99)))
}
