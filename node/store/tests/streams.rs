//! Verified streams: what goes out comes in; whatever is wrong on the way is named and never visible.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use bao_tree::{
    BaoTree, BlockSize, ChunkRanges,
    io::{outboard::PreOrderMemOutboard, sync::encode_ranges_validated},
};
use hive_protocol::ids::BlobHash;
use hive_store::{BlobError, BlobStore, DiskBudget, blobs::encoded_len};
use std::{fs, io, path::Path};
use tokio_util::compat::TokioAsyncReadCompatExt;

const SIZES: [usize; 15] = [
    0, 1, 1023, 1024, 1025, 65_535, 65_536, 65_537, 131_071, 131_072, 131_073, 262_145, 700_000, 1_048_577,
    5_242_880,
];

fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut out = vec![0; len];
    blake3::Hasher::new()
        .update(&seed.to_le_bytes())
        .finalize_xof()
        .fill(&mut out);
    out
}

/// A small generator, so that a failing case can be run again.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) as usize) % n.max(1)
    }
}

fn open(dir: &Path) -> BlobStore {
    BlobStore::open(dir, DiskBudget::new(1 << 32), false).unwrap().0
}

fn encoded(s: &BlobStore, h: &BlobHash) -> Vec<u8> {
    let mut out = Vec::new();
    let n = s.send(h, &mut out).unwrap();
    assert_eq!(n, out.len() as u64);
    out
}

fn assert_clean(s: &BlobStore, dir: &Path) {
    assert_eq!((s.usage().blobs, s.budget().used()), (0, 0));
    assert_eq!(fs::read_dir(dir.join("tmp")).unwrap().count(), 0);
}

#[test]
fn streams_are_those_of_bao_tree_and_come_in_whole() {
    let t = tempfile::tempdir().unwrap();
    let (a, b) = (open(&t.path().join("a")), open(&t.path().join("b")));
    for (i, len) in SIZES.into_iter().enumerate() {
        let data = noise(i as u64, len);
        let h = a.add_bytes(&data).unwrap().hash;
        let ours = encoded(&a, &h);
        assert_eq!(ours.len() as u64, encoded_len(len as u64));
        let outboard = PreOrderMemOutboard::create(&data, BlockSize::from_chunk_log(6));
        let mut theirs = Vec::new();
        encode_ranges_validated(data.as_slice(), &outboard, &ChunkRanges::all(), &mut theirs).unwrap();
        assert_eq!(
            BaoTree::new(len as u64, BlockSize::from_chunk_log(6)).size(),
            len as u64
        );
        assert!(ours == theirs, "{len} bytes");
        // In portions of any size, with the next answer already behind it.
        let mut dice = Dice(len as u64);
        for most in [1, 63, 4096, 65_536, 100_000, 10_000_000] {
            if most == 1 && len > 70_000 {
                continue;
            }
            let mut d = b.decoder(h, len as u64, len as u64).unwrap();
            let mut wire = ours.clone();
            wire.extend_from_slice(b"the next reply");
            let mut at = 0;
            while d.remaining() > 0 {
                let n = (1 + dice.below(most)).min(wire.len() - at);
                at += d.feed(&wire[at..at + n]).unwrap();
            }
            assert_eq!(at, ours.len());
            assert_eq!(d.feed(b"more").unwrap(), 0);
            assert!(d.is_complete());
            let added = d.finish().unwrap();
            assert_eq!((added.hash, added.size, added.new), (h, len as u64, true));
            assert_eq!(b.read(&h, u64::MAX).unwrap(), data);
            // What came in can go out again.
            assert!(encoded(&b, &h) == ours);
            assert!(b.remove(&h).unwrap());
        }
    }
    assert_clean(&b, &t.path().join("b"));
}

#[test]
fn any_flipped_bit_is_noticed_at_its_group() {
    let t = tempfile::tempdir().unwrap();
    let (a, b) = (open(&t.path().join("a")), open(&t.path().join("b")));
    let mut dice = Dice(42);
    for len in [1, 65_536, 65_537, 131_073, 1_000_000] {
        let data = noise(len as u64, len);
        let h = a.add_bytes(&data).unwrap().hash;
        let good = encoded(&a, &h);
        for _ in 0..60 {
            let mut bad = good.clone();
            let at = dice.below(bad.len());
            bad[at] ^= 1 << dice.below(8);
            let e = b
                .receive(h, len as u64, u64::MAX, &mut bad.as_slice())
                .unwrap_err();
            assert_eq!(e.code(), "blob.corrupt", "{len} bytes, byte {at}");
            assert!(e.is_sender_fault());
            let BlobError::Corrupt { offset, .. } = e else {
                panic!("{e}")
            };
            // Not later than in the group that was hit.
            assert!(offset <= at as u64, "{offset} after {at}");
        }
    }
    assert_clean(&b, &t.path().join("b"));
}

#[test]
fn nothing_more_is_read_after_the_first_wrong_group() {
    let t = tempfile::tempdir().unwrap();
    let b = open(t.path());
    let mut d = b.decoder(BlobHash([1; 32]), 10 << 20, u64::MAX).unwrap();
    assert_eq!(d.feed(&[7; 63]).unwrap(), 63);
    assert_eq!(d.feed(&[7]).unwrap_err().code(), "blob.corrupt");
    assert_eq!(d.feed(&[7; 1000]).unwrap_err().code(), "blob.corrupt");
    assert!(!d.is_complete());
    assert_eq!(d.finish().unwrap_err().code(), "blob.corrupt");
    assert_clean(&b, t.path());
}

#[test]
fn short_answers_are_truncated_at_every_length() {
    let t = tempfile::tempdir().unwrap();
    let (a, b) = (open(&t.path().join("a")), open(&t.path().join("b")));
    let mut dice = Dice(7);
    for len in [1, 1000, 65_536, 65_537, 400_000] {
        let h = a.add_bytes(&noise(1, len)).unwrap().hash;
        let good = encoded(&a, &h);
        let cuts = [0, 1, 63, 64, 65, good.len() - 1]
            .into_iter()
            .chain((0..20).map(|_| dice.below(good.len())));
        for cut in cuts.filter(|c| *c < good.len()) {
            let e = b.receive(h, len as u64, u64::MAX, &mut &good[..cut]).unwrap_err();
            assert_eq!(e.code(), "blob.truncated", "{len} bytes cut at {cut}");
        }
    }
    assert_clean(&b, &t.path().join("b"));
}

#[test]
fn long_and_endless_answers_are_refused() {
    let t = tempfile::tempdir().unwrap();
    let (a, b) = (open(&t.path().join("a")), open(&t.path().join("b")));
    for len in [0, 10, 65_536, 300_000] {
        let h = a.add_bytes(&noise(1, len)).unwrap().hash;
        let mut long = encoded(&a, &h);
        long.push(0);
        let e = b
            .receive_to_end(h, len as u64, u64::MAX, &mut long.as_slice())
            .unwrap_err();
        assert_eq!(e.code(), "blob.too_large");
        assert_clean(&b, &t.path().join("b"));
        long.pop();
        assert!(
            b.receive_to_end(h, len as u64, u64::MAX, &mut long.as_slice())
                .unwrap()
                .new
        );
        b.remove(&h).unwrap();
        let e = b
            .receive(BlobHash([3; 32]), 1 << 30, u64::MAX, &mut io::repeat(0))
            .unwrap_err();
        assert_eq!(e.code(), "blob.corrupt");
    }
    assert_clean(&b, &t.path().join("b"));
}

#[test]
fn claims_are_bounded_before_anything_is_taken() {
    let t = tempfile::tempdir().unwrap();
    let b = BlobStore::open(t.path(), DiskBudget::new(1 << 20), false)
        .unwrap()
        .0;
    let h = BlobHash([1; 32]);
    assert_eq!(b.decoder(h, 1001, 1000).unwrap_err().code(), "blob.too_large");
    assert_eq!(
        b.decoder(h, u64::MAX, u64::MAX).unwrap_err().code(),
        "blob.too_large"
    );
    assert_eq!(b.decoder(h, 1 << 40, u64::MAX).unwrap_err().code(), "store.quota");
    assert_clean(&b, t.path());
}

#[test]
fn a_wrong_size_for_a_right_hash_never_passes() {
    let t = tempfile::tempdir().unwrap();
    let (a, b) = (open(&t.path().join("a")), open(&t.path().join("b")));
    for len in [1_usize, 65_536, 65_537, 200_000] {
        let h = a.add_bytes(&noise(1, len)).unwrap().hash;
        let good = encoded(&a, &h);
        for lie in [
            0,
            1,
            len - 1,
            len + 1,
            len + 65_536,
            65_536,
            65_537,
            131_072,
            2 * len,
        ] {
            if lie == len {
                continue;
            }
            let mut source = good.clone();
            source.resize(good.len() + 200_000, 0);
            let e = b
                .receive(h, lie as u64, u64::MAX, &mut source.as_slice())
                .unwrap_err();
            assert_eq!(e.code(), "blob.corrupt", "{len} said to be {lie}");
        }
    }
    assert_clean(&b, &t.path().join("b"));
}

#[test]
fn a_dropped_decoder_leaves_nothing_and_two_at_once_agree() {
    let t = tempfile::tempdir().unwrap();
    let (a, b) = (open(&t.path().join("a")), open(&t.path().join("b")));
    let h = a.add_bytes(&noise(1, 500_000)).unwrap().hash;
    let good = encoded(&a, &h);
    let mut d = b.decoder(h, 500_000, u64::MAX).unwrap();
    d.feed(&good[..300_000]).unwrap();
    assert!(b.budget().used() > 500_000 && !b.has(&h));
    drop(d);
    assert_clean(&b, &t.path().join("b"));
    let (mut d, mut e) = (
        b.decoder(h, 500_000, u64::MAX).unwrap(),
        b.decoder(h, 500_000, u64::MAX).unwrap(),
    );
    d.feed(&good).unwrap();
    e.feed(&good).unwrap();
    assert!(d.finish().unwrap().new);
    assert!(!e.finish().unwrap().new);
    assert_eq!(b.usage().charged, b.budget().used());
    b.remove(&h).unwrap();
    assert_clean(&b, &t.path().join("b"));
}

#[test]
fn sending_goes_on_when_the_blob_is_removed_meanwhile() {
    let t = tempfile::tempdir().unwrap();
    let a = open(t.path());
    let h = a.add_bytes(&noise(1, 900_000)).unwrap().hash;
    let whole = encoded(&a, &h);
    let mut e = a.encoder(&h).unwrap();
    let mut out = Vec::new();
    assert!(e.fill(&mut out, 1).unwrap());
    a.remove(&h).unwrap();
    while e.fill(&mut out, usize::MAX).unwrap() {}
    assert!(out == whole && e.remaining() == 0);
    assert_eq!(a.encoder(&h).unwrap_err().code(), "blob.not_found");
}

#[tokio::test]
async fn async_streams_carry_every_size_back_to_back() {
    let t = tempfile::tempdir().unwrap();
    let (a, b) = (open(&t.path().join("a")), open(&t.path().join("b")));
    let blobs: Vec<_> = SIZES
        .iter()
        .enumerate()
        .map(|(i, l)| a.add_bytes(&noise(i as u64, *l)).unwrap())
        .collect();
    let (left, right) = tokio::io::duplex(10_000);
    let (mut left, mut right) = (left.compat(), right.compat());
    let sending = async {
        for x in &blobs {
            assert_eq!(
                a.send_async(&x.hash, &mut left).await.unwrap(),
                encoded_len(x.size)
            );
        }
        drop(left);
    };
    let receiving = async {
        for x in &blobs {
            let got = b
                .receive_async(x.hash, x.size, u64::MAX, &mut right)
                .await
                .unwrap();
            assert_eq!((got.hash, got.size, got.new), (x.hash, x.size, true));
        }
    };
    tokio::join!(sending, receiving);
    for x in &blobs {
        assert_eq!(b.verify(&x.hash).unwrap(), x.size);
    }
}

#[tokio::test]
async fn async_faults_have_the_same_names() {
    let t = tempfile::tempdir().unwrap();
    let (a, b) = (open(&t.path().join("a")), open(&t.path().join("b")));
    for len in [1000_usize, 3_000_000] {
        let h = a.add_bytes(&noise(1, len)).unwrap().hash;
        let good = encoded(&a, &h);
        let mut flipped = good.clone();
        flipped[len / 2] ^= 1;
        let cases: [(&[u8], u64, &str); 4] = [
            (&flipped, len as u64, "blob.corrupt"),
            (&flipped[..len - 1], len as u64, "blob.corrupt"),
            (&good[..len - 1], len as u64, "blob.truncated"),
            (&good, len as u64 - 1, "blob.too_large"),
        ];
        for (i, (wire, cap, code)) in cases.into_iter().enumerate() {
            // A short wrong answer to a small blob is only short: there is no hash to tell.
            let code = if len == 1000 && i == 1 {
                "blob.truncated"
            } else {
                code
            };
            let e = b
                .receive_async(h, len as u64, cap, &mut futures::io::Cursor::new(wire))
                .await
                .unwrap_err();
            assert_eq!(e.code(), code, "{len} bytes, case {i}");
        }
        assert_clean(&b, &t.path().join("b"));
        let added = b
            .add_async(&mut futures::io::Cursor::new(noise(1, len)), len as u64)
            .await
            .unwrap();
        assert_eq!(added.hash, h);
        b.remove(&h).unwrap();
        let e = b
            .add_async(&mut futures::io::Cursor::new(noise(1, len)), len as u64 - 1)
            .await
            .unwrap_err();
        assert_eq!(e.code(), "blob.too_large");
        assert_clean(&b, &t.path().join("b"));
    }
    let mut d = b.decoder_async(BlobHash([1; 32]), 100, 100).unwrap();
    assert_eq!(d.feed(vec![0; 101]).await.unwrap_err().code(), "blob.too_large");
}
