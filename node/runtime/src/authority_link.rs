//! The way to the authorities: the one in this process, or a long-lived stream to one elsewhere.
//!
//! Every question has a deadline. While a way is being found, just after a start or after the loss of the stream, a
//! question waits for it. When no authority answers, it fails with `authority.unreachable` and the daemon is told that
//! the authorities are away; a task of this module keeps trying to get back.

use crate::membership::Standing;
use hive_authority::AuthorityHandle;
use hive_net::{FrameReader, FrameSender, NetHandle};
use hive_protocol::{
    authority::{Answer, Ask, MAX_IN_FLIGHT, PROTOCOL, Request, Response},
    command::Refusal,
    ids::NodeId,
};
use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::sync::{Semaphore, mpsc, oneshot, watch};

/// How long an answer may take before the authority counts as away.
pub const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// Pause between two attempts to reach an authority.
const RETRY_EVERY: Duration = Duration::from_millis(500);
/// Questions that may wait for the stream; more wait for a place.
const QUEUE: usize = 256;

/// A clonable way to ask the authorities.
#[derive(Clone)]
pub struct AuthorityLink {
    inner: Arc<Inner>,
}

enum Inner {
    Here {
        node: NodeId,
        authority: AuthorityHandle,
    },
    Away {
        asks: mpsc::Sender<(Ask, oneshot::Sender<Answer>)>,
        up: watch::Receiver<bool>,
        /// Whether a way is being found: not all authorities have been tried in vain since there was none.
        finding: watch::Receiver<bool>,
        places: Semaphore,
    },
}

fn away() -> Refusal {
    Refusal::new(
        "authority.unreachable",
        "no authority answers; what needs one waits until one does",
    )
}

impl AuthorityLink {
    /// To the authority in this process.
    #[must_use]
    pub fn here(node: NodeId, authority: AuthorityHandle) -> Self {
        Self {
            inner: Arc::new(Inner::Here { node, authority }),
        }
    }

    /// To an authority elsewhere; starts the task that keeps the stream up until all links are dropped.
    #[must_use]
    pub fn away(net: NetHandle, standing: Standing) -> Self {
        let (asks, queue) = mpsc::channel(QUEUE);
        let (up_tx, up) = watch::channel(false);
        let (finding_tx, finding) = watch::channel(true);
        tokio::spawn(keep_up(net, standing, queue, up_tx, finding_tx));
        // Half of what the authority takes from one peer: our own questions never meet `authority.busy`.
        let places = Semaphore::new(MAX_IN_FLIGHT / 2);
        Self {
            inner: Arc::new(Inner::Away {
                asks,
                up,
                finding,
                places,
            }),
        }
    }

    /// Whether an authority answers, and changes of it.
    #[must_use]
    pub fn up(&self) -> Option<watch::Receiver<bool>> {
        match &*self.inner {
            Inner::Here { .. } => None,
            Inner::Away { up, .. } => Some(up.clone()),
        }
    }

    /// Whether an authority answers now: a question need not wait for a way to one.
    #[must_use]
    pub fn is_up(&self) -> bool {
        match &*self.inner {
            Inner::Here { .. } => true,
            Inner::Away { up, .. } => *up.borrow(),
        }
    }

    /// Asks, and waits for the answer; first for the way to an authority while that is being found.
    ///
    /// # Errors
    /// The authority's refusal, or `authority.unreachable`.
    pub async fn ask(&self, ask: Ask) -> Result<Answer, Refusal> {
        let answer = match &*self.inner {
            Inner::Here { node, authority } => {
                authority.ask(*node, Request { number: 0, body: ask }).await.body
            }
            Inner::Away {
                asks,
                up,
                finding,
                places,
            } => {
                let asking = async {
                    finding.clone().wait_for(|finding| !finding).await.ok()?;
                    if !*up.borrow() {
                        return None;
                    }
                    let _place = places.acquire().await.ok()?;
                    let (reply, answer) = oneshot::channel();
                    asks.send((ask, reply)).await.ok()?;
                    answer.await.ok()
                };
                tokio::time::timeout(ANSWER_WITHIN, asking)
                    .await
                    .ok()
                    .flatten()
                    .ok_or_else(away)?
            }
        };
        match answer {
            Answer::Refused(refusal) => Err(refusal),
            other => Ok(other),
        }
    }
}

type Waiting = Arc<Mutex<BTreeMap<u64, oneshot::Sender<Answer>>>>;

fn lock(waiting: &Waiting) -> std::sync::MutexGuard<'_, BTreeMap<u64, oneshot::Sender<Answer>>> {
    waiting.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn keep_up(
    net: NetHandle,
    standing: Standing,
    mut queue: mpsc::Receiver<(Ask, oneshot::Sender<Answer>)>,
    up: watch::Sender<bool>,
    finding: watch::Sender<bool>,
) {
    let numbers = AtomicU64::new(1);
    // Whether a stream broke in this round: the next one tries to get back.
    let mut lost = false;
    loop {
        for authority in standing.authorities() {
            if queue.is_closed() && queue.is_empty() {
                return;
            }
            let Ok(stream) = net.open(authority, PROTOCOL).await else {
                continue;
            };
            up.send_replace(true);
            finding.send_replace(false);
            tracing::info!(target: "hive_runtime::authority", ?authority, "authority answers");
            let (reader, writer) = stream.split();
            let (sender, _task) = FrameSender::<Request>::spawn(writer);
            let waiting: Waiting = Arc::default();
            let mut answers = tokio::spawn(read_answers(FrameReader::new(reader), Arc::clone(&waiting)));
            let ended = serve(&mut queue, &sender, &mut answers, &waiting, &numbers).await;
            answers.abort();
            lock(&waiting).clear();
            // Whoever asks now waits until it has been tried to get back.
            lost = true;
            finding.send_replace(true);
            up.send_replace(false);
            if ended {
                return;
            }
            tracing::warn!(target: "hive_runtime::authority", ?authority, "authority is away");
        }
        if !std::mem::take(&mut lost) {
            finding.send_replace(false);
        }
        // What waited for the stream that broke fails at once instead of running into its deadline.
        while let Ok((_, reply)) = queue.try_recv() {
            drop(reply);
        }
        tokio::select! {
            () = tokio::time::sleep(RETRY_EVERY) => {}
            () = up.closed() => return,
        }
    }
}

/// Passes questions on until the stream breaks (false) or nobody asks any more (true).
async fn serve(
    queue: &mut mpsc::Receiver<(Ask, oneshot::Sender<Answer>)>,
    sender: &FrameSender<Request>,
    answers: &mut tokio::task::JoinHandle<()>,
    waiting: &Waiting,
    numbers: &AtomicU64,
) -> bool {
    loop {
        let asked = tokio::select! {
            asked = queue.recv() => asked,
            () = sender.closed() => return false,
            _ = &mut *answers => return false,
        };
        let Some((body, reply)) = asked else { return true };
        let number = numbers.fetch_add(1, Ordering::Relaxed);
        {
            let mut waiting = lock(waiting);
            waiting.retain(|_, reply| !reply.is_closed());
            waiting.insert(number, reply);
        }
        if sender.send(&Request { number, body }).await.is_err() {
            return false;
        }
    }
}

async fn read_answers(mut reader: FrameReader<Response, hive_net::NetReader>, waiting: Waiting) {
    while let Ok(Some(response)) = reader.next().await {
        if let Some(reply) = lock(&waiting).remove(&response.number) {
            // The asker may have given up: then nobody wants the answer.
            let _ = reply.send(response.body);
        }
    }
}
