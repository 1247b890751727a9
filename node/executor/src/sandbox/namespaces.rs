//! Empty network, separate System V IPC, and a user namespace that takes root's powers away, where the
//! machine permits them.

use super::SandboxReport;
use rustix::thread::UnshareFlags;

pub(super) fn enter(report: &mut SandboxReport) {
    let uid = rustix::process::getuid().as_raw();
    let gid = rustix::process::getgid().as_raw();
    let all = UnshareFlags::NEWUSER | UnshareFlags::NEWNET | UnshareFlags::NEWIPC;
    if unshare(all).is_ok() {
        report.note("user_namespace", map_self(uid, gid));
        report.note(
            "net_namespace",
            Ok("no interface but a loopback that is down".to_owned()),
        );
        report.note("ipc_namespace", Ok("own".to_owned()));
        return;
    }
    report.note(
        "user_namespace",
        unshare(UnshareFlags::NEWUSER).map(|()| "without a mapping".to_owned()),
    );
    report.note(
        "net_namespace",
        unshare(UnshareFlags::NEWNET).map(|()| "empty".to_owned()),
    );
    report.note(
        "ipc_namespace",
        unshare(UnshareFlags::NEWIPC).map(|()| "own".to_owned()),
    );
}

fn unshare(flags: UnshareFlags) -> Result<(), String> {
    // SAFETY: the process has one thread and none of these flags gives it a descriptor table of its own.
    #[allow(unsafe_code)]
    unsafe { rustix::thread::unshare_unsafe(flags) }.map_err(|e| e.to_string())
}

/// Maps the own ids only, so that files it makes keep their owner and every other id is nobody.
fn map_self(uid: u32, gid: u32) -> Result<String, String> {
    let write = |file: &str, text: String| std::fs::write(file, text).map_err(|e| format!("{file}: {e}"));
    let mapped = write("/proc/self/setgroups", "deny".to_owned())
        .and_then(|()| write("/proc/self/gid_map", format!("{gid} {gid} 1")))
        .and_then(|()| write("/proc/self/uid_map", format!("{uid} {uid} 1")));
    // The namespace holds without a mapping, too.
    Ok(match mapped {
        Ok(()) => "no power outside, own id only".to_owned(),
        Err(e) => format!("no power outside, unmapped ({e})"),
    })
}
