//! What several steps of an accreditation share: their table and rule, the survey they work on, the checks of its
//! days and size, and the event of a decision.

use chassis::Call;
use jiff::civil::Date;
use proto::accreditation::v1 as pb;
use uuid::Uuid;

use super::{Accreditations, answer, read};
use crate::{
    certificate::Certificate,
    error::Error,
    facility::Kind,
    grading::{Grade, Table},
    store::{registry, surveys},
    survey::{Survey, SurveyRule, Visit},
};

impl Accreditations {
    /// The grading table of a kind of facility on a day.
    pub(super) fn table(&self, kind: Kind, day: Date) -> Result<&Table, Error> {
        self.policies.grades.on(day)?.of(kind).ok_or(Error::KindNotGraded(kind))
    }

    /// The rule of surveys of a kind of facility on a day.
    pub(super) fn rule(&self, kind: Kind, day: Date) -> Result<&SurveyRule, Error> {
        self.policies.surveys.on(day)?.rule.of(kind).ok_or(Error::KindNotGraded(kind))
    }

    /// A survey as an answer, its chapters in the order of its table.
    pub(super) fn shown(&self, survey: &Survey, kind: Kind) -> pb::Survey {
        let order: Vec<String> = self
            .table(kind, survey.judged_on())
            .map(|table| table.chapter.iter().map(|chapter| chapter.code.clone()).collect())
            .unwrap_or_default();
        answer::survey(survey, &order)
    }
}

/// The survey of a write by an institution that surveys, held, with what its facility is.
pub(super) async fn held(
    write: &mut chassis::Write,
    id: Uuid,
    call: &Call,
) -> Result<(Survey, registry::Card), Error> {
    let survey = surveys::lock(write.connection(), id).await?;
    if !read::surveyor(&call.caller).is_none_or(|institution| survey.open_to(institution)) {
        return Err(Error::NoSurvey);
    }
    let card = registry::card(write.connection(), &survey.facility_code).await?;
    Ok((survey, card))
}

/// Refuses a visit that is too small.
pub(super) fn large_enough(rule: &SurveyRule, visit: &Visit) -> Result<(), Error> {
    if rule.suffices(visit) {
        return Ok(());
    }
    Err(Error::SurveyTooSmall { surveyors: rule.surveyors, days: rule.days, on_site: rule.days_on_site })
}

/// Refuses a day before the step it follows on.
pub(super) fn not_before(day: Date, earliest: Date) -> Result<(), Error> {
    if day < earliest { Err(Error::DatesOutOfOrder(earliest)) } else { Ok(()) }
}

/// The event of a decision; the survey is added by whoever has one.
pub(super) fn decided(
    facility_code: &str,
    card: &registry::Card,
    grade: Grade,
    on: Date,
    certificate: Option<&Certificate>,
) -> pb::AccreditationDecided {
    pb::AccreditationDecided {
        survey_id: String::new(),
        facility_code: facility_code.to_owned(),
        kind: card.kind.number(),
        region_code: card.region_code.clone(),
        grade: grade.number(),
        decided_on: on.to_string(),
        certificate_number: certificate.map(|certificate| certificate.number.clone()).unwrap_or_default(),
        valid_from: certificate.map(|certificate| certificate.valid_from.to_string()).unwrap_or_default(),
        valid_to: certificate.map(|certificate| certificate.valid_to.to_string()).unwrap_or_default(),
    }
}
