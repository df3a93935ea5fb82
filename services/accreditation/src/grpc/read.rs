//! From the messages of the contract to the words of the domain; every wrong field is noted.

use std::collections::{BTreeMap, BTreeSet};

use chassis::{Caller, Fields};
use jiff::civil::Date;
use proto::{accreditation::v1 as pb, options::v1::InstitutionKind};
use vocabulary::{FacilityCode, Malformed, Poli, RegionCode};

use crate::{
    contract::Period,
    facility::{HospitalClass, Kind, Kris, Location, Offered, Ownership, Stratum, moh_code, satusehat_id},
    grading::Fulfilment,
    survey::{Attested, Visit},
};

const MOST_SERVICES: usize = 60;
const MOST_SURVEYORS: usize = 10;
const MOST_ELEMENTS: usize = 500;

/// A facility code.
pub(super) fn facility_code(fields: &mut Fields, path: &str, text: &str) -> Option<String> {
    fields.parse(path, FacilityCode::parse(text)).map(|code| code.as_str().to_owned())
}

/// A facility code that must be the caller's own, when the caller is a facility. Another's is as good as none.
pub(super) fn is_foreign(caller: &Caller, facility_code: &str) -> bool {
    caller.facility().is_some_and(|own| own != facility_code)
}

/// The institution that surveys, when the caller is one.
pub(super) fn surveyor(caller: &Caller) -> Option<&str> {
    (caller.kind == InstitutionKind::Surveyor).then_some(caller.id.as_str())
}

/// The id of a survey.
pub(super) fn survey_id(fields: &mut Fields, text: &str) -> Option<uuid::Uuid> {
    fields.parse("survey_id", uuid::Uuid::parse_str(text).map_err(|_| "must be a UUID"))
}

/// A day that has come; empty means today.
pub(super) fn past_day(fields: &mut Fields, path: &str, text: &str, today: Date) -> Option<Date> {
    if text.is_empty() {
        return Some(today);
    }
    let day = fields.parse(path, vocabulary::date(text))?;
    fields.require(path, day <= today, "must not lie in the future");
    (day <= today).then_some(day)
}

/// A text that may be empty.
pub(super) fn if_given<T, E: std::fmt::Display>(
    fields: &mut Fields,
    path: &str,
    text: &str,
    parse: impl FnOnce(&str) -> Result<T, E>,
) -> Option<T> {
    if text.is_empty() { None } else { fields.parse(path, parse(text)) }
}

/// A number of an enum that may be unspecified.
pub(super) fn if_specified<T>(
    fields: &mut Fields,
    path: &str,
    number: i32,
    read: fn(i32) -> Option<T>,
) -> Option<T> {
    if number == 0 { None } else { fields.parse(path, read(number).ok_or("must be a value of the enum")) }
}

/// A province or regency.
pub(super) fn region(text: &str) -> Result<String, Malformed> {
    RegionCode::parse(text).map(|region| region.as_str().to_owned())
}

fn regency(text: &str) -> Result<String, String> {
    let region = RegionCode::parse(text).map_err(|error| error.to_string())?;
    if region.is_province() {
        return Err("must be the Kemendagri code of a regency or city, 4 digits".into());
    }
    Ok(region.as_str().to_owned())
}

/// The fields of a facility that were read; those that were wrong or not asked for are absent.
#[derive(Debug, Default)]
pub(super) struct Given {
    pub(super) name: Option<String>,
    pub(super) kind: Option<Kind>,
    pub(super) moh_code: Option<String>,
    pub(super) satusehat_organization_id: Option<String>,
    pub(super) hospital_class: Option<HospitalClass>,
    pub(super) ownership: Option<Ownership>,
    pub(super) region_code: Option<String>,
    pub(super) location: Option<Location>,
    pub(super) services: Vec<Offered>,
    pub(super) contract: Option<Period>,
    pub(super) kris: Option<Kris>,
}

/// The fields that an update may change.
pub(super) const CHANGEABLE: [&str; 10] = [
    "name",
    "moh_code",
    "satusehat_organization_id",
    "hospital_class",
    "ownership",
    "region_code",
    "location",
    "services",
    "contract",
    "kris",
];

/// Reads those fields of a facility that are asked for.
pub(super) fn facility(
    fields: &mut Fields,
    given: &pb::Facility,
    today: Date,
    asked: impl Fn(&str) -> bool,
) -> Given {
    let path = |name: &str| format!("facility.{name}");
    let mut read = Given::default();
    if asked("name") {
        read.name = fields.parse(path("name"), vocabulary::text(&given.name, 100));
    }
    if asked("kind") {
        read.kind =
            fields.parse(path("kind"), Kind::from_number(given.kind).ok_or("must be a kind of facility"));
    }
    if asked("moh_code") {
        read.moh_code = if_given(fields, &path("moh_code"), &given.moh_code, moh_code);
    }
    if asked("satusehat_organization_id") {
        let text = &given.satusehat_organization_id;
        read.satusehat_organization_id =
            if_given(fields, &path("satusehat_organization_id"), text, satusehat_id);
    }
    if asked("hospital_class") {
        read.hospital_class =
            if_specified(fields, &path("hospital_class"), given.hospital_class, HospitalClass::from_number);
    }
    if asked("ownership") {
        read.ownership = fields.parse(
            path("ownership"),
            Ownership::from_number(given.ownership).ok_or("must be a kind of owner"),
        );
    }
    if asked("region_code") {
        read.region_code = fields.parse(path("region_code"), regency(&given.region_code));
    }
    if asked("location") {
        read.location = given.location.as_ref().and_then(|location| {
            fields.parse(path("location"), Location::new(location.latitude, location.longitude))
        });
    }
    if asked("services") {
        read.services = services(fields, &given.services);
    }
    if asked("contract") {
        read.contract = given.contract.as_ref().and_then(|given| contract(fields, given));
    }
    if asked("kris") {
        read.kris = given.kris.as_ref().and_then(|given| kris(fields, given, today));
    }
    read
}

fn services(fields: &mut Fields, given: &[pb::ServiceOffered]) -> Vec<Offered> {
    if given.len() > MOST_SERVICES {
        fields.wrong("facility.services", format!("must be at most {MOST_SERVICES}"));
        return Vec::new();
    }
    let mut read = BTreeMap::new();
    for (index, offered) in given.iter().enumerate() {
        let path = format!("facility.services[{index}]");
        let stratum = if_specified(fields, &format!("{path}.stratum"), offered.stratum, Stratum::from_number);
        let code = fields.parse(format!("{path}.poli_code"), Poli::parse(&offered.poli_code));
        if let Some(code) = code {
            let twice = read.insert(code.as_str(), stratum).is_some();
            fields.require(format!("{path}.poli_code"), !twice, "must stand once only");
        }
    }
    read.into_iter().map(|(code, stratum)| Offered { poli_code: code.to_owned(), stratum }).collect()
}

fn contract(fields: &mut Fields, given: &pb::Contract) -> Option<Period> {
    let from = fields.parse("facility.contract.from", vocabulary::date(&given.from));
    let to = if_given(fields, "facility.contract.to", &given.to, vocabulary::date);
    if !given.to.is_empty() && to.is_none() {
        return None;
    }
    fields.parse("facility.contract.to", Period::new(from?, to))
}

fn kris(fields: &mut Fields, given: &pb::KrisAssessment, today: Date) -> Option<Kris> {
    let assessed_on = fields.parse("facility.kris.assessed_on", vocabulary::date(&given.assessed_on))?;
    fields.require("facility.kris.assessed_on", assessed_on <= today, "must not lie in the future");
    let met = [
        given.building,
        given.ventilation,
        given.lighting,
        given.beds,
        given.bedside_tables,
        given.temperature,
        given.separation,
        given.density,
        given.curtains,
        given.bathroom,
        given.accessible_bathroom,
        given.oxygen,
    ];
    Some(Kris { assessed_on, met })
}

/// The preconditions that a facility attests.
pub(super) fn preconditions(fields: &mut Fields, given: Option<pb::Preconditions>) -> Attested {
    fields.require("preconditions", given.is_some(), "must be given");
    let given = given.unwrap_or_default();
    let percent = given.licensed_medical_staff_percent;
    fields.require(
        "preconditions.licensed_medical_staff_percent",
        (0..=100).contains(&percent),
        "must be 0 to 100",
    );
    for (name, months) in [
        ("quality_indicator_months", given.quality_indicator_months),
        ("incident_report_months", given.incident_report_months),
    ] {
        fields.require(format!("preconditions.{name}"), (0..=1200).contains(&months), "must be 0 to 1200");
    }
    Attested {
        equipment_registry_updated: given.equipment_registry_updated,
        all_staff_registered: given.all_staff_registered,
        licensed_percent: percent,
        quality_months: given.quality_indicator_months,
        incident_months: given.incident_report_months,
    }
}

/// When and by whom a survey is or was held.
pub(super) fn visit(
    fields: &mut Fields,
    from: &str,
    to: &str,
    days_on_site: i32,
    surveyor_numbers: &[String],
) -> Option<Visit> {
    let from = fields.parse("from", vocabulary::date(from));
    let to = fields.parse("to", vocabulary::date(to));
    if let (Some(from), Some(to)) = (from, to) {
        let days = (to - from).get_days() + 1;
        fields.require("to", (1..=60).contains(&days), "must not be before from, nor more than 60 days long");
        fields.require(
            "days_on_site",
            (0..=days.max(0)).contains(&days_on_site),
            "must be 0 to the days of the survey",
        );
    }
    let mut surveyors = BTreeSet::new();
    if surveyor_numbers.len() > MOST_SURVEYORS {
        fields.wrong("surveyor_numbers", format!("must be at most {MOST_SURVEYORS}"));
    } else {
        for (index, number) in surveyor_numbers.iter().enumerate() {
            let path = format!("surveyor_numbers[{index}]");
            if let Some(number) = fields.parse(path.clone(), vocabulary::text(number, 30)) {
                fields.require(path, surveyors.insert(number), "must stand once only");
            }
        }
    }
    Some(Visit { from: from?, to: to?, days_on_site, surveyors: surveyors.into_iter().collect() })
}

/// The scores of the elements of a chapter.
pub(super) fn elements(fields: &mut Fields, given: &[pb::ElementScore]) -> Vec<(String, Fulfilment)> {
    if given.is_empty() || given.len() > MOST_ELEMENTS {
        fields.wrong("elements", format!("must be 1 to {MOST_ELEMENTS}"));
        return Vec::new();
    }
    let mut seen = BTreeSet::new();
    let mut read = Vec::with_capacity(given.len());
    for (index, element) in given.iter().enumerate() {
        let path = format!("elements[{index}]");
        let code = fields.parse(format!("{path}.element"), vocabulary::text(&element.element, 20));
        let fulfilment =
            Fulfilment::from_number(element.fulfilment).ok_or("must say how far it is fulfilled");
        let fulfilment = fields.parse(format!("{path}.fulfilment"), fulfilment);
        if let (Some(code), Some(fulfilment)) = (code, fulfilment) {
            fields.require(format!("{path}.element"), seen.insert(code.clone()), "must stand once only");
            read.push((code, fulfilment));
        }
    }
    read
}
