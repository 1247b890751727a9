//! Golden bytes of every wire message and signed document, and what must happen to damaged ones.
//!
//! A golden file is the encoded sample in hexadecimal. When a test here fails, the wire has changed: either
//! the change is a mistake, or the message's version must go up and `HIVE_WRITE_GOLDEN=1 cargo test -p
//! hive-protocol --test golden` writes the new file.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods
)]

mod kept;
mod samples;
mod seen;

use hive_protocol::codec::{self, CodecError, ENVELOPE_LEN, Message};
use samples::{Sample, all};
use seen::Seen;
use std::{collections::BTreeSet, path::PathBuf};

/// Mutated inputs for each decoder in a normal run; the long campaign sets `HIVE_MUTATIONS`.
const MUTATIONS: u64 = 20_000;

#[test]
fn every_message_has_its_golden_bytes() {
    let mut protos = BTreeSet::new();
    for sample in all() {
        if let Some(proto) = sample.proto {
            assert!(
                protos.insert(proto),
                "{}: protocol number {proto} is used twice",
                sample.name
            );
        }
        kept::compare(sample.name, &sample.bytes);
        assert_eq!(
            (sample.again)(&sample.bytes).unwrap(),
            sample.bytes,
            "{}: decode, encode",
            sample.name
        );
    }
}

/// What stands in the samples, and so, as the test above compares them, in the golden files.
fn seen() -> Seen {
    let seen = Seen::default();
    for sample in all() {
        (sample.look)(&sample.bytes, &seen);
    }
    seen
}

#[test]
fn every_golden_file_is_of_a_sample() {
    let names: Vec<&str> = all().iter().map(|s| s.name).collect();
    kept::none_but(&names);
}

#[test]
fn every_variant_has_its_golden_bytes() {
    let missing = seen().missing();
    assert!(missing.is_empty(), "in no golden file: {missing:?}");
}

#[test]
fn every_enum_of_the_wire_stands_in_some_golden_file() {
    let seen = seen().enums();
    let mut found = 0;
    let src = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src");
    for entry in std::fs::read_dir(src).unwrap() {
        let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
        let mut derives = "";
        for line in text.lines() {
            if line.starts_with("#[derive(") {
                derives = line;
            } else if let Some(rest) = line.strip_prefix("pub enum ") {
                let name = rest.split([' ', '<']).next().unwrap();
                if derives.contains("Deserialize") {
                    found += 1;
                    assert!(seen.contains(name), "{name} is in no golden file");
                }
            } else if line.starts_with("pub struct ") {
                derives = "";
            }
        }
    }
    assert!(found >= 20, "only {found} enums were found in the sources");
}

#[test]
fn a_variant_that_is_absent_is_named() {
    use hive_protocol::authority::HoldState;
    let seen = Seen::default();
    for state in [HoldState::Pending, HoldState::Expired] {
        seen.look::<HoldState>(&codec::encode("x", &state, 64).unwrap());
    }
    assert_eq!(seen.missing(), ["HoldState::Captured", "HoldState::Released"]);
}

#[test]
fn cut_at_every_byte_and_trailing_bytes_are_refused() {
    for Sample {
        name, bytes, again, ..
    } in all()
    {
        for cut in 0..bytes.len() {
            assert!(again(&bytes[..cut]).is_err(), "{name} cut at {cut} was taken");
        }
        let mut long = bytes.clone();
        long.push(0);
        assert!(again(&long).is_err(), "{name} with a trailing byte was taken");
    }
}

#[test]
fn other_protocols_and_versions_are_named() {
    for Sample {
        name,
        bytes,
        again,
        proto,
        ..
    } in all()
    {
        if proto.is_none() {
            continue;
        }
        let mut other = bytes.clone();
        other[0] ^= 0xff;
        assert!(
            matches!(again(&other), Err(CodecError::Protocol { .. })),
            "{name}"
        );
        let mut newer = bytes.clone();
        newer[2] += 1;
        assert!(
            matches!(
                again(&newer),
                Err(CodecError::Version {
                    found: 2,
                    spoken: 1,
                    ..
                })
            ),
            "{name}"
        );
    }
}

/// SplitMix64 (Steele, Lea, Flood 2014): a seeded stream that is the same everywhere.
struct Rng(u64);
impl Rng {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
    fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }
}

#[test]
fn mutated_bytes_never_panic_and_decode_to_what_they_encode_to() {
    let rounds = std::env::var("HIVE_MUTATIONS")
        .ok()
        .map_or(MUTATIONS, |v| v.parse().unwrap());
    for (
        i,
        Sample {
            name,
            bytes,
            again,
            proto,
            ..
        },
    ) in all().into_iter().enumerate()
    {
        let mut rng = Rng(i as u64 + 1);
        let mut taken = 0u64;
        for _ in 0..rounds {
            let mut b = bytes.clone();
            for _ in 0..=rng.below(4) {
                let at = rng.below(b.len());
                match rng.below(5) {
                    0 => b[at] = rng.next() as u8,
                    1 => b[at] ^= 1 << rng.below(8),
                    2 => b.truncate(at.max(1)),
                    3 => b.insert(at, rng.next() as u8),
                    _ => {
                        // a huge length where a length may stand
                        for k in 0..8.min(b.len() - at) {
                            b[at + k] = 0xff;
                        }
                    }
                }
            }
            if let Ok(out) = again(&b) {
                taken += 1;
                assert_eq!(out, b, "{name}: two encodings of one value");
            }
        }
        // Damage inside free bytes (hashes, numbers) is legal; the harness must meet both kinds.
        assert!(proto.is_none() || taken < rounds, "{name}: no damage was noticed");
    }
}

#[test]
fn lengths_are_refused_before_anything_is_allocated() {
    use hive_protocol::work::WorkFrame;
    // A frame that claims 2^32-1 bytes, and a list that claims 2^40 entries.
    assert!(matches!(
        codec::frame_len("x", u32::MAX.to_le_bytes(), WorkFrame::MAX),
        Err(CodecError::TooLarge { .. })
    ));
    let mut bytes = codec::seal(&WorkFrame { messages: vec![] }).unwrap();
    bytes[ENVELOPE_LEN..ENVELOPE_LEN + 8].copy_from_slice(&(1u64 << 40).to_le_bytes());
    assert!(codec::open::<WorkFrame>(&bytes).is_err());
    let over = vec![0u8; WorkFrame::MAX + ENVELOPE_LEN + 1];
    assert!(codec::open::<WorkFrame>(&over).is_err());
}
