//! From a module's bytes to its artefact: from the cache, or from a compiling executor process.

use super::cache::{Cache, MAX_ARTEFACT};
use super::process::{self, Process};
use super::{WasmConfig, blocking, lock, stage};
use crate::task::Failure;
use crate::wire::{FromChild, Init, Role, ToChild};
use hive_protocol::codec::{self, FRAME_PREFIX_LEN, Message};
use std::collections::BTreeMap;
use std::io::{Error, ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::Semaphore;

/// Compilations at once: each uses all cores for itself.
const AT_ONCE: usize = 2;
/// Modules known not to compile. Forgotten all at once when full.
const REFUSALS: usize = 256;
/// Refusals that are the module's own fault and would come again; a failure of the machine may pass.
const LASTING: [&str; 5] = [
    "module.invalid",
    "module.unknown_imports",
    "module.no_start",
    "module.compile_timeout",
    "module.compile_memory",
];

pub(super) struct Compiler {
    config: WasmConfig,
    cache: Arc<Cache>,
    turns: Semaphore,
    refused: Mutex<BTreeMap<[u8; 32], Failure>>,
}

impl Compiler {
    pub(super) fn new(config: WasmConfig, cache: Cache) -> Self {
        Self {
            config,
            cache: Arc::new(cache),
            turns: Semaphore::new(AT_ONCE),
            refused: Mutex::default(),
        }
    }

    pub(super) fn max_module(&self) -> u64 {
        self.config.max_module
    }

    /// An empty directory with `in` and `work` for one process.
    pub(super) async fn build_dir(&self) -> std::io::Result<PathBuf> {
        let cache = Arc::clone(&self.cache);
        blocking(move || cache.build_dir()).await
    }

    /// The artefact of a module; `fresh` passes over the cache.
    pub(super) async fn artefact(&self, module: Arc<Vec<u8>>, fresh: bool) -> Result<Vec<u8>, Failure> {
        look(&module, self.config.max_module)?;
        let bytes = Arc::clone(&module);
        let hash = blocking(move || Ok(blake3::hash(&bytes)))
            .await
            .map_err(|e| io(&e))?;
        if let Some(failure) = lock(&self.refused).get(hash.as_bytes()) {
            return Err(failure.clone());
        }
        if !fresh && let Some(artefact) = self.cached(hash).await {
            return Ok(artefact);
        }
        let _turn = self
            .turns
            .acquire()
            .await
            .map_err(|e| Failure::new("exec.compile", e.to_string()))?;
        // Another lease may have compiled it meanwhile.
        if !fresh && let Some(artefact) = self.cached(hash).await {
            return Ok(artefact);
        }
        let result = self.compile(module).await;
        match &result {
            Ok(artefact) => {
                let (cache, kept) = (Arc::clone(&self.cache), artefact.clone());
                if let Err(e) = blocking(move || cache.put(&hash, &kept)).await {
                    // The artefact is good all the same.
                    tracing::warn!(error = %e, "compiled module could not be kept");
                }
            }
            Err(failure) if LASTING.contains(&failure.code.as_str()) => {
                let mut refused = lock(&self.refused);
                if refused.len() >= REFUSALS {
                    refused.clear();
                }
                refused.insert(*hash.as_bytes(), failure.clone());
            }
            Err(_) => {}
        }
        result
    }

    async fn cached(&self, hash: blake3::Hash) -> Option<Vec<u8>> {
        let cache = Arc::clone(&self.cache);
        blocking(move || Ok(cache.get(&hash))).await.ok().flatten()
    }

    async fn compile(&self, module: Arc<Vec<u8>>) -> Result<Vec<u8>, Failure> {
        let cache = Arc::clone(&self.cache);
        let dir = blocking(move || {
            let dir = cache.build_dir()?;
            std::fs::write(dir.join("in/module.wasm"), module.as_slice())?;
            Ok(dir)
        });
        let dir = dir.await.map_err(|e| io(&e))?;
        let result = self.compile_in(&dir).await;
        let _ = blocking(move || super::remove_tree(&dir)).await;
        result
    }

    async fn compile_in(&self, dir: &Path) -> Result<Vec<u8>, Failure> {
        let text = dir
            .to_str()
            .ok_or_else(|| Failure::new("exec.compile", "cache directory is not UTF-8"))?;
        let init = ToChild::Init(Init {
            role: Role::Compile,
            dir: text.to_owned(),
            slots: 1,
            memory_bytes: 0,
            file_bytes: MAX_ARTEFACT,
            compile_memory: self.config.compile_memory,
        });
        let Process { mut pipe, guard } = process::start(&self.config.exe).await.map_err(|e| io(&e))?;
        let wall = self.config.compile_wall;
        let answer = tokio::time::timeout(wall, converse(&mut pipe, &init)).await;
        match answer {
            Err(_) => {
                guard.kill();
                guard.bury().await;
                let text = format!("not compiled after {:.1} s", wall.as_secs_f64());
                return Err(Failure::new("module.compile_timeout", text));
            }
            Ok(Ok(Some(failure))) => {
                guard.bury().await;
                return Err(failure);
            }
            Ok(Err(e)) => {
                let end = guard.bury().await;
                // The allocator's last words: the hard limit was met before the watcher looked.
                if end.contains("memory allocation of") {
                    let cap = self.config.compile_memory >> 20;
                    let text = format!("compiling took more than {cap} MiB of memory");
                    return Err(Failure::new("module.compile_memory", text));
                }
                return Err(Failure::new("module.compile_crash", format!("{e}: {end}")));
            }
            Ok(Ok(None)) => {}
        }
        guard.bury().await;
        let work = dir.join("work");
        let read = blocking(move || {
            let file = stage::open_beneath(&work, "artefact")?;
            let mut bytes = Vec::new();
            file.take(MAX_ARTEFACT + 1).read_to_end(&mut bytes)?;
            if bytes.len() as u64 > MAX_ARTEFACT {
                return Err(Error::new(
                    ErrorKind::InvalidData,
                    "the compiled artefact is too large",
                ));
            }
            Ok(bytes)
        });
        read.await.map_err(|e| io(&e))
    }
}

fn io(e: &Error) -> Failure {
    Failure::new("exec.compile", e.to_string())
}

/// Sends the setup and waits for the verdict.
async fn converse(pipe: &mut UnixStream, init: &ToChild) -> std::io::Result<Option<Failure>> {
    let invalid = |e: codec::CodecError| Error::new(ErrorKind::InvalidData, e.to_string());
    let mut out = Vec::new();
    codec::frame_into(init, &mut out).map_err(invalid)?;
    pipe.write_all(&out).await?;
    loop {
        let mut prefix = [0; FRAME_PREFIX_LEN];
        pipe.read_exact(&mut prefix).await?;
        let len = codec::frame_len(FromChild::NAME, prefix, FromChild::MAX).map_err(invalid)?;
        let mut frame = vec![0; len];
        pipe.read_exact(&mut frame).await?;
        match codec::open(&frame).map_err(invalid)? {
            FromChild::Ready(_) => {}
            FromChild::Compiled { failure } => return Ok(failure),
            _ => return Err(Error::new(ErrorKind::InvalidData, "an answer nobody asked for")),
        }
    }
}

/// What the first bytes tell before any process is started.
fn look(bytes: &[u8], most: u64) -> Result<(), Failure> {
    const SHOWN: usize = 8;
    if bytes.len() as u64 > most {
        return Err(Failure::new(
            "module.too_large",
            format!("{} bytes are over the limit of {most}", bytes.len()),
        ));
    }
    match bytes.strip_prefix(b"\0asm") {
        Some([1, 0, 0, 0, ..]) => Ok(()),
        Some([_, _, 1, 0, ..]) => Err(Failure::new(
            "module.invalid",
            "this is a component; only core modules with WASI preview 1 run here",
        )),
        Some(rest) => {
            let version: Vec<_> = rest.iter().take(4).map(|b| format!("{b:02x}")).collect();
            Err(Failure::new(
                "module.invalid",
                format!("version {} instead of 01 00 00 00", version.join(" ")),
            ))
        }
        None => {
            let start = bytes.get(..SHOWN).unwrap_or(bytes);
            let hex: Vec<_> = start.iter().map(|b| format!("{b:02x}")).collect();
            let text = format!(
                "starts with {} (\"{}\") instead of 00 61 73 6d (\"\\0asm\")",
                if hex.is_empty() {
                    "nothing".to_owned()
                } else {
                    hex.join(" ")
                },
                start.escape_ascii()
            );
            Err(Failure::new("module.not_wasm", text))
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn the_first_bytes_are_named() {
        let failure = look(b"\x7fELF\x02\x01\x01\0rest", 100).unwrap_err();
        assert_eq!(failure.code, "module.not_wasm");
        assert!(
            failure.message.contains("7f 45 4c 46 02 01 01 00"),
            "{}",
            failure.message
        );
        assert_eq!(look(b"", 100).unwrap_err().code, "module.not_wasm");
        assert_eq!(
            look(b"\0asm\x0d\0\x01\0", 100).unwrap_err().code,
            "module.invalid"
        );
        assert_eq!(look(b"\0asm\x02\0\0\0", 100).unwrap_err().code, "module.invalid");
        assert_eq!(look(b"\0asm\x01\0\0\0", 7).unwrap_err().code, "module.too_large");
        assert_eq!(look(b"\0asm\x01\0\0\0", 8), Ok(()));
    }
}
