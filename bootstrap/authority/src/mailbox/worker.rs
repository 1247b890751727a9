//! The mailbox's thread: one request after the other, one flush for all that wait, answers afterwards.

use super::{Answered, MailboxError, disk::Disk};
use crate::service::Clock;
use hive_mailbox::{Effect, Input, Key, Mailbox, Row};
use hive_protocol::{
    command::Refusal,
    ids::NodeId,
    keys::Signed,
    notice::{Notice, NoticeMsg},
};
use std::{
    sync::mpsc::{Receiver, RecvTimeoutError},
    time::Duration,
};
use tokio::sync::oneshot;

/// Requests served by one flush.
const BATCH: usize = 64;
/// Without requests the clock is looked at so often.
const LOOK: Duration = Duration::from_secs(60);

/// What the thread is asked.
pub(super) enum Job {
    Ask(Box<Request>),
    Stop,
}

/// A request that was checked.
pub(super) struct Request {
    pub from: NodeId,
    pub input: Input,
    /// The notice of a deposit.
    pub signed: Option<Signed<Notice>>,
    pub reply: oneshot::Sender<Answered>,
}

type Ready = (oneshot::Sender<Answered>, Answered);

pub(super) fn run(disk: &Disk, mut core: Mailbox, clock: &Clock, jobs: &Receiver<Job>) {
    loop {
        let first = match jobs.recv_timeout(LOOK) {
            Ok(job) => Some(job),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => return,
        };
        let mut stop = false;
        let mut ready: Vec<Ready> = Vec::new();
        let mut failed: Option<MailboxError> = None;
        for job in first.into_iter().chain(jobs.try_iter().take(BATCH)) {
            match job {
                Job::Ask(request) => {
                    if let Err(e) = serve(disk, &mut core, clock, *request, &mut ready) {
                        failed = Some(e);
                    }
                }
                Job::Stop => stop = true,
            }
        }
        core.handle(clock(), Input::Tick);
        let rest = drain(&mut core, None, None);
        let swept = disk.apply(&[], &rest.rows);
        if let Err(e) = swept.and_then(|()| disk.flush()) {
            failed = Some(e);
        }
        if let Some(e) = failed {
            tracing::error!(target: "hive_authority", "{e}");
            for (_, answer) in &mut ready {
                refuse(answer, &e);
            }
            // Memory may be ahead of the disk: what is on the disk counts.
            match disk.load(clock()) {
                Ok((loaded, _)) => core = loaded,
                Err(e) => tracing::error!(target: "hive_authority", "{e}"),
            }
        }
        for (reply, answer) in ready {
            // Whoever asked may have given up.
            let _ = reply.send(answer);
        }
        if stop {
            return;
        }
    }
}

/// An answer that says that nothing was kept.
fn refuse(answer: &mut Answered, e: &MailboxError) {
    let reply = answer.reply.take();
    answer.news.clear();
    answer.reply = match reply {
        Some(NoticeMsg::Deposited { id, .. }) => Some(NoticeMsg::Deposited {
            id,
            kept: Vec::new(),
            refused: Some(Refusal::new(e.code(), e.to_string())),
        }),
        // No answer: it is asked again.
        _ => None,
    };
}

#[derive(Default)]
struct Outcome {
    stored: Vec<(Key, Signed<Notice>)>,
    rows: Vec<Row>,
    reply: Option<NoticeMsg>,
    page: Option<Vec<Key>>,
    news: Vec<NodeId>,
}

fn drain(core: &mut Mailbox, from: Option<NodeId>, signed: Option<&Signed<Notice>>) -> Outcome {
    let mut out = Outcome::default();
    while let Some(effect) = core.poll_effect() {
        match effect {
            Effect::Write(row) => out.rows.push(row),
            Effect::Store(key) => out.stored.extend(signed.map(|s| (key, s.clone()))),
            Effect::Deposited { key, kept, refused } => {
                let id = key.1;
                out.reply = Some(NoticeMsg::Deposited { id, kept, refused });
            }
            Effect::Page(to, keys) if Some(to) == from => out.page = Some(keys),
            Effect::Page(..) => {}
            Effect::Noted(key) => out.reply = Some(NoticeMsg::Noted(vec![key.1])),
            Effect::News(node) => out.news.push(node),
        }
    }
    out
}

fn serve(
    disk: &Disk,
    core: &mut Mailbox,
    clock: &Clock,
    request: Request,
    ready: &mut Vec<Ready>,
) -> Result<(), MailboxError> {
    let Request {
        from,
        input,
        signed,
        reply,
    } = request;
    let deposits = matches!(input, Input::Deposit { .. });
    let room = if deposits { disk.room() } else { Ok(()) };
    let id = match &input {
        Input::Deposit { notice, .. } => notice.id,
        _ => hive_protocol::ids::NoticeId::default(),
    };
    if let Err(e) = room {
        let refused = Some(Refusal::new(e.code(), e.to_string()));
        let kept = Vec::new();
        let answer = Answered {
            reply: Some(NoticeMsg::Deposited { id, kept, refused }),
            news: Vec::new(),
        };
        ready.push((reply, answer));
        return Ok(());
    }
    core.handle(clock(), input);
    let mut out = drain(core, Some(from), signed.as_ref());
    let done = disk.apply(&out.stored, &out.rows);
    if let (Some(keys), true) = (out.page, done.is_ok()) {
        let mut page = Vec::with_capacity(keys.len());
        for key in keys {
            // One that is damaged is left out; its sender still has it, or nobody has.
            page.extend(disk.notice(&key)?);
        }
        out.reply = Some(NoticeMsg::Mail(page));
    }
    let answer = Answered {
        reply: out.reply,
        news: out.news,
    };
    ready.push((reply, answer));
    done
}
