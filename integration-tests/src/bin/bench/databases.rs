//! The databases of a measured mesh: a private PostgreSQL that keeps what it is given, as in production.

use std::{fs, path::PathBuf};

use anyhow::Context;
use embedded::postgres::{Cluster, Options};

use crate::{
    Bench,
    process::{self, Process},
    serve::{self, Settings},
};

/// A cluster with a database for each service.
pub(crate) struct Databases {
    cluster: Cluster,
}

impl Databases {
    /// Starts the cluster of the row of this name.
    pub(crate) async fn start(bench: &Bench, row: &str) -> anyhow::Result<Self> {
        let cluster = Cluster::start(&bench.folder().join(row), Options::default()).await?;
        Ok(Self { cluster })
    }

    /// The URL of a service's database, which is made if there is none.
    pub(crate) async fn url(&self, service: &str) -> anyhow::Result<String> {
        let name = service.replace('-', "_");
        self.cluster.ensure_database(&name).await?;
        Ok(self.cluster.url(&name))
    }

    /// The setting that names a service's database to it.
    pub(crate) async fn setting(&self, service: &str) -> anyhow::Result<(String, String)> {
        Ok(("DATABASE__URL".to_owned(), self.url(service).await?))
    }

    /// Runs a command of the program that works on the databases of these services.
    pub(crate) async fn run(
        &self,
        bench: &Bench,
        services: &[&str],
        arguments: &[&str],
    ) -> anyhow::Result<()> {
        let mut command = Process::command(&serve::program()?, None);
        command.arg("--data").arg(bench.folder()).args(arguments);
        for service in services {
            let settings: Settings = vec![self.setting(service).await?];
            command = serve::configured(command, service, &settings);
        }
        process::run(command).await?;
        Ok(())
    }

    /// The number of the server's first process.
    pub(crate) fn pid(&self) -> anyhow::Result<i32> {
        let file = self.cluster.home().join("data/postmaster.pid");
        let text = fs::read_to_string(&file).with_context(|| format!("reading {}", file.display()))?;
        Ok(text.lines().next().context("an empty postmaster.pid")?.trim().parse()?)
    }

    /// A program that came with the server.
    pub(crate) fn program(&self, name: &str) -> PathBuf {
        self.cluster.program(name)
    }

    /// Stops the cluster.
    pub(crate) async fn stop(self) -> anyhow::Result<()> {
        self.cluster.stop().await
    }
}
