//! `make bench`: what the mesh costs beside a peer that is loaded in turn with it, on the same machine, in the same
//! minutes. Absolute figures change with the machine and the hour; ratios hold. `docs/benchmarks.md` tells how to read
//! and how to add a row.
//!
//! - [`rows`]: the rows, a file each; [`row`]: goal and verdict; [`table`]: what a person reads
//! - [`trial`]: one repetition; [`usage`]: what processes used; [`load`]: the load generator
//! - [`echo`], [`nginx`], [`pgbench`]: the peers; [`skeleton`], [`serve`]: what is measured
//! - [`databases`], [`collector`]: what that needs; [`process`]: processes on processors of their own
#![expect(clippy::print_stdout, reason = "the table is what this program has to say")]

mod collector;
mod databases;
mod echo;
mod load;
mod nginx;
mod pgbench;
mod process;
mod row;
mod rows;
mod serve;
mod skeleton;
mod table;
mod trial;
mod usage;

use std::{
    fs,
    io::Write,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use anyhow::Context;
use clap::{Parser, Subcommand};
use serde_json::Value;
use tokio::signal::unix::{SignalKind, signal};

use crate::{process::Processors, rows::ROWS};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Measures the mesh beside its peers, prints a table and writes bench.json.
#[derive(Debug, Parser)]
struct Program {
    #[command(subcommand)]
    part: Option<Part>,
    /// Run the rows of this name only; may be repeated.
    #[arg(long = "row", value_name = "NAME")]
    rows: Vec<String>,
    /// How often each side is measured.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=100))]
    reps: u16,
    /// Seconds that one measurement takes.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=60))]
    seconds: u16,
    /// The nginx that the gateway is measured beside.
    #[arg(long, value_name = "FILE", default_value = "nginx")]
    nginx: PathBuf,
}

/// The processes that this program starts of itself.
#[derive(Debug, Subcommand)]
enum Part {
    /// The load generator.
    #[command(hide = true)]
    Load,
    /// The bare server.
    #[command(hide = true)]
    Echo,
    /// The least service of the chassis.
    #[command(hide = true)]
    Skeleton,
}

/// What every row is measured with.
pub(crate) struct Bench {
    /// How often each side is measured.
    pub(crate) repetitions: u16,
    /// How long one measurement takes.
    pub(crate) duration: Duration,
    /// Where processes run.
    pub(crate) processors: Processors,
    /// The program nginx.
    pub(crate) nginx: PathBuf,
    folder: tempfile::TempDir,
}

impl Bench {
    /// Where keys, settings and logs of the measured processes lie.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Says how far it is.
    pub(crate) fn tell(&self, text: &str) {
        eprintln!("{text}");
    }
}

/// Says a line to whoever started this process.
pub(crate) fn say(line: &str) -> anyhow::Result<()> {
    println!("{line}");
    Ok(std::io::stdout().flush()?)
}

fn main() -> ExitCode {
    let program = Program::parse();
    let done = match program.part {
        Some(Part::Load) => load::run().map(|()| ExitCode::SUCCESS),
        Some(Part::Echo) => echo::run().map(|()| ExitCode::SUCCESS),
        Some(Part::Skeleton) => skeleton::run().map(|()| ExitCode::SUCCESS),
        None => program.measure(),
    };
    done.unwrap_or_else(|error| {
        eprintln!("bench: {error:#}");
        ExitCode::FAILURE
    })
}

impl Program {
    fn measure(self) -> anyhow::Result<ExitCode> {
        let known: Vec<_> = ROWS.iter().flat_map(|rows| rows.names).collect();
        for name in &self.rows {
            anyhow::ensure!(
                known.iter().any(|known| *known == name),
                "there is no row {name}; they are: {known:?}"
            );
        }
        if cfg!(debug_assertions) {
            eprintln!("bench: this is not a release build: its figures say nothing");
        }
        chassis::tls::install_provider();
        // The database of the mesh runs as a user of its own, which must be able to pass.
        let folder = tempfile::Builder::new()
            .prefix("jkn-bench-")
            .permissions(fs::Permissions::from_mode(0o755))
            .tempdir()?;
        let bench = Bench {
            repetitions: self.reps,
            duration: Duration::from_secs(self.seconds.into()),
            processors: Processors::find()?,
            nginx: self.nginx.clone(),
            folder,
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let mut terminated = signal(SignalKind::terminate())?;
            // What was started ends with the measurement that is given up.
            tokio::select! {
                measured = self.measure_rows(&bench) => measured,
                _ = tokio::signal::ctrl_c() => anyhow::bail!("interrupted"),
                _ = terminated.recv() => anyhow::bail!("terminated"),
            }
        })
    }

    async fn measure_rows(&self, bench: &Bench) -> anyhow::Result<ExitCode> {
        let (mut verdicts, mut lines) = (Vec::new(), Vec::new());
        let mut failures: Vec<&str> = Vec::new();
        for rows in ROWS.iter().filter(|rows| self.wants(rows.names)) {
            bench.tell(rows.names.join(", ").as_str());
            let judged = (rows.measure)(bench)
                .await
                .and_then(|rows| rows.into_iter().map(row::Row::judge).collect::<anyhow::Result<Vec<_>>>());
            match judged {
                Ok(judged) => {
                    for verdict in judged {
                        lines.push(serde_json::to_value(&verdict)?);
                        verdicts.push(verdict);
                    }
                }
                Err(error) => {
                    bench.tell(&format!("  failed: {error:#}"));
                    lines.extend(row::failed(rows.names, &error));
                    failures.extend(rows.names);
                }
            }
        }
        let file = write(&lines)?;
        println!("{}\nWritten to {}.", table::of(&verdicts), file.display());
        if failures.is_empty() {
            return Ok(ExitCode::SUCCESS);
        }
        eprintln!("bench: not measured: {}", failures.join(", "));
        Ok(ExitCode::FAILURE)
    }

    fn wants(&self, names: &[&str]) -> bool {
        self.rows.is_empty() || names.iter().any(|name| self.rows.iter().any(|wanted| wanted == name))
    }
}

/// Writes the rows beside the build they were measured with.
fn write(lines: &[Value]) -> anyhow::Result<PathBuf> {
    let program = std::env::current_exe()?;
    let target = program.parent().and_then(Path::parent).context("no build folder")?;
    let file = target.join("bench.json");
    fs::write(&file, serde_json::to_string_pretty(lines)?)
        .with_context(|| format!("writing {}", file.display()))?;
    Ok(file)
}
