//! Modules that are refused, and compiled modules kept on disk.

use crate::guests::NOOP;
use crate::support::{bed, config, on, program};
use hive_executor::{Failure, Program, ProgramSource, WasmConfig, WasmExecutor};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

async fn refusal(config: WasmConfig, bytes: Vec<u8>) -> Failure {
    let executor = WasmExecutor::new(config).unwrap();
    let bed = on(&executor, 1, tempfile::tempdir().unwrap()).await;
    let program = Program {
        id: [1; 32],
        source: ProgramSource::Bytes(bytes),
    };
    let failure = bed.handle.prepare(program.clone()).await.unwrap_err();
    assert_eq!(
        bed.handle.prepare(program).await.unwrap_err().code,
        failure.code,
        "the second time"
    );
    failure
}

async fn refused(wat: &str) -> Failure {
    let cache = tempfile::tempdir().unwrap();
    refusal(config(cache.path()), wat::parse_str(wat).unwrap()).await
}

#[tokio::test]
async fn each_fault_has_its_code() {
    let cache = tempfile::tempdir().unwrap();
    let failure = refusal(config(cache.path()), b"#!/bin/sh\n".to_vec()).await;
    assert_eq!(failure.code, "module.not_wasm");
    assert!(failure.message.contains("23 21 2f 62"), "{failure}");

    let failure = refusal(config(cache.path()), b"\0asm\x01\0\0\0\xffgarbage".to_vec()).await;
    assert_eq!(failure.code, "module.invalid");

    let failure = refused("(module (func (export \"_start\") i32.add))").await;
    assert_eq!(failure.code, "module.invalid");
    let failure = refused("(component)").await;
    assert_eq!(failure.code, "module.invalid");
    assert!(failure.message.contains("component"), "{failure}");

    let small = WasmConfig {
        max_module: 10,
        ..config(cache.path())
    };
    assert_eq!(
        refusal(small, wat::parse_str(NOOP).unwrap()).await.code,
        "module.too_large"
    );

    let failure = refused("(module (func (export \"main\")) (memory (export \"memory\") 1))").await;
    assert_eq!(failure.code, "module.no_start");
    assert!(failure.message.contains("main, memory"), "{failure}");
    let failure = refused("(module (func (export \"_start\") (param i32)))").await;
    assert_eq!(failure.code, "module.no_start");
}

#[tokio::test]
async fn every_unknown_import_is_named() {
    let failure = refused(
        "(module (import \"env\" \"gpu\" (func (param i32 f64) (result i64)))
                 (import \"wasi_snapshot_preview1\" \"fd_write\" (func (param i64)))
                 (import \"wasi_snapshot_preview1\" \"sched_yield\" (func (result i32)))
                 (import \"env\" \"mem\" (memory 1))
                 (func (export \"_start\")))",
    )
    .await;
    assert_eq!(failure.code, "module.unknown_imports");
    for part in [
        "env.gpu: func(i32, f64) -> i64",
        "wasi_snapshot_preview1.fd_write: func(i64)",
        "env.mem: memory",
    ] {
        assert!(failure.message.contains(part), "{part} is not in {failure}");
    }
    assert!(!failure.message.contains("sched_yield"), "{failure}");
}

/// A module that is small and slow to compile: functions of many locals, blocks and calls.
fn bomb(functions: usize, statements: usize) -> Vec<u8> {
    let locals = " i64".repeat(200);
    let mut text = String::from("(module (func (export \"_start\"))");
    for f in 0..functions {
        text.push_str(&format!("(func $f{f} (param i64) (result i64) (local{locals})"));
        for s in 0..statements {
            let (a, b, c) = (s % 200, (s * 7 + 1) % 200, (s * 13 + 5) % 200);
            text.push_str(&format!(
                "(if (i64.eqz (local.get {a})) (then (local.set {b} (i64.div_u (local.get {c}) (local.get {a}))))
                 (else (local.set {c} (i64.mul (local.get {b}) (local.get {a})))))"
            ));
        }
        text.push_str("(local.get 1))");
    }
    text.push(')');
    wat::parse_str(text).unwrap()
}

#[tokio::test]
async fn a_compile_bomb_meets_the_time_cap() {
    let cache = tempfile::tempdir().unwrap();
    let wall = Duration::from_millis(500);
    let tight = WasmConfig {
        compile_wall: wall,
        compile_memory: 8 << 30,
        ..config(cache.path())
    };
    let bytes = bomb(4, 60_000);
    let start = Instant::now();
    let failure = refusal(tight, bytes).await;
    assert_eq!(failure.code, "module.compile_timeout", "{failure}");
    // Left alone it takes longer than this on any machine.
    assert!(start.elapsed() < Duration::from_secs(30), "{:?}", start.elapsed());
}

#[tokio::test]
async fn a_compile_bomb_meets_the_memory_cap() {
    let cache = tempfile::tempdir().unwrap();
    let wall = Duration::from_secs(50);
    let tight = WasmConfig {
        compile_wall: wall,
        compile_memory: 48 << 20,
        ..config(cache.path())
    };
    let failure = refusal(tight, bomb(2, 30_000)).await;
    assert_eq!(failure.code, "module.compile_memory", "{failure}");
}

#[tokio::test]
async fn a_compile_bomb_does_not_disturb_running_tasks() {
    let cache = tempfile::tempdir().unwrap();
    // What runs is compiled before: the short time is the bomb's alone.
    let usual = WasmExecutor::new(config(cache.path())).unwrap();
    let bed_before = on(&usual, 1, tempfile::tempdir().unwrap()).await;
    bed_before.handle.prepare(program(NOOP)).await.unwrap();
    let tight = WasmConfig {
        compile_wall: Duration::from_millis(300),
        ..config(cache.path())
    };
    let executor = WasmExecutor::new(tight).unwrap();
    let mut bed = on(&executor, 1, tempfile::tempdir().unwrap()).await;
    let run = bed.task(NOOP).await;
    let bomb = Program {
        id: [2; 32],
        source: ProgramSource::Bytes(bomb(4, 60_000)),
    };
    let (refused, done) = tokio::join!(
        executor_prepare(&*bed.handle, bomb),
        bed.handle.submit(run.clone())
    );
    done.unwrap();
    assert!(refused.is_err());
    assert_eq!(bed.done(run.task).await.code(), None);
}

async fn executor_prepare(handle: &dyn hive_executor::LeaseHandle, program: Program) -> Result<(), Failure> {
    handle.prepare(program).await
}

fn artefacts(cache: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(cache).unwrap().map(|e| e.unwrap().path());
    entries
        .filter(|p| p.extension().is_some_and(|e| e == "cwasm"))
        .collect()
}

#[tokio::test]
async fn compiled_modules_are_kept_and_checked() {
    let cache = tempfile::tempdir().unwrap();
    let works = async || {
        // A new executor every time, as after a restart of the daemon.
        let executor = WasmExecutor::new(config(cache.path())).unwrap();
        let mut bed = on(&executor, 1, tempfile::tempdir().unwrap()).await;
        let run = bed.task(NOOP).await;
        assert_eq!(bed.run(run).await.code(), None);
    };
    works().await;
    let [kept] = &artefacts(cache.path())[..] else {
        panic!("{:?}", artefacts(cache.path()))
    };
    let good = std::fs::read(kept).unwrap();
    assert_eq!(std::fs::read_dir(cache.path().join("build")).unwrap().count(), 0);
    let made = || {
        std::fs::metadata(kept)
            .map(|m| std::os::unix::fs::MetadataExt::ino(&m))
            .unwrap()
    };

    let before = made();
    works().await;
    assert_eq!(made(), before, "a hit must not be compiled again");

    for damage in [
        good[..good.len() / 2].to_vec(),
        [&good[..good.len() - 1], b"X"].concat(),
        Vec::new(),
    ] {
        std::fs::write(kept, &damage).unwrap();
        works().await;
        assert_eq!(
            std::fs::read(kept).unwrap().len(),
            good.len(),
            "a damaged artefact is made anew"
        );
    }
}

/// A file of the cache as the daemon that has this cache would have written it.
fn cached(cache: &Path, module: &[u8], artefact: &[u8]) -> Vec<u8> {
    let key: [u8; 32] = std::fs::read(cache.join("key")).unwrap().try_into().unwrap();
    let mut tag = blake3::Hasher::new_keyed(&key);
    tag.update(blake3::hash(module).as_bytes()).update(artefact);
    [b"hivecw01", tag.finalize().as_bytes().as_slice(), artefact].concat()
}

#[tokio::test]
async fn what_another_engine_compiled_is_compiled_anew() {
    let cache = tempfile::tempdir().unwrap();
    let works = async || {
        let executor = WasmExecutor::new(config(cache.path())).unwrap();
        let mut bed = on(&executor, 1, tempfile::tempdir().unwrap()).await;
        let run = bed.task(NOOP).await;
        assert_eq!(bed.run(run).await.code(), None);
    };
    works().await;
    let [kept] = &artefacts(cache.path())[..] else {
        panic!("{:?}", artefacts(cache.path()))
    };
    let module = wat::parse_str(NOOP).unwrap();
    let good = std::fs::read(kept).unwrap();
    assert_eq!(
        cached(cache.path(), &module, &good[8 + 32..]),
        good,
        "the tag is as the cache makes it"
    );

    let mut version = wasmtime::Config::new();
    version
        .module_version(wasmtime::ModuleVersionStrategy::Custom("another".to_owned()))
        .unwrap();
    for (what, other) in [
        ("another version", version),
        ("other settings", wasmtime::Config::new()),
    ] {
        let artefact = wasmtime::Engine::new(&other)
            .unwrap()
            .precompile_module(&module)
            .unwrap();
        let stale = cached(cache.path(), &module, &artefact);
        std::fs::write(kept, &stale).unwrap();
        works().await;
        let now = std::fs::read(kept).unwrap();
        assert_ne!(now, stale, "{what}: the file that does not load is replaced");
        assert_eq!(
            cached(cache.path(), &module, &now[8 + 32..]),
            now,
            "{what}: by one that is whole"
        );
    }
}

#[tokio::test]
async fn programs_come_from_files_too() {
    let bed = bed(1).await;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("noop.wasm");
    std::fs::write(&path, wat::parse_str(NOOP).unwrap()).unwrap();
    let program = |path: &Path| Program {
        source: ProgramSource::File(path.to_owned()),
        ..program(NOOP)
    };
    bed.handle.prepare(program(&path)).await.unwrap();
    let missing = Program {
        id: [3; 32],
        ..program(&dir.path().join("none"))
    };
    assert_eq!(
        bed.handle.prepare(missing).await.unwrap_err().code,
        "module.unreadable"
    );
}
