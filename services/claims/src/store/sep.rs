//! SEPs and their evidence. How they get their numbers stands in [`super::issuance`].

use jiff::{Timestamp, civil::Date};
use jiff_sqlx::ToSqlx;
use sqlx::{PgConnection, PgExecutor};
use uuid::Uuid;

use crate::sep::Patient;

/// An answer a SEP rests on.
#[derive(Debug, Clone)]
pub struct Evidence {
    /// Integration it proves.
    pub edge: String,
    /// Id of the answer.
    pub answer_id: String,
    /// What it is about.
    pub number: String,
    /// When it was given.
    pub answered_at: Timestamp,
    /// Type of the message.
    pub answer_type: String,
    /// The message.
    pub answer: Vec<u8>,
}

/// A SEP as it is stored.
#[derive(Debug)]
pub struct Row {
    /// Number.
    pub sep_number: String,
    /// Facility.
    pub facility_code: String,
    /// Member.
    pub member_id: Uuid,
    /// Day of service.
    pub service_date: Date,
    /// Kind of care.
    pub care_type: i16,
    /// When it was cancelled.
    pub cancelled_at: Option<Timestamp>,
    /// Why.
    pub cancel_note: String,
    /// The letter, as it was last changed.
    pub letter: Vec<u8>,
    /// Its version, from 1.
    pub version: i32,
}

/// The number of the open SEP for this patient, facility, day and clinic.
pub async fn open(
    executor: impl PgExecutor<'_>,
    patient: Patient,
    facility_code: &str,
    service_date: Date,
    clinic: &str,
) -> Result<Option<String>, sqlx::Error> {
    sqlx::query_scalar!(
        "select sep_number from sep
         where member_id = $1 and facility_code = $2 and service_date = $3 and clinic = $4 and newborn_order = $5
               and cancelled_at is null",
        patient.member_id,
        facility_code,
        service_date.to_sqlx(),
        clinic,
        patient.newborn_order,
    )
    .fetch_optional(executor)
    .await
}

/// A SEP; of one facility only when one is given.
pub async fn get(
    executor: impl PgExecutor<'_>,
    sep_number: &str,
    facility_code: Option<&str>,
) -> Result<Option<Row>, sqlx::Error> {
    let row = sqlx::query!(
        r#"select sep_number, facility_code, member_id, service_date, care_type, cancelled_at, cancel_note,
                  coalesce(amended, letter) as "letter!", version
           from sep where sep_number = $1 and ($2::text is null or facility_code = $2)"#,
        sep_number,
        facility_code,
    )
    .fetch_optional(executor)
    .await?;
    Ok(row.map(|row| Row {
        sep_number: row.sep_number,
        facility_code: row.facility_code,
        member_id: row.member_id,
        service_date: row.service_date.to_jiff(),
        care_type: row.care_type,
        cancelled_at: row.cancelled_at.map(|at| at.to_jiff()),
        cancel_note: row.cancel_note,
        letter: row.letter,
        version: row.version,
    }))
}

/// A SEP, held against changes until the transaction ends.
pub async fn lock(
    connection: &mut PgConnection,
    sep_number: &str,
    facility_code: Option<&str>,
) -> Result<Option<Row>, sqlx::Error> {
    sqlx::query!(
        "select 1 as one from sep where sep_number = $1 and ($2::text is null or facility_code = $2) for update",
        sep_number,
        facility_code,
    )
    .fetch_optional(&mut *connection)
    .await?;
    get(connection, sep_number, facility_code).await
}

/// The answers a SEP rests on.
pub async fn evidence(executor: impl PgExecutor<'_>, sep_number: &str) -> Result<Vec<Evidence>, sqlx::Error> {
    let rows = sqlx::query!(
        "select edge, answer_id, number, answered_at, answer_type, answer
         from sep_evidence where sep_number = $1 order by edge",
        sep_number,
    )
    .fetch_all(executor)
    .await?;
    let evidence = rows.into_iter().map(|row| Evidence {
        edge: row.edge,
        answer_id: row.answer_id,
        number: row.number,
        answered_at: row.answered_at.to_jiff(),
        answer_type: row.answer_type,
        answer: row.answer,
    });
    Ok(evidence.collect())
}

/// Marks a SEP as cancelled.
pub async fn cancel(
    connection: &mut PgConnection,
    sep_number: &str,
    at: Timestamp,
    note: &str,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update sep set cancelled_at = $2, cancel_note = $3 where sep_number = $1",
        sep_number,
        at.to_sqlx(),
        note,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// What a list of SEPs is narrowed to.
#[derive(Debug, Default)]
pub struct Filter {
    /// Facility.
    pub facility_code: Option<String>,
    /// First day of service.
    pub from: Option<Date>,
    /// Last day of service.
    pub to: Option<Date>,
    /// Kind of care.
    pub care_type: Option<i16>,
    /// Member.
    pub member_id: Option<Uuid>,
    /// Number of the last row of the page before.
    pub after: Option<String>,
    /// Most rows.
    pub limit: i64,
}

/// SEPs by number.
pub async fn list(executor: impl PgExecutor<'_>, filter: &Filter) -> Result<Vec<Row>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"select sep_number, facility_code, member_id, service_date, care_type, cancelled_at, cancel_note,
                  coalesce(amended, letter) as "letter!", version
           from sep
           where ($1::text is null or facility_code = $1)
             and ($2::date is null or service_date >= $2)
             and ($3::date is null or service_date <= $3)
             and ($4::smallint is null or care_type = $4)
             and ($5::uuid is null or member_id = $5)
             and ($6::text is null or sep_number > $6)
           order by sep_number limit $7"#,
        filter.facility_code,
        filter.from.map(ToSqlx::to_sqlx) as Option<jiff_sqlx::Date>,
        filter.to.map(ToSqlx::to_sqlx) as Option<jiff_sqlx::Date>,
        filter.care_type,
        filter.member_id,
        filter.after,
        filter.limit,
    )
    .fetch_all(executor)
    .await?;
    let seps = rows.into_iter().map(|row| Row {
        sep_number: row.sep_number,
        facility_code: row.facility_code,
        member_id: row.member_id,
        service_date: row.service_date.to_jiff(),
        care_type: row.care_type,
        cancelled_at: row.cancelled_at.map(|at| at.to_jiff()),
        cancel_note: row.cancel_note,
        letter: row.letter,
        version: row.version,
    });
    Ok(seps.collect())
}
