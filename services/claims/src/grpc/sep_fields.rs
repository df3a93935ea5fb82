//! The parts of a SEP that IssueSep and UpdateSep have in common, read field by field.

use chassis::Fields;
use jiff::civil::Date;
use proto::claims::v1 as pb;
use vocabulary::{FollowUpNumber, RegionCode, SepNumber};

use super::{optional, optional_text};
use crate::{accident, episode::Care};

/// The letter that a SEP cites: there when the patient came with one, and only then.
pub(super) fn follow_up(fields: &mut Fields, message: &pb::IssueSepRequest) -> Option<FollowUpNumber> {
    const PATH: &str = "follow_up_number";
    let given = &message.follow_up_number;
    if message.entry() == pb::Entry::FollowUp {
        return fields.parse(PATH, FollowUpNumber::parse(given));
    }
    fields.require(PATH, given.is_empty(), "must be empty unless the entry is ENTRY_FOLLOW_UP");
    None
}

/// The level that a class upgrade rises to.
pub(super) fn upgrade(
    fields: &mut Fields,
    upgrade: Option<&pb::ClassUpgrade>,
    care: Option<Care>,
) -> Option<u8> {
    let upgrade = upgrade?;
    fields.require("class_upgrade", care == Some(Care::Inpatient), "must be unset for out-patient care");
    fields.require(
        "class_upgrade.payer",
        upgrade.payer() != pb::UpgradePayer::Unspecified,
        "a value of UpgradePayer",
    );
    fields.parse("class_upgrade.responsible_name", vocabulary::text(&upgrade.responsible_name, 100));
    let level = match upgrade.upgrade_class() {
        pb::UpgradeClass::Unspecified => None,
        pb::UpgradeClass::Class2 => Some(1),
        pb::UpgradeClass::Class1 => Some(2),
        pb::UpgradeClass::Vip => Some(3),
    };
    fields.require("class_upgrade.upgrade_class", level.is_some(), "a value of UpgradeClass");
    level
}

/// The accident; none when it is stated that there was none.
pub(super) fn accident(
    fields: &mut Fields,
    accident: Option<&pb::Accident>,
    service_date: Option<Date>,
) -> Option<pb::Accident> {
    let accident = accident?;
    let known = pb::AccidentKind::try_from(accident.kind);
    fields.require("accident.kind", known.is_ok(), "a value of AccidentKind");
    if matches!(accident.kind(), pb::AccidentKind::Unspecified | pb::AccidentKind::None) {
        return None;
    }
    if let Some(day) = fields.parse("accident.occurred_on", vocabulary::date(&accident.occurred_on)) {
        let before = service_date.is_none_or(|service_date| day <= service_date);
        fields.require("accident.occurred_on", before, "must not lie after the service date");
    }
    optional_text(fields, "accident.police_report_number", &accident.police_report_number, 50);
    let payers = &accident.primary_payers;
    let known = payers.iter().all(
        |payer| matches!(pb::PrimaryPayer::try_from(*payer), Ok(p) if p != pb::PrimaryPayer::Unspecified),
    );
    // Who works on own account may be insured by nobody; traffic is always somebody's.
    let least = usize::from(accident.kind() != pb::AccidentKind::Work);
    let fits = (least..=4).contains(&payers.len()) && known;
    fields.require("accident.primary_payers", fits, format!("{least} to 4 values of PrimaryPayer"));
    if let Some(region) = optional(fields, "accident.region_code", &accident.region_code, RegionCode::parse) {
        fields.require("accident.region_code", !region.is_province(), "a regency or city, 4 digits");
    }
    optional_text(fields, "accident.description", &accident.description, 200);
    let first = &accident.supplements_sep_number;
    optional(fields, "accident.supplements_sep_number", first, SepNumber::parse);
    Some(accident.clone())
}

/// The payers and the kind of an accident in the domain's words; `None` when it is none.
pub(super) fn accident_in_words(stated: &pb::Accident) -> Option<(accident::Kind, Vec<accident::Payer>)> {
    let kind = match stated.kind() {
        pb::AccidentKind::Unspecified | pb::AccidentKind::None => return None,
        pb::AccidentKind::Traffic => accident::Kind::Traffic,
        pb::AccidentKind::TrafficAndWork => accident::Kind::TrafficAndWork,
        pb::AccidentKind::Work => accident::Kind::Work,
    };
    let payers = stated.primary_payers().filter_map(|payer| match payer {
        pb::PrimaryPayer::Unspecified => None,
        pb::PrimaryPayer::JasaRaharja => Some(accident::Payer::JasaRaharja),
        pb::PrimaryPayer::BpjsTk => Some(accident::Payer::BpjsTk),
        pb::PrimaryPayer::Taspen => Some(accident::Payer::Taspen),
        pb::PrimaryPayer::Asabri => Some(accident::Payer::Asabri),
    });
    Some((kind, payers.collect()))
}
