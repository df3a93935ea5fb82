//! The synthetic nation: facilities and families that follow from a seed, a number of members and a day.

use std::collections::{BTreeMap, HashMap};

use accreditation::{
    facility::{HospitalClass, Kind, Ownership, Stratum},
    grading::Grade,
};
use anyhow::Context as _;
use jiff::{ToSpan as _, civil::Date};
use uuid::Uuid;
use vocabulary::{CareClass, FacilityCode, Nik, RegionCode, Rupiah, Segment, Sex};

use super::{
    chance::Chance,
    published::{self, CLINICS_OF, Province},
};

/// The first area of made-up facility codes: BPJS-K numbers its own areas otherwise, so that no real code is met.
const FIRST_AREA: usize = 5001;

/// A facility with its contract and certificate.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Facility {
    pub(crate) code: FacilityCode,
    pub(crate) name: String,
    pub(crate) kind: Kind,
    pub(crate) class: Option<HospitalClass>,
    pub(crate) ownership: Ownership,
    pub(crate) region: RegionCode,
    pub(crate) latitude: f64,
    pub(crate) longitude: f64,
    pub(crate) services: Vec<&'static str>,
    pub(crate) stratum: Option<Stratum>,
    pub(crate) contract_from: Date,
    pub(crate) certified: Option<(Grade, Date)>,
}

impl Facility {
    pub(crate) fn is_hospital(&self) -> bool {
        matches!(self.kind, Kind::Hospital | Kind::SpecialHospital)
    }

    /// Whether a member may register there.
    fn takes_members(&self) -> bool {
        !self.is_hospital() && self.kind != Kind::DentistPractice
    }
}

/// Place of a person in the family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Relation {
    Head,
    Spouse,
    Child,
    Other,
}

/// A family of one segment.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Family {
    pub(crate) id: Uuid,
    pub(crate) segment: Segment,
    pub(crate) class: CareClass,
    pub(crate) wage: Rupiah,
    pub(crate) region: RegionCode,
    /// Index of the first-level facility.
    pub(crate) fktp: usize,
    pub(crate) registered_on: Date,
    /// The first day of the last month that is paid; `None` when the government pays.
    pub(crate) paid_through: Option<Date>,
    pub(crate) members: Vec<Person>,
}

/// A member.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Person {
    pub(crate) id: Uuid,
    pub(crate) nik: Nik,
    pub(crate) name: String,
    pub(crate) birth_date: Date,
    pub(crate) sex: Sex,
    pub(crate) relation: Relation,
}

/// What the nation is drawn from, and its facilities.
#[derive(Debug)]
pub(crate) struct Nation {
    seed: u64,
    today: Date,
    /// Workers with at most this wage have class 2 (policy/membership/family.toml).
    class_2_up_to: Rupiah,
    regions: Vec<(RegionCode, u64)>,
    inhabitants: u64,
    /// The hospitals that run a clinic.
    hospitals: BTreeMap<&'static str, Vec<usize>>,
    pub(crate) facilities: Vec<Facility>,
    /// For each region the facilities that take members.
    registers: Vec<Vec<usize>>,
}

impl Nation {
    /// The facilities of a nation with so many members, as it stands on a day.
    pub(crate) fn new(seed: u64, members: u64, today: Date, class_2_up_to: Rupiah) -> anyhow::Result<Self> {
        let regions: Vec<(RegionCode, u64)> = vocabulary::regencies()
            .map(|region| {
                let province = province(region);
                let siblings =
                    vocabulary::regencies().filter(|other| other.province() == region.province()).count();
                // Inhabitants of the province in parts alike: figures by regency are not carried.
                (region, province.1 * 1000 / siblings as u64)
            })
            .collect();
        let inhabitants = regions.iter().map(|(_, inhabitants)| inhabitants).sum();
        let (facilities, registers, hospitals) = Default::default();
        let mut nation =
            Self { seed, today, class_2_up_to, regions, inhabitants, hospitals, facilities, registers };
        nation.build(members)?;
        nation.registers = nation.regions.iter().map(|(region, _)| nation.registers_of(*region)).collect();
        for (index, hospital) in
            nation.facilities.iter().enumerate().filter(|(_, facility)| facility.is_hospital())
        {
            for poli in &hospital.services {
                nation.hospitals.entry(poli).or_default().push(index);
            }
        }
        Ok(nation)
    }

    /// The stream of chance of a thing in a part of this nation.
    pub(crate) fn chance(&self, part: &str, number: u64) -> Chance {
        Chance::of(self.seed, part, number)
    }

    /// A hospital with the clinic: in the regency, else in the province, else anywhere.
    pub(crate) fn hospital_near(&self, region: RegionCode, poli: &str, chance: &mut Chance) -> Option<usize> {
        let all = self.hospitals.get(poli)?;
        let among = |near: &dyn Fn(RegionCode) -> bool| -> Vec<usize> {
            all.iter().copied().filter(|index| near(self.facilities[*index].region)).collect()
        };
        let here = among(&|other| other == region);
        let near = if here.is_empty() { among(&|other| other.province() == region.province()) } else { here };
        Some(*chance.one_of(if near.is_empty() { all } else { &near }))
    }

    fn registers_of(&self, region: RegionCode) -> Vec<usize> {
        let here = |(index, facility): (usize, &Facility)| {
            (facility.region == region && facility.takes_members()).then_some(index)
        };
        self.facilities.iter().enumerate().filter_map(here).collect()
    }

    /// Facilities in the published density, at least one puskesmas in each regency and one hospital in each province.
    fn build(&mut self, members: u64) -> anyhow::Result<()> {
        let scaled = |count: u64| {
            u64::try_from(u128::from(count) * u128::from(members) / u128::from(published::MEMBERS))
        };
        let everywhere =
            |count: u64, least: usize| Ok::<_, anyhow::Error>(scaled(count)?.saturating_sub(least as u64));
        let private = Ownership::Private;
        let mut plan: Vec<(Kind, Ownership, Option<usize>, u64)> = Vec::new();
        for index in 0..self.regions.len() {
            plan.push((Kind::Puskesmas, Ownership::Regency, Some(index), 1));
            let first_of_province =
                index == 0 || self.regions[index - 1].0.province() != self.regions[index].0.province();
            if first_of_province {
                plan.push((Kind::Hospital, Ownership::Province, Some(index), 1));
            }
        }
        plan.push((
            Kind::Puskesmas,
            Ownership::Regency,
            None,
            everywhere(published::PUSKESMAS, self.regions.len())?,
        ));
        plan.push((Kind::Clinic, private, None, scaled(published::CLINICS)?));
        plan.push((Kind::Clinic, Ownership::ArmedForces, None, scaled(published::ARMED_FORCES_CLINICS)?));
        plan.push((Kind::Clinic, Ownership::Police, None, scaled(published::POLICE_CLINICS)?));
        plan.push((Kind::DoctorPractice, private, None, scaled(published::DOCTORS)?));
        plan.push((Kind::DentistPractice, private, None, scaled(published::DENTISTS)?));
        plan.push((Kind::PratamaHospital, Ownership::Regency, None, scaled(published::PRATAMA_HOSPITALS)?));
        plan.push((
            Kind::Hospital,
            private,
            None,
            everywhere(published::HOSPITALS, published::PROVINCES.len())?,
        ));
        let mut serials = HashMap::new();
        for (part, (kind, ownership, place, count)) in plan.into_iter().enumerate() {
            for number in 0..count {
                let mut chance = Chance::of(self.seed, "facility", (part as u64) << 32 | number);
                let place = place.unwrap_or_else(|| self.place(&mut chance));
                let letter = letter(kind);
                let serial = serials.entry((place, letter)).and_modify(|serial| *serial += 1).or_insert(1);
                let code = format!("{:04}{letter}{serial:03}", FIRST_AREA + place);
                let code = FacilityCode::parse(&code).context("more facilities in a regency than codes")?;
                let facility = self.facility(&mut chance, code, kind, ownership, place, *serial);
                self.facilities.push(facility);
            }
        }
        Ok(())
    }

    fn facility(
        &self,
        chance: &mut Chance,
        code: FacilityCode,
        kind: Kind,
        ownership: Ownership,
        place: usize,
        serial: u32,
    ) -> Facility {
        let region = self.regions[place].0;
        let province = province(region);
        let near = |middle: f64, chance: &mut Chance| middle + chance.between(-600, 600) as f64 / 1000.0;
        let (latitude, longitude) = (near(province.2, chance), near(province.3, chance));
        let class = (kind == Kind::Hospital).then(|| *chance.weighted(&published::HOSPITAL_CLASSES));
        let services = match class {
            Some(class) => clinics_of(class),
            None if kind == Kind::DentistPractice => vec!["GIG"],
            None => vec!["UMU"],
        };
        let stratum = class.map(|class| match class {
            "A" => Stratum::Paripurna,
            "B" => Stratum::Utama,
            "C" => Stratum::Madya,
            _ => Stratum::Dasar,
        });
        // Decided within the last four years and eight months: all are valid, some expire soon.
        let decided_on = self.today.saturating_sub(chance.between(30, 1700).days());
        let must = !matches!(kind, Kind::DoctorPractice | Kind::DentistPractice);
        let grades = [(Grade::Paripurna, 35), (Grade::Utama, 40), (Grade::Madya, 25)];
        let certified = must.then(|| (*chance.weighted(&grades), decided_on));
        let contract_from = Date::constant(2014 + i16::try_from(chance.below(6)).unwrap_or(0), 1, 1);
        let title = match kind {
            Kind::Puskesmas => "Puskesmas",
            Kind::Clinic => "Klinik Pratama",
            Kind::DoctorPractice => "Praktik Dokter",
            Kind::DentistPractice => "Praktik Dokter Gigi",
            Kind::PratamaHospital => "RS Kelas D Pratama",
            _ if ownership == Ownership::Province => "RSUD",
            _ => "RS",
        };
        Facility {
            name: format!("{title} {} {serial}", region.name()),
            class: class.and_then(HospitalClass::parse),
            code,
            kind,
            ownership,
            region,
            latitude,
            longitude,
            services,
            stratum,
            contract_from,
            certified,
        }
    }

    /// A regency, by its inhabitants.
    fn place(&self, chance: &mut Chance) -> usize {
        let mut left = chance.below(self.inhabitants);
        for (index, (_, weight)) in self.regions.iter().enumerate() {
            if left < *weight {
                return index;
            }
            left -= weight;
        }
        0
    }

    /// The family of a number, at most `most` members of it.
    pub(crate) fn family(&self, number: u64, most: usize) -> anyhow::Result<Family> {
        let mut chance = Chance::of(self.seed, "family", number);
        let chance = &mut chance;
        let id = chance.id(EPOCH_MILLIS + number * 8);
        let place = self.place(chance);
        let region = self.regions[place].0;
        let fktp = *chance.one_of(&self.registers[place]);
        let segment = *chance.weighted(&published::SEGMENTS);
        let worker = matches!(segment, Segment::PpuPn | Segment::PpuBu);
        let wage = if worker { chance.between(25, 150) * 100_000 } else { 0 };
        let wage = Rupiah::new(wage)?;
        let class = match segment {
            Segment::PbiApbn | Segment::PbpuPemda => CareClass::Three,
            Segment::PpuPn | Segment::PpuBu if wage <= self.class_2_up_to => CareClass::Two,
            Segment::PpuPn | Segment::PpuBu => CareClass::One,
            _ => *chance.weighted(&[(CareClass::One, 15), (CareClass::Two, 20), (CareClass::Three, 65)]),
        };
        let this_month = self.today.first_of_month();
        let pays = !matches!(segment, Segment::PbiApbn | Segment::PbpuPemda);
        // Whoever pays has paid once, in advance; how far tells whether the family is in arrears today.
        let ago = if pays { chance.between(5, 11) } else { chance.between(5, 60) };
        let registered_on = this_month.saturating_sub(ago.months());
        let in_arrears =
            segment == Segment::Pbpu && chance.percent(published::SELF_EMPLOYED_IN_ARREARS_PERCENT);
        let short = if in_arrears { chance.between(2, ago) } else { 0 };
        let paid_through = pays.then(|| this_month.saturating_sub(short.months()));
        let size = (*chance.weighted(&published::FAMILY_SIZES)).min(most);
        let head_age = chance.between(23, 70);
        let head_sex = if chance.percent(80) { Sex::Male } else { Sex::Female };
        let mut members: Vec<Person> = Vec::with_capacity(size);
        for place_in_family in 0..size {
            let (relation, age, sex) = match place_in_family {
                0 => (Relation::Head, head_age, head_sex),
                1 => {
                    let other = if head_sex == Sex::Male { Sex::Female } else { Sex::Male };
                    (Relation::Spouse, (head_age + chance.between(-6, 4)).max(19), other)
                }
                // Younger than the age until which a worker's child is covered.
                2..=4 => (Relation::Child, chance.between(0, (head_age - 19).clamp(0, 19)), either(chance)),
                _ => (Relation::Other, chance.between(55, 85), either(chance)),
            };
            // Born before the family was registered.
            let birth_date = registered_on.saturating_sub((age * 365 + chance.between(1, 364)).days());
            let id = chance.id(EPOCH_MILLIS + number * 8 + place_in_family as u64);
            let nik = nik(chance, region, birth_date, sex)?;
            let given = if sex == Sex::Female { &published::WOMEN } else { &published::MEN };
            let name = format!("{} {}", chance.one_of(given), chance.one_of(&published::SECOND_NAMES));
            members.push(Person { id, nik, name, birth_date, sex, relation });
        }
        Ok(Family { id, segment, class, wage, region, fktp, registered_on, paid_through, members })
    }
}

/// 2026-01-01T00:00:00Z: the ids of the nation are made as if from this moment on, a millisecond each.
const EPOCH_MILLIS: u64 = 1_767_225_600_000;

fn either(chance: &mut Chance) -> Sex {
    if chance.percent(50) { Sex::Female } else { Sex::Male }
}

fn nik(chance: &mut Chance, region: RegionCode, birth_date: Date, sex: Sex) -> anyhow::Result<Nik> {
    let day = birth_date.day() + if sex == Sex::Female { 40 } else { 0 };
    let (district, serial) = (chance.between(1, 20), chance.between(1, 9999));
    let year = birth_date.year().rem_euclid(100);
    let text = format!("{region}{district:02}{day:02}{:02}{year:02}{serial:04}", birth_date.month());
    Nik::parse(&text).context("a NIK that was made up")
}

fn province(region: RegionCode) -> &'static Province {
    let code = region.province().as_str();
    // The list has every province: a test holds it.
    published::PROVINCES.iter().find(|province| province.0 == code).unwrap_or(&published::PROVINCES[0])
}

fn letter(kind: Kind) -> char {
    match kind {
        Kind::Hospital | Kind::SpecialHospital => 'R',
        Kind::Clinic | Kind::MainClinic => 'U',
        Kind::DoctorPractice => 'B',
        Kind::DentistPractice => 'G',
        Kind::PratamaHospital => 'D',
        Kind::Puskesmas => 'P',
    }
}

fn clinics_of(class: &str) -> Vec<&'static str> {
    let last = CLINICS_OF.iter().position(|(name, _)| *name == class).unwrap_or(0);
    let mut clinics: Vec<_> =
        CLINICS_OF[..=last].iter().flat_map(|(_, clinics)| clinics.iter().copied()).collect();
    clinics.sort_unstable();
    clinics
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn nation(seed: u64) -> Nation {
        Nation::new(seed, 20_000, jiff::civil::date(2026, 11, 22), Rupiah::new(4_000_000).unwrap()).unwrap()
    }

    #[test]
    fn the_same_seed_makes_the_same_nation() {
        let (one, two, other) = (nation(7), nation(7), nation(8));
        assert_eq!(one.facilities, two.facilities);
        for number in 0..500 {
            assert_eq!(one.family(number, 6).unwrap(), two.family(number, 6).unwrap());
        }
        assert_ne!(one.family(0, 6).unwrap(), other.family(0, 6).unwrap());
    }

    #[test]
    fn it_looks_like_the_published_one() {
        let nation = nation(7);
        let hospitals = nation.facilities.iter().filter(|facility| facility.is_hospital()).count();
        assert_eq!(hospitals, 38);
        assert!(nation.registers.iter().all(|facilities| !facilities.is_empty()));
        let codes: HashSet<_> = nation.facilities.iter().map(|facility| &facility.code).collect();
        assert_eq!(codes.len(), nation.facilities.len());
        let (mut members, mut poor, mut java) = (0, 0, 0);
        let mut ids = HashSet::new();
        for number in 0..5_000 {
            let family = nation.family(number, 6).unwrap();
            members += family.members.len();
            assert_eq!(family.members[0].relation, Relation::Head);
            assert_eq!(nation.facilities[family.fktp].region, family.region);
            for person in &family.members {
                assert!(person.nik.agrees_with(person.birth_date, person.sex));
                assert!(person.birth_date < family.registered_on);
                assert!(ids.insert(person.id));
                poor += usize::from(family.segment == Segment::PbiApbn);
                java += usize::from(family.region.as_str().starts_with('3'));
            }
        }
        // 110 of 242.2 million, 151.6 of 270.2 million.
        assert!((430..480).contains(&(poor * 1000 / members)), "{poor} of {members}");
        assert!((540..580).contains(&(java * 1000 / members)), "{java} of {members}");
    }
}
