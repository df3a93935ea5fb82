//! What a reactivated member owes on in-patient care. The terms are membership's, as it answered them for the SEP; here
//! they are applied to a package.

use vocabulary::Rupiah;

/// The terms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// Months of arrears that count.
    pub months: u32,
    /// Share of the package for each month, basis points.
    pub basis_points_per_month: u32,
    /// Most that can be asked for.
    pub cap: Rupiah,
}

/// What is owed on a package, rounded half up to the rupiah.
#[must_use]
pub fn owed(terms: &Terms, package: Rupiah) -> Rupiah {
    package.share(terms.months.saturating_mul(terms.basis_points_per_month)).min(terms.cap)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rupiah(amount: i64) -> Rupiah {
        Rupiah::new(amount).unwrap()
    }

    fn terms(months: u32) -> Terms {
        Terms { months, basis_points_per_month: 500, cap: rupiah(30_000_000) }
    }

    #[test]
    fn the_published_example_and_the_cap() {
        assert_eq!(owed(&terms(12), rupiah(6_000_000)), rupiah(3_600_000));
        assert_eq!(owed(&terms(12), rupiah(50_000_000)), rupiah(30_000_000));
        assert_eq!(owed(&terms(12), rupiah(50_000_001)), rupiah(30_000_000));
        assert_eq!(owed(&terms(1), rupiah(11)), rupiah(1), "half a rupiah is rounded up");
    }

    proptest! {
        #[test]
        fn it_never_exceeds_the_cap_and_grows_with_months_and_package(
            package in 0..400_000_000i64, more in 0..100_000_000i64, months in 0..13u32,
        ) {
            let now = owed(&terms(months), rupiah(package));
            prop_assert!(now <= rupiah(30_000_000) && now <= rupiah(package.max(1)));
            prop_assert!(owed(&terms(months), rupiah(package + more)) >= now);
            prop_assert!(owed(&terms(months + 1), rupiah(package)) >= now);
            prop_assert_eq!(owed(&terms(0), rupiah(package)), Rupiah::ZERO);
        }
    }
}
