//! What a node takes from others, where it puts it, and when it pulls.

use hive_protocol::{credential::Tier, ids::NodeId};
use std::collections::BTreeSet;

/// Whose notices are taken.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Accept {
    /// Every member's.
    All,
    /// Those of these nodes.
    Nodes(BTreeSet<NodeId>),
    /// Those of nodes whose account is at least of this tier.
    Tier(Tier),
    /// Nobody's.
    Nobody,
}

/// A part of the day, in minutes after midnight, the end not included; over midnight when it ends before it begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Open {
    /// 0 to 1439.
    pub from: u16,
    /// 0 to 1440.
    pub to: u16,
}

impl Open {
    /// Whether this minute of the day is within.
    #[must_use]
    pub const fn at(self, minute: u16) -> bool {
        if self.from <= self.to {
            self.from <= minute && minute < self.to
        } else {
            minute >= self.from || minute < self.to
        }
    }
}

impl std::fmt::Display for Open {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let clock = |m: u16| (m / 60, m % 60);
        let ((a, b), (c, d)) = (clock(self.from), clock(self.to));
        write!(f, "{a:02}:{b:02}-{c:02}:{d:02}")
    }
}

/// What is done with notices of others.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Policy {
    /// Whose are taken; those of others are declined.
    pub accept: Accept,
    /// Whether a file waits until somebody accepts it; texts and events do not.
    pub ask: bool,
    /// Nodes whose files never wait for anybody.
    pub trusted: BTreeSet<NodeId>,
    /// Below which folder files are put.
    pub folder: String,
    /// Bytes of one push at most; larger ones are declined.
    pub max_size: u64,
    /// Bytes that must stay free on the disk; what does not fit waits.
    pub min_free: u64,
    /// When pulls begin; `None` for always.
    pub hours: Option<Open>,
    /// Files of all senders that may wait for somebody's decision; further ones are declined.
    pub max_waiting: u32,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            accept: Accept::All,
            ask: false,
            trusted: BTreeSet::new(),
            folder: String::new(),
            max_size: 1 << 40,
            min_free: 1 << 30,
            hours: None,
            max_waiting: 1000,
        }
    }
}

impl Policy {
    /// Whether notices of this node are taken.
    #[must_use]
    pub fn takes(&self, from: &NodeId, tier: Option<Tier>) -> bool {
        match &self.accept {
            Accept::All => true,
            Accept::Nodes(nodes) => nodes.contains(from),
            Accept::Tier(least) => tier.is_some_and(|t| t >= *least),
            Accept::Nobody => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hours_go_over_midnight() {
        let night = Open {
            from: 22 * 60,
            to: 7 * 60,
        };
        assert!(night.at(23 * 60) && night.at(0) && night.at(419) && !night.at(420) && !night.at(720));
        let day = Open { from: 420, to: 1440 };
        assert!(day.at(420) && day.at(1439) && !day.at(419));
        assert_eq!(night.to_string(), "22:00-07:00");
    }
}
