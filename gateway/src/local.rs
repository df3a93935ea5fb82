//! What the gateway answers itself: its health and that of each service behind it, and one reflection for all
//! of them. Neither needs an identity: probes and tools have none, and nothing here is anybody's secret.

use std::sync::Arc;

use chassis::upstream::Reach;
use http::{Request, Response};
use hyper::body::Incoming;
use tonic::service::Routes;
use tonic_health::{ServingStatus, server::HealthReporter};
use tower::ServiceExt;

use crate::{answer::Source, route::Services, upstream::Upstream};

/// The gateway's own gRPC services.
pub(crate) struct Local {
    routes: Routes,
    health: HealthReporter,
}

impl Local {
    /// Starts to follow the health of the services.
    pub(crate) fn new(services: &Services) -> anyhow::Result<Self> {
        let (health, health_service) = tonic_health::server::health_reporter();
        for service in services.iter() {
            tokio::spawn(follow(health.clone(), Arc::downgrade(service), service.reach()));
        }
        let reflection = || {
            tonic_reflection::server::Builder::configure()
                .register_encoded_file_descriptor_set(proto::DESCRIPTOR_SET)
                .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        };
        let routes = Routes::new(health_service)
            .add_service(reflection().build_v1()?)
            .add_service(reflection().build_v1alpha()?)
            .prepare();
        Ok(Self { routes, health })
    }

    /// Whether a local method streams its answer.
    pub(crate) fn streams(path: &str) -> bool {
        !path.ends_with("/Check")
    }

    /// Answers a call.
    pub(crate) async fn answer(&self, request: Request<Incoming>) -> Response<Source> {
        let answered = self.routes.clone().oneshot(request.map(tonic::body::Body::new)).await;
        answered.unwrap_or_else(|never| match never {}).map(Source::Local)
    }

    /// Tells probes that the gateway takes no further calls.
    pub(crate) async fn stopping(&self) {
        self.health.set_service_status("", ServingStatus::NotServing).await;
        self.health.set_service_status("gateway", ServingStatus::NotServing).await;
    }

    /// Tells probes that the gateway takes calls.
    pub(crate) async fn serving(&self) {
        self.health.set_service_status("gateway", ServingStatus::Serving).await;
    }
}

/// Reports a service, under its own name and those of its gRPC services, as long as the gateway has it.
async fn follow(
    health: HealthReporter,
    service: std::sync::Weak<Upstream>,
    mut reach: tokio::sync::watch::Receiver<Reach>,
) {
    let Some(name) = service.upgrade().map(|service| service.name().to_owned()) else { return };
    let mut names: Vec<&str> =
        chassis::contract::methods().filter(|m| m.system == name).map(|m| m.service).collect();
    names.push(&name);
    names.sort_unstable();
    names.dedup();
    loop {
        let status = match *reach.borrow_and_update() {
            Reach::Up => ServingStatus::Serving,
            Reach::Connecting | Reach::Down => ServingStatus::NotServing,
        };
        for name in &names {
            health.set_service_status(name, status).await;
        }
        if reach.changed().await.is_err() {
            return;
        }
    }
}
