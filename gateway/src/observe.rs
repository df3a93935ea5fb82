//! What is known of a call afterwards: its duration and code as metrics, a span in the trace, a line in the
//! log at debug. None of them holds who called or about whom.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Instant,
};

use chassis::{call, telemetry, upstream::Outcome};
use http::HeaderMap;
use opentelemetry::{KeyValue, global, metrics::Histogram};
use tokio::sync::OwnedSemaphorePermit;
use tonic::{Code, Status};
use tracing::Span;

use crate::{NAME, route::Route};

/// The gateway's instruments.
pub(crate) struct Meters {
    duration: Histogram<f64>,
    active: Arc<AtomicI64>,
}

impl Meters {
    pub(crate) fn new() -> Self {
        let active = Arc::<AtomicI64>::default();
        let observed = Arc::clone(&active);
        // Read when the metrics are, not reported with each call.
        let _kept_by_the_meter = global::meter("jkn")
            .i64_observable_up_down_counter("rpc.server.active_calls")
            .with_description("Calls under way")
            .with_callback(move |observer| {
                observer.observe(observed.load(Ordering::Relaxed), &[KeyValue::new("jkn.process", NAME)]);
            })
            .build();
        Self { duration: telemetry::call_duration(), active }
    }
}

/// A call under way. Dropped when its answer has ended, or when the client went away before: then it counts
/// as cancelled.
pub(crate) struct Call {
    meters: Arc<Meters>,
    began: Instant,
    /// Path of the method, or what stands for it.
    method: &'static str,
    /// Name of the service that answers.
    system: &'static str,
    code: Code,
    span: Span,
    traceparent: String,
    /// The places it holds among the calls under way.
    places: Vec<OwnedSemaphorePermit>,
    /// What the address that answers is judged by.
    outcome: Option<Outcome>,
}

impl Call {
    /// Begins to observe a call. Only what the contracts name becomes a label: a path that nobody serves
    /// could be anything.
    pub(crate) fn begin(meters: &Arc<Meters>, route: Option<&Route>, headers: &HeaderMap) -> Self {
        let (method, system) = match route {
            Some(Route::Behind(found)) => (found.path, found.system),
            Some(Route::Local) => ("local", NAME),
            None => ("unknown", NAME),
        };
        let given = headers.get(call::TRACEPARENT).and_then(|value| value.to_str().ok());
        let given = given.filter(|text| call::is_traceparent(text));
        let span = telemetry::call_span(method, None, given);
        meters.active.fetch_add(1, Ordering::Relaxed);
        Self {
            meters: Arc::clone(meters),
            began: Instant::now(),
            method,
            system,
            code: Code::Cancelled,
            traceparent: telemetry::traceparent_of(&span)
                .unwrap_or_else(|| given.map_or_else(call::new_traceparent, str::to_owned)),
            span,
            places: Vec::with_capacity(2),
            outcome: None,
        }
    }

    /// The span of the call.
    pub(crate) fn span(&self) -> &Span {
        &self.span
    }

    /// The trace context for the next hop and for the log.
    pub(crate) fn traceparent(&self) -> &str {
        &self.traceparent
    }

    /// The name of the service that answers.
    pub(crate) fn system(&self) -> &str {
        self.system
    }

    /// Holds a place until the call has ended.
    pub(crate) fn hold(&mut self, place: OwnedSemaphorePermit) {
        self.places.push(place);
    }

    /// The answer has begun.
    pub(crate) fn answered(&mut self, outcome: Outcome) {
        self.outcome = Some(outcome);
    }

    /// Reads the status from headers or trailers; tells whether there was one.
    pub(crate) fn note(&mut self, headers: &HeaderMap) -> bool {
        let status = headers.get(Status::GRPC_STATUS);
        if let Some(status) = status {
            self.code = Code::from_bytes(status.as_bytes());
            if let Some(outcome) = &mut self.outcome {
                outcome.note(headers);
            }
        }
        status.is_some()
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        let code = telemetry::code_name(self.code);
        let seconds = self.began.elapsed().as_secs_f64();
        self.meters.active.fetch_sub(1, Ordering::Relaxed);
        let labels = [
            KeyValue::new("jkn.process", NAME),
            KeyValue::new("rpc.method", self.method),
            KeyValue::new("rpc.response.status_code", code),
        ];
        self.meters.duration.record(seconds, &labels);
        self.span.record("rpc.response.status_code", code);
        let method = self.method;
        tracing::debug!(target: "gateway::access", parent: &self.span, method, code, seconds, "answered");
    }
}
