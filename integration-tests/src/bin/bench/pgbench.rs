//! pgbench, which comes with PostgreSQL: what a database takes from clients that do nothing but one statement each.

use std::{fs, path::Path, process::Stdio, time::Duration};

use anyhow::Context;

use crate::{
    Bench,
    databases::Databases,
    process::Process,
    usage::{self, Reading},
};

/// How long it may take beyond its load.
const PATIENCE: Duration = Duration::from_secs(60);
/// Of how many transactions the latency is written down: a file of all would be a load of its own.
const LOGGED: &str = "0.1";

/// A script, run by so many clients.
pub(crate) struct Script {
    /// The statements of a transaction, in pgbench's own words.
    pub(crate) text: String,
    /// Clients at once.
    pub(crate) clients: u32,
    /// The database.
    pub(crate) database: String,
}

/// What came of it.
#[derive(Debug, Clone, Copy, serde::Serialize)]
pub(crate) struct Report {
    /// Transactions.
    pub(crate) transactions: f64,
    /// Transactions a second.
    pub(crate) rate: f64,
    /// Median time of a transaction, in microseconds.
    pub(crate) p50: u64,
    /// Processor time of PostgreSQL for a transaction, in microseconds.
    pub(crate) postgres_micros: f64,
}

impl Script {
    /// Runs it for so long, each client over one connection. `first` is the number that the variable `:first` holds:
    /// a script that counts from it never does the same twice.
    pub(crate) async fn run(
        &self,
        bench: &Bench,
        databases: &Databases,
        duration: Duration,
        first: u64,
    ) -> anyhow::Result<Report> {
        let folder = tempfile::tempdir_in(bench.folder())?;
        let script = folder.path().join("script.sql");
        fs::write(&script, &self.text)?;
        let mut command = Process::command(&databases.program("pgbench"), None);
        command
            .args(["-n", "-M", "prepared", "-j", "1", "-c", &self.clients.to_string()])
            .args(["-T", &duration.as_secs().to_string(), "-D", &format!("first={first}"), "-D", "turn=0"])
            .args(["-l", "--sampling-rate", LOGGED, "-f"])
            .arg(&script)
            .arg(databases.url(&self.database).await?)
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let postgres = [("postgres", databases.pid()?)];
        let before = Reading::take(&postgres)?;
        let pgbench = command.spawn().context("starting pgbench")?;
        let pid = i32::try_from(pgbench.id().context("pgbench has ended")?)?;
        usage::give_precedence(&[postgres[0], ("pgbench", pid)])?;
        let ended = tokio::time::timeout(duration + PATIENCE, pgbench.wait_with_output());
        let output = ended.await.context("pgbench does not end")??;
        let used = Reading::take(&postgres)?.since(&before);
        let said = String::from_utf8_lossy(&output.stdout);
        anyhow::ensure!(
            output.status.success(),
            "pgbench failed: {said}{}",
            String::from_utf8_lossy(&output.stderr)
        );
        let transactions = figure(&said, "number of transactions actually processed:")?;
        Ok(Report {
            transactions,
            rate: figure(&said, "tps =")?,
            p50: p50(folder.path())?,
            postgres_micros: used.by_name["postgres"].as_secs_f64() * 1e6 / transactions,
        })
    }
}

/// The number after a word of what pgbench says.
fn figure(said: &str, name: &str) -> anyhow::Result<f64> {
    let line = said.lines().find_map(|line| line.strip_prefix(name));
    let word = line.and_then(|rest| rest.split_whitespace().next());
    word.and_then(|word| word.parse().ok()).with_context(|| format!("pgbench did not say its {name} {said}"))
}

/// The median of the times it wrote down: the third word of each line.
fn p50(folder: &Path) -> anyhow::Result<u64> {
    let mut times = Vec::new();
    for file in fs::read_dir(folder)? {
        let file = file?.path();
        if file.extension().is_some_and(|extension| extension == "sql") {
            continue;
        }
        for line in fs::read_to_string(&file)?.lines() {
            let time = line.split_whitespace().nth(2).context("a line without a time")?;
            times.push(time.parse::<u64>()?);
        }
    }
    times.sort_unstable();
    times.get(times.len() / 2).copied().context("pgbench wrote no times down")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_pgbench_says_is_read() {
        let said = "number of transactions actually processed: 1234\nlatency average = 1.5 ms\ntps = 987.6 (without initial connection time)\n";
        assert_eq!(figure(said, "tps =").unwrap(), 987.6);
        assert!(figure(said, "number of threads:").is_err());
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("script.sql"), "select 1").unwrap();
        fs::write(folder.path().join("pgbench_log.7"), "0 1 30 0 1 1\n1 1 10 0 1 2\n0 2 20 0 1 3\n").unwrap();
        assert_eq!(p50(folder.path()).unwrap(), 20);
    }
}
