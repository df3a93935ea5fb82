//! SEPs over gRPC: read, cancel, list. How one is issued stands in [`super::issue`], how it is changed in
//! [`super::sep_life`].

use chassis::{Begun, Fields, Mutation, RequestId, page::Page, time};
use prost::Message as _;
use proto::claims::v1::{self as pb, sep_service_server::SepService};
use tonic::{Request, Response, Status};
use vocabulary::{MemberId, SepNumber};

use super::{Seps, claim_life, facility_scope, optional};
use crate::{error::Error, life::State, life::Step, store};

/// The SEP of a stored letter, without evidence.
pub(super) fn view(row: &store::sep::Row) -> Result<pb::Sep, Error> {
    let mut sep = pb::Sep::decode(row.letter.as_slice()).map_err(|_| Error::Unreadable("SEP"))?;
    sep.sep_number.clone_from(&row.sep_number);
    sep.version = row.version;
    if let Some(at) = row.cancelled_at {
        sep.set_state(pb::SepState::Cancelled);
        sep.cancelled_at = Some(time::to_proto(at));
        sep.cancel_note.clone_from(&row.cancel_note);
    }
    Ok(sep)
}

pub(super) fn evidence(kept: store::sep::Evidence) -> pb::Evidence {
    pb::Evidence {
        edge: kept.edge,
        answer_id: kept.answer_id,
        number: kept.number,
        answered_at: Some(time::to_proto(kept.answered_at)),
        answer_type: kept.answer_type,
        answer: kept.answer,
    }
}

#[tonic::async_trait]
impl SepService for Seps {
    async fn issue_sep(
        &self,
        request: Request<pb::IssueSepRequest>,
    ) -> Result<Response<pb::IssueSepResponse>, Status> {
        let (call, message) = chassis::call::accept(request)?;
        Ok(Response::new(Box::pin(self.issue(&call, message)).await?))
    }

    async fn get_sep(
        &self,
        request: Request<pb::GetSepRequest>,
    ) -> Result<Response<pb::GetSepResponse>, Status> {
        let (call, message) = chassis::call::accept(request)?;
        let mut fields = Fields::new();
        let number = fields.parse("sep_number", SepNumber::parse(&message.sep_number));
        let Some(number) = number else { return Err(fields.into()) };
        let answer = async {
            let pool = &self.db.pool;
            let row =
                store::sep::get(pool, number.as_str(), call.caller.facility()).await?.ok_or(Error::NoSep)?;
            let mut sep = view(&row)?;
            let kept = store::sep::evidence(pool, number.as_str()).await?;
            sep.evidence = kept.into_iter().map(evidence).collect();
            let claim = store::claim::of_sep(pool, number.as_str()).await?;
            let claim_id = claim.map_or_else(String::new, |(id, _)| id.to_string());
            let earlier_versions = self.earlier_versions(&row).await?;
            Ok::<_, Error>(pb::GetSepResponse { sep: Some(sep), claim_id, earlier_versions })
        };
        Ok(Response::new(answer.await?))
    }

    async fn cancel_sep(
        &self,
        request: Request<pb::CancelSepRequest>,
    ) -> Result<Response<pb::CancelSepResponse>, Status> {
        let (call, message) = chassis::call::accept(request)?;
        let mut fields = Fields::new();
        let request_id = fields.parse("request_id", RequestId::parse(&message.request_id));
        let number = fields.parse("sep_number", SepNumber::parse(&message.sep_number));
        let note = fields.parse("note", vocabulary::text(&message.note, 200));
        let (Some(request_id), Some(number), Some(note)) = (request_id, number, note) else {
            return Err(fields.into());
        };
        let mut write = match Mutation::new(&call, &message, request_id).begin(&self.db).await? {
            Begun::Replayed(answer) => return Ok(Response::new(answer)),
            Begun::Fresh(write) => write,
        };
        let answer = async {
            let mut row = store::sep::lock(write.connection(), number.as_str(), call.caller.facility())
                .await?
                .ok_or(Error::NoSep)?;
            if row.cancelled_at.is_some() {
                return Err(Error::SepCancelled);
            }
            if let Some((claim_id, _)) = store::claim::of_sep(write.connection(), number.as_str()).await? {
                let claim =
                    store::claim::lock(write.connection(), claim_id, None).await?.ok_or(Error::NoClaim)?;
                let mut claim = claim;
                if claim.state != State::Draft as i16 {
                    return Err(Error::SepInUse(claim_id));
                }
                let step = claim_life::take(&mut claim, Step::Withdraw, &call)
                    .map_err(|_| Error::SepInUse(claim_id))?;
                store::claim::save(write.connection(), &claim, &step).await?;
            }
            let led_to = store::follow_up::of_sep(write.connection(), number.as_str()).await?;
            if !led_to.is_empty() {
                return Err(Error::SepHasFollowUps(led_to));
            }
            store::follow_up::release(write.connection(), number.as_str(), call.received_at).await?;
            store::sep_approval::release(write.connection(), number.as_str()).await?;
            store::sep::cancel(write.connection(), number.as_str(), call.received_at, &note).await?;
            (row.cancelled_at, row.cancel_note) = (Some(call.received_at), note);
            let sep = view(&row)?;
            let event = pb::SepCancelled {
                sep_number: sep.sep_number.clone(),
                facility_code: sep.facility_code.clone(),
                care_type: sep.care_type,
                service_date: sep.service_date.clone(),
                member_id: sep.member_id.clone(),
            };
            write.emit(number.as_str(), &event).await?;
            Ok(write.commit(pb::CancelSepResponse { sep: Some(sep) }).await?)
        };
        Ok(Response::new(answer.await?))
    }

    async fn list_seps(
        &self,
        request: Request<pb::ListSepsRequest>,
    ) -> Result<Response<pb::ListSepsResponse>, Status> {
        let (call, message) = chassis::call::accept(request)?;
        let mut fields = Fields::new();
        let page = Page::parse(&mut fields, message.page_size, &message.page_token);
        let after = page.after.as_deref().and_then(|key| fields.parse("page_token", SepNumber::parse(key)));
        let care_type = care_type(&mut fields, message.care_type);
        let filter = store::sep::Filter {
            facility_code: facility_scope(&mut fields, call.caller.facility(), &message.facility_code),
            from: optional(&mut fields, "service_date_from", &message.service_date_from, vocabulary::date),
            to: optional(&mut fields, "service_date_to", &message.service_date_to, vocabulary::date),
            care_type,
            member_id: optional(&mut fields, "member_id", &message.member_id, MemberId::parse)
                .map(|id| id.uuid()),
            after: after.map(|number| number.as_str().to_owned()),
            limit: page.size + 1,
        };
        fields.finish()?;
        let mut rows = store::sep::list(&self.db.pool, &filter).await.map_err(Error::from)?;
        let next_page_token = next(&mut rows, page.size, |row| row.sep_number.clone());
        let seps = rows.iter().map(view).collect::<Result<_, _>>()?;
        Ok(Response::new(pb::ListSepsResponse { seps, next_page_token }))
    }

    async fn update_sep(
        &self,
        request: Request<pb::UpdateSepRequest>,
    ) -> Result<Response<pb::UpdateSepResponse>, Status> {
        let (call, message) = chassis::call::accept(request)?;
        Ok(Response::new(Box::pin(self.update(&call, message)).await?))
    }

    async fn record_discharge(
        &self,
        request: Request<pb::RecordDischargeRequest>,
    ) -> Result<Response<pb::RecordDischargeResponse>, Status> {
        let (call, message) = chassis::call::accept(request)?;
        Ok(Response::new(Box::pin(self.discharge(&call, message)).await?))
    }

    async fn list_accident_seps(
        &self,
        request: Request<pb::ListAccidentSepsRequest>,
    ) -> Result<Response<pb::ListAccidentSepsResponse>, Status> {
        let (_, message) = chassis::call::accept(request)?;
        Ok(Response::new(self.accidents(message).await?))
    }
}

/// The kind of care a list is narrowed to.
pub(super) fn care_type(fields: &mut Fields, given: i32) -> Option<i16> {
    let known = pb::CareType::try_from(given);
    fields.require("care_type", known.is_ok(), "a value of CareType, or unspecified for both");
    known.ok().filter(|care| *care != pb::CareType::Unspecified).map(|care| care as i16)
}

/// Cuts the row that was read to know of a next page, and gives that page's token.
pub(super) fn next<T>(rows: &mut Vec<T>, size: i64, key: impl Fn(&T) -> String) -> String {
    let size = usize::try_from(size).unwrap_or(usize::MAX);
    if rows.len() <= size {
        return String::new();
    }
    rows.truncate(size);
    rows.last().map_or_else(String::new, |row| chassis::page::token(&key(row)))
}
