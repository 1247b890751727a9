//! Which contents grow here at the moment: who asks what is here may wait for news of them.

use hive_protocol::ids::BlobHash;
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::sync::watch;

type Table = BTreeMap<BlobHash, (u64, watch::Receiver<u64>)>;

/// The contents that grow. Clones share the table; it has a row for each content being pulled.
#[derive(Debug, Clone, Default)]
pub struct News(Arc<Mutex<Table>>);

/// Says that a content has grown. Its row ends with it.
#[derive(Debug)]
pub struct Teller {
    news: News,
    hash: BlobHash,
    id: u64,
    sender: watch::Sender<u64>,
}

impl News {
    fn lock(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A content begins to grow. If two grow at once, the later one is heard.
    pub fn begin(&self, hash: BlobHash) -> Teller {
        let (sender, receiver) = watch::channel(0);
        let mut table = self.lock();
        let id = table.get(&hash).map_or(0, |(id, _)| id.wrapping_add(1));
        table.insert(hash, (id, receiver));
        Teller {
            news: self.clone(),
            hash,
            id,
            sender,
        }
    }

    /// News of a content, if it grows.
    pub fn of(&self, hash: &BlobHash) -> Option<watch::Receiver<u64>> {
        self.lock().get(hash).map(|(_, receiver)| receiver.clone())
    }
}

impl Teller {
    /// It has grown.
    pub fn grown(&self) {
        self.sender.send_modify(|n| *n = n.wrapping_add(1));
    }
}

impl Drop for Teller {
    fn drop(&mut self) {
        let mut table = self.news.lock();
        if table.get(&self.hash).is_some_and(|(id, _)| *id == self.id) {
            table.remove(&self.hash);
        }
    }
}
