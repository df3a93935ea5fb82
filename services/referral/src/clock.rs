//! The clocks of a referral, as `policy/referral/clock.toml` sets them.

use jiff::{Span, Timestamp, ToSpan, civil::Date};
use serde::Deserialize;

use crate::{
    course::Terms,
    letter::{CareType, Letter},
};

/// How long things may take, by one version of the policy.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Clock {
    validity_days: u16,
    answer_needed: Vec<String>,
    answer_minutes: u16,
    late_entry_days: u16,
}

impl chassis::policy::Rule for Clock {
    fn check(&self) -> Result<(), String> {
        if self.validity_days == 0 {
            return Err("validity-days must be at least 1".to_owned());
        }
        if self.answer_minutes == 0 {
            return Err("answer-minutes must be at least 1".to_owned());
        }
        match self.answer_needed.iter().find(|care| CareType::parse(care).is_err()) {
            Some(unknown) => {
                Err(format!("answer-needed: {unknown:?} is none of outpatient, inpatient, emergency"))
            }
            None => Ok(()),
        }
    }
}

impl Clock {
    /// Whether a referral for this care may be used only after it was accepted.
    #[must_use]
    pub fn needs_answer(&self, care: CareType) -> bool {
        self.answer_needed.iter().any(|needed| needed == care.as_str())
    }

    /// The kinds of care whose referral must be accepted.
    #[must_use]
    pub fn answer_needed(&self) -> &[String] {
        &self.answer_needed
    }

    /// The instant before which a referral that needs an answer must have been sent to have expired by now.
    #[must_use]
    pub fn unanswered_since(&self, now: Timestamp) -> Timestamp {
        now.saturating_sub(self.answer_window()).unwrap_or(Timestamp::MIN)
    }

    /// The last day on which a referral of this date may be used.
    #[must_use]
    pub fn valid_through(&self, referral_date: Date) -> Date {
        referral_date.saturating_add(i64::from(self.validity_days).days())
    }

    /// The terms a letter is under.
    #[must_use]
    pub fn terms(&self, letter: &Letter) -> Terms {
        let answer_due_at = self
            .needs_answer(letter.care_type)
            .then(|| letter.sent_at().saturating_add(self.answer_window()).unwrap_or(Timestamp::MAX));
        Terms { answer_due_at, valid_through: self.valid_through(letter.referral_date) }
    }

    /// The first referral date that may still be entered on a day.
    #[must_use]
    pub fn earliest_entry(&self, today: Date) -> Date {
        today.saturating_sub(i64::from(self.late_entry_days).days())
    }

    fn answer_window(&self) -> Span {
        i64::from(self.answer_minutes).minutes()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use chassis::policy::Rule;
    use jiff::civil::date;

    use super::*;
    use crate::letter::tests::letter;

    /// The clock of today's policy.
    pub(crate) fn clock() -> Clock {
        Clock {
            validity_days: 90,
            answer_needed: vec!["inpatient".to_owned(), "emergency".to_owned()],
            answer_minutes: 15,
            late_entry_days: 180,
        }
    }

    #[test]
    fn terms_follow_from_the_date_and_the_care() {
        let sent_at: Timestamp = "2026-03-02T02:00:00Z".parse().unwrap();
        let inpatient = clock().terms(&letter(CareType::Inpatient, date(2026, 3, 2), sent_at));
        assert_eq!(inpatient.answer_due_at.unwrap().to_string(), "2026-03-02T02:15:00Z");
        assert_eq!(inpatient.valid_through, date(2026, 5, 31));
        let outpatient = clock().terms(&letter(CareType::Outpatient, date(2026, 3, 2), sent_at));
        assert_eq!(outpatient.answer_due_at, None);
    }

    #[test]
    fn late_entry_has_a_first_day() {
        assert_eq!(clock().earliest_entry(date(2026, 7, 1)), date(2026, 1, 2));
    }

    #[test]
    fn a_care_that_does_not_exist_is_refused() {
        assert!(clock().check().is_ok());
        let wrong = Clock { answer_needed: vec!["dental".to_owned()], ..clock() };
        assert!(wrong.check().unwrap_err().contains("dental"));
    }
}
