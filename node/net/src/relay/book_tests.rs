//! Tests of the relay's book.
#![allow(clippy::unwrap_used)]

use super::{super::users::MAX_USERS, *};

pub(super) fn node(n: u16) -> NodeId {
    let mut id = [0; 32];
    id[..2].copy_from_slice(&n.to_le_bytes());
    NodeId(id)
}

pub(super) fn at(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

pub(super) fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// A circuit from a node in a block of its own.
pub(super) fn connect(book: &mut Book, now: Duration, from: u16, to: u16) -> Result<CircuitId, Refusal> {
    let [high, low] = from.to_be_bytes();
    let at = IpAddr::from([172, 16 + high, low, 1]);
    book.connect(now, (node(from), at), node(to), false)
}

pub(super) fn circuit(book: &mut Book, now: Duration) -> CircuitId {
    book.reserve(now, node(2), ip("10.0.0.2")).unwrap();
    connect(book, now, 1, 2).unwrap()
}

#[test]
fn reservations_are_bounded_in_all_and_by_block_and_end() {
    let mut book = Book::new(RelayLimits {
        reservations: 5,
        reservations_per_block: 3,
        ..RelayLimits::default()
    });
    for n in 0..3 {
        book.reserve(at(0), node(n), ip(&format!("10.0.0.{n}"))).unwrap();
    }
    assert_eq!(
        book.reserve(at(0), node(9), ip("10.0.0.99")),
        Err(Refusal::Reservations),
        "block"
    );
    assert_eq!(
        book.reserve(at(0), node(9), ip("::ffff:10.0.0.99")),
        Err(Refusal::Reservations),
        "the same block in disguise"
    );
    // A renewal is not one more.
    book.reserve(at(1), node(2), ip("10.0.0.2")).unwrap();
    book.reserve(at(0), node(3), ip("2001:db8::1")).unwrap();
    book.reserve(at(0), node(4), ip("2001:db8:1::1")).unwrap();
    assert_eq!(
        book.reserve(at(0), node(5), ip("10.1.0.1")),
        Err(Refusal::Reservations),
        "all"
    );
    assert_eq!(connect(&mut book, at(0), 8, 77), Err(Refusal::NoReservation));
    let later = at(3_600_001);
    assert_eq!(
        connect(&mut book, later, 8, 0),
        Err(Refusal::NoReservation),
        "expired"
    );
    book.reserve(later, node(5), ip("10.1.0.1")).unwrap();
    book.gone(&node(5));
    assert_eq!(
        connect(&mut book, later, 8, 5),
        Err(Refusal::NoReservation),
        "gone"
    );
    assert_eq!(book.counts().refused, 6);
}

#[test]
fn nobody_hoards_circuits() {
    let mut book = Book::new(RelayLimits {
        circuits: 6,
        circuits_per_peer: 4,
        ..RelayLimits::default()
    });
    for n in [1, 2, 3] {
        book.reserve(at(0), node(n), ip("10.0.0.1")).unwrap();
    }
    let over_tcp = |book: &mut Book, from, to| {
        let from = (node(from), ip("172.20.0.1"));
        book.connect(at(0), from, node(to), true)
    };
    let first = over_tcp(&mut book, 9, 1).unwrap();
    over_tcp(&mut book, 9, 1).unwrap();
    assert_eq!(
        over_tcp(&mut book, 9, 1),
        Err(Refusal::Circuits),
        "its part of one"
    );
    over_tcp(&mut book, 9, 2).unwrap();
    over_tcp(&mut book, 9, 3).unwrap();
    assert_eq!(
        connect(&mut book, at(0), 9, 2),
        Err(Refusal::Circuits),
        "all it may open"
    );
    assert_eq!(connect(&mut book, at(0), 1, 1), Err(Refusal::Denied));
    connect(&mut book, at(0), 2, 3).unwrap();
    connect(&mut book, at(0), 3, 2).unwrap();
    assert_eq!(connect(&mut book, at(0), 7, 2), Err(Refusal::Circuits), "in all");
    book.end(first);
    connect(&mut book, at(0), 7, 2).unwrap();
    book.drain(true);
    book.end(CircuitId(2));
    assert_eq!(connect(&mut book, at(0), 7, 2), Err(Refusal::Draining));
    assert_eq!(
        book.reserve(at(0), node(7), ip("10.0.0.7")),
        Err(Refusal::Draining)
    );
}

pub(super) fn on(bytes: u64) -> Pass {
    Pass::On {
        bytes,
        after: Duration::ZERO,
    }
}

#[test]
fn a_circuit_ends_exactly_at_its_cap_each_way() {
    let mut book = Book::new(RelayLimits {
        circuit_bytes: 100_000,
        ..RelayLimits::default()
    });
    let id = circuit(&mut book, at(0));
    let mut sum = 0;
    while let Pass::On { bytes, .. } = book.pass(at(1), id, Direction::Forth, 16 << 10) {
        sum += bytes;
    }
    assert_eq!(sum, 100_000);
    assert_eq!(book.counts().cut, 1);
    let id = circuit(&mut book, at(0));
    assert_eq!(book.pass(at(1), id, Direction::Forth, 99_999), on(99_999));
    assert_eq!(
        book.pass(at(1), id, Direction::Back, 5),
        on(5),
        "the ways are counted apart"
    );
    assert_eq!(
        book.pass(at(1), id, Direction::Forth, 5),
        on(1),
        "and no byte more"
    );
}

#[test]
fn time_and_day_end_circuits_and_a_new_day_begins_anew() {
    let mut book = Book::new(RelayLimits {
        circuit_life: Duration::from_secs(60),
        peer_day: 50_000,
        ..RelayLimits::default()
    });
    let id = circuit(&mut book, at(0));
    assert_eq!(
        book.pass(at(60_000), id, Direction::Forth, 1),
        Pass::Over(Cut::Time)
    );
    let id = circuit(&mut book, at(0));
    assert_eq!(book.pass(at(1), id, Direction::Forth, 1 << 20), on(50_000));
    assert!(matches!(book.pass(at(1), id, Direction::Back, 1), Pass::Over(_)));
    assert_eq!(connect(&mut book, at(1), 1, 2), Err(Refusal::Day));
    // Who was called has paid nothing: it is reached, and calls.
    book.reserve(at(1), node(3), ip("10.0.0.3")).unwrap();
    connect(&mut book, at(1), 2, 3).unwrap();
    connect(&mut book, at(1), 3, 2).unwrap();
    let tomorrow = Duration::from_secs(24 * 3600 + 1);
    book.reserve(tomorrow, node(2), ip("10.0.0.2")).unwrap();
    connect(&mut book, tomorrow, 1, 2).unwrap();
}

#[test]
fn rates_hold_over_time_and_are_shared() {
    const RATE: u64 = 1_000_000;
    let none = RelayLimits::default();
    let cases = [
        (
            RelayLimits {
                circuit_rate: RATE,
                ..none
            },
            2 * RATE,
        ),
        (
            RelayLimits {
                total_rate: RATE,
                ..none
            },
            RATE,
        ),
        (
            RelayLimits {
                peer_rate: RATE,
                ..none
            },
            RATE,
        ),
        (
            RelayLimits {
                block_rate: RATE,
                ..none
            },
            RATE,
        ),
    ];
    for (limits, expected) in cases {
        let mut book = Book::new(limits);
        let ids = [circuit(&mut book, at(0)), circuit(&mut book, at(0))];
        let mut sums = [0u64; 2];
        let mut ready = [Duration::ZERO; 2];
        let mut now = Duration::ZERO;
        while now < Duration::from_secs(20) {
            for (n, id) in ids.iter().enumerate() {
                if ready[n] > now {
                    continue;
                }
                match book.pass(now, *id, Direction::Forth, PIECE as u64) {
                    Pass::On { bytes, after } => {
                        sums[n] += bytes;
                        ready[n] = now + after;
                    }
                    Pass::Over(why) => unreachable!("{why}"),
                }
            }
            now += at(1);
        }
        let (sum, ideal) = (sums[0] + sums[1], expected * 20);
        // Half a second's worth may go at once at the start, and one piece of each is under way.
        assert!(sum <= ideal + expected / 2 + 4 * PIECE as u64, "{sum} of {ideal}");
        assert!(sum >= ideal * 99 / 100, "{sum} of {ideal}");
        assert!(
            sums[0] * 21 > sum * 10 && sums[1] * 21 > sum * 10,
            "shared: {sums:?}"
        );
    }
}

#[test]
fn a_block_has_its_own_bounds_whatever_its_nodes_have() {
    let mut book = Book::new(RelayLimits {
        circuits_per_block: 3,
        block_day: 1000,
        ..RelayLimits::default()
    });
    for n in [2, 3] {
        book.reserve(at(0), node(n), ip(&format!("10.{n}.0.1"))).unwrap();
    }
    let home = ip("192.0.2.7");
    let open = |book: &mut Book, from: u16, to: u16| book.connect(at(0), (node(from), home), node(to), true);
    let ids = [20, 21, 22].map(|n| open(&mut book, n, 2).unwrap());
    assert_eq!(
        open(&mut book, 23, 3),
        Err(Refusal::Circuits),
        "other nodes, the same block"
    );
    assert!(connect(&mut book, at(0), 24, 3).is_ok(), "somebody else");
    book.end(ids[0]);
    book.end(ids[0]);
    let again = open(&mut book, 23, 3).unwrap();
    assert_eq!(
        open(&mut book, 25, 3),
        Err(Refusal::Circuits),
        "an end counts once"
    );
    assert_eq!(book.pass(at(1), ids[1], Direction::Forth, 900), on(900));
    assert_eq!(
        book.pass(at(1), again, Direction::Back, 900),
        on(100),
        "to the byte, and all together"
    );
    assert_eq!(
        book.pass(at(1), ids[2], Direction::Forth, 1),
        Pass::Over(Cut::Day)
    );
    assert_eq!((book.counts().cut_day, book.counts().opened_tcp), (2, 4));
}

#[test]
fn silence_and_time_end_circuits_nobody_speaks_on() {
    let mut book = Book::new(RelayLimits::default());
    let id = circuit(&mut book, at(0));
    assert_eq!(book.until(id), Some(SILENCE));
    assert!(matches!(
        book.pass(at(5000), id, Direction::Back, 1),
        Pass::On { .. }
    ));
    assert_eq!(book.lapse(SILENCE, id), None, "it has said something");
    assert_eq!(book.until(id), Some(SILENCE + at(5000)));
    assert_eq!(book.lapse(SILENCE + at(5000), id), Some(Cut::Idle));
    assert_eq!(book.lapse(SILENCE, id), Some(Cut::Gone));
    assert_eq!((book.counts().cut_idle, book.counts().circuits), (1, 0));
    assert!(book.peers(at(6000)).iter().all(|p| p.circuits == 0));
}

#[test]
fn who_asks_too_often_waits_and_others_do_not() {
    let mut book = Book::new(RelayLimits {
        requests_per_minute: 60,
        ..RelayLimits::default()
    });
    let made = (0..100)
        .filter(|_| book.asks(at(0), node(1), ip("10.0.0.1")).is_ok())
        .count();
    assert_eq!(made, 30);
    assert!(book.asks(at(0), node(2), ip("10.0.0.2")).is_ok());
    let made = (100..1100)
        .filter(|n| book.asks(at(0), node(*n), ip("10.0.0.1")).is_ok())
        .count();
    assert_eq!(
        made,
        8 * 30 - 31 - 70,
        "the block has its own measure, and refused ones count there"
    );
    assert_eq!(book.counts().refused_rate, 70 + 1000 - made as u64);
}

#[test]
fn a_flood_of_names_neither_grows_the_book_nor_resets_anybodys_day() {
    let mut book = Book::new(RelayLimits {
        peer_day: 10,
        requests_per_minute: 0,
        ..RelayLimits::default()
    });
    let id = circuit(&mut book, at(0));
    assert_eq!(book.pass(at(0), id, Direction::Forth, 10), on(10));
    book.end(id);
    for n in 0..40_000u16 {
        let _ = book.asks(at(0), node(n), ip("10.0.0.1"));
    }
    assert!(book.users.peers().count() <= MAX_USERS);
    assert_eq!(connect(&mut book, at(1), 1, 2), Err(Refusal::Day));
}

#[test]
fn limits_can_change_and_the_load_is_told() {
    let mut book = Book::new(RelayLimits::default());
    let id = circuit(&mut book, at(0));
    assert_eq!(book.piece(id, Direction::Forth), LARGE_PIECE);
    assert_eq!(book.load(at(0)).bytes_left_today, None);
    book.set_limits(RelayLimits {
        circuit_bytes: 1000,
        total_day: 5000,
        circuits: 0,
        ..RelayLimits::default()
    });
    assert_eq!(book.piece(id, Direction::Forth), PIECE);
    assert_eq!(book.pass(at(1), id, Direction::Forth, 1001), on(1000));
    let load = book.load(at(1));
    assert_eq!(
        (load.bytes_left_today, load.circuits_left, load.reservations),
        (Some(4000), 0, 1)
    );
    book.drain(true);
    assert!(book.load(at(1)).draining);
    book.set_limits(RelayLimits {
        total_rate: 40_000,
        ..RelayLimits::default()
    });
    book.drain(false);
    let id = circuit(&mut book, at(2));
    assert_eq!(book.piece(id, Direction::Forth), 10_000, "no long pauses");
    assert_eq!(book.cut_all(), 1);
    assert_eq!((book.counts().cut_drained, book.counts().cut_bytes), (1, 1));
}
