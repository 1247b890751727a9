//! The caller's hold on one WASM lease: checks tasks, places their inputs, opens their outputs.

use super::compile::Compiler;
use super::link::Link;
use super::stage::{self, Feed, Inputs};
use super::{blocking, lock};
use crate::lease::{BoxFuture, LeaseConfig, LeaseHandle, Program, ProgramSource, SubmitError};
use crate::sandbox::{Probe, ProbeResult};
use crate::task::{
    Failure, MAX_ARGS, MAX_ARGS_BYTES, MAX_INLINE, MAX_INPUTS, ProgramId, Stdin, Stream, TaskRun,
};
use crate::wire::{ToChild, WireStdin, WireTask};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{Error, ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

pub(super) struct Handle {
    link: Arc<Link>,
    compiler: Arc<Compiler>,
    config: LeaseConfig,
    /// The process cannot write below `in`: inputs may be hard links.
    contained: bool,
    loaded: Mutex<BTreeSet<ProgramId>>,
    probes: AtomicU32,
    /// Writing ends of standard inputs that nobody has taken yet; at most one for each unfinished task.
    pipes: Mutex<BTreeMap<u64, File>>,
}

impl Handle {
    pub(super) fn new(
        link: Arc<Link>,
        compiler: Arc<Compiler>,
        config: LeaseConfig,
        contained: bool,
    ) -> Self {
        let (loaded, probes) = (Mutex::default(), AtomicU32::new(0));
        Self {
            link,
            compiler,
            config,
            contained,
            loaded,
            probes,
            pipes: Mutex::default(),
        }
    }

    fn in_dir(&self, task: u64) -> PathBuf {
        self.config.dir.join("in").join(task.to_string())
    }

    fn work_dir(&self, task: u64) -> PathBuf {
        self.config.dir.join("work").join(task.to_string())
    }

    async fn prepare_program(&self, program: Program) -> Result<(), Failure> {
        if lock(&self.loaded).contains(&program.id) {
            return Ok(());
        }
        let bytes = match program.source {
            ProgramSource::Bytes(bytes) => bytes,
            ProgramSource::File(path) => {
                let most = self.compiler.max_module();
                let shown = path.display().to_string();
                let read = blocking(move || read_module(&path, most)).await;
                read.map_err(|e| Failure::new("module.unreadable", format!("{shown}: {e}")))?
            }
        };
        let bytes = Arc::new(bytes);
        let mut fresh = false;
        loop {
            let artefact = self.compiler.artefact(Arc::clone(&bytes), fresh).await?;
            let path = self
                .config
                .dir
                .join("mod")
                .join(format!("{}.cwasm", data_encoding::HEXLOWER.encode(&program.id)));
            let put = blocking(move || put_artefact(&path, &artefact)).await;
            put.map_err(|e| Failure::new("exec.io", format!("lease directory: {e}")))?;
            match self.link.load(program.id).await {
                // Made by another version of this program or for another processor: once more.
                Err(failure) if failure.code == "exec.artefact" && !fresh => fresh = true,
                Err(failure) => return Err(failure),
                Ok(()) => break,
            }
        }
        lock(&self.loaded).insert(program.id);
        Ok(())
    }

    fn check(&self, run: &TaskRun) -> Result<(), String> {
        let over = |what: &str, size: u64, most: u64| {
            if size > most {
                Err(format!("{what}: {size} is over {most}"))
            } else {
                Ok(())
            }
        };
        let count = |n: usize| n as u64;
        let args: usize = run.argv.iter().map(String::len).sum();
        let env: usize = run.env.iter().map(|(k, v)| k.len() + v.len()).sum();
        over("arguments", count(run.argv.len()), count(MAX_ARGS))?;
        over("environment", count(run.env.len()), count(MAX_ARGS))?;
        over(
            "bytes of arguments and environment",
            count(args + env),
            count(MAX_ARGS_BYTES),
        )?;
        over("inputs", count(run.inputs.len()), count(MAX_INPUTS))?;
        over(
            "payload bytes (the WASM runtime takes none)",
            count(run.payload.len()),
            0,
        )?;
        over("memory limit", run.limits.memory_bytes, self.config.memory_bytes)?;
        over("file limit", run.limits.file_bytes, self.config.file_bytes)?;
        if let Stdin::Inline(bytes) = &run.stdin {
            over("standard input by value", count(bytes.len()), count(MAX_INLINE))?;
        }
        let pairs = run.env.iter().flat_map(|(k, v)| [k, v]);
        if run.argv.iter().chain(pairs).any(|s| s.contains('\0')) {
            return Err("a NUL byte in arguments or environment".to_owned());
        }
        if run.env.iter().any(|(k, _)| k.is_empty() || k.contains('=')) {
            return Err("an empty variable name, or one with \"=\"".to_owned());
        }
        run.inputs
            .iter()
            .try_for_each(|input| stage::check_name(&input.name))
    }

    async fn submit_task(&self, run: TaskRun) -> Result<(), SubmitError> {
        let task = run.task;
        self.check(&run)
            .map_err(|why| SubmitError::Invalid { task, why })?;
        self.link.check_room(task)?;
        let in_dir = !run.inputs.is_empty();
        let (stdin, file) = match run.stdin {
            Stdin::Empty => (WireStdin::Empty, Feed::None),
            Stdin::Inline(bytes) => (WireStdin::Inline(bytes), Feed::None),
            Stdin::File(path) => (WireStdin::File, Feed::File(path)),
            Stdin::Stream { size } => (WireStdin::Stream { size }, Feed::Pipe),
        };
        let placed = in_dir || !matches!(file, Feed::None);
        if placed {
            let (dir, link) = (self.in_dir(task), self.contained);
            let inputs = Inputs {
                stdin: file,
                files: run.inputs,
            };
            let place = tokio::task::spawn_blocking(move || {
                stage::place(&dir, &inputs, link).inspect_err(|_| {
                    let _ = super::remove_tree(&dir);
                })
            });
            match place.await {
                Ok(Ok(None)) => {}
                Ok(Ok(Some(pipe))) => {
                    lock(&self.pipes).insert(task, pipe);
                }
                Ok(Err((name, source))) => return Err(SubmitError::Input { task, name, source }),
                Err(e) => {
                    return Err(SubmitError::Input {
                        task,
                        name: String::new(),
                        source: Error::other(e),
                    });
                }
            }
        }
        let limits = run.limits.clone();
        let wire = ToChild::Run(Box::new(WireTask {
            task,
            program: run.program,
            argv: run.argv,
            env: run.env,
            stdin,
            in_dir,
            out_dir: run.out_dir,
            tmp_dir: run.tmp_dir,
            stream_logs: run.stream_logs,
            fixed_clock: run.fixed_clock,
            seed: run.seed,
            limits: run.limits,
        }));
        let result = self.link.submit(task, &limits, &wire);
        if result.is_err() && placed {
            self.release_task(task).await;
        }
        result
    }

    async fn release_task(&self, task: u64) {
        if self.link.is_unfinished(task) {
            tracing::warn!(task, "an unfinished task was released; its files stay");
            return;
        }
        lock(&self.pipes).remove(&task);
        let dirs = [self.in_dir(task), self.work_dir(task)];
        // Most tasks of a small job leave nothing. To look is two system calls, another thread is two switches more.
        let gone =
            |dir: &PathBuf| matches!(dir.symlink_metadata(), Err(e) if e.kind() == ErrorKind::NotFound);
        if dirs.iter().all(gone) {
            return;
        }
        let removed = blocking(move || dirs.iter().try_for_each(|dir| super::remove_tree(dir))).await;
        if let Err(e) = removed {
            tracing::warn!(task, error = %e, "files of a finished task could not be removed");
        }
    }

    /// Tries something from inside the box; `None` if the process is gone.
    pub(super) async fn try_inside(&self, probe: Probe) -> Option<ProbeResult> {
        let id = self.probes.fetch_add(1, Ordering::Relaxed);
        self.link.probe(id, probe).await
    }
}

fn read_module(path: &Path, most: u64) -> std::io::Result<Vec<u8>> {
    let file = File::open(path)?;
    if !file.metadata()?.is_file() {
        return Err(Error::new(ErrorKind::InvalidInput, "not a regular file"));
    }
    let mut bytes = Vec::new();
    // One byte more than allowed shows that it is too large.
    file.take(most.saturating_add(1)).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Writes the artefact where the process may read but not write it. A new file every time: the process
/// may have the old one mapped.
fn put_artefact(path: &Path, artefact: &[u8]) -> std::io::Result<()> {
    let temporary = path.with_extension("new");
    let mut file = File::options()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&temporary)?;
    file.write_all(artefact)?;
    std::fs::rename(temporary, path)
}

impl LeaseHandle for Handle {
    fn prepare(&self, program: Program) -> BoxFuture<'_, Result<(), Failure>> {
        Box::pin(self.prepare_program(program))
    }

    fn submit(&self, run: TaskRun) -> BoxFuture<'_, Result<(), SubmitError>> {
        Box::pin(self.submit_task(run))
    }

    fn cancel(&self, task: u64) {
        if self.link.is_unfinished(task) {
            // A cancellation is far below any size limit.
            let _ = self.link.send(&ToChild::Cancel { task });
        }
    }

    fn open_stdin(&self, task: u64) -> std::io::Result<File> {
        let pipe = lock(&self.pipes).remove(&task);
        pipe.ok_or_else(|| {
            Error::new(
                ErrorKind::NotFound,
                "no standard input of this task to be written",
            )
        })
    }

    fn open_output(&self, task: u64, path: &str) -> std::io::Result<File> {
        stage::open_beneath(&self.work_dir(task).join("out"), path)
    }

    fn open_capture(&self, task: u64, stream: Stream) -> std::io::Result<File> {
        stage::open_beneath(&self.work_dir(task), stream.file_name())
    }

    fn release(&self, task: u64) -> BoxFuture<'_, ()> {
        Box::pin(self.release_task(task))
    }

    fn probe(&self, probe: Probe) -> BoxFuture<'_, Option<ProbeResult>> {
        Box::pin(self.try_inside(probe))
    }

    fn in_flight(&self) -> usize {
        self.link.in_flight()
    }

    fn pid(&self) -> Option<u32> {
        Some(self.link.pid())
    }

    fn kill(&self) {
        self.link.kill();
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.link.kill();
    }
}
