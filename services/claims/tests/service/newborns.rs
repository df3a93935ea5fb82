//! Newborns on their mother's card, over gRPC and on a real Postgres: patients of their own.

use crate::{
    refusal::{fact, reason, wrong_fields},
    rules::{final_with, ids, validated},
    served::Served,
    stays::{discharged, issued, refused, stay},
    wishes::{HOSPITAL, OTHER, admission, day, key, member, visit},
};
use proto::{claims::v1 as pb, referral::v1 as sisrute};

/// The admission of a mother two days ago; of 1 to 9 that of a newborn on her card, on the same day.
fn admitted(mother: &str, newborn_order: i32) -> pb::IssueSepRequest {
    let initial_diagnosis = if newborn_order == 0 { "O80.9" } else { "Z38.3" };
    pb::IssueSepRequest {
        request_id: key(),
        member_id: mother.to_owned(),
        newborn_order,
        initial_diagnosis: initial_diagnosis.into(),
        ..admission(48)
    }
}

/// The coded stay of a newborn.
fn coded(sep: &pb::Sep) -> pb::ClaimData {
    pb::ClaimData {
        birth_date: sep.service_date.clone(),
        birth_weight_gram: 2600,
        newborn_status: pb::NewbornStatus::Healthy.into(),
        primary_diagnosis: "Z38.3".into(),
        ..stay(sep, 24 * 3600)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn twins_get_seps_on_the_day_on_which_their_mother_was_admitted() {
    let served = Served::start().await;
    let mother = member();
    let mut lying = Vec::new();
    for newborn_order in 0..=2 {
        let sep = served.issue(admitted(&mother, newborn_order)).await.unwrap();
        assert_eq!((sep.newborn_order, &sep.member_id), (newborn_order, &mother));
        assert_eq!(served.sep(&sep.sep_number).await.sep.unwrap().newborn_order, newborn_order);
        lying.push(sep);
    }
    // One SEP and one bed for each of the three, here and elsewhere.
    for (newborn_order, sep) in (0..).zip(&lying) {
        let again = served.issue(admitted(&mother, newborn_order)).await.unwrap_err();
        assert_eq!(
            (reason(&again), fact(&again, "sep_number")),
            ("SEP_EXISTS".into(), sep.sep_number.clone())
        );
        assert_eq!(fact(&again, "reasons"), "SEP_EXISTS", "its own stay is not told beside it");
        let planned = pb::IssueSepRequest {
            entry: pb::Entry::Referral.into(),
            referral_number: "0301U0011126P000001".into(),
            ..admitted(&mother, newborn_order)
        };
        let open = ("INPATIENT_STAY_OPEN".to_owned(), sep.sep_number.clone());
        assert_eq!(refused(issued(&served, OTHER, planned).await), open);
    }
    let seen = pb::IssueSepRequest {
        member_id: mother.clone(),
        newborn_order: 3,
        entry: pb::Entry::Emergency.into(),
        referral_number: String::new(),
        ..visit(day(0))
    };
    served.issue(seen.clone()).await.unwrap();
    let hers = pb::IssueSepRequest { request_id: key(), newborn_order: 0, ..seen };
    assert_eq!(reason(&served.issue(hers).await.unwrap_err()), "INPATIENT_STAY_OPEN");
    for newborn_order in [-1, 10] {
        let wrong = served.issue(admitted(&mother, newborn_order)).await.unwrap_err();
        assert_eq!(wrong_fields(&wrong), ["newborn_order"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_stay_of_a_newborn_does_not_overlap_that_of_its_mother() {
    let served = Served::start().await;
    let mother = served.issue(admitted(&member(), 0)).await.unwrap();
    let hers = served.created(&mother).await;
    let data = pb::ClaimData { primary_diagnosis: "I10".into(), ..stay(&mother, 24 * 3600) };
    served.submitted(&final_with(&served, &hers, data).await).await.unwrap();

    let newborn = served.issue(admitted(&mother.member_id, 1)).await.unwrap();
    let claim = served.created(&newborn).await;
    let hers = served.set(&claim, stay(&newborn, 24 * 3600)).await.unwrap_err();
    assert_eq!(wrong_fields(&hers), ["data.birth_date"]);
    served.set(&claim, coded(&newborn)).await.unwrap();
    let found = ids(&validated(&served, &claim).await.findings);
    assert!(!found.contains(&"overlapping-inpatient".to_owned()), "{found:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_p_care_recorded_of_a_mother_tells_nothing_of_her_newborn() {
    let served = Served::start().await;
    let record = sisrute::FirstLevelRecord { from_date: day(-366).to_string(), ..Default::default() };
    served.others(|others| others.referral.first_level_record = Some(record));
    let mother = member();
    for (newborn_order, outcome) in [(0, pb::TracerOutcome::Unmet), (1, pb::TracerOutcome::NotAssessable)] {
        let wish = pb::IssueSepRequest {
            entry: pb::Entry::Referral.into(),
            referral_number: "0301U0011126P000001".into(),
            ..admitted(&mother, newborn_order)
        };
        let sep = served.issue(wish).await.unwrap();
        let data = pb::ClaimData { primary_diagnosis: "A09".into(), ..coded(&sep) };
        let claim = served.created(&sep).await;
        let claim = served.set(&claim, data).await.unwrap();
        let told = validated(&served, &claim).await.tracers;
        let said = told.iter().find(|said| said.rule_id == "fktp-child-diarrhoea").unwrap();
        assert_eq!(said.outcome(), outcome, "{newborn_order}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_letter_of_a_newborn_is_not_for_its_mother() {
    let served = Served::start().await;
    let newborn = served.issue(admitted(&member(), 2)).await.unwrap();
    discharged(&served, HOSPITAL, &newborn, 24 * 3600).await.unwrap();
    let wish = pb::IssueFollowUpRequest {
        request_id: key(),
        kind: pb::FollowUpKind::Control.into(),
        based_on_sep_number: newborn.sep_number.clone(),
        poli_code: "ANA".into(),
        doctor_code: "31574".into(),
        planned_on: day(0).to_string(),
    };
    let letter = served.follow_ups(HOSPITAL).issue_follow_up(wish).await.unwrap();
    let letter = letter.into_inner().follow_up.unwrap();
    assert_eq!(letter.newborn_order, 2);
    let citing = |newborn_order| pb::IssueSepRequest {
        request_id: key(),
        newborn_order,
        member_id: newborn.member_id.clone(),
        entry: pb::Entry::FollowUp.into(),
        referral_number: String::new(),
        poli_code: letter.poli_code.clone(),
        doctor_code: letter.doctor_code.clone(),
        follow_up_number: letter.follow_up_number.clone(),
        ..visit(day(0))
    };
    for other in [0, 1] {
        let refused = served.issue(citing(other)).await.unwrap_err();
        assert_eq!(fact(&refused, "FOLLOW_UP_NOT_USABLE"), "OTHER_MEMBER", "{refused:?}");
    }
    assert_eq!(served.issue(citing(2)).await.unwrap().based_on_sep_number, newborn.sep_number);
}
