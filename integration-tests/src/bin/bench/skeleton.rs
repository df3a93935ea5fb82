//! The least service that the chassis can host: what every service of the mesh costs before it does anything.

use std::collections::HashMap;

use chassis::{
    Parts, Service, Start,
    config::{Layers, NoSettings},
    host::{self, Ports},
    telemetry::{self, LogFormat},
};
use sqlx::migrate::Migrator;
use tokio_util::sync::CancellationToken;

use crate::echo::{Only, ReadEvents};

/// The service. It has no database, so the feed's method is free to be its own.
pub(crate) struct Skeleton;

impl Service for Skeleton {
    const NAME: &'static str = "skeleton";
    const DEFAULTS: &'static str = "";
    type Settings = NoSettings;

    fn migrations() -> Option<&'static Migrator> {
        None
    }

    async fn build(_start: Start<NoSettings>) -> anyhow::Result<Parts> {
        Ok(Parts::new().serve(Only::<ReadEvents>::of_the_mesh()))
    }
}

/// Runs it as `jkn serve` runs a service.
pub(crate) fn run() -> anyhow::Result<()> {
    chassis::tls::install_provider();
    let export = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let _entered = export.enter();
    let environment: HashMap<String, String> =
        std::env::vars().filter(|(name, _)| name.starts_with("JKN_SKELETON__")).collect();
    let layers = Layers { environment, processes: vec![Skeleton::NAME], ..Layers::default() };
    let settings = layers.load::<NoSettings>(Skeleton::NAME, Skeleton::DEFAULTS)?;
    let ports = Ports::bind(settings.listen, settings.admin_listen)?;
    let telemetry = telemetry::start(Skeleton::NAME, LogFormat::Human, "info")?;
    let addresses = ports.addresses()?;
    crate::say(&format!("{} listening on {}, admin {}", Skeleton::NAME, addresses.grpc, addresses.admin))?;
    let serving = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    serving.block_on(host::run::<Skeleton>(settings, ports, telemetry, CancellationToken::new()))
}
