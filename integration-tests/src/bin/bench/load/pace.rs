//! An open loop: a call is sent when it is due, whether or not earlier ones were answered, and its latency counts from
//! the moment it was due. A server that stalls is so charged for every call that would have come meanwhile.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use anyhow::Context;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use tokio::{io::unix::AsyncFd, task::JoinSet};

use super::{Latency, Report, call::Caller, connection::Sender, times};

/// Most calls under way; a server that leaves more unanswered has failed.
const MOST_UNDER_WAY: usize = 20_000;

pub(super) async fn run(
    caller: &Caller,
    connections: &[Sender],
    per_second: u32,
    duration: Duration,
) -> anyhow::Result<Report> {
    let interval = Duration::from_secs(1) / per_second;
    let calls = u32::try_from(duration.as_nanos() / interval.as_nanos())?;
    let (mut latencies, mut refused) = (times()?, BTreeMap::<String, u64>::new());
    let mut under_way = JoinSet::new();
    let begun = Instant::now();
    // The runtime's own timers are a millisecond wide, which is more than most calls take.
    let timer = timer(interval)?;
    let mut sent = 0;
    while sent < calls || !under_way.is_empty() {
        tokio::select! {
            due = ticks(&timer), if sent < calls => {
                for _ in 0..due?.min(u64::from(calls - sent)) {
                    sent += 1;
                    let due = begun + interval * sent;
                    let sender = connections[sent as usize % connections.len()].clone();
                    let caller = caller.clone();
                    under_way.spawn(async move {
                        let ended = caller.call(&sender).await?;
                        Ok::<_, h2::Error>((ended, due.elapsed()))
                    });
                }
                anyhow::ensure!(under_way.len() <= MOST_UNDER_WAY, "{MOST_UNDER_WAY} calls are not answered");
            }
            Some(ended) = under_way.join_next() => match ended?? {
                (Some(Ok(())), taken) => latencies.saturating_record(u64::try_from(taken.as_nanos())?),
                (Some(Err(status)), _) => *refused.entry(status).or_default() += 1,
                (None, _) => {}
            },
        }
    }
    Ok(Report {
        answered: latencies.len(),
        refused,
        seconds: begun.elapsed().as_secs_f64(),
        latency: Latency::of(&latencies),
    })
}

type Timer = AsyncFd<rustix::fd::OwnedFd>;

#[expect(deprecated, reason = "its successor is unsafe, and asks for what an OwnedFd keeps anyway")]
fn timer(interval: Duration) -> anyhow::Result<Timer> {
    let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
    let interval: Timespec = interval.try_into().ok().context("an interval too long")?;
    timerfd_settime(
        &timer,
        TimerfdTimerFlags::empty(),
        &Itimerspec { it_interval: interval, it_value: interval },
    )?;
    Ok(AsyncFd::new(timer)?)
}

/// How often the timer has expired since it was asked last; at least once.
async fn ticks(timer: &Timer) -> anyhow::Result<u64> {
    loop {
        let mut readable = timer.readable().await?;
        let mut count = [0; 8];
        let read = readable.try_io(|timer| Ok(rustix::io::read(timer.get_ref(), &mut count)?));
        if let Ok(read) = read {
            read?;
            return Ok(u64::from_ne_bytes(count));
        }
    }
}
