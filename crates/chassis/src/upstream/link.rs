//! One connection to one address of a service, and what becomes of the calls on it.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, Request};
use http_body_util::Full;
use hyper::{
    body::Incoming,
    client::conn::http2::{Builder, SendRequest},
};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::Instant,
};
use tonic::{Code, Status};
use tonic_types::StatusExt;

use super::breaker::Breaker;

/// An answer that does not even begin within this time speaks against the address, if its call ends without one.
const SILENCE: Duration = Duration::from_secs(1);
/// Streams that one connection carries at once.
pub const STREAMS: u16 = 256;
/// One stream's window times the streams of a connection is the connection's window: a caller who reads slowly stops
/// its own stream and nobody else's.
const STREAM_WINDOW: u32 = 64 * 1024;
const CONNECTION_WINDOW: u32 = STREAM_WINDOW * STREAMS as u32;
/// A partition is noticed within the two together. Shorter, and a busy machine would look like one.
const PING_EVERY: Duration = Duration::from_secs(2);
const PING_ANSWER: Duration = Duration::from_secs(3);

/// The body of a call on its way to a service.
#[derive(Debug)]
pub enum Sent {
    /// Passed on as it comes in.
    Passed(Incoming),
    /// Known whole, so that it can be sent again.
    Whole(Full<Bytes>),
    /// As a generated client makes it.
    Made(tonic::body::Body),
}

impl http_body::Body for Sent {
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(
        self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<http_body::Frame<Bytes>, Self::Error>>> {
        use std::pin::Pin;
        match self.get_mut() {
            Self::Passed(body) => Pin::new(body).poll_frame(context).map_err(Into::into),
            Self::Whole(body) => Pin::new(body).poll_frame(context).map_err(Into::into),
            Self::Made(body) => Pin::new(body).poll_frame(context).map_err(Into::into),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Passed(body) => body.is_end_stream(),
            Self::Whole(body) => body.is_end_stream(),
            Self::Made(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> http_body::SizeHint {
        match self {
            Self::Passed(body) => body.size_hint(),
            Self::Whole(body) => body.size_hint(),
            Self::Made(body) => body.size_hint(),
        }
    }
}

/// An open connection that calls may take.
pub(super) struct Link {
    pub(super) address: SocketAddr,
    sender: SendRequest<Sent>,
    under_way: AtomicUsize,
    breaker: Arc<Mutex<Breaker>>,
    /// Name of the service, for what is said of others.
    service: Arc<str>,
}

impl Link {
    pub(super) fn new(
        address: SocketAddr,
        sender: SendRequest<Sent>,
        breaker: Arc<Mutex<Breaker>>,
        service: Arc<str>,
    ) -> Self {
        Self { address, sender, under_way: AtomicUsize::new(0), breaker, service }
    }

    pub(super) fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    pub(super) fn under_way(&self) -> usize {
        self.under_way.load(Ordering::Relaxed)
    }

    pub(super) fn sender(&self) -> SendRequest<Sent> {
        self.sender.clone()
    }

    /// Whether the address may be called now; otherwise, when to ask again.
    pub(super) fn admit(&self, now: Instant) -> Result<(), Instant> {
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner).admit(now)
    }

    fn told(&self, good: bool) {
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner).told(good, Instant::now());
    }
}

/// Learns how a call ended, and tells the breaker of its address. Held until the answer has ended.
pub struct Outcome {
    link: Arc<Link>,
    began: Instant,
    /// The answer has begun.
    answered: bool,
    /// The breaker knows.
    told: bool,
}

impl Outcome {
    pub(super) fn awaited(link: Arc<Link>) -> Self {
        link.under_way.fetch_add(1, Ordering::Relaxed);
        Self { link, began: Instant::now(), answered: false, told: false }
    }

    /// Reads the status from the headers or trailers of the answer, if they have one.
    pub fn note(&mut self, headers: &HeaderMap) {
        self.answered = true;
        let Some(status) = headers.get(Status::GRPC_STATUS) else { return };
        if !std::mem::replace(&mut self.told, true) {
            let good = match Code::from_bytes(status.as_bytes()) {
                Code::Unavailable => speaks_of_another(headers, &self.link.service),
                Code::DeadlineExceeded => self.began.elapsed() < SILENCE,
                // The others say something of the call, or of an overload that the caller shares.
                _ => true,
            };
            self.link.told(good);
        }
    }

    /// The name of the service that was called.
    pub(super) fn service(&self) -> &str {
        &self.link.service
    }

    /// The call failed with its connection, which leaves by itself: nothing for the breaker.
    pub(super) fn disconnected(mut self) {
        self.told = true;
    }
}

impl Drop for Outcome {
    fn drop(&mut self) {
        self.link.under_way.fetch_sub(1, Ordering::Relaxed);
        if !self.told && !self.answered && self.began.elapsed() >= SILENCE {
            self.link.told(false);
        }
    }
}

/// A service that says that another one is away is itself well: its other methods need not be spared.
fn speaks_of_another(headers: &HeaderMap, service: &str) -> bool {
    let status = Status::from_header_map(headers);
    let info = status.and_then(|status| status.get_details_error_info());
    let what = info.and_then(|info| info.metadata.get("what").cloned());
    what.is_some_and(|what| what != service && crate::contract::methods().any(|method| method.system == what))
}

/// Why a call was not answered.
pub(super) enum Unanswered {
    /// Nothing of it was sent.
    Unsent(Box<Request<Sent>>),
    /// It may have arrived.
    CutOff,
}

/// Sends a call on a link.
pub(super) async fn send(
    link: Arc<Link>,
    request: Request<Sent>,
) -> Result<(http::Response<Incoming>, Outcome), Unanswered> {
    let mut sender = link.sender();
    let mut outcome = Outcome::awaited(link);
    match sender.try_send_request(request).await {
        Ok(response) => {
            outcome.note(response.headers());
            Ok((response, outcome))
        }
        Err(mut error) => {
            outcome.disconnected();
            match error.take_message() {
                Some(unsent) => Err(Unanswered::Unsent(Box::new(unsent))),
                None => {
                    tracing::debug!(error = %error.into_error(), "a call was cut off");
                    Err(Unanswered::CutOff)
                }
            }
        }
    }
}

/// Drives a connection to its end.
pub(super) type Driver = tokio::task::JoinHandle<Result<(), hyper::Error>>;

/// Speaks HTTP/2 on a stream that was connected.
pub(super) async fn shake_hands<T>(io: T) -> anyhow::Result<(SendRequest<Sent>, Driver)>
where
    T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (sender, connection) = Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_ANSWER)
        .keep_alive_while_idle(true)
        .handshake(TokioIo::new(io))
        .await?;
    Ok((sender, tokio::spawn(connection)))
}
