//! The histories of a record, as the database sends them: arrays of rows.

use jiff_sqlx::Date;
use uuid::Uuid;
use vocabulary::{CareClass, FacilityCode, Rupiah, Segment};

use crate::{contribution, family, fktp_choice};

/// `valid_from, valid_to, segment, care_class, monthly_wage_rupiah`.
pub(super) type Terms = (Date, Option<Date>, String, i16, i64);
/// `valid_from, valid_to, fktp_code`.
pub(super) type Choice = (Date, Option<Date>, String);
/// `posting_id, paid_on, first_month, last_month`.
pub(super) type Payment = (Uuid, Date, Date, Date);
/// `relation, covered_from, ended_on, region_code`.
pub(super) type Covered = (String, Date, Option<Date>, String);

type Fault = Box<dyn std::error::Error + Send + Sync>;

/// A whole history; what cannot be read is a fault of the row, as a column that cannot be decoded is.
pub(super) fn read<Row, T>(rows: Vec<Row>, one: fn(Row) -> Result<T, Fault>) -> sqlx::Result<Vec<T>> {
    rows.into_iter().map(one).collect::<Result<_, _>>().map_err(sqlx::Error::Decode)
}

pub(super) fn terms((from, to, segment, class, wage): Terms) -> Result<family::Terms, Fault> {
    Ok(family::Terms {
        from: from.to_jiff(),
        to: to.map(|to| to.to_jiff()),
        segment: Segment::parse(&segment)?,
        class: CareClass::try_from(class)?,
        wage: Rupiah::new(wage)?,
    })
}

pub(super) fn choice((from, to, fktp): Choice) -> Result<fktp_choice::Choice, Fault> {
    Ok(fktp_choice::Choice {
        from: from.to_jiff(),
        to: to.map(|to| to.to_jiff()),
        fktp: FacilityCode::parse(&fktp)?,
    })
}

pub(super) fn payment((posting_id, paid_on, first, last): Payment) -> Result<contribution::Payment, Fault> {
    Ok(contribution::Payment {
        posting_id,
        paid_on: paid_on.to_jiff(),
        first: first.to_jiff(),
        last: last.to_jiff(),
    })
}

pub(super) fn covered((relation, from, ended_on, region): Covered) -> Result<contribution::Covered, Fault> {
    let relation = family::Relation::ALL.into_iter().find(|one| one.as_str() == relation);
    Ok(contribution::Covered {
        relation: relation.ok_or("a relation that is none")?,
        from: from.to_jiff(),
        ended_on: ended_on.map(|day| day.to_jiff()),
        region,
    })
}
