//! The claims service as its callers meet it: served over gRPC, on a real Postgres, beside a gRPC server that answers
//! for membership, referral and accreditation as the test wants.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, OnceLock},
    time::{Duration, Instant},
};

use chassis::{
    Service,
    config::Layers,
    host::{self, Ports},
    telemetry::{self, LogFormat, Telemetry},
};
use claims::Claims;
use embedded::testing::{self, TestDatabase};
use jiff::{Timestamp, ToSpan, civil::Date};
use proto::{
    accreditation::v1 as siaf,
    claims::v1::{
        self as pb, accident_service_client::AccidentServiceClient, claim_service_client::ClaimServiceClient,
        coder_service_client::CoderServiceClient, eklaim_service_client::EklaimServiceClient,
        follow_up_service_client::FollowUpServiceClient, rule_service_client::RuleServiceClient,
        sep_approval_service_client::SepApprovalServiceClient, sep_service_client::SepServiceClient,
    },
    feed::v1::{Event, ReadEventsRequest, feed_service_client::FeedServiceClient},
    membership::v1 as master,
    referral::v1 as sisrute,
};
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::{
    Request, Response, Status,
    service::{Interceptor, interceptor::InterceptedService},
    transport::{Channel, Endpoint, server::TcpIncoming},
};
use tonic_types::StatusExt;

pub(crate) const HOSPITAL: &str = "hospital:0301R011";
pub(crate) const OTHER: &str = "hospital:0301R012";
pub(crate) const BPJS: &str = "bpjs:headquarters";

pub(crate) fn key() -> String {
    uuid::Uuid::new_v4().to_string()
}

pub(crate) fn member() -> String {
    uuid::Uuid::now_v7().to_string()
}

pub(crate) fn today() -> Date {
    chassis::time::today_at(Timestamp::now())
}

pub(crate) fn day(offset: i64) -> Date {
    today() + offset.days()
}

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
    fn content() -> Self {
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

type Shared = Arc<Mutex<Others>>;

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

/// Puts the caller's name into each call.
#[derive(Clone)]
pub(crate) struct Named(&'static str);

impl Interceptor for Named {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        request.metadata_mut().insert("jkn-peer", self.0.parse().unwrap());
        Ok(request)
    }
}

type Named1 = InterceptedService<Channel, Named>;

/// The service under test; it stops with this value.
pub(crate) struct Served {
    pub(crate) database: TestDatabase,
    pub(crate) others: Shared,
    channel: Channel,
    _stop: DropGuard,
}

impl Served {
    pub(crate) async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// With further settings.
    pub(crate) async fn start_with(more: &[(&str, &str)]) -> Self {
        chassis::tls::install_provider();
        let database = testing::database("claims", &[&chassis::db::MIGRATOR, Claims::migrations().unwrap()])
            .await
            .unwrap();
        let others = Shared::new(Mutex::new(Others::content()));
        certify(&database).await;
        let (channel, _stop) = beside(&database, &others, more);
        Self { database, others, channel, _stop }
    }

    pub(crate) fn seps(&self, caller: &'static str) -> SepServiceClient<Named1> {
        SepServiceClient::with_interceptor(self.channel.clone(), Named(caller))
    }

    pub(crate) fn claims(&self, caller: &'static str) -> ClaimServiceClient<Named1> {
        ClaimServiceClient::with_interceptor(self.channel.clone(), Named(caller))
    }

    pub(crate) fn others(&self, change: impl FnOnce(&mut Others)) {
        change(&mut self.others.lock().unwrap());
    }

    /// Issues a SEP. For a day that needs an approval the hospital has it before.
    pub(crate) async fn issue(&self, wish: pb::IssueSepRequest) -> Result<pb::Sep, Status> {
        let issued = self.seps(HOSPITAL).issue_sep(wish.clone()).await;
        match issued {
            Err(status) if reason(&status) == "BACKDATE_NOT_APPROVED" => {
                let approval = self.asked(&wish, pb::SepApprovalKind::Backdate).await?;
                self.decided(&approval, pb::SepApprovalState::Approved).await?;
                Ok(*self.seps(HOSPITAL).issue_sep(wish).await?.into_inner().sep.unwrap())
            }
            issued => Ok(*issued?.into_inner().sep.unwrap()),
        }
    }

    /// Rows in all tables that a SEP or claim would leave something in.
    pub(crate) async fn rows(&self) -> i64 {
        sqlx::query_scalar(
            "select (select count(*) from sep) + (select count(*) from sep_evidence) + (select count(*) from sep_counter)
                  + (select count(*) from claim) + (select count(*) from outbox) + (select count(*) from feed)
                  + (select count(*) from idempotency)",
        )
        .fetch_one(&self.database.pool)
        .await
        .unwrap()
    }

    /// The events told so far, once there are as many as expected.
    pub(crate) async fn events(&self, expected: usize) -> Vec<Event> {
        let mut client = FeedServiceClient::with_interceptor(self.channel.clone(), Named("djsn:sismonev"));
        let begun = Instant::now();
        loop {
            let request = ReadEventsRequest { after_position: 0, limit: 1000 };
            let events = client.read_events(request).await.unwrap().into_inner().events;
            if events.len() >= expected || begun.elapsed() > Duration::from_secs(5) {
                return events;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// A claim on a new SEP, with this data, grouped and final.
    pub(crate) async fn coded(&self, sep: &pb::Sep, data: pb::ClaimData) -> pb::Claim {
        let claim = self.created(sep).await;
        let claim = self.set(&claim, data).await.unwrap();
        let claim = self.grouped(&claim).await;
        self.finalised(&claim).await.unwrap()
    }

    pub(crate) async fn created(&self, sep: &pb::Sep) -> pb::Claim {
        let request = pb::CreateClaimRequest { request_id: key(), sep_number: sep.sep_number.clone() };
        self.claims(HOSPITAL).create_claim(request).await.unwrap().into_inner().claim.unwrap()
    }

    pub(crate) async fn set(&self, claim: &pb::Claim, data: pb::ClaimData) -> Result<pb::Claim, Status> {
        let request =
            pb::SetClaimDataRequest { request_id: key(), claim_id: claim.claim_id.clone(), data: Some(data) };
        Ok(self.claims(HOSPITAL).set_claim_data(request).await?.into_inner().claim.unwrap())
    }

    pub(crate) async fn grouped(&self, claim: &pb::Claim) -> pb::Claim {
        let request = pb::GroupClaimRequest { request_id: key(), claim_id: claim.claim_id.clone() };
        self.claims(HOSPITAL).group_claim(request).await.unwrap().into_inner().claim.unwrap()
    }

    pub(crate) async fn finalised(&self, claim: &pb::Claim) -> Result<pb::Claim, Status> {
        let request = pb::FinaliseClaimRequest { request_id: key(), claim_id: claim.claim_id.clone() };
        Ok(self.claims(HOSPITAL).finalise_claim(request).await?.into_inner().claim.unwrap())
    }

    pub(crate) async fn submitted(&self, claim: &pb::Claim) -> Result<pb::Claim, Status> {
        let request = pb::SubmitClaimRequest { request_id: key(), claim_id: claim.claim_id.clone() };
        Ok(*self.claims(HOSPITAL).submit_claim(request).await?.into_inner().claim.unwrap())
    }

    pub(crate) async fn verified(&self, claim: &pb::Claim) -> Result<pb::Claim, Status> {
        let request = pb::RecordVerificationRequest {
            request_id: key(),
            claim_id: claim.claim_id.clone(),
            outcome: pb::VerificationOutcome::Verified.into(),
            ..Default::default()
        };
        Ok(self.claims(BPJS).record_verification(request).await?.into_inner().claim.unwrap())
    }

    pub(crate) async fn approved(&self, claim: &pb::Claim) -> Result<pb::Claim, Status> {
        let request = pb::ApproveClaimRequest { request_id: key(), claim_id: claim.claim_id.clone() };
        Ok(self.claims(BPJS).approve_claim(request).await?.into_inner().claim.unwrap())
    }

    pub(crate) async fn settled(
        &self,
        claim: &pb::Claim,
        reference: &str,
        amount: i64,
    ) -> Result<pb::Claim, Status> {
        let request = pb::SettleClaimRequest {
            request_id: key(),
            claim_id: claim.claim_id.clone(),
            payment_reference: reference.into(),
            amount_rupiah: amount,
            paid_on: today().to_string(),
        };
        Ok(self.claims(BPJS).settle_claim(request).await?.into_inner().claim.unwrap())
    }

    pub(crate) async fn read(&self, claim: &pb::Claim) -> pb::Claim {
        let request = pb::GetClaimRequest { claim_id: claim.claim_id.clone() };
        self.claims(BPJS).get_claim(request).await.unwrap().into_inner().claim.unwrap()
    }
}

/// An out-patient visit that is right in every respect.
pub(crate) fn visit(on: Date) -> pb::IssueSepRequest {
    pb::IssueSepRequest {
        request_id: key(),
        member_id: member(),
        service_date: on.to_string(),
        care_type: pb::CareType::Outpatient.into(),
        entry: pb::Entry::Referral.into(),
        poli_code: "INT".into(),
        referral_number: "0301U0011126P000001".into(),
        initial_diagnosis: "E11.9".into(),
        medical_record_number: "00-12-34".into(),
        ..Default::default()
    }
}

/// The coded data of a visit on a day, with nothing to object to.
pub(crate) fn coding(on: Date, primary: &str) -> pb::ClaimData {
    let morning = chassis::time::start_of(on).unwrap();
    // Both at midnight, so that neither lies in the future whenever the test runs.
    let at = Some(chassis::time::to_proto(morning));
    pb::ClaimData {
        admitted_at: at,
        discharged_at: at,
        admission_route: pb::AdmissionRoute::GeneralPractitioner.into(),
        discharge_status: pb::DischargeStatus::Approved.into(),
        sex: pb::Sex::Female.into(),
        birth_date: "1980-05-17".into(),
        primary_diagnosis: primary.into(),
        charges: Some(pb::HospitalCharges { consultation_rupiah: 150_000, ..Default::default() }),
        doctor_name: "dr. Contoh".into(),
        coder_nik: "3273015705800001".into(),
        ..Default::default()
    }
}

/// The reason of a refusal.
pub(crate) fn reason(status: &Status) -> String {
    status.get_error_details().error_info().map(|info| info.reason.clone()).unwrap_or_default()
}

/// A fact of a refusal.
pub(crate) fn fact(status: &Status, name: &str) -> String {
    let details = status.get_error_details();
    details.error_info().and_then(|info| info.metadata.get(name).cloned()).unwrap_or_default()
}

/// The wrong fields of a refusal.
pub(crate) fn wrong_fields(status: &Status) -> Vec<String> {
    let details = status.get_error_details();
    details
        .bad_request()
        .map(|bad| bad.field_violations.iter().map(|violation| violation.field.clone()).collect())
        .unwrap_or_default()
}

impl Served {
    pub(crate) fn audits(
        &self,
        caller: &'static str,
    ) -> pb::audit_service_client::AuditServiceClient<Named1> {
        pb::audit_service_client::AuditServiceClient::with_interceptor(self.channel.clone(), Named(caller))
    }
}

impl Served {
    pub(crate) fn follow_ups(&self, caller: &'static str) -> FollowUpServiceClient<Named1> {
        FollowUpServiceClient::with_interceptor(self.channel.clone(), Named(caller))
    }

    pub(crate) fn approvals(&self, caller: &'static str) -> SepApprovalServiceClient<Named1> {
        SepApprovalServiceClient::with_interceptor(self.channel.clone(), Named(caller))
    }

    /// Asks for the approval that a SEP needs.
    pub(crate) async fn asked(
        &self,
        wish: &pb::IssueSepRequest,
        kind: pb::SepApprovalKind,
    ) -> Result<pb::SepApproval, Status> {
        let request = pb::RequestSepApprovalRequest {
            request_id: key(),
            kind: kind.into(),
            member_id: wish.member_id.clone(),
            service_date: wish.service_date.clone(),
            care_type: wish.care_type,
            note: "public holiday".into(),
        };
        let asked = self.approvals(HOSPITAL).request_sep_approval(request).await?;
        Ok(asked.into_inner().approval.unwrap())
    }

    /// Decides on a request for approval.
    pub(crate) async fn decided(
        &self,
        approval: &pb::SepApproval,
        decision: pb::SepApprovalState,
    ) -> Result<pb::SepApproval, Status> {
        let request = pb::DecideSepApprovalRequest {
            request_id: key(),
            approval_id: approval.approval_id.clone(),
            decision: decision.into(),
            note: "as the branch found".into(),
            valid_through: String::new(),
        };
        Ok(self.approvals(BPJS).decide_sep_approval(request).await?.into_inner().approval.unwrap())
    }

    pub(crate) async fn cancelled(&self, sep: &pb::Sep) -> Result<pb::Sep, Status> {
        let request = pb::CancelSepRequest {
            request_id: key(),
            sep_number: sep.sep_number.clone(),
            note: "entered by mistake".into(),
        };
        Ok(self.seps(HOSPITAL).cancel_sep(request).await?.into_inner().sep.unwrap())
    }

    pub(crate) async fn sep(&self, sep_number: &str) -> pb::GetSepResponse {
        let request = pb::GetSepRequest { sep_number: sep_number.into() };
        self.seps(BPJS).get_sep(request).await.unwrap().into_inner()
    }

    /// Rows in the tables around a SEP, beside those of [`Self::rows`].
    pub(crate) async fn rows_around(&self) -> i64 {
        sqlx::query_scalar(
            "select (select count(*) from sep_version) + (select count(*) from follow_up)
                  + (select count(*) from follow_up_counter) + (select count(*) from sep_approval)
                  + (select count(*) from fingerprint) + (select count(*) from outbox) + (select count(*) from feed)
                  + (select count(*) from idempotency)",
        )
        .fetch_one(&self.database.pool)
        .await
        .unwrap()
    }
}

/// An emergency admission so many hours ago.
pub(crate) fn admission(hours_ago: i64) -> pb::IssueSepRequest {
    let admitted_at = Timestamp::now() - hours_ago.hours();
    pb::IssueSepRequest {
        care_type: pb::CareType::Inpatient.into(),
        entry: pb::Entry::Emergency.into(),
        poli_code: String::new(),
        referral_number: String::new(),
        admitted_at: Some(chassis::time::to_proto(admitted_at)),
        ..visit(chassis::time::today_at(admitted_at))
    }
}

/// What several tests of what comes after submission begin with.
impl Served {
    pub(crate) fn disputes(
        &self,
        caller: &'static str,
    ) -> pb::dispute_service_client::DisputeServiceClient<Named1> {
        pb::dispute_service_client::DisputeServiceClient::with_interceptor(
            self.channel.clone(),
            Named(caller),
        )
    }

    pub(crate) fn work(&self, caller: &'static str) -> pb::work_service_client::WorkServiceClient<Named1> {
        pb::work_service_client::WorkServiceClient::with_interceptor(self.channel.clone(), Named(caller))
    }

    pub(crate) fn settlement(
        &self,
        caller: &'static str,
    ) -> pb::settlement_service_client::SettlementServiceClient<Named1> {
        pb::settlement_service_client::SettlementServiceClient::with_interceptor(
            self.channel.clone(),
            Named(caller),
        )
    }

    /// A claim of a visit on a day, submitted, with nothing found.
    pub(crate) async fn sent(&self, on: Date) -> pb::Claim {
        let sep = self.issue(visit(on)).await.unwrap();
        let claim = self.submitted(&self.coded(&sep, coding(on, "E11.9")).await).await.unwrap();
        assert_eq!(claim.state(), pb::ClaimState::Submitted);
        claim
    }

    /// A claim that is pending from its submission on, asked of the hospital, because of its coding.
    pub(crate) async fn pending(&self, on: Date) -> pb::Claim {
        let sep = self.issue(visit(on)).await.unwrap();
        let mut data = coding(on, "I50.0");
        data.secondary_diagnoses = vec!["I10".into()];
        let claim = self.submitted(&self.coded(&sep, data).await).await.unwrap();
        assert_eq!(claim.state(), pb::ClaimState::Pending);
        claim
    }

    /// A claim that is approved for payment.
    pub(crate) async fn payable(&self, on: Date) -> pb::Claim {
        let claim = self.verified(&self.sent(on).await).await.unwrap();
        self.approved(&claim).await.unwrap()
    }

    /// Lets a claim have been submitted so many days earlier than it was.
    pub(crate) async fn submitted_earlier(&self, claim: &pb::Claim, days: i32) {
        let moved = sqlx::query(
            "update claim set submitted_at = submitted_at - make_interval(days => $2) where claim_id = $1::uuid",
        )
        .bind(&claim.claim_id)
        .bind(days)
        .execute(&self.database.pool)
        .await
        .unwrap();
        assert_eq!(moved.rows_affected(), 1);
    }

    /// The kinds of the events told so far, without package, once there are as many as expected.
    pub(crate) async fn kinds(&self, expected: usize) -> Vec<String> {
        let events = self.events(expected).await;
        events.into_iter().map(|event| event.r#type.trim_start_matches("jkn.claims.v1.").to_owned()).collect()
    }
}

// Used by the tests of the rules.
impl Served {
    pub(crate) fn rules(&self, caller: &'static str) -> RuleServiceClient<Named1> {
        RuleServiceClient::with_interceptor(self.channel.clone(), Named(caller))
    }

    /// Another replica of the service over the same database; it stops with the value beside it.
    pub(crate) fn replica(&self) -> (RuleServiceClient<Named1>, DropGuard) {
        let (channel, stop) = beside(&self.database, &self.others, &[]);
        (RuleServiceClient::with_interceptor(channel, Named(BPJS)), stop)
    }

    /// As many more submitted claims like this one, of other members, over the 80 days before it.
    pub(crate) async fn copies(&self, claim: &pb::Claim, from: i32, to: i32) {
        let copy = "with source as (select * from sep where sep_number = $1)
             insert into sep (sep_number, facility_code, member_id, service_date, care_type, clinic, emergency, issued_at, letter)
             select 'COPY' || lpad(g::text, 15, '0'), facility_code, gen_random_uuid(), service_date - g % 80, care_type, clinic,
                    emergency, issued_at, letter from source, generate_series($2, $3) g";
        sqlx::query(copy)
            .bind(&claim.sep_number)
            .bind(from)
            .bind(to)
            .execute(&self.database.pool)
            .await
            .unwrap();
        let copy = "insert into claim (claim_id, sep_number, facility_code, member_id, care_type, service_date, state, steps,
                                created_at, data, grouping, tariff_rupiah, discharged_on, submitted_at)
             select gen_random_uuid(), s.sep_number, s.facility_code, s.member_id, s.care_type, s.service_date, 4, c.steps,
                    c.created_at, c.data, c.grouping, c.tariff_rupiah, s.service_date, now()
             from claim c, generate_series($2, $3) g join sep s on s.sep_number = 'COPY' || lpad(g::text, 15, '0')
             where c.sep_number = $1";
        sqlx::query(copy)
            .bind(&claim.sep_number)
            .bind(from)
            .bind(to)
            .execute(&self.database.pool)
            .await
            .unwrap();
        let copy = "insert into claim_bill (claim_id, facility_code, member_id, service_date, bill)
             select c.claim_id, c.facility_code, c.member_id, c.service_date, b.bill
             from claim s join claim_bill b on b.claim_id = s.claim_id, generate_series($2, $3) g
             join claim c on c.sep_number = 'COPY' || lpad(g::text, 15, '0')
             where s.sep_number = $1";
        sqlx::query(copy)
            .bind(&claim.sep_number)
            .bind(from)
            .bind(to)
            .execute(&self.database.pool)
            .await
            .unwrap();
        sqlx::query("analyze").execute(&self.database.pool).await.unwrap();
    }
}

/// Logs and metrics of the test process, which all services in it share.
fn telemetry_once() -> &'static Telemetry {
    static TELEMETRY: OnceLock<Telemetry> = OnceLock::new();
    TELEMETRY.get_or_init(|| telemetry::start("claims", LogFormat::Human, "warn").unwrap())
}

/// NIK of the coder that [`coding`] names.
pub(crate) const CODER: &str = "3273015705800001";
pub(crate) const MINISTRY: &str = "ministry:yankes";

/// The coder's certificates at both hospitals. Written into the table, so that a test finds no event and no key it did
/// not cause.
async fn certify(database: &TestDatabase) {
    sqlx::query(
        "insert into coder_certificate
                (certificate_id, certificate_number, coder_nik, facility_code, valid_from, valid_to, registered_at)
         select gen_random_uuid(), 'UJK-1', $1, facility_code, '2020-01-01', '2099-12-31', now()
         from unnest(array['0301R011', '0301R012']) as facility_code",
    )
    .bind(CODER)
    .execute(&database.pool)
    .await
    .unwrap();
}

impl Served {
    pub(crate) fn eklaim(&self, caller: &'static str) -> EklaimServiceClient<Named1> {
        EklaimServiceClient::with_interceptor(self.channel.clone(), Named(caller))
    }

    pub(crate) fn coders(&self, caller: &'static str) -> CoderServiceClient<Named1> {
        CoderServiceClient::with_interceptor(self.channel.clone(), Named(caller))
    }
}

impl Served {
    pub(crate) fn accidents(&self, caller: &'static str) -> AccidentServiceClient<Named1> {
        AccidentServiceClient::with_interceptor(self.channel.clone(), Named(caller))
    }
}

// Used by the tests of what several replicas do together.
impl Served {
    /// Another replica of the service over the same database, which asks the same others; it stops with the value beside
    /// it.
    pub(crate) fn twin(&self, caller: &'static str) -> (SepServiceClient<Named1>, DropGuard) {
        let (channel, stop) = beside(&self.database, &self.others, &[]);
        (SepServiceClient::with_interceptor(channel, Named(caller)), stop)
    }

    /// The same with further settings, and no client.
    pub(crate) fn helper(&self, more: &[(&str, &str)]) -> DropGuard {
        beside(&self.database, &self.others, more).1
    }

    /// The service in a new process over the same database; what the old one was at is cut off.
    pub(crate) fn restarted(self, more: &[(&str, &str)]) -> Self {
        let Self { database, others, channel: _, _stop: stop } = self;
        drop(stop);
        let (channel, stop) = beside(&database, &others, more);
        Self { database, others, channel, _stop: stop }
    }
}

/// A process of the service over a database, with others that it asks; it stops with the value beside the channel.
fn beside(database: &TestDatabase, others: &Shared, more: &[(&str, &str)]) -> (Channel, DropGuard) {
    let stop = CancellationToken::new();
    let incoming = TcpIncoming::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let upstream = format!("http://{}", incoming.local_addr().unwrap());
    let state = others.clone();
    let router = axum::Router::new().fallback(move |request| answer(state.clone(), request));
    let serving = tonic::transport::Server::builder()
        .add_routes(tonic::service::Routes::from(router))
        .serve_with_incoming_shutdown(incoming, stop.clone().cancelled_owned());
    tokio::spawn(serving);
    let mut computed = BTreeMap::from([
        ("insecure-loopback".to_owned(), "true".to_owned()),
        ("database.url".to_owned(), database.url.clone()),
    ]);
    for name in ["membership", "referral", "accreditation"] {
        computed.insert(format!("upstream.{name}"), upstream.clone());
    }
    computed.extend(more.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())));
    let settings = Layers { computed, ..Layers::default() }.load(Claims::NAME, Claims::DEFAULTS).unwrap();
    let ports = Ports::bind("127.0.0.1:0".parse().unwrap(), "127.0.0.1:0".parse().unwrap()).unwrap();
    let address = ports.addresses().unwrap().grpc;
    tokio::spawn(host::run::<Claims>(settings, ports, telemetry_once().clone(), stop.clone()));
    let channel = Endpoint::from_shared(format!("http://{address}")).unwrap().connect_lazy();
    (channel, stop.drop_guard())
}

/// A client for SEPs.
pub(crate) type Seps = SepServiceClient<Named1>;
