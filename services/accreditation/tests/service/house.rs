//! The service on a database of its own, called as each institution would call it.

use std::time::Duration;

use accreditation::{
    Accreditation,
    grpc::{Accreditations, Facilities, Policies},
};
use chassis::{Call, Caller, Db, Service};
use jiff::Timestamp;
use proto::accreditation::v1::{
    self as pb, accreditation_service_server::AccreditationService, facility_service_server::FacilityService,
};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Status};
use tonic_types::StatusExt;

pub(crate) const BPJS: &str = "bpjs:headquarters";
pub(crate) const MINISTRY: &str = "ministry:accreditation";
pub(crate) const SURVEYOR: &str = "surveyor:lafki";
pub(crate) const PUSKESMAS: &str = "0301U011";

pub(crate) struct House {
    pub(crate) facilities: Facilities,
    pub(crate) accreditation: Accreditations,
    database: embedded::testing::TestDatabase,
    at: Timestamp,
}

impl House {
    /// An empty registry on 22 November 2026.
    pub(crate) async fn new(name: &str) -> Self {
        let migrators = [&chassis::db::MIGRATOR, Accreditation::migrations().unwrap()];
        let database = embedded::testing::database(name, &migrators).await.unwrap();
        let db = Db::new(database.pool.clone(), CancellationToken::new());
        let policies = Policies {
            grades: chassis::policy::parse(
                "grades",
                include_str!("../../../../policy/accreditation/grades.toml"),
            )
            .unwrap(),
            certificates: chassis::policy::parse(
                "certificates",
                include_str!("../../../../policy/accreditation/certificates.toml"),
            )
            .unwrap(),
            surveys: chassis::policy::parse(
                "surveys",
                include_str!("../../../../policy/accreditation/surveys.toml"),
            )
            .unwrap(),
        };
        let at: Timestamp = "2026-11-22T03:00:00Z".parse().unwrap();
        Self {
            facilities: Facilities { db: db.clone() },
            accreditation: Accreditations { db, policies },
            database,
            at,
        }
    }

    pub(crate) fn call<T>(&self, caller: &str, message: T) -> Request<T> {
        let caller: Caller = caller.parse().unwrap();
        let method = format!("/{}", std::any::type_name::<T>());
        let mut request = Request::new(message);
        request.extensions_mut().insert(Call::local(
            caller,
            method.clone(),
            self.at,
            Duration::from_secs(10),
        ));
        request
    }

    pub(crate) async fn register(&self, facility: pb::Facility) -> Result<pb::Facility, Status> {
        let message = pb::RegisterFacilityRequest { request_id: key(), facility: Some(facility) };
        let answer = self.facilities.register_facility(self.call(BPJS, message)).await?;
        Ok(answer.into_inner().facility.unwrap())
    }

    pub(crate) async fn update(&self, facility: pb::Facility, mask: &[&str]) -> Result<pb::Facility, Status> {
        let update_mask =
            prost_types::FieldMask { paths: mask.iter().map(|path| (*path).to_owned()).collect() };
        let message = pb::UpdateFacilityRequest {
            request_id: key(),
            facility: Some(facility),
            update_mask: Some(update_mask),
        };
        let answer = self.facilities.update_facility(self.call(BPJS, message)).await?;
        Ok(answer.into_inner().facility.unwrap())
    }

    pub(crate) async fn list(&self, message: pb::ListFacilitiesRequest) -> (Vec<String>, String) {
        let answer = self.facilities.list_facilities(self.call(BPJS, message)).await.unwrap().into_inner();
        (
            answer.facilities.into_iter().map(|facility| facility.facility_code).collect(),
            answer.next_page_token,
        )
    }

    pub(crate) async fn apply(&self, caller: &str, code: &str, on: &str) -> Result<pb::Survey, Status> {
        let message = pb::ApplyForSurveyRequest {
            request_id: key(),
            facility_code: code.into(),
            applied_on: on.into(),
            preconditions: Some(ready()),
        };
        let answer = self.accreditation.apply_for_survey(self.call(caller, message)).await?;
        Ok(answer.into_inner().survey.unwrap())
    }

    pub(crate) async fn record(
        &self,
        caller: &str,
        id: &str,
        from: &str,
        to: &str,
    ) -> Result<pb::Survey, Status> {
        let message = pb::RecordSurveyRequest {
            request_id: key(),
            survey_id: id.into(),
            from: from.into(),
            to: to.into(),
            days_on_site: 2,
            surveyor_numbers: vec!["S-001".into(), "S-002".into()],
        };
        let answer = self.accreditation.record_survey(self.call(caller, message)).await?;
        Ok(answer.into_inner().survey.unwrap())
    }

    /// Scores a chapter with `met` elements of `of` fulfilled, the others not.
    pub(crate) async fn score(
        &self,
        id: &str,
        chapter: &str,
        met: usize,
        of: usize,
    ) -> Result<pb::Survey, Status> {
        let element = |index: usize| pb::ElementScore {
            element: format!("1.{index}"),
            fulfilment: if index < met { pb::ElementFulfilment::Met } else { pb::ElementFulfilment::NotMet }
                as i32,
        };
        let message = pb::ScoreChapterRequest {
            request_id: key(),
            survey_id: id.into(),
            chapter: chapter.into(),
            elements: (0..of).map(element).collect(),
        };
        let answer = self.accreditation.score_chapter(self.call(SURVEYOR, message)).await?;
        Ok(answer.into_inner().survey.unwrap())
    }

    pub(crate) async fn decide(&self, id: &str, on: &str) -> Result<pb::DecideAccreditationResponse, Status> {
        let message =
            pb::DecideAccreditationRequest { request_id: key(), survey_id: id.into(), decided_on: on.into() };
        Ok(self.accreditation.decide_accreditation(self.call(MINISTRY, message)).await?.into_inner())
    }

    pub(crate) async fn import(
        &self,
        code: &str,
        number: &str,
        grade: pb::Grade,
        on: &str,
    ) -> Result<pb::Certificate, Status> {
        let message = pb::ImportCertificateRequest {
            request_id: key(),
            facility_code: code.into(),
            certificate_number: number.into(),
            grade: grade as i32,
            decided_on: on.into(),
        };
        let answer = self.accreditation.import_certificate(self.call(MINISTRY, message)).await?;
        Ok(answer.into_inner().certificate.unwrap())
    }

    pub(crate) async fn revoke(&self, number: &str, on: &str) -> Result<pb::Certificate, Status> {
        let message = pb::RevokeCertificateRequest {
            request_id: key(),
            certificate_number: number.into(),
            revoked_on: on.into(),
            note: "the equipment was removed".into(),
        };
        let answer = self.accreditation.revoke_certificate(self.call(MINISTRY, message)).await?;
        Ok(answer.into_inner().certificate.unwrap())
    }

    pub(crate) async fn status(&self, code: &str, on: &str) -> pb::AccreditationStatus {
        let message = pb::GetAccreditationStatusRequest { facility_code: code.into(), on: on.into() };
        let request = self.call("service:claims", message);
        let answer = self.accreditation.get_accreditation_status(request).await.unwrap().into_inner();
        assert_eq!(uuid::Uuid::parse_str(&answer.answer_id).unwrap().get_version_num(), 7);
        answer.status.unwrap()
    }

    /// The kinds of the events written so far, in order.
    pub(crate) async fn events(&self) -> Vec<String> {
        let rows: Vec<(String,)> = sqlx::query_as("select kind from outbox order by outbox_id")
            .fetch_all(&self.database.pool)
            .await
            .unwrap();
        rows.into_iter().map(|(kind,)| kind.trim_start_matches("jkn.accreditation.v1.").to_owned()).collect()
    }
}

pub(crate) fn key() -> String {
    uuid::Uuid::new_v4().to_string()
}

/// A puskesmas in Kota Bandung.
pub(crate) fn puskesmas() -> pb::Facility {
    pb::Facility {
        facility_code: PUSKESMAS.into(),
        name: "Puskesmas Contoh".into(),
        kind: pb::FacilityKind::Puskesmas as i32,
        ownership: pb::Ownership::Regency as i32,
        region_code: "3273".into(),
        services: vec![pb::ServiceOffered { poli_code: "UMU".into(), stratum: 0 }],
        contract: Some(pb::Contract { from: "2024-01-01".into(), to: String::new() }),
        ..Default::default()
    }
}

/// A hospital of class B in Kota Bandung.
pub(crate) fn hospital() -> pb::Facility {
    let stratum = pb::ServiceStratum::Utama as i32;
    pb::Facility {
        facility_code: "0301R011".into(),
        moh_code: "3273015".into(),
        satusehat_organization_id: "100025592".into(),
        name: "RSUD Contoh".into(),
        kind: pb::FacilityKind::Hospital as i32,
        hospital_class: pb::HospitalClass::B as i32,
        services: vec![
            pb::ServiceOffered { poli_code: "INT".into(), stratum },
            pb::ServiceOffered { poli_code: "JAN".into(), stratum },
        ],
        location: Some(pb::Location { latitude: -6.9175, longitude: 107.6191 }),
        ..puskesmas()
    }
}

pub(crate) fn ready() -> pb::Preconditions {
    pb::Preconditions {
        equipment_registry_updated: true,
        all_staff_registered: true,
        licensed_medical_staff_percent: 100,
        quality_indicator_months: 12,
        incident_report_months: 12,
    }
}

/// The reason of a refusal.
pub(crate) fn reason(status: &Status) -> String {
    status.get_error_details().error_info().map(|info| info.reason.clone()).unwrap_or_default()
}

/// The fields that were wrong.
pub(crate) fn wrong(status: &Status) -> Vec<String> {
    let details = status.get_error_details();
    let violations = details.bad_request().map(|wrong| wrong.field_violations.clone()).unwrap_or_default();
    violations.into_iter().map(|violation| violation.field).collect()
}
