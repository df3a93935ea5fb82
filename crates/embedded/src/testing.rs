//! Databases for tests: one cluster for the whole run, a fresh, migrated database for each test.
//!
//! The first test that asks starts the cluster; it is left running for the others, which may be other processes, and
//! stops itself when no test has asked for an hour. `cargo run --bin stop-test-postgres` stops it at once.
//! Its data is thrown away with every start.
//!
//! A database per set of migrations is migrated once and then copied, which takes some tens of milliseconds.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use sqlx::{
    PgPool,
    migrate::{MigrateDatabase as _, Migrator},
    postgres::PgPoolOptions,
};

use crate::{
    account::Account,
    place,
    postgres::{self, Cluster, Options, Running},
    redis,
};

/// A database of one test. It is dropped with this value.
#[derive(Debug)]
pub struct TestDatabase {
    /// Connections to it.
    pub pool: PgPool,
    /// Its URL, for a process under test.
    pub url: String,
    name: String,
    cluster: Arc<Running>,
}

impl TestDatabase {
    /// Until a service tells as many events as these, which it does from the table of its feed. Fails when there are fewer
    /// after a minute.
    pub async fn until_told(&self, events: usize) -> anyhow::Result<()> {
        let begun = Instant::now();
        loop {
            let told: i64 = sqlx::query_scalar("select count(*) from feed").fetch_one(&self.pool).await?;
            if usize::try_from(told)? >= events {
                return Ok(());
            }
            ensure!(begun.elapsed() < Duration::from_secs(60), "{told} events are told instead of {events}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        self.cluster.drop_database(&self.name);
    }
}

/// A fresh database with the migrations of all given migrators, which may share one migrations table.
///
/// `name` stands in the name of the database, to be recognised in a log.
pub async fn database(name: &str, migrators: &[&'static Migrator]) -> anyhow::Result<TestDatabase> {
    let cluster = Arc::new(shared_cluster().await?);
    let template = template(&cluster, migrators).await?;
    let readable: String = name.chars().filter(char::is_ascii_alphanumeric).take(24).collect();
    let name = format!("t_{}_{}", readable.to_ascii_lowercase(), uuid::Uuid::new_v4().simple());
    cluster.copy_database(&template, &name).await?;
    let url = cluster.url(&name);
    let pool = PgPoolOptions::new().max_connections(10).connect(&url).await?;
    Ok(TestDatabase { pool, url, name, cluster })
}

/// A fresh, empty database without migrations, for a process under test that migrates by itself.
pub async fn empty_database(name: &str) -> anyhow::Result<TestDatabase> {
    database(name, &[]).await
}

/// A Redis server of one test's own. It ends with this value.
#[derive(Debug)]
pub struct TestRedis {
    server: redis::Server,
    _root: tempfile::TempDir,
}

impl TestRedis {
    /// Its URL.
    pub fn url(&self) -> String {
        self.server.url()
    }

    /// Stops it, to see what the mesh does without.
    pub async fn stop(self) -> anyhow::Result<()> {
        self.server.stop().await
    }
}

/// Starts a Redis server for one test. Fails when none is installed: a test that is skipped proves nothing.
pub async fn redis() -> anyhow::Result<TestRedis> {
    let root = tempfile::tempdir()?;
    let server = redis::Server::start(root.path())
        .await?
        .context("redis-server is not installed; the tests need it: apt-get install redis-server")?;
    Ok(TestRedis { server, _root: root })
}

/// Stops the cluster of the tests of this checkout, if it runs.
pub async fn stop() -> anyhow::Result<()> {
    postgres::stop_leftovers(&root()?).await
}

/// One folder per checkout and user, short, in the temporary folder, which every account can enter.
fn root() -> anyhow::Result<PathBuf> {
    let checkout = Path::new(env!("CARGO_MANIFEST_DIR"));
    let fingerprint = place::fingerprint(checkout.as_os_str().as_encoded_bytes());
    Ok(PathBuf::from(format!("/tmp/jkn-test-{}-{fingerprint:016x}", Account::own()?.uid)))
}

async fn shared_cluster() -> anyhow::Result<Running> {
    let root = root()?;
    fs::create_dir_all(&root)?;
    let _one_at_a_time = lock(root.join("start.lock")).await?;
    let marker = root.join("used");
    File::create(&marker)?;
    if let Some(running) = postgres::running(&root).await? {
        return Ok(running);
    }
    // Whatever it was, it does not answer: nothing of it is kept.
    postgres::stop_leftovers(&root).await?;
    for leftover in ["postgres/data", "postgres/templates"] {
        if root.join(leftover).exists() {
            fs::remove_dir_all(root.join(leftover))?;
        }
    }
    Cluster::start(&root, Options::testing()).await?.leave_running();
    let running =
        postgres::running(&root).await?.context("the cluster of the tests ended right after its start")?;
    running.stop_when_idle(&marker)?;
    Ok(running)
}

/// The name of a migrated database that nobody is connected to.
async fn template(cluster: &Running, migrators: &[&'static Migrator]) -> anyhow::Result<String> {
    let checksums: Vec<u8> = migrators
        .iter()
        .flat_map(|migrator| migrator.iter())
        .flat_map(|migration| migration.checksum.to_vec())
        .collect();
    let name = format!("template_{:016x}", place::fingerprint(&checksums));
    let ready = cluster.home().join("templates");
    fs::create_dir_all(&ready)?;
    let _one_at_a_time = lock(ready.join(format!("{name}.lock"))).await?;
    let ready = ready.join(&name);
    if !ready.exists() {
        let url = cluster.url(&name);
        sqlx::Postgres::force_drop_database(&url).await?;
        sqlx::Postgres::create_database(&url).await?;
        let pool = PgPoolOptions::new().max_connections(1).connect(&url).await?;
        for migrator in migrators {
            // The parts of a service share one table of what was applied: each finds the others' entries there.
            let migrator = Migrator {
                migrations: migrator.migrations.clone(),
                table_name: migrator.table_name.clone(),
                create_schemas: migrator.create_schemas.clone(),
                ignore_missing: true,
                ..Migrator::DEFAULT
            };
            migrator.run(&pool).await?;
        }
        pool.close().await;
        File::create(&ready)?;
    }
    Ok(name)
}

async fn lock(path: PathBuf) -> anyhow::Result<File> {
    let locked = tokio::task::spawn_blocking(move || {
        let file = File::options().create(true).truncate(false).write(true).open(path)?;
        file.lock()?;
        Ok::<_, std::io::Error>(file)
    });
    Ok(locked.await??)
}
