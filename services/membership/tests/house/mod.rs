//! The service on a database of its own, with a registry of facilities and a civil registry that answer over the wire,
//! called as each institution would call it.

#![allow(dead_code, clippy::unwrap_used, reason = "each test file uses a part, and a failure may panic")]

use std::{sync::Arc, time::Duration};

use chassis::{Call, Caller, Db, Service, upstream::Upstreams};
use civil_registry::{Resident, Residents};
use jiff::Timestamp;
use membership::{CivilRegistry, Settings, grpc::Membership, grpc::Rules};
use proto::{
    accreditation::v1::{
        self as accreditation,
        facility_service_server::{FacilityService, FacilityServiceServer},
    },
    membership::v1::{self as pb, membership_service_server::MembershipService},
};
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::{Request, Response, Status};
use tonic_types::StatusExt;

pub(crate) const BPJS: &str = "bpjs:headquarters";
pub(crate) const BANK: &str = "bank:bni";
pub(crate) const PUSKESMAS: &str = "0301U001";
pub(crate) const CLINIC: &str = "0301B002";

pub(crate) struct House {
    pub(crate) service: Membership,
    pub(crate) residents: Residents,
    pub(crate) db: Db,
    pub(crate) at: Timestamp,
    pub(crate) address: String,
    database: Arc<embedded::testing::TestDatabase>,
    _stop: DropGuard,
}

/// Two facilities of the first level, one hospital, one clinic without a contract.
struct Facilities;

#[tonic::async_trait]
impl FacilityService for Facilities {
    async fn get_facility(
        &self,
        request: Request<accreditation::GetFacilityRequest>,
    ) -> Result<Response<accreditation::GetFacilityResponse>, Status> {
        use accreditation::FacilityLevel::{Fkrtl, Fktp};
        let code = request.into_inner().facility_code;
        let (level, to) = match code.as_str() {
            PUSKESMAS | CLINIC => (Fktp, ""),
            "0301R011" => (Fkrtl, ""),
            "0301B009" => (Fktp, "2020-12-31"),
            _ => return Err(Status::not_found("no such facility")),
        };
        let contract = accreditation::Contract { from: "2014-01-01".into(), to: to.into() };
        let facility = accreditation::Facility {
            facility_code: code,
            level: level.into(),
            contract_history: vec![contract],
            ..Default::default()
        };
        Ok(Response::new(accreditation::GetFacilityResponse { facility: Some(facility) }))
    }

    async fn register_facility(
        &self,
        _: Request<accreditation::RegisterFacilityRequest>,
    ) -> Result<Response<accreditation::RegisterFacilityResponse>, Status> {
        Err(Status::unimplemented("not asked here"))
    }

    async fn update_facility(
        &self,
        _: Request<accreditation::UpdateFacilityRequest>,
    ) -> Result<Response<accreditation::UpdateFacilityResponse>, Status> {
        Err(Status::unimplemented("not asked here"))
    }

    async fn list_facilities(
        &self,
        _: Request<accreditation::ListFacilitiesRequest>,
    ) -> Result<Response<accreditation::ListFacilitiesResponse>, Status> {
        Err(Status::unimplemented("not asked here"))
    }
}

impl House {
    /// No members yet, on 22 November 2026.
    pub(crate) async fn new(name: &str) -> Self {
        Self::with(name, None).await
    }

    /// The same, with a civil registry at another address.
    pub(crate) async fn with(name: &str, civil_registry: Option<String>) -> Self {
        let migrators = [&chassis::db::MIGRATOR, membership::Membership::migrations().unwrap()];
        let database = embedded::testing::database(name, &migrators).await.unwrap();
        Self::over(Arc::new(database), civil_registry, 1000).await
    }

    /// An instance whose database is not there. It waits so long for a connection.
    pub(crate) async fn without_database(&self, patience: Duration) -> Self {
        let nowhere = "postgres://jkn@127.0.0.1:1/nowhere";
        let pool =
            sqlx::postgres::PgPoolOptions::new().acquire_timeout(patience).connect_lazy(nowhere).unwrap();
        Self::with_pool(Arc::clone(&self.database), pool, None, 1000).await
    }

    /// Another instance of the service over the same database, as a second replica is; it remembers so many keys.
    pub(crate) async fn beside(&self, cache_records: usize) -> Self {
        Self::over(Arc::clone(&self.database), None, cache_records).await
    }

    async fn over(
        database: Arc<embedded::testing::TestDatabase>,
        civil_registry: Option<String>,
        cache_records: usize,
    ) -> Self {
        let pool = database.pool.clone();
        Self::with_pool(database, pool, civil_registry, cache_records).await
    }

    async fn with_pool(
        database: Arc<embedded::testing::TestDatabase>,
        pool: sqlx::PgPool,
        civil_registry: Option<String>,
        cache_records: usize,
    ) -> Self {
        let _already = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let stop = CancellationToken::new();
        let db = Db::new(pool, stop.clone());

        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let facilities =
            tonic::transport::Server::builder().add_service(FacilityServiceServer::new(Facilities));
        tokio::spawn(
            facilities.serve_with_incoming_shutdown(
                TcpListenerStream::new(listener),
                stop.clone().cancelled_owned(),
            ),
        );
        let addresses = [("accreditation".to_owned(), address)].into();
        let accreditation =
            Upstreams { process: "membership", addresses, tls: None }.get("accreditation").unwrap();

        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let residents = Residents::new(&"hush".into());
        tokio::spawn(civil_registry::serve(listener, residents.clone(), stop.clone()));

        let settings = Settings {
            cache_records,
            civil_registry: CivilRegistry {
                url: civil_registry.unwrap_or_else(|| address.clone()),
                token: "hush".into(),
                timeout_milliseconds: 500,
            },
        };
        let rules = Rules::compiled_in().unwrap();
        let (service, work) =
            Membership::new(db.clone(), accreditation, &settings, rules, stop.clone()).unwrap();
        tokio::spawn(work);
        let at = "2026-11-22T03:00:00Z".parse().unwrap();
        Self { service, residents, db, at, address, database, _stop: stop.drop_guard() }
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

    /// Registers a couple with a child, and returns them.
    pub(crate) async fn family(&self, segment: pb::Segment, covered_from: &str) -> Vec<pb::Member> {
        let message = pb::RegisterFamilyRequest { covered_from: covered_from.into(), ..register(segment) };
        self.service.register_family(self.call(BPJS, message)).await.unwrap().into_inner().members
    }

    pub(crate) async fn check(&self, member_id: &str, day: &str) -> pb::CheckEligibilityResponse {
        let message = pb::CheckEligibilityRequest {
            known: Some(pb::check_eligibility_request::Known::MemberId(member_id.into())),
            service_date: day.into(),
            care_type: pb::CareType::Inpatient.into(),
        };
        self.service.check_eligibility(self.call("service:claims", message)).await.unwrap().into_inner()
    }

    pub(crate) async fn pay(
        &self,
        family_id: &str,
        reference: &str,
        amount: i64,
        paid_on: &str,
    ) -> Result<pb::ContributionPosting, Status> {
        let message = pb::PostContributionRequest {
            request_id: key(),
            bank_reference: reference.into(),
            known: Some(pb::post_contribution_request::Known::FamilyId(family_id.into())),
            amount_rupiah: amount,
            paid_on: paid_on.into(),
        };
        let answer = self.service.post_contribution(self.call(BANK, message)).await?;
        Ok(answer.into_inner().posting.unwrap())
    }

    /// The kinds of events written, in order.
    pub(crate) async fn events(&self) -> Vec<String> {
        let kinds: Vec<(String,)> = sqlx::query_as("select kind from outbox order by outbox_id")
            .fetch_all(&self.database.pool)
            .await
            .unwrap();
        kinds.into_iter().map(|(kind,)| kind.trim_start_matches("jkn.membership.v1.").to_owned()).collect()
    }

    pub(crate) async fn count(&self, statement: &'static str) -> i64 {
        sqlx::query_scalar(statement).fetch_one(&self.database.pool).await.unwrap()
    }
}

pub(crate) fn key() -> String {
    uuid::Uuid::now_v7().to_string()
}

pub(crate) fn person(
    nik: &str,
    name: &str,
    birth_date: &str,
    sex: pb::Sex,
    relation: pb::Relation,
) -> pb::NewMember {
    pb::NewMember {
        nik: nik.into(),
        name: name.into(),
        birth_date: birth_date.into(),
        sex: sex.into(),
        relation: relation.into(),
        region_code: "3273".into(),
        address: "Jalan Merdeka 1".into(),
        phone: "+628123456789".into(),
        fktp_code: PUSKESMAS.into(),
        student: false,
    }
}

pub(crate) fn couple_with_child() -> Vec<pb::NewMember> {
    vec![
        person("3273014505900001", "Siti Aminah", "1990-05-05", pb::Sex::Female, pb::Relation::Head),
        person("3273010101880002", "Budi Santoso", "1988-01-01", pb::Sex::Male, pb::Relation::Spouse),
        person("3273011002150003", "Adi Santoso", "2015-02-10", pb::Sex::Male, pb::Relation::Child),
    ]
}

pub(crate) fn register(segment: pb::Segment) -> pb::RegisterFamilyRequest {
    let (care_class, wage) = match segment {
        pb::Segment::PpuBu => (pb::CareClass::Unspecified, 10_000_000),
        pb::Segment::Pbpu => (pb::CareClass::CareClass3, 0),
        _ => (pb::CareClass::Unspecified, 0),
    };
    let terms =
        pb::FamilyTerms { segment: segment.into(), care_class: care_class.into(), monthly_wage_rupiah: wage };
    pb::RegisterFamilyRequest {
        request_id: key(),
        terms: Some(terms),
        members: couple_with_child(),
        covered_from: String::new(),
    }
}

pub(crate) fn resident(nik: &str, name: &str, birth_date: &str, sex: civil_registry::Sex) -> Resident {
    Resident {
        nik: nik.parse().unwrap(),
        name: name.parse().unwrap(),
        birth_date: birth_date.parse().unwrap(),
        sex,
        alive: true,
    }
}

pub(crate) fn reason(status: &Status) -> String {
    status.get_error_details().error_info().unwrap().reason.clone()
}

/// The names of the wrong fields.
pub(crate) fn wrong(status: &Status) -> Vec<String> {
    let details = status.get_error_details();
    details.bad_request().unwrap().field_violations.iter().map(|one| one.field.clone()).collect()
}
