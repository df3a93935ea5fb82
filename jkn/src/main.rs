//! `jkn`: the whole mesh for a person, one service for Kubernetes, and the operator's tools.
#![expect(clippy::print_stdout, reason = "what this program has to say, it says on standard output")]

mod audit;
mod journey;
mod operate;
mod processes;
mod seed;
mod serve;
mod stop;
mod up;

use std::{path::PathBuf, process::ExitCode};

use chassis::{config::Layers, telemetry::LogFormat};
use clap::{Args, Parser, Subcommand, ValueEnum};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Exit status for settings or arguments that cannot be used (EX_USAGE).
const EXIT_USAGE: u8 = 64;

/// The mesh that joins the systems of Indonesia's national health insurance (JKN).
#[derive(Debug, Parser)]
#[command(name = "jkn", version, max_term_width = 100)]
struct Program {
    #[command(flatten)]
    place: Place,
    #[command(subcommand)]
    command: Command,
}

/// Where a command finds its settings and data.
#[derive(Debug, Clone, Args)]
pub(crate) struct Place {
    /// Settings file in TOML, with a section for each process, e.g. [claims].
    #[arg(long, env = "JKN_CONFIG", global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Folder of a development mesh: its databases, certificates and keys.
    #[arg(long, env = "JKN_DATA", global = true, value_name = "FOLDER", default_value = ".jkn")]
    data: PathBuf,
    /// Which log lines to write, e.g. info or warn,claims=debug.
    #[arg(
        long,
        env = "JKN_LOG",
        global = true,
        value_name = "FILTER",
        default_value = "info,sqlx::postgres::notice=warn"
    )]
    log: String,
    /// How to write log lines.
    #[arg(long, env = "JKN_LOG_FORMAT", global = true, value_name = "FORMAT", default_value = "human")]
    log_format: Format,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Format {
    Human,
    Json,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the whole mesh in this process, with databases and certificates of its own unless others are configured.
    Up(up::Up),
    /// Run one service, or the gateway, as its own process.
    Serve(serve::Serve),
    /// Create or update the tables of a service's database, or of all.
    Migrate(operate::Migrate),
    /// Print every effective setting of a process, where it comes from and what it means.
    Config(operate::ShowConfig),
    /// Print a development token for an institution.
    Token(operate::Token),
    /// Walk one family's journey through the six systems, and show which integrations are live.
    Journey(journey::Journey),
    /// Fill the databases with a synthetic nation.
    Seed(seed::Seed),
    /// Check the draw of an audit from what was published.
    Audit(audit::Audit),
}

fn main() -> ExitCode {
    chassis::tls::install_provider();
    let Program { place, command } = Program::parse();
    let done = match command {
        Command::Up(up) => up.run(&place),
        Command::Serve(serve) => serve.run(&place),
        Command::Migrate(migrate) => migrate.run(&place),
        Command::Config(show) => show.run(&place),
        Command::Token(token) => token.run(&place),
        Command::Journey(journey) => journey.run(&place),
        Command::Seed(seed) => seed.run(&place),
        Command::Audit(audit) => audit.run(),
    };
    done.unwrap_or_else(|error| {
        eprintln!("jkn: {error:#}");
        ExitCode::from(EXIT_USAGE)
    })
}

impl Place {
    /// The layers of settings, without what a command works out itself.
    fn layers(&self) -> Layers {
        let mut processes = processes::names();
        processes.push(serve::CIVIL_REGISTRY);
        Layers {
            file: self.config.clone(),
            // What is not Unicode is no setting of ours.
            environment: std::env::vars_os()
                .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
                .collect(),
            processes,
            ..Layers::default()
        }
    }

    fn log_format(&self) -> LogFormat {
        match self.log_format {
            Format::Human => LogFormat::Human,
            Format::Json => LogFormat::Json,
        }
    }
}

/// The runtime of what is not a service: commands, children, the export of telemetry.
fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?)
}
