//! Verification by rules as its callers meet it, over gRPC and on a real Postgres.

use std::time::Instant;

use crate::served::{
    BPJS, HOSPITAL, OTHER, Served, coding, day, fact, key, reason, today, visit, wrong_fields,
};
use chassis::policy::Mistake;
use claims::{
    rules::{RuleSet, load},
    store,
};
use proto::claims::v1 as pb;
use tonic::{Code, Status};

const EDITS: &str = include_str!("../../../../policy/claims/edits.toml");
const TRACERS: &str = include_str!("../../../../policy/claims/tracers.toml");

async fn validated(served: &Served, claim: &pb::Claim) -> pb::ValidateClaimResponse {
    let request = pb::ValidateClaimRequest { claim_id: claim.claim_id.clone() };
    served.rules(HOSPITAL).validate_claim(request).await.unwrap().into_inner()
}

fn ids(findings: &[pb::Finding]) -> Vec<String> {
    findings.iter().filter(|finding| finding.reason != 0).map(|finding| finding.edit_id.clone()).collect()
}

async fn final_with(served: &Served, claim: &pb::Claim, data: pb::ClaimData) -> pb::Claim {
    let claim = served.set(claim, data).await.unwrap();
    let claim = served.grouped(&claim).await;
    served.finalised(&claim).await.unwrap()
}

fn admission(on: jiff::civil::Date) -> pb::IssueSepRequest {
    let admitted_at = chassis::time::start_of(on).map(chassis::time::to_proto);
    pb::IssueSepRequest {
        care_type: pb::CareType::Inpatient.into(),
        poli_code: String::new(),
        admitted_at,
        initial_diagnosis: "J18.9".into(),
        ..visit(on)
    }
}

fn stay(on: jiff::civil::Date, hours: i64, primary: &str) -> pb::ClaimData {
    let mut data = coding(on, primary);
    let discharged_at = chassis::time::start_of(on).unwrap() + jiff::SignedDuration::from_hours(hours);
    data.discharged_at = Some(chassis::time::to_proto(discharged_at));
    data.documents = vec![pb::Document {
        kind: pb::DocumentKind::MedicalSummary.into(),
        reference: "resume-medis-1".into(),
    }];
    data
}

/// A claim that is told to pend, then pends, then is cured and passes.
struct Case {
    reason: pb::PendingReason,
    rule: &'static str,
    sep: pb::IssueSepRequest,
    wrong: pb::ClaimData,
    /// The corrected data; none when the cure is an answer.
    cured: Option<pb::ClaimData>,
}

fn cases() -> Vec<Case> {
    let mut coding_wrong = coding(today(), "I50.0");
    coding_wrong.secondary_diagnoses = vec!["I10".into()];
    let mut registered = coding(today(), "A15.0");
    registered.sitb_number = "SITB-2026-1".into();
    let mut dialysis = coding(today(), "I10");
    dialysis.procedures = vec!["39.95".into()];
    let indicated = pb::ClaimData { primary_diagnosis: "N18.5".into(), ..dialysis.clone() };
    let member = visit(today()).member_id;
    vec![
        Case {
            reason: pb::PendingReason::Coding,
            rule: "combination-i10-i50",
            sep: visit(today()),
            wrong: coding_wrong,
            cured: Some(coding(today(), "I11.0")),
        },
        Case {
            reason: pb::PendingReason::RepeatedOutpatientVisit,
            rule: "repeated-visit",
            sep: pb::IssueSepRequest { member_id: member, ..visit(today()) },
            wrong: coding(today(), "E11.9"),
            cured: None,
        },
        Case {
            reason: pb::PendingReason::CodeWithoutEvidence,
            rule: "tuberculosis-without-sitb",
            sep: visit(today()),
            wrong: coding(today(), "A15.0"),
            cured: Some(registered),
        },
        Case {
            reason: pb::PendingReason::VisitOrProcedureIndication,
            rule: "dialysis-without-kidney-failure",
            sep: visit(today()),
            wrong: dialysis,
            cured: Some(indicated),
        },
        Case {
            reason: pb::PendingReason::InpatientIndication,
            rule: "inpatient-short-stay",
            sep: admission(day(-2)),
            wrong: stay(day(-2), 3, "J18.9"),
            cured: Some(stay(day(-2), 30, "J18.9")),
        },
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn each_of_the_five_reasons_is_told_then_met_then_cured() {
    let served = Served::start().await;
    for case in cases() {
        let told = format!("{:?}", case.reason);
        if case.rule == "repeated-visit" {
            let first = pb::IssueSepRequest { member_id: case.sep.member_id.clone(), ..visit(day(-5)) };
            served.issue(first).await.unwrap();
        }
        let sep = served.issue(case.sep).await.unwrap();
        let claim = served.created(&sep).await;
        let empty = pb::ValidateClaimRequest { claim_id: claim.claim_id.clone() };
        let refused = served.rules(HOSPITAL).validate_claim(empty).await.unwrap_err();
        assert_eq!(reason(&refused), "CLAIM_DATA_MISSING");

        // Before it is grouped, and again when it is final: the same is told, and nothing changes.
        let draft = served.set(&claim, case.wrong.clone()).await.unwrap();
        let rows = served.rows().await;
        let early = validated(&served, &draft).await;
        assert_eq!((early.would_pend, early.reason()), (true, case.reason), "{told}: {:?}", early.findings);
        assert_eq!(served.rows().await, rows);
        assert_eq!(served.read(&draft).await.state(), pb::ClaimState::Draft);
        let claim = final_with(&served, &draft, case.wrong).await;
        let before = validated(&served, &claim).await;
        assert_eq!(ids(&before.findings), [case.rule], "{told}");
        let finding = &before.findings[0];
        assert!(!finding.cure.is_empty() && !finding.cure_indonesian.is_empty(), "{told}");
        assert!(!finding.message_indonesian.is_empty() && finding.rule_version == 1, "{told}");

        let pending = served.submitted(&claim).await.unwrap();
        assert_eq!(pending.state(), pb::ClaimState::Pending, "{told}");
        let round = &pending.pendings[0];
        assert_eq!((round.reason(), ids(&round.findings)), (case.reason, ids(&before.findings)), "{told}");
        assert!(round.findings.iter().all(|finding| finding.reason != 0), "what is told only asks nothing");

        let passed = match case.cured {
            Some(data) => {
                let cured = final_with(&served, &pending, data).await;
                let after = validated(&served, &cured).await;
                assert_eq!((after.would_pend, ids(&after.findings)), (false, vec![]), "{told}");
                served.submitted(&cured).await.unwrap()
            }
            None => {
                let answer = pb::AnswerPendingRequest {
                    request_id: key(),
                    claim_id: pending.claim_id.clone(),
                    round: 1,
                    answer: "worse since the first visit".into(),
                    documents: vec![],
                };
                served.claims(HOSPITAL).answer_pending(answer).await.unwrap().into_inner().claim.unwrap()
            }
        };
        assert_eq!(passed.state(), pb::ClaimState::Resubmitted, "{told}");
    }
    let stranger = served.created(&served.issue(visit(today())).await.unwrap()).await;
    let request = pb::ValidateClaimRequest { claim_id: stranger.claim_id };
    let refused = served.rules(OTHER).validate_claim(request).await.unwrap_err();
    assert_eq!(refused.code(), Code::NotFound, "a hospital sees its own claims only");
    let nobody = pb::ValidateClaimRequest { claim_id: "x".into() };
    assert_eq!(wrong_fields(&served.rules(HOSPITAL).validate_claim(nobody).await.unwrap_err()), ["claim_id"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_members_other_episodes_and_the_facility_are_seen() {
    let served = Served::start().await;
    // An admission, claimed; then a visit on a day of it, and the same package again within thirty days.
    let first = admission(day(-2));
    let member_id = first.member_id.clone();
    let sep = served.issue(first).await.unwrap();
    let claim = served.coded(&sep, stay(day(-2), 40, "J18.9")).await;
    let visited = pb::IssueSepRequest { member_id: member_id.clone(), ..visit(day(-1)) };
    let visited = served.created(&served.issue(visited).await.unwrap()).await;
    let visited = served.set(&visited, coding(day(-1), "I25.1")).await.unwrap();
    assert!(
        !validated(&served, &visited).await.would_pend,
        "a draft of another episode is nobody's business"
    );
    let mut died = stay(day(-2), 40, "J18.9");
    died.discharge_status = pb::DischargeStatus::Died.into();
    let claim = final_with(&served, &claim, died).await;
    served.submitted(&claim).await.unwrap();

    let again = pb::IssueSepRequest { member_id: member_id.clone(), ..admission(today()) };
    let again = served.created(&served.issue(again).await.unwrap()).await;
    let again = served.set(&again, stay(today(), 0, "J18.9")).await.unwrap();
    let again = served.grouped(&again).await;
    let found = ids(&validated(&served, &again).await.findings);
    assert!(
        found.contains(&"readmission".to_owned()) && found.contains(&"visit-after-death".to_owned()),
        "{found:?}"
    );

    // The same bill, with many components, for another patient.
    let bill = pb::HospitalCharges {
        consultation_rupiah: 150_000,
        laboratory_rupiah: 80_000,
        radiology_rupiah: 90_000,
        drug_rupiah: 65_123,
        nursing_rupiah: 40_000,
        consumable_rupiah: 12_345,
        ..Default::default()
    };
    let data = pb::ClaimData { charges: Some(bill), ..coding(today(), "I25.1") };
    let one = served.coded(&served.issue(visit(today())).await.unwrap(), data.clone()).await;
    assert_eq!(ids(&validated(&served, &one).await.findings), Vec::<String>::new());
    served.submitted(&one).await.unwrap();
    let other = served.coded(&served.issue(visit(today())).await.unwrap(), data).await;
    assert_eq!(ids(&validated(&served, &other).await.findings), ["cloned-bill"]);
    let pending = served.submitted(&other).await.unwrap();
    assert_eq!(pending.pendings[0].reason(), pb::PendingReason::Other);

    // An emergency at a facility without a certificate is served, and told.
    served.others(|others| others.standing.certified = false);
    let emergency = pb::IssueSepRequest {
        entry: pb::Entry::Emergency.into(),
        referral_number: String::new(),
        ..visit(today())
    };
    let claim = served.created(&served.issue(emergency).await.unwrap()).await;
    let claim = served.set(&claim, coding(today(), "I25.1")).await.unwrap();
    let told = validated(&served, &claim).await;
    assert!(!told.would_pend);
    assert!(told.findings.iter().any(|finding| finding.edit_id == "emergency-at-uncertified-facility"));
}

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

async fn activate(
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

#[tokio::test(flavor = "multi_thread")]
async fn a_tracer_is_listed_with_its_days_and_counts_when_it_ran_in_time() {
    let served = Served::start().await;
    let listed = |served: &Served, level: pb::TracerLevel| {
        let mut rules = served.rules("djsn:sismonev");
        let request = pb::ListTracersRequest { level: level.into() };
        async move { rules.list_tracers(request).await.unwrap().into_inner().tracers }
    };
    let of = |tracers: &[pb::Tracer], id: &str| {
        tracers.iter().find(|tracer| tracer.rule.as_ref().unwrap().rule_id == id).unwrap().clone()
    };
    let all = listed(&served, pb::TracerLevel::Unspecified).await;
    assert_eq!(all.len(), 25);
    assert_eq!(listed(&served, pb::TracerLevel::Fktp).await.len(), 15);
    assert!(all.iter().all(|tracer| tracer.timeliness() == pb::TracerTimeliness::NotIssued));

    let mut data = coding(today(), "A15.0");
    data.sitb_number = "SITB-2026-1".into();
    let claim = served.coded(&served.issue(visit(today())).await.unwrap(), data.clone()).await;
    let said = validated(&served, &claim).await;
    let outcome =
        |id: &str| said.tracers.iter().find(|said| said.rule_id == id).map(pb::TracerResult::outcome);
    assert_eq!(outcome("fkrtl-tuberculosis-sitb"), Some(pb::TracerOutcome::Met));
    assert_eq!(outcome("fktp-tb-regimen"), Some(pb::TracerOutcome::NotAssessable));
    assert_eq!(outcome("fkrtl-stroke-imaging"), None);
    assert_eq!(
        of(&listed(&served, pb::TracerLevel::Fkrtl).await, "fkrtl-tuberculosis-sitb").first_run_on,
        "",
        "asking is no run"
    );
    served.submitted(&claim).await.unwrap();
    let ran = listed(&served, pb::TracerLevel::Unspecified).await;
    assert_eq!(of(&ran, "fkrtl-tuberculosis-sitb").first_run_on, today().to_string());
    assert_eq!(of(&ran, "fktp-tb-regimen").first_run_on, "", "what could not be assessed has not run");

    // Issued by the ministry thirty days ago, embedded today.
    let issued = TRACERS
        .replace("version = 1\n", "version = 2\n")
        .replacen("version = \"2026.1\"", "version = \"kmk-2026\"", 1)
        .replacen(
            "embedded-on = \"2026-11-25\"",
            &format!("issued-on = \"{}\"\nembedded-on = \"{}\"", day(-30), today()),
            1,
        );
    activate(&served, &issued, today()).await.unwrap();
    let embedded = of(&listed(&served, pb::TracerLevel::Fkrtl).await, "fkrtl-tuberculosis-sitb");
    assert_eq!(
        (embedded.timeliness(), embedded.first_run_on.as_str()),
        (pb::TracerTimeliness::AwaitsFirstRun, "")
    );
    let claim = served.coded(&served.issue(visit(today())).await.unwrap(), data).await;
    served.submitted(&claim).await.unwrap();
    let embedded = of(&listed(&served, pb::TracerLevel::Fkrtl).await, "fkrtl-tuberculosis-sitb");
    assert_eq!((embedded.timeliness(), embedded.rule.unwrap().version), (pb::TracerTimeliness::InTime, 2));
    // Issued two years ago: embedded too late, whatever it does.
    let late = issued
        .replace("version = 2\n", "version = 3\n")
        .replacen("kmk-2026", "kmk-2026.1", 1)
        .replacen(&day(-30).to_string(), &day(-730).to_string(), 1);
    activate(&served, &late, today()).await.unwrap();
    let embedded = of(&listed(&served, pb::TracerLevel::Fkrtl).await, "fkrtl-tuberculosis-sitb");
    assert_eq!(embedded.timeliness(), pb::TracerTimeliness::Late);
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_times_more_claims_do_not_change_what_judging_one_reads() {
    let served = Served::start().await;
    let bill = pb::HospitalCharges {
        consultation_rupiah: 150_000,
        laboratory_rupiah: 80_000,
        drug_rupiah: 65_000,
        ..Default::default()
    };
    let data = pb::ClaimData { charges: Some(bill), ..coding(today(), "I25.1") };
    let first = visit(today());
    let member_id = first.member_id.clone();
    let claim = served.coded(&served.issue(first).await.unwrap(), data).await;
    for back in [3, 20, 60] {
        let visit = pb::IssueSepRequest { member_id: member_id.clone(), ..visit(day(-back)) };
        let claim = served.coded(&served.issue(visit).await.unwrap(), coding(day(-back), "I25.1")).await;
        served.submitted(&claim).await.unwrap();
    }
    let id: uuid::Uuid = claim.claim_id.parse().unwrap();
    let read = async || {
        const TUPLES: &str = "select coalesce(sum(seq_tup_read + coalesce(idx_tup_fetch, 0)), 0)::bigint
                              from pg_stat_xact_user_tables";
        let mut transaction = served.database.pool.begin().await.unwrap();
        // The backend counts since it last told the collector, which may be before this transaction.
        let before: i64 = sqlx::query_scalar(TUPLES).fetch_one(&mut *transaction).await.unwrap();
        let claims = store::claim::with_letters(&mut *transaction, &[id]).await.unwrap();
        let seen = store::rules::seen(&mut *transaction, claims).await.unwrap();
        let after: i64 = sqlx::query_scalar(TUPLES).fetch_one(&mut *transaction).await.unwrap();
        assert_eq!((seen[0].episodes.len(), seen[0].identical_bills), (3, 20));
        after - before
    };
    served.copies(&claim, 1, 5_000).await;
    let few = read().await;
    served.copies(&claim, 5_001, 50_000).await;
    let many = read().await;
    // So few rows may be read one after another; with many, only those that are looked for.
    assert!(many > 0 && many < 200 && many * 5 <= few * 6, "{few} rows read before, {many} after");
}

#[test]
fn the_files_are_read_from_outside_as_well() {
    let sets: Vec<RuleSet> = [EDITS, TRACERS].map(|text| load::parse("x", text).unwrap()).into();
    assert!(sets.iter().all(|set| set.digest.len() == 64));
    let mistakes: Vec<Mistake> = load::parse("x", "kind = 1").unwrap_err();
    assert_eq!(mistakes[0].line, 1);
}
