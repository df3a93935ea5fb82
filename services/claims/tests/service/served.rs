//! The service as a process of its own: served over gRPC, on a real Postgres, beside the others that it asks.

use std::{
    collections::BTreeMap,
    sync::{Mutex, OnceLock},
};

use chassis::{
    Service,
    config::Layers,
    host::{self, Ports},
    telemetry::{self, LogFormat, Telemetry},
};
use claims::Claims;
use embedded::testing::{self, TestDatabase};
use proto::claims::v1::{rule_service_client::RuleServiceClient, sep_service_client::SepServiceClient};
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::transport::{Channel, Endpoint};

use crate::{
    clients::{Line, Named},
    others::{self, Others, Shared},
    wishes::{BPJS, CODER},
};

/// The service under test; it stops with this value.
pub(crate) struct Served {
    pub(crate) database: TestDatabase,
    pub(crate) others: Shared,
    pub(crate) channel: Channel,
    _stop: DropGuard,
}

impl Served {
    pub(crate) async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// With further settings.
    pub(crate) async fn start_with(more: &[(&str, &str)]) -> Self {
        chassis::tls::install_provider();
        let database = testing::database("claims", &[&chassis::db::MIGRATOR, Claims::migrations().unwrap()])
            .await
            .unwrap();
        let others = Shared::new(Mutex::new(Others::content()));
        certify(&database).await;
        let (channel, _stop) = beside(&database, &others, more);
        Self { database, others, channel, _stop }
    }

    pub(crate) fn others(&self, change: impl FnOnce(&mut Others)) {
        change(&mut self.others.lock().unwrap());
    }

    /// Another replica of the service over the same database; it stops with the value beside it.
    pub(crate) fn replica(&self) -> (RuleServiceClient<Line>, DropGuard) {
        let (channel, stop) = beside(&self.database, &self.others, &[]);
        (RuleServiceClient::with_interceptor(channel, Named(BPJS)), stop)
    }

    /// Another replica of the service over the same database, which asks the same others; it stops with the value beside
    /// it.
    pub(crate) fn twin(&self, caller: &'static str) -> (SepServiceClient<Line>, DropGuard) {
        let (channel, stop) = beside(&self.database, &self.others, &[]);
        (SepServiceClient::with_interceptor(channel, Named(caller)), stop)
    }

    /// The same with further settings, and no client.
    pub(crate) fn helper(&self, more: &[(&str, &str)]) -> DropGuard {
        beside(&self.database, &self.others, more).1
    }

    /// The service in a new process over the same database; what the old one was at is cut off.
    pub(crate) fn restarted(self, more: &[(&str, &str)]) -> Self {
        let Self { database, others, channel: _, _stop: stop } = self;
        drop(stop);
        let (channel, stop) = beside(&database, &others, more);
        Self { database, others, channel, _stop: stop }
    }
}

/// Logs and metrics of the test process, which all services in it share.
fn telemetry_once() -> &'static Telemetry {
    static TELEMETRY: OnceLock<Telemetry> = OnceLock::new();
    TELEMETRY.get_or_init(|| telemetry::start("claims", LogFormat::Human, "warn").unwrap())
}

/// The coder's certificates at both hospitals. Written into the table, so that a test finds no event and no key it did
/// not cause.
async fn certify(database: &TestDatabase) {
    sqlx::query(
        "insert into coder_certificate
                (certificate_id, certificate_number, coder_nik, facility_code, valid_from, valid_to, registered_at)
         select gen_random_uuid(), 'UJK-1', $1, facility_code, '2020-01-01', '2099-12-31', now()
         from unnest(array['0301R011', '0301R012']) as facility_code",
    )
    .bind(CODER)
    .execute(&database.pool)
    .await
    .unwrap();
}

/// A process of the service over a database, with others that it asks; it stops with the value beside the channel.
fn beside(database: &TestDatabase, others: &Shared, more: &[(&str, &str)]) -> (Channel, DropGuard) {
    let stop = CancellationToken::new();
    let upstream = others::serve(others, &stop);
    let mut computed = BTreeMap::from([
        ("insecure-loopback".to_owned(), "true".to_owned()),
        ("database.url".to_owned(), database.url.clone()),
    ]);
    for name in ["membership", "referral", "accreditation"] {
        computed.insert(format!("upstream.{name}"), upstream.clone());
    }
    computed.extend(more.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())));
    let settings = Layers { computed, ..Layers::default() }.load(Claims::NAME, Claims::DEFAULTS).unwrap();
    let ports = Ports::bind("127.0.0.1:0".parse().unwrap(), "127.0.0.1:0".parse().unwrap()).unwrap();
    let address = ports.addresses().unwrap().grpc;
    tokio::spawn(host::run::<Claims>(settings, ports, telemetry_once().clone(), stop.clone()));
    let channel = Endpoint::from_shared(format!("http://{address}")).unwrap().connect_lazy();
    (channel, stop.drop_guard())
}
