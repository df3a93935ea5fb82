//! The PostgreSQL and the Redis behind a mesh: databases in the cluster that all tests share, or servers of its own,
//! which can be killed.

use std::{collections::BTreeMap, fs::Permissions, os::unix::fs::PermissionsExt, path::Path};

use anyhow::Context;
use embedded::{
    postgres::{Cluster, Options},
    redis,
    testing::{self, TestDatabase},
};
use sqlx::{PgPool, migrate::Migrator, postgres::PgPoolOptions};

/// The migrations of a service's database.
pub(crate) type Migrations = fn() -> Option<&'static Migrator>;

/// A database with its tables, as the tests see it: directly, past all links.
pub(crate) struct Database {
    pub(crate) pool: PgPool,
    pub(crate) url: String,
    _kept: Option<TestDatabase>,
}

impl Database {
    /// A fresh one in the cluster that all tests share.
    pub(crate) async fn shared(name: &str, migrations: Migrations) -> anyhow::Result<Self> {
        let migrators: Vec<_> = std::iter::once(&chassis::db::MIGRATOR).chain(migrations()).collect();
        let database = testing::database(name, &migrators).await?;
        Ok(Self { pool: database.pool.clone(), url: database.url.clone(), _kept: Some(database) })
    }

    /// One in a cluster of the mesh's own.
    async fn own(cluster: &Cluster, name: &str, migrations: Migrations) -> anyhow::Result<Self> {
        cluster.ensure_database(name).await?;
        let url = cluster.url(name);
        let pool = PgPoolOptions::new().max_connections(4).connect(&url).await?;
        for migrator in std::iter::once(&chassis::db::MIGRATOR).chain(migrations()) {
            // Chassis and service share one table of applied migrations; each must overlook the other's.
            let mut migrator = Migrator { migrations: migrator.migrations.clone(), ..Migrator::DEFAULT };
            migrator.set_ignore_missing(true);
            migrator.run(&pool).await?;
        }
        Ok(Self { pool, url, _kept: None })
    }
}

/// A PostgreSQL of the mesh's own.
pub(crate) struct OwnPostgres {
    pub(crate) cluster: Cluster,
    _folder: tempfile::TempDir,
}

impl OwnPostgres {
    pub(crate) async fn start(options: Options) -> anyhow::Result<Self> {
        // The account that root hands PostgreSQL to must be able to enter.
        let folder = tempfile::Builder::new()
            .prefix("jkn-campaign-")
            .permissions(Permissions::from_mode(0o755))
            .tempdir()?;
        Ok(Self { cluster: Cluster::start(folder.path(), options).await?, _folder: folder })
    }

    pub(crate) async fn databases(
        &self,
        services: impl Iterator<Item = (&'static str, Migrations)>,
    ) -> anyhow::Result<BTreeMap<&'static str, Database>> {
        let mut databases = BTreeMap::new();
        for (name, migrations) in services {
            databases.insert(name, Database::own(&self.cluster, name, migrations).await?);
        }
        Ok(databases)
    }
}

/// A Redis in a folder. Fails when none is installed: a test that is skipped proves nothing.
pub(crate) async fn redis(folder: &Path) -> anyhow::Result<redis::Server> {
    redis::Server::start(folder)
        .await?
        .context("redis-server is not installed; the tests need it: apt-get install redis-server")
}
