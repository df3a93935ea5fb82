//! A PostgreSQL of one test's own, durable as in production, which may be killed, frozen, filled up and started again.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
    process::Command,
};

use embedded::postgres::{Cluster, Options};
use sqlx::{Connection, PgConnection, migrate::Migrator};

pub(crate) struct Server {
    cluster: Option<Cluster>,
    root: tempfile::TempDir,
    data: PathBuf,
}

impl Server {
    /// Starts it, with the tables of the chassis in each database.
    pub(crate) async fn start(databases: &[&str]) -> Self {
        let root = tempfile::tempdir().unwrap();
        // The server may run as another user, who has to enter.
        fs::set_permissions(root.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let cluster = Cluster::start(root.path(), Options::default()).await.unwrap();
        let data = fs::canonicalize(cluster.home().join("data")).unwrap();
        for database in databases {
            cluster.ensure_database(database).await.unwrap();
            let mut connection = PgConnection::connect(&cluster.url(database)).await.unwrap();
            let tables = &chassis::db::MIGRATOR;
            Migrator { migrations: tables.migrations.clone(), ..Migrator::DEFAULT }
                .run(&mut connection)
                .await
                .unwrap();
        }
        Self { cluster: Some(cluster), root, data }
    }

    pub(crate) fn url(&self, database: &str) -> String {
        self.cluster.as_ref().unwrap().url(database)
    }

    /// The socket it listens on.
    pub(crate) fn socket(&self) -> PathBuf {
        let url = self.url("postgres");
        Path::new(url.split("host=").nth(1).unwrap()).join(".s.PGSQL.5432")
    }

    /// A console that no link stands between.
    pub(crate) async fn console(&self, database: &str) -> PgConnection {
        PgConnection::connect(&self.url(database)).await.unwrap()
    }

    /// All of it is gone at once, as when its machine loses power.
    pub(crate) fn kill(&mut self) {
        while !self.processes().is_empty() {
            self.signal("KILL");
        }
        self.cluster = None;
    }

    pub(crate) async fn start_again(&mut self) {
        self.cluster = Some(Cluster::start(self.root.path(), Options::default()).await.unwrap());
    }

    /// It keeps its connections and answers nothing.
    pub(crate) fn freeze(&self) {
        // Twice: the first round may miss a process that was just made.
        self.signal("STOP");
        self.signal("STOP");
    }

    pub(crate) fn thaw(&self) {
        self.signal("CONT");
    }

    /// From now on a table has no room for a row: its file leads to a device that is always full. For connections that
    /// have not used it before.
    pub(crate) async fn fill(&self, database: &str, table: &'static str) -> Full {
        let mut console = self.console(database).await;
        let file: String = sqlx::query_scalar("select pg_relation_filepath($1)")
            .bind(table)
            .fetch_one(&mut console)
            .await
            .unwrap();
        let file = self.data.join(file);
        assert_eq!(fs::metadata(&file).unwrap().len(), 0, "an empty table has no room yet");
        let kept = file.with_extension("kept");
        fs::rename(&file, &kept).unwrap();
        symlink("/dev/full", &file).unwrap();
        Full { file, kept }
    }

    /// Ends all connections to a database.
    pub(crate) async fn disconnect(&self, database: &str) {
        let ended = "select pg_terminate_backend(pid, 5000) from pg_stat_activity where datname = $1 and pid <> pg_backend_pid()";
        sqlx::query(ended).bind(database).execute(&mut self.console("postgres").await).await.unwrap();
    }

    fn signal(&self, signal: &str) {
        let pids: Vec<_> = self.processes().iter().map(ToString::to_string).collect();
        // The shell's own kill: a bare machine has no program for it.
        let kill = format!("kill -{signal} {} 2>/dev/null", pids.join(" "));
        let _some_may_have_ended = Command::new("sh").args(["-c", &kill]).status().unwrap();
    }

    /// The processes that work on its data, the first of them first.
    fn processes(&self) -> Vec<u32> {
        let mut found: Vec<u32> = fs::read_dir("/proc")
            .unwrap()
            .flatten()
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
            .filter(|pid| fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd == self.data))
            .collect();
        found.sort_unstable();
        found
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.thaw();
    }
}

/// A table without room.
pub(crate) struct Full {
    file: PathBuf,
    kept: PathBuf,
}

impl Full {
    /// There is room again, for connections made from now on.
    pub(crate) fn make_room(self) {
        fs::remove_file(&self.file).unwrap();
        fs::rename(&self.kept, &self.file).unwrap();
    }
}
