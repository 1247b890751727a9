//! Who may have what one transfer pulls: named by its request, by other providers, by the hash table.

use crate::request::{Hint, MAX_HINTS};
use hive_net::NetHandle;
use hive_protocol::ids::{BlobHash, NodeId};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{sync::watch, time::Instant};

/// The hash table is asked about one root at most this often.
const LOOKUP_EVERY: Duration = Duration::from_secs(10);

struct State {
    known: BTreeMap<NodeId, Hint>,
    /// In order of arrival: the order in which they are asked.
    order: Vec<NodeId>,
    looked: Option<Instant>,
}

/// The providers of one transfer. Clones share them.
#[derive(Clone)]
pub struct Providers {
    root: BlobHash,
    me: NodeId,
    lookup: Option<NetHandle>,
    state: Arc<Mutex<State>>,
    count: Arc<watch::Sender<usize>>,
}

impl Providers {
    /// Those named; with a network the hash table is asked when they do not do.
    pub fn new(root: BlobHash, me: NodeId, hints: Vec<Hint>, lookup: Option<NetHandle>) -> Self {
        let providers = Self {
            root,
            me,
            lookup,
            state: Arc::new(Mutex::new(State {
                known: BTreeMap::new(),
                order: Vec::new(),
                looked: None,
            })),
            count: Arc::new(watch::Sender::new(0)),
        };
        providers.add(hints);
        providers
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// More of them; those over [`MAX_HINTS`] are not taken.
    pub fn add(&self, hints: Vec<Hint>) {
        let mut guard = self.lock();
        let state = &mut *guard;
        for hint in hints {
            if hint.node == self.me {
                continue;
            }
            match state.known.get_mut(&hint.node) {
                Some(known) => {
                    known.whole |= hint.whole;
                    if !hint.addrs.is_empty() {
                        known.addrs = hint.addrs;
                    }
                }
                None if state.order.len() < MAX_HINTS => {
                    state.order.push(hint.node);
                    state.known.insert(hint.node, hint);
                }
                None => {}
            }
        }
        let count = state.order.len();
        drop(guard);
        self.count
            .send_if_modified(|n| std::mem::replace(n, count) != count);
    }

    /// All from the `from`-th on.
    pub fn after(&self, from: usize) -> Vec<Hint> {
        let state = self.lock();
        let nodes = state.order.get(from..).unwrap_or_default();
        nodes.iter().filter_map(|n| state.known.get(n).cloned()).collect()
    }

    /// Changes when there are more.
    pub fn watch(&self) -> watch::Receiver<usize> {
        self.count.subscribe()
    }

    /// Asks the hash table, unless that was done just now or is not wanted.
    pub fn look(&self) {
        let Some(net) = self.lookup.clone() else { return };
        {
            let mut state = self.lock();
            if state.looked.is_some_and(|at| at.elapsed() < LOOKUP_EVERY) {
                return;
            }
            state.looked = Some(Instant::now());
        }
        let this = self.clone();
        tokio::spawn(async move {
            match net.providers(this.root).await {
                Ok(nodes) => this.add(
                    nodes
                        .into_iter()
                        .map(|node| Hint {
                            node,
                            addrs: Vec::new(),
                            whole: true,
                        })
                        .collect(),
                ),
                Err(e) => tracing::debug!(root = ?this.root, error = %e, "nobody could be looked up"),
            }
        });
    }
}
