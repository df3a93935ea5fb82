//! From the words of the contract to the service's own; every wrong field is noted.

use chassis::Fields;
use jiff::civil::Date;
use proto::membership::v1 as pb;
use uuid::Uuid;
use vocabulary::{
    CardNumber, CareClass, FacilityCode, Malformed, Masked, MemberId, Name, Nik, RegionCode, Rupiah, Segment,
    Sex,
};

use crate::{
    eligibility::Care,
    family::{self, Ended, Relation},
    fktp_choice::Ground,
    store::Key,
};

const ADDRESS_LENGTH: usize = 200;
const KEY_LENGTH: usize = 64;
/// More than any wage, and far from the end of the numbers.
const HIGHEST_RUPIAH: i64 = 1_000_000_000_000;

/// A person as given.
#[derive(Debug, Clone)]
pub(crate) struct Person {
    pub(crate) nik: Nik,
    pub(crate) name: Name,
    pub(crate) birth_date: Date,
    pub(crate) sex: Sex,
    pub(crate) relation: Relation,
    pub(crate) region: RegionCode,
    pub(crate) address: Masked<String>,
    pub(crate) phone: Masked<String>,
    pub(crate) fktp: FacilityCode,
    pub(crate) student: bool,
}

/// Terms as given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Terms {
    pub(crate) segment: Segment,
    pub(crate) class: Option<CareClass>,
    pub(crate) wage: Rupiah,
}

/// A closed set of words that is no known value, or none.
fn word<T>(found: Option<T>, words: &'static str) -> Result<T, Malformed> {
    found.ok_or_else(|| Malformed::new(words))
}

pub(crate) fn segment(number: i32) -> Result<Segment, Malformed> {
    let found = Segment::ALL.into_iter().find(|segment| super::map::segment(*segment) as i32 == number);
    word(found, "a segment: PBI, PEMDA, PPU_PN, PPU_BU, PBPU or BP")
}

/// `None` when no class is given.
pub(crate) fn class(number: i32) -> Result<Option<CareClass>, Malformed> {
    if number == 0 {
        return Ok(None);
    }
    let found = CareClass::ALL.into_iter().find(|class| super::map::class(*class) as i32 == number);
    word(found, "a care class: 1, 2 or 3").map(Some)
}

fn sex(number: i32) -> Result<Sex, Malformed> {
    let found = match pb::Sex::try_from(number) {
        Ok(pb::Sex::Male) => Some(Sex::Male),
        Ok(pb::Sex::Female) => Some(Sex::Female),
        _ => None,
    };
    word(found, "a sex: MALE or FEMALE")
}

fn relation(number: i32) -> Result<Relation, Malformed> {
    let found = Relation::ALL.into_iter().find(|one| super::map::relation(one.as_str()) as i32 == number);
    word(found, "a relation: HEAD, SPOUSE, CHILD or OTHER")
}

pub(crate) fn ended(number: i32) -> Result<Ended, Malformed> {
    let found = match pb::MembershipStatus::try_from(number) {
        Ok(pb::MembershipStatus::Deceased) => Some(Ended::Deceased),
        Ok(pb::MembershipStatus::Abroad) => Some(Ended::Abroad),
        Ok(pb::MembershipStatus::Duplicate) => Some(Ended::Duplicate),
        _ => None,
    };
    word(found, "why the membership ended: DECEASED, ABROAD or DUPLICATE")
}

pub(crate) fn ground(number: i32) -> Result<Ground, Malformed> {
    let found = [Ground::Choice, Ground::Moved, Ground::Assigned]
        .into_iter()
        .find(|ground| super::map::ground(*ground) as i32 == number);
    word(found, "a ground: CHOICE, MOVED or ASSIGNED")
}

/// Out-patient care when nothing is said.
pub(crate) fn care(number: i32) -> Result<Care, Malformed> {
    let found = match pb::CareType::try_from(number) {
        Ok(pb::CareType::Inpatient) => Some(Care::Inpatient),
        Ok(pb::CareType::Outpatient | pb::CareType::Unspecified) => Some(Care::Outpatient),
        _ => None,
    };
    word(found, "a kind of care: INPATIENT or OUTPATIENT")
}

/// A regency or city.
pub(crate) fn region(text: &str) -> Result<RegionCode, Malformed> {
    RegionCode::parse(text)
        .ok()
        .filter(|region| !region.is_province())
        .ok_or_else(|| Malformed::new("the Kemendagri code of an existing regency or city, 4 digits"))
}

pub(crate) fn address(text: &str) -> Result<Masked<String>, Malformed> {
    if text.is_empty() {
        return Ok(Masked::default());
    }
    vocabulary::text(text, ADDRESS_LENGTH).map(Masked::new)
}

pub(crate) fn phone(text: &str) -> Result<Masked<String>, Malformed> {
    let digits = text.strip_prefix('+').unwrap_or(text);
    let fits = text.is_empty()
        || ((8..=15).contains(&digits.len())
            && digits.bytes().all(|b| b.is_ascii_digit())
            && (text.starts_with('+') != digits.starts_with('0')));
    if fits {
        Ok(Masked::new(text.to_owned()))
    } else {
        Err(Malformed::new("a telephone number of 8 to 15 digits that begins with + or 0, or empty"))
    }
}

/// A key of the sender's own.
pub(crate) fn key(text: &str) -> Result<String, Malformed> {
    let fits = (1..=KEY_LENGTH).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'/' | b'-'));
    if fits {
        Ok(text.to_owned())
    } else {
        Err(Malformed::new(format!("1 to {KEY_LENGTH} letters, digits or any of . _ / -")))
    }
}

pub(crate) fn family_id(text: &str) -> Result<Uuid, Malformed> {
    let found = if text.len() == 36 { Uuid::try_parse(text).ok() } else { None };
    found.ok_or_else(|| Malformed::new("a UUID in its form of 36 characters"))
}

pub(crate) fn rupiah(amount: i64) -> Result<Rupiah, Malformed> {
    Rupiah::new(amount)
        .ok()
        .filter(|rupiah| rupiah.get() <= HIGHEST_RUPIAH)
        .ok_or_else(|| Malformed::new(format!("an amount in whole rupiah, 0 to {HIGHEST_RUPIAH}")))
}

/// A day that is not after today; today when it is left out.
pub(crate) fn past_day(fields: &mut Fields, path: &str, text: &str, today: Date) -> Option<Date> {
    if text.is_empty() {
        return Some(today);
    }
    let day = fields.parse(path, vocabulary::date(text))?;
    fields.require(path, day <= today, "must not lie in the future");
    Some(day)
}

/// Exactly one name of a member must be given.
pub(crate) fn known(
    fields: &mut Fields,
    key: Option<(&str, Result<Key, Malformed>)>,
    names: &str,
) -> Option<Key> {
    match key {
        Some((path, parsed)) => fields.parse(path, parsed),
        None => {
            fields.wrong(names.split(' ').next().unwrap_or(names), format!("give one of {names}"));
            None
        }
    }
}

pub(crate) fn member_key(text: &str) -> Result<Key, Malformed> {
    MemberId::parse(text).map(Key::Member)
}

pub(crate) fn card_key(text: &str) -> Result<Key, Malformed> {
    CardNumber::parse(text).map(Key::Card)
}

pub(crate) fn nik_key(text: &str) -> Result<Key, Malformed> {
    Nik::parse(text).map(Key::Nik)
}

/// Reads a person; `path` is where it stands, e.g. `members[2]`.
pub(crate) fn person(fields: &mut Fields, path: &str, given: &pb::NewMember, today: Date) -> Option<Person> {
    let at = |name: &str| format!("{path}.{name}");
    let nik = fields.parse(at("nik"), Nik::parse(&given.nik));
    let name = fields.parse(at("name"), Name::parse(&given.name));
    let birth_date = fields.parse(at("birth_date"), vocabulary::date(&given.birth_date));
    fields.require(at("birth_date"), birth_date.is_none_or(|day| day <= today), "must not lie in the future");
    let sex = fields.parse(at("sex"), sex(given.sex));
    let relation = fields.parse(at("relation"), relation(given.relation));
    let region = fields.parse(at("region_code"), region(&given.region_code));
    let address = fields.parse(at("address"), address(&given.address));
    let phone = fields.parse(at("phone"), phone(&given.phone));
    let fktp = fields.parse(at("fktp_code"), FacilityCode::parse(&given.fktp_code));
    Some(Person {
        nik: nik?,
        name: name?,
        birth_date: birth_date?,
        sex: sex?,
        relation: relation?,
        region: region?,
        address: address?,
        phone: phone?,
        fktp: fktp?,
        student: given.student,
    })
}

/// Reads terms.
pub(crate) fn terms(fields: &mut Fields, path: &str, given: Option<&pb::FamilyTerms>) -> Option<Terms> {
    let Some(given) = given else {
        fields.wrong(path, "must be given");
        return None;
    };
    let at = |name: &str| format!("{path}.{name}");
    let segment = fields.parse(at("segment"), segment(given.segment));
    let class = fields.parse(at("care_class"), class(given.care_class));
    let wage = fields.parse(at("monthly_wage_rupiah"), rupiah(given.monthly_wage_rupiah));
    if let (Some(segment), Some(wage)) = (segment, wage) {
        let fits = family::has_wage(segment) == (wage > Rupiah::ZERO);
        fields.require(
            at("monthly_wage_rupiah"),
            fits,
            "must be above 0 for PPU_PN and PPU_BU, and 0 for all others",
        );
    }
    Some(Terms { segment: segment?, class: class?, wage: wage? })
}
