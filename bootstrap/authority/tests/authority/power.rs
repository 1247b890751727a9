//! Power cuts: whatever the disk had not been made to keep may be gone, in any mixture.

use crate::{
    disk::{Disk, Fault, Image, Lie, Rng},
    rig::{Mesh, campaign, runtime},
};
use hive_authority::log::{Log, LogError};
use hive_protocol::{ids::NetworkId, time::Timestamp};
use std::collections::BTreeSet;

const NETWORK: NetworkId = NetworkId([9; 32]);
const SEGMENT: u64 = 6000;

/// When the writer says "durable".
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ack {
    AfterSync,
    /// The planted bug.
    BeforeSync,
}

fn payload(n: u64) -> Vec<u8> {
    let mut bytes = n.to_le_bytes().to_vec();
    let mut rng = Rng(n);
    let len = if rng.chance(10) {
        rng.below(5000)
    } else {
        rng.below(300)
    };
    bytes.resize(8 + len, u8::try_from(n % 251).unwrap());
    bytes
}

/// Appends records `from..` in batches, noting acknowledgements in the disk's journal.
fn write(log: &mut Log, disk: &Disk, batches: usize, ack: Ack, rng: &mut Rng) {
    for _ in 0..batches {
        let first = log.tip().next;
        for _ in 0..=rng.below(6) {
            let n = log.tip().next;
            log.append(1, Timestamp(n), &payload(n)).unwrap();
        }
        let all = first..log.tip().next;
        if ack == Ack::BeforeSync {
            all.clone().for_each(|n| disk.ack(n));
        }
        assert_eq!(log.sync().unwrap(), all.end);
        if ack == Ack::AfterSync {
            all.for_each(|n| disk.ack(n));
        }
    }
}

/// Opens an image. Every record must be the one that was written under its number.
fn open(image: &Image) -> Result<(Log, Disk, u64), LogError> {
    let disk = Disk::from_image(image, SEGMENT);
    let mut seen = 0;
    let (log, report) = Log::open(Box::new(disk.clone()), NETWORK, &mut |r| {
        assert_eq!((r.index, r.payload), (seen, payload(seen).as_slice()));
        seen += 1;
        Ok(())
    })?;
    assert_eq!(report.records, seen);
    Ok((log, disk, seen))
}

/// What the oracle says of one image: records lost although acknowledged, or why it does not open.
fn judge(image: &Image, acked: &[u64]) -> Result<Option<(Log, Disk)>, String> {
    match open(image) {
        Ok((log, disk, found)) => match acked.iter().find(|n| **n >= found) {
            Some(lost) => Err(format!("record {lost} was acknowledged and is lost")),
            None => Ok(Some((log, disk))),
        },
        Err(LogError::Absent { .. }) if acked.is_empty() => {
            // A founding that was cut can be done again.
            let disk = Box::new(Disk::from_image(image, SEGMENT));
            Log::create(disk, NETWORK, 1, Timestamp(0), &payload(0)).map_err(|e| e.to_string())?;
            Ok(None)
        }
        Err(e) => Err(e.to_string()),
    }
}

/// A run of a fresh log; acknowledges record 0 with its founding.
fn run(seed: u64, ack: Ack, lies: Option<Lie>) -> Disk {
    let mut rng = Rng(seed);
    let disk = Disk::new(SEGMENT);
    if let Some(lie) = lies {
        disk.lie(lie);
    }
    let mut log = Log::create(Box::new(disk.clone()), NETWORK, 1, Timestamp(0), &payload(0)).unwrap();
    disk.ack(0);
    write(&mut log, &disk, 12, ack, &mut rng);
    if rng.chance(30) {
        log.close().unwrap();
    }
    disk
}

/// Images in which the oracle finds a fault.
fn faults(images: u64, ack: Ack, lies: Option<Lie>) -> (u64, String) {
    let (mut found, mut last) = (0, String::new());
    for seed in 0..images / 20 {
        let disk = run(seed, ack, lies);
        let mut rng = Rng(seed ^ 0xdead);
        for _ in 0..20 {
            let moment = rng.below(disk.moments() + 1);
            let (image, acked) = disk.crash(moment, &mut rng);
            if let Err(fault) = judge(&image, &acked) {
                found += 1;
                last = fault;
            }
        }
    }
    (found, last)
}

#[test]
fn no_power_cut_loses_an_acknowledged_record() {
    // Three lives in a row for each first image: later lives start on what the cut left, tails and all.
    let (mut images, mut torn) = (0, 0);
    for seed in 0..60 * campaign() {
        let first = run(seed, Ack::AfterSync, None);
        for round in 0..14 {
            let mut rng = Rng(seed * 1000 + round);
            let mut disk = first.clone();
            let (mut had, mut low) = (Vec::new(), 0);
            for life in 0..3 {
                let moment = low + rng.below(disk.moments() + 1 - low);
                let (image, acked) = disk.crash(moment, &mut rng);
                had.extend(acked);
                images += 1;
                let place = format!("seed {seed} round {round} life {life}");
                let Some((mut log, next)) = judge(&image, &had).unwrap_or_else(|e| panic!("{place}: {e}"))
                else {
                    break;
                };
                torn += u64::from(next.now().keys().any(|n| n.starts_with("torn-")));
                // A cut while opening must do no harm either.
                low = next.moments();
                let (early, _) = next.crash(rng.below(low + 1), &mut rng);
                images += 1;
                judge(&early, &had).unwrap_or_else(|e| panic!("{place}, opening: {e}"));
                // What opening has shown counts as acknowledged: it may be answered from.
                had.extend(0..log.tip().next);
                write(&mut log, &next, 4, Ack::AfterSync, &mut rng);
                disk = next;
            }
        }
    }
    println!("{images} power-cut images, {torn} with a torn tail set aside");
    assert!(images >= 2000, "{images}");
    assert!(torn >= 50, "the cuts must tear: {torn}");
}

#[test]
fn the_harness_catches_an_ack_before_the_sync() {
    let (found, last) = faults(400, Ack::BeforeSync, None);
    println!("planted ack before sync: {found} of 400 images show it, such as: {last}");
    assert!(found > 20, "{found}");
    assert_eq!(faults(400, Ack::AfterSync, None).0, 0);
}

#[test]
fn the_harness_catches_a_disk_that_lies() {
    for lie in [Lie::Everything, Lie::Names] {
        let (found, last) = faults(400, Ack::AfterSync, Some(lie));
        println!("disk that lies about {lie:?}: {found} of 400 images show it, such as: {last}");
        assert!(found > 100, "{found}");
    }
}

#[test]
fn what_a_failed_sync_dropped_is_written_again_before_it_is_shown() {
    let mut rng = Rng(7);
    let (mut cases, mut more) = (0, 0);
    for call in 0..60 {
        let disk = Disk::new(SEGMENT);
        let mut log = Log::create(Box::new(disk.clone()), NETWORK, 1, Timestamp(0), &payload(0)).unwrap();
        disk.fail_at(call, Fault::Error(5));
        let durable = loop {
            for _ in 0..3 {
                let n = log.tip().next;
                log.append(1, Timestamp(n), &payload(n)).unwrap();
            }
            let before = log.durable().next;
            if log.sync().is_err() {
                break before;
            }
        };
        drop(log);
        // Started again without a power cut: what is read comes from the system's memory, not from the disk.
        let mut shown = Vec::new();
        let (mut log, _) = Log::open(Box::new(disk.clone()), NETWORK, &mut |r| {
            shown.push(r.index);
            Ok(())
        })
        .unwrap();
        more += u64::from(shown.len() as u64 > durable);
        let opened = disk.moments();
        write(&mut log, &disk, 2, Ack::AfterSync, &mut rng);
        drop(log);
        for moment in [opened, disk.moments()] {
            for _ in 0..10 {
                let (image, mut acked) = disk.crash(moment, &mut rng);
                acked.extend(&shown);
                judge(&image, &acked).unwrap_or_else(|e| panic!("call {call}: {e}"));
                cases += 1;
            }
        }
    }
    println!("{cases} cuts after a failed sync, {more} of 60 restarts found more than was acknowledged");
    assert!(more > 5, "{more}");
}

#[test]
fn whole_authorities_survive_power_cuts() {
    let rt = runtime();
    let mut images = 0;
    for seed in 0..12 * campaign() {
        let mesh = Mesh::new(seed);
        let disk = Disk::new(SEGMENT);
        let (authority, commands) = rt.block_on(async {
            let authority = mesh.create_in(Box::new(disk.clone())).unwrap();
            let handle = authority.handle();
            let payee = mesh.admit(&handle, 1, 0).await;
            let mut commands = Vec::new();
            for n in 0..30_u64 {
                commands.push(mesh.transfer(n, payee.account(), 1 + n));
            }
            let mut rng = Rng(seed);
            let mut at = 0;
            while at < commands.len() {
                let end = (at + 1 + rng.below(6)).min(commands.len());
                let batch = futures_of(&mesh, &handle, &commands[at..end]);
                for (n, done) in (at..end).zip(batch.await) {
                    done.unwrap();
                    disk.ack(n as u64);
                }
                at = end;
            }
            (authority, commands)
        });
        authority.close().unwrap();
        let mut rng = Rng(seed ^ 0xbeef);
        for _ in 0..40 {
            let moment = rng.below(disk.moments() + 1);
            let (image, acked) = disk.crash(moment, &mut rng);
            let acked: BTreeSet<u64> = acked.into_iter().collect();
            images += 1;
            let opened = mesh.open_in(Box::new(Disk::from_image(&image, SEGMENT)));
            if acked.is_empty() {
                // Before the first acknowledgement the payee may not be a member yet.
                assert!(opened.is_ok() || opened.is_err_and(|e| e.code() == "ledger.absent"));
                continue;
            }
            let authority = opened.unwrap_or_else(|e| panic!("seed {seed} moment {moment}: {e}"));
            let handle = authority.handle();
            rt.block_on(async {
                // Everything is sent again: what was acknowledged must write nothing.
                for (n, command) in commands.iter().enumerate() {
                    let before = handle.metrics().entries;
                    mesh.submit(&handle, command.clone()).await.unwrap();
                    let wrote = handle.metrics().entries - before;
                    assert!(wrote <= 1);
                    assert!(
                        wrote == 0 || !acked.contains(&(n as u64)),
                        "seed {seed}: {n} was lost"
                    );
                }
                mesh.check_balance(&handle, 1, (1..=30).sum()).await;
            });
        }
    }
    println!("{images} power-cut images of whole authorities");
}

async fn futures_of(
    mesh: &Mesh,
    handle: &hive_authority::AuthorityHandle,
    commands: &[crate::rig::SignedCommand],
) -> Vec<Result<hive_protocol::authority::Done, hive_protocol::command::Refusal>> {
    let tasks: Vec<_> = commands
        .iter()
        .map(|c| {
            let (handle, command, node) = (handle.clone(), c.clone(), mesh.node());
            tokio::spawn(async move { crate::rig::submit(&handle, node, command).await })
        })
        .collect();
    let mut out = Vec::new();
    for task in tasks {
        out.push(task.await.unwrap());
    }
    out
}
