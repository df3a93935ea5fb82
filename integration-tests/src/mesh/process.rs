//! One process of the mesh: started, signalled, killed, and where it listens.

use std::{fmt, net::SocketAddr, process::ExitStatus, time::Duration};

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
    sync::watch,
    task::AbortHandle,
};

/// How long a process may take from its start to its first line.
const ANNOUNCED_WITHIN: Duration = Duration::from_secs(30);
/// How long a stop that was asked for may take.
const STOPPED_WITHIN: Duration = Duration::from_secs(40);

/// A process: what it is, and which of several.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name {
    /// The service, or the gateway.
    pub service: &'static str,
    /// From 1.
    pub replica: u8,
}

impl From<&'static str> for Name {
    fn from(service: &'static str) -> Self {
        Self { service, replica: 1 }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.replica {
            1 => f.write_str(self.service),
            replica => write!(f, "{}-{replica}", self.service),
        }
    }
}

/// Where a process listens.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Addresses {
    pub(crate) grpc: SocketAddr,
    pub(crate) admin: Option<SocketAddr>,
}

/// A process, running or not.
pub(crate) struct Process {
    name: Name,
    child: Option<Child>,
    addresses: watch::Sender<Option<Addresses>>,
    /// Where it listened when it ran last.
    pub(crate) listened_at: Option<SocketAddr>,
    reading: Option<AbortHandle>,
}

impl Process {
    pub(crate) fn new(name: Name) -> Self {
        Self { name, child: None, addresses: watch::Sender::new(None), listened_at: None, reading: None }
    }

    /// Where it listens, `None` while it does not.
    pub(crate) fn addresses(&self) -> watch::Receiver<Option<Addresses>> {
        self.addresses.subscribe()
    }

    pub(crate) fn listens_at(&self) -> anyhow::Result<Addresses> {
        (*self.addresses.borrow()).with_context(|| format!("{} does not run", self.name))
    }

    /// The number of the process; `None` when none runs.
    pub(crate) fn pid(&self) -> Option<u32> {
        self.child.as_ref().and_then(Child::id)
    }

    /// Starts it; where it listens it says later.
    pub(crate) fn start(&mut self, mut command: Command) -> anyhow::Result<()> {
        let mut child = command.kill_on_drop(true).spawn().context("starting jkn")?;
        let stdout = child.stdout.take().context("no standard output")?;
        let addresses = self.addresses.clone();
        let reading = tokio::spawn(async move {
            let mut lines = BufReader::new(stdout).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                // "NAME listening on ADDRESS[, admin ADDRESS]"
                let said: Vec<SocketAddr> =
                    line.split([' ', ',']).filter_map(|word| word.parse().ok()).collect();
                if let Some(grpc) = said.first() {
                    addresses.send_replace(Some(Addresses { grpc: *grpc, admin: said.get(1).copied() }));
                }
            }
        });
        self.reading = Some(reading.abort_handle());
        self.child = Some(child);
        Ok(())
    }

    /// Waits until it has said where it listens.
    pub(crate) async fn announced(&mut self) -> anyhow::Result<Addresses> {
        let mut addresses = self.addresses.subscribe();
        let child = self.child.as_mut().context("it was not started")?;
        tokio::select! {
            announced = addresses.wait_for(Option::is_some) => (*announced?).context("it listens nowhere"),
            ended = child.wait() => bail!("it ended with {}", ended?),
            () = tokio::time::sleep(ANNOUNCED_WITHIN) => bail!("it says nothing"),
        }
    }

    /// Ends it without a warning.
    pub(crate) async fn kill(&mut self) -> anyhow::Result<()> {
        if let Some(child) = &mut self.child {
            child.kill().await?;
        }
        self.gone();
        Ok(())
    }

    pub(crate) fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        let pid = self.pid().with_context(|| format!("{} does not run", self.name))?;
        let pid = Pid::from_raw(i32::try_from(pid)?).context("no number of a process")?;
        Ok(kill_process(pid, signal)?)
    }

    /// Waits for its end after it was told to stop.
    pub(crate) async fn stopped(&mut self) -> anyhow::Result<ExitStatus> {
        let child = self.child.as_mut().context("it does not run")?;
        let status = tokio::time::timeout(STOPPED_WITHIN, child.wait())
            .await
            .with_context(|| format!("{} does not stop", self.name))??;
        self.gone();
        Ok(status)
    }

    /// How it ended, when it ended by itself.
    pub(crate) fn ended(&mut self) -> anyhow::Result<Option<ExitStatus>> {
        match &mut self.child {
            Some(child) => Ok(child.try_wait()?),
            None => Ok(None),
        }
    }

    fn gone(&mut self) {
        if let Some(reading) = self.reading.take() {
            reading.abort();
        }
        self.child = None;
        if let Some(addresses) = self.addresses.send_replace(None) {
            self.listened_at = Some(addresses.grpc);
        }
    }
}
