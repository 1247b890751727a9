//! Opens leases and waits for what they tell, always with a deadline.

use hive_executor::{
    Captured, Event, Executor, LeaseConfig, LeaseHandle, Limits, Program, ProgramSource, SandboxReport,
    Stream, TaskDone, TaskRun, WasmConfig, WasmExecutor,
};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tempfile::TempDir;
use tokio::sync::mpsc::Receiver;

/// Nothing in these tests takes this long; a loaded machine is slow.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The program that becomes the executor; `HIVENODE_TEST_CHILD` names another place of it, which other users can read.
pub fn child() -> PathBuf {
    std::env::var_os("HIVENODE_TEST_CHILD")
        .map_or_else(|| env!("CARGO_BIN_EXE_hive-executor-child").into(), PathBuf::from)
}

pub fn config(cache: &Path) -> WasmConfig {
    WasmConfig::new(child(), cache.to_owned())
}

/// One lease with everything that belongs to it.
pub struct Bed {
    pub handle: Box<dyn LeaseHandle>,
    pub events: Receiver<Event>,
    pub sandbox: SandboxReport,
    pub dir: TempDir,
    _cache: TempDir,
    next: u64,
}

pub async fn bed(slots: u16) -> Bed {
    let cache = tempfile::tempdir().unwrap();
    let executor = WasmExecutor::new(config(cache.path())).unwrap();
    on(&executor, slots, cache).await
}

pub async fn on(executor: &WasmExecutor, slots: u16, cache: TempDir) -> Bed {
    let dir = tempfile::tempdir().unwrap();
    let lease = LeaseConfig {
        dir: dir.path().to_owned(),
        slots,
        memory_bytes: 1 << 30,
        file_bytes: 64 << 20,
    };
    let mut lease = executor.spawn(lease).await.unwrap();
    let Some(Event::Ready { sandbox }) = lease.events.recv().await else {
        panic!("not ready first")
    };
    Bed {
        handle: lease.handle,
        events: lease.events,
        sandbox,
        dir,
        _cache: cache,
        next: 0,
    }
}

pub fn program(wat: &str) -> Program {
    let bytes = wat::parse_str(wat).unwrap();
    Program {
        id: *blake3::hash(&bytes).as_bytes(),
        source: ProgramSource::Bytes(bytes),
    }
}

/// A finished task and what it logged.
pub struct Seen {
    pub done: TaskDone,
    pub logs: Vec<(Stream, Vec<u8>)>,
}

impl Seen {
    pub fn code(&self) -> Option<&str> {
        self.done.outcome.code()
    }

    pub fn stdout(&self) -> String {
        match &self.done.stdout {
            Captured::Inline(bytes) => String::from_utf8(bytes.clone()).unwrap(),
            Captured::Spooled { .. } => panic!("stdout is in a file"),
        }
    }
}

impl Bed {
    pub async fn event(&mut self) -> Event {
        tokio::time::timeout(PATIENCE, self.events.recv())
            .await
            .expect("silent")
            .expect("ended")
    }

    /// A task of this program with a number of its own.
    pub async fn task(&mut self, wat: &str) -> TaskRun {
        let program = program(wat);
        let id = program.id;
        self.handle.prepare(program).await.unwrap();
        self.next += 1;
        TaskRun {
            task: self.next,
            program: id,
            argv: vec!["guest".to_owned()],
            ..TaskRun::default()
        }
    }

    pub async fn started(&mut self, task: u64) {
        while self.event().await != (Event::Started { task }) {}
    }

    pub async fn done(&mut self, task: u64) -> Seen {
        let mut logs = Vec::new();
        loop {
            match self.event().await {
                Event::Log {
                    task: t,
                    stream,
                    bytes,
                } if t == task => logs.push((stream, bytes)),
                Event::Done(done) if done.task == task => return Seen { done: *done, logs },
                Event::Died { reason } => panic!("died: {reason}"),
                _ => {}
            }
        }
    }

    pub async fn run(&mut self, run: TaskRun) -> Seen {
        let task = run.task;
        self.handle.submit(run).await.unwrap();
        self.done(task).await
    }

    /// Runs a program with these limits.
    pub async fn limited(&mut self, wat: &str, limits: Limits) -> Seen {
        let run = self.task(wat).await;
        self.run(TaskRun {
            limits,
            out_dir: true,
            ..run
        })
        .await
    }
}
