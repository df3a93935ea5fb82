//! `jkn up`: the whole mesh in one process. Each service has its own thread, runtime and loopback port, and is reached
//! by the others as in production; what is not configured (databases, Redis, certificates) the mesh brings along.

use std::{
    collections::BTreeMap,
    fs::{self, File, TryLockError},
    net::SocketAddr,
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use chassis::{
    Caller,
    config::Layers,
    host::{Addresses, Ports},
    telemetry::{self, Telemetry},
    tls::DevelopmentAuthority,
};
use clap::Args;
use embedded::{postgres, redis};
use indicatif::ProgressBar;
use jiff::Timestamp;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::mpsc,
};
use tokio_util::sync::CancellationToken;

use crate::{
    Place, journey, operate,
    processes::{PROCESSES, Process},
    runtime, stop,
};

/// How long the mesh may take until every process is ready.
const READY: Duration = Duration::from_secs(60);

/// Arguments of `jkn up`.
#[derive(Debug, Args)]
pub(crate) struct Up {
    /// Walk the journey once the mesh is ready, and stay up.
    #[arg(long)]
    journey: bool,
}

impl Up {
    pub(crate) fn run(self, place: &Place) -> anyhow::Result<ExitCode> {
        let main = runtime()?;
        let _entered = main.enter();
        let telemetry = telemetry::start("mesh", place.log_format(), &place.log)?;
        telemetry::hide_panic_messages();
        let stop = stop::on_signal()?;
        let code = main.block_on(self.stay_up(place, telemetry.clone(), stop))?;
        telemetry.flush();
        Ok(code)
    }

    async fn stay_up(
        self,
        place: &Place,
        telemetry: Telemetry,
        stop: CancellationToken,
    ) -> anyhow::Result<ExitCode> {
        fs::create_dir_all(&place.data).with_context(|| format!("creating {}", place.data.display()))?;
        let _lock = lock(place)?;
        let authority = DevelopmentAuthority::open(&place.data.join("pki"))?;
        let mut layers = settings_of_all(place, &authority)?;

        // Ports before any serious work, so that a taken one is known at once.
        let registry = TcpListener::bind(("127.0.0.1", 0)).await?;
        let registry_address = registry.local_addr()?;
        let mut ports = Vec::new();
        for process in &PROCESSES {
            let settings = process.settings(&layers[process.name])?;
            let bound = Ports::bind(settings.listen, settings.admin_listen).with_context(|| {
                format!(
                    "{}: another mesh may be running; JKN_{}__LISTEN chooses another port",
                    process.name,
                    process.name.to_uppercase().replace('-', "_")
                )
            })?;
            ports.push((process, bound));
        }
        let addresses: BTreeMap<_, _> = ports
            .iter()
            .map(|(process, bound)| Ok((process.name, bound.addresses()?)))
            .collect::<anyhow::Result<_>>()?;
        tell_each_other(&mut layers, &addresses, registry_address);

        let progress = Progress::new();
        let Some(stores) =
            stop.run_until_cancelled(Stores::start(place, &mut layers, &progress)).await.transpose()?
        else {
            return Ok(ExitCode::SUCCESS);
        };
        for process in PROCESSES.iter().filter(|process| process.has_database()) {
            progress.say(format!("{}: creating or updating its tables", process.name));
            let migrating = operate::migrate(process, &layers[process.name]);
            let Some(migrated) = stop.run_until_cancelled(migrating).await else {
                stores.stop().await?;
                return Ok(ExitCode::SUCCESS);
            };
            if let Err(error) = migrated {
                stores.stop().await?;
                return Err(error);
            }
        }

        // From here on the processes write their log lines.
        drop(progress);
        let mesh_stop = CancellationToken::new();
        let simulator = tokio::spawn(civil_registry::serve(
            registry,
            civil_registry::Residents::default(),
            mesh_stop.clone(),
        ));
        let (ended, mut endings) = mpsc::unbounded_channel();
        let mut threads = Vec::new();
        for (process, bound) in ports {
            let (layers, telemetry, stop, ended) =
                (layers[process.name].clone(), telemetry.clone(), mesh_stop.clone(), ended.clone());
            threads.push(std::thread::Builder::new().name(process.name.to_owned()).spawn(move || {
                let run = std::panic::AssertUnwindSafe(|| process.run(&layers, bound, telemetry, stop));
                let outcome =
                    std::panic::catch_unwind(run).unwrap_or_else(|_| Err(anyhow::anyhow!("it panicked")));
                let _nobody_waits = ended.send((process.name, outcome));
            })?);
        }
        drop(ended);

        let outcome = tokio::select! {
            lived = self.live(place, &addresses, registry_address, &stop) => lived,
            Some((name, ending)) = endings.recv() => match ending {
                Ok(()) => Err(anyhow::anyhow!("{name} ended by itself")),
                Err(error) => Err(error.context(name)),
            },
        };
        mesh_stop.cancel();
        while let Some((name, ending)) = endings.recv().await {
            if let Err(error) = ending {
                tracing::error!(process = name, error = format!("{error:#}"), "ended with an error");
            }
        }
        for thread in threads {
            let _told_above = thread.join();
        }
        simulator.await??;
        stores.stop().await?;
        outcome
    }

    /// Until the mesh is told to stop.
    async fn live(
        &self,
        place: &Place,
        addresses: &BTreeMap<&'static str, Addresses>,
        registry: SocketAddr,
        stop: &CancellationToken,
    ) -> anyhow::Result<ExitCode> {
        let begun = Instant::now();
        for (name, address) in addresses {
            while !answers_ready(address.admin).await {
                if begun.elapsed() > READY {
                    bail!("{name} was not ready within {} s", READY.as_secs());
                }
                if stop.run_until_cancelled(tokio::time::sleep(Duration::from_millis(20))).await.is_none() {
                    return Ok(ExitCode::SUCCESS);
                }
            }
        }
        let gateway = addresses[gateway::NAME].grpc;
        fs::write(place.data.join(journey::CIVIL_REGISTRY_FILE), format!("http://{registry}"))?;
        println!("The mesh is up.");
        println!(
            "  gateway  http://{gateway}   gRPC without TLS, development tokens: jkn token --as hospital:0301R011"
        );
        println!("  metrics  http://{}/metrics", addresses[gateway::NAME].admin);
        println!("  civil registry stand-in  http://{registry}");
        let mut code = ExitCode::SUCCESS;
        if self.journey {
            let walk = journey::Journey::on(format!("http://{gateway}"), format!("http://{registry}"));
            match stop.run_until_cancelled(walk.walk(place)).await {
                None => {}
                Some(Ok(walked)) => code = walked,
                Some(Err(error)) => {
                    eprintln!("jkn: the journey ended early: {error:#}");
                    code = ExitCode::FAILURE;
                }
            }
            println!("The mesh stays up; Ctrl-C stops it.");
        }
        stop.cancelled().await;
        Ok(code)
    }
}

/// Two meshes in one folder would share databases and keys. The lock goes with the process, however it ends.
fn lock(place: &Place) -> anyhow::Result<File> {
    let path = place.data.join("lock");
    let lock = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .with_context(|| format!("opening {}", path.display()))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => bail!(
            "a mesh is already running on {}; stop it, or choose another folder with --data",
            place.data.display()
        ),
        Err(TryLockError::Error(error)) => Err(error).context("locking the data folder"),
    }
}

/// The layers of each process, with certificates and, for the gateway, keys and port.
fn settings_of_all(
    place: &Place,
    authority: &DevelopmentAuthority,
) -> anyhow::Result<BTreeMap<&'static str, Layers>> {
    let mut all = BTreeMap::new();
    for process in &PROCESSES {
        let mut layers = place.layers();
        let tls = authority.issue(process.name, &Caller::service(process.name), Timestamp::now())?;
        let mut set = |key: &str, value: String| layers.computed.insert(key.to_owned(), value);
        for (key, path) in [
            ("certificate", tls.certificate),
            ("key", tls.key),
            ("authority", tls.authority),
            ("assertion-key", tls.assertion_key),
        ] {
            set(&format!("tls.{key}"), path.display().to_string());
        }
        if process.name == gateway::NAME {
            set("listen", "127.0.0.1:8080".to_owned());
            set("service.plaintext", "true".to_owned());
            set("service.caller-key", authority.path("token.pub").display().to_string());
            set("service.assertion-signing-key", authority.path("assertion.key").display().to_string());
        }
        all.insert(process.name, layers);
    }
    Ok(all)
}

fn tell_each_other(
    layers: &mut BTreeMap<&'static str, Layers>,
    addresses: &BTreeMap<&'static str, Addresses>,
    registry: SocketAddr,
) {
    for (process, layers) in layers.iter_mut() {
        for (name, address) in
            addresses.iter().filter(|(name, _)| *name != process && **name != gateway::NAME)
        {
            layers.computed.insert(format!("upstream.{name}"), format!("https://{}", address.grpc));
        }
        if *process == <membership::Membership as chassis::Service>::NAME {
            layers.computed.insert("service.civil-registry.url".to_owned(), format!("http://{registry}"));
        }
    }
}

/// The databases and the Redis that the mesh brought along.
struct Stores {
    cluster: Option<postgres::Cluster>,
    redis: Option<redis::Server>,
}

impl Stores {
    /// Starts what is not configured and tells the processes.
    async fn start(
        place: &Place,
        layers: &mut BTreeMap<&'static str, Layers>,
        progress: &Progress,
    ) -> anyhow::Result<Self> {
        let mut stores = Self { cluster: None, redis: None };
        let (mut without_database, mut without_redis) = (Vec::new(), Vec::new());
        for process in PROCESSES.iter().filter(|process| process.has_database()) {
            let effective = layers[process.name].describe(process.name, process.defaults)?;
            let is_empty =
                |key: &str| effective.iter().any(|setting| setting.key == key && setting.value.is_empty());
            if is_empty("database.url") {
                without_database.push(process);
            }
            if is_empty("redis.url") {
                without_redis.push(process);
            }
        }
        let mut set = |process: &Process, key: &str, value: String| {
            if let Some(layers) = layers.get_mut(process.name) {
                layers.computed.insert(key.to_owned(), value);
            }
        };
        if !without_database.is_empty() {
            progress.say("starting a private PostgreSQL; the first time it is created".to_owned());
            let cluster = postgres::Cluster::start(&place.data, postgres::Options::default()).await?;
            for process in without_database {
                let database = process.name.replace('-', "_");
                cluster.ensure_database(&database).await?;
                set(process, "database.url", cluster.url(&database));
            }
            progress
                .aside(|| tracing::info!(folder = %cluster.home().display(), "a private PostgreSQL is up"));
            stores.cluster = Some(cluster);
        }
        if !without_redis.is_empty() {
            match redis::Server::start(&place.data).await? {
                Some(server) => {
                    for process in without_redis {
                        set(process, "redis.url", server.url());
                    }
                    progress.aside(|| tracing::info!("a private Redis is up"));
                    stores.redis = Some(server);
                }
                None => progress.aside(|| {
                    tracing::info!("redis-server is not installed; events are followed over gRPC alone");
                }),
            }
        }
        Ok(stores)
    }

    async fn stop(self) -> anyhow::Result<()> {
        if let Some(redis) = self.redis {
            redis.stop().await?;
        }
        if let Some(cluster) = self.cluster {
            cluster.stop().await?;
        }
        Ok(())
    }
}

/// What takes a while, on a terminal: a spinner, as long as this value lives.
struct Progress(ProgressBar);

impl Progress {
    fn new() -> Self {
        // Draws on standard error, and nothing where that is no terminal.
        let spinner = ProgressBar::new_spinner();
        spinner.enable_steady_tick(Duration::from_millis(120));
        Self(spinner)
    }

    fn say(&self, what: String) {
        self.0.set_message(what);
    }

    /// Writes a line without the spinner in its way.
    fn aside(&self, write: impl FnOnce()) {
        self.0.suspend(write);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

/// Whether the probe of a process says it is ready.
async fn answers_ready(admin: SocketAddr) -> bool {
    let ask = async {
        let mut stream = TcpStream::connect(admin).await?;
        stream.write_all(b"GET /readyz HTTP/1.0\r\n\r\n").await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        anyhow::Ok(answer.starts_with("HTTP/1.0 200"))
    };
    matches!(tokio::time::timeout(Duration::from_secs(2), ask).await, Ok(Ok(true)))
}
