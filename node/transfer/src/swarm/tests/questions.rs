//! Trees, haves, meetings, the search for providers, and inputs that make no sense.

use super::*;

#[test]
fn the_tree_is_asked_of_one_and_then_of_another() {
    let mut bench = Bench::new(1);
    bench.up(1, false);
    bench.up(2, true);
    let effects = bench.drain();
    assert!(effects.contains(&Effect::AskTree { peer: id(2) }), "{effects:?}");
    assert!(!effects.contains(&Effect::AskTree { peer: id(1) }));
    bench.tell(Input::TreeFailed {
        peer: id(2),
        why: Failure::NotFound,
    });
    assert!(bench.drain().contains(&Effect::AskTree { peer: id(1) }));
    // No answer within ten seconds: the other again.
    assert!(bench.pass(12_000).contains(&Effect::AskTree { peer: id(2) }));
}

#[test]
fn named_fetchers_are_met_once_and_again_later() {
    let mut bench = Bench::of(40 * SEGMENT);
    bench.seeder(1, &[ME, 7, 8]);
    let meets = |effects: &[Effect]| -> Vec<u8> {
        let met = effects.iter().filter_map(|e| match e {
            Effect::Meet { peer } => Some(peer.0[0]),
            _ => None,
        });
        met.collect()
    };
    assert_eq!(meets(&bench.drain()), [7, 8]);
    bench.tell(Input::PeerGone { peer: id(7) });
    bench.up(8, false);
    bench.seeder(1, &[ME, 7, 8]);
    assert_eq!(meets(&bench.drain()), [] as [u8; 0]);
    // Soon, then at growing pauses, at last every half minute.
    for pause in [500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000] {
        bench.now += pause - 1;
        bench.fetchers(1, &[ME, 7, 8]);
        assert_eq!(meets(&bench.drain()), [] as [u8; 0], "before {pause} ms");
        bench.now += 1;
        bench.fetchers(1, &[ME, 7, 8]);
        assert_eq!(meets(&bench.drain()), [7], "after {pause} ms");
        bench.tell(Input::PeerGone { peer: id(7) });
    }
}

#[test]
fn more_providers_are_sought_with_growing_pauses() {
    let mut bench = Bench::new(1);
    bench.tell(Input::Tick);
    assert!(bench.drain().contains(&Effect::WantPeers));
    let wants = |effects: Vec<Effect>| effects.iter().filter(|e| **e == Effect::WantPeers).count();
    assert_eq!(wants(bench.pass(60_000)), 7);
    assert_eq!(bench.core.progress().state, Some(State::NoProviders));
    let mut bench = Bench::of(8 * SEGMENT);
    bench.up(1, false);
    bench.have(1, &[3]);
    let (_, segment, mask) = bench.asks()[0];
    bench.tell(Input::Groups {
        peer: id(1),
        segment,
        mask,
    });
    bench.tell(Input::Done { peer: id(1), segment });
    for (_, segment, _) in bench.asks() {
        bench.tell(Input::Done { peer: id(1), segment });
        for (_, segment, _) in bench.asks() {
            bench.tell(Input::Done { peer: id(1), segment });
        }
    }
    bench.drain();
    assert_eq!(bench.core.missing(3), 0);
    assert_eq!(bench.core.progress().state, Some(State::NobodyHasRest));
}

#[test]
fn a_pause_cancels_all_and_nothing_is_asked_in_it() {
    let mut bench = Bench::of(8 * SEGMENT);
    bench.seeder(1, &[ME]);
    let asks = bench.asks().len();
    bench.tell(Input::Pause);
    let effects = bench.drain();
    let cancels = effects
        .iter()
        .filter(|e| matches!(e, Effect::Cancel { .. }))
        .count();
    assert_eq!(
        (cancels, effects.last()),
        (asks, Some(&Effect::State(State::Paused)))
    );
    assert_eq!(bench.pass(100_000), []);
    bench.tell(Input::Resume);
    assert_eq!(bench.asks().len(), asks);
}

#[test]
fn a_full_table_takes_a_seeder_in() {
    let mut bench = Bench::of(8 * SEGMENT);
    for n in 0..MAX_PEERS as u8 {
        bench.up(n, false);
    }
    bench.up(200, false);
    assert!(bench.core.peers().iter().all(|p| p.peer != id(200)));
    bench.up(201, true);
    assert!(bench.core.peers().iter().any(|p| p.peer == id(201)));
    assert_eq!(bench.core.peers().len(), MAX_PEERS);
    bench.drain();
}

#[test]
fn inputs_that_make_no_sense_change_nothing_and_never_panic() {
    // Any order of any inputs with any values, about peers known and unknown.
    for seed in 0..300u64 {
        let mut x = seed;
        let mut rnd = move |n: u64| {
            x = x
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (x >> 33) % n
        };
        let mut bench = Bench::new(seed);
        for _ in 0..400 {
            let peer = id([1, 2, 3, ME, 200][rnd(5) as usize]);
            let segment = [0, 1, 2, 7, 8, u32::MAX][rnd(6) as usize];
            let mask = [0, 1, u64::MAX, rnd(1 << 30)][rnd(4) as usize];
            let why = [
                Failure::NotFound,
                Failure::Changed,
                Failure::Busy {
                    retry: Millis(rnd(2) * u64::MAX),
                },
                Failure::Stalled,
                Failure::Broken,
            ][rnd(5) as usize];
            let input = match rnd(20) {
                0..3 => Input::PeerUp {
                    peer,
                    path: [Path::Direct, Path::Relayed][rnd(2) as usize],
                    whole: rnd(2) == 0,
                },
                3..6 => Input::Have {
                    peer,
                    whole: rnd(3) == 0,
                    segments: vec![rnd(256) as u8; rnd(4) as usize],
                    fetchers: (0..rnd(40)).map(|n| id(n as u8)).collect(),
                },
                6 => Input::HaveFailed { peer, why },
                7 => Input::PeerGone { peer },
                8 => Input::Tree {
                    size: [0, 1, 7 * SEGMENT + 5, u64::MAX][rnd(4) as usize],
                },
                9 => Input::TreeFailed { peer, why },
                10 => Input::Local {
                    segment,
                    mask,
                    hashes: rnd(2) == 0,
                },
                11 => Input::Lost { segment, mask },
                12 => Input::Bytes {
                    peer,
                    bytes: [0, 1, SEGMENT, u64::MAX][rnd(4) as usize],
                },
                13 => Input::Groups { peer, segment, mask },
                14 => Input::Done { peer, segment },
                15 => Input::Failed { peer, segment, why },
                16 => Input::Corrupt { peer: id(3), segment },
                17 => Input::Want {
                    from: segment,
                    window: mask as u32,
                },
                18 => Input::Pause,
                _ => Input::Resume,
            };
            bench.tell(input);
            if rnd(3) == 0 {
                bench.drain();
                bench.now += rnd(3000);
                // A clock may also be set, ahead or back.
                match rnd(8) {
                    0 => bench.now = bench.now.saturating_sub(rnd(3_600_000)),
                    1 => bench.now += rnd(3_600_000),
                    _ => {}
                }
            }
        }
        bench.drain();
    }
}
