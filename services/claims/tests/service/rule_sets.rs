//! Sets of rules: tried on a past period, activated, refused with their mistakes.

use std::time::Instant;

use crate::{
    refusal::{fact, reason, wrong_fields},
    served::Served,
    wishes::{BPJS, HOSPITAL, coding, day, key, today, visit},
};
use claims::rules::load;
use proto::claims::v1 as pb;
use tonic::{Code, Status};

pub(crate) const EDITS: &str = include_str!("../../../../policy/claims/edits.toml");
pub(crate) const TRACERS: &str = include_str!("../../../../policy/claims/tracers.toml");

/// The active edits with another version, without one rule, and with one more.
fn candidate(version: &str) -> String {
    let one_less = EDITS.replacen(
        "id = \"combination-i10-i50\"\nversion = 1\n",
        "id = \"combination-i10-i50\"\nversion = 1\neffective-to = \"2014-01-01\"\n",
        1,
    );
    assert_ne!(one_less, EDITS);
    let renamed = one_less.replacen("version = \"2026.1\"", &format!("version = \"{version}\""), 1);
    format!(
        "{renamed}
[[rule]]
id = \"diabetes-without-laboratory\"
version = 1
severity = \"medium\"
reason = \"code-without-evidence\"
embedded-on = \"{}\"
evidence = [\"laboratory\"]
when = \"claim.primary.coded('E10-E14') && !('laboratory' in claim.documents)\"
message = {{ id = \"Diabetes tanpa hasil laboratorium\", en = \"Diabetes without a laboratory result\" }}
cure = {{ id = \"Lampirkan hasil\", en = \"Add the result\" }}
fires = [{{}}]
quiet = [{{ primary = \"I10\" }}]
",
        today()
    )
}

pub(crate) async fn activate(
    served: &Served,
    text: &str,
    effective_from: jiff::civil::Date,
) -> Result<pb::RuleSetActivation, Status> {
    let request = pb::ActivateRuleSetRequest {
        request_id: key(),
        rule_set: text.into(),
        effective_from: effective_from.to_string(),
        note: "decided by the board on coding".into(),
    };
    Ok(served.rules(BPJS).activate_rule_set(request).await?.into_inner().activation.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backtest_tells_what_activation_then_does() {
    let served = Served::start().await;
    let mut hypertension = coding(day(-3), "I50.0");
    hypertension.secondary_diagnoses = vec!["I10".into()];
    let with_laboratory = pb::ClaimData {
        documents: vec![pb::Document {
            kind: pb::DocumentKind::Laboratory.into(),
            reference: "lab-1".into(),
        }],
        ..coding(day(-3), "E11.9")
    };
    let kinds = [coding(day(-3), "E11.9"), hypertension, with_laboratory, coding(day(-3), "I25.1")];
    let mut claims = Vec::new();
    for (at, data) in kinds.iter().cycle().take(12).enumerate() {
        let class =
            [proto::accreditation::v1::HospitalClass::B, proto::accreditation::v1::HospitalClass::C][at % 2];
        served.others(|others| others.standing.hospital_class = class.into());
        let claim = served.coded(&served.issue(visit(day(-3))).await.unwrap(), data.clone()).await;
        claims.push(served.submitted(&claim).await.unwrap());
    }
    // A quarter: the first claim, many times.
    served.copies(&claims[0], 1, 300).await;

    let text = candidate("2026.2");
    let request = pb::BacktestRuleSetRequest {
        rule_set: text.clone(),
        service_date_from: day(-90).to_string(),
        service_date_to: today().to_string(),
    };
    let rows = served.rows().await;
    let begun = Instant::now();
    let told = served.rules(BPJS).backtest_rule_set(request.clone()).await.unwrap().into_inner();
    println!("{} claims in {:?}", told.judged.as_ref().unwrap().claims, begun.elapsed());
    assert_eq!(served.rows().await, rows, "a backtest changes nothing");

    let stored: Vec<(uuid::Uuid, i64, String)> = sqlx::query_as(
        "select c.claim_id, c.tariff_rupiah, c.facility_code from claim c where submitted_at is not null",
    )
    .fetch_all(&served.database.pool)
    .await
    .unwrap();
    let judged = |served: &Served| {
        let mut rules = served.rules(BPJS);
        let claims: Vec<_> = stored.iter().map(|(id, rupiah, _)| (id.to_string(), *rupiah)).collect();
        async move {
            let (mut pending, mut amount, mut by_rule) = (0_i64, 0_i64, std::collections::BTreeMap::new());
            for (claim_id, rupiah) in claims {
                let said =
                    rules.validate_claim(pb::ValidateClaimRequest { claim_id }).await.unwrap().into_inner();
                if said.would_pend {
                    (pending, amount) = (pending + 1, amount + rupiah);
                }
                for finding in said.findings {
                    *by_rule.entry(finding.edit_id).or_insert(0_i64) += 1;
                }
            }
            (pending, amount, by_rule)
        }
    };
    let before = judged(&served).await;
    let act = activate(&served, &text, day(-90)).await.unwrap();
    assert_eq!(act.rule_set, told.candidate, "what was tried is what was activated");
    let after = judged(&served).await;

    let total = told.total.as_ref().unwrap();
    let of = |sum: &Option<pb::BacktestSum>| sum.as_ref().map(|sum| (sum.claims, sum.amount_rupiah)).unwrap();
    assert_eq!(of(&told.judged).0, 312);
    assert_eq!(of(&total.active), (before.0, before.1));
    assert_eq!(of(&total.candidate), (after.0, after.1));
    assert_eq!(
        (before.0, after.0),
        (3, 303),
        "three for heart failure before, 303 without a laboratory after"
    );
    assert_eq!((of(&total.added).0, of(&total.removed).0, of(&total.reason_changed).0), (303, 3, 0));
    let rule = |id: &str| told.by_rule.iter().find(|row| row.rule_id == id).unwrap();
    for (id, count) in &before.2 {
        assert_eq!(of(&rule(id).active).0, *count, "{id}");
    }
    for (id, count) in &after.2 {
        assert_eq!(of(&rule(id).candidate).0, *count, "{id}");
    }
    let classes: Vec<_> = told.by_class.iter().map(|row| row.facility_class.as_str()).collect();
    assert_eq!(classes, ["B", "C"]);
    let sum: i64 = told.by_class.iter().map(|row| of(&row.candidate).1).sum();
    assert_eq!(sum, of(&total.candidate).1, "the classes add up");

    // Now the candidate is what holds: trying it again changes nothing more.
    let again = served.rules(BPJS).backtest_rule_set(request).await.unwrap().into_inner().total.unwrap();
    assert_eq!((of(&again.added).0, of(&again.removed).0), (0, 0));
    assert_eq!(again.active, again.candidate);
}

#[tokio::test(flavor = "multi_thread")]
async fn activation_is_an_act_with_a_day_seen_by_every_replica() {
    let served = Served::start().await;
    let (mut replica, _stop) = served.replica();
    let old = served.coded(&served.issue(visit(day(-3))).await.unwrap(), coding(day(-3), "E11.9")).await;
    let new = served.coded(&served.issue(visit(today())).await.unwrap(), coding(today(), "E11.9")).await;
    let asked = |claim: &pb::Claim| pb::ValidateClaimRequest { claim_id: claim.claim_id.clone() };
    assert!(!replica.validate_claim(asked(&new)).await.unwrap().into_inner().would_pend);

    let text = candidate("2026.2");
    let request = pb::ActivateRuleSetRequest {
        request_id: key(),
        rule_set: text.clone(),
        effective_from: today().to_string(),
        note: "decided by the board on coding".into(),
    };
    let act = served.rules(BPJS).activate_rule_set(request.clone()).await.unwrap().into_inner();
    // At once, by both, and only from its day on.
    assert!(replica.validate_claim(asked(&new)).await.unwrap().into_inner().would_pend);
    assert!(!replica.validate_claim(asked(&old)).await.unwrap().into_inner().would_pend);
    assert_eq!(served.submitted(&new).await.unwrap().state(), pb::ClaimState::Pending);
    assert_eq!(served.submitted(&old).await.unwrap().state(), pb::ClaimState::Submitted);

    let again = served.rules(BPJS).activate_rule_set(request.clone()).await.unwrap().into_inner();
    assert_eq!(again, act, "the same act again has no second effect");
    let other = pb::ActivateRuleSetRequest { note: "another".into(), ..request.clone() };
    assert_eq!(reason(&served.rules(BPJS).activate_rule_set(other).await.unwrap_err()), "REQUEST_ID_REUSED");
    let differs = activate(&served, &format!("{text}\n# one more word"), today()).await.unwrap_err();
    assert_eq!(
        (reason(&differs).as_str(), fact(&differs, "version").as_str()),
        ("RULE_SET_VERSION_USED", "2026.2")
    );
    let file = EDITS.replace("Usual days", "Other days");
    assert_eq!(reason(&activate(&served, &file, today()).await.unwrap_err()), "RULE_SET_VERSION_USED");

    // It is on record, and told.
    let read = pb::GetRuleSetRequest { kind: pb::RuleKind::Edits.into(), on: String::new() };
    let set = served.rules(HOSPITAL).get_rule_set(read.clone()).await.unwrap().into_inner();
    assert_eq!((set.text.as_str(), set.activations.len()), (text.as_str(), 1));
    let act = act.activation.unwrap();
    assert_eq!(set.activations[0], act);
    assert_eq!(
        (act.activated_by.as_str(), act.note.as_str()),
        ("bpjs:headquarters", "decided by the board on coding")
    );
    let earlier = pb::GetRuleSetRequest { on: day(-1).to_string(), ..read };
    let earlier = replica.get_rule_set(earlier).await.unwrap().into_inner();
    assert_eq!(earlier.text, EDITS, "the day before is judged by the file");
    let listed = pb::ListRulesRequest { kind: pb::RuleKind::Edits.into(), on: String::new() };
    let listed = served.rules(HOSPITAL).list_rules(listed).await.unwrap().into_inner();
    let has = |id: &str| listed.rules.iter().any(|rule| rule.rule_id == id);
    assert!(has("diabetes-without-laboratory") && !has("combination-i10-i50"));
    let events = served.events(5).await;
    let told: Vec<_> =
        events.iter().filter(|event| event.r#type == "jkn.claims.v1.RuleSetActivated").collect();
    assert_eq!((told.len(), told[0].subject.as_str()), (1, "edits/2026.2"));

    // The later of two acts holds; the text of the file under its own version brings it back.
    activate(&served, EDITS, today()).await.unwrap();
    let fresh = served.coded(&served.issue(visit(today())).await.unwrap(), coding(today(), "E11.9")).await;
    assert!(!replica.validate_claim(asked(&fresh)).await.unwrap().into_inner().would_pend);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_set_with_mistakes_is_refused_and_what_holds_stays() {
    let served = Served::start().await;
    let text =
        candidate("2026.3").replace("claim.primary.coded('E10-E14')", "claim.primary.coded('E14-E10')");
    let line = 1 + text[..text.find("E14-E10").unwrap()].matches('\n').count();
    let refused = activate(&served, &text, today()).await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::InvalidArgument, "RULE_SET_INVALID"));
    assert_eq!(wrong_fields(&refused), [format!("rule_set line {line}")]);
    let told = refused.message();
    assert!(
        told.contains(&format!("line {line}: rule diabetes-without-laboratory: when: E14-E10")),
        "{told}"
    );
    let backdated = candidate("2026.3")
        .replace(&format!("embedded-on = \"{}\"", today()), "embedded-on = \"2020-01-01\"");
    let refused = activate(&served, &backdated, today()).await.unwrap_err();
    assert!(refused.message().contains("a rule that is new is embedded today"), "{}", refused.message());
    let changed = candidate("2026.3").replacen("claim.stay_hours < 6", "claim.stay_hours <= 5", 1);
    let refused = activate(&served, &changed, today()).await.unwrap_err();
    assert!(
        refused.message().contains("rule inpatient-short-stay: version: 1 is there already"),
        "{}",
        refused.message()
    );

    let wild = pb::ActivateRuleSetRequest {
        request_id: "x".into(),
        rule_set: String::new(),
        effective_from: day(400).to_string(),
        note: "x".repeat(501),
    };
    let refused = served.rules(BPJS).activate_rule_set(wild.clone()).await.unwrap_err();
    assert_eq!(wrong_fields(&refused), ["request_id", "note", "effective_from", "rule_set"]);
    let huge = pb::ActivateRuleSetRequest { rule_set: "x".repeat(load::MOST_BYTES + 1), ..wild };
    assert!(
        wrong_fields(&served.rules(BPJS).activate_rule_set(huge).await.unwrap_err())
            .contains(&"rule_set".to_owned())
    );
    let wild = pb::BacktestRuleSetRequest {
        rule_set: "[".repeat(10_000),
        service_date_from: day(0).to_string(),
        service_date_to: day(-1).to_string(),
    };
    let refused = served.rules(BPJS).backtest_rule_set(wild.clone()).await.unwrap_err();
    assert_eq!(wrong_fields(&refused), ["service_date_to"]);
    let wild = pb::BacktestRuleSetRequest { service_date_to: day(1).to_string(), ..wild };
    assert_eq!(reason(&served.rules(BPJS).backtest_rule_set(wild).await.unwrap_err()), "RULE_SET_INVALID");
    let hospital = pb::ActivateRuleSetRequest { request_id: key(), ..Default::default() };
    let refused = served.rules(HOSPITAL).activate_rule_set(hospital).await.unwrap_err();
    assert_eq!(reason(&refused), "CALLER_NOT_ALLOWED");
    let kind = pb::ListRulesRequest { kind: 7, on: "2026-02-30".into() };
    assert_eq!(wrong_fields(&served.rules(HOSPITAL).list_rules(kind).await.unwrap_err()), ["kind", "on"]);

    let acts: i64 = sqlx::query_scalar("select count(*) from rule_set_activation")
        .fetch_one(&served.database.pool)
        .await
        .unwrap();
    assert_eq!((acts, served.rows().await), (0, 0), "nothing was written");
    let read = pb::GetRuleSetRequest { kind: pb::RuleKind::Edits.into(), on: String::new() };
    assert_eq!(served.rules(HOSPITAL).get_rule_set(read).await.unwrap().into_inner().text, EDITS);

    // What a newer program activated and this one cannot read is not guessed at.
    let claim = served.coded(&served.issue(visit(today())).await.unwrap(), coding(today(), "E11.9")).await;
    sqlx::query(
        "insert into rule_set_activation (kind, version, digest, effective_from, activated_at, activated_by, note, rule_set)
         values (1, '2099.1', '', '2014-01-01', now(), 'x', 'x', 'kind = \"oracles\"')",
    )
    .execute(&served.database.pool)
    .await
    .unwrap();
    let refused = served.submitted(&claim).await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::Unavailable, "RULE_SET_UNREADABLE"));
    assert_eq!(served.read(&claim).await.state(), pb::ClaimState::Final);
}
