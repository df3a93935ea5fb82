//! In-patient stays of a member.

use jiff::civil::Date;
use jiff_sqlx::ToSqlx;
use sqlx::{PgConnection, PgExecutor};
use uuid::Uuid;

use super::issuance::is_held;
use crate::sep::Patient;

/// First key of the advisory locks of members who are admitted; the second one is of the member.
const ADMITTED: i32 = 0x7365_7020;

/// An in-patient SEP that is not cancelled.
#[derive(Debug)]
pub struct Row {
    /// Its number.
    pub sep_number: String,
    /// Facility.
    pub facility_code: String,
    /// Whom it is for.
    pub patient: Patient,
    /// Day of service.
    pub service_date: Date,
    /// The letter, as it was last changed.
    pub letter: Vec<u8>,
    /// The discharge that the claim on it states.
    pub claimed_on: Option<Date>,
}

/// The stays of each member that began on a day or before, latest first, at most so many.
pub async fn of_members(
    executor: impl PgExecutor<'_>,
    members: &[(Uuid, Date)],
    limit: i64,
) -> Result<Vec<Vec<Row>>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"select place as "place!", stay.sep_number, stay.facility_code, stay.newborn_order, stay.service_date,
                  letter as "letter!", claimed_on as "claimed_on?"
           from unnest($1::uuid[], $2::date[]) with ordinality as asked (member_id, until, place)
           cross join lateral (
               select sep.sep_number, sep.facility_code, sep.newborn_order, sep.service_date,
                      coalesce(amended, letter) as letter, claim.discharged_on as claimed_on
               from sep left join claim on claim.sep_number = sep.sep_number and claim.state <> 10
               where sep.member_id = asked.member_id and sep.care_type = 1 and cancelled_at is null
                     and sep.service_date <= asked.until
               order by sep.service_date desc, sep.sep_number desc limit $3) as stay"#,
        &members.iter().map(|(member, _)| *member).collect::<Vec<_>>(),
        &members.iter().map(|(_, until)| until.to_sqlx()).collect::<Vec<_>>() as &[jiff_sqlx::Date],
        limit,
    )
    .fetch_all(executor)
    .await?;
    let mut stays: Vec<_> = members.iter().map(|_| Vec::new()).collect();
    for row in rows {
        // Places count from 1.
        let place = usize::try_from(row.place - 1).ok();
        let Some((of_member, (member_id, _))) =
            place.and_then(|place| stays.get_mut(place).zip(members.get(place)))
        else {
            continue;
        };
        of_member.push(Row {
            sep_number: row.sep_number,
            facility_code: row.facility_code,
            patient: Patient { member_id: *member_id, newborn_order: row.newborn_order },
            service_date: row.service_date.to_jiff(),
            letter: row.letter,
            claimed_on: row.claimed_on.map(|day| day.to_jiff()),
        });
    }
    Ok(stays)
}

/// Holds members until the transaction ends, so that nobody else who does so admits one of them meanwhile; tells of each
/// whether nobody else holds it. Only a single one may be waited for: two transactions could wait for each other.
pub async fn hold(
    connection: &mut PgConnection,
    members: &[Uuid],
    wait: bool,
) -> Result<Vec<bool>, sqlx::Error> {
    if let ([member], true) = (members, wait) {
        sqlx::raw_sql("savepoint holding; set local lock_timeout = '1s'").execute(&mut *connection).await?;
        let held =
            sqlx::query!("select pg_advisory_xact_lock($1, hashtext($2::uuid::text))", ADMITTED, member);
        return match held.execute(&mut *connection).await {
            Ok(_) => Ok(vec![true]),
            Err(error) if is_held(&error) => {
                sqlx::raw_sql("rollback to savepoint holding").execute(connection).await?;
                Ok(vec![false])
            }
            Err(error) => Err(error),
        };
    }
    sqlx::query_scalar!(
        r#"select pg_try_advisory_xact_lock($1, hashtext(member_id::text)) as "held!"
           from unnest($2::uuid[]) as member_id"#,
        ADMITTED,
        members,
    )
    .fetch_all(connection)
    .await
}
