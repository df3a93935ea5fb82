//! What a service is to the process that runs it.

use std::{convert::Infallible, future::Future, pin::Pin};

use anyhow::Context;
use http::Request;
use redis::aio::ConnectionManager;
use serde::de::DeserializeOwned;
use sqlx::migrate::Migrator;
use tokio_util::sync::CancellationToken;
use tonic::{body::Body, server::NamedService, service::RoutesBuilder};

use crate::{
    Db, Fold, Settings, Upstream,
    follow::Follower,
    policy::{self, Dated, Rule},
    upstream::Upstreams,
};

/// A service of the mesh: its name, its settings, its tables, and how it is put together.
pub trait Service: Send + 'static {
    /// Its name, in kebab case: of the process, its section in a file, its address at others.
    const NAME: &'static str;
    /// Its own settings in TOML, with comments that say what they mean.
    const DEFAULTS: &'static str;
    /// Its own settings.
    type Settings: DeserializeOwned + Clone + Send + Sync + 'static;

    /// The migrations of its database.
    fn migrations() -> Option<&'static Migrator>;

    /// Puts it together. Nothing may wait here for another service: the order of starts does not matter.
    fn build(start: Start<Self::Settings>) -> impl Future<Output = anyhow::Result<Parts>>;
}

/// What a service is given to put itself together.
pub struct Start<S> {
    /// Its own settings.
    pub settings: S,
    /// Redis, when one is configured.
    pub redis: Option<ConnectionManager>,
    /// Ends when the process stops.
    pub stop: CancellationToken,
    pub(crate) policy_folder: Option<std::path::PathBuf>,
    pub(crate) db: Option<Db>,
    pub(crate) redis_client: Option<redis::Client>,
    pub(crate) upstreams: Upstreams,
}

impl<S> Start<S> {
    /// The parts that the settings of a process name. Within a runtime.
    ///
    /// # Errors
    /// When an address is not one.
    pub fn new(process: &'static str, settings: &Settings<S>, stop: CancellationToken) -> anyhow::Result<Self>
    where
        S: Clone,
    {
        let database = crate::config::expose(&settings.database.url);
        let db = if database.is_empty() {
            None
        } else {
            Some(Db::connect(process, &settings.database, settings.database.patience(), stop.clone())?)
        };
        let redis_client = match crate::config::expose(&settings.redis.url) {
            "" => None,
            url => {
                Some(redis::Client::open(url).map_err(|_| anyhow::anyhow!("redis.url is not a Redis URL"))?)
            }
        };
        let redis = redis_client.clone().map(crate::host::redis_manager).transpose()?;
        let tls = settings.tls.is_configured().then(|| crate::tls::client(&settings.tls)).transpose()?;
        Ok(Self {
            settings: settings.service.clone(),
            redis,
            stop,
            policy_folder: settings.policy_folder().map(Into::into),
            db,
            redis_client,
            upstreams: Upstreams { process, addresses: settings.upstream.clone(), tls },
        })
    }

    /// The service's database.
    ///
    /// # Errors
    /// When none is configured.
    pub fn db(&self) -> anyhow::Result<&Db> {
        self.db.as_ref().context("database.url is not set")
    }

    /// Another service.
    ///
    /// # Errors
    /// When no address is configured for it.
    pub fn upstream(&self, name: &str) -> anyhow::Result<Upstream> {
        self.upstreams.get(name)
    }

    /// A policy: `name` is its file below the policy folder, `compiled_in` its text for when there is no folder.
    ///
    /// # Errors
    /// Names file, line and field of a mistake.
    pub fn policy<T: Rule>(&self, name: &str, compiled_in: &str) -> anyhow::Result<Dated<T>> {
        policy::load(self.policy_folder.as_deref(), name, compiled_in)
    }

    /// The text of a policy whose form is not that of [`Dated`]: `name` and `compiled_in` as in [`Start::policy`].
    ///
    /// # Errors
    /// When there is a folder and no such file in it.
    pub fn policy_text(&self, name: &str, compiled_in: &str) -> anyhow::Result<String> {
        policy::text(self.policy_folder.as_deref(), name, compiled_in)
    }

    /// A task that folds another service's events, each exactly once.
    ///
    /// # Errors
    /// When the service has no database or the other no address.
    pub fn follow<F: Fold>(
        &self,
        source: &str,
        fold: F,
    ) -> anyhow::Result<impl Future<Output = anyhow::Result<()>> + Send + 'static> {
        let follower = Follower {
            db: self.db()?.clone(),
            source: source.to_owned(),
            upstream: self.upstream(source)?,
            redis: self.redis_client.clone(),
            fold,
            stop: self.stop.clone(),
        };
        Ok(follower.run())
    }
}

/// A task of a service.
pub(crate) type Task = Pin<Box<dyn Future<Output = anyhow::Result<()>> + Send>>;

/// What a service consists of.
#[derive(Default)]
pub struct Parts {
    pub(crate) routes: RoutesBuilder,
    pub(crate) served: Vec<&'static str>,
    pub(crate) tasks: Vec<(String, Task)>,
}

impl Parts {
    /// Nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Serves a gRPC service.
    #[must_use]
    pub fn serve<S>(mut self, service: S) -> Self
    where
        S: tower::Service<Request<Body>, Error = Infallible> + NamedService + Clone + Send + Sync + 'static,
        S::Response: axum::response::IntoResponse,
        S::Future: Send + 'static,
    {
        self.routes.add_service(service);
        self.served.push(S::NAME);
        self
    }

    /// Runs a task beside the calls. It ends when the process stops; an error before that stops the process.
    #[must_use]
    pub fn task(
        mut self,
        name: impl Into<String>,
        task: impl Future<Output = anyhow::Result<()>> + Send + 'static,
    ) -> Self {
        self.tasks.push((name.into(), Box::pin(task)));
        self
    }
}
