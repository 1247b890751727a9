//! Damaged frames: no decoder of this protocol panics on them or allocates past its bound.
//!
//! 100,000 by default; `HIVE_MUTATIONS=1000000` for the full count.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    unsafe_code
)]

use hive_protocol::{
    codec::{self, MAX_FRAME, Message},
    file::{FileReply, FileRequest, MAX_FETCHERS, MAX_MANY, Via},
    ids::{BlobHash, LeaseId, NetworkId, NodeId, NoticeId},
    keys::{SecretKey, Signed},
    manifest::{Entry, EntryKind, Manifest},
    notice::{Notice, NoticeBody, NoticeMsg, Priority},
    share::FileTicket,
    time::Timestamp,
};
use std::{
    alloc::{GlobalAlloc, Layout, System},
    sync::atomic::{AtomicUsize, Ordering},
};

/// Counts the largest number of bytes held since the last mark.
struct Counting;

static HELD: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call is passed on to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let held = HELD.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        PEAK.fetch_max(held, Ordering::Relaxed);
        // SAFETY: as the caller's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: as the caller's.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// A small generator, so that a failure can be repeated.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }
}

fn damage(bytes: &mut Vec<u8>, random: &mut Random) {
    for _ in 0..=random.below(4) {
        let at = random.below(bytes.len());
        match random.below(7) {
            _ if bytes.is_empty() => bytes.push(random.next() as u8),
            0 => bytes.truncate(at),
            1 => bytes.insert(at, random.next() as u8),
            2 => bytes[at] ^= 1 << random.below(8),
            3 => bytes[at] = 0xff,
            // A length that lies.
            4 => {
                let lie = [u64::MAX, 1 << 40, u64::from(u32::MAX), 1 << 20][random.below(4)].to_le_bytes();
                for (to, from) in bytes.iter_mut().skip(at).zip(lie) {
                    *to = from;
                }
            }
            5 => {
                bytes.remove(at);
            }
            _ => {
                let more: Vec<u8> = bytes[at..].iter().take(100).copied().collect();
                bytes.extend(more);
            }
        }
    }
}

fn hash(n: u8) -> BlobHash {
    BlobHash([n; 32])
}

fn requests() -> Vec<FileRequest> {
    let (hash, via) = (hash(1), Via::Root(hash(2)));
    vec![
        FileRequest::Have {
            hash,
            via,
            seen: 5,
            wait_ms: 100,
        },
        FileRequest::Tree {
            hash,
            via: Via::Lease(LeaseId([1; 16])),
            max_size: 77,
        },
        FileRequest::Segment {
            hash,
            via,
            segment: 3,
            mask: u64::MAX,
            hashes: true,
        },
        FileRequest::Many {
            via,
            hashes: vec![hash; MAX_MANY],
        },
        FileRequest::Many {
            via,
            hashes: vec![hash; 3],
        },
        FileRequest::Chunks { hash, via },
    ]
}

fn replies() -> Vec<FileReply> {
    let nodes = vec![NodeId([3; 32]); MAX_FETCHERS];
    vec![
        FileReply::Have {
            size: 1 << 40,
            whole: false,
            segments: vec![255; 1 << 15],
            fetchers: nodes.clone(),
        },
        FileReply::Have {
            size: 9,
            whole: true,
            segments: vec![],
            fetchers: nodes,
        },
        FileReply::Tree { size: 5 },
        FileReply::Segment { mask: 7, bytes: 3 },
        FileReply::Many {
            sizes: vec![4; MAX_MANY],
        },
        FileReply::Chunks { count: 9 },
        FileReply::NotFound,
        FileReply::TooLarge { size: 5 },
        FileReply::Busy { retry_ms: 5 },
    ]
}

fn manifest() -> Vec<u8> {
    let entries = (0..40).map(|n| Entry {
        path: format!("d/f{n:02}"),
        kind: match n % 3 {
            0 => EntryKind::File {
                hash: hash(n),
                size: 9,
            },
            1 => EntryKind::Folder,
            _ => EntryKind::Link { target: "f00".into() },
        },
        mode: 0o644,
        mtime_ns: -5,
    });
    Manifest::new(entries.collect()).unwrap().encode().unwrap()
}

fn notice() -> Signed<Notice> {
    let secret = SecretKey::from_seed(&[1; 32]);
    let notice = Notice {
        id: NoticeId([1; 16]),
        network: NetworkId([2; 32]),
        from: NodeId(secret.public()),
        to: vec![NodeId([4; 32]); 3],
        body: NoticeBody::Text("hello".into()),
        priority: Priority::Normal,
        created: Timestamp(5),
        expires: Timestamp(6),
    };
    Signed::sign(&secret, &notice).unwrap()
}

fn frames<M: Message>(messages: Vec<M>) -> Vec<Vec<u8>> {
    let frame = |m: &M| {
        let mut out = Vec::new();
        codec::frame_into(m, &mut out).unwrap();
        out
    };
    messages.iter().map(frame).collect()
}

/// A frame as it is read from a stream.
fn read<M: Message>(bytes: &[u8]) {
    if let Some((prefix, body)) = bytes.split_first_chunk()
        && let Ok(len) = codec::frame_len(M::NAME, *prefix, M::MAX)
        && let Some(body) = body.get(..len)
    {
        // Whether it is refused does not matter.
        drop(codec::open::<M>(body));
    }
}

type Decoder = fn(&[u8]);

#[test]
fn damaged_frames_neither_panic_nor_allocate_without_bound() {
    let count: usize = std::env::var("HIVE_MUTATIONS").map_or(100_000, |n| n.parse().unwrap());
    let ticket = FileTicket::new(
        NetworkId([1; 32]),
        hash(3),
        true,
        7,
        "models".into(),
        vec![(NodeId([2; 32]), "/ip4/127.0.0.1/udp/4001/quic-v1".into())],
    );
    let kinds: Vec<(&str, Vec<Vec<u8>>, Decoder)> = vec![
        ("request", frames(requests()), |b| read::<FileRequest>(b)),
        ("reply", frames(replies()), |b| read::<FileReply>(b)),
        ("manifest", vec![manifest()], |b| drop(Manifest::decode(b))),
        ("ticket", vec![ticket.to_string().into_bytes()], |b| {
            drop(String::from_utf8_lossy(b).parse::<FileTicket>());
        }),
        (
            "notice",
            frames(vec![
                NoticeMsg::Deliver(notice()),
                NoticeMsg::Mail(vec![notice(); 5]),
                NoticeMsg::Taken(vec![NoticeId([1; 16]); 9]),
            ]),
            |b| read::<NoticeMsg>(b),
        ),
    ];
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    for (name, samples, decode) in &kinds {
        let mut most = 0;
        for round in 0..count {
            let mut bytes = samples[random.below(samples.len())].clone();
            damage(&mut bytes, &mut random);
            let before = HELD.load(Ordering::Relaxed);
            PEAK.store(before, Ordering::Relaxed);
            decode(&bytes);
            let held = PEAK.load(Ordering::Relaxed).saturating_sub(before);
            most = most.max(held);
            // Values are at most some times as large as their bytes; a length that lies may reserve one megabyte.
            let bound = (4 << 20) + 8 * bytes.len();
            assert!(
                held <= bound.min(4 * MAX_FRAME),
                "{name}, round {round}: {held} bytes held for {}",
                bytes.len()
            );
        }
        println!("{name}: {count} damaged, at most {most} bytes held");
    }
}
