//! Who pays before BPJS Kesehatan for an accident, by `policy/claims/accident.toml`; BPJS Kesehatan pays
//! what they leave ([`crate::accident_share`]).

use chassis::policy::Rule;
use serde::Deserialize;

use crate::sep::Refusal;

/// Kind of accident.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// In traffic, not on the way of work.
    Traffic,
    /// In traffic, on the way of work.
    TrafficAndWork,
    /// At work.
    Work,
}

/// Who pays first. The numbers are those of the contract and of the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[repr(i16)]
pub enum Payer {
    /// Jasa Raharja: traffic.
    JasaRaharja = 1,
    /// BPJS Ketenagakerjaan: work.
    BpjsTk = 2,
    /// TASPEN: work of officials.
    Taspen = 3,
    /// ASABRI: work of the forces and the police.
    Asabri = 4,
}

impl Payer {
    /// The payer of a number.
    #[must_use]
    pub fn of(number: i32) -> Option<Self> {
        [Self::JasaRaharja, Self::BpjsTk, Self::Taspen, Self::Asabri]
            .into_iter()
            .find(|payer| *payer as i32 == number)
    }

    /// Its name in messages.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::JasaRaharja => "JASA_RAHARJA",
            Self::BpjsTk => "BPJS_TK",
            Self::Taspen => "TASPEN",
            Self::Asabri => "ASABRI",
        }
    }
}

/// The rules of a day.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Rules {
    jasa_raharja: Vec<Kind>,
    work_insurer: Vec<Kind>,
    police_report: Vec<Kind>,
    insurers: Vec<Insurers>,
    other_insurers: Vec<Payer>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Insurers {
    segments: Vec<String>,
    payers: Vec<Payer>,
    compulsory: bool,
}

impl Rule for Rules {
    fn check(&self) -> Result<(), String> {
        let mut segments: Vec<_> = self.insurers.iter().flat_map(|row| &row.segments).collect();
        segments.sort_unstable();
        if let Some(twice) = segments.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(format!("insurers: segment {} stands in two rows", twice[0]));
        }
        let mut payers = self.insurers.iter().flat_map(|row| &row.payers).chain(&self.other_insurers);
        if payers.any(|payer| *payer == Payer::JasaRaharja) {
            return Err("insurers: jasa-raharja insures traffic, not work".into());
        }
        if self.insurers.iter().any(|row| row.compulsory && row.payers.is_empty()) {
            return Err("insurers: a compulsory row names at least one payer".into());
        }
        Ok(())
    }
}

/// An accident, as far as it decides.
#[derive(Debug, Clone, Copy)]
pub struct Accident<'a> {
    /// Its kind.
    pub kind: Kind,
    /// Who is said to pay first, in order.
    pub payers: &'a [Payer],
    /// Whether the number of a police report is given.
    pub police_report: bool,
}

/// Every reason against an accident as it is stated. After an emergency the police report may follow.
#[must_use]
pub fn judge(rules: &Rules, accident: &Accident<'_>, segment: &str, report_may_follow: bool) -> Vec<Refusal> {
    let mut refusals = Vec::new();
    let traffic = rules.jasa_raharja.contains(&accident.kind);
    let row = rules.insurers.iter().find(|row| row.segments.iter().any(|of| of == segment));
    let (insurers, compulsory) =
        row.map_or((&rules.other_insurers, false), |row| (&row.payers, row.compulsory));
    let insured = rules.work_insurer.contains(&accident.kind);

    let of_work = match (traffic, accident.payers) {
        (true, [Payer::JasaRaharja, rest @ ..]) => Some(rest),
        (true, _) => None,
        (false, all) => Some(all),
    };
    let right = match of_work {
        None => false,
        Some([]) => !insured || !compulsory,
        Some([one]) => insured && insurers.contains(one),
        Some(_) => false,
    };
    if !right {
        let names: Vec<_> = insurers.iter().map(|payer| payer.name()).collect();
        let mut expected = Vec::new();
        expected.extend(traffic.then(|| Payer::JasaRaharja.name().to_owned()));
        if insured && !names.is_empty() {
            let insurer = names.join(" or ");
            expected.push(if compulsory { insurer } else { format!("{insurer} if insured there") });
        }
        refusals.push(Refusal::AccidentPayerWrong(expected.join(", then ")));
    }
    if lacks_police_report(rules, accident) && !report_may_follow {
        refusals.push(Refusal::PoliceReportRequired);
    }
    refusals
}

/// Whether the police report that an accident of its kind needs is missing.
#[must_use]
pub fn lacks_police_report(rules: &Rules, accident: &Accident<'_>) -> bool {
    rules.police_report.contains(&accident.kind) && !accident.police_report
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{
        Payer::{Asabri, BpjsTk, JasaRaharja, Taspen},
        *,
    };

    fn rules() -> Rules {
        let text = include_str!("../../../policy/claims/accident.toml");
        let dated = chassis::policy::parse::<Rules>("claims/accident.toml", text).unwrap();
        dated.versions()[0].rule.clone()
    }

    fn right(kind: Kind, payers: &[Payer], segment: &str) -> bool {
        judge(&rules(), &Accident { kind, payers, police_report: true }, segment, false).is_empty()
    }

    #[test]
    fn traffic_is_paid_first_by_jasa_raharja_alone() {
        assert!(
            right(Kind::Traffic, &[JasaRaharja], "PPU_BU") && right(Kind::Traffic, &[JasaRaharja], "PBI")
        );
        assert!(
            !right(Kind::Traffic, &[BpjsTk], "PPU_BU")
                && !right(Kind::Traffic, &[JasaRaharja, BpjsTk], "PPU_BU")
        );
        assert!(!right(Kind::Traffic, &[], "PBI"));
    }

    #[test]
    fn work_is_paid_first_by_who_insures_the_segment() {
        assert!(right(Kind::Work, &[BpjsTk], "PPU_BU") && !right(Kind::Work, &[Taspen], "PPU_BU"));
        assert!(right(Kind::Work, &[Taspen], "PPU_PN") && right(Kind::Work, &[Asabri], "PPU_PN"));
        assert!(!right(Kind::Work, &[], "PPU_PN") && !right(Kind::Work, &[Taspen, Asabri], "PPU_PN"));
        assert!(
            right(Kind::Work, &[], "PBPU") && right(Kind::Work, &[BpjsTk], "PBPU"),
            "who works on own account"
        );
        assert!(!right(Kind::Work, &[JasaRaharja], "PBPU"));
    }

    #[test]
    fn on_the_way_of_work_jasa_raharja_comes_before_the_insurer_of_work() {
        assert!(right(Kind::TrafficAndWork, &[JasaRaharja, BpjsTk], "PPU_BU"));
        assert!(!right(Kind::TrafficAndWork, &[BpjsTk, JasaRaharja], "PPU_BU"));
        assert!(!right(Kind::TrafficAndWork, &[JasaRaharja], "PPU_BU"));
        let refused = judge(
            &rules(),
            &Accident { kind: Kind::TrafficAndWork, payers: &[], police_report: false },
            "PPU_PN",
            false,
        );
        assert_eq!(
            refused,
            [
                Refusal::AccidentPayerWrong("JASA_RAHARJA, then TASPEN or ASABRI".into()),
                Refusal::PoliceReportRequired
            ]
        );
    }

    #[test]
    fn the_police_report_may_follow_an_emergency_and_no_accident_at_work_needs_one() {
        let stated = |kind, payers: &[Payer], may_follow| {
            judge(&rules(), &Accident { kind, payers, police_report: false }, "PPU_BU", may_follow).is_empty()
        };
        assert!(stated(Kind::Traffic, &[JasaRaharja], true) && !stated(Kind::Traffic, &[JasaRaharja], false));
        assert!(stated(Kind::Work, &[BpjsTk], false));
    }

    proptest! {
        #[test]
        fn nobody_pays_twice_and_traffic_never_goes_without_jasa_raharja_first(
            kind in prop_oneof![Just(Kind::Traffic), Just(Kind::TrafficAndWork), Just(Kind::Work)],
            payers in proptest::collection::vec(
                prop_oneof![Just(JasaRaharja), Just(BpjsTk), Just(Taspen), Just(Asabri)], 0..5),
            segment in prop_oneof![Just("PBI"), Just("PPU_PN"), Just("PPU_BU"), Just("BP")],
        ) {
            if right(kind, &payers, segment) {
                prop_assert!(payers.len() <= 2);
                prop_assert_eq!(payers.first() == Some(&JasaRaharja), kind != Kind::Work);
                prop_assert!(payers.iter().skip(1).all(|payer| *payer != JasaRaharja));
            }
        }
    }
}
