//! Disputes.

use jiff::Timestamp;
use jiff_sqlx::ToSqlx;
use sqlx::{PgConnection, PgExecutor};
use uuid::Uuid;

/// A dispute as it is stored.
#[derive(Debug, Clone)]
pub struct Row {
    /// Id.
    pub dispute_id: Uuid,
    /// Claim.
    pub claim_id: Uuid,
    /// Which of the claim.
    pub number: i32,
    /// Facility.
    pub facility_code: String,
    /// Round that is disputed.
    pub round: i32,
    /// Ground.
    pub ground: i16,
    /// Who decides.
    pub body: i16,
    /// Amount claimed.
    pub amount_rupiah: i64,
    /// When it was opened.
    pub opened_at: Timestamp,
    /// Statement and documents, encoded.
    pub statement: Vec<u8>,
    /// Outcome.
    pub outcome: Option<i16>,
    /// When it was decided.
    pub decided_at: Option<Timestamp>,
    /// By whom.
    pub decided_by: Option<String>,
    /// Decision, encoded.
    pub decision: Option<Vec<u8>>,
    /// Day of service of the claim.
    pub service_date: jiff::civil::Date,
}

macro_rules! row {
    ($row:expr) => {{
        let row = $row;
        Row {
            dispute_id: row.dispute_id,
            claim_id: row.claim_id,
            number: row.number,
            facility_code: row.facility_code,
            round: row.round,
            ground: row.ground,
            body: row.body,
            amount_rupiah: row.amount_rupiah,
            opened_at: row.opened_at.to_jiff(),
            statement: row.statement,
            outcome: row.outcome,
            decided_at: row.decided_at.map(|at| at.to_jiff()),
            decided_by: row.decided_by,
            decision: row.decision,
            service_date: row.service_date.to_jiff(),
        }
    }};
}

/// How often a claim was disputed.
pub async fn count(connection: &mut PgConnection, claim_id: Uuid) -> Result<i32, sqlx::Error> {
    sqlx::query_scalar!(
        r#"select count(*)::integer as "count!" from claim_dispute where claim_id = $1"#,
        claim_id
    )
    .fetch_one(connection)
    .await
}

/// Writes a new dispute.
pub async fn open(connection: &mut PgConnection, dispute: &Row) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "insert into claim_dispute (dispute_id, claim_id, number, facility_code, round, ground, body, amount_rupiah,
                                    opened_at, statement)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
        dispute.dispute_id,
        dispute.claim_id,
        dispute.number,
        dispute.facility_code,
        dispute.round,
        dispute.ground,
        dispute.body,
        dispute.amount_rupiah,
        dispute.opened_at.to_sqlx(),
        dispute.statement,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Writes the decision of a dispute, or its withdrawal.
pub async fn decide(connection: &mut PgConnection, dispute: &Row) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update claim_dispute set outcome = $2, decided_at = $3, decided_by = $4, decision = $5 where dispute_id = $1",
        dispute.dispute_id,
        dispute.outcome,
        dispute.decided_at.map(ToSqlx::to_sqlx) as Option<jiff_sqlx::Timestamp>,
        dispute.decided_by,
        dispute.decision,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// A dispute; of one facility, or before one body only, when such is given.
pub async fn get(
    executor: impl PgExecutor<'_>,
    dispute_id: Uuid,
    facility_code: Option<&str>,
    body: Option<i16>,
) -> Result<Option<Row>, sqlx::Error> {
    let row = sqlx::query!(
        "select dispute_id, claim_id, number, claim_dispute.facility_code, claim_dispute.round, ground, body, amount_rupiah,
                opened_at, statement, outcome, decided_at, decided_by, decision, service_date
         from claim_dispute join claim using (claim_id)
         where dispute_id = $1 and ($2::text is null or claim_dispute.facility_code = $2)
           and ($3::smallint is null or body = $3)",
        dispute_id,
        facility_code,
        body,
    )
    .fetch_optional(executor)
    .await?;
    Ok(row.map(|row| row!(row)))
}

/// What a list of disputes is narrowed to.
#[derive(Debug, Default)]
pub struct Filter {
    /// Facility.
    pub facility_code: Option<String>,
    /// Body.
    pub body: Option<i16>,
    /// Only those that are open.
    pub only_open: bool,
    /// Claim.
    pub claim_id: Option<Uuid>,
    /// Id of the last row of the page before.
    pub after: Option<Uuid>,
    /// Most rows.
    pub limit: i64,
}

/// Disputes, oldest first.
pub async fn list(executor: impl PgExecutor<'_>, filter: &Filter) -> Result<Vec<Row>, sqlx::Error> {
    let rows = sqlx::query!(
        "select dispute_id, claim_id, number, claim_dispute.facility_code, claim_dispute.round, ground, body, amount_rupiah,
                opened_at, ''::bytea as \"statement!\", outcome, decided_at, decided_by, null::bytea as decision, service_date
         from claim_dispute join claim using (claim_id)
         where ($1::text is null or claim_dispute.facility_code = $1)
           and ($2::smallint is null or body = $2)
           and (not $3 or outcome is null)
           and ($4::uuid is null or claim_id = $4)
           and ($5::uuid is null or dispute_id > $5)
         order by dispute_id limit $6",
        filter.facility_code,
        filter.body,
        filter.only_open,
        filter.claim_id,
        filter.after,
        filter.limit,
    )
    .fetch_all(executor)
    .await?;
    Ok(rows.into_iter().map(|row| row!(row)).collect())
}
