//! Activated sets of rules, and what the tracers said.

use jiff::{Timestamp, civil::Date};
use jiff_sqlx::ToSqlx;
use sqlx::{PgConnection, PgExecutor};
use uuid::Uuid;

/// The activations that hold on a day of service, at most one of each kind.
pub async fn holding(executor: impl PgExecutor<'_>, on: Date) -> Result<Vec<i64>, sqlx::Error> {
    sqlx::query_scalar!(
        "select distinct on (kind) activation_id from rule_set_activation
         where effective_from <= $1 order by kind, activation_id desc",
        on.to_sqlx(),
    )
    .fetch_all(executor)
    .await
}

/// An act of activation, without the text of its set.
#[derive(Debug)]
pub struct Activation {
    /// Number.
    pub activation_id: i64,
    /// Kind of the set.
    pub kind: i16,
    /// Version of the set.
    pub version: String,
    /// SHA-256 of its text.
    pub digest: String,
    /// First day of service judged by it.
    pub effective_from: Date,
    /// When.
    pub activated_at: Timestamp,
    /// Who.
    pub activated_by: String,
    /// Why.
    pub note: String,
}

/// The acts of a kind, the latest first.
pub async fn activations(
    executor: impl PgExecutor<'_>,
    kind: i16,
    limit: i64,
) -> Result<Vec<Activation>, sqlx::Error> {
    let rows = sqlx::query!(
        "select activation_id, kind, version, digest, effective_from, activated_at, activated_by, note
         from rule_set_activation where kind = $1 order by activation_id desc limit $2",
        kind,
        limit,
    )
    .fetch_all(executor)
    .await?;
    let acts = rows.into_iter().map(|row| Activation {
        activation_id: row.activation_id,
        kind: row.kind,
        version: row.version,
        digest: row.digest,
        effective_from: row.effective_from.to_jiff(),
        activated_at: row.activated_at.to_jiff(),
        activated_by: row.activated_by,
        note: row.note,
    });
    Ok(acts.collect())
}

/// The text of an activated set.
pub async fn text(executor: impl PgExecutor<'_>, activation_id: i64) -> Result<Option<String>, sqlx::Error> {
    sqlx::query_scalar!("select rule_set from rule_set_activation where activation_id = $1", activation_id)
        .fetch_optional(executor)
        .await
}

/// The text that was activated under a version.
pub async fn text_of_version(
    executor: impl PgExecutor<'_>,
    kind: i16,
    version: &str,
) -> Result<Option<String>, sqlx::Error> {
    sqlx::query_scalar!(
        "select rule_set from rule_set_activation where kind = $1 and version = $2 limit 1",
        kind,
        version,
    )
    .fetch_optional(executor)
    .await
}

/// Keeps other activations waiting until the transaction ends: their numbers come in the order of their commits.
pub async fn one_at_a_time(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    sqlx::query!("lock table rule_set_activation in share row exclusive mode").execute(connection).await?;
    Ok(())
}

/// Writes an act of activation; its number, and its time as it is stored.
pub async fn activate(
    connection: &mut PgConnection,
    act: &Activation,
    text: &str,
) -> Result<(i64, Timestamp), sqlx::Error> {
    let row = sqlx::query!(
        "insert into rule_set_activation (kind, version, digest, effective_from, activated_at, activated_by, note, rule_set)
         values ($1, $2, $3, $4, $5, $6, $7, $8) returning activation_id, activated_at",
        act.kind,
        act.version,
        act.digest,
        act.effective_from.to_sqlx(),
        act.activated_at.to_sqlx(),
        act.activated_by,
        act.note,
        text,
    )
    .fetch_one(connection)
    .await?;
    Ok((row.activation_id, row.activated_at.to_jiff()))
}

/// Keeps the bill of a claim as one number; `None` when it is not told apart by it.
pub async fn keep_bill(
    connection: &mut PgConnection,
    claim_id: Uuid,
    bill: Option<i64>,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "with gone as (delete from claim_bill where claim_id = $1 and $2::bigint is null)
         insert into claim_bill (claim_id, facility_code, member_id, service_date, bill)
         select claim_id, facility_code, member_id, service_date, $2 from claim
         where claim_id = $1 and $2::bigint is not null
         on conflict (claim_id) do update set bill = excluded.bill",
        claim_id,
        bill,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// What a tracer said of a claim.
#[derive(Debug, Clone)]
pub struct TracerResult {
    /// The tracer.
    pub rule_id: String,
    /// Its version.
    pub rule_version: i32,
    /// 1 met, 2 unmet.
    pub outcome: i16,
}

/// When each of these tracers was first assessed: of every version of it, one look into an index.
pub async fn first_runs(
    executor: impl PgExecutor<'_>,
    rules: &[(String, i32)],
) -> Result<Vec<Option<Timestamp>>, sqlx::Error> {
    let ids: Vec<String> = rules.iter().map(|(id, _)| id.clone()).collect();
    let versions: Vec<i32> = rules.iter().map(|(_, version)| *version).collect();
    let rows = sqlx::query_scalar!(
        r#"select (select min(t.assessed_at) from claim_tracer t
                   where t.rule_id = w.rule_id and t.rule_version = w.rule_version) as "first: jiff_sqlx::Timestamp"
           from unnest($1::text[], $2::int[]) with ordinality as w (rule_id, rule_version, place) order by w.place"#,
        &ids,
        &versions,
    )
    .fetch_all(executor)
    .await?;
    Ok(rows.into_iter().map(|at| at.map(|at| at.to_jiff())).collect())
}

/// Submitted claims of a period of service, by day and id, after a place: their ids and days.
pub async fn submitted(
    executor: impl PgExecutor<'_>,
    (from, to): (Date, Date),
    after: (Date, Uuid),
    limit: i64,
) -> Result<Vec<(Uuid, Date)>, sqlx::Error> {
    let rows = sqlx::query!(
        "select claim_id, service_date from claim
         where submitted_at is not null and service_date between $1 and $2 and (service_date, claim_id) > ($3, $4)
         order by service_date, claim_id limit $5",
        from.to_sqlx(),
        to.to_sqlx(),
        after.0.to_sqlx(),
        after.1,
        limit,
    )
    .fetch_all(executor)
    .await?;
    Ok(rows.into_iter().map(|row| (row.claim_id, row.service_date.to_jiff())).collect())
}

/// How many claims of a period of service were submitted, counted up to a limit.
pub async fn count_submitted(
    executor: impl PgExecutor<'_>,
    (from, to): (Date, Date),
    limit: i64,
) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar!(
        r#"select count(*) as "claims!" from (
               select 1 as one from claim
               where submitted_at is not null and service_date between $1 and $2 limit $3) counted"#,
        from.to_sqlx(),
        to.to_sqlx(),
        limit,
    )
    .fetch_one(executor)
    .await
}
