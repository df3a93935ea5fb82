//! The operator's small tools: migrate, config, token.

use std::{fmt::Write as _, process::ExitCode, time::Duration};

use anyhow::{Context, ensure};
use chassis::{
    Caller, Db,
    config::Layers,
    identity::{Purpose, Signer},
    tls::DevelopmentAuthority,
};
use clap::Args;
use jiff::Timestamp;
use proto::options::v1::InstitutionKind;
use tokio_util::sync::CancellationToken;

use crate::{
    Place,
    processes::{PROCESSES, Process},
    runtime,
};

/// Arguments of `jkn migrate`.
#[derive(Debug, Args)]
pub(crate) struct Migrate {
    /// The services whose tables to create or update; all when none is named.
    names: Vec<String>,
}

impl Migrate {
    pub(crate) fn run(self, place: &Place) -> anyhow::Result<ExitCode> {
        let mut layers = place.layers();
        // Migrating opens no port, so it needs no certificate.
        layers.computed.insert("insecure-loopback".to_owned(), "true".to_owned());
        let named: Vec<_> =
            self.names.iter().map(|name| Process::named(name)).collect::<anyhow::Result<_>>()?;
        let all = || PROCESSES.iter().filter(|process| process.has_database()).collect();
        let processes: Vec<&Process> = if named.is_empty() { all() } else { named };
        runtime()?.block_on(async {
            for process in processes {
                migrate(process, &layers).await?;
                println!("{}: tables are up to date", process.name);
            }
            Ok(ExitCode::SUCCESS)
        })
    }
}

/// Creates or updates the tables of a process's database.
pub(crate) async fn migrate(process: &Process, layers: &Layers) -> anyhow::Result<()> {
    let settings = process.settings(layers)?;
    ensure!(process.has_database(), "{} has no database", process.name);
    let db =
        Db::connect(process.name, &settings.database, Duration::from_secs(30), CancellationToken::new())?;
    db.migrate((process.migrations)())
        .await
        .with_context(|| format!("migrating the database of {}", process.name))?;
    db.pool.close().await;
    Ok(())
}

/// Arguments of `jkn config`.
#[derive(Debug, Args)]
pub(crate) struct ShowConfig {
    /// The process whose settings to print.
    name: String,
}

impl ShowConfig {
    pub(crate) fn run(self, place: &Place) -> anyhow::Result<ExitCode> {
        let process = Process::named(&self.name)?;
        let mut text = String::new();
        for setting in place.layers().describe(process.name, process.defaults)? {
            let value = if setting.value.is_empty() { "\"\"" } else { &setting.value };
            writeln!(text, "{} = {value}    [{}]", setting.key, setting.origin)?;
            let is_unknown = setting.meaning.is_empty() && !setting.key.starts_with("upstream.");
            let meaning =
                if is_unknown { "NO SUCH SETTING: the process will not start" } else { &setting.meaning };
            if !meaning.is_empty() {
                writeln!(text, "    {meaning}")?;
            }
        }
        // A reader that has seen enough, as `head` has, is no fault.
        match std::io::Write::write_all(&mut std::io::stdout(), text.as_bytes()) {
            Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
            _ => Ok(ExitCode::SUCCESS),
        }
    }
}

/// Arguments of `jkn token`.
#[derive(Debug, Args)]
pub(crate) struct Token {
    /// The institution, KIND:ID, e.g. hospital:0301R011, fktp:03010001, bpjs:pusat, bank:bni, ministry:yankes, djsn:djsn.
    #[arg(long = "as", value_name = "KIND:ID")]
    caller: Caller,
    /// Hours until it expires.
    #[arg(long, default_value_t = 12, value_parser = clap::value_parser!(u64).range(1..=720))]
    hours: u64,
}

impl Token {
    pub(crate) fn run(self, place: &Place) -> anyhow::Result<ExitCode> {
        println!("{}", Tokens::of(place)?.token(&self.caller, Duration::from_secs(self.hours * 3600))?);
        Ok(ExitCode::SUCCESS)
    }
}

/// Makes development tokens with the key of the mesh in the data folder.
pub(crate) struct Tokens(Signer);

impl Tokens {
    /// Opens the key, and creates it when the mesh has none yet.
    pub(crate) fn of(place: &Place) -> anyhow::Result<Self> {
        let pki = place.data.join("pki");
        if !pki.exists() {
            eprintln!(
                "jkn: no mesh has run in {} yet, so it gets new keys; a mesh in another folder (--data) will not know them",
                place.data.display()
            );
        }
        let path = DevelopmentAuthority::open(&pki)?.path("token.key");
        let pem = std::fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
        Ok(Self(Signer::from_pem(&pem, Purpose::Token)?))
    }

    /// A token that names an institution.
    pub(crate) fn token(&self, caller: &Caller, lifetime: Duration) -> anyhow::Result<String> {
        ensure!(
            caller.kind != InstitutionKind::Service,
            "services prove themselves by certificate; the gateway takes no token of a service"
        );
        self.0.sign(caller, Timestamp::now(), lifetime)
    }
}
