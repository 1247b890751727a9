//! How fast: commands with a real fdatasync, and replay of a long log.

use crate::rig::{Mesh, runtime, submit};
use hive_authority::log::{DirStorage, Log};
use hive_protocol::{ids::NodeId, time::Timestamp};
use hive_state::Entry;
use std::{
    sync::{Arc, Mutex},
    time::Instant,
};

/// A folder on a real disk: the temporary one may live in memory.
fn folder() -> tempfile::TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

#[test]
fn commands_a_second_with_real_syncs() {
    let dir = folder();
    let mesh = Mesh::new(1);
    runtime().block_on(async {
        let authority = mesh.create(&dir.path().join("ledger")).unwrap();
        let handle = authority.handle();
        let payee = mesh.admit(&handle, 1, 0).await;
        let mut next = 0;
        for lanes in [1_u64, 16, 256] {
            let each = 1500 / lanes + 5;
            let mut work = Vec::new();
            for _ in 0..lanes {
                work.push((next..next + each).map(|n| mesh.transfer(n, payee.account(), 1)).collect::<Vec<_>>());
                next += each;
            }
            let times = Arc::new(Mutex::new(Vec::new()));
            let before = handle.metrics();
            let start = Instant::now();
            let tasks: Vec<_> = work
                .into_iter()
                .enumerate()
                .map(|(lane, commands)| {
                    let (handle, times) = (handle.clone(), Arc::clone(&times));
                    tokio::spawn(async move {
                        let node = NodeId([u8::try_from(lane % 8).unwrap(); 32]);
                        for command in commands {
                            let start = Instant::now();
                            submit(&handle, node, command).await.unwrap();
                            times.lock().unwrap().push(start.elapsed());
                        }
                    })
                })
                .collect();
            for task in tasks {
                task.await.unwrap();
            }
            let took = start.elapsed();
            let after = handle.metrics();
            let mut times = Arc::try_unwrap(times).unwrap().into_inner().unwrap();
            times.sort_unstable();
            let (count, syncs) = (times.len(), after.fsyncs - before.fsyncs);
            println!(
                "{lanes} at once: {:.0} commands/s, p50 {:?}, p99 {:?}, {:.1} commands a sync, mean sync {:.2} ms",
                count as f64 / took.as_secs_f64(),
                times[count / 2],
                times[count * 99 / 100],
                count as f64 / syncs as f64,
                (after.fsync_seconds - before.fsync_seconds) / syncs as f64 * 1000.0,
            );
            assert_eq!(after.entries - before.entries, count as u64);
        }
        mesh.check_balance(&handle, 1, next).await;
    });
}

#[test]
fn replay_speed() {
    let dir = folder();
    let path = dir.path().join("ledger");
    let mesh = Mesh::new(1);
    let rt = runtime();
    let authority = mesh.create(&path).unwrap();
    let payee = rt.block_on(mesh.admit(&authority.handle(), 1, 0));
    authority.close().unwrap();
    let records: u64 = if cfg!(debug_assertions) { 5000 } else { 50_000 };
    let storage = Box::new(DirStorage::take(&path).unwrap());
    let (mut log, _) = Log::open(storage, mesh.network(), &mut |_| Ok(())).unwrap();
    for n in 0..records {
        let entry = Entry::Command(mesh.transfer(n, payee.account(), 1));
        log.append(1, Timestamp(0), &entry.encode().unwrap()).unwrap();
        if n % 500 == 0 {
            log.sync().unwrap();
        }
    }
    let bytes = {
        log.sync().unwrap();
        let bytes = log.stats().bytes;
        log.close().unwrap();
        bytes
    };
    let start = Instant::now();
    let storage = Box::new(DirStorage::take(&path).unwrap());
    let (log, _) = Log::open(storage, mesh.network(), &mut |_| Ok(())).unwrap();
    let chain = start.elapsed();
    drop(log);
    let mut opened = Vec::new();
    for _ in 0..2 {
        let start = Instant::now();
        let authority = mesh.open(&path).unwrap();
        opened.push(start.elapsed());
        assert_eq!(authority.report().records, records + 3);
        rt.block_on(mesh.check_balance(&authority.handle(), 1, records));
        authority.close().unwrap();
    }
    let rate = |t: std::time::Duration| records as f64 / t.as_secs_f64();
    println!(
        "replay of {records} records ({bytes} bytes): chain {:.0}/s; chain and state {:.0}/s; with the history index made anew {:.0}/s",
        rate(chain),
        rate(opened[1]),
        rate(opened[0])
    );
}
