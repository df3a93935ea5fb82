//! The hospital's steps of a claim: each opens a write, locks the claim, asks the domain, saves and tells.

use chassis::{Begun, Call, Fields, Mutation, RequestId, Write, time};
use prost::Message;
use proto::claims::v1 as pb;
use sqlx::PgExecutor;
use tonic::Status;
use uuid::Uuid;
use vocabulary::SepNumber;

use super::{
    Claims, accident, claim_data,
    claim_read::claim_id,
    sep, verification,
    view::{self, life},
};
use crate::{
    coder::{self, Standing},
    discharge::{Statement, differences},
    episode::{Care, Episode},
    error::Error,
    grouping::Asked,
    life::{Life, NotNow, Party, State, Step},
    store::{
        self,
        claim::{Row, Step as Taken},
    },
};

/// A write that was begun on a claim.
pub(super) enum Opened<R> {
    Replayed(R),
    Fresh(Box<(Write, Row)>),
}

/// Takes a step in the stored claim, or says why not.
pub(super) fn take(row: &mut Row, step: Step, call: &Call) -> Result<Taken, Error> {
    let before = life(row)?;
    let after = before.take(step).map_err(|refused| wrong(row, refused))?;
    row.state = after.state as i16;
    row.steps += 1;
    row.asked_of = after.asked.map(|party| party as i16);
    if after.round > before.round {
        row.asked_at = Some(call.received_at);
    } else if after.asked.is_none() {
        row.asked_at = None;
    }
    row.round = after.round;
    if before.asked == Some(Party::Hospital) && after.asked != before.asked {
        row.came_back_at = Some(call.received_at);
    }
    if after.submitted {
        row.submitted_at.get_or_insert(call.received_at);
    }
    Ok(Taken { state: row.state, taken_at: call.received_at, taken_by: call.caller.to_string() })
}

/// What stands in the way, more exactly than the state where a step back is missing.
pub(super) fn wrong(row: &Row, refused: NotNow) -> Error {
    let early = matches!(refused.step, Step::Finalise | Step::Submit { .. }) && refused.state == State::Draft;
    if !early {
        return Error::StateWrong(refused);
    }
    match row.grouping.as_deref().map(pb::Grouping::decode) {
        Some(Ok(grouping)) => Error::Ungroupable(ungroupable_name(grouping.ungroupable_reason())),
        _ => Error::NotGrouped,
    }
}

fn ungroupable_name(reason: pb::UngroupableReason) -> String {
    reason.as_str_name().trim_start_matches("UNGROUPABLE_REASON_").to_owned()
}

fn care(row: &Row) -> Care {
    if row.care_type == pb::CareType::Inpatient as i16 { Care::Inpatient } else { Care::Outpatient }
}

pub(super) fn episode(row: &Row) -> Result<Episode, Error> {
    claim_data::stored(row.data.as_deref().ok_or(Error::DataMissing)?, care(row))
}

async fn letter(executor: impl PgExecutor<'_>, row: &Row) -> Result<pb::Sep, Error> {
    sep::view(&store::sep::get(executor, &row.sep_number, None).await?.ok_or(Error::NoSep)?)
}

/// Closes the round that is open, if one is, and tells that the claim came back.
pub(super) async fn close_round(
    write: &mut Write,
    row: &Row,
    was: Life,
    call: &Call,
    answer: pb::Pending,
) -> Result<(), Error> {
    if was.asked.is_none() {
        return Ok(());
    }
    let answer = answer.encode_to_vec();
    store::claim::answer(write.connection(), row.claim_id, was.round, call.received_at, &answer).await?;
    let event = came_back(row, was, call);
    Ok(write.emit(&event.claim_id, &event).await?)
}

/// The event of a claim whose round was closed.
pub(super) fn came_back(row: &Row, was: Life, call: &Call) -> pb::ClaimAnswered {
    pb::ClaimAnswered {
        claim_id: row.claim_id.to_string(),
        sep_number: row.sep_number.clone(),
        facility_code: row.facility_code.clone(),
        round: was.round,
        answered_on: call.today.to_string(),
        amount_rupiah: row.tariff_rupiah.unwrap_or_default(),
    }
}

/// Opens the round that the claim names, and tells.
pub(super) async fn open_round(
    write: &mut Write,
    row: &Row,
    call: &Call,
    question: pb::Pending,
) -> Result<(), Error> {
    let question = question_of(row, call, question);
    store::claim::ask(write.connection(), row, &question.encode_to_vec()).await?;
    let event = pended(row, &question);
    Ok(write.emit(&event.claim_id, &event).await?)
}

/// A question with what the claim says of the round that it opens.
pub(super) fn question_of(row: &Row, call: &Call, question: pb::Pending) -> pb::Pending {
    pb::Pending {
        round: row.round,
        reason: row.pending_reason.unwrap_or_default().into(),
        asked_of: row.asked_of.unwrap_or_default().into(),
        asked_on: call.today.to_string(),
        ..question
    }
}

/// The event of a claim of which something is asked.
pub(super) fn pended(row: &Row, question: &pb::Pending) -> pb::ClaimPended {
    pb::ClaimPended {
        claim_id: row.claim_id.to_string(),
        sep_number: row.sep_number.clone(),
        facility_code: row.facility_code.clone(),
        reason: question.reason,
        round: question.round,
        asked_of: question.asked_of,
        asked_on: question.asked_on.clone(),
    }
}

impl Claims {
    pub(super) async fn open<R: Message + Default>(
        &self,
        call: &Call,
        message: &impl Message,
        request_id: RequestId,
        claim_id: Uuid,
    ) -> Result<Opened<R>, Error> {
        match Mutation::new(call, message, request_id).begin(&self.db).await? {
            Begun::Replayed(answer) => Ok(Opened::Replayed(answer)),
            Begun::Fresh(mut write) => {
                let own = call.caller.facility();
                let row =
                    store::claim::lock(write.connection(), claim_id, own).await?.ok_or(Error::NoClaim)?;
                Ok(Opened::Fresh(Box::new((write, row))))
            }
        }
    }

    /// The claim as the answer to a write shows it: with the round that is open, without its steps.
    pub(super) async fn shown(&self, write: &mut Write, row: &Row, call: &Call) -> Result<pb::Claim, Error> {
        let open = match row.asked_of {
            Some(_) => store::claim::pendings(write.connection(), row.claim_id, true).await?,
            None => Vec::new(),
        };
        view::claim(row, &self.policies, call, &open, &[])
    }

    pub(super) async fn create(
        &self,
        call: &Call,
        message: pb::CreateClaimRequest,
    ) -> Result<pb::CreateClaimResponse, Error> {
        let mut fields = Fields::new();
        let request_id = fields.parse("request_id", RequestId::parse(&message.request_id));
        let number = fields.parse("sep_number", SepNumber::parse(&message.sep_number));
        let (Some(request_id), Some(number)) = (request_id, number) else { return Err(fields.into()) };
        let mut write = match Mutation::new(call, &message, request_id).begin(&self.db).await? {
            Begun::Replayed(answer) => return Ok(answer),
            Begun::Fresh(write) => write,
        };
        // The lock on the SEP keeps two claims from citing it at once.
        let own = call.caller.facility();
        let sep = store::sep::lock(write.connection(), number.as_str(), own).await?.ok_or(Error::NoSep)?;
        if sep.cancelled_at.is_some() {
            return Err(Error::SepCancelled);
        }
        if let Some((other, _)) = store::claim::of_sep(write.connection(), number.as_str()).await? {
            return Err(Error::SepAlreadyClaimed(other));
        }
        let row = Row {
            claim_id: Uuid::now_v7(),
            sep_number: sep.sep_number,
            facility_code: sep.facility_code,
            member_id: sep.member_id,
            care_type: sep.care_type,
            service_date: sep.service_date,
            state: State::Draft as i16,
            steps: 1,
            data: None,
            grouping: None,
            tariff_rupiah: None,
            discharged_on: None,
            submitted_at: None,
            round: 0,
            pending_reason: None,
            asked_of: None,
            asked_at: None,
            approved_rupiah: None,
            approved_on: None,
            payment_reference: None,
            paid_rupiah: None,
            paid_on: None,
            came_back_at: None,
            filed_at: None,
            filing_outcome: None,
            filing_stated_on: None,
        };
        let step = Taken { state: row.state, taken_at: call.received_at, taken_by: call.caller.to_string() };
        store::claim::create(write.connection(), &row, &step).await?;
        let claim = Some(self.shown(&mut write, &row, call).await?);
        Ok(write.commit(pb::CreateClaimResponse { claim }).await?)
    }

    pub(super) async fn set_data(
        &self,
        call: &Call,
        message: pb::SetClaimDataRequest,
    ) -> Result<pb::SetClaimDataResponse, Status> {
        let mut fields = Fields::new();
        let request_id = fields.parse("request_id", RequestId::parse(&message.request_id));
        let id = claim_id(&mut fields, "claim_id", &message.claim_id);
        // The kind of care is the SEP's; nothing that is read here depends on it.
        let data = message.data.clone().unwrap_or_default();
        let episode = claim_data::read(&mut fields, &data, Care::Outpatient, call.received_at);
        let (Some(request_id), Some(id), Some(episode)) = (request_id, id, episode) else {
            return Err(fields.into());
        };
        fields.finish()?;
        let (mut write, mut row) = match self.open(call, &message, request_id, id).await? {
            Opened::Replayed(answer) => return Ok(answer),
            Opened::Fresh(opened) => *opened,
        };
        let answer = async {
            let step = take(&mut row, Step::SetData, call)?;
            let episode = Episode { care: care(&row), ..episode };
            let letter = letter(write.connection(), &row).await?;
            let wrong = claim_data::contradictions(&episode, &data, &letter, row.service_date);
            if !wrong.is_empty() {
                return Err(Error::ContradictsSep(wrong));
            }
            row.data = Some(data.encode_to_vec());
            row.discharged_on = Some(chassis::time::today_at(episode.discharged_at));
            (row.grouping, row.tariff_rupiah) = (None, None);
            store::claim::save(write.connection(), &row, &step).await?;
            verification::keep_bill(write.connection(), row.claim_id, &data).await?;
            let claim = Some(self.shown(&mut write, &row, call).await?);
            Ok(write.commit(pb::SetClaimDataResponse { claim }).await?)
        };
        Ok(answer.await?)
    }

    /// Groups outside of the transaction: a grouper may be another system. What it answered is kept only for the claim it
    /// was asked about: one that was changed meanwhile is left as it is.
    pub(super) async fn group(
        &self,
        call: &Call,
        message: pb::GroupClaimRequest,
    ) -> Result<pb::GroupClaimResponse, Error> {
        let (request_id, id) = named(&message.request_id, &message.claim_id)?;
        let mutation = Mutation::new(call, &message, request_id.clone());
        let write = async {
            let seen = self.seen(call, id, Step::Group).await?;
            let episode = episode(&seen)?;
            let data = data(&seen)?;
            let letter = letter(&self.db.pool, &seen).await?;
            let asked = Asked { row: &seen, letter: &letter, data: &data, episode: &episode, call };
            let grouping = self.grouper.group(&asked).await?;
            let (mut write, mut row) = match self.open(call, &message, request_id, id).await? {
                Opened::Replayed(answer) => return Ok(answer),
                Opened::Fresh(opened) => *opened,
            };
            unchanged(&seen, &row)?;
            let mut grouped = row.clone();
            let step = take(&mut grouped, Step::Group, call)?;
            let encoded = grouping.encode_to_vec();
            if grouping.ungroupable_reason() == pb::UngroupableReason::Unspecified {
                row = grouped;
                (row.grouping, row.tariff_rupiah) = (Some(encoded), Some(grouping.tariff_rupiah));
                store::claim::save(write.connection(), &row, &step).await?;
                let event = pb::ClaimGrouped {
                    claim_id: row.claim_id.to_string(),
                    sep_number: row.sep_number.clone(),
                    facility_code: row.facility_code.clone(),
                    tariff_rupiah: grouping.tariff_rupiah,
                    ..pb::ClaimGrouped::default()
                };
                write.emit(&event.claim_id, &event).await?;
            } else {
                store::claim::keep_grouping(write.connection(), row.claim_id, &encoded).await?;
                (row.grouping, row.tariff_rupiah) = (Some(encoded), None);
            }
            let claim = Some(self.shown(&mut write, &row, call).await?);
            Ok(write.commit(pb::GroupClaimResponse { claim }).await?)
        };
        Box::pin(mutation.once(&self.db, write)).await
    }

    /// The claim as it is now, if the step is lawful.
    pub(super) async fn seen(&self, call: &Call, id: Uuid, step: Step) -> Result<Row, Error> {
        let row =
            store::claim::get(&self.db.pool, id, call.caller.facility()).await?.ok_or(Error::NoClaim)?;
        take(&mut row.clone(), step, call)?;
        Ok(row)
    }

    pub(super) async fn finalise(
        &self,
        call: &Call,
        message: pb::FinaliseClaimRequest,
    ) -> Result<pb::FinaliseClaimResponse, Error> {
        let (request_id, id) = named(&message.request_id, &message.claim_id)?;
        let mutation = Mutation::new(call, &message, request_id.clone());
        let write = async {
            let seen = self.seen(call, id, Step::Finalise).await?;
            if seen.tariff_rupiah.is_none() {
                return Err(Error::Ungroupable(ungroupable_name(pb::UngroupableReason::NoTariff)));
            }
            let data = data(&seen)?;
            let letter = letter(&self.db.pool, &seen).await?;
            one_discharge(&data, &letter)?;
            accident::payable(&mut *self.db.pool.acquire().await?, &seen).await?;
            let coder_nik = data.coder_nik;
            self.certified(&seen, &coder_nik, call).await?;
            self.grouper.finalise(&seen.sep_number, &coder_nik).await?;
            let (mut write, mut row) = match self.open(call, &message, request_id, id).await? {
                Opened::Replayed(answer) => return Ok(answer),
                Opened::Fresh(opened) => *opened,
            };
            unchanged(&seen, &row)?;
            let step = take(&mut row, Step::Finalise, call)?;
            store::claim::save(write.connection(), &row, &step).await?;
            let claim = Some(self.shown(&mut write, &row, call).await?);
            Ok(write.commit(pb::FinaliseClaimResponse { claim }).await?)
        };
        Box::pin(mutation.once(&self.db, write)).await
    }

    /// Refuses a claim whose coder may not code here today, where a certificate is asked for.
    async fn certified(&self, row: &Row, coder_nik: &str, call: &Call) -> Result<(), Error> {
        if !self.policies.coder.on(row.service_date)?.certificate_required {
            return Ok(());
        }
        let held = store::coder::of_coder(&self.db.pool, coder_nik).await?;
        match coder::standing(&held, &row.facility_code, call.today) {
            Standing::Certified => Ok(()),
            other => Err(Error::CoderNotCertified(other)),
        }
    }
}

/// Refuses a claim that states another discharge than its SEP, where one was recorded there.
fn one_discharge(data: &pb::ClaimData, letter: &pb::Sep) -> Result<(), Error> {
    let Some(recorded) = &letter.discharge else { return Ok(()) };
    let read = |at: Option<&prost_types::Timestamp>| {
        at.and_then(time::from_proto).ok_or(Error::Unreadable("discharge"))
    };
    let claimed = Statement { at: read(data.discharged_at.as_ref())?, way: data.discharge_status };
    let recorded = Statement { at: read(recorded.discharged_at.as_ref())?, way: recorded.departure };
    let found = differences(claimed, recorded);
    if found.is_empty() { Ok(()) } else { Err(Error::DischargeDiffers(found)) }
}

/// The stored data of a claim.
pub(super) fn data(row: &Row) -> Result<pb::ClaimData, Error> {
    let data = row.data.as_deref().ok_or(Error::DataMissing)?;
    pb::ClaimData::decode(data).map_err(|_| Error::Unreadable("claim"))
}

/// Refuses to go on with a claim that somebody changed since it was seen.
pub(super) fn unchanged(seen: &Row, now: &Row) -> Result<(), Error> {
    // Every change of data is a step.
    if seen.steps == now.steps { Ok(()) } else { Err(Error::ClaimChanged) }
}

/// The two fields of a step that has no others.
pub(super) fn named(request_id: &str, id: &str) -> Result<(RequestId, Uuid), Error> {
    let mut fields = Fields::new();
    let request_id = fields.parse("request_id", RequestId::parse(request_id));
    let id = claim_id(&mut fields, "claim_id", id);
    request_id.zip(id).ok_or_else(|| fields.into())
}
