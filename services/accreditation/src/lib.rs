//! SIAF: who the facilities are, and which of them are accredited.
//!
//! Owns the registry of facilities (codes, kind, class, owner, services, contracts with BPJS-K, KRIS assessments)
//! and accreditation from the application to the certificate. Other services ask it two questions: what a facility
//! is, and whether it may serve members on a day.
//!
//! Parts: [`facility`] what a facility is · [`contract`] its contracts · [`survey`] the steps of a survey ·
//! [`grading`] from elements to a grade · [`certificate`] validity and standing · [`grpc`] the contract ·
//! [`store`] all SQL.

pub mod certificate;
mod closed;
pub mod config;
pub mod contract;
pub mod error;
pub mod facility;
pub mod grading;
pub mod grpc;
pub mod store;
pub mod survey;

use chassis::{Parts, Start};
use proto::accreditation::v1::{
    accreditation_service_server::AccreditationServiceServer, facility_service_server::FacilityServiceServer,
};
use sqlx::migrate::Migrator;

/// The service.
pub struct Accreditation;

impl chassis::Service for Accreditation {
    const NAME: &'static str = "accreditation";
    const DEFAULTS: &'static str = config::DEFAULTS;
    type Settings = config::Settings;

    fn migrations() -> Option<&'static Migrator> {
        static MIGRATOR: Migrator = sqlx::migrate!();
        Some(&MIGRATOR)
    }

    async fn build(start: Start<Self::Settings>) -> anyhow::Result<Parts> {
        let policies = grpc::Policies {
            grades: start.policy(
                "accreditation/grades.toml",
                include_str!("../../../policy/accreditation/grades.toml"),
            )?,
            certificates: start.policy(
                "accreditation/certificates.toml",
                include_str!("../../../policy/accreditation/certificates.toml"),
            )?,
            surveys: start.policy(
                "accreditation/surveys.toml",
                include_str!("../../../policy/accreditation/surveys.toml"),
            )?,
        };
        let db = start.db()?.clone();
        Ok(Parts::new()
            .serve(FacilityServiceServer::new(grpc::Facilities { db: db.clone() }))
            .serve(AccreditationServiceServer::new(grpc::Accreditations { db, policies })))
    }
}
