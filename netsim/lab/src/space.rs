//! One network namespace, gone when dropped.

use crate::error::LabError;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::{
    fs::File,
    io::{self, Write},
    os::fd::AsFd,
    process::{Command, Output, Stdio},
    time::{Duration, Instant},
};

/// The kernel notices a cable within a second; this is for a machine that is very busy.
const NOTICED: Duration = Duration::from_secs(10);
/// Pause between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// Where `ip` keeps the names of namespaces.
const NAMES: &str = "/run/netns";

/// A network namespace with its loopback up.
#[derive(Debug)]
pub struct Space {
    name: String,
}

impl Space {
    /// Makes a namespace; one of the same name left by a killed laboratory is replaced.
    ///
    /// # Errors
    /// Without the right to, or without `ip`.
    pub fn make(name: &str) -> Result<Self, LabError> {
        // What a killed run left; usually there is none.
        let _ = ip(&["netns", "del", name]);
        ip(&["netns", "add", name])?;
        let space = Self {
            name: name.to_owned(),
        };
        space.ip(&["link", "set", "lo", "up"])?;
        Ok(space)
    }

    /// Its name, as `ip netns` shows it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A command that runs inside. It keeps its process id: `ip` becomes the program.
    #[must_use]
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name]).arg(program);
        command
    }

    /// Does something on a thread inside. Sockets and devices made there stay there, whoever uses them later.
    ///
    /// # Errors
    /// When the namespace cannot be entered, and what `what` says.
    pub fn enter<T: Send>(&self, what: impl FnOnce() -> io::Result<T> + Send) -> Result<T, LabError> {
        let inside = || {
            let space = File::open(format!("{NAMES}/{}", self.name))?;
            move_into_link_name_space(space.as_fd(), Some(LinkNameSpaceType::Network))?;
            what()
        };
        std::thread::scope(|scope| scope.spawn(inside).join())
            .unwrap_or_else(|_| Err(io::Error::other("the thread inside died")))
            .map_err(|source| LabError::Inside {
                space: self.name.clone(),
                source,
            })
    }

    /// Runs `ip` inside.
    ///
    /// # Errors
    /// What `ip` says.
    pub fn ip(&self, args: &[&str]) -> Result<(), LabError> {
        let mut all = vec!["-n", &self.name];
        all.extend(args);
        ip(&all)
    }

    /// Sets a kernel variable of this namespace.
    ///
    /// # Errors
    /// When there is none of that name.
    pub fn sysctl(&self, key: &str, value: &str) -> Result<(), LabError> {
        let path = format!("/proc/sys/{}", key.replace('.', "/"));
        self.enter(|| std::fs::write(path, value))
    }

    /// Waits until this many interfaces here speak IPv6: the kernel takes up to a second to notice a new cable.
    ///
    /// # Errors
    /// When they do not in time.
    pub fn speaks_v6(&self, interfaces: usize) -> Result<(), LabError> {
        let ready = |table: &str| table.lines().filter(|l| l.starts_with("fe80")).count() >= interfaces;
        self.enter(|| {
            let deadline = Instant::now() + NOTICED;
            while !ready(&std::fs::read_to_string("/proc/thread-self/net/if_inet6")?) {
                if Instant::now() > deadline {
                    return Err(io::Error::new(io::ErrorKind::TimedOut, "no IPv6 here"));
                }
                std::thread::sleep(LOOK_EVERY);
            }
            Ok(())
        })
    }

    /// Loads rules.
    ///
    /// # Errors
    /// What `nft` says.
    pub fn nft(&self, rules: &str) -> Result<(), LabError> {
        let mut command = self.command("nft");
        command
            .args(["-f", "-"])
            .stdin(Stdio::piped())
            .stderr(Stdio::piped());
        let shown = shown(&command);
        let start = |source| LabError::Start {
            command: shown.clone(),
            source,
        };
        let mut child = command.spawn().map_err(start)?;
        if let Some(mut input) = child.stdin.take() {
            input.write_all(rules.as_bytes()).map_err(start)?;
        }
        let output = child.wait_with_output().map_err(start)?;
        if output.status.success() {
            Ok(())
        } else {
            Err(LabError::of(&shown, &output))
        }
    }
}

impl Drop for Space {
    fn drop(&mut self) {
        // Processes still inside keep it alive unnamed; the name is free again.
        let _ = ip(&["netns", "del", &self.name]);
    }
}

fn shown(command: &Command) -> String {
    let mut text = command.get_program().to_string_lossy().into_owned();
    for arg in command.get_args() {
        text.push(' ');
        text.push_str(&arg.to_string_lossy());
    }
    text
}

/// Runs a command to its end.
pub(crate) fn run(command: &mut Command) -> Result<Output, LabError> {
    let shown = shown(command);
    let output = command.output().map_err(|source| LabError::Start {
        command: shown.clone(),
        source,
    })?;
    if output.status.success() {
        Ok(output)
    } else {
        Err(LabError::of(&shown, &output))
    }
}

fn ip(args: &[&str]) -> Result<(), LabError> {
    run(Command::new("ip").args(args)).map(|_| ())
}
