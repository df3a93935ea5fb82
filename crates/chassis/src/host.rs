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
use tonic::transport::{Server, server::TcpIncoming};
use tonic_health::server::HealthReporter;

use crate::{
    Db, Service, Settings, Start,
    feed::Served,
    identity::{Purpose, Verifier},
    intake::Intake,
    relay,
    telemetry::Telemetry,
    tls,
};

const PING_EVERY: Duration = Duration::from_secs(10);
const PING_ANSWER: Duration = Duration::from_secs(5);
/// Streams one connection may have open; few connections carry many calls.
const MOST_STREAMS: u32 = 1024;
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
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(proto::DESCRIPTOR_SET)
    };
    parts.routes.add_service(reflection().build_v1()?);
    parts.routes.add_service(reflection().build_v1alpha()?);
    if let Some(db) = &db {
        parts.routes.add_service(FeedServiceServer::new(Served { db: db.clone(), source: S::NAME }));
        parts.served.push(FEED);
        let keep = Duration::from_secs(settings.idempotency_days * 24 * 3600);
        let (db, stop) = (db.clone(), stop.clone());
        parts = parts.task("relay", async move {
            relay::run(db, S::NAME, redis, keep, stop).await;
            Ok(())
        });
    }

    let assertions = if settings.tls.assertion_key.as_os_str().is_empty() {
        None
    } else {
        let path = &settings.tls.assertion_key;
        let pem = std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
        Some(Verifier::from_pem(&pem, Purpose::Assertion)?)
    };
    let intake = Intake::new(
        S::NAME,
        assertions,
        !settings.tls.is_configured(),
        settings.deadline(),
        settings.most_calls,
    );
    let mut server = Server::builder()
        .http2_keepalive_interval(Some(PING_EVERY))
        .http2_keepalive_timeout(Some(PING_ANSWER))
        .max_concurrent_streams(Some(MOST_STREAMS));
    if settings.tls.is_configured() {
        server = server.tls_config(tls::of_server(&settings.tls)?)?;
    }

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

    let incoming = TcpIncoming::from(grpc).with_nodelay(Some(true));
    let serving = server
        .layer(intake)
        .add_routes(parts.routes.routes())
        .serve_with_incoming_shutdown(incoming, stop.clone().cancelled_owned());
    tokio::pin!(serving);
    let mut served_out = false;
    let outcome = tokio::select! {
        served = &mut serving => {
            served_out = true;
            served.context("serving")
        }
        Some(error) = failure.recv() => {
            stop.cancel();
            Err(error)
        }
        () = stop.cancelled() => Ok(()),
    };

    // Not ready first, so that nobody is sent here any more; then what is under way may end, within bounds: one peer
    // that never speaks would otherwise hold the stop for ever.
    let _no_watcher = ready.send(false);
    for name in &parts.served {
        health.set_service_status(*name, tonic_health::ServingStatus::NotServing).await;
    }
    if !served_out && tokio::time::timeout(settings.stop_grace(), serving).await.is_err() {
        tracing::warn!(process = S::NAME, "calls were still under way when the grace of the stop ended");
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
