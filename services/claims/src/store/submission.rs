//! Submissions of many claims at once: one statement reads them, one writes what they changed.

use chassis::{Concluded, Kept, Turn};
use jiff::Timestamp;
use jiff_sqlx::ToSqlx;
use sqlx::PgConnection;
use uuid::Uuid;

use super::{
    claim::{Row, Step, WithLetter},
    rules::TracerResult,
};

/// What a submission changed.
#[derive(Debug)]
pub struct Submitted {
    /// The claim as it is now.
    pub claim: Row,
    /// Which version of it was read.
    pub version: String,
    /// The step.
    pub step: Step,
    /// The round that it closed.
    pub closed: Option<i32>,
    /// The question of the round that it opened, encoded.
    pub question: Option<Vec<u8>>,
    /// What the tracers said.
    pub tracers: Vec<TracerResult>,
    /// Whether the claim was submitted before: then that stands for what they said of it then.
    pub again: bool,
}

/// Claims that are to be submitted, in no order. One that another transaction holds is left out, or waited for; only one may
/// be waited for at a time, or two transactions could wait for each other. In a hopeful turn none is held.
pub async fn read(
    connection: &mut PgConnection,
    claim_ids: &[Uuid],
    turn: Turn,
) -> Result<Vec<WithLetter>, sqlx::Error> {
    macro_rules! read {
        ($how:literal) => {
            sqlx::query!(
                "select c.claim_id, c.sep_number, c.facility_code, c.member_id, c.care_type, c.service_date, c.state,
                        c.steps, c.data, c.grouping, c.tariff_rupiah, c.discharged_on, c.submitted_at, c.round,
                        c.pending_reason, c.asked_of, c.asked_at, c.approved_rupiah, c.approved_on,
                        c.payment_reference, c.paid_rupiah, c.paid_on, c.xmin::text as \"version!\",
                        (select s.letter from sep s where s.sep_number = c.sep_number) as \"letter!\"
                 from claim c
                 where c.claim_id = any($1) "
                    + $how,
                claim_ids,
            )
            .fetch_all(connection)
            .await?
            .into_iter()
            .map(|mut row| {
                let (letter, version) = (std::mem::take(&mut row.letter), std::mem::take(&mut row.version));
                WithLetter { claim: super::claim::row!(row), version, letter }
            })
            .collect()
        };
    }
    Ok(match turn {
        Turn::Hopeful => read!(""),
        Turn::Shared => read!("for update of c skip locked"),
        Turn::Alone => read!("for update of c"),
    })
}

/// Adds the last filing of claims that came back from the hospital, since the clocks of an answer count from it. Nothing is
/// asked when none of them did.
pub async fn add_filings(
    connection: &mut PgConnection,
    claims: &mut [WithLetter],
) -> Result<(), sqlx::Error> {
    let returned: Vec<_> =
        claims.iter().filter(|one| one.claim.round > 0).map(|one| one.claim.claim_id).collect();
    if returned.is_empty() {
        return Ok(());
    }
    let filings = sqlx::query!(
        r#"select returned.claim_id as "claim_id!", filed.filed_at, filed.outcome, filed.stated_on
           from unnest($1::uuid[]) as returned (claim_id)
           join lateral (
               select filed_at, outcome, stated_on from filing_claim join filing using (filing_id)
               where filing_claim.claim_id = returned.claim_id order by filed_at desc limit 1) filed on true"#,
        &returned,
    )
    .fetch_all(connection)
    .await?;
    for filing in filings {
        let Some(one) = claims.iter_mut().find(|one| one.claim.claim_id == filing.claim_id) else { continue };
        one.claim.filed_at = Some(filing.filed_at.to_jiff());
        one.claim.filing_outcome = filing.outcome;
        one.claim.filing_stated_on = filing.stated_on.map(|day| day.to_jiff());
    }
    Ok(())
}

/// Writes what submissions changed: claims, steps, the rounds that they closed and opened, and what the tracers said; with
/// keys, answers and events. Nothing when a claim is no longer as it was read.
pub async fn save(
    connection: &mut PgConnection,
    submitted: &[Submitted],
    kept: &Kept<'_>,
) -> Result<Concluded, sqlx::Error> {
    let at = |at: Timestamp| at.to_sqlx();
    let claims = || submitted.iter().map(|one| &one.claim);
    let closed = || submitted.iter().filter_map(|one| Some((one, one.closed?)));
    let tracers = |again| {
        let asked = submitted.iter().filter(move |one| one.again == again);
        asked.flat_map(|one| one.tracers.iter().map(move |result| (one.claim.claim_id, result)))
    };
    let opened = || submitted.iter().filter_map(|one| Some((&one.claim, one.question.clone()?)));
    sqlx::query_as!(
        Concluded,
        r#"with step as (
             select * from unnest($1::uuid[], $2::smallint[], $3::integer[], $4::timestamptz[], $5::integer[],
                                  $6::smallint[], $7::smallint[], $8::timestamptz[], $9::timestamptz[], $10::text[],
                                  $29::text[])
                    as step (claim_id, state, steps, submitted_at, round, pending_reason, asked_of, asked_at,
                             taken_at, taken_by, version)
         ), changed as (
             update claim set state = step.state, steps = step.steps, submitted_at = step.submitted_at,
                    round = step.round, pending_reason = step.pending_reason, asked_of = step.asked_of,
                    asked_at = step.asked_at, sent_rupiah = claim.tariff_rupiah
             from step where claim.claim_id = step.claim_id and claim.xmin = step.version::xid
             returning 1
         ), taken as (
             insert into claim_step (claim_id, step, state, taken_at, taken_by)
             select claim_id, steps, state, taken_at, taken_by from step
         ), closed as (
             update claim_pending set answered_at = closed.answered_at, answer = ''
             from unnest($11::uuid[], $12::integer[], $13::timestamptz[]) as closed (claim_id, round, answered_at)
             where claim_pending.claim_id = closed.claim_id and claim_pending.round = closed.round
         ), assessed as (
             insert into claim_tracer (claim_id, rule_id, rule_version, outcome, assessed_at)
             select result.*, $20 from unnest($21::uuid[], $22::text[], $23::integer[], $24::smallint[]) as result
         ), assessed_again as (
             insert into claim_tracer (claim_id, rule_id, rule_version, outcome, assessed_at)
             select result.*, $20 from unnest($25::uuid[], $26::text[], $27::integer[], $28::smallint[]) as result
             on conflict (claim_id, rule_id, rule_version) do update set outcome = excluded.outcome
         ), opened as (
             insert into claim_pending (claim_id, round, reason, asked_of, asked_at, question)
             select * from unnest($14::uuid[], $15::integer[], $16::smallint[], $17::smallint[], $18::timestamptz[],
                                  $19::bytea[])
         )
         select concluded.head, concluded.moved, concluded.waits as "waits!"
         from (select count(*) = cardinality($1) as unchanged from changed) as all_changed,
              conclude($30, $31, $32, unchanged, $33, $34, $35, $36, $37, $38, $39, $40, $41, $42) as concluded"#,
        &claims().map(|claim| claim.claim_id).collect::<Vec<_>>(),
        &claims().map(|claim| claim.state).collect::<Vec<_>>(),
        &claims().map(|claim| claim.steps).collect::<Vec<_>>(),
        &claims().map(|claim| claim.submitted_at.map(at)).collect::<Vec<_>>()
            as &[Option<jiff_sqlx::Timestamp>],
        &claims().map(|claim| claim.round).collect::<Vec<_>>(),
        &claims().map(|claim| claim.pending_reason).collect::<Vec<_>>() as &[Option<i16>],
        &claims().map(|claim| claim.asked_of).collect::<Vec<_>>() as &[Option<i16>],
        &claims().map(|claim| claim.asked_at.map(at)).collect::<Vec<_>>() as &[Option<jiff_sqlx::Timestamp>],
        &submitted.iter().map(|one| at(one.step.taken_at)).collect::<Vec<_>>() as &[jiff_sqlx::Timestamp],
        &submitted.iter().map(|one| one.step.taken_by.as_str()).collect::<Vec<_>>() as &[&str],
        &closed().map(|(one, _)| one.claim.claim_id).collect::<Vec<_>>(),
        &closed().map(|(_, round)| round).collect::<Vec<_>>(),
        &closed().map(|(one, _)| at(one.step.taken_at)).collect::<Vec<_>>() as &[jiff_sqlx::Timestamp],
        &opened().map(|(claim, _)| claim.claim_id).collect::<Vec<_>>(),
        &opened().map(|(claim, _)| claim.round).collect::<Vec<_>>(),
        &opened().map(|(claim, _)| claim.pending_reason).collect::<Vec<_>>() as &[Option<i16>],
        &opened().map(|(claim, _)| claim.asked_of).collect::<Vec<_>>() as &[Option<i16>],
        &opened().map(|(claim, _)| claim.asked_at.map(at)).collect::<Vec<_>>() as &[Option<jiff_sqlx::Timestamp>],
        &opened().map(|(_, question)| question).collect::<Vec<_>>(),
        submitted.iter().map(|one| at(one.step.taken_at)).next() as Option<jiff_sqlx::Timestamp>,
        &tracers(false).map(|(claim_id, _)| claim_id).collect::<Vec<_>>(),
        &tracers(false).map(|(_, result)| result.rule_id.as_str()).collect::<Vec<_>>() as &[&str],
        &tracers(false).map(|(_, result)| result.rule_version).collect::<Vec<_>>(),
        &tracers(false).map(|(_, result)| result.outcome).collect::<Vec<_>>(),
        &tracers(true).map(|(claim_id, _)| claim_id).collect::<Vec<_>>(),
        &tracers(true).map(|(_, result)| result.rule_id.as_str()).collect::<Vec<_>>() as &[&str],
        &tracers(true).map(|(_, result)| result.rule_version).collect::<Vec<_>>(),
        &tracers(true).map(|(_, result)| result.outcome).collect::<Vec<_>>(),
        &submitted.iter().map(|one| one.version.as_str()).collect::<Vec<_>>() as &[&str],
        Kept::LOCK,
        kept.patient,
        Kept::MOST,
        &kept.callers as &[&str],
        &kept.request_ids as &[&str],
        &kept.methods as &[&str],
        &kept.request_hashes as &[&[u8]],
        &kept.responses,
        &kept.event_ids,
        &kept.kinds as &[&str],
        &kept.subjects as &[&str],
        &kept.traceparents as &[&str],
        &kept.bodies as &[&[u8]],
    )
    .fetch_one(connection)
    .await
}
