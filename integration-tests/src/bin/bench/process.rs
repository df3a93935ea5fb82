//! Processes of a measurement: started on a processor of their own, ended with the measurement.

use std::{
    fs::{self, File},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal};
use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout, Command},
};

/// How long a process may take to say where it listens, or to end.
const PATIENCE: Duration = Duration::from_secs(30);

/// The processors that measurements use: one for the server under test, one for all else.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Processors {
    /// Of the server under test.
    pub(crate) server: usize,
    /// Of the load generator, and of what the server asks.
    pub(crate) rest: usize,
}

impl Processors {
    /// The first two that this process may use.
    pub(crate) fn find() -> anyhow::Result<Self> {
        let usable = rustix::thread::sched_getaffinity(None)?;
        let mut usable = (0..rustix::thread::CpuSet::MAX_CPU).filter(|processor| usable.is_set(*processor));
        match (usable.next(), usable.next()) {
            (Some(server), Some(rest)) => Ok(Self { server, rest }),
            _ => bail!("a measurement needs two processors: one for the server, one for the load"),
        }
    }
}

/// A process that ends with this value, and with this program however that ends.
pub(crate) struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    /// A command for a program; on one processor only, if one is named.
    pub(crate) fn command(program: &Path, processor: Option<usize>) -> Command {
        // Asks the system to end it when this program is killed. A session of its own can be given precedence.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "TERM", "setsid"]);
        if let Some(processor) = processor {
            command.args(["taskset", "--cpu-list", &processor.to_string()]);
        }
        command.arg(program);
        command
    }

    /// Starts it. What it writes to standard error goes to a file in the folder.
    pub(crate) fn start(mut command: Command, name: &str, folder: &Path) -> anyhow::Result<Self> {
        let log = folder.join(format!("{name}.log"));
        let errors = File::options().create(true).append(true).open(&log)?;
        let child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(errors)
            .spawn()
            .with_context(|| format!("starting {name}"))?;
        Ok(Self { child, log })
    }

    /// Its number.
    pub(crate) fn pid(&self) -> anyhow::Result<i32> {
        Ok(i32::try_from(self.child.id().context("it has ended")?)?)
    }

    /// What it says, and what it is told.
    pub(crate) fn conversation(&mut self) -> anyhow::Result<(Lines<BufReader<ChildStdout>>, ChildStdin)> {
        let says = self.child.stdout.take().context("no standard output")?;
        Ok((BufReader::new(says).lines(), self.child.stdin.take().context("no standard input")?))
    }

    /// The addresses in the first line it says, e.g. `membership listening on ADDRESS, admin ADDRESS`.
    pub(crate) async fn addresses(&mut self) -> anyhow::Result<Vec<SocketAddr>> {
        let says = self.child.stdout.take().context("no standard output")?;
        let mut lines = BufReader::new(says).lines();
        let line = tokio::time::timeout(PATIENCE, lines.next_line()).await??;
        let found: Vec<_> = line
            .iter()
            .flat_map(|line| line.split([' ', ',']))
            .filter_map(|word| word.parse().ok())
            .collect();
        anyhow::ensure!(!found.is_empty(), "it did not say where it listens:\n{}", self.last_words());
        Ok(found)
    }

    /// The end of what it logged.
    pub(crate) fn last_words(&self) -> String {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<_> = log.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }

    /// Asks it to end and waits until it has.
    pub(crate) async fn end(mut self) -> anyhow::Result<()> {
        self.ask_to_end();
        if tokio::time::timeout(PATIENCE, self.child.wait()).await.is_err() {
            self.child.kill().await?;
        }
        Ok(())
    }

    fn ask_to_end(&self) {
        // Not SIGKILL: nginx would leave its worker behind.
        if let Some(pid) = self.child.id().and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?)) {
            let _has_ended = rustix::process::kill_process(pid, Signal::TERM);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.ask_to_end();
    }
}

/// Runs a command to its end, and fails when that fails.
pub(crate) async fn run(mut command: Command) -> anyhow::Result<String> {
    let output = command.stdin(Stdio::null()).kill_on_drop(true).output().await?;
    anyhow::ensure!(
        output.status.success(),
        "{:?} failed: {}",
        command.as_std().get_args().collect::<Vec<_>>(),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
