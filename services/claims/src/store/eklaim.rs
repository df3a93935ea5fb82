//! Claims by the day on which the service was completed: those that are to be sent, and both sides of them compared.

use jiff::civil::Date;
use jiff_sqlx::ToSqlx;
use sqlx::PgExecutor;
use uuid::Uuid;

/// A claim that can be sent.
#[derive(Debug)]
pub struct Unsent {
    /// Id.
    pub claim_id: Uuid,
    /// SEP it cites.
    pub sep_number: String,
}

/// The final claims of a facility whose service was completed on a day, by id.
pub async fn unsent(
    executor: impl PgExecutor<'_>,
    facility_code: &str,
    discharged_on: Date,
    care_type: Option<i16>,
) -> Result<Vec<Unsent>, sqlx::Error> {
    sqlx::query_as!(
        Unsent,
        "select claim_id, sep_number from claim
         where discharged_on = $1 and facility_code = $2 and state = 3 and ($3::smallint is null or care_type = $3)
         order by claim_id",
        discharged_on.to_sqlx() as _,
        facility_code,
        care_type,
    )
    .fetch_all(executor)
    .await
}

/// The days that are compared.
#[derive(Debug)]
pub struct Period<'a> {
    /// Facility; all without one.
    pub facility_code: Option<&'a str>,
    /// First day of completed service.
    pub from: Date,
    /// Last day.
    pub to: Date,
}

/// Both sides of a facility on a day.
#[derive(Debug)]
pub struct Day {
    /// Facility.
    pub facility_code: String,
    /// Day of completed service.
    pub discharged_on: Date,
    /// Claims that are final at the e-Klaim side.
    pub eklaim_claims: i64,
    /// Their amount.
    pub eklaim_rupiah: i64,
    /// Claims that the V-Klaim side holds.
    pub vklaim_claims: i64,
    /// Their amount.
    pub vklaim_rupiah: i64,
    /// Claims in which the sides differ.
    pub differences: i64,
}

/// A claim in which the sides differ.
#[derive(Debug)]
pub struct Difference {
    /// How: a number of the contract.
    pub kind: i32,
    /// Id.
    pub claim_id: Uuid,
    /// SEP it cites.
    pub sep_number: String,
    /// Facility.
    pub facility_code: String,
    /// Day of completed service.
    pub discharged_on: Date,
    /// Amount at the e-Klaim side; 0 when it is not final there.
    pub eklaim_rupiah: i64,
    /// Amount at the V-Klaim side; 0 when it does not hold the claim.
    pub vklaim_rupiah: i64,
}

/// Both sides of each facility and day, in their order.
pub async fn days(executor: impl PgExecutor<'_>, period: &Period<'_>) -> Result<Vec<Day>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"select facility_code as "facility_code!", discharged_on as "discharged_on!",
                count(eklaim) as "eklaim_claims!", coalesce(sum(eklaim), 0)::bigint as "eklaim_rupiah!",
                count(vklaim) as "vklaim_claims!", coalesce(sum(vklaim), 0)::bigint as "vklaim_rupiah!",
                count(*) filter (where kind <> 0) as "differences!"
         from claim_sides where discharged_on between $1 and $2
           and ($3::text is null or facility_code = $3)
         group by facility_code, discharged_on order by facility_code, discharged_on"#,
        period.from.to_sqlx(),
        period.to.to_sqlx(),
        period.facility_code,
    )
    .fetch_all(executor)
    .await?;
    let days = rows.into_iter().map(|row| Day {
        facility_code: row.facility_code,
        discharged_on: row.discharged_on.to_jiff(),
        eklaim_claims: row.eklaim_claims,
        eklaim_rupiah: row.eklaim_rupiah,
        vklaim_claims: row.vklaim_claims,
        vklaim_rupiah: row.vklaim_rupiah,
        differences: row.differences,
    });
    Ok(days.collect())
}

/// The claims in which the sides differ, by facility, day and id.
pub async fn differences(
    executor: impl PgExecutor<'_>,
    period: &Period<'_>,
    limit: i64,
) -> Result<Vec<Difference>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"select kind as "kind!", claim_id as "claim_id!", sep_number as "sep_number!",
                  facility_code as "facility_code!", discharged_on as "discharged_on!",
                  coalesce(eklaim, 0) as "eklaim!", coalesce(vklaim, 0) as "vklaim!"
           from claim_sides
           where kind <> 0 and discharged_on between $1 and $2 and ($3::text is null or facility_code = $3)
           order by facility_code, discharged_on, claim_id limit $4"#,
        period.from.to_sqlx(),
        period.to.to_sqlx(),
        period.facility_code,
        limit,
    )
    .fetch_all(executor)
    .await?;
    let differences = rows.into_iter().map(|row| Difference {
        kind: row.kind,
        claim_id: row.claim_id,
        sep_number: row.sep_number,
        facility_code: row.facility_code,
        discharged_on: row.discharged_on.to_jiff(),
        eklaim_rupiah: row.eklaim,
        vklaim_rupiah: row.vklaim,
    });
    Ok(differences.collect())
}
