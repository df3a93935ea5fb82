//! SISMONEV, for the National Social Security Council (DJSN): what the events of the other systems add up to.
//!
//! Owns the counters behind the indicators and the evidence behind the roadmap; writes to nobody. Its parts:
//! - [`event`]: the other systems' events in its own words; [`count`]: from an event to cases and proofs
//! - [`indicator`]: definitions and arithmetic; [`pending`]: the clock of a claim and the month it is judged in
//! - [`roadmap`]: the five integrations and what proves them
//! - [`fold`]: events in, exactly once; [`query`]: figures out, as of any instant; [`watch`]: figures as they move
//! - [`recompute`]: the same figures from the events alone, to hold the counters against
//! - [`grpc`]: the contract; [`store`]: all SQL

pub mod config;
pub mod count;
pub mod error;
pub mod event;
pub mod fold;
pub mod grpc;
pub mod indicator;
pub mod pending;
pub mod query;
pub mod recompute;
pub mod roadmap;
pub mod store;
pub mod watch;

use std::sync::Arc;

use proto::sismonev::v1::sismonev_service_server::SismonevServiceServer;

/// The service.
pub struct Sismonev;

impl chassis::Service for Sismonev {
    const NAME: &'static str = "sismonev";
    const DEFAULTS: &'static str = config::DEFAULTS;
    type Settings = config::Settings;

    fn migrations() -> Option<&'static sqlx::migrate::Migrator> {
        static MIGRATOR: sqlx::migrate::Migrator = sqlx::migrate!();
        Some(&MIGRATOR)
    }

    async fn build(start: chassis::Start<Self::Settings>) -> anyhow::Result<chassis::Parts> {
        let definitions = start
            .policy("sismonev/indicators.toml", include_str!("../../../policy/sismonev/indicators.toml"))?;
        let roadmap =
            start.policy("sismonev/roadmap.toml", include_str!("../../../policy/sismonev/roadmap.toml"))?;
        let bell = watch::Bell::new(0);
        let served = grpc::Sismonev {
            db: start.db()?.clone(),
            definitions: Arc::new(definitions),
            roadmap: Arc::new(roadmap),
            bell: bell.clone(),
            stop: start.stop.clone(),
        };
        let mut parts = chassis::Parts::new()
            .serve(SismonevServiceServer::new(served))
            .task("listen", watch::listen(start.db()?.clone(), bell, start.stop.clone()));
        for source in fold::SOURCES {
            parts = parts.task(source, start.follow(source, fold::Figures)?);
        }
        Ok(parts)
    }
}
