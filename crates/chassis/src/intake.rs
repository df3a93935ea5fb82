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

use futures::FutureExt;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body::Frame;
use jiff::Timestamp;
use opentelemetry::{KeyValue, metrics::Histogram};
use proto::{mesh::v1::Reason, options::v1::InstitutionKind};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Instant,
};
use tonic::{
    Code, Status,
    body::Body,
    transport::server::{TcpConnectInfo, TlsConnectInfo},
};
use tower::{Layer, Service};
use tracing::Instrument;

use crate::{
    Call, Caller, Problem,
    call::{self, ASSERTION, PEER, TIMEOUT, TRACEPARENT},
    contract::{self, Method},
    identity::Verifier,
    telemetry, time, tls,
};

/// The process whose word about a caller is taken.
const GATEWAY: &str = "gateway";

/// The layer; one per process.
#[derive(Clone)]
pub(crate) struct Intake(Arc<Shared>);

struct Shared {
    process: &'static str,
    /// Checks the gateway's assertions; `None` on an insecure loopback without keys.
    assertions: Option<Verifier>,
    /// Whether peers without a certificate are believed.
    insecure: bool,
    deadline: Duration,
    room: Arc<Semaphore>,
    duration: Histogram<f64>,
}

impl Intake {
    pub(crate) fn new(
        process: &'static str,
        assertions: Option<Verifier>,
        insecure: bool,
        deadline: Duration,
        most_calls: usize,
    ) -> Self {
        let duration = telemetry::call_duration();
        Self(Arc::new(Shared {
            process,
            assertions,
            insecure,
            deadline,
            room: Arc::new(Semaphore::new(most_calls)),
            duration,
        }))
    }
}

impl<S> Layer<S> for Intake {
    type Service = Guarded<S>;

    fn layer(&self, inner: S) -> Guarded<S> {
        Guarded { inner, shared: self.0.clone() }
    }
}

/// A service behind the intake.
#[derive(Clone)]
pub(crate) struct Guarded<S> {
    inner: S,
    shared: Arc<Shared>,
}

impl<S> Service<Request<Body>> for Guarded<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let Some(method) = contract::method(request.uri().path()) else {
            // Health and reflection: they are not of the mesh's contracts and tell nothing of it.
            return Box::pin(self.inner.call(request));
        };
        let shared = self.shared.clone();
        let begun = Instant::now();
        let call = match shared.admit(method, &request) {
            Ok(call) => call,
            Err(problem) => {
                let status = Status::from(problem);
                shared.count(method, status.code(), begun);
                return Box::pin(async move { Ok(status.into_http()) });
            }
        };
        let span = telemetry::call_span(method, request.headers(), &call);
        let call = Call { traceparent: telemetry::traceparent_of(&span).unwrap_or(call.traceparent), ..call };
        let deadline = call.deadline;
        let traceparent = call.traceparent.clone();
        request.extensions_mut().insert(call);
        let answer = self.inner.call(request);
        let handled = async move {
            let Ok(room) = Arc::clone(&shared.room).try_acquire_owned() else {
                let status = Status::from(Problem::overloaded());
                shared.count(method, status.code(), begun);
                return Ok(status.into_http());
            };
            let bounded = tokio::time::timeout_at(deadline, AssertUnwindSafe(answer).catch_unwind());
            let response = match bounded.await {
                Ok(Ok(Ok(response))) => response,
                Ok(Ok(Err(never))) => match never {},
                Ok(Err(_panic)) => {
                    tracing::error!(method = %method.path, traceparent, "a handler panicked");
                    Status::from(Problem::internal().with("traceparent", &traceparent)).into_http()
                }
                Err(_elapsed) => Status::from(Problem::deadline_passed()).into_http(),
            };
            let mut answer = Arc::clone(&shared).watch(method, begun, room, response);
            // A refusal names its trace, so that its cause can be found in the logs.
            if status_in(answer.headers()).is_some()
                && let Ok(trace) = HeaderValue::try_from(&traceparent)
            {
                answer.headers_mut().insert(TRACEPARENT, trace);
            }
            Ok(answer)
        };
        Box::pin(handled.instrument(span))
    }
}

impl Shared {
    fn admit(&self, method: &Method, request: &Request<Body>) -> Result<Call, Problem> {
        let now = Timestamp::now();
        let caller = self.caller(request, now)?;
        if !method.allows(&caller) {
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
            // Ahead of the server's own limit, which would answer CANCELLED.
            Some(asked) => {
                asked.saturating_sub((asked / 20).min(Duration::from_millis(10))).min(self.deadline)
            }
            // A stream is watched for as long as its caller likes.
            None if streams => Duration::from_secs(365 * 24 * 3600),
            None => self.deadline,
        };
        let mut call = Call::local(caller, &method.path, now, allowed);
        if let Some(context) = header(TRACEPARENT).filter(|text| call::is_traceparent(text)) {
            context.clone_into(&mut call.traceparent);
        }
        call.today = time::today_at(now);
        Ok(call)
    }

    /// Who calls: the holder of the certificate, or, when that is the gateway, whom it vouches for.
    fn caller(&self, request: &Request<Body>, now: Timestamp) -> Result<Caller, Problem> {
        let missing =
            |why: &str| Problem::new(Code::Unauthenticated, Reason::IdentityMissing.as_str_name(), why);
        let header = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok());
        let proven = request
            .extensions()
            .get::<TlsConnectInfo<TcpConnectInfo>>()
            .and_then(TlsConnectInfo::peer_certs)
            .and_then(|chain| tls::caller_of_certificate(chain.first()?));
        let peer = match proven {
            Some(peer) => peer,
            None if self.insecure => header(PEER)
                .and_then(|name| name.parse().ok())
                .ok_or_else(|| missing("say who calls in the metadata jkn-peer"))?,
            None => return Err(missing("the client certificate names no identity of the mesh")),
        };
        if peer != Caller::service(GATEWAY) {
            return Ok(peer);
        }
        let assertion =
            header(ASSERTION).ok_or_else(|| missing("the gateway did not say for whom it calls"))?;
        let verifier =
            self.assertions.as_ref().ok_or_else(|| missing("no key to check the gateway's word with"))?;
        let caller = verifier.verify(assertion, now)?.caller;
        if caller.kind == InstitutionKind::Service {
            return Err(missing("the gateway does not call for services"));
        }
        Ok(caller)
    }

    fn count(&self, method: &Method, code: Code, begun: Instant) {
        let attributes = [
            KeyValue::new("jkn.process", self.process),
            KeyValue::new("rpc.method", method.path.clone()),
            KeyValue::new("rpc.response.status_code", telemetry::code_name(code)),
        ];
        let seconds = begun.elapsed().as_secs_f64();
        self.duration.record(seconds, &attributes);
        tracing::debug!(method = %method.path, code = telemetry::code_name(code), seconds, "answered");
    }

    /// Counts a call when its status is known: in the headers of a refusal, in the trailers of an answer.
    fn watch(
        self: Arc<Self>,
        method: &'static Method,
        begun: Instant,
        room: OwnedSemaphorePermit,
        response: Response<Body>,
    ) -> Response<Body> {
        if let Some(code) = status_in(response.headers()) {
            self.count(method, code, begun);
            return response;
        }
        response
            .map(|body| Body::new(Watched { body, shared: self, method, begun, counted: false, _room: room }))
    }
}

fn status_in(headers: &HeaderMap) -> Option<Code> {
    headers.get("grpc-status").map(|value| Code::from_bytes(value.as_bytes()))
}

/// A body whose trailers are read in passing.
struct Watched {
    body: Body,
    shared: Arc<Shared>,
    method: &'static Method,
    begun: Instant,
    counted: bool,
    /// A stream takes its place until it ends, not until it begins.
    _room: OwnedSemaphorePermit,
}

impl http_body::Body for Watched {
    type Data = bytes::Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Status>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        if let Poll::Ready(Some(Ok(frame))) = &polled
            && let Some(code) = frame.trailers_ref().and_then(status_in)
        {
            self.counted = true;
            self.shared.count(self.method, code, self.begun);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        if !self.counted {
            self.shared.count(self.method, Code::Cancelled, self.begun);
        }
    }
}
