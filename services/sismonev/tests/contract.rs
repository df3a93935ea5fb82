//! The contract as callers see it, on a real database.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{sync::Arc, time::Duration};

use chassis::{Call, Fold};
use jiff::{Timestamp, ToSpan};
use prost::{Message, Name};
use proto::{
    claims::v1 as claims,
    feed::v1::Event,
    sismonev::v1::{self as pb, sismonev_service_server::SismonevService},
};
use sismonev::{fold::Figures, grpc::Sismonev, watch};
use tokio_stream::StreamExt;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Request, Status};

struct Mesh {
    service: Sismonev,
    now: Timestamp,
    _database: embedded::testing::TestDatabase,
}

impl Mesh {
    async fn new(name: &str) -> Self {
        let own = <sismonev::Sismonev as chassis::Service>::migrations().unwrap();
        let database = embedded::testing::database(name, &[&chassis::db::MIGRATOR, own]).await.unwrap();
        let (indicators, roadmap) = (
            include_str!("../../../policy/sismonev/indicators.toml"),
            include_str!("../../../policy/sismonev/roadmap.toml"),
        );
        let stop = CancellationToken::new();
        let service = Sismonev {
            db: chassis::Db::new(database.pool.clone(), stop.clone()),
            definitions: Arc::new(chassis::policy::parse("sismonev/indicators.toml", indicators).unwrap()),
            roadmap: Arc::new(chassis::policy::parse("sismonev/roadmap.toml", roadmap).unwrap()),
            bell: watch::Bell::new(0),
            stop,
        };
        Self { service, now: Timestamp::now(), _database: database }
    }

    fn asks<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        let caller = "djsn:djsn".parse().unwrap();
        request.extensions_mut().insert(Call::local(caller, "/test", self.now, Duration::from_secs(10)));
        request
    }

    fn month(&self) -> String {
        chassis::time::today_at(self.now).strftime("%Y-%m").to_string()
    }

    async fn submits(&self, position: i64) {
        let submitted = claims::ClaimSubmitted {
            claim_id: format!("claim-{position}"),
            facility_code: "0301R011".into(),
            submitted_on: chassis::time::today_at(self.now).to_string(),
            care_type: claims::CareType::Inpatient.into(),
            ..Default::default()
        };
        let event = Event {
            source: "claims".into(),
            position,
            r#type: claims::ClaimSubmitted::full_name(),
            occurred_at: Some(chassis::time::to_proto(self.now - 1.second())),
            body: submitted.encode_to_vec().into(),
            ..Default::default()
        };
        let mut write = self.service.db.pool.begin().await.unwrap();
        Figures.fold(&mut write, &[event]).await.unwrap();
        write.commit().await.unwrap();
    }
}

fn refused(status: &Status) -> (Code, String) {
    // The reason is in the details; a business refusal keeps it when it is handed on.
    (status.code(), chassis::Problem::from_upstream("sismonev", status).reason().to_owned())
}

#[tokio::test]
async fn definitions_are_listed_page_by_page() {
    let mesh = Mesh::new("definitions").await;
    let (mut ids, mut page_token) = (Vec::new(), String::new());
    loop {
        let request = pb::ListIndicatorsRequest { page_size: 2, page_token, ..Default::default() };
        let page = mesh.service.list_indicators(mesh.asks(request)).await.unwrap().into_inner();
        ids.extend(page.indicators.into_iter().map(|indicator| indicator.indicator_id));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    let mut sorted = ids.clone();
    sorted.sort();
    assert_eq!(ids, sorted);
    assert!(ids.len() >= 4 && ids.contains(&"claims-pending-over-14-days".to_owned()));
    let before = pb::ListIndicatorsRequest { date: "2010-01-01".into(), ..Default::default() };
    assert!(
        mesh.service.list_indicators(mesh.asks(before)).await.unwrap().into_inner().indicators.is_empty()
    );
}

#[tokio::test]
async fn every_wrong_field_of_a_query_is_named() {
    let mesh = Mesh::new("wrong").await;
    let later = chassis::time::to_proto(mesh.now + 1.hour());
    let request = pb::QueryIndicatorRequest {
        indicator_id: String::new(),
        month: "2026-13".into(),
        as_of: Some(later),
        dimensions: vec![99, 1, 1],
    };
    let status = mesh.service.query_indicator(mesh.asks(request)).await.unwrap_err();
    assert_eq!(refused(&status), (Code::InvalidArgument, "FIELDS_INVALID".into()));
    for field in ["indicator_id", "month", "as_of", "dimensions[0]", "dimensions[2]"] {
        assert!(status.message().contains(field), "{field} in {}", status.message());
    }
    let future = pb::QueryIndicatorRequest {
        indicator_id: "fktp-visit-rate".into(),
        month: "2999-01".into(),
        ..Default::default()
    };
    let status = mesh.service.query_indicator(mesh.asks(future)).await.unwrap_err();
    assert!(status.message().contains("month"));
}

#[tokio::test]
async fn unknown_indicators_and_dimensions_are_refused_with_their_reason() {
    let mesh = Mesh::new("unknown").await;
    let ask = |id: &str, dimension: pb::Dimension| pb::QueryIndicatorRequest {
        indicator_id: id.into(),
        month: mesh.month(),
        dimensions: vec![dimension.into()],
        as_of: None,
    };
    let unknown =
        mesh.service.query_indicator(mesh.asks(ask("no-such", pb::Dimension::Province))).await.unwrap_err();
    assert_eq!(refused(&unknown), (Code::NotFound, "INDICATOR_UNKNOWN".into()));
    let request = ask("fktp-visit-rate", pb::Dimension::CareType);
    let not_offered = mesh.service.query_indicator(mesh.asks(request)).await.unwrap_err();
    assert_eq!(refused(&not_offered), (Code::FailedPrecondition, "DIMENSION_NOT_OFFERED".into()));
    let request = pb::WatchIndicatorsRequest { indicator_ids: vec!["no-such".into()] };
    let watched = mesh.service.watch_indicators(mesh.asks(request)).await.err().unwrap();
    assert_eq!(refused(&watched), (Code::NotFound, "INDICATOR_UNKNOWN".into()));
}

#[tokio::test]
async fn a_figure_says_what_it_rests_on() {
    let mesh = Mesh::new("figure").await;
    for number in 1..=4 {
        mesh.submits(number).await;
    }
    let request = pb::QueryIndicatorRequest {
        indicator_id: "claims-pending-over-14-days".into(),
        month: mesh.month(),
        dimensions: vec![pb::Dimension::CareType.into(), pb::Dimension::Province.into()],
        as_of: None,
    };
    let answer = mesh.service.query_indicator(mesh.asks(request.clone())).await.unwrap().into_inner();
    let few = &answer.figures[0];
    assert!(few.suppressed && few.denominator.is_none() && few.value.is_empty(), "{few:?}");
    mesh.submits(5).await;
    let answer = mesh.service.query_indicator(mesh.asks(request)).await.unwrap().into_inner();
    let figure = &answer.figures[0];
    let coordinates: Vec<_> = figure.coordinates.iter().map(|c| (c.dimension(), c.value.as_str())).collect();
    assert_eq!(coordinates, [(pb::Dimension::CareType, "ritl"), (pb::Dimension::Province, "unknown")]);
    assert_eq!((figure.numerator, figure.denominator, figure.value.as_str()), (Some(0), Some(5), "0.00"));
    let indicator = answer.indicator.unwrap();
    assert_eq!((indicator.digits, indicator.effective_from.as_str()), (2, "2022-10-01"));
}

#[tokio::test]
async fn a_watch_tells_of_each_move() {
    let mesh = Mesh::new("watch").await;
    let service = &mesh.service;
    tokio::spawn(watch::listen(service.db.clone(), service.bell.clone(), service.stop.clone()));
    let request = pb::WatchIndicatorsRequest { indicator_ids: vec!["claims-pending-over-14-days".into()] };
    let mut updates = service.watch_indicators(mesh.asks(request)).await.unwrap().into_inner();
    let mut next = async || {
        let update =
            tokio::time::timeout(Duration::from_secs(20), updates.next()).await.unwrap().unwrap().unwrap();
        update.figure.unwrap().denominator
    };
    assert_eq!(next().await, Some(0));
    mesh.submits(1).await;
    assert_eq!(next().await, Some(1));
    mesh.submits(2).await;
    assert_eq!(next().await, Some(2));
    mesh.service.stop.cancel();
}

#[tokio::test]
async fn a_roadmap_without_traffic_shows_five_edges_not_seen() {
    let mesh = Mesh::new("roadmap").await;
    let roadmap = mesh.service.get_roadmap(mesh.asks(pb::GetRoadmapRequest {})).await.unwrap().into_inner();
    let edges: Vec<_> = roadmap.edges.iter().map(|edge| edge.edge.as_str()).collect();
    assert_eq!(
        edges,
        ["eklaim-vklaim", "pcare-vklaim", "membership-vklaim", "vklaim-sisrute", "vklaim-siaf"]
    );
    assert!(
        roadmap.edges.iter().all(|edge| edge.state() == pb::EdgeState::NotSeen && edge.last_seen.is_none())
    );
}
