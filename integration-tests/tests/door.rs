//! The one door: what a stock client meets at the gateway, and who is let in to which method.
#![allow(clippy::unwrap_used, reason = "a test that meets the unexpected should stop there")]

use std::collections::HashSet;

use chassis::contract;
use integration_tests::{
    Mesh,
    calls::{AMPLE, call_any, methods, reason},
};
use prost_reflect::DynamicMessage;
use proto::{
    accreditation::v1::{GetFacilityRequest, facility_service_client::FacilityServiceClient},
    options::v1::InstitutionKind,
};
use tonic::{Code, Request};

/// An identity of each kind that may come through the door; services do not.
const IDENTITIES: [(InstitutionKind, &str); 7] = [
    (InstitutionKind::Fktp, "fktp:3171U001"),
    (InstitutionKind::Hospital, "hospital:3171R001"),
    (InstitutionKind::Bpjs, "bpjs:pusat"),
    (InstitutionKind::Ministry, "ministry:yankes"),
    (InstitutionKind::Djsn, "djsn:djsn"),
    (InstitutionKind::Bank, "bank:bni"),
    (InstitutionKind::Surveyor, "surveyor:lafki"),
];

#[tokio::test(flavor = "multi_thread")]
async fn every_method_refuses_an_identity_its_policy_does_not_name_and_serves_the_others() {
    let mesh = Mesh::start().await.unwrap();
    let (mut refused, mut served) = (0, 0);
    for method in methods().unwrap() {
        let path = format!("/{}/{}", method.parent_service().full_name(), method.name());
        let policy = contract::method(&path).unwrap();
        for (kind, identity) in IDENTITIES {
            let empty = DynamicMessage::new(method.input());
            let answer = call_any(mesh.channel(identity).unwrap(), &method, empty, AMPLE).await;
            if policy.callers.contains(&kind) {
                served += 1;
                let code = answer.err().map_or(Code::Ok, |status| status.code());
                let unfit = [
                    Code::PermissionDenied,
                    Code::Unauthenticated,
                    Code::Unimplemented,
                    Code::Internal,
                    Code::Unknown,
                    Code::Unavailable,
                ];
                assert!(!unfit.contains(&code), "{path} as {identity}: {code:?}");
            } else {
                refused += 1;
                let status = answer.expect_err(&path);
                assert_eq!(
                    (status.code(), reason(&status).as_str()),
                    (Code::PermissionDenied, "CALLER_NOT_ALLOWED"),
                    "{path} as {identity}"
                );
            }
        }
    }
    assert!(refused > 50 && served > 50, "{refused} refused, {served} served");
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_anonymous_and_no_one_speaks_for_another() {
    let mesh = Mesh::start().await.unwrap();
    let ask = || Request::new(GetFacilityRequest { facility_code: "3171R001".into() });

    let status = FacilityServiceClient::new(mesh.anonymous().unwrap()).get_facility(ask()).await.unwrap_err();
    assert_eq!((status.code(), reason(&status).as_str()), (Code::Unauthenticated, "IDENTITY_MISSING"));

    // What only the gateway and the services say to each other is worth nothing from outside.
    for (name, value) in [("jkn-peer", "service:gateway"), ("jkn-assertion", "forged")] {
        let mut forged = ask();
        forged.metadata_mut().insert(name, value.parse().unwrap());
        let status =
            FacilityServiceClient::new(mesh.anonymous().unwrap()).get_facility(forged).await.unwrap_err();
        assert_eq!(status.code(), Code::Unauthenticated, "{name}");
    }
    let mut as_service = ask();
    let token = format!("Bearer {}", mesh.token("service:claims").unwrap());
    as_service.metadata_mut().insert("authorization", token.parse().unwrap());
    let status =
        FacilityServiceClient::new(mesh.anonymous().unwrap()).get_facility(as_service).await.unwrap_err();
    assert!(matches!(status.code(), Code::Unauthenticated | Code::PermissionDenied), "{status:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_reflection_names_every_service_and_health_answers() {
    use tonic::codegen::tokio_stream::{self, StreamExt};
    use tonic_reflection::pb::v1::{
        ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
        server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
    };
    let mesh = Mesh::start().await.unwrap();
    let channel = mesh.anonymous().unwrap();
    let list = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let mut answers = ServerReflectionClient::new(channel.clone())
        .server_reflection_info(tokio_stream::once(list))
        .await
        .unwrap()
        .into_inner();
    let Some(MessageResponse::ListServicesResponse(listed)) =
        answers.next().await.unwrap().unwrap().message_response
    else {
        panic!("a list of services");
    };
    let listed: HashSet<_> = listed.service.into_iter().map(|service| service.name).collect();
    let ours: HashSet<_> =
        methods().unwrap().into_iter().map(|m| m.parent_service().full_name().to_owned()).collect();
    assert!(ours.is_subset(&listed), "missing: {:?}", ours.difference(&listed));

    let health = tonic_health::pb::HealthCheckRequest { service: String::new() };
    let status =
        tonic_health::pb::health_client::HealthClient::new(channel).check(health).await.unwrap().into_inner();
    assert_eq!(status.status(), tonic_health::pb::health_check_response::ServingStatus::Serving);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_is_killed_is_unavailable_within_its_deadline_and_back_when_it_is_back() {
    let mut mesh = Mesh::start().await.unwrap();
    let mut client = FacilityServiceClient::new(mesh.channel("bpjs:pusat").unwrap());
    let ask = || Request::new(GetFacilityRequest { facility_code: "3171R001".into() });
    let status = client.get_facility(ask()).await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound);
    let trace =
        status.metadata().get("traceparent").and_then(|value| value.to_str().ok()).unwrap_or_default();
    assert!(chassis::call::is_traceparent(trace), "a refusal names its trace: {:?}", status.metadata());

    mesh.kill("accreditation").await.unwrap();
    let status = client.get_facility(ask()).await.unwrap_err();
    assert_eq!((status.code(), reason(&status).as_str()), (Code::Unavailable, "TEMPORARILY_UNAVAILABLE"));

    mesh.restart("accreditation").await.unwrap();
    let back = integration_tests::eventually(async || {
        let code = client.get_facility(ask()).await.unwrap_err().code();
        (code == Code::NotFound).then_some(())
    });
    back.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn every_process_stops_cleanly_when_it_is_asked_to() {
    let mut mesh = Mesh::start().await.unwrap();
    for name in Mesh::services().into_iter().chain(["gateway"]) {
        let status = mesh.stop(name).await.unwrap();
        assert!(status.success(), "{name}: {status}");
    }
}
