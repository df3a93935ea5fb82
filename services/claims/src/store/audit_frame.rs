//! Frames, their rows, and what was drawn from them.

use std::collections::BTreeMap;

use jiff::{Timestamp, civil::Date};
use jiff_sqlx::ToSqlx;
use sqlx::{PgConnection, PgExecutor};
use uuid::Uuid;

use crate::draw::{Counts, Drawn};

/// A frame as it is stored.
#[derive(Debug, Clone)]
pub struct Row {
    /// Id.
    pub frame_id: Uuid,
    /// Kind.
    pub kind: i16,
    /// Quarter.
    pub quarter: String,
    /// First day of the version of the policy.
    pub policy_from: Date,
    /// Rows to be drawn.
    pub sample_size: i64,
    /// Rows to be drawn from each stratum at least.
    pub stratum_minimum: i64,
    /// Rows.
    pub row_count: i64,
    /// Hash of its file.
    pub frame_hash: String,
    /// Salt of its pseudonyms.
    pub salt: Vec<u8>,
    /// When it was published.
    pub published_at: Timestamp,
    /// By whom.
    pub published_by: String,
    /// Source of the seed.
    pub seed_source: String,
    /// Instant of the seed.
    pub seed_at: Timestamp,
    /// What was drawn.
    pub draw: Option<Draw>,
}

/// What was drawn from a frame.
#[derive(Debug, Clone)]
pub struct Draw {
    /// Seed.
    pub seed: String,
    /// When it was published.
    pub seed_published_at: Timestamp,
    /// When it was drawn.
    pub drawn_at: Timestamp,
    /// By whom.
    pub drawn_by: String,
    /// Rows drawn.
    pub drawn: i64,
    /// Hash of the list.
    pub sample_hash: String,
}

macro_rules! frame {
    ($row:expr) => {{
        let row = $row;
        let seed = row.seed.zip(row.seed_published_at).zip(row.drawn_at);
        let drawn = row.drawn_by.zip(row.drawn).zip(row.sample_hash);
        Row {
            frame_id: row.frame_id,
            kind: row.kind,
            quarter: row.quarter,
            policy_from: row.policy_from.to_jiff(),
            sample_size: row.sample_size,
            stratum_minimum: row.stratum_minimum,
            row_count: row.row_count,
            frame_hash: row.frame_hash,
            salt: row.salt,
            published_at: row.published_at.to_jiff(),
            published_by: row.published_by,
            seed_source: row.seed_source,
            seed_at: row.seed_at.to_jiff(),
            draw: seed.zip(drawn).map(
                |(((seed, seed_published_at), drawn_at), ((drawn_by, drawn), sample_hash))| Draw {
                    seed,
                    seed_published_at: seed_published_at.to_jiff(),
                    drawn_at: drawn_at.to_jiff(),
                    drawn_by,
                    drawn,
                    sample_hash,
                },
            ),
        }
    }};
}

/// A settled claim, as far as its stratum depends on it.
#[derive(Debug)]
pub struct Settled {
    /// Claim.
    pub claim_id: Uuid,
    /// Facility.
    pub facility_code: String,
    /// When it became paid.
    pub paid_at: Timestamp,
    /// Coded episode.
    pub data: Option<Vec<u8>>,
    /// Grouping.
    pub grouping: Option<Vec<u8>>,
    /// The letter of its SEP.
    pub letter: Vec<u8>,
}

/// The period in which claims became paid, from an instant to before another.
#[derive(Debug, Clone, Copy)]
pub struct Period {
    /// From this instant.
    pub from: Timestamp,
    /// To before this one.
    pub before: Timestamp,
}

/// The next claims that became paid in a period, in the order of their payment.
pub async fn settled(
    connection: &mut PgConnection,
    period: Period,
    after: Option<(Timestamp, Uuid)>,
    limit: i64,
) -> Result<Vec<Settled>, sqlx::Error> {
    let (after_time, after_claim) = after.unwrap_or((period.from, Uuid::nil()));
    let rows = sqlx::query!(
        "select s.claim_id, s.taken_at, c.facility_code, c.data, c.grouping, p.letter
         from claim_step s join claim c using (claim_id) join sep p using (sep_number)
         where s.state = 9 and (s.taken_at, s.claim_id) > ($1, $2) and s.taken_at < $3
         order by s.taken_at, s.claim_id limit $4",
        after_time.to_sqlx(),
        after_claim,
        period.before.to_sqlx(),
        limit,
    )
    .fetch_all(connection)
    .await?;
    let settled = rows.into_iter().map(|row| Settled {
        claim_id: row.claim_id,
        facility_code: row.facility_code,
        paid_at: row.taken_at.to_jiff(),
        data: row.data,
        grouping: row.grouping,
        letter: row.letter,
    });
    Ok(settled.collect())
}

/// The next claims of a hospital that became paid in a period, in the order of their ids.
pub async fn claims_of(
    connection: &mut PgConnection,
    period: Period,
    facility_code: &str,
    after: Uuid,
    limit: i64,
) -> Result<Vec<Uuid>, sqlx::Error> {
    sqlx::query_scalar!(
        "select c.claim_id
         from claim c
         where c.facility_code = $3 and c.claim_id > $4
           and exists (select from claim_step s where s.claim_id = c.claim_id and s.state = 9
                       and s.taken_at >= $1 and s.taken_at < $2)
         order by c.claim_id limit $5",
        period.from.to_sqlx(),
        period.before.to_sqlx(),
        facility_code,
        after,
        limit,
    )
    .fetch_all(connection)
    .await
}

/// The frame of this kind of a quarter.
pub async fn of_quarter(
    executor: impl PgExecutor<'_>,
    kind: i16,
    quarter: &str,
) -> Result<Option<Uuid>, sqlx::Error> {
    sqlx::query_scalar!("select frame_id from audit_frame where kind = $1 and quarter = $2", kind, quarter)
        .fetch_optional(executor)
        .await
}

/// Rows of a frame to be written.
#[derive(Debug, Default)]
pub struct NewRows {
    /// Keys.
    pub keys: Vec<String>,
    /// Strata.
    pub strata: Vec<String>,
    /// The claims behind the keys.
    pub claims: Vec<Uuid>,
}

/// Writes rows of a frame.
pub async fn add_rows(
    connection: &mut PgConnection,
    frame_id: Uuid,
    rows: &NewRows,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "insert into audit_frame_row (frame_id, key, stratum, claim_id)
         select $1, r.key, r.stratum, r.claim_id from unnest($2::text[], $3::text[], $4::uuid[]) as r (key, stratum, claim_id)",
        frame_id,
        &rows.keys,
        &rows.strata,
        &rows.claims,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Writes rows of a frame that may stand there already; the stratum is then the new one.
pub async fn put_rows(
    connection: &mut PgConnection,
    frame_id: Uuid,
    rows: &BTreeMap<String, String>,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "insert into audit_frame_row (frame_id, key, stratum)
         select $1, r.key, r.stratum from unnest($2::text[], $3::text[]) as r (key, stratum)
         on conflict (frame_id, key) do update set stratum = excluded.stratum",
        frame_id,
        &rows.keys().cloned().collect::<Vec<_>>(),
        &rows.values().cloned().collect::<Vec<_>>(),
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// How many rows a frame has.
pub async fn count(connection: &mut PgConnection, frame_id: Uuid) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar!(r#"select count(*) as "count!" from audit_frame_row where frame_id = $1"#, frame_id)
        .fetch_one(connection)
        .await
}

/// The next rows of a frame, by key: key and stratum.
pub async fn rows(
    executor: impl PgExecutor<'_>,
    frame_id: Uuid,
    after: &str,
    limit: i64,
) -> Result<Vec<(String, String)>, sqlx::Error> {
    let rows = sqlx::query!(
        "select key, stratum from audit_frame_row where frame_id = $1 and key > $2 order by key limit $3",
        frame_id,
        after,
        limit,
    )
    .fetch_all(executor)
    .await?;
    Ok(rows.into_iter().map(|row| (row.key, row.stratum)).collect())
}

/// Writes a frame without a draw, and its strata.
pub async fn create(connection: &mut PgConnection, frame: &Row, sizes: &Counts) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "insert into audit_frame (frame_id, kind, quarter, policy_from, sample_size, stratum_minimum, row_count, frame_hash,
                                  salt, published_at, published_by, seed_source, seed_at)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)",
        frame.frame_id,
        frame.kind,
        frame.quarter,
        frame.policy_from.to_sqlx(),
        frame.sample_size,
        frame.stratum_minimum,
        frame.row_count,
        frame.frame_hash,
        frame.salt,
        frame.published_at.to_sqlx(),
        frame.published_by,
        frame.seed_source,
        frame.seed_at.to_sqlx(),
    )
    .execute(&mut *connection)
    .await?;
    let names: Vec<String> = sizes.keys().cloned().collect();
    let sizes: Vec<i64> = sizes.values().map(|size| i64::try_from(*size).unwrap_or(i64::MAX)).collect();
    sqlx::query!(
        "insert into audit_stratum (frame_id, name, size)
         select $1, s.name, s.size from unnest($2::text[], $3::bigint[]) as s (name, size)",
        frame.frame_id,
        &names,
        &sizes,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// A frame.
pub async fn get(executor: impl PgExecutor<'_>, frame_id: Uuid) -> Result<Option<Row>, sqlx::Error> {
    let row = sqlx::query!(
        "select frame_id, kind, quarter, policy_from, sample_size, stratum_minimum, row_count, frame_hash, salt,
                published_at, published_by, seed_source, seed_at, seed, seed_published_at, drawn_at, drawn_by, drawn,
                sample_hash
         from audit_frame where frame_id = $1",
        frame_id,
    )
    .fetch_optional(executor)
    .await?;
    Ok(row.map(|row| frame!(row)))
}

/// A frame, held against changes until the transaction ends.
pub async fn lock(connection: &mut PgConnection, frame_id: Uuid) -> Result<Option<Row>, sqlx::Error> {
    let row = sqlx::query!(
        "select frame_id, kind, quarter, policy_from, sample_size, stratum_minimum, row_count, frame_hash, salt,
                published_at, published_by, seed_source, seed_at, seed, seed_published_at, drawn_at, drawn_by, drawn,
                sample_hash
         from audit_frame where frame_id = $1 for update",
        frame_id,
    )
    .fetch_optional(connection)
    .await?;
    Ok(row.map(|row| frame!(row)))
}

/// Frames by id.
pub async fn list(
    executor: impl PgExecutor<'_>,
    kind: Option<i16>,
    quarter: Option<&str>,
    after: Option<Uuid>,
    limit: i64,
) -> Result<Vec<Row>, sqlx::Error> {
    let rows = sqlx::query!(
        "select frame_id, kind, quarter, policy_from, sample_size, stratum_minimum, row_count, frame_hash, salt,
                published_at, published_by, seed_source, seed_at, seed, seed_published_at, drawn_at, drawn_by, drawn,
                sample_hash
         from audit_frame
         where ($1::smallint is null or kind = $1) and ($2::text is null or quarter = $2)
           and ($3::uuid is null or frame_id > $3)
         order by frame_id limit $4",
        kind,
        quarter,
        after,
        limit,
    )
    .fetch_all(executor)
    .await?;
    Ok(rows.into_iter().map(|row| frame!(row)).collect())
}

/// The strata of a frame by name: size, and rows drawn.
pub async fn strata(
    executor: impl PgExecutor<'_>,
    frame_id: Uuid,
) -> Result<Vec<(String, i64, i64)>, sqlx::Error> {
    let rows = sqlx::query!(
        "select name, size, drawn from audit_stratum where frame_id = $1 order by name",
        frame_id,
    )
    .fetch_all(executor)
    .await?;
    Ok(rows.into_iter().map(|row| (row.name, row.size, row.drawn)).collect())
}

/// Writes what was drawn from a frame: the rows in the order of the list, and how many of each stratum.
pub async fn keep_sample(
    connection: &mut PgConnection,
    frame_id: Uuid,
    draw: &Draw,
    sample: &[Drawn],
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update audit_frame set seed = $2, seed_published_at = $3, drawn_at = $4, drawn_by = $5, drawn = $6, sample_hash = $7
         where frame_id = $1",
        frame_id,
        draw.seed,
        draw.seed_published_at.to_sqlx(),
        draw.drawn_at.to_sqlx(),
        draw.drawn_by,
        draw.drawn,
        draw.sample_hash,
    )
    .execute(&mut *connection)
    .await?;
    let column = |of: fn(&Drawn) -> &String| sample.iter().map(|row| of(row).clone()).collect::<Vec<_>>();
    let number = |of: fn(&Drawn) -> u64| {
        sample.iter().map(|row| i64::try_from(of(row)).unwrap_or(i64::MAX)).collect::<Vec<_>>()
    };
    sqlx::query!(
        "insert into audit_sample (frame_id, place, key, stratum, stratum_size, stratum_drawn)
         select $1, s.place::integer, s.key, s.stratum, s.size, s.drawn
         from unnest($2::text[], $3::text[], $4::bigint[], $5::bigint[]) with ordinality
              as s (key, stratum, size, drawn, place)",
        frame_id,
        &column(|row| &row.key),
        &column(|row| &row.stratum),
        &number(|row| row.stratum_size),
        &number(|row| row.stratum_drawn),
    )
    .execute(&mut *connection)
    .await?;
    sqlx::query!(
        "update audit_stratum t set drawn = s.drawn
         from (select stratum, count(*) as drawn from audit_sample where frame_id = $1 group by stratum) s
         where t.frame_id = $1 and t.name = s.stratum",
        frame_id,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// The drawn rows in the order of the list.
pub async fn sample(executor: impl PgExecutor<'_>, frame_id: Uuid) -> Result<Vec<Drawn>, sqlx::Error> {
    let rows = sqlx::query!(
        "select key, stratum, stratum_size, stratum_drawn from audit_sample where frame_id = $1 order by place",
        frame_id,
    )
    .fetch_all(executor)
    .await?;
    let sample = rows.into_iter().map(|row| Drawn {
        key: row.key,
        stratum: row.stratum,
        stratum_size: row.stratum_size.unsigned_abs(),
        stratum_drawn: row.stratum_drawn.unsigned_abs(),
    });
    Ok(sample.collect())
}
