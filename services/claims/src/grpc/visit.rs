//! The purpose of a visit, read field by field, and held against what led to it.

use chassis::Fields;
use jiff::civil::Date;
use proto::claims::v1 as pb;

use super::{Policies, Seps, issue::Asked};
use crate::{
    episode::Care,
    error::Error,
    sep::Refusal,
    store,
    visit::{Flag, Origin, Purpose, Service, Visit, lacks_assessment, wrong},
};

/// Reads what is stated of the purpose of a visit, and names every field that does not belong to it.
pub(super) fn read(
    fields: &mut Fields,
    message: &pb::IssueSepRequest,
    policies: &Policies,
    care: Option<Care>,
    service_date: Option<Date>,
) {
    let purpose = pb::VisitPurpose::try_from(message.visit_purpose);
    fields.require("visit_purpose", purpose.is_ok(), "a value of VisitPurpose");
    let flag = pb::ProcedureFlag::try_from(message.procedure_flag);
    fields.require("procedure_flag", flag.is_ok(), "a value of ProcedureFlag");
    let service = pb::SupportingService::try_from(message.supporting_service);
    fields.require("supporting_service", service.is_ok(), "a value of SupportingService");
    let assessment = pb::VisitAssessment::try_from(message.visit_assessment);
    fields.require("visit_assessment", assessment.is_ok(), "a value of VisitAssessment");
    if care == Some(Care::Inpatient) {
        let usual = matches!(purpose, Ok(pb::VisitPurpose::Unspecified | pb::VisitPurpose::Normal) | Err(_));
        fields.require("visit_purpose", usual, "must be normal or unset for in-patient care");
        let stated = [
            ("procedure_flag", message.procedure_flag),
            ("supporting_service", message.supporting_service),
            ("visit_assessment", message.visit_assessment),
        ];
        for (field, given) in stated {
            fields.require(field, given == 0, "must be unset for in-patient care");
        }
        return;
    }
    // What belongs together is judged once each is a value.
    if purpose.is_err() || flag.is_err() || service.is_err() || assessment.is_err() {
        return;
    }
    let Some(rules) = service_date.and_then(|day| policies.visit.on(day).ok()) else { return };
    let stated = visit(
        message.visit_purpose(),
        message.procedure_flag(),
        message.supporting_service(),
        message.visit_assessment(),
    );
    for (field, text) in wrong(rules, &stated) {
        fields.wrong(field, text);
    }
}

/// What is stated, in the domain's words.
fn visit(
    purpose: pb::VisitPurpose,
    flag: pb::ProcedureFlag,
    service: pb::SupportingService,
    assessment: pb::VisitAssessment,
) -> Visit {
    let purpose = match purpose {
        pb::VisitPurpose::Unspecified | pb::VisitPurpose::Normal => Purpose::Normal,
        pb::VisitPurpose::Procedure => Purpose::Procedure,
        pb::VisitPurpose::Consultation => Purpose::Consultation,
    };
    let flag = match flag {
        pb::ProcedureFlag::Unspecified => None,
        pb::ProcedureFlag::Once => Some(Flag::Once),
        pb::ProcedureFlag::Course => Some(Flag::Course),
    };
    let service = usize::try_from(service as i32 - 1).ok().and_then(|place| Service::ALL.get(place).copied());
    Visit { purpose, flag, service, assessed: assessment != pb::VisitAssessment::Unspecified }
}

impl Seps {
    /// Whether a visit that follows from an earlier SEP has to say why it was not made on that day.
    pub(super) async fn judge_visit(&self, asked: &Asked) -> Result<Option<Refusal>, Error> {
        let letter = &asked.letter;
        if asked.wanted.care == Care::Inpatient || letter.based_on_sep_number.is_empty() {
            return Ok(None);
        }
        let led = store::sep::get(&self.db.pool, &letter.based_on_sep_number, None).await?;
        let origin =
            Origin { referral_clinic: &letter.referral_poli_code, led_on: led.map(|row| row.service_date) };
        let stated = visit(
            letter.visit_purpose(),
            letter.procedure_flag(),
            letter.supporting_service(),
            letter.visit_assessment(),
        );
        let day = asked.wanted.service_date;
        let lacks = lacks_assessment(self.policies.visit.on(day)?, &stated, &asked.clinic, day, origin);
        Ok(lacks.then_some(Refusal::AssessmentRequired))
    }
}
