//! The register of certified coders, and claims that are made final with it, over gRPC and on a real Postgres.

use crate::{
    refusal::{fact, reason, wrong_fields},
    served::Served,
    wishes::{BPJS, HOSPITAL, MINISTRY, OTHER, coding, day, key, today, visit},
};
use futures::future::join_all;
use prost::Message;
use proto::{accreditation::v1 as siaf, claims::v1 as pb};
use tonic::{Code, Status};

const NIK: &str = "3273014101900002";

fn wish() -> pb::RegisterCoderRequest {
    pb::RegisterCoderRequest {
        request_id: key(),
        certificate_number: "UJK-2".into(),
        coder_nik: NIK.into(),
        facility_code: "0301R011".into(),
        valid_from: day(-10).to_string(),
        valid_to: day(10).to_string(),
    }
}

async fn registered(served: &Served, wish: pb::RegisterCoderRequest) -> Result<pb::CoderCertificate, Status> {
    Ok(served.coders(MINISTRY).register_coder(wish).await?.into_inner().certificate.unwrap())
}

async fn revoked(served: &Served, id: &str, on: String) -> Result<pb::CoderCertificate, Status> {
    let request = pb::RevokeCoderRequest {
        request_id: key(),
        certificate_id: id.into(),
        revoked_on: on,
        note: "withdrawn by the examination board".into(),
    };
    Ok(served.coders(MINISTRY).revoke_coder(request).await?.into_inner().certificate.unwrap())
}

async fn listed(served: &Served, caller: &'static str, request: pb::ListCodersRequest) -> Vec<String> {
    let answer = served.coders(caller).list_coders(request).await.unwrap().into_inner();
    answer.certificates.into_iter().map(|one| one.certificate_id).collect()
}

async fn counted(served: &Served, on: String) -> pb::CountCertifiedFacilitiesResponse {
    let request = pb::CountCertifiedFacilitiesRequest { on };
    served.coders(BPJS).count_certified_facilities(request).await.unwrap().into_inner()
}

/// A grouped claim that names this coder.
async fn grouped(served: &Served, coder_nik: &str, service: i64) -> pb::Claim {
    let sep = served.issue(visit(day(service))).await.unwrap();
    let claim = served.created(&sep).await;
    let data = pb::ClaimData { coder_nik: coder_nik.into(), ..coding(day(service), "E11.9") };
    served.grouped(&served.set(&claim, data).await.unwrap()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_is_final_only_by_a_coder_whose_certificate_holds_here_today() {
    let served = Served::start().await;
    let claim = grouped(&served, NIK, 0).await;
    let rows = served.rows().await;
    let standing = async || {
        let refused = served.finalised(&claim).await.unwrap_err();
        assert_eq!(
            (refused.code(), reason(&refused)),
            (Code::FailedPrecondition, "CODER_NOT_CERTIFIED".into())
        );
        assert!(!format!("{refused:?}").contains(NIK), "no NIK in an error");
        fact(&refused, "standing")
    };
    assert_eq!(standing().await, "UNKNOWN");
    assert_eq!(served.rows().await, rows, "a refusal writes nothing");

    let elsewhere = pb::RegisterCoderRequest { facility_code: "0301R012".into(), ..wish() };
    registered(&served, elsewhere).await.unwrap();
    assert_eq!(standing().await, "ELSEWHERE");
    let past = pb::RegisterCoderRequest {
        certificate_number: "UJK-OLD".into(),
        valid_from: day(-30).to_string(),
        valid_to: day(-1).to_string(),
        ..wish()
    };
    registered(&served, past).await.unwrap();
    assert_eq!(standing().await, "EXPIRED");
    let future = pb::RegisterCoderRequest {
        certificate_number: "UJK-NEXT".into(),
        valid_from: day(1).to_string(),
        ..wish()
    };
    registered(&served, future).await.unwrap();
    assert_eq!(standing().await, "NOT_YET_VALID");

    // One that ends today still holds; what was final stays so when it is revoked.
    let last_day = pb::RegisterCoderRequest { valid_to: today().to_string(), ..wish() };
    let certificate = registered(&served, last_day).await.unwrap();
    let done = served.finalised(&claim).await.unwrap();
    assert_eq!(done.state(), pb::ClaimState::Final);
    revoked(&served, &certificate.certificate_id, today().to_string()).await.unwrap();
    assert_eq!(served.submitted(&done).await.unwrap().state(), pb::ClaimState::Submitted);
    let next = grouped(&served, NIK, 0).await;
    let refused = served.finalised(&next).await.unwrap_err();
    assert_eq!(fact(&refused, "standing"), "NOT_YET_VALID", "the one that says most is told");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_of_before_the_duty_needs_no_certificate() {
    let served = Served::start().await;
    let begin: jiff::civil::Date = "2025-12-31".parse().unwrap();
    let age = i64::from((begin - today()).get_days());
    let claim = grouped(&served, NIK, age).await;
    assert_eq!(served.finalised(&claim).await.unwrap().state(), pb::ClaimState::Final);
    let claim = grouped(&served, NIK, age + 1).await;
    assert_eq!(reason(&served.finalised(&claim).await.unwrap_err()), "CODER_NOT_CERTIFIED");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_registered_once_and_revoked_once() {
    let served = Served::start().await;
    let same = wish();
    let answers = join_all((0..8).map(|_| registered(&served, same.clone()))).await;
    let first = answers[0].as_ref().unwrap().clone();
    assert!(answers.iter().all(|answer| answer.as_ref().unwrap() == &first), "one request, one effect");
    let again = registered(&served, wish()).await.unwrap_err();
    assert_eq!(reason(&again), "CODER_CERTIFICATE_EXISTS");
    let differs = pb::RegisterCoderRequest { valid_to: day(20).to_string(), ..same };
    assert_eq!(reason(&registered(&served, differs).await.unwrap_err()), "REQUEST_ID_REUSED");

    let gone = revoked(&served, &first.certificate_id, day(-3).to_string()).await.unwrap();
    assert_eq!(gone.revoked_on, day(-3).to_string());
    let twice = revoked(&served, &first.certificate_id, today().to_string()).await.unwrap_err();
    assert_eq!(
        (reason(&twice).as_str(), fact(&twice, "revoked_on")),
        ("CODER_CERTIFICATE_REVOKED", day(-3).to_string())
    );
    let nobody = revoked(&served, &key(), today().to_string()).await.unwrap_err();
    assert_eq!(nobody.code(), Code::NotFound);
    // Revoked, its number is free for a new one.
    registered(&served, wish()).await.unwrap();

    let events = served.events(3).await;
    let kinds: Vec<_> = events.iter().map(|event| event.r#type.as_str()).collect();
    assert_eq!(
        kinds,
        ["CoderRegistered", "CoderRevoked", "CoderRegistered"].map(|n| format!("jkn.claims.v1.{n}"))
    );
    let told = pb::CoderRegistered::decode(events[0].body.clone()).unwrap();
    assert_eq!((told.certificate_id, told.facility_code), (first.certificate_id, "0301R011".into()));
    for event in &events {
        let body = String::from_utf8_lossy(&event.body).into_owned();
        assert!(!body.contains(NIK) && !body.contains("UJK"), "an event names no person");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn hospitals_see_their_own_coders_and_facilities_are_counted_once() {
    let served = Served::start().await;
    // The fixture has one certificate at each of two hospitals.
    assert_eq!(counted(&served, String::new()).await.facilities, 2);
    let second = registered(&served, wish()).await.unwrap();
    let third = pb::RegisterCoderRequest { facility_code: "0401R001".into(), ..wish() };
    let third = registered(&served, third).await.unwrap();
    let now = counted(&served, String::new()).await;
    assert_eq!((now.facilities, now.certificates, now.target_facilities), (3, 4, 1800));
    assert_eq!(counted(&served, day(-11).to_string()).await.facilities, 2);
    let early = counted(&served, "2023-10-01".into()).await;
    assert_eq!((early.facilities, early.target_facilities), (2, 500));
    revoked(&served, &third.certificate_id, today().to_string()).await.unwrap();
    assert_eq!(counted(&served, String::new()).await.facilities, 2);
    assert_eq!(counted(&served, day(-1).to_string()).await.facilities, 3, "it held yesterday");

    let own = listed(&served, HOSPITAL, pb::ListCodersRequest::default()).await;
    assert_eq!((own.len(), own.contains(&second.certificate_id)), (2, true));
    assert_eq!(listed(&served, OTHER, pb::ListCodersRequest::default()).await.len(), 1);
    let holding = pb::ListCodersRequest { valid_on: today().to_string(), ..Default::default() };
    assert_eq!(listed(&served, MINISTRY, holding).await.len(), 3);
    let page = pb::ListCodersRequest { page_size: 3, ..Default::default() };
    let first = served.coders(MINISTRY).list_coders(page.clone()).await.unwrap().into_inner();
    assert_eq!(first.certificates.len(), 3);
    let rest = pb::ListCodersRequest { page_token: first.next_page_token, ..page };
    assert_eq!(listed(&served, MINISTRY, rest).await.len(), 1);
    let theirs = pb::ListCodersRequest { facility_code: "0301R012".into(), ..Default::default() };
    let refused = served.coders(HOSPITAL).list_coders(theirs).await.unwrap_err();
    assert_eq!(wrong_fields(&refused), ["facility_code"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_input_names_every_wrong_field_and_writes_nothing() {
    let served = Served::start().await;
    let wild = pb::RegisterCoderRequest {
        request_id: "x".into(),
        certificate_number: "x".repeat(41),
        coder_nik: "12".into(),
        facility_code: "?".into(),
        valid_from: "2026-02-30".into(),
        valid_to: String::new(),
    };
    let refused = registered(&served, wild).await.unwrap_err();
    assert_eq!(
        wrong_fields(&refused),
        ["request_id", "certificate_number", "coder_nik", "facility_code", "valid_from", "valid_to"]
    );
    let backwards = pb::RegisterCoderRequest { valid_to: day(-11).to_string(), ..wish() };
    assert_eq!(wrong_fields(&registered(&served, backwards).await.unwrap_err()), ["valid_to"]);
    let tomorrow = revoked(&served, &key(), day(1).to_string()).await.unwrap_err();
    assert_eq!(wrong_fields(&tomorrow), ["revoked_on"]);
    // Only a facility that the registry knows at referral level has coders.
    served.others(|others| others.standing.level = siaf::FacilityLevel::Fktp.into());
    assert_eq!(reason(&registered(&served, wish()).await.unwrap_err()), "FACILITY_NOT_REFERRAL_LEVEL");
    served.others(|others| others.registered = false);
    assert_eq!(reason(&registered(&served, wish()).await.unwrap_err()), "FACILITY_NOT_REFERRAL_LEVEL");
    served.others(|others| others.up = false);
    assert_eq!(registered(&served, wish()).await.unwrap_err().code(), Code::Unavailable);
    for caller in [HOSPITAL, BPJS] {
        let refused = served.coders(caller).register_coder(wish()).await.unwrap_err();
        assert_eq!(reason(&refused), "CALLER_NOT_ALLOWED");
    }
    assert_eq!(served.rows().await, 0);
    assert_eq!(counted(&served, String::new()).await.certificates, 2);
}
