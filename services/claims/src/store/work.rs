//! Work lists. They read claims on which somebody owes a step, by indexes that hold no others.

use jiff::{Timestamp, civil::Date};
use jiff_sqlx::ToSqlx;
use sqlx::PgExecutor;
use uuid::Uuid;

/// A claim that waits for somebody, with its event times.
#[derive(Debug)]
pub struct Row {
    /// Id.
    pub claim_id: Uuid,
    /// SEP it cites.
    pub sep_number: String,
    /// Facility.
    pub facility_code: String,
    /// Kind of care.
    pub care_type: i16,
    /// Day of service of the SEP.
    pub service_date: Date,
    /// State.
    pub state: i16,
    /// Last round of pending.
    pub round: i32,
    /// Its reason.
    pub pending_reason: Option<i16>,
    /// Who is asked.
    pub asked_of: Option<i16>,
    /// Amount claimed.
    pub tariff_rupiah: Option<i64>,
    /// Day on which the service was completed.
    pub discharged_on: Option<Date>,
    /// First submission.
    pub submitted_at: Option<Timestamp>,
    /// Day from which its age counts.
    pub begun_on: Date,
    /// Its last step.
    pub last_step_at: Timestamp,
    /// When it last came back from the hospital.
    pub came_back_at: Option<Timestamp>,
    /// When it was last filed.
    pub filed_at: Option<Timestamp>,
    /// What was stated of that filing.
    pub filing_outcome: Option<i16>,
    /// When.
    pub filing_stated_on: Option<Date>,
    /// When the open dispute was opened.
    pub disputed_at: Option<Timestamp>,
}

/// What a work list is narrowed to.
#[derive(Debug, Default)]
pub struct Filter {
    /// Facility.
    pub facility_code: Option<String>,
    /// States in which a claim waits for the party; none for all parties.
    pub states: Option<Vec<i16>>,
    /// The party, for claims whose open round tells whom they wait for.
    pub party: Option<i16>,
    /// Reason of the last round of pending.
    pub reason: Option<i16>,
    /// Begun on this day or before.
    pub begun_by: Date,
    /// Day and id of the last row of the page before.
    pub after: Option<(Date, Uuid)>,
    /// Most rows.
    pub limit: i64,
}

macro_rules! list {
    ($of:literal, $filter:expr, $executor:expr) => {{
        let filter: &Filter = $filter;
        let after = filter.after;
        let rows = sqlx::query!(
            r#"select claim.claim_id, sep_number, claim.facility_code, care_type, service_date, claim.state, claim.round, pending_reason,
                      asked_of, tariff_rupiah, discharged_on, submitted_at,
                      coalesce((submitted_at at time zone interval '7 hours')::date, discharged_on, service_date) as "begun_on!",
                      claim_step.taken_at as last_step_at,
                      (select max(answered_at) from claim_pending
                       where claim_pending.claim_id = claim.claim_id and claim_pending.asked_of = 1) as came_back_at,
                      filed.filed_at as "filed_at?", filed.outcome as "filing_outcome?", filed.stated_on as "filing_stated_on?",
                      dispute.opened_at as "disputed_at?"
               from claim
               join claim_step on claim_step.claim_id = claim.claim_id and claim_step.step = claim.steps
               left join lateral (
                   select filed_at, outcome, stated_on from filing_claim join filing using (filing_id)
                   where filing_claim.claim_id = claim.claim_id order by filed_at desc limit 1) filed on true
               left join claim_dispute dispute on dispute.claim_id = claim.claim_id and dispute.outcome is null
               where claim.state not in (9, 10, 12)
                 and coalesce((submitted_at at time zone interval '7 hours')::date, discharged_on, service_date) <= $2
                 and ($3::smallint[] is null or claim.state = any($3) or (claim.state = 5 and asked_of = $4))
                 and ($5::smallint is null or pending_reason = $5)
                 and ($6::date is null
                      or (coalesce((submitted_at at time zone interval '7 hours')::date, discharged_on, service_date), claim.claim_id) > ($6, $7::uuid))
                 and "# + $of + r#"
               order by coalesce((submitted_at at time zone interval '7 hours')::date, discharged_on, service_date), claim.claim_id
               limit $8"#,
            filter.facility_code,
            filter.begun_by.to_sqlx(),
            filter.states.as_deref(),
            filter.party,
            filter.reason,
            after.map(|(day, _)| day.to_sqlx()) as Option<jiff_sqlx::Date>,
            after.map(|(_, id)| id),
            filter.limit,
        )
        .fetch_all($executor)
        .await?;
        let rows = rows.into_iter().map(|row| Row {
            claim_id: row.claim_id,
            sep_number: row.sep_number,
            facility_code: row.facility_code,
            care_type: row.care_type,
            service_date: row.service_date.to_jiff(),
            state: row.state,
            round: row.round,
            pending_reason: row.pending_reason,
            asked_of: row.asked_of,
            tariff_rupiah: row.tariff_rupiah,
            discharged_on: row.discharged_on.map(|day| day.to_jiff()),
            submitted_at: row.submitted_at.map(|at| at.to_jiff()),
            begun_on: row.begun_on.to_jiff(),
            last_step_at: row.last_step_at.to_jiff(),
            came_back_at: row.came_back_at.map(|at| at.to_jiff()),
            filed_at: row.filed_at.map(|at| at.to_jiff()),
            filing_outcome: row.filing_outcome,
            filing_stated_on: row.filing_stated_on.map(|day| day.to_jiff()),
            disputed_at: row.disputed_at.map(|at| at.to_jiff()),
        });
        Ok(rows.collect())
    }};
}

/// Claims on which a step is owed, oldest first. Two statements, so that each is planned for its own index.
pub async fn list(executor: impl PgExecutor<'_>, filter: &Filter) -> Result<Vec<Row>, sqlx::Error> {
    if filter.facility_code.is_some() {
        list!("claim.facility_code = $1::text", filter, executor)
    } else {
        list!("$1::text is null", filter, executor)
    }
}

/// Claims of a day that wait in the same way.
#[derive(Debug)]
pub struct Sum {
    /// Day from which their age counts.
    pub begun_on: Date,
    /// State.
    pub state: i16,
    /// Who is asked.
    pub asked_of: Option<i16>,
    /// Reason of the open round.
    pub reason: Option<i16>,
    /// How many.
    pub claims: i64,
    /// Amount claimed.
    pub amount_rupiah: i64,
}

macro_rules! sums {
    ($of:literal, $facility_code:expr, $begun_by:expr, $executor:expr) => {{
        let rows = sqlx::query!(
            r#"select coalesce((submitted_at at time zone interval '7 hours')::date, discharged_on, service_date) as "begun_on!",
                      state, asked_of, case when asked_of is not null then pending_reason end as reason,
                      count(*) as "claims!", coalesce(sum(tariff_rupiah), 0)::bigint as "amount_rupiah!"
               from claim
               where state not in (9, 10, 12)
                 and coalesce((submitted_at at time zone interval '7 hours')::date, discharged_on, service_date) <= $2
                 and "# + $of + r#"
               group by 1, 2, 3, 4"#,
            $facility_code,
            $begun_by.to_sqlx(),
        )
        .fetch_all($executor)
        .await?;
        let sums = rows.into_iter().map(|row| Sum {
            begun_on: row.begun_on.to_jiff(),
            state: row.state,
            asked_of: row.asked_of,
            reason: row.reason,
            claims: row.claims,
            amount_rupiah: row.amount_rupiah,
        });
        Ok(sums.collect())
    }};
}

/// How many claims wait, by the day from which their age counts.
pub async fn sums(
    executor: impl PgExecutor<'_>,
    facility_code: Option<&str>,
    begun_by: Date,
) -> Result<Vec<Sum>, sqlx::Error> {
    if facility_code.is_some() {
        sums!("facility_code = $1::text", facility_code, begun_by, executor)
    } else {
        sums!("$1::text is null", facility_code, begun_by, executor)
    }
}
