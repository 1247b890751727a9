//! Bytes moved since the start, by way and path, for the metrics page.

use hive_files::{Files, TransferView};
use hive_protocol::ids::TransferId;
use std::collections::BTreeMap;

type Sums = BTreeMap<&'static str, u64>;

/// What was counted. Transfers that are forgotten stay in the sums.
#[derive(Debug, Default)]
pub(super) struct Counting {
    /// What of each known transfer is in the sums already; bounded by the engine's own bound on transfers.
    seen: BTreeMap<TransferId, Sums>,
    got: Sums,
}

/// Bytes of content, by path.
#[derive(Debug, Clone, Default)]
pub struct Moved {
    /// That came, for each path: `direct`, `mesh`, `relayed`.
    pub got: Vec<(&'static str, u64)>,
    /// That went.
    pub given: u64,
}

fn sums(view: &TransferView) -> Sums {
    let mut sums = Sums::new();
    for peer in &view.peers {
        *sums.entry(peer.path).or_default() += peer.bytes;
    }
    sums
}

impl Counting {
    /// Takes in where the transfers stand and says what was moved so far.
    pub(super) fn look(&mut self, files: &Files) -> Moved {
        self.take(&files.transfers());
        Moved {
            got: self.got.iter().map(|(path, n)| (*path, *n)).collect(),
            given: files.sent(),
        }
    }

    fn take(&mut self, views: &[TransferView]) {
        let mut known = BTreeMap::new();
        for view in views {
            let now = sums(view);
            let before = self.seen.remove(&view.id).unwrap_or_default();
            for (path, n) in &now {
                let counted = before.get(path).copied().unwrap_or(0);
                *self.got.entry(path).or_default() += n.saturating_sub(counted);
            }
            known.insert(view.id, now);
        }
        self.seen = known;
    }
}
