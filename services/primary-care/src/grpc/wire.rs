//! Between the contract and the domain.

use chassis::Fields;
use proto::{membership::v1 as membership, primary_care::v1 as pb, referral::v1 as referral};
use vocabulary::RegionCode;

use crate::{
    laboratory::LaboratoryResults,
    record::Record,
    referral::{Tacc, TaccReason},
    store::Counts,
    visit::{Discharge, Kind, State, Visit},
    vital_signs::{Consciousness, VitalSigns},
};

pub(super) fn kind(value: i32) -> Result<Kind, &'static str> {
    match pb::VisitKind::try_from(value) {
        Ok(pb::VisitKind::Sick) => Ok(Kind::Sick),
        Ok(pb::VisitKind::Healthy) => Ok(Kind::Healthy),
        Ok(pb::VisitKind::Home) => Ok(Kind::Home),
        Ok(pb::VisitKind::Unspecified) | Err(_) => {
            Err("must be VISIT_KIND_SICK, VISIT_KIND_HEALTHY or VISIT_KIND_HOME")
        }
    }
}

pub(super) fn of_kind(kind: Kind) -> pb::VisitKind {
    match kind {
        Kind::Sick => pb::VisitKind::Sick,
        Kind::Healthy => pb::VisitKind::Healthy,
        Kind::Home => pb::VisitKind::Home,
    }
}

fn of_state(state: State) -> pb::VisitState {
    match state {
        State::Registered => pb::VisitState::Registered,
        State::Examined => pb::VisitState::Examined,
        State::Discharged => pb::VisitState::Discharged,
        State::Referred => pb::VisitState::Referred,
        State::Cancelled => pb::VisitState::Cancelled,
    }
}

pub(super) fn discharge(value: i32) -> Result<Discharge, &'static str> {
    use pb::DischargeStatus as Wire;
    match Wire::try_from(value) {
        Ok(Wire::Recovered) => Ok(Discharge::Recovered),
        Ok(Wire::Died) => Ok(Discharge::Died),
        Ok(Wire::LeftAgainstAdvice) => Ok(Discharge::LeftAgainstAdvice),
        Ok(Wire::Outpatient) => Ok(Discharge::Outpatient),
        Ok(Wire::Internal) => Ok(Discharge::Internal),
        Ok(Wire::Other) => Ok(Discharge::Other),
        Ok(Wire::Referred) => Err("must be another status; ReferVisit sets DISCHARGE_STATUS_REFERRED"),
        Ok(Wire::Unspecified) | Err(_) => Err("must be one of DischargeStatus"),
    }
}

fn of_discharge(discharge: Discharge) -> pb::DischargeStatus {
    use pb::DischargeStatus as Wire;
    match discharge {
        Discharge::Recovered => Wire::Recovered,
        Discharge::Died => Wire::Died,
        Discharge::LeftAgainstAdvice => Wire::LeftAgainstAdvice,
        Discharge::Outpatient => Wire::Outpatient,
        Discharge::Referred => Wire::Referred,
        Discharge::Internal => Wire::Internal,
        Discharge::Other => Wire::Other,
    }
}

pub(super) fn vital_signs(fields: &mut Fields, given: Option<pb::VitalSigns>) -> VitalSigns {
    let given = given.unwrap_or_default();
    let consciousness = match pb::Consciousness::try_from(given.consciousness) {
        Ok(pb::Consciousness::Unspecified) => None,
        Ok(pb::Consciousness::Alert) => Some(Consciousness::Alert),
        Ok(pb::Consciousness::Somnolent) => Some(Consciousness::Somnolent),
        Ok(pb::Consciousness::Soporous) => Some(Consciousness::Soporous),
        Ok(pb::Consciousness::Comatose) => Some(Consciousness::Comatose),
        Err(_) => {
            fields.wrong("vital_signs.consciousness", "must be one of Consciousness");
            None
        }
    };
    let signs = VitalSigns {
        systolic_mmhg: given.systolic_mmhg,
        diastolic_mmhg: given.diastolic_mmhg,
        heart_rate: given.heart_rate,
        respiratory_rate: given.respiratory_rate,
        temperature_decicelsius: given.temperature_decicelsius,
        weight_grams: given.weight_grams,
        height_millimetres: given.height_millimetres,
        waist_millimetres: given.waist_millimetres,
        consciousness,
    };
    fields.require("vital_signs", !signs.is_empty(), "must hold at least one sign");
    for (sign, fault) in signs.impossible() {
        fields.wrong(format!("vital_signs.{sign}"), fault);
    }
    signs
}

fn of_vital_signs(signs: &VitalSigns) -> Option<pb::VitalSigns> {
    let consciousness = match signs.consciousness {
        None => pb::Consciousness::Unspecified,
        Some(Consciousness::Alert) => pb::Consciousness::Alert,
        Some(Consciousness::Somnolent) => pb::Consciousness::Somnolent,
        Some(Consciousness::Soporous) => pb::Consciousness::Soporous,
        Some(Consciousness::Comatose) => pb::Consciousness::Comatose,
    };
    (!signs.is_empty()).then(|| pb::VitalSigns {
        systolic_mmhg: signs.systolic_mmhg,
        diastolic_mmhg: signs.diastolic_mmhg,
        heart_rate: signs.heart_rate,
        respiratory_rate: signs.respiratory_rate,
        temperature_decicelsius: signs.temperature_decicelsius,
        weight_grams: signs.weight_grams,
        height_millimetres: signs.height_millimetres,
        waist_millimetres: signs.waist_millimetres,
        consciousness: consciousness.into(),
    })
}

pub(super) fn laboratory_results(
    fields: &mut Fields,
    given: Option<pb::LaboratoryResults>,
) -> LaboratoryResults {
    let given = given.unwrap_or_default();
    let results = LaboratoryResults {
        fasting_glucose_mg_dl: given.fasting_glucose_mg_dl,
        random_glucose_mg_dl: given.random_glucose_mg_dl,
        postprandial_glucose_mg_dl: given.postprandial_glucose_mg_dl,
        hba1c_permille: given.hba1c_permille,
        haemoglobin_decigrams_dl: given.haemoglobin_decigrams_dl,
    };
    fields.require("laboratory_results", !results.is_empty(), "must hold at least one test");
    for (test, fault) in results.impossible() {
        fields.wrong(format!("laboratory_results.{test}"), fault);
    }
    results
}

fn of_laboratory_results(results: &LaboratoryResults) -> Option<pb::LaboratoryResults> {
    (!results.is_empty()).then_some(pb::LaboratoryResults {
        fasting_glucose_mg_dl: results.fasting_glucose_mg_dl,
        random_glucose_mg_dl: results.random_glucose_mg_dl,
        postprandial_glucose_mg_dl: results.postprandial_glucose_mg_dl,
        hba1c_permille: results.hba1c_permille,
        haemoglobin_decigrams_dl: results.haemoglobin_decigrams_dl,
    })
}

pub(super) fn tacc(fields: &mut Fields, given: Option<pb::Tacc>) -> Option<Tacc> {
    let given = given?;
    let reason = match referral::Tacc::try_from(given.reason) {
        Ok(referral::Tacc::Time) => Some(TaccReason::Time),
        Ok(referral::Tacc::Age) => Some(TaccReason::Age),
        Ok(referral::Tacc::Complication) => Some(TaccReason::Complication),
        Ok(referral::Tacc::Comorbidity) => Some(TaccReason::Comorbidity),
        Ok(referral::Tacc::Unspecified) | Err(_) => {
            fields.wrong("tacc.reason", "must be TACC_TIME, TACC_AGE, TACC_COMPLICATION or TACC_COMORBIDITY");
            None
        }
    };
    let note = fields.parse("tacc.note", vocabulary::text(&given.note, 200));
    Some(Tacc { reason: reason?, note: note? })
}

pub(super) fn of_tacc(reason: Option<TaccReason>) -> referral::Tacc {
    match reason {
        None => referral::Tacc::Unspecified,
        Some(TaccReason::Time) => referral::Tacc::Time,
        Some(TaccReason::Age) => referral::Tacc::Age,
        Some(TaccReason::Complication) => referral::Tacc::Complication,
        Some(TaccReason::Comorbidity) => referral::Tacc::Comorbidity,
    }
}

pub(super) fn segment(visit: &Visit) -> membership::Segment {
    membership::Segment::from_str_name(&visit.evidence.segment).unwrap_or_default()
}

pub(super) fn region(visit: &Visit) -> String {
    visit.evidence.region.as_ref().map(RegionCode::to_string).unwrap_or_default()
}

pub(super) fn of_visit(visit: &Visit) -> pb::Visit {
    let (status, discharge_date) = visit.discharge.unzip();
    pb::Visit {
        visit_number: visit.number.to_string(),
        facility_code: visit.facility.to_string(),
        member_id: visit.member.to_string(),
        kind: of_kind(visit.kind).into(),
        state: of_state(visit.state).into(),
        visit_date: visit.date.to_string(),
        registered_at: Some(chassis::time::to_proto(visit.registered_at)),
        emergency: visit.emergency,
        complaint: visit.complaint.clone(),
        eligibility: Some(pb::EligibilityEvidence {
            answer_id: visit.evidence.answer_id.clone(),
            answered_at: Some(chassis::time::to_proto(visit.evidence.answered_at)),
            segment: segment(visit).into(),
            registered_fktp_code: visit.evidence.registered_fktp.to_string(),
            region_code: region(visit),
        }),
        vital_signs: of_vital_signs(&visit.vital_signs),
        diagnosis_codes: diagnosis_codes(visit),
        discharge_status: status.map_or(pb::DischargeStatus::Unspecified, of_discharge).into(),
        discharge_date: discharge_date.map(|date| date.to_string()).unwrap_or_default(),
        referral: visit.referred.as_ref().map(|referred| pb::VisitReferral {
            referral_number: referred.number.to_string(),
            destination_facility_code: referred.destination.to_string(),
            poli_code: referred.poli.as_str().to_owned(),
            non_specialist: referred.non_specialist,
            tacc: referred
                .tacc
                .as_ref()
                .map(|tacc| pb::Tacc { reason: of_tacc(Some(tacc.reason)).into(), note: tacc.note.clone() }),
        }),
        cancel_note: visit.cancel_note.clone(),
        laboratory_results: of_laboratory_results(&visit.laboratory),
        drugs: visit
            .drugs
            .iter()
            .map(|drug| pb::Drug { atc_code: drug.code.as_str().to_owned(), quantity: drug.quantity })
            .collect(),
    }
}

/// What a referral carries: the visit that is referred, and the record of those before it.
pub(super) fn of_record(visit: &Visit, record: &Record) -> referral::FirstLevelRecord {
    let count = |days: usize| i32::try_from(days).unwrap_or(i32::MAX);
    referral::FirstLevelRecord {
        from_date: record.from.to_string(),
        diagnosis_codes: diagnosis_codes(visit),
        drug_atc_codes: visit.drugs.iter().map(|drug| drug.code.as_str().to_owned()).collect(),
        blood_pressure: record.pressure.map(|pressure| referral::BloodPressure {
            taken_on: pressure.taken_on.to_string(),
            systolic_mmhg: pressure.systolic_mmhg,
            diastolic_mmhg: pressure.diastolic_mmhg,
        }),
        glucose_tested_on: record.glucose_tested_on.map(|day| day.to_string()).unwrap_or_default(),
        fasting_glucose_mg_dl: record.fasting_glucose_mg_dl,
        antenatal_contacts: count(record.antenatal_contacts),
        antenatal_contacts_with_pressure: count(record.antenatal_contacts_with_pressure),
        haemoglobin_tested: record.haemoglobin_tested,
        iron_tablets: record.iron_tablets,
        tuberculosis_atc_codes: record
            .tuberculosis_drugs
            .iter()
            .map(|code| code.as_str().to_owned())
            .collect(),
    }
}

fn diagnosis_codes(visit: &Visit) -> Vec<String> {
    visit.diagnoses.iter().flat_map(|d| d.codes()).map(|code| code.as_str().to_owned()).collect()
}

pub(super) fn of_counts(facility_code: String, month: String, counts: &Counts) -> pb::ContactCounts {
    pb::ContactCounts {
        facility_code,
        month,
        persons: counts.persons,
        sick_persons: counts.sick_persons,
        healthy_persons: counts.healthy_persons,
        home_persons: counts.home_persons,
        visiting_persons: counts.visiting_persons,
        visits: counts.visits,
        sick_visits: counts.sick_visits,
        referrals: counts.referrals,
        non_specialist_referrals: counts.non_specialist_referrals,
        tacc_referrals: counts.tacc_referrals,
    }
}

/// An event with the fields that all events of a visit share, and its own.
macro_rules! event {
    ($name:ident, $visit:expr $(, $field:ident: $value:expr)* $(,)?) => {
        proto::primary_care::v1::$name {
            visit_number: $visit.number.to_string(),
            facility_code: $visit.facility.to_string(),
            member_id: $visit.member.to_string(),
            kind: $crate::grpc::wire::of_kind($visit.kind).into(),
            visit_date: $visit.date.to_string(),
            segment: $crate::grpc::wire::segment(&$visit).into(),
            region_code: $crate::grpc::wire::region(&$visit),
            registered_here: $visit.registered_here(),
            $($field: $value),*
        }
    };
}
pub(super) use event;
