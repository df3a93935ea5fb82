//! A call on its way to a service: which headers go along, and which are the gateway's own.

use std::time::Duration;

use chassis::call;
use http::{HeaderMap, HeaderName, HeaderValue, header};

use crate::observe::Call;

/// The headers of a client that go along; all others stay here, every `jkn-` header and token among them.
const PASSED: [HeaderName; 6] = [
    header::CONTENT_TYPE,
    HeaderName::from_static("grpc-encoding"),
    HeaderName::from_static("grpc-accept-encoding"),
    HeaderName::from_static("tracestate"),
    header::USER_AGENT,
    HeaderName::from_static("x-request-id"),
];

/// The headers of a call as the service gets them.
pub(crate) fn headers(
    inbound: &HeaderMap,
    assertion: HeaderValue,
    left: Option<Duration>,
    observed: &Call,
) -> HeaderMap {
    let mut onward = HeaderMap::with_capacity(PASSED.len() + 5);
    for name in PASSED {
        if let Some(value) = inbound.get(&name) {
            onward.insert(name, value.clone());
        }
    }
    onward.insert(header::TE, HeaderValue::from_static("trailers"));
    onward.insert(call::ASSERTION, assertion);
    if let Some(left) = left {
        let left = call::format_timeout(call::handed_on(left));
        if let Ok(left) = HeaderValue::try_from(left) {
            onward.insert(call::TIMEOUT, left);
        }
    }
    if let Ok(traceparent) = HeaderValue::from_str(observed.traceparent()) {
        onward.insert(call::TRACEPARENT, traceparent);
    }
    onward
}
