//! What of an accident's package is left to BPJS Kesehatan. A programme for accidents at work and the compulsory insurance of
//! traffic accidents come first (Perpres 82/2018 article 52): what they bear is no benefit of JKN, so the package less what
//! they bear may be paid, and no rupiah more. Each payer that the SEP names has to have spoken; a refusal is a statement of 0.

use crate::accident::Payer;

/// What a payer states that it bears.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Statement {
    /// Who.
    pub payer: Payer,
    /// How much, whole rupiah.
    pub amount_rupiah: i64,
}

/// What the payers of an accident bear.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Borne {
    /// Whole rupiah.
    pub rupiah: i64,
    /// Payers of the accident that stated nothing yet.
    pub silent: Vec<Payer>,
}

/// What the named payers bear. The statement of a payer that is named no more does not count.
#[must_use]
pub fn borne(named: &[Payer], statements: &[Statement]) -> Borne {
    let of = |payer: &Payer| statements.iter().find(|statement| statement.payer == *payer);
    let rupiah = named.iter().filter_map(of).fold(0i64, |sum, one| sum.saturating_add(one.amount_rupiah));
    Borne { rupiah, silent: named.iter().filter(|payer| of(payer).is_none()).copied().collect() }
}

/// What is left of a package to BPJS Kesehatan; nothing when the others bear all of it.
#[must_use]
pub fn left(package_rupiah: i64, borne_rupiah: i64) -> i64 {
    package_rupiah.saturating_sub(borne_rupiah).max(0)
}

/// Why a claim of an accident cannot be final.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Against {
    /// Payers that stated nothing yet.
    Silent(Vec<Payer>),
    /// They bear all of it: so much.
    AllBorne(i64),
}

/// What BPJS Kesehatan may pay of a package.
///
/// # Errors
/// When a payer is silent, or nothing is left.
pub fn share(package_rupiah: i64, named: &[Payer], statements: &[Statement]) -> Result<i64, Against> {
    let borne = borne(named, statements);
    if !borne.silent.is_empty() {
        return Err(Against::Silent(borne.silent));
    }
    match left(package_rupiah, borne.rupiah) {
        0 => Err(Against::AllBorne(borne.rupiah)),
        left => Ok(left),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use Payer::{Asabri, BpjsTk, JasaRaharja, Taspen};

    fn states(payer: Payer, amount_rupiah: i64) -> Statement {
        Statement { payer, amount_rupiah }
    }

    #[test]
    fn bpjs_pays_what_the_others_leave_to_the_rupiah() {
        let both = [JasaRaharja, BpjsTk];
        let (first, second) = (states(JasaRaharja, 20_000_000), states(BpjsTk, 5_000_000));
        assert_eq!(share(30_000_001, &both, &[first, second]), Ok(5_000_001));
        assert_eq!(share(25_000_001, &both, &[first, second]), Ok(1));
        assert_eq!(share(25_000_000, &both, &[first, second]), Err(Against::AllBorne(25_000_000)));
        assert_eq!(share(1, &both, &[first, second]), Err(Against::AllBorne(25_000_000)));
        assert_eq!(share(30_000_000, &both, &[second]), Err(Against::Silent(vec![JasaRaharja])));
        assert_eq!(share(30_000_000, &[JasaRaharja], &[states(JasaRaharja, 0)]), Ok(30_000_000), "refused");
        assert_eq!(share(30_000_000, &[], &[]), Ok(30_000_000), "insured by nobody");
        assert_eq!(share(30_000_000, &[JasaRaharja], &[first, second]), Ok(10_000_000), "named no more");
    }

    proptest! {
        #[test]
        fn the_package_is_paid_once_by_all_together(
            package in 1i64..2_000_000_000,
            amounts in proptest::collection::vec(0i64..1_000_000_000, 4),
            named in proptest::sample::subsequence(vec![JasaRaharja, BpjsTk, Taspen, Asabri], 0..=4),
        ) {
            let all = [JasaRaharja, BpjsTk, Taspen, Asabri];
            let statements: Vec<_> = all.into_iter().zip(amounts).map(|(payer, amount)| states(payer, amount)).collect();
            let borne = borne(&named, &statements);
            prop_assert!(borne.silent.is_empty());
            match share(package, &named, &statements) {
                Ok(left) => {
                    prop_assert!(left > 0 && left <= package);
                    prop_assert_eq!(left + borne.rupiah, package);
                }
                Err(against) => {
                    prop_assert!(borne.rupiah >= package);
                    prop_assert_eq!(against, Against::AllBorne(borne.rupiah));
                }
            }
        }
    }
}
