//! V-Klaim and e-Klaim: the letter before a hospital's service (SEP) and the claim after it, from coding to payment.
//!
//! It owns SEPs with the answers of membership, referral and accreditation they rest on, and claims with their data,
//! grouping, rounds of pending and payment. It knows a member by id, and by what membership answered for a SEP. What the
//! law fixes it reads from `policy/claims`.
//!
//! - [`sep`]: whether a SEP may be issued
//! - [`episode`], [`codes`]: the coded episode; ranges of codes
//! - [`grouper`], [`tariff`], [`special`]: its INA-CBG package, what that is worth, and what is paid beside it
//! - [`grouping`]: the table, or an e-Klaim web service, behind one interface
//! - [`coder`]: whether who coded it may
//! - [`edits`]: what is known to lead to pending
//! - [`life`], [`clock`]: which step is lawful when; the clocks
//! - [`error`]: everything that can be refused; `grpc`: the methods; [`store`]: all SQL

pub mod clock;
pub mod coder;
pub mod codes;
pub mod config;
pub mod edits;
pub mod episode;
pub mod error;
pub mod grouper;
pub mod grouping;
mod grpc;
pub mod life;
pub mod sep;
pub mod special;
pub mod store;
pub mod tariff;

use std::sync::Arc;

use proto::{
    accreditation::v1::accreditation_service_client::AccreditationServiceClient,
    claims::v1::{
        claim_service_server::ClaimServiceServer, coder_service_server::CoderServiceServer,
        eklaim_service_server::EklaimServiceServer, sep_service_server::SepServiceServer,
    },
    membership::v1::membership_service_client::MembershipServiceClient,
    referral::v1::referral_service_client::ReferralServiceClient,
};
use sqlx::migrate::Migrator;

use self::{
    config::GrouperKind,
    grouping::{eklaim::EklaimGrouper, table::TableGrouper},
};

/// The tables of the service.
pub static MIGRATOR: Migrator = sqlx::migrate!();

/// The service.
pub struct Claims;

impl chassis::Service for Claims {
    const NAME: &'static str = "claims";
    const DEFAULTS: &'static str = config::DEFAULTS;
    type Settings = config::Settings;

    fn migrations() -> Option<&'static Migrator> {
        Some(&MIGRATOR)
    }

    async fn build(start: chassis::Start<Self::Settings>) -> anyhow::Result<chassis::Parts> {
        macro_rules! policy {
            ($name:literal) => {
                start.policy(
                    concat!("claims/", $name),
                    include_str!(concat!("../../../policy/claims/", $name)),
                )?
            };
        }
        let policies = Arc::new(grpc::Policies {
            sep: policy!("sep.toml"),
            clock: policy!("clock.toml"),
            edits: policy!("edits.toml"),
            groups: policy!("cbg.toml"),
            tariff: policy!("tariff.toml"),
            coder: policy!("coder.toml"),
            special: policy!("special.toml"),
        });
        let db = start.db()?.clone();
        let membership = MembershipServiceClient::new(start.upstream("membership")?);
        let accreditation = AccreditationServiceClient::new(start.upstream("accreditation")?);
        let seps = grpc::Seps {
            db: db.clone(),
            policies: policies.clone(),
            membership: membership.clone(),
            referral: ReferralServiceClient::new(start.upstream("referral")?),
            accreditation: accreditation.clone(),
        };
        let kind = grpc::Submissions { policies: policies.clone() };
        let (submissions, submitting) = chassis::Batcher::new(db.clone(), kind, start.stop.clone());
        let coders = grpc::Coders { db: db.clone(), policies: policies.clone(), accreditation };
        let grouper: Arc<dyn grouping::Grouper> = match start.settings.grouper {
            GrouperKind::Table => Arc::new(TableGrouper { policies: policies.clone() }),
            GrouperKind::Eklaim => Arc::new(EklaimGrouper::new(&start.settings.eklaim, membership)?),
        };
        let claims = grpc::Claims { db, policies, submissions, grouper };
        Ok(chassis::Parts::new()
            .serve(SepServiceServer::new(seps))
            .serve(ClaimServiceServer::new(claims.clone()))
            .serve(EklaimServiceServer::new(claims))
            .serve(CoderServiceServer::new(coders))
            .task("submissions", submitting))
    }
}
