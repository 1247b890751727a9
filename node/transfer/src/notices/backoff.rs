//! Growing pauses between attempts, a little different for everybody.

use hive_protocol::time::Millis;

/// A pause after `failures` failures in a row: doubles from `first` up to `longest`, then up to a quarter less, by
/// what `seed` draws.
pub(super) fn pause(failures: u32, first: Millis, longest: Millis, seed: &mut u64) -> Millis {
    let doubled = first
        .0
        .saturating_mul(1_u64.checked_shl(failures.saturating_sub(1).min(32)).unwrap_or(1));
    let whole = doubled.min(longest.0).max(1);
    // SplitMix64: the seed is the state.
    *seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *seed;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^= z >> 31;
    Millis(whole - z % (whole / 4 + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_stay_within_their_bounds() {
        let (first, longest) = (Millis::secs(1), Millis::mins(10));
        for seed in 0..50 {
            let mut state = seed;
            for failures in 1..100 {
                let whole = (1000_u64 << (failures - 1).min(20)).min(longest.0);
                let got = pause(failures, first, longest, &mut state).0;
                assert!(got <= whole && got >= whole - whole / 4, "{failures}: {got}");
            }
        }
    }
}
