//! The coded episode as it comes over the wire, read field by field.

use std::collections::HashSet;

use chassis::{Fields, time};
use jiff::Timestamp;
use prost::Message as _;
use proto::claims::v1 as pb;
use vocabulary::{Icd9Procedure, Icd10, Nik};

use super::{claim_detail, optional_text};
use crate::{
    episode::{Care, Discharge, DocumentKind, Episode, Sex},
    error::Error,
};

const MOST_SECONDARY: usize = 29;
const MOST_PROCEDURES: usize = 30;
const MOST_DOCUMENTS: usize = 50;

/// Reads the data of a claim; `None` when a field is wrong, which is then noted.
pub(super) fn read(fields: &mut Fields, data: &pb::ClaimData, care: Care, now: Timestamp) -> Option<Episode> {
    let admitted_at = data.admitted_at.as_ref().and_then(time::from_proto);
    fields.require("data.admitted_at", admitted_at.is_some(), "must be set");
    let discharged_at = data.discharged_at.as_ref().and_then(time::from_proto);
    fields.require("data.discharged_at", discharged_at.is_some(), "must be set");
    if let (Some(admitted_at), Some(discharged_at)) = (admitted_at, discharged_at) {
        fields.require("data.discharged_at", discharged_at >= admitted_at, "must not lie before admitted_at");
        fields.require("data.discharged_at", discharged_at <= now, "must not lie in the future");
    }
    let route = data.admission_route() != pb::AdmissionRoute::Unspecified;
    fields.require("data.admission_route", route, "a value of AdmissionRoute");
    let discharge = match data.discharge_status() {
        pb::DischargeStatus::Unspecified => None,
        pb::DischargeStatus::Approved => Some(Discharge::Approved),
        _ => Some(Discharge::Otherwise),
    };
    fields.require("data.discharge_status", discharge.is_some(), "a value of DischargeStatus");
    let sex = match data.sex() {
        pb::Sex::Unspecified => None,
        pb::Sex::Male => Some(Sex::Male),
        pb::Sex::Female => Some(Sex::Female),
    };
    fields.require("data.sex", sex.is_some(), "SEX_MALE or SEX_FEMALE");
    let birth_date = fields.parse("data.birth_date", vocabulary::date(&data.birth_date));
    if let (Some(birth_date), Some(admitted_at)) = (birth_date, admitted_at) {
        let born = birth_date <= time::today_at(admitted_at);
        fields.require("data.birth_date", born, "must not lie after admission");
    }
    let primary = fields.parse("data.primary_diagnosis", Icd10::parse(&data.primary_diagnosis));
    let (days, hours) = admitted_at.zip(discharged_at).map_or((i64::MAX, i64::MAX), |(from, to)| {
        let hours = to.duration_since(from).as_hours();
        (hours / 24 + 1, hours + 1)
    });
    let in_stay = |given: i32, most: i64| given >= 0 && i64::from(given) <= most;
    fields.require("data.icu_days", in_stay(data.icu_days, days), "0 to the days of stay");
    fields.require("data.ventilator_hours", in_stay(data.ventilator_hours, hours), "0 to the hours of stay");
    charges(fields, data.charges.as_ref());
    fields.parse("data.doctor_name", vocabulary::text(&data.doctor_name, 100));
    fields.parse("data.coder_nik", Nik::parse(&data.coder_nik));
    let sitb = optional_text(fields, "data.sitb_number", &data.sitb_number, 30);
    let stay = claim_detail::Stay { admitted_at, discharged_at, birth_date };
    let special = claim_detail::read(fields, data, &stay);
    // The lists come last: what a long one holds must not crowd the other wrong fields out of the answer.
    let secondary =
        codes(fields, "data.secondary_diagnoses", &data.secondary_diagnoses, MOST_SECONDARY, Icd10::parse);
    let mut seen: HashSet<&str> = primary.iter().map(Icd10::as_str).collect();
    let once = secondary.iter().all(|code| seen.insert(code.as_str()));
    fields.require(
        "data.secondary_diagnoses",
        once,
        "must name no diagnosis twice, the primary one included",
    );
    let procedures =
        codes(fields, "data.procedures", &data.procedures, MOST_PROCEDURES, Icd9Procedure::parse);
    let documents = documents(fields, "data.documents", &data.documents);

    Some(Episode {
        care,
        admitted_at: admitted_at?,
        discharged_at: discharged_at?,
        discharge: discharge?,
        sex: sex?,
        birth_date: birth_date?,
        primary: primary?,
        secondary,
        procedures,
        has_sitb_number: !sitb.is_empty(),
        documents,
        adl_sub_acute: data.adl_sub_acute,
        adl_chronic: data.adl_chronic,
        special,
    })
}

/// Reads stored data again, which was read before it was stored.
pub(super) fn stored(data: &[u8], care: Care) -> Result<Episode, Error> {
    let unreadable = || Error::Unreadable("claim");
    let data = pb::ClaimData::decode(data).map_err(|_| unreadable())?;
    let mut fields = Fields::new();
    read(&mut fields, &data, care, Timestamp::MAX).ok_or_else(unreadable)
}

fn codes<T>(
    fields: &mut Fields,
    path: &str,
    given: &[String],
    most: usize,
    parse: impl Fn(&str) -> Result<T, vocabulary::Malformed>,
) -> Vec<T> {
    fields.require(path, given.len() <= most, format!("at most {most}"));
    let given = given.iter().take(most).enumerate();
    given.filter_map(|(at, code)| fields.parse(format!("{path}[{at}]"), parse(code))).collect()
}

/// Reads references to documents.
pub(super) fn documents(fields: &mut Fields, path: &str, given: &[pb::Document]) -> Vec<DocumentKind> {
    fields.require(path, given.len() <= MOST_DOCUMENTS, format!("at most {MOST_DOCUMENTS}"));
    let mut kinds = Vec::new();
    for (at, document) in given.iter().take(MOST_DOCUMENTS).enumerate() {
        fields.parse(format!("{path}[{at}].reference"), vocabulary::text(&document.reference, 100));
        match kind(document.kind()) {
            Some(kind) => kinds.push(kind),
            None => fields.wrong(format!("{path}[{at}].kind"), "a value of DocumentKind"),
        }
    }
    kinds
}

fn kind(kind: pb::DocumentKind) -> Option<DocumentKind> {
    Some(match kind {
        pb::DocumentKind::Unspecified => return None,
        pb::DocumentKind::MedicalSummary => DocumentKind::MedicalSummary,
        pb::DocumentKind::WardReport => DocumentKind::WardReport,
        pb::DocumentKind::Laboratory => DocumentKind::Laboratory,
        pb::DocumentKind::Radiology => DocumentKind::Radiology,
        pb::DocumentKind::OtherDiagnostic => DocumentKind::OtherDiagnostic,
        pb::DocumentKind::Prescription => DocumentKind::Prescription,
        pb::DocumentKind::Bill => DocumentKind::Bill,
        pb::DocumentKind::OperationReport => DocumentKind::OperationReport,
        pb::DocumentKind::Other => DocumentKind::Other,
    })
}

fn charges(fields: &mut Fields, charges: Option<&pb::HospitalCharges>) {
    // More than any bill ever was; keeps every sum within i64.
    const MOST: i64 = 1_000_000_000_000;
    let Some(c) = charges else {
        fields.wrong("data.charges", "must be set");
        return;
    };
    let components = [
        ("non_surgical_procedure_rupiah", c.non_surgical_procedure_rupiah),
        ("surgical_procedure_rupiah", c.surgical_procedure_rupiah),
        ("consultation_rupiah", c.consultation_rupiah),
        ("expert_rupiah", c.expert_rupiah),
        ("nursing_rupiah", c.nursing_rupiah),
        ("supporting_service_rupiah", c.supporting_service_rupiah),
        ("radiology_rupiah", c.radiology_rupiah),
        ("laboratory_rupiah", c.laboratory_rupiah),
        ("blood_service_rupiah", c.blood_service_rupiah),
        ("rehabilitation_rupiah", c.rehabilitation_rupiah),
        ("room_rupiah", c.room_rupiah),
        ("intensive_care_rupiah", c.intensive_care_rupiah),
        ("drug_rupiah", c.drug_rupiah),
        ("chronic_drug_rupiah", c.chronic_drug_rupiah),
        ("chemotherapy_drug_rupiah", c.chemotherapy_drug_rupiah),
        ("device_rupiah", c.device_rupiah),
        ("consumable_rupiah", c.consumable_rupiah),
        ("device_rental_rupiah", c.device_rental_rupiah),
    ];
    for (name, amount) in components {
        fields.require(
            format!("data.charges.{name}"),
            (0..=MOST).contains(&amount),
            format!("0 to {MOST} rupiah"),
        );
    }
    let any = components.iter().any(|(_, amount)| *amount > 0);
    fields.require("data.charges", any, "must hold at least one charge");
}

/// What of the episode contradicts the SEP it is claimed on.
pub(super) fn contradictions(
    episode: &Episode,
    data: &pb::ClaimData,
    letter: &pb::Sep,
    service_date: jiff::civil::Date,
) -> Vec<(String, String)> {
    let mut wrong = Vec::new();
    let mut require = |path: &str, holds: bool, text: &str| {
        if !holds {
            wrong.push((path.to_owned(), text.to_owned()));
        }
    };
    let on = time::today_at(episode.admitted_at);
    require("data.admitted_at", on == service_date, "must lie on the service date of the SEP");
    if episode.care == Care::Outpatient {
        let day = episode.hours() < 24;
        require("data.discharged_at", day, "must lie within a day of admitted_at for an out-patient SEP");
        require("data.icu_days", data.icu_days == 0, "must be 0 for an out-patient SEP");
    }
    claim_detail::contradictions(data, letter, require);
    wrong
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_thousand_wrong_codes_and_every_other_wrong_field_are_told() {
        let data =
            pb::ClaimData { secondary_diagnoses: vec!["?".into(); 10_000], ..pb::ClaimData::default() };
        let mut fields = Fields::new();
        assert!(read(&mut fields, &data, Care::Inpatient, Timestamp::UNIX_EPOCH).is_none());
        let told = format!("{:?}", chassis::Problem::from(fields));
        for path in
            ["admitted_at", "primary_diagnosis", "secondary_diagnoses[9]", "charges", "coder_nik", "sex"]
        {
            assert!(told.contains(&format!("data.{path}")), "{path}");
        }
        assert!(!told.contains("secondary_diagnoses[29]"));
    }
}
