//! What can be done to a mesh that is to be broken, and how it is healed. Nothing here waits for what it starts.

use anyhow::Context;
use embedded::{postgres::Cluster, redis};
use rustix::{
    io::Errno,
    process::{Pid, Signal, kill_process},
};

use super::{CIVIL_REGISTRY, LinkName, Mesh, Name, Way};

impl Mesh {
    /// Every process that may be harmed: all but what stands in for systems outside of the mesh.
    #[must_use]
    pub fn harmable(&self) -> Vec<Name> {
        self.names().into_iter().filter(|name| name.service != CIVIL_REGISTRY).collect()
    }

    /// Every link.
    #[must_use]
    pub fn link_names(&self) -> Vec<LinkName> {
        self.links.keys().copied().collect()
    }

    /// Whether a process runs.
    #[must_use]
    pub fn runs(&self, name: Name) -> bool {
        self.processes.get(&name).is_some_and(|process| process.pid().is_some())
    }

    /// How a process ended that nobody ended, with the end of its log.
    ///
    /// # Errors
    /// When the system does not say.
    pub fn fallen(&mut self, name: Name) -> anyhow::Result<Option<String>> {
        let Some(status) = self.process_mut(name)?.ended()? else { return Ok(None) };
        Ok(Some(format!("{name} ended by itself with {status}:\n{}", self.end_of_log(name))))
    }

    /// Starts a process that was killed.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn begin_again(&mut self, name: Name) -> anyhow::Result<()> {
        if self.runs(name) { Ok(()) } else { self.begin(name) }
    }

    /// Asks a process to stop.
    ///
    /// # Errors
    /// When it does not run.
    pub fn ask_to_stop(&self, name: Name) -> anyhow::Result<()> {
        self.process(name)?.signal(Signal::TERM)
    }

    /// Whether a process that was asked to stop has stopped.
    ///
    /// # Errors
    /// When it did not end in order.
    pub async fn has_stopped(&mut self, name: Name) -> anyhow::Result<bool> {
        let process = self.process_mut(name)?;
        let Some(status) = process.ended()? else { return Ok(!self.runs(name)) };
        process.kill().await?;
        anyhow::ensure!(status.success(), "{name} was asked to stop and ended with {status}");
        Ok(true)
    }

    /// Stops a process in the midst of what it does; it is not told.
    ///
    /// # Errors
    /// When it does not run.
    pub fn freeze(&self, name: Name) -> anyhow::Result<()> {
        self.process(name)?.signal(Signal::STOP)
    }

    /// Lets a frozen process go on.
    ///
    /// # Errors
    /// When it does not run.
    pub fn thaw(&self, name: Name) -> anyhow::Result<()> {
        self.process(name)?.signal(Signal::CONT)
    }

    /// Sets what a link does from now on.
    ///
    /// # Errors
    /// When there is no such link.
    pub fn set_link(&self, name: LinkName, way: Way) -> anyhow::Result<()> {
        self.links.get(&name).with_context(|| format!("no link from {name}"))?.set(way);
        Ok(())
    }

    /// Ends the connections that a link carries.
    ///
    /// # Errors
    /// When there is no such link.
    pub fn reset_link(&self, name: LinkName) -> anyhow::Result<()> {
        self.links.get(&name).with_context(|| format!("no link from {name}"))?.reset();
        Ok(())
    }

    /// Ends PostgreSQL with all its processes, as a loss of power would.
    ///
    /// # Errors
    /// When it does not end.
    pub async fn kill_postgres(&mut self) -> anyhow::Result<()> {
        self.postgres_mut()?.kill().await
    }

    /// Asks PostgreSQL to end its connections and stop.
    ///
    /// # Errors
    /// When it does not run.
    pub fn ask_postgres_to_stop(&self) -> anyhow::Result<()> {
        self.postgres()?.ask_to_stop()
    }

    /// Whether PostgreSQL has stopped after it was asked to.
    ///
    /// # Errors
    /// When the system does not say.
    pub fn postgres_has_stopped(&mut self) -> anyhow::Result<bool> {
        self.postgres_mut()?.has_stopped()
    }

    /// Starts PostgreSQL again on what it had written.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn begin_postgres(&mut self) -> anyhow::Result<()> {
        self.postgres_mut()?.start_again()
    }

    /// Ends one process of PostgreSQL, the one that `pick` falls on; the server then ends the others and recovers.
    ///
    /// # Errors
    /// When the system does not say which there are.
    pub fn kill_a_postgres_process(&self, pick: usize) -> anyhow::Result<()> {
        let mut all = self.postgres()?.processes()?;
        all.sort_unstable();
        // Without the first, which would leave the others without a parent: that is what `kill_postgres` does well.
        match all.get(1..) {
            Some(others) if !others.is_empty() => signal(others[pick % others.len()], Signal::KILL),
            // It has just ended by itself.
            _ => Ok(()),
        }
    }

    /// Stops PostgreSQL in the midst of what it does, with all its processes.
    ///
    /// # Errors
    /// When the system does not say which they are.
    pub fn freeze_postgres(&self) -> anyhow::Result<()> {
        self.postgres()?.processes()?.into_iter().try_for_each(|pid| signal(pid, Signal::STOP))
    }

    /// Lets PostgreSQL go on.
    ///
    /// # Errors
    /// When the system does not say which its processes are.
    pub fn thaw_postgres(&self) -> anyhow::Result<()> {
        self.postgres()?.processes()?.into_iter().try_for_each(|pid| signal(pid, Signal::CONT))
    }

    fn postgres(&self) -> anyhow::Result<&Cluster> {
        Ok(&self.postgres.as_ref().context("no PostgreSQL of its own")?.cluster)
    }

    fn postgres_mut(&mut self) -> anyhow::Result<&mut Cluster> {
        Ok(&mut self.postgres.as_mut().context("no PostgreSQL of its own")?.cluster)
    }

    /// Ends Redis, with all that it held.
    ///
    /// # Errors
    /// When it does not end.
    pub async fn kill_redis(&mut self) -> anyhow::Result<()> {
        self.redis.as_mut().context("no Redis")?.kill().await
    }

    /// Starts Redis again, empty.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn begin_redis(&mut self) -> anyhow::Result<()> {
        self.redis.as_mut().context("no Redis")?.start_again()
    }

    /// Stops Redis in the midst of what it does.
    ///
    /// # Errors
    /// When it does not run.
    pub fn freeze_redis(&self) -> anyhow::Result<()> {
        signal(self.redis.as_ref().and_then(redis::Server::pid).context("no Redis")?, Signal::STOP)
    }

    /// Lets Redis go on.
    ///
    /// # Errors
    /// When it does not run.
    pub fn thaw_redis(&self) -> anyhow::Result<()> {
        signal(self.redis.as_ref().and_then(redis::Server::pid).context("no Redis")?, Signal::CONT)
    }

    /// Undoes every harm and waits until all is ready. A process that ended by itself is named: none may.
    ///
    /// # Errors
    /// When something does not start.
    pub async fn heal(&mut self) -> anyhow::Result<Vec<String>> {
        for link in self.links.values() {
            link.set(Way::Open);
        }
        let mut fallen = Vec::new();
        for name in self.names() {
            if let Some(how) = self.fallen(name)? {
                fallen.push(how);
                self.process_mut(name)?.kill().await?;
            }
            self.begin_again(name)?;
            self.thaw(name)?;
        }
        if let Some(postgres) = &mut self.postgres {
            postgres.cluster.start_again()?;
            if postgres.cluster.until_ready().await.is_err() {
                // A process of it was killed while it recovered: it gives up then, and is started once more.
                postgres.cluster.start_again()?;
                postgres.cluster.until_ready().await?;
            }
        }
        if let Some(redis) = &mut self.redis {
            redis.start_again()?;
            redis.until_ready().await?;
        }
        self.until_all_ready().await?;
        Ok(fallen)
    }

    /// Ends it all. A mesh that is only dropped ends as well, but its PostgreSQL a little later than its folder.
    ///
    /// # Errors
    /// When PostgreSQL does not end.
    pub async fn end(mut self) -> anyhow::Result<()> {
        for process in self.processes.values_mut() {
            process.kill().await?;
        }
        match &mut self.postgres {
            Some(postgres) => postgres.cluster.kill().await,
            None => Ok(()),
        }
    }
}

/// Signals a process; one that has just ended by itself is no fault.
fn signal(pid: u32, signal: Signal) -> anyhow::Result<()> {
    let pid = Pid::from_raw(i32::try_from(pid)?).context("no number of a process")?;
    match kill_process(pid, signal) {
        Err(Errno::SRCH) | Ok(()) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
