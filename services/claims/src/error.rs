//! Everything that can be refused, and the only place that knows status codes.

pub mod audit;

use std::time::Duration;

use chassis::{Fields, Problem, policy::Mistake};
use jiff::civil::Date;
use proto::claims::v1::Reason;
use tonic::{Code, Status};
use uuid::Uuid;

use crate::{
    accident::Payer, coder, dispute::Body, filing::Standing, follow_up, grouper::Ungroupable, life::NotNow,
    sep::Refusal,
};

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
    /// Everything that speaks against a change of a SEP.
    #[error("the SEP cannot be changed so")]
    SepChangeRefused(Vec<Refusal>),
    /// The SEP led to letters that are open or used: their numbers.
    #[error(
        "the SEP led to letters that are open or used; cancel the SEPs that used them, then the letters, then this SEP"
    )]
    SepHasFollowUps(Vec<String>),
    /// The SEP or letter has another version by now: that one.
    #[error("it was changed since it was read; read it again and repeat the change")]
    VersionOutdated(i32),
    /// The patient left, so the class upgrade is fixed.
    #[error(
        "the patient was discharged, so the class upgrade is fixed; leave it as it is, or correct the discharge"
    )]
    SepDischarged,
    /// The discharge contradicts the SEP.
    #[error("the discharge contradicts its SEP in these fields: {}", .0.iter().map(|(field, _)| *field).collect::<Vec<_>>().join(", "))]
    DischargeContradictsSep(Vec<(&'static str, &'static str)>),
    /// There is no such letter, or it is another's.
    #[error("there is no such letter of yours; check the number, or look for it with ListFollowUps")]
    NoFollowUp,
    /// Everything that speaks against a letter.
    #[error("the letter cannot be made so: {}; correct day, clinic or kind", .0.iter().map(|against| against.name()).collect::<Vec<_>>().join(", "))]
    FollowUpNotAllowed(Vec<follow_up::Against>),
    /// The SEP led to an open letter of this kind for this clinic: its number.
    #[error(
        "the SEP led to an open letter of this kind for this clinic; change that letter, or cancel it first"
    )]
    FollowUpExists(String),
    /// The letter is cancelled.
    #[error("the letter is cancelled; issue a new one")]
    FollowUpCancelled,
    /// The letter was used: by which SEP.
    #[error("a SEP cites the letter; leave it as it is, or cancel that SEP first")]
    FollowUpUsed(String),
    /// The serials of the month are used up.
    #[error("the facility has used up its letter numbers of the month; report this to BPJS Kesehatan")]
    FollowUpNumbersExhausted,
    /// There is no such request for approval, or it is another's.
    #[error("there is no such request for approval; check the id, or look for it with ListSepApprovals")]
    NoApproval,
    /// There is one that is undecided or holds: its id.
    #[error("an approval was asked for that is undecided or holds; wait for the decision, or issue the SEP")]
    ApprovalExists(Uuid),
    /// None is needed.
    #[error("no approval of this kind is needed for this day and kind of care; issue the SEP")]
    ApprovalNotNeeded,
    /// The request was decided: how.
    #[error("the request was decided before; make a new one if another decision is needed")]
    ApprovalDecided(&'static str),
    /// There is no such dispute, or it is not the caller's to see.
    #[error("there is no such dispute that you may see; check the id, or look for it with ListDisputes")]
    NoDispute,
    /// Too few rounds for a dispute.
    #[error(
        "the claim has had {rounds} rounds of pending and a dispute needs {needed}; answer the open round"
    )]
    DisputeTooEarly {
        /// Rounds so far.
        rounds: i32,
        /// Rounds needed.
        needed: i32,
    },
    /// No further dispute.
    #[error("the claim has been disputed as often as it may be; answer the open round, or correct the claim")]
    DisputesUsedUp,
    /// Another body decides.
    #[error("another body decides this dispute; leave it to that body")]
    DisputeOfAnotherBody(Body),
    /// There is no such filing, or it is another's.
    #[error("there is no such filing of yours; check the id, or look for it with ListFilings")]
    NoFiling,
    /// Nothing to file.
    #[error(
        "nothing of this month was submitted that is not filed already; submit the claims of the month first"
    )]
    NothingToFile,
    /// The recapitulation differs.
    #[error(
        "the recapitulation is not what is held here; find the difference, submit what is missing, and file again"
    )]
    RecapitulationDiffers {
        /// Claims held here.
        claims: usize,
        /// Their amount.
        rupiah: i64,
    },
    /// Completeness was stated, or is by silence.
    #[error("completeness counts as stated already; leave it, later faults are a matter of verification")]
    CompletenessStated(Standing, Date),
    /// There is no such batch, or it is another's.
    #[error("there is no such batch of yours; check the id, or look for it with ListBatches")]
    NoBatch,
    /// The facility has an open batch.
    #[error("the facility has an open batch; post to that one, or close it first")]
    BatchIsOpen(Uuid),
    /// The batch is in another state.
    #[error("the batch is {0}; post to it while it is open, pay it when it is closed")]
    BatchStateWrong(&'static str),
    /// The batch would be too large.
    #[error("the batch would hold more claims than one may; close it, and open another for the rest")]
    BatchFull(i64),
    /// The batch is empty.
    #[error("the batch holds no claim; post claims to it before it is closed")]
    BatchEmpty,
    /// Claims that cannot be posted: field and what is against it.
    #[error("{} of the claims cannot be posted; leave them out, or have the cause removed", .0.len())]
    ClaimsNotPostable(Vec<(String, String)>),
    /// The claim is in a batch.
    #[error("the claim is in a batch; pay it with that batch")]
    ClaimInBatch(Uuid),
    /// Another amount is due.
    #[error("the amount is not what is due for the batch; pay what is due")]
    PaymentNotDue(i64),
    /// The audit reference belongs to another recovery.
    #[error("the audit reference belongs to another recovery; use one reference for each")]
    AuditReferenceUsed,
    /// More than was paid.
    #[error("more would be recovered than was paid for the claim; correct the amount")]
    RecoveryTooHigh(i64),
    /// A set of rules with mistakes.
    #[error("the set of rules has mistakes, and what holds stays as it is: {}", told(.0))]
    RuleSetInvalid(Vec<Mistake>),
    /// Another text under the same version.
    #[error("another text was activated as version {0}; give the set a version of its own")]
    RuleSetVersionUsed(String),
    /// An activated set that this program does not understand.
    #[error(
        "the set of rules that holds cannot be read by this version of the service; try again in a moment"
    )]
    RuleSetUnreadable(i64),
    /// More claims than one backtest judges.
    #[error("the period has more claims than one backtest judges; choose a shorter one")]
    BacktestTooLarge(i64),
    /// The coder may not code here on the day of coding.
    #[error(
        "the coder of the claim has no certificate that holds at this facility today; have a certified coder code it, or have the certificate registered by the Ministry of Health"
    )]
    CoderNotCertified(coder::Standing),
    /// The facility of a certificate is none that sends claims.
    #[error(
        "the facility is not registered at referral level, where coders code claims; correct its code, or have it registered with its kind and class"
    )]
    NotReferralLevel,
    /// There is no such certificate.
    #[error("there is no such certificate; look for it with ListCoders")]
    NoCertificate,
    /// The certificate is registered already.
    #[error(
        "a certificate of this number is registered at this facility already; read it with ListCoders, or revoke it first"
    )]
    CertificateExists,
    /// The certificate is revoked already.
    #[error("the certificate is revoked already; register a new one when the coder is certified again")]
    CertificateRevoked(Date),
    /// The external grouper refused a method.
    #[error("the grouper refused {method}; look up its error number, correct the claim, and repeat")]
    GrouperRefused {
        /// The method.
        method: &'static str,
        /// Its number for the refusal.
        error_no: String,
    },
    /// The register SITB does not know the number of the claim.
    #[error(
        "the register SITB does not know data.sitb_number; correct it with SetClaimData, and group again"
    )]
    SitbNumberUnknown,
    /// The claim was changed meanwhile.
    #[error("the claim was changed by somebody else meanwhile; read it, and repeat with a new request_id")]
    ClaimChanged,
    /// The SEP does not name the payer; those it names.
    #[error(
        "the SEP does not name this payer as one that comes first; name one that it does, or correct the accident with UpdateSep"
    )]
    PrimaryPayerNotNamed(Vec<Payer>),
    /// Payers that stated nothing yet.
    #[error(
        "not every payer of the accident has stated what it bears; record it with RecordPrimaryPayment, 0 rupiah when it refused"
    )]
    PrimaryPayerNotStated(Vec<Payer>),
    /// Nothing is left to pay: what the others bear.
    #[error(
        "the primary payers bear the whole package, so nothing is left for JKN; make the claim a draft with SetClaimData and cancel its SEP, or correct what was recorded"
    )]
    PrimaryPayersBearAll(i64),
    /// Claim and SEP state the discharge differently: fields and what stands at the other side.
    #[error("claim and SEP state the discharge differently in: {}; correct the data with SetClaimData, or after that the discharge with RecordDischarge, then group and finalise", .0.iter().map(|(field, _)| *field).collect::<Vec<_>>().join(", "))]
    DischargeDiffers(Vec<(&'static str, String)>),
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
            Some("payment_reference_once") => Self::PaymentReferenceUsed,
            Some("recovery_audit_reference") => Self::AuditReferenceUsed,
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
            Self::StayOpen(_) => Reason::InpatientStayOpen,
            Self::DayInStay(_) => Reason::DayInInpatientStay,
            Self::AssessmentRequired => Reason::VisitAssessmentRequired,
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
            Self::StayOpen(number) => (
                format!("in-patient by SEP {number}"),
                "have the discharge recorded there with RecordDischarge, or that SEP cancelled",
            ),
            Self::AssessmentRequired => (
                "another clinic than the referral's, on another day".into(),
                "give visit_assessment: why not on the day of the SEP that led to it",
            ),
            Self::DayInStay(number) => (
                format!("within the stay of SEP {number}"),
                "correct the day or that discharge; what was done in the stay is part of its package",
            ),
        }
    }
}

fn names<T>(why: &[T], name: impl Fn(&T) -> &'static str) -> String {
    why.iter().map(name).collect::<Vec<_>>().join(", ")
}

/// The first mistakes of a set, in words.
fn told(mistakes: &[Mistake]) -> String {
    let first: Vec<_> = mistakes
        .iter()
        .take(3)
        .map(|mistake| format!("line {}: {}", mistake.line, mistake.message))
        .collect();
    first.join("; ")
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
            Refusal::StayOpen(number) | Refusal::DayInStay(number) => problem.with("stay_sep_number", number),
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
            Error::SepHasFollowUps(numbers) => {
                of(Reason::SepHasFollowUps).with("follow_up_numbers", numbers.join(","))
            }
            Error::VersionOutdated(version) => of(Reason::VersionOutdated).with("version", version),
            Error::SepDischarged => of(Reason::SepDischarged),
            Error::DischargeContradictsSep(fields) => {
                fields.into_iter().fold(of(Reason::DischargeContradictsSep), |problem, (field, text)| {
                    problem.field(field, text)
                })
            }
            Error::NoFollowUp => Self::not_found("letter", message),
            Error::FollowUpNotAllowed(against) => of(Reason::FollowUpNotAllowed)
                .with("reasons", names(&against, |a| a.name()).replace(", ", ",")),
            Error::FollowUpExists(number) => of(Reason::FollowUpExists).with("follow_up_number", number),
            Error::FollowUpCancelled => of(Reason::FollowUpCancelled),
            Error::FollowUpUsed(number) => of(Reason::FollowUpUsed).with("sep_number", number),
            Error::FollowUpNumbersExhausted => of(Reason::FollowUpNumbersExhausted),
            Error::NoApproval => Self::not_found("approval", message),
            Error::ApprovalExists(id) => of(Reason::ApprovalExists).with("approval_id", id),
            Error::ApprovalNotNeeded => of(Reason::ApprovalNotNeeded),
            Error::ApprovalDecided(decision) => of(Reason::ApprovalDecided).with("decision", decision),
            Error::NoDispute => Self::not_found("dispute", message),
            Error::DisputeTooEarly { rounds, needed } => {
                of(Reason::DisputeTooEarly).with("rounds", rounds).with("needed", needed)
            }
            Error::DisputesUsedUp => of(Reason::DisputesUsedUp),
            Error::DisputeOfAnotherBody(body) => of(Reason::DisputeOfAnotherBody).with("body", body.name()),
            Error::NoFiling => Self::not_found("filing", message),
            Error::NothingToFile => of(Reason::NothingToFile),
            Error::RecapitulationDiffers { claims, rupiah } => {
                of(Reason::RecapitulationDiffers).with("claims", claims).with("claims_rupiah", rupiah)
            }
            Error::CompletenessStated(standing, on) => {
                of(Reason::CompletenessStated).with("state", standing.name()).with("on", on)
            }
            Error::NoBatch => Self::not_found("batch", message),
            Error::BatchIsOpen(batch_id) => of(Reason::BatchIsOpen).with("batch_id", batch_id),
            Error::BatchStateWrong(state) => of(Reason::BatchStateWrong).with("state", state),
            Error::BatchFull(most) => of(Reason::BatchFull).with("most", most),
            Error::BatchEmpty => of(Reason::BatchEmpty),
            Error::ClaimsNotPostable(claims) => {
                // As Fields does: what is told must fit into the trailers of the answer.
                let told = claims.into_iter().take(40);
                told.fold(of(Reason::ClaimsNotPostable), |problem, (field, text)| problem.field(field, text))
            }
            Error::ClaimInBatch(batch_id) => of(Reason::ClaimInBatch).with("batch_id", batch_id),
            Error::PaymentNotDue(due) => of(Reason::PaymentNotDue).with("due_rupiah", due),
            Error::AuditReferenceUsed => of(Reason::AuditReferenceUsed),
            Error::RecoveryTooHigh(left) => of(Reason::RecoveryTooHigh).with("left_rupiah", left),
            Error::RuleSetInvalid(mistakes) => mistakes.into_iter().fold(
                Self::new(Code::InvalidArgument, Reason::RuleSetInvalid.as_str_name(), message),
                |problem, mistake| {
                    problem.field(format!("{} line {}", mistake.file, mistake.line), mistake.message)
                },
            ),
            Error::RuleSetVersionUsed(version) => of(Reason::RuleSetVersionUsed).with("version", version),
            Error::RuleSetUnreadable(activation_id) => {
                Self::new(Code::Unavailable, Reason::RuleSetUnreadable.as_str_name(), message)
                    .with("activation_id", activation_id)
                    .retry_after(Duration::from_secs(5))
            }
            Error::BacktestTooLarge(most) => of(Reason::BacktestTooLarge).with("most", most),
            Error::CoderNotCertified(standing) => of(Reason::CoderNotCertified).with("standing", standing),
            Error::NotReferralLevel => of(Reason::FacilityNotReferralLevel),
            Error::NoCertificate => Self::not_found("certificate", message),
            Error::CertificateExists => of(Reason::CoderCertificateExists),
            Error::CertificateRevoked(since) => of(Reason::CoderCertificateRevoked).with("revoked_on", since),
            Error::GrouperRefused { method, error_no } => {
                of(Reason::GrouperRefused).with("method", method).with("error_no", error_no)
            }
            Error::SitbNumberUnknown => of(Reason::SitbNumberUnknown),
            Error::ClaimChanged => Self::new(Code::Aborted, Reason::ClaimChanged.as_str_name(), message),
            Error::PrimaryPayerNotNamed(payers) => of(Reason::PrimaryPayerNotNamed)
                .with("payers", names(&payers, |p| p.name()).replace(", ", ",")),
            Error::PrimaryPayerNotStated(payers) => of(Reason::PrimaryPayerNotStated)
                .with("payers", names(&payers, |p| p.name()).replace(", ", ",")),
            Error::PrimaryPayersBearAll(borne) => {
                of(Reason::PrimaryPayersBearAll).with("borne_rupiah", borne)
            }
            Error::DischargeDiffers(fields) => fields
                .into_iter()
                .fold(of(Reason::DischargeDiffers), |problem, (field, text)| problem.field(field, text)),
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
