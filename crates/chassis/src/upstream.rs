//! Another service, as a client sees it: connected by itself, so that the order of starts does not matter; balanced
//! over its addresses; asked again where that is harmless; and bounded by the deadline of each call.

mod address;
mod breaker;
mod link;
mod pool;
mod retry;

use std::{
    collections::BTreeMap,
    convert::Infallible,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context as TaskContext, Poll},
    time::Duration,
};

use anyhow::Context;
use bytes::Bytes;
use http::{HeaderValue, Request, Response, request, uri::PathAndQuery};
use http_body::Frame;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use tokio::time::{Instant, timeout_at};
use tonic::{Status, body::Body};
use tower::Service;

pub use link::{Outcome, STREAMS, Sent};
pub use pool::{Failure, Pool, Reach};

use crate::{Caller, Problem, call, contract, reload::Reloaded};
use retry::Retries;

/// Connections to each address of another service: few and busy ones are the cheapest.
const CONNECTIONS: usize = 2;
/// How long a call may take that says nothing of it. No call waits for ever.
const LONGEST: Duration = Duration::from_secs(60);

/// Calls to one other service. Cheap to clone.
#[derive(Clone)]
pub struct Upstream {
    pool: Arc<Pool>,
    retries: Arc<Retries>,
    /// Who calls, said aloud where no certificate says it.
    unproven: Option<HeaderValue>,
}

/// The addresses and credentials with which a process calls others.
#[derive(Clone)]
pub struct Upstreams {
    /// Name of the process that calls.
    pub process: &'static str,
    /// Addresses by name; several of one service are separated by commas.
    pub addresses: BTreeMap<String, String>,
    /// Certificates; `None` on an insecure loopback.
    pub tls: Option<Reloaded<rustls::ClientConfig>>,
}

impl Upstreams {
    /// The service of this name. Call it within a runtime.
    ///
    /// # Errors
    /// When no address is configured for it, or the address is not one.
    pub fn get(&self, name: &str) -> anyhow::Result<Upstream> {
        let addresses = self.addresses.get(name).with_context(|| format!("upstream.{name} is not set"))?;
        let pool = Pool::open(name, addresses, self.tls.clone(), CONNECTIONS)
            .with_context(|| format!("upstream.{name}"))?;
        anyhow::ensure!(
            self.tls.is_none() || !pool.is_plain(),
            "upstream.{name} must begin with https:// where certificates are used"
        );
        let unproven = match &self.tls {
            None => Some(HeaderValue::try_from(Caller::service(self.process).to_string())?),
            Some(_) => None,
        };
        Ok(Upstream { pool: Arc::new(pool), retries: Arc::new(Retries::new()), unproven })
    }
}

impl Service<Request<Body>> for Upstream {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut TaskContext<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let this = self.clone();
        Box::pin(async move {
            let allowed = request.headers().get(call::TIMEOUT).and_then(|value| value.to_str().ok());
            let allowed = allowed.and_then(call::parse_timeout).unwrap_or(LONGEST);
            let began = Instant::now();
            let answered = timeout_at(began + allowed, this.ask(request, began + allowed)).await;
            let answer = match answered {
                Ok(Ok(answer)) if !call::is_late(answer.headers(), began.elapsed(), allowed) => Ok(answer),
                Ok(Err(problem)) => Err(problem),
                Err(_) | Ok(Ok(_)) => Err(Problem::deadline_passed()),
            };
            Ok(answer.unwrap_or_else(|problem| Status::from(problem).into_http()))
        })
    }
}

impl Upstream {
    async fn ask(&self, request: Request<Body>, until: Instant) -> Result<Response<Body>, Problem> {
        let (mut head, body) = request.into_parts();
        let method = contract::method(head.uri.path());
        let path = head.uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
        head.uri = self.pool.uri(path)?;
        if let Some(name) = &self.unproven {
            head.headers.insert(call::PEER, name.clone());
        }
        self.retries.count_call();
        let answered = if method.is_some_and(retry::may_repeat) {
            // Collected, so that it can be sent again: one message of a few kilobytes as a rule.
            let body = body.collect().await.map_err(|_| Problem::internal())?.to_bytes();
            self.attempts(head, body, until).await
        } else {
            self.pool.send(Request::from_parts(head, Sent::Made(body))).await
        };
        let (answer, outcome) = answered?;
        Ok(answer.map(|body| Body::new(Watched { body, outcome })))
    }

    async fn attempts(
        &self,
        head: request::Parts,
        body: Bytes,
        until: Instant,
    ) -> Result<(Response<Incoming>, Outcome), Failure> {
        let mut pauses = retry::pauses();
        loop {
            let sent = Request::from_parts(head.clone(), Sent::Whole(Full::new(body.clone())));
            let attempt = self.pool.send(sent).await;
            if !retry::is_worth_repeating(&attempt) {
                return attempt;
            }
            match self.retries.pause(&mut pauses) {
                Some(pause) if Instant::now() + pause < until => tokio::time::sleep(pause).await,
                _ => return attempt,
            }
        }
    }
}

/// An answer whose trailers are read in passing.
struct Watched {
    body: Incoming,
    outcome: Outcome,
}

impl http_body::Body for Watched {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut TaskContext<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        if let Poll::Ready(Some(Ok(frame))) = &polled
            && let Some(trailers) = frame.trailers_ref()
        {
            self.outcome.note(trailers);
        }
        // A stream that breaks is one of the connection's, whatever the driver calls it.
        polled.map_err(|_| Problem::cut_off(self.outcome.service()).into())
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.body.size_hint()
    }
}
