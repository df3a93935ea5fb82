//! `make soak MINUTES=n SEED=s`: a campaign against the mesh (docs/campaign.md). Prints what came of it; the exit status
//! says whether anything was found that must not be.
#![expect(clippy::print_stdout, reason = "what this program has to say, it says on standard output")]

use std::{process::ExitCode, time::Duration};

use clap::Parser;
use embedded::postgres::Options;
use integration_tests::{
    Mesh,
    campaign::{self, Kind, Settings, Summary, Until, Work},
};

/// Breaks a mesh of its own in every way for some minutes, and proves that nothing is lost and nothing happens twice.
#[derive(Debug, Parser)]
struct Soak {
    /// How long the mesh is broken.
    #[arg(long, default_value_t = 10.0)]
    minutes: f64,
    /// From which the blows and the callers' choices follow.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Callers at once.
    #[arg(long, default_value_t = 48)]
    callers: usize,
    /// Print the summary as JSON.
    #[arg(long)]
    json: bool,
    /// Keep the logs of the mesh also when nothing was found.
    #[arg(long)]
    keep_logs: bool,
}

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    let soak = Soak::parse();
    let mut mesh = Mesh::start_breakable(Options::default()).await?;
    let settings = Settings {
        seed: soak.seed,
        callers: soak.callers,
        work: Work::All,
        until: Until { elapsed: Duration::from_secs_f64(soak.minutes * 60.0), ..Until::default() },
        kinds: Kind::ALL.to_vec(),
        pause: Duration::from_millis(500)..Duration::from_millis(3_500),
    };
    let led = tokio::select! {
        led = campaign::run(&mut mesh, &settings) => Some(led),
        _ = tokio::signal::ctrl_c() => None,
    };
    let clean = led.as_ref().is_some_and(|led| led.as_ref().is_ok_and(Summary::is_clean));
    if soak.keep_logs || !clean {
        eprintln!("soak: the logs of the mesh are in {}", mesh.keep_logs().display());
    }
    mesh.end().await?;
    let Some(summary) = led.transpose()? else {
        eprintln!("soak: interrupted; nothing was judged");
        return Ok(ExitCode::FAILURE);
    };
    if soak.json {
        println!("{}", serde_json::to_string_pretty(&summary)?);
    } else {
        println!("{summary}");
    }
    Ok(if summary.is_clean() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
