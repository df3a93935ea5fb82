//! Verification by rules as its callers meet it, over gRPC and on a real Postgres.

use crate::{
    refusal::{reason, wrong_fields},
    rule_sets::{EDITS, TRACERS, activate},
    sep_life::{same, update},
    served::Served,
    wishes::{HOSPITAL, OTHER, coding, day, key, today, visit},
};
use chassis::policy::Mistake;
use claims::{
    rules::{RuleSet, load},
    store,
};
use proto::{claims::v1 as pb, referral::v1 as sisrute};
use tonic::Code;

pub(crate) async fn validated(served: &Served, claim: &pb::Claim) -> pb::ValidateClaimResponse {
    let request = pb::ValidateClaimRequest { claim_id: claim.claim_id.clone() };
    served.rules(HOSPITAL).validate_claim(request).await.unwrap().into_inner()
}

pub(crate) fn ids(findings: &[pb::Finding]) -> Vec<String> {
    findings.iter().filter(|finding| finding.reason != 0).map(|finding| finding.edit_id.clone()).collect()
}

pub(crate) async fn final_with(served: &Served, claim: &pb::Claim, data: pb::ClaimData) -> pb::Claim {
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

#[tokio::test(flavor = "multi_thread")]
async fn what_p_care_recorded_up_to_the_referral_is_what_first_level_tracers_assess() {
    use pb::TracerOutcome::{Met, NotAssessable, Unmet};
    let served = Served::start().await;
    let said = async |record: Option<sisrute::FirstLevelRecord>, code: &str| {
        served.others(|others| others.referral.first_level_record = record);
        let claim = served.coded(&served.issue(visit(today())).await.unwrap(), coding(today(), code)).await;
        let told = validated(&served, &claim).await.tracers;
        served.submitted(&claim).await.unwrap();
        let outcomes = told.iter().map(|said| (said.rule_id.clone(), said.outcome()));
        outcomes.collect::<std::collections::BTreeMap<_, _>>()
    };
    let record = sisrute::FirstLevelRecord { from_date: day(-366).to_string(), ..Default::default() };
    let pressure = |systolic_mmhg, ago: i64| {
        Some(sisrute::BloodPressure { taken_on: day(-ago).to_string(), systolic_mmhg, diastolic_mmhg: 85 })
    };

    // No referral of P-Care: nothing can be said. One without a pressure tells that none was taken in the year.
    let without = said(None, "I10").await;
    assert_eq!(without["fktp-adult-pressure-yearly"], NotAssessable);
    let never = said(Some(record.clone()), "I10").await;
    assert_eq!(
        (never["fktp-adult-pressure-yearly"], never["fktp-hypertension-controlled"]),
        (Unmet, NotAssessable)
    );
    for (systolic, controlled) in [(139, Met), (140, Unmet)] {
        let taken = sisrute::FirstLevelRecord { blood_pressure: pressure(systolic, 365), ..record.clone() };
        let taken = said(Some(taken), "I10").await;
        assert_eq!(
            (taken["fktp-adult-pressure-yearly"], taken["fktp-hypertension-controlled"]),
            (Met, controlled)
        );
    }
    let antibiotic = sisrute::FirstLevelRecord { drug_atc_codes: vec!["J01CA04".into()], ..record.clone() };
    assert_eq!(said(Some(antibiotic), "J06.9").await["fktp-acute-uri-no-antibiotic"], Unmet);
    assert_eq!(said(Some(record.clone()), "J06.9").await["fktp-acute-uri-no-antibiotic"], Met);
    for (tacc, outcome) in [(sisrute::Tacc::Unspecified, Unmet), (sisrute::Tacc::Age, Met)] {
        served.others(|others| {
            others.referral.first_level_record = Some(record.clone());
            others.referral.tacc = tacc.into();
        });
        let wish = pb::IssueSepRequest { initial_diagnosis: "I10".into(), ..visit(today()) };
        let claim = served.coded(&served.issue(wish).await.unwrap(), coding(today(), "I25.1")).await;
        let told = validated(&served, &claim).await.tracers;
        let told = told.iter().find(|said| said.rule_id == "fktp-non-specialist-referral").unwrap();
        assert_eq!(told.outcome(), outcome);
    }

    let mut rules = served.rules("djsn:sismonev");
    let request = pb::ListTracersRequest { level: pb::TracerLevel::Fktp.into() };
    let ran = rules.list_tracers(request).await.unwrap().into_inner().tracers;
    let ran = ran.into_iter().filter(|tracer| !tracer.first_run_on.is_empty());
    let ran: Vec<_> = ran.map(|tracer| tracer.rule.unwrap().rule_id).collect();
    assert_eq!(
        ran,
        [
            "fktp-acute-uri-no-antibiotic",
            "fktp-adult-glucose",
            "fktp-adult-pressure-yearly",
            "fktp-hypertension-controlled"
        ]
    );
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
        .replace("version = 2\nembedded-on = \"2026-11-26\"\n", "version = 1\n")
        .replace("version = 1\n", "version = 3\n")
        .replacen("version = \"2026.2\"", "version = \"kmk-2026\"", 1)
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
    assert_eq!((embedded.timeliness(), embedded.rule.unwrap().version), (pb::TracerTimeliness::InTime, 3));
    // Issued two years ago: embedded too late, whatever it does.
    let late = issued
        .replace("version = 3\n", "version = 4\n")
        .replacen("kmk-2026", "kmk-2026.1", 1)
        .replacen(&day(-30).to_string(), &day(-730).to_string(), 1);
    activate(&served, &late, today()).await.unwrap();
    let embedded = of(&listed(&served, pb::TracerLevel::Fkrtl).await, "fkrtl-tuberculosis-sitb");
    assert_eq!(embedded.timeliness(), pb::TracerTimeliness::Late);
}

#[tokio::test(flavor = "multi_thread")]
async fn more_visits_of_one_doctor_than_a_day_has_room_for_are_told() {
    let served = Served::start().await;
    let seen_by = |doctor: &str| pb::IssueSepRequest { doctor_code: doctor.into(), ..visit(today()) };
    let sep = served.issue(seen_by("31574")).await.unwrap();
    let claim = served.created(&sep).await;
    served.set(&claim, coding(today(), "E11.9")).await.unwrap();
    // Of the day 59 others, and besides one of the day before, of another hospital, of an in-patient, of another doctor and
    // one that is cancelled.
    sqlx::query(
        "insert into sep (sep_number, facility_code, member_id, service_date, care_type, clinic, emergency, issued_at,
                          letter, doctor_code, cancelled_at)
         select 'x' || n, case n when 61 then '0301R012' else '0301R011' end, gen_random_uuid(),
                $1::date - case n when 60 then 1 else 0 end, case n when 62 then 1 else 2 end, 'INT', false, now(), '',
                case n when 63 then '31575' else '31574' end, case n when 64 then now() end
         from generate_series(1, 64) as n",
    )
    .bind(jiff_sqlx::ToSqlx::to_sqlx(today()))
    .execute(&served.database.pool)
    .await
    .unwrap();
    let told = async || {
        let findings = validated(&served, &claim).await.findings;
        findings.iter().any(|finding| finding.edit_id == "many-visits-of-one-doctor")
    };
    assert!(!told().await);
    served.issue(seen_by("31574")).await.unwrap();
    assert!(told().await);
    assert!(!validated(&served, &claim).await.would_pend, "it is told only");
    let other = pb::UpdateSepRequest { doctor_code: "31576".into(), ..same(&sep) };
    update(&served, other).await.unwrap();
    assert!(!told().await);
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
        let seen = store::seen::seen(&mut transaction, claims).await.unwrap();
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
