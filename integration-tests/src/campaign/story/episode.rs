//! A patient is referred, comes to the hospital and is billed: from P-Care to the payment of the claim.

use jiff::civil::Date;
use proto::{claims::v1 as claims, primary_care::v1 as primary_care, referral::v1 as referral};
use rand::{RngExt, seq::IndexedRandom};

use super::{
    claim::{OpenClaim, SERVICE, round},
    given,
};
use crate::campaign::{
    caller::{Caller, Patient},
    cast::{BPJS, CLINIC, Facility},
    desk::Stopped,
    journal::Told,
};

/// Angina: a specialist's diagnosis, so that the referral needs no TACC reason.
const DIAGNOSIS: &str = "I20.9";

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
        let mut claim = self.prepared(&patient, hospital, sep_number, day).await?;
        let asked = self.submitted(&claim).await?;
        if let Some(rupiah) = self.approved(&mut claim, asked).await? {
            self.paid(&claim, rupiah).await?;
        }
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
            referral_number: referral_number.to_owned(),
            ..visit(patient, day, claims::Entry::Referral)
        };
        let sep_number = self.issued(hospital, request).await?;
        let request = referral::RecordArrivalRequest {
            referral_number: referral_number.to_owned(),
            ..referral::RecordArrivalRequest::default()
        };
        let told = vec![Told::of::<referral::ReferralArrived>("referral", referral_number)];
        self.desk.write(&hospital.caller(), request, |_| told).await?;
        Ok(sep_number)
    }

    /// A SEP; its number.
    pub(super) async fn issued(
        &mut self,
        hospital: Facility,
        request: claims::IssueSepRequest,
    ) -> Result<String, Stopped> {
        let caller = hospital.caller();
        let issued = self.desk.write(&caller, request, |answer| {
            answer.sep.iter().map(|sep| Told::of::<claims::SepIssued>(SERVICE, &sep.sep_number)).collect()
        });
        Ok(given(issued.await?.sep)?.sep_number)
    }

    /// The claim is submitted by itself; the round of pending that this opens.
    async fn submitted(&mut self, claim: &OpenClaim) -> Result<Option<i32>, Stopped> {
        let request = claims::SubmitClaimRequest {
            claim_id: claim.claim_id.clone(),
            ..claims::SubmitClaimRequest::default()
        };
        let hospital = claim.hospital.caller();
        let submitted = self.desk.write(&hospital, request, |answer| {
            let mut told = vec![claim.told::<claims::ClaimSubmitted>()];
            if round(answer.claim.as_deref()).is_some() {
                told.push(claim.told::<claims::ClaimPended>());
            }
            told
        });
        Ok(round(submitted.await?.claim.as_deref()))
    }

    /// It is paid by itself; some are left.
    async fn paid(&mut self, claim: &OpenClaim, rupiah: i64) -> Result<(), Stopped> {
        if self.desk.chance.random_bool(0.1) {
            return Ok(());
        }
        let request = claims::SettleClaimRequest {
            claim_id: claim.claim_id.clone(),
            payment_reference: claim.claim_id.clone(),
            amount_rupiah: rupiah,
            paid_on: self.today().to_string(),
            ..claims::SettleClaimRequest::default()
        };
        let told = vec![claim.told::<claims::ClaimPaid>()];
        self.desk.write(BPJS, request, |_| told).await.map(drop)
    }
}

/// A SEP for a visit of a patient to the clinic.
pub(super) fn visit(patient: &Patient, day: Date, entry: claims::Entry) -> claims::IssueSepRequest {
    claims::IssueSepRequest {
        member_id: patient.member_id.clone(),
        service_date: day.to_string(),
        care_type: claims::CareType::Outpatient.into(),
        entry: entry.into(),
        poli_code: CLINIC.to_owned(),
        initial_diagnosis: DIAGNOSIS.to_owned(),
        medical_record_number: "RM-000001".to_owned(),
        visit_purpose: claims::VisitPurpose::Normal.into(),
        ..claims::IssueSepRequest::default()
    }
}
