//! Everything that can go wrong here, and the only place that knows status codes.

use chassis::Problem;
use proto::membership::v1::Reason;
use tonic::{Code, Status};

use crate::{contribution, family, fktp_choice};

/// Why a call is refused.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("no such member is yours to see; check the id")]
    MemberNotFound,
    #[error("there is no such family; check the id")]
    FamilyNotFound,
    #[error("the NIK belongs to a member already; find the member with FindMember, or correct the NIK")]
    NikAlreadyRegistered { member: Option<usize> },
    #[error(
        "the membership has ended and its record is closed; register the person anew, from a day after its end"
    )]
    MembershipEnded,
    #[error("accreditation knows no facility with this code; correct it, or have the facility registered")]
    FktpUnknown { field: String },
    #[error("the facility is not of the first level; choose a puskesmas, clinic or practice")]
    FktpNotFirstLevel { field: String },
    #[error("the facility has no contract on the day the choice takes effect; choose another one")]
    FktpNotContracted { field: String },
    #[error("the bank used this reference before for another payment; send this one under its own reference")]
    BankReferenceReused,
    #[error(
        "one import takes at most {most} rows; send the rest on a new stream, rows already written are found again"
    )]
    ImportTooLarge { most: usize },
    #[error(transparent)]
    Family(#[from] family::Refused),
    #[error(transparent)]
    Choice(#[from] fktp_choice::Refused),
    #[error(transparent)]
    Contribution(#[from] contribution::Refused),
    #[error("a stored record cannot be read")]
    Unreadable,
    #[error(transparent)]
    Problem(#[from] Problem),
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

impl Error {
    /// The reason, as a row of an import names it; `None` when the whole call fails.
    pub(crate) fn reason_of_row(&self) -> Option<Reason> {
        Some(match self {
            Self::NikAlreadyRegistered { .. } => Reason::NikAlreadyRegistered,
            Self::FktpUnknown { .. } => Reason::FktpUnknown,
            Self::FktpNotFirstLevel { .. } => Reason::FktpNotFirstLevel,
            Self::FktpNotContracted { .. } => Reason::FktpNotContracted,
            Self::Family(family::Refused::ClassNotOfSegment { .. }) => Reason::CareClassNotOfSegment,
            _ => return None,
        })
    }
}

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        let message = error.to_string();
        let new = |code: Code, reason: Reason| Problem::new(code, reason.as_str_name(), message.clone());
        let refuse = |reason: Reason| new(Code::FailedPrecondition, reason);
        let problem = match error {
            Error::Problem(problem) => problem,
            Error::Database(error) => error.into(),
            Error::Unreadable => {
                tracing::error!("a stored record cannot be read");
                Problem::internal()
            }
            Error::MemberNotFound => Problem::not_found("member", message),
            Error::FamilyNotFound => Problem::not_found("family", message),
            Error::NikAlreadyRegistered { member } => {
                let field =
                    member.map_or_else(|| "members".to_owned(), |index| format!("members[{index}].nik"));
                new(Code::AlreadyExists, Reason::NikAlreadyRegistered)
                    .field(field, "belongs to a member already")
            }
            Error::MembershipEnded => refuse(Reason::MembershipEnded),
            Error::FktpUnknown { field } => {
                refuse(Reason::FktpUnknown).field(field, "no facility has this code")
            }
            Error::FktpNotFirstLevel { field } => {
                refuse(Reason::FktpNotFirstLevel).field(field, "must be a facility of the first level")
            }
            Error::FktpNotContracted { field } => refuse(Reason::FktpNotContracted)
                .field(field, "must be contracted on the day it takes effect"),
            Error::BankReferenceReused => new(Code::AlreadyExists, Reason::BankReferenceReused)
                .field("bank_reference", "was used for another payment"),
            Error::ImportTooLarge { most } => {
                new(Code::InvalidArgument, Reason::ImportTooLarge).with("most_rows", most)
            }
            Error::Family(refused) => match refused {
                family::Refused::ClassNotOfSegment { expected } => {
                    refuse(Reason::CareClassNotOfSegment).with("expected", expected)
                }
                family::Refused::ClassTooSoon { earliest } => {
                    refuse(Reason::CareClassTooSoon).with("earliest", earliest)
                }
                family::Refused::ChangePending { effective_from } => {
                    refuse(Reason::TermsChangePending).with("effective_from", effective_from)
                }
                family::Refused::DependantNotCovered { member } => refuse(Reason::DependantNotCovered)
                    .field(format!("members[{member}]"), "is too old, or beyond the third child"),
            },
            Error::Choice(refused) => match refused {
                fktp_choice::Refused::TooSoon { earliest } => {
                    refuse(Reason::FktpTooSoon).with("earliest", earliest)
                }
                fktp_choice::Refused::Unchanged => refuse(Reason::FktpUnchanged),
                fktp_choice::Refused::Pending { effective_from } => {
                    refuse(Reason::FktpChangePending).with("effective_from", effective_from)
                }
            },
            Error::Contribution(refused) => match refused {
                contribution::Refused::GovernmentPays => refuse(Reason::ContributionPaidByGovernment),
                contribution::Refused::NotWholeMonths { next } => {
                    let sums: Vec<_> = next.iter().map(ToString::to_string).collect();
                    refuse(Reason::AmountNotWholeMonths).with("next_months_rupiah", sums.join(","))
                }
                contribution::Refused::TooFarAhead { last } => {
                    refuse(Reason::PaidTooFarAhead).with("last_month", last.strftime("%Y-%m"))
                }
            },
        };
        problem.into()
    }
}
