//! The feed of each service: positions from 1 without a gap, each event once, nothing left in the outbox; and exactly
//! the events that the acknowledged writes stand for.

use std::collections::{BTreeMap, HashSet};

use uuid::Uuid;

use super::{Check, DOUBLED, MISSING_EVENTS};
use crate::{
    Mesh,
    campaign::journal::{End, Entry, Told},
};

pub(super) async fn check(mesh: &Mesh, entries: &[Entry]) -> anyhow::Result<Vec<Check>> {
    let (mut gaps, mut doubled, mut waiting) = (Vec::new(), Vec::new(), Vec::new());
    // Expected less found.
    let mut balance: BTreeMap<Told, i64> = BTreeMap::new();
    for entry in entries {
        if let End::Acknowledged { tells, .. } = &entry.end {
            for told in tells {
                *balance.entry(told.clone()).or_default() += 1;
            }
        }
    }
    for service in Mesh::services() {
        let rows: Vec<(i64, Uuid, String, String)> =
            sqlx::query_as("select position, event_id, kind, subject from feed order by position")
                .fetch_all(mesh.database(service))
                .await?;
        let mut ids = HashSet::new();
        let mut expected = 1;
        for (position, event_id, kind, subject) in rows {
            if position != expected {
                gaps.push(format!("{service}: {position} follows {}", expected - 1));
            }
            expected = position + 1;
            if !ids.insert(event_id) {
                doubled.push(format!("{service}: the event at {position} was there before"));
            }
            *balance.entry(Told { service, kind, subject }).or_default() -= 1;
        }
        let left: i64 =
            sqlx::query_scalar("select count(*) from outbox").fetch_one(mesh.database(service)).await?;
        if left > 0 {
            waiting.push(format!("{service}: {left} rows"));
        }
    }
    let mut missing = Vec::new();
    for (told, left) in balance {
        let Told { service, kind, subject } = told;
        match left {
            1.. => missing.push(format!("{service}: {left} {kind} of {subject}")),
            ..0 => doubled.push(format!("{service}: {} more {kind} of {subject} than acknowledged", -left)),
            0 => {}
        }
    }
    Ok(vec![
        Check::of("gaps in a feed", gaps),
        Check::of(MISSING_EVENTS, missing),
        Check::of(DOUBLED, doubled),
        Check::of("outboxes that are not empty", waiting),
    ])
}
