//! Disputes over gRPC.

use chassis::{Call, Fields, RequestId, page::Page, time};
use prost::Message as _;
use proto::{
    claims::v1::{self as pb, dispute_service_server::DisputeService},
    options::v1::InstitutionKind,
};
use tonic::{Request, Response, Status};
use uuid::Uuid;

use super::{
    Claims,
    claim::answered,
    claim_data,
    claim_life::{Opened, open_round, take},
    claim_read::claim_id,
    facility_scope, sep,
    view::life,
};
use crate::{
    clock,
    dispute::{Body, Ground, Outcome, Refusal, WITHDRAWN},
    error::Error,
    life::{Life, NotNow, Step},
    store::{self, dispute::Row},
};

#[tonic::async_trait]
impl DisputeService for Claims {
    async fn open_dispute(
        &self,
        request: Request<pb::OpenDisputeRequest>,
    ) -> Result<Response<pb::OpenDisputeResponse>, Status> {
        answered!(self, request, dispute)
    }

    async fn decide_dispute(
        &self,
        request: Request<pb::DecideDisputeRequest>,
    ) -> Result<Response<pb::DecideDisputeResponse>, Status> {
        answered!(self, request, decide)
    }

    async fn withdraw_dispute(
        &self,
        request: Request<pb::WithdrawDisputeRequest>,
    ) -> Result<Response<pb::WithdrawDisputeResponse>, Status> {
        answered!(self, request, withdraw_dispute)
    }

    async fn get_dispute(
        &self,
        request: Request<pb::GetDisputeRequest>,
    ) -> Result<Response<pb::GetDisputeResponse>, Status> {
        answered!(self, request, one_dispute)
    }

    async fn list_disputes(
        &self,
        request: Request<pb::ListDisputesRequest>,
    ) -> Result<Response<pb::ListDisputesResponse>, Status> {
        answered!(self, request, disputes)
    }
}

impl Claims {
    async fn dispute(
        &self,
        call: &Call,
        message: pb::OpenDisputeRequest,
    ) -> Result<pb::OpenDisputeResponse, Status> {
        let mut fields = Fields::new();
        let request_id = fields.parse("request_id", RequestId::parse(&message.request_id));
        let id = claim_id(&mut fields, "claim_id", &message.claim_id);
        fields.require("round", message.round > 0, "must be the open round, from 1");
        let ground = Ground::of(message.ground);
        fields.require("ground", ground.is_some(), "a value of DisputeGround");
        let statement = fields.parse("statement", vocabulary::text(&message.statement, 500));
        claim_data::documents(&mut fields, "documents", &message.documents);
        let (Some(request_id), Some(id), Some(ground), Some(statement)) = (request_id, id, ground, statement)
        else {
            return Err(fields.into());
        };
        fields.finish()?;
        let (mut write, mut row) = match self.open(call, &message, request_id, id).await? {
            Opened::Replayed(answer) => return Ok(answer),
            Opened::Fresh(opened) => *opened,
        };
        let answer = async {
            let rules = &self.policies.dispute.on(row.service_date)?.rule;
            let before = store::dispute::count(write.connection(), id).await?;
            let was = life(&row)?;
            rules.may_open(was, before).map_err(|refusal| match refusal {
                Refusal::NotNow(refused) => Error::StateWrong(refused),
                Refusal::TooEarly { rounds, needed } => Error::DisputeTooEarly { rounds, needed },
                Refusal::UsedUp => Error::DisputesUsedUp,
            })?;
            if message.round != was.round {
                return Err(Error::RoundNotOpen(was.round));
            }
            let step = take(&mut row, Step::Dispute, call)?;
            store::claim::save(write.connection(), &row, &step).await?;
            // The dispute is the answer to the round.
            let closing = pb::Pending { documents: message.documents.clone(), ..pb::Pending::default() };
            let closing = closing.encode_to_vec();
            store::claim::answer(write.connection(), id, was.round, call.received_at, &closing).await?;
            let papers = pb::Dispute { statement, documents: message.documents, ..pb::Dispute::default() };
            let dispute = Row {
                dispute_id: Uuid::now_v7(),
                claim_id: id,
                number: before + 1,
                facility_code: row.facility_code.clone(),
                round: was.round,
                ground: ground as i16,
                body: rules.body(ground) as i16,
                amount_rupiah: row.tariff_rupiah.ok_or(Error::NotGrouped)?,
                opened_at: call.received_at,
                statement: papers.encode_to_vec(),
                outcome: None,
                decided_at: None,
                decided_by: None,
                decision: None,
                service_date: row.service_date,
            };
            store::dispute::open(write.connection(), &dispute).await?;
            let event = pb::DisputeOpened {
                claim_id: row.claim_id.to_string(),
                sep_number: row.sep_number.clone(),
                facility_code: row.facility_code.clone(),
                dispute_id: dispute.dispute_id.to_string(),
                round: dispute.round,
                ground: dispute.ground.into(),
                body: dispute.body.into(),
                opened_on: call.today.to_string(),
                amount_rupiah: dispute.amount_rupiah,
            };
            write.emit(&event.claim_id, &event).await?;
            let dispute = Some(self.dispute_shown(&dispute, call)?);
            Ok(write.commit(pb::OpenDisputeResponse { dispute }).await?)
        };
        Ok(answer.await?)
    }

    async fn decide(
        &self,
        call: &Call,
        message: pb::DecideDisputeRequest,
    ) -> Result<pb::DecideDisputeResponse, Status> {
        let mut fields = Fields::new();
        let request_id = fields.parse("request_id", RequestId::parse(&message.request_id));
        let id = claim_id(&mut fields, "dispute_id", &message.dispute_id);
        let outcome = Outcome::of(message.outcome);
        fields.require("outcome", outcome.is_some(), "a value of DisputeOutcome");
        let decision = fields.parse("decision", vocabulary::text(&message.decision, 500));
        let (Some(request_id), Some(id), Some(outcome), Some(decision)) = (request_id, id, outcome, decision)
        else {
            return Err(fields.into());
        };
        fields.finish()?;
        let read = async {
            let found = store::dispute::get(&self.db.pool, id, None, scope(call)).await?;
            found.ok_or(Error::NoDispute)
        };
        let claim_id = read.await?.claim_id;
        let (mut write, mut row) = match self.open(call, &message, request_id, claim_id).await? {
            Opened::Replayed(answer) => return Ok(answer),
            Opened::Fresh(opened) => *opened,
        };
        let answer = async {
            // Read again, now that the claim holds it still.
            let mut dispute =
                store::dispute::get(write.connection(), id, None, None).await?.ok_or(Error::NoDispute)?;
            let body = Body::of(dispute.body).ok_or(Error::Unreadable("dispute"))?;
            if decides(call) != Some(body) {
                return Err(Error::DisputeOfAnotherBody(body));
            }
            if dispute.outcome.is_some() {
                let Life { state, asked, .. } = life(&row)?;
                return Err(Error::StateWrong(NotNow { state, step: outcome.step(), asked }));
            }
            let step = take(&mut row, outcome.step(), call)?;
            store::claim::save(write.connection(), &row, &step).await?;
            let words = pb::Dispute { decision: decision.clone(), ..pb::Dispute::default() };
            dispute.outcome = Some(outcome as i16);
            dispute.decided_at = Some(call.received_at);
            dispute.decided_by = Some(call.caller.to_string());
            dispute.decision = Some(words.encode_to_vec());
            store::dispute::decide(write.connection(), &dispute).await?;
            let event = pb::DisputeDecided {
                claim_id: row.claim_id.to_string(),
                sep_number: row.sep_number.clone(),
                facility_code: row.facility_code.clone(),
                dispute_id: dispute.dispute_id.to_string(),
                outcome: outcome as i32,
                decided_on: call.today.to_string(),
                amount_rupiah: dispute.amount_rupiah,
            };
            write.emit(&event.claim_id, &event).await?;
            match outcome {
                Outcome::Upheld => {
                    let event = pb::ClaimVerified {
                        claim_id: row.claim_id.to_string(),
                        sep_number: row.sep_number.clone(),
                        facility_code: row.facility_code.clone(),
                        verified_on: call.today.to_string(),
                    };
                    write.emit(&event.claim_id, &event).await?;
                }
                Outcome::Correct => {
                    let question = pb::Pending { detail: decision, ..pb::Pending::default() };
                    open_round(&mut write, &row, call, question).await?;
                }
                Outcome::WithoutPayment => {}
            }
            let answer = pb::DecideDisputeResponse {
                dispute: Some(self.dispute_shown(&dispute, call)?),
                claim_state: row.state.into(),
            };
            Ok(write.commit(answer).await?)
        };
        Ok(answer.await?)
    }

    async fn withdraw_dispute(
        &self,
        call: &Call,
        message: pb::WithdrawDisputeRequest,
    ) -> Result<pb::WithdrawDisputeResponse, Error> {
        let mut fields = Fields::new();
        let request_id = fields.parse("request_id", RequestId::parse(&message.request_id));
        let id = claim_id(&mut fields, "dispute_id", &message.dispute_id);
        let note = fields.parse("note", vocabulary::text(&message.note, 500));
        let (Some(request_id), Some(id), Some(note)) = (request_id, id, note) else {
            return Err(fields.into());
        };
        fields.checked()?;
        let own = call.caller.facility();
        let found = store::dispute::get(&self.db.pool, id, own, None).await?.ok_or(Error::NoDispute)?;
        let (mut write, mut row) = match self.open(call, &message, request_id, found.claim_id).await? {
            Opened::Replayed(answer) => return Ok(answer),
            Opened::Fresh(opened) => *opened,
        };
        // Read again, now that the claim holds it still.
        let mut dispute =
            store::dispute::get(write.connection(), id, own, None).await?.ok_or(Error::NoDispute)?;
        if dispute.outcome.is_some() {
            // Another dispute may be open by now; this one is over.
            let Life { state, asked, .. } = life(&row)?;
            return Err(Error::StateWrong(NotNow { state, step: Step::WithdrawDispute, asked }));
        }
        let step = take(&mut row, Step::WithdrawDispute, call)?;
        row.asked_at = Some(store::claim::reopen(write.connection(), row.claim_id, dispute.round).await?);
        store::claim::save(write.connection(), &row, &step).await?;
        let words = pb::Dispute { decision: note, ..pb::Dispute::default() };
        dispute.outcome = Some(WITHDRAWN);
        dispute.decided_at = Some(call.received_at);
        dispute.decided_by = Some(call.caller.to_string());
        dispute.decision = Some(words.encode_to_vec());
        store::dispute::decide(write.connection(), &dispute).await?;
        let event = pb::DisputeWithdrawn {
            claim_id: row.claim_id.to_string(),
            sep_number: row.sep_number.clone(),
            facility_code: row.facility_code.clone(),
            dispute_id: dispute.dispute_id.to_string(),
            round: row.round,
            reason: row.pending_reason.unwrap_or_default().into(),
            withdrawn_on: call.today.to_string(),
        };
        write.emit(&event.claim_id, &event).await?;
        let answer = pb::WithdrawDisputeResponse {
            dispute: Some(self.dispute_shown(&dispute, call)?),
            claim_state: row.state.into(),
        };
        Ok(write.commit(answer).await?)
    }

    async fn one_dispute(
        &self,
        call: &Call,
        message: pb::GetDisputeRequest,
    ) -> Result<pb::GetDisputeResponse, Error> {
        let mut fields = Fields::new();
        let Some(id) = claim_id(&mut fields, "dispute_id", &message.dispute_id) else {
            return Err(fields.into());
        };
        let found = store::dispute::get(&self.db.pool, id, call.caller.facility(), scope(call)).await?;
        let dispute = Some(self.dispute_shown(&found.ok_or(Error::NoDispute)?, call)?);
        Ok(pb::GetDisputeResponse { dispute })
    }

    async fn disputes(
        &self,
        call: &Call,
        message: pb::ListDisputesRequest,
    ) -> Result<pb::ListDisputesResponse, Status> {
        let mut fields = Fields::new();
        let page = Page::parse(&mut fields, message.page_size, &message.page_token);
        let after = page.after.as_deref().and_then(|key| claim_id(&mut fields, "page_token", key));
        let facility_code = facility_scope(&mut fields, call.caller.facility(), &message.facility_code);
        let body = pb::DisputeBody::try_from(message.body);
        fields.require("body", body.is_ok(), "a value of DisputeBody, or unspecified for both");
        let asked = body.ok().filter(|body| *body != pb::DisputeBody::Unspecified).map(|body| body as i16);
        let own = scope(call);
        fields.require("body", own.is_none() || asked.is_none() || own == asked, "your own body, or nothing");
        let claim_id = match message.claim_id.as_str() {
            "" => None,
            given => claim_id(&mut fields, "claim_id", given),
        };
        fields.finish()?;
        let filter = store::dispute::Filter {
            facility_code,
            body: own.or(asked),
            only_open: message.only_open,
            claim_id,
            after,
            limit: page.size + 1,
        };
        let mut rows = store::dispute::list(&self.db.pool, &filter).await.map_err(Error::from)?;
        let next_page_token = sep::next(&mut rows, page.size, |row| row.dispute_id.to_string());
        let disputes = rows.iter().map(|row| self.dispute_shown(row, call)).collect::<Result<_, _>>()?;
        Ok(pb::ListDisputesResponse { disputes, next_page_token })
    }

    fn dispute_shown(&self, row: &Row, call: &Call) -> Result<pb::Dispute, Error> {
        let unreadable = |_| Error::Unreadable("dispute");
        let papers = pb::Dispute::decode(row.statement.as_slice()).map_err(unreadable)?;
        let decided = row.decision.as_deref().map(pb::Dispute::decode).transpose().map_err(unreadable)?;
        let opened = time::today_at(row.opened_at);
        let until = row.decided_at.map_or(call.today, time::today_at);
        let due = self.policies.dispute.on(row.service_date)?.rule.decision_due(opened);
        Ok(pb::Dispute {
            dispute_id: row.dispute_id.to_string(),
            claim_id: row.claim_id.to_string(),
            facility_code: row.facility_code.clone(),
            number: row.number,
            round: row.round,
            ground: row.ground.into(),
            body: row.body.into(),
            amount_rupiah: row.amount_rupiah,
            opened_at: Some(time::to_proto(row.opened_at)),
            decision_due_on: due.to_string(),
            age_days: clock::days(opened, until),
            overdue: until > due,
            outcome: row.outcome.unwrap_or_default().into(),
            decided_at: row.decided_at.map(time::to_proto),
            decided_by: row.decided_by.clone().unwrap_or_default(),
            decision: decided.unwrap_or_default().decision,
            ..papers
        })
    }
}

/// The body that the caller is.
fn decides(call: &Call) -> Option<Body> {
    match call.caller.kind {
        InstitutionKind::Bpjs => Some(Body::Bpjs),
        InstitutionKind::Ministry => Some(Body::TpkJkn),
        _ => None,
    }
}

/// The body that the caller sees the disputes of; none for all.
fn scope(call: &Call) -> Option<i16> {
    (call.caller.kind == InstitutionKind::Ministry).then_some(Body::TpkJkn as i16)
}
