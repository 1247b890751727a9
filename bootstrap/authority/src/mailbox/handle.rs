//! The mailbox's handle: bounds and checks, outside its thread.

use super::worker::{Job, Request};
use crate::service::{AuthorityHandle, Clock};
use hive_mailbox::{Input, Unfit, check};
use hive_protocol::{
    command::Refusal,
    ids::{NodeId, NoticeId},
    keys::Signed,
    notice::{MAX_MAIL, MAX_RECIPIENTS, Notice, NoticeMsg},
};
use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{SyncSender, TrySendError},
    },
    time::Duration,
};
use tokio::sync::{Semaphore, oneshot};

/// Unanswered requests of one node.
const MAX_OF_ONE: usize = 8;
/// Signature checks under way at once.
const CHECK_AT_ONCE: usize = 4;
/// An answer comes within this time, or none does: a disk that hangs must not hold streams.
const WITHIN: Duration = Duration::from_secs(10);

/// What the mailbox answers.
#[derive(Debug, Default)]
pub struct Answered {
    /// To whoever asked; `None` when it has to ask again.
    pub reply: Option<NoticeMsg>,
    /// Recipients for whom something has come.
    pub news: Vec<NodeId>,
}

struct Shared {
    authority: AuthorityHandle,
    clock: Clock,
    jobs: SyncSender<Job>,
    checks: Arc<Semaphore>,
    asking: Mutex<BTreeMap<NodeId, usize>>,
}

/// What everybody who wants something of the mailbox holds.
#[derive(Clone)]
pub struct MailboxHandle {
    shared: Arc<Shared>,
}

/// A node's unanswered request.
struct Asking<'a>(&'a Mutex<BTreeMap<NodeId, usize>>, NodeId);

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        let mut asking = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = asking.get_mut(&self.1) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                asking.remove(&self.1);
            }
        }
    }
}

fn refused(id: NoticeId, code: &str, detail: &str) -> Answered {
    let refused = Some(Refusal::new(code, detail));
    let kept = Vec::new();
    Answered {
        reply: Some(NoticeMsg::Deposited { id, kept, refused }),
        news: Vec::new(),
    }
}

impl MailboxHandle {
    pub(super) fn new(authority: AuthorityHandle, clock: Clock, jobs: SyncSender<Job>) -> Self {
        let shared = Shared {
            authority,
            clock,
            jobs,
            checks: Arc::new(Semaphore::new(CHECK_AT_ONCE)),
            asking: Mutex::new(BTreeMap::new()),
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// Tells the thread to end; false when it cannot be told.
    pub(super) fn stop(&self) -> bool {
        self.shared.jobs.send(Job::Stop).is_ok()
    }

    /// Answers a member's [`NoticeMsg::Deposit`], [`NoticeMsg::Collect`], [`NoticeMsg::Taken`] or
    /// [`NoticeMsg::Withdraw`]; other words have no answer. `from` must have been proved by the connection and let in
    /// by the membership gate. What it says is kept is on the disk.
    pub async fn ask(&self, from: NodeId, msg: NoticeMsg) -> Answered {
        let Some(_asking) = self.enter(from) else {
            return match &msg {
                NoticeMsg::Deposit { notice, .. } => match notice.peek() {
                    Ok(notice) => refused(notice.id, "mailbox.busy", "too many unanswered requests"),
                    Err(_) => Answered::default(),
                },
                _ => Answered::default(),
            };
        };
        match msg {
            NoticeMsg::Deposit { notice, recipients } => self.deposit(from, notice, recipients).await,
            NoticeMsg::Collect => self.order(from, Input::Collect(from), None).await,
            NoticeMsg::Taken(ids) if ids.len() <= MAX_MAIL => {
                self.order(from, Input::Taken(from, ids), None).await
            }
            NoticeMsg::Withdraw { id, recipients } if recipients.len() <= MAX_RECIPIENTS => {
                let input = Input::Withdraw(from, id, recipients);
                self.order(from, input, None).await
            }
            _ => Answered::default(),
        }
    }

    fn enter(&self, node: NodeId) -> Option<Asking<'_>> {
        let mut asking = self.shared.asking.lock().unwrap_or_else(PoisonError::into_inner);
        let count = asking.entry(node).or_default();
        if *count >= MAX_OF_ONE {
            return None;
        }
        *count += 1;
        Some(Asking(&self.shared.asking, node))
    }

    async fn deposit(&self, from: NodeId, signed: Signed<Notice>, recipients: Vec<NodeId>) -> Answered {
        let network = self.shared.authority.network();
        let now = (self.shared.clock)();
        let Ok(permit) = Arc::clone(&self.shared.checks).acquire_owned().await else {
            return Answered::default();
        };
        let checking = tokio::task::spawn_blocking(move || {
            let checked = check(&signed, network, from, now);
            drop(permit);
            (signed, checked)
        });
        let Ok((signed, checked)) = checking.await else {
            return Answered::default();
        };
        let notice = match checked {
            Ok(notice) => notice,
            Err(unfit) => return Self::unfit(&signed, unfit),
        };
        if recipients.len() > MAX_RECIPIENTS {
            return refused(notice.id, "mailbox.invalid", "too many recipients");
        }
        let asked = recipients.clone();
        let strangers = self.shared.authority.view(move |state, _, _| {
            let unknown = asked.into_iter().filter(|n| state.node(n).is_none());
            unknown.collect::<Vec<_>>()
        });
        let strangers = match strangers.await {
            Ok(strangers) => strangers,
            Err(refusal) => return refused(notice.id, &refusal.code, &refusal.detail),
        };
        let input = Input::Deposit {
            size: signed.bytes().len(),
            notice: Box::new(notice),
            recipients,
            strangers,
        };
        self.order(from, input, Some(signed)).await
    }

    fn unfit(signed: &Signed<Notice>, unfit: Unfit) -> Answered {
        match signed.peek() {
            Ok(notice) => refused(notice.id, unfit.code(), &unfit.to_string()),
            Err(_) => Answered::default(),
        }
    }

    async fn order(&self, from: NodeId, input: Input, signed: Option<Signed<Notice>>) -> Answered {
        let id = match &input {
            Input::Deposit { notice, .. } => Some(notice.id),
            _ => None,
        };
        let busy = |why| id.map_or_else(Answered::default, |id| refused(id, "mailbox.busy", why));
        let (reply, answer) = oneshot::channel();
        let request = Request {
            from,
            input,
            signed,
            reply,
        };
        match self.shared.jobs.try_send(Job::Ask(Box::new(request))) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => return busy("too many requests wait"),
            Err(TrySendError::Disconnected(_)) => return busy("it is being stopped"),
        }
        match tokio::time::timeout(WITHIN, answer).await {
            Ok(Ok(answered)) => answered,
            Ok(Err(_)) => busy("it is being stopped"),
            // It may have been kept all the same: keeping it twice does no harm.
            Err(_) => busy("its disk does not answer"),
        }
    }
}
