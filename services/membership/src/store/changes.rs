//! What has changed since the database was looked at before.

use sqlx::PgExecutor;
use uuid::Uuid;
use vocabulary::Masked;

/// What was committed between two looks.
pub(crate) struct Changes {
    /// The families of which anything changed.
    pub(crate) families: Vec<Uuid>,
    /// The NIKs of their members now.
    pub(crate) niks: Vec<Masked<String>>,
    /// What this look has seen: the next one tells what was committed after it.
    pub(crate) seen: String,
}

/// What a look sees now.
pub(crate) async fn snapshot(executor: impl PgExecutor<'_>) -> sqlx::Result<String> {
    sqlx::query_scalar!(r#"select pg_current_snapshot()::text as "seen!""#).fetch_one(executor).await
}

/// What was committed since a look, by whomever. A transaction that was under way then and commits late is told of when
/// it has committed: a look is not a point in time but a set of transactions that were complete.
pub(crate) async fn changes(executor: impl PgExecutor<'_>, seen: &str) -> sqlx::Result<Changes> {
    let row = sqlx::query!(
        r#"with changed as materialized (
               select family_id from family
                where changed_xid >= pg_snapshot_xmin($1::text::pg_snapshot)
                  -- Greater ones are of another server, from which the data was copied.
                  and changed_xid < pg_snapshot_xmax(pg_current_snapshot())
                  and not pg_visible_in_snapshot(changed_xid, $1::text::pg_snapshot)
           )
           select array(select family_id from changed) as "families!",
                  array(select nik from member where family_id = any(array(select family_id from changed))) as "niks!",
                  pg_current_snapshot()::text as "seen!""#,
        seen,
    )
    .fetch_one(executor)
    .await?;
    Ok(Changes {
        families: row.families,
        niks: row.niks.into_iter().map(Masked::new).collect(),
        seen: row.seen,
    })
}
