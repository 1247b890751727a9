//! Tests of the relay's book.
#![allow(clippy::unwrap_used)]

use super::*;

fn node(n: u16) -> NodeId {
    let mut id = [0; 32];
    id[..2].copy_from_slice(&n.to_le_bytes());
    NodeId(id)
}

fn at(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn circuit(book: &mut Book, now: Duration) -> CircuitId {
    book.reserve(now, node(2), ip("10.0.0.2")).unwrap();
    book.connect(now, node(1), node(2)).unwrap()
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
    assert_eq!(
        book.connect(at(0), node(8), node(77)),
        Err(Refusal::NoReservation)
    );
    let later = at(3_600_001);
    assert_eq!(
        book.connect(later, node(8), node(0)),
        Err(Refusal::NoReservation),
        "expired"
    );
    book.reserve(later, node(5), ip("10.1.0.1")).unwrap();
    book.gone(&node(5));
    assert_eq!(
        book.connect(later, node(8), node(5)),
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
    let first = book.connect(at(0), node(9), node(1)).unwrap();
    for _ in 0..3 {
        book.connect(at(0), node(9), node(1)).unwrap();
    }
    assert_eq!(
        book.connect(at(0), node(9), node(2)),
        Err(Refusal::Circuits),
        "as their opener"
    );
    assert_eq!(
        book.connect(at(0), node(8), node(1)),
        Err(Refusal::Circuits),
        "as their end"
    );
    assert_eq!(book.connect(at(0), node(1), node(1)), Err(Refusal::Loop));
    book.connect(at(0), node(2), node(3)).unwrap();
    book.connect(at(0), node(3), node(2)).unwrap();
    assert_eq!(
        book.connect(at(0), node(7), node(2)),
        Err(Refusal::Circuits),
        "in all"
    );
    book.end(first);
    book.connect(at(0), node(7), node(2)).unwrap();
    book.drain();
    book.end(CircuitId(2));
    assert_eq!(book.connect(at(0), node(7), node(2)), Err(Refusal::Draining));
    assert_eq!(
        book.reserve(at(0), node(7), ip("10.0.0.7")),
        Err(Refusal::Draining)
    );
}

fn on(bytes: u64) -> Pass {
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
        Pass::Over("its time is over")
    );
    let id = circuit(&mut book, at(0));
    assert_eq!(book.pass(at(1), id, Direction::Forth, 1 << 20), on(50_000));
    assert!(matches!(book.pass(at(1), id, Direction::Back, 1), Pass::Over(_)));
    assert_eq!(book.connect(at(1), node(1), node(2)), Err(Refusal::Day));
    book.reserve(at(1), node(3), ip("10.0.0.3")).unwrap();
    assert_eq!(
        book.connect(at(1), node(2), node(3)),
        Err(Refusal::Day),
        "either end counts"
    );
    let tomorrow = Duration::from_secs(24 * 3600 + 1);
    book.reserve(tomorrow, node(2), ip("10.0.0.2")).unwrap();
    book.connect(tomorrow, node(1), node(2)).unwrap();
}

#[test]
fn rates_hold_over_time_and_are_shared() {
    for (circuit_rate, total_rate, expected) in [(1_000_000, 0, 2_000_000), (0, 1_000_000, 1_000_000)] {
        let mut book = Book::new(RelayLimits {
            circuit_rate,
            total_rate,
            ..RelayLimits::default()
        });
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
