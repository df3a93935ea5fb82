//! Claims, their steps and their rounds of pending.

use jiff::{Timestamp, civil::Date};
use jiff_sqlx::ToSqlx;
use sqlx::{PgConnection, PgExecutor};
use uuid::Uuid;

/// A claim as it is stored.
#[derive(Debug, Clone)]
pub struct Row {
    /// Id.
    pub claim_id: Uuid,
    /// SEP it cites.
    pub sep_number: String,
    /// Facility.
    pub facility_code: String,
    /// Member.
    pub member_id: Uuid,
    /// Kind of care.
    pub care_type: i16,
    /// Day of service of the SEP.
    pub service_date: Date,
    /// State.
    pub state: i16,
    /// Steps taken.
    pub steps: i32,
    /// Coded episode.
    pub data: Option<Vec<u8>>,
    /// Last grouping.
    pub grouping: Option<Vec<u8>>,
    /// Tariff of the package.
    pub tariff_rupiah: Option<i64>,
    /// Day on which the service was completed.
    pub discharged_on: Option<Date>,
    /// First submission.
    pub submitted_at: Option<Timestamp>,
    /// Last round of pending.
    pub round: i32,
    /// Its reason.
    pub pending_reason: Option<i16>,
    /// Who is asked, while it is open.
    pub asked_of: Option<i16>,
    /// Since when, while it is open.
    pub asked_at: Option<Timestamp>,
    /// Amount approved.
    pub approved_rupiah: Option<i64>,
    /// Day of approval.
    pub approved_on: Option<Date>,
    /// Reference of the payment.
    pub payment_reference: Option<String>,
    /// Amount paid.
    pub paid_rupiah: Option<i64>,
    /// Day of payment.
    pub paid_on: Option<Date>,
    /// When it last came back from the hospital.
    pub came_back_at: Option<Timestamp>,
    /// When it was last filed.
    pub filed_at: Option<Timestamp>,
    /// What was stated of that filing.
    pub filing_outcome: Option<i16>,
    /// When.
    pub filing_stated_on: Option<Date>,
}

macro_rules! row {
    ($row:expr) => {{
        let row = $row;
        Row {
            claim_id: row.claim_id,
            sep_number: row.sep_number,
            facility_code: row.facility_code,
            member_id: row.member_id,
            care_type: row.care_type,
            service_date: row.service_date.to_jiff(),
            state: row.state,
            steps: row.steps,
            data: row.data,
            grouping: row.grouping,
            tariff_rupiah: row.tariff_rupiah,
            discharged_on: row.discharged_on.map(|day| day.to_jiff()),
            submitted_at: row.submitted_at.map(|at| at.to_jiff()),
            round: row.round,
            pending_reason: row.pending_reason,
            asked_of: row.asked_of,
            asked_at: row.asked_at.map(|at| at.to_jiff()),
            approved_rupiah: row.approved_rupiah,
            approved_on: row.approved_on.map(|day| day.to_jiff()),
            payment_reference: row.payment_reference,
            paid_rupiah: row.paid_rupiah,
            paid_on: row.paid_on.map(|day| day.to_jiff()),
            came_back_at: None,
            filed_at: None,
            filing_outcome: None,
            filing_stated_on: None,
        }
    }};
}

pub(super) use row;

macro_rules! settling {
    ($row:expr) => {{
        let row = $row;
        let came_back_at = row.came_back_at.map(|at| at.to_jiff());
        let filed_at = row.filed_at.map(|at| at.to_jiff());
        let filing_outcome = row.filing_outcome;
        let filing_stated_on = row.filing_stated_on.map(|day| day.to_jiff());
        Row { came_back_at, filed_at, filing_outcome, filing_stated_on, ..row!(row) }
    }};
}

/// A claim, with the letter of its SEP.
#[derive(Debug)]
pub struct WithLetter {
    /// The claim.
    pub claim: Row,
    /// Which version of the claim it is: another one after each change.
    pub version: String,
    /// The letter, encoded.
    pub letter: Vec<u8>,
}

/// Claims that exist, with their letters; in no order.
pub async fn with_letters(
    executor: impl PgExecutor<'_>,
    claim_ids: &[Uuid],
) -> Result<Vec<WithLetter>, sqlx::Error> {
    let rows = sqlx::query!(
        "select c.claim_id, c.sep_number, c.facility_code, c.member_id, c.care_type, c.service_date, c.state,
                c.steps, c.data, c.grouping, c.tariff_rupiah, c.discharged_on, c.submitted_at, c.round,
                c.pending_reason, c.asked_of, c.asked_at, c.approved_rupiah, c.approved_on,
                c.payment_reference, c.paid_rupiah, c.paid_on, c.xmin::text as \"version!\", s.letter
         from claim c join sep s on s.sep_number = c.sep_number
         where c.claim_id = any($1)",
        claim_ids,
    )
    .fetch_all(executor)
    .await?;
    let rows = rows.into_iter().map(|mut row| {
        let (letter, version) = (std::mem::take(&mut row.letter), std::mem::take(&mut row.version));
        WithLetter { claim: row!(row), version, letter }
    });
    Ok(rows.collect())
}

/// A step that was taken.
#[derive(Debug)]
pub struct Step {
    /// The state it led to.
    pub state: i16,
    /// When.
    pub taken_at: Timestamp,
    /// Who took it.
    pub taken_by: String,
}

/// A round of pending.
#[derive(Debug)]
pub struct Pending {
    /// The round.
    pub round: i32,
    /// Its question, encoded.
    pub question: Vec<u8>,
    /// When it was answered.
    pub answered_at: Option<Timestamp>,
    /// Its answer, encoded.
    pub answer: Option<Vec<u8>>,
}

/// The claim that cites a SEP, withdrawn ones apart: its id and state.
pub async fn of_sep(
    executor: impl PgExecutor<'_>,
    sep_number: &str,
) -> Result<Option<(Uuid, i16)>, sqlx::Error> {
    let row =
        sqlx::query!("select claim_id, state from claim where sep_number = $1 and state <> 10", sep_number)
            .fetch_optional(executor)
            .await?;
    Ok(row.map(|row| (row.claim_id, row.state)))
}

/// Writes a new claim and its first step, in one statement.
pub async fn create(connection: &mut PgConnection, claim: &Row, step: &Step) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "with created as (
             insert into claim (claim_id, sep_number, facility_code, member_id, care_type, service_date, state, steps, created_at)
             values ($1, $2, $3, $4, $5, $6, $7, 1, $8)
         )
         insert into claim_step (claim_id, step, state, taken_at, taken_by) values ($1, 1, $7, $8, $9)",
        claim.claim_id,
        claim.sep_number,
        claim.facility_code,
        claim.member_id,
        claim.care_type,
        claim.service_date.to_sqlx(),
        step.state,
        step.taken_at.to_sqlx(),
        step.taken_by,
    )
    .execute(connection)
    .await?;
    Ok(())
}

macro_rules! one {
    ($executor:expr, $claim_id:expr, $facility_code:expr, $how:literal) => {
        sqlx::query!(
            r#"select claim_id, sep_number, facility_code, member_id, care_type, service_date, state, steps, data, grouping,
                    tariff_rupiah, discharged_on, submitted_at, round, pending_reason, asked_of, asked_at, approved_rupiah,
                    approved_on, payment_reference, paid_rupiah, paid_on,
                    (select max(answered_at) from claim_pending
                     where claim_pending.claim_id = claim.claim_id and claim_pending.asked_of = 1) as came_back_at,
                    filed.filed_at as "filed_at?", filed.outcome as "filing_outcome?", filed.stated_on as "filing_stated_on?"
             from claim
             left join lateral (
                 select filed_at, outcome, stated_on from filing_claim join filing using (filing_id)
                 where filing_claim.claim_id = claim.claim_id order by filed_at desc limit 1) filed on true
             where claim_id = $1 and ($2::text is null or facility_code = $2)"# + $how,
            $claim_id,
            $facility_code,
        )
        .fetch_optional($executor)
        .await
        .map(|row| row.map(|row| settling!(row)))
    };
}

/// A claim; of one facility only when one is given.
pub async fn get(
    executor: impl PgExecutor<'_>,
    claim_id: Uuid,
    facility_code: Option<&str>,
) -> Result<Option<Row>, sqlx::Error> {
    one!(executor, claim_id, facility_code, "")
}

/// A claim, held against changes until the transaction ends.
pub async fn lock(
    connection: &mut PgConnection,
    claim_id: Uuid,
    facility_code: Option<&str>,
) -> Result<Option<Row>, sqlx::Error> {
    one!(connection, claim_id, facility_code, " for update of claim")
}

/// Writes what a step changed, and the step, in one statement.
pub async fn save(connection: &mut PgConnection, claim: &Row, step: &Step) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "with changed as (
             update claim set
                 state = $2, steps = $3, data = $4, grouping = $5, tariff_rupiah = $6, discharged_on = $7,
                 submitted_at = $8, round = $9, pending_reason = $10, asked_of = $11, asked_at = $12,
                 approved_rupiah = $13, approved_on = $14, payment_reference = $15, paid_rupiah = $16, paid_on = $17
             where claim_id = $1
         )
         insert into claim_step (claim_id, step, state, taken_at, taken_by) values ($1, $3, $2, $18, $19)",
        claim.claim_id,
        claim.state,
        claim.steps,
        claim.data,
        claim.grouping,
        claim.tariff_rupiah,
        claim.discharged_on.map(ToSqlx::to_sqlx) as Option<jiff_sqlx::Date>,
        claim.submitted_at.map(ToSqlx::to_sqlx) as Option<jiff_sqlx::Timestamp>,
        claim.round,
        claim.pending_reason,
        claim.asked_of,
        claim.asked_at.map(ToSqlx::to_sqlx) as Option<jiff_sqlx::Timestamp>,
        claim.approved_rupiah,
        claim.approved_on.map(ToSqlx::to_sqlx) as Option<jiff_sqlx::Date>,
        claim.payment_reference,
        claim.paid_rupiah,
        claim.paid_on.map(ToSqlx::to_sqlx) as Option<jiff_sqlx::Date>,
        step.taken_at.to_sqlx(),
        step.taken_by,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Keeps a grouping that leads to no step.
pub async fn keep_grouping(
    connection: &mut PgConnection,
    claim_id: Uuid,
    grouping: &[u8],
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update claim set grouping = $2, tariff_rupiah = null where claim_id = $1",
        claim_id,
        grouping
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Opens the round of pending that the claim names.
pub async fn ask(connection: &mut PgConnection, claim: &Row, question: &[u8]) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "insert into claim_pending (claim_id, round, reason, asked_of, asked_at, question)
         select claim_id, round, pending_reason, asked_of, asked_at, $2 from claim where claim_id = $1",
        claim.claim_id,
        question,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Closes a round of pending.
pub async fn answer(
    connection: &mut PgConnection,
    claim_id: Uuid,
    round: i32,
    at: Timestamp,
    answer: &[u8],
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update claim_pending set answered_at = $3, answer = $4 where claim_id = $1 and round = $2",
        claim_id,
        round,
        at.to_sqlx(),
        answer,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Opens a round of pending again as it was, and gives the time at which it was asked.
pub async fn reopen(
    connection: &mut PgConnection,
    claim_id: Uuid,
    round: i32,
) -> Result<Timestamp, sqlx::Error> {
    let asked_at = sqlx::query_scalar!(
        "update claim_pending set answered_at = null, answer = null where claim_id = $1 and round = $2 returning asked_at",
        claim_id,
        round,
    )
    .fetch_one(connection)
    .await?;
    Ok(asked_at.to_jiff())
}

/// The rounds of pending, oldest first; only open ones when asked so.
pub async fn pendings(
    executor: impl PgExecutor<'_>,
    claim_id: Uuid,
    only_open: bool,
) -> Result<Vec<Pending>, sqlx::Error> {
    let rows = sqlx::query!(
        "select round, question, answered_at, answer from claim_pending
         where claim_id = $1 and (answered_at is null or not $2) order by round",
        claim_id,
        only_open,
    )
    .fetch_all(executor)
    .await?;
    let rounds = rows.into_iter().map(|row| Pending {
        round: row.round,
        question: row.question,
        answered_at: row.answered_at.map(|at| at.to_jiff()),
        answer: row.answer,
    });
    Ok(rounds.collect())
}

/// The steps, oldest first.
pub async fn steps(executor: impl PgExecutor<'_>, claim_id: Uuid) -> Result<Vec<Step>, sqlx::Error> {
    let rows = sqlx::query!(
        "select state, taken_at, taken_by from claim_step where claim_id = $1 order by step",
        claim_id,
    )
    .fetch_all(executor)
    .await?;
    let steps = rows.into_iter().map(|row| Step {
        state: row.state,
        taken_at: row.taken_at.to_jiff(),
        taken_by: row.taken_by,
    });
    Ok(steps.collect())
}

/// What a list of claims is narrowed to.
#[derive(Debug, Default)]
pub struct Filter {
    /// Facility.
    pub facility_code: Option<String>,
    /// State.
    pub state: Option<i16>,
    /// Kind of care.
    pub care_type: Option<i16>,
    /// Submitted at this instant or later.
    pub submitted_from: Option<Timestamp>,
    /// Submitted before this instant.
    pub submitted_before: Option<Timestamp>,
    /// Reason of the last round of pending.
    pub pending_reason: Option<i16>,
    /// Id of the last row of the page before.
    pub after: Option<Uuid>,
    /// Most rows.
    pub limit: i64,
}

/// Claims by id.
pub async fn list(executor: impl PgExecutor<'_>, filter: &Filter) -> Result<Vec<Row>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"select claim_id, sep_number, facility_code, member_id, care_type, service_date, state, steps,
                  null::bytea as data, grouping, tariff_rupiah, discharged_on, submitted_at, round, pending_reason,
                  asked_of, asked_at, approved_rupiah, approved_on, payment_reference, paid_rupiah, paid_on,
                (select max(answered_at) from claim_pending
                 where claim_pending.claim_id = claim.claim_id and claim_pending.asked_of = 1) as came_back_at,
                filed.filed_at as "filed_at?", filed.outcome as "filing_outcome?", filed.stated_on as "filing_stated_on?"
           from claim
         left join lateral (
             select filed_at, outcome, stated_on from filing_claim join filing using (filing_id)
             where filing_claim.claim_id = claim.claim_id order by filed_at desc limit 1) filed on true
           where ($1::text is null or facility_code = $1)
             and ($2::smallint is null or state = $2)
             and ($3::smallint is null or care_type = $3)
             and ($4::timestamptz is null or submitted_at >= $4)
             and ($5::timestamptz is null or submitted_at < $5)
             and ($6::smallint is null or pending_reason = $6)
             and ($7::uuid is null or claim_id > $7)
           order by claim_id limit $8"#,
        filter.facility_code,
        filter.state,
        filter.care_type,
        filter.submitted_from.map(ToSqlx::to_sqlx) as Option<jiff_sqlx::Timestamp>,
        filter.submitted_before.map(ToSqlx::to_sqlx) as Option<jiff_sqlx::Timestamp>,
        filter.pending_reason,
        filter.after,
        filter.limit,
    )
    .fetch_all(executor)
    .await?;
    Ok(rows.into_iter().map(|row| settling!(row)).collect())
}
