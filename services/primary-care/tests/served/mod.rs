//! The primary-care service as its callers meet it: served over gRPC, on a real Postgres, beside a membership and a
//! referral service that are real gRPC servers too, each with the one method that is asked.

use std::{
    collections::{BTreeMap, HashMap},
    convert::Infallible,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, OnceLock},
    task::{Context, Poll},
};

use chassis::{
    Service,
    config::Layers,
    host::{self, Ports},
    telemetry::{self, LogFormat, Telemetry},
};
use embedded::testing::{self, TestDatabase};
use jiff::{Timestamp, ToSpan, civil::Date};
use primary_care::PrimaryCare;
use proto::{
    feed::v1::{Event, ReadEventsRequest, feed_service_client::FeedServiceClient},
    membership::v1 as membership,
    primary_care::v1::{self as pb, primary_care_service_client::PrimaryCareServiceClient},
    referral::v1 as referral,
};
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::{
    Code, Request, Response, Status,
    body::Body,
    codegen::http,
    server::NamedService,
    service::{Interceptor, interceptor::InterceptedService},
    transport::{Channel, Endpoint, server::TcpIncoming},
};
use tonic_types::StatusExt;

pub(crate) const PUSKESMAS: &str = "0301U001";
pub(crate) const CLASS_C: &str = "0301R011";

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

pub(crate) type Client = PrimaryCareServiceClient<InterceptedService<Channel, Named>>;

/// How the referral service behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Mood {
    #[default]
    Creates,
    /// It writes, and the answer is lost on the way.
    CreatesAndIsCutOff,
    Refuses,
}

/// What the neighbours know and were asked.
#[derive(Default)]
pub(crate) struct Neighbours {
    /// Where members are registered; whoever is not named is registered at the puskesmas.
    pub(crate) registered: HashMap<String, &'static str>,
    /// Members who are in arrears.
    pub(crate) suspended: Vec<String>,
    pub(crate) mood: Mood,
    /// The referrals written, by request_id.
    pub(crate) created: BTreeMap<String, (referral::CreateReferralRequest, String)>,
}

/// The service under test; it stops with this value.
pub(crate) struct Served {
    pub(crate) database: TestDatabase,
    pub(crate) neighbours: Arc<Mutex<Neighbours>>,
    channel: Channel,
    _stop: DropGuard,
}

impl Served {
    pub(crate) async fn start() -> Self {
        static TELEMETRY: OnceLock<Telemetry> = OnceLock::new();
        let telemetry =
            TELEMETRY.get_or_init(|| telemetry::start("primary-care", LogFormat::Human, "warn").unwrap());
        let stop = CancellationToken::new();
        let migrators = [&chassis::db::MIGRATOR, PrimaryCare::migrations().unwrap()];
        let database = testing::database("primarycare", &migrators).await.unwrap();
        let neighbours = Arc::new(Mutex::new(Neighbours::default()));
        let beside = serve_neighbours(&neighbours, stop.clone());
        let layers = Layers {
            computed: BTreeMap::from([
                ("insecure-loopback".to_owned(), "true".to_owned()),
                ("database.url".to_owned(), database.url.clone()),
                ("upstream.membership".to_owned(), beside.clone()),
                ("upstream.referral".to_owned(), beside),
            ]),
            ..Layers::default()
        };
        let settings = layers.load(PrimaryCare::NAME, PrimaryCare::DEFAULTS).unwrap();
        let ports = Ports::bind("127.0.0.1:0".parse().unwrap(), "127.0.0.1:0".parse().unwrap()).unwrap();
        let address = ports.addresses().unwrap().grpc;
        tokio::spawn(host::run::<PrimaryCare>(settings, ports, telemetry.clone(), stop.clone()));
        let channel = Endpoint::from_shared(format!("http://{address}")).unwrap().connect_lazy();
        Self { database, neighbours, channel, _stop: stop.drop_guard() }
    }

    /// A client with this identity.
    pub(crate) fn of(&self, caller: &'static str) -> Client {
        PrimaryCareServiceClient::with_interceptor(self.channel.clone(), Named(caller))
    }

    pub(crate) fn fktp(&self) -> Client {
        self.of("fktp:0301U001")
    }

    pub(crate) fn set(&self, change: impl FnOnce(&mut Neighbours)) {
        change(&mut self.neighbours.lock().unwrap());
    }

    pub(crate) async fn visits(&self) -> i64 {
        sqlx::query_scalar("select count(*) from visit").fetch_one(&self.database.pool).await.unwrap()
    }

    /// The events told so far, once there are as many as expected.
    pub(crate) async fn events(&self, expected: usize) -> Vec<Event> {
        self.database.until_told(expected).await.unwrap();
        let mut client = FeedServiceClient::with_interceptor(self.channel.clone(), Named("djsn:sismonev"));
        let request = ReadEventsRequest { after_position: 0, limit: 1000 };
        client.read_events(request).await.unwrap().into_inner().events
    }
}

/// A visit of today at the caller's own facility.
pub(crate) fn wish(member: &str) -> pb::RegisterVisitRequest {
    pb::RegisterVisitRequest {
        request_id: key(),
        member: Some(pb::register_visit_request::Member::MemberId(member.to_owned())),
        kind: pb::VisitKind::Sick.into(),
        ..pb::RegisterVisitRequest::default()
    }
}

pub(crate) async fn registered(served: &Served, wish: pb::RegisterVisitRequest) -> pb::Visit {
    served.fktp().register_visit(wish).await.unwrap().into_inner().visit.unwrap()
}

/// Records diagnoses of a visit of the puskesmas.
pub(crate) async fn diagnosed(served: &Served, visit: &pb::Visit, codes: &[&str]) -> pb::Visit {
    let request = pb::RecordDiagnosesRequest {
        request_id: key(),
        visit_number: visit.visit_number.clone(),
        diagnosis_codes: codes.iter().map(|code| (*code).to_owned()).collect(),
    };
    served.fktp().record_diagnoses(request).await.unwrap().into_inner().visit.unwrap()
}

/// A referral of a visit to the clinic of internal medicine of the hospital.
pub(crate) fn order(visit: &pb::Visit) -> pb::ReferVisitRequest {
    pb::ReferVisitRequest {
        request_id: key(),
        visit_number: visit.visit_number.clone(),
        destination_facility_code: CLASS_C.to_owned(),
        poli_code: "INT".to_owned(),
        criterion: Some(pb::refer_visit_request::Criterion::Therapy("therapy to be adjusted".to_owned())),
        ..pb::ReferVisitRequest::default()
    }
}

/// The reason of a refusal.
pub(crate) fn reason(status: &Status) -> String {
    status.get_error_details().error_info().map(|info| info.reason.clone()).unwrap_or_default()
}

/// A readable fact of a refusal.
pub(crate) fn fact(status: &Status, key: &str) -> String {
    let details = status.get_error_details();
    details.error_info().and_then(|info| info.metadata.get(key).cloned()).unwrap_or_default()
}

/// The wrong fields of a refusal.
pub(crate) fn wrong_fields(status: &Status) -> Vec<String> {
    let details = status.get_error_details();
    details
        .bad_request()
        .map(|bad| bad.field_violations.iter().map(|v| v.field.clone()).collect())
        .unwrap_or_default()
}

fn eligibility(
    known: &Neighbours,
    request: &membership::CheckEligibilityRequest,
) -> membership::CheckEligibilityResponse {
    use membership::check_eligibility_request::Known;
    let member_id = match &request.known {
        Some(Known::MemberId(id)) => id.clone(),
        // Whoever comes with a card is one and the same person.
        _ => "018f3c6e-7d1e-7000-8000-000000000001".to_owned(),
    };
    let suspended = known.suspended.contains(&member_id);
    membership::CheckEligibilityResponse {
        answer_id: uuid::Uuid::now_v7().to_string(),
        answered_at: Some(chassis::time::to_proto(Timestamp::now())),
        service_date: request.service_date.clone(),
        eligible: !suspended,
        reasons: if suspended {
            vec![membership::IneligibilityReason::SuspendedForArrears.into()]
        } else {
            Vec::new()
        },
        segment: membership::Segment::Pbpu.into(),
        fktp_code: (*known.registered.get(&member_id).unwrap_or(&PUSKESMAS)).to_owned(),
        region_code: "1371".to_owned(),
        member_id,
        ..membership::CheckEligibilityResponse::default()
    }
}

fn create(
    known: &mut Neighbours,
    request: referral::CreateReferralRequest,
) -> Result<referral::CreateReferralResponse, Status> {
    if known.mood == Mood::Refuses {
        let refusal = chassis::Problem::new(
            Code::FailedPrecondition,
            "REASON_DESTINATION_NOT_CONTRACTED",
            "choose another one",
        );
        return Err(refusal.into());
    }
    let next = format!("{}1126P{:06}", request.origin_facility_code, known.created.len() + 1);
    let (before, number) =
        known.created.entry(request.request_id.clone()).or_insert_with(|| (request.clone(), next));
    assert_eq!(*before, request, "the same request_id came with another request");
    let number = number.clone();
    if known.mood == Mood::CreatesAndIsCutOff {
        return Err(Status::unavailable("cut off"));
    }
    let created = referral::Referral { referral_number: number, ..referral::Referral::default() };
    Ok(referral::CreateReferralResponse { referral: Some(created) })
}

/// Membership and referral at one address.
fn serve_neighbours(neighbours: &Arc<Mutex<Neighbours>>, stop: CancellationToken) -> String {
    let incoming = TcpIncoming::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = incoming.local_addr().unwrap();
    let serving = tonic::transport::Server::builder()
        .add_service(Membership(neighbours.clone()))
        .add_service(Referral(neighbours.clone()))
        .serve_with_incoming_shutdown(incoming, stop.cancelled_owned());
    tokio::spawn(serving);
    format!("http://{address}")
}

#[derive(Clone)]
struct Membership(Arc<Mutex<Neighbours>>);

impl NamedService for Membership {
    const NAME: &'static str = "jkn.membership.v1.MembershipService";
}

#[derive(Clone)]
struct Referral(Arc<Mutex<Neighbours>>);

impl NamedService for Referral {
    const NAME: &'static str = "jkn.referral.v1.ReferralService";
}

type Answering = Pin<Box<dyn Future<Output = Result<http::Response<Body>, Infallible>> + Send>>;

/// Answers the one method with a function; another is not implemented.
macro_rules! answers {
    ($service:ident, $method:literal, $answer:expr) => {
        impl tower::Service<http::Request<Body>> for $service {
            type Response = http::Response<Body>;
            type Error = Infallible;
            type Future = Answering;

            fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
                Poll::Ready(Ok(()))
            }

            fn call(&mut self, request: http::Request<Body>) -> Answering {
                let known = self.0.clone();
                Box::pin(async move {
                    if !request.uri().path().ends_with($method) {
                        return Ok(Status::unimplemented("not here").into_http());
                    }
                    let method = tower::service_fn(move |request: Request<_>| {
                        let answer = $answer(&mut known.lock().unwrap(), request.into_inner());
                        std::future::ready(answer.map(Response::new))
                    });
                    Ok(tonic::server::Grpc::new(tonic_prost::ProstCodec::default())
                        .unary(method, request)
                        .await)
                })
            }
        }
    };
}

answers!(
    Membership,
    "/CheckEligibility",
    |known: &mut Neighbours, request: membership::CheckEligibilityRequest| {
        Ok::<_, Status>(eligibility(known, &request))
    }
);
answers!(Referral, "/CreateReferral", create);
