//! ReferVisit: the one write that spans two services. The request to the referral service is first kept with the
//! visit, word for word and under a key of its own; whatever dies after that, a repetition finds it and gets the same
//! referral. Two calls for one visit cannot create two referrals.

use chassis::{Begun, Call, Fields, Mutation, Problem, RequestId};
use prost::Message;
use proto::{
    primary_care::v1::{self as pb, refer_visit_request::Criterion as Asked},
    referral::v1::{
        CareType, CreateReferralRequest, FirstLevelRecord, LadderExemption, ReferralType,
        create_referral_request::Criterion,
    },
};
use sqlx::PgConnection;
use tonic::{Code, Response, Status};
use uuid::Uuid;
use vocabulary::{FacilityCode, Icd9Procedure, Poli, ReferralNumber, VisitNumber};

use super::{PrimaryCare, begin, optional, own, wire};
use crate::{
    error::Error,
    record,
    referral::{self, Tacc, TaccNeeded},
    store,
    visit::{Discharge, Pending, Referred, Refusal, Visit},
};
use wire::event;

/// What a referral is asked for, read.
struct Order {
    visit_number: VisitNumber,
    destination: FacilityCode,
    poli: Poli,
    tacc: Option<Tacc>,
    /// What the referral service is asked, but for what the visit tells.
    request: CreateReferralRequest,
}

fn read(fields: &mut Fields, call: &Call, message: &pb::ReferVisitRequest) -> Option<Order> {
    let visit_number = fields.parse("visit_number", VisitNumber::parse(&message.visit_number));
    let destination =
        fields.parse("destination_facility_code", FacilityCode::parse(&message.destination_facility_code));
    let same = destination
        .as_ref()
        .is_some_and(|to| call.caller.facility().is_some_and(|own| own.eq_ignore_ascii_case(to.as_str())));
    fields.require("destination_facility_code", !same, "must not be your own");
    let poli = fields.parse("poli_code", Poli::parse(&message.poli_code));
    let care_type = match CareType::try_from(message.care_type) {
        Ok(CareType::Unspecified) => CareType::Outpatient,
        Ok(care_type) => care_type,
        Err(_) => {
            fields.wrong("care_type", "must be one of CareType");
            CareType::Outpatient
        }
    };
    fields.require(
        "ladder_exemption",
        LadderExemption::try_from(message.ladder_exemption).is_ok(),
        "must be one of LadderExemption",
    );
    let planned = optional(fields, "planned_visit_date", &message.planned_visit_date, vocabulary::date);
    let criterion = match &message.criterion {
        Some(Asked::Therapy(text)) => {
            fields.parse("therapy", vocabulary::text(text, 500)).map(Criterion::Therapy)
        }
        Some(Asked::DiagnosticEffort(text)) => {
            fields.parse("diagnostic_effort", vocabulary::text(text, 500)).map(Criterion::DiagnosticEffort)
        }
        Some(Asked::ProcedureCode(code)) => fields
            .parse("procedure_code", Icd9Procedure::parse(code))
            .map(|code| Criterion::ProcedureCode(code.to_string())),
        None => {
            fields.wrong("criterion", "must be exactly one of therapy, procedure_code, diagnostic_effort");
            None
        }
    };
    let tacc = wire::tacc(fields, message.tacc.clone());
    let clinical_summary =
        optional(fields, "clinical_summary", &message.clinical_summary, |text| vocabulary::text(text, 2000))
            .unwrap_or_default();
    let special_programme =
        optional(fields, "special_programme", &message.special_programme, |text| vocabulary::text(text, 3))
            .unwrap_or_default();
    let (visit_number, destination, poli) = (visit_number?, destination?, poli?);
    let request = CreateReferralRequest {
        origin_visit_number: visit_number.to_string(),
        destination_facility_code: destination.to_string(),
        poli_code: poli.as_str().to_owned(),
        care_type: care_type.into(),
        referral_type: ReferralType::Full.into(),
        planned_visit_date: planned.map(|day| day.to_string()).unwrap_or_default(),
        criterion,
        tacc: wire::of_tacc(tacc.as_ref().map(|tacc| tacc.reason)).into(),
        clinical_summary,
        ladder_exemption: message.ladder_exemption,
        special_programme,
        ..CreateReferralRequest::default()
    };
    Some(Order { visit_number, destination, poli, tacc, request })
}

impl PrimaryCare {
    pub(super) async fn refer(
        &self,
        call: Call,
        message: pb::ReferVisitRequest,
    ) -> Result<Response<pb::ReferVisitResponse>, Status> {
        let mut fields = Fields::new();
        let request_id = fields.parse("request_id", RequestId::parse(&message.request_id));
        let order = read(&mut fields, &call, &message);
        let (Some(request_id), Some(order)) = (request_id, order) else { return Err(fields.into()) };
        fields.finish()?;
        let mutation = Mutation::new(&call, &message, request_id);
        if let Some(answer) = mutation.replayed(&self.db).await? {
            return Ok(Response::new(answer));
        }

        let (pending, request) = match self.intend(&call, &order).await {
            Ok(intended) => intended,
            // The same call may have ended the visit since it was looked for above.
            Err(error) => match mutation.replayed(&self.db).await? {
                Some(answer) => return Ok(Response::new(answer)),
                None => return Err(error.into()),
            },
        };
        let created = self.referral.clone().create_referral(call.onward(request)).await;
        let number = match created {
            Ok(answer) => answer
                .into_inner()
                .referral
                .and_then(|created| ReferralNumber::parse(&created.referral_number).ok()),
            Err(status) => {
                let problem = Problem::from_upstream("referral", &status);
                if matches!(
                    problem.code(),
                    Code::InvalidArgument | Code::NotFound | Code::FailedPrecondition | Code::OutOfRange
                ) {
                    store::forget_pending(&self.db.pool, &order.visit_number, &pending).await?;
                }
                return Err(problem.into());
            }
        };
        let number = number.ok_or_else(|| Problem::unavailable("referral"))?;

        let mut write = begin!(mutation, &self.db);
        let mut visit = own(&call, store::lock_visit(write.connection(), &order.visit_number).await?)?;
        // The same order under another request_id may have come first: it got the same referral.
        let done = visit.referred.as_ref().is_some_and(|referred| referred.number == number);
        if !done {
            visit.state = visit.progress().refer().map_err(Error::from)?;
            let non_specialist = self.judge(&visit, &order)?;
            visit.discharge = Some((Discharge::Referred, visit.date));
            let referred = Referred {
                number,
                destination: order.destination,
                poli: order.poli,
                non_specialist,
                tacc: order.tacc,
            };
            let told = event!(
                VisitReferred,
                visit,
                referred_at: Some(chassis::time::to_proto(call.received_at)),
                referral_number: referred.number.to_string(),
                destination_facility_code: referred.destination.to_string(),
                poli_code: referred.poli.as_str().to_owned(),
                non_specialist: referred.non_specialist,
                tacc: wire::of_tacc(referred.tacc.as_ref().map(|tacc| tacc.reason)).into(),
            );
            visit.referred = Some(referred);
            store::update_end(write.connection(), &visit).await?;
            write.emit(visit.number.as_str(), &told).await?;
        }
        Ok(Response::new(write.commit(pb::ReferVisitResponse { visit: Some(wire::of_visit(&visit)) }).await?))
    }

    /// Keeps with the visit what the referral service will be asked, unless the same was kept before.
    async fn intend(&self, call: &Call, order: &Order) -> Result<(Pending, CreateReferralRequest), Error> {
        let mut transaction = self.db.begin().await?;
        let visit = own(call, store::lock_visit(&mut transaction, &order.visit_number).await?)?;
        visit.progress().refer()?;
        self.judge(&visit, order)?;
        let asked = request_of(&visit, order);
        let (pending, request) = match visit.pending.clone() {
            // The record is that of the first attempt: a visit may have been added to it since.
            Some(pending) => {
                let kept = CreateReferralRequest::decode(pending.request.as_slice())
                    .map_err(|_| Error::Unreadable("pending_request"))?;
                let record = kept.first_level_record.clone();
                if kept != (CreateReferralRequest { first_level_record: record, ..asked }) {
                    return Err(Refusal::ReferralUnderWay.into());
                }
                (pending, kept)
            }
            None => {
                let record = self.record_of(&mut transaction, &visit).await?;
                let request = CreateReferralRequest { first_level_record: Some(record), ..asked };
                let pending =
                    Pending { request_id: Uuid::now_v7().to_string(), request: request.encode_to_vec() };
                store::set_pending(&mut transaction, &order.visit_number, &pending).await?;
                (pending, request)
            }
        };
        transaction.commit().await?;
        let request = CreateReferralRequest { request_id: pending.request_id.clone(), ..request };
        Ok((pending, request))
    }

    /// What first-level facilities have recorded of the patient up to this visit.
    async fn record_of(
        &self,
        connection: &mut PgConnection,
        visit: &Visit,
    ) -> Result<FirstLevelRecord, Error> {
        let policy = self.records.on(visit.date)?;
        let contacts = store::contacts(connection, visit.member, policy.from(visit.date), visit.date).await?;
        Ok(wire::of_record(visit, &record::record(&contacts, visit.date, policy)))
    }

    fn judge(&self, visit: &Visit, order: &Order) -> Result<bool, Error> {
        let diagnoses = visit.diagnoses.as_ref().ok_or(Refusal::DiagnosisMissing)?;
        let list = self.non_specialist.on(visit.date)?;
        referral::judge(diagnoses, list, order.tacc.as_ref())
            .map_err(|TaccNeeded| Error::TaccNeeded { source_of_list: list.source.clone() })
    }
}

/// What the referral service is asked: the order, and what the visit tells. It holds no request_id and no record yet.
fn request_of(visit: &Visit, order: &Order) -> CreateReferralRequest {
    let diagnosis = visit.diagnoses.as_ref().map(|diagnoses| diagnoses.primary().as_str().to_owned());
    CreateReferralRequest {
        origin_facility_code: visit.facility.to_string(),
        member_id: visit.member.to_string(),
        referral_date: visit.date.to_string(),
        diagnosis_code: diagnosis.unwrap_or_default(),
        ..order.request.clone()
    }
}
