//! CreateReferral.

use chassis::{Begun, Call, Fields, Mutation, RequestId, time::to_proto};
use jiff::civil::Date;
use prost::Message;
use proto::{
    options::v1::InstitutionKind,
    referral::v1::{self as pb, create_referral_request as given},
};
use tonic::Status;
use vocabulary::{
    DocumentNumber, FacilityCode, Icd9Procedure, Icd10, Masked, MemberId, Poli, ReferralNumber, RegionCode,
    SepNumber, VisitNumber,
};

use super::{Served, is_primary_care, map};
use crate::{
    candidate::Facility,
    course::Times,
    error::Error,
    ladder::{Grounds, Standing},
    letter::{CareType, Criterion, LadderExemption, Letter, OriginKind, ReferralType, Tacc},
    store,
};

/// Most bytes of the record of first-level facilities.
const MOST_RECORD_BYTES: usize = 4_096;

/// What is asked for, each part well formed.
struct Wish {
    request_id: RequestId,
    origin: FacilityCode,
    origin_visit: Option<String>,
    member_id: MemberId,
    destination: FacilityCode,
    poli: Poli,
    care_type: CareType,
    referral_type: ReferralType,
    referral_date: Date,
    planned_visit: Date,
    diagnosis: Icd10,
    criterion: Criterion,
    tacc: Option<Tacc>,
    summary: Masked<String>,
    first_level_record: Option<Masked<Vec<u8>>>,
    exemption: Option<LadderExemption>,
    programme: Option<String>,
}

impl Served {
    pub(super) async fn create(
        &self,
        call: &Call,
        message: pb::CreateReferralRequest,
    ) -> Result<pb::CreateReferralResponse, Status> {
        if call.caller.kind == InstitutionKind::Service && !is_primary_care(&call.caller) {
            return Err(Error::CallerNotAllowed.into());
        }
        let wish = self.read_wish(call, &message)?;
        let mutation = Mutation::new(call, &message, wish.request_id.clone());
        if let Some(answer) = mutation.replayed(&self.db).await? {
            return Ok(answer);
        }
        let earliest = self.clock.on(call.today)?.earliest_entry(call.today);
        if wish.referral_date < earliest {
            return Err(Error::EnteredTooLate { earliest }.into());
        }
        let (origin, destination) = futures::try_join!(
            self.registry.facility(call, &wish.origin),
            self.registry.facility(call, &wish.destination),
        )?;
        let origin = origin.ok_or(Error::OriginNotRegistered)?;
        let destination = destination.ok_or(Error::DestinationNotRegistered)?;
        self.admit(&wish, &origin, &destination)?;

        let mut write = match mutation.begin(&self.db).await? {
            Begun::Replayed(answer) => return Ok(answer),
            Begun::Fresh(write) => write,
        };
        let first_level_record = if is_primary_care(&call.caller) {
            wish.first_level_record
        } else if let Some(visit) = wish.origin_visit.as_deref().filter(|of| VisitNumber::parse(of).is_ok()) {
            // A SEP takes the visit for proof that P-Care was asked: only P-Care names one that no referral named before.
            let first =
                store::first_of_visit(write.connection(), &wish.origin, wish.member_id, visit).await?;
            let Some(first) = first else {
                let mut fields = Fields::new();
                fields.wrong(
                    "origin_visit_number",
                    "must be a visit that P-Care has referred for this member (ReferVisit), or empty",
                );
                return Err(fields.into());
            };
            first.first_level_record.map(Masked::new)
        } else {
            None
        };
        let origin_kind = match origin.standing {
            Standing::Fktp => OriginKind::Fktp,
            _ => OriginKind::Hospital,
        };
        let serial =
            store::next_serial(write.connection(), &wish.origin, wish.referral_date, origin_kind.letter())
                .await?;
        let number = DocumentNumber::compose(&wish.origin, wish.referral_date, origin_kind.letter(), serial)
            .and_then(ReferralNumber::try_from)
            .map_err(|_| Error::Unreadable)?;
        let letter = Letter {
            number,
            member_id: wish.member_id,
            origin: wish.origin,
            origin_kind,
            origin_region: RegionCode::parse(&origin.region).ok(),
            origin_visit: wish.origin_visit,
            destination: wish.destination,
            poli: wish.poli,
            care_type: wish.care_type,
            referral_type: wish.referral_type,
            referral_date: wish.referral_date,
            planned_visit: wish.planned_visit,
            diagnosis: wish.diagnosis,
            criterion: wish.criterion,
            tacc: wish.tacc,
            summary: wish.summary,
            first_level_record,
            exemption: wish.exemption,
            programme: wish.programme,
            times: Times::sent(call.received_at),
            refusal: None,
            refusal_note: Masked::default(),
            cancel_note: Masked::default(),
            back: None,
        };
        store::insert(write.connection(), &letter).await?;
        write.emit(letter.number.as_str(), &created(&letter)).await?;
        let answer = pb::CreateReferralResponse { referral: Some(self.shown(&letter, call)?) };
        Ok(write.commit(answer).await?)
    }

    /// The rules that a referral must keep when it is sent.
    fn admit(&self, wish: &Wish, origin: &Facility, destination: &Facility) -> Result<(), Error> {
        let ladder = self.ladder.on(wish.referral_date)?;
        if ladder.needs_contract(wish.care_type)
            && !destination.is_contracted_on(&wish.referral_date.to_string())
        {
            return Err(Error::DestinationNotContracted);
        }
        // Whoever takes a patient back, down the ladder, need not run the clinic that sends. An emergency room is in
        // every hospital.
        let back = wish.referral_type == ReferralType::Back
            && ladder.rung(destination.standing) < ladder.rung(origin.standing);
        let emergency_room = wish.care_type == CareType::Emergency && wish.poli.as_str() == "IGD";
        if !back && !emergency_room && !destination.runs(wish.poli.as_str()) {
            return Err(Error::DestinationNotCompetent);
        }
        let grounds = Grounds {
            care_type: wish.care_type,
            exemption: wish.exemption,
            programme: wish.programme.as_deref(),
        };
        if !ladder.allows(origin.standing, destination.standing, grounds) {
            return Err(Error::LadderSkipped { rule: ladder.source.clone() });
        }
        Ok(())
    }

    fn read_wish(&self, call: &Call, message: &pb::CreateReferralRequest) -> Result<Wish, Status> {
        let mut fields = Fields::new();
        let request_id = fields.parse("request_id", RequestId::parse(&message.request_id));
        let origin = map::own_facility(
            &mut fields,
            "origin_facility_code",
            &message.origin_facility_code,
            call.caller.facility(),
        );
        let origin_visit = read_visit(&mut fields, &message.origin_visit_number, origin.as_ref());
        let member_id = fields.parse("member_id", MemberId::parse(&message.member_id));
        let destination = fields
            .parse("destination_facility_code", FacilityCode::parse(&message.destination_facility_code));
        if origin.is_some() && origin == destination {
            fields.wrong("destination_facility_code", "must not be the facility of origin");
        }
        let poli = fields.parse("poli_code", Poli::parse(&message.poli_code));
        let care_type = map::word::<CareType, pb::CareType>(&mut fields, "care_type", message.care_type);
        let referral_type =
            map::word::<ReferralType, pb::ReferralType>(&mut fields, "referral_type", message.referral_type);
        let referral_date = fields.parse("referral_date", vocabulary::date(&message.referral_date));
        if let Some(day) = referral_date {
            fields.require("referral_date", day <= call.today, "must not lie in the future");
        }
        let planned_visit = if message.planned_visit_date.is_empty() {
            referral_date
        } else {
            fields.parse("planned_visit_date", vocabulary::date(&message.planned_visit_date))
        };
        if let (Some(date), Some(visit)) = (referral_date.filter(|day| *day <= call.today), planned_visit) {
            // A date that no version of the clock covers is refused later, as entered too late.
            let last = self.clock.on(date).map_or(date, |clock| clock.valid_through(date));
            fields.require(
                "planned_visit_date",
                visit == date || (date..=last).contains(&visit),
                "must lie from referral_date to the end of the validity",
            );
        }
        let diagnosis = fields.parse("diagnosis_code", Icd10::parse(&message.diagnosis_code));
        let criterion = read_criterion(&mut fields, message.criterion.as_ref());
        let tacc = map::optional_word::<Tacc, pb::Tacc>(&mut fields, "tacc", message.tacc);
        let summary = map::optional_text(&mut fields, "clinical_summary", &message.clinical_summary, 2000);
        let first_level_record = message.first_level_record.as_ref().map(Message::encode_to_vec);
        fields.require(
            "first_level_record",
            first_level_record.is_none() || is_primary_care(&call.caller),
            "must be empty; P-Care sends it (ReferVisit)",
        );
        fields.require(
            "first_level_record",
            first_level_record.as_ref().is_none_or(|record| record.len() <= MOST_RECORD_BYTES),
            "must be at most 4,096 bytes",
        );
        let exemption = map::optional_word::<LadderExemption, pb::LadderExemption>(
            &mut fields,
            "ladder_exemption",
            message.ladder_exemption,
        );
        let programme = self.read_programme(&mut fields, &message.special_programme, referral_date);
        if let (
            Some(request_id),
            Some(origin),
            Some(member_id),
            Some(destination),
            Some(poli),
            Some(care_type),
            Some(referral_type),
            Some(referral_date),
            Some(planned_visit),
            Some(diagnosis),
            Some(criterion),
        ) = (
            request_id,
            origin,
            member_id,
            destination,
            poli,
            care_type,
            referral_type,
            referral_date,
            planned_visit,
            diagnosis,
            criterion,
        ) {
            fields.finish()?;
            let summary = Masked::new(summary);
            let first_level_record = first_level_record.map(Masked::new);
            return Ok(Wish {
                request_id,
                origin,
                origin_visit,
                member_id,
                destination,
                poli,
                care_type,
                referral_type,
                referral_date,
                planned_visit,
                diagnosis,
                criterion,
                tacc,
                summary,
                first_level_record,
                exemption,
                programme,
            });
        }
        Err(fields.into())
    }

    /// A special programme that the policy of the day knows; none when it is empty.
    pub(super) fn read_programme(
        &self,
        fields: &mut Fields,
        given: &str,
        day: Option<Date>,
    ) -> Option<String> {
        if given.is_empty() {
            return None;
        }
        let known =
            day.and_then(|day| self.ladder.on(day).ok()).is_some_and(|ladder| ladder.knows_programme(given));
        fields.require(
            "special_programme",
            known,
            "must be one of the programmes of policy/referral/ladder.toml, or empty",
        );
        known.then(|| given.to_owned())
    }
}

/// The number of a visit or a SEP of the origin.
fn read_visit(fields: &mut Fields, given: &str, origin: Option<&FacilityCode>) -> Option<String> {
    if given.is_empty() {
        return None;
    }
    let number = VisitNumber::parse(given)
        .map(|visit| visit.document().clone())
        .or_else(|_| SepNumber::parse(given).map(|sep| sep.document().clone()));
    let Ok(number) = number else {
        fields.wrong(
            "origin_visit_number",
            "must be a visit number (letter Y) or a SEP number (letter V), or empty",
        );
        return None;
    };
    let of_origin = origin.is_none_or(|origin| *origin == number.facility());
    fields.require("origin_visit_number", of_origin, "must be a number of the facility of origin");
    Some(number.as_str().to_owned())
}

fn read_criterion(fields: &mut Fields, criterion: Option<&given::Criterion>) -> Option<Criterion> {
    match criterion {
        None => {
            fields.wrong(
                "criterion",
                "exactly one of therapy, procedure_code and diagnostic_effort must be given",
            );
            None
        }
        Some(given::Criterion::Therapy(text)) => fields
            .parse("therapy", vocabulary::text(text, 500))
            .map(|text| Criterion::Therapy(Masked::new(text))),
        Some(given::Criterion::ProcedureCode(code)) => fields
            .parse("procedure_code", Icd9Procedure::parse(code))
            .map(|code| Criterion::Procedure(Masked::new(code))),
        Some(given::Criterion::DiagnosticEffort(text)) => fields
            .parse("diagnostic_effort", vocabulary::text(text, 500))
            .map(|text| Criterion::DiagnosticEffort(Masked::new(text))),
    }
}

fn created(letter: &Letter) -> pb::ReferralCreated {
    pb::ReferralCreated {
        referral_number: letter.number.to_string(),
        member_id: letter.member_id.to_string(),
        origin_facility_code: letter.origin.to_string(),
        origin_kind: pb::OriginKind::from(letter.origin_kind).into(),
        origin_region_code: letter.origin_region.map(|region| region.as_str().to_owned()).unwrap_or_default(),
        destination_facility_code: letter.destination.to_string(),
        poli_code: letter.poli.to_string(),
        care_type: pb::CareType::from(letter.care_type).into(),
        referral_date: letter.referral_date.to_string(),
        origin_visit_number: letter.origin_visit.clone().unwrap_or_default(),
        referral_type: pb::ReferralType::from(letter.referral_type).into(),
        sent_at: Some(to_proto(letter.times.sent_at)),
    }
}
