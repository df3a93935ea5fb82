//! The ledger, and what reconciliation compares with it.

use jiff::{Timestamp, civil::Date};
use jiff_sqlx::ToSqlx;
use sqlx::{PgConnection, PgExecutor};
use uuid::Uuid;

use crate::{
    ledger::{Entry, Totals},
    reconcile::{Open, Sides},
};

/// What an entry is about, and when it was posted by whom.
#[derive(Debug, Clone, Copy)]
pub struct Posting<'a> {
    /// Facility.
    pub facility_code: &'a str,
    /// Batch.
    pub batch_id: Option<Uuid>,
    /// Recovery.
    pub recovery_id: Option<Uuid>,
    /// The day it counts for.
    pub on: Date,
    /// When.
    pub at: Timestamp,
    /// By whom.
    pub by: &'a str,
}

/// Posts an entry, unless it says nothing.
pub async fn post(
    connection: &mut PgConnection,
    posting: Posting<'_>,
    entry: &Entry,
) -> Result<(), sqlx::Error> {
    if entry.is_empty() {
        return Ok(());
    }
    let (accounts, amounts): (Vec<_>, Vec<_>) =
        entry.lines().map(|(account, amount)| (account as i16, amount)).unzip();
    sqlx::query!(
        "with entry as (
             insert into ledger_entry (entry_id, facility_code, kind, batch_id, recovery_id, posted_on, posted_at, posted_by)
             values ($1, $2, $3, $4, $5, $6, $7, $8)
         )
         insert into ledger_line (entry_id, account, amount_rupiah)
         select $1, account, amount_rupiah from unnest($9::smallint[], $10::bigint[]) line (account, amount_rupiah)",
        Uuid::now_v7(),
        posting.facility_code,
        entry.kind as i16,
        posting.batch_id,
        posting.recovery_id,
        posting.on.to_sqlx() as jiff_sqlx::Date,
        posting.at.to_sqlx() as jiff_sqlx::Timestamp,
        posting.by,
        &accounts,
        &amounts,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// The balances of a facility: account and amount, debit above zero.
pub async fn balances(
    executor: impl PgExecutor<'_>,
    facility_code: &str,
) -> Result<Vec<(i16, i64)>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"select account, sum(amount_rupiah)::bigint as "balance!"
           from ledger_entry join ledger_line using (entry_id)
           where facility_code = $1 group by account order by account"#,
        facility_code,
    )
    .fetch_all(executor)
    .await?;
    Ok(rows.into_iter().map(|row| (row.account, row.balance)).collect())
}

/// Lets a transaction read everything as of one moment, and write nothing.
pub async fn as_of_now(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    sqlx::query!("set transaction isolation level repeatable read, read only").execute(connection).await?;
    Ok(())
}

/// What is reconciled: batches closed in a time, of one facility or all.
#[derive(Debug)]
pub struct Period {
    /// Facility.
    pub facility_code: Option<String>,
    /// Closed at this instant or later.
    pub from: Timestamp,
    /// Closed before this instant.
    pub before: Timestamp,
    /// The same as days.
    pub days: (Date, Date),
}

/// A closed batch from every side.
#[derive(Debug)]
pub struct Closed {
    /// Batch.
    pub batch_id: Uuid,
    /// Facility.
    pub facility_code: String,
    /// Its sides.
    pub sides: Sides,
}

/// Every batch closed in a time, from every side.
pub async fn closed(executor: impl PgExecutor<'_>, period: &Period) -> Result<Vec<Closed>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"select batch_id, facility_code, claims_rupiah as "claims_rupiah!", penalties_rupiah as "penalties_rupiah!",
                  offset_rupiah as "offset_rupiah!", due_rupiah as "due_rupiah!", paid_rupiah,
                  (select coalesce(sum(amount_rupiah), 0)::bigint from payment_line
                   where payment_line.batch_id = batch.batch_id) as "lines!",
                  (select coalesce(sum(amount_rupiah), 0)::bigint from recovery_offset
                   where recovery_offset.batch_id = batch.batch_id) as "offsets!",
                  (select coalesce(sum(penalty_rupiah), 0)::bigint from payment_line
                   where penalty_batch = batch.batch_id) as "penalties!",
                  posted.payable as "payable!", posted.ledger as "ledger!"
           from payment_batch batch
           cross join lateral (
               select coalesce(sum(amount_rupiah) filter (where account = 2), 0)::bigint as payable,
                      coalesce(sum(amount_rupiah), 0)::bigint as ledger
               from ledger_entry join ledger_line using (entry_id)
               where ledger_entry.batch_id = batch.batch_id) posted
           where closed_at >= $1 and closed_at < $2 and ($3::text is null or facility_code = $3)
           order by batch_id"#,
        period.from.to_sqlx() as jiff_sqlx::Timestamp,
        period.before.to_sqlx() as jiff_sqlx::Timestamp,
        period.facility_code,
    )
    .fetch_all(executor)
    .await?;
    let batches = rows.into_iter().map(|row| Closed {
        batch_id: row.batch_id,
        facility_code: row.facility_code,
        sides: Sides {
            totals: Totals {
                claims: row.claims_rupiah,
                penalties: row.penalties_rupiah,
                offset: row.offset_rupiah,
                due: row.due_rupiah,
            },
            paid: row.paid_rupiah,
            lines: row.lines,
            offsets: row.offsets,
            penalties: row.penalties,
            payable: row.payable,
            ledger: row.ledger,
        },
    });
    Ok(batches.collect())
}

/// A claim that does not agree with its line, or was paid without one.
#[derive(Debug)]
pub struct Odd {
    /// Claim.
    pub claim_id: Uuid,
    /// Facility.
    pub facility_code: String,
    /// Batch; none when it is in none.
    pub batch_id: Option<Uuid>,
    /// What the line says, or else what was paid.
    pub expected: i64,
    /// What the claim says.
    pub found: i64,
}

/// The claims of batches closed in a time that have another amount than their line, or of which only the claim or only
/// the batch is paid; and the claims paid in that time in no batch.
pub async fn odd_claims(
    executor: impl PgExecutor<'_>,
    period: &Period,
    limit: i64,
) -> Result<Vec<Odd>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"select claim.claim_id as "claim_id!", claim.facility_code as "facility_code!", batch.batch_id as "batch_id?",
                  case when batch.paid_on is null then 0 else line.amount_rupiah end as "expected!",
                  coalesce(claim.paid_rupiah, 0) as "found!"
           from payment_batch batch join payment_line line using (batch_id) join claim using (claim_id)
           where batch.closed_at >= $1 and batch.closed_at < $2 and ($3::text is null or batch.facility_code = $3)
             and (line.amount_rupiah is distinct from claim.approved_rupiah or (claim.state = 9) <> (batch.paid_on is not null))
           union all
           select claim.claim_id, claim.facility_code, null::uuid, 0, coalesce(claim.paid_rupiah, 0)
           from claim
           where claim.paid_on between $5 and $6
             and ($3::text is null or claim.facility_code = $3)
             and not exists (select from payment_line where payment_line.claim_id = claim.claim_id)
           limit $4"#,
        period.from.to_sqlx() as jiff_sqlx::Timestamp,
        period.before.to_sqlx() as jiff_sqlx::Timestamp,
        period.facility_code,
        limit,
        period.days.0.to_sqlx() as jiff_sqlx::Date,
        period.days.1.to_sqlx() as jiff_sqlx::Date,
    )
    .fetch_all(executor)
    .await?;
    let odd = rows.into_iter().map(|row| Odd {
        claim_id: row.claim_id,
        facility_code: row.facility_code,
        batch_id: row.batch_id,
        expected: row.expected,
        found: row.found,
    });
    Ok(odd.collect())
}

/// What is open of a facility, by its batches, recoveries and lines.
pub async fn open(executor: impl PgExecutor<'_>, facility_code: &str) -> Result<Open, sqlx::Error> {
    let row = sqlx::query!(
        r#"select (select coalesce(sum(due_rupiah), 0)::bigint from payment_batch
                   where facility_code = $1 and paid_on is null) as "unpaid!",
                  (select coalesce(sum(left_rupiah), 0)::bigint from recovery where facility_code = $1) as "recoveries!",
                  (select coalesce(sum(penalty_rupiah), 0)::bigint from payment_line join payment_batch using (batch_id)
                   where facility_code = $1 and penalty_rupiah > 0 and penalty_batch is null) as "penalties!""#,
        facility_code,
    )
    .fetch_one(executor)
    .await?;
    Ok(Open { unpaid: row.unpaid, recoveries: row.recoveries, penalties: row.penalties })
}
