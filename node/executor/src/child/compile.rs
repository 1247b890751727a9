//! The compiling role: one module in, one artefact out, then the process ends.
//!
//! A process of its own for every compilation: a module that takes too long or too much is killed
//! without touching running tasks, and an artefact that goes to the cache always comes from a process
//! that has seen no byte but that module's, so it can never be coloured by another tenant's guest.

use super::{Accounts, engine, imports, outbox, wasi};
use crate::sandbox::SandboxReport;
use crate::task::Failure;
use crate::wire::{FromChild, Init};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;
use wasmtime::Module;

/// How often the memory of the compilation is looked at; what it outgrows in between is held by the
/// resource limit.
const WATCH: Duration = Duration::from_millis(10);

pub(super) fn run(init: &Init, report: SandboxReport, output: File, accounts: &Accounts) {
    let outbox = outbox::Outbox::new(output);
    outbox.push(&FromChild::Ready(report));
    let dir = Path::new(&init.dir);
    std::thread::scope(|scope| {
        if let Some(statm) = &accounts.statm {
            let outbox = &outbox;
            let cap = init.compile_memory;
            scope.spawn(move || watch(statm, cap, outbox));
        }
        let result = compile(&dir.join("in/module.wasm"), &dir.join("work/artefact"));
        outbox.push(&FromChild::Compiled {
            failure: result.err(),
        });
        outbox.flush();
        // The watcher never ends by itself.
        std::process::exit(0)
    })
}

fn compile(source: &Path, target: &Path) -> Result<(), Failure> {
    let io = |e: std::io::Error| Failure::new("exec.compile", format!("{}: {e}", source.display()));
    let bytes = std::fs::read(source).map_err(io)?;
    let engine = engine::engine()?;
    let invalid = |e: wasmtime::Error| Failure::new("module.invalid", format!("{e:#}"));
    Module::validate(&engine, &bytes).map_err(invalid)?;
    let module = Module::from_binary(&engine, &bytes).map_err(invalid)?;
    imports::check(&engine, &wasi::linker(&engine)?, &module)?;
    let artefact = module.serialize().map_err(invalid)?;
    std::fs::write(target, artefact)
        .map_err(|e| Failure::new("module.too_large", format!("compiled artefact: {e}")))
}

/// Ends the process with the right answer when the compilation has grown too much.
fn watch(statm: &File, cap: u64, outbox: &outbox::Outbox) {
    let base = resident(statm).unwrap_or(0);
    loop {
        std::thread::sleep(WATCH);
        let grown = resident(statm).unwrap_or(0).saturating_sub(base);
        if grown > cap {
            let text = format!("compiling took more than {} MiB of memory", cap >> 20);
            outbox.push(&FromChild::Compiled {
                failure: Some(Failure::new("module.compile_memory", text)),
            });
            outbox.flush();
            std::process::exit(0);
        }
    }
}

/// Pages in use by this process, in bytes.
fn resident(statm: &File) -> Option<u64> {
    let mut text = [0u8; 128];
    let n = statm.read_at(&mut text, 0).ok()?;
    let text = std::str::from_utf8(text.get(..n)?).ok()?;
    let pages: u64 = text.split_ascii_whitespace().nth(1)?.parse().ok()?;
    // SAFETY: asks for a constant of the system.
    #[allow(unsafe_code)]
    let page = u64::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).ok()?;
    Some(pages.saturating_mul(page))
}
