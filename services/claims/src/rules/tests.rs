use std::sync::LazyLock;

use cel::common::ast::IdedExpr;
use proptest::prelude::*;

use super::{evaluate::Answers, facts::Recent, formula::Formula, load::parse, tracer::Timeliness, *};

const EDITS: &str = include_str!("../../../../policy/claims/edits.toml");
const TRACERS: &str = include_str!("../../../../policy/claims/tracers.toml");

fn edits() -> RuleSet {
    parse("claims/edits.toml", EDITS).unwrap_or_else(|mistakes| panic!("{mistakes:#?}"))
}

fn tracers() -> RuleSet {
    parse("claims/tracers.toml", TRACERS).unwrap_or_else(|mistakes| panic!("{mistakes:#?}"))
}

fn found(facts: &Facts) -> Vec<(String, Reason)> {
    let verdict = judge([&edits()], facts);
    verdict.pending().map(|rule| (rule.id.clone(), rule.reason.unwrap())).collect()
}

fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

fn inpatient(primary: &str) -> Facts {
    Facts {
        care: "inpatient".into(),
        clinic: String::new(),
        primary: primary.into(),
        stay_days: 4,
        stay_hours: 74,
        ..Facts::default()
    }
}

#[test]
fn the_files_hold_what_they_say_and_every_example_is_as_told() {
    let (edits, tracers) = (edits(), tracers());
    assert_eq!((edits.kind, tracers.kind), (Kind::Edits, Kind::Tracers));
    assert!(edits.rules.len() >= 50, "{}", edits.rules.len());
    let of = |level| tracers.rules.iter().filter(|rule| rule.level == Some(level)).count();
    assert_eq!((of(Level::Fktp), of(Level::Fkrtl)), (15, 10));
    assert!(tracers.rules.iter().all(|rule| rule.issued_on.is_none()), "a proposal was issued by nobody");
    for reason in 1..=6 {
        let reason = Reason::of(reason);
        assert!(edits.rules.iter().any(|rule| rule.reason == reason), "{reason:?}");
    }
    // Every rule says why the hospital should believe it, and every name at the head of the file is one.
    let steps = edits.rules.iter().chain(&tracers.rules).map(|rule| rule.steps()).max().unwrap();
    assert!(steps < 5_000, "{steps}");
}

#[test]
fn a_clean_claim_has_no_finding() {
    assert_eq!(found(&inpatient("J18.9")), vec![]);
    let visits = [8, 0].map(|days_before| Recent { days_before, ..Recent::default() }).to_vec();
    assert_eq!(found(&Facts { primary: "I10".into(), episodes: visits, ..Facts::default() }), vec![]);
}

#[test]
fn each_national_reason_is_found() {
    let one = |id: &str, reason| vec![(id.to_owned(), reason)];
    let coding = Facts { primary: "I50.0".into(), secondary: texts(&["I10"]), ..Facts::default() };
    assert_eq!(found(&coding), one("combination-i10-i50", Reason::Coding));
    let sex = Facts { primary: "N40".into(), ..Facts::default() };
    assert_eq!(found(&sex), one("male-only-n40-n51", Reason::Coding));

    let seven = Recent { days_before: 7, ..Recent::default() };
    let repeated = Facts { episodes: vec![seven.clone()], ..Facts::default() };
    assert_eq!(found(&repeated), one("repeated-visit", Reason::RepeatedOutpatientVisit));
    let eight = Facts { episodes: vec![Recent { days_before: 8, ..seven }], ..Facts::default() };
    assert_eq!(found(&eight), vec![], "eight days are not within seven");
    let series = Facts { clinic: "HDL".into(), ..repeated };
    assert_eq!(found(&series), vec![], "dialysis comes in series");

    let evidence = Facts { primary: "A15.0".into(), ..Facts::default() };
    assert_eq!(found(&evidence), one("tuberculosis-without-sitb", Reason::CodeWithoutEvidence));
    let bare = Facts { documents: vec![], ..inpatient("J18.9") };
    assert_eq!(found(&bare), one("inpatient-without-summary", Reason::CodeWithoutEvidence));

    let dialysis = Facts {
        primary: "I10".into(),
        procedures: texts(&["39.95"]),
        clinic: "HDL".into(),
        ..Facts::default()
    };
    let expected = one("dialysis-without-kidney-failure", Reason::VisitOrProcedureIndication);
    assert_eq!(found(&dialysis), expected);
    let two = Facts { secondary: texts(&["N18.5"]), ..dialysis };
    assert_eq!(found(&two), one("combination-i10-n18", Reason::Coding));

    let short = Facts { stay_hours: 5, stay_days: 1, ..inpatient("R50.9") };
    assert_eq!(found(&short), one("inpatient-short-stay", Reason::InpatientIndication));
    let died = Facts { discharge: "died".into(), ..short };
    assert_eq!(found(&died), vec![], "who died was not admitted without need");
}

#[test]
fn every_finding_is_told_and_the_gravest_reason_comes_first() {
    let facts = Facts {
        secondary: texts(&["N40"]),
        documents: vec![],
        initial_diagnosis: "A15.0".into(),
        ..inpatient("A15.0")
    };
    let reasons: Vec<_> = found(&facts).into_iter().map(|(_, reason)| reason).collect();
    assert_eq!(reasons, [Reason::Coding, Reason::CodeWithoutEvidence, Reason::CodeWithoutEvidence]);
    let verdict = judge([&edits()], &facts);
    assert_eq!(verdict.reason(), Some(Reason::Coding));
    let told: Vec<_> = verdict.findings.iter().map(|rule| rule.reason.is_none()).collect();
    assert!(told.is_sorted(), "what is told only comes last: {told:?}");
}

#[test]
fn a_tracer_says_when_it_cannot_be_assessed_and_never_guesses() {
    let outcome = |facts: &Facts, id: &str| {
        let verdict = judge([&tracers()], facts);
        verdict.tracers.iter().find(|(rule, _)| rule.id == id).map(|(_, outcome)| *outcome)
    };
    let facts = Facts { primary: "I10".into(), ..Facts::default() };
    assert_eq!(outcome(&facts, "fktp-hypertension-controlled"), Some(Outcome::NotAssessable));
    let unmeasured = Facts { pcare: Some(facts::PcareRecord::default()), ..facts.clone() };
    assert_eq!(outcome(&unmeasured, "fktp-hypertension-controlled"), Some(Outcome::NotAssessable));
    let record =
        facts::PcareRecord { systolic: Some(150), diastolic: Some(80), ..facts::PcareRecord::default() };
    let with = Facts { pcare: Some(record), ..facts.clone() };
    assert_eq!(outcome(&with, "fktp-hypertension-controlled"), Some(Outcome::Fires));
    assert_eq!(outcome(&facts, "fkrtl-stroke-imaging"), None, "it does not apply");
    let scanned = Facts { procedures: texts(&["87.03"]), ..inpatient("I63.9") };
    assert_eq!(outcome(&scanned, "fkrtl-stroke-imaging"), Some(Outcome::Clear));
}

#[test]
fn a_rule_holds_on_its_own_days() {
    let ended = EDITS.replacen(
        "id = \"combination-i10-i50\"\nversion = 1",
        "id = \"combination-i10-i50\"\nversion = 1\neffective-to = \"2026-03-02\"",
        1,
    );
    let set = parse("edits.toml", &ended).unwrap();
    let facts = |day: &str| Facts {
        service_date: day.parse().unwrap(),
        primary: "I50.0".into(),
        secondary: texts(&["I10"]),
        ..Facts::default()
    };
    assert_eq!(judge([&set], &facts("2026-03-02")).findings.len(), 1);
    assert_eq!(judge([&set], &facts("2026-03-03")).findings.len(), 0);
    assert_ne!(set.digest, edits().digest);
}

/// A small set with one rule, to make mistakes in.
const SMALL: &str = r#"kind = "edits"
version = "t.1"
source = "a test"
embedded-on = "2026-01-01"
effective-from = "2026-01-01"

[[rule]]
id = "a-rule"
version = 1
severity = "high"
reason = "coding"
when = "claim.primary.coded('I10')"
message = { id = "x", en = "x" }
cure = { id = "x", en = "x" }
fires = [{ primary = "I10" }]
quiet = [{ primary = "I11.0" }]
"#;

#[test]
fn a_mistake_names_file_line_rule_and_what_is_wrong() {
    parse("t.toml", SMALL).unwrap();
    let mistakes = |from: &str, to: &str| {
        assert!(SMALL.contains(from), "{from}");
        parse("t.toml", &SMALL.replacen(from, to, 1)).unwrap_err()
    };
    for (from, to, line, told) in [
        ("kind = \"edits\"", "kind = \"edit\"", 1, "unknown variant"),
        ("version = \"t.1\"", "version = \"T 1\"", 2, "version: 1 to 60"),
        (
            "source = \"a test\"",
            "source = \"a test\"\nholidays = [\"2026-01-02\", \"2026-01-01\"]",
            4,
            "holidays: each day once",
        ),
        ("source = \"a test\"\n", "", 6, "rule a-rule: source: must say"),
        ("embedded-on = \"2026-01-01\"\n", "", 6, "rule a-rule: embedded-on: is missing"),
        ("\"2026-01-01\"", "\"2026-13-01\"", 4, "month"),
        ("id = \"a-rule\"\n", "", 7, "rule without an id: missing field `id`"),
        ("id = \"a-rule\"", "id = \"A rule\"", 8, "rule A rule: id: 1 to 60"),
        ("version = 1", "version = 0", 9, "rule a-rule: version: at least 1"),
        ("severity = \"high\"", "severity = \"grave\"", 10, "rule a-rule: unknown variant `grave`"),
        ("reason = \"coding\"", "reason = \"coding\"\nlevel = \"fktp\"", 12, "level: is for tracers only"),
        ("reason = \"coding\"", "raeson = \"coding\"", 11, "rule a-rule: unknown field `raeson`"),
        (
            "when = \"claim.primary.coded('I10')\"",
            "when = \"claim.primari.coded('I10')\"",
            12,
            "rule a-rule: when: claim.primari",
        ),
        (
            "when = \"claim.primary.coded('I10')\"",
            "when = \"claim.primary.coded('I10'\"",
            12,
            "rule a-rule: when: no expression of CEL",
        ),
        (
            "when = \"claim.primary.coded('I10')\"",
            "when = \"standing.certified\"",
            7,
            "rule a-rule: needs: Standing is used and not named",
        ),
        (
            "when = ",
            "applies = \"standing.certified\"\nneeds = [\"standing\"]\nwhen = ",
            12,
            "applies: may only look at",
        ),
        ("message = { id = \"x\", en = \"x\" }", "message = { id = \"x\" }", 13, "missing field `en`"),
        ("cure = { id = \"x\", en = \"x\" }", "cure = { id = \"x\", en = \" \" }", 14, "cure: 1 to 300"),
        ("fires = [{ primary = \"I10\" }]", "fires = []", 15, "fires: 1 to 20 examples"),
        (
            "fires = [{ primary = \"I10\" }]",
            "fires = [{ primary = \"I11\" }]",
            15,
            "fires: example 1 is Clear",
        ),
        (
            "quiet = [{ primary = \"I11.0\" }]",
            "quiet = [{ primary = \"I11.0\" }, { primary = \"I10\" }]",
            16,
            "quiet: example 2 is Fires",
        ),
        (
            "quiet = [{ primary = \"I11.0\" }]",
            "quiet = [{ primery = \"I11.0\" }]",
            16,
            "unknown field `primery`",
        ),
        ("[[rule]]", "[rule]", 1, "no [[rule]]"),
        ("severity = \"high\"", "severity = ", 10, ""),
    ] {
        let mistakes = mistakes(from, to);
        let fits = mistakes.iter().any(|m| m.file == "t.toml" && m.line == line && m.message.contains(told));
        assert!(fits, "{to}: line {line}, {told}: {mistakes:?}");
    }
}

#[test]
fn every_mistake_is_told_at_once_and_versions_follow_each_other() {
    let second = SMALL.split_once("[[rule]]").unwrap().1;
    let twice = format!("{SMALL}\n[[rule]]{second}");
    let told = parse("t.toml", &twice).unwrap_err();
    assert!(told[0].message.contains("rule a-rule: version: 1 is there twice"), "{told:?}");
    let later = format!("{SMALL}\n[[rule]]{}", second.replacen("version = 1", "version = 2", 1));
    let told = parse("t.toml", &later).unwrap_err();
    assert!(told[0].message.contains("version 1 holds on days of this one"), "{told:?}");
    let right = later.replacen("version = 1", "version = 1\neffective-to = \"2026-05-31\"", 1).replacen(
        "version = 2",
        "version = 2\neffective-from = \"2026-06-01\"",
        1,
    );
    assert_eq!(parse("t.toml", &right).unwrap().rules.len(), 2);

    let many: String = (0..10)
        .map(|at| {
            format!("\n[[rule]]{}", second.replace("a-rule", &format!("r-{at}")).replace("claim.", "clam."))
        })
        .collect();
    let told = parse("t.toml", &format!("{SMALL}{many}")).unwrap_err();
    assert_eq!(told.len(), 10, "{told:?}");
    assert!(told.windows(2).all(|pair| pair[0].line < pair[1].line));
}

#[test]
fn neither_a_wild_file_nor_a_wild_claim_holds_it_up() {
    for wild in [
        "",
        "\u{0}",
        "[[rule]]",
        "rule = 1",
        "kind = \"edits\"",
        &"x".repeat(load::MOST_BYTES + 1),
        &"[".repeat(10_000),
    ] {
        assert!(parse("t.toml", wild).is_err());
    }
    let many = format!("{SMALL}{}", "\n[[rule]]\nid = \"x\"".repeat(600));
    assert!(parse("t.toml", &many).unwrap_err()[0].message.contains("500 are the most"));

    let codes: Vec<String> = (0..10_000).map(|at| format!("A{:02}.{}", at % 100, at % 10)).collect();
    let facts = Facts {
        secondary: codes.clone(),
        procedures: codes,
        episodes: vec![Recent { care: "inpatient".into(), claimed: true, ..Recent::default() }; 10_000],
        ..inpatient("I50.0")
    };
    let verdict = judge([&edits(), &tracers()], &facts);
    assert!(verdict.failed.is_empty());
}

#[test]
fn a_number_that_overflows_makes_the_rule_fail_and_nothing_else() {
    let text = SMALL
        .replace("claim.primary.coded('I10')", "claim.charges_rupiah * 3 > 10 && claim.primary.coded('I10')");
    let set = parse("t.toml", &text).unwrap();
    let verdict =
        judge([&set], &Facts { charges_rupiah: i64::MAX, primary: "I10".into(), ..Facts::default() });
    assert_eq!((verdict.failed.len(), verdict.findings.len()), (1, 0));
}

#[test]
fn a_tracer_counts_when_it_is_embedded_and_run_within_twelve_months() {
    let tracer = |issued: &str, embedded: &str| {
        let text = TRACERS.replacen(
            "embedded-on = \"2026-11-25\"",
            &format!("issued-on = \"{issued}\"\nembedded-on = \"{embedded}\""),
            1,
        );
        Arc::clone(&parse("t.toml", &text).unwrap().rules[0])
    };
    let day = |text: &str| -> Date { text.parse().unwrap() };
    let today = day("2026-06-01");
    let told = |rule: &Rule, first: Option<&str>| tracer::timeliness(rule, 12, first.map(day), today);
    let rule = tracer("2026-01-31", "2026-05-01");
    assert_eq!(tracer::due_on(&rule, 12), Some(day("2027-01-31")));
    assert_eq!(told(&rule, Some("2026-05-02")), Timeliness::InTime);
    assert_eq!(told(&rule, None), Timeliness::AwaitsFirstRun);
    let edge = tracer("2025-05-31", "2026-05-31");
    assert_eq!(told(&edge, Some("2026-05-31")), Timeliness::InTime, "the last day is in time");
    assert_eq!(told(&edge, Some("2026-06-01")), Timeliness::Late, "embedded in time, run too late");
    assert_eq!(told(&edge, None), Timeliness::Late, "the months have passed without a run");
    assert_eq!(told(&tracer("2025-05-30", "2026-05-31"), Some("2026-05-31")), Timeliness::Late);
    assert_eq!(told(&tracers().rules[0], Some("2026-05-31")), Timeliness::NotIssued);
}

fn codes() -> impl Strategy<Value = Vec<String>> {
    let code = prop_oneof![
        "[A-Z][0-9]{2}(\\.[0-9])?",
        Just("I10".to_owned()),
        Just("N18.5".into()),
        Just("I50.0".into()),
        Just("A41.9".into())
    ];
    prop::collection::vec(code, 0..8)
}

prop_compose! {
    fn recent()(inpatient: bool, days_before in -5..90_i64, stay in 0..9_i64, flags in 0..256_u32) -> Recent {
        let flag = |bit: u32| flags & (1 << bit) != 0;
        Recent {
            care: if inpatient { "inpatient" } else { "outpatient" }.into(),
            days_before,
            days_since_discharge: days_before - stay,
            overlaps: flag(0) && inpatient,
            same_facility: flag(1),
            same_clinic: flag(2),
            emergency: flag(3),
            claimed: flag(4),
            died: flag(5),
            same_package: flag(6),
            same_category: flag(7),
            ..Recent::default()
        }
    }
}

prop_compose! {
    fn any_facts()(inpatient: bool, male: bool, primary in "[A-Z][0-9]{2}", secondary in codes(), age in 0..99_i64,
                   procedures in prop::collection::vec("(39\\.95|74\\.1|99\\.04|[0-9]{2}\\.[0-9]{1,2})", 0..6),
                   stay_hours in 0..900_i64, flags in 0..16_u32, severity in 0..4_i64,
                   episodes in prop::collection::vec(recent(), 0..6)) -> Facts {
        let flag = |bit: u32| flags & (1 << bit) != 0;
        Facts {
            care: if inpatient { "inpatient" } else { "outpatient" }.into(),
            sex: if male { "male" } else { "female" }.into(),
            primary, secondary, procedures, stay_hours, severity, episodes,
            age_years: age,
            age_days: age * 365,
            stay_days: stay_hours / 24 + 1,
            has_sitb_number: flag(0),
            emergency: flag(1),
            documents: if flag(2) { vec![] } else { texts(&["medical-summary", "laboratory"]) },
            standing: flag(3).then(facts::Standing::default),
            package: "J-4-16".into(),
            ..Facts::default()
        }
    }
}

/// The expressions of both files as they are written and as they were taken apart, and the conditions they share.
struct Written {
    expressions: Vec<(String, IdedExpr, Formula)>,
    conditions: Conditions,
    lookups: Lookups,
}

static WRITTEN: LazyLock<Written> = LazyLock::new(|| {
    let mut conditions = Conditions::default();
    let rules = [edits(), tracers()].into_iter().flat_map(|set| set.rules);
    let texts = rules.flat_map(|rule| [rule.applies_text.clone(), rule.when_text.clone()]);
    let expressions = texts.filter(|text| !text.is_empty()).map(|text| {
        let (root, ..) = language::checked(&text, &mut conditions).unwrap();
        let formula = conditions.formula(&root);
        (text, root, formula)
    });
    Written { expressions: expressions.collect(), conditions, lookups: edits().lookups }
});

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn an_expression_that_is_taken_apart_says_what_cel_says_of_the_whole(facts in any_facts()) {
        let view = View::new(&facts, &WRITTEN.lookups, &WRITTEN.conditions);
        let mut answers = Answers::new(&view);
        for (text, root, formula) in &WRITTEN.expressions {
            prop_assert_eq!(answers.holds(formula).ok(), answers.whole(root), "{}", text);
        }
    }

    #[test]
    fn the_verdict_depends_on_the_facts_alone(facts in any_facts(), seed in 0..1000_usize) {
        static SETS: std::sync::OnceLock<(RuleSet, RuleSet)> = std::sync::OnceLock::new();
        let (edits, tracers) = SETS.get_or_init(|| (super::tests::edits(), super::tests::tracers()));
        let ids = |verdict: &Verdict| {
            let findings: Vec<_> = verdict.findings.iter().map(|rule| rule.id.clone()).collect();
            let tracers: Vec<_> = verdict.tracers.iter().map(|(rule, outcome)| (rule.id.clone(), *outcome)).collect();
            (findings, tracers)
        };
        let first = judge([edits, tracers], &facts);
        prop_assert!(first.failed.is_empty());
        prop_assert_eq!(ids(&first), ids(&judge([edits, tracers], &facts)), "again");
        prop_assert_eq!(ids(&first), ids(&judge([tracers, edits], &facts)), "the sets the other way round");

        // Neither the order of the codes nor that of the episodes decides anything, nor that of the rules in the file.
        let mut other = facts.clone();
        other.secondary.reverse();
        other.procedures.reverse();
        other.documents.reverse();
        if !other.episodes.is_empty() {
            let by = seed % other.episodes.len();
            other.episodes.rotate_left(by);
        }
        prop_assert_eq!(ids(&first), ids(&judge([edits, tracers], &other)));
        let mut shuffled = edits.rules.clone();
        shuffled.rotate_left(seed % edits.rules.len());
        let shuffled = RuleSet {
            rules: shuffled,
            kind: edits.kind,
            version: edits.version.clone(),
            digest: edits.digest.clone(),
            text: String::new(),
            embed_within_months: None,
            lookups: edits.lookups.clone(),
            conditions: edits.conditions.clone(),
        };
        prop_assert_eq!(ids(&first), ids(&judge([tracers, &shuffled], &facts)));
    }
}
