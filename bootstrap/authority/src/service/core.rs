//! The ordering thread: the only owner of state and log.
//!
//! **Order of things.** A batch is whatever waits, at most [`MAX_BATCH`] requests. Each is applied to the state in
//! memory at once and its record queued; then one write and one fdatasync; only then are the answers of the whole
//! batch given, queries included. So nothing that is not durable is ever seen: the state leaves this thread only
//! in answers, and every answer made from a state waits for the sync that covers that state. When the sync fails
//! the answers become refusals, the state is dropped with all that was not durable, and the process must be
//! started again. There is no timer: an idle authority syncs at once, a busy one lets commands gather behind the
//! sync under way.
//!
//! A refused or repeated command writes nothing. What ends by time is never ended by such a command: when something
//! is due, a tick is logged first, so that an expiry anybody has seen is in the log.

use super::{Clock, Metrics, Notice};
use crate::{
    history::{Feed, Writer, touched},
    log::{Log, LogError, MAX_BATCH_BYTES},
};
use hive_protocol::{
    authority::{Answer, Ask, Heartbeat, LedgerLine},
    command::Refusal,
    credential::Credential,
    ids::{AccountId, NodeId},
    time::{MAX_CLOCK_SKEW, Timestamp},
};
use hive_state::{Accepted, Applied, Entry, Liveness, Prepared, State};
use std::{
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{Receiver, RecvTimeoutError},
    },
    time::{Duration, Instant},
};
use tokio::sync::{broadcast, oneshot};

/// Requests answered by one sync at most: bounds how long the first of them waits.
pub const MAX_BATCH: usize = 1024;
/// The term of every record while there is one authority.
pub(super) const TERM: u64 = 1;
/// The thread looks at the clock at least this often, so that a clock that was set is noticed.
const LOOK_AT_CLOCK: Duration = Duration::from_secs(1);

pub(super) type Reply<T> = oneshot::Sender<Result<T, Refusal>>;

/// A verified command, ready to order.
pub(super) struct Ready {
    pub prepared: Prepared,
    pub payload: Vec<u8>,
}

/// What a newcomer gets, before signing.
pub(super) struct Admission {
    pub credential: Credential,
    pub peers: Vec<(NodeId, Vec<String>)>,
}

/// What the thread is asked.
pub(super) enum Job {
    Command(Ready, Reply<Accepted>),
    Join(Ready, NodeId, Reply<Admission>),
    Renew(NodeId, Reply<Credential>),
    Heartbeat(NodeId, Box<Heartbeat>, Reply<()>),
    /// A query; from a node of the mesh, or from this machine.
    Query(Option<NodeId>, Ask, Reply<Answer>),
    /// Runs on the state; for the local API.
    View(View),
    Stop,
}

/// Looks at the state and returns what is to be answered once that state is durable.
pub(super) type View = Box<dyn FnOnce(&State, &Liveness, Timestamp) -> Held + Send>;

/// An answer held back until the batch is durable; called with the refusal to give instead when it cannot be.
pub(super) type Held = Box<dyn FnOnce(Option<&Refusal>) + Send>;

pub(super) struct Core {
    log: Log,
    pub(super) state: State,
    pub(super) liveness: Liveness,
    pub(super) clock: Clock,
    metrics: Arc<Mutex<Metrics>>,
    notices: broadcast::Sender<Notice>,
    history: Option<Writer>,
    /// Lines, answers and news of the batch under way.
    lines: Vec<(AccountId, LedgerLine)>,
    held: Vec<Held>,
    pub(super) news: Vec<Notice>,
    pub(super) counts: Counts,
}

/// Counts of the batch under way.
#[derive(Default)]
pub(super) struct Counts {
    accepted: u64,
    refused: u64,
    repeated: u64,
    joined: u64,
    credentials: u64,
    pub(super) heartbeats: u64,
}

impl Core {
    pub(super) fn new(
        log: Log,
        state: State,
        clock: Clock,
        metrics: Arc<Mutex<Metrics>>,
        notices: broadcast::Sender<Notice>,
        history: Option<Writer>,
    ) -> Self {
        let mut this = Self {
            log,
            state,
            liveness: Liveness::new(),
            clock,
            metrics,
            notices,
            history,
            lines: Vec::new(),
            held: Vec::new(),
            news: Vec::new(),
            counts: Counts::default(),
        };
        this.publish(None);
        let behind = lock(&this.metrics).clock_behind;
        if behind > MAX_CLOCK_SKEW {
            tracing::warn!(
                target: "hive_authority",
                "ledger.clock: this machine's clock is {} s behind the newest record; commands are refused as expired until it has caught up. Set the clock if it is wrong",
                behind.0 / 1000
            );
        }
        this
    }

    /// Works until stopped, until every handle is gone, or until the disk fails; after that it only refuses.
    pub(super) fn run(mut self, jobs: &Receiver<Job>) -> Result<(), LogError> {
        loop {
            let first = match jobs.recv_timeout(self.patience()) {
                Ok(job) => Some(job),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => return self.log.close(),
            };
            match self.batch(first, jobs) {
                Ok(false) => {}
                Ok(true) => return self.log.close(),
                Err(e) => return Self::refuse_all(jobs, e),
            }
        }
    }

    /// How long nothing is due.
    fn patience(&self) -> Duration {
        let now = self.now();
        let due = [self.state.next_due(), self.liveness.next_due()];
        let wait = due
            .into_iter()
            .flatten()
            .min()
            .map_or(LOOK_AT_CLOCK, |due| Duration::from_millis(due.since(now).0));
        wait.min(LOOK_AT_CLOCK)
    }

    /// The time of a record written now: never before the one ahead of it, whatever the clock does.
    pub(super) fn now(&self) -> Timestamp {
        (self.clock)().max(self.state.now())
    }

    /// Takes all that waits, makes it durable, answers. True when told to stop.
    fn batch(&mut self, first: Option<Job>, jobs: &Receiver<Job>) -> Result<bool, LogError> {
        let mut stop = false;
        let mut next = first;
        let mut taken = 0;
        let result = loop {
            if let Err(e) = self.tick_if_due() {
                break Err(e);
            }
            match next.take() {
                None => break Ok(()),
                Some(Job::Stop) => {
                    stop = true;
                    break Ok(());
                }
                Some(job) => {
                    taken += 1;
                    if let Err(e) = self.job(job) {
                        break Err(e);
                    }
                }
            }
            if taken >= MAX_BATCH || self.log.waiting() >= MAX_BATCH_BYTES {
                break Ok(());
            }
            next = jobs.try_recv().ok();
        };
        for node in self.liveness.expire(self.now()) {
            self.news.push(Notice::Offline(node));
        }
        let (result, took) = match result {
            Ok(()) if self.log.waiting() > 0 => {
                let start = Instant::now();
                (self.log.sync().map(|_| ()), Some(start.elapsed()))
            }
            other => (other, None),
        };
        let refusal = result.as_ref().err().map(|e| disk_refusal(&e.to_string()));
        if let Some(refusal) = &refusal {
            tracing::error!(target: "hive_authority", "{}", refusal.detail);
            self.news = vec![Notice::Stopped(refusal.detail.clone())];
            lock(&self.metrics).stopped = Some(refusal.detail.clone());
        } else {
            self.publish(took);
            if let Some(history) = self.history.as_mut().filter(|_| took.is_some()) {
                history.feed(Feed {
                    lines: std::mem::take(&mut self.lines),
                    tip: self.log.durable(),
                });
            }
        }
        for notice in self.news.drain(..) {
            // Nobody listening is no fault.
            let _ = self.notices.send(notice);
        }
        // Answers last: who has one and subscribes then hears nothing older.
        for answer in self.held.drain(..) {
            answer(refusal.as_ref());
        }
        result.map(|()| stop)
    }

    fn publish(&mut self, took: Option<Duration>) {
        let totals = self.state.ledger().totals();
        let counts = std::mem::take(&mut self.counts);
        let mut m = lock(&self.metrics);
        if let Some(took) = took {
            m.synced(took);
        }
        m.accepted += counts.accepted;
        m.refused += counts.refused;
        m.repeated += counts.repeated;
        m.joined += counts.joined;
        m.credentials += counts.credentials;
        m.heartbeats += counts.heartbeats;
        m.entries = self.log.durable().next;
        m.last_time = self.log.durable().time;
        m.clock_behind = self.state.now().since((self.clock)());
        m.log_bytes = self.log.stats().bytes;
        m.minted = self.state.ledger().minted();
        (m.available, m.held) = totals;
        m.accounts = self.state.ledger().accounts().len() as u64;
        m.online = self.liveness.online() as u64;
    }

    fn tick_if_due(&mut self) -> Result<(), LogError> {
        let now = self.now();
        if self.state.next_due().is_none_or(|due| due > now) {
            return Ok(());
        }
        let payload = Entry::Tick
            .encode()
            .map_err(|e| LogError::Stopped { first: e.to_string() })?;
        self.order(now, &Prepared::Tick, &payload).map(|_| ())
    }

    /// Applies an entry and queues its record if it took effect.
    fn order(
        &mut self,
        now: Timestamp,
        entry: &Prepared,
        payload: &[u8],
    ) -> Result<Result<Accepted, Refusal>, LogError> {
        let index = self.log.tip().next;
        let Applied {
            outcome,
            events,
            time,
        } = self.state.apply(index, now, entry);
        if outcome.as_ref().is_ok_and(|a| !a.repeated) {
            self.log.append(TERM, time, payload)?;
            if self.history.is_some() {
                self.lines.extend(touched(&self.state, &events, index));
            }
            self.liveness.follow(&events);
            let news = events
                .into_iter()
                .map(|event| Notice::Ledger { index, time, event });
            self.news.extend(news);
        }
        Ok(outcome)
    }

    fn command(&mut self, ready: &Ready) -> Result<Result<Accepted, Refusal>, LogError> {
        let outcome = self.order(self.now(), &ready.prepared, &ready.payload)?;
        match &outcome {
            Ok(a) if a.repeated => self.counts.repeated += 1,
            Ok(_) => self.counts.accepted += 1,
            Err(_) => self.counts.refused += 1,
        }
        Ok(outcome)
    }

    fn job(&mut self, job: Job) -> Result<(), LogError> {
        match job {
            Job::Command(ready, reply) => {
                let outcome = self.command(&ready)?;
                self.hold(reply, outcome);
            }
            Job::Join(ready, node, reply) => {
                let outcome = self.command(&ready)?.and_then(|accepted| {
                    self.counts.joined += u64::from(!accepted.repeated);
                    self.admission(node)
                });
                self.hold(reply, outcome);
            }
            Job::Renew(node, reply) => {
                let credential = self.state.credential_for(&node, (self.clock)());
                self.counts.credentials += u64::from(credential.is_ok());
                self.hold(reply, credential);
            }
            Job::Heartbeat(node, heartbeat, reply) => {
                let heard = self.beat(node, *heartbeat);
                self.hold(reply, heard);
            }
            Job::Query(asker, ask, reply) => {
                let answer = self.query(asker, ask);
                self.hold(reply, answer);
            }
            Job::View(view) => {
                let held = view(&self.state, &self.liveness, self.now());
                self.held.push(held);
            }
            Job::Stop => {}
        }
        Ok(())
    }

    fn hold<T: Send + 'static>(&mut self, reply: Reply<T>, answer: Result<T, Refusal>) {
        self.held.push(held(reply, answer));
    }

    /// After a disk error: everything is refused until the handles are gone or a stop is asked for.
    fn refuse_all(jobs: &Receiver<Job>, error: LogError) -> Result<(), LogError> {
        let refusal = disk_refusal(&error.to_string());
        while let Ok(job) = jobs.recv() {
            // The asker may have gone.
            match job {
                Job::Command(_, reply) => drop(reply.send(Err(refusal.clone()))),
                Job::Join(_, _, reply) => drop(reply.send(Err(refusal.clone()))),
                Job::Renew(_, reply) => drop(reply.send(Err(refusal.clone()))),
                Job::Heartbeat(_, _, reply) => drop(reply.send(Err(refusal.clone()))),
                // Nothing durable to look at any more: the asker hears that the authority is down.
                Job::View(_) => {}
                Job::Query(_, _, reply) => drop(reply.send(Err(refusal.clone()))),
                Job::Stop => break,
            }
        }
        Err(error)
    }
}

/// Gives this answer, or the refusal, when the batch has ended.
pub(super) fn held<T: Send + 'static>(reply: Reply<T>, answer: Result<T, Refusal>) -> Held {
    Box::new(move |refusal| {
        // The asker may have gone; a command has taken effect all the same.
        let _ = reply.send(refusal.map_or(answer, |r| Err(r.clone())));
    })
}

fn disk_refusal(detail: &str) -> Refusal {
    Refusal::new("ledger.disk", detail)
}

/// A panicking reader cannot leave counts half-written, so a poisoned lock is used on.
pub(super) fn lock<T>(m: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    m.lock().unwrap_or_else(PoisonError::into_inner)
}
