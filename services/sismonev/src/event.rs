//! Reads the events of the other systems into SISMONEV's own words. Events it has no use for are passed over.

use jiff::{Timestamp, civil::Date};
use prost::{Message, Name};
use proto::{
    accreditation::v1 as accreditation, claims::v1 as claims, feed::v1::Event, membership::v1 as membership,
    primary_care::v1 as primary_care,
};

use crate::{count::Happened, roadmap::Edge};

/// An event that cannot be read: a contract was broken.
#[derive(Debug, thiserror::Error)]
#[error("event {event} of type {kind}: {what}")]
pub struct Unreadable {
    event: String,
    kind: String,
    what: String,
}

/// When an event happened.
///
/// # Errors
/// When the event does not say.
pub fn occurred_at(envelope: &Event) -> Result<Timestamp, Unreadable> {
    envelope
        .occurred_at
        .as_ref()
        .and_then(chassis::time::from_proto)
        .ok_or_else(|| unreadable(envelope, "no occurred_at"))
}

/// What happened; none when the event adds to no figure and proves no edge.
///
/// # Errors
/// When the body is not what the type says.
pub fn read(envelope: &Event) -> Result<Option<Happened>, Unreadable> {
    let kind = envelope.r#type.as_str();
    Ok(Some(if kind == accreditation::FacilityRegistered::full_name() {
        match body::<accreditation::FacilityRegistered>(envelope)?.facility {
            Some(facility) => located(facility),
            None => return Ok(None),
        }
    } else if kind == accreditation::FacilityUpdated::full_name() {
        match body::<accreditation::FacilityUpdated>(envelope)?.facility {
            Some(facility) => located(facility),
            None => return Ok(None),
        }
    } else if kind == membership::MemberRegistered::full_name() {
        let told: membership::MemberRegistered = body(envelope)?;
        let from = day(envelope, &told.covered_from)?;
        standing(told.member_id, &told.standing.unwrap_or_default(), from)
    } else if kind == membership::MemberUpdated::full_name() {
        match updated(envelope, body(envelope)?)? {
            Some(happened) => happened,
            None => return Ok(None),
        }
    } else if kind == membership::FktpChanged::full_name() {
        let told: membership::FktpChanged = body(envelope)?;
        let from = day(envelope, &told.effective_from)?;
        Happened::Member { id: told.member_id, fktp: Some(told.fktp_code), segment: None, from }
    } else if kind == primary_care::VisitExamined::full_name() {
        let told: primary_care::VisitExamined = body(envelope)?;
        Happened::Visit {
            day: day(envelope, &told.visit_date)?,
            segment: segment(told.segment()),
            sick: told.kind() == primary_care::VisitKind::Sick,
            facility: told.facility_code,
            number: told.visit_number,
        }
    } else if kind == primary_care::VisitCancelled::full_name() {
        let told: primary_care::VisitCancelled = body(envelope)?;
        let sick = told.kind() == primary_care::VisitKind::Sick;
        Happened::VisitCancelled { number: told.visit_number, sick }
    } else if kind == primary_care::VisitReferred::full_name() {
        let told: primary_care::VisitReferred = body(envelope)?;
        Happened::Referred {
            day: day(envelope, &told.visit_date)?,
            segment: segment(told.segment()),
            facility: told.facility_code,
            referral: told.referral_number,
        }
    } else if kind == claims::SepIssued::full_name() {
        let told: claims::SepIssued = body(envelope)?;
        Happened::Sep {
            day: day(envelope, &told.service_date)?,
            segment: lower(&told.segment),
            care_type: care_type(told.care_type()).to_owned(),
            answers: told.evidence.iter().filter_map(answer).collect(),
            referral: Some(told.referral_number).filter(|number| !number.is_empty()),
            facility: told.facility_code,
            number: told.sep_number,
        }
    } else if kind == claims::SepCancelled::full_name() {
        Happened::SepCancelled { number: body::<claims::SepCancelled>(envelope)?.sep_number }
    } else if kind == claims::ClaimGrouped::full_name() {
        Happened::Grouped { claim: body::<claims::ClaimGrouped>(envelope)?.claim_id }
    } else if kind == claims::ClaimSubmitted::full_name() {
        let told: claims::ClaimSubmitted = body(envelope)?;
        Happened::Submitted {
            day: day(envelope, &told.submitted_on)?,
            segment: lower(&told.segment),
            care_type: care_type(told.care_type()).to_owned(),
            rupiah: told.amount_rupiah,
            claim: told.claim_id,
            sep: told.sep_number,
            facility: told.facility_code,
        }
    } else if kind == claims::ClaimAnswered::full_name() {
        let told: claims::ClaimAnswered = body(envelope)?;
        Happened::Answered { claim: told.claim_id, rupiah: told.amount_rupiah }
    } else if kind == claims::ClaimPaid::full_name() {
        let told: claims::ClaimPaid = body(envelope)?;
        Happened::Paid { day: day(envelope, &told.paid_on)?, claim: told.claim_id }
    } else if kind == claims::DisputeDecided::full_name() {
        let told: claims::DisputeDecided = body(envelope)?;
        // Any other decision leaves the claim open: verified or pending again.
        if told.outcome() != claims::DisputeOutcome::WithoutPayment {
            return Ok(None);
        }
        Happened::Decided { day: day(envelope, &told.decided_on)?, claim: told.claim_id }
    } else {
        return Ok(None);
    }))
}

fn located(facility: accreditation::Facility) -> Happened {
    let class = match facility.hospital_class() {
        accreditation::HospitalClass::Unspecified => {
            lower(facility.kind().as_str_name().trim_start_matches("FACILITY_KIND_"))
        }
        class => lower(class.as_str_name().trim_start_matches("HOSPITAL_CLASS_")),
    };
    let province = facility.region_code.get(..2).unwrap_or_default().to_owned();
    Happened::Facility { code: facility.facility_code, province, class }
}

fn standing(id: String, standing: &membership::Standing, from: Date) -> Happened {
    use membership::MembershipStatus::{Registered, Unspecified};
    if !matches!(standing.status(), Registered | Unspecified) {
        return Happened::MemberLeft { id, from };
    }
    let segment = Some(segment(standing.segment()));
    Happened::Member { id, fktp: Some(standing.fktp_code.clone()), segment, from }
}

/// A change of a record is counted by what it changed: the standing it names is that of one day, and must not undo a
/// facility or a segment that holds from a later one.
fn updated(envelope: &Event, told: membership::MemberUpdated) -> Result<Option<Happened>, Unreadable> {
    let from = day(envelope, &told.effective_from)?;
    let changed = |field: &str| told.changed_fields.iter().any(|one| one == field);
    let after = told.after.unwrap_or_default();
    Ok(match standing(told.member_id, &after, from) {
        Happened::Member { id, segment, from, .. } if changed("segment") => {
            Some(Happened::Member { id, fktp: None, segment, from })
        }
        Happened::Member { .. } => None,
        left => Some(left),
    })
}

fn segment(segment: membership::Segment) -> String {
    match segment {
        membership::Segment::Unspecified => String::new(),
        known => lower(known.as_str_name().trim_start_matches("SEGMENT_")),
    }
}

fn answer(evidence: &claims::Evidence) -> Option<(Edge, String)> {
    // P-Care is proved by its own event together with the SEP that cites its referral.
    [Edge::MembershipVklaim, Edge::VklaimSisrute, Edge::VklaimSiaf]
        .into_iter()
        .find(|edge| edge.name() == evidence.edge)
        .map(|edge| (edge, evidence.answer_id.clone()))
}

fn care_type(care_type: claims::CareType) -> &'static str {
    match care_type {
        claims::CareType::Outpatient => "rjtl",
        claims::CareType::Inpatient => "ritl",
        claims::CareType::Unspecified => "",
    }
}

fn lower(name: &str) -> String {
    name.to_ascii_lowercase().replace('_', "-")
}

fn body<T: Message + Default>(envelope: &Event) -> Result<T, Unreadable> {
    T::decode(envelope.body.clone()).map_err(|error| unreadable(envelope, &error.to_string()))
}

fn day(envelope: &Event, date: &str) -> Result<Date, Unreadable> {
    vocabulary::date(date).map_err(|error| unreadable(envelope, &error.to_string()))
}

fn unreadable(envelope: &Event, what: &str) -> Unreadable {
    Unreadable {
        event: format!("{}/{}", envelope.source, envelope.position),
        kind: envelope.r#type.clone(),
        what: what.to_owned(),
    }
}
