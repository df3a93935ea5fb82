//! How a caller asks: as an institution, over one of the gateways, with a deadline; and again, with the same
//! request_id and over another gateway, until it knows the outcome.

mod stream;

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use http::uri::PathAndQuery;
use prost::Message;
use rand::{RngExt, rngs::ChaCha8Rng};
use tokio::{sync::watch, time::Instant};
use tonic::{
    Code, Request, Status,
    client::Grpc,
    metadata::{Ascii, MetadataValue},
    transport::{Channel, Endpoint},
};
use tonic_prost::ProstCodec;
use tonic_types::StatusExt;

pub(crate) use self::stream::comes_again;
use super::{
    Phase,
    journal::{End, Entry, Told, Tried},
    tokens::Tokens,
};
use crate::calls::reason;

/// How long one attempt may take.
const DEADLINE: Duration = Duration::from_secs(5);
/// How long after its deadline an attempt counts as hung.
const MARGIN: Duration = Duration::from_millis(500);
/// Bounds of the pause before the next attempt.
const SHORTEST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// How long a caller goes on asking after all was healed.
const PATIENCE: Duration = Duration::from_secs(60);
/// One write in so many is sent over all gateways at the same time, as an impatient client does.
const SENT_TWICE: u32 = 40;

/// A call that a caller makes: where it goes, and what answers it.
pub(crate) trait Asked: Message + Clone + Default + 'static {
    type Answer: Message + Default + PartialEq + 'static;
    const PATH: &'static str;
}

/// A write: it carries a key under which it may be repeated.
pub(crate) trait Written: Asked {
    fn set_request_id(&mut self, request_id: String);
}

macro_rules! asked {
    ($($package:ident $service:literal { $($request:ident $answer:ident $method:literal;)* })*) => {$($(
        impl Asked for proto::$package::v1::$request {
            type Answer = proto::$package::v1::$answer;
            const PATH: &'static str = concat!("/jkn.", stringify!($package), ".v1.", $service, "/", $method);
        }
    )*)*};
}

macro_rules! written {
    ($($package:ident $service:literal { $($request:ident $answer:ident $method:literal;)* })*) => {
        asked! { $($package $service { $($request $answer $method;)* })* }
        $($(impl Written for proto::$package::v1::$request {
            fn set_request_id(&mut self, request_id: String) {
                self.request_id = request_id;
            }
        })*)*
    };
}

asked! {
    membership "MembershipService" {
        GetContributionStatementRequest GetContributionStatementResponse "GetContributionStatement";
    }
    // A row of a stream: it carries a key of its own, and is sent by `Desk::submit_all`.
    claims "ClaimService" {
        SubmitClaimsRequest SubmitClaimsResponse "SubmitClaims";
    }
}

written! {
    accreditation "FacilityService" {
        RegisterFacilityRequest RegisterFacilityResponse "RegisterFacility";
        UpdateFacilityRequest UpdateFacilityResponse "UpdateFacility";
    }
    accreditation "AccreditationService" {
        ImportCertificateRequest ImportCertificateResponse "ImportCertificate";
    }
    membership "MembershipService" {
        RegisterFamilyRequest RegisterFamilyResponse "RegisterFamily";
        PostContributionRequest PostContributionResponse "PostContribution";
        VerifyNikRequest VerifyNikResponse "VerifyNik";
    }
    primary_care "PrimaryCareService" {
        RegisterVisitRequest RegisterVisitResponse "RegisterVisit";
        RecordVitalSignsRequest RecordVitalSignsResponse "RecordVitalSigns";
        RecordLaboratoryResultsRequest RecordLaboratoryResultsResponse "RecordLaboratoryResults";
        RecordDiagnosesRequest RecordDiagnosesResponse "RecordDiagnoses";
        RecordDrugsRequest RecordDrugsResponse "RecordDrugs";
        DischargeVisitRequest DischargeVisitResponse "DischargeVisit";
        ReferVisitRequest ReferVisitResponse "ReferVisit";
    }
    referral "ReferralService" {
        UpdateCapacityRequest UpdateCapacityResponse "UpdateCapacity";
        AcceptReferralRequest AcceptReferralResponse "AcceptReferral";
        RecordArrivalRequest RecordArrivalResponse "RecordArrival";
    }
    claims "SepService" {
        IssueSepRequest IssueSepResponse "IssueSep";
    }
    claims "CoderService" {
        RegisterCoderRequest RegisterCoderResponse "RegisterCoder";
    }
    claims "ClaimService" {
        CreateClaimRequest CreateClaimResponse "CreateClaim";
        SetClaimDataRequest SetClaimDataResponse "SetClaimData";
        GroupClaimRequest GroupClaimResponse "GroupClaim";
        FinaliseClaimRequest FinaliseClaimResponse "FinaliseClaim";
        SubmitClaimRequest SubmitClaimResponse "SubmitClaim";
        RecordVerificationRequest RecordVerificationResponse "RecordVerification";
        AnswerPendingRequest AnswerPendingResponse "AnswerPending";
        ApproveClaimRequest ApproveClaimResponse "ApproveClaim";
        SettleClaimRequest SettleClaimResponse "SettleClaim";
    }
    claims "DisputeService" {
        OpenDisputeRequest OpenDisputeResponse "OpenDispute";
        DecideDisputeRequest DecideDisputeResponse "DecideDispute";
    }
    claims "SettlementService" {
        FileMonthRequest FileMonthResponse "FileMonth";
        StateCompletenessRequest StateCompletenessResponse "StateCompleteness";
        OpenBatchRequest OpenBatchResponse "OpenBatch";
        PostClaimsRequest PostClaimsResponse "PostClaims";
        CloseBatchRequest CloseBatchResponse "CloseBatch";
        RecordPaymentRequest RecordPaymentResponse "RecordPayment";
        RecordRecoveryRequest RecordRecoveryResponse "RecordRecovery";
    }
}

/// Why a caller does not go on with what it had begun.
#[derive(Debug)]
pub(crate) enum Stopped {
    /// It was refused, or is still not answered; either is noted.
    Failed,
    /// The campaign is over.
    Over,
}

/// The desk of one caller.
pub(crate) struct Desk {
    number: usize,
    begun: Instant,
    /// To each gateway.
    lines: Vec<Channel>,
    /// The gateway that is asked first.
    preferred: usize,
    tokens: Tokens,
    pub(crate) chance: ChaCha8Rng,
    phase: watch::Receiver<Phase>,
    /// Of all callers together.
    acknowledged: Arc<AtomicUsize>,
    written: u32,
    pub(crate) entries: Vec<Entry>,
}

/// What became of one attempt.
enum Attempt<A> {
    Answered(A),
    Refused(Status),
    /// It may have been carried out or not; when to come again, where that was said.
    Unknown {
        /// As it was answered; none when it was not, well after its deadline.
        code: Option<Code>,
        after: Option<Duration>,
    },
}

impl Desk {
    pub(crate) fn new(
        number: usize,
        begun: Instant,
        gateways: &[String],
        tokens: Tokens,
        chance: ChaCha8Rng,
        phase: watch::Receiver<Phase>,
        acknowledged: Arc<AtomicUsize>,
    ) -> anyhow::Result<Self> {
        let line = |address: &String| {
            let endpoint = Endpoint::from_shared(address.clone())?
                .connect_timeout(Duration::from_secs(1))
                .tcp_nodelay(true)
                .http2_keep_alive_interval(Duration::from_secs(2))
                .keep_alive_timeout(Duration::from_secs(1))
                .keep_alive_while_idle(true);
            anyhow::Ok(endpoint.connect_lazy())
        };
        Ok(Self {
            number,
            begun,
            lines: gateways.iter().map(line).collect::<anyhow::Result<_>>()?,
            preferred: number,
            tokens,
            chance,
            phase,
            acknowledged,
            written: 0,
            entries: Vec::new(),
        })
    }

    /// Whether the campaign still goes on.
    pub(crate) fn is_open(&self) -> bool {
        *self.phase.borrow() == Phase::Storm
    }

    /// Asks for a write until its outcome is known, and notes it. `tells` says what events an answer stands for.
    pub(crate) async fn write<Q: Written>(
        &mut self,
        institution: &str,
        mut request: Q,
        tells: impl FnOnce(&Q::Answer) -> Vec<Told>,
    ) -> Result<Q::Answer, Stopped> {
        if !self.is_open() {
            return Err(Stopped::Over);
        }
        let request_id = self.next_request_id();
        request.set_request_id(request_id.clone());
        let mut entry = self.entry(institution, request_id, &request);
        let answer = self.settle(&request, &mut entry).await;
        entry.ended = self.begun.elapsed();
        if let Some(answer) = &answer {
            entry.end = End::Acknowledged { answer: answer.encode_to_vec(), tells: tells(answer) };
            self.acknowledged.fetch_add(1, Ordering::Relaxed);
        }
        self.entries.push(entry);
        answer.ok_or(Stopped::Failed)
    }

    fn next_request_id(&mut self) -> String {
        self.written += 1;
        format!("campaign/{:03}/{:06}", self.number, self.written)
    }

    /// What is noted of a write before its first attempt.
    fn entry<Q: Asked>(&self, institution: &str, request_id: String, request: &Q) -> Entry {
        Entry {
            institution: institution.to_owned(),
            request_id,
            path: Q::PATH,
            request: request.encode_to_vec(),
            begun: self.begun.elapsed(),
            ended: Duration::ZERO,
            attempts: 0,
            tried: Vec::new(),
            open_at_the_end: false,
            differs: false,
            end: End::Unknown,
        }
    }

    /// Asks a question until it is answered.
    pub(crate) async fn read<Q: Asked>(
        &mut self,
        institution: &str,
        request: Q,
    ) -> Result<Q::Answer, Stopped> {
        let mut pause = SHORTEST_PAUSE;
        while self.is_open() {
            match attempt(self.line(), self.tokens.of(institution), &request).await {
                Attempt::Answered(answer) => return Ok(answer),
                Attempt::Refused(_) => return Err(Stopped::Failed),
                Attempt::Unknown { after, .. } => pause = self.pause(pause, after).await,
            }
        }
        Err(Stopped::Over)
    }

    /// The attempts of one write.
    async fn settle<Q: Written>(&mut self, request: &Q, entry: &mut Entry) -> Option<Q::Answer> {
        let token = self.tokens.of(&entry.institution);
        let mut pause = SHORTEST_PAUSE;
        let mut until = None;
        loop {
            let at = self.begun.elapsed();
            let outcome = if entry.attempts == 0 && self.chance.random_ratio(1, SENT_TWICE) {
                self.attempt_everywhere(token.clone(), request, entry).await
            } else {
                entry.attempts += 1;
                attempt(self.line(), token.clone(), request).await
            };
            let after = match outcome {
                Attempt::Answered(answer) => return Some(answer),
                Attempt::Refused(status) => {
                    entry.end = End::Refused { code: status.code(), reason: reason(&status) };
                    return None;
                }
                Attempt::Unknown { code, after } => {
                    entry.tried.push(Tried { at, until: self.begun.elapsed(), code });
                    after
                }
            };
            if !self.is_open() {
                entry.open_at_the_end = true;
                if !self.calm(&mut until).await {
                    return None;
                }
            }
            pause = self.pause(pause, after).await;
        }
    }

    /// Waits until all is healed, for what is not settled by then; whether there is time left to settle it.
    async fn calm(&mut self, until: &mut Option<Instant>) -> bool {
        let calm = self.phase.wait_for(|phase| *phase == Phase::Calm).await.is_ok();
        calm && Instant::now() <= *until.get_or_insert_with(|| Instant::now() + PATIENCE)
    }

    /// One attempt over each gateway, all at the same time.
    async fn attempt_everywhere<Q: Written>(
        &mut self,
        token: MetadataValue<Ascii>,
        request: &Q,
        entry: &mut Entry,
    ) -> Attempt<Q::Answer> {
        let lines = self.lines.iter().cloned();
        let outcomes =
            futures::future::join_all(lines.map(|line| attempt(line, token.clone(), request))).await;
        entry.attempts += u32::try_from(outcomes.len()).unwrap_or(u32::MAX);
        let mut answered: Option<Q::Answer> = None;
        let mut others = Vec::new();
        for outcome in outcomes {
            match outcome {
                Attempt::Answered(answer) => {
                    entry.differs |= answered.as_ref().is_some_and(|first| *first != answer);
                    answered = Some(answer);
                }
                other => others.push(other),
            }
        }
        // One that was refused while the other was carried out is as wrong as two answers.
        entry.differs |=
            answered.is_some() && others.iter().any(|other| matches!(other, Attempt::Refused(_)));
        match answered {
            Some(answer) => Attempt::Answered(answer),
            None => {
                let refused = others.iter().position(|other| matches!(other, Attempt::Refused(_)));
                others.swap_remove(refused.unwrap_or(0))
            }
        }
    }

    fn line(&self) -> Channel {
        self.lines[self.preferred % self.lines.len()].clone()
    }

    /// Turns to the next gateway and waits a while: as long as was asked for at least, and never in step with others.
    async fn pause(&mut self, pause: Duration, after: Option<Duration>) -> Duration {
        self.preferred += 1;
        let jittered = pause.mul_f64(self.chance.random_range(0.5..1.5));
        tokio::time::sleep(jittered.max(after.unwrap_or_default())).await;
        (pause * 2).min(LONGEST_PAUSE)
    }
}

/// One attempt.
async fn attempt<Q: Asked>(line: Channel, token: MetadataValue<Ascii>, message: &Q) -> Attempt<Q::Answer> {
    let mut request = Request::new(message.clone());
    request.set_timeout(DEADLINE);
    request.metadata_mut().insert("authorization", token);
    let asked = async {
        let mut grpc = Grpc::new(line);
        grpc.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
        let codec: ProstCodec<Q, Q::Answer> = ProstCodec::default();
        grpc.unary(request, PathAndQuery::from_static(Q::PATH), codec).await
    };
    match tokio::time::timeout(DEADLINE + MARGIN, asked).await {
        Ok(Ok(answer)) => Attempt::Answered(answer.into_inner()),
        Ok(Err(status)) if may_be_repeated(status.code()) => {
            let after = status.get_details_retry_info().and_then(|info| info.retry_delay);
            Attempt::Unknown { code: Some(status.code()), after }
        }
        Ok(Err(status)) => Attempt::Refused(status),
        Err(_hung) => Attempt::Unknown { code: None, after: None },
    }
}

/// The outcomes after which a client repeats: it does not know, or was told to come again.
pub(crate) fn may_be_repeated(code: Code) -> bool {
    matches!(
        code,
        Code::Unavailable
            | Code::DeadlineExceeded
            | Code::Unknown
            | Code::Cancelled
            | Code::ResourceExhausted
            | Code::Internal
    )
}
