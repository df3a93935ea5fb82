//! The processes of the mesh: one line each.

use anyhow::Context;
use chassis::{
    Service,
    config::{Layers, Settings},
    host::{self, Ports},
    telemetry::Telemetry,
};
use serde::de::IgnoredAny;
use sqlx::migrate::Migrator;
use tokio_util::sync::CancellationToken;

/// What can be run by its name.
pub(crate) struct Process {
    /// Name: in `jkn serve NAME`, in a settings file, in the environment.
    pub(crate) name: &'static str,
    /// Defaults of its own settings.
    pub(crate) defaults: &'static str,
    /// Migrations of its database; `None` for a process without one.
    pub(crate) migrations: fn() -> Option<&'static Migrator>,
    run: fn(&Layers, Ports, Telemetry, CancellationToken) -> anyhow::Result<()>,
}

/// Every process of the mesh.
pub(crate) static PROCESSES: [Process; 7] = [
    service::<membership::Membership>(),
    service::<primary_care::PrimaryCare>(),
    service::<referral::Referral>(),
    service::<accreditation::Accreditation>(),
    service::<claims::Claims>(),
    service::<sismonev::Sismonev>(),
    Process {
        name: gateway::NAME,
        defaults: gateway::config::DEFAULTS,
        migrations: || None,
        run: run_gateway,
    },
];

const fn service<S: Service>() -> Process {
    Process { name: S::NAME, defaults: S::DEFAULTS, migrations: S::migrations, run: run_service::<S> }
}

fn run_service<S: Service>(
    layers: &Layers,
    ports: Ports,
    telemetry: Telemetry,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let settings = layers.load::<S::Settings>(S::NAME, S::DEFAULTS)?;
    runtime()?.block_on(host::run::<S>(settings, ports, telemetry, stop))
}

fn run_gateway(
    layers: &Layers,
    ports: Ports,
    telemetry: Telemetry,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let settings = layers.load::<gateway::config::Settings>(gateway::NAME, gateway::config::DEFAULTS)?;
    runtime()?.block_on(gateway::run(settings, ports, telemetry, stop))
}

/// One thread, one runtime: with as many processes as cores or more, stealing work between threads only costs.
fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?)
}

impl Process {
    /// The process of this name.
    ///
    /// # Errors
    /// Names the processes there are.
    pub(crate) fn named(name: &str) -> anyhow::Result<&'static Self> {
        PROCESSES
            .iter()
            .find(|process| process.name == name)
            .with_context(|| format!("there is no process {name}; they are: {}", names().join(", ")))
    }

    /// Whether it has a database.
    pub(crate) fn has_database(&self) -> bool {
        (self.migrations)().is_some()
    }

    /// The settings every process has, without its own.
    ///
    /// # Errors
    /// Names the setting that is wrong.
    pub(crate) fn settings(&self, layers: &Layers) -> anyhow::Result<Settings<IgnoredAny>> {
        layers.load(self.name, self.defaults)
    }

    /// Runs until it is told to stop; blocks the thread.
    ///
    /// # Errors
    /// When a setting is wrong, or the process fails.
    pub(crate) fn run(
        &self,
        layers: &Layers,
        ports: Ports,
        telemetry: Telemetry,
        stop: CancellationToken,
    ) -> anyhow::Result<()> {
        (self.run)(layers, ports, telemetry, stop)
    }
}

/// The names of all processes.
pub(crate) fn names() -> Vec<&'static str> {
    PROCESSES.iter().map(|process| process.name).collect()
}
