//! Comparing trees: a chaining value says where its subtree is and how long it is, so equal values at one place mean
//! equal bytes.

use hive_protocol::file::{GROUPS_PER_SEGMENT, SEGMENT, segments};

/// For each segment of the new content, whether the old content has the same bytes there. What is `false` may still
/// have groups in common: [`same_groups`] finds them if both sides' group values are at hand.
///
/// The lists are those of `FileReply::Tree`: empty for content of at most one segment, which is never the same
/// segment by this comparison alone (its value would be the root).
#[must_use]
pub fn same_segments(new_size: u64, new: &[[u8; 32]], old_size: u64, old: &[[u8; 32]]) -> Vec<bool> {
    let count = segments(new_size);
    let single = count == 1 || segments(old_size) == 1;
    (0..count)
        .map(|s| {
            let same_length = length(new_size, s) == length(old_size, s);
            let at = s as usize;
            !single && same_length && new.get(at).is_some_and(|cv| old.get(at) == Some(cv))
        })
        .collect()
}

fn length(size: u64, segment: u64) -> u64 {
    size.saturating_sub(segment.saturating_mul(SEGMENT)).min(SEGMENT)
}

/// The groups that have the same value in both lists of one segment's group values. The list of content of one group
/// is empty: nothing is the same then.
#[must_use]
pub fn same_groups(new: &[[u8; 32]], old: &[[u8; 32]]) -> u64 {
    new.iter()
        .zip(old)
        .take(GROUPS_PER_SEGMENT as usize)
        .enumerate()
        .filter(|(_, (a, b))| a == b)
        .fold(0, |mask, (g, _)| mask | 1 << g)
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: [u8; 32] = [1; 32];
    const B: [u8; 32] = [2; 32];

    #[test]
    fn segments_are_the_same_at_their_place_only() {
        let size = 3 * SEGMENT;
        let same = |n: &[[u8; 32]], ns, o: &[[u8; 32]], os| same_segments(ns, n, os, o);
        assert_eq!(same(&[A, B, A], size, &[A, A, A], size), [true, false, true]);
        assert_eq!(same(&[A, B, A], size, &[B, A, B], size), [false; 3]);
        // Appended to: the last old segment was shorter, so it differs even if a liar's list says otherwise.
        assert_eq!(
            same(&[A, B], 2 * SEGMENT, &[A, B], 2 * SEGMENT - 1),
            [true, false]
        );
        assert_eq!(same(&[A, B], 2 * SEGMENT, &[A], SEGMENT + 1), [true, false]);
        // One segment: its value is a root on that side and is never compared.
        assert_eq!(same(&[A, B], 2 * SEGMENT, &[A], SEGMENT), [false, false]);
        assert_eq!(same(&[A], SEGMENT, &[A], SEGMENT), [false]);
        assert_eq!(same(&[], 0, &[], 0), [false]);
        assert_eq!(same(&[], size, &[A, A, A], size), [false; 3]);
    }

    #[test]
    fn groups_are_the_same_by_value() {
        assert_eq!(same_groups(&[A, B, A], &[A, A, A, A]), 0b101);
        assert_eq!(same_groups(&[], &[A]), 0);
        assert_eq!(same_groups(&[A; 64], &[A; 64]), u64::MAX);
        assert_eq!(same_groups(&[A; 70], &[A; 70]), u64::MAX);
    }
}
