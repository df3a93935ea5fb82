//! The drugs that are handed out at a visit.

use std::collections::BTreeSet;

use vocabulary::AtcCode;

/// Most drugs of a visit.
pub const MOST: usize = 20;
/// Most units of a drug.
pub const MOST_UNITS: i32 = 1_000;

/// A drug and how much of it was handed out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drug {
    /// What it is.
    pub code: AtcCode,
    /// Tablets, sachets, bottles.
    pub quantity: i32,
}

/// Why a list is not one of a visit's drugs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotDrugs {
    /// Too many.
    #[error("must be at most {MOST} drugs")]
    Number,
    /// One stands there twice.
    #[error("must be different codes; add up the quantities")]
    Repeated,
}

/// Whether the drugs are those of one visit.
///
/// # Errors
/// When there are too many, or one twice.
pub fn check(drugs: &[Drug]) -> Result<(), NotDrugs> {
    if drugs.len() > MOST {
        return Err(NotDrugs::Number);
    }
    let different: BTreeSet<_> = drugs.iter().map(|drug| &drug.code).collect();
    if different.len() == drugs.len() { Ok(()) } else { Err(NotDrugs::Repeated) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn up_to_twenty_different_drugs() {
        let drugs = |count: usize| {
            (0..count)
                .map(|i| Drug { code: AtcCode::parse(&format!("J01CA{i:02}")).unwrap(), quantity: 10 })
                .collect::<Vec<_>>()
        };
        assert_eq!((check(&[]), check(&drugs(MOST))), (Ok(()), Ok(())));
        assert_eq!(check(&drugs(MOST + 1)), Err(NotDrugs::Number));
        assert_eq!(check(&[drugs(2), drugs(1)].concat()), Err(NotDrugs::Repeated));
    }
}
