//! Logs, traces and metrics of a process. Logs go to standard error, metrics to a Prometheus page, both and traces
//! to a collector over OTLP when the standard `OTEL_…` variables name one.
//!
//! Never logged, traced or counted by: NIK, card number, name, diagnosis.

use std::{collections::HashMap, env, fmt, future::Future, io::IsTerminal, sync::OnceLock};

use opentelemetry::{
    global,
    metrics::Histogram,
    propagation::TextMapPropagator,
    trace::{TraceContextExt, TracerProvider},
};
use opentelemetry_otlp::{MetricExporter, SpanExporter};
use opentelemetry_sdk::{
    Resource, metrics::SdkMeterProvider, propagation::TraceContextPropagator, trace::SdkTracerProvider,
};
use prometheus::{Encoder, Registry, TextEncoder};
use proto::options::v1::InstitutionKind;
use tonic::Code;
use tracing::{Event, Span, Subscriber, field::Empty};
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::{
    EnvFilter, Layer,
    fmt::{FmtContext, FormatEvent, FormatFields, format::Writer},
    layer::SubscriberExt,
    registry::LookupSpan,
    util::SubscriberInitExt,
};

use crate::call::TRACEPARENT;

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

    let _set_before = EXPORTED.set(configured("TRACES"));
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
        LogFormat::Human => {
            let logs = logs.with_ansi(std::io::stderr().is_terminal()).with_target(false);
            logs.map_event_format(|format| InTrace { format, json: false }).boxed()
        }
        LogFormat::Json => {
            let logs = logs.json().flatten_event(true);
            logs.map_event_format(|format| InTrace { format, json: true }).boxed()
        }
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

/// Whether traces go to a collector.
static EXPORTED: OnceLock<bool> = OnceLock::new();

tokio::task_local! {
    /// The trace context of the call that a task answers, for the lines of its log. A span for each call would cost as
    /// much as all else that is observed of it, and most calls are not sampled.
    static TRACE: String;
}

/// Does the work of a call, whose trace context then stands in each line of the log.
pub fn in_trace<F: Future>(traceparent: String, work: F) -> impl Future<Output = F::Output> {
    TRACE.scope(traceparent, work)
}

/// The span of a call, in the trace its caller is in. None where nobody would see it: without a collector, or in a
/// trace that its beginner did not sample.
#[must_use]
pub fn call_span(method: &'static str, caller: Option<InstitutionKind>, given: Option<&str>) -> Span {
    if !EXPORTED.get().copied().unwrap_or_default() || given.is_some_and(|given| !is_sampled(given)) {
        return Span::none();
    }
    let span = tracing::info_span!(
        "call",
        otel.name = method,
        otel.kind = "server",
        rpc.system = "grpc",
        rpc.response.status_code = Empty,
        caller.kind = Empty,
    );
    if let Some(kind) = caller {
        span.record("caller.kind", crate::identity::kind_name(kind));
    }
    if let Some(given) = given {
        continue_trace(&span, given);
    }
    span
}

/// Whether the flags of a `traceparent` say that the trace is kept.
fn is_sampled(traceparent: &str) -> bool {
    let flags = traceparent.rsplit('-').next().and_then(|flags| u8::from_str_radix(flags, 16).ok());
    flags.is_some_and(|flags| flags & 1 == 1)
}

/// Adds the trace context of the call to the lines of its log.
struct InTrace<F> {
    format: F,
    json: bool,
}

impl<S, N, F> FormatEvent<S, N> for InTrace<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let Ok(traceparent) = TRACE.try_with(String::clone) else {
            return self.format.format_event(context, writer, event);
        };
        let mut line = String::new();
        self.format.format_event(context, Writer::new(&mut line), event)?;
        match line.strip_prefix('{').filter(|_| self.json) {
            Some(fields) => write!(writer, "{{\"traceparent\":\"{traceparent}\",{fields}"),
            None => writeln!(writer, "{} traceparent={traceparent}", line.trim_end()),
        }
    }
}

/// The trace context of a span; `None` when traces are not exported.
#[must_use]
pub fn traceparent_of(span: &Span) -> Option<String> {
    if span.is_none() {
        return None;
    }
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

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use tracing_subscriber::fmt::MakeWriter;

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    impl<'a> MakeWriter<'a> for Lines {
        type Writer = Self;

        fn make_writer(&'a self) -> Self {
            self.clone()
        }
    }

    #[tokio::test]
    async fn a_line_of_a_call_names_its_trace_for_a_person_and_for_a_machine() {
        let trace = crate::call::new_traceparent();
        for json in [false, true] {
            let lines = Lines::default();
            let layer = tracing_subscriber::fmt::layer().with_writer(lines.clone()).with_ansi(false);
            let layer = if json {
                layer.json().flatten_event(true).map_event_format(|format| InTrace { format, json }).boxed()
            } else {
                layer.map_event_format(|format| InTrace { format, json }).boxed()
            };
            let _guard = tracing::subscriber::set_default(tracing_subscriber::registry().with(layer));
            tracing::info!(n = 1, "outside");
            in_trace(trace.clone(), async { tracing::info!(n = 2, "inside") }).await;
            let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
            let [outside, inside] = text.lines().collect::<Vec<_>>()[..] else { panic!("{text}") };
            assert!(!outside.contains("traceparent"), "{outside}");
            if json {
                let line: serde_json::Value = serde_json::from_str(inside).unwrap();
                assert_eq!((line["traceparent"].as_str(), line["n"].as_i64()), (Some(&*trace), Some(2)));
            } else {
                assert!(inside.ends_with(&format!("traceparent={trace}")), "{inside}");
            }
        }
    }

    #[test]
    fn only_a_sampled_trace_is_sampled() {
        assert!(!is_sampled(&crate::call::new_traceparent()));
        assert!(is_sampled("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"));
        assert!(!is_sampled(""));
    }
}
