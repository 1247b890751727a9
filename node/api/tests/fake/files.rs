//! Answers about files. What is called `missing` is not there.

use super::Fake;
use hive_runtime::port::*;
use tokio::sync::mpsc;

fn row(hash: &str) -> FileRow {
    FileRow {
        hash: hash.into(),
        name: "data".into(),
        folder: false,
        size: 10,
        files: 1,
        state: "whole".into(),
        path: Some("/data".into()),
        tags: vec!["added".into()],
        shared: false,
    }
}

fn file(hash: &str) -> FileView {
    FileView {
        row: row(hash),
        entries: 0,
        skipped: vec![],
        ticket: Some("hivefile1x".into()),
        listing: vec![],
    }
}

pub fn transfer(id: &str, state: &str) -> TransferView {
    TransferView {
        transfer: id.into(),
        hash: "b1".into(),
        name: "data".into(),
        folder: false,
        dest: Some("/data".into()),
        state: state.into(),
        done: 5,
        total: 10,
        files_done: 0,
        files: 1,
        fetched: 5,
        reused: 0,
        rate: 1,
        eta_ms: Some(5000),
        stalled: None,
        error: None,
        peers: vec![],
        started: 1,
        ended: 0,
    }
}

fn notice(id: &str) -> NoticeView {
    NoticeView {
        notice: id.into(),
        kind: "file".into(),
        name: "data".into(),
        hash: Some("b1".into()),
        size: 10,
        priority: "normal".into(),
        created: 1,
        expires: 2,
        ended: false,
        recipients: vec![],
    }
}

fn item(id: &str, state: &str) -> InboxRow {
    InboxRow {
        notice: id.into(),
        from: "n1".into(),
        from_name: "heron".into(),
        kind: "file".into(),
        name: "data".into(),
        data: String::new(),
        hash: Some("b1".into()),
        size: 10,
        files: 1,
        state: state.into(),
        detail: String::new(),
        dest: None,
        transfer: None,
        received: 1,
        expires: 2,
    }
}

fn sync(id: &str) -> SyncView {
    SyncView {
        sync: id.into(),
        direction: "out".into(),
        dir: "/data".into(),
        nodes: vec![],
        watch: true,
        versions: 0,
        seq: 1,
        hash: None,
        files: 1,
        size: 10,
        state: "idle".into(),
        detail: String::new(),
        changed: 1,
        conflicts: 0,
    }
}

fn known<T>(what: &str, id: &str, value: T) -> Result<T, Refused> {
    if id == "missing" {
        Err(NodeHandle::not_found(what, id))
    } else {
        Ok(value)
    }
}

/// The bytes `0123456789`, cut as asked; `broken` breaks off after three, `nobody` before the first.
fn bytes(what: &str, from: u64, to: Option<u64>) -> FileBytes {
    let all = b"0123456789";
    let to = to.unwrap_or(10).min(10);
    let part = all[from as usize..to as usize].to_vec();
    let (sender, pieces) = mpsc::channel(4);
    let len = part.len() as u64;
    if what == "broken" || what == "nobody" {
        if what == "broken" {
            sender.try_send(Ok(part[..3].to_vec())).unwrap();
        }
        let gone = Refused::new(Kind::Unreachable, "file.no_provider", "gone");
        sender.try_send(Err(gone)).unwrap();
    } else {
        sender.try_send(Ok(part)).unwrap();
    }
    FileBytes {
        hash: "b1".into(),
        size: 10,
        from,
        len,
        pieces,
    }
}

pub fn answer(fake: &Fake, call: FileCall) {
    // A caller that is gone hears nothing.
    macro_rules! say {
        ($reply:expr, $value:expr) => {{
            let _ = $reply.send($value);
        }};
    }
    match call {
        FileCall::Add { request, reply } => {
            fake.note(&format!("add {} {}", request.path.display(), request.share));
            say!(reply, Ok(file("b1")))
        }
        FileCall::Files { reply } => say!(reply, Ok(vec![row("b1")])),
        FileCall::File { file: id, reply } => say!(reply, known("file", &id, file(&id))),
        FileCall::Share { file: id, reply } => say!(reply, known("file", &id, file(&id))),
        FileCall::Unshare { file, reply } => say!(reply, known("file", &file, row(&file))),
        FileCall::Verify { file, reply } => say!(
            reply,
            known(
                "file",
                &file,
                VerifyView {
                    hash: file.clone(),
                    good: true,
                    bytes: 10,
                    problems: vec![],
                }
            )
        ),
        FileCall::Remove { file, reply } => say!(reply, known("file", &file, ())),
        FileCall::Gc { dry_run, reply } => say!(
            reply,
            Ok(GcView {
                dry_run,
                freed: 0,
                items: vec![],
                count: 0,
            })
        ),
        FileCall::Read {
            what,
            from,
            to,
            reply,
        } => say!(reply, known("file", &what, bytes(&what, from, to))),
        FileCall::Settings { reply, .. } => say!(reply, Ok(())),
        FileCall::SettingsWanted { reply } | FileCall::Reload { reply } => say!(reply, Ok(())),
        FileCall::Pull { request, reply } => {
            fake.note(&format!("pull {}", request.what));
            say!(reply, Ok(transfer("x1", "running")))
        }
        FileCall::Transfers { reply } => say!(reply, Ok(vec![transfer("x1", "running")])),
        FileCall::Transfer {
            transfer: id,
            wait_ms,
            reply,
        } => {
            fake.note(&format!("transfer {id} {wait_ms}"));
            say!(reply, known("transfer", &id, transfer(&id, "done")))
        }
        FileCall::TransferDo {
            transfer: id,
            what,
            reply,
        } => {
            let state = match what {
                TransferDo::Pause => "paused",
                TransferDo::Resume => "running",
                TransferDo::Cancel => "cancelled",
            };
            say!(reply, known("transfer", &id, vec![transfer(&id, state)]))
        }
        FileCall::Push { request, reply } => {
            fake.note(&format!("push {:?}", request.to));
            say!(reply, Ok(notice("u1")))
        }
        FileCall::Notices { reply } => say!(reply, Ok(vec![notice("u1")])),
        FileCall::Notice {
            notice: id, reply, ..
        } => say!(reply, known("notice", &id, notice(&id))),
        FileCall::NoticeCancel { notice: id, reply } => say!(reply, known("notice", &id, notice(&id))),
        FileCall::Inbox { reply } => say!(reply, Ok(vec![item("u2", "asking")])),
        FileCall::InboxItem { notice, reply } => {
            say!(reply, known("inbox", &notice, item(&notice, "asking")))
        }
        FileCall::InboxAccept { notice, reply, .. } => {
            say!(reply, known("inbox", &notice, item(&notice, "waiting")))
        }
        FileCall::InboxDecline {
            notice,
            reason,
            reply,
        } => {
            fake.note(&format!("decline {reason}"));
            say!(reply, known("inbox", &notice, item(&notice, "declined")))
        }
        FileCall::SyncStart { reply, .. } => say!(reply, Ok(sync("s1"))),
        FileCall::Syncs { reply } => say!(reply, Ok(vec![sync("s1")])),
        FileCall::Sync { sync: id, reply, .. } => say!(reply, known("sync", &id, sync(&id))),
        FileCall::SyncRemove { sync, reply } => say!(reply, known("sync", &sync, ())),
    }
}
