//! Certified coders: whether the one who coded a claim may, on the day of coding.

use std::fmt;

use chassis::policy::Rule;
use jiff::civil::Date;
use serde::Deserialize;

/// When a certificate is asked for, and how many facilities should have one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Duty {
    /// Whether a claim needs a certified coder.
    pub certificate_required: bool,
    /// Facilities that the programme asks for.
    pub target_facilities: u32,
}

impl Rule for Duty {
    fn check(&self) -> Result<(), String> {
        if self.target_facilities > 10_000 {
            return Err("target-facilities must be at most 10000".into());
        }
        Ok(())
    }
}

/// A certificate of one coder, as far as it decides whether they may code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// The facility it is for.
    pub facility_code: String,
    /// First day on which it holds.
    pub valid_from: Date,
    /// Last day on which it holds.
    pub valid_to: Date,
    /// First day on which it holds no more, whatever `valid_to` says.
    pub revoked_on: Option<Date>,
}

impl Certificate {
    fn standing(&self, facility_code: &str, day: Date) -> Standing {
        if self.facility_code != facility_code {
            Standing::Elsewhere
        } else if self.revoked_on.is_some_and(|from| from <= day) {
            Standing::Revoked
        } else if day < self.valid_from {
            Standing::NotYetValid
        } else if day > self.valid_to {
            Standing::Expired
        } else {
            Standing::Certified
        }
    }
}

/// What the register knows of a coder at a facility on a day. Of several certificates the one that says most counts:
/// later values here say more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// There is no certificate.
    Unknown,
    /// There is one, for another facility.
    Elsewhere,
    /// It was revoked.
    Revoked,
    /// It has expired.
    Expired,
    /// It does not hold yet.
    NotYetValid,
    /// It holds.
    Certified,
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unknown => "UNKNOWN",
            Self::Elsewhere => "ELSEWHERE",
            Self::Revoked => "REVOKED",
            Self::Expired => "EXPIRED",
            Self::NotYetValid => "NOT_YET_VALID",
            Self::Certified => "CERTIFIED",
        })
    }
}

/// The standing of a coder, given all of their certificates.
#[must_use]
pub fn standing(certificates: &[Certificate], facility_code: &str, day: Date) -> Standing {
    let each = certificates.iter().map(|certificate| certificate.standing(facility_code, day));
    each.max().unwrap_or(Standing::Unknown)
}

#[cfg(test)]
mod tests {
    use jiff::ToSpan;
    use proptest::prelude::*;

    use super::*;

    fn day(offset: i32) -> Date {
        "2026-03-01".parse::<Date>().unwrap() + i64::from(offset).days()
    }

    fn certificate(facility: &str, from: i32, to: i32, revoked: Option<i32>) -> Certificate {
        Certificate {
            facility_code: facility.into(),
            valid_from: day(from),
            valid_to: day(to),
            revoked_on: revoked.map(day),
        }
    }

    #[test]
    fn both_ends_hold_and_the_day_of_revocation_does_not() {
        let held = [certificate("0301R011", 0, 10, None)];
        for (on, expected) in [
            (-1, Standing::NotYetValid),
            (0, Standing::Certified),
            (10, Standing::Certified),
            (11, Standing::Expired),
        ] {
            assert_eq!(standing(&held, "0301R011", day(on)), expected, "{on}");
        }
        let revoked = [certificate("0301R011", 0, 10, Some(5))];
        assert_eq!(standing(&revoked, "0301R011", day(4)), Standing::Certified);
        assert_eq!(standing(&revoked, "0301R011", day(5)), Standing::Revoked);
        assert_eq!(standing(&held, "0301R012", day(5)), Standing::Elsewhere);
        assert_eq!(standing(&[], "0301R011", day(5)), Standing::Unknown);
    }

    #[test]
    fn the_duty_begins_in_2026_and_the_targets_grow() {
        let text = include_str!("../../../policy/claims/coder.toml");
        let dated = chassis::policy::parse::<Duty>("claims/coder.toml", text).unwrap();
        let on = |day: &str| dated.on(day.parse().unwrap()).unwrap().rule;
        assert!(!on("2025-12-31").certificate_required && on("2026-01-01").certificate_required);
        let targets =
            ["2022-06-01", "2023-09-30", "2024-09-30", "2025-09-30"].map(|day| on(day).target_facilities);
        assert_eq!(targets, [0, 500, 1100, 1800]);
    }

    fn certificates() -> impl Strategy<Value = Vec<Certificate>> {
        let one = (0..2usize, -50..50i32, 0..40i32, proptest::option::of(-50..50i32)).prop_map(
            |(facility, from, length, revoked)| {
                certificate(["0301R011", "0301R012"][facility], from, from + length, revoked)
            },
        );
        proptest::collection::vec(one, 0..5)
    }

    proptest! {
        #[test]
        fn certified_exactly_when_one_certificate_holds_here(held in certificates(), on in -60..60i32) {
            let on = day(on);
            let any = held.iter().any(|one| {
                one.facility_code == "0301R011" && one.valid_from <= on && on <= one.valid_to
                    && one.revoked_on.is_none_or(|revoked| on < revoked)
            });
            prop_assert_eq!(standing(&held, "0301R011", on) == Standing::Certified, any);
        }

        #[test]
        fn one_more_certificate_never_takes_a_right_away(held in certificates(), more in certificates(), on in -60..60i32) {
            let on = day(on);
            let both: Vec<_> = held.iter().chain(&more).cloned().collect();
            prop_assert!(standing(&both, "0301R011", on) >= standing(&held, "0301R011", on));
        }
    }
}
