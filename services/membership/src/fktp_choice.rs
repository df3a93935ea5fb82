//! The choice of the first-level facility, and when it may be changed.

use chassis::policy::Rule;
use jiff::{ToSpan, civil::Date};
use serde::Deserialize;
use vocabulary::FacilityCode;

use crate::contribution::next_month;

/// `policy/membership/fktp-choice.toml`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct ChoiceRule {
    least_months: i32,
}

impl Rule for ChoiceRule {
    fn check(&self) -> Result<(), String> {
        if (0..=120).contains(&self.least_months) {
            Ok(())
        } else {
            Err("least-months must be 0 to 120".into())
        }
    }
}

/// A choice; `to` is the first day on which it no longer holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Choice {
    pub(crate) from: Date,
    pub(crate) to: Option<Date>,
    pub(crate) fktp: FacilityCode,
}

/// Why a facility is changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ground {
    /// The member wishes it.
    Choice,
    /// The member moved, and has a document that says so.
    Moved,
    /// The member was assigned elsewhere, and has a document that says so.
    Assigned,
}

impl Ground {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Choice => "CHOICE",
            Self::Moved => "MOVED",
            Self::Assigned => "ASSIGNED",
        }
    }
}

/// Why a change is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refused {
    #[error(
        "the present choice is too young; repeat on or after the earliest day, or prove a move or an assignment"
    )]
    TooSoon { earliest: Date },
    #[error("the facility is the member's first-level facility already; choose another one")]
    Unchanged,
    #[error("a change of first-level facility waits to take effect; repeat after that day")]
    Pending { effective_from: Date },
}

/// The choice in force on a day.
pub(crate) fn on(history: &[Choice], day: Date) -> Option<&Choice> {
    history.iter().find(|choice| choice.from <= day && choice.to.is_none_or(|to| day < to))
}

/// The day from which another facility is in force.
pub(crate) fn change(
    rule: &ChoiceRule,
    history: &[Choice],
    fktp: &FacilityCode,
    ground: Ground,
    today: Date,
) -> Result<Date, Refused> {
    let Some(present) = history.last() else { return Ok(next_month(today)) };
    if present.from > today {
        return Err(Refused::Pending { effective_from: present.from });
    }
    if present.fktp == *fktp {
        return Err(Refused::Unchanged);
    }
    let earliest = present.from.saturating_add(rule.least_months.months());
    if ground == Ground::Choice && today < earliest {
        return Err(Refused::TooSoon { earliest });
    }
    Ok(next_month(today))
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;
    use proptest::prelude::*;

    use super::*;

    fn rule() -> ChoiceRule {
        let text = include_str!("../../../policy/membership/fktp-choice.toml");
        let policy = chassis::policy::parse::<ChoiceRule>("membership/fktp-choice.toml", text).unwrap();
        policy.on(date(2026, 1, 1)).unwrap().rule.clone()
    }

    fn code(text: &str) -> FacilityCode {
        FacilityCode::parse(text).unwrap()
    }

    fn since(from: Date) -> Vec<Choice> {
        vec![Choice { from, to: None, fktp: code("0301U001") }]
    }

    #[test]
    fn three_months_to_the_day() {
        let history = since(date(2025, 11, 30));
        let change = |today| change(&rule(), &history, &code("0301B002"), Ground::Choice, today);
        assert_eq!(change(date(2026, 2, 27)), Err(Refused::TooSoon { earliest: date(2026, 2, 28) }));
        assert_eq!(change(date(2026, 2, 28)), Ok(date(2026, 3, 1)));
    }

    #[test]
    fn a_proof_exempts_and_a_pending_change_stands() {
        let mut history = since(date(2026, 1, 5));
        let today = date(2026, 1, 20);
        assert_eq!(change(&rule(), &history, &code("0301B002"), Ground::Moved, today), Ok(date(2026, 2, 1)));
        assert_eq!(
            change(&rule(), &history, &code("0301U001"), Ground::Moved, today),
            Err(Refused::Unchanged)
        );
        history[0].to = Some(date(2026, 2, 1));
        history.push(Choice { from: date(2026, 2, 1), to: None, fktp: code("0301B002") });
        let refused = change(&rule(), &history, &code("0301B003"), Ground::Assigned, today);
        assert_eq!(refused, Err(Refused::Pending { effective_from: date(2026, 2, 1) }));
        assert_eq!(on(&history, date(2026, 1, 31)).unwrap().fktp, code("0301U001"));
        assert_eq!(on(&history, date(2026, 2, 1)).unwrap().fktp, code("0301B002"));
        assert_eq!(on(&history, date(2026, 1, 4)), None);
    }

    proptest! {
        #[test]
        fn a_change_begins_on_a_first_after_today(days in 0i32..4000, age in 0i32..400) {
            let today = date(2020, 1, 1) + days.days();
            let history = since(today - age.days());
            match change(&rule(), &history, &code("0301B002"), Ground::Choice, today) {
                Ok(from) => {
                    prop_assert!(from > today && from.day() == 1 && (from - today).get_days() <= 31);
                    prop_assert!(age >= 89);
                }
                Err(refused) => {
                    let is_too_soon = matches!(refused, Refused::TooSoon { earliest } if earliest > today);
                    prop_assert!(is_too_soon && age <= 92);
                }
            }
        }
    }
}
