//! The executor process: the daemon's own binary started again without keys, in a box, with one pipe.
//! It runs guests of one lease, or compiles one module, and nothing else.

mod compile;
mod control;
mod engine;
mod imports;
mod lease;
mod limiter;
mod modules;
mod outbox;
mod poll;
mod quota;
mod random;
mod sinks;
mod slot;
mod stdin;
mod ticker;
mod tree;
mod wasi;

use crate::sandbox::{self, Bounds, SandboxReport};
use crate::wire::{Init, Role, ToChild};
use hive_protocol::codec::{self, CodecError, FRAME_PREFIX_LEN, Message};
use std::fs::File;
use std::io::{BufReader, Read};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

/// The first argument with which the daemon starts its own binary as an executor.
pub const CHILD_ARG: &str = "__executor";

/// Memory of the process besides guests and modules: engine, queues, code of loaded modules.
const BASE_BYTES: u64 = 1 << 30;
/// Open files per slot: what one guest may hold ([`wasi`]) and what listing directories takes.
const FILES_PER_SLOT: u64 = 160;
/// Open files besides: pipe, accounting, modules being loaded.
const FILES_BASE: u64 = 64;
/// Bytes read from the pipe at once: some hundred task frames.
const READ_BUFFER: usize = 64 << 10;

/// The whole life of an executor process. Call it first thing in `main` when the first argument is
/// [`CHILD_ARG`] (the second is the parent's process id): before any thread, file or log is opened.
/// Never returns; the process is over when the parent closes the pipe.
pub fn child_main() -> ! {
    let closed = sandbox::close_inherited();
    let parent = std::env::args().nth(2).and_then(|a| a.parse().ok()).unwrap_or(0);
    if let Err(e) = sandbox::follow_parent(parent) {
        fatal(&format!("no parent to work for: {e}"));
    }
    let mut input = match std::io::stdin().as_fd().try_clone_to_owned() {
        Ok(fd) => BufReader::with_capacity(READ_BUFFER, File::from(fd)),
        Err(e) => fatal(&format!("no pipe: {e}")),
    };
    let output = match input.get_ref().try_clone() {
        Ok(file) => file,
        Err(e) => fatal(&format!("no pipe: {e}")),
    };
    let init = match read_frame::<ToChild>(&mut input) {
        Ok(Some(ToChild::Init(init))) => init,
        Ok(None) => std::process::exit(0),
        Ok(Some(_)) => fatal("the first frame is not the setup"),
        Err(e) => fatal(&format!("setup: {e}")),
    };
    let accounts = Accounts::open([input.get_ref().as_raw_fd(), output.as_raw_fd()]);
    let mut report = SandboxReport::default();
    report.note("descriptors", closed);
    enter_box(&init, parent, &mut report);
    match init.role {
        Role::Compile => compile::run(&init, report, output, &accounts),
        Role::Lease => lease::run(&init, report, input, output, accounts),
    }
    std::process::exit(0)
}

fn enter_box(init: &Init, parent: u32, report: &mut SandboxReport) {
    let dir = Path::new(&init.dir);
    let (inputs, modules, work) = (dir.join("in"), dir.join("mod"), dir.join("work"));
    let guests = init.memory_bytes.saturating_mul(u64::from(init.slots));
    let bounds = Bounds {
        read: &[&inputs, &modules],
        write: &[&work],
        // One more than any task may have, so that a write cut off here still shows as too large.
        file_bytes: init.file_bytes.saturating_add(1),
        data_bytes: match init.role {
            Role::Lease => BASE_BYTES.saturating_add(guests),
            // Twice the watched cap: the watcher answers first, this one holds if it is starved.
            Role::Compile => (BASE_BYTES / 4).saturating_add(init.compile_memory.saturating_mul(2)),
        },
        open_files: FILES_BASE + FILES_PER_SLOT * u64::from(init.slots),
        parent,
    };
    sandbox::enter(&bounds, report);
}

/// Files of `/proc` the process reads about itself, opened while it still can.
struct Accounts {
    /// Sizes of this process in pages.
    statm: Option<File>,
    /// Listing of open descriptors, for files that were deleted but still take space.
    fds: Option<OwnedFd>,
    /// The two handles of the pipe.
    pipe: [i32; 2],
}

impl Accounts {
    fn open(pipe: [i32; 2]) -> Self {
        Self {
            statm: File::open("/proc/self/statm").ok(),
            fds: File::open("/proc/self/fd").ok().map(OwnedFd::from),
            pipe,
        }
    }

    /// Descriptors above 2 this process opened itself.
    fn own_descriptors(&self) -> Vec<i32> {
        let files = self.statm.iter().map(AsRawFd::as_raw_fd);
        files
            .chain(self.fds.iter().map(AsRawFd::as_raw_fd))
            .chain(self.pipe)
            .collect()
    }
}

/// Reads one frame; `None` at the end of the pipe.
fn read_frame<M: Message>(input: &mut impl Read) -> Result<Option<M>, CodecError> {
    let broken = |e: std::io::Error| CodecError::Malformed {
        what: M::NAME,
        detail: e.to_string(),
    };
    let mut prefix = [0; FRAME_PREFIX_LEN];
    match input.read_exact(&mut prefix) {
        Ok(()) => {}
        Err(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(e) => return Err(broken(e)),
    }
    let len = codec::frame_len(M::NAME, prefix, M::MAX)?;
    let mut frame = vec![0; len];
    input.read_exact(&mut frame).map_err(broken)?;
    codec::open(&frame).map(Some)
}

/// Says why on standard error, which the parent keeps, and ends the process.
fn fatal(why: &str) -> ! {
    use std::io::Write;
    // Nobody is left to tell if this fails.
    let _ = writeln!(std::io::stderr(), "executor: {why}");
    std::process::exit(70)
}

/// Locks a mutex whose data stays valid even if a holder panicked.
fn lock<T>(mutex: &std::sync::Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
