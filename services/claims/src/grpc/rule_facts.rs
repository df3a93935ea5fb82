//! The facts of a claim out of what is stored: messages are read, nothing is judged.

use chassis::time;
use jiff::{ToSpan, Unit, civil::Date};
use prost::Message as _;
use proto::{accreditation::v1 as siaf, claims::v1 as pb, referral::v1 as sisrute};
use sha2::{Digest, Sha256};

use crate::{
    error::Error,
    rules::facts::{Facts, PcareRecord, Recent, Referral, Standing},
    store::seen::{Episode, Seen},
};

/// A bill of fewer components than these is shared by many for good reasons.
const FEWEST_PARTS: usize = 3;

fn unreadable<T>(what: &'static str) -> impl FnOnce(T) -> Error {
    move |_| Error::Unreadable(what)
}

/// The letter of the SEP of a claim.
///
/// # Errors
/// When it cannot be read.
pub(super) fn letter(seen: &Seen) -> Result<Box<pb::Sep>, Error> {
    pb::Sep::decode(seen.letter.as_slice()).map(Box::new).map_err(unreadable("SEP"))
}

/// The facts of a claim.
///
/// # Errors
/// When it has no data, or what is stored cannot be read.
pub(super) fn facts(seen: &Seen, letter: &pb::Sep) -> Result<Facts, Error> {
    let data = seen.claim.data.as_deref().ok_or(Error::DataMissing)?;
    let data = pb::ClaimData::decode(data).map_err(unreadable("claim"))?;
    let (package, severity) = package(seen.claim.grouping.as_deref())?;
    let admitted_at = data.admitted_at.as_ref().and_then(time::from_proto);
    let discharged_at = data.discharged_at.as_ref().and_then(time::from_proto);
    let (Some(admitted_at), Some(discharged_at)) = (admitted_at, discharged_at) else {
        return Err(Error::Unreadable("claim"));
    };
    let (admitted_on, discharged_on) = (time::today_at(admitted_at), time::today_at(discharged_at));
    let birth_date: Date = data.birth_date.parse().map_err(unreadable("claim"))?;
    let age = birth_date.until((Unit::Year, admitted_on)).map_err(unreadable("claim"))?;
    let amounts = amounts(data.charges.as_ref());
    let standing = seen.standing.as_deref().map(|answer| standing(answer, discharged_on)).transpose()?;
    let answer = seen
        .referral
        .as_deref()
        .map(sisrute::CheckReferralResponse::decode)
        .transpose()
        .map_err(unreadable("evidence"))?;
    let own = Own { seen, data: &data, package: &package, discharged_on };
    Ok(Facts {
        service_date: seen.claim.service_date,
        care: care(seen.claim.care_type),
        sex: word(data.sex().as_str_name(), "SEX_"),
        age_years: age.get_years().into(),
        age_days: days(birth_date, admitted_on),
        admission_route: word(data.admission_route().as_str_name(), "ADMISSION_ROUTE_"),
        discharge: word(data.discharge_status().as_str_name(), "DISCHARGE_STATUS_"),
        stay_days: days(admitted_on, discharged_on) + 1,
        stay_hours: discharged_at.duration_since(admitted_at).as_hours(),
        icu_days: data.icu_days.into(),
        ventilator_hours: data.ventilator_hours.into(),
        birth_weight_gram: data.birth_weight_gram.into(),
        primary: data.primary_diagnosis.clone(),
        secondary: data.secondary_diagnoses.clone(),
        procedures: data.procedures.clone(),
        has_sitb_number: !data.sitb_number.is_empty(),
        documents: data
            .documents
            .iter()
            .map(|document| word(document.kind().as_str_name(), "DOCUMENT_KIND_"))
            .collect(),
        severity: severity.into(),
        tariff_rupiah: seen.claim.tariff_rupiah.unwrap_or_default(),
        charges_rupiah: amounts.iter().fold(0, |sum: i64, amount| sum.saturating_add(*amount)),
        charge_parts: i64::try_from(parts(&amounts)).unwrap_or_default(),
        clinic: letter.poli_code.clone(),
        emergency: letter.entry() == pb::Entry::Emergency,
        with_referral: !letter.referral_number.is_empty(),
        initial_diagnosis: letter.initial_diagnosis.clone(),
        facility_class: letter.hospital_class.clone(),
        identical_bills: seen.identical_bills,
        doctor_visits: seen.doctor_visits,
        standing,
        referral: answer.as_ref().map(referral),
        pcare: answer
            .as_ref()
            // What was recorded on the card is the member's, not of a newborn on it.
            .filter(|_| letter.newborn_order == 0)
            .and_then(|answer| pcare(answer, seen.claim.service_date).transpose())
            .transpose()?,
        episodes: seen
            .episodes
            .iter()
            .filter(|episode| i32::from(episode.newborn_order) == letter.newborn_order)
            .map(|episode| own.relative(episode, letter))
            .collect::<Result<_, _>>()?,
        package,
    })
}

/// The claim to which other episodes are told relative.
struct Own<'a> {
    seen: &'a Seen,
    data: &'a pb::ClaimData,
    package: &'a str,
    discharged_on: Date,
}

impl Own<'_> {
    fn relative(&self, other: &Episode, letter: &pb::Sep) -> Result<Recent, Error> {
        let data =
            other.data.as_deref().map(pb::ClaimData::decode).transpose().map_err(unreadable("claim"))?;
        let (other_package, _) = package(other.grouping.as_deref())?;
        let begun = self.seen.claim.service_date;
        let ended = data.as_ref().and_then(|data| data.discharged_at.as_ref()).and_then(time::from_proto);
        let ended = ended.map(time::today_at);
        let both_inpatient =
            [self.seen.claim.care_type, other.care_type] == [pb::CareType::Inpatient as i16; 2];
        let overlaps = other.service_date < self.discharged_on
            && match ended {
                Some(ended) => begun < ended,
                // Nobody knows yet when it ended: it is in the way only when it began within this stay.
                None => begun < other.service_date,
            };
        let same_facility = other.facility_code == self.seen.claim.facility_code;
        let category = |data: &pb::ClaimData| data.primary_diagnosis.get(..3).map(str::to_owned);
        let (own_charges, charges) =
            (self.data.charges.as_ref(), data.as_ref().and_then(|data| data.charges.as_ref()));
        Ok(Recent {
            care: care(other.care_type),
            days_before: days(other.service_date, begun),
            days_since_discharge: days(ended.unwrap_or(other.service_date), begun),
            overlaps: both_inpatient && overlaps,
            same_facility,
            same_clinic: same_facility && other.clinic == letter.poli_code,
            emergency: other.emergency,
            claimed: data.is_some(),
            died: data.as_ref().is_some_and(|data| data.discharge_status() == pb::DischargeStatus::Died),
            same_package: !other_package.is_empty() && other_package == self.package,
            package: other_package,
            same_category: data.as_ref().and_then(category).is_some_and(|of| Some(of) == category(self.data)),
            same_charges: same_facility && charges.is_some() && charges == own_charges,
        })
    }
}

fn care(number: i16) -> String {
    if number == pb::CareType::Inpatient as i16 { "inpatient" } else { "outpatient" }.to_owned()
}

/// The name of an enum value as the rules write it.
fn word(name: &str, prefix: &str) -> String {
    let mut word = name.strip_prefix(prefix).unwrap_or(name).replace('_', "-");
    word.make_ascii_lowercase();
    word
}

fn days(from: Date, to: Date) -> i64 {
    from.until(to).map(|span| span.get_days().into()).unwrap_or_default()
}

/// Package without severity, and severity; nothing for what is not grouped.
fn package(grouping: Option<&[u8]>) -> Result<(String, i32), Error> {
    let Some(grouping) = grouping else { return Ok((String::new(), 0)) };
    let grouping = pb::Grouping::decode(grouping).map_err(unreadable("grouping"))?;
    if grouping.ungroupable_reason() != pb::UngroupableReason::Unspecified {
        return Ok((String::new(), 0));
    }
    let package = grouping.cbg_code.rsplit_once('-').map_or("", |(package, _)| package).to_owned();
    Ok((package, grouping.severity))
}

fn standing(answer: &[u8], discharged_on: Date) -> Result<Standing, Error> {
    let answer = siaf::GetAccreditationStatusResponse::decode(answer).map_err(unreadable("evidence"))?;
    let status = answer.status.unwrap_or_default();
    // A certificate without an end ends on no day of the stay.
    let outlasts = status.valid_to.parse::<Date>().map_or(true, |to| discharged_on <= to);
    Ok(Standing {
        contracted: status.contracted,
        certificate_required: status.certificate_required,
        certified: status.certified,
        certified_at_discharge: status.certified && outlasts,
    })
}

fn referral(answer: &sisrute::CheckReferralResponse) -> Referral {
    Referral {
        from_fktp: answer.origin_kind() == sisrute::OriginKind::Fktp,
        after_visit: !answer.origin_visit_number.is_empty(),
    }
}

fn pcare(answer: &sisrute::CheckReferralResponse, service_date: Date) -> Result<Option<PcareRecord>, Error> {
    let Some(record) = &answer.first_level_record else { return Ok(None) };
    let date = |text: &str| text.parse::<Date>().map_err(unreadable("evidence"));
    // What is not in the record was last done, if ever, the day before it begins.
    let before = date(&record.from_date)?.saturating_sub(1.day());
    let days_since = |day: &str| -> Result<i64, Error> {
        Ok(days(if day.is_empty() { before } else { date(day)? }, service_date))
    };
    let pressure = record.blood_pressure.as_ref();
    Ok(Some(PcareRecord {
        anc_contacts: record.antenatal_contacts.into(),
        anc_contacts_with_pressure: record.antenatal_contacts_with_pressure.into(),
        hb_tested: record.haemoglobin_tested,
        iron_tablets: record.iron_tablets.into(),
        systolic: pressure.map(|pressure| pressure.systolic_mmhg.into()),
        diastolic: pressure.map(|pressure| pressure.diastolic_mmhg.into()),
        days_since_pressure: days_since(pressure.map_or("", |pressure| &pressure.taken_on))?,
        days_since_glucose: days_since(&record.glucose_tested_on)?,
        fasting_glucose_mg: record.fasting_glucose_mg_dl.map(i64::from),
        referred_with_tacc: answer.tacc() != sisrute::Tacc::Unspecified,
        diagnoses: record.diagnosis_codes.clone(),
        drugs: record.drug_atc_codes.clone(),
        tb_drugs: record.tuberculosis_atc_codes.clone(),
    }))
}

/// The components of the charges, in the order of e-Klaim; each is bounded, so that their sum fits.
pub(super) fn amounts(charges: Option<&pb::HospitalCharges>) -> [i64; 18] {
    charges.map_or([0; 18], |c| {
        [
            c.non_surgical_procedure_rupiah,
            c.surgical_procedure_rupiah,
            c.consultation_rupiah,
            c.expert_rupiah,
            c.nursing_rupiah,
            c.supporting_service_rupiah,
            c.radiology_rupiah,
            c.laboratory_rupiah,
            c.blood_service_rupiah,
            c.rehabilitation_rupiah,
            c.room_rupiah,
            c.intensive_care_rupiah,
            c.drug_rupiah,
            c.chronic_drug_rupiah,
            c.chemotherapy_drug_rupiah,
            c.device_rupiah,
            c.consumable_rupiah,
            c.device_rental_rupiah,
        ]
    })
}

fn parts(amounts: &[i64]) -> usize {
    amounts.iter().filter(|amount| **amount > 0).count()
}

/// A bill as one number; `None` when it has too few components to be told from others.
pub(super) fn bill(charges: Option<&pb::HospitalCharges>) -> Option<i64> {
    let amounts = amounts(charges);
    if parts(&amounts) < FEWEST_PARTS {
        return None;
    }
    let mut hash = Sha256::new();
    amounts.iter().for_each(|amount| hash.update(amount.to_be_bytes()));
    let digest: [u8; 32] = hash.finalize().into();
    digest.first_chunk::<8>().map(|first| i64::from_be_bytes(*first))
}
