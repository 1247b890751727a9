//! What a core is made with, and the spans and bounds it keeps.

use hive_protocol::{ids::NodeId, time::Millis};

/// Relays that are kept at a time: one may restart while the other carries on.
pub const WANTED_RELAYS: usize = 2;
/// Reservations at a time while one relay is changed for another.
pub const MAX_SLOTS: usize = 4;
/// Addresses told to others at most (the wire's bound).
pub const MAX_PUBLISHED: usize = hive_protocol::member::MAX_ADDRS;
/// Own addresses looked at: interfaces, what observers saw, mappings. What nobody confirms goes first beyond it.
pub const MAX_OWN: usize = 64;
/// Observers remembered of one address, and testers likewise.
pub const MAX_WITNESSES: usize = 16;
/// Nodes known to relay.
pub const MAX_CANDIDATES: usize = 128;
/// Members remembered for the choice of anchors. Beyond it the least trusted go.
pub const MAX_PEERS: usize = 1024;

/// What an observer saw counts for this long unless it says it again.
pub const SEEN_LIFE: Millis = Millis::mins(60);
/// For the kind of the router: what an observer said that is not connected any more counts for this long, if others see
/// the same number.
pub const GONE_LIFE: Millis = Millis::mins(10);
/// For the kind of the router: numbers seen within this time were there together; an older one has been replaced.
pub const TOGETHER: Millis = Millis::mins(2);
/// A confirmation that is not renewed ends after this time (libp2p's own never does).
pub const CONFIRMED_LIFE: Millis = Millis::mins(40);
/// Addresses are tested again this often; a third of the life, so that two tests may be lost.
pub const TEST_EVERY: Millis = Millis::mins(13);
/// Changes of addresses are gathered for this long before tests are asked for.
pub const TEST_AFTER: Millis = Millis(1500);
/// Without any word on this node's address relays are looked for so long after the first connection.
pub const PATIENCE: Millis = Millis::secs(3);
/// A public interface that nobody has confirmed counts as closed after this time.
pub const UNCONFIRMED: Millis = Millis::secs(12);
/// A node found public keeps its reservations for this long: the finding may be a short one.
pub const KEEP_WHEN_PUBLIC: Millis = Millis::mins(2);

/// Relays asked for their load at a time.
pub const MAX_ASKING: usize = 4;
/// A kept relay is asked again this often.
pub const ASK_KEPT: Millis = Millis::mins(1);
/// A candidate is asked again this often.
pub const ASK_OTHERS: Millis = Millis::mins(10);
/// An answer, dialing included, comes within this time or not at all. The shell's own limits are shorter.
pub const ASK_LIMIT: Millis = Millis::secs(40);
/// First pause after a relay refused or did not answer.
pub const FIRST_PAUSE: Millis = Millis::secs(5);
/// Longest.
pub const LONGEST_PAUSE: Millis = Millis::mins(10);
/// A reservation that is lost is given this long to come back before another relay is taken beside it.
pub const LOST_PATIENCE: Millis = Millis::secs(3);
/// And this long before it is given up.
pub const LOST_FOR_GOOD: Millis = Millis::mins(2);
/// A relay is not changed for a better one before it was kept for this long.
pub const STAY: Millis = Millis::mins(10);
/// Relays are looked for in the hash table: first pause, and longest.
pub const FIND_FIRST: Millis = Millis::secs(10);
/// With two good relays at hand.
pub const FIND_SELDOM: Millis = Millis::mins(30);
/// Longest pause while there are fewer.
pub const FIND_LONGEST: Millis = Millis::mins(5);

/// Anchors wanted besides the authorities.
pub const WANTED_ANCHORS: usize = 4;
/// Dials of anchors at a time.
pub const MAX_ANCHOR_DIALS: usize = 3;

/// Entropy for choices that must not be foreseen by others. The shell draws it fresh; tests derive it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Seed(pub [u8; 32]);

/// Whether a node relays for others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RelayMode {
    /// Authorities do, and nodes found publicly reachable.
    #[default]
    Auto,
    /// It does.
    On,
    /// It does not.
    Off,
}

/// What a core is made with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// This node.
    pub me: NodeId,
    /// Whether it holds an authority: those are reached by all members, or there were none.
    pub authority: bool,
    /// Whether it relays.
    pub relay: RelayMode,
    /// Whether direct connections are wanted at all. Without them only circuits are told to others.
    pub direct: bool,
    /// Addresses the operator knows to lead here.
    pub announce: Vec<String>,
}
