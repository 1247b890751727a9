//! Golden bytes of what goes over the executor's pipe, each variant of every enum in it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../../../protocol/tests/kept/mod.rs"]
mod kept;
#[path = "../../../protocol/tests/seen/mod.rs"]
mod seen;

use crate::{
    sandbox::{Layer, Probe, ProbeResult, SandboxReport},
    task::{Captured, Failure, Limits, Outcome, OutputFile, Stream, TaskDone, Usage},
    wire::{FromChild, Init, Role, ToChild, WireStdin, WireTask},
};
use hive_protocol::codec::{self, ENVELOPE_LEN, Message};
use seen::Seen;

const PROGRAM: [u8; 32] = [3; 32];

fn init(role: Role) -> ToChild {
    ToChild::Init(Init {
        role,
        dir: "/var/lib/hivenode/lease".into(),
        slots: 2,
        memory_bytes: 1 << 30,
        file_bytes: 64 << 20,
        compile_memory: 1 << 31,
    })
}

fn run(stdin: WireStdin) -> ToChild {
    ToChild::Run(Box::new(WireTask {
        task: 17,
        program: PROGRAM,
        argv: vec!["wc.wasm".into(), "/in/a.txt".into()],
        env: vec![("SEED".into(), "7".into())],
        stdin,
        in_dir: true,
        out_dir: true,
        tmp_dir: false,
        stream_logs: true,
        fixed_clock: false,
        seed: [9; 32],
        limits: Limits::default(),
    }))
}

fn probe(probe: Probe) -> ToChild {
    ToChild::Probe { id: 4, probe }
}

fn done(outcome: Outcome, stdout: Captured) -> FromChild {
    FromChild::Done(Box::new(TaskDone {
        task: 17,
        outcome,
        usage: Usage {
            fuel: 12_345,
            wall_us: 50_000,
            cpu_us: 49_000,
            peak_memory: 1 << 20,
            output_bytes: 77,
        },
        stdout,
        stderr: Captured::default(),
        files: vec![OutputFile {
            path: "a/b".into(),
            bytes: 77,
        }],
    }))
}

fn log(stream: Stream) -> FromChild {
    FromChild::Log {
        task: 17,
        stream,
        bytes: b"half way\n".to_vec(),
    }
}

fn failure() -> Failure {
    Failure::new("task.fuel", "out of fuel")
}

fn to_child() -> Vec<(&'static str, ToChild)> {
    let path = || "/etc/passwd".to_owned();
    vec![
        ("to_init_lease", init(Role::Lease)),
        ("to_init_compile", init(Role::Compile)),
        ("to_load", ToChild::Load { program: PROGRAM }),
        ("to_run_empty", run(WireStdin::Empty)),
        ("to_run_inline", run(WireStdin::Inline(b"in".to_vec()))),
        ("to_run_file", run(WireStdin::File)),
        ("to_run_stream", run(WireStdin::Stream { size: 1 << 33 })),
        ("to_cancel", ToChild::Cancel { task: 17 }),
        ("to_probe_read", probe(Probe::Read(path()))),
        ("to_probe_write", probe(Probe::Write(path()))),
        ("to_probe_list", probe(Probe::List("/etc".into()))),
        ("to_probe_socket", probe(Probe::Socket)),
        ("to_probe_fork", probe(Probe::Fork)),
        ("to_probe_exec", probe(Probe::Exec)),
        ("to_probe_signal", probe(Probe::Signal(1))),
        ("to_probe_environment", probe(Probe::Environment)),
        ("to_probe_descriptors", probe(Probe::Descriptors)),
    ]
}

fn from_child() -> Vec<(&'static str, FromChild)> {
    let report = SandboxReport {
        layers: vec![Layer {
            name: "seccomp".into(),
            active: true,
            detail: "a filter".into(),
        }],
    };
    let loaded = |failure| FromChild::Loaded {
        program: PROGRAM,
        failure,
    };
    let compiled = FromChild::Compiled {
        failure: Some(failure()),
    };
    let probed = |result| FromChild::Probed { id: 4, result };
    vec![
        ("from_ready", FromChild::Ready(report)),
        ("from_loaded", loaded(None)),
        ("from_loaded_not", loaded(Some(failure()))),
        ("from_compiled", compiled),
        ("from_started", FromChild::Started { task: 17 }),
        ("from_log_out", log(Stream::Out)),
        ("from_log_err", log(Stream::Err)),
        (
            "from_done_exited",
            done(Outcome::Exited(3), Captured::Inline(b"out".to_vec())),
        ),
        (
            "from_done_failed",
            done(Outcome::Failed(failure()), Captured::Spooled { bytes: 1 << 20 }),
        ),
        ("from_probed_reached", probed(ProbeResult::Reached)),
        ("from_probed_refused", probed(ProbeResult::Refused(13))),
        ("from_probed_count", probed(ProbeResult::Count(2))),
    ]
}

fn check<M: Message>(samples: &[(&'static str, M)], seen: &Seen) {
    for (name, message) in samples {
        let bytes = codec::seal(message).unwrap();
        kept::compare(name, &bytes);
        let again = codec::open::<M>(&bytes).unwrap();
        assert_eq!(codec::seal(&again).unwrap(), bytes, "{name}: decode, encode");
        seen.look::<M>(&bytes[ENVELOPE_LEN..]);
    }
}

#[test]
fn every_variant_on_the_pipe_has_its_golden_bytes() {
    let (to, from, seen) = (to_child(), from_child(), Seen::default());
    check(&to, &seen);
    check(&from, &seen);
    let missing = seen.missing();
    assert!(missing.is_empty(), "in no golden file: {missing:?}");
    let enums = seen.enums();
    for name in [
        "ToChild",
        "FromChild",
        "Role",
        "WireStdin",
        "Probe",
        "ProbeResult",
        "Outcome",
        "Captured",
        "Stream",
    ] {
        assert!(enums.contains(name), "{name} is in no golden file");
    }
    let names = to.iter().map(|s| s.0).chain(from.iter().map(|s| s.0));
    kept::none_but(&names.collect::<Vec<_>>());
}
