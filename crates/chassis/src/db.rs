//! The service's own database.

use std::{str::FromStr, sync::Arc, time::Duration};

use anyhow::Context;
use sqlx::{
    ConnectOptions, Connection, PgPool, Postgres, SqlSafeStr, Transaction,
    migrate::Migrator,
    postgres::{PgConnectOptions, PgPoolOptions},
};
use tokio::{sync::watch, time::timeout};
use tokio_util::sync::CancellationToken;

use crate::{config::Database, relay::Outbox};

/// The tables that make writes and events happen exactly once; every service database has them.
pub static MIGRATOR: Migrator = sqlx::migrate!();

/// A connection that rested longer is asked whether it still leads anywhere before a call relies on it.
const RESTED: Duration = Duration::from_millis(100);

/// A handle on the service's database. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Db {
    /// The connections.
    pub pool: PgPool,
    /// The events that wait for the relay.
    pub(crate) outbox: Arc<Outbox>,
    /// Newest position of the feed, as far as this process has seen.
    pub(crate) head: watch::Sender<i64>,
    /// Ends the streams that read from here.
    pub(crate) stop: CancellationToken,
}

impl Db {
    /// Wraps a pool; streams that read from it end with `stop`.
    #[must_use]
    pub fn new(pool: PgPool, stop: CancellationToken) -> Self {
        Self { pool, outbox: Arc::default(), head: watch::Sender::new(0), stop }
    }

    /// Connects lazily: a process starts, and says what is wrong, also while its database is away. Nobody waits longer
    /// than `patience` for a connection, be it that all are in use, that none can be made, or that one which was in use
    /// has to be closed because it no longer leads anywhere.
    ///
    /// # Errors
    /// When the URL is not one.
    pub fn connect(
        name: &str,
        settings: &Database,
        patience: Duration,
        stop: CancellationToken,
    ) -> anyhow::Result<Self> {
        anyhow::ensure!(
            !crate::config::expose(&settings.url).is_empty(),
            "database.url is not set: JKN_{}__DATABASE__URL=postgres://…, or in a settings file",
            name.to_ascii_uppercase().replace('-', "_")
        );
        let options = PgConnectOptions::from_str(crate::config::expose(&settings.url))
            .map_err(|_| anyhow::anyhow!("database.url is not a PostgreSQL URL"))?
            .application_name(&format!("jkn-{name}"))
            // Its question whether a statement would be logged, without then logging it, leaves the filters of the
            // log and trace layers in a state in which the next span is lost.
            .disable_statement_logging()
            .options([
                // A transaction whose process was cut off holds its locks, the relay's among them, until the server
                // ends it; a live one never waits that long.
                ("idle_in_transaction_session_timeout", "5s"),
                // A statement whose connection was closed here, because its caller was gone, ends there as well.
                ("client_connection_check_interval", "1s"),
            ]);
        let pool = PgPoolOptions::new()
            .max_connections(settings.connections)
            // A ping before each use would cost a round trip. Under load a broken connection is found by its use just
            // as well; at rest the round trip costs nobody anything.
            .test_before_acquire(false)
            .before_acquire(move |connection, used| {
                Box::pin(async move {
                    Ok(used.idle_for < RESTED
                        || matches!(timeout(patience / 4, connection.ping()).await, Ok(Ok(()))))
                })
            })
            // What a call that was given up left under way is waited for before the connection serves another one: by
            // sqlx without a bound, so that a server that answers no more would keep the place for ever.
            .after_release(move |connection, _| {
                Box::pin(async move { Ok(matches!(timeout(patience, connection.flush()).await, Ok(Ok(())))) })
            })
            .acquire_timeout(patience)
            .connect_lazy_with(options);
        Ok(Self::new(pool, stop))
    }

    /// Begins a transaction. A call that is given up meanwhile leaves none behind: sqlx 0.9.0 forgets a BEGIN whose
    /// caller went away before its answer, and hands the connection to the next one with the transaction open
    /// (transact-rs/sqlx#4385). `pool.begin()` will do again once a version with its repair is out.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn begin(&self) -> sqlx::Result<Transaction<'static, Postgres>> {
        self.begin_by("begin").await
    }

    /// The same with a statement of its own.
    pub(crate) async fn begin_by(
        &self,
        statement: &'static str,
    ) -> sqlx::Result<Transaction<'static, Postgres>> {
        let connection = self.pool.acquire().await?;
        // Given up or not, this goes on until the answer is there; then the transaction is dropped, and so rolled back.
        let begun = tokio::spawn(Transaction::begin(connection, Some(statement.into_sql_str())));
        begun.await.unwrap_or(Err(sqlx::Error::WorkerCrashed))
    }

    /// Further connections, that have these settings.
    pub(crate) fn connections(&self, most: u32, settings: &[(&str, &str)]) -> PgPool {
        let options = PgConnectOptions::clone(&self.pool.connect_options());
        let pool = self.pool.options().clone().max_connections(most).min_connections(0);
        pool.connect_lazy_with(options.options(settings.iter().copied()))
    }

    /// Creates what is missing in the schema.
    ///
    /// # Errors
    /// When the database does not answer or a migration fails.
    pub async fn migrate(&self, own: Option<&Migrator>) -> anyhow::Result<()> {
        migrate(&self.pool, &MIGRATOR).await.context("migrating the tables of the chassis")?;
        if let Some(own) = own {
            migrate(&self.pool, own).await.context("migrating the tables of the service")?;
        }
        Ok(())
    }
}

async fn migrate(pool: &PgPool, migrator: &Migrator) -> anyhow::Result<()> {
    // Chassis and service share one table of applied migrations; each must overlook the other's.
    let mut migrator = Migrator { migrations: migrator.migrations.clone(), ..Migrator::DEFAULT };
    migrator.set_ignore_missing(true);
    Ok(migrator.run(pool).await?)
}

/// What the database answers, unless it takes longer than it may: then the connection counts as lost. For the work of
/// the process itself; a call has its deadline.
pub(crate) async fn in_time<T>(
    limit: Duration,
    asked: impl Future<Output = sqlx::Result<T>>,
) -> sqlx::Result<T> {
    let late = || sqlx::Error::Io(std::io::ErrorKind::TimedOut.into());
    timeout(limit, asked).await.unwrap_or_else(|_| Err(late()))
}
