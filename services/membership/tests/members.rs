//! Families, members, choices of facility and the civil registry, on a real database.

#![allow(clippy::unwrap_used)]

mod house;

use house::{BPJS, CLINIC, House, PUSKESMAS, key, reason, register, resident, wrong};
use proto::membership::v1::{self as pb, membership_service_server::MembershipService};

#[tokio::test]
async fn a_family_is_registered_once_and_found_by_every_name() {
    let house = House::new("register").await;
    let message = register(pb::Segment::Pbpu);
    let first = house.service.register_family(house.call(BPJS, message.clone())).await.unwrap().into_inner();
    let again = house.service.register_family(house.call(BPJS, message)).await.unwrap().into_inner();
    assert_eq!(first, again);
    let [head, spouse, child] = first.members.as_slice() else { panic!("three members") };
    assert_eq!(head.card_number.len(), 13);
    assert!(head.card_number != spouse.card_number && spouse.card_number != child.card_number);
    assert_eq!((head.fktp_code.as_str(), head.covered_from.as_str()), (PUSKESMAS, "2026-11-22"));
    assert_eq!((head.segment(), head.care_class()), (pb::Segment::Pbpu, pb::CareClass::CareClass3));
    assert_eq!(house.events().await, ["MemberRegistered"; 3]);

    for known in [
        pb::find_member_request::Known::Nik(spouse.nik.clone()),
        pb::find_member_request::Known::CardNumber(spouse.card_number.clone()),
    ] {
        let message = pb::FindMemberRequest { known: Some(known) };
        let found = house.service.find_member(house.call(BPJS, message)).await.unwrap().into_inner();
        assert_eq!(found.member.as_ref(), Some(spouse));
    }
    let (mut seen, mut page_token) = (Vec::new(), String::new());
    loop {
        let message =
            pb::ListFamilyMembersRequest { family_id: first.family_id.clone(), page_size: 1, page_token };
        let page = house.service.list_family_members(house.call(BPJS, message)).await.unwrap().into_inner();
        seen.extend(page.members);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    assert_eq!(seen, first.members);
}

#[tokio::test]
async fn a_facility_sees_the_members_that_chose_it() {
    let house = House::new("scope").await;
    let member = house.family(pb::Segment::Pbi, "").await.remove(0);
    let get = async |caller: &str| {
        let message = pb::GetMemberRequest { member_id: member.member_id.clone() };
        house.service.get_member(house.call(caller, message)).await
    };
    assert_eq!(get("fktp:0301U001").await.unwrap().into_inner().member, Some(member.clone()));
    assert_eq!(reason(&get("fktp:0301B002").await.unwrap_err()), "NOT_FOUND");
    assert_eq!(get("service:claims").await.unwrap().into_inner().member, Some(member.clone()));
}

#[tokio::test]
async fn every_wrong_field_is_named_and_nothing_written() {
    let house = House::new("fields").await;
    let mut message = register(pb::Segment::PpuBu);
    message.request_id = "x".into();
    message.covered_from = "2026-11-23".into();
    message.terms.as_mut().unwrap().monthly_wage_rupiah = 0;
    message.members[0].nik = "9973014505900001".into();
    message.members[1].region_code = "32".into();
    message.members[1].phone = "call me".into();
    message.members[2].fktp_code = "PUSKESMAS".into();
    let refused = house.service.register_family(house.call(BPJS, message)).await.unwrap_err();
    assert_eq!(
        wrong(&refused),
        [
            "request_id",
            "terms.monthly_wage_rupiah",
            "covered_from",
            "members[0].nik",
            "members[1].region_code",
            "members[1].phone",
            "members[2].fktp_code"
        ]
    );
    assert!(!format!("{refused:?}").contains("9973014505900001"));
    let mut message = register(pb::Segment::Pbi);
    message.members[1].relation = pb::Relation::Head.into();
    message.members[2].nik = message.members[0].nik.clone();
    let refused = house.service.register_family(house.call(BPJS, message)).await.unwrap_err();
    assert_eq!(wrong(&refused), ["members[1].relation", "members[2].nik"]);
    let empty = house
        .service
        .register_family(house.call(BPJS, pb::RegisterFamilyRequest::default()))
        .await
        .unwrap_err();
    assert_eq!(wrong(&empty), ["request_id", "terms", "members", "members"]);
    assert_eq!(house.count("select count(*) from family").await, 0);
    assert_eq!(house.count("select count(*) from idempotency").await, 0);
}

#[tokio::test]
async fn a_taken_nik_and_an_unfit_facility_are_refused() {
    let house = House::new("taken").await;
    let try_at = async |fktp: &str| {
        let mut message = register(pb::Segment::Pbi);
        message.members[1].fktp_code = fktp.into();
        house.service.register_family(house.call(BPJS, message)).await.unwrap_err()
    };
    for (fktp, expected) in [
        ("0301U099", "FKTP_UNKNOWN"),
        ("0301R011", "FKTP_NOT_FIRST_LEVEL"),
        ("0301B009", "FKTP_NOT_CONTRACTED"),
    ] {
        let refused = try_at(fktp).await;
        assert_eq!(
            (reason(&refused).as_str(), wrong(&refused)),
            (expected, vec!["members[1].fktp_code".to_owned()])
        );
    }
    house.family(pb::Segment::Pbi, "").await;
    let mut message = register(pb::Segment::Pbi);
    message.members.rotate_left(1);
    message.members[0].nik = "3273010101880009".into();
    let refused = house.service.register_family(house.call(BPJS, message)).await.unwrap_err();
    assert_eq!(
        (reason(&refused).as_str(), wrong(&refused)),
        ("NIK_ALREADY_REGISTERED", vec!["members[1].nik".to_owned()])
    );
    assert_eq!(house.count("select count(*) from family").await, 1);
    let mut message = register(pb::Segment::Pbi);
    message.terms.as_mut().unwrap().care_class = pb::CareClass::CareClass1.into();
    let refused = house.service.register_family(house.call(BPJS, message)).await.unwrap_err();
    assert_eq!(reason(&refused), "CARE_CLASS_NOT_OF_SEGMENT");
}

#[tokio::test]
async fn one_nik_registered_many_times_at_once_is_one_member() {
    let house = House::new("race").await;
    let calls: Vec<_> = (0..8)
        .map(|_| {
            let (service, request) = (house.service.clone(), house.call(BPJS, register(pb::Segment::Pbi)));
            tokio::spawn(async move { service.register_family(request).await })
        })
        .collect();
    let mut made = 0;
    for call in calls {
        match call.await.unwrap() {
            Ok(_) => made += 1,
            Err(status) => assert_eq!(reason(&status), "NIK_ALREADY_REGISTERED"),
        }
    }
    assert_eq!((made, house.count("select count(*) from member").await), (1, 3));
}

#[tokio::test]
async fn the_first_level_facility_changes_on_the_next_first() {
    let house = House::new("choice").await;
    let head = house.family(pb::Segment::Pbi, "2026-10-01").await.remove(0);
    let change = async |fktp: &str, ground: pb::FktpChangeGround, proof: &str| {
        let message = pb::ChangeFktpRequest {
            request_id: key(),
            member_id: head.member_id.clone(),
            fktp_code: fktp.into(),
            ground: ground.into(),
            proof_reference: proof.into(),
        };
        house.service.change_fktp(house.call(BPJS, message)).await.map(tonic::Response::into_inner)
    };
    use pb::FktpChangeGround::{Choice, Moved};
    assert_eq!(reason(&change(CLINIC, Choice, "").await.unwrap_err()), "FKTP_TOO_SOON");
    assert_eq!(wrong(&change(CLINIC, Moved, "").await.unwrap_err()), ["proof_reference"]);
    assert_eq!(reason(&change("0301R011", Moved, "SKP-1").await.unwrap_err()), "FKTP_NOT_FIRST_LEVEL");
    assert_eq!(reason(&change(PUSKESMAS, Moved, "SKP-1").await.unwrap_err()), "FKTP_UNCHANGED");
    let changed = change(CLINIC, Moved, "SKP-1").await.unwrap();
    assert_eq!(changed.effective_from, "2026-12-01");
    let member = changed.member.unwrap();
    assert_eq!((member.fktp_code.as_str(), member.next_fktp_code.as_str()), (PUSKESMAS, CLINIC));
    assert_eq!(reason(&change(CLINIC, Moved, "SKP-1").await.unwrap_err()), "FKTP_CHANGE_PENDING");
    assert_eq!(house.check(&head.member_id, "2026-11-30").await.fktp_code, PUSKESMAS);
    assert_eq!(house.check(&head.member_id, "2026-12-01").await.fktp_code, CLINIC);
    assert_eq!(house.events().await[3..], ["FktpChanged"]);
}

#[tokio::test]
async fn an_update_changes_what_the_mask_names_and_keeps_the_old_version() {
    let house = House::new("update").await;
    let members = house.family(pb::Segment::Pbi, "2025-01-05").await;
    let update = async |mask: &[&str], change: pb::MemberChange| {
        let message = pb::UpdateMemberRequest {
            request_id: key(),
            member_id: members[1].member_id.clone(),
            change: Some(change),
            update_mask: Some(prost_types::FieldMask {
                paths: mask.iter().map(|path| (*path).into()).collect(),
            }),
        };
        house.service.update_member(house.call(BPJS, message)).await.map(tonic::Response::into_inner)
    };
    let change =
        pb::MemberChange { region_code: "3171".into(), name: "ignored".into(), ..Default::default() };
    let moved = update(&["region_code"], change).await.unwrap().member.unwrap();
    assert_eq!((moved.region_code.as_str(), moved.name.as_str()), ("3171", "Budi Santoso"));
    assert_eq!(house.count("select count(*) from member_revision where region_code = '3273'").await, 1);

    let worker = pb::MemberChange {
        segment: pb::Segment::PpuBu.into(),
        monthly_wage_rupiah: 9_000_000,
        ..Default::default()
    };
    assert_eq!(
        wrong(
            &update(&["segment"], pb::MemberChange { monthly_wage_rupiah: 0, ..worker.clone() })
                .await
                .unwrap_err()
        ),
        ["change.monthly_wage_rupiah"]
    );
    let changed = update(&["segment", "monthly_wage_rupiah"], worker).await.unwrap();
    assert_eq!(
        (changed.terms_effective_from.as_str(), changed.member.unwrap().segment()),
        ("2026-12-01", pb::Segment::Pbi)
    );
    let child = house.check(&members[2].member_id, "2026-12-01").await;
    assert_eq!((child.segment(), child.care_class()), (pb::Segment::PpuBu, pb::CareClass::CareClass1));
    assert_eq!(house.events().await[3..], ["MemberUpdated"; 4]);

    let class = pb::MemberChange { care_class: pb::CareClass::CareClass1.into(), ..Default::default() };
    assert_eq!(reason(&update(&["care_class"], class).await.unwrap_err()), "TERMS_CHANGE_PENDING");
    let death = pb::MemberChange {
        status: pb::MembershipStatus::Deceased.into(),
        ended_on: "2026-11-20".into(),
        ..Default::default()
    };
    assert_eq!(wrong(&update(&["status"], death.clone()).await.unwrap_err()), ["update_mask"]);
    let ended = update(&["status", "ended_on"], death.clone()).await.unwrap().member.unwrap();
    assert_eq!((ended.status(), ended.ended_on.as_str()), (pb::MembershipStatus::Deceased, "2026-11-20"));
    let after = house.check(&members[1].member_id, "2026-11-21").await;
    assert_eq!(after.reasons, [pb::IneligibilityReason::MembershipEnded as i32]);
    assert_eq!(reason(&update(&["status", "ended_on"], death).await.unwrap_err()), "MEMBERSHIP_ENDED");
    assert_eq!(wrong(&update(&["nik"], pb::MemberChange::default()).await.unwrap_err()), ["update_mask"]);
}

#[tokio::test]
async fn who_comes_back_is_registered_anew() {
    let house = House::new("anew").await;
    let members = house.family(pb::Segment::Pbi, "2026-01-01").await;
    let nik = members[1].nik.clone();
    let left = pb::UpdateMemberRequest {
        request_id: key(),
        member_id: members[1].member_id.clone(),
        change: Some(pb::MemberChange {
            status: pb::MembershipStatus::Abroad.into(),
            ended_on: "2026-03-31".into(),
            ..Default::default()
        }),
        update_mask: Some(prost_types::FieldMask { paths: vec!["status".into(), "ended_on".into()] }),
    };
    house.service.update_member(house.call(BPJS, left)).await.unwrap();
    let register = async |from: &str| {
        let head = pb::NewMember {
            relation: pb::Relation::Head.into(),
            ..house::couple_with_child().into_iter().find(|one| one.nik == nik).unwrap()
        };
        let message = pb::RegisterFamilyRequest {
            members: vec![head],
            covered_from: from.into(),
            ..house::register(pb::Segment::Pbi)
        };
        house.service.register_family(house.call(BPJS, message)).await.map(tonic::Response::into_inner)
    };
    assert_eq!(reason(&register("2026-03-31").await.unwrap_err()), "NIK_ALREADY_REGISTERED");
    let anew = register("2026-06-01").await.unwrap().members.remove(0);
    assert_eq!(reason(&register("2026-07-01").await.unwrap_err()), "NIK_ALREADY_REGISTERED");
    let found = async |day: &str| {
        let message = pb::CheckEligibilityRequest {
            known: Some(pb::check_eligibility_request::Known::Nik(nik.clone())),
            service_date: day.into(),
            ..Default::default()
        };
        house.service.check_eligibility(house.call(BPJS, message)).await.unwrap().into_inner()
    };
    for (day, member, eligible) in [
        ("2026-03-31", &members[1], true),
        ("2026-05-31", &members[1], false),
        ("2026-06-01", &anew, true),
        ("2026-11-22", &anew, true),
    ] {
        let answer = found(day).await;
        assert_eq!((&answer.member_id, answer.eligible), (&member.member_id, eligible), "{day}");
    }
}

#[tokio::test]
async fn a_nik_is_verified_against_the_civil_registry() {
    let house = House::new("nik").await;
    let members = house.family(pb::Segment::Pbi, "").await;
    house.residents.enter([
        resident("3273014505900001", "SITI AMINAH", "1990-05-05", civil_registry::Sex::Female),
        resident("3273010101880002", "Budi Susanto", "1988-01-01", civil_registry::Sex::Male),
    ]);
    let verify = async |member: &pb::Member| {
        let message = pb::VerifyNikRequest { request_id: key(), member_id: member.member_id.clone() };
        let answer = house.service.verify_nik(house.call(BPJS, message)).await.unwrap().into_inner();
        let verification = answer.verification.unwrap();
        (verification.result(), verification.discrepancies)
    };
    assert_eq!(verify(&members[0]).await, (pb::NikResult::Matched, vec![]));
    assert_eq!(verify(&members[1]).await, (pb::NikResult::Discrepant, vec![pb::NikDiscrepancy::Name as i32]));
    assert_eq!(verify(&members[2]).await, (pb::NikResult::NotFound, vec![]));
    let message = pb::GetMemberRequest { member_id: members[1].member_id.clone() };
    let stored =
        house.service.get_member(house.call(BPJS, message)).await.unwrap().into_inner().member.unwrap();
    assert_eq!(stored.nik_verification.unwrap().result(), pb::NikResult::Discrepant);
    assert_eq!(house.events().await[3..], ["NikVerified"; 3]);
}

#[tokio::test]
async fn a_civil_registry_that_does_not_answer_is_no_verdict() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let house = House::with("silent", Some(format!("http://{}", closed.local_addr().unwrap()))).await;
    let member = house.family(pb::Segment::Pbi, "").await.remove(0);
    let message = pb::VerifyNikRequest { request_id: key(), member_id: member.member_id.clone() };
    let refused = house.service.verify_nik(house.call(BPJS, message)).await.unwrap_err();
    assert_eq!(
        (refused.code(), reason(&refused).as_str()),
        (tonic::Code::Unavailable, "TEMPORARILY_UNAVAILABLE")
    );
    assert_eq!(house.count("select count(*) from nik_answer").await, 0);
    assert_eq!(house.count("select count(*) from idempotency").await, 1, "the registration alone");
}
