//! Who makes a family, and which terms it has: segment, care class, wage.

use chassis::policy::Rule;
use jiff::{ToSpan, civil::Date};
use serde::Deserialize;
use vocabulary::{CareClass, Rupiah, Segment};

use crate::contribution::next_month;

/// Most members one request registers.
pub(crate) const MOST_MEMBERS: usize = 20;

/// `policy/membership/family.toml`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct FamilyRule {
    covered_children: usize,
    child_age: i16,
    student_age: i16,
    always_class_3: Vec<Segment>,
    class_2_up_to_wage_rupiah: Rupiah,
    class_months: i32,
}

impl Rule for FamilyRule {
    fn check(&self) -> Result<(), String> {
        if !(1..=120).contains(&self.child_age) {
            Err("child-age must be 1 to 120".into())
        } else if !(self.child_age..=120).contains(&self.student_age) {
            Err("student-age must be child-age to 120".into())
        } else if !(0..=120).contains(&self.class_months) {
            Err("class-months must be 0 to 120".into())
        } else {
            Ok(())
        }
    }
}

/// Place of a member in the family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Relation {
    Head,
    Spouse,
    Child,
    Other,
}

impl Relation {
    pub(crate) const ALL: [Self; 4] = [Self::Head, Self::Spouse, Self::Child, Self::Other];

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Head => "HEAD",
            Self::Spouse => "SPOUSE",
            Self::Child => "CHILD",
            Self::Other => "OTHER",
        }
    }
}

/// Why a membership ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    Deceased,
    Abroad,
    Duplicate,
}

impl Ended {
    pub(crate) const ALL: [Self; 3] = [Self::Deceased, Self::Abroad, Self::Duplicate];

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Deceased => "DECEASED",
            Self::Abroad => "ABROAD",
            Self::Duplicate => "DUPLICATE",
        }
    }
}

/// The terms of a family from a day on; `to` is the first day on which they no longer hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Terms {
    pub(crate) from: Date,
    pub(crate) to: Option<Date>,
    pub(crate) segment: Segment,
    pub(crate) class: CareClass,
    pub(crate) wage: Rupiah,
}

/// What the rules ask of a person.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Person {
    pub(crate) relation: Relation,
    pub(crate) birth_date: Date,
    pub(crate) student: bool,
}

/// Why a family or its terms are refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refused {
    #[error("the care class does not go with the segment or the wage; leave it out or send the expected one")]
    ClassNotOfSegment { expected: &'static str },
    #[error(
        "the family changed its class less than the required months ago; repeat on or after the earliest day"
    )]
    ClassTooSoon { earliest: Date },
    #[error("a change of terms waits to take effect; repeat after that day")]
    ChangePending { effective_from: Date },
    #[error("a worker's contribution does not cover this dependant; register the person as RELATION_OTHER")]
    DependantNotCovered { member: usize },
}

/// Whether a wage belongs to the segment's terms.
pub(crate) fn has_wage(segment: Segment) -> bool {
    matches!(segment, Segment::PpuPn | Segment::PpuBu)
}

/// What is wrong with the make-up of a family, by the index of the member; members are checked with `members`.
pub(crate) fn make_up_faults(relations: &[Relation]) -> Vec<(Option<usize>, &'static str)> {
    let mut faults = Vec::new();
    let second = |wanted: Relation| {
        relations
            .iter()
            .enumerate()
            .filter(move |(_, relation)| **relation == wanted)
            .skip(1)
            .map(|(index, _)| index)
    };
    if !relations.contains(&Relation::Head) {
        faults.push((None, "one of them must be RELATION_HEAD"));
    }
    faults.extend(second(Relation::Head).map(|index| (Some(index), "only one member is RELATION_HEAD")));
    faults.extend(second(Relation::Spouse).map(|index| (Some(index), "only one member is RELATION_SPOUSE")));
    faults
}

/// The class of a family: given where the family may choose, derived where the rule says.
pub(crate) fn class_of(
    rule: &FamilyRule,
    segment: Segment,
    given: Option<CareClass>,
    wage: Rupiah,
) -> Result<CareClass, Refused> {
    let derived = if rule.always_class_3.contains(&segment) {
        Some(CareClass::Three)
    } else if segment == Segment::PpuBu {
        Some(if wage > rule.class_2_up_to_wage_rupiah { CareClass::One } else { CareClass::Two })
    } else {
        None
    };
    match (derived, given) {
        (None, Some(CareClass::Three)) if segment == Segment::PpuPn => {
            Err(Refused::ClassNotOfSegment { expected: "1 or 2" })
        }
        (None, None) if segment == Segment::PpuPn => Err(Refused::ClassNotOfSegment { expected: "1 or 2" }),
        (None, None) => Err(Refused::ClassNotOfSegment { expected: "1, 2 or 3" }),
        (None, Some(class)) => Ok(class),
        (Some(class), Some(given)) if class != given => {
            Err(Refused::ClassNotOfSegment { expected: class.as_str() })
        }
        (Some(class), _) => Ok(class),
    }
}

/// Whether a worker's contribution covers every dependant. All others pay per head.
pub(crate) fn check_dependants(
    rule: &FamilyRule,
    segment: Segment,
    members: &[Person],
    today: Date,
) -> Result<(), Refused> {
    if !has_wage(segment) {
        return Ok(());
    }
    let mut children = 0;
    for (member, person) in
        members.iter().enumerate().filter(|(_, person)| person.relation == Relation::Child)
    {
        children += 1;
        let limit = if person.student { rule.student_age } else { rule.child_age };
        if children > rule.covered_children || age(person.birth_date, today) >= limit {
            return Err(Refused::DependantNotCovered { member });
        }
    }
    Ok(())
}

fn age(birth: Date, today: Date) -> i16 {
    let had_birthday = (today.month(), today.day()) >= (birth.month(), birth.day());
    today.year() - birth.year() - i16::from(!had_birthday)
}

/// New terms for a family, from the 1st of the next month; `None` when they are those in force.
pub(crate) fn change_terms(
    rule: &FamilyRule,
    history: &[Terms],
    segment: Option<Segment>,
    class: Option<CareClass>,
    wage: Option<Rupiah>,
    today: Date,
) -> Result<Option<Terms>, Refused> {
    let Some(present) = history.last() else { return Ok(None) };
    if present.from > today {
        return Err(Refused::ChangePending { effective_from: present.from });
    }
    let segment = segment.unwrap_or(present.segment);
    let wage = if has_wage(segment) { wage.unwrap_or(present.wage) } else { Rupiah::ZERO };
    // Where the family chooses its class it keeps it until it says otherwise; elsewhere it follows.
    let kept = (segment == present.segment && segment != Segment::PpuBu).then_some(present.class);
    let new = Terms {
        from: next_month(today),
        to: None,
        segment,
        class: class_of(rule, segment, class.or(kept), wage)?,
        wage,
    };
    if (new.segment, new.class, new.wage) == (present.segment, present.class, present.wage) {
        return Ok(None);
    }
    let chooses = matches!(segment, Segment::Pbpu | Segment::Bp);
    if chooses && segment == present.segment && new.class != present.class {
        let since = history
            .iter()
            .rev()
            .take_while(|terms| (terms.segment, terms.class) == (present.segment, present.class))
            .last()
            .map_or(present.from, |terms| terms.from);
        let earliest = since.saturating_add(rule.class_months.months());
        if today < earliest {
            return Err(Refused::ClassTooSoon { earliest });
        }
    }
    Ok(Some(new))
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;

    fn rule() -> FamilyRule {
        let text = include_str!("../../../policy/membership/family.toml");
        let policy = chassis::policy::parse::<FamilyRule>("membership/family.toml", text).unwrap();
        policy.on(date(2026, 1, 1)).unwrap().rule.clone()
    }

    fn child(birth_date: Date, student: bool) -> Person {
        Person { relation: Relation::Child, birth_date, student }
    }

    #[test]
    fn the_class_follows_from_segment_and_wage() {
        let class = |segment, given, wage| class_of(&rule(), segment, given, Rupiah::new(wage).unwrap());
        assert_eq!(class(Segment::PbiApbn, None, 0), Ok(CareClass::Three));
        assert!(class(Segment::PbpuPemda, Some(CareClass::One), 0).is_err());
        assert_eq!(class(Segment::PpuBu, None, 4_000_000), Ok(CareClass::Two));
        assert_eq!(class(Segment::PpuBu, None, 4_000_001), Ok(CareClass::One));
        assert_eq!(
            class(Segment::PpuBu, Some(CareClass::Two), 9_000_000),
            Err(Refused::ClassNotOfSegment { expected: "1" })
        );
        assert_eq!(class(Segment::Pbpu, Some(CareClass::Three), 0), Ok(CareClass::Three));
        assert!(class(Segment::Pbpu, None, 0).is_err());
        assert!(class(Segment::PpuPn, Some(CareClass::Three), 5_000_000).is_err());
    }

    #[test]
    fn a_worker_covers_three_children_below_21_or_25() {
        let today = date(2026, 3, 10);
        let check = |members: &[Person]| check_dependants(&rule(), Segment::PpuBu, members, today);
        let young = child(date(2015, 1, 1), false);
        assert_eq!(check(&[young; 3]), Ok(()));
        assert_eq!(check(&[young; 4]), Err(Refused::DependantNotCovered { member: 3 }));
        assert_eq!(check(&[child(date(2005, 3, 11), false)]), Ok(()), "20 until tomorrow");
        assert!(check(&[child(date(2005, 3, 10), false)]).is_err(), "21 today");
        assert_eq!(check(&[child(date(2005, 3, 10), true)]), Ok(()));
        assert!(check(&[child(date(2001, 3, 10), true)]).is_err());
        assert_eq!(
            check_dependants(&rule(), Segment::Pbpu, &[child(date(1990, 1, 1), false)], today),
            Ok(())
        );
    }

    #[test]
    fn a_family_has_one_head_and_one_spouse() {
        use Relation::{Child, Head, Spouse};
        assert!(make_up_faults(&[Head, Spouse, Child]).is_empty());
        assert_eq!(make_up_faults(&[Spouse, Child])[0].0, None);
        assert_eq!(make_up_faults(&[Head, Head, Spouse, Spouse]).len(), 2);
    }

    #[test]
    fn a_class_is_kept_for_a_year_and_changes_from_the_next_month() {
        let present = Terms {
            from: date(2025, 4, 15),
            to: None,
            segment: Segment::Pbpu,
            class: CareClass::Three,
            wage: Rupiah::ZERO,
        };
        let change = |today| {
            change_terms(&rule(), std::slice::from_ref(&present), None, Some(CareClass::One), None, today)
        };
        assert_eq!(change(date(2026, 4, 14)), Err(Refused::ClassTooSoon { earliest: date(2026, 4, 15) }));
        let new = change(date(2026, 4, 15)).unwrap().unwrap();
        assert_eq!((new.from, new.class), (date(2026, 5, 1), CareClass::One));
        let pending = [present.clone(), new];
        assert_eq!(
            change_terms(&rule(), &pending, Some(Segment::Bp), Some(CareClass::One), None, date(2026, 4, 20)),
            Err(Refused::ChangePending { effective_from: date(2026, 5, 1) })
        );
        let to_worker = change_terms(
            &rule(),
            &[present],
            Some(Segment::PpuBu),
            None,
            Some(Rupiah::new(5_000_000).unwrap()),
            date(2025, 5, 1),
        );
        assert_eq!(
            to_worker.unwrap().unwrap().class,
            CareClass::One,
            "another segment is not bound by the year"
        );
    }
}
