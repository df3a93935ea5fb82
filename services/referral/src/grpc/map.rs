//! Words and letters between the wire and the domain.

use chassis::{Fields, time::to_proto};
use prost::Message as _;
use proto::referral::v1 as pb;
use vocabulary::FacilityCode;

use crate::{
    capacity::{Capacity, Slot},
    course::{Now, State, Terms},
    error::Error,
    letter::{
        BackReferral, CareType, Criterion, LadderExemption, Letter, OriginKind, Outcome, Reader,
        ReferralType, RefusalReason, Tacc,
    },
    usable::Unusable,
};

/// The same closed set on the wire and in the domain.
macro_rules! same_words {
    ($($name:ident { $($word:ident),* $(,)? })*) => { $(
        impl From<$name> for pb::$name {
            fn from(word: $name) -> Self {
                match word { $($name::$word => Self::$word,)* }
            }
        }

        impl TryFrom<pb::$name> for $name {
            type Error = ();

            fn try_from(word: pb::$name) -> Result<Self, ()> {
                match word {
                    pb::$name::Unspecified => Err(()),
                    $(pb::$name::$word => Ok(Self::$word),)*
                }
            }
        }
    )* };
}

same_words! {
    CareType { Outpatient, Inpatient, Emergency }
    ReferralType { Full, Partial, Back }
    Tacc { Time, Age, Complication, Comorbidity }
    LadderExemption { Specificity, Geography, Availability }
    OriginKind { Fktp, Hospital }
    Outcome { ReferredBack, CareContinues, ReferredOnward, Died }
    RefusalReason { NoCapacity, NoSpecialist, NoEquipment, PatientNotStable, Other }
}

/// What is said of a word of a closed set that is missing or unknown.
pub(super) const NOT_SAID: &str = "must be one of the values that the contract lists";

/// A word that must be given.
pub(super) fn word<W, P>(fields: &mut Fields, path: &str, given: i32) -> Option<W>
where
    P: TryFrom<i32>,
    W: TryFrom<P, Error = ()>,
{
    let parsed = P::try_from(given).ok().and_then(|word| W::try_from(word).ok());
    fields.require(path, parsed.is_some(), NOT_SAID);
    parsed
}

/// A word that may be left out; an unknown one is noted.
pub(super) fn optional_word<W, P>(fields: &mut Fields, path: &str, given: i32) -> Option<W>
where
    P: TryFrom<i32>,
    W: TryFrom<P, Error = ()>,
{
    if given == 0 { None } else { word::<W, P>(fields, path, given) }
}

/// A text that may be empty, of at most so many characters.
pub(super) fn optional_text(fields: &mut Fields, path: &str, given: &str, max: usize) -> String {
    if given.is_empty() {
        String::new()
    } else {
        fields.parse(path, vocabulary::text(given, max)).unwrap_or_default()
    }
}

/// The facility a call is about: a facility's own, which it may leave out; for others the one they name. A facility
/// that names another is told so.
pub(super) fn own_facility(
    fields: &mut Fields,
    path: &str,
    given: &str,
    own: Option<&str>,
) -> Option<FacilityCode> {
    let code = match (given, own) {
        ("", Some(own)) => own,
        (given, _) => given,
    };
    let code = fields.parse(path, FacilityCode::parse(code))?;
    if own.is_some_and(|own| own != code.as_str()) {
        fields.wrong(path, "must be the caller's own facility code, or empty");
        return None;
    }
    Some(code)
}

/// A letter as its reader may see it.
pub(super) fn referral(
    letter: &Letter,
    terms: &Terms,
    now: Now,
    reader: Reader<'_>,
) -> Result<pb::Referral, Error> {
    let mut shown = administrative(letter, terms, now);
    if letter.shows_clinical_fields_to(reader) {
        shown.diagnosis_code = letter.diagnosis.as_str().to_owned();
        shown.criterion = Some(match &letter.criterion {
            Criterion::Therapy(text) => pb::referral::Criterion::Therapy(text.expose().clone()),
            Criterion::Procedure(code) => pb::referral::Criterion::ProcedureCode(code.expose().to_string()),
            Criterion::DiagnosticEffort(text) => {
                pb::referral::Criterion::DiagnosticEffort(text.expose().clone())
            }
        });
        shown.tacc = letter.tacc.map_or(pb::Tacc::Unspecified, Into::into).into();
        shown.clinical_summary = letter.summary.expose().clone();
        shown.special_programme = letter.programme.clone().unwrap_or_default();
        shown.cancel_note = letter.cancel_note.expose().clone();
        shown.back_referral = letter.back.as_ref().map(back_referral);
        shown.first_level_record = first_level_record(letter)?;
    }
    Ok(shown)
}

/// What first-level facilities recorded of the patient.
pub(super) fn first_level_record(letter: &Letter) -> Result<Option<pb::FirstLevelRecord>, Error> {
    let record = letter.first_level_record.as_ref();
    record
        .map(|record| pb::FirstLevelRecord::decode(record.expose().as_slice()))
        .transpose()
        .map_err(|_| Error::Unreadable)
}

fn administrative(letter: &Letter, terms: &Terms, now: Now) -> pb::Referral {
    let times = &letter.times;
    pb::Referral {
        referral_number: letter.number.to_string(),
        member_id: letter.member_id.to_string(),
        origin_facility_code: letter.origin.to_string(),
        origin_kind: pb::OriginKind::from(letter.origin_kind).into(),
        origin_visit_number: letter.origin_visit.clone().unwrap_or_default(),
        destination_facility_code: letter.destination.to_string(),
        poli_code: letter.poli.to_string(),
        care_type: pb::CareType::from(letter.care_type).into(),
        referral_type: pb::ReferralType::from(letter.referral_type).into(),
        referral_date: letter.referral_date.to_string(),
        planned_visit_date: letter.planned_visit.to_string(),
        ladder_exemption: letter.exemption.map_or(pb::LadderExemption::Unspecified, Into::into).into(),
        state: state(times.state(terms, now)).into(),
        sent_at: Some(to_proto(times.sent_at)),
        answer_due_at: terms.answer_due_at.map(to_proto),
        accepted_at: times.accepted_at.map(to_proto),
        refused_at: times.refused_at.map(to_proto),
        cancelled_at: times.cancelled_at.map(to_proto),
        arrived_at: times.arrived_at.map(to_proto),
        completed_at: times.completed_at.map(to_proto),
        valid_through: terms.valid_through.to_string(),
        refusal_reason: letter.refusal.map_or(pb::RefusalReason::Unspecified, Into::into).into(),
        // The destination wrote it itself.
        refusal_note: letter.refusal_note.expose().clone(),
        ..pb::Referral::default()
    }
}

fn back_referral(back: &BackReferral) -> pb::BackReferral {
    pb::BackReferral {
        outcome: pb::Outcome::from(back.outcome).into(),
        diagnosis_code: back.diagnosis.as_ref().map_or("", |code| code.as_str()).to_owned(),
        advice: back.advice.expose().clone(),
    }
}

fn state(state: State) -> pb::State {
    match state {
        State::Sent => pb::State::Sent,
        State::Accepted => pb::State::Accepted,
        State::Refused => pb::State::Refused,
        State::Unanswered | State::Lapsed => pb::State::Expired,
        State::Cancelled => pb::State::Cancelled,
        State::Arrived => pb::State::Arrived,
        State::Completed => pb::State::Completed,
    }
}

pub(super) fn unusable(reason: Unusable) -> pb::Unusable {
    match reason {
        Unusable::UnknownNumber => pb::Unusable::UnknownNumber,
        Unusable::ValidityEnded => pb::Unusable::ValidityEnded,
        Unusable::BeforeReferralDate => pb::Unusable::BeforeReferralDate,
        Unusable::OtherFacility => pb::Unusable::OtherFacility,
        Unusable::OtherClinic => pb::Unusable::OtherClinic,
        Unusable::OtherMember => pb::Unusable::OtherMember,
        Unusable::NotAccepted => pb::Unusable::NotAccepted,
        Unusable::Refused => pb::Unusable::Refused,
        Unusable::Cancelled => pb::Unusable::Cancelled,
        Unusable::Completed => pb::Unusable::Completed,
    }
}

pub(super) fn slot(slot: &Slot) -> pb::WeeklySlot {
    pb::WeeklySlot {
        poli_code: slot.poli.to_string(),
        weekday: slot.weekday.into(),
        opens_at: slot.opens.as_str().to_owned(),
        closes_at: slot.closes.as_str().to_owned(),
        quota: slot.quota,
    }
}

pub(super) fn capacity(facility: &FacilityCode, posted: &Capacity) -> pb::Capacity {
    pb::Capacity {
        facility_code: facility.to_string(),
        weekly: posted.weekly.iter().map(slot).collect(),
        days: posted
            .days
            .iter()
            .map(|quota| pb::DayQuota {
                poli_code: quota.poli.to_string(),
                date: quota.day.to_string(),
                quota: quota.quota,
            })
            .collect(),
        beds: posted
            .beds
            .iter()
            .map(|beds| pb::Beds {
                poli_code: beds.poli.to_string(),
                total: beds.total,
                available: beds.available,
            })
            .collect(),
    }
}
