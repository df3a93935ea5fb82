//! P-Care: what happens at a first-level facility (FKTP), from the registration of a visit to discharge or referral.
//!
//! Owns visits and their numbers. Asks membership whether the member is eligible on the visit date and keeps the
//! answer; asks the referral service to create a referral and keeps its number. Does not know the referral's course,
//! nor what a hospital does.
//!
//! - [`visit`]: when a visit may be entered, where a member may be seen, how a visit goes on
//! - [`vital_signs`], [`laboratory`], [`diagnosis`], [`drug`]: what was measured, tested, found and handed out
//! - [`referral`]: when a TACC reason is needed; [`record`]: what a referral carries of the patient's visits

mod code;
pub mod config;
pub mod diagnosis;
pub mod drug;
mod error;
mod grpc;
pub mod laboratory;
pub mod record;
pub mod referral;
mod store;
pub mod visit;
pub mod vital_signs;

use std::sync::Arc;

use chassis::{Parts, Start};
use proto::{
    membership::v1::membership_service_client::MembershipServiceClient,
    primary_care::v1::primary_care_service_server::PrimaryCareServiceServer,
    referral::v1::referral_service_client::ReferralServiceClient,
};
use sqlx::migrate::Migrator;

/// The primary-care service.
pub struct PrimaryCare;

impl chassis::Service for PrimaryCare {
    const NAME: &'static str = "primary-care";
    const DEFAULTS: &'static str = config::DEFAULTS;
    type Settings = config::Settings;

    fn migrations() -> Option<&'static Migrator> {
        static MIGRATIONS: Migrator = sqlx::migrate!();
        Some(&MIGRATIONS)
    }

    async fn build(start: Start<Self::Settings>) -> anyhow::Result<Parts> {
        let visits = start
            .policy("primary-care/visit.toml", include_str!("../../../policy/primary-care/visit.toml"))?;
        let non_specialist = start.policy(
            "primary-care/non-specialist.toml",
            include_str!("../../../policy/primary-care/non-specialist.toml"),
        )?;
        let records = start
            .policy("primary-care/record.toml", include_str!("../../../policy/primary-care/record.toml"))?;
        let served = grpc::PrimaryCare {
            db: start.db()?.clone(),
            membership: MembershipServiceClient::new(start.upstream("membership")?),
            referral: ReferralServiceClient::new(start.upstream("referral")?),
            visits: Arc::new(visits),
            non_specialist: Arc::new(non_specialist),
            records: Arc::new(records),
        };
        Ok(Parts::new().serve(PrimaryCareServiceServer::new(served)))
    }
}
