//! The membership database: who is a member of JKN, in which family and segment, with which first-level facility, what
//! was paid, and whether a member is eligible for care on a day.
//!
//! It owns members, families, their terms, choices of facility and contributions, each with its history, so that a
//! question about a past day is answered as it was on that day. It asks accreditation whether a facility may be chosen,
//! and the civil registry about a NIK. It knows nothing of visits, referrals or claims.
//!
//! - `family`, `fktp_choice`, `contribution`, `eligibility`: the rules, over plain types
//! - `registry`, `facility`: those whom it asks
//! - `lookup`: what a key names, asked by many at once or known from a moment ago; `freshness`: for how long
//! - `grpc`: parse, call, map; `store`: the tables; `error`: refusals and their status codes

mod config;
mod contribution;
mod eligibility;
mod error;
mod facility;
mod family;
mod fktp_choice;
mod freshness;
pub mod grpc;
mod lookup;
mod registry;
mod store;

use proto::membership::v1::membership_service_server::MembershipServiceServer;
use sqlx::migrate::Migrator;

pub use config::{CivilRegistry, Settings};

/// The tables of the service.
pub static MIGRATOR: Migrator = sqlx::migrate!();

/// The service, as the process that runs it knows it.
pub struct Membership;

impl chassis::Service for Membership {
    const NAME: &'static str = "membership";
    const DEFAULTS: &'static str = config::DEFAULTS;
    type Settings = Settings;

    fn migrations() -> Option<&'static Migrator> {
        Some(&MIGRATOR)
    }

    async fn build(start: chassis::Start<Settings>) -> anyhow::Result<chassis::Parts> {
        let rules = grpc::Rules {
            contribution: start.policy(grpc::CONTRIBUTION.0, grpc::CONTRIBUTION.1)?,
            penalty: start.policy(grpc::PENALTY.0, grpc::PENALTY.1)?,
            choice: start.policy(grpc::CHOICE.0, grpc::CHOICE.1)?,
            family: start.policy(grpc::FAMILY.0, grpc::FAMILY.1)?,
        };
        let accreditation = start.upstream("accreditation")?;
        let (grpc, work) = grpc::Membership::new(
            start.db()?.clone(),
            accreditation,
            &start.settings,
            rules,
            start.stop.clone(),
        )?;
        Ok(chassis::Parts::new().serve(MembershipServiceServer::new(grpc)).task("lookup", work))
    }
}
