//! What becomes of a SEP after its issue: its versions, and the accident it follows from.

use jiff::{Timestamp, civil::Date};
use jiff_sqlx::ToSqlx;
use sqlx::{PgConnection, PgExecutor};
use uuid::Uuid;

/// A version of a SEP.
#[derive(Debug)]
pub struct Version {
    /// The version, from 1.
    pub version: i32,
    /// Since when it holds.
    pub changed_at: Timestamp,
    /// Who made it.
    pub changed_by: String,
    /// The letter.
    pub letter: Vec<u8>,
}

/// Writes the next version of a SEP. The letter as issued is not touched.
pub async fn change(
    connection: &mut PgConnection,
    sep_number: &str,
    new: &Version,
    accident_on: Option<Date>,
    doctor_code: &str,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "with kept as (
             insert into sep_version (sep_number, version, changed_at, changed_by, letter) values ($1, $2, $3, $4, $5)
         )
         update sep set amended = $5, version = $2, accident_on = $6, doctor_code = $7 where sep_number = $1",
        sep_number,
        new.version,
        new.changed_at.to_sqlx(),
        new.changed_by,
        new.letter,
        accident_on.map(ToSqlx::to_sqlx) as Option<jiff_sqlx::Date>,
        doctor_code,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// The versions of a SEP before one, oldest first.
pub async fn versions_before(
    executor: impl PgExecutor<'_>,
    sep_number: &str,
    version: i32,
) -> Result<Vec<Version>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"select version as "version!", changed_at as "changed_at!", changed_by as "changed_by!", letter as "letter!"
           from (select 1 as version, issued_at as changed_at, 'hospital:' || facility_code as changed_by, letter
                 from sep where sep_number = $1
                 union all
                 select version, changed_at, changed_by, letter from sep_version where sep_number = $1) as v
           where version < $2 order by version"#,
        sep_number,
        version,
    )
    .fetch_all(executor)
    .await?;
    let versions = rows.into_iter().map(|row| Version {
        version: row.version,
        changed_at: row.changed_at.to_jiff(),
        changed_by: row.changed_by,
        letter: row.letter,
    });
    Ok(versions.collect())
}

/// A SEP as far as it may be the first of an accident.
#[derive(Debug)]
pub struct Accident {
    /// Day of its accident.
    pub occurred_on: Option<Date>,
    /// Day of service.
    pub service_date: Date,
    /// Whether it is cancelled.
    pub cancelled: bool,
    /// Its number.
    pub sep_number: String,
    /// Facility.
    pub facility_code: String,
    /// The letter, as it was last changed.
    pub letter: Vec<u8>,
}

/// A member's SEP of any facility.
pub async fn of_member(
    executor: impl PgExecutor<'_>,
    sep_number: &str,
    member_id: Uuid,
) -> Result<Option<Accident>, sqlx::Error> {
    let row = sqlx::query!(
        r#"select sep_number, facility_code, service_date, accident_on, cancelled_at is not null as "cancelled!",
                  coalesce(amended, letter) as "letter!"
           from sep where sep_number = $1 and member_id = $2"#,
        sep_number,
        member_id,
    )
    .fetch_optional(executor)
    .await?;
    Ok(row.map(|row| Accident {
        occurred_on: row.accident_on.map(|day| day.to_jiff()),
        service_date: row.service_date.to_jiff(),
        cancelled: row.cancelled,
        sep_number: row.sep_number,
        facility_code: row.facility_code,
        letter: row.letter,
    }))
}

/// SEPs of a member's accidents at any facility, latest day of service first, after a SEP of the page before.
pub async fn accidents(
    executor: impl PgExecutor<'_>,
    member_id: Uuid,
    from: Option<Date>,
    after: Option<(Date, String)>,
    limit: i64,
) -> Result<Vec<Accident>, sqlx::Error> {
    let (day, number) = after.map_or((None, None), |(day, number)| (Some(day), Some(number)));
    let rows = sqlx::query!(
        r#"select sep_number, facility_code, service_date, accident_on, coalesce(amended, letter) as "letter!"
           from sep
           where member_id = $1 and accident_on is not null and cancelled_at is null
             and ($2::date is null or service_date >= $2)
             and ($3::date is null or (service_date, sep_number) < ($3, $4::text))
           order by service_date desc, sep_number desc limit $5"#,
        member_id,
        from.map(ToSqlx::to_sqlx) as Option<jiff_sqlx::Date>,
        day.map(ToSqlx::to_sqlx) as Option<jiff_sqlx::Date>,
        number,
        limit,
    )
    .fetch_all(executor)
    .await?;
    let seps = rows.into_iter().map(|row| Accident {
        occurred_on: row.accident_on.map(|day| day.to_jiff()),
        service_date: row.service_date.to_jiff(),
        cancelled: false,
        sep_number: row.sep_number,
        facility_code: row.facility_code,
        letter: row.letter,
    });
    Ok(seps.collect())
}
