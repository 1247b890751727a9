//! Peers that lie, stall, break, lack, leave and return, by seeds; and fetchers that pause or are killed.

use crate::world::{Act, Idx, World};
use hive_protocol::file::{GROUP, SEGMENT, whole_mask};
use hive_transfer::swarm::{DropReason, State};

const MB: u64 = 1_000_000;

/// One fetcher, one good seeder and one other.
fn pair(seed: u64, segments: u64) -> (World, Idx, Idx, Idx) {
    let mut world = World::new(segments * SEGMENT, seed);
    let good = world.node(20 * MB, 20 * MB, 2, true);
    let other = world.node(20 * MB, 20 * MB, 2, true);
    let f = world.node(100 * MB, 100 * MB, 2, false);
    world.nodes[f].hints = vec![(good, true), (other, true)];
    world.at(0, f, Act::Start);
    (world, f, good, other)
}

#[test]
fn a_liar_is_dropped_with_evidence_at_its_first_wrong_bytes() {
    for seed in 0..50 {
        let (mut world, f, _, liar) = pair(seed, 20);
        world.nodes[liar].faults.lies_after = Some(seed * MB / 2);
        world.run(120_000);
        let id = world.id(liar);
        assert_eq!(
            world.nodes[f].dropped,
            [(id, DropReason::WrongBytes)],
            "seed {seed}"
        );
        assert!(DropReason::WrongBytes.evidence() && !DropReason::Stalls.evidence());
    }
}

#[test]
fn a_stalled_peers_segments_go_to_others() {
    for seed in 0..30 {
        let (mut world, _, good, other) = pair(seed, 20);
        world.nodes[other].faults.silent = vec![(100 + seed * 30, 1_000_000)];
        world.run(60_000);
        assert!(world.took() < 12_000, "{} ms", world.took());
        assert!(world.nodes[good].sent > world.size / 3);
    }
}

#[test]
fn a_seeder_that_is_silent_for_a_while_is_waited_for_and_named() {
    let mut world = World::new(10 * SEGMENT, 3);
    let only = world.node(20 * MB, 20 * MB, 2, true);
    world.nodes[only].faults.silent = vec![(300, 25_000)];
    let f = world.node(100 * MB, 100 * MB, 2, false);
    world.nodes[f].hints = vec![(only, true)];
    world.at(0, f, Act::Start);
    world.run(90_000);
    let states = &world.nodes[f].states;
    assert!(
        states.iter().any(|s| matches!(s, State::Silent { .. })),
        "{states:?}"
    );
    assert!(
        states.iter().any(|s| matches!(s, State::Waiting { .. })),
        "{states:?}"
    );
    assert!(world.took() < 60_000, "{}", world.took());
}

#[test]
fn a_peer_that_lacks_what_it_claims_does_not_stop_others() {
    for seed in 0..30 {
        let (mut world, f, _, other) = pair(seed, 24);
        world.nodes[other].faults.lacks_each = 1 + (seed % 4) as u32;
        world.run(60_000);
        assert!(world.nodes[f].dropped.iter().all(|d| d.1 == DropReason::Lacks));
    }
}

#[test]
fn nothing_is_asked_in_a_pause_and_it_goes_on_after() {
    for seed in 0..20 {
        let (mut world, f, ..) = pair(seed, 20);
        world.at(300, f, Act::Pause);
        world.at(5000, f, Act::Resume);
        world.run(60_000);
        let ideal = world.size * 1000 / (40 * MB) + 4700;
        assert!(
            (5000..ideal * 13 / 10).contains(&world.took()),
            "{} of {ideal}",
            world.took()
        );
        assert!(world.nodes[f].states.contains(&State::Paused));
    }
}

#[test]
fn a_killed_fetcher_asks_for_nothing_it_has() {
    // The world itself refuses an ask for groups that are here; what was in flight is all that may come twice.
    for seed in 0..40 {
        let (mut world, f, ..) = pair(seed, 20);
        world.at(100 + seed * 50, f, Act::Kill);
        world.run(60_000);
        let got: u64 = world.nodes[f].got.values().sum();
        assert!(got <= world.size + 4 * SEGMENT, "{got}");
        assert!(world.nodes[f].twice <= 4 * SEGMENT);
    }
}

#[test]
fn resumed_masks_are_completed_group_by_group() {
    for seed in 0..40 {
        let (mut world, f, ..) = pair(seed, 20);
        let mut here = 0;
        for s in 0..20usize {
            let mask = match world.rnd(4) {
                0 => 0,
                1 => u64::MAX,
                _ => world.rnd(u64::MAX) & whole_mask(world.size, s as u64),
            };
            world.nodes[f].held[s] = mask;
            here += u64::from(mask.count_ones()) * GROUP;
        }
        world.run(60_000);
        let got: u64 = world.nodes[f].got.values().sum();
        assert!(got <= world.size - here + 4 * SEGMENT);
        assert!(got - world.nodes[f].twice == world.size - here);
    }
}

#[test]
fn small_contents_end_too() {
    for (seed, size) in [
        0,
        1,
        GROUP - 1,
        GROUP,
        GROUP + 1,
        SEGMENT - 1,
        SEGMENT,
        SEGMENT + 1,
        3 * SEGMENT + 5,
    ]
    .into_iter()
    .enumerate()
    {
        let mut world = World::new(size, seed as u64);
        let s = world.node(20 * MB, 20 * MB, 2, true);
        for i in 0..5 {
            let f = world.node(100 * MB, 100 * MB, 2, false);
            world.nodes[f].hints = vec![(s, i % 2 == 0)];
            world.at(i, f, Act::Start);
        }
        world.run(10_000);
        assert!(world.took() < 3000, "{} ms for {size}", world.took());
    }
}

#[test]
fn parts_scattered_over_partial_peers_are_found() {
    // No seeder: five fetchers that have a part each and know one other.
    for seed in 0..40 {
        let mut world = World::new(30 * SEGMENT, seed);
        let all: Vec<Idx> = (0..5).map(|_| world.node(30 * MB, 60 * MB, 2, false)).collect();
        for s in 0..30usize {
            let owner = world.rnd(5) as usize;
            world.nodes[all[owner]].held[s] = u64::MAX;
        }
        for i in 0..5 {
            world.nodes[all[i]].hints = vec![(all[(i + 1) % 5], false), (all[(i + 2) % 5], false)];
            // A fetcher that has nothing yet has no list either: it is given one segment.
            world.nodes[all[i]].held[i] = u64::MAX;
            world.at(world.seed % 5, all[i], Act::Start);
        }
        for (i, n) in all.iter().enumerate() {
            world.at(20 + i as u64, *n, Act::Return);
        }
        world.run(120_000);
    }
}

#[test]
fn a_clock_that_jumps_costs_a_little_time_and_nothing_else() {
    const HOUR: i64 = 3_600_000;
    for seed in 0..40 {
        let (mut world, f, ..) = pair(seed, 20);
        let right = {
            let (mut world, ..) = pair(seed, 20);
            world.run(60_000);
            world.took()
        };
        let skews = [-HOUR, HOUR, 300 * 24 * HOUR, -300 * 24 * HOUR, -1, 1];
        for n in 0..6_u64 {
            let skew = skews[(seed + n) as usize % skews.len()];
            world.at(100 + n * 300 + seed, f, Act::Clock(skew));
        }
        world.run(60_000);
        assert!(
            world.nodes[f].dropped.is_empty(),
            "seed {seed}: {:?}",
            world.nodes[f].dropped
        );
        // A jump ahead looks as if both had been silent for it: they are let alone for a second, doubled each time.
        assert!(
            world.took() < right + 15_000,
            "{} for {right} ms, seed {seed}",
            world.took()
        );
        assert!(
            world.nodes[f].twice <= 16 * SEGMENT,
            "{} twice",
            world.nodes[f].twice
        );
    }
    // Set back once, it takes no longer at all.
    for seed in 0..20 {
        let (mut world, f, ..) = pair(seed, 20);
        world.at(200 + seed * 30, f, Act::Clock(-HOUR));
        world.run(5000);
        assert!(world.nodes[f].twice <= 4 * SEGMENT);
    }
}

/// A random world: everybody may misbehave but one seeder, who may stall, break, be busy and leave for a while.
fn random(seed: u64) {
    let mut world = World::new(1, seed);
    world.size = (1 + world.rnd(24)) * SEGMENT - world.rnd(SEGMENT - 1);
    let seeders = 1 + world.rnd(4) as usize;
    let fetchers = 1 + world.rnd(5) as usize;
    let mut all = Vec::new();
    for i in 0..seeders + fetchers {
        let (up, down, far) = (world.rnd(60) + 1, world.rnd(100) + 1, world.rnd(80));
        let n = world.node(up * MB, down * MB, far, i < seeders);
        let f = &mut world.nodes[n].faults;
        f.busy_one_in = [0, 0, 5, 20][(seed >> 3) as usize % 4];
        f.breaks_one_in = [0, 0, 0, 15][(seed >> 5) as usize % 4];
        if i > 0 && world.rnd(4) == 0 {
            world.nodes[n].faults.lies_after = Some(world.rnd(20) * MB);
        }
        if i > 0 && i < seeders && world.rnd(4) == 0 {
            world.nodes[n].faults.lacks_each = 1 + world.rnd(5) as u32;
        }
        if i > 0 && world.rnd(6) == 0 {
            world.nodes[n].faults.mute = true;
        }
        if world.rnd(3) == 0 {
            let from = world.rnd(3000);
            let to = from + world.rnd(15_000);
            world.nodes[n].faults.silent = vec![(from, to)];
        }
        world.nodes[n].relayed = world.rnd(5) == 0;
        all.push(n);
    }
    for fetcher in all.iter().copied().skip(seeders).take(fetchers) {
        let mut hints = vec![(0, true)];
        for s in 1..seeders {
            let whole = world.rnd(2) == 0;
            hints.push((s, whole));
        }
        world.nodes[fetcher].hints = hints;
        let start = world.rnd(4) * world.rnd(1500);
        world.at(start, fetcher, Act::Start);
        let at = start + 1 + world.rnd(4000);
        let act = match world.rnd(7) {
            6 => Some((Act::Clock(-3_600_000), Act::Clock(0))),
            0 => Some((Act::Leave, Act::Return)),
            1 => Some((Act::Pause, Act::Resume)),
            2 => Some((Act::Kill, Act::Resume)),
            3 => Some((
                Act::Want(world.rnd(20) as u32, 1 + world.rnd(9) as u32),
                Act::Want(0, 0),
            )),
            _ => None,
        };
        if let Some((first, then)) = act {
            let pause = world.rnd(6000);
            world.at(at, fetcher, first);
            world.at(at + 1 + pause, fetcher, then);
        }
    }
    let gone = world.rnd(seeders as u64 * 2) as usize;
    if gone < seeders {
        let at = 1 + world.rnd(4000);
        world.at(at, all[gone], Act::Leave);
        let back = at + 1 + world.rnd(8000);
        world.at(back, all[gone], Act::Return);
    }
    world.run(900_000);
    for n in world.nodes.iter().filter(|n| !n.whole) {
        for (id, reason) in &n.dropped {
            let of = world.nodes.iter().find(|m| m.id == *id).unwrap();
            assert_eq!(
                *reason == DropReason::WrongBytes,
                of.faults.lies_after.is_some() && reason.evidence()
            );
        }
    }
}

#[test]
fn whatever_peers_do_it_ends() {
    let seeds = std::env::var("SWARM_SEEDS")
        .ok()
        .and_then(|s| s.parse().ok())
        .unwrap_or(150);
    let first = std::env::var("SWARM_FIRST")
        .ok()
        .and_then(|s| s.parse().ok())
        .unwrap_or(0);
    for seed in first..first + seeds {
        random(seed);
    }
}
