//! Switches of the process itself: dies with its parent, gains no privileges, cannot be inspected.

use rustix::process::{DumpableBehavior, Signal};

/// Ties the life of this process to the thread of `parent` that started it.
pub(crate) fn follow_parent(parent: u32) -> Result<String, String> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).map_err(|e| e.to_string())?;
    // The parent may have died before the call above: then this process already has another one.
    let now = rustix::process::getppid().map_or(0, |p| p.as_raw_nonzero().get().unsigned_abs());
    if now == parent {
        Ok("killed with its parent".to_owned())
    } else {
        Err(format!("parent {parent} is gone, the parent is {now}"))
    }
}

pub(super) fn environment_is_empty() -> Result<String, String> {
    match std::env::vars_os().count() {
        0 => Ok("empty".to_owned()),
        n => Err(format!("{n} variables were inherited")),
    }
}

/// When the machine runs out of memory, guests go before the daemon.
pub(super) fn first_to_go() -> Result<String, String> {
    const SCORE: &str = "800";
    std::fs::write("/proc/self/oom_score_adj", SCORE).map_err(|e| e.to_string())?;
    Ok(format!("score {SCORE}"))
}

pub(super) fn no_new_privs() -> Result<String, String> {
    rustix::thread::set_no_new_privs(true).map_err(|e| e.to_string())?;
    Ok("set".to_owned())
}

pub(super) fn undumpable() -> Result<String, String> {
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(|e| e.to_string())?;
    Ok("no core, no ptrace by others".to_owned())
}
