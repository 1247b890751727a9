//! History older than the state's memory: complete, and made anew whenever the index is not what it should be.

use crate::rig::{Member, Mesh, id16, runtime};
use hive_authority::AuthorityHandle;
use hive_protocol::{
    authority::{Answer, Ask, LedgerLine},
    command::CommandBody,
    ids::{AccountId, CommandId, HoldId, LeaseId},
    money::MicroCpt,
    time::Millis,
};
use std::{
    path::Path,
    time::{Duration, Instant},
};

async fn page(handle: &AuthorityHandle, account: AccountId, before: u64, limit: u32) -> Vec<LedgerLine> {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let ask = Ask::History {
            account,
            before,
            limit,
        };
        match handle.local(ask).await {
            Ok(Answer::History(page)) => return page,
            Err(r) if r.code == "history.behind" && Instant::now() < deadline => {
                tokio::task::yield_now().await;
            }
            other => panic!("{other:?}"),
        }
    }
}

/// All lines, oldest first, read in pages.
async fn all(handle: &AuthorityHandle, account: AccountId, limit: u32) -> Vec<LedgerLine> {
    let (mut before, mut lines) = (u64::MAX, Vec::new());
    loop {
        let page = page(handle, account, before, limit).await;
        let Some(last) = page.last() else { break };
        before = last.index;
        lines.extend(page);
    }
    lines.reverse();
    lines
}

/// Many commands of all kinds that move the founder's money; returns the lines as they appeared.
async fn work(mesh: &Mesh, handle: &AuthorityHandle) -> Vec<LedgerLine> {
    let founder = mesh.founder();
    let payee = Member::new(1);
    let mut lines: Vec<LedgerLine> = page(handle, founder, u64::MAX, 200).await;
    lines.reverse();
    mesh.admit(handle, 1, 5).await;
    for n in 0..900 {
        let command = match n % 6 {
            0..3 => mesh.transfer(n, payee.account(), 1),
            3 => mesh.invite(100 + n, 3, 2, Millis::mins(1 + n % 3)),
            _ => {
                let body = CommandBody::Hold {
                    hold: HoldId(id16(8, n)),
                    lease: LeaseId(id16(9, n)),
                    payee: payee.account(),
                    amount: MicroCpt(10),
                    expires: mesh.now() + Millis::mins(1),
                };
                mesh.founders(CommandId(id16(2, n)), body)
            }
        };
        mesh.submit(handle, command).await.unwrap();
        if n % 6 == 4 {
            let body = CommandBody::Release {
                hold: HoldId(id16(8, n)),
            };
            let release = mesh.command(&payee.owner, payee.account(), CommandId(id16(1, n)), body);
            mesh.submit(handle, release).await.unwrap();
        }
        mesh.pass(Millis::secs(2));
        let known = lines.last().map_or(0, |l| l.index);
        let new = page(handle, founder, u64::MAX, 50).await;
        lines.extend(new.into_iter().filter(|l| l.index > known).rev());
    }
    lines
}

fn garble(path: &Path) {
    for entry in std::fs::read_dir(path).unwrap() {
        let file = entry.unwrap().path();
        if file.is_file() {
            let mut bytes = std::fs::read(&file).unwrap();
            bytes.iter_mut().for_each(|b| *b ^= 0x5a);
            std::fs::write(&file, bytes).unwrap();
        }
    }
}

#[test]
fn old_lines_are_all_there_whatever_happens_to_the_index() {
    let dir = tempfile::tempdir().unwrap();
    let (path, other) = (dir.path().join("ledger"), dir.path().join("other"));
    let index = path.join("history.sled");
    let mesh = Mesh::new(1);
    let founder = mesh.founder();
    runtime().block_on(async {
        let authority = mesh.create(&path).unwrap();
        let lines = work(&mesh, &authority.handle()).await;
        assert!(lines.len() > 1200, "{}", lines.len());
        let kinds: std::collections::BTreeSet<&str> = lines.iter().map(|l| l.kind.as_str()).collect();
        println!("{} lines of kinds {kinds:?}", lines.len());
        for limit in [7, 64, 200] {
            assert_eq!(
                all(&authority.handle(), founder, limit).await,
                lines,
                "limit {limit}"
            );
        }
        authority.close().unwrap();
        // Another ledger of the same mesh: its index must not be taken for this one's.
        let (start, authority) = (mesh.now(), Mesh::new(1));
        let authority = authority.create(&other).unwrap();
        for n in 0..20 {
            mesh.set_clock(crate::rig::START);
            mesh.admit(&authority.handle(), 50 + n, 1).await;
        }
        authority.close().unwrap();
        mesh.set_clock(start);
        for case in ["as it was", "missing", "garbled", "of another log"] {
            match case {
                "missing" => std::fs::remove_dir_all(&index).unwrap(),
                "garbled" => garble(&index),
                "of another log" => {
                    std::fs::remove_dir_all(&index).unwrap();
                    std::fs::rename(other.join("history.sled"), &index).unwrap();
                }
                _ => {}
            }
            let authority = mesh.open(&path).unwrap();
            assert_eq!(all(&authority.handle(), founder, 200).await, lines, "{case}");
            authority.close().unwrap();
        }
        // An index that is behind is caught up.
        let authority = mesh.open(&path).unwrap();
        authority.close().unwrap();
        let aside = dir.path().join("aside");
        copy(&index, &aside);
        let authority = mesh.open(&path).unwrap();
        let handle = authority.handle();
        for n in 2000..2100 {
            mesh.submit(&handle, mesh.transfer(n, Member::new(1).account(), 1))
                .await
                .unwrap();
        }
        authority.close().unwrap();
        std::fs::remove_dir_all(&index).unwrap();
        copy(&aside, &index);
        let authority = mesh.open(&path).unwrap();
        let now = all(&authority.handle(), founder, 200).await;
        assert!(now.len() >= lines.len() + 100 && now[..lines.len()] == lines);
    });
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to.join(entry.file_name()));
        } else {
            std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}
