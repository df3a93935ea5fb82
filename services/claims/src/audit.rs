//! Audit of settled claims: which frame a claim belongs to and in which stratum, when a frame may be published and drawn
//! from, the states of an audit, and what counts for the quarter (DLR 4.3). The figures are those of
//! `policy/claims/audit.toml`.
//!
//! A claim belongs to the frame of the calendar quarter, in Asia/Jakarta, in which it became paid: the step is taken once,
//! its time is the service's own, and nobody can date it back. So the list of a quarter that is over never changes. Every
//! claim here is one of referral level (FKRTL), because only such a facility gets a SEP.

use chassis::policy::Rule;
use jiff::{SignedDuration, Timestamp, ToSpan, civil::Date};
use serde::Deserialize;
use vocabulary::{Icd10, RegionCode};

use crate::{
    codes::{CodeRange, any_covers},
    frame::Kind,
    quarter::Quarter,
};

/// The rules of a day.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Rules {
    protocol: String,
    earlier_protocols: Vec<String>,
    quarter_target: i64,
    quiet_days: i64,
    seed_lead_minutes: i64,
    seed_latest_days: i64,
    seed_sources: Vec<SeedSource>,
    classes: Vec<Group<String>>,
    regions: Vec<Group<RegionCode>>,
    severities: Vec<Group<i32>>,
    burdens: Vec<Burden>,
    claims: Claims,
    hospitals: Hospitals,
}

/// A public source of values that nobody knows before.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct SeedSource {
    name: String,
    publisher: String,
    period_seconds: i64,
    digits: usize,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Group<T> {
    name: String,
    of: Vec<T>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Burden {
    name: String,
    diagnoses: Vec<CodeRange>,
}

/// What no group of disease burden covers.
const OTHER_BURDEN: &str = "other";

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Claims {
    size: u32,
    stratum_minimum: u32,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Hospitals {
    size: u32,
    stratum_minimum: u32,
    claims_each: u32,
}

/// Most rows of a sample: its list is read and answered whole.
const LARGEST_SAMPLE: u32 = 5000;

impl Rule for Rules {
    fn check(&self) -> Result<(), String> {
        let names = |field: &str, names: Vec<&str>| {
            let plain = |name: &&str| {
                !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            };
            match names.iter().position(|name| !plain(name)) {
                Some(_) => Err(format!("{field}: a name must be letters, digits and hyphens")),
                None if names.is_empty() => Err(format!("{field} must not be empty")),
                None if (1..names.len()).any(|n| names[..n].contains(&names[n])) => {
                    Err(format!("{field}: a name stands twice"))
                }
                None => Ok(()),
            }
        };
        names("classes", self.classes.iter().map(|group| group.name.as_str()).collect())?;
        names("regions", self.regions.iter().map(|group| group.name.as_str()).collect())?;
        names("severities", self.severities.iter().map(|group| group.name.as_str()).collect())?;
        let burdens = self.burdens.iter().map(|group| group.name.as_str()).chain([OTHER_BURDEN]);
        names("burdens", burdens.collect())?;
        names("seed-sources", self.seed_sources.iter().map(|source| source.name.as_str()).collect())?;
        if self.protocol.is_empty() || self.earlier_protocols.contains(&self.protocol) {
            return Err("protocol must not be empty, and not stand among earlier-protocols".into());
        }

        once("classes", &self.classes, ["A", "B", "C", "D", ""].map(str::to_owned))?;
        once("regions", &self.regions, vocabulary::provinces())?;
        once("severities", &self.severities, 0..=3)?;
        let figures = [
            ("quarter-target", self.quarter_target, 1, i64::from(LARGEST_SAMPLE)),
            ("quiet-days", self.quiet_days, 1, 31),
            ("seed-lead-minutes", self.seed_lead_minutes, 1, 1440),
            ("seed-latest-days", self.seed_latest_days, 1, 60),
        ];
        if let Some((name, _, least, most)) =
            figures.into_iter().find(|(_, figure, least, most)| !(least..=most).contains(&figure))
        {
            return Err(format!("{name} must be {least} to {most}"));
        }
        for source in &self.seed_sources {
            if !(1..=86_400).contains(&source.period_seconds) || !(16..=256).contains(&source.digits) {
                return Err("seed-sources: period-seconds must be 1 to 86400, digits 16 to 256".into());
            }
            if source.publisher.trim().is_empty() {
                return Err("seed-sources: publisher must say who publishes the values".into());
            }
        }
        for kind in [Kind::Claims, Kind::Hospitals] {
            let (field, strata) = match kind {
                Kind::Claims => ("claims", self.places() * self.severities.len() * (self.burdens.len() + 1)),
                Kind::Hospitals => ("hospitals", self.places()),
            };
            let (size, minimum) = self.sample(kind);
            if !(1..=u64::from(LARGEST_SAMPLE)).contains(&size) {
                return Err(format!("{field}.size must be 1 to {LARGEST_SAMPLE}"));
            }
            // Else a frame with rows in every stratum would not get a sample of just the size.
            if strata as u64 * minimum > size {
                return Err(format!("{field}.stratum-minimum times {strata} strata is more than the size"));
            }
        }
        if i64::from(self.claims.size) < self.quarter_target {
            return Err("claims.size must be at least quarter-target".into());
        }
        if !(1..=LARGEST_SAMPLE).contains(&self.hospitals.claims_each) {
            return Err(format!("hospitals.claims-each must be 1 to {LARGEST_SAMPLE}"));
        }
        Ok(())
    }
}

fn once<T: PartialEq + std::fmt::Debug>(
    field: &str,
    groups: &[Group<T>],
    all: impl IntoIterator<Item = T>,
) -> Result<(), String> {
    let mut known = 0;
    for value in all {
        known += 1;
        let times = groups.iter().flat_map(|group| &group.of).filter(|of| **of == value).count();
        if times != 1 {
            return Err(format!("{field}: {value:?} stands in {times} lists instead of one"));
        }
    }
    let listed: usize = groups.iter().map(|group| group.of.len()).sum();
    if listed == known { Ok(()) } else { Err(format!("{field}: a value is listed that does not exist")) }
}

fn group_of<T>(groups: &[Group<T>], is: impl Fn(&T) -> bool) -> Option<&str> {
    groups.iter().find(|group| group.of.iter().any(&is)).map(|group| group.name.as_str())
}

impl Rules {
    fn places(&self) -> usize {
        self.classes.len() * self.regions.len()
    }

    /// Rows to be drawn from a frame, and from each stratum at least.
    #[must_use]
    pub fn sample(&self, kind: Kind) -> (u64, u64) {
        match kind {
            Kind::Claims => (self.claims.size.into(), self.claims.stratum_minimum.into()),
            Kind::Hospitals => (self.hospitals.size.into(), self.hospitals.stratum_minimum.into()),
        }
    }

    /// Claims drawn in each drawn hospital for a review of their coding.
    #[must_use]
    pub fn claims_each(&self) -> u64 {
        self.hospitals.claims_each.into()
    }

    /// Claims whose audit must be closed in a quarter.
    #[must_use]
    pub fn quarter_target(&self) -> i64 {
        self.quarter_target
    }

    /// The stratum of a hospital; `None` for a class or province that does not exist.
    #[must_use]
    pub fn hospital_stratum(&self, class: &str, province: &str) -> Option<String> {
        let class = group_of(&self.classes, |of| of == class)?;
        let region = group_of(&self.regions, |of| of.as_str() == province)?;
        Some(format!("{class},{region}"))
    }

    /// The stratum of a claim; `None` for a class, province or severity that does not exist.
    #[must_use]
    pub fn claim_stratum(
        &self,
        class: &str,
        province: &str,
        severity: i32,
        primary: &Icd10,
    ) -> Option<String> {
        let place = self.hospital_stratum(class, province)?;
        let severity = group_of(&self.severities, |of| *of == severity)?;
        let burden = self.burdens.iter().find(|group| any_covers(&group.diagnoses, primary.as_str()));
        let burden = burden.map_or(OTHER_BURDEN, |group| group.name.as_str());
        Some(format!("{place},{severity},{burden}"))
    }

    /// The first day on which the frame of a quarter may be published.
    #[must_use]
    pub fn publishable_from(&self, quarter: Quarter) -> Date {
        quarter.end().saturating_add(self.quiet_days.days())
    }

    /// The source of this name.
    #[must_use]
    pub fn seed_source(&self, name: &str) -> Option<&SeedSource> {
        self.seed_sources.iter().find(|source| source.name == name)
    }

    /// The names of the sources, for a message.
    #[must_use]
    pub fn seed_source_names(&self) -> String {
        self.seed_sources.iter().map(|source| source.name.as_str()).collect::<Vec<_>>().join(", ")
    }

    /// Between which instants the seed of a frame may lie that is published now.
    #[must_use]
    pub fn seed_window(&self, now: Timestamp) -> (Timestamp, Timestamp) {
        let after =
            |minutes| now.saturating_add(SignedDuration::from_mins(minutes)).unwrap_or(Timestamp::MAX);
        (after(self.seed_lead_minutes), after(self.seed_latest_days * 24 * 60))
    }

    /// The protocol in force.
    #[must_use]
    pub fn protocol(&self) -> &str {
        &self.protocol
    }

    /// Whether an audit may follow a protocol: the one in force or an earlier one.
    #[must_use]
    pub fn knows_protocol(&self, version: &str) -> bool {
        version == self.protocol || self.earlier_protocols.iter().any(|earlier| earlier == version)
    }
}

impl SeedSource {
    /// Whether a text has the form of its values.
    #[must_use]
    pub fn is_value(&self, text: &str) -> bool {
        text.len() == self.digits
            && text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
    }

    /// Digits of a value.
    #[must_use]
    pub fn digits(&self) -> usize {
        self.digits
    }

    /// Whether a value published then is the first one at the announced instant or later: no other can be.
    #[must_use]
    pub fn is_first(&self, announced: Timestamp, published: Timestamp) -> bool {
        let late = published.duration_since(announced);
        !late.is_negative() && late < SignedDuration::from_secs(self.period_seconds)
    }
}

/// Where an audit stands. The numbers are those of the contract and of the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i16)]
pub enum State {
    /// Drawn.
    Registered = 1,
    /// An auditor is at work.
    Review = 2,
    /// Closed with a verdict.
    Done = 3,
}

impl State {
    /// The state of a number.
    #[must_use]
    pub fn of(number: i16) -> Option<Self> {
        [Self::Registered, Self::Review, Self::Done].into_iter().find(|state| *state as i16 == number)
    }

    /// Its name in messages.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Registered => "REGISTERED",
            Self::Review => "REVIEW",
            Self::Done => "DONE",
        }
    }

    /// The state after a step.
    ///
    /// # Errors
    /// When the step is not lawful now.
    pub fn take(self, step: Step) -> Result<Self, NotNow> {
        match (step, self) {
            (Step::Begin, Self::Registered) | (Step::Find, Self::Review) => Ok(Self::Review),
            (Step::Close, Self::Review) | (Step::Recover, Self::Done) => Ok(Self::Done),
            _ => Err(NotNow { state: self, step }),
        }
    }
}

/// A step of an audit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// An auditor begins.
    Begin,
    /// A finding is recorded.
    Find,
    /// It is closed.
    Close,
    /// Settlement recovers what it found.
    Recover,
}

impl Step {
    /// The state from which it may be taken.
    #[must_use]
    pub const fn allowed_from(self) -> State {
        match self {
            Self::Begin => State::Registered,
            Self::Find | Self::Close => State::Review,
            Self::Recover => State::Done,
        }
    }
}

/// The step cannot be taken now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotNow {
    /// Where the audit stands.
    pub state: State,
    /// What was wanted.
    pub step: Step,
}

/// What an audit came to. The numbers are those of the contract and of the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i16)]
pub enum Verdict {
    /// As it should be.
    Conform = 1,
    /// Not so.
    NotConform = 2,
    /// Put right by the hospital.
    Corrected = 3,
}

/// What of a verdict is unfounded: the field, and what it must be.
#[must_use]
pub fn unfounded(verdict: Verdict, findings: usize, recovery: i64, paid: i64) -> Vec<(&'static str, String)> {
    let mut wrong = Vec::new();
    match verdict {
        Verdict::Conform if recovery > 0 => {
            wrong.push(("recovery_rupiah", "must be 0 for a claim that conforms".to_owned()));
        }
        Verdict::NotConform | Verdict::Corrected if findings == 0 => {
            wrong.push(("verdict", "needs a finding; record it with RecordAuditFinding".to_owned()));
        }
        _ => {}
    }
    if recovery > paid {
        wrong.push(("recovery_rupiah", format!("must be at most what was paid, {paid}")));
    }
    wrong
}

/// Audits of one day of closing, protocol and verdict.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Closed {
    /// Day of closing.
    pub on: Date,
    /// Protocol that was followed.
    pub protocol: String,
    /// Verdict.
    pub verdict: Verdict,
    /// Distinct claims.
    pub claims: i64,
    /// Sum to be recovered.
    pub recovery_rupiah: i64,
}

/// What a quarter came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// Claims that count.
    pub audited: i64,
    /// Of them those that conform.
    pub conform: i64,
    /// Of them those that do not.
    pub not_conform: i64,
    /// Of them those that were corrected.
    pub corrected: i64,
    /// Sum to be recovered for those that count.
    pub recovery_rupiah: i64,
    /// Claims whose audit followed another protocol.
    pub other_protocols: i64,
}

/// Counts the audits closed in a quarter; whether a day's protocol was the one in force, the caller knows.
#[must_use]
pub fn tally(quarter: Quarter, closed: &[(Closed, bool)]) -> Tally {
    let mut tally = Tally::default();
    for (closed, in_force) in closed.iter().filter(|(closed, _)| quarter.holds(closed.on)) {
        if !in_force {
            tally.other_protocols += closed.claims;
            continue;
        }
        tally.audited += closed.claims;
        tally.recovery_rupiah += closed.recovery_rupiah;
        *match closed.verdict {
            Verdict::Conform => &mut tally.conform,
            Verdict::NotConform => &mut tally.not_conform,
            Verdict::Corrected => &mut tally.corrected,
        } += closed.claims;
    }
    tally
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const POLICY: &str = include_str!("../../../policy/claims/audit.toml");

    fn rules() -> Rules {
        chassis::policy::parse::<Rules>("claims/audit.toml", POLICY).unwrap().versions()[0].rule.clone()
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn a_policy_that_leaves_a_stratum_out_or_asks_too_much_is_refused() {
        let mistake = |from: &str, to: &str| {
            assert!(POLICY.contains(from), "{from}");
            chassis::policy::parse::<Rules>("claims/audit.toml", &POLICY.replacen(from, to, 1))
                .unwrap_err()
                .message
        };
        assert!(mistake("\"34\", ", "").contains("regions"));
        assert!(mistake("of = [2, 3]", "of = [2, 3, 3]").contains("severities: 3"));
        assert!(mistake("of = [2, 3]", "of = [2, 3, 4]").contains("does not exist"));
        assert!(mistake("[\"D\", \"\"]", "[\"D\"]").contains("classes"));
        assert!(mistake("name = \"B\"", "name = \"A\"").contains("twice"));
        assert!(mistake("\"java-bali\"", "\"java, bali\"").contains("hyphens"));
        assert!(mistake("stratum-minimum = 1", "stratum-minimum = 2").contains("strata"));
        assert!(mistake("size = 250", "size = 249").contains("quarter-target"));
        assert!(mistake("[\"before-dlr-4.1\"]", "[\"dlr-4.1-revised\"]").contains("earlier-protocols"));
        assert!(mistake("quiet-days = 1", "quiet-days = 0").contains("quiet-days"));
    }

    #[test]
    fn a_claim_has_one_stratum() {
        let of = |class, province, severity, primary: &str| {
            rules().claim_stratum(class, province, severity, &Icd10::parse(primary).unwrap())
        };
        assert_eq!(of("B", "32", 0, "E11.9").as_deref(), Some("B,java-bali,outpatient,noncommunicable"));
        assert_eq!(
            of("", "94", 3, "O82.9").as_deref(),
            Some("D,nusa-tenggara-maluku-papua,severity-2-3,maternal-newborn")
        );
        assert_eq!(of("A", "12", 1, "A41.9").as_deref(), Some("A,sumatra,severity-1,communicable"));
        assert_eq!(of("C", "73", 2, "S72.0").as_deref(), Some("C,kalimantan-sulawesi,severity-2-3,other"));
        assert_eq!(of("E", "32", 0, "E11.9"), None);
        assert_eq!(of("B", "00", 0, "E11.9"), None);
        assert_eq!(of("B", "32", 4, "E11.9"), None);
    }

    #[test]
    fn a_frame_waits_for_the_end_of_its_quarter_and_a_seed_for_the_frame() {
        let rules = rules();
        let from = rules.publishable_from(Quarter::parse("2026-Q3").unwrap());
        assert_eq!(from.to_string(), "2026-10-02");
        let (earliest, latest) = rules.seed_window(at("2026-10-02T03:00:00Z"));
        assert_eq!((earliest, latest), (at("2026-10-02T04:00:00Z"), at("2026-10-16T03:00:00Z")));
    }

    #[test]
    fn only_the_first_value_after_the_announced_instant_is_the_seed() {
        let rules = rules();
        let (drand, nist) =
            (rules.seed_source("drand-quicknet").unwrap(), rules.seed_source("nist-beacon-2").unwrap());
        assert!(rules.seed_source("a-friend").is_none());
        let announced = at("2026-10-05T03:00:00Z");
        let first = |source: &SeedSource, published: &str| source.is_first(announced, at(published));
        assert!(first(drand, "2026-10-05T03:00:00Z") && first(drand, "2026-10-05T03:00:02.9Z"));
        assert!(!first(drand, "2026-10-05T02:59:59Z") && !first(drand, "2026-10-05T03:00:03Z"));
        assert!(first(nist, "2026-10-05T03:00:59Z") && !first(nist, "2026-10-05T03:01:00Z"));
        assert!(
            drand.is_value(&"0a".repeat(32))
                && !drand.is_value(&"0A".repeat(32))
                && !nist.is_value(&"0a".repeat(32))
        );
    }

    #[test]
    fn a_verdict_rests_on_findings_and_recovers_no_more_than_was_paid() {
        let wrong = |verdict, findings, recovery| {
            unfounded(verdict, findings, recovery, 1000)
                .into_iter()
                .map(|(field, _)| field)
                .collect::<Vec<_>>()
        };
        assert!(wrong(Verdict::Conform, 0, 0).is_empty());
        assert!(wrong(Verdict::Conform, 2, 0).is_empty(), "a finding need not make a claim not conform");
        assert!(wrong(Verdict::NotConform, 1, 1000).is_empty() && wrong(Verdict::Corrected, 1, 0).is_empty());
        assert_eq!(wrong(Verdict::Conform, 0, 1), ["recovery_rupiah"]);
        assert_eq!(wrong(Verdict::NotConform, 0, 1001), ["verdict", "recovery_rupiah"]);
    }

    fn closed(on: &str, protocol: &str, claims: i64) -> Closed {
        Closed {
            on: on.parse().unwrap(),
            protocol: protocol.into(),
            verdict: Verdict::Conform,
            claims,
            recovery_rupiah: 0,
        }
    }

    #[test]
    fn two_hundred_and_forty_nine_is_not_met() {
        let quarter = Quarter::parse("2026-Q4").unwrap();
        let rules = rules();
        let audited = |rows: &[Closed]| {
            let rows: Vec<_> =
                rows.iter().map(|row| (row.clone(), row.protocol == rules.protocol())).collect();
            tally(quarter, &rows).audited
        };
        let within =
            [closed("2026-10-01", "dlr-4.1-revised", 200), closed("2026-12-31", "dlr-4.1-revised", 49)];
        assert!(audited(&within) < rules.quarter_target());
        let around = [closed("2026-09-30", "dlr-4.1-revised", 9), closed("2027-01-01", "dlr-4.1-revised", 9)];
        assert!(audited(&[&within[..], &around[..]].concat()) < rules.quarter_target());
        let old = closed("2026-11-11", "before-dlr-4.1", 1);
        assert!(audited(&[&within[..], &[old]].concat()) < rules.quarter_target());
        let one = closed("2026-11-11", "dlr-4.1-revised", 1);
        assert_eq!(audited(&[&within[..], &[one]].concat()), rules.quarter_target());
    }

    proptest! {
        #[test]
        fn an_audit_is_only_ever_registered_reviewed_and_done(steps in proptest::collection::vec(0..3usize, 0..30)) {
            let mut state = State::Registered;
            let mut closed = 0;
            for step in steps {
                let step = [Step::Begin, Step::Find, Step::Close][step];
                let Ok(after) = state.take(step) else { continue };
                prop_assert_eq!(state, step.allowed_from());
                prop_assert!(after as i16 >= state as i16, "never back");
                closed += i32::from(after == State::Done);
                state = after;
            }
            prop_assert!(closed <= 1);
            prop_assert_eq!(State::of(state as i16), Some(state));
        }

        #[test]
        fn every_claim_that_can_be_has_a_stratum_of_plain_words(
            class in 0..5usize, province in 0..38usize, severity in 0..4i32, primary in "[A-Z][0-9]{2}(\\.[0-9])?",
        ) {
            let class = ["A", "B", "C", "D", ""][class];
            let province = vocabulary::provinces().nth(province).unwrap();
            let primary = Icd10::parse(&primary).unwrap();
            let stratum = rules().claim_stratum(class, province.as_str(), severity, &primary).unwrap();
            prop_assert_eq!(stratum.split(',').count(), 4);
            prop_assert!(stratum.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b','));
            prop_assert!(stratum.starts_with(&rules().hospital_stratum(class, province.as_str()).unwrap()));
        }
    }
}
