//! The loop: inputs of all kinds go to the two cores, and what the cores want is done, the journal first.

use crate::{
    calls::{CALLS, Call, Reply, Signals},
    error::{PushError, StartError},
    feed::{Event, FEED, Feed},
    handle::{Push, Shared, Started, Tally, lock},
    journal,
    links::{Links, MAX_INBOUND},
    ports::Deps,
    reader::Judge,
};
use hive_net::{Inbound, ProtocolPolicy};
use hive_protocol::{ids::NodeId, notice, time::Timestamp};
use hive_transfer::notices::{
    inbox::{self, Inbox, Key},
    outbox::{self, Outbox},
    policy::Policy,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::{
    sync::{Notify, broadcast, mpsc},
    task::AbortHandle,
};

/// Events a listener may be behind.
const EVENTS: usize = 1024;
/// Inputs of one turn: one batch of the journal serves them all.
const BATCH: usize = 128;
/// The loop looks at the clock at least so often: it may have jumped.
const LOOK: Duration = Duration::from_secs(30);

/// The two cores, locked for moments only.
pub(crate) struct Cores {
    pub outbox: Outbox,
    pub inbox: Inbox,
}

/// One pull's attempt.
pub(crate) struct Attempt {
    pub number: u64,
    pub task: AbortHandle,
}

pub(crate) struct Engine {
    pub deps: Deps,
    pub shared: Arc<Shared>,
    pub feed: Feed,
    pub links: Links,
    pub judge: Judge,
    pub connected: BTreeSet<NodeId>,
    /// Connected recipients that are being handed their mail unasked.
    pub nudged: BTreeSet<NodeId>,
    pub pulls: BTreeMap<Key, Attempt>,
    pub next_attempt: u64,
    pub replies: Vec<(Reply, Result<(), PushError>, Option<hive_protocol::ids::NoticeId>)>,
    pub closing: bool,
    looked: std::time::Instant,
}

pub(crate) async fn start(deps: Deps, policy: Policy) -> Result<(Push, Started), StartError> {
    let mut seed = [0; 16];
    getrandom::fill(&mut seed).map_err(|e| StartError::Random(e.to_string()))?;
    let (a, b) = seed.split_at(8);
    let number = |bytes: &[u8]| bytes.iter().fold(0_u64, |n, b| (n << 8) | u64::from(*b));
    let mut outbox = Outbox::new(outbox::Config::new(deps.me), number(a));
    let mut inbox = Inbox::new(inbox::Config::new(deps.me), policy, number(b));
    let journal = Arc::clone(&deps.journal);
    let loading = tokio::task::spawn_blocking(move || {
        let damaged = journal::load(&*journal, &mut outbox, &mut inbox);
        (outbox, inbox, damaged)
    });
    let (mut outbox, mut inbox, damaged) = loading.await.map_err(|e| StartError::Random(e.to_string()))?;
    let damaged = damaged?;
    let now = (deps.clock)();
    outbox.restored(now);
    inbox.restored(now);
    let started = Started {
        sent: outbox.list(now).len(),
        received: inbox.list().len(),
        damaged,
    };
    let policy = ProtocolPolicy {
        max_inbound_per_peer: MAX_INBOUND,
        ..ProtocolPolicy::default()
    };
    let inbound = deps.net.serve(notice::PROTOCOL, policy)?;
    let (calls, from_calls) = mpsc::channel(CALLS);
    let (feed, events) = mpsc::channel(FEED);
    let tally = Arc::new(Tally::default());
    let judge = Judge {
        network: deps.network,
        me: deps.me,
        clock: Arc::clone(&deps.clock),
        tally: Arc::clone(&tally),
    };
    let shared = Arc::new(Shared {
        me: deps.me,
        network: deps.network,
        clock: Arc::clone(&deps.clock),
        sign: Arc::clone(&deps.sign),
        cores: Mutex::new(Cores { outbox, inbox }),
        calls,
        signals: Mutex::new(Signals::default()),
        signal: Notify::new(),
        events: broadcast::Sender::new(EVENTS),
        tally,
    });
    let engine = Engine {
        links: Links::new(deps.net.clone(), judge.clone(), feed.clone()),
        judge,
        shared: Arc::clone(&shared),
        feed: feed.clone(),
        connected: BTreeSet::new(),
        nudged: BTreeSet::new(),
        pulls: BTreeMap::new(),
        next_attempt: 1,
        replies: Vec::new(),
        closing: false,
        looked: std::time::Instant::now(),
        deps,
    };
    tokio::spawn(engine.run(from_calls, events, inbound));
    Ok((Push { shared }, started))
}

impl Engine {
    async fn run(
        mut self,
        mut calls: mpsc::Receiver<(Call, Reply)>,
        mut events: mpsc::Receiver<Event>,
        inbound: Inbound,
    ) {
        let accepting = tokio::spawn(accept(inbound, self.feed.clone()));
        self.look_around();
        self.settle().await;
        while !self.closing {
            let wait = self.wait();
            tokio::select! {
                call = calls.recv() => match call {
                    Some((call, reply)) => self.call(call, reply),
                    None => break,
                },
                Some(event) = events.recv() => self.event(event),
                () = self.shared.signal.notified() => {}
                () = tokio::time::sleep(wait) => {}
            }
            self.take_signals();
            for _ in 0..BATCH {
                let Ok(event) = events.try_recv() else { break };
                self.event(event);
            }
            for _ in 0..BATCH {
                let Ok((call, reply)) = calls.try_recv() else {
                    break;
                };
                self.call(call, reply);
            }
            if self.looked.elapsed() >= LOOK {
                self.look_around();
            }
            self.tick();
            self.settle().await;
        }
        accepting.abort();
        for attempt in self.pulls.values() {
            attempt.task.abort();
        }
        self.links.close_all();
    }

    pub(crate) fn now(&self) -> Timestamp {
        (self.deps.clock)()
    }

    /// How long nothing is due.
    fn wait(&self) -> Duration {
        let now = self.now();
        let cores = lock(&self.shared.cores);
        let due = [cores.outbox.poll_timeout(), cores.inbox.poll_timeout()];
        drop(cores);
        let due = due.into_iter().flatten().min();
        let wait = due.map_or(LOOK, |at| Duration::from_millis(at.since(now).0));
        // Never none at all, so that a mistake in a core costs a little time and not all of it.
        wait.clamp(Duration::from_millis(5), LOOK)
    }

    fn tick(&self) {
        let now = self.now();
        let mut cores = lock(&self.shared.cores);
        cores.outbox.handle(now, outbox::Input::Tick);
        cores.inbox.handle(now, inbox::Input::Tick);
    }

    pub(crate) fn both(&self, out: outbox::Input, inn: inbox::Input) {
        let now = self.now();
        let mut cores = lock(&self.shared.cores);
        cores.outbox.handle(now, out);
        cores.inbox.handle(now, inn);
    }

    pub(crate) fn outbox(&self, input: outbox::Input) {
        lock(&self.shared.cores).outbox.handle(self.now(), input);
    }

    pub(crate) fn inbox(&self, input: inbox::Input) {
        lock(&self.shared.cores).inbox.handle(self.now(), input);
    }

    fn take_signals(&mut self) {
        let signals = std::mem::take(&mut *lock(&self.shared.signals));
        if let Some(policy) = signals.policy {
            self.inbox(inbox::Input::Policy(Box::new(policy)));
            self.look_around();
        }
        if let Some(nodes) = signals.authorities {
            let both = (nodes.clone(), nodes);
            self.both(
                outbox::Input::Authorities(both.0),
                inbox::Input::Authorities(both.1),
            );
        }
        for (node, up) in signals.peers {
            if up {
                self.connected.insert(node);
                self.both(outbox::Input::PeerUp(node), inbox::Input::PeerUp(node));
            } else {
                self.connected.remove(&node);
                self.both(outbox::Input::PeerDown(node), inbox::Input::PeerDown(node));
            }
        }
    }

    /// The minute of the day, the room on the disk, streams nobody uses.
    fn look_around(&mut self) {
        self.looked = std::time::Instant::now();
        self.links.close_idle();
        let folder = lock(&self.shared.cores).inbox.policy().folder.clone();
        let (puller, feed) = (Arc::clone(&self.deps.puller), self.feed.clone());
        tokio::spawn(async move {
            let free = tokio::task::spawn_blocking(move || puller.free(&folder)).await;
            // When the loop has ended nobody needs it.
            let _ = feed.send(Event::Free(free.ok().flatten())).await;
        });
    }

    fn call(&mut self, call: Call, reply: Reply) {
        let now = self.now();
        let mut cores = lock(&self.shared.cores);
        let mut id = None;
        let done: Result<(), PushError> = match call {
            Call::Send(both) => {
                let may = cores.outbox.may_send(&both.0, both.1.bytes().len());
                if may.is_ok() {
                    id = Some(both.0.id);
                    cores.outbox.handle(now, outbox::Input::Send(both));
                }
                may.map_err(Into::into)
            }
            Call::Cancel(id) => {
                let may = cores.outbox.may_cancel(id);
                cores.outbox.handle(now, outbox::Input::Cancel(id));
                may.map_err(Into::into)
            }
            Call::Forget(id) => {
                let may = cores.outbox.may_forget(id);
                cores.outbox.handle(now, outbox::Input::Forget(id));
                may.map_err(Into::into)
            }
            Call::Accept(id, dest) => {
                let may = cores.inbox.may_accept(id, dest.as_deref());
                cores.inbox.handle(now, inbox::Input::Accept(id, dest));
                may.map_err(Into::into)
            }
            Call::Decline(id, why) => {
                let may = cores.inbox.may_decline(id);
                cores.inbox.handle(now, inbox::Input::Decline(id, why));
                may.map_err(Into::into)
            }
            Call::Remove(id) => {
                let may = cores.inbox.may_remove(id);
                cores.inbox.handle(now, inbox::Input::Remove(id));
                may.map_err(Into::into)
            }
            Call::Close => {
                self.closing = true;
                Ok(())
            }
        };
        drop(cores);
        self.replies.push((reply, done, id));
    }
}

async fn accept(mut inbound: Inbound, feed: Feed) {
    while let Some((node, stream)) = inbound.accept().await {
        if feed.send(Event::Inbound(node, stream)).await.is_err() {
            return;
        }
    }
}
