//! What settlement may recover for a detailed audit: of the audited claim, at most what the audit found, and once.
//!
//! A recovery without an audit stays possible. Post-claim verification (VPK), utilisation review, whistle-blowers and
//! auditors from outside come to verdicts as well, which no draw of this service led to.

use jiff::civil::Date;
use uuid::Uuid;

use crate::audit::{NotNow, State, Step};

/// An audit, as far as it decides.
#[derive(Debug, Clone, Copy)]
pub struct Audit {
    /// The claim it is of.
    pub claim_id: Uuid,
    /// State.
    pub state: State,
    /// What it found to be recovered; 0 before it is closed.
    pub found_rupiah: i64,
    /// Day of closing.
    pub closed_on: Option<Date>,
    /// The recovery that was recorded for it.
    pub recovery_id: Option<Uuid>,
}

/// A recovery that is to be recorded for it.
#[derive(Debug, Clone, Copy)]
pub struct Wanted {
    /// The claim.
    pub claim_id: Uuid,
    /// The amount.
    pub amount_rupiah: i64,
    /// Day of the verdict.
    pub decided_on: Date,
}

/// Why it cannot be recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Against {
    /// The audit is of another claim: that one.
    AnotherClaim(Uuid),
    /// It is not closed.
    NotClosed(NotNow),
    /// It found nothing to recover.
    NothingFound,
    /// It was recovered before: by which recovery.
    Recovered(Uuid),
    /// More than it found: that.
    AboveFound(i64),
    /// The verdict would lie before its closing: that day.
    BeforeClosing(Date),
}

/// Whether a recovery may be recorded for an audit.
///
/// # Errors
/// What is against it.
pub fn may_recover(audit: &Audit, wanted: &Wanted) -> Result<(), Against> {
    if audit.claim_id != wanted.claim_id {
        return Err(Against::AnotherClaim(audit.claim_id));
    }
    audit.state.take(Step::Recover).map_err(Against::NotClosed)?;
    if audit.found_rupiah == 0 {
        return Err(Against::NothingFound);
    }
    if let Some(recovery_id) = audit.recovery_id {
        return Err(Against::Recovered(recovery_id));
    }
    if wanted.amount_rupiah > audit.found_rupiah {
        return Err(Against::AboveFound(audit.found_rupiah));
    }
    match audit.closed_on {
        Some(day) if wanted.decided_on < day => Err(Against::BeforeClosing(day)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_audit_is_recovered_once_of_its_claim_and_never_above_what_it_found() {
        let (claim_id, other) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let day = |text: &str| -> Date { text.parse().unwrap() };
        let closed = Audit {
            claim_id,
            state: State::Done,
            found_rupiah: 100,
            closed_on: Some(day("2026-03-10")),
            recovery_id: None,
        };
        let wanted = Wanted { claim_id, amount_rupiah: 100, decided_on: day("2026-03-10") };
        assert_eq!(may_recover(&closed, &wanted), Ok(()));
        let less = Wanted { amount_rupiah: 1, decided_on: day("2026-04-01"), ..wanted };
        assert_eq!(may_recover(&closed, &less), Ok(()), "the hospital may have repaid a part by itself");
        let of = |audit: Audit, wanted: Wanted| may_recover(&audit, &wanted).unwrap_err();
        assert_eq!(of(closed, Wanted { claim_id: other, ..wanted }), Against::AnotherClaim(claim_id));
        assert_eq!(of(closed, Wanted { amount_rupiah: 101, ..wanted }), Against::AboveFound(100));
        let early = Wanted { decided_on: day("2026-03-09"), ..wanted };
        assert_eq!(of(closed, early), Against::BeforeClosing(day("2026-03-10")));
        assert_eq!(of(Audit { found_rupiah: 0, ..closed }, wanted), Against::NothingFound);
        assert_eq!(of(Audit { recovery_id: Some(other), ..closed }, wanted), Against::Recovered(other));
        for state in [State::Registered, State::Review] {
            let open = Audit { state, found_rupiah: 0, closed_on: None, ..closed };
            assert!(matches!(of(open, wanted), Against::NotClosed(refused) if refused.state == state));
        }
    }
}
