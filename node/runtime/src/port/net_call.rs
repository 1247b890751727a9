//! Calls that concern the network. They are answered by the daemon's loop, what takes time in a task of its own.

use super::{Reply, net_views::*};
use crate::config::RelayMode;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What to change of a relay's limits, by their names in [`crate::config::RelayLimits`]; what is not named stays.
pub type RelayChange = BTreeMap<String, u64>;

/// What a relay shall do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RelayDo {
    /// Take nothing new; what runs goes on.
    Drain,
    /// Take new ones again.
    Resume,
    /// Relay always, never, or once it is reachable from everywhere; until the daemon ends.
    Mode(RelayMode),
    /// Take these limits, now and until the daemon ends.
    Limit(RelayChange),
}

/// Everything about the network that can be asked.
#[derive(Debug)]
#[allow(missing_docs)] // each variant is documented at the method of the handle that sends it
pub enum NetCall {
    Check { fresh: bool, reply: Reply<NetCheckView> },
    Peers { reply: Reply<Vec<PathView>> },
    Paths { node: String, reply: Reply<PathsView> },
    Trace { node: String, reply: Reply<PathsView> },
    Relay { reply: Reply<RelayView> },
    RelayDo { what: RelayDo, reply: Reply<RelayView> },
}
