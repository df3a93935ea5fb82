//! Detailed audits, their findings, and what is recovered after them.

use jiff::{Timestamp, civil::Date};
use jiff_sqlx::ToSqlx;
use sqlx::{PgConnection, PgExecutor};
use uuid::Uuid;

/// An audit as it is stored.
#[derive(Debug, Clone)]
pub struct Row {
    /// Id.
    pub audit_id: Uuid,
    /// Frame.
    pub frame_id: Uuid,
    /// Place in the sample.
    pub place: i32,
    /// Quarter of the frame.
    pub quarter: String,
    /// Claim.
    pub claim_id: Uuid,
    /// SEP.
    pub sep_number: String,
    /// Facility.
    pub facility_code: String,
    /// What was paid for the claim.
    pub paid_rupiah: i64,
    /// State.
    pub state: i16,
    /// When it was drawn.
    pub registered_at: Timestamp,
    /// When an auditor began.
    pub review_begun_at: Option<Timestamp>,
    /// Who began; empty before.
    pub reviewed_by: String,
    /// Findings so far.
    pub findings: i32,
    /// Verdict.
    pub verdict: Option<i16>,
    /// Conclusion; empty before it is done.
    pub conclusion: String,
    /// Protocol that was followed; empty before it is done.
    pub protocol_version: String,
    /// What is to be recovered.
    pub recovery_rupiah: i64,
    /// When it was closed.
    pub closed_at: Option<Timestamp>,
    /// On which day.
    pub closed_on: Option<Date>,
    /// Who closed it; empty before.
    pub closed_by: String,
}

macro_rules! audit {
    ($row:expr) => {{
        let row = $row;
        Row {
            audit_id: row.audit_id,
            frame_id: row.frame_id,
            place: row.place,
            quarter: row.quarter,
            claim_id: row.claim_id,
            sep_number: row.sep_number,
            facility_code: row.facility_code,
            paid_rupiah: row.paid_rupiah,
            state: row.state,
            registered_at: row.registered_at.to_jiff(),
            review_begun_at: row.review_begun_at.map(|at| at.to_jiff()),
            reviewed_by: row.reviewed_by,
            findings: row.findings,
            verdict: row.verdict,
            conclusion: row.conclusion,
            protocol_version: row.protocol_version,
            recovery_rupiah: row.recovery_rupiah,
            closed_at: row.closed_at.map(|at| at.to_jiff()),
            closed_on: row.closed_on.map(|day| day.to_jiff()),
            closed_by: row.closed_by,
        }
    }};
}

/// Opens an audit of each claim in the sample of a frame, and gives how many they are.
pub async fn register(
    connection: &mut PgConnection,
    frame_id: Uuid,
    ids: &[Uuid],
    at: Timestamp,
) -> Result<u64, sqlx::Error> {
    let done = sqlx::query!(
        "insert into audit (audit_id, frame_id, place, quarter, claim_id, sep_number, facility_code, paid_rupiah, state,
                            registered_at)
         select i.audit_id, s.frame_id, s.place, f.quarter, c.claim_id, c.sep_number, c.facility_code,
                coalesce(c.paid_rupiah, c.approved_rupiah, 0), 1, $3
         from unnest($2::uuid[]) with ordinality as i (audit_id, place)
         join audit_sample s on s.frame_id = $1 and s.place = i.place
         join audit_frame f on f.frame_id = s.frame_id
         join audit_frame_row r on r.frame_id = s.frame_id and r.key = s.key
         join claim c on c.claim_id = r.claim_id",
        frame_id,
        ids,
        at.to_sqlx(),
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected())
}

/// An audit; of one facility only when one is given.
pub async fn get(
    executor: impl PgExecutor<'_>,
    audit_id: Uuid,
    facility_code: Option<&str>,
) -> Result<Option<Row>, sqlx::Error> {
    let row = sqlx::query!(
        "select audit_id, frame_id, place, quarter, claim_id, sep_number, facility_code, paid_rupiah, state, registered_at,
                review_begun_at, reviewed_by, findings, verdict, conclusion, protocol_version, recovery_rupiah, closed_at,
                closed_on, closed_by
         from audit where audit_id = $1 and ($2::text is null or facility_code = $2)",
        audit_id,
        facility_code,
    )
    .fetch_optional(executor)
    .await?;
    Ok(row.map(|row| audit!(row)))
}

/// An audit, held against changes until the transaction ends.
pub async fn lock(connection: &mut PgConnection, audit_id: Uuid) -> Result<Option<Row>, sqlx::Error> {
    let row = sqlx::query!(
        "select audit_id, frame_id, place, quarter, claim_id, sep_number, facility_code, paid_rupiah, state, registered_at,
                review_begun_at, reviewed_by, findings, verdict, conclusion, protocol_version, recovery_rupiah, closed_at,
                closed_on, closed_by
         from audit where audit_id = $1 for update",
        audit_id,
    )
    .fetch_optional(connection)
    .await?;
    Ok(row.map(|row| audit!(row)))
}

/// Writes what a step changed.
pub async fn save(connection: &mut PgConnection, audit: &Row) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update audit set state = $2, review_begun_at = $3, reviewed_by = $4, findings = $5, verdict = $6, conclusion = $7,
                          protocol_version = $8, recovery_rupiah = $9, closed_at = $10, closed_on = $11, closed_by = $12
         where audit_id = $1",
        audit.audit_id,
        audit.state,
        audit.review_begun_at.map(ToSqlx::to_sqlx) as Option<jiff_sqlx::Timestamp>,
        audit.reviewed_by,
        audit.findings,
        audit.verdict,
        audit.conclusion,
        audit.protocol_version,
        audit.recovery_rupiah,
        audit.closed_at.map(ToSqlx::to_sqlx) as Option<jiff_sqlx::Timestamp>,
        audit.closed_on.map(ToSqlx::to_sqlx) as Option<jiff_sqlx::Date>,
        audit.closed_by,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// What a list of audits is narrowed to.
#[derive(Debug, Default)]
pub struct Filter {
    /// Facility.
    pub facility_code: Option<String>,
    /// Frame.
    pub frame_id: Option<Uuid>,
    /// Claim.
    pub claim_id: Option<Uuid>,
    /// State.
    pub state: Option<i16>,
    /// Verdict.
    pub verdict: Option<i16>,
    /// Id of the last row of the page before.
    pub after: Option<Uuid>,
    /// Most rows.
    pub limit: i64,
}

/// Audits by id.
pub async fn list(executor: impl PgExecutor<'_>, filter: &Filter) -> Result<Vec<Row>, sqlx::Error> {
    let rows = sqlx::query!(
        "select audit_id, frame_id, place, quarter, claim_id, sep_number, facility_code, paid_rupiah, state, registered_at,
                review_begun_at, reviewed_by, findings, verdict, conclusion, protocol_version, recovery_rupiah, closed_at,
                closed_on, closed_by
         from audit
         where ($1::text is null or facility_code = $1)
           and ($2::uuid is null or frame_id = $2)
           and ($3::uuid is null or claim_id = $3)
           and ($4::smallint is null or state = $4)
           and ($5::smallint is null or verdict = $5)
           and ($6::uuid is null or audit_id > $6)
         order by audit_id limit $7",
        filter.facility_code,
        filter.frame_id,
        filter.claim_id,
        filter.state,
        filter.verdict,
        filter.after,
        filter.limit,
    )
    .fetch_all(executor)
    .await?;
    Ok(rows.into_iter().map(|row| audit!(row)).collect())
}

/// A finding.
#[derive(Debug, Clone)]
pub struct Finding {
    /// Number, from 1.
    pub number: i32,
    /// Kind.
    pub kind: i16,
    /// In words.
    pub detail: String,
    /// What it makes.
    pub amount_rupiah: i64,
    /// When it was recorded.
    pub recorded_at: Timestamp,
    /// By whom.
    pub recorded_by: String,
}

/// Writes a finding.
pub async fn find(
    connection: &mut PgConnection,
    audit_id: Uuid,
    finding: &Finding,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "insert into audit_finding (audit_id, number, kind, detail, amount_rupiah, recorded_at, recorded_by)
         values ($1, $2, $3, $4, $5, $6, $7)",
        audit_id,
        finding.number,
        finding.kind,
        finding.detail,
        finding.amount_rupiah,
        finding.recorded_at.to_sqlx(),
        finding.recorded_by,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// The findings of an audit by number.
pub async fn findings(executor: impl PgExecutor<'_>, audit_id: Uuid) -> Result<Vec<Finding>, sqlx::Error> {
    let rows = sqlx::query!(
        "select number, kind, detail, amount_rupiah, recorded_at, recorded_by
         from audit_finding where audit_id = $1 order by number",
        audit_id,
    )
    .fetch_all(executor)
    .await?;
    let findings = rows.into_iter().map(|row| Finding {
        number: row.number,
        kind: row.kind,
        detail: row.detail,
        amount_rupiah: row.amount_rupiah,
        recorded_at: row.recorded_at.to_jiff(),
        recorded_by: row.recorded_by,
    });
    Ok(findings.collect())
}

/// Audits of one day of closing, protocol and verdict.
#[derive(Debug)]
pub struct Closed {
    /// Day.
    pub on: Date,
    /// Protocol.
    pub protocol: String,
    /// Verdict.
    pub verdict: i16,
    /// Distinct claims.
    pub claims: i64,
    /// Sum to be recovered.
    pub recovery_rupiah: i64,
}

/// The audits closed from a day to another, both included.
pub async fn closed(executor: impl PgExecutor<'_>, from: Date, to: Date) -> Result<Vec<Closed>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"select closed_on as "on!", protocol_version, verdict as "verdict!", count(distinct claim_id) as "claims!",
                  coalesce(sum(recovery_rupiah), 0)::bigint as "recovery_rupiah!"
           from audit where closed_on between $1 and $2
           group by closed_on, protocol_version, verdict order by closed_on, protocol_version, verdict"#,
        from.to_sqlx(),
        to.to_sqlx(),
    )
    .fetch_all(executor)
    .await?;
    let closed = rows.into_iter().map(|row| Closed {
        on: row.on.to_jiff(),
        protocol: row.protocol_version,
        verdict: row.verdict,
        claims: row.claims,
        recovery_rupiah: row.recovery_rupiah,
    });
    Ok(closed.collect())
}

/// What a hospital owes after an audit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recovery {
    /// Audit.
    pub audit_id: Uuid,
    /// Claim.
    pub claim_id: Uuid,
    /// Facility.
    pub facility_code: String,
    /// Verdict.
    pub verdict: i16,
    /// Amount.
    pub amount_rupiah: i64,
    /// Day of recording.
    pub recorded_on: Date,
}

/// Writes what is to be recovered.
pub async fn recover(
    connection: &mut PgConnection,
    recovery: &Recovery,
    at: Timestamp,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "insert into audit_recovery (audit_id, claim_id, facility_code, verdict, amount_rupiah, recorded_at, recorded_on)
         values ($1, $2, $3, $4, $5, $6, $7)",
        recovery.audit_id,
        recovery.claim_id,
        recovery.facility_code,
        recovery.verdict,
        recovery.amount_rupiah,
        at.to_sqlx(),
        recovery.recorded_on.to_sqlx(),
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// What is to be recovered, by audit; from one facility only when one is given.
pub async fn recoveries(
    executor: impl PgExecutor<'_>,
    facility_code: Option<&str>,
    after: Option<Uuid>,
    limit: i64,
) -> Result<Vec<Recovery>, sqlx::Error> {
    let rows = sqlx::query!(
        "select audit_id, claim_id, facility_code, verdict, amount_rupiah, recorded_on
         from audit_recovery
         where ($1::text is null or facility_code = $1) and ($2::uuid is null or audit_id > $2)
         order by audit_id limit $3",
        facility_code,
        after,
        limit,
    )
    .fetch_all(executor)
    .await?;
    let recoveries = rows.into_iter().map(|row| Recovery {
        audit_id: row.audit_id,
        claim_id: row.claim_id,
        facility_code: row.facility_code,
        verdict: row.verdict,
        amount_rupiah: row.amount_rupiah,
        recorded_on: row.recorded_on.to_jiff(),
    });
    Ok(recoveries.collect())
}
