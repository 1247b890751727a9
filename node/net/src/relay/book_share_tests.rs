//! Tests of the relay's book: nobody's part of circuits, and of a day, grows at others' cost.
#![allow(clippy::unwrap_used)]

use super::{
    tests::{at, circuit, connect, ip, node, on},
    *,
};

/// Opens circuits to a destination as each of these nodes, each at its address, until nobody gets one; says how many.
fn hoard(book: &mut Book, callers: &[(u16, IpAddr)], to: u16, tcp: bool) -> usize {
    let mut held = 0;
    loop {
        let more = callers
            .iter()
            .filter(|(n, from)| book.connect(at(0), (node(*n), *from), node(to), tcp).is_ok())
            .count();
        if more == 0 {
            return held;
        }
        held += more;
    }
}

#[test]
fn those_who_hoard_a_nodes_circuits_leave_room_for_others() {
    let home = |n: u16| (n, IpAddr::from([172, 16, (n % 256) as u8, 1]));
    let office = |n: u16| (n, ip("172.30.0.1"));
    let eight: Vec<(u16, IpAddr)> = (100..108).map(home).collect();
    let one_block: Vec<(u16, IpAddr)> = (100..200).map(office).collect();
    for (hoarders, tcp, most) in [
        (&eight[..1], false, 8),
        (&eight[..1], true, 32),
        (&eight[..], false, 48),
        (&eight[..], true, 192),
        (&one_block[..], false, 49),
        (&one_block[..], true, 193),
    ] {
        let mut book = Book::new(RelayLimits::default());
        book.reserve(at(0), node(1), ip("10.0.0.1")).unwrap();
        book.reserve(at(0), node(2), ip("10.0.0.2")).unwrap();
        let held = hoard(&mut book, hoarders, 1, tcp);
        assert!((1..=most).contains(&held), "{held} of {}", hoarders.len());
        // Others still come, one after the other, and again when they have gone.
        for n in 300..304 {
            let from = (node(n), home(n).1);
            let id = book.connect(at(0), from, node(1), tcp).unwrap();
            book.connect(at(0), from, node(1), tcp).unwrap();
            book.end(id);
            book.connect(at(0), from, node(1), tcp).unwrap();
        }
        // The node that is called so much calls others itself.
        book.connect(at(0), (node(1), ip("10.0.0.1")), node(2), tcp)
            .unwrap();
        // All is given back.
        assert!(book.cut_all() > held);
        assert_eq!(hoard(&mut book, hoarders, 1, tcp), held);
    }
}

#[test]
fn many_nodes_behind_one_address_are_all_served_and_replace_what_is_dead() {
    let mut book = Book::new(RelayLimits::default());
    book.reserve(at(0), node(1), ip("10.0.0.1")).unwrap();
    let office = |n: u16| (node(n), ip("172.30.0.1"));
    for n in 100..140 {
        let id = book.connect(at(0), office(n), node(1), false);
        assert!(id.is_ok(), "the {n}th: {id:?}");
    }
    // One of them takes another for what is dead, and the last places are for others.
    book.connect(at(0), office(100), node(1), false).unwrap();
    let all: Vec<(u16, IpAddr)> = (100..140).map(|n| (n, ip("172.30.0.1"))).collect();
    assert_eq!(41 + hoard(&mut book, &all, 1, false), 49);
    // 15 are left: each of the others has two of them, more than its part, down to the very last.
    for n in 300..307 {
        connect(&mut book, at(0), n, 1).unwrap();
        connect(&mut book, at(0), n, 1).unwrap();
        assert_eq!(
            connect(&mut book, at(0), n, 1),
            Err(Refusal::Circuits),
            "no third"
        );
    }
    connect(&mut book, at(0), 307, 1).unwrap();
    assert_eq!(
        connect(&mut book, at(0), 500, 1),
        Err(Refusal::Circuits),
        "all taken"
    );
}

#[test]
fn a_restart_gives_no_second_days_bytes() {
    let limits = RelayLimits {
        peer_day: 1000,
        block_day: 1500,
        total_day: 2000,
        ..RelayLimits::default()
    };
    let noon = DAY * 20_000 + DAY / 2;
    let mut before = Book::new(limits);
    before.clock(at(0), noon);
    let id = circuit(&mut before, at(0));
    assert_eq!(before.pass(at(1), id, Direction::Back, 900), on(900));
    let kept = before.day(at(2));
    assert_eq!((kept.day, kept.total, kept.lasted), (20_000, 900, at(2)));
    assert_eq!(kept.peers, [(node(1), 900)], "who has opened it");
    assert_eq!(kept.blocks, [([0, 172, 16, 1, 0, 0, 0], 900)]);
    // The same day: what was used is used, for the node, its block and all.
    let again = |since_1970: Duration, kept: &RelayDay| {
        let mut book = Book::new(limits);
        book.clock(at(0), since_1970);
        book.take_up(at(0), kept);
        book
    };
    let for_longer = |ms| RelayDay {
        lasted: at(ms),
        ..kept.clone()
    };
    let mut book = again(noon + DAY / 4, &kept);
    assert_eq!(book.day(at(1)), for_longer(3));
    let id = circuit(&mut book, at(1));
    assert_eq!(book.pass(at(1), id, Direction::Forth, 900), on(100));
    assert_eq!(connect(&mut book, at(2), 1, 2), Err(Refusal::Day));
    let neighbour = (node(7), ip("172.16.1.99"));
    let id = book.connect(at(2), neighbour, node(2), false).unwrap();
    assert_eq!(
        book.pass(at(2), id, Direction::Forth, 900),
        on(500),
        "the block's"
    );
    let id = connect(&mut book, at(2), 9, 2).unwrap();
    assert_eq!(
        book.pass(at(2), id, Direction::Forth, 900),
        on(500),
        "the rest of all"
    );
    assert_eq!(book.load(at(2)).bytes_today, 2000);
    // The next day by the clock begins anew, before or after the restart.
    assert_eq!(again(noon + DAY, &kept).day(at(1)).total, 0);
    let mut book = again(noon, &kept);
    assert_eq!(book.day(DAY / 2 - at(1)).total, 900);
    assert_eq!(book.day(DAY / 2).total, 0);
    // A clock that was put back gives nothing, and that it is put right again neither.
    let mut book = again(noon - DAY * 19_000, &kept);
    assert_eq!(book.day(at(1)).total, 900);
    book.clock(at(2), noon + at(2));
    assert_eq!(book.day(at(3)), for_longer(5));
    // One that was far ahead holds nobody for longer than a day, however often the relay is started in it.
    let mut row = RelayDay {
        day: 30_000,
        ..for_longer(0)
    };
    let (session, mut run) = (DAY / 5, Duration::ZERO);
    while run < DAY - session {
        let mut book = again(noon + run, &row);
        run += session;
        row = book.day(session);
        assert_eq!((row.day, row.total, row.lasted), (30_000, 900, run));
    }
    let mut book = again(noon, &row);
    assert_eq!(book.day(session - at(1)).total, 900);
    let next = book.day(session);
    assert_eq!((next.day, next.total, next.lasted), (20_000, 0, Duration::ZERO));
}

#[test]
fn the_account_of_a_day_names_those_with_the_most() {
    let mut book = Book::new(RelayLimits::default());
    for n in 0..600 {
        book.reserve(at(0), node(1000), ip("10.0.0.2")).unwrap();
        let id = connect(&mut book, at(0), n, 1000).unwrap();
        let bytes = 1 + u64::from(n);
        assert_eq!(book.pass(at(1), id, Direction::Forth, bytes), on(bytes));
        book.end(id);
    }
    let day = book.day(at(2));
    assert_eq!(day.total, (1..=600).sum::<u64>());
    assert_eq!(
        (day.peers.len(), day.blocks.len()),
        (RelayDay::MAX_USERS, RelayDay::MAX_USERS)
    );
    assert_eq!(day.peers[0], (node(599), 600));
}
