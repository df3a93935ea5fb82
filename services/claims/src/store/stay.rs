//! In-patient stays of a member.

use jiff::civil::Date;
use jiff_sqlx::ToSqlx;
use sqlx::PgExecutor;
use uuid::Uuid;

/// An in-patient SEP that is not cancelled.
#[derive(Debug)]
pub struct Row {
    /// Its number.
    pub sep_number: String,
    /// Facility.
    pub facility_code: String,
    /// Day of service.
    pub service_date: Date,
    /// The letter, as it was last changed.
    pub letter: Vec<u8>,
    /// The discharge that the claim on it states.
    pub claimed_on: Option<Date>,
}

/// The stays that began on a day or before, latest first, at most so many.
pub async fn of_member(
    executor: impl PgExecutor<'_>,
    member_id: Uuid,
    until: Date,
    limit: i64,
) -> Result<Vec<Row>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"select sep.sep_number, sep.facility_code, sep.service_date, coalesce(amended, letter) as "letter!",
                  claim.discharged_on as "claimed_on?"
           from sep left join claim on claim.sep_number = sep.sep_number and claim.state <> 10
           where sep.member_id = $1 and sep.care_type = 1 and cancelled_at is null and sep.service_date <= $2
           order by sep.service_date desc, sep.sep_number desc limit $3"#,
        member_id,
        until.to_sqlx(),
        limit,
    )
    .fetch_all(executor)
    .await?;
    let stays = rows.into_iter().map(|row| Row {
        sep_number: row.sep_number,
        facility_code: row.facility_code,
        service_date: row.service_date.to_jiff(),
        letter: row.letter,
        claimed_on: row.claimed_on.map(|day| day.to_jiff()),
    });
    Ok(stays.collect())
}
