//! A closed loop: each place sends its next call when its last one was answered, so that the server is never idle.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use tokio::task::JoinSet;

use super::{Report, call::Caller, connection::Sender};

pub(super) async fn run(
    caller: &Caller,
    connections: &[Sender],
    in_flight: usize,
    duration: Duration,
) -> anyhow::Result<Report> {
    let mut places = JoinSet::new();
    let begun = Instant::now();
    for sender in connections {
        for _ in 0..in_flight {
            let (caller, sender) = (caller.clone(), sender.clone());
            places.spawn(async move {
                let (mut answered, mut refused) = (0_u64, BTreeMap::<String, u64>::new());
                while begun.elapsed() < duration {
                    match caller.call(&sender).await? {
                        Ok(()) => answered += 1,
                        Err(status) => *refused.entry(status).or_default() += 1,
                    }
                }
                Ok::<_, h2::Error>((answered, refused))
            });
        }
    }
    let mut report = Report { answered: 0, refused: BTreeMap::new(), seconds: 0.0, latency: None };
    while let Some(place) = places.join_next().await {
        let (answered, refused) = place??;
        report.answered += answered;
        for (status, times) in refused {
            *report.refused.entry(status).or_default() += times;
        }
    }
    report.seconds = begun.elapsed().as_secs_f64();
    Ok(report)
}
