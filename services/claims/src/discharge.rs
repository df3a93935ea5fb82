//! When an in-patient left, judged by the SEP.

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
}
