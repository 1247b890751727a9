//! Random meshes in this process.

use crate::{
    Fail,
    args::{Carrier, Kind},
    node::{Ear, Make, Node},
    wire,
};
use futures::{StreamExt, stream};
use std::time::Duration;

/// Dials under way at a time while a mesh is built.
const DIALS: usize = 16;

/// Numbers that look random and are the same in every run (xorshift64*).
pub struct Dice(u64);

impl Dice {
    pub const fn new(seed: u64) -> Self {
        Self(seed ^ 0x9E37_79B9_7F4A_7C15)
    }

    /// A number below this one; 0 for 0.
    pub fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let drawn = self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 16;
        usize::try_from(drawn).unwrap_or(0).checked_rem(n).unwrap_or(0)
    }

    /// At most so many different numbers below this one.
    pub fn some_below(&mut self, n: usize, count: usize) -> Vec<usize> {
        let mut drawn = Vec::new();
        while drawn.len() < count.min(n) {
            let next = self.below(n);
            if !drawn.contains(&next) {
                drawn.push(next);
            }
        }
        drawn
    }
}

/// What a mesh is built of.
pub struct Plan {
    pub kind: Kind,
    pub carrier: Carrier,
    pub nodes: usize,
    /// Earlier nodes that each node dials.
    pub degree: usize,
    /// Whether all serve the hash table.
    pub serves: bool,
    /// How long bytes are under way from one node to the next.
    pub delay: Duration,
    /// Neighbours a node of ours passes messages on to, where it is not the default.
    pub neighbours: Option<usize>,
    /// Of a hundred nodes, so many pass nothing on.
    pub silent: u64,
}

impl Plan {
    /// Whether the nth node passes nothing on: spread over the early ones, which are dialed most, and the late ones.
    pub fn is_silent(&self, n: usize) -> bool {
        self.kind == Kind::Hive && u64::try_from(n * 61 % 100).is_ok_and(|n| n < self.silent)
    }
}

/// Builds a connected mesh: every node dials some of those before it.
pub async fn build(
    plan: &Plan,
    dice: &mut Dice,
    ear: impl Fn(usize) -> Option<Ear>,
) -> Result<Vec<Node>, Fail> {
    let mut nodes = Vec::new();
    for n in 0..plan.nodes {
        let make = Make {
            n: u64::try_from(n)?,
            carrier: plan.carrier,
            listen: true,
            serves: plan.serves,
            ear: ear(n),
            neighbours: plan.neighbours,
            silent: plan.is_silent(n),
        };
        nodes.push(Node::start(plan.kind, make).await?);
    }
    let mut addrs = Vec::new();
    for node in &nodes {
        let addr = node.addr().unwrap_or_default();
        addrs.push(if plan.delay.is_zero() {
            addr
        } else {
            wire::delayed(&addr, plan.delay).await?
        });
    }
    let mut pairs = Vec::new();
    for n in 1..nodes.len() {
        pairs.extend(
            dice.some_below(n, plan.degree)
                .into_iter()
                .map(|other| (n, other)),
        );
    }
    let dials = pairs
        .into_iter()
        .filter_map(|(n, other)| Some((nodes.get(n)?, nodes.get(other)?, addrs.get(other)?)));
    let failed: Vec<String> = stream::iter(dials)
        .map(|(from, to, addr)| async move { from.join(&to.id(), addr).await.err() })
        .buffer_unordered(DIALS)
        .filter_map(std::future::ready)
        .collect()
        .await;
    match failed.first() {
        // Two that dial each other at once are no fault: one connection is enough.
        Some(why) if failed.len() > plan.nodes / 20 => {
            Err(format!("{} dials failed, the first because: {why}", failed.len()).into())
        }
        _ => Ok(nodes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dice_draw_different_numbers() {
        let mut dice = Dice::new(1);
        let mut drawn = dice.some_below(10, 20);
        drawn.sort_unstable();
        assert_eq!(drawn, (0..10).collect::<Vec<_>>());
        assert_eq!(dice.some_below(0, 3), Vec::<usize>::new());
    }
}
