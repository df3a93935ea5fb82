//! Payment batches and their lines.

use jiff::{Timestamp, civil::Date};
use jiff_sqlx::ToSqlx;
use sqlx::{PgConnection, PgExecutor};
use uuid::Uuid;

use crate::ledger::Totals;

/// A batch as it is stored.
#[derive(Debug, Clone)]
pub struct Row {
    /// Id.
    pub batch_id: Uuid,
    /// Facility.
    pub facility_code: String,
    /// Whether it is the payment of a single claim.
    pub single: bool,
    /// When it was opened.
    pub opened_at: Timestamp,
    /// When it was closed.
    pub closed_at: Option<Timestamp>,
    /// How many claims it holds, so far while it is open.
    pub claims: i64,
    /// What it comes to; while it is open the claims only.
    pub totals: Totals,
    /// Reference of the payment.
    pub payment_reference: Option<String>,
    /// Day of payment.
    pub paid_on: Option<Date>,
}

macro_rules! row {
    ($row:expr) => {{
        let row = $row;
        Row {
            batch_id: row.batch_id,
            facility_code: row.facility_code,
            single: row.single,
            opened_at: row.opened_at.to_jiff(),
            closed_at: row.closed_at.map(|at| at.to_jiff()),
            claims: row.claims,
            totals: Totals {
                claims: row.claims_rupiah,
                penalties: row.penalties_rupiah,
                offset: row.offset_rupiah,
                due: row.due_rupiah,
            },
            payment_reference: row.payment_reference,
            paid_on: row.paid_on.map(|day| day.to_jiff()),
        }
    }};
}

/// The open batch of a facility.
pub async fn open_of(
    connection: &mut PgConnection,
    facility_code: &str,
) -> Result<Option<Uuid>, sqlx::Error> {
    sqlx::query_scalar!(
        "select batch_id from payment_batch where facility_code = $1 and closed_at is null",
        facility_code,
    )
    .fetch_optional(connection)
    .await
}

/// Writes a new, open batch.
pub async fn open(connection: &mut PgConnection, batch: &Row, by: &str) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "insert into payment_batch (batch_id, facility_code, single, opened_at, opened_by) values ($1, $2, $3, $4, $5)",
        batch.batch_id,
        batch.facility_code,
        batch.single,
        batch.opened_at.to_sqlx() as jiff_sqlx::Timestamp,
        by,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Writes the payment of a single claim: a batch that is opened, closed and paid at once, and its line.
pub async fn single(
    connection: &mut PgConnection,
    batch: &Row,
    claim_id: Uuid,
    by: &str,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "with batch as (
             insert into payment_batch (batch_id, facility_code, single, opened_at, opened_by, closed_at, claims,
                                        claims_rupiah, penalties_rupiah, offset_rupiah, due_rupiah, payment_reference,
                                        paid_on, paid_rupiah)
             values ($1, $2, true, $3, $4, $3, 1, $5, 0, 0, $5, $6, $7, $5)
         )
         insert into payment_line (claim_id, batch_id, amount_rupiah, posted_at) values ($8, $1, $5, $3)",
        batch.batch_id,
        batch.facility_code,
        batch.opened_at.to_sqlx() as jiff_sqlx::Timestamp,
        by,
        batch.totals.due,
        batch.payment_reference,
        batch.paid_on.map(ToSqlx::to_sqlx) as Option<jiff_sqlx::Date>,
        claim_id,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// The batch that a claim is in.
pub async fn of_claim(connection: &mut PgConnection, claim_id: Uuid) -> Result<Option<Uuid>, sqlx::Error> {
    sqlx::query_scalar!("select batch_id from payment_line where claim_id = $1", claim_id)
        .fetch_optional(connection)
        .await
}

/// A batch; of one facility only when one is given.
pub async fn get(
    executor: impl PgExecutor<'_>,
    batch_id: Uuid,
    facility_code: Option<&str>,
) -> Result<Option<Row>, sqlx::Error> {
    let row = sqlx::query!(
        r#"select batch_id, facility_code, single, opened_at, closed_at,
                  coalesce(payment_batch.claims, held.claims) as "claims!", coalesce(claims_rupiah, held.rupiah) as "claims_rupiah!",
                  coalesce(penalties_rupiah, 0) as "penalties_rupiah!", coalesce(offset_rupiah, 0) as "offset_rupiah!",
                  coalesce(due_rupiah, 0) as "due_rupiah!", payment_reference, paid_on
           from payment_batch
           cross join lateral (
               select count(*) as claims, coalesce(sum(amount_rupiah), 0)::bigint as rupiah
               from payment_line
               where payment_line.batch_id = payment_batch.batch_id and payment_batch.closed_at is null) held
           where batch_id = $1 and ($2::text is null or facility_code = $2)"#,
        batch_id,
        facility_code,
    )
    .fetch_optional(executor)
    .await?;
    Ok(row.map(|row| row!(row)))
}

/// Holds a batch against changes until the transaction ends.
pub async fn lock(connection: &mut PgConnection, batch_id: Uuid) -> Result<Option<Row>, sqlx::Error> {
    sqlx::query!("select batch_id from payment_batch where batch_id = $1 for update", batch_id)
        .fetch_optional(&mut *connection)
        .await?;
    get(connection, batch_id, None).await
}

/// Batches, oldest first. State: 1 open, 2 closed, 3 paid.
pub async fn list(
    executor: impl PgExecutor<'_>,
    facility_code: Option<&str>,
    state: Option<i16>,
    after: Option<Uuid>,
    limit: i64,
) -> Result<Vec<Row>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"select batch_id, facility_code, single, opened_at, closed_at,
                  coalesce(payment_batch.claims, held.claims) as "claims!", coalesce(claims_rupiah, held.rupiah) as "claims_rupiah!",
                  coalesce(penalties_rupiah, 0) as "penalties_rupiah!", coalesce(offset_rupiah, 0) as "offset_rupiah!",
                  coalesce(due_rupiah, 0) as "due_rupiah!", payment_reference, paid_on
           from payment_batch
           cross join lateral (
               select count(*) as claims, coalesce(sum(amount_rupiah), 0)::bigint as rupiah
               from payment_line
               where payment_line.batch_id = payment_batch.batch_id and payment_batch.closed_at is null) held
           where ($1::text is null or facility_code = $1)
             and ($2::smallint is null
                  or $2 = case when closed_at is null then 1 when paid_on is null then 2 else 3 end)
             and ($3::uuid is null or batch_id > $3)
           order by batch_id limit $4"#,
        facility_code,
        state,
        after,
        limit,
    )
    .fetch_all(executor)
    .await?;
    Ok(rows.into_iter().map(|row| row!(row)).collect())
}

/// What decides whether a claim may be posted, and when its payment was due.
#[derive(Debug)]
pub struct Claim {
    /// Id.
    pub claim_id: Uuid,
    /// SEP it cites.
    pub sep_number: String,
    /// Facility.
    pub facility_code: String,
    /// State.
    pub state: i16,
    /// Last round of pending.
    pub round: i32,
    /// Day of service of the SEP.
    pub service_date: Date,
    /// First submission.
    pub submitted_at: Option<Timestamp>,
    /// Amount approved.
    pub approved_rupiah: Option<i64>,
    /// The batch it is in.
    pub batch_id: Option<Uuid>,
    /// When it last came back from the hospital.
    pub came_back_at: Option<Timestamp>,
    /// When it was last filed.
    pub filed_at: Option<Timestamp>,
    /// What was stated of that filing.
    pub filing_outcome: Option<i16>,
    /// When.
    pub filing_stated_on: Option<Date>,
}

macro_rules! claims {
    ($which:literal, $by:expr, $connection:expr) => {{
        let rows = sqlx::query!(
            r#"select claim.claim_id, sep_number, facility_code, claim.state, claim.round, service_date, submitted_at,
                      approved_rupiah, payment_line.batch_id as "batch_id?",
                      (select max(answered_at) from claim_pending
                       where claim_pending.claim_id = claim.claim_id and claim_pending.asked_of = 1) as came_back_at,
                      filed.filed_at as "filed_at?", filed.outcome as "filing_outcome?", filed.stated_on as "filing_stated_on?"
               from claim
               left join payment_line on payment_line.claim_id = claim.claim_id
               left join lateral (
                   select filed_at, outcome, stated_on from filing_claim join filing using (filing_id)
                   where filing_claim.claim_id = claim.claim_id order by filed_at desc limit 1) filed on true
               where "# + $which + r#"
               order by claim.claim_id
               for update of claim"#,
            $by,
        )
        .fetch_all($connection)
        .await?;
        let claims = rows.into_iter().map(|row| Claim {
            claim_id: row.claim_id,
            sep_number: row.sep_number,
            facility_code: row.facility_code,
            state: row.state,
            round: row.round,
            service_date: row.service_date.to_jiff(),
            submitted_at: row.submitted_at.map(|at| at.to_jiff()),
            approved_rupiah: row.approved_rupiah,
            batch_id: row.batch_id,
            came_back_at: row.came_back_at.map(|at| at.to_jiff()),
            filed_at: row.filed_at.map(|at| at.to_jiff()),
            filing_outcome: row.filing_outcome,
            filing_stated_on: row.filing_stated_on.map(|day| day.to_jiff()),
        });
        Ok(claims.collect())
    }};
}

/// Claims by id, held against changes until the transaction ends.
pub async fn claims(connection: &mut PgConnection, ids: &[Uuid]) -> Result<Vec<Claim>, sqlx::Error> {
    claims!("claim.claim_id = any($1::uuid[])", ids, connection)
}

/// The claims of a batch, held against changes until the transaction ends.
pub async fn held(connection: &mut PgConnection, batch_id: Uuid) -> Result<Vec<Claim>, sqlx::Error> {
    claims!(
        "claim.claim_id in (select claim_id from payment_line where batch_id = $1::uuid)",
        batch_id,
        connection
    )
}

/// Posts claims to a batch.
pub async fn post(
    connection: &mut PgConnection,
    batch_id: Uuid,
    claims: &[(Uuid, i64)],
    at: Timestamp,
) -> Result<(), sqlx::Error> {
    let (ids, amounts): (Vec<_>, Vec<_>) = claims.iter().copied().unzip();
    sqlx::query!(
        "insert into payment_line (claim_id, batch_id, amount_rupiah, posted_at)
         select claim_id, $1, amount_rupiah, $4 from unnest($2::uuid[], $3::bigint[]) claims (claim_id, amount_rupiah)",
        batch_id,
        &ids,
        &amounts,
        at.to_sqlx() as jiff_sqlx::Timestamp,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// A line of a batch.
#[derive(Debug)]
pub struct Line {
    /// Claim.
    pub claim_id: Uuid,
    /// SEP it cites.
    pub sep_number: String,
    /// Amount.
    pub amount_rupiah: i64,
    /// When it was posted.
    pub posted_at: Timestamp,
    /// Day by which it was to be paid.
    pub due_on: Option<Date>,
    /// Penalty it earned.
    pub penalty_rupiah: i64,
    /// The batch that pays it.
    pub penalty_batch: Option<Uuid>,
}

/// The lines of a batch by claim.
pub async fn lines(
    executor: impl PgExecutor<'_>,
    batch_id: Uuid,
    after: Option<Uuid>,
    limit: i64,
) -> Result<Vec<Line>, sqlx::Error> {
    let rows = sqlx::query!(
        "select claim_id, sep_number, amount_rupiah, posted_at, due_on, penalty_rupiah, penalty_batch
         from payment_line join claim using (claim_id)
         where batch_id = $1 and ($2::uuid is null or claim_id > $2)
         order by claim_id limit $3",
        batch_id,
        after,
        limit,
    )
    .fetch_all(executor)
    .await?;
    let lines = rows.into_iter().map(|row| Line {
        claim_id: row.claim_id,
        sep_number: row.sep_number,
        amount_rupiah: row.amount_rupiah,
        posted_at: row.posted_at.to_jiff(),
        due_on: row.due_on.map(|day| day.to_jiff()),
        penalty_rupiah: row.penalty_rupiah,
        penalty_batch: row.penalty_batch,
    });
    Ok(lines.collect())
}

/// The penalties of a facility that no batch pays yet, held against changes: claims and amounts.
pub async fn penalties(
    connection: &mut PgConnection,
    facility_code: &str,
) -> Result<Vec<(Uuid, i64)>, sqlx::Error> {
    let rows = sqlx::query!(
        "select claim_id, penalty_rupiah from payment_line join payment_batch using (batch_id)
         where facility_code = $1 and penalty_rupiah > 0 and penalty_batch is null
         order by claim_id for update of payment_line",
        facility_code,
    )
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(|row| (row.claim_id, row.penalty_rupiah)).collect())
}

/// Closes a batch, which pays the penalties of these claims.
pub async fn close(
    connection: &mut PgConnection,
    batch: &Row,
    penalties: &[Uuid],
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "with paying as (update payment_line set penalty_batch = $1 where claim_id = any($8::uuid[]))
         update payment_batch set closed_at = $2, claims = $3, claims_rupiah = $4, penalties_rupiah = $5,
                                  offset_rupiah = $6, due_rupiah = $7
         where batch_id = $1",
        batch.batch_id,
        batch.closed_at.map(ToSqlx::to_sqlx) as Option<jiff_sqlx::Timestamp>,
        i32::try_from(batch.claims).unwrap_or(i32::MAX),
        batch.totals.claims,
        batch.totals.penalties,
        batch.totals.offset,
        batch.totals.due,
        penalties,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Writes the payment of a batch, and with it that of its claims, each as a step.
pub async fn pay(
    connection: &mut PgConnection,
    batch: &Row,
    paid: i16,
    at: Timestamp,
    by: &str,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update payment_batch set payment_reference = $2, paid_on = $3, paid_rupiah = due_rupiah where batch_id = $1",
        batch.batch_id,
        batch.payment_reference,
        batch.paid_on.map(ToSqlx::to_sqlx) as Option<jiff_sqlx::Date>,
    )
    .execute(&mut *connection)
    .await?;
    sqlx::query!(
        "with paid as (
             update claim set state = $2, steps = steps + 1, payment_reference = $3, paid_rupiah = approved_rupiah, paid_on = $4
             from payment_line
             where payment_line.claim_id = claim.claim_id and payment_line.batch_id = $1
             returning claim.claim_id, claim.steps
         )
         insert into claim_step (claim_id, step, state, taken_at, taken_by) select claim_id, steps, $2, $5, $6 from paid",
        batch.batch_id,
        paid,
        batch.payment_reference,
        batch.paid_on.map(ToSqlx::to_sqlx) as Option<jiff_sqlx::Date>,
        at.to_sqlx() as jiff_sqlx::Timestamp,
        by,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Writes when claims were due and what their lateness earned.
pub async fn judge(
    connection: &mut PgConnection,
    claims: &[(Uuid, Option<Date>, i64)],
) -> Result<(), sqlx::Error> {
    let ids: Vec<_> = claims.iter().map(|claim| claim.0).collect();
    let dues: Vec<_> = claims.iter().map(|claim| claim.1.map(ToSqlx::to_sqlx)).collect();
    let penalties: Vec<_> = claims.iter().map(|claim| claim.2).collect();
    sqlx::query!(
        "update payment_line set due_on = judged.due_on, penalty_rupiah = judged.penalty_rupiah
         from unnest($1::uuid[], $2::date[], $3::bigint[]) judged (claim_id, due_on, penalty_rupiah)
         where payment_line.claim_id = judged.claim_id",
        &ids,
        &dues as &[Option<jiff_sqlx::Date>],
        &penalties,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// What the lateness of a batch earned.
pub async fn earned(connection: &mut PgConnection, batch_id: Uuid) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar!(
        r#"select coalesce(sum(penalty_rupiah), 0)::bigint as "sum!" from payment_line where batch_id = $1"#,
        batch_id,
    )
    .fetch_one(connection)
    .await
}
