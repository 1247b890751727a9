//! What one sent mirror is made with and can be asked.

use super::port::{Library, MirrorView, Sender};
use crate::rows::Rows;
use hive_protocol::{
    ids::{NodeId, SyncId},
    notice::MAX_NOTICE_NAME,
    time::Timestamp,
};
use std::{
    path::Path,
    sync::{Arc, Mutex, atomic::AtomicBool},
};
use tokio::sync::{oneshot, watch};

/// What a mirror is asked.
pub(crate) enum Order {
    /// Look at everything now; answered when it is begun.
    Look {
        allow_empty: bool,
        begun: oneshot::Sender<()>,
    },
    /// Other recipients.
    Recipients(Vec<NodeId>),
    /// Whether to watch, and how many versions.
    Watch(bool, u32),
    /// No more.
    Stop,
}

/// What a mirror is made with.
#[derive(Clone)]
pub(crate) struct Kit {
    pub(crate) rows: Rows,
    pub(crate) library: Arc<dyn Library>,
    pub(crate) sender: Arc<dyn Sender>,
    pub(crate) clock: Arc<dyn Fn() -> Timestamp + Send + Sync>,
    pub(crate) ticks: watch::Sender<u64>,
    pub(crate) cancel: Arc<AtomicBool>,
}

/// The view of a mirror, shared with those who list.
pub(crate) type View = Arc<Mutex<MirrorView>>;

/// The tag under which the store keeps a mirror's states.
pub(crate) fn tag(id: &SyncId) -> String {
    format!("sync:{id}")
}

/// The folder's name for the receivers: one plain name.
pub(crate) fn name(dir: &Path) -> String {
    let name = dir
        .file_name()
        .map(|n| n.to_string_lossy().into_owned())
        .unwrap_or_default();
    let mut name: String = name
        .chars()
        .map(|c| if c.is_control() || c == '\\' { '_' } else { c })
        .collect();
    while name.len() > MAX_NOTICE_NAME {
        name.pop();
    }
    if name.is_empty() { "root".to_owned() } else { name }
}
