//! The lease role: reads requests, queues tasks for the slots, answers through the outbox.

use super::control::{Control, Stop};
use super::modules::Modules;
use super::outbox::Outbox;
use super::slot::{self, Shared};
use super::ticker::{self, Pulse};
use super::{Accounts, engine, fatal, lock, quota, read_frame, wasi};
use crate::lease::MAX_IN_FLIGHT;
use crate::sandbox::{SandboxReport, run_probe};
use crate::task::TaskDone;
use crate::wire::{FromChild, Init, ToChild, WireTask};
use std::collections::VecDeque;
use std::fs::File;
use std::io::BufReader;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex};

/// Tasks that wait for a slot.
#[derive(Default)]
pub(super) struct Queue {
    tasks: Mutex<VecDeque<Box<WireTask>>>,
    filled: Condvar,
}

impl Queue {
    fn push(&self, task: Box<WireTask>) {
        let mut tasks = lock(&self.tasks);
        if tasks.len() >= MAX_IN_FLIGHT {
            fatal("more tasks than the parent may send");
        }
        tasks.push_back(task);
        drop(tasks);
        self.filled.notify_one();
    }

    /// The next task, already entered in `control` so that a cancellation always finds it somewhere.
    /// Calls `idle` before it waits.
    pub(super) fn pop(&self, control: &Control, idle: impl FnOnce()) -> Box<WireTask> {
        let take = |tasks: &mut VecDeque<Box<WireTask>>| {
            let task = tasks.pop_front();
            if let Some(task) = &task {
                control.begin(task.task);
            }
            task
        };
        if let Some(task) = take(&mut lock(&self.tasks)) {
            return task;
        }
        idle();
        let mut tasks = lock(&self.tasks);
        loop {
            if let Some(task) = take(&mut tasks) {
                return task;
            }
            tasks = self
                .filled
                .wait(tasks)
                .unwrap_or_else(std::sync::PoisonError::into_inner);
        }
    }

    fn remove(&self, task: u64) -> bool {
        let mut tasks = lock(&self.tasks);
        let before = tasks.len();
        tasks.retain(|t| t.task != task);
        tasks.len() < before
    }
}

pub(super) fn run(
    init: &Init,
    report: SandboxReport,
    mut input: BufReader<File>,
    output: File,
    accounts: Accounts,
) {
    let outbox = Arc::new(Outbox::new(output));
    let ready =
        engine::engine().and_then(|engine| wasi::linker(&engine).map(|linker| Modules::new(engine, linker)));
    let modules = match ready {
        Ok(modules) => modules,
        Err(e) => fatal(&e.to_string()),
    };
    let own = accounts.own_descriptors();
    let dir = PathBuf::from(&init.dir);
    let controls: Vec<Arc<Control>> = (0..init.slots).map(|_| Arc::default()).collect();
    let shared = Arc::new(Shared {
        queue: Queue::default(),
        modules,
        outbox: Arc::clone(&outbox),
        epoch: Pulse::default(),
        post: Pulse::default(),
        quota: Pulse::default(),
        lease: dir.clone(),
    });
    start_threads(&shared, &controls, accounts);
    outbox.push(&FromChild::Ready(report));
    outbox.flush();
    loop {
        let frame = match read_frame::<ToChild>(&mut input) {
            Ok(Some(frame)) => frame,
            Ok(None) => std::process::exit(0),
            Err(e) => fatal(&e.to_string()),
        };
        match frame {
            ToChild::Run(task) => shared.queue.push(task),
            ToChild::Cancel { task } => cancel(&shared, &controls, task),
            ToChild::Load { program } => {
                let name = format!("{}.cwasm", data_encoding::HEXLOWER.encode(&program));
                let failure = shared.modules.load(program, &dir.join("mod").join(name)).err();
                outbox.push(&FromChild::Loaded { program, failure });
                outbox.flush();
            }
            ToChild::Probe { id, probe } => {
                outbox.push(&FromChild::Probed {
                    id,
                    result: run_probe(&probe, &own),
                });
                outbox.flush();
            }
            ToChild::Init(_) => fatal("a second setup"),
        }
    }
}

fn cancel(shared: &Shared, controls: &[Arc<Control>], task: u64) {
    if shared.queue.remove(task) {
        shared.outbox.push(&FromChild::Done(Box::new(TaskDone::failed(
            task,
            Stop::Cancelled.failure(),
        ))));
        shared.outbox.flush();
    } else {
        // If no slot knows it, it has ended already.
        let _ = controls.iter().any(|c| c.stop(task, Stop::Cancelled));
    }
}

fn start_threads(shared: &Arc<Shared>, controls: &[Arc<Control>], accounts: Accounts) {
    let spawn = |name: String, stack: usize, run: Box<dyn FnOnce() + Send>| {
        if let Err(e) = std::thread::Builder::new()
            .name(name)
            .stack_size(stack)
            .spawn(run)
        {
            fatal(&format!("thread: {e}"));
        }
    };
    const SMALL: usize = 256 << 10;
    let own = Arc::clone(shared);
    spawn(
        "epoch".to_owned(),
        SMALL,
        Box::new(move || ticker::tick(own.modules.engine(), &own.epoch)),
    );
    let (own, all) = (Arc::clone(shared), controls.to_vec());
    spawn(
        "post".to_owned(),
        SMALL,
        Box::new(move || ticker::post(&all, &own.outbox, &own.post)),
    );
    let (own, all) = (Arc::clone(shared), controls.to_vec());
    spawn(
        "quota".to_owned(),
        SMALL,
        Box::new(move || quota::watch(&all, &own.quota, accounts.fds)),
    );
    for (n, control) in controls.iter().enumerate() {
        let (own, control) = (Arc::clone(shared), Arc::clone(control));
        spawn(
            format!("slot{n}"),
            wasi::THREAD_STACK,
            Box::new(move || slot::serve(&own, &control)),
        );
    }
}
