//! Folds the events of another system: the counters, the facts behind them and the proofs move in one transaction
//! with the position, so that each event counts once.

use proto::feed::v1::Event;
use sqlx::PgConnection;

use crate::{
    count::{self, FacilityVersion, Fact, Happened, Kind},
    event,
    roadmap::Sighting,
    store,
};

/// The systems whose events are folded.
pub const SOURCES: [&str; 4] = ["membership", "primary-care", "accreditation", "claims"];

/// The fold of any of the feeds.
pub struct Figures;

impl chassis::Fold for Figures {
    async fn fold(&self, connection: &mut PgConnection, events: &[Event]) -> anyhow::Result<()> {
        let mut told = Vec::new();
        for envelope in events {
            // An event that cannot be read stops the fold of its feed: figures that left it out would be wrong.
            let read = event::read(envelope)
                .inspect_err(|error| tracing::error!(%error, "an event cannot be read"))?;
            if let Some(happened) = read {
                told.push((envelope, event::occurred_at(envelope)?, happened));
            }
        }
        let mut keys: Vec<(Kind, String)> =
            told.iter().flat_map(|(_, _, happened)| happened.subjects()).collect();
        keys.sort_unstable();
        keys.dedup();
        let mut memory =
            if keys.is_empty() { count::Memory::new() } else { store::recall(connection, &keys).await? };

        let (mut facts, mut facilities, mut sightings) = (Vec::new(), Vec::new(), Vec::new());
        for (envelope, occurred_at, happened) in &told {
            if let Happened::Facility { code, province, class } = happened {
                facilities.push(FacilityVersion {
                    code: code.clone(),
                    province: province.clone(),
                    class: class.clone(),
                    known_at: *occurred_at,
                });
            }
            let told = count::count(&mut memory, happened);
            let fact = |delta| Fact { position: envelope.position, occurred_at: *occurred_at, delta };
            facts.extend(told.deltas.into_iter().map(fact));
            let event = format!("{}/{}", envelope.source, envelope.position);
            let sighting = |proof| Sighting { proof, event: event.clone(), seen_at: *occurred_at };
            sightings.extend(told.proofs.into_iter().map(sighting));
        }

        let source = events.first().map_or("", |envelope| envelope.source.as_str());
        if !memory.is_empty() {
            store::remember(connection, &memory).await?;
        }
        if !facilities.is_empty() {
            store::add_facilities(connection, &facilities).await?;
        }
        if !facts.is_empty() {
            store::add_facts(connection, source, &facts).await?;
        }
        if !sightings.is_empty() {
            store::add_sightings(connection, &sightings).await?;
        }
        Ok(())
    }
}
