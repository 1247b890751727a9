//! Money in whole micro-CPT. No floating point ever touches an amount.

use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// One CPT in µCPT.
pub const MICRO_PER_CPT: u64 = 1_000_000;
/// The fuel unit prices are quoted in: 10^9 units of WASM fuel.
pub const FUEL_PER_GFUEL: u64 = 1_000_000_000;

/// An amount in µCPT (1 CPT = 1,000,000 µCPT).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Debug, Default)]
pub struct MicroCpt(pub u64);

impl MicroCpt {
    /// Nothing.
    pub const ZERO: Self = Self(0);

    /// Whole CPT; saturates.
    #[must_use]
    pub const fn cpt(n: u64) -> Self {
        Self(n.saturating_mul(MICRO_PER_CPT))
    }
    /// Sum, or `None` on overflow.
    #[must_use]
    pub fn checked_add(self, o: Self) -> Option<Self> {
        self.0.checked_add(o.0).map(Self)
    }
    /// Difference, or `None` below zero.
    #[must_use]
    pub fn checked_sub(self, o: Self) -> Option<Self> {
        self.0.checked_sub(o.0).map(Self)
    }
    /// Sum that stops at the largest amount.
    #[must_use]
    pub const fn saturating_add(self, o: Self) -> Self {
        Self(self.0.saturating_add(o.0))
    }
    /// Difference that stops at zero.
    #[must_use]
    pub const fn saturating_sub(self, o: Self) -> Self {
        Self(self.0.saturating_sub(o.0))
    }
}

impl fmt::Display for MicroCpt {
    /// Decimal CPT without trailing zeros: `12.5 CPT`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, part) = (self.0 / MICRO_PER_CPT, self.0 % MICRO_PER_CPT);
        if part == 0 {
            return write!(f, "{whole} CPT");
        }
        let digits = format!("{part:06}");
        write!(f, "{whole}.{} CPT", digits.trim_end_matches('0'))
    }
}

/// Why a text is not an amount.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not an amount: write CPT with at most six decimals, such as 12.5")]
pub struct AmountError(String);

impl FromStr for MicroCpt {
    type Err = AmountError;
    fn from_str(s: &str) -> Result<Self, AmountError> {
        let bad = || AmountError(s.chars().take(40).collect());
        let t = s.trim();
        let t = t
            .strip_suffix("CPT")
            .or_else(|| t.strip_suffix("cpt"))
            .unwrap_or(t)
            .trim();
        let (whole, part) = t.split_once('.').unwrap_or((t, ""));
        let digits = |x: &str| x.bytes().all(|b| b.is_ascii_digit());
        if (whole.is_empty() && part.is_empty()) || !digits(whole) || !digits(part) || part.len() > 6 {
            return Err(bad());
        }
        let whole: u64 = if whole.is_empty() {
            0
        } else {
            whole.parse().map_err(|_| bad())?
        };
        let part: u64 = format!("{part:0<6}").parse().map_err(|_| bad())?;
        whole
            .checked_mul(MICRO_PER_CPT)
            .and_then(|w| w.checked_add(part))
            .map(Self)
            .ok_or_else(bad)
    }
}

/// What a worker asks for WASM: µCPT for each 10^9 units of fuel.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Debug, Default)]
pub struct Price {
    /// µCPT per Gfuel.
    pub per_gfuel: MicroCpt,
}

impl Price {
    /// The cost of this much fuel, rounded up to the next µCPT; saturates.
    #[must_use]
    pub fn cost(self, fuel: u64) -> MicroCpt {
        let exact = u128::from(self.per_gfuel.0) * u128::from(fuel);
        let cost = exact.div_ceil(u128::from(FUEL_PER_GFUEL));
        MicroCpt(u64::try_from(cost).unwrap_or(u64::MAX))
    }

    /// How much fuel this amount pays for; `u64::MAX` when the price is zero.
    #[must_use]
    pub fn fuel_for(self, amount: MicroCpt) -> u64 {
        if self.per_gfuel.0 == 0 {
            return u64::MAX;
        }
        let fuel = u128::from(amount.0) * u128::from(FUEL_PER_GFUEL) / u128::from(self.per_gfuel.0);
        u64::try_from(fuel).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn amounts_read_and_print() {
        assert_eq!("12.5".parse::<MicroCpt>().unwrap(), MicroCpt(12_500_000));
        assert_eq!("0.000001 CPT".parse::<MicroCpt>().unwrap(), MicroCpt(1));
        assert_eq!(MicroCpt(12_500_000).to_string(), "12.5 CPT");
        for bad in ["", ".", "-1", "1e3", "1.0000001", "99999999999999999999", "1 2"] {
            assert!(bad.parse::<MicroCpt>().is_err(), "{bad}");
        }
    }

    #[test]
    fn cost_rounds_up_and_never_overflows() {
        let p = Price {
            per_gfuel: MicroCpt(3),
        };
        assert_eq!(p.cost(0), MicroCpt(0));
        assert_eq!(p.cost(1), MicroCpt(1));
        assert_eq!(p.cost(FUEL_PER_GFUEL), MicroCpt(3));
        assert_eq!(p.cost(FUEL_PER_GFUEL + 1), MicroCpt(4));
        assert_eq!(
            Price {
                per_gfuel: MicroCpt(u64::MAX)
            }
            .cost(u64::MAX),
            MicroCpt(u64::MAX)
        );
        assert!(p.cost(p.fuel_for(MicroCpt(100))) <= MicroCpt(100));
    }
}
