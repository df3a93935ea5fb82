//! Exactly once, as a caller sees it.
#![allow(clippy::unwrap_used, reason = "a test that meets the unexpected should stop there")]

use integration_tests::{
    Mesh,
    calls::{AsInstitution, reason, wrong_fields},
};
use proto::accreditation::v1::{
    Contract, Facility, FacilityKind, HospitalClass, Location, Ownership, RegisterFacilityRequest,
    RegisterFacilityResponse, ServiceOffered, ServiceStratum, facility_service_client::FacilityServiceClient,
};
use tonic::{Code, Response, Status};

fn hospital(code: &str, request_id: &str) -> RegisterFacilityRequest {
    RegisterFacilityRequest {
        request_id: request_id.to_owned(),
        facility: Some(Facility {
            facility_code: code.to_owned(),
            moh_code: "3171011".to_owned(),
            satusehat_organization_id: "100000011".to_owned(),
            name: "RS Uji".to_owned(),
            kind: FacilityKind::Hospital.into(),
            hospital_class: HospitalClass::C.into(),
            ownership: Ownership::Regency.into(),
            region_code: "3171".to_owned(),
            location: Some(Location { latitude: -6.18, longitude: 106.83 }),
            services: vec![ServiceOffered {
                poli_code: "INT".to_owned(),
                stratum: ServiceStratum::Madya.into(),
            }],
            contract: Some(Contract { from: "2026-01-01".to_owned(), to: "2027-12-31".to_owned() }),
            ..Facility::default()
        }),
    }
}

async fn register(
    channel: AsInstitution,
    request: RegisterFacilityRequest,
) -> Result<RegisterFacilityResponse, Status> {
    FacilityServiceClient::new(channel).register_facility(request).await.map(Response::into_inner)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_request_sixty_four_times_at_once_has_one_effect_and_one_answer() {
    let mesh = Mesh::start().await.unwrap();
    let channel = mesh.channel("ministry:yankes").unwrap();
    let request = hospital("3171R001", "0193-register-once");
    let all: Vec<_> = (0..64).map(|_| tokio::spawn(register(channel.clone(), request.clone()))).collect();
    let mut answers = Vec::new();
    for one in all {
        answers.push(one.await.unwrap().unwrap());
    }
    assert!(answers.iter().all(|answer| *answer == answers[0]), "64 equal answers");
    let events: i64 = integration_tests::eventually(async || {
        let told: i64 = sqlx::query_scalar("select count(*) from feed")
            .fetch_one(mesh.database("accreditation"))
            .await
            .unwrap();
        (told > 0).then_some(told)
    })
    .await
    .unwrap();
    assert_eq!(events, 1, "one effect");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_request_id_with_another_body_is_refused_and_names_the_field() {
    let mesh = Mesh::start().await.unwrap();
    let channel = mesh.channel("ministry:yankes").unwrap();
    register(channel.clone(), hospital("3171R001", "0193-register-one")).await.unwrap();
    let before = mesh.rows("accreditation").await.unwrap();
    let status = register(channel, hospital("3171R002", "0193-register-one")).await.unwrap_err();
    assert_eq!((status.code(), reason(&status).as_str()), (Code::AlreadyExists, "REQUEST_ID_REUSED"));
    assert_eq!(wrong_fields(&status), ["request_id"]);
    assert_eq!(mesh.rows("accreditation").await.unwrap(), before, "nothing was written");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_killed_under_writes_loses_nothing_it_acknowledged_and_does_nothing_twice() {
    let mut mesh = Mesh::start().await.unwrap();
    let channel = mesh.channel("ministry:yankes").unwrap();
    let writing: Vec<_> = (0..8)
        .map(|writer| {
            let channel = channel.clone();
            tokio::spawn(async move {
                let mut acknowledged = Vec::new();
                for n in 0..25 {
                    let code = format!("317{writer}R{n:03}");
                    let mut request = hospital(&code, &format!("0193-kill-{writer}-{n:03}"));
                    if let Some(facility) = request.facility.as_mut() {
                        facility.moh_code = format!("31{writer}{n:04}");
                        facility.satusehat_organization_id = format!("1000{writer}{n:04}");
                    }
                    // As a real client would: the outcome is unknown, so the same request again.
                    loop {
                        match register(channel.clone(), request.clone()).await {
                            Ok(_) => break,
                            Err(status)
                                if matches!(
                                    status.code(),
                                    Code::Unavailable
                                        | Code::DeadlineExceeded
                                        | Code::Unknown
                                        | Code::Cancelled
                                ) =>
                            {
                                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
                            }
                            Err(status) => panic!("{code}: {status:?}"),
                        }
                    }
                    acknowledged.push(code);
                }
                acknowledged
            })
        })
        .collect();
    for _ in 0..3 {
        let so_far: i64 = sqlx::query_scalar("select count(*) from idempotency")
            .fetch_one(mesh.database("accreditation"))
            .await
            .unwrap();
        integration_tests::eventually(async || {
            let now: i64 = sqlx::query_scalar("select count(*) from idempotency")
                .fetch_one(mesh.database("accreditation"))
                .await
                .unwrap();
            (now >= (so_far + 10).min(200)).then_some(())
        })
        .await
        .unwrap();
        mesh.kill("accreditation").await.unwrap();
        mesh.restart("accreditation").await.unwrap();
    }
    let mut acknowledged = Vec::new();
    for writer in writing {
        acknowledged.extend(writer.await.unwrap());
    }
    let pool = mesh.database("accreditation");
    let told: Vec<(i64, String)> = integration_tests::eventually(async || {
        let told: Vec<(i64, String)> = sqlx::query_as("select position, subject from feed order by position")
            .fetch_all(pool)
            .await
            .unwrap();
        (told.len() >= acknowledged.len()).then_some(told)
    })
    .await
    .unwrap();
    let positions: Vec<_> = told.iter().map(|(position, _)| *position).collect();
    assert_eq!(positions, (1..=200).collect::<Vec<_>>(), "gapless");
    let mut subjects: Vec<_> = told.into_iter().map(|(_, subject)| subject).collect();
    subjects.sort();
    acknowledged.sort();
    assert_eq!(subjects, acknowledged, "each acknowledged write once, and no other");
}
