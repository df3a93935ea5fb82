//! One service of the mesh, as the gateway calls it: its connections, and the places among the calls under way to it.

use std::sync::Arc;

use anyhow::Context;
use chassis::{
    Problem,
    reload::Reloaded,
    upstream::{Outcome, Pool, Reach, Sent},
};
use http::{Request, Response, Uri, uri::PathAndQuery};
use hyper::body::Incoming;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use crate::config;

/// A service behind the gateway.
pub(crate) struct Upstream {
    name: String,
    pool: Pool,
    places: Arc<Semaphore>,
}

impl Upstream {
    /// Starts keeping connections to the service; it need not listen yet.
    pub(crate) fn open(
        name: &str,
        addresses: &str,
        tls: Option<&Reloaded<rustls::ClientConfig>>,
        settings: &config::Settings,
    ) -> anyhow::Result<Self> {
        let pool = Pool::open(name, addresses, tls.cloned(), settings.connections_per_address.get())
            .with_context(|| format!("the address {addresses:?} of the service {name}"))?;
        let places = Arc::new(Semaphore::new(settings.most_calls_per_service.get()));
        Ok(Self { name: name.to_owned(), pool, places })
    }

    /// The service's name, e.g. "claims".
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Follows whether the service can be called.
    pub(crate) fn reach(&self) -> watch::Receiver<Reach> {
        self.pool.reach()
    }

    /// A place among the calls under way to this service.
    pub(crate) fn place(&self) -> Result<OwnedSemaphorePermit, Problem> {
        Arc::clone(&self.places).try_acquire_owned().map_err(|_| Problem::overloaded())
    }

    /// The URI of a method at this service.
    pub(crate) fn uri(&self, path: &'static str) -> Result<Uri, Problem> {
        self.pool.uri(PathAndQuery::from_static(path))
    }

    /// Whether calls go in plaintext, on a loopback where no certificate says who sends them.
    pub(crate) fn is_plain(&self) -> bool {
        self.pool.is_plain()
    }

    /// Sends a call and waits for the head of its answer.
    pub(crate) async fn send(
        &self,
        request: Request<Incoming>,
    ) -> Result<(Response<Incoming>, Outcome), Problem> {
        Ok(self.pool.send(request.map(Sent::Passed)).await?)
    }
}
