//! A private PostgreSQL cluster.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use rustix::process::{Pid, Signal, kill_process};
use sqlx::{ConnectOptions as _, Connection as _, migrate::MigrateDatabase as _, postgres::PgConnectOptions};
use tokio::{
    process::{Child, Command},
    time::sleep,
};

use crate::{
    account::Account,
    place::{self, Ownership},
    program,
};

/// The role that owns everything in the cluster. Whoever can enter the socket's folder is this role.
const ROLE: &str = "jkn";
/// The port in the name of the socket; no network port is opened.
const PORT: u16 = 5432;

/// What the cluster is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Profile {
    /// Data that must survive the loss of power.
    #[default]
    Durable,
    /// Data of tests: nothing waits for the disk.
    Testing,
    /// Data of tests that kill the server: it survives the end of every process, not the loss of power.
    CrashTesting,
}

/// How to run a cluster.
#[derive(Debug, Clone)]
pub struct Options {
    /// What it is for.
    pub profile: Profile,
    /// How many connections it takes.
    pub max_connections: u16,
}

impl Default for Options {
    fn default() -> Self {
        Self { profile: Profile::Durable, max_connections: 200 }
    }
}

impl Options {
    /// For tests.
    pub fn testing() -> Self {
        Self { profile: Profile::Testing, max_connections: 500 }
    }

    /// For tests that kill the server.
    pub fn crash_testing() -> Self {
        Self { profile: Profile::CrashTesting, ..Self::default() }
    }
}

/// A running cluster that this process owns. Call [`Cluster::stop`] at the end; a cluster that is dropped is told to
/// stop as well, but nobody waits for it.
#[derive(Debug)]
pub struct Cluster {
    layout: Layout,
    options: Options,
    server: Option<Child>,
    ownership: Option<Ownership>,
}

/// Where a cluster's parts lie. It can be made without a running cluster.
#[derive(Debug, Clone)]
struct Layout {
    programs: PathBuf,
    account: Account,
    /// Set when this process is root and must hand the server to `account`.
    hand_over: bool,
    home: PathBuf,
    socket: PathBuf,
}

impl Cluster {
    /// Starts the cluster in `<root>/postgres`, making it first if there is none, and returns when it answers.
    ///
    /// What a killed owner left running on the same data is stopped first. Fails when PostgreSQL is not installed,
    /// when another living process owns the folder, and when the server does not come up.
    pub async fn start(root: &Path, options: Options) -> anyhow::Result<Self> {
        let layout = Layout::at(root)?;
        let ownership = Ownership::take(&layout.home)?;
        layout.stop_leftovers().await?;
        if !layout.data().join("PG_VERSION").exists() {
            layout.initialise(&options).await?;
        }
        let server = layout.spawn(&options)?;
        let mut cluster = Self { layout, options, server: Some(server), ownership: Some(ownership) };
        cluster.until_ready().await?;
        Ok(cluster)
    }

    /// The URL of a database of this cluster.
    pub fn url(&self, database: &str) -> String {
        self.layout.url(database)
    }

    /// The folder with everything of this cluster.
    pub fn home(&self) -> &Path {
        &self.layout.home
    }

    /// The unix socket it listens on.
    pub fn socket(&self) -> PathBuf {
        self.layout.socket.join(format!(".s.PGSQL.{PORT}"))
    }

    /// The processes of the server: the first one, and those it made for connections and upkeep. Fails on a system
    /// without `/proc`.
    pub fn processes(&self) -> anyhow::Result<Vec<u32>> {
        place::processes_in(&self.layout.data())
            .context("there is no /proc to find the server's processes in")
    }

    /// A program that came with its server, e.g. `pgbench`.
    pub fn program(&self, name: &str) -> PathBuf {
        self.layout.programs.join(name)
    }

    /// Ends the server as a loss of power would, all of its processes at once. What it had not written is lost.
    pub async fn kill(&mut self) -> anyhow::Result<()> {
        // One that was started a moment ago has not come to its folder, where the others are found.
        if let Some(server) = &mut self.server {
            let _has_ended = server.start_kill();
        }
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let left = self.processes()?;
            if left.is_empty() {
                break;
            }
            if Instant::now() > deadline {
                bail!("processes {left:?} of PostgreSQL do not end");
            }
            // One that has just ended by itself is no fault.
            left.iter().filter_map(|pid| Pid::from_raw(i32::try_from(*pid).ok()?)).for_each(|pid| {
                let _ = kill_process(pid, Signal::KILL);
            });
            sleep(Duration::from_millis(2)).await;
        }
        if let Some(mut server) = self.server.take() {
            server.wait().await?;
        }
        // Nobody runs here: what the file says is of the past, even if its number now belongs to another process.
        match fs::remove_file(self.layout.data().join("postmaster.pid")) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// Asks the server to end its connections and stop; [`Cluster::has_stopped`] tells when it has.
    pub fn ask_to_stop(&self) -> anyhow::Result<()> {
        let pid = self.server.as_ref().and_then(Child::id).context("the server does not run")?;
        let pid = Pid::from_raw(i32::try_from(pid)?).context("no number of a process")?;
        Ok(kill_process(pid, Signal::INT)?)
    }

    /// Whether the server has stopped after it was asked to.
    pub fn has_stopped(&mut self) -> anyhow::Result<bool> {
        if let Some(server) = &mut self.server
            && server.try_wait()?.is_none()
        {
            return Ok(false);
        }
        self.server = None;
        Ok(true)
    }

    /// Starts the server again after [`Cluster::kill`] or when it [has stopped](Cluster::has_stopped); [`Cluster::until_ready`] waits for it.
    pub fn start_again(&mut self) -> anyhow::Result<()> {
        if self.server.is_none() {
            self.server = Some(self.layout.spawn(&self.options)?);
        }
        Ok(())
    }

    /// Creates the database if there is none of this name.
    pub async fn ensure_database(&self, name: &str) -> anyhow::Result<()> {
        let url = self.url(name);
        if !sqlx::Postgres::database_exists(&url).await? {
            sqlx::Postgres::create_database(&url)
                .await
                .with_context(|| format!("cannot create the database {name}"))?;
        }
        Ok(())
    }

    /// Ends the connections, writes everything to disk and stops.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        let Some(mut server) = self.server.take() else { return Ok(()) };
        if server.try_wait()?.is_none() {
            // Fails when the server has just ended by itself.
            let _ = self.layout.pg_ctl_stop("fast").await;
            let ended = tokio::time::timeout(Duration::from_secs(60), server.wait()).await;
            ended.context("PostgreSQL does not stop within a minute")??;
        }
        if !self.layout.socket.starts_with(&self.layout.home) {
            // Empty now, and made again at the next start.
            let _ = fs::remove_dir(&self.layout.socket);
        }
        Ok(())
    }

    /// Leaves the server running when this process ends.
    pub(crate) fn leave_running(mut self) {
        self.server = None;
        self.ownership = None;
    }

    /// Returns when the server answers; fails when it has ended.
    pub async fn until_ready(&mut self) -> anyhow::Result<()> {
        // After a crash the server reads its log first, which may take a while.
        let deadline = Instant::now() + Duration::from_secs(120);
        loop {
            if self.layout.answers().await {
                return Ok(());
            }
            let ended = match self.server.as_mut() {
                Some(server) => server.try_wait()?,
                None => None,
            };
            let log = self.layout.home.join("log");
            if let Some(status) = ended {
                self.server = None;
                bail!(
                    "PostgreSQL ended with {status} at its start. {}:\n{}",
                    log.display(),
                    place::last_lines(&log, 10)
                );
            }
            if Instant::now() > deadline {
                bail!("PostgreSQL does not answer. {}:\n{}", log.display(), place::last_lines(&log, 10));
            }
            sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // Told to stop and not waited for: whoever starts next waits for it.
        if self.server.take().is_some_and(|mut server| !matches!(server.try_wait(), Ok(Some(_)))) {
            let mut command = self.layout.pg_ctl_stop_command("fast");
            if let Err(error) = command.as_std_mut().status() {
                tracing::warn!(%error, home = %self.layout.home.display(), "the private PostgreSQL could not be stopped");
            }
        }
    }
}

/// Stops whatever runs on the data in `<root>/postgres`, whoever started it. Does nothing where nothing runs.
pub async fn stop_leftovers(root: &Path) -> anyhow::Result<()> {
    if root.join("postgres").exists() { Layout::at(root)?.stop_leftovers().await } else { Ok(()) }
}

/// The server that answers on the data in `<root>/postgres`, if one does, whoever owns it.
pub async fn running(root: &Path) -> anyhow::Result<Option<Running>> {
    if !root.join("postgres").exists() {
        return Ok(None);
    }
    let layout = Layout::at(root)?;
    Ok(layout.answers().await.then_some(Running(layout)))
}

/// A server that runs and is owned by somebody else.
#[derive(Debug)]
pub struct Running(Layout);

impl Running {
    /// Creates the database if there is none of this name.
    pub async fn ensure_database(&self, name: &str) -> anyhow::Result<()> {
        self.0.ensure_database(name).await
    }

    /// The URL of a database of this server.
    pub fn url(&self, database: &str) -> String {
        self.0.url(database)
    }

    pub(crate) fn home(&self) -> &Path {
        &self.0.home
    }

    /// A new database that is a copy of another one.
    pub(crate) async fn copy_database(&self, template: &str, name: &str) -> anyhow::Result<()> {
        let mut command = self.0.command("createdb");
        command.arg("--host").arg(&self.0.socket).args(["--username", ROLE, "--template", template, name]);
        run(command, "createdb").await
    }

    /// Drops a database in the background, with its connections.
    pub(crate) fn drop_database(&self, name: &str) {
        let mut command = self.0.command("dropdb");
        command.arg("--host").arg(&self.0.socket).args(["--username", ROLE, "--force", "--if-exists", name]);
        let _ = command.as_std_mut().spawn();
    }

    /// Stops the server when `marker` was not touched for an hour. The watch is a process of its own.
    pub(crate) fn stop_when_idle(&self, marker: &Path) -> anyhow::Result<()> {
        let mut stop = self.0.pg_ctl_stop_command("fast");
        let stop = stop.as_std_mut();
        let mut watch = self.0.command("/bin/sh");
        watch
            .arg("-c")
            .arg("marker=$1; shift; while [ -e data/postmaster.pid ] && [ -n \"$(find \"$marker\" -mmin -60)\" ]; do sleep 30; done; exec \"$@\"")
            .arg("idle-watch")
            .arg(marker)
            .arg(stop.get_program())
            .args(stop.get_args())
            .process_group(0);
        watch.spawn().context("cannot start the idle watch")?;
        Ok(())
    }
}

impl Layout {
    fn at(root: &Path) -> anyhow::Result<Self> {
        let programs = program::postgres_folder().context(
            "PostgreSQL is not installed: no initdb on PATH nor in /usr/lib/postgresql. \
             Install it (apt-get install postgresql), or give the URL of a running database",
        )?;
        let own = Account::own()?;
        // Data that exists stays with the account that made it.
        let account = match Account::owner_of(&root.join("postgres/data")) {
            Some(owner) if own.is_root() && !owner.is_root() => owner,
            _ if own.is_root() => Account::unprivileged()?,
            _ => own,
        };
        let home = place::home(root, "postgres", account)?;
        let socket = place::socket_folder(&home, account)?;
        Ok(Self { programs, account, hand_over: own.is_root(), home, socket })
    }

    fn data(&self) -> PathBuf {
        self.home.join("data")
    }

    fn url(&self, database: &str) -> String {
        let socket: String = self.socket.to_string_lossy().bytes().map(percent_encoded).collect();
        format!("postgres://{ROLE}@localhost/{database}?host={socket}")
    }

    async fn ensure_database(&self, name: &str) -> anyhow::Result<()> {
        let url = self.url(name);
        if !sqlx::Postgres::database_exists(&url).await? {
            sqlx::Postgres::create_database(&url)
                .await
                .with_context(|| format!("cannot create the database {name}"))?;
        }
        Ok(())
    }

    async fn answers(&self) -> bool {
        let options = PgConnectOptions::new_without_pgpass()
            .username(ROLE)
            .database("postgres")
            .socket(&self.socket)
            .disable_statement_logging();
        let attempt = async {
            let mut connection = options.connect().await?;
            connection.ping().await?;
            connection.close().await
        };
        matches!(tokio::time::timeout(Duration::from_secs(5), attempt).await, Ok(Ok(())))
    }

    /// A program of PostgreSQL as the account, with a clean environment and nothing inherited.
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.programs.join(program));
        command.current_dir(&self.home).env_clear();
        command.env("PATH", "/usr/local/bin:/usr/bin:/bin").env("LC_ALL", "C");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        if self.hand_over {
            command.uid(self.account.uid).gid(self.account.gid);
        }
        command
    }

    /// Makes the data folder. It gets its name when it is complete: whoever is killed in the midst leaves nothing.
    async fn initialise(&self, options: &Options) -> anyhow::Result<()> {
        let unfinished = self.home.join("data.unfinished");
        if unfinished.exists() {
            fs::remove_dir_all(&unfinished)?;
        }
        let initdb = |locale: &'static [&'static str]| {
            let mut command = self.command("initdb");
            command.arg("--pgdata").arg(&unfinished).args(["--username", ROLE, "--encoding", "UTF8"]);
            command.args(["--auth-local", "trust", "--auth-host", "reject"]).args(locale);
            if options.profile != Profile::Durable {
                command.arg("--no-sync");
            }
            run(command, "initdb")
        };
        // Keys, codes and numbers are compared by their bytes: the order of a locale costs, and nothing asks for it. Not
        // every system has C.UTF-8.
        if initdb(&["--locale", "C.UTF-8", "--lc-collate", "C"]).await.is_err() {
            let _ = fs::remove_dir_all(&unfinished);
            initdb(&["--no-locale"]).await?;
        }
        fs::rename(&unfinished, self.data()).context("cannot rename the new data folder")
    }

    fn spawn(&self, options: &Options) -> anyhow::Result<Child> {
        let path = self.home.join("log");
        let log = File::options()
            .create(true)
            .append(true)
            .open(&path)
            .with_context(|| format!("cannot write {}", path.display()))?;
        let mut settings = vec![
            "listen_addresses=".to_owned(),
            format!("port={PORT}"),
            format!("unix_socket_directories={}", self.socket.display()),
            format!("max_connections={}", options.max_connections),
            "shared_buffers=128MB".to_owned(),
            "max_parallel_workers_per_gather=0".to_owned(),
            "jit=off".to_owned(),
            "timezone=UTC".to_owned(),
            "log_timezone=UTC".to_owned(),
            // The detail of an error holds the values of a row: personal data does not belong into a log.
            "log_error_verbosity=terse".to_owned(),
            "log_parameter_max_length=0".to_owned(),
            "log_parameter_max_length_on_error=0".to_owned(),
        ];
        settings.extend(match options.profile {
            Profile::Durable => vec!["synchronous_commit=on".to_owned(), "max_wal_size=2GB".to_owned()],
            Profile::Testing => {
                ["fsync=off", "synchronous_commit=off", "full_page_writes=off", "autovacuum=off"]
                    .map(str::to_owned)
                    .into()
            }
            // Page images stay: a process that is killed in the midst of a page leaves half of it.
            Profile::CrashTesting => {
                ["fsync=off", "synchronous_commit=on", "max_wal_size=2GB"].map(str::to_owned).into()
            }
        });
        let mut command = self.command("postgres");
        command.arg("-D").arg(self.data());
        for setting in settings {
            command.arg("-c").arg(setting);
        }
        command.stdout(log.try_clone()?).stderr(log);
        // A group of its own: the interrupt key of the terminal is for the mesh, which then stops its database last.
        command.process_group(0).kill_on_drop(false);
        command.spawn().context("cannot start postgres")
    }

    fn pg_ctl_stop_command(&self, mode: &str) -> Command {
        let mut command = self.command("pg_ctl");
        command.arg("stop").arg("--pgdata").arg(self.data()).args(["--mode", mode, "--no-wait"]);
        command
    }

    /// Tells the server to stop; does not wait for it.
    async fn pg_ctl_stop(&self, mode: &str) -> anyhow::Result<()> {
        run(self.pg_ctl_stop_command(mode), "pg_ctl stop").await
    }

    /// Stops what runs on this data and removes the traces it left. To be called by the owner of the folder.
    async fn stop_leftovers(&self) -> anyhow::Result<()> {
        let pid_file = self.data().join("postmaster.pid");
        let Some(mut left) = place::processes_in(&self.data()) else {
            // No /proc to look into: let PostgreSQL's own tool judge.
            let deadline = Instant::now() + Duration::from_secs(20);
            while pid_file.exists() && Instant::now() < deadline && self.pg_ctl_stop("fast").await.is_ok() {
                sleep(Duration::from_millis(100)).await;
            }
            return Ok(());
        };
        for mode in ["fast", "immediate"] {
            if left.is_empty() {
                break;
            }
            tracing::info!(
                processes = left.len(),
                "stopping the PostgreSQL that a killed owner left running"
            );
            // Fails when only the server's children are left: these end by themselves.
            let _ = self.pg_ctl_stop(mode).await;
            let deadline = Instant::now() + Duration::from_secs(20);
            while !left.is_empty() && Instant::now() < deadline {
                sleep(Duration::from_millis(20)).await;
                left = place::processes_in(&self.data()).unwrap_or_default();
            }
        }
        if !left.is_empty() {
            bail!("processes {left:?} still run on {} and do not stop; end them", self.data().display());
        }
        // Nobody runs here: what the file says is of the past, even if its number now belongs to another process.
        match fs::remove_file(&pid_file) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        }
    }
}

async fn run(mut command: Command, name: &str) -> anyhow::Result<()> {
    command.stderr(Stdio::piped()).kill_on_drop(true);
    let output = command.output().await.with_context(|| format!("cannot start {name}"))?;
    if output.status.success() {
        return Ok(());
    }
    bail!("{name} failed with {}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim())
}

fn percent_encoded(byte: u8) -> String {
    match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
            char::from(byte).to_string()
        }
        other => format!("%{other:02X}"),
    }
}
