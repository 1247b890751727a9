//! One received mirror: what is kept of it, what it shows, and whether a new one may come.

use super::{
    attempt::Memory,
    port::{InState, News, Offer, ReplicaView},
};
use crate::{
    error::SyncError,
    rows::{InRow, Key},
};
use hive_protocol::time::Timestamp;
use hive_transfer::mirror::{Newest, State};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};
use tokio::sync::watch;

/// Mirrors a node receives.
const MAX_REPLICAS: usize = 256;

/// One received mirror.
pub(super) struct Replica {
    pub(super) row: InRow,
    pub(super) newest: Newest,
    pub(super) view: ReplicaView,
    /// Who wants to hear of which state.
    pub(super) news: Vec<(u64, Arc<dyn News>)>,
    /// Set while it is being applied.
    pub(super) work: Option<(Arc<AtomicBool>, watch::Sender<bool>)>,
    pub(super) memory: Option<Memory>,
    pub(super) forced: bool,
    /// To be forgotten as soon as nothing works on it.
    pub(super) removed: bool,
}

/// Whether a new mirror may come into its folder.
pub(super) fn admit(replicas: &BTreeMap<Key, Replica>, offer: &Offer) -> Result<(), SyncError> {
    let dir = &offer.dir;
    if !dir.is_absolute() {
        return Err(SyncError::NotAFolder { path: dir.clone() });
    }
    if replicas.len() >= MAX_REPLICAS {
        return Err(SyncError::TooMany { limit: MAX_REPLICAS });
    }
    let clash = replicas.values().find(|r| {
        let other = Path::new(&r.row.dir);
        other.starts_with(dir) || dir.starts_with(other)
    });
    match clash {
        Some(other) => Err(SyncError::FolderTaken {
            dir: dir.clone(),
            by: other.row.sync.to_string(),
        }),
        None => Ok(()),
    }
}

pub(super) fn first_row(offer: &Offer, now: Timestamp) -> Result<InRow, SyncError> {
    let path = offer.dir.clone();
    let dir = offer
        .dir
        .to_str()
        .ok_or(SyncError::NotAFolder { path })?
        .to_owned();
    Ok(InRow {
        sync: offer.sync,
        from: offer.from,
        dir,
        name: offer.name.clone(),
        hints: offer.hints.clone(),
        priority: offer.priority,
        transfer: offer.transfer,
        // The state itself is announced like every later one.
        seq: 0,
        root: offer.root,
        versions: offer.versions,
        whole: None,
        changed: now,
    })
}

impl Replica {
    pub(super) fn new(row: InRow) -> Self {
        let state = State {
            seq: row.seq,
            root: row.root,
            versions: row.versions,
        };
        let whole = row.whole.is_some_and(|(seq, _)| seq == row.seq);
        let view = ReplicaView {
            sync: row.sync,
            from: row.from,
            name: row.name.clone(),
            dir: PathBuf::from(&row.dir),
            seq: row.seq,
            root: row.root,
            state: if whole { InState::Whole } else { InState::Waiting },
            detail: String::new(),
            done: 0,
            total: 0,
            conflicts: Vec::new(),
            refused: Vec::new(),
            refused_count: 0,
            changed: row.changed,
        };
        Self {
            newest: Newest::restored((row.seq > 0).then_some(state), whole),
            row,
            view,
            news: Vec::new(),
            work: None,
            memory: Some(Memory::default()),
            forced: false,
            removed: false,
        }
    }

    pub(super) fn halt(&self) {
        if let Some((flag, sender)) = &self.work {
            flag.store(true, Ordering::Relaxed);
            sender.send_replace(true);
        }
    }
}
