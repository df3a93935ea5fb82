//! Requests for approval of a SEP that comes late or without a fingerprint, and validated fingerprints.

use jiff::{Timestamp, civil::Date};
use jiff_sqlx::ToSqlx;
use sqlx::{PgConnection, PgExecutor};
use uuid::Uuid;

use crate::approval::Approval;

/// A request.
#[derive(Debug, Clone)]
pub struct Row {
    /// Its id.
    pub approval_id: Uuid,
    /// Kind, its number in the contract.
    pub kind: i16,
    /// Facility.
    pub facility_code: String,
    /// Member.
    pub member_id: Uuid,
    /// Day of service.
    pub service_date: Date,
    /// Kind of care, its number in the contract.
    pub care_type: i16,
    /// Why it is asked for.
    pub note: String,
    /// When.
    pub requested_at: Timestamp,
    /// When it was decided.
    pub decided_at: Option<Timestamp>,
    /// By whom.
    pub decided_by: String,
    /// How.
    pub approved: Option<bool>,
    /// Why.
    pub decision_note: String,
    /// Last day.
    pub valid_through: Option<Date>,
    /// The SEP that was issued by it.
    pub used_by: Option<String>,
}

/// A row of `sep_approval` as a query of this module reads it.
macro_rules! row {
    ($row:ident) => {
        Row {
            approval_id: $row.approval_id,
            kind: $row.kind,
            facility_code: $row.facility_code,
            member_id: $row.member_id,
            service_date: $row.service_date.to_jiff(),
            care_type: $row.care_type,
            note: $row.note,
            requested_at: $row.requested_at.to_jiff(),
            decided_at: $row.decided_at.map(|at| at.to_jiff()),
            decided_by: $row.decided_by,
            approved: $row.approved,
            decision_note: $row.decision_note,
            valid_through: $row.valid_through.map(|day| day.to_jiff()),
            used_by: $row.used_by,
        }
    };
}

/// Writes a request, undecided. False when one of this kind for this SEP is undecided already.
pub async fn ask(connection: &mut PgConnection, new: &Row) -> Result<bool, sqlx::Error> {
    let asked = sqlx::query!(
        "insert into sep_approval (approval_id, kind, facility_code, member_id, service_date, care_type, note, requested_at)
         values ($1, $2, $3, $4, $5, $6, $7, $8)
         on conflict (member_id, facility_code, service_date, care_type, kind) where decided_at is null do nothing",
        new.approval_id,
        new.kind,
        new.facility_code,
        new.member_id,
        new.service_date.to_sqlx(),
        new.care_type,
        new.note,
        new.requested_at.to_sqlx(),
    )
    .execute(connection)
    .await?;
    Ok(asked.rows_affected() == 1)
}

/// The requests made for a SEP, oldest first.
pub async fn made_for(
    executor: impl PgExecutor<'_>,
    member_id: Uuid,
    facility_code: &str,
    service_date: Date,
    care_type: i16,
) -> Result<Vec<Approval>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"select approval_id, kind, approved, valid_through, used_by is not null as "used!" from sep_approval
           where member_id = $1 and facility_code = $2 and service_date = $3 and care_type = $4
           order by approval_id"#,
        member_id,
        facility_code,
        service_date.to_sqlx(),
        care_type,
    )
    .fetch_all(executor)
    .await?;
    let approvals = rows.into_iter().map(|row| Approval {
        id: row.approval_id,
        kind: row.kind,
        approved: row.approved,
        valid_through: row.valid_through.map(|day| day.to_jiff()),
        used: row.used,
    });
    Ok(approvals.collect())
}

/// A request; of one facility only when one is given.
pub async fn get(
    executor: impl PgExecutor<'_>,
    approval_id: Uuid,
    facility_code: Option<&str>,
) -> Result<Option<Row>, sqlx::Error> {
    let row = sqlx::query!(
        "select approval_id, kind, facility_code, member_id, service_date, care_type, note, requested_at, decided_at,
                decided_by, approved, decision_note, valid_through, used_by
         from sep_approval where approval_id = $1 and ($2::text is null or facility_code = $2)",
        approval_id,
        facility_code,
    )
    .fetch_optional(executor)
    .await?;
    Ok(row.map(|row| row!(row)))
}

/// A request, held against changes until the transaction ends.
pub async fn lock(connection: &mut PgConnection, approval_id: Uuid) -> Result<Option<Row>, sqlx::Error> {
    sqlx::query!("select 1 as one from sep_approval where approval_id = $1 for update", approval_id)
        .fetch_optional(&mut *connection)
        .await?;
    get(connection, approval_id, None).await
}

/// Writes the decision on a request that is locked.
pub async fn decide(connection: &mut PgConnection, row: &Row) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update sep_approval
         set decided_at = $2, decided_by = $3, approved = $4, decision_note = $5, valid_through = $6
         where approval_id = $1",
        row.approval_id,
        row.decided_at.map(ToSqlx::to_sqlx) as Option<jiff_sqlx::Timestamp>,
        row.decided_by,
        row.approved,
        row.decision_note,
        row.valid_through.map(ToSqlx::to_sqlx) as Option<jiff_sqlx::Date>,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Marks approvals as used by a SEP. False when one of them is used already.
pub async fn take(
    connection: &mut PgConnection,
    approval_ids: &[Uuid],
    sep_number: &str,
) -> Result<bool, sqlx::Error> {
    let taken = sqlx::query!(
        "update sep_approval set used_by = $2 where approval_id = any($1) and used_by is null",
        approval_ids,
        sep_number,
    )
    .execute(connection)
    .await?;
    Ok(usize::try_from(taken.rows_affected()) == Ok(approval_ids.len()))
}

/// Frees the approvals by which a SEP was issued.
pub async fn release(connection: &mut PgConnection, sep_number: &str) -> Result<(), sqlx::Error> {
    sqlx::query!("update sep_approval set used_by = null where used_by = $1", sep_number)
        .execute(connection)
        .await?;
    Ok(())
}

/// What a list of requests is narrowed to.
#[derive(Debug, Default)]
pub struct Filter {
    /// Facility.
    pub facility_code: Option<String>,
    /// State, its number in the contract.
    pub state: Option<i16>,
    /// Kind.
    pub kind: Option<i16>,
    /// First day of service.
    pub from: Option<Date>,
    /// Last day of service.
    pub to: Option<Date>,
    /// Id of the last row of the page before.
    pub after: Option<Uuid>,
    /// Most rows.
    pub limit: i64,
}

/// Requests in the order in which they were made.
pub async fn list(executor: impl PgExecutor<'_>, filter: &Filter) -> Result<Vec<Row>, sqlx::Error> {
    let rows = sqlx::query!(
        "select approval_id, kind, facility_code, member_id, service_date, care_type, note, requested_at, decided_at,
                decided_by, approved, decision_note, valid_through, used_by
         from sep_approval
         where ($1::text is null or facility_code = $1)
           and ($2::smallint is null
                or $2 = case when used_by is not null then 4 when approved then 2 when not approved then 3 else 1 end)
           and ($3::smallint is null or kind = $3)
           and ($4::date is null or service_date >= $4)
           and ($5::date is null or service_date <= $5)
           and ($6::uuid is null or approval_id > $6)
         order by approval_id limit $7",
        filter.facility_code,
        filter.state,
        filter.kind,
        filter.from.map(ToSqlx::to_sqlx) as Option<jiff_sqlx::Date>,
        filter.to.map(ToSqlx::to_sqlx) as Option<jiff_sqlx::Date>,
        filter.after,
        filter.limit,
    )
    .fetch_all(executor)
    .await?;
    Ok(rows.into_iter().map(|row| row!(row)).collect())
}

/// Notes a validated fingerprint, and tells when it was first noted.
pub async fn note_fingerprint(
    connection: &mut PgConnection,
    member_id: Uuid,
    facility_code: &str,
    service_date: Date,
    at: Timestamp,
) -> Result<Timestamp, sqlx::Error> {
    let first = sqlx::query_scalar!(
        "insert into fingerprint as f (member_id, facility_code, service_date, recorded_at) values ($1, $2, $3, $4)
         on conflict (member_id, facility_code, service_date) do update set recorded_at = f.recorded_at
         returning recorded_at",
        member_id,
        facility_code,
        service_date.to_sqlx(),
        at.to_sqlx(),
    )
    .fetch_one(connection)
    .await?;
    Ok(first.to_jiff())
}

/// When a member's fingerprint was first validated on a day; at one facility only when one is given.
pub async fn fingerprint(
    executor: impl PgExecutor<'_>,
    member_id: Uuid,
    facility_code: Option<&str>,
    service_date: Date,
) -> Result<Option<Timestamp>, sqlx::Error> {
    let first = sqlx::query_scalar!(
        "select min(recorded_at) from fingerprint
         where member_id = $1 and ($2::text is null or facility_code = $2) and service_date = $3",
        member_id,
        facility_code,
        service_date.to_sqlx(),
    )
    .fetch_one(executor)
    .await?;
    Ok(first.map(|at| at.to_jiff()))
}
