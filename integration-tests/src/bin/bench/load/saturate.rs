//! A closed loop: each place sends its next call when its last one was answered, so that the server is never idle.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use tokio::task::JoinSet;

use super::{Latency, Report, call::Caller, connection::Sender, times};

pub(super) async fn run(
    caller: &Caller,
    connections: &[Sender],
    in_flight: usize,
    duration: Duration,
) -> anyhow::Result<Report> {
    let mut places = JoinSet::new();
    let latencies = times()?;
    let begun = Instant::now();
    for sender in connections {
        for _ in 0..in_flight {
            let (caller, sender, mut latencies) = (caller.clone(), sender.clone(), latencies.clone());
            places.spawn(async move {
                let mut refused = BTreeMap::<String, u64>::new();
                let mut sent = Instant::now();
                while sent.duration_since(begun) < duration
                    && let Some(ended) = caller.call(&sender).await?
                {
                    let now = Instant::now();
                    let taken = now.duration_since(std::mem::replace(&mut sent, now));
                    match ended {
                        Ok(()) => {
                            latencies.saturating_record(u64::try_from(taken.as_nanos()).unwrap_or(u64::MAX))
                        }
                        Err(status) => *refused.entry(status).or_default() += 1,
                    }
                }
                Ok::<_, h2::Error>((latencies, refused))
            });
        }
    }
    let (mut latencies, mut all_refused) = (latencies, BTreeMap::<String, u64>::new());
    while let Some(place) = places.join_next().await {
        let (of_place, refused) = place??;
        latencies.add(of_place)?;
        for (status, times) in refused {
            *all_refused.entry(status).or_default() += times;
        }
    }
    Ok(Report {
        answered: latencies.len(),
        refused: all_refused,
        seconds: begun.elapsed().as_secs_f64(),
        latency: Latency::of(&latencies),
    })
}
