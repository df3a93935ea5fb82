//! The SISMONEV contract: parses what is asked, calls, and maps the answer.

use std::{pin::Pin, sync::Arc};

use jiff::{Timestamp, civil::Date};
use proto::sismonev::v1 as pb;
use tokio::sync::mpsc;
use tokio_stream::{Stream, StreamExt, wrappers::ReceiverStream};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

use crate::{
    error::Error,
    indicator::{Definition, Dimension, Figure},
    pending::Window,
    query::{self, Definitions, Version},
    roadmap::{self, Planned, Roadmap, State},
    store, watch,
};

/// Exchanges of an edge that an answer names.
const SHOWN_EVIDENCE: i64 = 20;
/// Updates that a slow watcher may be behind.
const BUFFERED: usize = 16;
/// Most indicators that one watch names.
const MOST_WATCHED: usize = 100;

/// Serves the contract.
#[derive(Clone)]
pub struct Sismonev {
    /// The own database.
    pub db: chassis::Db,
    /// The definitions of the indicators.
    pub definitions: Arc<Definitions>,
    /// The planned integrations.
    pub roadmap: Arc<chassis::policy::Dated<Roadmap>>,
    /// Rings when figures moved.
    pub bell: watch::Bell,
    /// Ends the watches when the process stops.
    pub stop: CancellationToken,
}

#[tonic::async_trait]
impl pb::sismonev_service_server::SismonevService for Sismonev {
    async fn list_indicators(
        &self,
        request: Request<pb::ListIndicatorsRequest>,
    ) -> Result<Response<pb::ListIndicatorsResponse>, Status> {
        let (call, message) = chassis::call::accept(request)?;
        let mut fields = chassis::Fields::new();
        let day = match message.date.as_str() {
            "" => Some(call.today),
            date => fields.parse("date", vocabulary::date(date)),
        };
        let page = chassis::page::Page::parse(&mut fields, message.page_size, &message.page_token);
        fields.finish()?;
        let Some(Ok(version)) = day.map(|day| self.definitions.on(day)) else {
            return Ok(Response::new(pb::ListIndicatorsResponse::default()));
        };
        let mut all: Vec<&Definition> = version.indicator.iter().collect();
        all.sort_by(|a, b| a.id.cmp(&b.id));
        let rest: Vec<_> =
            all.into_iter().filter(|d| page.after.as_ref().is_none_or(|last| d.id > *last)).collect();
        let size = usize::try_from(page.size).unwrap_or(usize::MAX);
        let next_page_token = match rest.get(size.saturating_sub(1)) {
            Some(last) if rest.len() > size => chassis::page::token(&last.id),
            _ => String::new(),
        };
        let indicators =
            rest.into_iter().take(size).map(|definition| described(version, definition)).collect();
        Ok(Response::new(pb::ListIndicatorsResponse { indicators, next_page_token }))
    }

    async fn query_indicator(
        &self,
        request: Request<pb::QueryIndicatorRequest>,
    ) -> Result<Response<pb::QueryIndicatorResponse>, Status> {
        let (call, message) = chassis::call::accept(request)?;
        let mut fields = chassis::Fields::new();
        let id = fields.parse("indicator_id", vocabulary::text(&message.indicator_id, 64));
        let month = fields.parse("month", vocabulary::month(&message.month));
        let as_of = as_of(&mut fields, message.as_of.as_ref(), call.received_at);
        let dimensions = dimensions(&mut fields, &message.dimensions);
        let window = month.zip(as_of).and_then(|(month, as_of)| {
            let window = Window::of(month, chassis::time::today_at(as_of));
            fields.require("month", window.is_some(), "must have begun at as_of");
            window
        });
        let (Some(id), Some(month), Some(as_of), Some(window)) = (id, month, as_of, window) else {
            return Err(fields.into());
        };
        fields.finish()?;

        let (version, definition) = query::definition(&self.definitions, &id, month)?;
        // One snapshot for both sides of the line and the positions they were folded to.
        let mut snapshot = self
            .db
            .pool
            .begin_with("begin transaction isolation level repeatable read, read only")
            .await
            .map_err(Error::from)?;
        let figures = query::figures(&mut snapshot, version, definition, &dimensions, window, as_of).await?;
        let folded = store::folded(&mut snapshot).await.map_err(Error::from)?;
        snapshot.commit().await.map_err(Error::from)?;
        Ok(Response::new(pb::QueryIndicatorResponse {
            indicator: Some(described(version, definition)),
            month: message.month,
            as_of: Some(chassis::time::to_proto(as_of)),
            figures: figures.into_iter().map(|figure| told(&dimensions, figure)).collect(),
            folded_up_to: folded
                .into_iter()
                .map(|(source, position)| pb::FoldedUpTo { source, position })
                .collect(),
        }))
    }

    type WatchIndicatorsStream =
        Pin<Box<dyn Stream<Item = Result<pb::WatchIndicatorsResponse, Status>> + Send>>;

    async fn watch_indicators(
        &self,
        request: Request<pb::WatchIndicatorsRequest>,
    ) -> Result<Response<Self::WatchIndicatorsStream>, Status> {
        let (call, message) = chassis::call::accept(request)?;
        let mut fields = chassis::Fields::new();
        fields.require(
            "indicator_ids",
            message.indicator_ids.len() <= MOST_WATCHED,
            format!("must name at most {MOST_WATCHED} indicators"),
        );
        for (index, id) in message.indicator_ids.iter().enumerate().take(MOST_WATCHED) {
            fields.parse(format!("indicator_ids[{index}]"), vocabulary::text(id, 64));
            let repeated = message.indicator_ids[..index].contains(id);
            fields.require(format!("indicator_ids[{index}]"), !repeated, "must be named once");
        }
        fields.finish()?;
        let mut ids = message.indicator_ids;
        if ids.is_empty() {
            let version = self.definitions.on(call.today).map_err(|_| Error::IndicatorUnknown)?;
            ids = version.indicator.iter().map(|definition| definition.id.clone()).collect();
        }
        for id in &ids {
            query::definition(&self.definitions, id, call.today)?;
        }
        let (sender, receiver) = mpsc::channel(BUFFERED);
        tokio::spawn(watch::follow(
            self.db.clone(),
            self.definitions.clone(),
            ids,
            self.bell.subscribe(),
            sender,
            self.stop.clone(),
        ));
        let updates = ReceiverStream::new(receiver).map(|moved| {
            let moved = moved?;
            Ok(pb::WatchIndicatorsResponse {
                indicator_id: moved.indicator_id,
                month: moved.month.strftime("%Y-%m").to_string(),
                figure: Some(told(&[], moved.figure)),
                as_of: Some(chassis::time::to_proto(moved.as_of)),
            })
        });
        Ok(Response::new(Box::pin(updates)))
    }

    async fn get_roadmap(
        &self,
        request: Request<pb::GetRoadmapRequest>,
    ) -> Result<Response<pb::GetRoadmapResponse>, Status> {
        let (call, _) = chassis::call::accept(request)?;
        let version = self.roadmap.on(call.today)?;
        let mut connection = self.db.pool.acquire().await.map_err(Error::from)?;
        let mut edges = Vec::new();
        for edge in roadmap::Edge::ALL {
            let Some(planned) = version.edge.iter().find(|planned| planned.name == edge) else { continue };
            let seen = store::edge(&mut connection, edge).await.map_err(Error::from)?;
            let evidence =
                store::evidence(&mut connection, edge, SHOWN_EVIDENCE).await.map_err(Error::from)?;
            let last_seen = seen.as_ref().map(|seen| seen.last_seen);
            let state = roadmap::state(last_seen, call.received_at, version.stale_after_days);
            edges.push(shown(planned, seen, state, evidence));
        }
        Ok(Response::new(pb::GetRoadmapResponse { edges }))
    }
}

fn as_of(
    fields: &mut chassis::Fields,
    given: Option<&prost_types::Timestamp>,
    now: Timestamp,
) -> Option<Timestamp> {
    let Some(given) = given else { return Some(now) };
    let instant = chassis::time::from_proto(given).filter(|instant| *instant <= now);
    fields.require("as_of", instant.is_some(), "must be an instant that is not in the future");
    instant
}

fn dimensions(fields: &mut chassis::Fields, given: &[i32]) -> Vec<Dimension> {
    let mut known = Vec::new();
    for (index, number) in given.iter().enumerate() {
        let dimension = match pb::Dimension::try_from(*number) {
            Ok(pb::Dimension::Province) => Dimension::Province,
            Ok(pb::Dimension::Segment) => Dimension::Segment,
            Ok(pb::Dimension::FacilityClass) => Dimension::FacilityClass,
            Ok(pb::Dimension::CareType) => Dimension::CareType,
            Ok(pb::Dimension::Unspecified) | Err(_) => {
                fields.wrong(format!("dimensions[{index}]"), "must be a known dimension");
                continue;
            }
        };
        fields.require(format!("dimensions[{index}]"), !known.contains(&dimension), "must be named once");
        known.push(dimension);
    }
    known
}

fn named(dimension: Dimension) -> pb::Dimension {
    match dimension {
        Dimension::Province => pb::Dimension::Province,
        Dimension::Segment => pb::Dimension::Segment,
        Dimension::FacilityClass => pb::Dimension::FacilityClass,
        Dimension::CareType => pb::Dimension::CareType,
    }
}

fn described(version: &Version, definition: &Definition) -> pb::Indicator {
    pb::Indicator {
        indicator_id: definition.id.clone(),
        name_en: definition.name_en.clone(),
        name_id: definition.name_id.clone(),
        formula: definition.formula.clone(),
        unit: definition.unit.clone(),
        digits: i32::try_from(definition.digits).unwrap_or_default(),
        disaggregations: definition.disaggregations.iter().map(|d| named(*d).into()).collect(),
        source: definition.source.clone(),
        effective_from: version.effective_from.to_string(),
        effective_to: version.effective_to.map_or_else(String::new, |day: Date| day.to_string()),
    }
}

fn told(dimensions: &[Dimension], figure: Figure) -> pb::Figure {
    let coordinates = dimensions.iter().zip(figure.coordinates);
    let suppressed = figure.counted.is_none();
    let (numerator, denominator, value) = match figure.counted {
        Some(counted) => {
            (Some(counted.numerator), Some(counted.denominator), counted.value.unwrap_or_default())
        }
        None => (None, None, String::new()),
    };
    pb::Figure {
        coordinates: coordinates
            .map(|(dimension, value)| pb::Coordinate { dimension: named(*dimension).into(), value })
            .collect(),
        numerator,
        denominator,
        value,
        suppressed,
    }
}

fn shown(
    planned: &Planned,
    seen: Option<store::SeenEdge>,
    state: State,
    evidence: Vec<store::KeptEvidence>,
) -> pb::Edge {
    let state = match state {
        State::Live => pb::EdgeState::Live,
        State::Stale => pb::EdgeState::Stale,
        State::NotSeen => pb::EdgeState::NotSeen,
    };
    pb::Edge {
        edge: planned.name.name().to_owned(),
        title: planned.title.clone(),
        proof: planned.proof.clone(),
        target_year: planned.target_year,
        state: state.into(),
        last_seen: seen.as_ref().map(|seen| chassis::time::to_proto(seen.last_seen)),
        exchanges: seen.map_or(0, |seen| seen.exchanges),
        evidence: evidence
            .into_iter()
            .map(|kept| pb::Evidence {
                evidence_id: kept.evidence_id,
                event: kept.event,
                seen_at: Some(chassis::time::to_proto(kept.seen_at)),
            })
            .collect(),
    }
}
