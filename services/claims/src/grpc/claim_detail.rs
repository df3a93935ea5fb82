//! What e-Klaim asks of some episodes only, read field by field.

use chassis::{Fields, time};
use jiff::{Timestamp, civil::Date};
use proto::claims::v1 as pb;

use super::optional_text;
use crate::{newborn::is_newborn, special::SpecialCode};

const MOST_SPECIAL: usize = 10;
const MOST_BIRTHS: usize = 8;
const MOST_RUPIAH: i64 = 1_000_000_000_000;

/// Begin and end of the stay and the birth date, as far as they could be read.
pub(super) struct Stay {
    pub(super) admitted_at: Option<Timestamp>,
    pub(super) discharged_at: Option<Timestamp>,
    pub(super) birth_date: Option<Date>,
}

impl Stay {
    fn holds(&self, at: Timestamp) -> bool {
        self.admitted_at.is_none_or(|from| from <= at) && self.discharged_at.is_none_or(|to| at <= to)
    }

    /// Day of birth and day of admission; `None` while one of the two is not known.
    fn birth_and_admission(&self) -> Option<(Date, Date)> {
        Some((self.birth_date?, time::today_at(self.admitted_at?)))
    }
}

/// Reads the fields that only some episodes have; the special CMGs that are claimed.
pub(super) fn read(fields: &mut Fields, data: &pb::ClaimData, stay: &Stay) -> Vec<SpecialCode> {
    ventilation(fields, data, stay);
    for (name, score) in [("adl_sub_acute", data.adl_sub_acute), ("adl_chronic", data.adl_chronic)] {
        let fits = score == 0 || (12..=60).contains(&score);
        fields.require(format!("data.{name}"), fits, "12 to 60, or 0 when there was no such phase");
    }
    if let Some(upgrade) = &data.class_upgrade {
        let class = upgrade.upgrade_class() != pb::UpgradeClass::Unspecified;
        fields.require("data.class_upgrade.upgrade_class", class, "a value of UpgradeClass");
        let payer = upgrade.payer() != pb::UpgradePayer::Unspecified;
        fields.require("data.class_upgrade.payer", payer, "a value of UpgradePayer");
        let most = stay.admitted_at.zip(stay.discharged_at).map_or(i32::MAX, |(from, to)| {
            (time::today_at(to) - time::today_at(from)).get_days().saturating_add(1)
        });
        let days = upgrade.days >= 1 && upgrade.days <= most;
        fields.require("data.class_upgrade.days", days, "1 to the days of stay");
    }
    vital_signs(fields, data);
    fields.require("data.blood_bags", (0..=200).contains(&data.blood_bags), "0 to 200");
    let amount = (0..=MOST_RUPIAH).contains(&data.executive_clinic_rupiah);
    fields.require("data.executive_clinic_rupiah", amount, format!("0 to {MOST_RUPIAH} rupiah"));
    optional_text(fields, "data.cob_code", &data.cob_code, 10);
    let known = pb::Payor::try_from(data.payor).is_ok();
    fields.require("data.payor", known, "PAYOR_JKN: a claim on a SEP is paid by JKN");
    newborn(fields, data, stay);
    if let Some(delivery) = &data.delivery {
        self::delivery(fields, delivery, data.sex(), stay);
    }
    special(fields, &data.special_items)
}

fn ventilation(fields: &mut Fields, data: &pb::ClaimData, stay: &Stay) {
    let Some(given) = &data.ventilation else { return };
    let started = given.started_at.as_ref().and_then(time::from_proto);
    let stopped = given.stopped_at.as_ref().and_then(time::from_proto);
    let within = |at: Option<Timestamp>| at.is_some_and(|at| stay.holds(at));
    fields.require("data.ventilation.started_at", within(started), "must be set, and lie within the stay");
    fields.require("data.ventilation.stopped_at", within(stopped), "must be set, and lie within the stay");
    let (Some(started), Some(stopped)) = (started, stopped) else { return };
    if stopped <= started {
        fields.wrong("data.ventilation.stopped_at", "must lie after started_at");
        return;
    }
    // Pauses may make it less; a begun hour counts.
    let most = stopped.duration_since(started).as_secs().saturating_add(3599) / 3600;
    let hours = i64::from(data.ventilator_hours);
    fields.require(
        "data.ventilator_hours",
        hours >= 1 && hours <= most,
        "1 to the hours from ventilation.started_at to stopped_at, a begun hour counts",
    );
}

fn vital_signs(fields: &mut Fields, data: &pb::ClaimData) {
    let (systole, diastole) = (data.systole_mmhg, data.diastole_mmhg);
    let fits = systole == 0 || (30..=350).contains(&systole);
    fields.require("data.systole_mmhg", fits, "30 to 350 mmHg, or 0 when it was not taken");
    let fits = diastole == 0 || (10..=250).contains(&diastole);
    fields.require("data.diastole_mmhg", fits, "10 to 250 mmHg, or 0 when it was not taken");
    fields.require(
        "data.diastole_mmhg",
        (systole == 0) == (diastole == 0),
        "must be given with systole_mmhg",
    );
    fields.require(
        "data.diastole_mmhg",
        systole == 0 || diastole < systole,
        "must be less than systole_mmhg",
    );
}

fn newborn(fields: &mut Fields, data: &pb::ClaimData, stay: &Stay) {
    let known = stay.birth_and_admission();
    if data.admission_route() == pb::AdmissionRoute::Born {
        let here = known.is_none_or(|(born, admitted)| (admitted - born).get_days() <= 1);
        fields.require(
            "data.birth_date",
            here,
            "must be the day of admission, or the day before, of a patient born here",
        );
    }
    let newborn = known.map(|(born, admitted)| is_newborn(born, admitted));
    let status = pb::NewbornStatus::try_from(data.newborn_status);
    fields.require("data.newborn_status", status.is_ok(), "a value of NewbornStatus");
    if newborn == Some(true) {
        let weight = (100..=9999).contains(&data.birth_weight_gram);
        fields.require(
            "data.birth_weight_gram",
            weight,
            "100 to 9999 grams of a newborn, up to 28 days of life",
        );
    } else if newborn.is_some() {
        let only = "only of a newborn, up to 28 days of life";
        fields.require("data.birth_weight_gram", data.birth_weight_gram == 0, only);
        fields.require("data.newborn_status", data.newborn_status == 0, only);
        fields.require("data.apgar", data.apgar.is_none(), only);
    }
    let Some(apgar) = &data.apgar else { return };
    for (name, score) in [("minute_1", &apgar.minute_1), ("minute_5", &apgar.minute_5)] {
        let Some(score) = score else {
            fields.wrong(format!("data.apgar.{name}"), "must be set");
            continue;
        };
        let signs = [
            ("appearance", score.appearance),
            ("pulse", score.pulse),
            ("grimace", score.grimace),
            ("activity", score.activity),
            ("respiration", score.respiration),
        ];
        for (sign, value) in signs {
            fields.require(format!("data.apgar.{name}.{sign}"), (0..=2).contains(&value), "0 to 2");
        }
    }
}

fn delivery(fields: &mut Fields, given: &pb::Delivery, sex: pb::Sex, stay: &Stay) {
    fields.require("data.delivery", sex != pb::Sex::Male, "only of a woman");
    let weeks = (1..=45).contains(&given.gestation_weeks);
    fields.require("data.delivery.gestation_weeks", weeks, "1 to 45 weeks");
    fields.require("data.delivery.gravida", (1..=30).contains(&given.gravida), "1 to 30");
    fields.require("data.delivery.partus", (0..=30).contains(&given.partus), "0 to 30");
    let abortus = given.abortus >= 0 && given.abortus <= given.gravida;
    fields.require("data.delivery.abortus", abortus, "0 to gravida");
    let onset = given.onset() != pb::LabourOnset::Unspecified;
    fields.require("data.delivery.onset", onset, "a value of LabourOnset");
    let births = (1..=MOST_BIRTHS).contains(&given.births.len());
    fields.require("data.delivery.births", births, format!("1 to {MOST_BIRTHS}"));
    let mut before = None;
    for (at, birth) in given.births.iter().take(MOST_BIRTHS).enumerate() {
        let path = format!("data.delivery.births[{at}]");
        before = self::birth(fields, &path, birth, before, stay);
    }
}

/// Reads a birth; when it was.
fn birth(
    fields: &mut Fields,
    path: &str,
    given: &pb::Birth,
    before: Option<Timestamp>,
    stay: &Stay,
) -> Option<Timestamp> {
    let method = given.method();
    fields.require(
        format!("{path}.method"),
        method != pb::BirthMethod::Unspecified,
        "a value of BirthMethod",
    );
    let position = given.position() != pb::FoetalPosition::Unspecified;
    fields.require(format!("{path}.position"), position, "a value of FoetalPosition");
    let born_at = given.born_at.as_ref().and_then(time::from_proto);
    let in_time = born_at.is_some_and(|at| stay.discharged_at.is_none_or(|to| at <= to));
    fields.require(format!("{path}.born_at"), in_time, "must be set, and not lie after discharge");
    let in_order = before.zip(born_at).is_none_or(|(before, at)| before <= at);
    fields.require(format!("{path}.born_at"), in_order, "must not lie before the birth before it");
    if method == pb::BirthMethod::Caesarean {
        fields.require(format!("{path}.forceps"), !given.forceps, "not in a caesarean section");
        fields.require(format!("{path}.vacuum"), !given.vacuum, "not in a caesarean section");
    }
    if let Some(screening) = &given.thyroid_screening {
        let path = format!("{path}.thyroid_screening");
        fields.require(&path, given.alive, "only of a child born alive");
        let taken = screening.site() != pb::ScreeningSite::Unspecified;
        let omitted = screening.omission() != pb::ScreeningOmission::Unspecified;
        fields.require(&path, taken != omitted, "either site and taken_at, or omission");
        let timed = screening.taken_at.as_ref().and_then(time::from_proto).is_some();
        fields.require(
            format!("{path}.taken_at"),
            taken == timed,
            "must be set exactly when there is a site",
        );
    }
    born_at
}

fn special(fields: &mut Fields, given: &[String]) -> Vec<SpecialCode> {
    const PATH: &str = "data.special_items";
    fields.require(PATH, given.len() <= MOST_SPECIAL, format!("at most {MOST_SPECIAL}"));
    let mut codes: Vec<SpecialCode> = Vec::new();
    for (at, code) in given.iter().take(MOST_SPECIAL).enumerate() {
        let Some(code) = fields.parse(format!("{PATH}[{at}]"), SpecialCode::parse(code)) else { continue };
        if codes.contains(&code) {
            fields.wrong(format!("{PATH}[{at}]"), "must name no special CMG twice");
        } else {
            codes.push(code);
        }
    }
    codes
}

/// What contradicts the SEP: path and what is asked.
pub(super) fn contradictions(
    data: &pb::ClaimData,
    letter: &pb::Sep,
    mut require: impl FnMut(&str, bool, &str),
) {
    if letter.care_type() == pb::CareType::Outpatient {
        let none = data.class_upgrade.is_none();
        require("data.class_upgrade", none, "must be unset for an out-patient SEP");
        require("data.adl_sub_acute", data.adl_sub_acute == 0, "must be 0 for an out-patient SEP");
        require("data.adl_chronic", data.adl_chronic == 0, "must be 0 for an out-patient SEP");
    } else if let Some(taken) = &data.class_upgrade {
        let asked = letter.class_upgrade.as_ref().map(|asked| asked.upgrade_class);
        let same = asked == Some(taken.upgrade_class);
        require("data.class_upgrade.upgrade_class", same, "must be the class upgrade of the SEP");
    }
    if letter.newborn_order > 0 {
        let day = |text: &str| vocabulary::date(text).ok();
        let known = day(&data.birth_date).zip(day(&letter.service_date));
        require(
            "data.birth_date",
            known.is_some_and(|(born, admitted)| is_newborn(born, admitted)),
            "must lie at most 28 days before admission: the SEP is for a newborn on its mother's card",
        );
    }
    let executive = data.executive_clinic_rupiah == 0 || letter.executive_clinic;
    require("data.executive_clinic_rupiah", executive, "must be 0 unless the SEP is for an executive clinic");
    let shared = data.cob_code.is_empty() || letter.coordination_of_benefit;
    require(
        "data.cob_code",
        shared,
        "must be empty unless the SEP says that another insurance shares the cost",
    );
}
