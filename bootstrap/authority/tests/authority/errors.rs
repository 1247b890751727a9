//! Disk errors: at every single call, and what people do wrong.

use crate::{
    disk::{Disk, Fault, Image},
    rig::{Mesh, runtime},
};
use hive_authority::{
    Authority, Notice,
    log::{Log, LogError},
};
use hive_protocol::{ids::NetworkId, time::Timestamp};

const NETWORK: NetworkId = NetworkId([9; 32]);
const SEGMENT: u64 = 2000;
const EIO: i32 = 5;
const ENOSPC: i32 = 28;

/// Founds or opens, then writes; returns what was acknowledged and whether an error came.
fn life(disk: &Disk) -> (Vec<u64>, Option<LogError>) {
    let mut acked = Vec::new();
    let exists = disk.now().keys().any(|n| n.ends_with(".seg"));
    let opened = if exists {
        Log::open(Box::new(disk.clone()), NETWORK, &mut |_| Ok(())).map(|(log, _)| log)
    } else {
        Log::create(Box::new(disk.clone()), NETWORK, 1, Timestamp(0), &[7; 100])
    };
    let mut log = match opened {
        Ok(log) => log,
        Err(e) => return (acked, Some(e)),
    };
    acked.extend(0..log.durable().next);
    for _ in 0..8 {
        for _ in 0..3 {
            let n = log.tip().next;
            if let Err(e) = log.append(1, Timestamp(n), &[7; 100]) {
                return (acked, Some(e));
            }
        }
        let first = log.durable().next;
        match log.sync() {
            Ok(end) => acked.extend(first..end),
            Err(e) => {
                // Stopped for good: the fault is over, and still nothing is taken.
                assert!(matches!(
                    log.append(1, Timestamp(0), &[1]),
                    Err(LogError::Stopped { .. })
                ));
                assert!(matches!(log.sync(), Err(LogError::Stopped { .. })));
                return (acked, Some(e));
            }
        }
    }
    match log.close() {
        Ok(()) => (acked, None),
        Err(e) => (acked, Some(e)),
    }
}

fn count(image: &Image) -> Result<u64, LogError> {
    let mut n = 0;
    Log::open(Box::new(Disk::from_image(image, SEGMENT)), NETWORK, &mut |_| {
        n += 1;
        Ok(())
    })
    .map(|_| n)
}

#[test]
fn an_error_at_any_call_stops_the_log_and_loses_nothing() {
    let calm = Disk::new(SEGMENT);
    assert!(life(&calm).1.is_none());
    let founding = calm.calls();
    let second = Disk::from_image(&calm.now(), SEGMENT);
    assert!(life(&second).1.is_none());
    let mut cases = 0;
    for fault in [Fault::Error(EIO), Fault::Error(ENOSPC), Fault::Short] {
        for (start, calls) in [(None, founding), (Some(calm.now()), second.calls())] {
            for n in 0..calls {
                let disk = start
                    .as_ref()
                    .map_or_else(|| Disk::new(SEGMENT), |i| Disk::from_image(i, SEGMENT));
                disk.fail_at(n, fault);
                let (acked, error) = life(&disk);
                let error = error.unwrap_or_else(|| panic!("call {n} failed and nobody noticed"));
                assert_eq!(error.code(), "ledger.disk", "call {n}: {error}");
                cases += 1;
                match count(&disk.now()) {
                    Ok(found) => assert!(
                        found >= acked.len() as u64,
                        "call {n}: {found} of {}",
                        acked.len()
                    ),
                    Err(LogError::Absent { .. }) => {
                        assert!(acked.is_empty(), "call {n}");
                        // A founding that failed can be tried again.
                        assert!(
                            life(&Disk::from_image(&disk.now(), SEGMENT))
                                .1
                                .is_none_or(|e| e.code() == "ledger.absent")
                        );
                    }
                    Err(e) => panic!("call {n}, {fault:?}: {e}"),
                }
            }
        }
    }
    println!("{cases} disk errors, each at another call");
}

#[test]
fn an_authority_whose_disk_fails_acknowledges_nothing_more() {
    runtime().block_on(async {
        for fault in [Fault::Error(EIO), Fault::Error(ENOSPC), Fault::Short] {
            let mesh = Mesh::new(1);
            let disk = Disk::new(SEGMENT);
            let authority = mesh.create_in(Box::new(disk.clone())).unwrap();
            let handle = authority.handle();
            let payee = mesh.admit(&handle, 1, 0).await;
            mesh.submit(&handle, mesh.transfer(1, payee.account(), 5))
                .await
                .unwrap();
            let mut news = handle.subscribe();
            disk.fail_at(0, fault);
            let refusal = mesh
                .submit(&handle, mesh.transfer(2, payee.account(), 5))
                .await
                .unwrap_err();
            assert_eq!(refusal.code, "ledger.disk");
            // The disk works again; the authority does not pretend to know what is on it.
            let refusal = mesh
                .submit(&handle, mesh.transfer(3, payee.account(), 5))
                .await
                .unwrap_err();
            assert_eq!(refusal.code, "ledger.disk");
            let refusal = handle.view(|state, _, _| state.next_index()).await.unwrap_err();
            assert_eq!(refusal.code, "ledger.disk");
            assert!(matches!(news.recv().await.unwrap(), Notice::Stopped(_)));
            assert!(handle.metrics().stopped.is_some());
            assert_eq!(authority.close().unwrap_err().code(), "ledger.disk");
            // Started again, the first transfer is there and the others can be sent again.
            let authority = mesh
                .open_in(Box::new(Disk::from_image(&disk.now(), SEGMENT)))
                .unwrap();
            let handle = authority.handle();
            for n in 1..=3 {
                mesh.submit(&handle, mesh.transfer(n, payee.account(), 5))
                    .await
                    .unwrap();
            }
            mesh.check_balance(&handle, 1, 15).await;
        }
    });
}

#[test]
fn two_authorities_on_one_folder_a_second_founding_and_a_wrong_key_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let mesh = Mesh::new(1);
    let path = dir.path().join("ledger");
    assert_eq!(mesh.open(&path).err().unwrap().code(), "ledger.absent");
    let authority = mesh.create(&path).unwrap();
    assert_eq!(mesh.open(&path).err().unwrap().code(), "ledger.locked");
    assert_eq!(mesh.create(&path).err().unwrap().code(), "ledger.locked");
    authority.close().unwrap();
    assert_eq!(mesh.create(&path).err().unwrap().code(), "ledger.exists");
    let stranger = Mesh::new(2);
    assert_eq!(stranger.open(&path).err().unwrap().code(), "ledger.corrupt");
    let wrong = Authority::open(&path, mesh.network(), crate::rig::key(77), mesh.clock());
    assert_eq!(wrong.err().unwrap().code(), "authority.key");
    assert!(mesh.open(&path).unwrap().report().torn.is_none());
}
