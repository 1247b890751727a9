//! Self-check from inside the box: tries to reach something and tells only the error number, never a
//! content. It gives a guest nothing (guests cannot ask) and the daemon a way to prove the box.

use serde::{Deserialize, Serialize};

/// What to try.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Probe {
    /// Open this path for reading.
    Read(String),
    /// Create this path for writing.
    Write(String),
    /// List this directory.
    List(String),
    /// Open a TCP socket.
    Socket,
    /// Start a process.
    Fork,
    /// Start another program.
    Exec,
    /// Signal 0 to this process.
    Signal(u32),
    /// Count the variables of the environment; the count is the answer.
    Environment,
    /// Count open descriptors above 2 other than those the executor opened itself; the count is the answer.
    Descriptors,
}

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ProbeResult {
    /// It worked: the box does not stop this.
    Reached,
    /// Refused with this error number.
    Refused(i32),
    /// The count asked for.
    Count(u64),
}

impl ProbeResult {
    fn of<T>(result: std::io::Result<T>) -> Self {
        match result {
            Ok(_) => Self::Reached,
            Err(e) => Self::Refused(e.raw_os_error().unwrap_or(0)),
        }
    }
}

/// Runs one probe; `own` are the descriptors above 2 the executor opened itself.
pub(crate) fn run_probe(probe: &Probe, own: &[i32]) -> ProbeResult {
    match probe {
        Probe::Read(path) => ProbeResult::of(std::fs::File::open(path)),
        Probe::Write(path) => ProbeResult::of(std::fs::File::create(path)),
        Probe::List(path) => ProbeResult::of(std::fs::read_dir(path)),
        Probe::Socket => ProbeResult::of(std::net::TcpListener::bind("127.0.0.1:0")),
        Probe::Fork => match raw(libc::SYS_clone, libc::SIGCHLD as libc::c_long) {
            Ok(0) => std::process::exit(0),
            other => ProbeResult::of(other),
        },
        // No path: answers EFAULT unless seccomp refuses first.
        Probe::Exec => ProbeResult::of(raw(libc::SYS_execve, 0)),
        Probe::Signal(pid) => ProbeResult::of(raw(libc::SYS_kill, libc::c_long::from(*pid))),
        Probe::Environment => ProbeResult::Count(std::env::vars_os().count() as u64),
        Probe::Descriptors => ProbeResult::Count(open_descriptors(own)),
    }
}

fn raw(call: libc::c_long, argument: libc::c_long) -> std::io::Result<libc::c_long> {
    // SAFETY: clone without flags, execve of a null path and kill with signal 0 touch no memory of
    // this process; the child of an unexpected clone ends at once.
    #[allow(unsafe_code)]
    let result = unsafe {
        libc::syscall(
            call,
            argument,
            0 as libc::c_long,
            0 as libc::c_long,
            0 as libc::c_long,
        )
    };
    if result < 0 {
        Err(std::io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

/// Descriptors are looked for one by one: `/proc` is out of reach in here.
fn open_descriptors(own: &[i32]) -> u64 {
    const HIGHEST: i32 = 4096;
    let mut count = 0;
    for fd in 3..HIGHEST {
        // SAFETY: F_GETFD only asks.
        #[allow(unsafe_code)]
        let open = unsafe { libc::fcntl(fd, libc::F_GETFD) } >= 0;
        if open && !own.contains(&fd) {
            count += 1;
        }
    }
    count
}
