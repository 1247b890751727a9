//! The BLAKE3 tree at two heights: chaining values of groups and segments, and how they merge. Pure.

use blake3::{
    Hasher,
    hazmat::{HasherExt, Mode, merge_subtrees_non_root, merge_subtrees_root},
};
use hive_protocol::{
    file::{GROUP, groups_of, segments},
    ids::BlobHash,
};

/// A chaining value.
pub(crate) type Cv = [u8; 32];
/// [`GROUP`] as a length in memory.
pub(crate) const GROUP_LEN: usize = GROUP as usize;

/// The chaining value of a group of content of several groups, which starts at byte `offset`.
pub(crate) fn group_cv(offset: u64, bytes: &[u8]) -> Cv {
    Hasher::new()
        .set_input_offset(offset)
        .update(bytes)
        .finalize_non_root()
}

/// The value over a run of equal subtrees of which only the last may be smaller. `None` for an empty list.
pub(crate) fn merge(cvs: &[Cv], root: bool) -> Option<Cv> {
    match cvs {
        [] => None,
        [one] => Some(*one),
        more => {
            // The left side is the largest complete tree that leaves something to its right.
            let left = 1usize << (usize::BITS - 1 - (more.len() - 1).leading_zeros());
            let (a, b) = more.split_at(left);
            let (a, b) = (merge(a, false)?, merge(b, false)?);
            Some(if root {
                *merge_subtrees_root(&a, &b, Mode::Hash).as_bytes()
            } else {
                merge_subtrees_non_root(&a, &b, Mode::Hash)
            })
        }
    }
}

/// Whether these are the values of all segments of this content. Content of one segment has none.
pub(crate) fn segments_match(hash: &BlobHash, size: u64, cvs: &[Cv]) -> bool {
    let n = segments(size);
    if n == 1 {
        // Without values only the size nothing has can be told.
        return cvs.is_empty() && (size > 0 || *hash == BlobHash::of(b""));
    }
    cvs.len() as u64 == n && merge(cvs, true) == Some(hash.0)
}

/// Whether these are the values of all groups of a segment with this value. Content of one group has none.
pub(crate) fn groups_match(expected: &Cv, size: u64, segment: u64, cvs: &[Cv]) -> bool {
    if size <= GROUP {
        return segment == 0 && cvs.is_empty();
    }
    let n = groups_of(size, segment);
    n > 0 && cvs.len() == n as usize && merge(cvs, segments(size) == 1).as_ref() == Some(expected)
}

/// Whether these bytes are the group with this value; content of one group is checked by its hash.
pub(crate) fn group_matches(expected: &Cv, size: u64, offset: u64, bytes: &[u8]) -> bool {
    let found = if size <= GROUP {
        *blake3::hash(bytes).as_bytes()
    } else {
        group_cv(offset, bytes)
    };
    found == *expected
}

/// Whether all bytes are zero.
pub(crate) fn is_zero(bytes: &[u8]) -> bool {
    // The first bytes decide nearly always; the rest is compared in blocks the compiler makes vectors of.
    let (head, rest) = bytes.split_at(bytes.len().min(64));
    head.iter().all(|b| *b == 0)
        && rest
            .chunks(4096)
            .all(|c| c.iter().fold(0, |all, b| all | *b) == 0)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use hive_protocol::file::{SEGMENT, group_span};

    fn lists(data: &[u8]) -> (Vec<Vec<Cv>>, Vec<Cv>) {
        let size = data.len() as u64;
        let mut groups = Vec::new();
        for s in 0..segments(size) {
            let of = |g| {
                let (at, len) = group_span(size, s, g);
                group_cv(at, &data[at as usize..(at + len) as usize])
            };
            groups.push((0..groups_of(size, s)).map(of).collect::<Vec<_>>());
        }
        let segs = groups
            .iter()
            .map(|g| merge(g, groups.len() == 1).unwrap())
            .collect();
        (groups, segs)
    }

    #[test]
    fn lists_merge_to_the_hash_at_every_size() {
        for groups in [2, 3, 5, 63, 64, 65, 128, 129, 200, 257] {
            for tail in [1, 1024, 1025, 65_535, 65_536] {
                let size = (groups - 1) * GROUP + tail;
                let mut data = vec![0; size as usize];
                blake3::Hasher::new().finalize_xof().fill(&mut data);
                let (g, s) = lists(&data);
                let hash = BlobHash::of(&data);
                if s.len() == 1 {
                    assert!(segments_match(&hash, size, &[]) && !segments_match(&hash, size, &s));
                    assert_eq!(s[0], hash.0);
                } else {
                    assert!(segments_match(&hash, size, &s), "{size}");
                    assert!(!segments_match(&hash, size + SEGMENT, &s));
                    assert!(!segments_match(&hash, size, &s[1..]));
                }
                for (i, g) in g.iter().enumerate() {
                    assert!(groups_match(&s[i], size, i as u64, g));
                    let mut wrong = g.clone();
                    wrong[0][0] ^= 1;
                    assert!(!groups_match(&s[i], size, i as u64, &wrong));
                    assert!(!groups_match(&s[i], size, i as u64, &g[1..]));
                    assert!(!groups_match(&s[i], size, s.len() as u64, g));
                }
            }
        }
    }

    #[test]
    fn zeros() {
        let mut b = vec![0; 70_000];
        assert!(is_zero(&b) && is_zero(&[]));
        for i in [0, 63, 64, 4160, 69_999] {
            b[i] = 1;
            assert!(!is_zero(&b), "{i}");
            b[i] = 0;
        }
    }
}
