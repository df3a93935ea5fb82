//! What processes used, as the operating system tells it: processor time and memory of whole processes, with all that
//! they started, and the time that others took.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use anyhow::Context;
use procfs::{
    CurrentSI, KernelStats,
    process::{Process, Stat},
};
use serde::Serialize;

/// As `nice` counts it.
const PRECEDENCE: &str = "-10";

/// Processor time of a process and of all its descendants, those that have ended included.
fn processor_time(pid: i32, all: &Processes) -> anyhow::Result<Duration> {
    let mut ticks = 0;
    for pid in family(pid, all) {
        let stat = all.get(&pid).with_context(|| format!("process {pid} has ended"))?;
        ticks += stat.utime + stat.stime + u64::try_from(stat.cutime + stat.cstime)?;
    }
    Ok(of_ticks(ticks))
}

/// A process and its descendants.
fn family(pid: i32, all: &Processes) -> Vec<i32> {
    let mut family = vec![pid];
    let mut next = 0;
    while let Some(parent) = family.get(next).copied() {
        next += 1;
        family.extend(all.iter().filter(|(_, child)| child.ppid == parent).map(|(pid, _)| *pid));
    }
    family
}

fn of_ticks(ticks: u64) -> Duration {
    Duration::from_secs(ticks) / u32::try_from(procfs::ticks_per_second()).unwrap_or(100)
}

/// The processes of the machine, by their numbers.
type Processes = BTreeMap<i32, Stat>;

fn all_processes() -> anyhow::Result<Processes> {
    // One that ends meanwhile is counted with its parent.
    Ok(procfs::process::all_processes()?
        .filter_map(|one| Some((one.as_ref().ok()?.pid, one.ok()?.stat().ok()?)))
        .collect())
}

/// Lets these processes and their descendants go before others, where that is allowed: figures of a machine that others
/// use as well hold better then. It is done by session, and only to those that a process of theirs leads.
pub(crate) fn give_precedence(watched: &[(&'static str, i32)]) -> anyhow::Result<()> {
    let all = all_processes()?;
    for pid in watched.iter().flat_map(|(_, pid)| family(*pid, &all)) {
        if all.get(&pid).is_some_and(|stat| stat.session == pid) {
            let _not_allowed = std::fs::write(format!("/proc/{pid}/autogroup"), PRECEDENCE);
        }
    }
    Ok(())
}

/// What a process holds in memory, in megabytes.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Memory {
    /// All of it, now.
    pub(crate) resident: f64,
    /// Of that what is its own; the rest are pages of the program, which all its processes share.
    pub(crate) anonymous: f64,
    /// The most it has held.
    pub(crate) most: f64,
}

impl Memory {
    /// Of a process.
    pub(crate) fn of(pid: i32) -> anyhow::Result<Self> {
        let status = Process::new(pid)?.status()?;
        let megabytes = |kilobytes: Option<u64>| -> anyhow::Result<f64> {
            let kilobytes = kilobytes.context("the system does not tell what memory is held")?;
            Ok(f64::from(u32::try_from(kilobytes)?) / 1024.0)
        };
        Ok(Self {
            resident: megabytes(status.vmrss)?,
            anonymous: megabytes(status.rssanon)?,
            most: megabytes(status.vmhwm)?,
        })
    }
}

/// The processor times at one moment.
pub(crate) struct Reading {
    at: Instant,
    by_name: BTreeMap<&'static str, Duration>,
    own: Duration,
    everybody: Duration,
}

/// What was used between two readings.
pub(crate) struct Used {
    /// Processor time of each watched process, with its descendants.
    pub(crate) by_name: BTreeMap<&'static str, Duration>,
    /// How many processors all others kept busy.
    pub(crate) foreign_processors: f64,
}

impl Reading {
    /// Reads the times of the watched processes, of this one, and of all.
    pub(crate) fn take(watched: &[(&'static str, i32)]) -> anyhow::Result<Self> {
        let stat = KernelStats::current()?.total;
        let everybody = stat.user
            + stat.nice
            + stat.system
            + stat.irq.unwrap_or_default()
            + stat.softirq.unwrap_or_default()
            + stat.steal.unwrap_or_default();
        let mut by_name = BTreeMap::new();
        let all = all_processes()?;
        for (name, pid) in watched {
            by_name.insert(*name, processor_time(*pid, &all)?);
        }
        let own = Process::myself()?.stat()?;
        Ok(Self {
            at: Instant::now(),
            by_name,
            own: of_ticks(own.utime + own.stime),
            everybody: of_ticks(everybody),
        })
    }

    /// What was used since an earlier reading of the same processes.
    pub(crate) fn since(&self, before: &Self) -> Used {
        let by_name: BTreeMap<_, _> = self
            .by_name
            .iter()
            .map(|(name, now)| {
                let then = before.by_name.get(name).copied().unwrap_or_default();
                (*name, now.saturating_sub(then))
            })
            .collect();
        let ours = by_name.values().sum::<Duration>() + self.own.saturating_sub(before.own);
        let foreign = self.everybody.saturating_sub(before.everybody).saturating_sub(ours);
        let foreign_processors = foreign.as_secs_f64() / self.at.duration_since(before.at).as_secs_f64();
        Used { by_name, foreign_processors }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_this_process_burns_is_seen() {
        let pid = i32::try_from(std::process::id()).unwrap();
        let before = Reading::take(&[("test", pid)]).unwrap();
        let until = Instant::now() + Duration::from_millis(200);
        while Instant::now() < until {
            std::hint::spin_loop();
        }
        let used = Reading::take(&[("test", pid)]).unwrap().since(&before);
        assert!(used.by_name["test"] >= Duration::from_millis(20), "{:?}", used.by_name);
        let memory = Memory::of(pid).unwrap();
        assert!(memory.resident > memory.anonymous && memory.most >= memory.resident, "{memory:?}");
        assert!(memory.anonymous > 0.1, "{memory:?}");
    }
}
