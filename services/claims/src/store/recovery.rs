//! Recoveries after audits, and their offset against batches.

use jiff::{Timestamp, civil::Date};
use jiff_sqlx::ToSqlx;
use sqlx::{PgConnection, PgExecutor};
use uuid::Uuid;

/// A recovery as it is stored.
#[derive(Debug, Clone)]
pub struct Row {
    /// Id.
    pub recovery_id: Uuid,
    /// Facility.
    pub facility_code: String,
    /// Claim.
    pub claim_id: Uuid,
    /// Reference of the verdict.
    pub audit_reference: String,
    /// Amount.
    pub amount_rupiah: i64,
    /// What no batch has offset yet.
    pub left_rupiah: i64,
    /// Day of the verdict.
    pub decided_on: Date,
    /// When it was recorded.
    pub recorded_at: Timestamp,
    /// The audit that found it.
    pub audit_id: Option<Uuid>,
}

macro_rules! row {
    ($row:expr) => {{
        let row = $row;
        Row {
            recovery_id: row.recovery_id,
            facility_code: row.facility_code,
            claim_id: row.claim_id,
            audit_reference: row.audit_reference,
            amount_rupiah: row.amount_rupiah,
            left_rupiah: row.left_rupiah,
            decided_on: row.decided_on.to_jiff(),
            recorded_at: row.recorded_at.to_jiff(),
            audit_id: row.audit_id,
        }
    }};
}

/// The recovery of an audit reference.
pub async fn of_reference(
    connection: &mut PgConnection,
    audit_reference: &str,
) -> Result<Option<Row>, sqlx::Error> {
    let row = sqlx::query!(
        "select recovery_id, facility_code, claim_id, audit_reference, amount_rupiah, left_rupiah, decided_on, recorded_at,
                audit_id
         from recovery where audit_reference = $1",
        audit_reference,
    )
    .fetch_optional(connection)
    .await?;
    Ok(row.map(|row| row!(row)))
}

/// What is recovered of a claim so far.
pub async fn of_claim(connection: &mut PgConnection, claim_id: Uuid) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar!(
        r#"select coalesce(sum(amount_rupiah), 0)::bigint as "sum!" from recovery where claim_id = $1"#,
        claim_id,
    )
    .fetch_one(connection)
    .await
}

/// Writes a new recovery.
pub async fn record(connection: &mut PgConnection, recovery: &Row) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "insert into recovery (recovery_id, facility_code, claim_id, audit_reference, amount_rupiah, left_rupiah, decided_on,
                               recorded_at, audit_id)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        recovery.recovery_id,
        recovery.facility_code,
        recovery.claim_id,
        recovery.audit_reference,
        recovery.amount_rupiah,
        recovery.left_rupiah,
        recovery.decided_on.to_sqlx() as jiff_sqlx::Date,
        recovery.recorded_at.to_sqlx() as jiff_sqlx::Timestamp,
        recovery.audit_id,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// What is left to recover of a facility, oldest first, held against changes: ids and amounts.
pub async fn left(
    connection: &mut PgConnection,
    facility_code: &str,
) -> Result<Vec<(Uuid, i64)>, sqlx::Error> {
    let rows = sqlx::query!(
        "select recovery_id, left_rupiah from recovery where facility_code = $1 and left_rupiah > 0
         order by recovery_id for update",
        facility_code,
    )
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(|row| (row.recovery_id, row.left_rupiah)).collect())
}

/// Takes amounts off recoveries with a batch.
pub async fn offset(
    connection: &mut PgConnection,
    batch_id: Uuid,
    parts: &[(Uuid, i64)],
) -> Result<(), sqlx::Error> {
    let (ids, amounts): (Vec<_>, Vec<_>) = parts.iter().copied().unzip();
    sqlx::query!(
        "with part as (
             select recovery_id, amount_rupiah from unnest($2::uuid[], $3::bigint[]) part (recovery_id, amount_rupiah)
         ), taken as (
             update recovery set left_rupiah = left_rupiah - part.amount_rupiah from part
             where recovery.recovery_id = part.recovery_id
         )
         insert into recovery_offset (recovery_id, batch_id, amount_rupiah) select recovery_id, $1, amount_rupiah from part",
        batch_id,
        &ids,
        &amounts,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Recoveries, oldest first.
pub async fn list(
    executor: impl PgExecutor<'_>,
    facility_code: Option<&str>,
    only_open: bool,
    after: Option<Uuid>,
    limit: i64,
) -> Result<Vec<Row>, sqlx::Error> {
    let rows = sqlx::query!(
        "select recovery_id, facility_code, claim_id, audit_reference, amount_rupiah, left_rupiah, decided_on, recorded_at,
                audit_id
         from recovery
         where ($1::text is null or facility_code = $1) and (not $2 or left_rupiah > 0)
           and ($3::uuid is null or recovery_id > $3)
         order by recovery_id limit $4",
        facility_code,
        only_open,
        after,
        limit,
    )
    .fetch_all(executor)
    .await?;
    Ok(rows.into_iter().map(|row| row!(row)).collect())
}

/// The recovery of an audit, and how much of it was taken off batches.
#[derive(Debug, Clone)]
pub struct OfAudit {
    /// The audit.
    pub audit_id: Uuid,
    /// The recovery.
    pub recovery_id: Uuid,
    /// Amount.
    pub amount_rupiah: i64,
    /// What no batch has offset yet.
    pub left_rupiah: i64,
    /// When it was recorded.
    pub recorded_at: Timestamp,
    /// When the last batch was closed that took a part of it.
    pub offset_at: Option<Timestamp>,
}

/// The recoveries of audits; of those that have one.
pub async fn of_audits(executor: impl PgExecutor<'_>, audits: &[Uuid]) -> Result<Vec<OfAudit>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"select audit_id as "audit_id!", recovery_id, amount_rupiah, left_rupiah, recorded_at,
                  (select max(closed_at) from recovery_offset join payment_batch using (batch_id)
                   where recovery_offset.recovery_id = recovery.recovery_id) as offset_at
           from recovery where audit_id = any($1)"#,
        audits,
    )
    .fetch_all(executor)
    .await?;
    let recoveries = rows.into_iter().map(|row| OfAudit {
        audit_id: row.audit_id,
        recovery_id: row.recovery_id,
        amount_rupiah: row.amount_rupiah,
        left_rupiah: row.left_rupiah,
        recorded_at: row.recorded_at.to_jiff(),
        offset_at: row.offset_at.map(|at| at.to_jiff()),
    });
    Ok(recoveries.collect())
}
