//! The other systems, as the test wants: one server that answers for membership, referral and accreditation.

use std::sync::{Arc, Mutex};

use jiff::Timestamp;
use proto::{accreditation::v1 as siaf, membership::v1 as master, referral::v1 as sisrute};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, transport::server::TcpIncoming};

use crate::wishes::key;

/// What the other systems answer.
#[derive(Clone)]
pub(crate) struct Others {
    pub(crate) eligibility: master::CheckEligibilityResponse,
    pub(crate) referral: sisrute::CheckReferralResponse,
    pub(crate) standing: siaf::AccreditationStatus,
    pub(crate) registered: bool,
    pub(crate) up: bool,
    pub(crate) asked: usize,
    /// The only clinic the referral is for, when that matters.
    pub(crate) referral_clinic: Option<&'static str>,
}

impl Others {
    pub(crate) fn content() -> Self {
        Self {
            eligibility: master::CheckEligibilityResponse {
                eligible: true,
                segment: master::Segment::PpuBu.into(),
                care_class: 2,
                ..Default::default()
            },
            referral: sisrute::CheckReferralResponse {
                usable: true,
                origin_kind: sisrute::OriginKind::Fktp.into(),
                origin_visit_number: "0301U0011126Y000001".into(),
                ..Default::default()
            },
            standing: siaf::AccreditationStatus {
                in_good_standing: true,
                contracted: true,
                certificate_required: true,
                certified: true,
                certificate_number: "C-2024-001".into(),
                level: siaf::FacilityLevel::Fkrtl.into(),
                hospital_class: siaf::HospitalClass::B.into(),
                ownership: siaf::Ownership::Regency.into(),
                region_code: "3273".into(),
                ..Default::default()
            },
            registered: true,
            up: true,
            asked: 0,
            referral_clinic: None,
        }
    }
}

pub(crate) type Shared = Arc<Mutex<Others>>;

/// Serves them until the stop; their address.
pub(crate) fn serve(others: &Shared, stop: &CancellationToken) -> String {
    let incoming = TcpIncoming::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = incoming.local_addr().unwrap();
    let state = others.clone();
    let router = axum::Router::new().fallback(move |request| answer(state.clone(), request));
    let serving = tonic::transport::Server::builder()
        .add_routes(tonic::service::Routes::from(router))
        .serve_with_incoming_shutdown(incoming, stop.clone().cancelled_owned());
    tokio::spawn(serving);
    format!("http://{address}")
}

async fn answer(
    others: Shared,
    request: http::Request<axum::body::Body>,
) -> http::Response<tonic::body::Body> {
    let path = request.uri().path().to_owned();
    if path.starts_with("/grpc.health") {
        return Status::unimplemented("not asked for here").into_http();
    }
    let request = request.map(tonic::body::Body::new);
    let others = {
        let mut others = others.lock().unwrap();
        others.asked += 1;
        others.clone()
    };
    let now = || Some(chassis::time::to_proto(Timestamp::now()));
    macro_rules! unary {
        ($request:ty, $answer:expr) => {{
            let others = others.clone();
            let handler = tower::service_fn(move |request: Request<$request>| {
                let answer = $answer;
                let result = if others.up {
                    answer(request.into_inner(), &others)
                } else {
                    Err(Status::unavailable("down"))
                };
                std::future::ready(result.map(Response::new))
            });
            tonic::server::Grpc::new(tonic_prost::ProstCodec::default()).unary(handler, request).await
        }};
    }
    match path.rsplit('/').next().unwrap() {
        "CheckEligibility" => unary!(
            master::CheckEligibilityRequest,
            |request: master::CheckEligibilityRequest, others: &Others| {
                let Some(master::check_eligibility_request::Known::MemberId(member_id)) = request.known
                else {
                    return Err(Status::invalid_argument("member_id"));
                };
                let whole = others.eligibility.clone();
                Ok(master::CheckEligibilityResponse {
                    answer_id: key(),
                    answered_at: now(),
                    member_id,
                    ..whole
                })
            }
        ),
        "CheckReferral" => unary!(
            sisrute::CheckReferralRequest,
            |request: sisrute::CheckReferralRequest, others: &Others| {
                let referral_number = request.referral_number;
                let mut whole = others.referral.clone();
                if others.referral_clinic.is_some_and(|clinic| clinic != request.poli_code) {
                    whole.usable = false;
                    whole.reasons = vec![sisrute::Unusable::OtherClinic.into()];
                }
                Ok(sisrute::CheckReferralResponse {
                    answer_id: key(),
                    answered_at: now(),
                    referral_number,
                    ..whole
                })
            }
        ),
        "GetMember" => unary!(master::GetMemberRequest, |request: master::GetMemberRequest, _: &Others| {
            let member = master::Member {
                member_id: request.member_id,
                card_number: "0001234567890".into(),
                name: "Peserta Contoh".into(),
                ..Default::default()
            };
            Ok(master::GetMemberResponse { member: Some(member) })
        }),
        _ => unary!(
            siaf::GetAccreditationStatusRequest,
            |request: siaf::GetAccreditationStatusRequest, others: &Others| {
                if !others.registered {
                    return Err(Status::not_found("no such facility"));
                }
                let facility_code = request.facility_code;
                let status = Some(siaf::AccreditationStatus { facility_code, ..others.standing.clone() });
                Ok(siaf::GetAccreditationStatusResponse { status, answer_id: key(), answered_at: now() })
            }
        ),
    }
}
