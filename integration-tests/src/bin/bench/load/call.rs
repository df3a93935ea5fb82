//! One call of the load generator, from its first byte to its status.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use anyhow::Context;
use bytes::{Buf, Bytes};
use http::{HeaderMap, HeaderName, HeaderValue, Request};

use super::{Call, Choice, connection::Sender};

/// The frame of a message: a byte for compression, four for the length.
const FRAME_HEAD: usize = 5;

/// Makes calls from messages and headers that were prepared. Cheap to clone.
#[derive(Clone)]
pub(super) struct Caller(Arc<Prepared>);

struct Prepared {
    request: Request<()>,
    messages: Vec<Bytes>,
    choice: Choice,
    /// The next message, where each is sent once.
    next: AtomicUsize,
    sampled_in_thousand: Option<u32>,
}

/// How a call ended: `Ok` with OK, otherwise the status and its message.
pub(super) type Ended = Result<(), String>;

impl Caller {
    pub(super) fn of(call: &Call) -> anyhow::Result<Self> {
        let scheme = if call.tls.is_some() { "https" } else { "http" };
        let mut request = Request::post(format!("{scheme}://{}{}", call.address, call.path))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .header("user-agent", "jkn-bench")
            .body(())?;
        for header in &call.headers {
            let mut value = HeaderValue::try_from(&header.value)?;
            value.set_sensitive(header.sensitive);
            request.headers_mut().insert(HeaderName::try_from(&header.name)?, value);
        }
        let messages = std::fs::read(&call.messages)
            .map_err(anyhow::Error::from)
            .and_then(|bytes| frames(bytes.into()))
            .with_context(|| format!("messages in {}", call.messages.display()))?;
        if let Choice::Any { popular, .. } = call.choice {
            let all = messages.len();
            anyhow::ensure!((1..=all).contains(&popular), "{popular} popular messages of {all}");
        }
        Ok(Self(Arc::new(Prepared {
            request,
            messages,
            choice: call.choice,
            next: AtomicUsize::new(0),
            sampled_in_thousand: call.sampled_in_thousand,
        })))
    }

    /// Makes one call; `None` when every message was sent. An error is one of the connection; a status that is not OK
    /// is an answer.
    pub(super) async fn call(&self, sender: &Sender) -> Result<Option<Ended>, h2::Error> {
        let Some((request, message)) = self.0.prepare() else { return Ok(None) };
        // A stream that the server has no room for yet waits here.
        let mut sender = sender.clone().ready().await?;
        let (answer, mut body) = sender.send_request(request, false)?;
        body.send_data(message, true)?;
        let (head, mut body) = answer.await?.into_parts();
        if let Some(status) = status_in(&head.headers) {
            return Ok(Some(status));
        }
        while let Some(data) = body.data().await {
            let length = data?.len();
            body.flow_control().release_capacity(length)?;
        }
        let trailers = body.trailers().await?;
        let status = trailers.as_ref().and_then(status_in);
        Ok(Some(status.unwrap_or_else(|| Err(format!("no grpc-status; HTTP {}", head.status)))))
    }
}

impl Prepared {
    fn prepare(&self) -> Option<(Request<()>, Bytes)> {
        let message = match self.choice {
            Choice::EachOnce => self.messages.get(self.next.fetch_add(1, Ordering::Relaxed))?.clone(),
            Choice::Any { popular, unpopular_in_thousand } => {
                let anyone = unpopular_in_thousand > 0 && fastrand::u32(0..1000) < unpopular_in_thousand;
                let among = if anyone { self.messages.len() } else { popular };
                self.messages[if among > 1 { fastrand::usize(0..among) } else { 0 }].clone()
            }
        };
        let mut request = self.request.clone();
        if let Some(sampled) = self.sampled_in_thousand {
            let flags = u8::from(fastrand::u32(0..1000) < sampled);
            let context = format!("00-{:032x}-{:016x}-{flags:02x}", fastrand::u128(1..), fastrand::u64(1..));
            if let Ok(context) = HeaderValue::try_from(context) {
                request.headers_mut().insert(chassis::call::TRACEPARENT, context);
            }
        }
        Some((request, message))
    }
}

/// Takes a file apart into the frames it consists of.
fn frames(mut bytes: Bytes) -> anyhow::Result<Vec<Bytes>> {
    let mut frames = Vec::new();
    while !bytes.is_empty() {
        let mut head = bytes.get(1..FRAME_HEAD).context("a frame without its head")?;
        let length = FRAME_HEAD + usize::try_from(head.get_u32())?;
        anyhow::ensure!(length <= bytes.len(), "a frame without its end");
        frames.push(bytes.split_to(length));
    }
    Ok(frames)
}

fn status_in(headers: &HeaderMap) -> Option<Ended> {
    let status = headers.get("grpc-status")?;
    if status == "0" {
        return Some(Ok(()));
    }
    let text = |name| headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    Some(Err(format!(
        "grpc-status {} {}",
        text("grpc-status").unwrap_or_default(),
        text("grpc-message").unwrap_or_default()
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_taken_apart_into_its_frames() {
        let bytes = Bytes::from_static(&[0, 0, 0, 0, 2, 7, 8, 0, 0, 0, 0, 0]);
        let found = frames(bytes.clone()).unwrap();
        assert_eq!(found, [bytes.slice(..7), bytes.slice(7..)]);
        assert!(frames(bytes.slice(..6)).is_err());
        assert!(frames(bytes.slice(..3)).is_err());
    }

    #[test]
    fn only_zero_is_ok() {
        let status = |value: &'static str| {
            status_in(&HeaderMap::from_iter([(
                HeaderName::from_static("grpc-status"),
                HeaderValue::from_static(value),
            )]))
        };
        assert_eq!(status("0"), Some(Ok(())));
        assert!(status("14").unwrap().unwrap_err().starts_with("grpc-status 14"));
        assert_eq!(status_in(&HeaderMap::new()), None);
    }
}
