//! Everything that can be refused, and the only place that knows status codes.

use chassis::Problem;
use jiff::civil::Date;
use proto::accreditation::v1::Reason;
use tonic::{Code, Status};

use crate::{contract::Overlaps, facility::Kind, survey::OutOfStep};

/// Why a call is refused.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no such facility.
    #[error("there is no facility with this code; check it, or look for it with ListFacilities")]
    NoFacility,
    /// There is no such survey, or it is another's.
    #[error("there is no such survey; check the id, or look for it with ListSurveys")]
    NoSurvey,
    /// There is no such certificate.
    #[error("there is no certificate with this number; check it")]
    NoCertificate,
    /// One of the codes is taken.
    #[error("this {0} is registered already; look the facility up with ListFacilities and update it")]
    FacilityExists(&'static str),
    /// The contract would rewrite history.
    #[error(
        "the contract begins before the latest one; name the first day of that one to change its end, or a later day"
    )]
    ContractOverlaps(Date),
    /// No grading table for the kind.
    #[error("facilities of this kind are not graded; no certificate is asked of them")]
    KindNotGraded(Kind),
    /// Preconditions are missing.
    #[error("the preconditions of a survey are not fulfilled: {}; fulfil them and apply again", .0.join(", "))]
    PreconditionsNotMet(Vec<&'static str>),
    /// A survey is under way.
    #[error("the facility has a survey under way; go on with that one")]
    SurveyOpen,
    /// A step out of order.
    #[error("this step does not follow on a survey that is {}; apply, schedule, record, score, decide", .0.as_str())]
    SurveyStateWrong(crate::survey::State),
    /// The survey is too small.
    #[error(
        "a survey of this kind of facility takes at least {surveyors} surveyors and {days} days, {on_site} of them at the facility"
    )]
    SurveyTooSmall {
        /// Least surveyors.
        surveyors: usize,
        /// Least days.
        days: i32,
        /// Least days at the facility.
        on_site: i32,
    },
    /// The table has no such chapter.
    #[error("the grading table of this kind of facility has the chapters {}; use one of these", .0.join(", "))]
    ChapterUnknown(Vec<String>),
    /// The elements are not those of the chapter.
    #[error(
        "score every element of the chapter, those that do not apply as NOT_APPLICABLE, and at least one that does"
    )]
    ElementsIncomplete(Option<u32>),
    /// Chapters are missing.
    #[error("score the chapters {} before the decision", .0.join(", "))]
    ChaptersMissing(Vec<String>),
    /// A day before the one it follows on.
    #[error("the day lies before the step it follows on; the first day possible is {0}")]
    DatesOutOfOrder(Date),
    /// The table does not know the grade.
    #[error("certificates of this kind of facility have the grades {}; check the certificate", .0.join(", "))]
    GradeNotInTable(Vec<&'static str>),
    /// The number is taken.
    #[error("a certificate with this number is known already; look at it with GetCertificate")]
    CertificateExists,
    /// It was revoked before.
    #[error("the certificate was revoked before; nothing is left to do")]
    CertificateRevoked(Date),
    /// A value in the database that this version does not know.
    #[error("a stored value is not known to this version")]
    Stored(&'static str),
    /// Refused by the chassis.
    #[error(transparent)]
    Problem(#[from] Problem),
    /// The database failed.
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

impl From<Overlaps> for Error {
    fn from(overlaps: Overlaps) -> Self {
        Self::ContractOverlaps(overlaps.earliest)
    }
}

impl From<OutOfStep> for Error {
    fn from(OutOfStep(state): OutOfStep) -> Self {
        Self::SurveyStateWrong(state)
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        let message = error.to_string();
        let refused =
            |reason: Reason| Self::new(Code::FailedPrecondition, reason.as_str_name(), message.clone());
        match error {
            Error::NoFacility => Self::not_found("facility", message),
            Error::NoSurvey => Self::not_found("survey", message),
            Error::NoCertificate => Self::not_found("certificate", message),
            Error::FacilityExists(field) => {
                Self::new(Code::AlreadyExists, Reason::FacilityExists.as_str_name(), message)
                    .with("field", field)
            }
            Error::ContractOverlaps(earliest) => refused(Reason::ContractOverlaps).with("earliest", earliest),
            Error::KindNotGraded(kind) => refused(Reason::KindNotGraded).with("kind", kind.as_str()),
            Error::PreconditionsNotMet(missing) => {
                refused(Reason::PreconditionsNotMet).with("missing", missing.join(","))
            }
            Error::SurveyOpen => refused(Reason::SurveyOpen),
            Error::SurveyStateWrong(state) => refused(Reason::SurveyStateWrong).with("state", state.as_str()),
            Error::SurveyTooSmall { surveyors, days, on_site } => refused(Reason::SurveyTooSmall)
                .with("surveyors", surveyors)
                .with("days", days)
                .with("days_on_site", on_site),
            Error::ChapterUnknown(chapters) => {
                refused(Reason::ChapterUnknown).with("chapters", chapters.join(","))
            }
            Error::ElementsIncomplete(None) => refused(Reason::ElementsIncomplete),
            Error::ElementsIncomplete(Some(elements)) => {
                refused(Reason::ElementsIncomplete).with("elements", elements)
            }
            Error::ChaptersMissing(missing) => {
                refused(Reason::ChaptersMissing).with("missing", missing.join(","))
            }
            Error::DatesOutOfOrder(earliest) => refused(Reason::DatesOutOfOrder).with("earliest", earliest),
            Error::GradeNotInTable(grades) => {
                refused(Reason::GradeNotInTable).with("grades", grades.join(","))
            }
            Error::CertificateExists => {
                Self::new(Code::AlreadyExists, Reason::CertificateExists.as_str_name(), message)
            }
            Error::CertificateRevoked(on) => refused(Reason::CertificateRevoked).with("revoked_on", on),
            Error::Stored(what) => {
                tracing::error!(what, "a stored value is not known to this version");
                Self::internal()
            }
            Error::Problem(problem) => problem,
            Error::Database(error) => error.into(),
        }
    }
}

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        Problem::from(error).into()
    }
}
