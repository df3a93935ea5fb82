//! What a hospital does with its claims beside coding them one by one: opened again, withdrawn, sent by day, printed; and
//! both sides compared. Over gRPC and on a real Postgres.

use crate::{
    refusal::{reason, wrong_fields},
    served::Served,
    wishes::{BPJS, HOSPITAL, MINISTRY, OTHER, coding, day, key, today, visit},
};
use futures::future::join_all;
use proto::claims::v1 as pb;
use tokio_stream::StreamExt;
use tonic::{Code, Status};

async fn reedited(served: &Served, claim: &pb::Claim) -> Result<pb::Claim, Status> {
    let request = pb::ReeditClaimRequest { request_id: key(), claim_id: claim.claim_id.clone() };
    Ok(served.eklaim(HOSPITAL).reedit_claim(request).await?.into_inner().claim.unwrap())
}

async fn withdrawn(served: &Served, claim: &pb::Claim) -> Result<pb::Claim, Status> {
    let request = pb::WithdrawClaimRequest { request_id: key(), claim_id: claim.claim_id.clone() };
    Ok(served.eklaim(HOSPITAL).withdraw_claim(request).await?.into_inner().claim.unwrap())
}

async fn sent(served: &Served, caller: &'static str, on: i64) -> Vec<pb::SendDayResponse> {
    let request =
        pb::SendDayRequest { request_id: key(), discharged_on: day(on).to_string(), ..Default::default() };
    let stream = served.eklaim(caller).send_day(request).await.unwrap().into_inner();
    stream.map(Result::unwrap).collect().await
}

async fn compared(served: &Served, caller: &'static str) -> pb::ReconcileClaimsResponse {
    let request = pb::ReconcileClaimsRequest {
        discharged_from: day(-30).to_string(),
        discharged_to: today().to_string(),
        ..Default::default()
    };
    served.eklaim(caller).reconcile_claims(request).await.unwrap().into_inner()
}

async fn coded(served: &Served, on: i64, primary: &str) -> pb::Claim {
    let sep = served.issue(visit(day(on))).await.unwrap();
    served.coded(&sep, coding(day(on), primary)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_final_claim_is_opened_again_until_it_is_sent() {
    let served = Served::start().await;
    let claim = coded(&served, 0, "E11.9").await;
    let request = pb::ReeditClaimRequest { request_id: key(), claim_id: claim.claim_id.clone() };
    let stranger = served.eklaim(OTHER).reedit_claim(request.clone()).await.unwrap_err();
    assert_eq!(stranger.code(), Code::NotFound);
    let open = served.eklaim(HOSPITAL).reedit_claim(request.clone()).await.unwrap().into_inner();
    let again = served.eklaim(HOSPITAL).reedit_claim(request).await.unwrap().into_inner();
    assert_eq!(open, again, "one request, one effect");
    let open = open.claim.unwrap();
    assert_eq!((open.state(), open.grouping.as_ref()), (pb::ClaimState::Grouped, claim.grouping.as_ref()));
    assert_eq!(reason(&reedited(&served, &open).await.unwrap_err()), "CLAIM_STATE_WRONG");
    assert_eq!(reason(&served.submitted(&open).await.unwrap_err()), "CLAIM_STATE_WRONG");

    let claim = served.finalised(&open).await.unwrap();
    let claim = served.submitted(&claim).await.unwrap();
    assert_eq!(reason(&reedited(&served, &claim).await.unwrap_err()), "CLAIM_STATE_WRONG");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_draft_is_withdrawn_and_its_sep_is_free() {
    let served = Served::start().await;
    let sep = served.issue(visit(today())).await.unwrap();
    let draft = served.created(&sep).await;
    let gone = withdrawn(&served, &draft).await.unwrap();
    assert_eq!(gone.state(), pb::ClaimState::Withdrawn);
    assert_eq!(reason(&withdrawn(&served, &draft).await.unwrap_err()), "CLAIM_STATE_WRONG");

    // Many want the SEP at once: one gets it.
    let many = join_all((0..8).map(|_| {
        let request = pb::CreateClaimRequest { request_id: key(), sep_number: sep.sep_number.clone() };
        let mut client = served.claims(HOSPITAL);
        async move { client.create_claim(request).await }
    }))
    .await;
    let (made, refused): (Vec<_>, Vec<_>) = many.into_iter().partition(Result::is_ok);
    assert_eq!((made.len(), refused.len()), (1, 7));
    for status in refused.into_iter().map(Result::unwrap_err) {
        assert_eq!(reason(&status), "SEP_ALREADY_CLAIMED");
    }
    let claim = made.into_iter().next().unwrap().unwrap().into_inner().claim.unwrap();
    let get = pb::GetSepRequest { sep_number: sep.sep_number.clone() };
    assert_eq!(served.seps(BPJS).get_sep(get).await.unwrap().into_inner().claim_id, claim.claim_id);
    let claim = served.set(&claim, coding(today(), "E11.9")).await.unwrap();
    let claim = served.finalised(&served.grouped(&claim).await).await.unwrap();
    assert_eq!(reason(&withdrawn(&served, &claim).await.unwrap_err()), "CLAIM_STATE_WRONG");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_day_is_sent_claim_by_claim_and_a_bad_one_harms_no_other() {
    let served = Served::start().await;
    let mut good = Vec::new();
    for _ in 0..12 {
        good.push(coded(&served, -2, "E11.9").await.claim_id);
    }
    // One that pends, one of another day, one that is not final.
    let sep = served.issue(visit(day(-2))).await.unwrap();
    let twice = pb::ClaimData { secondary_diagnoses: vec!["I10".into()], ..coding(day(-2), "I50.0") };
    let pends = served.coded(&sep, twice).await;
    let other_day = coded(&served, -1, "E11.9").await;
    let sep = served.issue(visit(day(-2))).await.unwrap();
    let draft = served.set(&served.created(&sep).await, coding(day(-2), "E11.9")).await.unwrap();

    assert!(sent(&served, OTHER, -2).await.is_empty(), "a hospital sends its own");
    let results = sent(&served, HOSPITAL, -2).await;
    assert_eq!(results.len(), 13);
    for result in &results {
        if result.claim_id == pends.claim_id {
            assert_eq!(result.state(), pb::ClaimState::Pending);
            assert_eq!(result.pending.as_ref().unwrap().reason(), pb::PendingReason::Coding);
        } else {
            assert!(good.contains(&result.claim_id));
            assert_eq!(result.state(), pb::ClaimState::Submitted, "{}", result.message);
        }
    }
    for (claim, state) in [(&other_day, pb::ClaimState::Final), (&draft, pb::ClaimState::Draft)] {
        assert_eq!(served.read(claim).await.state(), state);
    }
    assert!(sent(&served, HOSPITAL, -2).await.is_empty(), "what was sent is not sent again");

    // A day that is too old: each claim says so, and stays.
    let old = coded(&served, -200, "E11.9").await;
    let refused = sent(&served, HOSPITAL, -200).await;
    assert_eq!((refused.len(), refused[0].reason.as_str(), refused[0].state), (1, "CLAIM_VOID", 0));
    assert_eq!(served.read(&old).await.state(), pb::ClaimState::Final);

    let wrong = pb::SendDayRequest { discharged_on: day(1).to_string(), care_type: 9, ..Default::default() };
    let refused = served.eklaim(HOSPITAL).send_day(wrong).await.unwrap_err();
    assert_eq!(wrong_fields(&refused), ["request_id", "discharged_on", "care_type"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_form_has_the_figures_and_not_the_coder() {
    let served = Served::start().await;
    let sep = served.issue(visit(today())).await.unwrap();
    let claim = served.created(&sep).await;
    let request = pb::GetClaimFormRequest { claim_id: claim.claim_id.clone() };
    let form = async |caller| {
        let answer = served.eklaim(caller).get_claim_form(request.clone()).await;
        answer.map(|form| form.into_inner().form.unwrap())
    };
    assert_eq!(reason(&form(HOSPITAL).await.unwrap_err()), "CLAIM_DATA_MISSING");
    let mut data = coding(today(), "E11.9");
    data.charges = Some(pb::HospitalCharges { drug_rupiah: 7, room_rupiah: 5, ..Default::default() });
    data.birth_date = (today() - jiff::ToSpan::years(46)).to_string();
    let claim = served.set(&claim, data).await.unwrap();
    assert_eq!(reason(&form(HOSPITAL).await.unwrap_err()), "CLAIM_NOT_GROUPED");
    let claim = served.grouped(&claim).await;
    let shown = form(HOSPITAL).await.unwrap();
    assert_eq!((shown.stay_days, shown.age_years, shown.charges_rupiah), (1, 46, 12));
    assert_eq!(shown.claimed_rupiah, claim.grouping.as_ref().unwrap().tariff_rupiah);
    assert_eq!((shown.entitled_class, shown.medical_record_number.as_str()), (2, "00-12-34"));
    let data = shown.data.as_ref().unwrap();
    assert_eq!((data.primary_diagnosis.as_str(), data.coder_nik.as_str()), ("E11.9", ""));
    assert!(!shown.intensive_care);
    assert_eq!(form(BPJS).await.unwrap(), shown);
    assert_eq!(form(OTHER).await.unwrap_err().code(), Code::NotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn both_sides_are_compared_by_facility_and_day_down_to_zero() {
    let served = Served::start().await;
    let kinds = |answer: &pb::ReconcileClaimsResponse| -> Vec<_> {
        answer.differences.iter().map(|one| (one.claim_id.clone(), one.kind())).collect()
    };
    assert_eq!(compared(&served, HOSPITAL).await, pb::ReconcileClaimsResponse::default());
    let first = coded(&served, -3, "E11.9").await;
    let second = coded(&served, -3, "I10").await;
    let amount = |claim: &pb::Claim| claim.grouping.as_ref().unwrap().tariff_rupiah;

    let unsent = compared(&served, HOSPITAL).await;
    assert_eq!((unsent.days.len(), unsent.differences_total), (1, 2));
    let of_day = &unsent.days[0];
    assert_eq!((of_day.facility_code.as_str(), &of_day.discharged_on), ("0301R011", &day(-3).to_string()));
    assert_eq!((of_day.eklaim_claims, of_day.eklaim_rupiah), (2, amount(&first) + amount(&second)));
    assert_eq!((of_day.vklaim_claims, of_day.vklaim_rupiah), (0, 0));
    assert!(
        unsent.differences.iter().all(|one| one.kind() == pb::ReconciliationDifferenceKind::NotSubmitted)
    );

    sent(&served, HOSPITAL, -3).await;
    let equal = compared(&served, BPJS).await;
    assert_eq!((equal.differences_total, equal.differences.len()), (0, 0));
    assert_eq!((equal.days[0].vklaim_claims, equal.days[0].vklaim_rupiah), (2, of_day.eklaim_rupiah));

    // Asked back and under correction: the V-Klaim side holds what was sent.
    let ask = pb::RecordVerificationRequest {
        request_id: key(),
        claim_id: first.claim_id.clone(),
        outcome: pb::VerificationOutcome::Pending.into(),
        reason: pb::PendingReason::Coding.into(),
        asked_of: pb::Party::Hospital.into(),
        detail: "another code".into(),
    };
    served.claims(BPJS).record_verification(ask).await.unwrap();
    assert_eq!(compared(&served, HOSPITAL).await.differences_total, 0, "pending is on both sides");
    let open = served.set(&first, coding(day(-3), "J06.9")).await.unwrap();
    let correcting = compared(&served, HOSPITAL).await;
    assert_eq!(
        kinds(&correcting),
        [(first.claim_id.clone(), pb::ReconciliationDifferenceKind::UnderCorrection)]
    );
    assert_eq!(
        (correcting.differences[0].eklaim_rupiah, correcting.differences[0].vklaim_rupiah),
        (0, amount(&first))
    );
    let corrected = served.finalised(&served.grouped(&open).await).await.unwrap();
    assert_ne!(amount(&corrected), amount(&first), "the test needs another amount");
    assert_eq!(
        kinds(&compared(&served, HOSPITAL).await)[0].1,
        pb::ReconciliationDifferenceKind::NotSubmitted
    );
    served.submitted(&corrected).await.unwrap();
    let equal = compared(&served, HOSPITAL).await;
    assert_eq!(
        (equal.differences_total, equal.days[0].vklaim_rupiah),
        (0, amount(&corrected) + amount(&second))
    );

    // A fault in the data shows, to the rupiah.
    sqlx::query("update claim set sent_rupiah = sent_rupiah + 1 where claim_id = $1::uuid")
        .bind(&second.claim_id)
        .execute(&served.database.pool)
        .await
        .unwrap();
    let faulty = compared(&served, MINISTRY).await;
    assert_eq!(kinds(&faulty), [(second.claim_id.clone(), pb::ReconciliationDifferenceKind::Amount)]);
    assert_eq!(faulty.differences[0].vklaim_rupiah - faulty.differences[0].eklaim_rupiah, 1);

    assert!(compared(&served, OTHER).await.days.is_empty(), "a hospital sees its own");
    let long = pb::ReconcileClaimsRequest {
        discharged_from: day(-31).to_string(),
        discharged_to: today().to_string(),
        facility_code: "?".into(),
    };
    let refused = served.eklaim(BPJS).reconcile_claims(long).await.unwrap_err();
    assert_eq!(wrong_fields(&refused), ["facility_code", "discharged_to"]);
}

/// An in-patient emergency admission.
async fn admitted(served: &Served, on: i64, upgraded: bool) -> pb::Sep {
    let class_upgrade = upgraded.then(|| pb::ClassUpgrade {
        upgrade_class: pb::UpgradeClass::Class1.into(),
        payer: pb::UpgradePayer::Self_.into(),
        responsible_name: "Contoh".into(),
    });
    let wish = pb::IssueSepRequest {
        entry: pb::Entry::Emergency.into(),
        care_type: pb::CareType::Inpatient.into(),
        poli_code: String::new(),
        referral_number: String::new(),
        admitted_at: chassis::time::start_of(day(on)).map(chassis::time::to_proto),
        class_upgrade,
        ..visit(day(on))
    };
    served.issue(wish).await.unwrap()
}

fn at(on: i64, hour: i64) -> Option<prost_types::Timestamp> {
    let begin = chassis::time::start_of(day(on)).unwrap();
    Some(chassis::time::to_proto(begin + jiff::ToSpan::hours(hour)))
}

/// A newborn with everything that e-Klaim asks of one, on a ventilator.
fn newborn(on: i64) -> pb::ClaimData {
    let score = pb::ApgarScore { appearance: 1, pulse: 2, grimace: 1, activity: 1, respiration: 2 };
    pb::ClaimData {
        discharged_at: at(on + 2, 0),
        admission_route: pb::AdmissionRoute::Born.into(),
        birth_date: day(on).to_string(),
        birth_weight_gram: 2400,
        newborn_status: pb::NewbornStatus::WithDisorder.into(),
        apgar: Some(pb::Apgar { minute_1: Some(score), minute_5: Some(score) }),
        icu_days: 2,
        ventilation: Some(pb::Ventilation { started_at: at(on, 1), stopped_at: at(on, 6) }),
        ventilator_hours: 5,
        systole_mmhg: 70,
        diastole_mmhg: 40,
        blood_bags: 1,
        ..coding(day(on), "P07.1")
    }
}

fn delivery(on: i64) -> pb::ClaimData {
    let birth = |hour, alive| pb::Birth {
        method: pb::BirthMethod::Caesarean.into(),
        born_at: at(on, hour),
        position: pb::FoetalPosition::Breech.into(),
        alive,
        thyroid_screening: alive.then(|| pb::ThyroidScreening {
            site: pb::ScreeningSite::Heel.into(),
            taken_at: at(on, hour + 20),
            ..Default::default()
        }),
        ..Default::default()
    };
    pb::ClaimData {
        discharged_at: at(on + 2, 0),
        admission_route: pb::AdmissionRoute::Emergency.into(),
        procedures: vec!["74.1".into()],
        class_upgrade: Some(pb::UpgradeTaken {
            upgrade_class: pb::UpgradeClass::Class1.into(),
            days: 2,
            payer: pb::UpgradePayer::Self_.into(),
        }),
        delivery: Some(pb::Delivery {
            gestation_weeks: 37,
            gravida: 2,
            partus: 1,
            abortus: 0,
            onset: pb::LabourOnset::None.into(),
            births: vec![birth(2, true), birth(3, false)],
        }),
        documents: vec![pb::Document {
            kind: pb::DocumentKind::MedicalSummary.into(),
            reference: "MS".into(),
        }],
        ..coding(day(on), "O82.9")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_whole_data_of_a_newborn_and_of_a_delivery_are_kept() {
    let served = Served::start().await;
    let claim = served.created(&admitted(&served, -2, false).await).await;
    let claim = served.set(&claim, newborn(-2)).await.unwrap();
    assert_eq!(served.read(&claim).await.data.unwrap(), newborn(-2));
    let mother = served.created(&admitted(&served, -2, true).await).await;
    let mother = served.set(&mother, delivery(-2)).await.unwrap();
    assert_eq!(served.read(&mother).await.data.unwrap(), delivery(-2));
    let grouping = served.grouped(&mother).await.grouping.unwrap();
    assert_eq!(
        (grouping.cbg_code.as_str(), grouping.care_class),
        ("O-6-10-I", 2),
        "the upgrade is not claimed"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn every_wrong_field_of_the_data_is_named_at_once() {
    let served = Served::start().await;
    let claim = served.created(&admitted(&served, -2, false).await).await;
    let before = served.rows().await;
    let mut data = newborn(-2);
    data.birth_weight_gram = 99;
    data.newborn_status = 7;
    data.adl_chronic = 11;
    data.adl_sub_acute = 61;
    data.systole_mmhg = 0;
    data.blood_bags = 201;
    data.payor = 1;
    data.ventilator_hours = 6;
    data.executive_clinic_rupiah = -1;
    data.cob_code = "x".repeat(11);
    data.apgar.as_mut().unwrap().minute_1 = None;
    data.apgar.as_mut().unwrap().minute_5.as_mut().unwrap().pulse = 3;
    data.special_items = vec!["YY01".into(), "SA01".into(), "YY01".into()];
    data.class_upgrade = Some(pb::UpgradeTaken { days: 4, ..Default::default() });
    data.delivery = delivery(-2).delivery;
    data.sex = pb::Sex::Male.into();
    let wrong = delivery_mistakes(data.delivery.as_mut().unwrap());
    let refused = served.set(&claim, data).await.unwrap_err();
    let mut expected = vec![
        "data.ventilator_hours",
        "data.adl_sub_acute",
        "data.adl_chronic",
        "data.class_upgrade.upgrade_class",
        "data.class_upgrade.payer",
        "data.class_upgrade.days",
        "data.diastole_mmhg",
        "data.blood_bags",
        "data.executive_clinic_rupiah",
        "data.cob_code",
        "data.payor",
        "data.newborn_status",
        "data.birth_weight_gram",
        "data.apgar.minute_1",
        "data.apgar.minute_5.pulse",
        "data.delivery",
    ];
    expected.extend(wrong);
    expected.extend(["data.special_items[1]", "data.special_items[2]"]);
    assert_eq!(wrong_fields(&refused), expected);

    // Of a grown-up nothing of a newborn is accepted; a patient born here was born on the day.
    let mut old = newborn(-2);
    old.birth_date = day(-40).to_string();
    let wrong = wrong_fields(&served.set(&claim, old).await.unwrap_err());
    assert_eq!(wrong, ["data.birth_date", "data.birth_weight_gram", "data.newborn_status", "data.apgar"]);
    let edge = pb::ClaimData {
        birth_date: (day(-2) - jiff::ToSpan::days(28)).to_string(),
        admission_route: pb::AdmissionRoute::Emergency.into(),
        ..newborn(-2)
    };
    served.set(&claim, edge).await.unwrap();
    assert_eq!(served.rows().await, before + 1, "only the idempotency record of the right one");

    // What the SEP does not allow.
    let mut upgraded = newborn(-2);
    upgraded.class_upgrade = delivery(-2).class_upgrade;
    (upgraded.cob_code, upgraded.executive_clinic_rupiah) = ("0001".into(), 1);
    let refused = served.set(&claim, upgraded).await.unwrap_err();
    assert_eq!(reason(&refused), "CLAIM_CONTRADICTS_SEP");
    assert_eq!(
        wrong_fields(&refused),
        ["data.class_upgrade.upgrade_class", "data.executive_clinic_rupiah", "data.cob_code"]
    );
    let visit = served.created(&served.issue(visit(day(-2))).await.unwrap()).await;
    let data = pb::ClaimData { adl_sub_acute: 12, adl_chronic: 60, ..coding(day(-2), "E11.9") };
    let refused = served.set(&visit, data).await.unwrap_err();
    assert_eq!(wrong_fields(&refused), ["data.adl_sub_acute", "data.adl_chronic"]);
}

/// Makes mistakes in a delivery; the fields that are wrong then.
fn delivery_mistakes(delivery: &mut pb::Delivery) -> Vec<&'static str> {
    delivery.gestation_weeks = 46;
    delivery.gravida = 0;
    delivery.partus = -1;
    delivery.abortus = 1;
    delivery.onset = 0;
    let [first, second] = delivery.births.as_mut_slice() else { panic!("two births") };
    first.method = 0;
    first.position = 9;
    first.thyroid_screening.as_mut().unwrap().taken_at = None;
    second.born_at = at(-2, 1);
    second.vacuum = true;
    second.thyroid_screening = Some(pb::ThyroidScreening::default());
    vec![
        "data.delivery.gestation_weeks",
        "data.delivery.gravida",
        "data.delivery.partus",
        "data.delivery.abortus",
        "data.delivery.onset",
        "data.delivery.births[0].method",
        "data.delivery.births[0].position",
        "data.delivery.births[0].thyroid_screening.taken_at",
        "data.delivery.births[1].born_at",
        "data.delivery.births[1].vacuum",
        "data.delivery.births[1].thyroid_screening",
        "data.delivery.births[1].thyroid_screening",
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_step_sent_many_times_at_once_has_one_answer() {
    let served = Served::start().await;
    let sep = served.issue(visit(today())).await.unwrap();
    let claim = served.created(&sep).await;
    let claim = served.set(&claim, coding(today(), "E11.9")).await.unwrap();
    let group = pb::GroupClaimRequest { request_id: key(), claim_id: claim.claim_id.clone() };
    let grouped = join_all((0..16).map(|_| served.claims(HOSPITAL)).map(|mut claims| {
        let group = group.clone();
        async move { claims.group_claim(group).await.unwrap().into_inner() }
    }));
    let grouped = grouped.await;
    assert!(grouped.iter().all(|answer| *answer == grouped[0]), "{grouped:?}");
    let finalise = pb::FinaliseClaimRequest { request_id: key(), claim_id: claim.claim_id.clone() };
    let finals = join_all((0..16).map(|_| served.claims(HOSPITAL)).map(|mut claims| {
        let finalise = finalise.clone();
        async move { claims.finalise_claim(finalise).await.unwrap().into_inner() }
    }));
    let finals = finals.await;
    assert!(finals.iter().all(|answer| *answer == finals[0]), "{finals:?}");
}
