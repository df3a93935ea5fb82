//! Control letters, in-patient orders and internal referrals, and the SEPs that cite them, over gRPC and on a real Postgres.

use crate::{
    refusal::{fact, reason, wrong_fields},
    served::Served,
    wishes::{BPJS, HOSPITAL, OTHER, admission, day, key, member, today, visit},
};
use futures::future::join_all;
use proto::claims::v1 as pb;
use tonic::{Code, Status};

const DOCTOR: &str = "31574";

fn letter(sep: &pb::Sep, kind: pb::FollowUpKind, clinic: &str, planned_on: i64) -> pb::IssueFollowUpRequest {
    pb::IssueFollowUpRequest {
        request_id: key(),
        kind: kind.into(),
        based_on_sep_number: sep.sep_number.clone(),
        poli_code: clinic.into(),
        doctor_code: DOCTOR.into(),
        planned_on: day(planned_on).to_string(),
    }
}

async fn issued(served: &Served, wish: pb::IssueFollowUpRequest) -> Result<pb::FollowUp, Status> {
    Ok(served.follow_ups(HOSPITAL).issue_follow_up(wish).await?.into_inner().follow_up.unwrap())
}

async fn read(served: &Served, letter: &pb::FollowUp) -> pb::FollowUp {
    let request = pb::GetFollowUpRequest { follow_up_number: letter.follow_up_number.clone() };
    served.follow_ups(HOSPITAL).get_follow_up(request).await.unwrap().into_inner().follow_up.unwrap()
}

/// The visit that a letter is for, today.
fn visit_on(letter: &pb::FollowUp) -> pb::IssueSepRequest {
    pb::IssueSepRequest {
        member_id: letter.member_id.clone(),
        entry: pb::Entry::FollowUp.into(),
        referral_number: String::new(),
        poli_code: letter.poli_code.clone(),
        doctor_code: letter.doctor_code.clone(),
        follow_up_number: letter.follow_up_number.clone(),
        ..visit(today())
    }
}

/// The admission that an order is for, today.
fn admission_on(letter: &pb::FollowUp) -> pb::IssueSepRequest {
    pb::IssueSepRequest {
        care_type: pb::CareType::Inpatient.into(),
        poli_code: String::new(),
        admitted_at: chassis::time::start_of(today()).map(chassis::time::to_proto),
        ..visit_on(letter)
    }
}

/// A service on which a referral of so many days ago is for the clinic INT.
async fn served_with_referral_of(days: i64) -> Served {
    let served = Served::start().await;
    served.others(|others| {
        others.referral.referral_date = day(days).to_string();
        others.referral_clinic = Some("INT");
    });
    served
}

#[tokio::test(flavor = "multi_thread")]
async fn a_control_letter_leads_to_one_sep_on_the_same_referral() {
    let served = served_with_referral_of(-10).await;
    let first = served.issue(visit(day(-1))).await.unwrap();
    assert_eq!(first.referral_date, day(-10).to_string());
    let wish = letter(&first, pb::FollowUpKind::Control, "INT", 0);
    let control = issued(&served, wish.clone()).await.unwrap();
    let month = today().strftime("%m%y").to_string();
    assert_eq!(control.follow_up_number, format!("0301R011{month}K000001"));
    assert_eq!((&control.member_id, &control.referral_number), (&first.member_id, &first.referral_number));
    assert_eq!(control.usable_through, day(80).to_string());
    assert_eq!(issued(&served, wish).await.unwrap(), control, "the same request is the same letter");

    let second = served.issue(visit_on(&control)).await.unwrap();
    assert_eq!(second.based_on_sep_number, first.sep_number);
    assert_eq!((&second.referral_number, second.evidence.len()), (&first.referral_number, 4));
    let used = read(&served, &control).await;
    assert_eq!((used.state(), &used.used_by_sep_number), (pb::FollowUpState::Used, &second.sep_number));

    // Used once; what it led to keeps the first SEP; cancelled, it can be used again.
    let again = pb::IssueSepRequest { poli_code: "INT".into(), ..visit_on(&control) };
    let again = served.issue(again).await.unwrap_err();
    assert_eq!(fact(&again, "reasons"), "FOLLOW_UP_NOT_USABLE,SEP_EXISTS");
    assert_eq!(fact(&again, "FOLLOW_UP_NOT_USABLE"), "USED");
    let kept = served.cancelled(&first).await.unwrap_err();
    assert_eq!(
        (reason(&kept).as_str(), fact(&kept, "follow_up_numbers")),
        ("SEP_HAS_FOLLOW_UPS", control.follow_up_number.clone())
    );
    served.cancelled(&second).await.unwrap();
    assert_eq!(read(&served, &control).await.state(), pb::FollowUpState::Open);
    let third = served.issue(visit_on(&control)).await.unwrap();
    assert_ne!(third.sep_number, second.sep_number);
    let kinds: Vec<_> = served.events(5).await.into_iter().map(|event| event.r#type).collect();
    let names = ["SepIssued", "FollowUpChanged", "SepIssued", "SepCancelled", "SepIssued"];
    assert_eq!(kinds, names.map(|name| format!("jkn.claims.v1.{name}")));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_difference_between_sep_and_letter_is_told_at_once() {
    let served = served_with_referral_of(-10).await;
    let first = served.issue(visit(day(-1))).await.unwrap();
    let control = issued(&served, letter(&first, pb::FollowUpKind::Control, "INT", 3)).await.unwrap();
    let other = pb::IssueSepRequest {
        member_id: member(),
        poli_code: "SAR".into(),
        doctor_code: String::new(),
        ..visit_on(&control)
    };
    let refused = served.issue(other.clone()).await.unwrap_err();
    assert_eq!(reason(&refused), "FOLLOW_UP_NOT_USABLE");
    assert_eq!(fact(&refused, "FOLLOW_UP_NOT_USABLE"), "OTHER_MEMBER, OTHER_CLINIC, OTHER_DOCTOR, OTHER_DAY");
    let month = today().strftime("%m%y").to_string();
    let unknown =
        pb::IssueSepRequest { follow_up_number: format!("0301R011{month}K000099"), ..other.clone() };
    assert_eq!(fact(&served.issue(unknown).await.unwrap_err(), "FOLLOW_UP_NOT_USABLE"), "UNKNOWN_NUMBER");
    // To another hospital the letter does not exist.
    let stranger = served.seps(OTHER).issue_sep(visit_on(&control)).await.unwrap_err();
    assert_eq!(fact(&stranger, "FOLLOW_UP_NOT_USABLE"), "UNKNOWN_NUMBER");
    let both = pb::IssueSepRequest { referral_number: first.referral_number.clone(), ..visit_on(&control) };
    assert_eq!(wrong_fields(&served.issue(both).await.unwrap_err()), ["referral_number"]);
    let none = pb::IssueSepRequest { follow_up_number: control.follow_up_number.clone(), ..visit(today()) };
    assert_eq!(wrong_fields(&served.issue(none).await.unwrap_err()), ["follow_up_number"]);
    assert_eq!(read(&served, &control).await.state(), pb::FollowUpState::Open);
}

#[tokio::test(flavor = "multi_thread")]
async fn day_ninety_after_the_referral_can_be_planned_and_day_ninety_one_not() {
    let served = served_with_referral_of(-30).await;
    let first = served.issue(visit(today())).await.unwrap();
    let plan = |days| letter(&first, pb::FollowUpKind::Control, "INT", days);
    let late = issued(&served, plan(61)).await.unwrap_err();
    assert_eq!(
        (reason(&late).as_str(), fact(&late, "reasons").as_str()),
        ("FOLLOW_UP_NOT_ALLOWED", "DAY_TOO_LATE")
    );
    let same_day = issued(&served, plan(0)).await.unwrap_err();
    assert_eq!(fact(&same_day, "reasons"), "DAY_TOO_EARLY");
    issued(&served, plan(60)).await.unwrap();
    let elsewhere = issued(&served, letter(&first, pb::FollowUpKind::Control, "SAR", -1)).await.unwrap_err();
    assert_eq!(fact(&elsewhere, "reasons"), "DAY_PASSED,DAY_TOO_EARLY,CLINIC_NOT_OF_VISIT");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_internal_referral_leads_to_another_clinic_and_that_visit_to_its_own_control() {
    let served = served_with_referral_of(-5).await;
    let first = served.issue(visit(day(-1))).await.unwrap();
    let same =
        issued(&served, letter(&first, pb::FollowUpKind::InternalReferral, "INT", 0)).await.unwrap_err();
    assert_eq!(fact(&same, "reasons"), "CLINIC_OF_VISIT");
    let internal =
        issued(&served, letter(&first, pb::FollowUpKind::InternalReferral, "SAR", 0)).await.unwrap();
    assert_eq!(&internal.follow_up_number[12..], "N000001");
    // The referral service knows the referral for INT only, and is asked for that.
    // It comes on another day than the first visit, and says why.
    let silent = served.issue(visit_on(&internal)).await.unwrap_err();
    assert_eq!(reason(&silent), "VISIT_ASSESSMENT_REQUIRED");
    let told = pb::IssueSepRequest {
        visit_assessment: pb::VisitAssessment::ClinicNotOpen.into(),
        ..visit_on(&internal)
    };
    let second = served.issue(told).await.unwrap();
    assert_eq!((second.poli_code.as_str(), second.referral_poli_code.as_str()), ("SAR", "INT"));
    assert_eq!(second.referral_number, first.referral_number);
    let control = issued(&served, letter(&second, pb::FollowUpKind::Control, "SAR", 7)).await.unwrap();
    assert_eq!((control.referral_poli_code.as_str(), control.usable_through), ("INT", day(85).to_string()));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_leads_to_a_planned_admission_and_the_stay_to_a_control() {
    let served = served_with_referral_of(-5).await;
    let first = served.issue(visit(day(-1))).await.unwrap();
    let order = issued(&served, letter(&first, pb::FollowUpKind::InpatientOrder, "BED", 0)).await.unwrap();
    let as_visit = served.issue(visit_on(&order)).await.unwrap_err();
    assert_eq!(fact(&as_visit, "FOLLOW_UP_NOT_USABLE"), "OTHER_CARE_TYPE");
    let stay = served.issue(admission_on(&order)).await.unwrap();
    assert_eq!((stay.entry(), &stay.based_on_sep_number), (pb::Entry::FollowUp, &first.sep_number));
    let on_stay =
        issued(&served, letter(&stay, pb::FollowUpKind::InpatientOrder, "BED", 1)).await.unwrap_err();
    assert_eq!(fact(&on_stay, "reasons"), "NOT_A_VISIT");
    let control = issued(&served, letter(&stay, pb::FollowUpKind::Control, "BED", 7)).await.unwrap();
    assert_eq!((control.referral_number.as_str(), control.usable_through), ("", day(90).to_string()));

    // An emergency may lead to an admission, not to a control; and that admission cites no referral.
    let emergency = pb::IssueSepRequest {
        entry: pb::Entry::Emergency.into(),
        referral_number: String::new(),
        ..visit(today())
    };
    let emergency = served.issue(emergency).await.unwrap();
    let no_control =
        issued(&served, letter(&emergency, pb::FollowUpKind::Control, "INT", 7)).await.unwrap_err();
    assert_eq!(fact(&no_control, "reasons"), "NO_REFERRAL");
    let order =
        issued(&served, letter(&emergency, pb::FollowUpKind::InpatientOrder, "BED", 0)).await.unwrap();
    let stay = served.issue(admission_on(&order)).await.unwrap();
    assert_eq!((stay.referral_number.as_str(), stay.evidence.len()), ("", 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_visit_after_a_stay_rests_on_the_stay() {
    let served = served_with_referral_of(-5).await;
    let stay = served.issue(admission(30)).await.unwrap();
    let control = issued(&served, letter(&stay, pb::FollowUpKind::Control, "PAR", 0)).await.unwrap();
    let early = served.issue(visit_on(&control)).await.unwrap_err();
    assert_eq!(reason(&early), "INPATIENT_STAY_OPEN");
    let left = pb::RecordDischargeRequest {
        request_id: key(),
        sep_number: stay.sep_number.clone(),
        discharge: Some(pb::Discharge {
            discharged_at: stay.admitted_at,
            departure: pb::Departure::Approved.into(),
            ..Default::default()
        }),
    };
    served.seps(HOSPITAL).record_discharge(left).await.unwrap();
    let visit = served.issue(visit_on(&control)).await.unwrap();
    assert_eq!((visit.based_on_sep_number, visit.referral_number.as_str()), (stay.sep_number, ""));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_letter_is_changed_cancelled_and_listed_a_used_one_is_not() {
    let served = served_with_referral_of(-5).await;
    let first = served.issue(visit(day(-1))).await.unwrap();
    let control = issued(&served, letter(&first, pb::FollowUpKind::Control, "INT", 3)).await.unwrap();
    let twice = issued(&served, letter(&first, pb::FollowUpKind::Control, "INT", 4)).await.unwrap_err();
    assert_eq!(
        (reason(&twice).as_str(), fact(&twice, "follow_up_number")),
        ("FOLLOW_UP_EXISTS", control.follow_up_number.clone())
    );
    let change = |letter: &pb::FollowUp, planned_on: i64| pb::UpdateFollowUpRequest {
        request_id: key(),
        follow_up_number: letter.follow_up_number.clone(),
        version: letter.version,
        poli_code: letter.poli_code.clone(),
        doctor_code: "46".into(),
        planned_on: day(planned_on).to_string(),
    };
    let update = |change| {
        let mut client = served.follow_ups(HOSPITAL);
        async move { client.update_follow_up(change).await.map(|answer| answer.into_inner().follow_up.unwrap()) }
    };
    assert_eq!(reason(&update(change(&control, 90)).await.unwrap_err()), "FOLLOW_UP_NOT_ALLOWED");
    let changed = update(change(&control, 0)).await.unwrap();
    assert_eq!((changed.version, changed.doctor_code.as_str()), (2, "46"));
    let stale = update(change(&control, 0)).await.unwrap_err();
    assert_eq!((reason(&stale).as_str(), fact(&stale, "version").as_str()), ("VERSION_OUTDATED", "2"));

    let sep = served.issue(visit_on(&changed)).await.unwrap();
    let used = update(change(&changed, 1)).await.unwrap_err();
    assert_eq!((reason(&used).as_str(), fact(&used, "sep_number")), ("FOLLOW_UP_USED", sep.sep_number));
    let cancel = |letter: &pb::FollowUp| pb::CancelFollowUpRequest {
        request_id: key(),
        follow_up_number: letter.follow_up_number.clone(),
        note: "planned by mistake".into(),
    };
    let kept = served.follow_ups(HOSPITAL).cancel_follow_up(cancel(&changed)).await.unwrap_err();
    assert_eq!(reason(&kept), "FOLLOW_UP_USED");

    let second = issued(&served, letter(&first, pb::FollowUpKind::Control, "INT", 4)).await.unwrap();
    assert_eq!(
        served.follow_ups(OTHER).cancel_follow_up(cancel(&second)).await.unwrap_err().code(),
        Code::NotFound
    );
    let gone = served.follow_ups(HOSPITAL).cancel_follow_up(cancel(&second)).await.unwrap().into_inner();
    assert_eq!(gone.follow_up.unwrap().state(), pb::FollowUpState::Cancelled);
    assert_eq!(reason(&update(change(&second, 5)).await.unwrap_err()), "FOLLOW_UP_CANCELLED");

    let list =
        |state: pb::FollowUpState| pb::ListFollowUpsRequest { state: state.into(), ..Default::default() };
    let listed = served.follow_ups(BPJS).list_follow_ups(list(pb::FollowUpState::Cancelled)).await.unwrap();
    assert_eq!(listed.into_inner().follow_ups[0].follow_up_number, second.follow_up_number);
    let all = pb::ListFollowUpsRequest { page_size: 1, ..list(pb::FollowUpState::Unspecified) };
    let page = served.follow_ups(HOSPITAL).list_follow_ups(all.clone()).await.unwrap().into_inner();
    let rest = pb::ListFollowUpsRequest { page_token: page.next_page_token, ..all.clone() };
    let rest = served.follow_ups(HOSPITAL).list_follow_ups(rest).await.unwrap().into_inner();
    assert_eq!((page.follow_ups.len(), rest.follow_ups.len(), rest.next_page_token.as_str()), (1, 1, ""));
    assert!(served.follow_ups(OTHER).list_follow_ups(all).await.unwrap().into_inner().follow_ups.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_letter_replaced_while_it_was_used_does_not_come_back() {
    let served = served_with_referral_of(-5).await;
    let first = served.issue(visit(day(-1))).await.unwrap();
    let control = issued(&served, letter(&first, pb::FollowUpKind::Control, "INT", 0)).await.unwrap();
    let sep = served.issue(visit_on(&control)).await.unwrap();
    let next = issued(&served, letter(&first, pb::FollowUpKind::Control, "INT", 7)).await.unwrap();
    served.cancelled(&sep).await.unwrap();
    assert_eq!(read(&served, &control).await.state(), pb::FollowUpState::Cancelled);
    assert_eq!(read(&served, &next).await.state(), pb::FollowUpState::Open);
}

#[tokio::test(flavor = "multi_thread")]
async fn letters_asked_for_at_once_are_one_and_numbers_have_no_gap() {
    let served = served_with_referral_of(-5).await;
    let first = served.issue(visit(today())).await.unwrap();
    let wishes = (0..12).map(|n| issued(&served, letter(&first, pb::FollowUpKind::Control, "INT", 1 + n)));
    let (made, refused): (Vec<_>, Vec<_>) = join_all(wishes).await.into_iter().partition(Result::is_ok);
    assert_eq!((made.len(), refused.len()), (1, 11));
    assert!(refused.into_iter().all(|status| reason(&status.unwrap_err()) == "FOLLOW_UP_EXISTS"));
    let others = ["SAR", "BED", "JAN", "PAR", "THT", "MAT", "OBG"]
        .map(|clinic| issued(&served, letter(&first, pb::FollowUpKind::InternalReferral, clinic, 1)));
    let mut serials: Vec<_> = join_all(others)
        .await
        .into_iter()
        .map(|made| made.unwrap().follow_up_number[12..].to_owned())
        .collect();
    serials.sort();
    assert_eq!(serials, (1..8).map(|n| format!("N{n:06}")).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_letters_name_every_wrong_field_and_write_nothing() {
    let served = Served::start().await;
    let wild = pb::IssueFollowUpRequest {
        poli_code: "XXX".into(),
        doctor_code: "x".repeat(10_000),
        planned_on: "2026-02-30".into(),
        kind: 77,
        ..Default::default()
    };
    let wrong = wrong_fields(&issued(&served, wild).await.unwrap_err());
    assert_eq!(
        wrong,
        ["request_id", "kind", "based_on_sep_number", "poli_code", "doctor_code", "planned_on"]
    );
    let change = pb::UpdateFollowUpRequest::default();
    let wrong = wrong_fields(&served.follow_ups(HOSPITAL).update_follow_up(change).await.unwrap_err());
    assert_eq!(
        wrong,
        ["request_id", "follow_up_number", "version", "poli_code", "doctor_code", "planned_on"]
    );
    let cancel = pb::CancelFollowUpRequest::default();
    let wrong = wrong_fields(&served.follow_ups(HOSPITAL).cancel_follow_up(cancel).await.unwrap_err());
    assert_eq!(wrong, ["request_id", "follow_up_number", "note"]);
    let list = pb::ListFollowUpsRequest { kind: 9, state: 9, page_size: -1, ..Default::default() };
    let wrong = wrong_fields(&served.follow_ups(HOSPITAL).list_follow_ups(list).await.unwrap_err());
    assert_eq!(wrong, ["page_size", "kind", "state"]);
    assert_eq!((served.rows().await, served.rows_around().await), (0, 0));
    let bpjs =
        served.follow_ups(BPJS).issue_follow_up(pb::IssueFollowUpRequest::default()).await.unwrap_err();
    assert_eq!((bpjs.code(), reason(&bpjs).as_str()), (Code::PermissionDenied, "CALLER_NOT_ALLOWED"));
}
