//! Visits from registration to discharge or referral, and their refusals, over gRPC and on a real Postgres.

#![allow(clippy::unwrap_used)]

mod served;

use std::collections::BTreeSet;

use futures::future::join_all;
use jiff::ToSpan;
use proto::{primary_care::v1 as pb, referral::v1 as referral};
use served::{
    CLASS_C, Mood, PUSKESMAS, Served, day, diagnosed, fact, key, member, order, reason, registered, today,
    wish, wrong_fields,
};
use tonic::Code;

fn vital_signs(visit: &pb::Visit) -> pb::RecordVitalSignsRequest {
    pb::RecordVitalSignsRequest {
        request_id: key(),
        visit_number: visit.visit_number.clone(),
        vital_signs: Some(pb::VitalSigns {
            systolic_mmhg: Some(130),
            diastolic_mmhg: Some(85),
            temperature_decicelsius: Some(372),
            ..pb::VitalSigns::default()
        }),
    }
}

fn drugs(visit: &pb::Visit, drugs: &[(&str, i32)]) -> pb::RecordDrugsRequest {
    let drug =
        |(code, quantity): &(&str, i32)| pb::Drug { atc_code: (*code).to_owned(), quantity: *quantity };
    pb::RecordDrugsRequest {
        request_id: key(),
        visit_number: visit.visit_number.clone(),
        drugs: drugs.iter().map(drug).collect(),
    }
}

fn discharge(visit: &pb::Visit) -> pb::DischargeVisitRequest {
    pb::DischargeVisitRequest {
        request_id: key(),
        visit_number: visit.visit_number.clone(),
        discharge_status: pb::DischargeStatus::Outpatient.into(),
        discharge_date: String::new(),
    }
}

fn tacc() -> Option<pb::Tacc> {
    Some(pb::Tacc { reason: referral::Tacc::Complication.into(), note: "kidneys are affected".to_owned() })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sick_member_is_registered_examined_and_discharged() {
    let served = Served::start().await;
    let visit =
        registered(&served, pb::RegisterVisitRequest { complaint: "cough".to_owned(), ..wish(&member()) })
            .await;
    assert_eq!((visit.state(), visit.facility_code.as_str()), (pb::VisitState::Registered, PUSKESMAS));
    assert!(
        visit.visit_number.starts_with(PUSKESMAS) && visit.visit_number.ends_with("Y000001"),
        "{}",
        visit.visit_number
    );
    let evidence = visit.eligibility.clone().unwrap();
    assert!(!evidence.answer_id.is_empty() && evidence.region_code == "1371");

    let early = served.fktp().discharge_visit(discharge(&visit)).await.unwrap_err();
    assert_eq!(reason(&early), "VISIT_NOT_EXAMINED");
    let examined =
        served.fktp().record_vital_signs(vital_signs(&visit)).await.unwrap().into_inner().visit.unwrap();
    assert_eq!(
        (examined.state(), examined.vital_signs.unwrap().systolic_mmhg),
        (pb::VisitState::Examined, Some(130))
    );
    assert_eq!(
        reason(&served.fktp().discharge_visit(discharge(&visit)).await.unwrap_err()),
        "DIAGNOSIS_MISSING"
    );
    diagnosed(&served, &visit, &["J06.9"]).await;
    let corrected = diagnosed(&served, &visit, &["J20.9", "I10"]).await;
    assert_eq!(corrected.diagnosis_codes, ["J20.9", "I10"]);
    let done = served.fktp().discharge_visit(discharge(&visit)).await.unwrap().into_inner().visit.unwrap();
    assert_eq!(
        (done.state(), done.discharge_status()),
        (pb::VisitState::Discharged, pb::DischargeStatus::Outpatient)
    );
    assert_eq!(done.discharge_date, day(0));

    let late = served.fktp().record_vital_signs(vital_signs(&visit)).await.unwrap_err();
    assert_eq!((reason(&late), fact(&late, "state")), ("VISIT_CLOSED".to_owned(), "discharged".to_owned()));
    let get = || pb::GetVisitRequest { visit_number: visit.visit_number.clone() };
    assert_eq!(
        served.of("bpjs:headquarters").get_visit(get()).await.unwrap().into_inner().visit.unwrap(),
        done
    );
    assert_eq!(served.of("fktp:0301U002").get_visit(get()).await.unwrap_err().code(), Code::NotFound);
    assert_eq!(
        served.of("hospital:0301R011").get_visit(get()).await.unwrap_err().code(),
        Code::PermissionDenied
    );

    let events = served.events(3).await;
    let kinds: Vec<_> = events.iter().map(|event| event.r#type.as_str()).collect();
    let told = ["VisitRegistered", "VisitExamined", "VisitDischarged"]
        .map(|name| format!("jkn.primary_care.v1.{name}"));
    assert_eq!(kinds, told, "a correction is no second contact");
    for event in &events {
        let body = String::from_utf8_lossy(&event.body);
        assert!(!body.contains("J20") && !body.contains("J06"), "a diagnosis in {}", event.r#type);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_is_seen_only_where_and_when_the_rules_allow() {
    let served = Served::start().await;
    let (debtor, neighbour, traveller) = (member(), member(), member());
    served.set(|known| {
        known.suspended.push(debtor.clone());
        known.registered.insert(neighbour.clone(), "0301U002");
        known.registered.insert(traveller.clone(), "0901U007");
    });
    let try_it = async |wish| {
        served.fktp().register_visit(wish).await.map(|answer| answer.into_inner().visit.unwrap())
    };

    let refused = try_it(wish(&debtor)).await.unwrap_err();
    assert_eq!(
        (reason(&refused), fact(&refused, "reasons")),
        ("MEMBER_NOT_ELIGIBLE".to_owned(), "SUSPENDED_FOR_ARREARS".to_owned())
    );
    assert!(!fact(&refused, "answer_id").is_empty());
    let refused = try_it(wish(&neighbour)).await.unwrap_err();
    assert_eq!(
        (reason(&refused), fact(&refused, "registered_fktp_code")),
        ("REGISTERED_ELSEWHERE".to_owned(), "0301U002".to_owned())
    );
    try_it(pb::RegisterVisitRequest { emergency: true, ..wish(&neighbour) }).await.unwrap();
    let refused =
        try_it(pb::RegisterVisitRequest { visit_date: day(-181), ..wish(&member()) }).await.unwrap_err();
    assert_eq!(
        (reason(&refused), fact(&refused, "earliest")),
        ("VISIT_ENTERED_TOO_LATE".to_owned(), day(-180))
    );
    let refused =
        try_it(pb::RegisterVisitRequest { visit_date: day(1), ..wish(&member()) }).await.unwrap_err();
    assert_eq!(wrong_fields(&refused), ["visit_date"]);
    assert_eq!(served.visits().await, 1, "only the emergency was written");

    // Four days of last month, all together: three visits out of the area are allowed, whoever comes first.
    let month = today().first_of_month() - 1.month();
    let attempts = join_all((0..4).map(|i| {
        let visit_date = (month + i.days()).to_string();
        try_it(pb::RegisterVisitRequest { visit_date, ..wish(&traveller) })
    }))
    .await;
    let (seen, refused): (Vec<_>, Vec<_>) = attempts.into_iter().partition(Result::is_ok);
    assert_eq!(seen.len(), 3);
    assert_eq!(reason(refused[0].as_ref().unwrap_err()), "OUTSIDE_VISITS_USED_UP");
    let cancelled = pb::CancelVisitRequest {
        request_id: key(),
        visit_number: seen[0].as_ref().unwrap().visit_number.clone(),
        cancel_note: "did not wait".to_owned(),
    };
    served.fktp().cancel_visit(cancelled).await.unwrap();
    let visit_date = (month + 5.days()).to_string();
    try_it(pb::RegisterVisitRequest { visit_date, ..wish(&traveller) }).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn one_request_id_is_one_visit_and_numbers_have_no_doubles() {
    let served = Served::start().await;
    let same = wish(&member());
    let answers = join_all(
        (0..16).map(|_| async { served.fktp().register_visit(same.clone()).await.unwrap().into_inner() }),
    )
    .await;
    assert!(answers.iter().all(|answer| *answer == answers[0]));
    assert_eq!(served.visits().await, 1);
    let open = served
        .fktp()
        .register_visit(pb::RegisterVisitRequest { request_id: key(), ..same.clone() })
        .await
        .unwrap_err();
    let number = answers[0].visit.clone().unwrap().visit_number;
    assert_eq!((reason(&open), fact(&open, "visit_number")), ("VISIT_ALREADY_OPEN".to_owned(), number));
    let other = served
        .fktp()
        .register_visit(pb::RegisterVisitRequest { complaint: "fever".to_owned(), ..same })
        .await
        .unwrap_err();
    assert_eq!((other.code(), wrong_fields(&other)), (Code::AlreadyExists, vec!["request_id".to_owned()]));

    let visits = join_all((0..20).map(|_| registered(&served, wish(&member())))).await;
    let numbers: BTreeSet<_> = visits.iter().map(|visit| visit.visit_number[13..].to_owned()).collect();
    let expected: BTreeSet<_> = (2..=21).map(|serial| format!("{serial:06}")).collect();
    assert_eq!(numbers, expected, "without gaps too");

    let list = |page_token: String| pb::ListVisitsRequest {
        page_size: 8,
        page_token,
        from_date: day(0),
        ..pb::ListVisitsRequest::default()
    };
    let mut listed = Vec::new();
    let mut token = String::new();
    loop {
        let page = served.fktp().list_visits(list(token)).await.unwrap().into_inner();
        listed.extend(page.visits.into_iter().map(|visit| visit.visit_number));
        token = page.next_page_token;
        if token.is_empty() {
            break;
        }
    }
    assert_eq!(listed.len(), 21);
    assert!(listed.is_sorted_by(|before, after| before > after));
    let theirs = pb::ListVisitsRequest { facility_code: "0301U002".to_owned(), ..list(String::new()) };
    assert_eq!(served.fktp().list_visits(theirs).await.unwrap_err().code(), Code::NotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_diagnosis_for_a_specialist_is_referred_once() {
    let served = Served::start().await;
    let visit = registered(&served, wish(&member())).await;
    assert_eq!(reason(&served.fktp().refer_visit(order(&visit)).await.unwrap_err()), "DIAGNOSIS_MISSING");
    diagnosed(&served, &visit, &["I50.0", "I10"]).await;
    let same = order(&visit);
    let answers = join_all(
        (0..8).map(|_| async { served.fktp().refer_visit(same.clone()).await.unwrap().into_inner() }),
    )
    .await;
    assert!(answers.iter().all(|answer| *answer == answers[0]));
    let referred = answers[0].visit.clone().unwrap();
    let letter = referred.referral.clone().unwrap();
    assert_eq!(
        (referred.state(), referred.discharge_status()),
        (pb::VisitState::Referred, pb::DischargeStatus::Referred)
    );
    assert_eq!((letter.destination_facility_code.as_str(), letter.non_specialist), (CLASS_C, false));
    let created = served.neighbours.lock().unwrap().created.clone();
    let (asked, number) = created.values().next().unwrap().clone();
    assert_eq!((created.len(), &letter.referral_number), (1, &number));
    assert_eq!(
        (asked.diagnosis_code.as_str(), asked.origin_visit_number.clone()),
        ("I50.0", visit.visit_number.clone())
    );
    assert_eq!(
        (asked.care_type(), asked.referral_date.as_str()),
        (referral::CareType::Outpatient, day(0).as_str())
    );
    let again = served.fktp().refer_visit(order(&visit)).await.unwrap_err();
    assert_eq!(fact(&again, "state"), "referred");
    assert_eq!(served.events(3).await.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_diagnosis_of_primary_care_leaves_only_with_a_tacc_reason() {
    let served = Served::start().await;
    let visit = registered(&served, wish(&member())).await;
    diagnosed(&served, &visit, &["I10"]).await;
    assert_eq!(reason(&served.fktp().refer_visit(order(&visit)).await.unwrap_err()), "TACC_NEEDED");
    let half = pb::Tacc { reason: referral::Tacc::Age.into(), note: String::new() };
    let half = served
        .fktp()
        .refer_visit(pb::ReferVisitRequest { tacc: Some(half), ..order(&visit) })
        .await
        .unwrap_err();
    assert_eq!(wrong_fields(&half), ["tacc.note"]);
    assert!(served.neighbours.lock().unwrap().created.is_empty());
    let referred =
        served.fktp().refer_visit(pb::ReferVisitRequest { tacc: tacc(), ..order(&visit) }).await.unwrap();
    let letter = referred.into_inner().visit.unwrap().referral.unwrap();
    assert!(letter.non_specialist && letter.tacc == tacc());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_referral_whose_answer_was_lost_is_found_again() {
    let served = Served::start().await;
    let visit = registered(&served, wish(&member())).await;
    diagnosed(&served, &visit, &["I50.0"]).await;
    served.set(|known| known.mood = Mood::CreatesAndIsCutOff);
    let first = order(&visit);
    let lost = served.fktp().refer_visit(first.clone()).await.unwrap_err();
    assert_eq!((lost.code(), reason(&lost)), (Code::Unavailable, "TEMPORARILY_UNAVAILABLE".to_owned()));

    // Until the outcome is known, nothing else may happen to the visit.
    let elsewhere =
        pb::ReferVisitRequest { destination_facility_code: "0301R012".to_owned(), ..order(&visit) };
    assert_eq!(
        reason(&served.fktp().refer_visit(elsewhere.clone()).await.unwrap_err()),
        "REFERRAL_UNDER_WAY"
    );
    assert_eq!(
        reason(&served.fktp().discharge_visit(discharge(&visit)).await.unwrap_err()),
        "REFERRAL_UNDER_WAY"
    );
    served.set(|known| known.mood = Mood::Creates);
    let found = served
        .fktp()
        .refer_visit(pb::ReferVisitRequest { request_id: key(), ..first })
        .await
        .unwrap()
        .into_inner();
    let number = found.visit.unwrap().referral.unwrap().referral_number;
    let created = served.neighbours.lock().unwrap().created.clone();
    assert_eq!(created.into_values().map(|(_, number)| number).collect::<Vec<_>>(), [number]);

    // A refusal is an outcome: another destination may be tried.
    let visit = registered(&served, wish(&member())).await;
    diagnosed(&served, &visit, &["I50.0"]).await;
    served.set(|known| known.mood = Mood::Refuses);
    assert_eq!(
        reason(&served.fktp().refer_visit(order(&visit)).await.unwrap_err()),
        "DESTINATION_NOT_CONTRACTED"
    );
    served.set(|known| known.mood = Mood::Creates);
    let elsewhere = pb::ReferVisitRequest { visit_number: visit.visit_number, ..elsewhere };
    served.fktp().refer_visit(elsewhere).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_referral_carries_what_was_recorded_of_the_patient() {
    let served = Served::start().await;
    let patient = member();
    let at = async |ago: i64, code: &str| {
        let visit =
            registered(&served, pb::RegisterVisitRequest { visit_date: day(-ago), ..wish(&patient) }).await;
        diagnosed(&served, &visit, &[code]).await;
        visit
    };
    let contact = at(60, "Z34.9").await;
    served.fktp().record_vital_signs(vital_signs(&contact)).await.unwrap();
    served.fktp().record_drugs(drugs(&contact, &[("B03AD03", 30)])).await.unwrap();
    served.fktp().discharge_visit(discharge(&contact)).await.unwrap();
    let cancelled = at(50, "Z34.9").await;
    let cancel = pb::CancelVisitRequest {
        request_id: key(),
        visit_number: cancelled.visit_number,
        cancel_note: "another patient".to_owned(),
    };
    served.fktp().cancel_visit(cancel).await.unwrap();
    at(20, "Z35.9").await;
    let visit = at(0, "O14.1").await;
    let laboratory = pb::LaboratoryResults {
        fasting_glucose_mg_dl: Some(98),
        haemoglobin_decigrams_dl: Some(104),
        ..pb::LaboratoryResults::default()
    };
    let request = pb::RecordLaboratoryResultsRequest {
        request_id: key(),
        visit_number: visit.visit_number.clone(),
        laboratory_results: Some(laboratory),
    };
    served.fktp().record_laboratory_results(request).await.unwrap();
    served.fktp().record_drugs(drugs(&visit, &[("C02AB01", 10), ("A12AA04", 30)])).await.unwrap();
    let corrected = served.fktp().record_drugs(drugs(&visit, &[("c02ab01", 9)])).await.unwrap();
    let corrected = corrected.into_inner().visit.unwrap();
    assert_eq!(corrected.drugs, [pb::Drug { atc_code: "C02AB01".to_owned(), quantity: 9 }]);
    assert_eq!(
        (corrected.laboratory_results, corrected.diagnosis_codes),
        (Some(laboratory), vec!["O14.1".to_owned()])
    );

    served.set(|known| known.mood = Mood::CreatesAndIsCutOff);
    let order = order(&visit);
    served.fktp().refer_visit(order.clone()).await.unwrap_err();
    // A visit that is entered meanwhile is not in the referral that may have been written.
    let late = at(5, "Z34.9").await;
    served.fktp().record_vital_signs(vital_signs(&late)).await.unwrap();
    served.set(|known| known.mood = Mood::Creates);
    served.fktp().refer_visit(order).await.unwrap();
    let created = served.neighbours.lock().unwrap().created.clone();
    let (asked, _) = created.into_values().next().unwrap();
    let told = asked.first_level_record.unwrap();
    let expected = referral::FirstLevelRecord {
        from_date: day(-366),
        diagnosis_codes: vec!["O14.1".to_owned()],
        drug_atc_codes: vec!["C02AB01".to_owned()],
        blood_pressure: Some(referral::BloodPressure {
            taken_on: day(-60),
            systolic_mmhg: 130,
            diastolic_mmhg: 85,
        }),
        glucose_tested_on: day(0),
        fasting_glucose_mg_dl: Some(98),
        antenatal_contacts: 2,
        antenatal_contacts_with_pressure: 1,
        haemoglobin_tested: true,
        iron_tablets: 30,
        tuberculosis_atc_codes: Vec::new(),
    };
    assert_eq!(told, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn contacts_count_persons_and_referrals_their_diagnoses() {
    let served = Served::start().await;
    let (often, well, traveller) = (member(), member(), member());
    served.set(|known| {
        known.registered.insert(traveller.clone(), "0901U007");
    });
    let month = today().first_of_month() - 1.month();
    let on = |day_of_month: i64, wish| pb::RegisterVisitRequest {
        visit_date: (month + (day_of_month - 1).days()).to_string(),
        ..wish
    };
    for (day_of_month, code) in [(1, "I50.0"), (2, "I10"), (3, "J06.9")] {
        let visit = registered(&served, on(day_of_month, wish(&often))).await;
        diagnosed(&served, &visit, &[code]).await;
        match code {
            "J06.9" => drop(served.fktp().discharge_visit(discharge(&visit)).await.unwrap()),
            _ => drop(
                served
                    .fktp()
                    .refer_visit(pb::ReferVisitRequest { tacc: tacc(), ..order(&visit) })
                    .await
                    .unwrap(),
            ),
        }
    }
    let healthy = pb::RegisterVisitRequest { kind: pb::VisitKind::Healthy.into(), ..wish(&well) };
    let visit = registered(&served, on(4, healthy)).await;
    served.fktp().record_vital_signs(vital_signs(&visit)).await.unwrap();
    served.fktp().discharge_visit(discharge(&visit)).await.unwrap();
    let visit = registered(&served, on(5, wish(&traveller))).await;
    diagnosed(&served, &visit, &["A09"]).await;
    registered(&served, on(6, wish(&member()))).await;

    let asked = pb::GetContactCountsRequest {
        facility_code: PUSKESMAS.to_owned(),
        month: month.strftime("%Y-%m").to_string(),
    };
    let counts = served
        .of("djsn:secretariat")
        .get_contact_counts(asked.clone())
        .await
        .unwrap()
        .into_inner()
        .contact_counts
        .unwrap();
    let expected = pb::ContactCounts {
        facility_code: asked.facility_code.clone(),
        month: asked.month.clone(),
        persons: 2,
        sick_persons: 1,
        healthy_persons: 1,
        home_persons: 0,
        visiting_persons: 1,
        visits: 5,
        sick_visits: 4,
        referrals: 2,
        non_specialist_referrals: 1,
        tacc_referrals: 1,
    };
    assert_eq!(counts, expected);
    assert_eq!(
        served.of("fktp:0301U002").get_contact_counts(asked).await.unwrap_err().code(),
        Code::NotFound
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_input_names_every_wrong_field_and_writes_nothing() {
    let served = Served::start().await;
    let hostile = "x\u{0}\u{202e}".repeat(5000);
    let wish = pb::RegisterVisitRequest {
        request_id: hostile.clone(),
        member: Some(pb::register_visit_request::Member::CardNumber(hostile.clone())),
        kind: 99,
        visit_date: "2026-02-30".to_owned(),
        facility_code: "0301U002".to_owned(),
        complaint: hostile.clone(),
        ..pb::RegisterVisitRequest::default()
    };
    let refused = served.fktp().register_visit(wish).await.unwrap_err();
    assert_eq!(
        wrong_fields(&refused),
        ["request_id", "kind", "card_number", "visit_date", "facility_code", "complaint"]
    );
    assert!(!refused.message().contains('\u{202e}'));

    let visit = registered(&served, served::wish(&member())).await;
    let codes = pb::RecordDiagnosesRequest {
        request_id: key(),
        visit_number: visit.visit_number.clone(),
        diagnosis_codes: vec!["A09".to_owned(); 100_000],
    };
    assert_eq!(wrong_fields(&served.fktp().record_diagnoses(codes).await.unwrap_err()), ["diagnosis_codes"]);
    let too_many = drugs(&visit, &[("A09", 0); 50_000]);
    let refused = served.fktp().record_drugs(too_many).await.unwrap_err();
    let wrong = wrong_fields(&refused);
    assert_eq!(
        (wrong.len(), wrong[0].as_str(), wrong[1].as_str()),
        (42, "drugs[0].atc_code", "drugs[0].quantity")
    );
    let twice = drugs(&visit, &[("J01CA04", 10), ("J01CA04", 1)]);
    assert_eq!(wrong_fields(&served.fktp().record_drugs(twice).await.unwrap_err()), ["drugs"]);
    let units = pb::LaboratoryResults {
        hba1c_permille: Some(7),
        random_glucose_mg_dl: Some(i32::MIN),
        ..Default::default()
    };
    for (given, wrong) in [
        (Some(units), vec!["laboratory_results.random_glucose_mg_dl", "laboratory_results.hba1c_permille"]),
        (None, vec!["laboratory_results"]),
    ] {
        let request = pb::RecordLaboratoryResultsRequest {
            request_id: key(),
            visit_number: visit.visit_number.clone(),
            laboratory_results: given,
        };
        assert_eq!(wrong_fields(&served.fktp().record_laboratory_results(request).await.unwrap_err()), wrong);
    }
    let order = pb::ReferVisitRequest {
        destination_facility_code: hostile,
        poli_code: "ZZZ".to_owned(),
        criterion: None,
        care_type: -1,
        ..order(&visit)
    };
    let refused = served.fktp().refer_visit(order).await.unwrap_err();
    assert_eq!(wrong_fields(&refused), ["destination_facility_code", "poli_code", "care_type", "criterion"]);
    assert_eq!(served.events(1).await.len(), 1);
}
