//! Ranges of codes as the policy files write them: `N17-N19`, or a code alone that covers its subdivisions. Works for
//! ICD-10 and for ICD-9-CM, whose codes both sort as text.

use serde::Deserialize;
use vocabulary::Malformed;

/// A range of codes, both ends and their subdivisions included.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct CodeRange {
    from: String,
    to: String,
}

impl CodeRange {
    /// Reads a range.
    ///
    /// # Errors
    /// When it is not one, or its end comes before its begin.
    pub fn parse(text: &str) -> Result<Self, Malformed> {
        let (from, to) = text.split_once('-').unwrap_or((text, text));
        let is_code = |code: &str| {
            (2..=7).contains(&code.len())
                && code.bytes().all(|b| b.is_ascii_digit() || b.is_ascii_uppercase() || b == b'.')
        };
        if is_code(from) && is_code(to) && from <= to {
            Ok(Self { from: from.to_owned(), to: to.to_owned() })
        } else {
            Err(Malformed::new("a range of codes as N17-N19, or a code as 39.95"))
        }
    }

    /// Whether a code lies in the range.
    #[must_use]
    pub fn covers(&self, code: &str) -> bool {
        let cut = |length: usize| code.get(..length).unwrap_or(code);
        cut(self.from.len()) >= self.from.as_str() && cut(self.to.len()) <= self.to.as_str()
    }
}

impl TryFrom<String> for CodeRange {
    type Error = Malformed;

    fn try_from(text: String) -> Result<Self, Malformed> {
        Self::parse(&text)
    }
}

/// Whether any of the ranges covers the code.
#[must_use]
pub fn any_covers(ranges: &[CodeRange], code: &str) -> bool {
    ranges.iter().any(|range| range.covers(code))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_range_covers_the_subdivisions_of_both_ends() {
        let kidney = CodeRange::parse("N17-N19").unwrap();
        for code in ["N17", "N17.9", "N18.5", "N19"] {
            assert!(kidney.covers(code), "{code}");
        }
        for code in ["N16.9", "N20", "I17"] {
            assert!(!kidney.covers(code), "{code}");
        }
        let skin = CodeRange::parse("85-86.2").unwrap();
        assert!(skin.covers("85.4") && skin.covers("86.22") && !skin.covers("86.3") && !skin.covers("84.9"));
        let exact = CodeRange::parse("39.95").unwrap();
        assert!(exact.covers("39.95") && !exact.covers("39.9") && !exact.covers("39"));
    }

    #[test]
    fn what_is_no_range_is_refused() {
        for wrong in ["", "N", "N19-N17", "n17", "N17-", "N17-N18-N19", "N17 N18"] {
            assert!(CodeRange::parse(wrong).is_err(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn a_code_covers_itself_and_what_begins_with_it(code in "[A-Z][0-9]{2}", rest in "(\\.[0-9]{1,2})?") {
            let range = CodeRange::parse(&code).unwrap();
            let longer = format!("{code}{rest}");
            prop_assert!(range.covers(&longer));
        }
    }
}
