//! The ladder of referral, as `policy/referral/ladder.toml` sets it: one rung up at a time, with exemptions.

use serde::Deserialize;

use crate::letter::{CareType, LadderExemption};

/// What a facility is on the ladder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
pub enum Standing {
    /// A first-level facility.
    #[serde(rename = "FKTP")]
    Fktp,
    /// A main clinic (klinik utama).
    #[serde(rename = "MAIN-CLINIC")]
    MainClinic,
    /// A hospital of class D.
    D,
    /// A hospital of class C.
    C,
    /// A hospital of class B.
    B,
    /// A hospital of class A.
    A,
}

impl Standing {
    const ALL: [Self; 6] = [Self::Fktp, Self::MainClinic, Self::D, Self::C, Self::B, Self::A];
}

/// What allows to skip rungs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Exemption {
    Emergency,
    Specificity,
    Geography,
    Availability,
}

/// The ladder, by one version of the policy.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Ladder {
    rungs: Vec<Vec<Standing>>,
    lateral: bool,
    exemptions: Vec<Exemption>,
    emergency_needs_contract: bool,
    special_programmes: Vec<String>,
}

impl chassis::policy::Rule for Ladder {
    fn check(&self) -> Result<(), String> {
        for standing in Standing::ALL {
            let times = self.rungs.iter().flatten().filter(|&&on| on == standing).count();
            if times != 1 {
                return Err(format!("rungs: {standing:?} stands on {times} rungs, it must stand on one"));
            }
        }
        if self.rungs.iter().any(Vec::is_empty) {
            return Err("rungs: a rung is empty".to_owned());
        }
        match self
            .special_programmes
            .iter()
            .find(|code| code.len() != 3 || !code.bytes().all(|b| b.is_ascii_uppercase()))
        {
            Some(wrong) => {
                Err(format!("special-programmes: {wrong:?} is not a code of three capital letters"))
            }
            None => Ok(()),
        }
    }
}

/// What a referral puts forward for going where it goes.
#[derive(Debug, Clone, Copy)]
pub struct Grounds<'a> {
    /// The care asked for.
    pub care_type: CareType,
    /// The exemption stated.
    pub exemption: Option<LadderExemption>,
    /// The special programme stated.
    pub programme: Option<&'a str>,
}

impl Ladder {
    /// Whether the policy knows the special programme.
    #[must_use]
    pub fn knows_programme(&self, code: &str) -> bool {
        self.special_programmes.iter().any(|known| known == code)
    }

    /// Whether the destination of such care must have a contract.
    #[must_use]
    pub fn needs_contract(&self, care_type: CareType) -> bool {
        care_type != CareType::Emergency || self.emergency_needs_contract
    }

    /// The rung a facility stands on; the lowest is 0.
    #[must_use]
    pub fn rung(&self, standing: Standing) -> usize {
        self.rungs.iter().position(|rung| rung.contains(&standing)).unwrap_or(self.rungs.len())
    }

    /// Whether a referral may go from one facility to another.
    #[must_use]
    pub fn allows(&self, from: Standing, to: Standing, grounds: Grounds<'_>) -> bool {
        let (from, to) = (self.rung(from), self.rung(to));
        to < from || (to == from && self.lateral) || to == from + 1 || self.exempts(grounds)
    }

    fn exempts(&self, grounds: Grounds<'_>) -> bool {
        let stated = grounds.exemption.map(|exemption| match exemption {
            LadderExemption::Specificity => Exemption::Specificity,
            LadderExemption::Geography => Exemption::Geography,
            LadderExemption::Availability => Exemption::Availability,
        });
        let emergency = (grounds.care_type == CareType::Emergency).then_some(Exemption::Emergency);
        [stated, emergency].into_iter().flatten().any(|ground| self.exemptions.contains(&ground))
            || grounds.programme.is_some_and(|code| self.knows_programme(code))
    }
}

#[cfg(test)]
mod tests {
    use chassis::policy::Rule;
    use proptest::prelude::*;

    use super::*;

    fn ladder() -> Ladder {
        use Standing::{A, B, C, D, Fktp, MainClinic};
        Ladder {
            rungs: vec![vec![Fktp], vec![MainClinic, D, C], vec![B], vec![A]],
            lateral: true,
            exemptions: vec![
                Exemption::Emergency,
                Exemption::Specificity,
                Exemption::Geography,
                Exemption::Availability,
            ],
            emergency_needs_contract: false,
            special_programmes: vec!["HDL".to_owned()],
        }
    }

    const USUAL: Grounds<'static> =
        Grounds { care_type: CareType::Outpatient, exemption: None, programme: None };

    #[test]
    fn one_rung_up_at_a_time() {
        use Standing::{A, B, C, D, Fktp};
        let ladder = ladder();
        for (from, to, allowed) in [
            (Fktp, D, true),
            (Fktp, C, true),
            (Fktp, B, false),
            (Fktp, A, false),
            (D, B, true),
            (D, C, true),
            (C, A, false),
            (B, A, true),
            (A, Fktp, true),
        ] {
            assert_eq!(ladder.allows(from, to, USUAL), allowed, "{from:?} to {to:?}");
        }
    }

    #[test]
    fn emergencies_exemptions_and_programmes_skip_rungs() {
        let ladder = ladder();
        let (from, to) = (Standing::Fktp, Standing::A);
        assert!(ladder.allows(from, to, Grounds { care_type: CareType::Emergency, ..USUAL }));
        assert!(ladder.allows(from, to, Grounds { exemption: Some(LadderExemption::Geography), ..USUAL }));
        assert!(ladder.allows(from, to, Grounds { programme: Some("HDL"), ..USUAL }));
        assert!(!ladder.allows(from, to, Grounds { programme: Some("XXX"), ..USUAL }));
        let strict = Ladder { exemptions: vec![], ..ladder };
        assert!(!strict.allows(from, to, Grounds { care_type: CareType::Emergency, ..USUAL }));
    }

    #[test]
    fn a_standing_that_is_forgotten_or_doubled_is_refused() {
        assert!(ladder().check().is_ok());
        let mut forgotten = ladder();
        forgotten.rungs.pop();
        assert!(forgotten.check().unwrap_err().contains("A stands on 0"));
    }

    proptest! {
        #[test]
        fn an_exemption_never_forbids(from in 0_usize..6, to in 0_usize..6, lateral: bool) {
            let ladder = Ladder { lateral, ..ladder() };
            let (from, to) = (Standing::ALL[from], Standing::ALL[to]);
            let exempt = Grounds { exemption: Some(LadderExemption::Specificity), ..USUAL };
            prop_assert!(!ladder.allows(from, to, USUAL) || ladder.allows(from, to, exempt));
        }
    }
}
