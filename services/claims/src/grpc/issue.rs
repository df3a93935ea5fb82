//! How a SEP is issued: the request is read, membership, referral and accreditation are asked at the same time, and the
//! domain judges. How it is written then, with the answers, stands in [`super::issuance`].

use chassis::{Call, Fields, Mutation, Problem, RequestId, time};
use jiff::{Timestamp, civil::Date};
use prost::{Message, Name};
use proto::{accreditation::v1 as siaf, claims::v1 as pb, membership::v1 as master, referral::v1 as sisrute};
use tonic::{Code, Status};
use vocabulary::{CareClass, FacilityCode, FollowUpNumber, Icd10, MemberId, Poli, ReferralNumber};

use super::{Policies, Seps, issuance::Judged, optional, optional_text, sep_fields, visit};
use crate::{
    episode::Care,
    error::Error,
    sep::{Answers, Patient, Refusal, Wanted, is_in_future, judge, told_once},
    store,
};

/// A request that was read.
pub(super) struct Asked {
    request_id: RequestId,
    pub(super) facility: FacilityCode,
    pub(super) patient: Patient,
    pub(super) wanted: Wanted,
    pub(super) clinic: String,
    pub(super) follow_up: Option<FollowUpNumber>,
    pub(super) referral: Option<ReferralNumber>,
    pub(super) letter: pb::Sep,
}

/// What the others answered.
pub(super) struct Told {
    pub(super) eligibility: master::CheckEligibilityResponse,
    referral: Option<sisrute::CheckReferralResponse>,
    standing: Option<(siaf::AccreditationStatus, siaf::GetAccreditationStatusResponse)>,
}

impl Seps {
    pub(super) async fn issue(
        &self,
        call: &Call,
        message: pb::IssueSepRequest,
    ) -> Result<pb::IssueSepResponse, Status> {
        let asked = read(call, &message, &self.policies)?;
        let mutation = Mutation::new(call, &message, asked.request_id.clone());
        let write = async {
            let judged = Box::pin(self.judged(call, asked)).await?;
            self.issuances.write(call.clone(), mutation.clone(), judged).await
        };
        // Asked again, the others might answer otherwise than when the SEP was issued.
        Ok(Box::pin(mutation.once(&self.db, write)).await?)
    }

    /// The SEP with what the others answered, if nothing speaks against it.
    async fn judged(&self, call: &Call, mut asked: Asked) -> Result<Judged, Error> {
        if is_in_future(asked.wanted.service_date, call.today) {
            return Err(Error::ServiceDateInFuture(call.today));
        }
        let mut cited = Box::pin(self.cited(&mut asked)).await?;
        let told = Box::pin(self.ask(call, &asked)).await?;
        let rules = self.policies.sep.on(asked.wanted.service_date)?;
        let mut refusals = judge(rules, &asked.wanted, &answers(&told));
        refusals.extend(Box::pin(self.judge_cited(call, rules, &asked, &told, &mut cited)).await?);
        let (patient, day) = (asked.patient, asked.wanted.service_date);
        let open =
            store::sep::open(&self.db.pool, patient, asked.facility.as_str(), day, &asked.clinic).await?;
        refusals.extend(open.map(Refusal::Exists));
        refusals.extend(self.judge_stays(&asked).await?);
        refusals.extend(self.judge_visit(&asked).await?);
        if !refusals.is_empty() {
            return Err(Error::SepRefused(told_once(refusals)));
        }

        let letter = complete(asked.letter, &told, call.received_at);
        let letter = self.with_penalty(cited.approved(letter), &told)?;
        let new = store::issuance::New {
            facility_code: asked.facility.as_str().to_owned(),
            patient,
            service_date: day,
            care_type: i16::try_from(letter.care_type).unwrap_or_default(),
            clinic: asked.clinic,
            emergency: asked.wanted.emergency,
            doctor_code: letter.doctor_code.clone(),
            issued_at: call.received_at,
            accident_on: cited.accident_on,
            letter: letter.encode_to_vec(),
            evidence: evidence(&told, call.received_at),
        };
        Ok(Judged::new(new, letter, cited))
    }

    /// Asks the three at the same time.
    async fn ask(&self, call: &Call, asked: &Asked) -> Result<Told, Error> {
        let (service_date, member_id) =
            (asked.wanted.service_date.to_string(), asked.patient.member_id.to_string());
        let (mut membership, mut referral) = (self.membership.clone(), self.referral.clone());
        let mut accreditation = self.accreditation.clone();
        let care_type = match asked.wanted.care {
            Care::Inpatient => master::CareType::Inpatient,
            Care::Outpatient => master::CareType::Outpatient,
        };
        let eligibility = membership.check_eligibility(call.onward(master::CheckEligibilityRequest {
            known: Some(master::check_eligibility_request::Known::MemberId(member_id.clone())),
            service_date: service_date.clone(),
            care_type: care_type.into(),
        }));
        let usable = async {
            match &asked.referral {
                None => Ok(None),
                Some(number) => {
                    let request = sisrute::CheckReferralRequest {
                        referral_number: number.as_str().to_owned(),
                        service_date: service_date.clone(),
                        destination_facility_code: asked.facility.as_str().to_owned(),
                        poli_code: asked.letter.referral_poli_code.clone(),
                        member_id: member_id.clone(),
                    };
                    referral
                        .check_referral(call.onward(request))
                        .await
                        .map(|answer| Some(answer.into_inner()))
                }
            }
        };
        let standing =
            accreditation.get_accreditation_status(call.onward(siaf::GetAccreditationStatusRequest {
                facility_code: asked.facility.as_str().to_owned(),
                on: service_date.clone(),
            }));
        let (eligibility, usable, standing) = tokio::join!(eligibility, usable, standing);
        let eligibility =
            eligibility.map_err(|status| Problem::from_upstream("membership", &status))?.into_inner();
        let referral = usable.map_err(|status| Problem::from_upstream("referral", &status))?;
        let standing = match standing {
            Ok(answer) => {
                let answer = answer.into_inner();
                answer.status.clone().map(|status| (status, answer))
            }
            // A facility that is not registered is a reason of ours, told beside the others.
            Err(status) if status.code() == Code::NotFound => None,
            Err(status) => return Err(Problem::from_upstream("accreditation", &status).into()),
        };
        Ok(Told { eligibility, referral, standing })
    }
}

fn read(call: &Call, message: &pb::IssueSepRequest, policies: &Policies) -> Result<Asked, Status> {
    let mut fields = Fields::new();
    let request_id = fields.parse("request_id", RequestId::parse(&message.request_id));
    let facility = fields.parse("caller", FacilityCode::parse(&call.caller.id));
    let member_id = fields.parse("member_id", MemberId::parse(&message.member_id));
    let newborn_order = newborn_order(&mut fields, message.newborn_order);
    let service_date = fields.parse("service_date", vocabulary::date(&message.service_date));
    let care = match message.care_type() {
        pb::CareType::Inpatient => Some(Care::Inpatient),
        pb::CareType::Outpatient => Some(Care::Outpatient),
        pb::CareType::Unspecified => None,
    };
    fields.require("care_type", care.is_some(), "CARE_TYPE_INPATIENT or CARE_TYPE_OUTPATIENT");
    let emergency = message.entry() == pb::Entry::Emergency;
    fields.require("entry", message.entry() != pb::Entry::Unspecified, "a value of Entry");
    let referral = optional(&mut fields, "referral_number", &message.referral_number, ReferralNumber::parse);
    let no_referral = message.entry() == pb::Entry::Referral || message.referral_number.is_empty();
    fields.require("referral_number", no_referral, "must be empty for an emergency and with a letter");
    let follow_up = sep_fields::follow_up(&mut fields, message);
    let initial_diagnosis = fields.parse("initial_diagnosis", Icd10::parse(&message.initial_diagnosis));
    let record = fields.parse("medical_record_number", vocabulary::text(&message.medical_record_number, 20));
    let doctor_code = optional_text(&mut fields, "doctor_code", &message.doctor_code, 10);
    let note = optional_text(&mut fields, "note", &message.note, 200);
    visit::read(&mut fields, message, policies, care, service_date);
    let clinic = match care {
        Some(Care::Outpatient) => {
            fields.parse("poli_code", Poli::parse(&message.poli_code)).map(|poli| poli.as_str())
        }
        _ => {
            fields.require("poli_code", message.poli_code.is_empty(), "must be empty for in-patient care");
            Some("")
        }
    };
    let admitted_at = admission(&mut fields, call, message, care, service_date);
    let upgrade_to = sep_fields::upgrade(&mut fields, message.class_upgrade.as_ref(), care);
    let accident = sep_fields::accident(&mut fields, message.accident.as_ref(), service_date);

    let (
        Some(request_id),
        Some(facility),
        Some(member_id),
        Some(newborn_order),
        Some(service_date),
        Some(care),
        Some(diagnosis),
        Some(record),
        Some(clinic),
    ) = (
        request_id,
        facility,
        member_id,
        newborn_order,
        service_date,
        care,
        initial_diagnosis,
        record,
        clinic,
    )
    else {
        return Err(fields.into());
    };
    fields.finish()?;
    let cites_referral = referral.is_some() || follow_up.is_some();
    let wanted = Wanted { service_date, care, emergency, cites_referral, admitted_at, upgrade_to };
    let letter = pb::Sep {
        state: pb::SepState::Issued.into(),
        member_id: member_id.to_string(),
        facility_code: facility.as_str().to_owned(),
        service_date: service_date.to_string(),
        care_type: message.care_type,
        entry: message.entry,
        poli_code: clinic.to_owned(),
        executive_clinic: message.executive_clinic,
        referral_number: referral.as_ref().map_or_else(String::new, |number| number.as_str().to_owned()),
        referral_poli_code: referral.as_ref().map_or("", |_| clinic).to_owned(),
        initial_diagnosis: diagnosis.as_str().to_owned(),
        medical_record_number: record,
        admitted_at: admitted_at.map(time::to_proto),
        class_upgrade: message.class_upgrade.clone(),
        accident,
        coordination_of_benefit: message.coordination_of_benefit,
        cataract: message.cataract,
        visit_purpose: message.visit_purpose,
        procedure_flag: message.procedure_flag,
        supporting_service: message.supporting_service,
        visit_assessment: message.visit_assessment,
        doctor_code,
        note,
        newborn_order: newborn_order.into(),
        version: 1,
        ..pb::Sep::default()
    };
    let clinic = clinic.to_owned();
    let patient = Patient { member_id: member_id.uuid(), newborn_order };
    Ok(Asked { request_id, facility, patient, wanted, clinic, follow_up, referral, letter })
}

fn newborn_order(fields: &mut Fields, given: i32) -> Option<i16> {
    let order = i16::try_from(given).ok().filter(|order| (0..=9).contains(order));
    fields.require("newborn_order", order.is_some(), "0, or 1 to 9 for a newborn on its mother's card");
    order
}

fn admission(
    fields: &mut Fields,
    call: &Call,
    message: &pb::IssueSepRequest,
    care: Option<Care>,
    service_date: Option<Date>,
) -> Option<Timestamp> {
    const PATH: &str = "admitted_at";
    if care != Some(Care::Inpatient) {
        fields.require(PATH, message.admitted_at.is_none(), "must be unset for out-patient care");
        return None;
    }
    let admitted_at = message.admitted_at.as_ref().and_then(time::from_proto);
    match admitted_at {
        None => fields.wrong(PATH, "must be set for in-patient care"),
        Some(at) => {
            fields.require(PATH, at <= call.received_at, "must not lie in the future");
            let same_day = service_date.is_none_or(|day| time::today_at(at) == day);
            fields.require(PATH, same_day, "must lie on the service date in Asia/Jakarta");
        }
    }
    admitted_at
}

/// What the answers mean for the SEP.
fn answers(told: &Told) -> Answers {
    let eligibility = &told.eligibility;
    let class = CareClass::try_from(eligibility.care_class).ok();
    let mut ineligible: Vec<_> = eligibility
        .reasons()
        .map(|reason| reason.as_str_name().trim_start_matches("INELIGIBILITY_REASON_").to_owned())
        .collect();
    if ineligible.is_empty() && !eligibility.eligible {
        ineligible.push("UNSTATED".into());
    }
    if ineligible.is_empty() && class.is_none() {
        ineligible.push("CARE_CLASS_UNKNOWN".into());
    }
    let mut unusable = Vec::new();
    if let Some(referral) = told.referral.as_ref().filter(|referral| !referral.usable) {
        unusable
            .extend(referral.reasons().map(|r| r.as_str_name().trim_start_matches("UNUSABLE_").to_owned()));
        if unusable.is_empty() {
            unusable.push("UNSTATED".into());
        }
    }
    let mut answers = Answers { ineligible, class, unusable, ..Answers::default() };
    if let Some((status, _)) = &told.standing {
        answers.referral_level = status.level() == siaf::FacilityLevel::Fkrtl;
        answers.contracted = status.contracted;
        answers.certified = status.certified || !status.certificate_required;
        answers.certificate.clone_from(&status.certificate_number);
    }
    answers
}

/// The segment as a SEP names it.
pub(super) fn segment(told: &Told) -> &'static str {
    told.eligibility.segment().as_str_name().trim_start_matches("SEGMENT_")
}

/// The letter with what the others answered.
fn complete(letter: pb::Sep, told: &Told, issued_at: Timestamp) -> pb::Sep {
    let eligibility = &told.eligibility;
    let mut letter = pb::Sep {
        entitled_class: eligibility.care_class,
        segment: segment(told).to_owned(),
        referral_date: told.referral.as_ref().map_or("", |referral| &referral.referral_date).to_owned(),
        inpatient_penalty: letter.care_type() == pb::CareType::Inpatient
            && eligibility.inpatient_penalty.is_some(),
        issued_at: Some(time::to_proto(issued_at)),
        ..letter
    };
    if let Some((status, _)) = &told.standing {
        letter.province_code = status.region_code.get(..2).unwrap_or_default().to_owned();
        letter.hospital_class = match status.hospital_class() {
            siaf::HospitalClass::Unspecified => String::new(),
            class => class.as_str_name().trim_start_matches("HOSPITAL_CLASS_").to_owned(),
        };
        let private = [siaf::Ownership::Unspecified, siaf::Ownership::StateCompany, siaf::Ownership::Private];
        letter.government_owned = !private.contains(&status.ownership());
    }
    letter
}

/// The answers as evidence. A referral that a first-level facility made out of a visit proves the way from P-Care too.
fn evidence(told: &Told, received_at: Timestamp) -> Vec<store::sep::Evidence> {
    let eligibility = &told.eligibility;
    let mut evidence = vec![kept(
        "membership-vklaim",
        &eligibility.answer_id,
        &eligibility.member_id,
        eligibility.answered_at.as_ref(),
        eligibility,
        received_at,
    )];
    if let Some(referral) = &told.referral {
        let at = referral.answered_at.as_ref();
        let of = |edge, number| kept(edge, &referral.answer_id, number, at, referral, received_at);
        evidence.push(of("vklaim-sisrute", &referral.referral_number));
        if referral.origin_kind() == sisrute::OriginKind::Fktp && !referral.origin_visit_number.is_empty() {
            evidence.push(of("pcare-vklaim", &referral.origin_visit_number));
        }
    }
    if let Some((status, answer)) = &told.standing {
        let number = if status.certificate_number.is_empty() {
            &status.facility_code
        } else {
            &status.certificate_number
        };
        evidence.push(kept(
            "vklaim-siaf",
            &answer.answer_id,
            number,
            answer.answered_at.as_ref(),
            answer,
            received_at,
        ));
    }
    evidence
}

fn kept<M: Message + Name>(
    edge: &str,
    answer_id: &str,
    number: &str,
    answered_at: Option<&prost_types::Timestamp>,
    answer: &M,
    received_at: Timestamp,
) -> store::sep::Evidence {
    store::sep::Evidence {
        edge: edge.to_owned(),
        answer_id: answer_id.to_owned(),
        number: number.to_owned(),
        answered_at: answered_at.and_then(time::from_proto).unwrap_or(received_at),
        answer_type: M::full_name(),
        answer: answer.encode_to_vec(),
    }
}
