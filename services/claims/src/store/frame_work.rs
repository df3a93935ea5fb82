//! Work on frames that takes longer than a call.

use jiff::Timestamp;
use jiff_sqlx::ToSqlx;
use sqlx::{PgConnection, PgExecutor};
use uuid::Uuid;

/// Work on a frame as it is stored.
#[derive(Debug, Clone)]
pub struct Work {
    /// Frame.
    pub frame_id: Uuid,
    /// Kind of the frame.
    pub kind: i16,
    /// Quarter.
    pub quarter: String,
    /// Salt of its pseudonyms.
    pub salt: Vec<u8>,
    /// Who asked for the work.
    pub asked_by: String,
    /// When.
    pub asked_at: Timestamp,
    /// Source of the seed.
    pub seed_source: String,
    /// Instant of the seed.
    pub seed_at: Timestamp,
    /// The seed and when it was published, when a sample is drawn.
    pub seed: Option<(String, Timestamp)>,
    /// Stage.
    pub stage: i16,
    /// Rows that the stage has passed.
    pub rows_done: i64,
    /// Where the stage stands.
    pub place: serde_json::Value,
    /// Why it stopped.
    pub stopped: Option<i16>,
}

/// A row of `audit_frame_work` as a query of this module reads it.
macro_rules! work {
    ($row:ident) => {
        Work {
            frame_id: $row.frame_id,
            kind: $row.kind,
            quarter: $row.quarter,
            salt: $row.salt,
            asked_by: $row.asked_by,
            asked_at: $row.asked_at.to_jiff(),
            seed_source: $row.seed_source,
            seed_at: $row.seed_at.to_jiff(),
            seed: $row.seed.zip($row.seed_published_at.map(|at| at.to_jiff())),
            stage: $row.stage,
            rows_done: $row.rows_done,
            place: $row.place,
            stopped: $row.stopped,
        }
    };
}

/// Writes that a frame is to be built, or takes up what stopped; gives the frame. `None` when there is work on a frame of
/// this kind and quarter that did not stop, or a draw.
pub async fn build(connection: &mut PgConnection, new: &Work) -> Result<Option<Uuid>, sqlx::Error> {
    sqlx::query_scalar!(
        "insert into audit_frame_work as w (frame_id, kind, quarter, salt, asked_by, asked_at, seed_source, seed_at, stage, place)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
         on conflict (kind, quarter) do update
         set asked_by = excluded.asked_by, asked_at = excluded.asked_at, seed_source = excluded.seed_source,
             seed_at = excluded.seed_at, stopped = null
         where w.stopped is not null and w.seed is null
         returning frame_id",
        new.frame_id,
        new.kind,
        new.quarter,
        new.salt,
        new.asked_by,
        new.asked_at.to_sqlx(),
        new.seed_source,
        new.seed_at.to_sqlx(),
        new.stage,
        new.place,
    )
    .fetch_optional(connection)
    .await
}

/// Writes that a sample is to be drawn from a frame, from the beginning where that stopped. False when it is under way.
pub async fn draw(connection: &mut PgConnection, new: &Work) -> Result<bool, sqlx::Error> {
    let (seed, published_at) = new.seed.clone().unzip();
    let written = sqlx::query!(
        "insert into audit_frame_work as w (frame_id, kind, quarter, salt, asked_by, asked_at, seed_source, seed_at, seed,
                                            seed_published_at, stage, place)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
         on conflict (kind, quarter) do update
         set asked_by = excluded.asked_by, asked_at = excluded.asked_at, seed = excluded.seed,
             seed_published_at = excluded.seed_published_at, stage = excluded.stage, rows_done = 0,
             place = excluded.place, stopped = null
         where w.stopped is not null",
        new.frame_id,
        new.kind,
        new.quarter,
        new.salt,
        new.asked_by,
        new.asked_at.to_sqlx(),
        new.seed_source,
        new.seed_at.to_sqlx(),
        seed,
        published_at.map(ToSqlx::to_sqlx) as Option<jiff_sqlx::Timestamp>,
        new.stage,
        new.place,
    )
    .execute(connection)
    .await?;
    Ok(written.rows_affected() == 1)
}

/// The oldest work that goes on and that no other transaction holds; held by this one now.
pub async fn next(connection: &mut PgConnection) -> Result<Option<Work>, sqlx::Error> {
    let row = sqlx::query!(
        "select frame_id, kind, quarter, salt, asked_by, asked_at, seed_source, seed_at, seed, seed_published_at, stage,
                rows_done, place, stopped
         from audit_frame_work where stopped is null order by asked_at limit 1 for update skip locked",
    )
    .fetch_optional(connection)
    .await?;
    Ok(row.map(|row| work!(row)))
}

/// Work on a frame.
pub async fn get(executor: impl PgExecutor<'_>, frame_id: Uuid) -> Result<Option<Work>, sqlx::Error> {
    let row = sqlx::query!(
        "select frame_id, kind, quarter, salt, asked_by, asked_at, seed_source, seed_at, seed, seed_published_at, stage,
                rows_done, place, stopped
         from audit_frame_work where frame_id = $1",
        frame_id,
    )
    .fetch_optional(executor)
    .await?;
    Ok(row.map(|row| work!(row)))
}

/// The frame of this kind of a quarter on which there is work.
pub async fn of_quarter(
    connection: &mut PgConnection,
    kind: i16,
    quarter: &str,
) -> Result<Option<Uuid>, sqlx::Error> {
    sqlx::query_scalar!(
        "select frame_id from audit_frame_work where kind = $1 and quarter = $2",
        kind,
        quarter
    )
    .fetch_optional(connection)
    .await
}

/// Keeps where work stands that is held.
pub async fn keep(connection: &mut PgConnection, work: &Work) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update audit_frame_work set stage = $2, rows_done = $3, place = $4, stopped = $5 where frame_id = $1",
        work.frame_id,
        work.stage,
        work.rows_done,
        work.place,
        work.stopped,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Stops work.
pub async fn stop(executor: impl PgExecutor<'_>, frame_id: Uuid, why: i16) -> Result<(), sqlx::Error> {
    sqlx::query!("update audit_frame_work set stopped = $2 where frame_id = $1", frame_id, why)
        .execute(executor)
        .await?;
    Ok(())
}

/// Takes away work that goes on, for its end is written in this transaction.
pub async fn take(connection: &mut PgConnection, frame_id: Uuid) -> Result<Option<Work>, sqlx::Error> {
    let row = sqlx::query!(
        "delete from audit_frame_work where frame_id = $1 and stopped is null
         returning frame_id, kind, quarter, salt, asked_by, asked_at, seed_source, seed_at, seed, seed_published_at, stage,
                   rows_done, place, stopped",
        frame_id,
    )
    .fetch_optional(connection)
    .await?;
    Ok(row.map(|row| work!(row)))
}
