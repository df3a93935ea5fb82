//! Money: whole rupiah, never negative, never silently wrong.

use std::fmt;

use crate::Malformed;

/// An amount in whole rupiah, zero or more.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, serde::Serialize, serde::Deserialize,
)]
#[serde(try_from = "i64", into = "i64")]
pub struct Rupiah(i64);

impl Rupiah {
    /// Nothing.
    pub const ZERO: Self = Self(0);

    /// An amount; refuses a negative one.
    pub const fn new(rupiah: i64) -> Result<Self, NegativeRupiah> {
        if rupiah < 0 { Err(NegativeRupiah) } else { Ok(Self(rupiah)) }
    }

    /// Reads digits.
    pub fn parse(text: &str) -> Result<Self, Malformed> {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        digits
            .then(|| text.parse().ok().map(Self))
            .flatten()
            .ok_or_else(|| Malformed::new("an amount in whole rupiah, digits only"))
    }

    /// The number of rupiah.
    pub const fn get(self) -> i64 {
        self.0
    }

    /// The sum, `None` on overflow.
    pub fn checked_add(self, other: Self) -> Option<Self> {
        self.0.checked_add(other.0).map(Self)
    }

    /// The difference, `None` when it would be negative.
    pub fn checked_sub(self, other: Self) -> Option<Self> {
        self.0.checked_sub(other.0).filter(|rest| *rest >= 0).map(Self)
    }

    /// The multiple, `None` on overflow.
    pub fn checked_mul(self, times: u32) -> Option<Self> {
        self.0.checked_mul(i64::from(times)).map(Self)
    }

    /// The sum of many, `None` on overflow.
    pub fn checked_sum(amounts: impl IntoIterator<Item = Self>) -> Option<Self> {
        amounts.into_iter().try_fold(Self::ZERO, Self::checked_add)
    }

    /// A share in basis points (500 = 5 %), rounded half up to the rupiah; an overflow stops at the greatest amount.
    pub fn share(self, basis_points: u32) -> Self {
        let share = (i128::from(self.0) * i128::from(basis_points) + 5_000) / 10_000;
        Self(i64::try_from(share).unwrap_or(i64::MAX))
    }
}

impl fmt::Display for Rupiah {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = self.0.to_string();
        f.write_str("Rp")?;
        for (place, digit) in digits.chars().enumerate() {
            if place > 0 && (digits.len() - place).is_multiple_of(3) {
                f.write_str(",")?;
            }
            write!(f, "{digit}")?;
        }
        Ok(())
    }
}

impl TryFrom<i64> for Rupiah {
    type Error = NegativeRupiah;

    fn try_from(rupiah: i64) -> Result<Self, NegativeRupiah> {
        Self::new(rupiah)
    }
}

impl From<Rupiah> for i64 {
    fn from(amount: Rupiah) -> Self {
        amount.0
    }
}

/// An amount of money may not be below zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be an amount of zero rupiah or more")]
pub struct NegativeRupiah;

impl From<NegativeRupiah> for Malformed {
    fn from(_: NegativeRupiah) -> Self {
        Self::new("an amount of zero rupiah or more")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn shares_of_the_wage_cap() {
        let cap = Rupiah::new(12_000_000).unwrap();
        assert_eq!(cap.share(400).get(), 480_000);
        assert_eq!(cap.share(100).get(), 120_000);
        assert_eq!(Rupiah::new(15).unwrap().share(5_000 / 15 * 10).get(), 5);
        assert_eq!(Rupiah::new(1).unwrap().share(5_000).get(), 1, "half a rupiah is rounded up");
        assert_eq!(cap.to_string(), "Rp12,000,000");
        assert!(Rupiah::new(-1).is_err());
    }

    proptest! {
        #[test]
        fn add_and_take_away(a in 0i64..i64::MAX, b in 0i64..i64::MAX) {
            let (a, b) = (Rupiah::new(a).unwrap(), Rupiah::new(b).unwrap());
            if let Some(sum) = a.checked_add(b) {
                prop_assert_eq!(sum.checked_sub(b), Some(a));
            }
            prop_assert_eq!(a.checked_sub(b).is_none(), b > a);
        }

        #[test]
        fn a_share_is_within_half_a_rupiah(amount in 0i64..1_000_000_000_000, points in 0u32..=10_000) {
            let share = Rupiah::new(amount).unwrap().share(points).get();
            let exact = i128::from(amount) * i128::from(points);
            prop_assert!((i128::from(share) * 10_000 - exact).abs() <= 5_000);
            prop_assert!(share <= amount);
        }

        #[test]
        fn printed_digits_are_read_back(amount in 0i64..i64::MAX) {
            prop_assert_eq!(Rupiah::parse(&amount.to_string()).unwrap().get(), amount);
        }
    }
}
