//! From coding to payment: e-Klaim and V-Klaim.

use anyhow::ensure;
use jiff::Timestamp;
use proto::{claims::v1 as claims, membership::v1 as membership};

use super::{
    BPJS, Run,
    care::Patient,
    cast::HOSPITAL,
    desk::{Desks, given, key},
    report::{Edge, Expected},
};

const NOT_GROUPED: Expected = Expected { reason: "CLAIM_NOT_GROUPED", because: "" };
const CLAIMED: Expected = Expected { reason: "SEP_ALREADY_CLAIMED", because: "" };

/// A claim of the journey.
pub(super) struct Billed {
    pub(super) claim_id: String,
}

impl Run<'_> {
    /// Codes, groups and submits the claim of a patient. One whose codes contradict each other becomes pending; the
    /// other is verified, approved and paid.
    pub(super) async fn billed(&mut self, patient: &Patient, contradicts: bool) -> anyhow::Result<Billed> {
        let (desks, coder) = (self.desks, self.cast.coder.nik.expose());
        let hospital = HOSPITAL.caller();
        let created = async {
            let request =
                claims::CreateClaimRequest { request_id: key(), sep_number: patient.sep_number.clone() };
            let claim = given(desks.claims(&hospital)?.create_claim(request).await?.into_inner().claim)?;
            let request = claims::SetClaimDataRequest {
                request_id: key(),
                claim_id: claim.claim_id.clone(),
                data: Some(coded(patient, contradicts, coder)?),
            };
            desks.claims(&hospital)?.set_claim_data(request).await?;
            Ok(claim.claim_id)
        };
        let claim_id = self.report.step(&hospital, "claim created and coded", &[], created).await?;
        if !contradicts {
            self.ungrouped(&claim_id).await?;
        }
        let submitted = group_and_submit(desks, &claim_id);
        let title = "claim grouped, made final, submitted";
        let state = self.report.step(&hospital, title, &[Edge::EklaimVklaim], submitted).await?;
        if contradicts {
            let pends = async {
                ensure!(state == claims::ClaimState::Pending, "the claim is {}", state.as_str_name());
                Ok(())
            };
            self.report.step(BPJS, "claim pending: its codes contradict each other", &[], pends).await?;
            let title = "a tracer of first-level care is told by what P-Care measured";
            self.report.step(&hospital, title, &[Edge::PcareVklaim], traced(desks, &claim_id)).await?;
        } else {
            self.claimed_twice(&patient.sep_number, &claim_id).await?;
            self.report.step(BPJS, "claim verified, approved, paid", &[], settle(desks, &claim_id)).await?;
        }
        Ok(Billed { claim_id })
    }

    /// A claim that was not grouped must not be sent.
    async fn ungrouped(&mut self, claim_id: &str) -> anyhow::Result<()> {
        let (desks, hospital) = (self.desks, HOSPITAL.caller());
        let mut of_hospital = desks.claims(&hospital)?;
        let request = claims::SubmitClaimRequest { request_id: key(), claim_id: claim_id.to_owned() };
        let unchanged = async {
            let request = claims::GetClaimRequest { claim_id: claim_id.to_owned() };
            let claim = given(desks.claims(&hospital)?.get_claim(request).await?.into_inner().claim)?;
            Ok(claim.state() == claims::ClaimState::Draft && claim.submitted_at.is_none())
        };
        let submit = of_hospital.submit_claim(request);
        let title = "an ungrouped claim is submitted";
        self.report.refusal(&hospital, title, Edge::EklaimVklaim, NOT_GROUPED, submit, unchanged).await;
        Ok(())
    }

    /// A SEP carries one claim.
    async fn claimed_twice(&mut self, sep_number: &str, claim_id: &str) -> anyhow::Result<()> {
        let (desks, hospital) = (self.desks, HOSPITAL.caller());
        let mut of_hospital = desks.claims(&hospital)?;
        let request = claims::CreateClaimRequest { request_id: key(), sep_number: sep_number.to_owned() };
        let unchanged = async {
            let request = claims::GetSepRequest { sep_number: sep_number.to_owned() };
            Ok(desks.seps(&hospital)?.get_sep(request).await?.into_inner().claim_id == claim_id)
        };
        let create = of_hospital.create_claim(request);
        let title = "the same SEP is claimed twice";
        self.report.refusal(&hospital, title, Edge::EklaimVklaim, CLAIMED, create, unchanged).await;
        Ok(())
    }
}

fn coded(patient: &Patient, contradicts: bool, coder_nik: &str) -> anyhow::Result<claims::ClaimData> {
    let now = Timestamp::now();
    let begin = given(chassis::time::start_of(chassis::time::today_at(now)))?;
    // Hypertension with heart failure is one code in ICD-10; given as two it asks for a question.
    let (primary, secondary) =
        if contradicts { ("I50.9", vec!["I10".to_owned()]) } else { ("I25.1", vec![]) };
    let sex =
        if patient.person.sex == membership::Sex::Female { claims::Sex::Female } else { claims::Sex::Male };
    let summary = claims::Document {
        kind: claims::DocumentKind::MedicalSummary.into(),
        reference: "resume-medis-1".to_owned(),
    };
    Ok(claims::ClaimData {
        admitted_at: Some(chassis::time::to_proto(begin)),
        discharged_at: Some(chassis::time::to_proto(begin)),
        admission_route: claims::AdmissionRoute::GeneralPractitioner.into(),
        discharge_status: claims::DischargeStatus::Approved.into(),
        sex: sex.into(),
        birth_date: patient.person.birth_date.to_string(),
        primary_diagnosis: primary.to_owned(),
        secondary_diagnoses: secondary,
        charges: Some(claims::HospitalCharges {
            consultation_rupiah: 120_000,
            laboratory_rupiah: 80_000,
            drug_rupiah: 65_000,
            ..claims::HospitalCharges::default()
        }),
        doctor_name: "dr. Perjalanan, Sp.PD".to_owned(),
        coder_nik: coder_nik.to_owned(),
        documents: vec![summary],
        ..claims::ClaimData::default()
    })
}

async fn group_and_submit(desks: &Desks, claim_id: &str) -> anyhow::Result<claims::ClaimState> {
    let mut hospital = desks.claims(&HOSPITAL.caller())?;
    let claim_id = claim_id.to_owned();
    let request = claims::GroupClaimRequest { request_id: key(), claim_id: claim_id.clone() };
    let grouped = given(hospital.group_claim(request).await?.into_inner().claim)?;
    ensure!(grouped.state() == claims::ClaimState::Grouped, "the claim could not be grouped");
    let request = claims::FinaliseClaimRequest { request_id: key(), claim_id: claim_id.clone() };
    hospital.finalise_claim(request).await?;
    let request = claims::SubmitClaimRequest { request_id: key(), claim_id };
    Ok(given(hospital.submit_claim(request).await?.into_inner().claim)?.state())
}

/// The blood pressure of the visit came with the referral: it was not under control.
async fn traced(desks: &Desks, claim_id: &str) -> anyhow::Result<()> {
    let request = claims::ValidateClaimRequest { claim_id: claim_id.to_owned() };
    let told = desks.rules(&HOSPITAL.caller())?.validate_claim(request).await?.into_inner().tracers;
    let said = told.iter().find(|said| said.rule_id == "fktp-hypertension-controlled");
    let outcome = given(said)?.outcome();
    ensure!(outcome == claims::TracerOutcome::Unmet, "the tracer is {}", outcome.as_str_name());
    Ok(())
}

async fn settle(desks: &Desks, claim_id: &str) -> anyhow::Result<()> {
    let mut bpjs = desks.claims(BPJS)?;
    let claim_id = claim_id.to_owned();
    bpjs.record_verification(claims::RecordVerificationRequest {
        request_id: key(),
        claim_id: claim_id.clone(),
        outcome: claims::VerificationOutcome::Verified.into(),
        ..claims::RecordVerificationRequest::default()
    })
    .await?;
    let request = claims::ApproveClaimRequest { request_id: key(), claim_id: claim_id.clone() };
    let approved = given(bpjs.approve_claim(request).await?.into_inner().claim)?;
    let request = claims::SettleClaimRequest {
        request_id: key(),
        claim_id,
        payment_reference: key(),
        amount_rupiah: approved.approved_rupiah,
        paid_on: chassis::time::today_at(Timestamp::now()).to_string(),
    };
    let settled = given(bpjs.settle_claim(request).await?.into_inner().claim)?;
    ensure!(settled.state() == claims::ClaimState::Paid, "the claim is {}", settled.state().as_str_name());
    Ok(())
}
