//! The life of a service's process: ports are bound before any work, the service is ready when its database is, a
//! stop is announced, then bounded.

use std::{net::SocketAddr, panic::AssertUnwindSafe, sync::Arc, time::Duration};

use anyhow::Context;
use axum::{Router, extract::State, http::StatusCode, routing::get};
use futures::FutureExt;
use proto::feed::v1::feed_service_server::{FeedServiceServer, SERVICE_NAME as FEED};
use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use tokio::{net::TcpListener, sync::watch};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic_health::server::HealthReporter;

use crate::{
    Db, Service, Settings, Start,
    feed::Served,
    identity::{Purpose, Verifier},
    intake::{Intake, Rules},
    listen::{self, Port},
    publish, relay, sweep,
    telemetry::Telemetry,
    tls,
};

/// What a service bears of its callers: other services and the gateway, with few connections each.
const FIRST_WORDS: Duration = Duration::from_secs(10);
const MOST_CONNECTIONS: usize = 1024;
const MOST_HEADER_BYTES: u32 = 32 * 1024;
/// How often a database that does not answer is asked again at the start.
const READY_EVERY: Duration = Duration::from_millis(200);

/// The addresses a process listens on.
#[derive(Debug, Clone, Copy)]
pub struct Addresses {
    /// gRPC.
    pub grpc: SocketAddr,
    /// Probes and metrics.
    pub admin: SocketAddr,
}

/// The ports of a process, bound before any other work and before the runtime that serves them.
pub struct Ports {
    grpc: std::net::TcpListener,
    admin: std::net::TcpListener,
}

impl Ports {
    /// Binds.
    ///
    /// # Errors
    /// When a port is taken.
    pub fn bind(listen: SocketAddr, admin_listen: SocketAddr) -> anyhow::Result<Self> {
        let bind = |address| {
            let listener =
                std::net::TcpListener::bind(address).with_context(|| format!("listening on {address}"))?;
            listener.set_nonblocking(true)?;
            anyhow::Ok(listener)
        };
        Ok(Self { grpc: bind(listen)?, admin: bind(admin_listen)? })
    }

    /// What was bound.
    ///
    /// # Errors
    /// When the system does not say.
    pub fn addresses(&self) -> anyhow::Result<Addresses> {
        Ok(Addresses { grpc: self.grpc.local_addr()?, admin: self.admin.local_addr()? })
    }

    /// The two listeners: gRPC, and probes and metrics. Within the runtime that serves them.
    ///
    /// # Errors
    /// When the runtime does not take them.
    pub fn into_listeners(self) -> anyhow::Result<(TcpListener, TcpListener)> {
        Ok((TcpListener::from_std(self.grpc)?, TcpListener::from_std(self.admin)?))
    }
}

/// Runs a service until it is told to stop.
///
/// # Errors
/// When it cannot be put together, or one of its tasks fails.
pub async fn run<S: Service>(
    settings: Settings<S::Settings>,
    ports: Ports,
    telemetry: Telemetry,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    // Ends the work of this service: with the process, or because a part of it failed.
    let stop = stop.child_token();
    let start = Start::new(S::NAME, &settings, stop.clone())?;
    let (db, redis) = (start.db.clone(), start.redis.clone());
    let mut parts = S::build(start).await.with_context(|| format!("putting {} together", S::NAME))?;

    let (health, health_service) = tonic_health::server::health_reporter();
    parts.routes.add_service(health_service);
    if let Some(db) = &db {
        parts.routes.add_service(FeedServiceServer::new(Served { db: db.clone(), source: S::NAME }));
        parts.served.push(FEED);
        let keep = Duration::from_secs(settings.idempotency_days * 24 * 3600);
        parts = parts
            .task("relay", relay::run(db.clone(), stop.clone()).map(Ok))
            .task("sweep", sweep::run(db.pool.clone(), keep, stop.clone()).map(Ok));
        if let Some(redis) = redis {
            parts = parts.task("publish", publish::run(db.clone(), S::NAME, redis, stop.clone()).map(Ok));
        }
    }

    // Under its own name others ask for its health.
    parts.served.push(S::NAME);

    let tls = settings.tls.is_configured().then_some(&settings.tls);
    let rules = Rules {
        process: S::NAME,
        assertions: settings
            .tls
            .assertion_key()
            .map(|key| Verifier::watch(key, Purpose::Assertion))
            .transpose()?,
        insecure: tls.is_none(),
        deadline: settings.deadline(),
        most_calls: settings.most_calls,
        stop: stop.clone(),
    };
    let intake = Intake::new(rules, parts.routes.routes());
    let port = Port {
        tls: tls.map(|tls| tls::server(tls, false)).transpose()?,
        first_words: FIRST_WORDS,
        most_connections: MOST_CONNECTIONS,
        most_header_bytes: MOST_HEADER_BYTES,
        stop_grace: settings.stop_grace(),
    };

    let (ready, is_ready) = watch::channel(false);
    let (grpc, admin) = ports.into_listeners()?;
    let tasks = TaskTracker::new();
    // The admin port answers to the last: a probe must be able to see that the process is stopping.
    let admin_stop = CancellationToken::new();
    tasks.spawn(serve_admin(admin, telemetry, is_ready, admin_stop.clone()));

    let (failed, mut failure) = tokio::sync::mpsc::channel::<anyhow::Error>(1);
    for (name, task) in parts.tasks {
        let failed = failed.clone();
        tasks.spawn(async move {
            let ended = AssertUnwindSafe(task).catch_unwind().await;
            if let Err(error) = ended.unwrap_or_else(|_| Err(anyhow::anyhow!("it panicked"))) {
                let _first_wins = failed.try_send(error.context(format!("task {name}")));
            }
        });
    }
    let announce =
        announce_ready(S::NAME, db, health.clone(), parts.served.clone(), ready.clone(), stop.clone());
    tasks.spawn(announce);

    let calls_of = move |peer| intake.of_connection(peer);
    let mut serving = tokio::spawn(listen::serve(grpc, port, stop.clone(), calls_of));
    let outcome = tokio::select! {
        served = &mut serving => served.context("serving"),
        Some(error) = failure.recv() => {
            stop.cancel();
            Err(error)
        }
        () = stop.cancelled() => Ok(()),
    };

    // Told first, so that nobody is sent here any more; what is under way may end, within bounds.
    let _no_watcher = ready.send(false);
    for name in &parts.served {
        health.set_service_status(*name, tonic_health::ServingStatus::NotServing).await;
    }
    if !serving.is_finished() {
        serving.await.context("serving")?;
    }
    admin_stop.cancel();
    tasks.close();
    if tokio::time::timeout(settings.stop_grace(), tasks.wait()).await.is_err() {
        tracing::warn!(process = S::NAME, "tasks were still at work when the grace of the stop ended");
    }
    outcome
}

async fn announce_ready(
    process: &'static str,
    db: Option<Db>,
    health: HealthReporter,
    served: Vec<&'static str>,
    ready: watch::Sender<bool>,
    stop: CancellationToken,
) {
    for name in &served {
        health.set_service_status(*name, tonic_health::ServingStatus::NotServing).await;
    }
    if let Some(db) = db {
        let mut told = false;
        while let Err(error) = crate::feed::identity(&db.pool).await {
            if !told {
                tracing::warn!(process, error = %crate::Problem::from(error), "waiting for the database; was `jkn migrate` run?");
                told = true;
            }
            if stop.run_until_cancelled(tokio::time::sleep(READY_EVERY)).await.is_none() {
                return;
            }
        }
    }
    for name in &served {
        health.set_service_status(*name, tonic_health::ServingStatus::Serving).await;
    }
    let _no_watcher = ready.send(true);
    tracing::info!(process, "ready");
}

#[derive(Clone)]
struct Admin {
    telemetry: Telemetry,
    ready: watch::Receiver<bool>,
}

/// Serves probes and metrics over plain HTTP.
///
/// # Errors
/// When the listener fails.
pub async fn serve_admin(
    listener: TcpListener,
    telemetry: Telemetry,
    ready: watch::Receiver<bool>,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let state = Arc::new(Admin { telemetry, ready });
    let router = Router::new()
        .route("/livez", get(async || "ok\n"))
        .route(
            "/readyz",
            get(async |State(admin): State<Arc<Admin>>| {
                if *admin.ready.borrow() {
                    (StatusCode::OK, "ready\n")
                } else {
                    (StatusCode::SERVICE_UNAVAILABLE, "not ready\n")
                }
            }),
        )
        .route(
            "/metrics",
            get(async |State(admin): State<Arc<Admin>>| {
                admin.telemetry.page().map_err(|error| {
                    tracing::error!(error = %error, "the metrics page failed");
                    StatusCode::INTERNAL_SERVER_ERROR
                })
            }),
        )
        .with_state(state);
    let serving = axum::serve(listener, router);
    // Not a graceful stop: a scraper that holds its connection must not hold the process.
    stop.run_until_cancelled(async { serving.await }).await.transpose()?;
    Ok(())
}

pub(crate) fn redis_manager(client: redis::Client) -> anyhow::Result<ConnectionManager> {
    // Lazy and impatient: Redis only makes things faster, so nothing may wait for it.
    let settings = ConnectionManagerConfig::new()
        .set_number_of_retries(1)
        .set_connection_timeout(Some(Duration::from_millis(500)))
        .set_response_timeout(Some(Duration::from_millis(500)));
    Ok(ConnectionManager::new_lazy_with_config(client, settings)?)
}
