//! Certificates: how long they are valid, whether one counts on a day, and what that makes of a facility's standing.

use chassis::policy::Rule;
use jiff::{ToSpan, civil::Date};
use proto::accreditation::v1 as pb;
use serde::Deserialize;

use crate::{
    closed::closed,
    contract::{self, Period},
    facility::Kind,
    grading::Grade,
};

closed! {
    /// Why a facility is not in good standing.
    Shortcoming = pb::StandingReason {
        /// No contract began by the day.
        NotContracted = "not-contracted",
        /// The contract ended before the day.
        ContractEnded = "contract-ended",
        /// No certificate began by the day.
        NoCertificate = "no-certificate",
        /// The certificate expired before the day.
        CertificateExpired = "certificate-expired",
        /// The certificate was revoked by the day.
        CertificateRevoked = "certificate-revoked",
    }
}

/// How long certificates are valid and who needs one.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Certificates {
    /// Years from the decision.
    pub valid_years: i32,
    /// Months before expiry by which the next application is in time.
    pub apply_months_before_expiry: i32,
    /// The kinds of facility that must be certified.
    pub required_of: Vec<Kind>,
}

impl Rule for Certificates {
    fn check(&self) -> Result<(), String> {
        if !(1..=50).contains(&self.valid_years) {
            return Err("valid-years must be 1 to 50".into());
        }
        if !(0..self.valid_years * 12).contains(&self.apply_months_before_expiry) {
            return Err("apply-months-before-expiry must be shorter than the validity".into());
        }
        Ok(())
    }
}

impl Certificates {
    /// Last day of a certificate decided on a day, and the last day to apply for the next one in time.
    #[must_use]
    pub fn validity(&self, decided_on: Date) -> Validity {
        let end = decided_on.saturating_add(self.valid_years.years());
        // Decided on 29 February, the years end on 28 February: that is the last day already.
        let to = if end.day() == decided_on.day() { end.saturating_sub(1.day()) } else { end };
        Validity { to, apply_by: to.saturating_sub(self.apply_months_before_expiry.months()) }
    }
}

/// The days that follow from a decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    /// Last day of the certificate.
    pub to: Date,
    /// Last day to apply for the next survey in time.
    pub apply_by: Date,
}

/// A certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// Its number.
    pub number: String,
    /// The holder.
    pub facility_code: String,
    /// Its grade.
    pub grade: Grade,
    /// First day: the day of the decision.
    pub valid_from: Date,
    /// Last day.
    pub valid_to: Date,
    /// Last day to apply for the next survey in time.
    pub apply_by: Date,
    /// The survey; none when it was brought in.
    pub survey_id: Option<uuid::Uuid>,
    /// The regulation of the table applied.
    pub grading_source: String,
    /// First day on which it no longer counts.
    pub revoked_on: Option<Date>,
    /// Why it was revoked.
    pub revocation_note: String,
}

impl Certificate {
    /// Whether it counts on a day.
    #[must_use]
    pub fn counts_on(&self, day: Date) -> bool {
        self.valid_from <= day && day <= self.valid_to && self.revoked_on.is_none_or(|revoked| day < revoked)
    }
}

/// The certificate that counts on a day: the latest decided. It replaces those before it for good, also when it is
/// revoked later; one that was revoked from its first day never counted and replaces none.
#[must_use]
pub fn counting(certificates: &[Certificate], day: Date) -> Option<&Certificate> {
    let decided = certificates.iter().filter(|certificate| certificate.counts_on(certificate.valid_from));
    let latest = decided.filter(|certificate| certificate.valid_from <= day);
    latest
        .max_by_key(|certificate| (certificate.valid_from, &certificate.number))
        .filter(|certificate| certificate.counts_on(day))
}

/// The number of a facility's next certificate: the serial counts those this registry gave it in the year.
#[must_use]
pub fn next_number(facility_code: &str, decided_on: Date, known: &[Certificate]) -> String {
    let of_the_year = format!("{PREFIX}{facility_code}-{:04}-", decided_on.year());
    let serial = known.iter().filter(|certificate| certificate.number.starts_with(&of_the_year)).count() + 1;
    format!("{of_the_year}{serial:02}")
}

const PREFIX: &str = "AKR-";

/// The number on a certificate: letters, digits, dot and hyphen.
///
/// # Errors
/// When it has another form.
pub fn read_number(text: &str) -> Result<String, &'static str> {
    let fits = (1..=40).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-'));
    if fits { Ok(text.to_owned()) } else { Err("must be 1 to 40 letters, digits, dots and hyphens") }
}

/// The number on a certificate of another registry.
///
/// # Errors
/// When it has another form, or one that this registry gives.
pub fn read_foreign_number(text: &str) -> Result<String, &'static str> {
    if text.starts_with(PREFIX) {
        return Err("must not begin with AKR-: such numbers are given by this registry");
    }
    read_number(text)
}

/// What a facility is allowed on a day.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing<'a> {
    /// Whether a contract is in force.
    pub contracted: bool,
    /// The contract in force, else the latest begun.
    pub contract: Option<Period>,
    /// Whether a certificate counts.
    pub certified: bool,
    /// The certificate that counts, else the latest begun.
    pub certificate: Option<&'a Certificate>,
    /// What is amiss.
    pub shortcomings: Vec<Shortcoming>,
}

/// The standing of a facility on a day, from its contracts and certificates.
#[must_use]
pub fn standing<'a>(
    contracts: &[Period],
    certificates: &'a [Certificate],
    required: bool,
    day: Date,
) -> Standing<'a> {
    let mut shortcomings = Vec::new();
    let contracted = contract::in_force(contracts, day);
    let begun = contract::begun(contracts, day);
    if contracted.is_none() {
        shortcomings.push(if begun.is_some() {
            Shortcoming::ContractEnded
        } else {
            Shortcoming::NotContracted
        });
    }
    let counts = counting(certificates, day);
    let latest =
        certificates.iter().filter(|c| c.valid_from <= day).max_by_key(|c| (c.valid_from, &c.number));
    if required && counts.is_none() {
        shortcomings.push(match latest {
            None => Shortcoming::NoCertificate,
            Some(latest) if latest.revoked_on.is_some_and(|revoked| revoked <= latest.valid_to) => {
                Shortcoming::CertificateRevoked
            }
            Some(_) => Shortcoming::CertificateExpired,
        });
    }
    Standing {
        contracted: contracted.is_some(),
        contract: contracted.or(begun),
        certified: counts.is_some(),
        certificate: counts.or(latest),
        shortcomings,
    }
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;
    use proptest::prelude::*;

    use super::*;

    fn policy() -> Certificates {
        let text = include_str!("../../../policy/accreditation/certificates.toml");
        let dated = chassis::policy::parse::<Certificates>("accreditation/certificates.toml", text).unwrap();
        dated.on(date(2026, 1, 1)).unwrap().rule.clone()
    }

    fn decided(on: Date, serial: usize) -> Certificate {
        let validity = policy().validity(on);
        Certificate {
            number: format!("AKR-0301U011-{:04}-{serial:02}", on.year()),
            facility_code: "0301U011".into(),
            grade: Grade::Utama,
            valid_from: on,
            valid_to: validity.to,
            apply_by: validity.apply_by,
            survey_id: None,
            grading_source: String::new(),
            revoked_on: None,
            revocation_note: String::new(),
        }
    }

    #[test]
    fn five_years_to_the_day() {
        let certificate = decided(date(2021, 6, 1), 1);
        assert_eq!(certificate.valid_to, date(2026, 5, 31));
        assert_eq!(certificate.apply_by, date(2026, 2, 28));
        assert!(!certificate.counts_on(date(2021, 5, 31)));
        assert!(certificate.counts_on(date(2021, 6, 1)));
        assert!(certificate.counts_on(date(2026, 5, 31)));
        assert!(!certificate.counts_on(date(2026, 6, 1)));
        assert_eq!(decided(date(2024, 2, 29), 1).valid_to, date(2029, 2, 28));
    }

    #[test]
    fn a_revoked_certificate_still_counts_for_the_days_before() {
        let mut certificate = decided(date(2024, 1, 1), 1);
        certificate.revoked_on = Some(date(2025, 3, 1));
        let all = [certificate];
        let open = [Period::new(date(2020, 1, 1), None).unwrap()];
        assert!(standing(&open, &all, true, date(2025, 2, 28)).shortcomings.is_empty());
        let after = standing(&open, &all, true, date(2025, 3, 1));
        assert_eq!(after.shortcomings, vec![Shortcoming::CertificateRevoked]);
        assert!(after.contracted && !after.certified);
    }

    #[test]
    fn every_shortcoming_is_named() {
        let none = standing(&[], &[], true, date(2026, 1, 1));
        assert_eq!(none.shortcomings, vec![Shortcoming::NotContracted, Shortcoming::NoCertificate]);
        let ended = [Period::new(date(2020, 1, 1), Some(date(2025, 12, 31))).unwrap()];
        let old = [decided(date(2020, 1, 1), 1)];
        let both = standing(&ended, &old, true, date(2026, 1, 1));
        assert_eq!(both.shortcomings, vec![Shortcoming::ContractEnded, Shortcoming::CertificateExpired]);
        assert_eq!(both.certificate, Some(&old[0]));
        assert!(standing(&ended, &[], false, date(2025, 1, 1)).shortcomings.is_empty());
    }

    #[test]
    fn the_latest_decision_counts() {
        let all = [decided(date(2023, 1, 1), 1), decided(date(2024, 1, 1), 1)];
        assert_eq!(counting(&all, date(2025, 1, 1)), Some(&all[1]));
        assert_eq!(counting(&all, date(2023, 5, 1)), Some(&all[0]));
    }

    #[test]
    fn a_revoked_certificate_brings_no_replaced_one_back() {
        let mut all = [decided(date(2023, 1, 1), 1), decided(date(2024, 1, 1), 1)];
        all[1].revoked_on = Some(date(2025, 3, 1));
        assert_eq!(counting(&all, date(2025, 2, 28)), Some(&all[1]));
        assert_eq!(counting(&all, date(2025, 3, 1)), None);
        let shortcomings = standing(&[], &all, true, date(2025, 3, 1)).shortcomings;
        assert_eq!(shortcomings, vec![Shortcoming::NotContracted, Shortcoming::CertificateRevoked]);
        // Revoked from its first day: as if it had never been decided.
        all[1].revoked_on = Some(all[1].valid_from);
        assert_eq!(counting(&all, date(2025, 3, 1)), Some(&all[0]));
    }

    #[test]
    fn the_serial_counts_the_certificates_of_the_year() {
        assert_eq!(next_number("0301U011", date(2026, 5, 1), &[]), "AKR-0301U011-2026-01");
        let all = [decided(date(2025, 1, 1), 1), decided(date(2026, 1, 1), 1)];
        assert_eq!(next_number("0301U011", date(2026, 5, 1), &all), "AKR-0301U011-2026-02");
    }

    #[test]
    fn numbers_are_bounded() {
        assert!(read_foreign_number("YM.02.01-D-1234.2023").is_ok());
        for wrong in ["", "a/b", "a b", &"1".repeat(41), "é"] {
            assert!(read_number(wrong).is_err(), "{wrong}");
        }
        assert!(read_foreign_number("AKR-0301U011-2026-01").is_err());
    }

    proptest! {
        #[test]
        fn certified_means_no_certificate_shortcoming(
            decisions in proptest::collection::vec((0i32..3000, proptest::option::of(0i32..3000)), 0..6),
            day in 0i32..6000,
        ) {
            let start = date(2018, 1, 1);
            let certificates: Vec<_> = decisions.iter().enumerate().map(|(i, (on, revoked))| {
                let mut certificate = decided(start + on.days(), i);
                certificate.revoked_on = revoked.map(|days| certificate.valid_from + days.days());
                certificate
            }).collect();
            let day = start + day.days();
            let standing = standing(&[], &certificates, true, day);
            prop_assert!(!standing.certified || certificates.iter().any(|c| c.counts_on(day)));
            prop_assert_eq!(standing.certified, standing.shortcomings == vec![Shortcoming::NotContracted]);
            if let (true, Some(certificate)) = (standing.certified, standing.certificate) {
                prop_assert!(certificate.counts_on(day));
                let replaced = certificates.iter().any(|c| {
                    certificate.valid_from < c.valid_from && c.valid_from <= day && c.counts_on(c.valid_from)
                });
                prop_assert!(!replaced);
            }
        }
    }
}
