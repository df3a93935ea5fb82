//! When an in-patient left, judged by the SEP; and whether the claim says the same of it as the SEP.
//!
//! No source reached says what becomes of a claim whose discharge is another than its SEP's. Days of stay, tariff and filing
//! limit hang on it, and two statements of one hospital on one event cannot both be right; so it is settled before the claim
//! is final, and not left for a verifier to ask about.

use jiff::{Timestamp, civil::Date};

use crate::episode::Care;

/// The SEP, as far as it decides.
#[derive(Debug, Clone, Copy)]
pub struct Stay {
    /// Kind of care.
    pub care: Care,
    /// Admission.
    pub admitted_at: Option<Timestamp>,
}

/// The discharge.
#[derive(Debug, Clone, Copy)]
pub struct Discharge {
    /// When the patient left.
    pub at: Timestamp,
    /// The same as a day.
    pub on: Date,
    /// Day of death, of who died.
    pub died_on: Option<Date>,
}

/// The fields of a discharge that contradict the SEP, and how.
#[must_use]
pub fn contradictions(
    stay: &Stay,
    discharge: &Discharge,
    admitted_on: Date,
) -> Vec<(&'static str, &'static str)> {
    if stay.care == Care::Outpatient {
        return vec![("sep_number", "must be of in-patient care: an out-patient leaves on the day")];
    }
    let died = |holds: fn(Date, Date) -> bool, bound| discharge.died_on.is_some_and(|day| holds(day, bound));
    let found = [
        (
            stay.admitted_at.is_some_and(|admitted_at| discharge.at < admitted_at),
            ("discharge.discharged_at", "must not lie before admission"),
        ),
        (died(|day, bound| day < bound, admitted_on), ("discharge.died_on", "must not lie before admission")),
        (
            died(|day, bound| day > bound, discharge.on),
            ("discharge.died_on", "must not lie after the discharge"),
        ),
    ];
    found.into_iter().filter(|(holds, _)| *holds).map(|(_, wrong)| wrong).collect()
}

/// When and how a patient left, as one side states it. The number of the way is that of V-Claim and e-Klaim alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Statement {
    /// When.
    pub at: Timestamp,
    /// How.
    pub way: i32,
}

/// The fields in which claim and SEP state the discharge differently, both of each, and what stands at the other side.
/// Compared by the minute: seconds are no statement of anybody's.
#[must_use]
pub fn differences(claimed: Statement, recorded: Statement) -> Vec<(&'static str, String)> {
    let mut found = Vec::new();
    let minute = |at: Timestamp| at.as_second().div_euclid(60);
    if minute(claimed.at) != minute(recorded.at) {
        found.push(("data.discharged_at", format!("is {}, the SEP has {}", claimed.at, recorded.at)));
        found.push(("discharge.discharged_at", format!("is {}, the claim has {}", recorded.at, claimed.at)));
    }
    if claimed.way != recorded.way {
        found.push(("data.discharge_status", "is another than discharge.departure of the SEP".to_owned()));
        found.push(("discharge.departure", "is another than data.discharge_status of the claim".to_owned()));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_leaves_before_coming_or_dies_outside_of_the_stay() {
        let at = |text: &str| -> Timestamp { text.parse().unwrap() };
        let stay = Stay { care: Care::Inpatient, admitted_at: Some(at("2026-03-02T02:00:00Z")) };
        let fields = |left: &str, died_on: Option<&str>| -> Vec<_> {
            let on = chassis::time::today_at(at(left));
            let discharge = Discharge { at: at(left), on, died_on: died_on.map(|day| day.parse().unwrap()) };
            let wrong = contradictions(&stay, &discharge, "2026-03-02".parse().unwrap());
            wrong.into_iter().map(|(field, _)| field).collect()
        };
        assert!(fields("2026-03-02T02:00:00Z", None).is_empty());
        assert_eq!(fields("2026-03-02T01:59:59Z", None), ["discharge.discharged_at"]);
        assert!(fields("2026-03-05T02:00:00Z", Some("2026-03-05")).is_empty());
        assert_eq!(fields("2026-03-05T02:00:00Z", Some("2026-03-06")), ["discharge.died_on"]);
        assert_eq!(fields("2026-03-05T02:00:00Z", Some("2026-03-01")), ["discharge.died_on"]);
        let visit = Stay { care: Care::Outpatient, admitted_at: None };
        let left =
            Discharge { at: at("2026-03-02T02:00:00Z"), on: "2026-03-02".parse().unwrap(), died_on: None };
        assert_eq!(contradictions(&visit, &left, "2026-03-02".parse().unwrap())[0].0, "sep_number");
    }

    #[test]
    fn claim_and_sep_state_one_discharge_to_the_minute() {
        let of = |at: &str, way| Statement { at: at.parse().unwrap(), way };
        let fields = |claimed, recorded| -> Vec<_> {
            differences(claimed, recorded).into_iter().map(|(field, _)| field).collect()
        };
        let home = of("2026-03-05T02:30:00Z", 1);
        assert!(fields(home, home).is_empty());
        assert!(fields(home, of("2026-03-05T02:30:59Z", 1)).is_empty(), "the same minute");
        assert_eq!(
            fields(home, of("2026-03-05T02:31:00Z", 1)),
            ["data.discharged_at", "discharge.discharged_at"]
        );
        // Half past seven in the evening of the day before, in Jakarta: another day of stay.
        assert_eq!(fields(of("2026-03-04T12:30:00Z", 1), home).len(), 2);
        assert_eq!(
            fields(home, of("2026-03-05T02:30:00Z", 4)),
            ["data.discharge_status", "discharge.departure"]
        );
        assert_eq!(fields(of("2026-03-04T02:30:00Z", 2), home).len(), 4, "every field at once");
    }
}
