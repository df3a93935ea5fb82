//! Everything that can go wrong here, and the only place that knows status codes.

use chassis::Problem;
use proto::primary_care::v1::Reason;
use tonic::{Code, Status};

use crate::visit::Refusal;

/// Why a call is refused.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error(
        "the member is not eligible on the visit date: {reasons}; clear this with BPJS Kesehatan, then register the visit again"
    )]
    NotEligible { reasons: String, answer_id: String },
    #[error(
        "the member has an unfinished visit of this day at this facility, {visit_number}; continue or cancel it"
    )]
    AlreadyOpen { visit_number: String },
    #[error(
        "a first-level facility treats the primary diagnosis itself; treat the patient, or send tacc with a note"
    )]
    TaccNeeded { source_of_list: String },
    #[error("the facility has used up its visit numbers of the month; report this to BPJS Kesehatan")]
    NumbersExhausted,
    #[error("no visit of this number is yours to see; check the number")]
    NotFound,
    #[error("no visits of this facility are yours to see; use your own facility code")]
    NotYourFacility,
    #[error(transparent)]
    Refusal(#[from] Refusal),
    #[error("a stored visit cannot be read: {0}")]
    Unreadable(&'static str),
    #[error(transparent)]
    Problem(#[from] Problem),
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        let message = error.to_string();
        let refuse =
            |reason: Reason| Problem::new(Code::FailedPrecondition, reason.as_str_name(), message.clone());
        let problem = match error {
            Error::Problem(problem) => problem,
            Error::Database(error) => error.into(),
            Error::Unreadable(column) => {
                tracing::error!(column, "a stored visit cannot be read");
                Problem::internal()
            }
            Error::NotFound => Problem::not_found("visit", message),
            Error::NotYourFacility => Problem::not_found("facility", message),
            Error::NotEligible { reasons, answer_id } => {
                refuse(Reason::MemberNotEligible).with("reasons", reasons).with("answer_id", answer_id)
            }
            Error::AlreadyOpen { visit_number } => {
                refuse(Reason::VisitAlreadyOpen).with("visit_number", visit_number)
            }
            Error::TaccNeeded { source_of_list } => refuse(Reason::TaccNeeded).with("source", source_of_list),
            Error::NumbersExhausted => refuse(Reason::VisitNumbersExhausted),
            Error::Refusal(refusal) => match refusal {
                Refusal::EnteredTooLate { earliest } => {
                    refuse(Reason::VisitEnteredTooLate).with("earliest", earliest)
                }
                Refusal::RegisteredElsewhere { registered } => {
                    refuse(Reason::RegisteredElsewhere).with("registered_fktp_code", registered)
                }
                Refusal::OutsideVisitsUsedUp { registered, allowed } => refuse(Reason::OutsideVisitsUsedUp)
                    .with("registered_fktp_code", registered)
                    .with("allowed", allowed),
                Refusal::Closed { state } => refuse(Reason::VisitClosed).with("state", state.code()),
                Refusal::ReferralUnderWay => refuse(Reason::ReferralUnderWay),
                Refusal::DiagnosisMissing => refuse(Reason::DiagnosisMissing),
                Refusal::NotExamined => refuse(Reason::VisitNotExamined),
            },
        };
        problem.into()
    }
}
