//! The processes of a mesh under test.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context, bail};
use chassis::{
    Caller, Service,
    identity::{Purpose, Signer},
    tls::DevelopmentAuthority,
};
use embedded::testing::{self, TestDatabase, TestRedis};
use jiff::Timestamp;
use sqlx::migrate::Migrator;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
};

use crate::leak;

/// The migrations of a service's database.
type Migrations = fn() -> Option<&'static Migrator>;

/// The services in an order in which each finds those it asks.
const SERVICES: [(&str, Migrations); 6] = [
    (accreditation::Accreditation::NAME, accreditation::Accreditation::migrations),
    (membership::Membership::NAME, membership::Membership::migrations),
    (referral::Referral::NAME, referral::Referral::migrations),
    (primary_care::PrimaryCare::NAME, primary_care::PrimaryCare::migrations),
    (claims::Claims::NAME, claims::Claims::migrations),
    (sismonev::Sismonev::NAME, sismonev::Sismonev::migrations),
];
const GATEWAY: &str = "gateway";
const CIVIL_REGISTRY: &str = "civil-registry";

/// A running mesh. Its processes end with it, and what they wrote is searched for personal data.
pub struct Mesh {
    folder: tempfile::TempDir,
    authority: DevelopmentAuthority,
    tokens: Signer,
    databases: BTreeMap<&'static str, TestDatabase>,
    redis: Option<TestRedis>,
    processes: BTreeMap<&'static str, Process>,
    collector: Option<String>,
}

struct Process {
    child: Child,
    grpc: SocketAddr,
    admin: Option<SocketAddr>,
}

impl Mesh {
    /// Starts every process and waits until all are ready.
    ///
    /// # Errors
    /// When one does not start; the error holds the end of its log.
    pub async fn start() -> anyhow::Result<Self> {
        Self::start_all(None).await
    }

    /// The same, with traces sent to a collector at this address.
    ///
    /// # Errors
    /// When a process does not start.
    pub async fn start_observed(collector: String) -> anyhow::Result<Self> {
        Self::start_all(Some(collector)).await
    }

    async fn start_all(collector: Option<String>) -> anyhow::Result<Self> {
        chassis::tls::install_provider();
        let folder = tempfile::tempdir()?;
        let authority = DevelopmentAuthority::open(&folder.path().join("pki"))?;
        let tokens = Signer::from_pem(&fs::read_to_string(authority.path("token.key"))?, Purpose::Token)?;
        let redis = Some(testing::redis().await?);
        let mut mesh = Self {
            folder,
            authority,
            tokens,
            databases: BTreeMap::new(),
            redis,
            processes: BTreeMap::new(),
            collector,
        };
        for (name, migrations) in SERVICES {
            let migrators: Vec<_> = std::iter::once(&chassis::db::MIGRATOR).chain(migrations()).collect();
            mesh.databases.insert(name, testing::database(name, &migrators).await?);
        }
        mesh.launch(CIVIL_REGISTRY, None).await?;
        for (name, _) in SERVICES {
            mesh.launch(name, None).await?;
        }
        mesh.launch(GATEWAY, None).await?;
        for name in mesh.processes.keys().copied().filter(|name| *name != CIVIL_REGISTRY).collect::<Vec<_>>()
        {
            mesh.until_ready(name).await?;
        }
        Ok(mesh)
    }

    /// The address of the gateway.
    #[must_use]
    pub fn gateway(&self) -> String {
        format!("http://{}", self.processes[GATEWAY].grpc)
    }

    /// The address of the stand-in for the civil registry.
    #[must_use]
    pub fn civil_registry(&self) -> String {
        format!("http://{}", self.processes[CIVIL_REGISTRY].grpc)
    }

    /// The database of a service.
    #[must_use]
    pub fn database(&self, service: &str) -> &sqlx::PgPool {
        &self.databases[service].pool
    }

    /// The folder with certificates, keys and logs; `jkn --data` takes it.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A token that names an institution.
    ///
    /// # Errors
    /// When signing fails.
    pub fn token(&self, caller: &str) -> anyhow::Result<String> {
        self.tokens.sign(&caller.parse::<Caller>()?, Timestamp::now(), Duration::from_secs(3600))
    }

    /// The metrics page of a process.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn metrics(&self, name: &str) -> anyhow::Result<String> {
        let admin = self.processes[name].admin.context("no admin port")?;
        get(admin, "/metrics").await
    }

    /// Ends a process without a warning.
    ///
    /// # Errors
    /// When there is none.
    pub async fn kill(&mut self, name: &str) -> anyhow::Result<()> {
        let process = self.processes.get_mut(name).with_context(|| format!("no process {name}"))?;
        Ok(process.child.kill().await?)
    }

    /// Asks a process to stop, and tells how it ended.
    ///
    /// # Errors
    /// When it does not end.
    pub async fn stop(&mut self, name: &str) -> anyhow::Result<std::process::ExitStatus> {
        let process = self.processes.get_mut(name).with_context(|| format!("no process {name}"))?;
        let pid = process.child.id().context("it has ended already")?;
        // The shell's own: a bare machine has no program of this name.
        Command::new("sh").args(["-c", &format!("kill -TERM {pid}")]).status().await?;
        tokio::time::timeout(Duration::from_secs(40), process.child.wait())
            .await?
            .context("waiting for its end")
    }

    /// Starts a process again on the port it had.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn restart(&mut self, name: &'static str) -> anyhow::Result<()> {
        let address = self.processes[name].grpc;
        self.launch(name, Some(address)).await?;
        self.until_ready(name).await
    }

    /// Takes Redis away for good.
    ///
    /// # Errors
    /// When it does not stop.
    pub async fn stop_redis(&mut self) -> anyhow::Result<()> {
        match self.redis.take() {
            Some(redis) => redis.stop().await,
            None => Ok(()),
        }
    }

    /// How many rows each table of a service holds, to see that a refused call wrote nothing.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn rows(&self, service: &str) -> anyhow::Result<BTreeMap<String, i64>> {
        let pool = self.database(service);
        let tables: Vec<String> =
            sqlx::query_scalar("select tablename::text from pg_tables where schemaname = 'public' and tablename <> 'consumer_position' order by 1")
                .fetch_all(pool)
                .await?;
        let mut counted = BTreeMap::new();
        for table in tables {
            let xml = "select (xpath('/row/n/text()', query_to_xml(format('select count(*) as n from %I', $1), false, true, '')))[1]::text::bigint";
            let rows: i64 = sqlx::query_scalar(xml).bind(&table).fetch_one(pool).await?;
            counted.insert(table, rows);
        }
        Ok(counted)
    }

    /// The names of the services, without the gateway.
    #[must_use]
    pub fn services() -> Vec<&'static str> {
        SERVICES.iter().map(|(name, _)| *name).collect()
    }

    fn log_path(&self, name: &str) -> PathBuf {
        self.folder.path().join(format!("{name}.log"))
    }

    async fn launch(&mut self, name: &'static str, address: Option<SocketAddr>) -> anyhow::Result<()> {
        let log = File::options().create(true).append(true).open(self.log_path(name))?;
        let mut command = Command::new(program()?);
        command
            .args(["--log", "debug,h2=info,hyper=info,tower=info,rustls=info,sqlx=info", "serve", name])
            .env_remove("JKN_CONFIG")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .kill_on_drop(true);
        if let Some(collector) = &self.collector {
            command.env("OTEL_EXPORTER_OTLP_ENDPOINT", collector).env("OTEL_BSP_SCHEDULE_DELAY", "100");
        }
        if name != CIVIL_REGISTRY {
            self.settle(&mut command, name, address)?;
        }
        let mut child = command.spawn().context("starting jkn")?;
        let stdout = child.stdout.take().context("no standard output")?;
        let mut lines = BufReader::new(stdout).lines();
        let announced = tokio::time::timeout(Duration::from_secs(30), lines.next_line()).await?;
        let Ok(Some(line)) = announced else {
            bail!("{name} did not start:\n{}", self.end_of_log(name));
        };
        // "NAME listening on ADDRESS[, admin ADDRESS]"
        let addresses: Vec<SocketAddr> =
            line.split([' ', ',']).filter_map(|word| word.parse().ok()).collect();
        let grpc = *addresses.first().with_context(|| format!("{name} said: {line}"))?;
        self.processes.insert(name, Process { child, grpc, admin: addresses.get(1).copied() });
        Ok(())
    }

    fn settle(
        &self,
        command: &mut Command,
        name: &'static str,
        address: Option<SocketAddr>,
    ) -> anyhow::Result<()> {
        let prefix = format!("JKN_{}__", name.to_uppercase().replace('-', "_"));
        let mut set = |key: &str, value: String| {
            command.env(format!("{prefix}{key}"), value);
        };
        let tls = self.authority.issue(name, &Caller::service(name), Timestamp::now())?;
        set("TLS__CERTIFICATE", tls.certificate.display().to_string());
        set("TLS__KEY", tls.key.display().to_string());
        set("TLS__AUTHORITY", tls.authority.display().to_string());
        set("TLS__ASSERTION_KEY", tls.assertion_key.display().to_string());
        set("STOP_GRACE_SECONDS", "5".to_owned());
        if let Some(address) = address {
            set("LISTEN", address.to_string());
        }
        if let Some(database) = self.databases.get(name) {
            set("DATABASE__URL", database.url.clone());
        }
        if let Some(redis) = &self.redis {
            set("REDIS__URL", redis.url());
        }
        for (other, process) in self
            .processes
            .iter()
            .filter(|(other, _)| **other != name && **other != CIVIL_REGISTRY && **other != GATEWAY)
        {
            set(
                &format!("UPSTREAM__{}", other.to_uppercase().replace('-', "_")),
                format!("https://{}", process.grpc),
            );
        }
        if name == membership::Membership::NAME {
            set("SERVICE__CIVIL_REGISTRY__URL", self.civil_registry());
        }
        if name == GATEWAY {
            set("SERVICE__PLAINTEXT", "true".to_owned());
            set("SERVICE__CALLER_KEY", self.authority.path("token.pub").display().to_string());
            set("SERVICE__ASSERTION_SIGNING_KEY", self.authority.path("assertion.key").display().to_string());
        }
        Ok(())
    }

    async fn until_ready(&self, name: &str) -> anyhow::Result<()> {
        let admin = self.processes[name].admin.context("no admin port")?;
        let ready = eventually(async || {
            get(admin, "/readyz").await.is_ok_and(|page| page.contains("200 OK")).then_some(())
        })
        .await;
        ready.with_context(|| format!("{name} is not ready:\n{}", self.end_of_log(name)))
    }

    fn end_of_log(&self, name: &str) -> String {
        let log = fs::read_to_string(self.log_path(name)).unwrap_or_default();
        let lines: Vec<_> = log.lines().collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }

    /// Everything the processes have logged so far.
    #[must_use]
    pub fn logs(&self) -> String {
        self.processes
            .keys()
            .map(|name| fs::read_to_string(self.log_path(name)).unwrap_or_default())
            .collect()
    }
}

impl Drop for Mesh {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // Kept for whoever looks for the cause.
            let kept = std::env::temp_dir().join(format!("jkn-failed-{}", std::process::id()));
            let _best_effort = fs::create_dir_all(&kept);
            for name in self.processes.keys() {
                let _best_effort = fs::copy(self.log_path(name), kept.join(format!("{name}.log")));
            }
            eprintln!("the logs of the mesh are in {}", kept.display());
            return;
        }
        let found = leak::search(&self.logs());
        assert!(found.is_empty(), "personal data in the logs: {found:#?}");
    }
}

/// The program under test: built beside the tests.
///
/// # Errors
/// When it was not built.
pub fn program() -> anyhow::Result<PathBuf> {
    let tests = std::env::current_exe()?;
    let program = tests.parent().and_then(Path::parent).context("no build folder")?.join("jkn");
    anyhow::ensure!(
        program.exists(),
        "{} is missing; run `cargo build --workspace` first, as `make test` does",
        program.display()
    );
    Ok(program)
}

/// Waits for a condition, and gives up after half a minute.
///
/// # Errors
/// When it did not come about.
pub async fn eventually<T>(mut ask: impl AsyncFnMut() -> Option<T>) -> anyhow::Result<T> {
    let waiting = async {
        loop {
            if let Some(found) = ask().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), waiting).await.context("it did not come about within 30 s")
}

async fn get(address: SocketAddr, path: &str) -> anyhow::Result<String> {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stream = tokio::net::TcpStream::connect(address).await?;
    stream.write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes()).await?;
    let mut page = String::new();
    stream.read_to_string(&mut page).await?;
    Ok(page)
}
