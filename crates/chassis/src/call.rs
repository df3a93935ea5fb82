//! A call under way: who calls, until when the answer is of use, in which trace.

use std::{borrow::Cow, time::Duration};

use http::HeaderMap;
use jiff::{Timestamp, civil::Date};
use tokio::time::Instant;
use tonic::{
    Code, Request, Status,
    metadata::{MetadataMap, MetadataValue},
};

use crate::{Caller, Problem, time};

/// The header that carries the deadline of a gRPC call.
pub const TIMEOUT: &str = "grpc-timeout";
/// The header that carries W3C trace context.
pub const TRACEPARENT: &str = "traceparent";
/// The header in which the gateway hands the caller on.
pub const ASSERTION: &str = "jkn-assertion";
/// The header in which a process without certificates names itself; believed only on an insecure loopback.
pub const PEER: &str = "jkn-peer";

/// What a handler knows of the call it answers.
#[derive(Debug, Clone)]
pub struct Call {
    /// Who calls.
    pub caller: Caller,
    /// Path of the method.
    pub method: Cow<'static, str>,
    /// When the call came in.
    pub received_at: Timestamp,
    /// The day in Asia/Jakarta on which it came in.
    pub today: Date,
    /// When the answer is of no more use.
    pub deadline: Instant,
    /// W3C trace context, never empty.
    pub traceparent: String,
}

/// Takes a request apart into what is known of the call and its message.
///
/// # Errors
/// INTERNAL when the server was built without the intake layer.
pub fn accept<T>(request: Request<T>) -> Result<(Call, T), Status> {
    let (_, mut extensions, message) = request.into_parts();
    let call = extensions.remove::<Call>().ok_or_else(Problem::internal)?;
    Ok((call, message))
}

impl Call {
    /// A call that did not come over the wire: of a task of the service itself, or of a test.
    #[must_use]
    pub fn local(
        caller: Caller,
        method: impl Into<Cow<'static, str>>,
        received_at: Timestamp,
        allowed: Duration,
    ) -> Self {
        Self {
            caller,
            method: method.into(),
            received_at,
            today: time::today_at(received_at),
            deadline: Instant::now() + allowed,
            traceparent: new_traceparent(),
        }
    }

    /// A part of a call that is a stream, which came in just now.
    #[must_use]
    pub fn part(&self) -> Self {
        let received_at = Timestamp::now();
        Self { received_at, today: time::today_at(received_at), ..self.clone() }
    }

    /// A request to another service, with what is left of the deadline and in the same trace.
    pub fn onward<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        let left = handed_on(self.deadline.saturating_duration_since(Instant::now()));
        put(request.metadata_mut(), TIMEOUT, &format_timeout(left));
        put(request.metadata_mut(), TRACEPARENT, &self.traceparent);
        request
    }
}

fn put(metadata: &mut MetadataMap, name: &'static str, value: &str) {
    if let Ok(value) = MetadataValue::try_from(value) {
        metadata.insert(name, value);
    }
}

/// What of the time left is handed on: a twentieth, at most 50 ms, stays here for the answer's way back.
#[must_use]
pub fn handed_on(left: Duration) -> Duration {
    left.saturating_sub((left / 20).min(Duration::from_millis(50)))
}

/// Whether an answer says CANCELLED because the time it was given had passed, as tonic's own server says it.
#[must_use]
pub fn is_late(headers: &HeaderMap, taken: Duration, given: Duration) -> bool {
    let status = headers.get(Status::GRPC_STATUS);
    status.is_some_and(|status| Code::from_bytes(status.as_bytes()) == Code::Cancelled)
        && taken >= handed_on(given)
}

/// The value of a `grpc-timeout` header.
#[must_use]
pub fn format_timeout(left: Duration) -> String {
    // At most eight digits: microseconds reach 99 s, milliseconds a day.
    if left < Duration::from_secs(99) {
        format!("{}u", left.as_micros().max(1))
    } else {
        format!("{}m", left.as_millis().min(99_999_999))
    }
}

/// Reads a `grpc-timeout` header; `None` when it is not one.
#[must_use]
pub fn parse_timeout(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if !(1..=8).contains(&digits.len()) || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let amount: u64 = digits.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(amount * 3600)),
        "M" => Some(Duration::from_secs(amount * 60)),
        "S" => Some(Duration::from_secs(amount)),
        "m" => Some(Duration::from_millis(amount)),
        "u" => Some(Duration::from_micros(amount)),
        "n" => Some(Duration::from_nanos(amount)),
        _ => None,
    }
}

/// A trace context of our own, for a call that came without one, so that it can be found in the logs.
#[must_use]
pub fn new_traceparent() -> String {
    // Unlike anybody else's is enough, nobody need be unable to guess it: no random bytes of the system.
    format!("00-{:032x}-{:016x}-00", fastrand::u128(1..), fastrand::u64(1..))
}

/// Whether a text is a W3C `traceparent`.
#[must_use]
pub fn is_traceparent(text: &str) -> bool {
    let parts: Vec<_> = text.split('-').collect();
    let hex = |part: &str, length: usize| part.len() == length && part.bytes().all(|b| b.is_ascii_hexdigit());
    matches!(parts.as_slice(), [version, trace, span, flags]
        if hex(version, 2) && hex(trace, 32) && hex(span, 16) && hex(flags, 2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timeout_survives_the_header() {
        for millis in [1, 250, 10_000, 98_000, 3_600_000] {
            let left = Duration::from_millis(millis);
            assert_eq!(parse_timeout(&format_timeout(left)), Some(left));
        }
        for wrong in ["", "S", "1", "123456789S", "-1S", "1x", "é"] {
            assert_eq!(parse_timeout(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn cancelled_means_the_deadline_only_when_it_has_passed() {
        let given = Duration::from_secs(2);
        let answer = |code: &str| {
            HeaderMap::from_iter([(http::HeaderName::from_static("grpc-status"), code.parse().unwrap())])
        };
        assert!(is_late(&answer("1"), Duration::from_millis(1960), given));
        assert!(!is_late(&answer("1"), Duration::from_millis(900), given));
        assert!(!is_late(&answer("5"), Duration::from_millis(1960), given));
    }

    #[test]
    fn a_margin_stays_here() {
        assert_eq!(handed_on(Duration::from_millis(200)), Duration::from_millis(190));
        assert_eq!(handed_on(Duration::from_secs(10)), Duration::from_millis(9950));
        assert_eq!(handed_on(Duration::ZERO), Duration::ZERO);
    }

    #[test]
    fn our_own_trace_context_is_one() {
        assert!(is_traceparent(&new_traceparent()));
        assert!(!is_traceparent("00-abc-def-01"));
    }

    #[tokio::test(start_paused = true)]
    async fn the_next_hop_gets_less_time_than_is_left() {
        let call = Call::local("bank:bni".parse().unwrap(), "/x", Timestamp::now(), Duration::from_secs(2));
        let request = call.onward(());
        let given = parse_timeout(request.metadata().get(TIMEOUT).unwrap().to_str().unwrap()).unwrap();
        assert!(given < Duration::from_secs(2) && given > Duration::from_millis(1900), "{given:?}");
    }
}
