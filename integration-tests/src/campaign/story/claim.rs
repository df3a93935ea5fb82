//! A claim on its way: coded and grouped; what keeps it pending is answered or disputed; verified and approved.

use jiff::civil::Date;
use proto::{claims::v1 as claims, membership::v1 as membership};
use rand::RngExt;

use super::given;
use crate::campaign::{
    caller::{Caller, Patient},
    cast::{BPJS, CODER_NIK, Facility, MINISTRY},
    desk::Stopped,
    journal::Told,
};

pub(super) const SERVICE: &str = "claims";

/// A claim on its way.
pub(super) struct OpenClaim {
    pub(super) claim_id: String,
    pub(super) hospital: Facility,
    /// What its package comes to.
    pub(super) rupiah: i64,
    /// Which may be done once (policy/claims/dispute.toml).
    disputed: bool,
}

impl OpenClaim {
    pub(super) fn told<E: prost::Name>(&self) -> Told {
        Told::of::<E>(SERVICE, &self.claim_id)
    }
}

/// The round of pending that is open.
pub(super) fn round(claim: Option<&claims::Claim>) -> Option<i32> {
    let claim = claim.filter(|claim| claim.state() == claims::ClaimState::Pending)?;
    claim.pendings.last().map(|pending| pending.round)
}

impl Caller {
    /// A claim that is final at the hospital. The codes of some contradict each other.
    pub(super) async fn prepared(
        &mut self,
        patient: &Patient,
        hospital: Facility,
        sep_number: String,
        day: Date,
    ) -> Result<OpenClaim, Stopped> {
        let caller = hospital.caller();
        let request = claims::CreateClaimRequest { sep_number, ..claims::CreateClaimRequest::default() };
        let created = self.desk.write(&caller, request, |_| Vec::new()).await?;
        let mut claim =
            OpenClaim { claim_id: given(created.claim)?.claim_id, hospital, rupiah: 0, disputed: false };
        let contradicts = self.desk.chance.random_bool(0.3);
        let request = claims::SetClaimDataRequest {
            claim_id: claim.claim_id.clone(),
            data: Some(coded(patient, contradicts, day)?),
            ..claims::SetClaimDataRequest::default()
        };
        self.desk.write(&caller, request, |_| Vec::new()).await?;
        let request = claims::GroupClaimRequest {
            claim_id: claim.claim_id.clone(),
            ..claims::GroupClaimRequest::default()
        };
        let told = vec![claim.told::<claims::ClaimGrouped>()];
        let grouped = self.desk.write(&caller, request, |_| told).await?;
        claim.rupiah = given(given(grouped.claim)?.grouping)?.tariff_rupiah;
        let request = claims::FinaliseClaimRequest {
            claim_id: claim.claim_id.clone(),
            ..claims::FinaliseClaimRequest::default()
        };
        self.desk.write(&caller, request, |_| Vec::new()).await?;
        Ok(claim)
    }

    /// From submission, and the round that it opened, to the approval; the amount. None when the claim was decided
    /// without payment.
    pub(super) async fn approved(
        &mut self,
        claim: &mut OpenClaim,
        asked: Option<i32>,
    ) -> Result<Option<i64>, Stopped> {
        let mut state = claims::ClaimState::Submitted;
        if let Some(round) = asked {
            state = self.cleared(claim, round).await?;
        }
        if state != claims::ClaimState::Verified && state != claims::ClaimState::Decided {
            state = self.verified(claim).await?;
        }
        if state == claims::ClaimState::Decided {
            return Ok(None);
        }
        let request = claims::ApproveClaimRequest {
            claim_id: claim.claim_id.clone(),
            ..claims::ApproveClaimRequest::default()
        };
        let told = vec![claim.told::<claims::ClaimApproved>()];
        let approved = self.desk.write(BPJS, request, |_| told).await?;
        Ok(Some(given(approved.claim)?.approved_rupiah))
    }

    /// The verifier has no objection, or asks first; where that leaves the claim.
    async fn verified(&mut self, claim: &mut OpenClaim) -> Result<claims::ClaimState, Stopped> {
        if self.desk.chance.random_bool(0.2) {
            let request = claims::RecordVerificationRequest {
                claim_id: claim.claim_id.clone(),
                outcome: claims::VerificationOutcome::Pending.into(),
                reason: claims::PendingReason::CodeWithoutEvidence.into(),
                asked_of: claims::Party::Hospital.into(),
                detail: "the result of the exercise test is missing".to_owned(),
                ..claims::RecordVerificationRequest::default()
            };
            let told = vec![claim.told::<claims::ClaimPended>()];
            let pended = self.desk.write(BPJS, request, |_| told).await?;
            let state = self.cleared(claim, given(round(pended.claim.as_ref()))?).await?;
            if state != claims::ClaimState::Resubmitted {
                return Ok(state);
            }
        }
        let request = claims::RecordVerificationRequest {
            claim_id: claim.claim_id.clone(),
            outcome: claims::VerificationOutcome::Verified.into(),
            ..claims::RecordVerificationRequest::default()
        };
        let told = vec![claim.told::<claims::ClaimVerified>()];
        self.desk.write(BPJS, request, |_| told).await?;
        Ok(claims::ClaimState::Verified)
    }

    /// The open round is answered, or disputed once; where that leaves the claim.
    async fn cleared(
        &mut self,
        claim: &mut OpenClaim,
        mut round: i32,
    ) -> Result<claims::ClaimState, Stopped> {
        if !claim.disputed && self.desk.chance.random_bool(0.4) {
            claim.disputed = true;
            match self.disputed(claim, round).await? {
                // Put to pending again, with a new round.
                claims::ClaimState::Pending => round += 1,
                state => return Ok(state),
            }
        }
        let request = claims::AnswerPendingRequest {
            claim_id: claim.claim_id.clone(),
            round,
            answer: "the codes are those of the record".to_owned(),
            ..claims::AnswerPendingRequest::default()
        };
        let told = vec![claim.told::<claims::ClaimAnswered>()];
        self.desk.write(&claim.hospital.caller(), request, |_| told).await?;
        Ok(claims::ClaimState::Resubmitted)
    }

    /// A dispute is opened, and decided by the body that it is before; where that leaves the claim.
    async fn disputed(&mut self, claim: &OpenClaim, round: i32) -> Result<claims::ClaimState, Stopped> {
        use claims::DisputeOutcome as Outcome;
        let (ground, body) = if self.desk.chance.random_bool(0.5) {
            (claims::DisputeGround::MedicalIndication, MINISTRY)
        } else {
            (claims::DisputeGround::CodingRule, BPJS)
        };
        let request = claims::OpenDisputeRequest {
            claim_id: claim.claim_id.clone(),
            round,
            ground: ground.into(),
            statement: "the summary says why".to_owned(),
            documents: summary(),
            ..claims::OpenDisputeRequest::default()
        };
        let told = vec![claim.told::<claims::DisputeOpened>()];
        let opened = self.desk.write(&claim.hospital.caller(), request, |_| told).await?;
        let outcome = match self.desk.chance.random_range(0..3) {
            0 => Outcome::Upheld,
            1 => Outcome::Correct,
            _ => Outcome::WithoutPayment,
        };
        let request = claims::DecideDisputeRequest {
            dispute_id: given(opened.dispute)?.dispute_id,
            outcome: outcome.into(),
            decision: "the body has looked at the summary".to_owned(),
            ..claims::DecideDisputeRequest::default()
        };
        let mut told = vec![claim.told::<claims::DisputeDecided>()];
        match outcome {
            Outcome::Upheld => told.push(claim.told::<claims::ClaimVerified>()),
            Outcome::Correct => told.push(claim.told::<claims::ClaimPended>()),
            Outcome::WithoutPayment | Outcome::Withdrawn | Outcome::Unspecified => {}
        }
        Ok(self.desk.write(body, request, |_| told).await?.claim_state())
    }
}

pub(super) fn summary() -> Vec<claims::Document> {
    vec![claims::Document {
        kind: claims::DocumentKind::MedicalSummary.into(),
        reference: "resume-medis-1".to_owned(),
    }]
}

fn coded(patient: &Patient, contradicts: bool, day: Date) -> Result<claims::ClaimData, Stopped> {
    let begin = chassis::time::start_of(day).map(chassis::time::to_proto);
    // Hypertension with heart failure is one code in ICD-10; given as two it asks for a question.
    let (primary, secondary) =
        if contradicts { ("I50.9", vec!["I10".to_owned()]) } else { ("I25.1", vec![]) };
    let sex = if patient.sex == membership::Sex::Female { claims::Sex::Female } else { claims::Sex::Male };
    Ok(claims::ClaimData {
        admitted_at: Some(given(begin)?),
        discharged_at: Some(given(begin)?),
        admission_route: claims::AdmissionRoute::GeneralPractitioner.into(),
        discharge_status: claims::DischargeStatus::Approved.into(),
        sex: sex.into(),
        birth_date: patient.birth_date.to_string(),
        primary_diagnosis: primary.to_owned(),
        secondary_diagnoses: secondary,
        charges: Some(claims::HospitalCharges { consultation_rupiah: 120_000, ..Default::default() }),
        doctor_name: "dr. Kampanye, Sp.PD".to_owned(),
        coder_nik: CODER_NIK.to_owned(),
        documents: summary(),
        ..claims::ClaimData::default()
    })
}
