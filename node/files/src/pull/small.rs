//! Small files of a folder: many hashes in one question, all of them packed in one answer, written in one go.

use crate::{
    error::PullError,
    evidence::{Evidence, EvidenceKind},
    pull::{
        answer::AskError,
        batch::{Batch, Done, Small, SmallFiles, Taken, fetch},
        board::Board,
        keep::blocking,
        links::Lane,
        report::Standing,
        run::Engine,
    },
    request::Hint,
    transfer::Transfer,
};
use hive_protocol::{file::Via, ids::NodeId};
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
    time::Duration,
};
use tokio::{task::JoinSet, time::Instant};

/// Contents of one question.
const BATCH: usize = 512;
/// Bytes of one answer: less than a provider gives at once.
const BATCH_BYTES: u64 = 2 << 20;
/// Questions one provider may have unanswered, or answered and not written yet.
const DEPTH: usize = 4;
/// Batches that wait, at most; more are made when these have gone.
const QUEUE: usize = 32;
/// Failures in a row after which a provider is left.
const STRIKES: u32 = 4;
/// When nobody gives what is missing it is tried again after this time.
const AGAIN: Duration = Duration::from_secs(2);

struct Peer {
    lane: Option<Lane>,
    under_way: usize,
    strikes: u32,
    /// It has sent wrong bytes.
    liar: bool,
    rest_until: Option<Instant>,
}

/// The pull of all small files of one transfer.
pub struct SmallPull {
    engine: Engine,
    transfer: Transfer,
    via: Via,
    files: Arc<dyn SmallFiles>,
    board: Arc<Board>,
    queue: VecDeque<Batch>,
    exhausted: bool,
    peers: BTreeMap<NodeId, Peer>,
    asked: usize,
    tasks: JoinSet<Done>,
}

impl SmallPull {
    /// Nothing asked yet.
    pub fn new(
        engine: Engine,
        transfer: Transfer,
        via: Via,
        files: Arc<dyn SmallFiles>,
        board: Arc<Board>,
    ) -> Self {
        Self {
            engine,
            transfer,
            via,
            files,
            board,
            queue: VecDeque::new(),
            exhausted: false,
            peers: BTreeMap::new(),
            asked: 0,
            tasks: JoinSet::new(),
        }
    }

    /// Runs until all are here.
    ///
    /// # Errors
    /// The store's refusal. That nobody gives them is no end.
    pub async fn run(mut self) -> Result<(), PullError> {
        let mut more = self.transfer.0.providers.watch();
        loop {
            self.refill().await?;
            if self.queue.is_empty() && self.exhausted && self.tasks.is_empty() {
                return Ok(());
            }
            self.transfer.unpaused().await;
            self.meet_new();
            self.ask();
            if self.tasks.is_empty() {
                self.nobody();
                tokio::select! {
                    _ = more.changed() => {}
                    () = tokio::time::sleep(AGAIN) => {}
                }
                continue;
            }
            let rest = self.peers.values().filter_map(|p| p.rest_until).min();
            let rest = rest.unwrap_or_else(|| Instant::now() + AGAIN);
            tokio::select! {
                Some(done) = self.tasks.join_next() => {
                    self.done(done.map_err(|_| PullError::Stopped)?)?;
                }
                _ = more.changed() => {}
                () = tokio::time::sleep_until(rest) => {}
            }
        }
    }

    async fn refill(&mut self) -> Result<(), PullError> {
        while !self.exhausted && self.queue.len() < QUEUE / 2 {
            let files = Arc::clone(&self.files);
            let page = blocking(move || files.more()).await??;
            self.exhausted = page.is_empty();
            self.enqueue(page, &BTreeSet::new());
        }
        Ok(())
    }

    fn enqueue(&mut self, files: Vec<Small>, tried: &BTreeSet<NodeId>) {
        let (mut batch, mut bytes) = (Vec::new(), 0_u64);
        for file in files {
            if batch.len() >= BATCH || (bytes.saturating_add(file.2) > BATCH_BYTES && !batch.is_empty()) {
                self.queue.push_back(Batch {
                    files: std::mem::take(&mut batch),
                    tried: tried.clone(),
                });
                bytes = 0;
            }
            bytes = bytes.saturating_add(file.2);
            batch.push(file);
        }
        if !batch.is_empty() {
            self.queue.push_back(Batch {
                files: batch,
                tried: tried.clone(),
            });
        }
    }

    fn meet_new(&mut self) {
        let new = self.transfer.0.providers.after(self.asked);
        self.asked += new.len();
        for hint in new {
            self.connect(hint);
        }
    }

    fn connect(&mut self, hint: Hint) {
        let fresh = Peer {
            lane: None,
            under_way: 0,
            strikes: 0,
            liar: false,
            rest_until: None,
        };
        let node = hint.node;
        self.peers.entry(node).or_insert(fresh).lane = None;
        let links = self.engine.means.links.clone();
        self.tasks.spawn(async move {
            links.learn(&hint).await;
            Done::Up(node, links.bulk(node).await)
        });
    }

    /// Hands out batches to those who can take one.
    fn ask(&mut self) {
        let now = Instant::now();
        loop {
            let mut any = false;
            for (node, peer) in &mut self.peers {
                if peer.rest_until.is_some_and(|at| at > now) || peer.under_way >= DEPTH {
                    continue;
                }
                peer.rest_until = None;
                let Some(lane) = peer.lane.clone() else { continue };
                let Some(at) = self.queue.iter().position(|b| !b.tried.contains(node)) else {
                    continue;
                };
                let Some(batch) = self.queue.remove(at) else {
                    continue;
                };
                peer.under_way += 1;
                any = true;
                let (node, via) = (*node, self.via);
                let to = (Arc::clone(&self.files), Arc::clone(&self.board));
                self.tasks.spawn(fetch(node, via, lane, batch, to));
            }
            if !any {
                break;
            }
        }
        if !self.tasks.is_empty() {
            self.board.small(Standing::Moving);
        }
    }

    /// Nobody can be asked for what is left: forgets who did not have it, looks for others, and tries those again that
    /// were dropped: a provider that restarts breaks every stream for a while.
    fn nobody(&mut self) {
        let any = self.peers.values().any(|p| p.lane.is_some());
        self.board.small(if any {
            Standing::NobodyHasRest
        } else {
            Standing::NoProviders
        });
        self.transfer.0.providers.look();
        for batch in &mut self.queue {
            batch.tried.clear();
        }
        let gone = self.peers.iter_mut().filter(|(_, p)| p.lane.is_none() && !p.liar);
        let gone: Vec<NodeId> = gone
            .map(|(node, peer)| {
                // One more failure, and it is dropped again.
                peer.strikes = peer.strikes.min(STRIKES - 1);
                *node
            })
            .collect();
        for node in gone {
            self.connect(Hint {
                node,
                addrs: Vec::new(),
                whole: false,
            });
        }
    }

    fn done(&mut self, done: Done) -> Result<(), PullError> {
        match done {
            Done::Ours(e) => Err(e),
            Done::Up(node, Ok(lane)) => {
                if let Some(peer) = self.peers.get_mut(&node) {
                    peer.lane = Some(lane);
                }
                Ok(())
            }
            Done::Up(node, Err(e)) => {
                self.strike(node, &e);
                Ok(())
            }
            Done::Batch(node, batch, result) => {
                if let Some(peer) = self.peers.get_mut(&node) {
                    peer.under_way = peer.under_way.saturating_sub(1);
                }
                match result {
                    Ok(taken) => self.taken(node, batch, taken),
                    Err(e) => {
                        self.queue.push_front(batch);
                        self.strike(node, &e);
                    }
                }
                Ok(())
            }
        }
    }

    fn taken(&mut self, node: NodeId, mut batch: Batch, taken: Taken) {
        let files = batch.files.len().saturating_sub(taken.missing.len()) as u64;
        let mut path = "";
        if let Some(peer) = self.peers.get_mut(&node) {
            peer.strikes = 0;
            path = peer.lane.as_ref().map_or("", |l| l.path.text());
        }
        self.board.batch(node, path, taken.bytes, files);
        if taken.wrong {
            let root = self.transfer.request().root;
            (self.engine.means.on_evidence)(Evidence {
                node,
                hash: root,
                kind: EvidenceKind::WrongBytes,
            });
            if let Some(peer) = self.peers.get_mut(&node) {
                peer.liar = true;
            }
            self.leave(node, "it sent wrong bytes".to_owned());
        }
        if !taken.missing.is_empty() {
            if files == 0 || taken.wrong {
                batch.tried.insert(node);
            }
            // A provider that gave some gave as much as it does at once: the rest is asked again.
            let tried = batch.tried;
            self.enqueue(taken.missing, &tried);
        }
    }

    fn strike(&mut self, node: NodeId, e: &AskError) {
        let Some(peer) = self.peers.get_mut(&node) else {
            return;
        };
        let rest = match e {
            AskError::Busy(ms) => Duration::from_millis(u64::from(*ms).min(60_000)),
            _ => {
                peer.strikes += 1;
                Duration::from_secs(1 << peer.strikes.min(4))
            }
        };
        if peer.strikes >= STRIKES {
            return self.leave(node, e.to_string());
        }
        peer.rest_until = Some(Instant::now() + rest);
        if matches!(e, AskError::Broken(_) | AskError::Stalled | AskError::Wrong(_))
            && peer.lane.take().is_some()
        {
            self.connect(Hint {
                node,
                addrs: Vec::new(),
                whole: false,
            });
        }
    }

    fn leave(&mut self, node: NodeId, why: String) {
        if let Some(peer) = self.peers.get_mut(&node) {
            peer.lane = None;
            peer.strikes = STRIKES;
        }
        self.board.drop_peer(node, why);
    }
}
