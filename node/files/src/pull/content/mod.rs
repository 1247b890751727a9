//! Pulling one content: the shell of one swarm core.
//!
//! Owns the core, the asks under way and the connections being made for it. The core says what to ask of whom; the
//! lanes bring it; the partial keeps it.

mod answers;
mod effects;

use crate::{
    error::PullError,
    evidence::OnEvidence,
    mono::Mono,
    news::{News, Teller},
    providers::Providers,
    pull::{
        answer::{AskError, HaveAnswer, TreeAnswer},
        job::{SegmentEnd, SegmentJob},
        keep::{self, Keeper},
        links::{Lane, Links},
        report::{ContentReport, PeerShare, Standing},
    },
};
use hive_protocol::{
    file::{self, Via},
    ids::{BlobHash, NodeId},
    time::Millis,
};
use hive_transfer::swarm::{self, Failure, Input, Swarm};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{
    sync::{mpsc, watch},
    time::Instant,
};

/// Ends of asks, and words of peers, that may wait to be dealt with: more than the core can have under way.
const EVENTS: usize = 2 * swarm::MAX_ASKS_ALL + 4 * swarm::MAX_PEERS;
/// Bytes are told to the core, and progress to the world, this often.
const BEAT: Duration = Duration::from_millis(100);
/// After a full disk it is tried again this often.
const DISK_RETRY: Duration = Duration::from_secs(5);
/// What is verified is noted durably this often while bytes come.
const SYNC_EVERY: Duration = Duration::from_secs(30);

/// What pulling a content needs besides the content.
#[derive(Clone)]
pub struct Means {
    /// The streams.
    pub links: Links,
    /// What grows here.
    pub news: News,
    /// Told of bad providers.
    pub on_evidence: OnEvidence,
    /// A number that differs between processes.
    pub seed: u64,
}

/// What is to be pulled.
#[derive(Clone)]
pub struct Content {
    /// Which.
    pub hash: BlobHash,
    /// Why we may have it.
    pub via: Via,
    /// Its size where somebody says it. It is gone by until an answer does not fit; then the tree tells.
    pub size: Option<u64>,
    /// Whether a manifest says that size: another one is refused. A ticket or notice may say too much.
    pub exact: bool,
    /// The most bytes taken.
    pub max_size: u64,
    /// Only these bytes of it (first, one past the last): the pull ends when they are here.
    pub only: Option<(u64, u64)>,
}

/// Commands from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Wish {
    /// Stop asking.
    pub paused: bool,
    /// Give up.
    pub cancelled: bool,
    /// A reader: its first segment not read yet, and how many ahead; none when 0.
    pub reader: (u32, u32),
}

/// Something that has come to pass beside the ends of asks.
enum Event {
    Up(NodeId, Lane, bool),
    Gone(NodeId, AskError),
    Have(NodeId, Result<HaveAnswer, AskError>),
    Tree(NodeId, Result<TreeAnswer, AskError>),
    Proof(NodeId, SegmentEnd),
}

/// Who says which size a content has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Word {
    /// Whoever named the content: a manifest, ticket or notice.
    Namer,
    /// A provider, by the tree it gave.
    Giver(NodeId),
}

struct Peer {
    lane: Lane,
    received: Arc<AtomicU64>,
    told: u64,
}

/// The shell of one core.
pub struct ContentPull {
    means: Means,
    content: Content,
    keeper: Arc<Keeper>,
    providers: Providers,
    asked: usize,
    swarm: Swarm,
    mono: Mono,
    peers: BTreeMap<NodeId, Peer>,
    asks: BTreeMap<(NodeId, u32), Arc<SegmentJob>>,
    dropped: BTreeMap<NodeId, String>,
    /// Whose word for the size nothing has proven yet.
    unproven: Option<Word>,
    /// Those whose size was a lie.
    liars: BTreeSet<NodeId>,
    /// Those who refuse to give it because it is over our limit, and the size they say.
    too_large: BTreeMap<NodeId, u64>,
    /// Those named to us that are being met for the first time.
    awaited: BTreeSet<NodeId>,
    events: (mpsc::Sender<Event>, mpsc::Receiver<Event>),
    ends: (mpsc::Sender<SegmentEnd>, mpsc::Receiver<SegmentEnd>),
    report: watch::Sender<ContentReport>,
    teller: Teller,
    disk_full: Option<Instant>,
    wish: Wish,
    standing: Standing,
    fetched_gone: u64,
}

fn core(means: &Means, hash: &BlobHash) -> Swarm {
    let low = hash.0.first_chunk::<8>().map_or(0, |b| u64::from_le_bytes(*b));
    Swarm::new(swarm::Config::new(means.links.me()), means.seed ^ low)
}

impl Drop for ContentPull {
    fn drop(&mut self) {
        for job in self.asks.values() {
            job.forget();
        }
    }
}

const fn failure(e: &AskError) -> Failure {
    match e {
        AskError::NotFound | AskError::TooLarge(_) => Failure::NotFound,
        AskError::Changed => Failure::Changed,
        AskError::Busy(ms) => Failure::Busy {
            retry: Millis(*ms as u64),
        },
        AskError::Stalled => Failure::Stalled,
        AskError::Broken(_) | AskError::Wrong(_) | AskError::Corrupt => Failure::Broken,
    }
}

impl ContentPull {
    /// A pull of this content into this partial.
    pub fn new(
        means: Means,
        content: Content,
        keeper: Arc<Keeper>,
        providers: Providers,
        report: watch::Sender<ContentReport>,
    ) -> Self {
        let hash = content.hash;
        let swarm = core(&means, &hash);
        Self {
            teller: means.news.begin(hash),
            means,
            content,
            keeper,
            providers,
            asked: 0,
            swarm,
            mono: Mono::new(),
            peers: BTreeMap::new(),
            asks: BTreeMap::new(),
            dropped: BTreeMap::new(),
            unproven: None,
            liars: BTreeSet::new(),
            too_large: BTreeMap::new(),
            awaited: BTreeSet::new(),
            events: mpsc::channel(EVENTS),
            ends: mpsc::channel(EVENTS),
            report,
            disk_full: None,
            wish: Wish::default(),
            standing: Standing::Moving,
            fetched_gone: 0,
        }
    }

    /// Runs until all groups are here, or it cannot go on. What is verified stays with the partial.
    ///
    /// # Errors
    /// Cancelled, stopped, too large, or the store's refusal. That nobody gives it is no end: it waits.
    pub async fn run(mut self, mut wishes: watch::Receiver<Wish>) -> Result<(), PullError> {
        self.begin().await?;
        let mut more = self.providers.watch();
        let mut beat = tokio::time::interval(BEAT);
        beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut synced = Instant::now();
        wishes.mark_changed();
        loop {
            self.meet_new();
            if self.effects() {
                self.tell();
                return Ok(());
            }
            let wake = self.swarm.poll_timeout().map(|at| self.mono.when(at));
            let wake = wake.unwrap_or_else(|| Instant::now() + BEAT);
            tokio::select! {
                biased;
                Some(end) = self.ends.1.recv() => {
                    self.ended(end)?;
                    while let Ok(end) = self.ends.1.try_recv() {
                        self.ended(end)?;
                    }
                }
                Some(event) = self.events.1.recv() => self.event(event).await?,
                changed = wishes.changed() => {
                    let wish = if changed.is_ok() { *wishes.borrow_and_update() } else { Wish { cancelled: true, ..self.wish } };
                    self.obey(wish)?;
                }
                _ = more.changed() => {}
                () = tokio::time::sleep_until(wake) => self.handle(Input::Tick),
                _ = beat.tick() => {
                    self.count();
                    self.tell();
                    if synced.elapsed() >= SYNC_EVERY {
                        synced = Instant::now();
                        self.keeper.sync_apart();
                    }
                }
            }
        }
    }

    /// What is known already: after a resume, or because the content has one segment of known size.
    async fn begin(&mut self) -> Result<(), PullError> {
        let keeper = Arc::clone(&self.keeper);
        let known = self.content.size.filter(|size| file::segments(*size) == 1);
        if let Some(size) = self.content.size.filter(|s| *s > self.content.max_size) {
            return Err(self.over(size));
        }
        let local = keep::blocking(move || keeper.local(known)).await??;
        if let Some(local) = local {
            self.unproven = (!answers::has_end(&local)).then_some(Word::Namer);
            self.local(local);
        }
        Ok(())
    }

    fn local(&mut self, local: keep::Local) {
        self.handle(Input::Tree { size: local.size });
        for (segment, mask, hashes) in local.segments {
            self.handle(Input::Local {
                segment,
                mask,
                hashes,
            });
        }
        if let Some((from, to)) = self.content.only {
            self.leave_out(local.size, from, to);
        }
        self.teller.grown();
    }

    /// Tells the core that what lies outside a range is here, so that it does not ask for it.
    fn leave_out(&mut self, size: u64, from: u64, to: u64) {
        for segment in 0..file::segments(size) {
            let mut unwanted = 0_u64;
            for group in 0..file::groups_of(size, segment) {
                let (at, len) = file::group_span(size, segment, group);
                if at >= to || at.saturating_add(len) <= from {
                    unwanted |= 1 << group;
                }
            }
            if unwanted != 0 {
                let segment = u32::try_from(segment).unwrap_or(u32::MAX);
                self.handle(Input::Local {
                    segment,
                    mask: unwanted,
                    hashes: false,
                });
            }
        }
    }

    const fn over(&self, size: u64) -> PullError {
        PullError::TooLarge {
            hash: self.content.hash,
            size,
            limit: self.content.max_size,
        }
    }

    fn handle(&mut self, input: Input) {
        self.swarm.handle(self.mono.now(), input);
    }

    fn obey(&mut self, wish: Wish) -> Result<(), PullError> {
        if wish.cancelled {
            return Err(PullError::Cancelled);
        }
        if wish.paused != self.wish.paused {
            self.handle(if wish.paused { Input::Pause } else { Input::Resume });
        }
        if wish.reader != self.wish.reader {
            let (from, window) = wish.reader;
            self.handle(Input::Want { from, window });
        }
        self.wish = wish;
        Ok(())
    }

    /// Tells the core what has come since the last time.
    fn count(&mut self) {
        let mut news = Vec::new();
        for (node, peer) in &mut self.peers {
            let now = peer.received.load(Ordering::Relaxed);
            if now > peer.told {
                news.push((*node, now - peer.told));
                peer.told = now;
            }
        }
        for (peer, bytes) in news {
            self.handle(Input::Bytes { peer, bytes });
        }
        if self.disk_full.is_some_and(|at| at.elapsed() >= DISK_RETRY) {
            self.disk_full = None;
            if !self.wish.paused {
                self.handle(Input::Resume);
            }
        }
    }

    /// Tells how it stands.
    fn tell(&self) {
        let core = self.swarm.peers();
        let shares = core.into_iter().map(|view| PeerShare {
            node: view.peer,
            path: self.peers.get(&view.peer).map_or("", |p| p.lane.path.text()),
            whole: view.whole,
            bytes: view.received,
            rate: view.rate.unwrap_or(0),
        });
        let peers: Vec<PeerShare> = shares.collect();
        let fetched = self.fetched_gone
            + self
                .peers
                .values()
                .map(|p| p.received.load(Ordering::Relaxed))
                .sum::<u64>();
        let standing = if self.disk_full.is_some() {
            Standing::DiskFull
        } else {
            self.standing.clone()
        };
        self.report.send_replace(ContentReport {
            size: self.keeper.size().or(self.content.size),
            here: self.keeper.here(),
            fetched,
            peers,
            dropped: self.dropped.clone(),
            standing,
        });
    }
}
