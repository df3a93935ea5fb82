//! How a claim is submitted: alone or in a stream, many are read, judged and written together.

use std::{collections::HashMap, sync::Arc};

use chassis::{Batched, Batcher, Call, Concluded, Event, Kept, Mutation, Outcome, Turn};
use futures::{Stream, StreamExt};
use jiff::civil::Date;
use prost::Message as _;
use proto::claims::v1 as pb;
use sqlx::PgConnection;
use tonic::Status;
use tonic_types::StatusExt;
use uuid::Uuid;

use super::{
    Claims, Policies,
    claim_life::{came_back, named, pended, question_of, take, wrong},
    verification::{self, Judged},
    view::{self, life},
};
use crate::{
    clock,
    error::Error,
    life::{Life, Step},
    store::{
        claim::{Pending, Row},
        seen::Seen,
        submission::{self, Submitted},
    },
};

impl Claims {
    pub(super) async fn submit(
        &self,
        call: Call,
        message: pb::SubmitClaimRequest,
    ) -> Result<pb::SubmitClaimResponse, Error> {
        let (request_id, claim_id) = named(&message.request_id, &message.claim_id)?;
        let mutation = Mutation::new(&call, &message, request_id);
        self.submissions.write(call, mutation, Asked { claim_id, of: Of::Call }).await
    }

    /// Submits what comes over a stream, and answers each row in its turn.
    pub(super) fn submit_all(
        &self,
        call: Call,
        rows: impl Stream<Item = Result<pb::SubmitClaimsRequest, Status>> + Send + 'static,
    ) -> impl Stream<Item = Result<pb::SubmitClaimsResponse, Status>> + Send + 'static {
        let claims = self.clone();
        rows.map(move |row| {
            let (claims, call) = (claims.clone(), call.part());
            async move {
                let row = row?;
                let result = claims.submit_row(call, &row).await;
                Ok(row_result(row, result))
            }
        })
        .buffered(Batcher::<Submissions>::PARTS_UNDER_WAY)
    }

    async fn submit_row(
        &self,
        call: Call,
        row: &pb::SubmitClaimsRequest,
    ) -> Result<pb::SubmitClaimResponse, Error> {
        let (request_id, claim_id) = named(&row.request_id, &row.claim_id)?;
        let mutation = Mutation::new(&call, row, request_id);
        self.submissions.write_in_turn(call, mutation, Asked { claim_id, of: Of::Row }).await
    }
}

/// What became of a row, for its sender.
fn row_result(
    row: pb::SubmitClaimsRequest,
    result: Result<pb::SubmitClaimResponse, Error>,
) -> pb::SubmitClaimsResponse {
    let pb::SubmitClaimsRequest { request_id, claim_id } = row;
    let of_row = pb::SubmitClaimsResponse { request_id, claim_id, ..Default::default() };
    match result {
        Ok(answer) => {
            let claim = answer.claim.unwrap_or_default();
            pb::SubmitClaimsResponse {
                state: claim.state,
                pending: claim.pendings.into_iter().next(),
                ..of_row
            }
        }
        Err(error) => {
            let status = Status::from(error);
            let details = status.get_error_details();
            let wrong = details.bad_request().map(|wrong| wrong.field_violations.clone()).unwrap_or_default();
            pb::SubmitClaimsResponse {
                reason: details.error_info().map(|info| info.reason.clone()).unwrap_or_default(),
                message: status.message().to_owned(),
                faults: wrong.into_iter().map(|one| format!("{}: {}", one.field, one.description)).collect(),
                ..of_row
            }
        }
    }
}

/// A claim that is to be submitted.
pub(crate) struct Asked {
    claim_id: Uuid,
    of: Of,
}

/// How it is asked for, and so how much of the claim is answered.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Of {
    /// By a call: the whole claim.
    Call,
    /// As a row among many: no more than a [`row_result`] tells. It is stored as the answer, so less is written.
    Row,
}

/// Submissions, written together.
pub(crate) struct Submissions {
    pub(crate) policies: Arc<Policies>,
}

impl Batched for Submissions {
    type Work = Asked;
    type Answer = pb::SubmitClaimResponse;
    type Error = Error;
    type Subject = Uuid;
    type Changes = Vec<Submitted>;

    const NAME: &'static str = "submit_claim";
    const FIRST: Turn = Turn::Hopeful;

    fn subject(asked: &Asked) -> Uuid {
        asked.claim_id
    }

    async fn write(
        &self,
        connection: &mut PgConnection,
        turn: Turn,
        asked: &[(&Call, &Asked)],
    ) -> sqlx::Result<(Vec<Outcome<pb::SubmitClaimResponse, Error>>, Vec<Submitted>)> {
        let named: Vec<_> = asked.iter().map(|(_, asked)| asked.claim_id).collect();
        let mut finals = submission::read(connection, &named, turn).await?;
        submission::add_filings(connection, &mut finals).await?;
        let (mut ready, mut claims) = (Vec::with_capacity(finals.len()), Vec::with_capacity(finals.len()));
        let mut finals: HashMap<_, _> =
            finals.into_iter().map(|found| (found.claim.claim_id, found)).collect();
        let mut outcomes: Vec<Option<Outcome<_, _>>> = asked.iter().map(|_| None).collect();
        for (place, (call, asked)) in asked.iter().enumerate() {
            let Some(found) = finals.remove(&asked.claim_id) else {
                // Not there, or held by somebody; that shows when nobody else has to wait for it.
                outcomes[place] = Some(match turn {
                    Turn::Hopeful | Turn::Shared => Outcome::Alone,
                    Turn::Alone => Outcome::Refused(Error::NoClaim),
                });
                continue;
            };
            let foreign = call.caller.facility().is_some_and(|own| own != found.claim.facility_code);
            match if foreign { Err(Error::NoClaim) } else { self.ready(&found.claim, call) } {
                Ok(was) => {
                    ready.push((place, *call, asked.of, was));
                    claims.push(found);
                }
                Err(error) => outcomes[place] = Some(Outcome::Refused(error)),
            }
        }
        let judged = verification::verify_all(connection, &self.policies.rules, claims).await?;
        let mut written = Vec::with_capacity(ready.len());
        for ((place, call, of, was), (seen, judged)) in ready.into_iter().zip(judged) {
            let decided = judged.and_then(|judged| self.decide(seen, was, call, of, &judged));
            outcomes[place] = Some(match decided {
                Ok((submitted, answer, events)) => {
                    written.push(submitted);
                    Outcome::Written(answer, events)
                }
                Err(error) => Outcome::Refused(error),
            });
        }
        // In this order no two transactions can wait for each other's claims.
        written.sort_unstable_by_key(|one| one.claim.claim_id);
        Ok((outcomes.into_iter().flatten().collect(), written))
    }

    async fn conclude(
        &self,
        connection: &mut PgConnection,
        changes: &Vec<Submitted>,
        kept: &Kept<'_>,
    ) -> sqlx::Result<Concluded> {
        submission::save(connection, changes, kept).await
    }
}

impl Submissions {
    /// What it was, if it may be submitted now; that needs no look at anything else: the state and the filing limit.
    fn ready(&self, row: &Row, call: &Call) -> Result<Life, Error> {
        let was = life(row)?;
        was.take(Step::Submit { found: false }).map_err(|refused| wrong(row, refused))?;
        let periods = &self.policies.clock.on(row.service_date)?.rule;
        let clocks = clock::read(periods, &view::times(row), call.today);
        if let (true, Some(limit)) = (clocks.void, clocks.filing_limit) {
            return Err(Error::Void(limit));
        }
        Ok(was)
    }

    /// What becomes of the claim, what its sender is answered, and the events that tell of it.
    fn decide(
        &self,
        Seen { claim: mut row, version, .. }: Seen,
        was: Life,
        call: &Call,
        of: Of,
        Judged { verdict, letter, .. }: &Judged,
    ) -> Result<(Submitted, pb::SubmitClaimResponse, Vec<Event>), Error> {
        let found = verdict.reason();
        let step = take(&mut row, Step::Submit { found: found.is_some() }, call)?;
        if let Some(reason) = found {
            row.pending_reason = Some(reason as i16);
        }
        let mut events = Vec::new();
        if was.asked.is_some() {
            row.came_back_at = Some(call.received_at);
            let event = came_back(&row, was, call);
            events.push(Event::new(&event.claim_id, &event));
        }
        if !was.submitted {
            let event = submitted(&row, letter, call.today);
            events.push(Event::new(&event.claim_id, &event));
        }
        let question = found.map(|_| question_of(&row, call, verification::question(verdict)));
        if let Some(question) = &question {
            let event = pended(&row, question);
            events.push(Event::new(&event.claim_id, &event));
        }
        let question = question.map(|question| question.encode_to_vec());
        let open: Vec<_> = question
            .iter()
            .map(|question| Pending {
                round: row.round,
                question: question.clone(),
                answered_at: None,
                answer: None,
            })
            .collect();
        let claim = match of {
            Of::Call => view::claim(&row, &self.policies, call, &open, &[])?,
            Of::Row => pb::Claim {
                state: row.state.into(),
                pendings: open.iter().map(view::pending).collect::<Result<_, _>>()?,
                ..pb::Claim::default()
            },
        };
        let submitted = Submitted {
            claim: row,
            version,
            step,
            closed: was.asked.map(|_| was.round),
            question,
            tracers: verification::tracer_results(verdict),
            again: was.submitted,
        };
        Ok((submitted, pb::SubmitClaimResponse { claim: Some(Box::new(claim)) }, events))
    }
}

fn submitted(row: &Row, letter: &pb::Sep, today: Date) -> pb::ClaimSubmitted {
    pb::ClaimSubmitted {
        claim_id: row.claim_id.to_string(),
        sep_number: row.sep_number.clone(),
        facility_code: row.facility_code.clone(),
        member_id: row.member_id.to_string(),
        care_type: row.care_type.into(),
        submitted_on: today.to_string(),
        amount_rupiah: row.tariff_rupiah.unwrap_or_default(),
        province_code: letter.province_code.clone(),
        hospital_class: letter.hospital_class.clone(),
        segment: letter.segment.clone(),
        service_date: row.service_date.to_string(),
    }
}
