//! Collective filings and their completeness records.

use jiff::{Timestamp, civil::Date};
use jiff_sqlx::ToSqlx;
use sqlx::{PgConnection, PgExecutor};
use uuid::Uuid;

/// A filing as it is stored.
#[derive(Debug, Clone)]
pub struct Row {
    /// Id.
    pub filing_id: Uuid,
    /// Facility.
    pub facility_code: String,
    /// First day of the month of service.
    pub month: Date,
    /// Which of the month.
    pub number: i32,
    /// How many claims.
    pub claims: i32,
    /// What they come to.
    pub claims_rupiah: i64,
    /// When it was filed.
    pub filed_at: Timestamp,
    /// Papers, encoded.
    pub papers: Vec<u8>,
    /// What was stated.
    pub outcome: Option<i16>,
    /// When.
    pub stated_on: Option<Date>,
    /// What was missing.
    pub note: String,
}

macro_rules! row {
    ($row:expr) => {{
        let row = $row;
        Row {
            filing_id: row.filing_id,
            facility_code: row.facility_code,
            month: row.month.to_jiff(),
            number: row.number,
            claims: row.claims,
            claims_rupiah: row.claims_rupiah,
            filed_at: row.filed_at.to_jiff(),
            papers: row.papers,
            outcome: row.outcome,
            stated_on: row.stated_on.map(|day| day.to_jiff()),
            note: row.note,
        }
    }};
}

/// Lets one transaction at a time file and open batches for a facility.
pub async fn lock_facility(connection: &mut PgConnection, facility_code: &str) -> Result<(), sqlx::Error> {
    sqlx::query!(r#"select pg_advisory_xact_lock(hashtextextended($1, 0))::text as "held?""#, facility_code)
        .fetch_one(connection)
        .await?;
    Ok(())
}

/// What a facility has submitted of a month and not filed, or was returned: ids and amounts.
pub async fn unfiled(
    connection: &mut PgConnection,
    facility_code: &str,
    month: Date,
    next_month: Date,
) -> Result<Vec<(Uuid, i64)>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"select claim_id, tariff_rupiah as "tariff_rupiah!" from claim
           where facility_code = $1 and service_date >= $2 and service_date < $3
             and state not in (9, 10, 12) and state in (4, 5, 6, 7, 8, 11) and tariff_rupiah is not null
             and not exists (
                 select from filing_claim join filing using (filing_id)
                 where filing_claim.claim_id = claim.claim_id and filing.outcome is distinct from 2)
           order by claim_id"#,
        facility_code,
        month.to_sqlx() as jiff_sqlx::Date,
        next_month.to_sqlx() as jiff_sqlx::Date,
    )
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(|row| (row.claim_id, row.tariff_rupiah)).collect())
}

/// How often a facility has filed a month.
pub async fn count(
    connection: &mut PgConnection,
    facility_code: &str,
    month: Date,
) -> Result<i32, sqlx::Error> {
    sqlx::query_scalar!(
        r#"select coalesce(max(number), 0) as "count!" from filing where facility_code = $1 and month = $2"#,
        facility_code,
        month.to_sqlx() as jiff_sqlx::Date,
    )
    .fetch_one(connection)
    .await
}

/// Writes a new filing with its claims.
pub async fn file(
    connection: &mut PgConnection,
    filing: &Row,
    claims: &[(Uuid, i64)],
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "insert into filing (filing_id, facility_code, month, number, claims, claims_rupiah, filed_at, papers)
         values ($1, $2, $3, $4, $5, $6, $7, $8)",
        filing.filing_id,
        filing.facility_code,
        filing.month.to_sqlx() as jiff_sqlx::Date,
        filing.number,
        filing.claims,
        filing.claims_rupiah,
        filing.filed_at.to_sqlx() as jiff_sqlx::Timestamp,
        filing.papers,
    )
    .execute(&mut *connection)
    .await?;
    let (ids, amounts): (Vec<_>, Vec<_>) = claims.iter().copied().unzip();
    sqlx::query!(
        "insert into filing_claim (claim_id, filing_id, amount_rupiah)
         select claim_id, $1, amount_rupiah from unnest($2::uuid[], $3::bigint[]) claims (claim_id, amount_rupiah)",
        filing.filing_id,
        &ids,
        &amounts,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// A filing; of one facility only when one is given.
pub async fn get(
    executor: impl PgExecutor<'_>,
    filing_id: Uuid,
    facility_code: Option<&str>,
) -> Result<Option<Row>, sqlx::Error> {
    let row = sqlx::query!(
        "select filing_id, facility_code, month, number, claims, claims_rupiah, filed_at, papers, outcome, stated_on, note
         from filing where filing_id = $1 and ($2::text is null or facility_code = $2)",
        filing_id,
        facility_code,
    )
    .fetch_optional(executor)
    .await?;
    Ok(row.map(|row| row!(row)))
}

/// A filing, held against changes until the transaction ends.
pub async fn lock(connection: &mut PgConnection, filing_id: Uuid) -> Result<Option<Row>, sqlx::Error> {
    let row = sqlx::query!(
        "select filing_id, facility_code, month, number, claims, claims_rupiah, filed_at, papers, outcome, stated_on, note
         from filing where filing_id = $1 for update",
        filing_id,
    )
    .fetch_optional(connection)
    .await?;
    Ok(row.map(|row| row!(row)))
}

/// Writes the completeness record.
pub async fn state(connection: &mut PgConnection, filing: &Row) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update filing set outcome = $2, stated_on = $3, note = $4 where filing_id = $1",
        filing.filing_id,
        filing.outcome,
        filing.stated_on.map(ToSqlx::to_sqlx) as Option<jiff_sqlx::Date>,
        filing.note,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Filings, oldest first.
pub async fn list(
    executor: impl PgExecutor<'_>,
    facility_code: Option<&str>,
    after: Option<Uuid>,
    limit: i64,
) -> Result<Vec<Row>, sqlx::Error> {
    let rows = sqlx::query!(
        "select filing_id, facility_code, month, number, claims, claims_rupiah, filed_at, ''::bytea as \"papers!\", outcome,
                stated_on, note
         from filing
         where ($1::text is null or facility_code = $1) and ($2::uuid is null or filing_id > $2)
         order by filing_id limit $3",
        facility_code,
        after,
        limit,
    )
    .fetch_all(executor)
    .await?;
    Ok(rows.into_iter().map(|row| row!(row)).collect())
}
