//! What every call passes before its handler: who calls and whether the policy lets them, until when, in which
//! trace, whether there is room; and what is counted when it has been answered.

use std::{
    convert::Infallible,
    future::Future,
    panic::AssertUnwindSafe,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use futures::FutureExt;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body::Frame;
use hyper::body::Incoming;
use jiff::Timestamp;
use opentelemetry::{KeyValue, metrics::Histogram};
use proto::{mesh::v1::Reason, options::v1::InstitutionKind};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Instant,
};
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status, body::Body, service::Routes};
use tower::Service;
use tracing::Instrument;

use crate::{
    Call, Caller, Problem,
    call::{self, ASSERTION, PEER, TIMEOUT, TRACEPARENT},
    contract::{self, Method},
    identity::Verifier,
    limits::{Limits, Watch, trailers},
    reload::Reloaded,
    telemetry, time,
};

/// The process whose word about a caller is taken.
const GATEWAY: &str = "gateway";

/// What stands before the handlers of a process.
#[derive(Clone)]
pub(crate) struct Intake {
    routes: Routes,
    shared: Arc<Shared>,
}

/// Whom and how much a process takes in.
pub(crate) struct Rules {
    pub(crate) process: &'static str,
    /// Checks the gateway's assertions; `None` on an insecure loopback without keys.
    pub(crate) assertions: Option<Reloaded<Verifier>>,
    /// Whether peers without a certificate are believed.
    pub(crate) insecure: bool,
    /// How long a unary call may take.
    pub(crate) deadline: Duration,
    /// Calls under way at once.
    pub(crate) most_calls: usize,
    /// Ends streams.
    pub(crate) stop: CancellationToken,
}

struct Shared {
    rules: Rules,
    room: Arc<Semaphore>,
    duration: Histogram<f64>,
}

impl Intake {
    pub(crate) fn new(rules: Rules, routes: Routes) -> Self {
        let room = Arc::new(Semaphore::new(rules.most_calls));
        let shared = Shared { room, duration: telemetry::call_duration(), rules };
        Self { routes: routes.prepare(), shared: Arc::new(shared) }
    }

    /// The calls of one connection, of which a certificate may have proved whose it is.
    pub(crate) fn of_connection(&self, peer: Option<Arc<Caller>>) -> Connection {
        Connection { intake: self.clone(), peer }
    }
}

/// The calls of one connection.
pub(crate) struct Connection {
    intake: Intake,
    peer: Option<Arc<Caller>>,
}

type Answering = Pin<Box<dyn Future<Output = Result<Response<Answer>, Infallible>> + Send>>;

impl hyper::service::Service<Request<Incoming>> for Connection {
    type Response = Response<Answer>;
    type Error = Infallible;
    type Future = Answering;

    fn call(&self, request: Request<Incoming>) -> Answering {
        let shared = Arc::clone(&self.intake.shared);
        let mut routes = self.intake.routes.clone();
        let mut request = request.map(Body::new);
        let Some(method) = contract::method(request.uri().path()) else {
            // Health: it is not of the mesh's contracts and tells nothing of it.
            return Box::pin(async move {
                let response = routes.call(request).await?;
                Ok(response.map(|body| Answer { body, watch: shared.until_stop(None), counted: None }))
            });
        };
        let begun = Instant::now();
        let call = match shared.admit(method, self.peer.as_deref(), &request) {
            Ok(call) => call,
            Err(problem) => return Box::pin(std::future::ready(Ok(shared.refuse(method, problem, begun)))),
        };
        let Ok(room) = Arc::clone(&shared.room).try_acquire_owned() else {
            let refused = shared.refuse(method, Problem::overloaded(), begun);
            return Box::pin(std::future::ready(Ok(refused)));
        };
        let given = request.headers().contains_key(TRACEPARENT).then_some(call.traceparent.as_str());
        let span = telemetry::call_span(method.path, Some(call.caller.kind), given);
        let traceparent = telemetry::traceparent_of(&span).unwrap_or_else(|| call.traceparent.clone());
        let (deadline, trace) = (call.deadline, traceparent.clone());
        request.extensions_mut().insert(Call { traceparent: traceparent.clone(), ..call });
        let handled = async move {
            let answer = AssertUnwindSafe(routes.call(request)).catch_unwind();
            let response = match tokio::time::timeout_at(deadline, answer).await {
                Ok(Ok(Ok(response))) => response,
                Ok(Ok(Err(never))) => match never {},
                Ok(Err(_panic)) => {
                    tracing::error!(method = %method.path, traceparent, "a handler panicked");
                    Status::from(Problem::internal().with("traceparent", &traceparent)).into_http()
                }
                Err(_elapsed) => Status::from(Problem::deadline_passed()).into_http(),
            };
            let (mut head, body) = response.into_parts();
            let watch =
                if method.server_streaming { shared.until_stop(Some(deadline)) } else { Watch::default() };
            let mut counted = Counted { shared, method, begun, told: false, _room: room };
            // A refusal names its trace, so that its cause can be found in the logs.
            if counted.note(&head.headers)
                && let Ok(trace) = HeaderValue::try_from(&traceparent)
            {
                head.headers.insert(TRACEPARENT, trace);
            }
            Ok(Response::from_parts(head, Answer { body, watch, counted: Some(counted) }))
        };
        Box::pin(telemetry::in_trace(trace, handled.instrument(span)))
    }
}

impl Shared {
    /// A refusal before the handler.
    fn refuse(&self, method: &'static Method, problem: Problem, begun: Instant) -> Response<Answer> {
        self.count(method, problem.code(), begun);
        let response = Status::from(problem).into_http::<Body>();
        response.map(|body| Answer { body, watch: Watch::default(), counted: None })
    }

    /// The limits of a stream: its deadline, and the stop of the process.
    fn until_stop(&self, deadline: Option<Instant>) -> Watch {
        Watch::over(Limits { deadline, stop: Some((self.rules.stop.clone(), self.rules.process)) })
    }

    fn admit(
        &self,
        method: &'static Method,
        peer: Option<&Caller>,
        request: &Request<Body>,
    ) -> Result<Call, Problem> {
        let now = Timestamp::now();
        let caller = self.caller(peer, request.headers(), now)?;
        if !contract::allows(method, &caller) {
            return Err(Problem::new(
                Code::PermissionDenied,
                Reason::CallerNotAllowed.as_str_name(),
                "the method is not open to this kind of institution; docs/api.md names the kinds that may call it",
            )
            .with("kind", crate::identity::kind_name(caller.kind)));
        }
        let header = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok());
        let asked = header(TIMEOUT).and_then(call::parse_timeout);
        let streams = method.server_streaming || method.client_streaming;
        let allowed = match asked {
            Some(asked) if streams => asked,
            Some(asked) => asked.min(self.rules.deadline),
            // A stream is watched for as long as its caller likes.
            None if streams => Duration::from_secs(365 * 24 * 3600),
            None => self.rules.deadline,
        };
        let mut call = Call::local(caller, method.path, now, allowed);
        if let Some(context) = header(TRACEPARENT).filter(|text| call::is_traceparent(text)) {
            context.clone_into(&mut call.traceparent);
        }
        call.today = time::today_at(now);
        Ok(call)
    }

    /// Who calls: the holder of the certificate, or, when that is the gateway, whom it vouches for.
    fn caller(&self, peer: Option<&Caller>, headers: &HeaderMap, now: Timestamp) -> Result<Caller, Problem> {
        let missing =
            |why: &str| Problem::new(Code::Unauthenticated, Reason::IdentityMissing.as_str_name(), why);
        let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let peer = match peer {
            Some(peer) => peer.clone(),
            None if self.rules.insecure => header(PEER)
                .and_then(|name| name.parse().ok())
                .ok_or_else(|| missing("say who calls in the metadata jkn-peer"))?,
            None => return Err(missing("the client certificate names no identity of the mesh")),
        };
        if peer != Caller::service(GATEWAY) {
            return Ok(peer);
        }
        let assertion =
            header(ASSERTION).ok_or_else(|| missing("the gateway did not say for whom it calls"))?;
        let verifier = self.rules.assertions.as_ref();
        let verifier = verifier.ok_or_else(|| missing("no key to check the gateway's word with"))?;
        let caller = verifier.current().verify(assertion, now)?.caller;
        if caller.kind == InstitutionKind::Service {
            return Err(missing("the gateway does not call for services"));
        }
        Ok(caller)
    }

    fn count(&self, method: &'static Method, code: Code, begun: Instant) {
        let attributes = [
            KeyValue::new("jkn.process", self.rules.process),
            KeyValue::new("rpc.method", method.path),
            KeyValue::new("rpc.response.status_code", telemetry::code_name(code)),
        ];
        let seconds = begun.elapsed().as_secs_f64();
        self.duration.record(seconds, &attributes);
        tracing::debug!(method = %method.path, code = telemetry::code_name(code), seconds, "answered");
    }
}

/// The body of an answer: counted when its status is known, in the headers of a refusal or in its trailers, and ended
/// by its limits.
pub(crate) struct Answer {
    body: Body,
    watch: Watch,
    counted: Option<Counted>,
}

/// A call that is to be counted once.
struct Counted {
    shared: Arc<Shared>,
    method: &'static Method,
    begun: Instant,
    told: bool,
    /// A stream takes its place until it ends, not until it begins.
    _room: OwnedSemaphorePermit,
}

impl Counted {
    /// Reads the status; tells whether there was one.
    fn note(&mut self, headers: &HeaderMap) -> bool {
        let Some(code) = headers.get(Status::GRPC_STATUS) else { return false };
        if !std::mem::replace(&mut self.told, true) {
            self.shared.count(self.method, Code::from_bytes(code.as_bytes()), self.begun);
        }
        true
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        if !self.told {
            self.shared.count(self.method, Code::Cancelled, self.begun);
        }
    }
}

impl Answer {
    fn end_with(&mut self, problem: Problem) -> Frame<Bytes> {
        let trailers = trailers(problem);
        if let Some(counted) = &mut self.counted {
            counted.note(&trailers);
        }
        self.body = Body::empty();
        self.watch = Watch::default();
        Frame::trailers(trailers)
    }
}

impl http_body::Body for Answer {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = &mut *self;
        match Pin::new(&mut this.body).poll_frame(context) {
            Poll::Ready(Some(Ok(frame))) => {
                match (frame.trailers_ref(), &mut this.counted) {
                    (Some(trailers), Some(counted)) => {
                        counted.note(trailers);
                    }
                    (Some(_), None) => {}
                    (None, _) => {
                        if let Some(problem) = this.watch.exceeded() {
                            return Poll::Ready(Some(Ok(this.end_with(problem))));
                        }
                    }
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Pending => this.watch.poll(context).map(|problem| Some(Ok(this.end_with(problem)))),
            ended => ended,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.body.size_hint()
    }
}
