//! Another service, as a client sees it: connected on first use, so that the order of starts does not matter; kept
//! alive, so that a cut link is noticed; and bounded by the deadline of each call.

use std::{
    collections::BTreeMap,
    future::Future,
    pin::Pin,
    task::{Context as TaskContext, Poll},
    time::Duration,
};

use anyhow::Context;
use http::{HeaderValue, Request, Response};
use tonic::{
    Status,
    body::Body,
    transport::{Channel, Endpoint},
};
use tower::Service;

use crate::{Caller, Problem, call, config::Tls, tls};

const CONNECT: Duration = Duration::from_secs(2);
const PING_EVERY: Duration = Duration::from_secs(10);
const PING_ANSWER: Duration = Duration::from_secs(5);

/// Calls to one other service. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Upstream {
    channel: Channel,
    /// Who calls, said aloud where no certificate says it.
    unproven: Option<HeaderValue>,
}

/// The addresses and credentials with which a process calls others.
#[derive(Debug, Clone)]
pub struct Upstreams {
    /// Name of the process that calls.
    pub process: &'static str,
    /// Address by name.
    pub addresses: BTreeMap<String, String>,
    /// Certificates; `None` on an insecure loopback.
    pub tls: Option<Tls>,
}

impl Upstreams {
    /// The service of this name. Call it within a runtime.
    ///
    /// # Errors
    /// When no address is configured for it, or the address is not one.
    pub fn get(&self, name: &str) -> anyhow::Result<Upstream> {
        let address = self.addresses.get(name).with_context(|| format!("upstream.{name} is not set"))?;
        let mut endpoint = Endpoint::from_shared(address.clone())
            .with_context(|| format!("upstream.{name} is not an address"))?
            .connect_timeout(CONNECT)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(PING_EVERY)
            .keep_alive_timeout(PING_ANSWER)
            .keep_alive_while_idle(true);
        if let Some(files) = &self.tls {
            anyhow::ensure!(
                address.starts_with("https://"),
                "upstream.{name} must begin with https:// where certificates are used"
            );
            endpoint = endpoint.tls_config(tls::of_client(files, name)?)?;
        }
        let unproven = match &self.tls {
            None => Some(HeaderValue::try_from(Caller::service(self.process).to_string())?),
            Some(_) => None,
        };
        Ok(Upstream { channel: endpoint.connect_lazy(), unproven })
    }
}

impl Service<Request<Body>> for Upstream {
    type Response = Response<Body>;
    type Error = tonic::transport::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut TaskContext<'_>) -> Poll<Result<(), Self::Error>> {
        self.channel.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        if let Some(name) = &self.unproven {
            request.headers_mut().insert(call::PEER, name.clone());
        }
        let deadline =
            request.headers().get(call::TIMEOUT).and_then(|value| call::parse_timeout(value.to_str().ok()?));
        let answer = self.channel.call(request);
        Box::pin(async move {
            match deadline {
                None => answer.await,
                // The transport's own limit would answer CANCELLED, which reads as if the caller had given up.
                Some(limit) => tokio::time::timeout(limit, answer)
                    .await
                    .unwrap_or_else(|_| Ok(Status::from(Problem::deadline_passed()).into_http())),
            }
        })
    }
}
