//! Finding the new content's chunks in an older version, wherever they have moved to.

use hive_protocol::file::{GROUP, GROUPS_PER_SEGMENT, MAX_CHUNKS, SEGMENT};
use std::collections::BTreeMap;

/// One row of a chunk list: hash and length in bytes.
pub type Chunk = ([u8; 32], u32);

/// Bytes to take from the older version.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Copy {
    /// First byte in the older version.
    pub from: u64,
    /// First byte in the new content.
    pub to: u64,
    /// How many.
    pub len: u64,
}

/// Why a chunk list is of no use. It is a hint: the pull goes on without it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// More rows than a chunk list has.
    #[error("a chunk list of {0} rows; {MAX_CHUNKS} are the most")]
    TooMany(usize),
    /// The lengths do not add up to the content.
    #[error("a chunk list of {sum} bytes for content of {size}")]
    Length {
        /// What they add up to.
        sum: u64,
        /// What they should.
        size: u64,
    },
}

/// What to copy, and which groups are filled by that.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ChunkPlan {
    /// In order of `to`, not overlapping; together exactly the groups of `masks`.
    pub copies: Vec<Copy>,
    /// Segments with groups that the copies fill whole, in order, and which; all others are to be fetched.
    pub masks: Vec<(u32, u64)>,
    /// Bytes of the copies.
    pub bytes: u64,
}

impl ChunkPlan {
    /// Compares two chunk lists. Groups that could be filled only in part are left to be fetched.
    ///
    /// # Errors
    /// A list that does not describe content of that size.
    pub fn new(new_size: u64, new: &[Chunk], old: &[Chunk]) -> Result<Self, PlanError> {
        for list in [new, old] {
            if list.len() > MAX_CHUNKS as usize {
                return Err(PlanError::TooMany(list.len()));
            }
        }
        let sum = new.iter().map(|c| u64::from(c.1)).sum();
        if sum != new_size {
            return Err(PlanError::Length { sum, size: new_size });
        }
        Ok(Self::of_runs(new_size, &runs(new, old)))
    }

    /// Cuts runs down to whole groups.
    fn of_runs(size: u64, runs: &[Copy]) -> Self {
        let mut plan = Self::default();
        let mut masks: BTreeMap<u32, u64> = BTreeMap::new();
        let mut at = 0;
        while let Some(first) = runs.get(at) {
            // Runs that touch in the new content fill groups together.
            let touching = runs.get(at..).unwrap_or_default().windows(2);
            let more = touching
                .take_while(|w| matches!(w, [a, b] if a.to + a.len == b.to))
                .count();
            let part = runs.get(at..=at + more).unwrap_or_default();
            let end = part.last().map_or(first.to, |r| r.to + r.len);
            let from = first.to.div_ceil(GROUP) * GROUP;
            let to = if end == size { end } else { end / GROUP * GROUP };
            if from < to {
                plan.take(part, from, to);
                for group in from / GROUP..to.div_ceil(GROUP) {
                    let per = u64::from(GROUPS_PER_SEGMENT);
                    *masks.entry((group / per) as u32).or_default() |= 1 << (group % per);
                }
            }
            at += more + 1;
        }
        plan.masks = masks.into_iter().collect();
        plan
    }

    /// What of some runs lies in a span of the new content.
    fn take(&mut self, runs: &[Copy], from: u64, to: u64) {
        for run in runs {
            let (start, end) = (run.to.max(from), (run.to + run.len).min(to));
            if start < end {
                self.copies.push(Copy {
                    from: run.from + (start - run.to),
                    to: start,
                    len: end - start,
                });
                self.bytes += end - start;
            }
        }
    }

    /// Groups of a segment that the copies fill.
    #[must_use]
    pub fn mask(&self, segment: u32) -> u64 {
        let at = self.masks.binary_search_by_key(&segment, |m| m.0);
        at.ok().and_then(|i| self.masks.get(i)).map_or(0, |m| m.1)
    }

    /// The copies that fill one segment, cut to it: for a shell that works segment by segment.
    pub fn of_segment(&self, segment: u32) -> impl Iterator<Item = Copy> + '_ {
        let (from, to) = (u64::from(segment) * SEGMENT, (u64::from(segment) + 1) * SEGMENT);
        let first = self.copies.partition_point(|c| c.to + c.len <= from);
        let rest = self.copies.get(first..).unwrap_or_default();
        rest.iter().take_while(move |c| c.to < to).map(move |c| {
            let (start, end) = (c.to.max(from), (c.to + c.len).min(to));
            Copy {
                from: c.from + (start - c.to),
                to: start,
                len: end - start,
            }
        })
    }
}

/// Chunks of the new content that the old has, neighbours joined where they are neighbours in both.
fn runs(new: &[Chunk], old: &[Chunk]) -> Vec<Copy> {
    let mut index: Vec<(u32, u64)> = Vec::with_capacity(old.len());
    let mut at = 0u64;
    for (i, chunk) in old.iter().enumerate() {
        index.push((i as u32, at));
        at += u64::from(chunk.1);
    }
    let key = |e: &(u32, u64)| old.get(e.0 as usize).copied().unwrap_or_default();
    index.sort_unstable_by_key(|e| (key(e), e.1));
    let mut runs: Vec<Copy> = Vec::new();
    let mut to = 0u64;
    for chunk in new {
        let len = u64::from(chunk.1);
        let last = runs.last_mut().filter(|r| r.to + r.len == to);
        // Of equal chunks the one that follows the run so far: a file of many equal parts is then copied in one.
        let next = last.as_ref().map(|r| r.from + r.len);
        let lo = index.partition_point(|e| key(e) < *chunk);
        let hi = index.partition_point(|e| key(e) <= *chunk);
        let equal = index.get(lo..hi).unwrap_or_default();
        let follows = next.filter(|n| equal.binary_search_by_key(n, |e| e.1).is_ok());
        match (follows, last, equal.first()) {
            (Some(_), Some(run), _) => run.len += len,
            (_, _, Some((_, from))) if len > 0 => runs.push(Copy { from: *from, to, len }),
            _ => {}
        }
        to += len;
    }
    runs
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    fn c(id: u8, len: u64) -> Chunk {
        ([id; 32], u32::try_from(len).unwrap())
    }

    #[test]
    fn an_insertion_in_front_moves_everything_and_costs_its_groups() {
        let old: Vec<Chunk> = (0..100).map(|i| c(i, 50_000)).collect();
        let mut new = vec![c(200, 1000)];
        new.extend(&old);
        let size = 5_001_000;
        let plan = ChunkPlan::new(size, &new, &old).unwrap();
        let first = Copy {
            from: GROUP - 1000,
            to: GROUP,
            len: size - GROUP,
        };
        assert_eq!(plan.copies, [first]);
        assert_eq!(plan.bytes, size - GROUP);
        assert_eq!(plan.mask(0), u64::MAX - 1);
        assert_eq!(plan.mask(1), (1 << (size - SEGMENT).div_ceil(GROUP)) - 1);
        let parts: Vec<Copy> = plan.of_segment(1).collect();
        assert_eq!(parts.iter().map(|p| p.len).sum::<u64>(), size - SEGMENT);
        assert_eq!(parts.first().unwrap().from, SEGMENT - 1000);
    }

    #[test]
    fn parts_that_touch_fill_a_group_together_and_half_groups_are_left() {
        // Two chunks of a group and a half each, swapped: all groups are full.
        let (a, b) = (c(1, GROUP * 3 / 2), c(2, GROUP * 3 / 2));
        let plan = ChunkPlan::new(GROUP * 3, &[b, a], &[a, b]).unwrap();
        assert_eq!((plan.bytes, plan.mask(0)), (GROUP * 3, 0b111));
        assert_eq!(plan.copies.len(), 2);
        // The second chunk is new: only the first group is full.
        let plan = ChunkPlan::new(GROUP * 3, &[b, c(9, GROUP * 3 / 2)], &[a, b]).unwrap();
        assert_eq!((plan.bytes, plan.mask(0)), (GROUP, 0b001));
        // The new one is first: the second group is half old.
        let plan = ChunkPlan::new(GROUP * 3, &[c(9, GROUP * 3 / 2), b], &[a, b]).unwrap();
        assert_eq!((plan.bytes, plan.mask(0)), (GROUP, 0b100));
    }

    #[test]
    fn the_end_of_the_content_may_be_a_short_group() {
        let plan = ChunkPlan::new(100, &[c(1, 100)], &[c(3, 7), c(1, 100)]).unwrap();
        assert_eq!(
            plan.copies,
            [Copy {
                from: 7,
                to: 0,
                len: 100
            }]
        );
        assert_eq!(plan.mask(0), 1);
    }

    #[test]
    fn equal_chunks_are_copied_as_one_run() {
        let old = vec![c(1, GROUP); 50];
        let plan = ChunkPlan::new(GROUP * 40, &old[..40], &old).unwrap();
        assert_eq!(plan.copies.len(), 1);
        assert_eq!(plan.bytes, GROUP * 40);
    }

    #[test]
    fn lists_that_lie_are_refused() {
        assert_eq!(
            ChunkPlan::new(5, &[c(1, 4)], &[]),
            Err(PlanError::Length { sum: 4, size: 5 })
        );
        let many = vec![c(1, 0); MAX_CHUNKS as usize + 1];
        assert!(matches!(
            ChunkPlan::new(0, &many, &[]),
            Err(PlanError::TooMany(_))
        ));
        assert!(matches!(
            ChunkPlan::new(0, &[], &many),
            Err(PlanError::TooMany(_))
        ));
        assert_eq!(ChunkPlan::new(0, &[], &[]), Ok(ChunkPlan::default()));
        assert_eq!(
            ChunkPlan::new(0, &[c(1, 0)], &[c(1, 0)]),
            Ok(ChunkPlan::default())
        );
    }

    #[test]
    fn any_lists_give_copies_that_are_right() {
        // Content is a string of chunk numbers; each chunk has its own length. Checked byte for byte by offset maps.
        let len = |id: u64| 20_000 + id * 7919 % 90_000;
        let mut x = 7u64;
        let mut rnd = move |n: u64| {
            x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (x >> 33) % n
        };
        for _ in 0..300 {
            let old: Vec<u64> = (0..rnd(30)).map(|_| rnd(20)).collect();
            let new: Vec<u64> = (0..rnd(30)).map(|_| rnd(25)).collect();
            let list = |ids: &[u64]| -> Vec<Chunk> { ids.iter().map(|i| c(*i as u8, len(*i))).collect() };
            let start = |ids: &[u64]| -> Vec<(u64, u64)> {
                let mut at = 0;
                ids.iter()
                    .map(|i| {
                        at += len(*i);
                        (at - len(*i), *i)
                    })
                    .collect()
            };
            let (os, ns) = (start(&old), start(&new));
            let name = |s: &[(u64, u64)], at: u64| -> (u64, u64) {
                let i = s.partition_point(|e| e.0 <= at) - 1;
                (s[i].1, at - s[i].0)
            };
            let size = new.iter().map(|i| len(*i)).sum();
            let plan = ChunkPlan::new(size, &list(&new), &list(&old)).unwrap();
            let mut end = 0;
            for copy in &plan.copies {
                assert!(copy.to >= end && copy.len > 0);
                end = copy.to + copy.len;
                for step in (0..copy.len).step_by(997).chain([copy.len - 1]) {
                    assert_eq!(name(&ns, copy.to + step), name(&os, copy.from + step));
                }
            }
            let by_mask: u64 = plan
                .masks
                .iter()
                .map(|(s, m)| hive_protocol::file::mask_bytes(size, u64::from(*s), *m))
                .sum();
            assert_eq!(by_mask, plan.bytes);
        }
    }
}
