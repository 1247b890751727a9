//! Words of servers that have dialed back, matched with the tests that wait for them.

use super::wire::{self, DialBack, DialBackResponse};
use crate::{registry::Inbound, stream::NetStream};
use hive_protocol::ids::NodeId;
use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{io::AsyncWriteExt, sync::oneshot, time::timeout};

/// Tests of this node's own addresses at a time.
pub(super) const MAX_EXPECTED: usize = 64;
/// A word is said within this time.
const WORD: Duration = Duration::from_secs(4);

/// The words waited for.
#[derive(Debug, Clone, Default)]
pub(crate) struct DialBacks(Arc<Mutex<BTreeMap<u64, oneshot::Sender<NodeId>>>>);

/// One word waited for; given up when dropped.
#[derive(Debug)]
pub(super) struct Expected {
    nonce: u64,
    heard: oneshot::Receiver<NodeId>,
    all: DialBacks,
}

impl Drop for Expected {
    fn drop(&mut self) {
        let mut all = self.all.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.remove(&self.nonce);
    }
}

impl Expected {
    /// Who has said the word. Cancel safe.
    pub(super) async fn heard(&mut self) -> Option<NodeId> {
        (&mut self.heard).await.ok()
    }
}

impl DialBacks {
    /// Waits for this word; none when too many are waited for.
    pub(super) fn expect(&self, nonce: u64) -> Option<Expected> {
        let (sender, heard) = oneshot::channel();
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= MAX_EXPECTED {
            return None;
        }
        all.insert(nonce, sender);
        drop(all);
        Some(Expected {
            nonce,
            heard,
            all: self.clone(),
        })
    }

    fn said(&self, nonce: u64, by: NodeId) -> bool {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.remove(&nonce).is_some_and(|waiting| waiting.send(by).is_ok())
    }

    /// Takes words until the service ends; the tasks are bounded by the streams a peer may have open.
    pub(super) async fn serve(self, mut inbound: Inbound) {
        while let Some((node, stream)) = inbound.accept().await {
            let all = self.clone();
            tokio::spawn(async move {
                match timeout(WORD, all.hear(node, stream)).await {
                    Ok(Ok(())) => {}
                    Ok(Err(e)) => tracing::debug!(?node, "a word of a test broke off: {e}"),
                    Err(_) => tracing::debug!(?node, "a word of a test was not said in time"),
                }
            });
        }
    }

    async fn hear(&self, node: NodeId, mut stream: NetStream) -> io::Result<()> {
        let word: DialBack = wire::read(&mut stream).await?;
        if !self.said(word.nonce, node) {
            return Err(io::Error::other("nobody waits for it"));
        }
        wire::write(&mut stream, &DialBackResponse { status: 0 }).await?;
        stream.shutdown().await
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[tokio::test]
    async fn a_word_is_taken_once_and_forgotten_when_nobody_waits() {
        let all = DialBacks::default();
        let node = NodeId([1; 32]);
        let mut one = all.expect(7).unwrap();
        assert!(!all.said(8, node));
        assert!(all.said(7, node));
        assert!(!all.said(7, node));
        assert_eq!(one.heard().await, Some(node));
        let kept: Vec<_> = (0..2 * MAX_EXPECTED).map(|n| all.expect(n as u64)).collect();
        assert_eq!(kept.iter().flatten().count(), MAX_EXPECTED);
        drop(kept);
        assert!(all.0.lock().unwrap().is_empty());
    }
}
