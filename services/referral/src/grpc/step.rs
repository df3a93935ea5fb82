//! The steps of a referral: accept, refuse, cancel, arrive, complete.

use chassis::{Begun, Call, Fields, Mutation, RequestId, Write, time::to_proto};
use jiff::Timestamp;
use proto::{options::v1::InstitutionKind, referral::v1 as pb};
use tonic::Status;
use vocabulary::{Icd10, Masked, ReferralNumber};

use super::{Served, is_primary_care, map, now};
use crate::{
    course::Step,
    error::Error,
    letter::{BackReferral, Letter, OriginKind, Outcome, RefusalReason},
    store,
};

/// The fields that every event of a referral has.
macro_rules! event {
    ($name:ident, $letter:expr, { $($field:ident: $value:expr),* $(,)? }) => {{
        let letter: &Letter = $letter;
        pb::$name {
            referral_number: letter.number.to_string(),
            member_id: letter.member_id.to_string(),
            origin_facility_code: letter.origin.to_string(),
            origin_kind: pb::OriginKind::from(letter.origin_kind).into(),
            origin_region_code: letter.origin_region.map(|region| region.as_str().to_owned()).unwrap_or_default(),
            destination_facility_code: letter.destination.to_string(),
            poli_code: letter.poli.to_string(),
            care_type: pb::CareType::from(letter.care_type).into(),
            referral_date: letter.referral_date.to_string(),
            $($field: $value,)*
        }
    }};
}

/// Who takes a step.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Origin,
    Destination,
}

impl Served {
    pub(super) async fn accept(
        &self,
        call: &Call,
        message: pb::AcceptReferralRequest,
    ) -> Result<pb::AcceptReferralResponse, Status> {
        let mut fields = Fields::new();
        let (request_id, number) = keys(&mut fields, &message.request_id, &message.referral_number);
        let (Some(request_id), Some(number)) = (request_id, number) else { return Err(fields.into()) };
        let mut write = match Mutation::new(call, &message, request_id).begin(&self.db).await? {
            Begun::Replayed(answer) => return Ok(answer),
            Begun::Fresh(write) => write,
        };
        let letter = self.take(&mut write, call, &number, Side::Destination, Step::Accept, |_| {}).await?;
        let event = event!(ReferralAccepted, &letter, {
            accepted_at: instant(letter.times.accepted_at),
            sent_at: instant(Some(letter.times.sent_at)),
        });
        write.emit(letter.number.as_str(), &event).await?;
        let answer = pb::AcceptReferralResponse { referral: Some(self.shown(&letter, call)?) };
        Ok(write.commit(answer).await?)
    }

    pub(super) async fn refuse(
        &self,
        call: &Call,
        message: pb::RefuseReferralRequest,
    ) -> Result<pb::RefuseReferralResponse, Status> {
        let mut fields = Fields::new();
        let (request_id, number) = keys(&mut fields, &message.request_id, &message.referral_number);
        let reason = map::word::<RefusalReason, pb::RefusalReason>(
            &mut fields,
            "refusal_reason",
            message.refusal_reason,
        );
        let note = map::optional_text(&mut fields, "note", &message.note, 500);
        let said = reason != Some(RefusalReason::Other) || !message.note.is_empty();
        fields.require("note", said, "must say why, when the reason is other");
        let (Some(request_id), Some(number), Some(reason)) = (request_id, number, reason) else {
            return Err(fields.into());
        };
        fields.finish()?;
        let mut write = match Mutation::new(call, &message, request_id).begin(&self.db).await? {
            Begun::Replayed(answer) => return Ok(answer),
            Begun::Fresh(write) => write,
        };
        let letter = self
            .take(&mut write, call, &number, Side::Destination, Step::Refuse, |letter| {
                letter.refusal = Some(reason);
                letter.refusal_note = Masked::new(note);
            })
            .await?;
        let event = event!(ReferralRefused, &letter, {
            refused_at: instant(letter.times.refused_at),
            sent_at: instant(Some(letter.times.sent_at)),
            refusal_reason: pb::RefusalReason::from(reason).into(),
        });
        write.emit(letter.number.as_str(), &event).await?;
        let answer = pb::RefuseReferralResponse { referral: Some(self.shown(&letter, call)?) };
        Ok(write.commit(answer).await?)
    }

    pub(super) async fn cancel(
        &self,
        call: &Call,
        message: pb::CancelReferralRequest,
    ) -> Result<pb::CancelReferralResponse, Status> {
        if call.caller.kind == InstitutionKind::Service && !is_primary_care(&call.caller) {
            return Err(Error::CallerNotAllowed.into());
        }
        let mut fields = Fields::new();
        let (request_id, number) = keys(&mut fields, &message.request_id, &message.referral_number);
        let note = fields.parse("note", vocabulary::text(&message.note, 500));
        let (Some(request_id), Some(number), Some(note)) = (request_id, number, note) else {
            return Err(fields.into());
        };
        let mut write = match Mutation::new(call, &message, request_id).begin(&self.db).await? {
            Begun::Replayed(answer) => return Ok(answer),
            Begun::Fresh(write) => write,
        };
        let letter = self
            .take(&mut write, call, &number, Side::Origin, Step::Cancel, |letter| {
                letter.cancel_note = Masked::new(note);
            })
            .await?;
        let event = event!(ReferralCancelled, &letter, { cancelled_at: instant(letter.times.cancelled_at) });
        write.emit(letter.number.as_str(), &event).await?;
        let answer = pb::CancelReferralResponse { referral: Some(self.shown(&letter, call)?) };
        Ok(write.commit(answer).await?)
    }

    pub(super) async fn arrive(
        &self,
        call: &Call,
        message: pb::RecordArrivalRequest,
    ) -> Result<pb::RecordArrivalResponse, Status> {
        let mut fields = Fields::new();
        let (request_id, number) = keys(&mut fields, &message.request_id, &message.referral_number);
        let (Some(request_id), Some(number)) = (request_id, number) else { return Err(fields.into()) };
        let mut write = match Mutation::new(call, &message, request_id).begin(&self.db).await? {
            Begun::Replayed(answer) => return Ok(answer),
            Begun::Fresh(write) => write,
        };
        let letter = self.take(&mut write, call, &number, Side::Destination, Step::Arrive, |_| {}).await?;
        let event = event!(ReferralArrived, &letter, { arrived_at: instant(letter.times.arrived_at) });
        write.emit(letter.number.as_str(), &event).await?;
        let answer = pb::RecordArrivalResponse { referral: Some(self.shown(&letter, call)?) };
        Ok(write.commit(answer).await?)
    }

    pub(super) async fn complete(
        &self,
        call: &Call,
        message: pb::CompleteReferralRequest,
    ) -> Result<pb::CompleteReferralResponse, Status> {
        let mut fields = Fields::new();
        let (request_id, number) = keys(&mut fields, &message.request_id, &message.referral_number);
        let back = read_back(&mut fields, message.back_referral.as_ref());
        let (Some(request_id), Some(number), Some(back)) = (request_id, number, back) else {
            return Err(fields.into());
        };
        fields.finish()?;
        let mut write = match Mutation::new(call, &message, request_id).begin(&self.db).await? {
            Begun::Replayed(answer) => return Ok(answer),
            Begun::Fresh(write) => write,
        };
        let referred_back = back.outcome == Outcome::ReferredBack;
        let letter = self
            .take(&mut write, call, &number, Side::Destination, Step::Complete, |letter| {
                letter.back = Some(back)
            })
            .await?;
        let event = event!(ReferralCompleted, &letter, {
            completed_at: instant(letter.times.completed_at),
            referred_back: referred_back,
        });
        write.emit(letter.number.as_str(), &event).await?;
        let answer = pb::CompleteReferralResponse { referral: Some(self.shown(&letter, call)?) };
        Ok(write.commit(answer).await?)
    }

    /// Locks the letter, takes the step if it is the caller's to take and lawful, and records it.
    async fn take(
        &self,
        write: &mut Write,
        call: &Call,
        number: &ReferralNumber,
        side: Side,
        step: Step,
        note: impl FnOnce(&mut Letter),
    ) -> Result<Letter, Error> {
        let mut letter = store::lock(write.connection(), number).await?.ok_or(Error::NotFound)?;
        let acting = match (side, call.caller.facility()) {
            (Side::Origin, Some(code)) => letter.origin.as_str() == code,
            (Side::Destination, Some(code)) => letter.destination.as_str() == code,
            // The primary-care service acts for first-level facilities.
            (Side::Origin, None) => letter.origin_kind == OriginKind::Fktp,
            (Side::Destination, None) => false,
        };
        if !acting {
            return Err(Error::NotFound);
        }
        letter.times = letter.times.take(step, &self.terms(&letter)?, now(call))?;
        note(&mut letter);
        store::record_step(write.connection(), &letter).await?;
        Ok(letter)
    }
}

fn instant(at: Option<Timestamp>) -> Option<prost_types::Timestamp> {
    at.map(to_proto)
}

fn keys(fields: &mut Fields, request_id: &str, number: &str) -> (Option<RequestId>, Option<ReferralNumber>) {
    (
        fields.parse("request_id", RequestId::parse(request_id)),
        fields.parse("referral_number", ReferralNumber::parse(number)),
    )
}

fn read_back(fields: &mut Fields, given: Option<&pb::BackReferral>) -> Option<BackReferral> {
    let Some(given) = given else {
        fields.wrong("back_referral", "must be given");
        return None;
    };
    let outcome = map::word::<Outcome, pb::Outcome>(fields, "back_referral.outcome", given.outcome);
    let diagnosis = if given.diagnosis_code.is_empty() {
        None
    } else {
        fields.parse("back_referral.diagnosis_code", Icd10::parse(&given.diagnosis_code))
    };
    let advice = map::optional_text(fields, "back_referral.advice", &given.advice, 2000);
    let said = outcome != Some(Outcome::ReferredBack) || !given.advice.is_empty();
    fields.require("back_referral.advice", said, "must be given when the patient is referred back");
    Some(BackReferral { outcome: outcome?, diagnosis, advice: Masked::new(advice) })
}
