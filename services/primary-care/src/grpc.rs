//! The contract `jkn.primary_care.v1`: parse, call, map.

mod examine;
mod refer;
mod wire;

use std::sync::Arc;

use chassis::{Begun, Call, Db, Fields, Mutation, RequestId, Upstream, page, policy::Dated};
use proto::{
    membership::v1::{
        CheckEligibilityRequest, IneligibilityReason, Segment, check_eligibility_request::Known,
        membership_service_client::MembershipServiceClient,
    },
    primary_care::v1::{
        self as pb, primary_care_service_server::PrimaryCareService, register_visit_request::Member,
    },
    referral::v1::referral_service_client::ReferralServiceClient,
};
use tonic::{Request, Response, Status};
use vocabulary::{CardNumber, FacilityCode, MemberId, RegionCode, VisitNumber};

use crate::{
    diagnosis::NonSpecialist,
    error::Error,
    laboratory::LaboratoryResults,
    record::RecordPolicy,
    store::{self, Wanted},
    visit::{self, Evidence, Ground, State, Visit, VisitPolicy},
    vital_signs::VitalSigns,
};
use wire::event;

/// What the calls share.
pub(crate) struct PrimaryCare {
    pub(crate) db: Db,
    pub(crate) membership: MembershipServiceClient<Upstream>,
    pub(crate) referral: ReferralServiceClient<Upstream>,
    pub(crate) visits: Arc<Dated<VisitPolicy>>,
    pub(crate) non_specialist: Arc<Dated<NonSpecialist>>,
    pub(crate) records: Arc<Dated<RecordPolicy>>,
}

/// Keeps what a transaction began with, or answers what was answered before.
macro_rules! begin {
    ($mutation:expr, $db:expr) => {
        match $mutation.begin($db).await? {
            Begun::Replayed(answer) => return Ok(Response::new(answer)),
            Begun::Fresh(write) => write,
        }
    };
}
use begin;

/// A visit that the caller may see: a facility its own.
fn own(call: &Call, visit: Option<Visit>) -> Result<Visit, Error> {
    let theirs = |visit: &Visit| {
        call.caller.facility().is_none_or(|own| own.eq_ignore_ascii_case(visit.facility.as_str()))
    };
    visit.filter(theirs).ok_or(Error::NotFound)
}

/// The facility whose visits are asked for: a facility its own, others the one they name.
fn facility_asked_for(call: &Call, fields: &mut Fields, given: &str) -> Result<Option<FacilityCode>, Error> {
    let given = match (given, call.caller.facility()) {
        ("", Some(own)) => own,
        (given, _) => given,
    };
    let facility = fields.parse("facility_code", FacilityCode::parse(given));
    match (&facility, call.caller.facility()) {
        (Some(facility), Some(own)) if !own.eq_ignore_ascii_case(facility.as_str()) => {
            Err(Error::NotYourFacility)
        }
        _ => Ok(facility),
    }
}

fn optional<T, E: std::fmt::Display>(
    fields: &mut Fields,
    path: &str,
    given: &str,
    parse: fn(&str) -> Result<T, E>,
) -> Option<T> {
    if given.is_empty() { None } else { fields.parse(path, parse(given)) }
}

/// Where a page of visits went on: visit date and number of the last one.
fn place_in_list(text: &str) -> Option<(jiff::civil::Date, VisitNumber)> {
    let (date, number) = text.split_once('|')?;
    Some((vocabulary::date(date).ok()?, VisitNumber::parse(number).ok()?))
}

#[tonic::async_trait]
impl PrimaryCareService for PrimaryCare {
    async fn register_visit(
        &self,
        request: Request<pb::RegisterVisitRequest>,
    ) -> Result<Response<pb::RegisterVisitResponse>, Status> {
        let (call, message) = chassis::call::accept(request)?;
        let mut fields = Fields::new();
        let request_id = fields.parse("request_id", RequestId::parse(&message.request_id));
        let kind = fields.parse("kind", wire::kind(message.kind));
        let member = match &message.member {
            Some(Member::MemberId(id)) => {
                fields.parse("member_id", MemberId::parse(id)).map(|id| Known::MemberId(id.to_string()))
            }
            Some(Member::CardNumber(number)) => fields
                .parse("card_number", CardNumber::parse(number))
                .map(|number| Known::CardNumber(number.expose().to_owned())),
            None => {
                fields.wrong("member", "must be member_id or card_number");
                None
            }
        };
        let day = if message.visit_date.is_empty() {
            Some(call.today)
        } else {
            fields.parse("visit_date", vocabulary::date(&message.visit_date))
        };
        fields.require("visit_date", day.is_none_or(|day| day <= call.today), "must not be in the future");
        let own_code = call.caller.facility().unwrap_or_default();
        let facility = fields.parse("facility_code", FacilityCode::parse(own_code));
        fields.require(
            "facility_code",
            message.facility_code.is_empty() || message.facility_code.eq_ignore_ascii_case(own_code),
            "must be your own, or empty",
        );
        let complaint =
            optional(&mut fields, "complaint", &message.complaint, |text| vocabulary::text(text, 500))
                .unwrap_or_default();
        let (Some(request_id), Some(kind), Some(member), Some(day), Some(facility)) =
            (request_id, kind, member, day, facility)
        else {
            return Err(fields.into());
        };
        fields.finish()?;

        let mutation = Mutation::new(&call, &message, request_id);
        if let Some(answer) = mutation.replayed(&self.db).await? {
            return Ok(Response::new(answer));
        }
        visit::may_enter(day, call.today, self.visits.on(call.today)?).map_err(Error::from)?;
        let (member, evidence) = self.eligibility(&call, member, day).await?;
        let ground =
            visit::ground(&facility, &evidence.registered_fktp, message.emergency).map_err(Error::from)?;

        let mut write = begin!(mutation, &self.db);
        store::hold_member(write.connection(), member).await?;
        if let Some(visit_number) = store::open_visit(write.connection(), &facility, member, day).await? {
            return Err(Error::AlreadyOpen { visit_number }.into());
        }
        if ground == Ground::OutOfArea {
            let used = store::visits_out_of_area(write.connection(), member, day).await?;
            visit::one_more_outside(used, &evidence.registered_fktp, self.visits.on(day)?)
                .map_err(Error::from)?;
        }
        let number = store::next_number(write.connection(), &facility, day).await?;
        let visit = Visit {
            number,
            facility,
            member,
            kind,
            state: State::Registered,
            date: day,
            registered_at: store::stored_instant(call.received_at),
            emergency: message.emergency,
            complaint,
            evidence,
            vital_signs: VitalSigns::default(),
            laboratory: LaboratoryResults::default(),
            diagnoses: None,
            drugs: Vec::new(),
            discharge: None,
            cancel_note: String::new(),
            pending: None,
            referred: None,
        };
        store::insert(write.connection(), &visit).await?;
        let registered = event!(
            VisitRegistered,
            visit,
            registered_at: Some(chassis::time::to_proto(visit.registered_at)),
            emergency: visit.emergency,
            eligibility_answer_id: visit.evidence.answer_id.clone(),
        );
        write.emit(visit.number.as_str(), &registered).await?;
        Ok(Response::new(
            write.commit(pb::RegisterVisitResponse { visit: Some(wire::of_visit(&visit)) }).await?,
        ))
    }

    async fn record_vital_signs(
        &self,
        request: Request<pb::RecordVitalSignsRequest>,
    ) -> Result<Response<pb::RecordVitalSignsResponse>, Status> {
        let (call, message) = chassis::call::accept(request)?;
        self.vital_signs(&call, &message).await.map(Response::new)
    }

    async fn record_laboratory_results(
        &self,
        request: Request<pb::RecordLaboratoryResultsRequest>,
    ) -> Result<Response<pb::RecordLaboratoryResultsResponse>, Status> {
        let (call, message) = chassis::call::accept(request)?;
        self.laboratory_results(&call, &message).await.map(Response::new)
    }

    async fn record_diagnoses(
        &self,
        request: Request<pb::RecordDiagnosesRequest>,
    ) -> Result<Response<pb::RecordDiagnosesResponse>, Status> {
        let (call, message) = chassis::call::accept(request)?;
        self.diagnoses(&call, &message).await.map(Response::new)
    }

    async fn record_drugs(
        &self,
        request: Request<pb::RecordDrugsRequest>,
    ) -> Result<Response<pb::RecordDrugsResponse>, Status> {
        let (call, message) = chassis::call::accept(request)?;
        self.drugs(&call, &message).await.map(Response::new)
    }

    async fn discharge_visit(
        &self,
        request: Request<pb::DischargeVisitRequest>,
    ) -> Result<Response<pb::DischargeVisitResponse>, Status> {
        let (call, message) = chassis::call::accept(request)?;
        let mut fields = Fields::new();
        let request_id = fields.parse("request_id", RequestId::parse(&message.request_id));
        let number = fields.parse("visit_number", VisitNumber::parse(&message.visit_number));
        let status = fields.parse("discharge_status", wire::discharge(message.discharge_status));
        let date = optional(&mut fields, "discharge_date", &message.discharge_date, vocabulary::date);
        let (Some(request_id), Some(number), Some(status)) = (request_id, number, status) else {
            return Err(fields.into());
        };
        fields.finish()?;

        let mut write = begin!(Mutation::new(&call, &message, request_id), &self.db);
        let mut visit = own(&call, store::lock_visit(write.connection(), &number).await?)?;
        let date = date.unwrap_or(visit.date);
        let mut fields = Fields::new();
        fields.require(
            "discharge_date",
            visit.date <= date && date <= call.today,
            "must be from the visit date to today",
        );
        fields.finish()?;
        visit.state = visit.progress().discharge().map_err(Error::from)?;
        visit.discharge = Some((status, date));
        store::update_end(write.connection(), &visit).await?;
        let discharged = event!(
            VisitDischarged,
            visit,
            discharged_at: Some(chassis::time::to_proto(call.received_at)),
            discharge_date: date.to_string(),
        );
        write.emit(visit.number.as_str(), &discharged).await?;
        Ok(Response::new(
            write.commit(pb::DischargeVisitResponse { visit: Some(wire::of_visit(&visit)) }).await?,
        ))
    }

    async fn refer_visit(
        &self,
        request: Request<pb::ReferVisitRequest>,
    ) -> Result<Response<pb::ReferVisitResponse>, Status> {
        let (call, message) = chassis::call::accept(request)?;
        self.refer(call, message).await
    }

    async fn cancel_visit(
        &self,
        request: Request<pb::CancelVisitRequest>,
    ) -> Result<Response<pb::CancelVisitResponse>, Status> {
        let (call, message) = chassis::call::accept(request)?;
        let mut fields = Fields::new();
        let request_id = fields.parse("request_id", RequestId::parse(&message.request_id));
        let number = fields.parse("visit_number", VisitNumber::parse(&message.visit_number));
        let note = fields.parse("cancel_note", vocabulary::text(&message.cancel_note, 500));
        let (Some(request_id), Some(number), Some(note)) = (request_id, number, note) else {
            return Err(fields.into());
        };
        fields.finish()?;

        let mut write = begin!(Mutation::new(&call, &message, request_id), &self.db);
        let mut visit = own(&call, store::lock_visit(write.connection(), &number).await?)?;
        let was_examined = visit.state == State::Examined;
        visit.state = visit.progress().cancel().map_err(Error::from)?;
        visit.cancel_note = note;
        store::update_end(write.connection(), &visit).await?;
        let cancelled = event!(
            VisitCancelled,
            visit,
            cancelled_at: Some(chassis::time::to_proto(call.received_at)),
            was_examined: was_examined,
        );
        write.emit(visit.number.as_str(), &cancelled).await?;
        Ok(Response::new(
            write.commit(pb::CancelVisitResponse { visit: Some(wire::of_visit(&visit)) }).await?,
        ))
    }

    async fn get_visit(
        &self,
        request: Request<pb::GetVisitRequest>,
    ) -> Result<Response<pb::GetVisitResponse>, Status> {
        let (call, message) = chassis::call::accept(request)?;
        let mut fields = Fields::new();
        let number = fields.parse("visit_number", VisitNumber::parse(&message.visit_number));
        let Some(number) = number else { return Err(fields.into()) };
        let visit = own(&call, store::visit(&self.db.pool, &number).await?)?;
        Ok(Response::new(pb::GetVisitResponse { visit: Some(wire::of_visit(&visit)) }))
    }

    async fn list_visits(
        &self,
        request: Request<pb::ListVisitsRequest>,
    ) -> Result<Response<pb::ListVisitsResponse>, Status> {
        let (call, message) = chassis::call::accept(request)?;
        let mut fields = Fields::new();
        let facility = facility_asked_for(&call, &mut fields, &message.facility_code)?;
        let from = optional(&mut fields, "from_date", &message.from_date, vocabulary::date);
        let to = optional(&mut fields, "to_date", &message.to_date, vocabulary::date);
        let member = optional(&mut fields, "member_id", &message.member_id, MemberId::parse);
        fields.require(
            "to_date",
            from.zip(to).is_none_or(|(from, to)| from <= to),
            "must not be before from_date",
        );
        let page = page::Page::parse(&mut fields, message.page_size, &message.page_token);
        let after = page.after.as_deref().map(place_in_list);
        fields.require(
            "page_token",
            after != Some(None),
            "must be a next_page_token of an answer to the same list",
        );
        let Some(facility) = facility else { return Err(fields.into()) };
        fields.finish()?;

        let wanted =
            Wanted { facility: &facility, from, to, member, after: after.flatten(), most: page.size + 1 };
        let mut visits = store::visits(&self.db.pool, wanted).await?;
        let more = visits.len() as i64 > page.size;
        visits.truncate(usize::try_from(page.size).unwrap_or_default());
        let last = visits.last().filter(|_| more);
        let next_page_token =
            last.map(|visit| page::token(&format!("{}|{}", visit.date, visit.number))).unwrap_or_default();
        Ok(Response::new(pb::ListVisitsResponse {
            visits: visits.iter().map(wire::of_visit).collect(),
            next_page_token,
        }))
    }

    async fn get_contact_counts(
        &self,
        request: Request<pb::GetContactCountsRequest>,
    ) -> Result<Response<pb::GetContactCountsResponse>, Status> {
        let (call, message) = chassis::call::accept(request)?;
        let mut fields = Fields::new();
        let facility = facility_asked_for(&call, &mut fields, &message.facility_code)?;
        let month = fields.parse("month", vocabulary::month(&message.month));
        let (Some(facility), Some(month)) = (facility, month) else { return Err(fields.into()) };
        let counts = store::counts(&self.db.pool, &facility, month).await?;
        let contact_counts = Some(wire::of_counts(facility.to_string(), message.month, &counts));
        Ok(Response::new(pb::GetContactCountsResponse { contact_counts }))
    }
}

impl PrimaryCare {
    /// Asks membership about the member on the day of the visit.
    async fn eligibility(
        &self,
        call: &Call,
        member: Known,
        day: jiff::civil::Date,
    ) -> Result<(MemberId, Evidence), Error> {
        let question = CheckEligibilityRequest {
            service_date: day.to_string(),
            known: Some(member),
            ..CheckEligibilityRequest::default()
        };
        let answer = self
            .membership
            .clone()
            .check_eligibility(call.onward(question))
            .await
            .map_err(|status| chassis::Problem::from_upstream("membership", &status))?
            .into_inner();
        if !answer.eligible {
            let reasons: Vec<_> = answer
                .reasons()
                .map(|reason: IneligibilityReason| {
                    reason.as_str_name().trim_start_matches("INELIGIBILITY_REASON_")
                })
                .collect();
            return Err(Error::NotEligible { reasons: reasons.join(", "), answer_id: answer.answer_id });
        }
        let segment: Segment = answer.segment();
        // An answer without these is none: membership is asked again later.
        let unusable = || Error::Problem(chassis::Problem::unavailable("membership"));
        let answered_at =
            answer.answered_at.as_ref().and_then(chassis::time::from_proto).ok_or_else(unusable)?;
        let evidence = Evidence {
            answered_at: store::stored_instant(answered_at),
            segment: segment.as_str_name().to_owned(),
            registered_fktp: FacilityCode::parse(&answer.fktp_code).map_err(|_| unusable())?,
            region: RegionCode::parse(&answer.region_code).ok(),
            answer_id: answer.answer_id,
        };
        Ok((MemberId::parse(&answer.member_id).map_err(|_| unusable())?, evidence))
    }
}
