//! What the parts of a folder's transfer have brought, gathered for those who watch it.

use crate::pull::{
    observe::Sum,
    report::{ContentReport, PeerShare, Standing},
};
use hive_protocol::ids::NodeId;
use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};
use tokio::sync::watch;

#[derive(Default)]
struct State {
    /// Contents being pulled now, by entry.
    running: BTreeMap<u32, watch::Receiver<ContentReport>>,
    /// What ended contents and batches of small ones have brought.
    shares: BTreeMap<NodeId, PeerShare>,
    fetched: u64,
    files: u64,
    dropped: BTreeMap<NodeId, String>,
    /// Why small files do not come.
    small: Standing,
    /// Whether there is no room for small files that have come.
    full: bool,
}

/// The board. Shared by the tasks of one transfer.
#[derive(Default)]
pub struct Board(Mutex<State>);

impl Board {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A content begins.
    pub fn begin(&self, entry: u32, report: watch::Receiver<ContentReport>) {
        self.lock().running.insert(entry, report);
    }

    /// A content has ended.
    pub fn end(&self, entry: u32, done: bool) {
        let mut state = self.lock();
        let Some(report) = state.running.remove(&entry) else {
            return;
        };
        let report = report.borrow().clone();
        state.fetched = state.fetched.saturating_add(report.fetched);
        state.files = state.files.saturating_add(u64::from(done));
        state.dropped.extend(report.dropped);
        for share in report.peers {
            add(&mut state.shares, share);
        }
    }

    /// A batch of small files came.
    pub fn batch(&self, node: NodeId, path: &'static str, bytes: u64, files: u64) {
        let mut state = self.lock();
        state.fetched = state.fetched.saturating_add(bytes);
        state.files = state.files.saturating_add(files);
        let share = PeerShare {
            node,
            path,
            whole: true,
            bytes,
            rate: 0,
        };
        add(&mut state.shares, share);
    }

    /// Files that were here already.
    pub fn found(&self, files: u64) {
        self.lock().files += files;
    }

    /// A provider is not asked any more.
    pub fn drop_peer(&self, node: NodeId, why: String) {
        self.lock().dropped.insert(node, why);
    }

    /// Why small files come or not.
    pub fn small(&self, standing: Standing) {
        self.lock().small = standing;
    }

    /// Verified bytes of the contents that are being pulled now.
    pub fn running_here(&self) -> u64 {
        let state = self.lock();
        state.running.values().map(|r| r.borrow().here).sum()
    }

    /// Whether small files that have come find no room.
    pub fn full(&self, full: bool) {
        self.lock().full = full;
    }

    /// All of it; `here` and totals are the caller's.
    pub fn sum(&self) -> Sum {
        let state = self.lock();
        let mut peers = state.shares.clone();
        let (mut fetched, mut standing) = (state.fetched, state.small.clone());
        let mut dropped = state.dropped.clone();
        for report in state.running.values() {
            let report = report.borrow();
            fetched = fetched.saturating_add(report.fetched);
            dropped.extend(report.dropped.clone());
            for share in &report.peers {
                add(&mut peers, share.clone());
            }
            standing = report.standing.clone();
        }
        if state.full {
            standing = Standing::DiskFull;
        }
        Sum {
            fetched,
            files: (state.files, 0),
            peers: peers.into_values().collect(),
            dropped,
            standing,
            ..Sum::default()
        }
    }
}

fn add(shares: &mut BTreeMap<NodeId, PeerShare>, share: PeerShare) {
    match shares.get_mut(&share.node) {
        Some(known) => {
            known.bytes = known.bytes.saturating_add(share.bytes);
            known.rate = known.rate.saturating_add(share.rate);
            known.whole |= share.whole;
            if !share.path.is_empty() {
                known.path = share.path;
            }
        }
        None => {
            shares.insert(share.node, share);
        }
    }
}
