//! From the node's settings to the engines' policies.

use super::{desk::Desk, engines::Engines};
use crate::config::{self, AcceptPush, FileConfig, Rate};
use hive_files::Direction;
use hive_protocol::ids::{AccountId, NodeId};
use hive_push::{Accept, Open, Policy};
use hive_transfer::limits::{Hours, LimitsConfig, Schedule};
use std::{collections::BTreeSet, path::PathBuf};

/// Files of all senders that may wait for somebody's word.
const MAX_ASKING: u32 = 1000;

fn open(hours: config::Hours) -> Open {
    Open {
        from: hours.from,
        to: hours.to,
    }
}

fn schedule(rate: &Rate) -> Schedule {
    // Hours pass from crate to crate as they are written; those of the settings were checked when they were read.
    let hours = rate
        .hours
        .iter()
        .filter_map(|(h, rate)| Some((open(*h).to_string().parse::<Hours>().ok()?, *rate)));
    Schedule {
        base: rate.base,
        hours: hours.collect(),
    }
}

/// The limits of one direction.
pub(super) fn limits(config: &FileConfig, direction: Direction) -> LimitsConfig {
    LimitsConfig {
        node: schedule(match direction {
            Direction::In => &config.rate_in,
            Direction::Out => &config.rate_out,
        }),
        peer: schedule(&config.rate_peer),
        utc_offset_min: config.utc_offset_min,
        ..LimitsConfig::default()
    }
}

impl Desk {
    /// Where pushes go.
    pub(super) fn inbox_folder(&self) -> PathBuf {
        let config = self.config();
        let named = &config.inbox;
        if named.as_os_str().is_empty() {
            self.0.root.join("inbox")
        } else {
            named.clone()
        }
    }

    /// What is done with notices of others, given who is known now.
    pub(super) fn policy(&self, account: AccountId) -> Policy {
        let config = self.config();
        let own = || self.0.people.of_account(account);
        let (accept, ask, trusted) = match &config.accept {
            AcceptPush::Own => (Accept::All, true, own()),
            AcceptPush::All => (Accept::All, false, BTreeSet::new()),
            AcceptPush::Ask => (Accept::All, true, BTreeSet::new()),
            AcceptPush::None => (Accept::Nobody, true, BTreeSet::new()),
            AcceptPush::Nodes(named) => (Accept::All, true, self.named(named, own())),
        };
        Policy {
            accept,
            ask,
            trusted,
            folder: self.inbox_folder().to_string_lossy().into_owned(),
            max_size: if config.max_size == 0 {
                u64::MAX
            } else {
                config.max_size
            },
            min_free: config.min_free,
            hours: config.hours.map(open),
            max_waiting: MAX_ASKING,
        }
    }

    /// Puts the settings in force into running engines.
    pub(super) fn apply(&self, engines: &Engines) {
        let config = self.config();
        for direction in [Direction::In, Direction::Out] {
            engines.files.limits().set(direction, limits(&config, direction));
        }
        self.trust_own(engines);
    }

    fn named(&self, names: &[String], mut own: BTreeSet<NodeId>) -> BTreeSet<NodeId> {
        // A name nobody has yet may come with the registry.
        own.extend(names.iter().filter_map(|n| self.0.people.find(n).ok()));
        own
    }

    /// The registry has news: nodes of one's own account, and those named in the settings, may be new.
    pub(super) fn trust_own(&self, engines: &Engines) {
        let policy = self.policy(engines.account);
        if engines.push.policy() != policy {
            engines.push.set_policy(policy);
        }
    }
}
