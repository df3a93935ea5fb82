//! The registry of facilities on a real database.

use crate::house::{BPJS, House, PUSKESMAS, hospital, key, puskesmas, reason, wrong};
use proto::accreditation::v1::{self as pb, facility_service_server::FacilityService};

#[tokio::test]
async fn a_facility_is_registered_and_found_by_every_code() {
    let house = House::new("registry").await;
    house.register(puskesmas()).await.unwrap();
    let registered = house.register(hospital()).await.unwrap();
    assert_eq!((registered.level, registered.revision), (pb::FacilityLevel::Fkrtl as i32, 1));
    assert_eq!(registered.province_code, "32");
    let message = pb::GetFacilityRequest { facility_code: "0301R011".into() };
    let read =
        house.facilities.get_facility(house.call("service:referral", message)).await.unwrap().into_inner();
    assert_eq!(read.facility, Some(registered));

    let found = async |filter: pb::ListFacilitiesRequest| house.list(filter).await.0;
    let by = pb::ListFacilitiesRequest::default;
    assert_eq!(found(by()).await, ["0301R011", PUSKESMAS]);
    assert_eq!(found(pb::ListFacilitiesRequest { moh_code: "3273015".into(), ..by() }).await, ["0301R011"]);
    let satusehat = pb::ListFacilitiesRequest { satusehat_organization_id: "100025592".into(), ..by() };
    assert_eq!(found(satusehat).await, ["0301R011"]);
    assert_eq!(found(pb::ListFacilitiesRequest { poli_code: "JAN".into(), ..by() }).await, ["0301R011"]);
    assert_eq!(found(pb::ListFacilitiesRequest { region_code: "32".into(), ..by() }).await.len(), 2);
    assert!(found(pb::ListFacilitiesRequest { region_code: "3171".into(), ..by() }).await.is_empty());
    let level = pb::FacilityLevel::Fktp as i32;
    assert_eq!(found(pb::ListFacilitiesRequest { level, ..by() }).await, [PUSKESMAS]);
    let kinds = vec![pb::FacilityKind::Hospital as i32];
    assert_eq!(found(pb::ListFacilitiesRequest { kinds: kinds.clone(), ..by() }).await, ["0301R011"]);
    assert!(found(pb::ListFacilitiesRequest { kinds, level, ..by() }).await.is_empty());
    assert!(found(pb::ListFacilitiesRequest { contracted_on: "2023-12-31".into(), ..by() }).await.is_empty());
    assert_eq!(
        found(pb::ListFacilitiesRequest { contracted_on: "2024-01-01".into(), ..by() }).await.len(),
        2
    );
    assert_eq!(house.events().await, ["FacilityRegistered", "FacilityRegistered"]);
}

#[tokio::test]
async fn pages_show_each_facility_once() {
    let house = House::new("pages").await;
    let codes: Vec<_> = (0..7).map(|serial| format!("0301U{serial:03}")).collect();
    for code in &codes {
        house.register(pb::Facility { facility_code: code.clone(), ..puskesmas() }).await.unwrap();
    }
    let (mut seen, mut page_token) = (Vec::new(), String::new());
    loop {
        let message = pb::ListFacilitiesRequest { page_size: 3, page_token, ..Default::default() };
        let (page, next) = house.list(message).await;
        assert!(page.len() <= 3);
        seen.extend(page);
        page_token = next;
        if page_token.is_empty() {
            break;
        }
    }
    assert_eq!(seen, codes);
}

#[tokio::test]
async fn a_taken_code_is_refused_and_nothing_is_written() {
    let house = House::new("taken").await;
    house.register(hospital()).await.unwrap();
    let refused = house.register(hospital()).await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused)), (tonic::Code::AlreadyExists, "FACILITY_EXISTS".into()));
    let other = pb::Facility { facility_code: "0301R012".into(), ..hospital() };
    assert_eq!(reason(&house.register(other).await.unwrap_err()), "FACILITY_EXISTS");
    assert_eq!(house.list(pb::ListFacilitiesRequest::default()).await.0, ["0301R011"]);
    assert_eq!(house.events().await.len(), 1);
}

#[tokio::test]
async fn the_same_request_has_one_effect() {
    let house = House::new("once").await;
    let message = pb::RegisterFacilityRequest { request_id: key(), facility: Some(puskesmas()) };
    let first =
        house.facilities.register_facility(house.call(BPJS, message.clone())).await.unwrap().into_inner();
    let again =
        house.facilities.register_facility(house.call(BPJS, message.clone())).await.unwrap().into_inner();
    assert_eq!(first, again);
    let other = pb::RegisterFacilityRequest { facility: Some(hospital()), ..message };
    let refused = house.facilities.register_facility(house.call(BPJS, other)).await.unwrap_err();
    assert_eq!(
        (reason(&refused), wrong(&refused)),
        ("REQUEST_ID_REUSED".into(), vec!["request_id".to_owned()])
    );
    assert_eq!(house.events().await.len(), 1);
}

#[tokio::test]
async fn every_wrong_field_is_named() {
    let house = House::new("wrong").await;
    let service = |code: &str, stratum| pb::ServiceOffered { poli_code: code.into(), stratum };
    let facility = pb::Facility {
        facility_code: "nonsense".into(),
        moh_code: "12".into(),
        name: String::new(),
        kind: 99,
        ownership: 0,
        region_code: "32".into(),
        location: Some(pb::Location { latitude: 91.0, longitude: f64::NAN }),
        services: vec![service("XYZ", 0), service("INT", 77)],
        contract: Some(pb::Contract { from: "2026-02-01".into(), to: "2026-01-01".into() }),
        kris: Some(pb::KrisAssessment { assessed_on: "2027-01-01".into(), ..Default::default() }),
        ..Default::default()
    };
    let message = pb::RegisterFacilityRequest { request_id: "x".into(), facility: Some(facility) };
    let refused = house.facilities.register_facility(house.call(BPJS, message)).await.unwrap_err();
    let named = wrong(&refused);
    for field in [
        "request_id",
        "facility.facility_code",
        "facility.moh_code",
        "facility.name",
        "facility.kind",
        "facility.ownership",
        "facility.region_code",
        "facility.location",
        "facility.services[0].poli_code",
        "facility.services[1].stratum",
        "facility.contract.to",
        "facility.kris.assessed_on",
    ] {
        assert!(named.iter().any(|name| name == field), "{field} is missing from {named:?}");
    }
    assert!(house.events().await.is_empty());
}

#[tokio::test]
async fn an_update_touches_the_fields_of_its_mask_and_no_others() {
    let house = House::new("update").await;
    house.register(hospital()).await.unwrap();
    let kris = pb::KrisAssessment {
        assessed_on: "2026-06-30".into(),
        oxygen: true,
        beds: true,
        ..Default::default()
    };
    let change = pb::Facility {
        facility_code: "0301R011".into(),
        name: "RSUD Contoh Baru".into(),
        moh_code: "9999999".into(),
        kris: Some(kris.clone()),
        ..Default::default()
    };
    let changed = house.update(change.clone(), &["name", "kris"]).await.unwrap();
    assert_eq!(
        (changed.name.as_str(), changed.moh_code.as_str(), changed.revision),
        ("RSUD Contoh Baru", "3273015", 2)
    );
    assert_eq!((changed.kris, changed.services.len()), (Some(kris), 2));

    let refused = house.update(change.clone(), &["name", "kind"]).await.unwrap_err();
    assert_eq!(wrong(&refused), ["update_mask"]);
    let refused = house.update(change, &["hospital_class"]).await.unwrap_err();
    assert_eq!(wrong(&refused), ["facility.hospital_class"]);
    assert_eq!(house.events().await, ["FacilityRegistered", "FacilityUpdated"]);
}

#[tokio::test]
async fn contracts_are_a_history() {
    let house = House::new("contracts").await;
    house.register(puskesmas()).await.unwrap();
    let with = |from: &str, to: &str| pb::Facility {
        facility_code: PUSKESMAS.into(),
        contract: Some(pb::Contract { from: from.into(), to: to.into() }),
        ..Default::default()
    };
    let changed = house.update(with("2027-01-01", "2027-12-31"), &["contract"]).await.unwrap();
    let contract = |from: &str, to: &str| pb::Contract { from: from.into(), to: to.into() };
    assert_eq!(
        changed.contract_history,
        [contract("2027-01-01", "2027-12-31"), contract("2024-01-01", "2026-12-31")]
    );
    // Today the first one is in force.
    assert_eq!(changed.contract, Some(contract("2024-01-01", "2026-12-31")));
    let refused = house.update(with("2025-01-01", ""), &["contract"]).await.unwrap_err();
    assert_eq!(reason(&refused), "CONTRACT_OVERLAPS");
    let ended = house.update(with("2027-01-01", "2027-06-30"), &["contract"]).await.unwrap();
    assert_eq!(ended.contract_history[0], contract("2027-01-01", "2027-06-30"));
    assert!(!house.status(PUSKESMAS, "2027-07-01").await.contracted);
    assert!(house.status(PUSKESMAS, "2027-06-30").await.contracted);
}
