//! How long a call may take: what the caller allows, what the house allows.

use std::time::Duration;

use chassis::{Problem, call};
use http::HeaderMap;
use proto::mesh::v1::Reason;
use tonic::Code;

/// The time a call asks for in its metadata; `None` when it names none.
pub(crate) fn asked(headers: &HeaderMap) -> Result<Option<Duration>, Problem> {
    let Some(value) = headers.get(call::TIMEOUT) else { return Ok(None) };
    let parsed = value.to_str().ok().and_then(call::parse_timeout);
    parsed.map(Some).ok_or_else(|| {
        Problem::new(
            Code::InvalidArgument,
            Reason::FieldsInvalid.as_str_name(),
            "correct the metadata grpc-timeout and send again",
        )
        .field(call::TIMEOUT, "must be 1 to 8 digits and a unit: H, M, S, m, u or n")
    })
}

/// The time a call has here. `None`: a stream from the server that names no deadline has none.
pub(crate) fn allowed(
    asked: Option<Duration>,
    server_streaming: bool,
    client_streaming: bool,
    default: Duration,
    longest: Duration,
) -> Option<Duration> {
    match (asked, server_streaming) {
        (asked, true) => asked,
        (Some(asked), false) => Some(asked.min(longest)),
        (None, false) => Some(if client_streaming { longest } else { default.min(longest) }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_that_cannot_be_read_is_refused() {
        let mut headers = HeaderMap::new();
        assert_eq!(asked(&headers).expect("none"), None);
        headers.insert(call::TIMEOUT, http::HeaderValue::from_static("250m"));
        assert_eq!(asked(&headers).expect("one"), Some(Duration::from_millis(250)));
        headers.insert(call::TIMEOUT, http::HeaderValue::from_static("soon"));
        assert_eq!(asked(&headers).expect_err("no time").reason(), "FIELDS_INVALID");
    }

    #[test]
    fn only_a_stream_from_the_server_may_be_without_deadline() {
        let (default, longest) = (Duration::from_secs(10), Duration::from_secs(300));
        let hour = Some(Duration::from_secs(3600));
        assert_eq!(allowed(None, false, false, default, longest), Some(default));
        assert_eq!(allowed(None, false, true, default, longest), Some(longest));
        assert_eq!(allowed(hour, false, false, default, longest), Some(longest));
        assert_eq!(allowed(None, true, false, default, longest), None);
        assert_eq!(allowed(hour, true, false, default, longest), hour);
    }
}
