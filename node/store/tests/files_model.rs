//! Random orders of writing, checking, forcing, closing and opening agree with a model of one bit for each group.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod files_kit;

use files_kit::{Node, noise};
use hive_protocol::file::{GROUP, SEGMENT, group_span, groups_of, segments, whole_mask};
use hive_store::files::{CopyRange, Partial};
use proptest::{prelude::*, test_runner::Config};
use std::{fs, sync::OnceLock};

const SIZE: u64 = 2 * SEGMENT + 3 * GROUP + 17;

#[derive(Debug, Clone)]
enum Step {
    Groups(u64),
    Write(u64, u64),
    Wrong(u64, u32),
    Zeros(u64),
    Copy(u64, u64),
    Checkpoint,
    Sync,
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    let segment = 0..segments(SIZE);
    // Few and neighbouring groups are as likely as many scattered ones.
    let mask = prop_oneof![
        any::<u64>(),
        (0..64u32, 1..64u32).prop_map(|(at, n)| (u64::MAX >> (64 - n)) << at)
    ];
    prop_oneof![
        3 => segment.clone().prop_map(Step::Groups),
        6 => (segment.clone(), mask).prop_map(|(s, m)| Step::Write(s, m)),
        2 => (segment.clone(), 0..64u32).prop_map(|(s, g)| Step::Wrong(s, g)),
        1 => segment.clone().prop_map(Step::Zeros),
        1 => (0..SIZE, 0..2 * SEGMENT).prop_map(|(a, n)| Step::Copy(a, n)),
        1 => Just(Step::Checkpoint),
        1 => Just(Step::Sync),
        2 => Just(Step::Reopen),
    ]
}

/// Noise with zeros in two places: half a segment, and one group.
fn data() -> &'static [u8] {
    static DATA: OnceLock<Vec<u8>> = OnceLock::new();
    DATA.get_or_init(|| {
        let mut data = noise(77, SIZE as usize);
        data[..32 * GROUP as usize].fill(0);
        data[(SEGMENT + 63 * GROUP) as usize..(2 * SEGMENT) as usize].fill(0);
        data
    })
}

fn bytes_of(segment: u64, mask: u64) -> Vec<u8> {
    let mut out = Vec::new();
    for g in 0..groups_of(SIZE, segment) {
        if mask >> g & 1 == 1 {
            let (at, len) = group_span(SIZE, segment, g);
            out.extend_from_slice(&data()[at as usize..(at + len) as usize]);
        }
    }
    out
}

fn check(p: &Partial, model: &[u64]) {
    let mut here = 0;
    for (segment, mask) in (0..).zip(model) {
        assert_eq!(
            p.missing(segment),
            whole_mask(SIZE, segment) & !mask,
            "segment {segment}"
        );
        here += bytes_of(segment, *mask).len() as u64;
    }
    assert_eq!(p.bytes_here(), here);
}

proptest! {
    #![proptest_config(Config { cases: 12, failure_persistence: None, ..Config::default() })]
    #[test]
    fn every_order_agrees_with_the_model(steps in prop::collection::vec(step(), 1..40)) {
        let (a, mut b) = (Node::new(), Node::new());
        let hash = a.add(&a.file("f", data())).root.hash;
        let s = a.store.source(&hash).unwrap();
        let dest = b.path("f");
        let mut p = b.begin(&hash, Some(&dest));
        p.set_tree(SIZE, &s.segment_cvs().unwrap()).unwrap();
        let mut model = vec![0u64; segments(SIZE) as usize];
        let mut known = vec![false; model.len()];
        for step in steps {
            match step {
                Step::Groups(n) => {
                    p.set_groups(n, &s.group_cvs(n).unwrap()).unwrap();
                    known[n as usize] = true;
                }
                Step::Write(n, mask) => {
                    let mask = mask & whole_mask(SIZE, n);
                    let result = p.write_mask(n, mask, &bytes_of(n, mask));
                    if known[n as usize] {
                        prop_assert_eq!(result.unwrap(), mask);
                        model[n as usize] |= mask;
                    } else {
                        prop_assert_eq!(result.unwrap_err().code(), "file.order");
                    }
                }
                Step::Wrong(n, g) => {
                    let mut bytes = bytes_of(n, (1u64 << g) & whole_mask(SIZE, n));
                    if let Some(b) = bytes.last_mut() {
                        *b ^= 0x40;
                    }
                    let here = model[n as usize] >> g & 1 == 1;
                    let result = p.write(n, g, &bytes);
                    // What is here already is not looked at again.
                    let right = if here { !result.unwrap() } else { result.is_err() };
                    prop_assert!(right);
                }
                Step::Zeros(n) => {
                    let found = p.fill_zeros(n).unwrap();
                    for g in 0..64 {
                        { let right = found >> g & 1 == 0 || bytes_of(n, 1 << g).iter().all(|b| *b == 0); prop_assert!(right) };
                    }
                    prop_assert_eq!(found & model[n as usize], 0);
                    model[n as usize] |= found;
                }
                Step::Copy(at, len) => {
                    let len = len.min(SIZE - at);
                    let before = p.bytes_here();
                    let taken = p.copy_from(&s, &[CopyRange { from: at, to: at, len }]).unwrap();
                    prop_assert_eq!(p.bytes_here(), before + taken);
                    for (n, m) in model.iter_mut().enumerate().filter(|(n, _)| known[*n]) {
                        for g in 0..groups_of(SIZE, n as u64) {
                            let (start, size) = group_span(SIZE, n as u64, g);
                            if start >= at && start + size <= at + len {
                                *m |= 1 << g;
                            }
                        }
                    }
                }
                Step::Checkpoint => p.checkpoint().unwrap(),
                Step::Sync => p.sync().unwrap(),
                Step::Reopen => {
                    drop(p);
                    b.reopen();
                    p = b.begin(&hash, Some(&dest));
                    prop_assert_eq!(p.size(), Some(SIZE));
                }
            }
            check(&p, &model);
        }
        files_kit::transfer(&s, &p);
        p.finish(None, None).unwrap();
        let same = fs::read(&dest).unwrap() == data();
        prop_assert!(same);
    }
}
