//! SISRUTE: a patient is referred to a facility with the competence and the room, the facility answers, the patient
//! arrives, the origin hears how it ended; and claims asks whether a referral may be used for a service.
//!
//! Owns the referral letters, their numbers, the times of their events, and the room that facilities post. Asks the
//! accreditation service what a facility is and offers. Does not know who pays.
//!
//! - [`letter`]: the letter and who may read what of it; [`course`]: its states; [`clock`]: how long things may take
//! - [`ladder`]: one rung up at a time; [`candidate`]: who can take a patient, ranked; [`capacity`]: posted room
//! - [`usable`]: whether a referral may be used for a service on a day

pub mod candidate;
pub mod capacity;
pub mod clock;
pub mod config;
pub mod course;
mod error;
mod grpc;
pub mod ladder;
pub mod letter;
mod registry;
mod store;
pub mod usable;

use std::sync::Arc;

use chassis::{Parts, Start};
use proto::referral::v1::referral_service_server::ReferralServiceServer;
use sqlx::migrate::Migrator;

/// The referral service.
pub struct Referral;

impl chassis::Service for Referral {
    const NAME: &'static str = "referral";
    const DEFAULTS: &'static str = config::DEFAULTS;
    type Settings = config::Settings;

    fn migrations() -> Option<&'static Migrator> {
        static MIGRATIONS: Migrator = sqlx::migrate!();
        Some(&MIGRATIONS)
    }

    async fn build(start: Start<Self::Settings>) -> anyhow::Result<Parts> {
        let clock =
            start.policy("referral/clock.toml", include_str!("../../../policy/referral/clock.toml"))?;
        let ladder =
            start.policy("referral/ladder.toml", include_str!("../../../policy/referral/ladder.toml"))?;
        let served = grpc::Served {
            db: start.db()?.clone(),
            registry: registry::Registry::new(start.upstream("accreditation")?),
            clock: Arc::new(clock),
            ladder: Arc::new(ladder),
            most_candidates: start.settings.most_candidates,
        };
        Ok(Parts::new().serve(ReferralServiceServer::new(served)))
    }
}
