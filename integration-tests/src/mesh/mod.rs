//! The processes of a mesh under test.

mod harm;
mod hasty;
mod link;
mod process;
mod servers;

use std::{
    collections::BTreeMap,
    fmt,
    fs::{self, File},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context, bail};
use chassis::{
    Caller, Service,
    config::Tls,
    identity::{Purpose, Signer},
    tls::DevelopmentAuthority,
};
use embedded::{postgres::Options, redis};
use jiff::Timestamp;
use rustix::process::Signal;
use tokio::process::Command;

pub use self::{link::Way, process::Name};
use self::{
    link::{Link, Target},
    process::Process,
    servers::{Database, Migrations, OwnPostgres},
};
use crate::leak;

/// The services in an order in which each finds those it asks, and whom it asks.
const SERVICES: [(&str, Migrations, &[&str]); 6] = [
    (accreditation::Accreditation::NAME, accreditation::Accreditation::migrations, &[]),
    (membership::Membership::NAME, membership::Membership::migrations, &["accreditation"]),
    (referral::Referral::NAME, referral::Referral::migrations, &["accreditation"]),
    (primary_care::PrimaryCare::NAME, primary_care::PrimaryCare::migrations, &["membership", "referral"]),
    (claims::Claims::NAME, claims::Claims::migrations, &["membership", "referral", "accreditation"]),
    (
        sismonev::Sismonev::NAME,
        sismonev::Sismonev::migrations,
        &["membership", "primary-care", "accreditation", "claims"],
    ),
];
const GATEWAY: &str = "gateway";
const CIVIL_REGISTRY: &str = "civil-registry";
/// What runs twice in a mesh that is to be broken.
const REPLICATED: [&str; 3] = [GATEWAY, membership::Membership::NAME, claims::Claims::NAME];

/// A running mesh. Its processes end with it, and what they wrote is searched for personal data.
pub struct Mesh {
    folder: tempfile::TempDir,
    authority: DevelopmentAuthority,
    tokens: Signer,
    databases: BTreeMap<&'static str, Database>,
    postgres: Option<OwnPostgres>,
    redis: Option<redis::Server>,
    processes: BTreeMap<Name, Process>,
    certificates: BTreeMap<Name, Tls>,
    links: BTreeMap<LinkName, Link>,
    collector: Option<String>,
    log: &'static str,
}

/// One end of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum End {
    /// The institutions that call.
    Callers,
    /// A process of the mesh.
    Process(Name),
    /// PostgreSQL.
    Postgres,
    /// Redis.
    Redis,
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Callers => f.write_str("callers"),
            Self::Process(name) => name.fmt(f),
            Self::Postgres => f.write_str("postgres"),
            Self::Redis => f.write_str("redis"),
        }
    }
}

/// A link by its ends: who calls, and who is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkName {
    /// Who calls.
    pub from: End,
    /// Who is called.
    pub to: End,
}

impl fmt::Display for LinkName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} to {}", self.from, self.to)
    }
}

impl Mesh {
    /// The name of the gateway.
    pub const GATEWAY: &'static str = GATEWAY;

    /// Starts every process and waits until all are ready.
    ///
    /// # Errors
    /// When one does not start; the error holds the end of its log.
    pub async fn start() -> anyhow::Result<Self> {
        Self::start_plain(None).await
    }

    /// The same, with traces sent to a collector at this address.
    ///
    /// # Errors
    /// When a process does not start.
    pub async fn start_observed(collector: String) -> anyhow::Result<Self> {
        Self::start_plain(Some(collector)).await
    }

    async fn start_plain(collector: Option<String>) -> anyhow::Result<Self> {
        let log = "debug,h2=info,hyper=info,tower=info,rustls=info,sqlx=info";
        let mut mesh = Self::laid_out(collector, log).await?;
        for (name, migrations, _) in SERVICES {
            mesh.databases.insert(name, Database::shared(name, migrations).await?);
        }
        for name in mesh.names() {
            mesh.launch(name).await?;
        }
        mesh.until_all_ready().await?;
        Ok(mesh)
    }

    /// A mesh that is to be broken: two of the gateway and of the services most asked, PostgreSQL and Redis of its
    /// own, and a [link](LinkName) between any two that call each other.
    ///
    /// # Errors
    /// When a process does not start.
    pub async fn start_breakable(options: Options) -> anyhow::Result<Self> {
        let mut mesh = Self::laid_out(None, "info").await?;
        let postgres = OwnPostgres::start(options).await?;
        mesh.databases =
            postgres.databases(SERVICES.into_iter().map(|(name, migrations, _)| (name, migrations))).await?;
        mesh.postgres = Some(postgres);
        for service in REPLICATED {
            let second = Name { service, replica: 2 };
            mesh.processes.insert(second, Process::new(second));
        }
        mesh.link().await?;
        for name in mesh.names() {
            mesh.begin(name)?;
        }
        mesh.until_all_ready().await?;
        Ok(mesh)
    }

    /// Everything that a mesh has before its databases and the first process.
    async fn laid_out(collector: Option<String>, log: &'static str) -> anyhow::Result<Self> {
        chassis::tls::install_provider();
        let folder = tempfile::tempdir()?;
        let authority = DevelopmentAuthority::open(&folder.path().join("pki"))?;
        let tokens = Signer::from_pem(&fs::read_to_string(authority.path("token.key"))?, Purpose::Token)?;
        let services = SERVICES.into_iter().map(|(name, ..)| name);
        let names = services.chain([GATEWAY, CIVIL_REGISTRY]).map(Name::from);
        Ok(Self {
            redis: Some(servers::redis(folder.path()).await?),
            folder,
            authority,
            tokens,
            databases: BTreeMap::new(),
            postgres: None,
            processes: names.map(|name| (name, Process::new(name))).collect(),
            certificates: BTreeMap::new(),
            links: BTreeMap::new(),
            collector,
            log,
        })
    }

    /// Opens a link for each pair that calls each other.
    async fn link(&mut self) -> anyhow::Result<()> {
        let postgres = self.postgres.as_ref().context("no PostgreSQL of its own")?.cluster.socket();
        let redis = self.redis.as_ref().context("no Redis")?.socket().to_owned();
        let mut wanted: Vec<(End, End)> = Vec::new();
        for name in self.names() {
            let process = End::Process(name);
            wanted.extend(self.asked_by(name).into_iter().map(|other| (process, End::Process(other))));
            if name.service == GATEWAY {
                wanted.push((End::Callers, process));
            } else if name.service != CIVIL_REGISTRY {
                wanted.extend([(process, End::Postgres), (process, End::Redis)]);
            }
        }
        for (from, to) in wanted {
            let target = match to {
                End::Process(name) => Target::Process(self.process(name)?.addresses()),
                End::Postgres => Target::Socket(postgres.clone()),
                End::Redis => Target::Socket(redis.clone()),
                End::Callers => bail!("nobody calls the callers"),
            };
            self.links.insert(LinkName { from, to }, Link::open(target).await?);
        }
        Ok(())
    }

    /// The processes that a process calls: every replica of a service it asks.
    fn asked_by(&self, name: Name) -> Vec<Name> {
        let services: Vec<&str> = match name.service {
            GATEWAY => SERVICES.iter().map(|(service, ..)| *service).collect(),
            service => SERVICES
                .iter()
                .filter(|(asking, ..)| *asking == service)
                .flat_map(|(_, _, asked)| asked.iter().copied())
                .chain((service == membership::Membership::NAME).then_some(CIVIL_REGISTRY))
                .collect(),
        };
        let of = |service| self.processes.keys().copied().filter(move |name| name.service == service);
        services.into_iter().flat_map(of).collect()
    }

    fn process(&self, name: Name) -> anyhow::Result<&Process> {
        self.processes.get(&name).with_context(|| format!("no process {name}"))
    }

    fn process_mut(&mut self, name: Name) -> anyhow::Result<&mut Process> {
        self.processes.get_mut(&name).with_context(|| format!("no process {name}"))
    }

    /// The address at which a process is reached from another, over the link between them where there is one.
    fn address(&self, from: End, to: Name) -> anyhow::Result<SocketAddr> {
        match self.links.get(&LinkName { from, to: End::Process(to) }) {
            Some(link) => Ok(link.address),
            None => Ok(self.process(to)?.listens_at()?.grpc),
        }
    }

    /// The address of the gateway.
    #[must_use]
    pub fn gateway(&self) -> String {
        self.gateways().swap_remove(0)
    }

    /// The addresses of all gateways, as institutions reach them.
    #[must_use]
    pub fn gateways(&self) -> Vec<String> {
        let gateways = self.processes.keys().filter(|name| name.service == GATEWAY);
        gateways
            .filter_map(|name| self.address(End::Callers, *name).ok())
            .map(|address| format!("http://{address}"))
            .collect()
    }

    /// The address of the stand-in for the civil registry.
    #[must_use]
    pub fn civil_registry(&self) -> String {
        let listens = self.processes[&CIVIL_REGISTRY.into()].listens_at();
        listens.map_or_else(|_| String::new(), |addresses| format!("http://{}", addresses.grpc))
    }

    /// The database of a service.
    #[must_use]
    pub fn database(&self, service: &str) -> &sqlx::PgPool {
        &self.databases[service].pool
    }

    /// The URL of the database of a service, past all links.
    #[must_use]
    pub fn database_url(&self, service: &str) -> &str {
        &self.databases[service].url
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
        self.token_for(caller, Duration::from_secs(3600))
    }

    /// The same, good for as long as is asked.
    ///
    /// # Errors
    /// When signing fails.
    pub fn token_for(&self, caller: &str, lifetime: Duration) -> anyhow::Result<String> {
        self.tokens.sign(&caller.parse::<Caller>()?, Timestamp::now(), lifetime)
    }

    /// The metrics page of a process.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn metrics(&self, name: impl Into<Name>) -> anyhow::Result<String> {
        let admin = self.process(name.into())?.listens_at()?.admin.context("no admin port")?;
        get(admin, "/metrics").await
    }

    /// Ends a process without a warning.
    ///
    /// # Errors
    /// When there is none.
    pub async fn kill(&mut self, name: impl Into<Name>) -> anyhow::Result<()> {
        self.process_mut(name.into())?.kill().await
    }

    /// Asks a process to stop, and tells how it ended.
    ///
    /// # Errors
    /// When it does not end.
    pub async fn stop(&mut self, name: impl Into<Name>) -> anyhow::Result<std::process::ExitStatus> {
        let process = self.process_mut(name.into())?;
        process.signal(Signal::TERM)?;
        process.stopped().await
    }

    /// Starts a process again on the port it had, and waits until it is ready.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn restart(&mut self, name: impl Into<Name>) -> anyhow::Result<()> {
        let name = name.into();
        self.launch(name).await?;
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
        SERVICES.iter().map(|(name, ..)| *name).collect()
    }

    /// The services that have a part in a call of one of them: it, those it asks, and those that they ask.
    #[must_use]
    pub fn involved(service: &str) -> Vec<&'static str> {
        let mut involved = Vec::new();
        let mut next: Vec<&str> = vec![service];
        while let Some(one) = next.pop() {
            if let Some((name, _, asked)) = SERVICES.iter().find(|(name, ..)| *name == one)
                && !involved.contains(name)
            {
                involved.push(*name);
                next.extend(*asked);
            }
        }
        involved
    }

    /// Every process, each after those it asks.
    fn names(&self) -> Vec<Name> {
        let order = [CIVIL_REGISTRY].into_iter().chain(Self::services()).chain([GATEWAY]);
        let of = |service| self.processes.keys().copied().filter(move |name| name.service == service);
        order.flat_map(of).collect()
    }

    fn log_path(&self, name: Name) -> PathBuf {
        self.folder.path().join(format!("{name}.log"))
    }

    /// Starts a process and waits until it listens.
    async fn launch(&mut self, name: Name) -> anyhow::Result<()> {
        self.begin(name)?;
        if let Err(error) = self.process_mut(name)?.announced().await {
            bail!("{name} did not start: {error:#}\n{}", self.end_of_log(name));
        }
        Ok(())
    }

    /// Starts a process; it listens a little later.
    fn begin(&mut self, name: Name) -> anyhow::Result<()> {
        let log = File::options().create(true).append(true).open(self.log_path(name))?;
        let mut command = Command::new(program()?);
        command
            .args(["--log", self.log, "serve", name.service])
            .env_remove("JKN_CONFIG")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log);
        if let Some(collector) = &self.collector {
            command.env("OTEL_EXPORTER_OTLP_ENDPOINT", collector).env("OTEL_BSP_SCHEDULE_DELAY", "100");
        }
        if name.service != CIVIL_REGISTRY {
            self.settle(&mut command, name)?;
        }
        self.process_mut(name)?.start(command)
    }

    fn settle(&mut self, command: &mut Command, name: Name) -> anyhow::Result<()> {
        let prefix = format!("JKN_{}__", name.service.to_uppercase().replace('-', "_"));
        let mut set = |key: &str, value: String| {
            command.env(format!("{prefix}{key}"), value);
        };
        let tls = self.certificate(name)?;
        set("TLS__CERTIFICATE", tls.certificate.display().to_string());
        set("TLS__KEY", tls.key.display().to_string());
        set("TLS__AUTHORITY", tls.authority.display().to_string());
        set("TLS__ASSERTION_KEY", tls.assertion_key.display().to_string());
        set("STOP_GRACE_SECONDS", "5".to_owned());
        let from = End::Process(name);
        let link = |to| self.links.get(&LinkName { from, to }).map(|link| link.address);
        // Links find a process wherever it listens; without them it must be found where it was.
        if let Some(address) = self.process(name)?.listened_at.filter(|_| self.links.is_empty()) {
            set("LISTEN", address.to_string());
        }
        match (self.databases.get(name.service), link(End::Postgres)) {
            (Some(_), Some(address)) => {
                set("DATABASE__URL", format!("postgres://jkn@{address}/{}", name.service));
            }
            (Some(database), None) => set("DATABASE__URL", database.url.clone()),
            (None, _) => {}
        }
        match (&self.redis, link(End::Redis)) {
            (Some(_), Some(address)) => set("REDIS__URL", format!("redis://{address}")),
            (Some(redis), None) => set("REDIS__URL", redis.url()),
            (None, _) => {}
        }
        let mut upstreams: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for other in self.asked_by(name) {
            let address = self.address(from, other)?;
            if other.service == CIVIL_REGISTRY {
                set("SERVICE__CIVIL_REGISTRY__URL", format!("http://{address}"));
            } else {
                upstreams.entry(other.service).or_default().push(format!("https://{address}"));
            }
        }
        for (service, addresses) in upstreams {
            set(&format!("UPSTREAM__{}", service.to_uppercase().replace('-', "_")), addresses.join(","));
        }
        if name.service == GATEWAY {
            set("SERVICE__PLAINTEXT", "true".to_owned());
            set("SERVICE__CALLER_KEY", self.authority.path("token.pub").display().to_string());
            set("SERVICE__ASSERTION_SIGNING_KEY", self.authority.path("assertion.key").display().to_string());
        }
        Ok(())
    }

    /// The certificate of a process, the same each time it is started.
    fn certificate(&mut self, name: Name) -> anyhow::Result<Tls> {
        if let Some(known) = self.certificates.get(&name) {
            return Ok(known.clone());
        }
        let issued = self.authority.issue(name.service, &Caller::service(name.service), Timestamp::now())?;
        // Replicas show the same one: it names the service.
        let of_service = self.processes.keys().filter(|other| other.service == name.service);
        self.certificates.extend(of_service.map(|other| (*other, issued.clone())));
        Ok(issued)
    }

    async fn until_all_ready(&mut self) -> anyhow::Result<()> {
        for name in self.names() {
            if let Err(error) = self.process_mut(name)?.announced().await {
                bail!("{name} did not start: {error:#}\n{}", self.end_of_log(name));
            }
            if name.service != CIVIL_REGISTRY {
                self.until_ready(name).await?;
            }
        }
        Ok(())
    }

    async fn until_ready(&self, name: Name) -> anyhow::Result<()> {
        let admin = self.process(name)?.listens_at()?.admin.context("no admin port")?;
        let ready = eventually(async || {
            get(admin, "/readyz").await.is_ok_and(|page| page.contains("200 OK")).then_some(())
        })
        .await;
        ready.with_context(|| format!("{name} is not ready:\n{}", self.end_of_log(name)))
    }

    fn end_of_log(&self, name: Name) -> String {
        let log = fs::read_to_string(self.log_path(name)).unwrap_or_default();
        let lines: Vec<_> = log.lines().collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }

    /// Copies the logs to where they outlive the mesh, for whoever looks for the cause of something.
    #[must_use]
    pub fn keep_logs(&self) -> PathBuf {
        let kept = std::env::temp_dir().join(format!("jkn-failed-{}", std::process::id()));
        let _best_effort = fs::create_dir_all(&kept);
        for name in self.processes.keys() {
            let _best_effort = fs::copy(self.log_path(*name), kept.join(format!("{name}.log")));
        }
        if let Some(postgres) = &self.postgres {
            let _best_effort = fs::copy(postgres.cluster.home().join("log"), kept.join("postgres.log"));
        }
        kept
    }

    /// What PostgreSQL has logged so far, when it is one of the mesh's own.
    #[must_use]
    pub fn postgres_log(&self) -> String {
        let log = self.postgres.as_ref().map(|postgres| postgres.cluster.home().join("log"));
        log.and_then(|log| fs::read_to_string(log).ok()).unwrap_or_default()
    }

    /// Everything the processes have logged so far.
    #[must_use]
    pub fn logs(&self) -> String {
        self.processes
            .keys()
            .map(|name| fs::read_to_string(self.log_path(*name)).unwrap_or_default())
            .collect()
    }
}

impl Drop for Mesh {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the logs of the mesh are in {}", self.keep_logs().display());
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
    let own = std::env::current_exe()?;
    // A test lies in a folder below that of the programs.
    let mut beside = own.ancestors().skip(1).take(2).map(|folder| folder.join("jkn"));
    beside.find(|program| program.exists()).with_context(|| {
        format!("no jkn beside {}; run `cargo build --workspace` first, as `make test` does", own.display())
    })
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
