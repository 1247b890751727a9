//! The box, tried from inside.

use crate::support::{Bed, bed};
use hive_executor::{Probe, ProbeResult};
use landlock::{ABI, Access, AccessFs, CompatLevel, Compatible, Ruleset, RulesetAttr};

const EPERM: i32 = 1;
const EACCES: i32 = 13;

async fn probe(bed: &Bed, probe: Probe) -> ProbeResult {
    bed.handle.probe(probe).await.expect("the process must live")
}

/// Whether this kernel has Landlock: asked of the kernel, not of what the sandbox says.
fn kernel_has_landlock() -> bool {
    Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(AccessFs::from_all(ABI::V1))
        .and_then(Ruleset::create)
        .is_ok()
}

#[tokio::test]
async fn every_layer_is_reported() {
    let bed = bed(1).await;
    let names: Vec<_> = bed.sandbox.layers.iter().map(|l| l.name.as_str()).collect();
    for layer in &bed.sandbox.layers {
        println!(
            "{:16} {} {}",
            layer.name,
            if layer.active { "active " } else { "MISSING" },
            layer.detail
        );
    }
    let all = [
        "descriptors",
        "environment",
        "oom_first",
        "user_namespace",
        "net_namespace",
        "ipc_namespace",
        "parent_death",
        "rlimits",
        "no_new_privs",
        "undumpable",
        "landlock_fs",
        "landlock_net",
        "landlock_scope",
        "seccomp",
    ];
    assert_eq!(names, all);
    // These need nothing of the machine but a kernel of this decade.
    for name in [
        "descriptors",
        "environment",
        "parent_death",
        "rlimits",
        "no_new_privs",
        "undumpable",
        "seccomp",
    ] {
        assert!(bed.sandbox.has(name), "{name}");
    }
}

#[tokio::test]
async fn nothing_was_inherited() {
    let bed = bed(1).await;
    assert_eq!(probe(&bed, Probe::Environment).await, ProbeResult::Count(0));
    assert_eq!(probe(&bed, Probe::Descriptors).await, ProbeResult::Count(0));
}

#[tokio::test]
async fn no_network_no_processes_no_signals() {
    let bed = bed(1).await;
    for what in [
        Probe::Socket,
        Probe::Fork,
        Probe::Exec,
        Probe::Signal(std::process::id()),
        Probe::Signal(1),
    ] {
        assert_eq!(
            probe(&bed, what.clone()).await,
            ProbeResult::Refused(EPERM),
            "{what:?}"
        );
    }
}

#[tokio::test]
async fn files_outside_are_out_of_reach() {
    let bed = bed(1).await;
    let outside = tempfile::tempdir().unwrap();
    let canary = outside.path().join("key");
    std::fs::write(&canary, "secret").unwrap();
    let text = |path: &std::path::Path| path.to_str().unwrap().to_owned();
    let own = |name: &str| text(&bed.dir.path().canonicalize().unwrap().join(name));
    assert_eq!(
        bed.sandbox.has("landlock_fs"),
        kernel_has_landlock(),
        "what the kernel has is used, and what it has not is not claimed: {:?}",
        bed.sandbox
    );
    if !kernel_has_landlock() {
        // What the guide says of such a machine: the worker is told why, and the other layers are there.
        assert!(!bed.sandbox.contained(), "a missing layer must show");
        let named = |l: &&hive_executor::Layer| l.name == "landlock_fs" && !l.detail.is_empty();
        assert!(bed.sandbox.missing().any(|l| named(&l)), "{:?}", bed.sandbox);
        assert!(bed.sandbox.has("seccomp"), "{:?}", bed.sandbox);
        return;
    }
    for what in [
        Probe::Read(text(&canary)),
        Probe::Read("/etc/passwd".to_owned()),
        Probe::Read("/proc/self/environ".to_owned()),
        Probe::Read(format!("/proc/{}/environ", std::process::id())),
        Probe::List("/".to_owned()),
        Probe::List("/proc/self/fd".to_owned()),
        Probe::List(text(outside.path())),
        Probe::Write(text(&outside.path().join("new"))),
        Probe::Write(own("in/x")),
        Probe::Write(own("mod/x")),
    ] {
        assert_eq!(
            probe(&bed, what.clone()).await,
            ProbeResult::Refused(EACCES),
            "{what:?}"
        );
    }
    assert_eq!(
        probe(&bed, Probe::Write(own("work/x"))).await,
        ProbeResult::Reached
    );
    assert_eq!(probe(&bed, Probe::List(own("in"))).await, ProbeResult::Reached);
    assert!(bed.sandbox.contained());
}
