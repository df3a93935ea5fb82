//! Logs, traces and metrics of a process. Logs go to standard error, metrics to a Prometheus page, both and traces
//! to a collector over OTLP when the standard `OTEL_…` variables name one.
//!
//! Never logged, traced or counted by: NIK, card number, name, diagnosis.

use std::{collections::HashMap, env, io::IsTerminal};

use http::HeaderMap;
use opentelemetry::{
    global,
    metrics::Histogram,
    propagation::{Extractor, TextMapPropagator},
    trace::{TraceContextExt, TracerProvider},
};
use opentelemetry_otlp::{MetricExporter, SpanExporter};
use opentelemetry_sdk::{
    Resource, metrics::SdkMeterProvider, propagation::TraceContextPropagator, trace::SdkTracerProvider,
};
use prometheus::{Encoder, Registry, TextEncoder};
use tonic::Code;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::{EnvFilter, Layer, layer::SubscriberExt, util::SubscriberInitExt};

use crate::{Call, call::TRACEPARENT, contract::Method};

/// How logs are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For a person.
    Human,
    /// A JSON object a line.
    Json,
}

/// What observes the process; kept until its end.
#[derive(Clone)]
pub struct Telemetry {
    registry: Registry,
    meters: SdkMeterProvider,
    tracers: Option<SdkTracerProvider>,
}

/// Begins to observe. Once per process, within a runtime.
///
/// # Errors
/// When the filter is not one or a collector's address is wrong.
pub fn start(process: &str, format: LogFormat, filter: &str) -> anyhow::Result<Telemetry> {
    let resource = Resource::builder().with_service_name(format!("jkn-{process}")).build();
    let registry = Registry::new();
    let mut meters = SdkMeterProvider::builder()
        .with_resource(resource.clone())
        .with_reader(opentelemetry_prometheus::exporter().with_registry(registry.clone()).build()?);
    if configured("METRICS") {
        meters = meters.with_periodic_exporter(MetricExporter::builder().with_tonic().build()?);
    }
    let meters = meters.build();
    global::set_meter_provider(meters.clone());

    let tracers = if configured("TRACES") {
        let exporter = SpanExporter::builder().with_tonic().build()?;
        Some(SdkTracerProvider::builder().with_resource(resource).with_batch_exporter(exporter).build())
    } else {
        None
    };
    // The exporter's own calls must not be traced, or they feed themselves.
    let quiet = EnvFilter::try_new("info,tonic=off,h2=off,hyper=off,tower=off,opentelemetry=off")?;
    let traces = tracers
        .as_ref()
        .map(|t| tracing_opentelemetry::layer().with_tracer(t.tracer("jkn")).with_filter(quiet));

    let logs = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let logs = match format {
        LogFormat::Human => logs.with_ansi(std::io::stderr().is_terminal()).with_target(false).boxed(),
        LogFormat::Json => logs.json().flatten_event(true).boxed(),
    };
    tracing_subscriber::registry()
        .with(logs.with_filter(EnvFilter::try_new(filter)?))
        .with(traces)
        .try_init()?;
    Ok(Telemetry { registry, meters, tracers })
}

/// Keeps the messages of panics out of the log of a process that serves: one may hold the value that caused it.
/// Where it happened is told, what it says is not.
pub fn hide_panic_messages() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        let thread = std::thread::current().name().unwrap_or_default().to_owned();
        tracing::error!(place, thread, "a panic");
    }));
}

fn configured(signal: &str) -> bool {
    let set = |name: &str| env::var(name).is_ok_and(|value| !value.is_empty());
    !set("OTEL_SDK_DISABLED")
        && (set("OTEL_EXPORTER_OTLP_ENDPOINT") || set(&format!("OTEL_EXPORTER_OTLP_{signal}_ENDPOINT")))
}

impl Telemetry {
    /// The metrics page, in Prometheus' text format.
    ///
    /// # Errors
    /// When the metrics cannot be encoded.
    pub fn page(&self) -> anyhow::Result<String> {
        let mut page = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut page)?;
        Ok(String::from_utf8(page)?)
    }

    /// Sends what is not sent yet. Blocks; call it off the runtime.
    pub fn flush(&self) {
        let _unsent = self.meters.force_flush();
        if let Some(tracers) = &self.tracers {
            let _unsent = tracers.force_flush();
        }
    }
}

/// How long calls take, by method and status.
#[must_use]
pub fn call_duration() -> Histogram<f64> {
    global::meter("jkn")
        .f64_histogram("rpc.server.call.duration")
        .with_unit("s")
        .with_description("Time from a call's arrival to the end of its answer")
        .with_boundaries(vec![
            0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
        ])
        .build()
}

/// The name of a status code as metrics carry it, e.g. `NOT_FOUND`.
#[must_use]
pub fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

struct Headers<'a>(&'a HeaderMap);

impl Extractor for Headers<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key)?.to_str().ok()
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(http::HeaderName::as_str).collect()
    }
}

/// The span of a call, in the trace its caller is in.
pub(crate) fn call_span(method: &Method, headers: &HeaderMap, call: &Call) -> Span {
    let span = tracing::info_span!(
        "call",
        otel.name = %method.path,
        otel.kind = "server",
        rpc.system = "grpc",
        caller.kind = %crate::identity::kind_name(call.caller.kind),
        traceparent = %call.traceparent,
    );
    if headers.contains_key(TRACEPARENT) {
        let _no_exporter = span.set_parent(TraceContextPropagator::new().extract(&Headers(headers)));
    }
    span
}

/// The trace context of a span; `None` when traces are not exported.
#[must_use]
pub fn traceparent_of(span: &Span) -> Option<String> {
    let context = span.context();
    if !context.span().span_context().is_valid() {
        return None;
    }
    let mut carrier = HashMap::new();
    TraceContextPropagator::new().inject_context(&context, &mut carrier);
    carrier.remove(TRACEPARENT)
}

fn context_of(traceparent: &str) -> opentelemetry::Context {
    let carrier = HashMap::from([(TRACEPARENT.to_owned(), traceparent.to_owned())]);
    TraceContextPropagator::new().extract(&carrier)
}

/// Puts a span into the trace of a text `traceparent`, e.g. of an event.
pub fn continue_trace(span: &Span, traceparent: &str) {
    let _no_exporter = span.set_parent(context_of(traceparent));
}

/// Links a span to the trace of a text `traceparent`.
pub(crate) fn link_trace(span: &Span, traceparent: &str) {
    span.add_link(context_of(traceparent).span().span_context().clone());
}
