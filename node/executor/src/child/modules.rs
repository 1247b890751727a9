//! Loaded programs of this lease, ready to be instantiated.

use super::lock;
use super::wasi::Guest;
use crate::task::{Failure, ProgramId};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use wasmtime::{Engine, InstancePre, Linker, Module};

/// Programs of one lease. A job brings one, a busy lease a few.
const MAX_MODULES: usize = 64;

pub(super) struct Modules {
    engine: Engine,
    linker: Linker<Guest>,
    loaded: Mutex<BTreeMap<ProgramId, Arc<InstancePre<Guest>>>>,
}

impl Modules {
    pub(super) fn new(engine: Engine, linker: Linker<Guest>) -> Self {
        Self {
            engine,
            linker,
            loaded: Mutex::default(),
        }
    }

    pub(super) fn engine(&self) -> &Engine {
        &self.engine
    }

    pub(super) fn get(&self, program: &ProgramId) -> Option<Arc<InstancePre<Guest>>> {
        lock(&self.loaded).get(program).cloned()
    }

    /// Loads the artefact the parent has put at `path`.
    pub(super) fn load(&self, program: ProgramId, path: &Path) -> Result<(), Failure> {
        let full = {
            let loaded = lock(&self.loaded);
            if loaded.contains_key(&program) {
                return Ok(());
            }
            loaded.len() >= MAX_MODULES
        };
        if full {
            return Err(Failure::new(
                "exec.programs",
                format!("{MAX_MODULES} programs are loaded on this lease"),
            ));
        }
        // SAFETY: the file was made by a compiling executor of this daemon that saw nothing but the
        // module itself; the daemon has checked its keyed tag and written it to a directory this process
        // cannot write to. wasmtime checks version and settings.
        #[allow(unsafe_code)]
        let module = unsafe { Module::deserialize_file(&self.engine, path) };
        let stale = |e: wasmtime::Error| Failure::new("exec.artefact", format!("{e:#}"));
        let pre = self
            .linker
            .instantiate_pre(&module.map_err(stale)?)
            .map_err(stale)?;
        lock(&self.loaded).insert(program, Arc::new(pre));
        Ok(())
    }
}
