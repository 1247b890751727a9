//! Many seeds: every notice is taken exactly once by each recipient that returns in time, and by nobody after.

use crate::{
    host::node,
    world::{DAY, Event, HOUR, MINUTE, World},
};
use hive_protocol::{
    ids::{BlobHash, NoticeId, SyncId},
    notice::{FileNotice, NoticeBody, SyncState},
    time::Millis,
};
use std::collections::BTreeMap;

/// Seeds of a normal run; a long campaign sets `HIVE_SEEDS`.
fn seeds(usual: u64) -> u64 {
    std::env::var("HIVE_SEEDS")
        .ok()
        .and_then(|s| s.parse().ok())
        .unwrap_or(usual)
}

fn file(n: u64, sync: Option<SyncState>) -> NoticeBody {
    NoticeBody::File(FileNotice {
        root: BlobHash::of(&n.to_le_bytes()),
        folder: false,
        size: 1000,
        files: 1,
        name: format!("file{n}"),
        sync,
    })
}

/// When each recipient is there: a few stretches of at least three hours.
fn presence(world: &mut World, n: usize, end: u64) -> Vec<(u64, u64)> {
    let mut stretches = Vec::new();
    let mut time = world.rng.below(12 * HOUR);
    while time < end {
        let stay = 3 * HOUR + world.rng.below(12 * HOUR);
        stretches.push((time, time + stay));
        world.at(time, Event::Start(n));
        world.at(time + stay, Event::Stop(n));
        time += stay + HOUR + world.rng.below(30 * HOUR);
    }
    stretches
}

/// The sender is there for a quarter of an hour at each of its notices and then leaves; recipients come and go; the
/// authority stays, but dies now and then; links break, repeat and reorder; clocks jump for less than an hour.
fn campaign(seed: u64, jumps: bool) -> (u64, u64) {
    let recipients = [2, 3, 4];
    let mut world = World::new(seed, 5);
    world.faults = (world.rng.below(20), world.rng.below(20), world.rng.below(4));
    let end = 4 * DAY;
    let present: BTreeMap<usize, Vec<(u64, u64)>> = recipients
        .iter()
        .map(|n| (*n, presence(&mut world, *n, end)))
        .collect();
    let mut sent: Vec<(NoticeId, u64, u64)> = Vec::new();
    for n in 0..6 {
        let time = HOUR + world.rng.below(2 * DAY);
        world.at(time.saturating_sub(MINUTE), Event::Start(1));
        let life = Millis(2 * HOUR + world.rng.below(2 * DAY));
        let body = if world.rng.chance(50) {
            NoticeBody::Text("x".into())
        } else {
            file(seed.wrapping_mul(10) + n, None)
        };
        let notice = world.notice(1, &recipients, body, life, time);
        sent.push((notice.id, time, time + life.0));
        world.at(
            time,
            Event::Send {
                from: 1,
                notice: Box::new(notice),
            },
        );
        world.at(time + 15 * MINUTE, Event::Stop(1));
    }
    let mut jumped: Vec<(usize, u64)> = Vec::new();
    if jumps {
        for at in 0..5 {
            // Not while it sends: what it says about time is believed.
            let time = if at == 1 {
                3 * DAY
            } else {
                world.rng.below(3 * DAY)
            };
            let far = i64::try_from(world.rng.below(800) * DAY).unwrap();
            let skew = if world.rng.chance(50) { far } else { -far };
            jumped.push((at, time));
            world.at(time, Event::Clock { at, skew });
            world.at(time + 40 * MINUTE, Event::Clock { at, skew: 0 });
        }
    }
    world.run(end);
    for (id, time, expires) in &sent {
        if !world.sent.contains_key(id) {
            continue;
        }
        for n in recipients {
            let taken = world.taken.get(&(n, *id)).copied();
            let what = || {
                format!(
                    "seed {seed}: node {n}, notice of {time} until {expires}: {taken:?}, {:?}, clocks wrong from {jumped:?}",
                    present[&n]
                )
            };
            // An authority whose clock is wrong refuses what it holds for expired; a sender that has left before the clock
            // is right again leaves nothing with it.
            let refused = jumped
                .iter()
                .any(|(who, at)| *who == 0 && *at < time + 15 * MINUTE && *time < at + 40 * MINUTE);
            // Two hours together with the authority before its time is over, after the quarter of an hour it may take.
            let due = present[&n].iter().any(|(from, to)| {
                let from = (*from).max(time + 15 * MINUTE);
                from + 2 * HOUR <= (*to).min(*expires)
            });
            // A few minutes are left for links that broke.
            let may = present[&n].iter().any(|(from, to)| from < expires && to > time);
            match taken {
                Some((count, when)) => {
                    assert_eq!(count, 1, "{}", what());
                    assert!(may && (jumps || when < *expires), "{}", what());
                }
                None => assert!(!due || refused, "{}", what()),
            }
        }
    }
    assert_eq!(world.dropped, 0, "seed {seed}: a trace was dropped");
    (world.frames, world.kills)
}

#[test]
fn every_notice_is_taken_once_by_all_who_return_in_time() {
    let (mut frames, mut kills) = (0, 0);
    let count = seeds(150);
    for seed in 0..count {
        let (f, k) = campaign(seed, false);
        frames += f;
        kills += k;
    }
    println!("{count} seeds, {frames} frames, {kills} kills");
    assert!(frames > count * 20 && kills > 0);
}

#[test]
fn clocks_that_jump_and_come_back_lose_and_double_nothing() {
    let count = seeds(150);
    for seed in 10_000..10_000 + count {
        campaign(seed, true);
    }
}

/// The newest state of a mirror reaches everybody, whatever becomes of the older ones.
#[test]
fn the_newest_state_of_a_mirror_arrives() {
    for seed in 0..seeds(60) {
        let mut world = World::new(seed, 4);
        world.faults = (10, 10, 2);
        let mut last = None;
        for n in [1, 2, 3] {
            world.at(0, Event::Start(n));
        }
        for seq in 1..=20 {
            let time = MINUTE + seq * 7000 + world.rng.below(5000);
            let state = SyncState {
                sync: SyncId([7; 16]),
                seq,
                previous: None,
                versions: 0,
            };
            let notice = world.notice(
                1,
                &[2, 3],
                file(seed * 100 + seq, Some(state)),
                Millis(2 * DAY),
                time,
            );
            last = Some(notice.id);
            world.at(
                time,
                Event::Send {
                    from: 1,
                    notice: Box::new(notice),
                },
            );
            if world.rng.chance(20) {
                world.at(time + 100, Event::Stop(3));
                world.at(time + 20_000, Event::Start(3));
            }
        }
        world.run(DAY);
        world.at(world.now, Event::Start(1));
        world.run(world.now + 6 * HOUR);
        let last = last.unwrap();
        if !world.sent.contains_key(&last) {
            continue;
        }
        for n in [2, 3] {
            assert!(
                world.pulled.contains(&(n, last)),
                "seed {seed}: node {n} has an older state"
            );
        }
        // Their sender knows.
        let host = &world.hosts[1];
        let view = host.outbox.show(host.now(world.now), last).unwrap();
        assert!(view.ended, "seed {seed}: {view:?}");
    }
}

/// A day without the recipient, the sender gone for ever, the content at another recipient.
#[test]
fn a_day_away_and_the_sender_gone() {
    let mut world = World::new(1, 4);
    for n in [1, 2] {
        world.at(0, Event::Start(n));
    }
    let notice = world.notice(1, &[2, 3], file(1, None), Millis(7 * DAY), 1000);
    let id = notice.id;
    world.at(
        1000,
        Event::Send {
            from: 1,
            notice: Box::new(notice),
        },
    );
    world.at(30 * MINUTE, Event::Stop(1));
    world.run(DAY);
    assert!(world.pulled.contains(&(2, id)) && !world.taken.contains_key(&(3, id)));
    world.start(3);
    world.run(DAY + 30 * MINUTE);
    assert!(world.pulled.contains(&(3, id)));
    let has = &world.content[&BlobHash::of(&1_u64.to_le_bytes())];
    assert!(has.contains(&node(2)) && has.contains(&node(3)));
    // The mailbox is empty again, and the sender hears of it when it comes back after all.
    assert_eq!(world.hosts[0].post.as_ref().unwrap().core.size(), (0, 0));
    world.start(1);
    world.run(DAY + HOUR);
    let host = &world.hosts[1];
    let view = host.outbox.show(host.now(world.now), id).unwrap();
    assert!(view.ended, "{view:?}");
}

/// A notice taken back in time does not reach those who were away.
#[test]
fn what_is_taken_back_is_not_begun() {
    for seed in 0..seeds(60) {
        let mut world = World::new(seed, 4);
        world.faults = (10, 10, 1);
        for n in [1, 2] {
            world.at(0, Event::Start(n));
        }
        let notice = world.notice(1, &[2, 3], file(1, None), Millis(3 * DAY), 1000);
        let id = notice.id;
        world.at(
            1000,
            Event::Send {
                from: 1,
                notice: Box::new(notice),
            },
        );
        world.at(HOUR, Event::Cancel { from: 1, id });
        world.at(2 * HOUR, Event::Start(1));
        world.at(6 * HOUR, Event::Start(3));
        world.run(2 * DAY);
        if world.sent.contains_key(&id) {
            let host = &world.hosts[1];
            let view = host.outbox.show(host.now(world.now), id).unwrap();
            if view.cancelled {
                assert!(!world.pulled.contains(&(3, id)), "seed {seed}");
                assert!(view.ended, "seed {seed}: {view:?}");
            }
        }
    }
}
