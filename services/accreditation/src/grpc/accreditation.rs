//! From the application to the certificate, and its standing on a day.

use std::collections::BTreeMap;

use chassis::{Begun, Fields, Mutation, RequestId, call, page, page::Page};
use jiff::ToSpan;
use proto::accreditation::v1::{self as pb, accreditation_service_server::AccreditationService};
use tonic::{Request, Response, Status};
use uuid::Uuid;

use super::{
    Accreditations, answer, read,
    steps::{decided, held, large_enough, not_before},
};
use crate::{
    certificate::{self, Certificate, Shortcoming},
    error::Error,
    facility::HospitalClass,
    grading::{Grade, Score},
    store::{certificates, registry, surveys},
    survey::{State, Survey},
};

#[tonic::async_trait]
impl AccreditationService for Accreditations {
    async fn apply_for_survey(
        &self,
        request: Request<pb::ApplyForSurveyRequest>,
    ) -> Result<Response<pb::ApplyForSurveyResponse>, Status> {
        let (call, message) = call::accept(request)?;
        let mut fields = Fields::new();
        let request_id = fields.parse("request_id", RequestId::parse(&message.request_id));
        let code = read::facility_code(&mut fields, "facility_code", &message.facility_code);
        let applied_on = read::past_day(&mut fields, "applied_on", &message.applied_on, call.today);
        let attested = read::preconditions(&mut fields, message.preconditions);
        let (Some(request_id), Some(code), Some(applied_on)) = (request_id, code, applied_on) else {
            return Err(fields.into());
        };
        fields.finish()?;
        if read::is_foreign(&call.caller, &code) {
            return Err(Error::NoFacility.into());
        }
        let mutation = Mutation::new(&call, &message, request_id);
        let mut write = match mutation.begin(&self.db).await? {
            Begun::Replayed(answer) => return Ok(Response::new(answer)),
            Begun::Fresh(write) => write,
        };
        registry::lock(write.connection(), &code).await?;
        let card = registry::card(write.connection(), &code).await?;
        self.table(card.kind, applied_on)?;
        let known = certificates::of(write.connection(), &code).await?;
        let present = certificate::counting(&known, applied_on);
        let missing = self.rule(card.kind, applied_on)?.missing(&attested, present.is_some());
        if !missing.is_empty() {
            return Err(Error::PreconditionsNotMet(missing).into());
        }
        let survey = Survey {
            id: Uuid::now_v7(),
            facility_code: code,
            state: State::Applied,
            applied_on,
            renewal: present.is_some(),
            applied_late: present.is_some_and(|present| applied_on > present.apply_by),
            attested,
            institution: None,
            visit: None,
            chapters: Vec::new(),
            decision: None,
            certificate_number: None,
        };
        surveys::insert(write.connection(), &survey, call.received_at).await?;
        let survey = Some(self.shown(&survey, card.kind));
        let answer = write.commit(pb::ApplyForSurveyResponse { survey }).await?;
        Ok(Response::new(answer))
    }

    async fn schedule_survey(
        &self,
        request: Request<pb::ScheduleSurveyRequest>,
    ) -> Result<Response<pb::ScheduleSurveyResponse>, Status> {
        let (call, message) = call::accept(request)?;
        let mut fields = Fields::new();
        let request_id = fields.parse("request_id", RequestId::parse(&message.request_id));
        let id = read::survey_id(&mut fields, &message.survey_id);
        let visit = read::visit(
            &mut fields,
            &message.from,
            &message.to,
            message.days_on_site,
            &message.surveyor_numbers,
        );
        let (Some(request_id), Some(id), Some(visit)) = (request_id, id, visit) else {
            return Err(fields.into());
        };
        fields.finish()?;
        let mutation = Mutation::new(&call, &message, request_id);
        let mut write = match mutation.begin(&self.db).await? {
            Begun::Replayed(answer) => return Ok(Response::new(answer)),
            Begun::Fresh(write) => write,
        };
        let (survey, card) = held(&mut write, id, &call).await?;
        survey.may_schedule().map_err(Error::from)?;
        not_before(visit.from, survey.applied_on)?;
        large_enough(self.rule(card.kind, visit.from)?, &visit)?;
        surveys::set_visit(write.connection(), id, State::Scheduled, &call.caller.id, &visit).await?;
        let survey = surveys::get(write.connection(), id).await?;
        let survey = Some(self.shown(&survey, card.kind));
        let answer = write.commit(pb::ScheduleSurveyResponse { survey }).await?;
        Ok(Response::new(answer))
    }

    async fn record_survey(
        &self,
        request: Request<pb::RecordSurveyRequest>,
    ) -> Result<Response<pb::RecordSurveyResponse>, Status> {
        let (call, message) = call::accept(request)?;
        let mut fields = Fields::new();
        let request_id = fields.parse("request_id", RequestId::parse(&message.request_id));
        let id = read::survey_id(&mut fields, &message.survey_id);
        let visit = read::visit(
            &mut fields,
            &message.from,
            &message.to,
            message.days_on_site,
            &message.surveyor_numbers,
        );
        if let Some(visit) = &visit {
            fields.require("to", visit.to <= call.today, "must not lie in the future");
        }
        let (Some(request_id), Some(id), Some(visit)) = (request_id, id, visit) else {
            return Err(fields.into());
        };
        fields.finish()?;
        let mutation = Mutation::new(&call, &message, request_id);
        let mut write = match mutation.begin(&self.db).await? {
            Begun::Replayed(answer) => return Ok(Response::new(answer)),
            Begun::Fresh(write) => write,
        };
        let (survey, card) = held(&mut write, id, &call).await?;
        survey.may_record().map_err(Error::from)?;
        not_before(visit.from, survey.applied_on)?;
        large_enough(self.rule(card.kind, visit.from)?, &visit)?;
        surveys::set_visit(write.connection(), id, State::Surveyed, &call.caller.id, &visit).await?;
        let event = pb::SurveyRecorded {
            survey_id: id.to_string(),
            facility_code: survey.facility_code.clone(),
            kind: card.kind.number(),
            region_code: card.region_code,
            from: visit.from.to_string(),
            to: visit.to.to_string(),
        };
        write.emit(&survey.facility_code, &event).await?;
        let survey = surveys::get(write.connection(), id).await?;
        let survey = Some(self.shown(&survey, card.kind));
        let answer = write.commit(pb::RecordSurveyResponse { survey }).await?;
        Ok(Response::new(answer))
    }

    async fn score_chapter(
        &self,
        request: Request<pb::ScoreChapterRequest>,
    ) -> Result<Response<pb::ScoreChapterResponse>, Status> {
        let (call, message) = call::accept(request)?;
        let mut fields = Fields::new();
        let request_id = fields.parse("request_id", RequestId::parse(&message.request_id));
        let id = read::survey_id(&mut fields, &message.survey_id);
        let chapter = fields.parse("chapter", vocabulary::text(&message.chapter, 20));
        let elements = read::elements(&mut fields, &message.elements);
        let (Some(request_id), Some(id), Some(chapter)) = (request_id, id, chapter) else {
            return Err(fields.into());
        };
        fields.finish()?;
        let mutation = Mutation::new(&call, &message, request_id);
        let mut write = match mutation.begin(&self.db).await? {
            Begun::Replayed(answer) => return Ok(Response::new(answer)),
            Begun::Fresh(write) => write,
        };
        let (survey, card) = held(&mut write, id, &call).await?;
        survey.may_judge().map_err(Error::from)?;
        let table = self.table(card.kind, survey.judged_on())?;
        let score = table.score(&chapter, &elements)?;
        surveys::score(write.connection(), id, &chapter, &elements, score, call.received_at).await?;
        let survey = surveys::get(write.connection(), id).await?;
        let survey = Some(self.shown(&survey, card.kind));
        let answer = write.commit(pb::ScoreChapterResponse { survey }).await?;
        Ok(Response::new(answer))
    }

    async fn decide_accreditation(
        &self,
        request: Request<pb::DecideAccreditationRequest>,
    ) -> Result<Response<pb::DecideAccreditationResponse>, Status> {
        let (call, message) = call::accept(request)?;
        let mut fields = Fields::new();
        let request_id = fields.parse("request_id", RequestId::parse(&message.request_id));
        let id = read::survey_id(&mut fields, &message.survey_id);
        let decided_on = read::past_day(&mut fields, "decided_on", &message.decided_on, call.today);
        let (Some(request_id), Some(id), Some(decided_on)) = (request_id, id, decided_on) else {
            return Err(fields.into());
        };
        fields.finish()?;
        let mutation = Mutation::new(&call, &message, request_id);
        let mut write = match mutation.begin(&self.db).await? {
            Begun::Replayed(answer) => return Ok(Response::new(answer)),
            Begun::Fresh(write) => write,
        };
        let (survey, card) = held(&mut write, id, &call).await?;
        survey.may_judge().map_err(Error::from)?;
        not_before(decided_on, survey.judged_on())?;
        let table = self.table(card.kind, survey.judged_on())?;
        let scores: BTreeMap<String, Score> =
            survey.chapters.iter().map(|(chapter, score, _)| (chapter.clone(), *score)).collect();
        let grade = table.grade(&scores).map_err(Error::ChaptersMissing)?;
        registry::lock(write.connection(), &survey.facility_code).await?;
        surveys::decide(write.connection(), id, grade, decided_on).await?;
        let certificate = if grade == Grade::NotAccredited {
            None
        } else {
            let known = certificates::of(write.connection(), &survey.facility_code).await?;
            let validity = self.policies.certificates.on(decided_on)?.validity(decided_on);
            let certificate = Certificate {
                number: certificate::next_number(&survey.facility_code, decided_on, &known),
                facility_code: survey.facility_code.clone(),
                grade,
                valid_from: decided_on,
                valid_to: validity.to,
                apply_by: validity.apply_by,
                survey_id: Some(id),
                grading_source: table.source.clone(),
                revoked_on: None,
                revocation_note: String::new(),
            };
            certificates::insert(write.connection(), &certificate, call.received_at).await?;
            Some(certificate)
        };
        let event = pb::AccreditationDecided {
            survey_id: id.to_string(),
            ..decided(&survey.facility_code, &card, grade, decided_on, certificate.as_ref())
        };
        write.emit(&survey.facility_code, &event).await?;
        let survey = surveys::get(write.connection(), id).await?;
        let answer = pb::DecideAccreditationResponse {
            survey: Some(self.shown(&survey, card.kind)),
            certificate: certificate.as_ref().map(answer::certificate),
        };
        Ok(Response::new(write.commit(answer).await?))
    }

    async fn get_survey(
        &self,
        request: Request<pb::GetSurveyRequest>,
    ) -> Result<Response<pb::GetSurveyResponse>, Status> {
        let (call, message) = call::accept(request)?;
        let mut fields = Fields::new();
        let Some(id) = read::survey_id(&mut fields, &message.survey_id) else { return Err(fields.into()) };
        let mut connection = self.db.pool.acquire().await.map_err(Error::from)?;
        let survey = surveys::get(&mut connection, id).await?;
        let hidden = read::surveyor(&call.caller).is_some_and(|institution| !survey.open_to(institution));
        if hidden || read::is_foreign(&call.caller, &survey.facility_code) {
            return Err(Error::NoSurvey.into());
        }
        let card = registry::card(&mut connection, &survey.facility_code).await?;
        let survey = Some(self.shown(&survey, card.kind));
        Ok(Response::new(pb::GetSurveyResponse { survey }))
    }

    async fn list_surveys(
        &self,
        request: Request<pb::ListSurveysRequest>,
    ) -> Result<Response<pb::ListSurveysResponse>, Status> {
        let (call, message) = call::accept(request)?;
        let mut fields = Fields::new();
        let page = Page::parse(&mut fields, message.page_size, &message.page_token);
        let code = read::if_given(
            &mut fields,
            "facility_code",
            &message.facility_code,
            vocabulary::FacilityCode::parse,
        );
        let before = page.after.as_deref().and_then(|last| {
            fields.parse(
                "page_token",
                Uuid::parse_str(last).map_err(|_| "must be a next_page_token of this list"),
            )
        });
        let state = read::if_specified(&mut fields, "state", message.state, State::from_number);
        fields.finish()?;
        let asked = code.map(|code| code.as_str().to_owned());
        if asked.as_deref().is_some_and(|code| read::is_foreign(&call.caller, code)) {
            return Ok(Response::new(pb::ListSurveysResponse::default()));
        }
        let filter = surveys::Filter {
            facility_code: call.caller.facility().map(str::to_owned).or(asked),
            state,
            institution: read::surveyor(&call.caller).map(str::to_owned),
            only: None,
            before,
            limit: page.size + 1,
        };
        let mut connection = self.db.pool.acquire().await.map_err(Error::from)?;
        let mut found = surveys::find(&mut connection, &filter).await?;
        let full = usize::try_from(page.size).unwrap_or(usize::MAX);
        let more = found.len() > full;
        found.truncate(full);
        let next = found.last().filter(|_| more).map(|last| page::token(&last.id.to_string()));
        Ok(Response::new(pb::ListSurveysResponse {
            surveys: found.iter().map(|survey| answer::survey(survey, &[])).collect(),
            next_page_token: next.unwrap_or_default(),
        }))
    }

    async fn import_certificate(
        &self,
        request: Request<pb::ImportCertificateRequest>,
    ) -> Result<Response<pb::ImportCertificateResponse>, Status> {
        let (call, message) = call::accept(request)?;
        let mut fields = Fields::new();
        let request_id = fields.parse("request_id", RequestId::parse(&message.request_id));
        let code = read::facility_code(&mut fields, "facility_code", &message.facility_code);
        let number =
            fields.parse("certificate_number", certificate::read_foreign_number(&message.certificate_number));
        let grade = Grade::from_number(message.grade).filter(|grade| *grade != Grade::NotAccredited);
        let grade = fields.parse("grade", grade.ok_or("must be DASAR, MADYA, UTAMA or PARIPURNA"));
        let decided_on = fields.parse("decided_on", vocabulary::date(&message.decided_on));
        if let Some(day) = decided_on {
            fields.require("decided_on", day <= call.today, "must not lie in the future");
        }
        let (Some(request_id), Some(code), Some(number), Some(grade), Some(decided_on)) =
            (request_id, code, number, grade, decided_on)
        else {
            return Err(fields.into());
        };
        fields.finish()?;
        let mutation = Mutation::new(&call, &message, request_id);
        let mut write = match mutation.begin(&self.db).await? {
            Begun::Replayed(answer) => return Ok(Response::new(answer)),
            Begun::Fresh(write) => write,
        };
        registry::lock(write.connection(), &code).await?;
        let card = registry::card(write.connection(), &code).await?;
        let grades = self.table(card.kind, decided_on)?.grades();
        if !grades.contains(&grade) {
            return Err(Error::GradeNotInTable(grades.into_iter().map(Grade::as_str).collect()).into());
        }
        let validity = self.policies.certificates.on(decided_on)?.validity(decided_on);
        let certificate = Certificate {
            number,
            facility_code: code,
            grade,
            valid_from: decided_on,
            valid_to: validity.to,
            apply_by: validity.apply_by,
            survey_id: None,
            grading_source: String::new(),
            revoked_on: None,
            revocation_note: String::new(),
        };
        certificates::insert(write.connection(), &certificate, call.received_at).await?;
        let event = decided(&certificate.facility_code, &card, grade, decided_on, Some(&certificate));
        write.emit(&certificate.facility_code, &event).await?;
        let certificate = Some(answer::certificate(&certificate));
        let answer = write.commit(pb::ImportCertificateResponse { certificate }).await?;
        Ok(Response::new(answer))
    }

    async fn get_certificate(
        &self,
        request: Request<pb::GetCertificateRequest>,
    ) -> Result<Response<pb::GetCertificateResponse>, Status> {
        let (_, message) = call::accept(request)?;
        let mut fields = Fields::new();
        let number =
            fields.parse("certificate_number", certificate::read_number(&message.certificate_number));
        let Some(number) = number else { return Err(fields.into()) };
        let mut connection = self.db.pool.acquire().await.map_err(Error::from)?;
        let certificate = certificates::get(&mut connection, &number).await?;
        Ok(Response::new(pb::GetCertificateResponse { certificate: Some(answer::certificate(&certificate)) }))
    }

    async fn revoke_certificate(
        &self,
        request: Request<pb::RevokeCertificateRequest>,
    ) -> Result<Response<pb::RevokeCertificateResponse>, Status> {
        let (call, message) = call::accept(request)?;
        let mut fields = Fields::new();
        let request_id = fields.parse("request_id", RequestId::parse(&message.request_id));
        let number =
            fields.parse("certificate_number", certificate::read_number(&message.certificate_number));
        let revoked_on = read::past_day(&mut fields, "revoked_on", &message.revoked_on, call.today);
        let note = fields.parse("note", vocabulary::text(&message.note, 500));
        let (Some(request_id), Some(number), Some(revoked_on), Some(note)) =
            (request_id, number, revoked_on, note)
        else {
            return Err(fields.into());
        };
        fields.finish()?;
        let mutation = Mutation::new(&call, &message, request_id);
        let mut write = match mutation.begin(&self.db).await? {
            Begun::Replayed(answer) => return Ok(Response::new(answer)),
            Begun::Fresh(write) => write,
        };
        let certificate = certificates::lock(write.connection(), &number).await?;
        if let Some(before) = certificate.revoked_on {
            return Err(Error::CertificateRevoked(before).into());
        }
        not_before(revoked_on, certificate.valid_from)?;
        certificates::revoke(write.connection(), &number, revoked_on, &note).await?;
        let card = registry::card(write.connection(), &certificate.facility_code).await?;
        let event = pb::CertificateRevoked {
            certificate_number: number,
            facility_code: certificate.facility_code.clone(),
            kind: card.kind.number(),
            region_code: card.region_code,
            revoked_on: revoked_on.to_string(),
        };
        write.emit(&certificate.facility_code, &event).await?;
        let certificate = Certificate { revoked_on: Some(revoked_on), revocation_note: note, ..certificate };
        let certificate = Some(answer::certificate(&certificate));
        let answer = write.commit(pb::RevokeCertificateResponse { certificate }).await?;
        Ok(Response::new(answer))
    }

    async fn list_expiring_certificates(
        &self,
        request: Request<pb::ListExpiringCertificatesRequest>,
    ) -> Result<Response<pb::ListExpiringCertificatesResponse>, Status> {
        let (call, message) = call::accept(request)?;
        let mut fields = Fields::new();
        let page = Page::parse(&mut fields, message.page_size, &message.page_token);
        let within = message.within_days;
        fields.require("within_days", (0..=730).contains(&within), "must be 0 to 730");
        let region = read::if_given(&mut fields, "region_code", &message.region_code, read::region);
        let after = page.after.as_deref().and_then(|last| {
            let key = last
                .split_once('|')
                .and_then(|(day, number)| Some((vocabulary::date(day).ok()?, number.into())));
            fields.parse("page_token", key.ok_or("must be a next_page_token of this list"))
        });
        fields.finish()?;
        let until = if within == 0 {
            let months =
                self.policies.certificates.on(call.today).map_err(Error::from)?.apply_months_before_expiry;
            call.today.saturating_add(months.months())
        } else {
            call.today.saturating_add(within.days())
        };
        let asked = certificates::Expiring {
            today: call.today,
            until,
            facility_code: call.caller.facility().map(str::to_owned),
            region,
            after,
            limit: page.size + 1,
        };
        let mut connection = self.db.pool.acquire().await.map_err(Error::from)?;
        let mut found = certificates::expiring(&mut connection, &asked).await?;
        let full = usize::try_from(page.size).unwrap_or(usize::MAX);
        let more = found.len() > full;
        found.truncate(full);
        let next = found.last().filter(|_| more);
        let next = next.map(|(last, _)| page::token(&format!("{}|{}", last.valid_to, last.number)));
        let shown = found.iter().map(|(expiring, applied)| pb::ExpiringCertificate {
            certificate: Some(answer::certificate(expiring)),
            days_left: (expiring.valid_to - call.today).get_days(),
            applied: *applied,
            overdue: !applied && call.today > expiring.apply_by,
        });
        Ok(Response::new(pb::ListExpiringCertificatesResponse {
            certificates: shown.collect(),
            next_page_token: next.unwrap_or_default(),
        }))
    }

    async fn get_accreditation_status(
        &self,
        request: Request<pb::GetAccreditationStatusRequest>,
    ) -> Result<Response<pb::GetAccreditationStatusResponse>, Status> {
        let (call, message) = call::accept(request)?;
        let mut fields = Fields::new();
        let code = read::facility_code(&mut fields, "facility_code", &message.facility_code);
        let on = read::if_given(&mut fields, "on", &message.on, vocabulary::date).unwrap_or(call.today);
        let Some(code) = code else { return Err(fields.into()) };
        fields.finish()?;
        let mut connection = self.db.pool.acquire().await.map_err(Error::from)?;
        let card = registry::card(&mut connection, &code).await?;
        let contracts = registry::contracts(&mut connection, &code).await?;
        let known = certificates::of(&mut connection, &code).await?;
        let policy = self.policies.certificates.on(on).map_err(Error::from)?;
        let required = policy.required_of.contains(&card.kind);
        let standing = certificate::standing(&contracts, &known, required, on);
        let named = standing.certificate.map(answer::certificate).unwrap_or_default();
        let status = pb::AccreditationStatus {
            facility_code: code,
            on: on.to_string(),
            in_good_standing: standing.shortcomings.is_empty(),
            contracted: standing.contracted,
            contract: standing.contract.map(answer::period),
            certificate_required: required,
            certified: standing.certified,
            grade: if standing.certified { named.grade } else { 0 },
            certificate_number: named.certificate_number,
            valid_from: named.valid_from,
            valid_to: named.valid_to,
            reasons: standing.shortcomings.into_iter().map(Shortcoming::number).collect(),
            kind: card.kind.number(),
            level: card.kind.level().number(),
            hospital_class: card.hospital_class.map_or(0, HospitalClass::number),
            region_code: card.region_code,
            ownership: card.ownership.number(),
        };
        Ok(Response::new(pb::GetAccreditationStatusResponse {
            status: Some(status),
            answer_id: Uuid::now_v7().to_string(),
            answered_at: Some(chassis::time::to_proto(call.received_at)),
        }))
    }
}
