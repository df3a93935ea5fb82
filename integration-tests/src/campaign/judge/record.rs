//! What P-Care recorded of a patient: a referral carries what its visit was answered, and the SEP on it keeps the same.

use std::collections::HashMap;

use prost::{Message, Name};
use proto::{claims::v1 as claims, primary_care::v1 as primary_care, referral::v1 as referral};

use super::{Check, OTHER_RECORD};
use crate::{Mesh, campaign::journal::Entry};

pub(super) async fn check(mesh: &Mesh, entries: &[Entry]) -> anyhow::Result<Vec<Check>> {
    let stored: Vec<(String, Option<Vec<u8>>)> =
        sqlx::query_as("select referral_number, first_level_record from referral")
            .fetch_all(mesh.database("referral"))
            .await?;
    let records: HashMap<_, _> = stored
        .into_iter()
        .filter_map(|(number, record)| {
            Some((number, referral::FirstLevelRecord::decode(record?.as_slice()).ok()?))
        })
        .collect();
    let of_referrals = entries.iter().filter_map(|entry| {
        let visit = entry.answer::<primary_care::ReferVisitRequest>()?.visit?;
        let number = &visit.referral.as_ref()?.referral_number;
        let carried = records.get(number).is_some_and(|record| carries(record, &visit));
        (!carried).then(|| format!("{number}: {}", entry.name()))
    });
    let of_seps = entries.iter().filter_map(|entry| {
        let sep = entry.answer::<claims::IssueSepRequest>()?.sep?;
        if sep.referral_number.is_empty() {
            return None;
        }
        let answered = referral::CheckReferralResponse::full_name();
        let evidence = sep.evidence.iter().find(|evidence| evidence.answer_type == answered);
        let told = evidence.map(|kept| referral::CheckReferralResponse::decode(kept.answer.as_slice()));
        let told = told.and_then(Result::ok).unwrap_or_default();
        let kept = told.first_level_record.as_ref() == records.get(&sep.referral_number);
        (!kept).then(|| format!("{}: {}", sep.sep_number, entry.name()))
    });
    Ok(vec![Check::of(OTHER_RECORD, of_referrals.chain(of_seps))])
}

/// Whether a record tells of the visit. Of its patient it is the last one: nothing later was measured.
fn carries(record: &referral::FirstLevelRecord, visit: &primary_care::Visit) -> bool {
    let signs = visit.vital_signs.as_ref();
    let pressure = signs.and_then(|signs| signs.systolic_mmhg.zip(signs.diastolic_mmhg));
    let pressure = pressure.map(|(systolic_mmhg, diastolic_mmhg)| referral::BloodPressure {
        taken_on: visit.visit_date.clone(),
        systolic_mmhg,
        diastolic_mmhg,
    });
    let fasting = visit.laboratory_results.as_ref().and_then(|results| results.fasting_glucose_mg_dl);
    record.diagnosis_codes == visit.diagnosis_codes
        && record.drug_atc_codes.iter().eq(visit.drugs.iter().map(|drug| &drug.atc_code))
        && record.blood_pressure == pressure
        && record.fasting_glucose_mg_dl == fasting
}
