//! Settings and bounds of the swarm core.

use hive_protocol::{ids::NodeId, time::Millis};

/// Peers of one content at once: more would not make one content faster, and each costs a bitmap.
pub const MAX_PEERS: usize = 64;
/// Peers remembered after they have gone or been dropped (the oldest harmless ones are forgotten first).
pub const MAX_PAST: usize = 1024;
/// Asks one peer may have at once: what the protocol lets one stream have unanswered.
pub const MAX_ASKS: usize = hive_protocol::file::MAX_PIPELINE;
/// Asks at once over all peers, whatever their bandwidth: each may need a buffer of the shell.
pub const MAX_ASKS_ALL: usize = 256;
/// The longest a peer's `Busy` is believed.
pub const MAX_BUSY: Millis = Millis::secs(60);
/// Segments of a reader's window at most (1 GiB).
pub const MAX_WINDOW: u32 = 256;

/// Settings of one swarm core.
#[derive(Clone, Debug)]
pub struct Config {
    /// This node, to find its place among the fetchers of a seeder.
    pub me: NodeId,
    /// A peer with asks that sends no byte for so long has stalled: its asks go to others.
    pub stall_after: Millis,
    /// After so long without a byte the state says so.
    pub silent_after: Millis,
    /// First pause after a stall or break; doubled for each further one in a row.
    pub backoff: Millis,
    /// The longest such pause.
    pub max_backoff: Millis,
    /// Stalls or breaks in a row after which a peer is dropped.
    pub strikes: u32,
    /// No answer to `AskTree` or `AskHave` for so long (beyond the wait asked for) is a stall.
    pub answer_within: Millis,
    /// A fetcher is believed to fetch its own stretch if it has gained something within this time.
    pub patience: Millis,
    /// The shortest pause between two `AskHave` to a peer.
    pub have_pause: Millis,
    /// The pause between two `AskHave` to a peer that has all: only the list of fetchers can be news.
    pub whole_pause: Millis,
    /// Bytes in flight at a peer at most, however large bandwidth and delay are.
    pub max_flight: u64,
    /// Fewer peers than this that can give something missing make the core look for more.
    pub few_peers: usize,
}

impl Config {
    /// The shipped settings.
    #[must_use]
    pub const fn new(me: NodeId) -> Self {
        Self {
            me,
            stall_after: Millis::secs(10),
            silent_after: Millis::secs(5),
            backoff: Millis::secs(1),
            max_backoff: Millis::secs(30),
            strikes: 4,
            answer_within: Millis::secs(10),
            patience: Millis::secs(3),
            have_pause: Millis(50),
            whole_pause: Millis(500),
            max_flight: 32 << 20,
            few_peers: 4,
        }
    }
}
