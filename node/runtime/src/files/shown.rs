//! What the engines show, in the words of the port.

use super::{people::People, refusals::refused};
use crate::port::{InboxRow, NoticeView, RecipientRow, TransferPeer, TransferView};
use hive_files::Stage;
use hive_protocol::notice::{DeliveryState, NoticeBody, Priority};
use hive_push::{InState, InView, OutView, Standing, ToView};

const fn stage(stage: Stage) -> &'static str {
    match stage {
        Stage::Queued => "queued",
        Stage::Starting => "starting",
        Stage::Running => "running",
        Stage::Paused => "paused",
        Stage::Finishing => "finishing",
        Stage::Done => "done",
        Stage::Failed => "failed",
        Stage::Cancelled => "cancelled",
    }
}

/// A transfer.
pub(super) fn transfer_view(v: &hive_files::TransferView, people: &People) -> TransferView {
    let left = v.total.saturating_sub(v.done);
    let eta_ms = (v.stage == Stage::Running && v.total > 0)
        .then(|| left.saturating_mul(1000).checked_div(v.rate))
        .flatten();
    let peers = v.peers.iter().map(|p| TransferPeer {
        node: p.node.to_string(),
        name: people.label(&p.node),
        path: p.path.to_owned(),
        relay: None,
        whole: p.whole,
        dropped: p.dropped.clone(),
        bytes: p.bytes,
        rate: p.rate,
    });
    TransferView {
        transfer: v.id.to_string(),
        hash: v.root.to_string(),
        name: v.name.clone(),
        folder: v.folder,
        dest: v.path.as_ref().map(|p| p.to_string_lossy().into_owned()),
        state: stage(v.stage).to_owned(),
        done: v.done,
        total: v.total,
        files_done: v.files_done,
        files: v.files,
        fetched: v.fetched,
        reused: v.reused,
        rate: if v.stage.ended() { 0 } else { v.rate },
        eta_ms,
        stalled: v.stalled.as_ref().map(|s| refused(s.code, &s.why)),
        error: v.error.as_ref().map(|(code, text)| refused(code, text)),
        peers: peers.collect(),
        started: v.started.0,
        ended: v.ended.map_or(0, |t| t.0),
    }
}

const fn priority(priority: Priority) -> &'static str {
    match priority {
        Priority::Interactive => "interactive",
        Priority::Normal => "normal",
        Priority::Bulk => "bulk",
    }
}

/// What a body is: (kind, name, data).
fn body(body: &NoticeBody) -> (&'static str, String, String) {
    match body {
        NoticeBody::Text(text) => ("text", text.clone(), String::new()),
        NoticeBody::Event { kind, data } => ("event", kind.clone(), data.clone()),
        NoticeBody::File(file) if file.sync.is_some() => ("sync", file.name.clone(), String::new()),
        NoticeBody::File(file) => ("file", file.name.clone(), String::new()),
    }
}

/// A recipient of a notice.
pub(super) fn recipient(to: &ToView, size: u64, people: &People) -> RecipientRow {
    let mut row = RecipientRow {
        node: to.node.to_string(),
        name: people.label(&to.node),
        state: String::new(),
        detail: String::new(),
        done: 0,
        total: size,
    };
    let state = match &to.standing {
        Standing::Queued if to.deposited => "mailbox",
        Standing::Queued => "queued",
        Standing::Kept => "mailbox",
        Standing::Cancelled => "cancelled",
        Standing::Expired => "expired",
        Standing::At(at) => match at {
            DeliveryState::Received => "received",
            DeliveryState::Waiting(why) => {
                row.detail.clone_from(why);
                "waiting"
            }
            DeliveryState::Pulling { done, total } => {
                (row.done, row.total) = (*done, (*total).max(size));
                "pulling"
            }
            DeliveryState::Done => {
                row.done = size;
                "done"
            }
            DeliveryState::Declined(why) => {
                row.detail.clone_from(why);
                "declined"
            }
            DeliveryState::Failed(why) => {
                row.detail.clone_from(why);
                "failed"
            }
        },
    };
    row.state = state.to_owned();
    row
}

/// A notice this node sends.
pub(super) fn notice_view(v: &OutView, people: &People) -> NoticeView {
    let (kind, name, _) = body(&v.body);
    let (hash, size) = match &v.body {
        NoticeBody::File(file) => (Some(file.root.to_string()), file.size),
        _ => (None, 0),
    };
    NoticeView {
        notice: v.id.to_string(),
        kind: kind.to_owned(),
        name,
        hash,
        size,
        priority: priority(v.priority).to_owned(),
        created: v.created.0,
        expires: v.expires.0,
        ended: v.ended,
        recipients: v.to.iter().map(|to| recipient(to, size, people)).collect(),
    }
}

/// A notice this node has got.
pub(super) fn inbox_row(v: &InView, people: &People) -> InboxRow {
    let (kind, name, data) = body(&v.body);
    let (hash, size, files) = match &v.body {
        NoticeBody::File(file) => (Some(file.root.to_string()), file.size, file.files),
        _ => (None, 0, 0),
    };
    let (state, detail) = match &v.state {
        InState::Asking => ("asking", String::new()),
        InState::Waiting(why) => ("waiting", why.clone()),
        InState::Pulling { done, total, why } => {
            let moved = format!("{done} of {total} bytes");
            ("pulling", why.clone().unwrap_or(moved))
        }
        InState::Done => ("done", String::new()),
        InState::Declined(why) => ("declined", why.clone()),
        InState::Failed(why) => ("failed", why.clone()),
    };
    InboxRow {
        notice: v.id.to_string(),
        from: v.from.to_string(),
        from_name: people.label(&v.from),
        kind: kind.to_owned(),
        name,
        data,
        hash,
        size,
        files,
        state: state.to_owned(),
        detail,
        dest: v.dest.clone(),
        transfer: Some(v.transfer.to_string()).filter(|_| v.dest.is_some()),
        received: v.arrived.0,
        expires: v.expires.0,
    }
}
