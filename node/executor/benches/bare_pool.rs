//! The limit our executors are measured against: the same tasks in a bare pool of threads in one process, with the
//! same engine settings and a fresh store for each task, and nothing else of hivenode.
//!
//! `cargo bench -p hive-executor --bench bare_pool -- MODULE.wasm TASKS THREADS [ARGS…]` prints seconds.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Instant,
};
use wasmtime::{Config, Engine, Linker, Module, Store};
use wasmtime_wasi::{WasiCtxBuilder, p1};

fn main() {
    let mut args = std::env::args().skip(1).filter(|a| a != "--bench");
    let (Some(path), Some(tasks), Some(threads)) = (args.next(), args.next(), args.next()) else {
        println!("bare_pool: MODULE.wasm TASKS THREADS [ARGS…]");
        return;
    };
    let (tasks, threads): (usize, usize) = (tasks.parse().unwrap(), threads.parse().unwrap());
    let mut argv = vec!["guest".to_owned()];
    argv.extend(args);
    let mut config = Config::new();
    config
        .consume_fuel(true)
        .epoch_interruption(true)
        .cranelift_nan_canonicalization(true);
    let engine = Engine::new(&config).unwrap();
    let module = Module::from_file(&engine, path).unwrap();
    let mut linker = Linker::new(&engine);
    p1::add_to_linker_sync(&mut linker, |ctx: &mut p1::WasiP1Ctx| ctx).unwrap();
    let ready = linker.instantiate_pre(&module).unwrap();
    let next = AtomicUsize::new(0);
    let began = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while next.fetch_add(1, Ordering::Relaxed) < tasks {
                    let ctx = WasiCtxBuilder::new().args(&argv).build_p1();
                    let mut store = Store::new(&engine, ctx);
                    store.set_fuel(u64::MAX).unwrap();
                    store.set_epoch_deadline(u64::MAX / 2);
                    let instance = ready.instantiate(&mut store).unwrap();
                    let start = instance.get_typed_func::<(), ()>(&mut store, "_start").unwrap();
                    // Exit codes come as errors; that the task has run is all that counts here.
                    let _ = start.call(&mut store, ());
                }
            });
        }
    });
    println!("{:.4}", began.elapsed().as_secs_f64());
}
