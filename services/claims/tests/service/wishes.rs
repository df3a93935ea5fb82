//! What callers ask for, right in every respect: a test changes what it is about.

use jiff::{Timestamp, ToSpan, civil::Date};
use proto::claims::v1 as pb;

pub(crate) const HOSPITAL: &str = "hospital:0301R011";
pub(crate) const OTHER: &str = "hospital:0301R012";
pub(crate) const BPJS: &str = "bpjs:headquarters";
pub(crate) const MINISTRY: &str = "ministry:yankes";
/// NIK of the coder that [`coding`] names.
pub(crate) const CODER: &str = "3273015705800001";

pub(crate) fn key() -> String {
    uuid::Uuid::new_v4().to_string()
}

pub(crate) fn member() -> String {
    uuid::Uuid::now_v7().to_string()
}

pub(crate) fn today() -> Date {
    chassis::time::today_at(Timestamp::now())
}

pub(crate) fn day(offset: i64) -> Date {
    today() + offset.days()
}

/// An out-patient visit that is right in every respect.
pub(crate) fn visit(on: Date) -> pb::IssueSepRequest {
    pb::IssueSepRequest {
        request_id: key(),
        member_id: member(),
        service_date: on.to_string(),
        care_type: pb::CareType::Outpatient.into(),
        entry: pb::Entry::Referral.into(),
        poli_code: "INT".into(),
        referral_number: "0301U0011126P000001".into(),
        initial_diagnosis: "E11.9".into(),
        medical_record_number: "00-12-34".into(),
        ..Default::default()
    }
}

/// The coded data of a visit on a day, with nothing to object to.
pub(crate) fn coding(on: Date, primary: &str) -> pb::ClaimData {
    let morning = chassis::time::start_of(on).unwrap();
    // Both at midnight, so that neither lies in the future whenever the test runs.
    let at = Some(chassis::time::to_proto(morning));
    pb::ClaimData {
        admitted_at: at,
        discharged_at: at,
        admission_route: pb::AdmissionRoute::GeneralPractitioner.into(),
        discharge_status: pb::DischargeStatus::Approved.into(),
        sex: pb::Sex::Female.into(),
        birth_date: "1980-05-17".into(),
        primary_diagnosis: primary.into(),
        charges: Some(pb::HospitalCharges { consultation_rupiah: 150_000, ..Default::default() }),
        doctor_name: "dr. Contoh".into(),
        coder_nik: CODER.into(),
        ..Default::default()
    }
}

/// An emergency admission so many hours ago.
pub(crate) fn admission(hours_ago: i64) -> pb::IssueSepRequest {
    let admitted_at = Timestamp::now() - hours_ago.hours();
    pb::IssueSepRequest {
        care_type: pb::CareType::Inpatient.into(),
        entry: pb::Entry::Emergency.into(),
        poli_code: String::new(),
        referral_number: String::new(),
        admitted_at: Some(chassis::time::to_proto(admitted_at)),
        ..visit(chassis::time::today_at(admitted_at))
    }
}
