//! The referral service as its callers meet it: served over gRPC, on a real Postgres, beside a registry of facilities
//! that is a real gRPC server too.

use std::{collections::BTreeMap, sync::OnceLock};

use chassis::{
    Service,
    config::Layers,
    host::{self, Ports},
    telemetry::{self, LogFormat, Telemetry},
};
use embedded::testing::{self, TestDatabase};
use jiff::{Timestamp, ToSpan, civil::Date};
use proto::{
    accreditation::v1::{
        self as registry,
        facility_service_server::{FacilityService, FacilityServiceServer},
    },
    feed::v1::{Event, ReadEventsRequest, feed_service_client::FeedServiceClient},
    referral::v1::{self as pb, referral_service_client::ReferralServiceClient},
};
use referral::Referral;
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::{
    Request, Response, Status,
    service::{Interceptor, interceptor::InterceptedService},
    transport::{Channel, Endpoint, server::TcpIncoming},
};
use tonic_types::StatusExt;

pub(crate) const PUSKESMAS: &str = "0301U001";
pub(crate) const CLASS_C: &str = "0301R011";
pub(crate) const CLASS_C_FAR: &str = "0301R012";
pub(crate) const CLASS_A: &str = "0301R001";
pub(crate) const NO_CONTRACT: &str = "0301R099";

/// A member nobody else has.
pub(crate) fn member() -> String {
    uuid::Uuid::now_v7().to_string()
}

pub(crate) fn key() -> String {
    uuid::Uuid::new_v4().to_string()
}

/// Today by the clock that counts.
pub(crate) fn today() -> Date {
    chassis::time::today_at(Timestamp::now())
}

/// A day so many days from today.
pub(crate) fn day(offset: i64) -> String {
    (today() + offset.days()).to_string()
}

/// Puts the caller's name into each call.
#[derive(Clone)]
pub(crate) struct Named(&'static str);

impl Interceptor for Named {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        request.metadata_mut().insert("jkn-peer", self.0.parse().unwrap());
        Ok(request)
    }
}

pub(crate) type Client = ReferralServiceClient<InterceptedService<Channel, Named>>;

/// The service under test; it stops with this value.
pub(crate) struct Served {
    pub(crate) database: TestDatabase,
    channel: Channel,
    _stop: DropGuard,
}

impl Served {
    pub(crate) async fn start() -> Self {
        static TELEMETRY: OnceLock<Telemetry> = OnceLock::new();
        let telemetry =
            TELEMETRY.get_or_init(|| telemetry::start("referral", LogFormat::Human, "warn").unwrap());
        let stop = CancellationToken::new();
        let database =
            testing::database("referral", &[&chassis::db::MIGRATOR, Referral::migrations().unwrap()])
                .await
                .unwrap();
        let layers = Layers {
            computed: BTreeMap::from([
                ("insecure-loopback".to_owned(), "true".to_owned()),
                ("database.url".to_owned(), database.url.clone()),
                ("upstream.accreditation".to_owned(), registry_of_facilities(stop.clone()).await),
            ]),
            ..Layers::default()
        };
        let settings = layers.load(Referral::NAME, Referral::DEFAULTS).unwrap();
        let ports = Ports::bind("127.0.0.1:0".parse().unwrap(), "127.0.0.1:0".parse().unwrap()).unwrap();
        let address = ports.addresses().unwrap().grpc;
        tokio::spawn(host::run::<Referral>(settings, ports, telemetry.clone(), stop.clone()));
        let channel = Endpoint::from_shared(format!("http://{address}")).unwrap().connect_lazy();
        Self { database, channel, _stop: stop.drop_guard() }
    }

    /// A client with this identity.
    pub(crate) fn of(&self, caller: &'static str) -> Client {
        ReferralServiceClient::with_interceptor(self.channel.clone(), Named(caller))
    }

    pub(crate) fn fktp(&self) -> Client {
        self.of("fktp:0301U001")
    }

    pub(crate) fn hospital(&self) -> Client {
        self.of("hospital:0301R011")
    }

    /// Lets time pass for a referral: everything about it happened so much earlier.
    pub(crate) async fn let_pass(&self, number: &str, minutes: i32) {
        sqlx::query(
            "update referral set sent_at = sent_at - make_interval(mins => $2),
                 accepted_at = accepted_at - make_interval(mins => $2) where referral_number = $1",
        )
        .bind(number)
        .bind(minutes)
        .execute(&self.database.pool)
        .await
        .unwrap();
    }

    pub(crate) async fn letters(&self) -> i64 {
        sqlx::query_scalar("select count(*) from referral").fetch_one(&self.database.pool).await.unwrap()
    }

    /// The events told so far, once there are as many as expected.
    pub(crate) async fn events(&self, expected: usize) -> Vec<Event> {
        self.database.until_told(expected).await.unwrap();
        let mut client = FeedServiceClient::with_interceptor(self.channel.clone(), Named("djsn:sismonev"));
        let request = ReadEventsRequest { after_position: 0, limit: 1000 };
        client.read_events(request).await.unwrap().into_inner().events
    }
}

/// A referral that is right in every respect, for care in the clinic of internal medicine.
pub(crate) fn wish(care: pb::CareType) -> pb::CreateReferralRequest {
    pb::CreateReferralRequest {
        request_id: key(),
        member_id: member(),
        destination_facility_code: CLASS_C.to_owned(),
        poli_code: "INT".to_owned(),
        care_type: care.into(),
        referral_type: pb::ReferralType::Full.into(),
        referral_date: day(0),
        diagnosis_code: "E11.9".to_owned(),
        criterion: Some(pb::create_referral_request::Criterion::Therapy("insulin to be adjusted".to_owned())),
        ..pb::CreateReferralRequest::default()
    }
}

/// Sends it from the puskesmas and returns what was sent.
pub(crate) async fn sent(served: &Served, wish: pb::CreateReferralRequest) -> pb::Referral {
    served.fktp().create_referral(wish).await.unwrap().into_inner().referral.unwrap()
}

/// The reason of a refusal.
pub(crate) fn reason(status: &Status) -> String {
    status.get_error_details().error_info().map(|info| info.reason.clone()).unwrap_or_default()
}

/// The wrong fields of a refusal.
pub(crate) fn wrong_fields(status: &Status) -> Vec<String> {
    let details = status.get_error_details();
    details
        .bad_request()
        .map(|bad| bad.field_violations.iter().map(|violation| violation.field.clone()).collect())
        .unwrap_or_default()
}

/// Serves the facilities of one regency; its address.
async fn registry_of_facilities(stop: CancellationToken) -> String {
    let incoming = TcpIncoming::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = incoming.local_addr().unwrap();
    let serving = tonic::transport::Server::builder()
        .add_service(FacilityServiceServer::new(Regency))
        .serve_with_incoming_shutdown(incoming, stop.cancelled_owned());
    tokio::spawn(serving);
    format!("http://{address}")
}

struct Regency;

fn facilities() -> Vec<registry::Facility> {
    use registry::{FacilityKind, FacilityLevel, HospitalClass};
    let facility =
        |code: &str, kind, level: FacilityLevel, class: HospitalClass, latitude, clinics: &[&str]| {
            registry::Facility {
                facility_code: code.to_owned(),
                name: format!("Facility {code}"),
                kind: FacilityKind::into(kind),
                level: level.into(),
                hospital_class: class.into(),
                region_code: "1371".to_owned(),
                location: Some(registry::Location { latitude, longitude: 100.35 }),
                services: clinics
                    .iter()
                    .map(|poli| registry::ServiceOffered {
                        poli_code: (*poli).to_owned(),
                        stratum: registry::ServiceStratum::Madya.into(),
                    })
                    .collect(),
                contract: (code != NO_CONTRACT)
                    .then(|| registry::Contract { from: "2020-01-01".to_owned(), to: String::new() }),
                ..registry::Facility::default()
            }
        };
    let hospital = |code, class, latitude, clinics: &[&str]| {
        facility(code, FacilityKind::Hospital, FacilityLevel::Fkrtl, class, latitude, clinics)
    };
    vec![
        facility(
            PUSKESMAS,
            FacilityKind::Puskesmas,
            FacilityLevel::Fktp,
            HospitalClass::Unspecified,
            -0.95,
            &["UMU"],
        ),
        hospital(CLASS_A, HospitalClass::A, -0.96, &["INT", "JAN"]),
        hospital(CLASS_C, HospitalClass::C, -1.05, &["INT", "ANA"]),
        hospital(CLASS_C_FAR, HospitalClass::C, -1.95, &["INT"]),
        hospital(NO_CONTRACT, HospitalClass::D, -0.97, &["INT"]),
    ]
}

#[tonic::async_trait]
impl FacilityService for Regency {
    async fn get_facility(
        &self,
        request: Request<registry::GetFacilityRequest>,
    ) -> Result<Response<registry::GetFacilityResponse>, Status> {
        let code = request.into_inner().facility_code;
        let facility = facilities().into_iter().find(|facility| facility.facility_code == code);
        let facility = facility.ok_or_else(|| Status::not_found("no such facility"))?;
        Ok(Response::new(registry::GetFacilityResponse { facility: Some(facility) }))
    }

    /// One facility a page, so that whoever does not turn pages is found out.
    async fn list_facilities(
        &self,
        request: Request<registry::ListFacilitiesRequest>,
    ) -> Result<Response<registry::ListFacilitiesResponse>, Status> {
        let asked = request.into_inner();
        let found: Vec<_> = facilities()
            .into_iter()
            .filter(|one| asked.level == 0 || one.level == asked.level)
            .filter(|one| {
                asked.poli_code.is_empty() || one.services.iter().any(|s| s.poli_code == asked.poli_code)
            })
            .filter(|one| asked.contracted_on.is_empty() || one.contract.is_some())
            .collect();
        let place: usize = asked.page_token.parse().unwrap_or(0);
        let more = place + 1 < found.len();
        Ok(Response::new(registry::ListFacilitiesResponse {
            facilities: found.into_iter().skip(place).take(1).collect(),
            next_page_token: if more { (place + 1).to_string() } else { String::new() },
        }))
    }

    async fn register_facility(
        &self,
        _: Request<registry::RegisterFacilityRequest>,
    ) -> Result<Response<registry::RegisterFacilityResponse>, Status> {
        Err(Status::permission_denied("the regency is as it is"))
    }

    async fn update_facility(
        &self,
        _: Request<registry::UpdateFacilityRequest>,
    ) -> Result<Response<registry::UpdateFacilityResponse>, Status> {
        Err(Status::permission_denied("the regency is as it is"))
    }
}
