//! What can be refused about audits.

use chassis::{Fields, Problem};
use jiff::{Timestamp, civil::Date};
use proto::claims::v1::Reason;
use tonic::Code::FailedPrecondition;
use uuid::Uuid;

use crate::{audit::NotNow, recovered::Against};

/// Why a call about audits is refused.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// The quarter is not over, or not for long enough.
    #[error("the settlements of the quarter are not complete; publish its frame from {0} on")]
    QuarterNotOver(Date),
    /// There is a frame of this kind for the quarter.
    #[error("the quarter has a frame of this kind, and only one; look for it with ListFrames")]
    FrameExists(Option<Uuid>),
    /// Nothing to list.
    #[error("no claim became paid in the quarter, so there is nothing to audit")]
    FrameEmpty,
    /// No such frame.
    #[error("there is no such frame; check the id, or look for it with ListFrames")]
    NoFrame,
    /// Being built, or drawn from.
    #[error("the frame is being built or drawn from; wait until GetFrame shows no work, and repeat")]
    FrameUnderWay,
    /// The instant of the seed has not come.
    #[error(
        "the instant of the seed has not come; draw with the value that the announced source publishes then"
    )]
    SeedNotYet(Timestamp),
    /// Drawn before.
    #[error("the sample of this frame was drawn before; read it with GetSample")]
    SampleExists,
    /// Not drawn, or of the other kind.
    #[error("no such sample was drawn from this frame; call DrawSample, or name a frame of the right kind")]
    SampleMissing,
    /// The stored rows are not those that were published.
    #[error(
        "the stored frame no longer has the published hash, so nothing is drawn from it; report it to the operator"
    )]
    FrameAltered,
    /// No such audit, or another's.
    #[error("there is no such audit of yours; check the id, or look for it with ListAudits")]
    NoAudit,
    /// The step is not lawful now.
    #[error("the audit is {} and must be {} for this; read it with GetAudit", .0.state.name(), .0.step.allowed_from().name())]
    StateWrong(NotNow),
    /// Verdict, findings and recovery contradict each other.
    #[error("verdict, findings and recovery contradict each other in: {}", .0.iter().map(|(field, _)| *field).collect::<Vec<_>>().join(", "))]
    Unfounded(Vec<(&'static str, String)>),
    /// The claim was not drawn for a review.
    #[error(
        "the claim was not drawn for a review from this frame; look for the drawn ones with ListCodingReviews"
    )]
    NoReview,
    /// Reviewed before.
    #[error("the claim was reviewed before; read the review with ListCodingReviews")]
    ReviewExists,
    /// What the audit found cannot be recovered so.
    #[error("the audit cannot be recovered so: {}", told(.0))]
    NotRecoverable(Against),
}

/// What is against a recovery, and what to do about it.
fn told(against: &Against) -> &'static str {
    match against {
        Against::AnotherClaim(_) => {
            "it is of another claim; name the audit of this claim, found with ListAudits"
        }
        Against::NotClosed(_) => "it is not closed; close it with CloseAudit first",
        Against::NothingFound => {
            "it found nothing to recover; leave it, or recover without audit_id after another verdict"
        }
        Against::Recovered(_) => "it was recovered before; read that recovery with ListRecoveries",
        Against::AboveFound(_) => "it found less; correct the amount",
        Against::BeforeClosing(_) => "decided_on must not lie before the day on which it was closed",
    }
}

impl From<Refused> for Problem {
    fn from(refused: Refused) -> Self {
        let message = refused.to_string();
        let of = |reason: Reason| Self::new(FailedPrecondition, reason.as_str_name(), message.clone());
        match refused {
            Refused::QuarterNotOver(earliest) => of(Reason::AuditQuarterNotOver).with("earliest", earliest),
            Refused::FrameExists(None) => of(Reason::AuditFrameExists),
            Refused::FrameExists(Some(frame_id)) => of(Reason::AuditFrameExists).with("frame_id", frame_id),
            Refused::FrameEmpty => of(Reason::AuditFrameEmpty),
            Refused::NoFrame => Self::not_found("audit frame", message),
            Refused::FrameUnderWay => of(Reason::AuditFrameUnderWay),
            Refused::SeedNotYet(at) => of(Reason::AuditSeedNotYet).with("seed_at", at),
            Refused::SampleExists => of(Reason::AuditSampleExists),
            Refused::SampleMissing => of(Reason::AuditSampleMissing),
            Refused::FrameAltered => {
                tracing::error!("the rows of a published audit frame were altered");
                of(Reason::AuditFrameAltered)
            }
            Refused::NoAudit => Self::not_found("audit", message),
            Refused::StateWrong(NotNow { state, step }) => of(Reason::AuditStateWrong)
                .with("state", state.name())
                .with("allowed", step.allowed_from().name()),
            Refused::Unfounded(fields) => fields
                .into_iter()
                .fold(of(Reason::AuditVerdictUnfounded), |problem, (field, text)| problem.field(field, text)),
            Refused::NoReview => Self::not_found("coding review", message),
            Refused::ReviewExists => of(Reason::CodingReviewExists),
            Refused::NotRecoverable(against) => match against {
                Against::AnotherClaim(claim_id) => of(Reason::AuditOfAnotherClaim).with("claim_id", claim_id),
                Against::NotClosed(refused) => Refused::StateWrong(refused).into(),
                Against::NothingFound => of(Reason::AuditFoundNothing),
                Against::Recovered(recovery_id) => {
                    of(Reason::AuditRecovered).with("recovery_id", recovery_id)
                }
                Against::AboveFound(found) => of(Reason::RecoveryAboveAudit).with("found_rupiah", found),
                Against::BeforeClosing(closed_on) => {
                    let mut fields = Fields::new();
                    fields.wrong(
                        "decided_on",
                        format!("must not lie before {closed_on}, when the audit was closed"),
                    );
                    fields.into()
                }
            },
        }
    }
}
