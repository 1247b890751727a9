//! The tokens handed out: who may come in for which protocol, until when, from where.

use hive_protocol::{bulk::TOKEN_MILLIS, ids::NodeId};
use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// Tokens in force in all; each is some hundred bytes and lives for seconds.
const MAX_TOKENS: usize = 1024;
/// Tokens in force for one node: so many streams can be opened at once.
const MAX_PER_NODE: usize = 32;

/// A token's value.
pub(crate) type Token = [u8; 32];

#[derive(Debug, Clone)]
struct Pass {
    node: NodeId,
    ip: IpAddr,
    protocol: &'static str,
    until: Instant,
}

/// The table of tokens.
#[derive(Default)]
pub(crate) struct Desk {
    passes: Mutex<BTreeMap<Token, Pass>>,
}

impl Desk {
    fn lock(&self, now: Instant) -> MutexGuard<'_, BTreeMap<Token, Pass>> {
        let mut passes = self.passes.lock().unwrap_or_else(PoisonError::into_inner);
        passes.retain(|_, pass| pass.until > now);
        passes
    }

    /// Notes a token; `false` when there are too many.
    pub(crate) fn issue(
        &self,
        token: Token,
        node: NodeId,
        ip: IpAddr,
        protocol: &'static str,
        now: Instant,
    ) -> bool {
        let mut passes = self.lock(now);
        let of_node = passes.values().filter(|pass| pass.node == node).count();
        if passes.len() >= MAX_TOKENS || of_node >= MAX_PER_NODE {
            return false;
        }
        let until = now + Duration::from_millis(TOKEN_MILLIS);
        passes.insert(
            token,
            Pass {
                node,
                ip,
                protocol,
                until,
            },
        );
        true
    }

    /// Uses a token up: the protocol it is for, if it was given to this node. A token shown by another node stays
    /// in force, so that a thief cannot even use it up.
    pub(crate) fn redeem(&self, token: &Token, node: NodeId, now: Instant) -> Option<&'static str> {
        let mut passes = self.lock(now);
        if passes.get(token)?.node != node {
            return None;
        }
        Some(passes.remove(token)?.protocol)
    }

    /// Whether anybody may come in from this address now.
    pub(crate) fn expects(&self, ip: IpAddr, now: Instant) -> bool {
        self.lock(now).values().any(|pass| pass.ip == ip)
    }

    /// Takes a node's tokens back.
    pub(crate) fn forget(&self, node: NodeId) {
        self.lock(Instant::now()).retain(|_, pass| pass.node != node);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const A: NodeId = NodeId([1; 32]);
    const B: NodeId = NodeId([2; 32]);
    const HOME: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    #[test]
    fn a_token_is_for_one_node_once_and_not_for_long() {
        let (desk, now) = (Desk::default(), Instant::now());
        let end = now + Duration::from_millis(TOKEN_MILLIS);
        assert!(desk.issue([1; 32], A, HOME, "/x/1", now));
        assert_eq!(desk.redeem(&[2; 32], A, now), None, "unknown");
        assert_eq!(desk.redeem(&[1; 32], B, now), None, "stolen");
        assert_eq!(desk.redeem(&[1; 32], A, now), Some("/x/1"));
        assert_eq!(desk.redeem(&[1; 32], A, now), None, "used");
        assert!(desk.issue([1; 32], A, HOME, "/x/1", now));
        assert!(desk.expects(HOME, now) && !desk.expects("10.0.0.1".parse().unwrap(), now));
        assert_eq!(desk.redeem(&[1; 32], A, end), None, "expired");
        assert!(!desk.expects(HOME, end));
        assert!(desk.issue([1; 32], A, HOME, "/x/1", end));
        desk.forget(A);
        assert_eq!(desk.redeem(&[1; 32], A, end), None, "no member any more");
    }

    #[test]
    fn the_table_is_bounded_for_each_node_and_in_all() {
        let (desk, now) = (Desk::default(), Instant::now());
        let mut given = 0;
        for n in 0..MAX_TOKENS + 10 {
            let mut token = [0; 32];
            token[..8].copy_from_slice(&n.to_le_bytes());
            let node = NodeId([u8::try_from(n / MAX_PER_NODE).unwrap(); 32]);
            given += usize::from(desk.issue(token, node, HOME, "/x/1", now));
        }
        assert_eq!(given, MAX_TOKENS);
        let desk = Desk::default();
        let given = (0..=u8::MAX).filter(|n| desk.issue([*n; 32], A, HOME, "/x/1", now));
        assert_eq!(given.count(), MAX_PER_NODE);
        assert!(desk.issue([255; 32], B, HOME, "/x/1", now));
    }
}
