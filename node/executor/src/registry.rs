//! The runtimes of this node by name. A new runtime is one `insert` by whoever wires the node.

use crate::lease::Executor;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Executors by name.
#[derive(Default, Clone)]
pub struct Registry {
    by_name: BTreeMap<&'static str, Arc<dyn Executor>>,
}

impl Registry {
    /// Enters an executor under its own name; an earlier one of that name is replaced.
    pub fn insert(&mut self, executor: Arc<dyn Executor>) {
        self.by_name.insert(executor.name(), executor);
    }

    /// The executor of that name, if this node has it.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Arc<dyn Executor>> {
        self.by_name.get(name)
    }

    /// All names, sorted: what the node can offer.
    pub fn names(&self) -> impl Iterator<Item = &'static str> + '_ {
        self.by_name.keys().copied()
    }
}
