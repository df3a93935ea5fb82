//! From the words of the domain to the messages of the contract.

use jiff::civil::Date;
use proto::accreditation::v1 as pb;

use crate::{
    certificate::Certificate,
    contract::{self, Period},
    facility::{Facility, HospitalClass, Kris, Stratum},
    survey::Survey,
};

fn day(day: Option<Date>) -> String {
    day.map(|day| day.to_string()).unwrap_or_default()
}

/// A facility as of a day, without the history of its contracts.
pub(super) fn facility(facility: &Facility, today: Date) -> pb::Facility {
    pb::Facility {
        facility_code: facility.code.clone(),
        moh_code: facility.moh_code.clone().unwrap_or_default(),
        satusehat_organization_id: facility.satusehat_organization_id.clone().unwrap_or_default(),
        name: facility.name.clone(),
        kind: facility.kind.number(),
        level: facility.kind.level().number(),
        hospital_class: facility.hospital_class.map_or(0, HospitalClass::number),
        ownership: facility.ownership.number(),
        region_code: facility.region_code.clone(),
        province_code: facility.region_code.chars().take(2).collect(),
        location: facility
            .location
            .map(|location| pb::Location { latitude: location.latitude, longitude: location.longitude }),
        services: facility
            .services
            .iter()
            .map(|offered| pb::ServiceOffered {
                poli_code: offered.poli_code.clone(),
                stratum: offered.stratum.map_or(0, Stratum::number),
            })
            .collect(),
        contract: contract::shown(&facility.contracts, today).map(period),
        contract_history: Vec::new(),
        kris: facility.kris.map(kris),
        revision: facility.revision,
    }
}

/// A facility with the history of its contracts, newest first.
pub(super) fn facility_with_history(known: &Facility, today: Date) -> pb::Facility {
    let history = known.contracts.iter().rev().copied().map(period).collect();
    pb::Facility { contract_history: history, ..facility(known, today) }
}

/// A contract.
pub(super) fn period(period: Period) -> pb::Contract {
    pb::Contract { from: period.from.to_string(), to: day(period.to) }
}

fn kris(kris: Kris) -> pb::KrisAssessment {
    let [
        building,
        ventilation,
        lighting,
        beds,
        bedside_tables,
        temperature,
        separation,
        density,
        curtains,
        bathroom,
        accessible_bathroom,
        oxygen,
    ] = kris.met;
    pb::KrisAssessment {
        assessed_on: kris.assessed_on.to_string(),
        building,
        ventilation,
        lighting,
        beds,
        bedside_tables,
        temperature,
        separation,
        density,
        curtains,
        bathroom,
        accessible_bathroom,
        oxygen,
    }
}

/// A survey. `order` are the chapters of its grading table; others come after these.
pub(super) fn survey(survey: &Survey, order: &[String]) -> pb::Survey {
    let small = |number: u32| i32::try_from(number).unwrap_or(i32::MAX);
    let mut chapters: Vec<_> = survey.chapters.iter().collect();
    let place = |code: &str| order.iter().position(|known| known == code).unwrap_or(order.len());
    chapters.sort_by_key(|(code, ..)| place(code));
    pb::Survey {
        survey_id: survey.id.to_string(),
        facility_code: survey.facility_code.clone(),
        state: survey.state.number(),
        applied_on: survey.applied_on.to_string(),
        renewal: survey.renewal,
        applied_late: survey.applied_late,
        preconditions: Some(pb::Preconditions {
            equipment_registry_updated: survey.attested.equipment_registry_updated,
            all_staff_registered: survey.attested.all_staff_registered,
            licensed_medical_staff_percent: survey.attested.licensed_percent,
            quality_indicator_months: survey.attested.quality_months,
            incident_report_months: survey.attested.incident_months,
        }),
        surveyor_institution: survey.institution.clone().unwrap_or_default(),
        surveyor_numbers: survey.visit.as_ref().map(|visit| visit.surveyors.clone()).unwrap_or_default(),
        from: day(survey.visit.as_ref().map(|visit| visit.from)),
        to: day(survey.visit.as_ref().map(|visit| visit.to)),
        days_on_site: survey.visit.as_ref().map_or(0, |visit| visit.days_on_site),
        chapters: chapters
            .into_iter()
            .map(|(chapter, score, elements)| pb::ChapterScore {
                chapter: chapter.clone(),
                points: small(score.points),
                max_points: small(score.max),
                elements: i32::try_from(*elements).unwrap_or(i32::MAX),
                percent_hundredths: small(score.percent_hundredths()),
            })
            .collect(),
        grade: survey.decision.map_or(0, |(grade, _)| grade.number()),
        decided_on: day(survey.decision.map(|(_, on)| on)),
        certificate_number: survey.certificate_number.clone().unwrap_or_default(),
    }
}

/// A certificate.
pub(super) fn certificate(certificate: &Certificate) -> pb::Certificate {
    pb::Certificate {
        certificate_number: certificate.number.clone(),
        facility_code: certificate.facility_code.clone(),
        grade: certificate.grade.number(),
        valid_from: certificate.valid_from.to_string(),
        valid_to: certificate.valid_to.to_string(),
        apply_by: certificate.apply_by.to_string(),
        revoked_on: day(certificate.revoked_on),
        revocation_note: certificate.revocation_note.clone(),
        survey_id: certificate.survey_id.map(|id| id.to_string()).unwrap_or_default(),
        grading_source: certificate.grading_source.clone(),
    }
}
