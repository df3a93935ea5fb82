//! Processes of the mesh under measurement, and the authority that proves who they are.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::Context;
use chassis::{
    Caller,
    identity::{Purpose, Signer},
    tls::DevelopmentAuthority,
};
use jiff::Timestamp;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    process::Command,
};

use crate::{Bench, load, process::Process};

/// How long a process may take to be ready.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often it is asked; short beside what is measured with it.
const ASK_EVERY: Duration = Duration::from_millis(2);

/// The keys and certificates of a mesh.
pub(crate) struct Authority(DevelopmentAuthority);

/// Settings of a process: dotted keys without its prefix, in the form of the environment.
pub(crate) type Settings = Vec<(String, String)>;

impl Authority {
    /// The authority in the folder of the measurements.
    pub(crate) fn open(bench: &Bench) -> anyhow::Result<Self> {
        Ok(Self(DevelopmentAuthority::open(&bench.folder().join("pki"))?))
    }

    /// A file of the authority.
    pub(crate) fn path(&self, file: &str) -> String {
        self.0.path(file).display().to_string()
    }

    /// The settings with which a process proves who it is.
    pub(crate) fn settings(&self, name: &str) -> anyhow::Result<Settings> {
        let tls = self.0.issue(name, &Caller::service(name), Timestamp::now())?;
        let text = |path: &Path| path.display().to_string();
        Ok(vec![
            ("TLS__CERTIFICATE".to_owned(), text(&tls.certificate)),
            ("TLS__KEY".to_owned(), text(&tls.key)),
            ("TLS__AUTHORITY".to_owned(), text(&tls.authority)),
            ("TLS__ASSERTION_KEY".to_owned(), text(&tls.assertion_key)),
        ])
    }

    /// The certificates with which the load generator calls a server as a service of the mesh.
    pub(crate) fn client(&self, service: &str, server: &str) -> anyhow::Result<load::Tls> {
        let tls = self.0.issue(&format!("load-{service}"), &Caller::service(service), Timestamp::now())?;
        Ok(load::Tls {
            certificate: tls.certificate,
            key: tls.key,
            authority: tls.authority,
            server: server.to_owned(),
        })
    }

    /// What signs tokens for the gateway, or the gateway's word to a service.
    pub(crate) fn signer(&self, purpose: Purpose) -> anyhow::Result<Signer> {
        let file = match purpose {
            Purpose::Token => "token.key",
            Purpose::Assertion => "assertion.key",
        };
        Signer::from_pem(&std::fs::read_to_string(self.0.path(file))?, purpose)
    }
}

/// A process that is ready.
pub(crate) struct Served {
    /// The process.
    pub(crate) process: Process,
    /// Where it answers.
    pub(crate) grpc: SocketAddr,
    /// From its start until it was ready.
    pub(crate) ready_after: Duration,
}

/// The program of the mesh, built beside this one.
pub(crate) fn program() -> anyhow::Result<PathBuf> {
    let program = std::env::current_exe()?.with_file_name("jkn");
    anyhow::ensure!(
        program.exists(),
        "{} is missing; `make bench` builds it: cargo build --workspace --release",
        program.display()
    );
    Ok(program)
}

/// A command with the settings of a process.
pub(crate) fn configured(mut command: Command, process: &str, settings: &Settings) -> Command {
    let prefix = format!("JKN_{}__", process.to_uppercase().replace('-', "_"));
    command.env_remove("JKN_CONFIG").env_remove("OTEL_EXPORTER_OTLP_ENDPOINT");
    for (key, value) in settings {
        command.env(format!("{prefix}{key}"), value);
    }
    command
}

/// Starts a process of the mesh and waits until it is ready.
pub(crate) async fn start(
    bench: &Bench,
    name: &str,
    processor: Option<usize>,
    settings: &Settings,
) -> anyhow::Result<Served> {
    let mut command = Process::command(&program()?, processor);
    command.args(["serve", name]);
    until_ready(name, configured(command, name, settings), bench.folder()).await
}

/// Starts a process that says where it listens, and waits until it is ready.
pub(crate) async fn until_ready(name: &str, command: Command, folder: &Path) -> anyhow::Result<Served> {
    let begun = Instant::now();
    let mut process = Process::start(command, name, folder)?;
    let ready = async {
        let addresses = process.addresses().await?;
        let admin = *addresses.get(1).context("no admin address")?;
        while !is_ready(admin).await {
            tokio::time::sleep(ASK_EVERY).await;
        }
        anyhow::Ok(addresses[0])
    };
    let ready =
        tokio::time::timeout(PATIENCE, ready).await.context("it is not ready").and_then(|ready| ready);
    let ready_after = begun.elapsed();
    let grpc = ready.with_context(|| format!("{name}:\n{}", process.last_words()))?;
    Ok(Served { process, grpc, ready_after })
}

async fn is_ready(admin: SocketAddr) -> bool {
    let asked = async {
        let mut stream = TcpStream::connect(admin).await?;
        stream.write_all(b"GET /readyz HTTP/1.0\r\n\r\n").await?;
        let mut page = String::new();
        stream.read_to_string(&mut page).await?;
        std::io::Result::Ok(page)
    };
    asked.await.is_ok_and(|page| page.contains("200 OK"))
}
