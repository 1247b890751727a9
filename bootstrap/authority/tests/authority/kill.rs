//! `kill -9` of a real process at random instants; the oracle is what it had said it acknowledged.

use crate::{
    disk::Rng,
    rig::{Mesh, campaign, runtime},
};
use std::{
    collections::BTreeSet,
    io::{BufRead, BufReader, Write},
    path::PathBuf,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

const FOLDER: &str = "HIVE_AUTHORITY_KILL_FOLDER";
const FIRST: &str = "HIVE_AUTHORITY_KILL_FIRST";
const KILLS: u64 = 40;
/// Transfers in flight at once in the child.
const AT_ONCE: u64 = 16;

/// The child: opens the ledger and pays one µCPT after the other, saying which are acknowledged. In a normal test
/// run there is nothing for it to do.
#[test]
fn child() {
    let (Ok(folder), Ok(first)) = (std::env::var(FOLDER), std::env::var(FIRST)) else {
        return;
    };
    let mesh = Mesh::new(1);
    runtime().block_on(async {
        let path = PathBuf::from(folder);
        let authority = match mesh.open(&path) {
            Err(e) if e.code() == "ledger.absent" => mesh.create(&path),
            opened => opened,
        };
        let authority = authority.unwrap();
        let handle = authority.handle();
        let payee = mesh.admit(&handle, 1, 0).await;
        let first: u64 = first.parse().unwrap();
        let tasks: Vec<_> = (0..AT_ONCE)
            .map(|lane| {
                let (handle, mesh, payee) = (handle.clone(), Mesh::new(1), payee.account());
                tokio::spawn(async move {
                    let mut n = first + lane;
                    loop {
                        mesh.submit(&handle, mesh.transfer(n, payee, 1)).await.unwrap();
                        let mut out = std::io::stdout().lock();
                        writeln!(out, "ack {n}").unwrap();
                        out.flush().unwrap();
                        n += AT_ONCE;
                    }
                })
            })
            .collect();
        // They pay until the kill.
        tasks.into_iter().next().unwrap().await.unwrap();
    });
}

#[test]
fn no_kill_loses_or_doubles_an_acknowledged_transfer() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("ledger");
    let mesh = Mesh::new(1);
    let rt = runtime();
    let mut rng = Rng(u64::from(std::process::id()));
    let mut acked: BTreeSet<u64> = BTreeSet::new();
    let (mut next, mut torn) = (0_u64, 0);
    let kills = KILLS * campaign();
    for round in 0..kills {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "kill::child", "--nocapture", "--test-threads=1"])
            .env(FOLDER, &folder)
            .env(FIRST, next.to_string())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        let reader = BufReader::new(child.stdout.take().unwrap());
        let (tell, told) = std::sync::mpsc::channel();
        let lines = std::thread::spawn(move || {
            let mut seen = Vec::new();
            for line in reader.lines().map_while(Result::ok) {
                // A line may be cut by the kill; only whole ones count, and a number cut short is among those before.
                if let Some(n) = line.rsplit_once("ack ").and_then(|(_, n)| n.parse::<u64>().ok()) {
                    seen.push(n);
                    // The parent may have stopped listening.
                    let _ = tell.send(());
                }
            }
            seen
        });
        // Some rounds die while opening, the others a moment after a few acknowledgements.
        if round % 8 == 7 {
            std::thread::sleep(Duration::from_micros(rng.next() % 30_000));
        } else {
            for _ in 0..rng.below(60) {
                told.recv_timeout(Duration::from_secs(60)).unwrap();
            }
            let until = Instant::now() + Duration::from_micros(rng.next() % 4000);
            while Instant::now() < until {
                std::hint::spin_loop();
            }
        }
        child.kill().unwrap();
        child.wait().unwrap();
        acked.extend(lines.join().unwrap());
        next = acked.last().map_or(0, |n| n + 1) + 2 * AT_ONCE;
        let authority = match mesh.open(&folder) {
            Err(e) if e.code() == "ledger.absent" && acked.is_empty() => continue,
            opened => opened.unwrap_or_else(|e| panic!("round {round}: {e}")),
        };
        torn += u64::from(authority.report().torn.is_some());
        let handle = authority.handle();
        rt.block_on(async {
            let payee = mesh.admit(&handle, 1, 0).await;
            let before = handle.metrics().entries;
            for n in &acked {
                mesh.submit(&handle, mesh.transfer(*n, payee.account(), 1))
                    .await
                    .unwrap();
            }
            assert_eq!(
                handle.metrics().entries,
                before,
                "round {round}: an acknowledged transfer was lost"
            );
            // Every record is the founding, the invitation, the joining, or one transfer of one µCPT.
            let totals = handle
                .view(|s, _, _| s.check_invariants().map(|()| s.totals()))
                .await;
            let totals = totals.unwrap().unwrap();
            mesh.check_balance(&handle, 1, totals.entries - 3).await;
        });
        authority.close().unwrap();
    }
    println!(
        "{kills} kills, {} acknowledged transfers, {torn} torn tails, 0 lost, 0 doubled",
        acked.len()
    );
    assert!(acked.len() > 200);
}
