//! What BPJS Kesehatan decides on a claim, and the hospital's answer: verification, approval, payment of a single claim.

use chassis::{Call, Fields, RequestId};
use proto::claims::v1 as pb;
use tonic::Status;

use super::{
    Claims, accident, claim_data,
    claim_life::{Opened, close_round, named, open_round, take},
    claim_read::claim_id,
    view::life,
};
use crate::{
    error::Error,
    life::{Party, State, Step},
    store::{self, claim::Row},
};

impl Claims {
    pub(super) async fn verify(
        &self,
        call: &Call,
        message: pb::RecordVerificationRequest,
    ) -> Result<pb::RecordVerificationResponse, Status> {
        let mut fields = Fields::new();
        let request_id = fields.parse("request_id", RequestId::parse(&message.request_id));
        let id = claim_id(&mut fields, "claim_id", &message.claim_id);
        let step = verification(&mut fields, &message);
        let (Some(request_id), Some(id), Some(step)) = (request_id, id, step) else {
            return Err(fields.into());
        };
        fields.finish()?;
        let (mut write, mut row) = match self.open(call, &message, request_id, id).await? {
            Opened::Replayed(answer) => return Ok(answer),
            Opened::Fresh(opened) => *opened,
        };
        let answer = async {
            let was = life(&row)?;
            let taken = take(&mut row, step, call)?;
            if let Step::Pend { .. } = step {
                row.pending_reason = Some(message.reason() as i16);
            }
            store::claim::save(write.connection(), &row, &taken).await?;
            close_round(&mut write, &row, was, call, pb::Pending::default()).await?;
            if let Step::Pend { .. } = step {
                let question =
                    pb::Pending { detail: message.detail.trim().to_owned(), ..pb::Pending::default() };
                open_round(&mut write, &row, call, question).await?;
            } else {
                let event = pb::ClaimVerified {
                    claim_id: row.claim_id.to_string(),
                    sep_number: row.sep_number.clone(),
                    facility_code: row.facility_code.clone(),
                    verified_on: call.today.to_string(),
                };
                write.emit(&event.claim_id, &event).await?;
            }
            let claim = Some(self.shown(&mut write, &row, call).await?);
            Ok::<_, Error>(write.commit(pb::RecordVerificationResponse { claim }).await?)
        };
        Ok(answer.await?)
    }

    pub(super) async fn answer(
        &self,
        call: &Call,
        message: pb::AnswerPendingRequest,
    ) -> Result<pb::AnswerPendingResponse, Status> {
        let mut fields = Fields::new();
        let request_id = fields.parse("request_id", RequestId::parse(&message.request_id));
        let id = claim_id(&mut fields, "claim_id", &message.claim_id);
        fields.require("round", message.round > 0, "must be the open round, from 1");
        let text = fields.parse("answer", vocabulary::text(&message.answer, 500));
        claim_data::documents(&mut fields, "documents", &message.documents);
        let (Some(request_id), Some(id), Some(text)) = (request_id, id, text) else {
            return Err(fields.into());
        };
        fields.finish()?;
        let (mut write, mut row) = match self.open(call, &message, request_id, id).await? {
            Opened::Replayed(answer) => return Ok(answer),
            Opened::Fresh(opened) => *opened,
        };
        let answer = async {
            let was = life(&row)?;
            let step = take(&mut row, Step::Answer, call)?;
            if message.round != was.round {
                return Err(Error::RoundNotOpen(was.round));
            }
            store::claim::save(write.connection(), &row, &step).await?;
            let answer = pb::Pending { answer: text, documents: message.documents, ..pb::Pending::default() };
            close_round(&mut write, &row, was, call, answer).await?;
            let claim = Some(self.shown(&mut write, &row, call).await?);
            Ok(write.commit(pb::AnswerPendingResponse { claim }).await?)
        };
        Ok(answer.await?)
    }

    pub(super) async fn approve(
        &self,
        call: &Call,
        message: pb::ApproveClaimRequest,
    ) -> Result<pb::ApproveClaimResponse, Error> {
        let (request_id, id) = named(&message.request_id, &message.claim_id)?;
        let (mut write, mut row) = match self.open(call, &message, request_id, id).await? {
            Opened::Replayed(answer) => return Ok(answer),
            Opened::Fresh(opened) => *opened,
        };
        let step = take(&mut row, Step::Approve, call)?;
        let amount_rupiah = accident::payable(write.connection(), &row).await?;
        (row.approved_rupiah, row.approved_on) = (Some(amount_rupiah), Some(call.today));
        store::claim::save(write.connection(), &row, &step).await?;
        let event = pb::ClaimApproved {
            claim_id: row.claim_id.to_string(),
            sep_number: row.sep_number.clone(),
            facility_code: row.facility_code.clone(),
            amount_rupiah,
            approved_on: call.today.to_string(),
        };
        write.emit(&event.claim_id, &event).await?;
        let claim = Some(self.shown(&mut write, &row, call).await?);
        Ok(write.commit(pb::ApproveClaimResponse { claim }).await?)
    }

    pub(super) async fn settle(
        &self,
        call: &Call,
        message: pb::SettleClaimRequest,
    ) -> Result<pb::SettleClaimResponse, Status> {
        let mut fields = Fields::new();
        let request_id = fields.parse("request_id", RequestId::parse(&message.request_id));
        let id = claim_id(&mut fields, "claim_id", &message.claim_id);
        let reference = fields.parse("payment_reference", vocabulary::text(&message.payment_reference, 40));
        fields.require(
            "amount_rupiah",
            message.amount_rupiah > 0,
            "must be the approved amount in whole rupiah",
        );
        let paid_on = fields.parse("paid_on", vocabulary::date(&message.paid_on));
        fields.require("paid_on", paid_on.is_none_or(|day| day <= call.today), "must not lie in the future");
        let (Some(request_id), Some(id), Some(reference), Some(paid_on)) =
            (request_id, id, reference, paid_on)
        else {
            return Err(fields.into());
        };
        fields.finish()?;
        let (mut write, mut row) = match self.open(call, &message, request_id, id).await? {
            Opened::Replayed(answer) => return Ok(answer),
            Opened::Fresh(opened) => *opened,
        };
        let answer = async {
            if life(&row)?.state == State::Paid {
                // The same payment, posted again under another request_id.
                if row.payment_reference.as_ref() != Some(&reference) {
                    return Err(Error::PaymentReferenceUsed);
                }
                amount_is_approved(&row, message.amount_rupiah)?;
            } else {
                let step = take(&mut row, Step::Settle, call)?;
                amount_is_approved(&row, message.amount_rupiah)?;
                if row.approved_on.is_some_and(|approved_on| paid_on < approved_on) {
                    let mut fields = Fields::new();
                    fields.wrong("paid_on", "must not lie before the day of approval");
                    return Err(fields.into());
                }
                if let Some(batch_id) = store::batch::of_claim(write.connection(), row.claim_id).await? {
                    return Err(Error::ClaimInBatch(batch_id));
                }
                self.pay_single(&mut write, &row, &reference, paid_on, call).await?;
                row.payment_reference = Some(reference);
                (row.paid_rupiah, row.paid_on) = (Some(message.amount_rupiah), Some(paid_on));
                store::claim::save(write.connection(), &row, &step).await?;
                let event = pb::ClaimPaid {
                    claim_id: row.claim_id.to_string(),
                    sep_number: row.sep_number.clone(),
                    facility_code: row.facility_code.clone(),
                    amount_rupiah: message.amount_rupiah,
                    paid_on: paid_on.to_string(),
                };
                write.emit(&event.claim_id, &event).await?;
            }
            let claim = Some(self.shown(&mut write, &row, call).await?);
            Ok(write.commit(pb::SettleClaimResponse { claim }).await?)
        };
        Ok(answer.await?)
    }
}

fn amount_is_approved(row: &Row, amount_rupiah: i64) -> Result<(), Error> {
    match row.approved_rupiah {
        Some(approved) if approved == amount_rupiah => Ok(()),
        approved => Err(Error::AmountNotApproved(approved.unwrap_or_default())),
    }
}

/// What the verifier decided, as a step.
fn verification(fields: &mut Fields, message: &pb::RecordVerificationRequest) -> Option<Step> {
    match message.outcome() {
        pb::VerificationOutcome::Unspecified => {
            fields.wrong("outcome", "VERIFICATION_OUTCOME_VERIFIED or VERIFICATION_OUTCOME_PENDING");
            None
        }
        pb::VerificationOutcome::Verified => {
            fields.require("reason", message.reason == 0, "must be unspecified unless pending");
            fields.require("asked_of", message.asked_of == 0, "must be unspecified unless pending");
            fields.require("detail", message.detail.is_empty(), "must be empty unless pending");
            Some(Step::Verify)
        }
        pb::VerificationOutcome::Pending => {
            let reason = message.reason() != pb::PendingReason::Unspecified;
            fields.require("reason", reason, "a value of PendingReason");
            fields.parse("detail", vocabulary::text(&message.detail, 500));
            let of = match message.asked_of() {
                pb::Party::Unspecified | pb::Party::DisputeBody => None,
                pb::Party::Hospital => Some(Party::Hospital),
                pb::Party::Bpjs => Some(Party::Bpjs),
            };
            fields.require("asked_of", of.is_some(), "PARTY_HOSPITAL or PARTY_BPJS");
            of.map(|of| Step::Pend { of })
        }
    }
}
