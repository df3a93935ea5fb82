//! The course of referrals, their refusals, candidates and checks, over gRPC and on a real Postgres.

#![allow(clippy::unwrap_used)]

mod served;

use std::{collections::BTreeSet, time::Duration};

use futures::future::join_all;
use proto::referral::v1 as pb;
use served::{
    CLASS_A, CLASS_C, CLASS_C_FAR, NO_CONTRACT, PUSKESMAS, Served, day, key, member, reason, sent, wish,
    wrong_fields,
};
use tokio_stream::StreamExt;
use tonic::Code;

fn check(referral: &pb::Referral) -> pb::CheckReferralRequest {
    pb::CheckReferralRequest {
        referral_number: referral.referral_number.clone(),
        service_date: day(0),
        destination_facility_code: CLASS_C.to_owned(),
        poli_code: "INT".to_owned(),
        member_id: referral.member_id.clone(),
    }
}

/// What P-Care tells of a patient whose pressure was taken on the day.
fn record() -> pb::FirstLevelRecord {
    let pressure = pb::BloodPressure { taken_on: day(0), systolic_mmhg: 130, diastolic_mmhg: 85 };
    pb::FirstLevelRecord {
        from_date: day(-366),
        diagnosis_codes: vec!["I50.0".to_owned()],
        blood_pressure: Some(pressure),
        ..pb::FirstLevelRecord::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_referral_is_sent_accepted_arrived_at_completed_and_answered() {
    let served = Served::start().await;
    let referral = sent(&served, wish(pb::CareType::Inpatient)).await;
    let number = referral.referral_number.clone();
    assert_eq!(referral.state(), pb::State::Sent);
    assert_eq!(referral.diagnosis_code, "E11.9");
    assert!(number.starts_with(PUSKESMAS) && number.ends_with("P000001"), "{number}");

    let get = || pb::GetReferralRequest { referral_number: number.clone() };
    let unseen = served.hospital().get_referral(get()).await.unwrap().into_inner().referral.unwrap();
    assert_eq!((unseen.diagnosis_code.as_str(), unseen.criterion), ("", None), "before acceptance");
    let stranger = served.of("hospital:0301R012").get_referral(get()).await.unwrap_err();
    assert_eq!(stranger.code(), Code::NotFound);

    let arrive = || pb::RecordArrivalRequest { request_id: key(), referral_number: number.clone() };
    let early = served.hospital().record_arrival(arrive()).await.unwrap_err();
    assert_eq!(reason(&early), "REFERRAL_NOT_ACCEPTED");
    let accept = || pb::AcceptReferralRequest { request_id: key(), referral_number: number.clone() };
    let not_the_destination = served.fktp().accept_referral(accept()).await.unwrap_err();
    assert_eq!(not_the_destination.code(), Code::NotFound);
    let accepted = served.hospital().accept_referral(accept()).await.unwrap().into_inner().referral.unwrap();
    assert_eq!((accepted.state(), accepted.diagnosis_code.as_str()), (pb::State::Accepted, "E11.9"));
    assert_eq!(
        reason(&served.hospital().accept_referral(accept()).await.unwrap_err()),
        "REFERRAL_ALREADY_ACCEPTED"
    );

    served.hospital().record_arrival(arrive()).await.unwrap();
    let cancel = pb::CancelReferralRequest {
        request_id: key(),
        referral_number: number.clone(),
        note: "moved".to_owned(),
    };
    assert_eq!(reason(&served.fktp().cancel_referral(cancel).await.unwrap_err()), "REFERRAL_ALREADY_ARRIVED");
    let complete = pb::CompleteReferralRequest {
        request_id: key(),
        referral_number: number.clone(),
        back_referral: Some(pb::BackReferral {
            outcome: pb::Outcome::ReferredBack.into(),
            diagnosis_code: "E11.2".to_owned(),
            advice: "metformin, control in a month".to_owned(),
        }),
    };
    served.hospital().complete_referral(complete).await.unwrap();
    let answered = served.fktp().get_referral(get()).await.unwrap().into_inner().referral.unwrap();
    assert_eq!(answered.state(), pb::State::Completed);
    assert_eq!(answered.back_referral.unwrap().advice, "metformin, control in a month");

    let events = served.events(4).await;
    let told: Vec<_> =
        events.iter().map(|event| event.r#type.trim_start_matches("jkn.referral.v1.Referral")).collect();
    assert_eq!(told, ["Created", "Accepted", "Arrived", "Completed"]);
    for event in &events {
        assert!(!event.body.windows(3).any(|part| part == b"E11"), "an event tells a diagnosis");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_after_fifteen_minutes_is_refused_and_an_outpatient_needs_none() {
    let served = Served::start().await;
    let referral = sent(&served, wish(pb::CareType::Emergency)).await;
    let number = referral.referral_number.clone();
    served.let_pass(&number, 16).await;
    let accept = pb::AcceptReferralRequest { request_id: key(), referral_number: number.clone() };
    let late = served.hospital().accept_referral(accept).await.unwrap_err();
    assert_eq!((late.code(), reason(&late).as_str()), (Code::FailedPrecondition, "ANSWER_WINDOW_PASSED"));
    let now = served
        .fktp()
        .get_referral(pb::GetReferralRequest { referral_number: number })
        .await
        .unwrap()
        .into_inner()
        .referral
        .unwrap();
    assert_eq!(now.state(), pb::State::Expired);
    let claims = || served.of("service:claims");
    let answer = claims().check_referral(check(&referral)).await.unwrap().into_inner();
    assert_eq!(answer.reasons, [i32::from(pb::Unusable::NotAccepted)]);

    let outpatient = sent(&served, wish(pb::CareType::Outpatient)).await;
    served.let_pass(&outpatient.referral_number, 16).await;
    let answer = claims().check_referral(check(&outpatient)).await.unwrap().into_inner();
    assert!(answer.usable && answer.reasons.is_empty());
    assert_eq!(uuid::Uuid::parse_str(&answer.answer_id).unwrap().get_version_num(), 7);
}

#[tokio::test(flavor = "multi_thread")]
async fn claims_learns_every_reason_why_a_referral_may_not_be_used() {
    let served = Served::start().await;
    let mut claims = served.of("service:claims");
    let old = pb::CreateReferralRequest { referral_date: day(-90), ..wish(pb::CareType::Outpatient) };
    let old = sent(&served, old).await;
    assert!(claims.check_referral(check(&old)).await.unwrap().into_inner().usable, "day 90");
    let next_day = pb::CheckReferralRequest { service_date: day(1), ..check(&old) };
    let answer = claims.check_referral(next_day).await.unwrap().into_inner();
    assert_eq!(answer.reasons, [i32::from(pb::Unusable::ValidityEnded)], "day 91");

    let other = pb::CheckReferralRequest {
        destination_facility_code: CLASS_A.to_owned(),
        poli_code: "JAN".to_owned(),
        member_id: member(),
        ..check(&old)
    };
    let reasons: Vec<_> = claims.check_referral(other).await.unwrap().into_inner().reasons().collect();
    assert_eq!(reasons, [pb::Unusable::OtherFacility, pb::Unusable::OtherClinic, pb::Unusable::OtherMember]);

    let refuse = pb::RefuseReferralRequest {
        request_id: key(),
        referral_number: old.referral_number.clone(),
        refusal_reason: pb::RefusalReason::NoCapacity.into(),
        note: String::new(),
    };
    served.hospital().refuse_referral(refuse).await.unwrap();
    let reasons: Vec<_> = claims.check_referral(check(&old)).await.unwrap().into_inner().reasons().collect();
    assert_eq!(reasons, [pb::Unusable::Refused]);

    let unknown =
        pb::CheckReferralRequest { referral_number: "0301U0010126P009999".to_owned(), ..check(&old) };
    let answer = claims.check_referral(unknown).await.unwrap().into_inner();
    assert_eq!(answer.reasons, [i32::from(pb::Unusable::UnknownNumber)]);
    let facility = served.fktp().check_referral(check(&old)).await.unwrap_err();
    assert_eq!(facility.code(), Code::PermissionDenied);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_breaks_a_rule_is_refused_with_its_reason_and_writes_nothing() {
    let served = Served::start().await;
    let good = || wish(pb::CareType::Outpatient);
    let to = |code: &str| pb::CreateReferralRequest { destination_facility_code: code.to_owned(), ..good() };
    for (wish, expected) in [
        (to(CLASS_A), "LADDER_SKIPPED"),
        (to(NO_CONTRACT), "DESTINATION_NOT_CONTRACTED"),
        (to("9999R999"), "DESTINATION_NOT_REGISTERED"),
        (pb::CreateReferralRequest { poli_code: "MAT".to_owned(), ..good() }, "DESTINATION_NOT_COMPETENT"),
        (pb::CreateReferralRequest { referral_date: day(-181), ..good() }, "REFERRAL_ENTERED_TOO_LATE"),
    ] {
        let refused = served.fktp().create_referral(wish).await.unwrap_err();
        assert_eq!(reason(&refused), expected);
        assert_eq!(refused.code(), Code::FailedPrecondition);
    }
    let unregistered = served.of("fktp:9999U999").create_referral(good()).await.unwrap_err();
    assert_eq!(reason(&unregistered), "ORIGIN_NOT_REGISTERED");
    // Calling it a back-referral does not make a hospital above competent, nor a visit that P-Care never told of a proof.
    let back = pb::CreateReferralRequest {
        referral_type: pb::ReferralType::Back.into(),
        poli_code: "MAT".to_owned(),
        ..good()
    };
    assert_eq!(reason(&served.fktp().create_referral(back).await.unwrap_err()), "DESTINATION_NOT_COMPETENT");
    let made_up =
        pb::CreateReferralRequest { origin_visit_number: "0301U0010126Y000001".to_owned(), ..good() };
    assert_eq!(
        wrong_fields(&served.fktp().create_referral(made_up).await.unwrap_err()),
        ["origin_visit_number"]
    );
    let another = pb::CreateReferralRequest { origin_facility_code: CLASS_C.to_owned(), ..good() };
    assert_eq!(
        wrong_fields(&served.fktp().create_referral(another).await.unwrap_err()),
        ["origin_facility_code"]
    );
    let hostile = pb::CreateReferralRequest {
        request_id: "x".to_owned(),
        member_id: "1".repeat(10_000),
        destination_facility_code: "'; drop table referral".to_owned(),
        poli_code: "ZZZ".to_owned(),
        care_type: 99,
        referral_type: 0,
        referral_date: day(1),
        diagnosis_code: "nonsense".to_owned(),
        criterion: None,
        tacc: 77,
        special_programme: "ABC".to_owned(),
        clinical_summary: "x".repeat(2001),
        ..pb::CreateReferralRequest::default()
    };
    let refused = served.fktp().create_referral(hostile).await.unwrap_err();
    assert_eq!(reason(&refused), "FIELDS_INVALID");
    let named: BTreeSet<_> = wrong_fields(&refused).into_iter().collect();
    let expected = [
        "request_id",
        "member_id",
        "destination_facility_code",
        "poli_code",
        "care_type",
        "referral_type",
        "referral_date",
        "diagnosis_code",
        "criterion",
        "tacc",
        "special_programme",
        "clinical_summary",
    ];
    assert_eq!(named, expected.map(str::to_owned).into_iter().collect());
    assert_eq!(served.letters().await, 0);

    // An exemption, a programme and an emergency skip the ladder; an emergency also needs no contract.
    let mut skipping = vec![
        pb::CreateReferralRequest {
            ladder_exemption: pb::LadderExemption::Specificity.into(),
            ..to(CLASS_A)
        },
        pb::CreateReferralRequest { special_programme: "HDL".to_owned(), ..to(CLASS_A) },
    ];
    skipping.push(pb::CreateReferralRequest { care_type: pb::CareType::Emergency.into(), ..to(NO_CONTRACT) });
    for wish in skipping {
        served.fktp().create_referral(wish).await.unwrap();
    }
    assert_eq!(served.letters().await, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_primary_care_service_acts_for_a_facility_and_no_other_service_does() {
    let served = Served::start().await;
    let of_facility = pb::CreateReferralRequest {
        origin_facility_code: PUSKESMAS.to_owned(),
        origin_visit_number: "0301U0010126Y000001".to_owned(),
        first_level_record: Some(record()),
        ..wish(pb::CareType::Outpatient)
    };
    let refused = served.of("service:claims").create_referral(of_facility.clone()).await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::PermissionDenied, "CALLER_NOT_ALLOWED"));
    let mut primary_care = served.of("service:primary-care");
    let sent =
        primary_care.create_referral(of_facility.clone()).await.unwrap().into_inner().referral.unwrap();
    assert_eq!(sent.origin_facility_code, PUSKESMAS);
    // The facility itself may name the visit again, for the same member only; what was recorded goes with it.
    let again = pb::CreateReferralRequest { request_id: key(), ..of_facility.clone() };
    let refused = served.fktp().create_referral(again.clone()).await.unwrap_err();
    assert_eq!(wrong_fields(&refused), ["first_level_record"], "a facility does not write it");
    let again = pb::CreateReferralRequest { first_level_record: None, ..again };
    let second = served.fktp().create_referral(again.clone()).await.unwrap().into_inner().referral.unwrap();
    assert_eq!(second.first_level_record, of_facility.first_level_record);
    let of_another = pb::CreateReferralRequest { request_id: key(), member_id: member(), ..again };
    assert_eq!(
        wrong_fields(&served.fktp().create_referral(of_another).await.unwrap_err()),
        ["origin_visit_number"]
    );
    let unnamed =
        pb::CreateReferralRequest { origin_facility_code: String::new(), request_id: key(), ..of_facility };
    assert_eq!(
        wrong_fields(&primary_care.create_referral(unnamed).await.unwrap_err()),
        ["origin_facility_code"]
    );
    let cancel = pb::CancelReferralRequest {
        request_id: key(),
        referral_number: sent.referral_number,
        note: "the visit was entered by mistake".to_owned(),
    };
    let cancelled = primary_care.cancel_referral(cancel).await.unwrap().into_inner().referral.unwrap();
    assert_eq!(cancelled.state(), pb::State::Cancelled);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_p_care_recorded_reaches_claims_and_the_hospital_that_accepts() {
    let served = Served::start().await;
    let wished = pb::CreateReferralRequest {
        origin_facility_code: PUSKESMAS.to_owned(),
        first_level_record: Some(record()),
        tacc: pb::Tacc::Age.into(),
        ..wish(pb::CareType::Outpatient)
    };
    let mut primary_care = served.of("service:primary-care");
    let sent = primary_care.create_referral(wished.clone()).await.unwrap().into_inner().referral.unwrap();
    let of_hospital = async || {
        let request = pb::GetReferralRequest { referral_number: sent.referral_number.clone() };
        served.hospital().get_referral(request).await.unwrap().into_inner().referral.unwrap()
    };
    assert_eq!(of_hospital().await.first_level_record, None, "not before it has accepted");
    let accept =
        pb::AcceptReferralRequest { request_id: key(), referral_number: sent.referral_number.clone() };
    served.hospital().accept_referral(accept).await.unwrap();
    assert_eq!(of_hospital().await.first_level_record, Some(record()));

    let mut claims = served.of("service:claims");
    let answer = claims.check_referral(check(&sent)).await.unwrap().into_inner();
    assert_eq!((answer.usable, answer.tacc()), (true, pb::Tacc::Age));
    assert_eq!(answer.first_level_record, Some(record()));
    let of_another = pb::CheckReferralRequest { member_id: member(), ..check(&sent) };
    let answer = claims.check_referral(of_another).await.unwrap().into_inner();
    assert_eq!((answer.usable, answer.tacc()), (false, pb::Tacc::Unspecified));
    assert_eq!(answer.first_level_record, None);

    let huge = pb::FirstLevelRecord { drug_atc_codes: vec!["J01CA04".to_owned(); 600], ..record() };
    let huge = pb::CreateReferralRequest { request_id: key(), first_level_record: Some(huge), ..wished };
    assert_eq!(wrong_fields(&primary_care.create_referral(huge).await.unwrap_err()), ["first_level_record"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_request_at_once_has_one_effect_and_different_ones_have_different_numbers() {
    let served = Served::start().await;
    let wished = wish(pb::CareType::Outpatient);
    let same = join_all((0..64).map(|_| {
        let (mut client, wished) = (served.fktp(), wished.clone());
        async move { client.create_referral(wished).await.unwrap().into_inner().referral.unwrap() }
    }))
    .await;
    assert!(same.iter().all(|answer| answer == &same[0]));
    assert_eq!(served.letters().await, 1);
    let other = pb::CreateReferralRequest { poli_code: "ANA".to_owned(), ..wished };
    let reused = served.fktp().create_referral(other).await.unwrap_err();
    assert_eq!((reused.code(), wrong_fields(&reused)), (Code::AlreadyExists, vec!["request_id".to_owned()]));

    let numbers: BTreeSet<_> = join_all((0..40).map(|_| sent(&served, wish(pb::CareType::Outpatient))))
        .await
        .into_iter()
        .map(|referral| referral.referral_number)
        .collect();
    assert_eq!(numbers.len(), 40);
    assert!(numbers.last().unwrap().ends_with("P000041"), "no number is left out");
}

#[tokio::test(flavor = "multi_thread")]
async fn candidates_are_ranked_by_room_then_rung_then_distance() {
    let served = Served::start().await;
    let asked = pb::ListCandidatesRequest {
        poli_code: "INT".to_owned(),
        care_type: pb::CareType::Outpatient.into(),
        ..pb::ListCandidatesRequest::default()
    };
    let order = async |asked: &pb::ListCandidatesRequest| {
        let answer = served.fktp().list_candidates(asked.clone()).await.unwrap().into_inner();
        answer.candidates.into_iter().map(|one| one.facility_code).collect::<Vec<_>>()
    };
    assert_eq!(order(&asked).await, [CLASS_C, CLASS_C_FAR], "the ladder leaves class A out");
    let exempt = pb::ListCandidatesRequest {
        ladder_exemption: pb::LadderExemption::Availability.into(),
        ..asked.clone()
    };
    assert_eq!(order(&exempt).await, [CLASS_C, CLASS_C_FAR, CLASS_A]);
    let near = pb::ListCandidatesRequest { max_distance_km: 50.0, ..exempt.clone() };
    assert_eq!(order(&near).await, [CLASS_C, CLASS_A]);

    let quota = |quota| pb::UpdateCapacityRequest {
        request_id: key(),
        facility_code: CLASS_C.to_owned(),
        days: vec![pb::DayQuota { poli_code: "INT".to_owned(), date: day(0), quota }],
        beds: vec![pb::Beds { poli_code: "INT".to_owned(), total: 20, available: 3 }],
        ..pb::UpdateCapacityRequest::default()
    };
    served.hospital().update_capacity(quota(1)).await.unwrap();
    sent(&served, wish(pb::CareType::Outpatient)).await;
    assert_eq!(order(&asked).await, [CLASS_C_FAR, CLASS_C], "the near one is full");
    served.hospital().update_capacity(quota(4)).await.unwrap();
    let first = served.fktp().list_candidates(asked).await.unwrap().into_inner().candidates.remove(0);
    assert_eq!(first.facility_code, CLASS_C);
    assert_eq!((first.capacity, first.referred, first.taken_percent), (Some(4), 1, Some(25)));
    assert_eq!((first.beds_available, first.stratum.as_str(), first.rank), (Some(3), "MADYA", 1));
    assert!((11.0..11.3).contains(&first.distance_km.unwrap()), "{:?}", first.distance_km);

    let elsewhere = pb::UpdateCapacityRequest { facility_code: CLASS_A.to_owned(), ..quota(1) };
    assert_eq!(served.hospital().update_capacity(elsewhere).await.unwrap_err().code(), Code::NotFound);
    let slot = |opens: &str, closes: &str| pb::WeeklySlot {
        poli_code: "INT".to_owned(),
        weekday: 1,
        opens_at: opens.to_owned(),
        closes_at: closes.to_owned(),
        quota: 10,
    };
    let overlapping = pb::UpdateCapacityRequest {
        weekly: vec![slot("08:00", "12:00"), slot("11:00", "13:00")],
        ..quota(1)
    };
    assert_eq!(
        wrong_fields(&served.hospital().update_capacity(overlapping).await.unwrap_err()),
        ["weekly[1]"]
    );
    let week = pb::UpdateCapacityRequest {
        weekly: vec![slot("08:00", "12:00"), slot("13:00", "15:00")],
        ..quota(1)
    };
    let posted = served.hospital().update_capacity(week).await.unwrap().into_inner().capacity.unwrap();
    assert_eq!((posted.weekly.len(), posted.days.len(), posted.beds.len()), (2, 1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_facility_watches_and_lists_its_own_referrals_only() {
    let served = Served::start().await;
    let from_first =
        pb::WatchReferralsRequest { after_position: Some(0), ..pb::WatchReferralsRequest::default() };
    let mut watched = served.hospital().watch_referrals(from_first).await.unwrap().into_inner();
    let mut elsewhere =
        served.of("hospital:0301R012").watch_referrals(from_first).await.unwrap().into_inner();
    for _ in 0..3 {
        sent(&served, wish(pb::CareType::Outpatient)).await;
    }
    let refused = pb::CreateReferralRequest {
        destination_facility_code: CLASS_C_FAR.to_owned(),
        ..wish(pb::CareType::Outpatient)
    };
    let far = sent(&served, refused).await;
    let soon = Duration::from_secs(5);
    for position in 1..=3 {
        let change = tokio::time::timeout(soon, watched.next()).await.unwrap().unwrap().unwrap();
        assert_eq!((change.position, change.change()), (position, pb::Change::Created));
        assert_eq!(change.destination_facility_code, CLASS_C);
    }
    let change = tokio::time::timeout(soon, elsewhere.next()).await.unwrap().unwrap().unwrap();
    assert_eq!(change.referral_number, far.referral_number);

    let mut seen = Vec::new();
    let mut page_token = String::new();
    loop {
        let asked =
            pb::ListReferralsRequest { page_size: 2, page_token, ..pb::ListReferralsRequest::default() };
        let page = served.hospital().list_referrals(asked).await.unwrap().into_inner();
        seen.extend(page.referrals.into_iter().map(|referral| referral.referral_number));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    assert_eq!(seen.len(), 3, "{seen:?}");
    assert!(!seen.contains(&far.referral_number));
    let all =
        served.of("ministry:sisrute").list_referrals(pb::ListReferralsRequest::default()).await.unwrap();
    assert_eq!(all.into_inner().referrals.len(), 4);
    let other = pb::ListReferralsRequest {
        facility_code: CLASS_C_FAR.to_owned(),
        page_token: "%%".to_owned(),
        ..pb::ListReferralsRequest::default()
    };
    let refused = served.hospital().list_referrals(other).await.unwrap_err();
    assert_eq!(wrong_fields(&refused), ["facility_code", "page_token"]);
    let absurd = pb::ListReferralsRequest {
        page_token: chassis::page::token("-009999-01-02T01:59:59Z|0301U0010126P000001"),
        ..pb::ListReferralsRequest::default()
    };
    assert_eq!(wrong_fields(&served.fktp().list_referrals(absurd).await.unwrap_err()), ["page_token"]);
}
