//! Everything that can go wrong here, and the only place that knows status codes.

use chassis::Problem;
use jiff::civil::Date;
use proto::referral::v1::Reason;
use tonic::{Code, Status};

use crate::course::Unlawful;

/// Why a call is refused.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error(
        "the referral date lies before {earliest}, the first that may still be entered; issue one with the date of today"
    )]
    EnteredTooLate { earliest: Date },
    #[error("the registry of facilities does not know the facility of origin; have it registered")]
    OriginNotRegistered,
    #[error(
        "the registry of facilities does not know the destination; choose one that ListCandidates returns"
    )]
    DestinationNotRegistered,
    #[error("the destination has no contract on the referral date; choose one that ListCandidates returns")]
    DestinationNotContracted,
    #[error("the destination does not offer this clinic; choose one that ListCandidates returns")]
    DestinationNotCompetent,
    #[error(
        "the referral skips a rung of the ladder; choose a facility of the next rung or state the exemption that applies"
    )]
    LadderSkipped { rule: String },
    #[error("no referral of this number is yours to see; check the number")]
    NotFound,
    #[error("no capacity of this facility is yours to post; use your own facility code")]
    NotYourFacility,
    #[error("only the facility itself or the primary-care service may do this")]
    CallerNotAllowed,
    #[error(
        "the facility has used up its referral numbers of the month; issue it next month and report the event to BPJS Kesehatan"
    )]
    NumbersExhausted,
    #[error(transparent)]
    Unlawful(#[from] Unlawful),
    #[error("a stored referral cannot be read")]
    Unreadable,
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
            Error::Unreadable => {
                tracing::error!("a stored referral cannot be read");
                Problem::internal()
            }
            Error::NotFound => Problem::not_found("referral", message),
            Error::NotYourFacility => Problem::not_found("facility", message),
            Error::CallerNotAllowed => Problem::new(
                Code::PermissionDenied,
                proto::mesh::v1::Reason::CallerNotAllowed.as_str_name(),
                message,
            ),
            Error::EnteredTooLate { earliest } => {
                refuse(Reason::ReferralEnteredTooLate).with("earliest", earliest)
            }
            Error::OriginNotRegistered => refuse(Reason::OriginNotRegistered),
            Error::DestinationNotRegistered => refuse(Reason::DestinationNotRegistered),
            Error::DestinationNotContracted => refuse(Reason::DestinationNotContracted),
            Error::DestinationNotCompetent => refuse(Reason::DestinationNotCompetent),
            Error::LadderSkipped { rule } => refuse(Reason::LadderSkipped).with("source", rule),
            Error::NumbersExhausted => refuse(Reason::ReferralNumbersExhausted),
            Error::Unlawful(step) => refuse(match step {
                Unlawful::AnswerWindowPassed => Reason::AnswerWindowPassed,
                Unlawful::NoLongerValid => Reason::ReferralNoLongerValid,
                Unlawful::AlreadyAccepted => Reason::ReferralAlreadyAccepted,
                Unlawful::Refused => Reason::ReferralRefused,
                Unlawful::Cancelled => Reason::ReferralCancelled,
                Unlawful::NotAccepted => Reason::ReferralNotAccepted,
                Unlawful::AlreadyArrived => Reason::ReferralAlreadyArrived,
                Unlawful::NotArrived => Reason::ReferralNotArrived,
                Unlawful::AlreadyCompleted => Reason::ReferralAlreadyCompleted,
            }),
        };
        problem.into()
    }
}
