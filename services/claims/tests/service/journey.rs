//! SEPs and claims as their callers meet them, over gRPC and on a real Postgres.

use std::collections::BTreeSet;

use crate::{
    refusal::{fact, reason, wrong_fields},
    served::Served,
    wishes::{BPJS, HOSPITAL, OTHER, coding, day, key, today, visit},
};
use futures::future::join_all;
use prost::Message;
use proto::{claims::v1 as pb, membership::v1 as master, referral::v1 as sisrute};
use tokio_stream::StreamExt;
use tonic::Code;

#[tokio::test(flavor = "multi_thread")]
async fn a_sep_rests_on_the_answers_of_three_systems() {
    let served = Served::start().await;
    let wish = visit(today());
    let sep = served.issue(wish.clone()).await.unwrap();
    let month = today().strftime("%m%y").to_string();
    assert_eq!(sep.sep_number, format!("0301R011{month}V000001"));
    assert_eq!((sep.segment.as_str(), sep.entitled_class), ("PPU_BU", 2));
    assert_eq!(
        (sep.province_code.as_str(), sep.hospital_class.as_str(), sep.government_owned),
        ("32", "B", true)
    );
    let edges: Vec<_> = sep.evidence.iter().map(|kept| kept.edge.as_str()).collect();
    assert_eq!(edges, ["membership-vklaim", "vklaim-sisrute", "pcare-vklaim", "vklaim-siaf"]);

    // The answers can be read again as they were given.
    let get = pb::GetSepRequest { sep_number: sep.sep_number.clone() };
    let read = served.seps(BPJS).get_sep(get.clone()).await.unwrap().into_inner().sep.unwrap();
    let kept = read.evidence.iter().find(|kept| kept.edge == "vklaim-sisrute").unwrap();
    assert_eq!(kept.answer_type, "jkn.referral.v1.CheckReferralResponse");
    let answer = sisrute::CheckReferralResponse::decode(kept.answer.as_slice()).unwrap();
    assert_eq!((answer.usable, &answer.answer_id), (true, &kept.answer_id));
    assert_eq!(answer.referral_number, wish.referral_number);

    // Another hospital sees nothing of it.
    assert_eq!(served.seps(OTHER).get_sep(get).await.unwrap_err().code(), Code::NotFound);

    // The same request again is the same SEP, without asking anybody.
    let asked = served.others.lock().unwrap().asked;
    assert_eq!(served.issue(wish).await.unwrap(), sep);
    assert_eq!(served.others.lock().unwrap().asked, asked);

    let events = served.events(1).await;
    assert_eq!(events.len(), 1);
    let event = pb::SepIssued::decode(events[0].body.clone()).unwrap();
    assert_eq!((&event.sep_number, event.evidence.len()), (&sep.sep_number, 4));
    assert!(event.evidence.iter().all(|kept| kept.answer.is_empty() && !kept.answer_id.is_empty()));
    let body = String::from_utf8_lossy(&events[0].body).into_owned();
    assert!(!body.contains("E11"), "an event carries no diagnosis");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_reason_against_a_sep_is_told_at_once_and_nothing_is_written() {
    let served = Served::start().await;
    served.others(|others| {
        others.eligibility.eligible = false;
        others.eligibility.reasons = vec![master::IneligibilityReason::SuspendedForArrears.into()];
        others.referral.usable = false;
        others.referral.reasons = vec![sisrute::Unusable::ValidityEnded.into()];
        others.standing.certified = false;
    });
    let refused = served.issue(visit(today())).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert_eq!(reason(&refused), "MEMBER_NOT_ELIGIBLE");
    assert_eq!(fact(&refused, "reasons"), "MEMBER_NOT_ELIGIBLE,REFERRAL_NOT_USABLE,FACILITY_NOT_CERTIFIED");
    assert_eq!(fact(&refused, "REFERRAL_NOT_USABLE"), "VALIDITY_ENDED");
    assert_eq!(fact(&refused, "FACILITY_NOT_CERTIFIED"), "last certificate C-2024-001");
    served.others(|others| {
        others.eligibility.eligible = true;
        others.eligibility.reasons.clear();
        others.referral.usable = true;
        others.registered = false;
    });
    assert_eq!(reason(&served.issue(visit(today())).await.unwrap_err()), "FACILITY_NOT_REFERRAL_LEVEL");
    assert_eq!(reason(&served.issue(visit(day(1))).await.unwrap_err()), "SERVICE_DATE_IN_FUTURE");
    served.others(|others| others.up = false);
    let down = served.issue(visit(today())).await.unwrap_err();
    assert_eq!((down.code(), reason(&down).as_str()), (Code::Unavailable, "TEMPORARILY_UNAVAILABLE"));
    assert_eq!(served.rows().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_emergency_needs_no_referral_and_an_inpatient_no_clinic() {
    let served = Served::start().await;
    let none = pb::IssueSepRequest { referral_number: String::new(), ..visit(today()) };
    assert_eq!(reason(&served.issue(none.clone()).await.unwrap_err()), "REFERRAL_REQUIRED");
    let emergency = pb::IssueSepRequest {
        request_id: key(),
        entry: pb::Entry::Emergency.into(),
        care_type: pb::CareType::Inpatient.into(),
        poli_code: String::new(),
        admitted_at: chassis::time::start_of(today()).map(chassis::time::to_proto),
        class_upgrade: Some(pb::ClassUpgrade {
            upgrade_class: pb::UpgradeClass::Class1.into(),
            payer: pb::UpgradePayer::Self_.into(),
            responsible_name: "Contoh".into(),
        }),
        ..none
    };
    let sep = served.issue(emergency.clone()).await.unwrap();
    assert_eq!(sep.evidence.len(), 2, "the referral service was not asked");
    served.others(|others| others.eligibility.care_class = 3);
    let again = pb::IssueSepRequest { request_id: key(), member_id: crate::wishes::member(), ..emergency };
    assert_eq!(reason(&served.issue(again).await.unwrap_err()), "CLASS_UPGRADE_NOT_ALLOWED");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_open_sep_a_member_day_and_clinic_and_no_number_twice() {
    let served = Served::start().await;
    let wish = visit(today());
    let one_wish = (0..16).map(|_| served.issue(pb::IssueSepRequest { request_id: key(), ..wish.clone() }));
    let (issued, refused): (Vec<_>, Vec<_>) = join_all(one_wish).await.into_iter().partition(Result::is_ok);
    assert_eq!((issued.len(), refused.len()), (1, 15));
    let first = issued[0].as_ref().unwrap().sep_number.clone();
    for status in refused.into_iter().map(Result::unwrap_err) {
        assert_eq!((reason(&status).as_str(), fact(&status, "sep_number")), ("SEP_EXISTS", first.clone()));
    }
    // The same call, sent many times at once, is one SEP and never a refusal.
    let again = visit(today());
    let same = join_all((0..24).map(|_| served.issue(again.clone()))).await;
    let same: BTreeSet<_> = same.into_iter().map(|sep| sep.unwrap().sep_number).collect();
    assert_eq!(same.len(), 1);
    let many = join_all((0..39).map(|_| served.issue(visit(today())))).await;
    let mut numbers: BTreeSet<_> = many.into_iter().map(|sep| sep.unwrap().sep_number).collect();
    numbers.extend(same);
    numbers.insert(first);
    assert_eq!(numbers.len(), 41);
    assert!(numbers.last().unwrap().ends_with("V000041"), "without gaps: {numbers:?}");

    let page = pb::ListSepsRequest { page_size: 40, ..Default::default() };
    let listed = served.seps(HOSPITAL).list_seps(page.clone()).await.unwrap().into_inner();
    assert_eq!(listed.seps.len(), 40);
    let rest = pb::ListSepsRequest { page_token: listed.next_page_token, ..page.clone() };
    let rest = served.seps(HOSPITAL).list_seps(rest).await.unwrap().into_inner();
    assert_eq!((rest.seps.len(), rest.next_page_token.as_str()), (1, ""));
    assert!(served.seps(OTHER).list_seps(page).await.unwrap().into_inner().seps.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_goes_its_way_to_payment() {
    let served = Served::start().await;
    let sep = served.issue(visit(today())).await.unwrap();
    let claim = served.created(&sep).await;
    let second = pb::CreateClaimRequest { request_id: key(), sep_number: sep.sep_number.clone() };
    let refused = served.claims(HOSPITAL).create_claim(second).await.unwrap_err();
    assert_eq!(
        (reason(&refused).as_str(), fact(&refused, "claim_id")),
        ("SEP_ALREADY_CLAIMED", claim.claim_id.clone())
    );

    assert_eq!(reason(&served.submitted(&claim).await.unwrap_err()), "CLAIM_NOT_GROUPED");
    let claim = served.set(&claim, coding(today(), "E11.9")).await.unwrap();
    let claim = served.grouped(&claim).await;
    let grouping = claim.grouping.clone().unwrap();
    assert_eq!(
        (grouping.cbg_code.as_str(), grouping.tariff_class.as_str(), grouping.regional),
        ("Q-5-44-0", "BP", 1)
    );
    assert!(grouping.tariff_rupiah > 0 && grouping.tariff_source == "synthetic");
    let claim = served.finalised(&claim).await.unwrap();
    let claim = served.submitted(&claim).await.unwrap();
    assert_eq!(claim.state(), pb::ClaimState::Submitted);
    assert_eq!(reason(&served.approved(&claim).await.unwrap_err()), "CLAIM_STATE_WRONG");
    let claim = served.verified(&claim).await.unwrap();
    let claim = served.approved(&claim).await.unwrap();
    assert_eq!(claim.approved_rupiah, grouping.tariff_rupiah);
    let less = served.settled(&claim, "BNI-1", grouping.tariff_rupiah - 1).await.unwrap_err();
    assert_eq!(
        (reason(&less).as_str(), fact(&less, "approved_rupiah")),
        ("AMOUNT_NOT_APPROVED", grouping.tariff_rupiah.to_string())
    );
    let paid = served.settled(&claim, "BNI-1", grouping.tariff_rupiah).await.unwrap();
    assert_eq!(paid.state(), pb::ClaimState::Paid);
    let again = served.settled(&claim, "BNI-1", grouping.tariff_rupiah).await.unwrap();
    assert_eq!(again, paid, "the same payment posted again has no second effect");
    let other = served.settled(&claim, "BNI-2", grouping.tariff_rupiah).await.unwrap_err();
    assert_eq!(reason(&other), "PAYMENT_REFERENCE_USED");

    let whole = served.read(&claim).await;
    let steps: Vec<_> = whole.steps.iter().map(|step| step.state() as i32).collect();
    assert_eq!(steps, [1, 1, 2, 3, 4, 7, 8, 9]);
    assert_eq!(whole.clocks.unwrap().waiting_for, 0);
    let kinds: Vec<_> = served.events(6).await.into_iter().map(|event| event.r#type).collect();
    let expected =
        ["SepIssued", "ClaimGrouped", "ClaimSubmitted", "ClaimVerified", "ClaimApproved", "ClaimPaid"];
    assert_eq!(kinds, expected.map(|name| format!("jkn.claims.v1.{name}")));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_edits_find_makes_it_pending_with_the_reason_and_it_comes_back() {
    let served = Served::start().await;
    let sep = served.issue(visit(today())).await.unwrap();
    let mut data = coding(today(), "I50.0");
    data.secondary_diagnoses = vec!["I10".into()];
    let claim = served.coded(&sep, data.clone()).await;
    let claim = served.submitted(&claim).await.unwrap();
    assert_eq!((claim.state(), claim.round), (pb::ClaimState::Pending, 1));
    let open = &claim.pendings[0];
    assert_eq!((open.reason(), open.asked_of()), (pb::PendingReason::Coding, pb::Party::Hospital));
    assert_eq!(open.findings[0].edit_id, "combination-i10-i50");
    let not_asked = served.verified(&claim).await.unwrap_err();
    assert_eq!(
        (reason(&not_asked).as_str(), fact(&not_asked, "asked_of").as_str()),
        ("CLAIM_STATE_WRONG", "HOSPITAL")
    );

    // Corrected, it comes back; the verifier asks once more; an answer brings it back again.
    data = coding(today(), "I11.0");
    let corrected = served.set(&claim, data).await.unwrap();
    assert_eq!((corrected.state(), corrected.grouping.is_none()), (pb::ClaimState::Draft, true));
    let corrected = served.finalised(&served.grouped(&corrected).await).await.unwrap();
    let back = served.submitted(&corrected).await.unwrap();
    assert_eq!((back.state(), back.round, back.pendings.len()), (pb::ClaimState::Resubmitted, 1, 0));
    let ask = pb::RecordVerificationRequest {
        request_id: key(),
        claim_id: back.claim_id.clone(),
        outcome: pb::VerificationOutcome::Pending.into(),
        reason: pb::PendingReason::VisitOrProcedureIndication.into(),
        asked_of: pb::Party::Hospital.into(),
        detail: "why was the patient seen".into(),
    };
    let asked = served.claims(BPJS).record_verification(ask).await.unwrap().into_inner().claim.unwrap();
    assert_eq!((asked.state(), asked.round), (pb::ClaimState::Pending, 2));
    let mut answer = pb::AnswerPendingRequest {
        request_id: key(),
        claim_id: asked.claim_id.clone(),
        round: 1,
        answer: "worsening of symptoms".into(),
        documents: vec![pb::Document {
            kind: pb::DocumentKind::MedicalSummary.into(),
            reference: "MS-1".into(),
        }],
    };
    let stale = served.claims(HOSPITAL).answer_pending(answer.clone()).await.unwrap_err();
    assert_eq!((reason(&stale).as_str(), fact(&stale, "round").as_str()), ("ROUND_NOT_OPEN", "2"));
    (answer.request_id, answer.round) = (key(), 2);
    let answered = served.claims(HOSPITAL).answer_pending(answer).await.unwrap().into_inner().claim.unwrap();
    assert_eq!(answered.state(), pb::ClaimState::Resubmitted);
    let whole = served.read(&answered).await;
    assert_eq!(whole.pendings.len(), 2);
    assert!(whole.pendings.iter().all(|round| round.answered_at.is_some()));
    assert_eq!(whole.pendings[1].documents[0].reference, "MS-1");
    served.approved(&served.verified(&answered).await.unwrap()).await.unwrap();

    let listed = pb::ListClaimsRequest {
        pending_reason: pb::PendingReason::VisitOrProcedureIndication.into(),
        ..Default::default()
    };
    assert_eq!(served.claims(BPJS).list_claims(listed).await.unwrap().into_inner().claims.len(), 1);
    let kinds: Vec<_> = served.events(10).await.into_iter().map(|event| event.r#type).collect();
    let names = [
        "SepIssued",
        "ClaimGrouped",
        "ClaimSubmitted",
        "ClaimPended",
        "ClaimGrouped",
        "ClaimAnswered",
        "ClaimPended",
        "ClaimAnswered",
        "ClaimVerified",
        "ClaimApproved",
    ];
    assert_eq!(kinds, names.map(|name| format!("jkn.claims.v1.{name}")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_visit_and_an_ungroupable_code_are_found() {
    let served = Served::start().await;
    let first = visit(day(-5));
    served.issue(first.clone()).await.unwrap();
    let again = pb::IssueSepRequest { member_id: first.member_id, ..visit(today()) };
    let sep = served.issue(again).await.unwrap();
    let claim = served.created(&sep).await;
    let claim = served.set(&claim, coding(today(), "W19")).await.unwrap();
    let claim = served.grouped(&claim).await;
    let grouping = claim.grouping.clone().unwrap();
    assert_eq!((claim.state(), grouping.cbg_code.as_str()), (pb::ClaimState::Draft, "X-0-13-X"));
    assert_eq!(grouping.ungroupable_reason(), pb::UngroupableReason::PrimaryNotAccepted);
    let refused = served.finalised(&claim).await.unwrap_err();
    assert_eq!(
        (reason(&refused).as_str(), fact(&refused, "ungroupable_reason").as_str()),
        ("CLAIM_UNGROUPABLE", "PRIMARY_NOT_ACCEPTED")
    );

    let claim = served.set(&claim, coding(today(), "E11.9")).await.unwrap();
    let claim = served.finalised(&served.grouped(&claim).await).await.unwrap();
    let claim = served.submitted(&claim).await.unwrap();
    assert_eq!(claim.pendings[0].reason(), pb::PendingReason::RepeatedOutpatientVisit);
}

#[tokio::test(flavor = "multi_thread")]
async fn after_the_filing_limit_a_claim_is_void() {
    let served = Served::start().await;
    let sep = served.issue(visit(day(-200))).await.unwrap();
    let claim = served.coded(&sep, coding(day(-200), "E11.9")).await;
    assert!(claim.clocks.as_ref().unwrap().void);
    assert_eq!(reason(&served.submitted(&claim).await.unwrap_err()), "CLAIM_VOID");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sep_is_cancelled_with_its_draft_but_not_beyond() {
    let served = Served::start().await;
    let wish = visit(today());
    let sep = served.issue(wish.clone()).await.unwrap();
    let draft = served.created(&sep).await;
    let cancel = |number: &str| pb::CancelSepRequest {
        request_id: key(),
        sep_number: number.into(),
        note: "wrong clinic".into(),
    };
    let stranger = served.seps(OTHER).cancel_sep(cancel(&sep.sep_number)).await.unwrap_err();
    assert_eq!(stranger.code(), Code::NotFound);
    let cancelled =
        served.seps(HOSPITAL).cancel_sep(cancel(&sep.sep_number)).await.unwrap().into_inner().sep.unwrap();
    assert_eq!(cancelled.state(), pb::SepState::Cancelled);
    assert_eq!(served.read(&draft).await.state(), pb::ClaimState::Withdrawn);
    assert_eq!(
        reason(&served.seps(HOSPITAL).cancel_sep(cancel(&sep.sep_number)).await.unwrap_err()),
        "SEP_CANCELLED"
    );
    let late = pb::CreateClaimRequest { request_id: key(), sep_number: sep.sep_number };
    assert_eq!(reason(&served.claims(HOSPITAL).create_claim(late).await.unwrap_err()), "SEP_CANCELLED");

    // The day is free again; a SEP whose claim is final stays.
    let sep = served.issue(pb::IssueSepRequest { request_id: key(), ..wish }).await.unwrap();
    let claim = served.coded(&sep, coding(today(), "E11.9")).await;
    let refused = served.seps(HOSPITAL).cancel_sep(cancel(&sep.sep_number)).await.unwrap_err();
    assert_eq!((reason(&refused).as_str(), fact(&refused, "claim_id")), ("SEP_IN_USE", claim.claim_id));
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_input_names_every_wrong_field_and_writes_nothing() {
    let served = Served::start().await;
    let refused = served.issue(pb::IssueSepRequest::default()).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    for field in [
        "request_id",
        "member_id",
        "service_date",
        "care_type",
        "entry",
        "initial_diagnosis",
        "medical_record_number",
    ] {
        assert!(wrong_fields(&refused).iter().any(|wrong| wrong == field), "{field}");
    }
    let wild = pb::IssueSepRequest {
        note: "x".repeat(100_000),
        poli_code: "XXX".into(),
        referral_number: "1".into(),
        service_date: "2026-02-30".into(),
        accident: Some(pb::Accident { kind: pb::AccidentKind::Traffic.into(), ..Default::default() }),
        ..visit(today())
    };
    let wrong = wrong_fields(&served.issue(wild).await.unwrap_err());
    for field in [
        "note",
        "poli_code",
        "referral_number",
        "service_date",
        "accident.occurred_on",
        "accident.primary_payers",
    ] {
        assert!(wrong.iter().any(|name| name == field), "{field}");
    }
    let nobody = pb::Claim { claim_id: "x".into(), ..Default::default() };
    let data = pb::ClaimData { secondary_diagnoses: vec!["?".into(); 10_000], ..Default::default() };
    let wrong = wrong_fields(&served.set(&nobody, data).await.unwrap_err());
    assert!(wrong.len() > 30 && wrong.contains(&"claim_id".to_owned()), "{wrong:?}");
    assert_eq!(served.rows().await, 0);

    // The wrong institution is turned away before anything is read.
    let refused = served.seps(BPJS).issue_sep(visit(today())).await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::PermissionDenied, "CALLER_NOT_ALLOWED"));

    // The claim must be for the service that the SEP allows.
    let sep = served.issue(visit(today())).await.unwrap();
    let claim = served.created(&sep).await;
    let refused = served.set(&claim, coding(day(-1), "E11.9")).await.unwrap_err();
    assert_eq!(reason(&refused), "CLAIM_CONTRADICTS_SEP");
    assert_eq!(wrong_fields(&refused), ["data.admitted_at"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_request_at_once_has_one_effect() {
    let served = Served::start().await;
    let sep = served.issue(visit(today())).await.unwrap();
    let claim = served.coded(&sep, coding(today(), "E11.9")).await;
    let request = pb::SubmitClaimRequest { request_id: key(), claim_id: claim.claim_id.clone() };
    let calls = (0..32).map(|_| {
        let (mut client, request) = (served.claims(HOSPITAL), request.clone());
        async move { client.submit_claim(request).await.unwrap().into_inner() }
    });
    let answers = join_all(calls).await;
    assert!(answers.windows(2).all(|pair| pair[0] == pair[1]));
    assert_eq!(served.read(&claim).await.steps.len(), 5);
    let other = pb::SubmitClaimRequest { claim_id: key(), ..request };
    let reused = served.claims(HOSPITAL).submit_claim(other).await.unwrap_err();
    assert_eq!((reused.code(), reason(&reused).as_str()), (Code::AlreadyExists, "REQUEST_ID_REUSED"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hospital_watches_its_own_claims() {
    let served = Served::start().await;
    let sep = served.issue(visit(today())).await.unwrap();
    let watch = pb::WatchClaimsRequest { after_position: Some(0), ..Default::default() };
    let mut own = served.claims(HOSPITAL).watch_claims(watch.clone()).await.unwrap().into_inner();
    let mut other = served.claims(OTHER).watch_claims(watch).await.unwrap().into_inner();
    let claim = served.coded(&sep, coding(today(), "E11.9")).await;
    served.submitted(&claim).await.unwrap();
    let grouped = own.next().await.unwrap().unwrap();
    let submitted = own.next().await.unwrap().unwrap();
    assert_eq!((grouped.state(), submitted.state()), (pb::ClaimState::Grouped, pb::ClaimState::Submitted));
    assert_eq!((&submitted.claim_id, submitted.position), (&claim.claim_id, grouped.position + 1));
    let nothing = tokio::time::timeout(std::time::Duration::from_millis(300), other.next()).await;
    assert!(nothing.is_err(), "another hospital sees nothing");
}
