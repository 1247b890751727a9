//! One slot: takes a task, runs it in a fresh store, tells how it ended.

use super::control::{Control, Deadline, Stop};
use super::lease::Queue;
use super::modules::Modules;
use super::outbox::Outbox;
use super::quota::Watched;
use super::sinks::Sinks;
use super::ticker::Pulse;
use super::wasi::{Guest, HOSTCALL_BYTES};
use super::{fatal, tree};
use crate::task::{Failure, Outcome, Stream, TaskDone, Usage};
use crate::wire::{FromChild, WireTask};
use rustix::time::{ClockId, clock_gettime};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use wasmtime::{InstancePre, Store, Trap, UpdateDeadline, WasmBacktrace};
use wasmtime_wasi::I32Exit;

/// A finished task's frame waits at most this long for others to share the system call.
const GATHER: Duration = Duration::from_micros(200);
/// Functions named in a trap's text.
const FRAMES: usize = 16;
/// Bytes of one function's name: names come from the module.
const NAME_BYTES: usize = 120;

/// What the threads of a lease share.
pub(super) struct Shared {
    pub(super) queue: Queue,
    pub(super) modules: Modules,
    pub(super) outbox: Arc<Outbox>,
    pub(super) epoch: Pulse,
    pub(super) post: Pulse,
    pub(super) quota: Pulse,
    pub(super) lease: PathBuf,
}

/// Runs for the life of the process.
pub(super) fn serve(shared: &Shared, control: &Arc<Control>) {
    // wasmtime-wasi's calls are async inside; they are polled here and never wait for a driver.
    let runtime = match tokio::runtime::Builder::new_current_thread().build() {
        Ok(runtime) => runtime,
        Err(e) => fatal(&format!("runtime: {e}")),
    };
    let _inside = runtime.enter();
    let mut flushed = Instant::now();
    loop {
        let task = shared.queue.pop(control, || shared.outbox.flush());
        shared.epoch.start();
        shared.post.start();
        shared.outbox.push(&FromChild::Started { task: task.task });
        let done = run(shared, control, &task);
        shared.outbox.push(&FromChild::Done(Box::new(done)));
        shared.epoch.stop();
        shared.post.stop();
        let now = Instant::now();
        if now.duration_since(flushed) >= GATHER {
            shared.outbox.flush();
            flushed = now;
        }
    }
}

fn run(shared: &Shared, control: &Arc<Control>, task: &WireTask) -> TaskDone {
    let work = shared.lease.join("work").join(task.task.to_string());
    let limits = &task.limits;
    let sinks = Sinks::new(task, work.clone(), Arc::clone(&shared.outbox));
    let dirs: Vec<PathBuf> = [(task.out_dir, "out"), (task.tmp_dir, "tmp")]
        .iter()
        .filter(|d| d.0)
        .map(|d| work.join(d.1))
        .collect();
    let watched = (!dirs.is_empty()).then(|| {
        let base = format!("{}/", work.display());
        Arc::new(Watched {
            task: task.task,
            dirs,
            base,
            limits: limits.clone(),
            sinks: Arc::clone(&sinks),
        })
    });
    control.attach(task.stream_logs.then(|| Arc::clone(&sinks)), watched.clone());
    if watched.is_some() {
        shared.quota.start();
    }
    let start = Instant::now();
    let cpu = thread_cpu();
    let mut usage = Usage::default();
    let result = match shared.modules.get(&task.program) {
        None => Err(Failure::new(
            "module.not_loaded",
            "the program was not prepared on this lease",
        )),
        Some(pre) => {
            let deadline = Deadline::new(start, limits.wall_ms);
            Guest::new(task, &shared.lease, &work, &sinks, Arc::clone(control), deadline)
                .and_then(|guest| execute(shared, &pre, guest, task, &mut usage))
        }
    };
    usage.wall_us = micros(start.elapsed());
    usage.cpu_us = micros(thread_cpu().saturating_sub(cpu));
    if watched.is_some() {
        shared.quota.stop();
    }
    let stopped = control.end();
    let mut done = TaskDone {
        task: task.task,
        outcome: Outcome::Exited(0),
        usage,
        stdout: sinks.finish(Stream::Out),
        stderr: sinks.finish(Stream::Err),
        files: Vec::new(),
    };
    done.usage.output_bytes = sinks.written();
    done.outcome = match (result, stopped) {
        // What the executor did to the guest is the cause of whatever the guest then did.
        (Err(_), Some(stop)) => Outcome::Failed(stop.failure()),
        (Err(failure), None) => Outcome::Failed(failure),
        (Ok(code), _) => match outputs(task, &work, watched.as_deref(), &mut done) {
            Ok(()) => Outcome::Exited(code),
            Err(stop) => Outcome::Failed(stop.failure()),
        },
    };
    done
}

/// Looks at everything the guest left behind, now that it cannot change any more.
fn outputs(
    task: &WireTask,
    work: &std::path::Path,
    watched: Option<&Watched>,
    done: &mut TaskDone,
) -> Result<(), Stop> {
    let Some(watched) = watched else { return Ok(()) };
    done.usage.output_bytes = watched.measure(0)?.bytes;
    if task.out_dir {
        done.files = tree::list(&work.join("out"), &task.limits, &mut tree::Measure::default())?;
    }
    Ok(())
}

fn execute(
    shared: &Shared,
    pre: &InstancePre<Guest>,
    guest: Guest,
    task: &WireTask,
    usage: &mut Usage,
) -> Result<i32, Failure> {
    let mut store = Store::new(shared.modules.engine(), guest);
    store.limiter(|guest| &mut guest.limiter);
    store.set_hostcall_fuel(HOSTCALL_BYTES);
    store.set_epoch_deadline(1);
    store.epoch_deadline_callback(|store| {
        let guest = store.data();
        guest.control.check(&guest.deadline)?;
        Ok(UpdateDeadline::Continue(1))
    });
    let result = store.set_fuel(task.limits.fuel).and_then(|()| {
        let instance = pre.instantiate(&mut store)?;
        instance
            .get_typed_func::<(), ()>(&mut store, "_start")?
            .call(&mut store, ())
    });
    usage.fuel = task.limits.fuel.saturating_sub(store.get_fuel().unwrap_or(0));
    usage.peak_memory = store.data().limiter.peak();
    match result {
        Ok(()) => Ok(0),
        Err(error) => ended(&error, task),
    }
}

/// What an error of the guest means.
fn ended(error: &wasmtime::Error, task: &WireTask) -> Result<i32, Failure> {
    if let Some(exit) = error.downcast_ref::<I32Exit>() {
        return Ok(exit.0);
    }
    if let Some(stop) = error.downcast_ref::<Stop>() {
        let mut failure = stop.failure();
        if let Stop::Memory { wanted } = stop {
            let limit = task.limits.memory_bytes;
            failure = Failure::new(
                "task.memory",
                format!("{wanted} bytes are over the limit of {limit}"),
            );
        }
        return Err(failure);
    }
    if error.downcast_ref::<Trap>() == Some(&Trap::OutOfFuel) {
        let fuel = task.limits.fuel;
        return Err(Failure::new(
            "task.fuel",
            format!("all {fuel} units of fuel are used{}", frames(error)),
        ));
    }
    // The root cause is the trap's own text; what wraps it is the backtrace, shown as names.
    Err(Failure::new(
        "task.trap",
        format!("{}{}", error.root_cause(), frames(error)),
    ))
}

/// ` in <function> < <its caller> < …`, bounded.
fn frames(error: &wasmtime::Error) -> String {
    let Some(trace) = error.downcast_ref::<WasmBacktrace>() else {
        return String::new();
    };
    let names: Vec<String> = trace
        .frames()
        .iter()
        .take(FRAMES)
        .map(|f| match f.func_name() {
            Some(name) => name.escape_debug().take(NAME_BYTES).collect(),
            None => format!("function {}", f.func_index()),
        })
        .collect();
    if names.is_empty() {
        return String::new();
    }
    let more = trace.frames().len().saturating_sub(FRAMES);
    let rest = if more > 0 {
        format!(" < … {more} more")
    } else {
        String::new()
    };
    format!(" in {}{rest}", names.join(" < "))
}

fn thread_cpu() -> Duration {
    let t = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(
        u64::try_from(t.tv_sec).unwrap_or(0),
        u32::try_from(t.tv_nsec).unwrap_or(0),
    )
}

fn micros(d: Duration) -> u64 {
    u64::try_from(d.as_micros()).unwrap_or(u64::MAX)
}
