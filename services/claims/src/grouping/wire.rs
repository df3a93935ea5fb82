//! What e-Klaim calls the parts of a claim.

use chassis::time;
use jiff::Timestamp;
use proto::{claims::v1 as pb, membership::v1 as master};
use serde_json::{Map, Value, json};

use super::Asked;

/// An instant as e-Klaim writes it, in Asia/Jakarta.
fn at(instant: Option<&prost_types::Timestamp>) -> String {
    let instant = instant.and_then(time::from_proto).unwrap_or(Timestamp::UNIX_EPOCH);
    instant.to_zoned(time::jakarta()).strftime("%Y-%m-%d %H:%M:%S").to_string()
}

/// Codes as a list; a lone mark clears what e-Klaim holds.
pub(super) fn codes<'a>(codes: impl Iterator<Item = &'a str>) -> String {
    let joined = codes.collect::<Vec<_>>().join("#");
    if joined.is_empty() { "#".to_owned() } else { joined }
}

/// `new_claim`. e-Klaim wants name and card number, which membership alone knows.
pub(super) fn patient(asked: &Asked<'_>, member: &master::Member) -> Value {
    json!({
        "nomor_kartu": member.card_number,
        "nomor_sep": asked.row.sep_number,
        "nomor_rm": asked.letter.medical_record_number,
        "nama_pasien": member.name,
        "tgl_lahir": format!("{} 00:00:00", asked.data.birth_date),
        "gender": (asked.data.sex).to_string(),
    })
}

const fn route(route: pb::AdmissionRoute) -> &'static str {
    match route {
        pb::AdmissionRoute::GeneralPractitioner => "gp",
        pb::AdmissionRoute::HospitalTransfer => "hosp-trans",
        pb::AdmissionRoute::Specialist => "mp",
        pb::AdmissionRoute::Outpatient => "outp",
        pb::AdmissionRoute::Inpatient => "inp",
        pb::AdmissionRoute::Emergency => "emd",
        pb::AdmissionRoute::Born => "born",
        pb::AdmissionRoute::NursingHome => "nursing",
        pb::AdmissionRoute::Psychiatric => "psych",
        pb::AdmissionRoute::Rehabilitation => "rehab",
        pb::AdmissionRoute::Other | pb::AdmissionRoute::Unspecified => "other",
    }
}

fn flag(set: bool) -> &'static str {
    if set { "1" } else { "0" }
}

/// Class and ownership as e-Klaim writes them, e.g. `BP`; a main clinic has the lowest class.
pub(super) fn tariff_class(letter: &pb::Sep) -> String {
    let class = if letter.hospital_class.is_empty() { "D" } else { &letter.hospital_class };
    format!("{class}{}", if letter.government_owned { 'P' } else { 'S' })
}

/// `set_claim_data`.
pub(super) fn claim_data(asked: &Asked<'_>) -> Value {
    let Asked { row, letter, data, .. } = asked;
    let mut fields = Map::new();
    let mut set = |name: &str, value: Value| {
        fields.insert(name.to_owned(), value);
    };
    set("nomor_sep", json!(row.sep_number));
    if letter.newborn_order > 0 {
        // The card is the mother's.
        set("nomor_kartu_t", json!("klaim_ibu"));
    }
    set("tgl_masuk", json!(at(data.admitted_at.as_ref())));
    set("tgl_pulang", json!(at(data.discharged_at.as_ref())));
    set("cara_masuk", json!(route(data.admission_route())));
    // 1 in-patient, 2 out-patient, here as there.
    set("jenis_rawat", json!(row.care_type.to_string()));
    set("kelas_rawat", json!(kelas_rawat(letter)));
    set("adl_sub_acute", json!(data.adl_sub_acute.to_string()));
    set("adl_chronic", json!(data.adl_chronic.to_string()));
    set("icu_indikator", json!(flag(data.icu_days > 0)));
    set("icu_los", json!(data.icu_days.to_string()));
    set("ventilator_hour", json!(data.ventilator_hours.to_string()));
    if let Some(ventilation) = &data.ventilation {
        let ventilator = json!({
            "use_ind": "1",
            "start_dttm": at(ventilation.started_at.as_ref()),
            "stop_dttm": at(ventilation.stopped_at.as_ref()),
        });
        set("ventilator", ventilator);
    }
    set("upgrade_class_ind", json!(flag(data.class_upgrade.is_some())));
    if let Some(upgrade) = &data.class_upgrade {
        let class = match upgrade.upgrade_class() {
            pb::UpgradeClass::Class2 => "kelas_2",
            pb::UpgradeClass::Class1 => "kelas_1",
            pb::UpgradeClass::Vip => "vip",
            pb::UpgradeClass::Unspecified => "",
        };
        let payer = match upgrade.payer() {
            pb::UpgradePayer::Self_ => "peserta",
            pb::UpgradePayer::Employer => "pemberi_kerja",
            pb::UpgradePayer::Insurance => "asuransi_tambahan",
            pb::UpgradePayer::Unspecified => "",
        };
        set("upgrade_class_class", json!(class));
        set("upgrade_class_los", json!(upgrade.days.to_string()));
        set("upgrade_class_payor", json!(payer));
    }
    set("birth_weight", json!(data.birth_weight_gram.to_string()));
    if data.newborn_status != 0 {
        set("bayi_lahir_status_cd", json!(data.newborn_status));
    }
    if data.systole_mmhg > 0 {
        set("sistole", json!(data.systole_mmhg));
        set("diastole", json!(data.diastole_mmhg));
    }
    set("discharge_status", json!(data.discharge_status.to_string()));
    set("tarif_rs", charges(data.charges.as_ref()));
    set("dializer_single_use", json!(i32::from(data.dialyser_single_use)));
    set("kantong_darah", json!(data.blood_bags));
    set("alteplase_ind", json!(i32::from(data.alteplase)));
    if let Some(apgar) = &data.apgar {
        let score = |score: &Option<pb::ApgarScore>| {
            let signs = score.unwrap_or_default();
            json!({
                "appearance": signs.appearance,
                "pulse": signs.pulse,
                "grimace": signs.grimace,
                "activity": signs.activity,
                "respiration": signs.respiration,
            })
        };
        set("apgar", json!({ "menit_1": score(&apgar.minute_1), "menit_5": score(&apgar.minute_5) }));
    }
    if let Some(given) = &data.delivery {
        set("persalinan", delivery(given));
    }
    set("tarif_poli_eks", json!(data.executive_clinic_rupiah.to_string()));
    set("nama_dokter", json!(data.doctor_name));
    set("kode_tarif", json!(tariff_class(letter)));
    set("payor_id", json!("3"));
    set("payor_cd", json!("JKN"));
    set("cob_cd", json!(if data.cob_code.is_empty() { "#" } else { &data.cob_code }));
    set("coder_nik", json!(data.coder_nik));
    Value::Object(fields)
}

/// In-patients: the entitled class; out-patients: 1 executive, 3 regular.
fn kelas_rawat(letter: &pb::Sep) -> String {
    let class = match letter.care_type() {
        pb::CareType::Outpatient if letter.executive_clinic => 1,
        pb::CareType::Outpatient => 3,
        _ => letter.entitled_class,
    };
    class.to_string()
}

fn charges(charges: Option<&pb::HospitalCharges>) -> Value {
    let c = charges.copied().unwrap_or_default();
    json!({
        "prosedur_non_bedah": c.non_surgical_procedure_rupiah.to_string(),
        "prosedur_bedah": c.surgical_procedure_rupiah.to_string(),
        "konsultasi": c.consultation_rupiah.to_string(),
        "tenaga_ahli": c.expert_rupiah.to_string(),
        "keperawatan": c.nursing_rupiah.to_string(),
        "penunjang": c.supporting_service_rupiah.to_string(),
        "radiologi": c.radiology_rupiah.to_string(),
        "laboratorium": c.laboratory_rupiah.to_string(),
        "pelayanan_darah": c.blood_service_rupiah.to_string(),
        "rehabilitasi": c.rehabilitation_rupiah.to_string(),
        "kamar": c.room_rupiah.to_string(),
        "rawat_intensif": c.intensive_care_rupiah.to_string(),
        "obat": c.drug_rupiah.to_string(),
        "obat_kronis": c.chronic_drug_rupiah.to_string(),
        "obat_kemoterapi": c.chemotherapy_drug_rupiah.to_string(),
        "alkes": c.device_rupiah.to_string(),
        "bmhp": c.consumable_rupiah.to_string(),
        "sewa_alat": c.device_rental_rupiah.to_string(),
    })
}

fn delivery(given: &pb::Delivery) -> Value {
    let onset = match given.onset() {
        pb::LabourOnset::Spontaneous => "spontan",
        pb::LabourOnset::Induced => "induksi",
        pb::LabourOnset::None | pb::LabourOnset::Unspecified => "non_spontan_non_induksi",
    };
    let births: Vec<_> =
        given.births.iter().enumerate().map(|(place, birth)| self::birth(place, birth)).collect();
    json!({
        "usia_kehamilan": given.gestation_weeks.to_string(),
        "gravida": given.gravida.to_string(),
        "partus": given.partus.to_string(),
        "abortus": given.abortus.to_string(),
        "onset_kontraksi": onset,
        "delivery": births,
    })
}

fn birth(place: usize, birth: &pb::Birth) -> Value {
    let method = if birth.method() == pb::BirthMethod::Caesarean { "sc" } else { "vaginal" };
    let position = match birth.position() {
        pb::FoetalPosition::Breech => "sungsang",
        pb::FoetalPosition::Transverse => "lintang",
        pb::FoetalPosition::Head | pb::FoetalPosition::Unspecified => "kepala",
    };
    let mut fields = Map::new();
    let mut set = |name: &str, value: &str| {
        fields.insert(name.to_owned(), json!(value));
    };
    set("delivery_sequence", &(place + 1).to_string());
    set("delivery_method", method);
    set("delivery_dttm", &at(birth.born_at.as_ref()));
    set("letak_janin", position);
    set("kondisi", if birth.alive { "livebirth" } else { "stillbirth" });
    set("use_manual", flag(birth.manual));
    set("use_forcep", flag(birth.forceps));
    set("use_vacuum", flag(birth.vacuum));
    if let Some(screening) = &birth.thyroid_screening {
        let taken = screening.site() != pb::ScreeningSite::Unspecified;
        set("shk_spesimen_ambil", if taken { "ya" } else { "tidak" });
        if taken {
            let site = if screening.site() == pb::ScreeningSite::Heel { "tumit" } else { "vena" };
            set("shk_lokasi", site);
            set("shk_spesimen_dttm", &at(screening.taken_at.as_ref()));
        } else {
            let why = match screening.omission() {
                pb::ScreeningOmission::HardToReach => "akses-sulit",
                _ => "tidak-dapat",
            };
            set("shk_alasan", why);
        }
    }
    Value::Object(fields)
}

/// An amount, which e-Klaim writes as a number or as text.
pub(super) fn rupiah(value: &Value) -> Option<i64> {
    let amount = value.as_i64().or_else(|| value.as_str()?.parse().ok())?;
    (0..=1_000_000_000_000).contains(&amount).then_some(amount)
}

/// The special CMGs of a list.
pub(super) fn specials(list: &Value) -> Option<Vec<pb::SpecialCmg>> {
    let text = |item: &Value, name: &str| item[name].as_str().unwrap_or_default().to_owned();
    let one = |item: &Value| {
        let code = text(item, "code");
        let kind = crate::special::SpecialCode::parse(&code)
            .map_or(pb::SpecialKind::Unspecified, |code| code.kind().number());
        let amount_rupiah = if item["tariff"].is_null() { 0 } else { rupiah(&item["tariff"])? };
        Some(pb::SpecialCmg { code, title: text(item, "description"), kind: kind.into(), amount_rupiah })
    };
    match list {
        Value::Null => Some(Vec::new()),
        Value::Array(items) => items.iter().map(one).collect(),
        _ => None,
    }
}
