//! A patient is referred, comes to the hospital and is billed: from P-Care to the payment of the claim.

use jiff::civil::Date;
use proto::{
    claims::v1 as claims, membership::v1 as membership, primary_care::v1 as primary_care,
    referral::v1 as referral,
};
use rand::{RngExt, seq::IndexedRandom};

use super::given;
use crate::campaign::{
    caller::{Caller, Patient},
    cast::{BPJS, CLINIC, CODER_NIK, Facility},
    desk::Stopped,
    journal::Told,
};

const SERVICE: &str = "claims";
/// Angina: a specialist's diagnosis, so that the referral needs no TACC reason.
const DIAGNOSIS: &str = "I20.9";

/// A claim on its way.
struct OpenClaim {
    claim_id: String,
    hospital: String,
}

impl OpenClaim {
    fn told<E: prost::Name>(&self) -> Told {
        Told::of::<E>(SERVICE, &self.claim_id)
    }
}

impl Caller {
    pub(crate) async fn episode(&mut self) -> Result<(), Stopped> {
        let mut patient = given(self.take_patient())?;
        let elsewhere: Vec<_> = Facility::hospitals()
            .into_iter()
            .filter(|hospital| !patient.admitted.contains(hospital))
            .collect();
        let Some(hospital) = elsewhere.choose(&mut self.desk.chance).copied() else {
            return Ok(());
        };
        let day = self.today();
        let referral_number = self.referred(&patient, hospital, day).await?;
        let sep_number = self.admitted(&patient, hospital, &referral_number, day).await?;
        patient.admitted.push(hospital);
        self.bill(&patient, hospital, sep_number, day).await?;
        self.patients.push(patient);
        Ok(())
    }

    /// A visit that ends in a referral, which the hospital accepts; its number.
    async fn referred(
        &mut self,
        patient: &Patient,
        hospital: Facility,
        day: Date,
    ) -> Result<String, Stopped> {
        let visit_number = self.examined(patient, DIAGNOSIS, day).await?;
        let request = primary_care::ReferVisitRequest {
            visit_number,
            destination_facility_code: hospital.code(),
            poli_code: CLINIC.to_owned(),
            criterion: Some(primary_care::refer_visit_request::Criterion::DiagnosticEffort(
                "exercise test and echocardiography".to_owned(),
            )),
            ..primary_care::ReferVisitRequest::default()
        };
        let fktp = patient.fktp.caller();
        let referred = self.desk.write(&fktp, request, |answer| {
            let Some(visit) = &answer.visit else { return Vec::new() };
            let number = visit.referral.as_ref().map_or("", |referral| &referral.referral_number);
            vec![
                Told::of::<primary_care::VisitReferred>("primary-care", &visit.visit_number),
                Told::of::<referral::ReferralCreated>("referral", number),
            ]
        });
        let number = given(given(referred.await?.visit)?.referral)?.referral_number;
        let request = referral::AcceptReferralRequest {
            referral_number: number.clone(),
            ..referral::AcceptReferralRequest::default()
        };
        let told = vec![Told::of::<referral::ReferralAccepted>("referral", &number)];
        self.desk.write(&hospital.caller(), request, |_| told).await?;
        Ok(number)
    }

    /// A SEP on the referral, and the arrival; the number of the SEP.
    async fn admitted(
        &mut self,
        patient: &Patient,
        hospital: Facility,
        referral_number: &str,
        day: Date,
    ) -> Result<String, Stopped> {
        let request = claims::IssueSepRequest {
            member_id: patient.member_id.clone(),
            service_date: day.to_string(),
            care_type: claims::CareType::Outpatient.into(),
            entry: claims::Entry::Referral.into(),
            poli_code: CLINIC.to_owned(),
            referral_number: referral_number.to_owned(),
            initial_diagnosis: DIAGNOSIS.to_owned(),
            medical_record_number: "RM-000001".to_owned(),
            visit_purpose: claims::VisitPurpose::Normal.into(),
            ..claims::IssueSepRequest::default()
        };
        let hospital = hospital.caller();
        let issued = self.desk.write(&hospital, request, |answer| {
            answer.sep.iter().map(|sep| Told::of::<claims::SepIssued>(SERVICE, &sep.sep_number)).collect()
        });
        let sep_number = given(issued.await?.sep)?.sep_number;
        let request = referral::RecordArrivalRequest {
            referral_number: referral_number.to_owned(),
            ..referral::RecordArrivalRequest::default()
        };
        let told = vec![Told::of::<referral::ReferralArrived>("referral", referral_number)];
        self.desk.write(&hospital, request, |_| told).await?;
        Ok(sep_number)
    }

    /// From the claim to its payment. Some are pending on the way: because the codes contradict each other, or because
    /// the verifier asks.
    async fn bill(
        &mut self,
        patient: &Patient,
        hospital: Facility,
        sep_number: String,
        day: Date,
    ) -> Result<(), Stopped> {
        let hospital = hospital.caller();
        let request = claims::CreateClaimRequest { sep_number, ..claims::CreateClaimRequest::default() };
        let created = self.desk.write(&hospital, request, |_| Vec::new()).await?;
        let claim = OpenClaim { claim_id: given(created.claim)?.claim_id, hospital };
        let contradicts = self.desk.chance.random_bool(0.3);
        let request = claims::SetClaimDataRequest {
            claim_id: claim.claim_id.clone(),
            data: Some(coded(patient, contradicts, day)?),
            ..claims::SetClaimDataRequest::default()
        };
        self.desk.write(&claim.hospital, request, |_| Vec::new()).await?;
        let request = claims::GroupClaimRequest {
            claim_id: claim.claim_id.clone(),
            ..claims::GroupClaimRequest::default()
        };
        let told = vec![claim.told::<claims::ClaimGrouped>()];
        self.desk.write(&claim.hospital, request, |_| told).await?;
        let request = claims::FinaliseClaimRequest {
            claim_id: claim.claim_id.clone(),
            ..claims::FinaliseClaimRequest::default()
        };
        self.desk.write(&claim.hospital, request, |_| Vec::new()).await?;
        let request = claims::SubmitClaimRequest {
            claim_id: claim.claim_id.clone(),
            ..claims::SubmitClaimRequest::default()
        };
        let submitted = self.desk.write(&claim.hospital, request, |answer| {
            let mut told = vec![claim.told::<claims::ClaimSubmitted>()];
            if round(answer.claim.as_ref()).is_some() {
                told.push(claim.told::<claims::ClaimPended>());
            }
            told
        });
        if let Some(round) = round(submitted.await?.claim.as_ref()) {
            self.answer(&claim, round).await?;
        }
        self.verified(&claim).await?;
        self.paid(&claim).await
    }

    async fn answer(&mut self, claim: &OpenClaim, round: i32) -> Result<(), Stopped> {
        let request = claims::AnswerPendingRequest {
            claim_id: claim.claim_id.clone(),
            round,
            answer: "the codes are those of the record".to_owned(),
            ..claims::AnswerPendingRequest::default()
        };
        let told = vec![claim.told::<claims::ClaimAnswered>()];
        self.desk.write(&claim.hospital, request, |_| told).await.map(drop)
    }

    async fn verified(&mut self, claim: &OpenClaim) -> Result<(), Stopped> {
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
            self.answer(claim, given(round(pended.claim.as_ref()))?).await?;
        }
        let request = claims::RecordVerificationRequest {
            claim_id: claim.claim_id.clone(),
            outcome: claims::VerificationOutcome::Verified.into(),
            ..claims::RecordVerificationRequest::default()
        };
        let told = vec![claim.told::<claims::ClaimVerified>()];
        self.desk.write(BPJS, request, |_| told).await.map(drop)
    }

    async fn paid(&mut self, claim: &OpenClaim) -> Result<(), Stopped> {
        let request = claims::ApproveClaimRequest {
            claim_id: claim.claim_id.clone(),
            ..claims::ApproveClaimRequest::default()
        };
        let told = vec![claim.told::<claims::ClaimApproved>()];
        let approved = given(self.desk.write(BPJS, request, |_| told).await?.claim)?;
        if self.desk.chance.random_bool(0.1) {
            return Ok(());
        }
        let request = claims::SettleClaimRequest {
            claim_id: claim.claim_id.clone(),
            payment_reference: claim.claim_id.clone(),
            amount_rupiah: approved.approved_rupiah,
            paid_on: self.today().to_string(),
            ..claims::SettleClaimRequest::default()
        };
        let told = vec![claim.told::<claims::ClaimPaid>()];
        self.desk.write(BPJS, request, |_| told).await.map(drop)
    }
}

/// The round of pending that is open.
fn round(claim: Option<&claims::Claim>) -> Option<i32> {
    let claim = claim.filter(|claim| claim.state() == claims::ClaimState::Pending)?;
    claim.pendings.last().map(|pending| pending.round)
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
        documents: vec![claims::Document {
            kind: claims::DocumentKind::MedicalSummary.into(),
            reference: "resume-medis-1".to_owned(),
        }],
        ..claims::ClaimData::default()
    })
}
