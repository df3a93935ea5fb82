//! Everything that can be refused, and the only place that knows status codes.

pub mod audit;

use chassis::{Fields, Problem};
use jiff::civil::Date;
use proto::claims::v1::Reason;
use tonic::{Code, Status};
use uuid::Uuid;

use crate::{follow_up, grouper::Ungroupable, life::NotNow, sep::Refusal};

/// Why a call is refused.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Everything that speaks against a SEP.
    #[error("the SEP cannot be issued")]
    SepRefused(Vec<Refusal>),
    /// The day of service lies in the future.
    #[error("the service date lies after today in Asia/Jakarta; ask again on the day of service")]
    ServiceDateInFuture(Date),
    /// The serials of the month are used up.
    #[error("the facility has used up its SEP numbers of the month; report this to BPJS Kesehatan")]
    SepNumbersExhausted,
    /// There is no such SEP, or it is another's.
    #[error("there is no such SEP of yours; check the number, or look for it with ListSeps")]
    NoSep,
    /// The SEP is cancelled.
    #[error("the SEP is cancelled; issue a new one if the service was given")]
    SepCancelled,
    /// The SEP is cited by a claim beyond draft.
    #[error("the SEP is cited by a claim that is beyond draft; correct the claim instead")]
    SepInUse(Uuid),
    /// The SEP is cited by another claim.
    #[error("the SEP is cited by a claim already; work on that claim, or issue a SEP for another service")]
    SepAlreadyClaimed(Uuid),
    /// There is no such claim, or it is another's.
    #[error("there is no such claim of yours; check the id, or look for it with ListClaims")]
    NoClaim,
    /// The step is not lawful now.
    #[error("a claim that is {} cannot be taken to: {}; read it with GetClaim and take a step that its state allows to the party that is asked", .0.state.name(), .0.step.name())]
    StateWrong(NotNow),
    /// No data.
    #[error("the claim has no data; set it with SetClaimData")]
    DataMissing,
    /// Not grouped.
    #[error("the claim has not been grouped since its data last changed; call GroupClaim")]
    NotGrouped,
    /// Grouped as ungroupable.
    #[error("the grouper cannot group these codes; correct them with SetClaimData and group again")]
    Ungroupable(String),
    /// The data contradicts the SEP.
    #[error("the claim contradicts its SEP in these fields: {}", .0.iter().map(|(field, _)| field.as_str()).collect::<Vec<_>>().join(", "))]
    ContradictsSep(Vec<(String, String)>),
    /// The filing limit has passed.
    #[error("the filing limit has passed, so the claim is void; ask BPJS Kesehatan if an exception applies")]
    Void(Date),
    /// Another round is open.
    #[error("the answer is to an earlier round; read the claim and answer the open one")]
    RoundNotOpen(i32),
    /// Another amount was approved.
    #[error("the amount is not the approved amount; pay what was approved")]
    AmountNotApproved(i64),
    /// The reference belongs to another payment.
    #[error("the payment reference belongs to another payment; use one reference for each claim")]
    PaymentReferenceUsed,
    /// About audits.
    #[error(transparent)]
    Audit(#[from] audit::Refused),
    /// What is stored cannot be read.
    #[error("stored data of {0} cannot be read")]
    Unreadable(&'static str),
    /// A refusal that is ready.
    #[error(transparent)]
    Problem(#[from] Box<Problem>),
    /// The database.
    #[error(transparent)]
    Database(sqlx::Error),
}

impl From<Problem> for Error {
    fn from(problem: Problem) -> Self {
        Self::Problem(Box::new(problem))
    }
}

impl From<Fields> for Error {
    fn from(fields: Fields) -> Self {
        Problem::from(fields).into()
    }
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        let constraint = match &error {
            sqlx::Error::Database(database) => database.constraint().map(str::to_owned),
            _ => None,
        };
        match constraint.as_deref() {
            Some("audit_frame_once") => Self::Audit(audit::Refused::FrameExists(None)),
            Some("sep_numbers_exhausted") => Self::SepNumbersExhausted,
            Some("follow_up_numbers_exhausted") => Self::FollowUpNumbersExhausted,
            Some("claim_payment_reference") => Self::PaymentReferenceUsed,
            Some("coder_certificate_once") => Self::CertificateExists,
            _ => Self::Database(error),
        }
    }
}

impl Ungroupable {
    /// Its name in the contract.
    #[must_use]
    pub const fn reason(self) -> proto::claims::v1::UngroupableReason {
        match self {
            Self::PrimaryNotAccepted => proto::claims::v1::UngroupableReason::PrimaryNotAccepted,
            Self::NoGroup => proto::claims::v1::UngroupableReason::NoGroup,
        }
    }
}

impl Refusal {
    fn reason(&self) -> Reason {
        match self {
            Self::NotEligible(_) => Reason::MemberNotEligible,
            Self::ReferralNotUsable(_) => Reason::ReferralNotUsable,
            Self::ReferralRequired => Reason::ReferralRequired,
            Self::NotContracted => Reason::FacilityNotContracted,
            Self::NotCertified(_) => Reason::FacilityNotCertified,
            Self::NotReferralLevel => Reason::FacilityNotReferralLevel,
            Self::UpgradeNotAllowed(_) => Reason::ClassUpgradeNotAllowed,
            Self::EntryTooLate { .. } => Reason::InpatientEntryTooLate,
            Self::Exists(_) => Reason::SepExists,
            Self::BackdateNotApproved { .. } => Reason::BackdateNotApproved,
            Self::FingerprintRequired(_) => Reason::FingerprintRequired,
            Self::FollowUpNotUsable(_) => Reason::FollowUpNotUsable,
            Self::AccidentPayerWrong(_) => Reason::AccidentPayerWrong,
            Self::PoliceReportRequired => Reason::PoliceReportRequired,
            Self::SupplementNotUsable(_) => Reason::SupplementNotUsable,
        }
    }

    /// What is against it, and what to do about it.
    fn told(&self) -> (String, &'static str) {
        match self {
            Self::NotEligible(why) => (why.join(", "), "have the cause removed at BPJS Kesehatan"),
            Self::ReferralNotUsable(why) => (why.join(", "), "cite a referral that can be used"),
            Self::ReferralRequired => {
                ("no referral".into(), "cite a referral, or state emergency when it is one")
            }
            Self::NotContracted => ("no contract on the day".into(), "renew the contract"),
            Self::NotCertified(last) if last.is_empty() => {
                ("no certificate".into(), "have the facility accredited")
            }
            Self::NotCertified(last) => (format!("last certificate {last}"), "renew the accreditation"),
            Self::NotReferralLevel => (
                "not registered at referral level".into(),
                "have the facility registered with its kind and class",
            ),
            Self::UpgradeNotAllowed(class) => (
                format!("entitled to class {class}"),
                "ask for the next class at most, and none from class 3",
            ),
            Self::EntryTooLate { hours, approval } => (
                format!("more than {hours} hours after admission, {}", approval.told()),
                "ask BPJS Kesehatan for approval of a late SEP",
            ),
            Self::BackdateNotApproved { days, approval } => (
                format!("more than {days} days after the service, {}", approval.told()),
                "ask BPJS Kesehatan for approval of a late SEP",
            ),
            Self::FingerprintRequired(approval) => (
                format!("no fingerprint, {}", approval.told()),
                "take the member's fingerprint, or ask BPJS Kesehatan for approval of its absence",
            ),
            Self::FollowUpNotUsable(why) => (
                names(why, |why| why.name()),
                "cite a letter of this member, day, clinic and doctor, or have it changed",
            ),
            Self::AccidentPayerWrong(expected) => {
                (format!("pays first: {expected}"), "name these payers in this order")
            }
            Self::PoliceReportRequired => {
                ("no police report of a traffic accident".into(), "give the number of the police report")
            }
            Self::SupplementNotUsable(why) => (
                names(why, |why| why.name()),
                "cite the first SEP of the accident; ListAccidentSeps finds it",
            ),
            Self::Exists(number) => (number.clone(), "use that SEP, or cancel it first"),
        }
    }
}

fn names<T>(why: &[T], name: impl Fn(&T) -> &'static str) -> String {
    why.iter().map(name).collect::<Vec<_>>().join(", ")
}

fn short(reason: Reason) -> &'static str {
    reason.as_str_name().trim_start_matches("REASON_")
}

fn refused(what: &str, refusals: &[Refusal]) -> Problem {
    let first = refusals.first().map_or(Reason::Unspecified, Refusal::reason);
    let told: Vec<_> = refusals
        .iter()
        .map(|refusal| {
            let (what, next) = refusal.told();
            format!("{} ({what}): {next}", short(refusal.reason()))
        })
        .collect();
    let names: Vec<_> = refusals.iter().map(|refusal| short(refusal.reason())).collect();
    let message = format!("{what}: {}", told.join("; "));
    let problem =
        Problem::new(Code::FailedPrecondition, first.as_str_name(), message).with("reasons", names.join(","));
    refusals.iter().fold(problem, |problem, refusal| {
        let problem = problem.with(short(refusal.reason()), refusal.told().0);
        match refusal {
            Refusal::Exists(number) => problem.with("sep_number", number),
            _ => problem,
        }
    })
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        use Code::FailedPrecondition;
        let message = error.to_string();
        let of = |reason: Reason| Self::new(FailedPrecondition, reason.as_str_name(), message.clone());
        match error {
            Error::SepRefused(refusals) | Error::SepChangeRefused(refusals) => refused(&message, &refusals),
            Error::ServiceDateInFuture(today) => of(Reason::ServiceDateInFuture).with("today", today),
            Error::SepNumbersExhausted => of(Reason::SepNumbersExhausted),
            Error::NoSep => Self::not_found("SEP", message),
            Error::SepCancelled => of(Reason::SepCancelled),
            Error::SepInUse(claim_id) => of(Reason::SepInUse).with("claim_id", claim_id),
            Error::SepAlreadyClaimed(claim_id) => of(Reason::SepAlreadyClaimed).with("claim_id", claim_id),
            Error::NoClaim => Self::not_found("claim", message),
            Error::StateWrong(refused) => {
                let allowed: Vec<_> = refused.step.allowed_from().iter().map(|state| state.name()).collect();
                let problem = of(Reason::ClaimStateWrong)
                    .with("state", refused.state.name())
                    .with("allowed", allowed.join(","));
                match refused.asked {
                    Some(party) => problem.with("asked_of", party.name()),
                    None => problem,
                }
            }
            Error::DataMissing => of(Reason::ClaimDataMissing),
            Error::NotGrouped => of(Reason::ClaimNotGrouped),
            Error::Ungroupable(reason) => of(Reason::ClaimUngroupable).with("ungroupable_reason", reason),
            Error::ContradictsSep(fields) => fields
                .into_iter()
                .fold(of(Reason::ClaimContradictsSep), |problem, (field, text)| problem.field(field, text)),
            Error::Void(limit) => of(Reason::ClaimVoid).with("filing_limit_on", limit),
            Error::RoundNotOpen(round) => of(Reason::RoundNotOpen).with("round", round),
            Error::AmountNotApproved(approved) => {
                of(Reason::AmountNotApproved).with("approved_rupiah", approved)
            }
            Error::PaymentReferenceUsed => of(Reason::PaymentReferenceUsed),
            Error::Audit(refused) => refused.into(),
            Error::Unreadable(what) => {
                tracing::error!(what, "stored data cannot be read");
                Self::internal()
            }
            Error::Problem(problem) => *problem,
            Error::Database(error) => Self::from(error),
        }
    }
}

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        Problem::from(error).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_names_every_reason_and_its_detail() {
        let problem = refused(
            "the SEP cannot be issued",
            &[
                Refusal::NotEligible(vec!["SUSPENDED_FOR_ARREARS".into()]),
                Refusal::NotCertified("C-2020-1".into()),
            ],
        );
        assert_eq!(problem.reason(), "MEMBER_NOT_ELIGIBLE");
        let text = format!("{problem:?}");
        for part in ["MEMBER_NOT_ELIGIBLE,FACILITY_NOT_CERTIFIED", "SUSPENDED_FOR_ARREARS", "C-2020-1"] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }
}
