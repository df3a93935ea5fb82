//! V-Klaim and e-Klaim: the letter before a hospital's service (SEP) and the claim after it, from coding to payment.
//!
//! It owns SEPs with the answers of membership, referral and accreditation they rest on, and claims with their data,
//! grouping, rounds of pending and payment. It knows a member by id, and by what membership answered for a SEP. What the
//! law fixes it reads from `policy/claims`.
//!
//! - [`sep`]: whether a SEP may be issued; [`approval`]: late, or without a fingerprint; [`follow_up`]: on a control letter,
//!   in-patient order or internal referral; [`accident`], [`supplement`]: who pays first, and the SEPs of one accident;
//!   [`penalty`], [`discharge`]: what a reactivated member owes, and when an in-patient left
//! - [`episode`], [`codes`], [`newborn`]: the coded episode; ranges of codes; until when a patient is a newborn
//! - [`grouper`], [`tariff`], [`special`]: its INA-CBG package, what that is worth, and what is paid beside it
//! - [`grouping`]: the table, or an e-Klaim web service, behind one interface
//! - [`coder`]: whether who coded it may
//! - [`rules`]: what is known to lead to pending, and the tracers: sets of rules as data
//! - [`life`], [`clock`]: which step is lawful when; the clocks
//! - [`audit`], [`frame`], [`frame_work`], [`draw`], [`quarter`]: the audit of settled claims; [`accuracy`]: of their coding
//! - [`dispute`], [`work`]: disputes and their decision; who owes a step for how long
//! - [`filing`], [`payment`], [`ledger`], [`reconcile`]: completeness, batches, double entry, reconciliation to zero
//! - [`error`]: everything that can be refused; `grpc`: the methods; [`store`]: all SQL

pub mod accident;
pub mod accident_share;
pub mod accuracy;
pub mod approval;
pub mod audit;
pub mod clock;
pub mod coder;
pub mod codes;
pub mod config;
pub mod discharge;
pub mod dispute;
pub mod draw;
pub mod episode;
pub mod error;
pub mod filing;
pub mod follow_up;
pub mod frame;
pub mod frame_work;
pub mod grouper;
pub mod grouping;
mod grpc;
pub mod ledger;
pub mod life;
pub mod newborn;
pub mod payment;
pub mod penalty;
pub mod quarter;
pub mod reconcile;
pub mod recovered;
pub mod rules;
pub mod sep;
pub mod special;
pub mod stay;
pub mod store;
pub mod supplement;
pub mod tariff;
pub mod visit;
pub mod work;

use std::sync::Arc;

use proto::{
    accreditation::v1::accreditation_service_client::AccreditationServiceClient,
    claims::v1::{
        accident_service_server::AccidentServiceServer, audit_service_server::AuditServiceServer,
        claim_service_server::ClaimServiceServer, coder_service_server::CoderServiceServer,
        dispute_service_server::DisputeServiceServer, eklaim_service_server::EklaimServiceServer,
        follow_up_service_server::FollowUpServiceServer, rule_service_server::RuleServiceServer,
        sep_approval_service_server::SepApprovalServiceServer, sep_service_server::SepServiceServer,
        settlement_service_server::SettlementServiceServer, work_service_server::WorkServiceServer,
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
        macro_rules! policy_text {
            ($name:literal) => {
                start.policy_text(
                    concat!("claims/", $name),
                    include_str!(concat!("../../../policy/claims/", $name)),
                )?
            };
        }
        let policies = Arc::new(grpc::Policies {
            sep: policy!("sep.toml"),
            clock: policy!("clock.toml"),
            rules: grpc::RuleSets::read(&policy_text!("edits.toml"), &policy_text!("tracers.toml"))?,
            groups: policy!("cbg.toml"),
            tariff: policy!("tariff.toml"),
            audit: policy!("audit.toml"),
            follow_up: policy!("follow-up.toml"),
            accident: policy!("accident.toml"),
            dispute: policy!("dispute.toml"),
            filing: policy!("filing.toml"),
            penalty: policy!("settlement.toml"),
            bands: policy!("work.toml"),
            coder: policy!("coder.toml"),
            special: policy!("special.toml"),
            stay: policy!("stay.toml"),
            visit: policy!("visit.toml"),
        });
        let db = start.db()?.clone();
        let membership = MembershipServiceClient::new(start.upstream("membership")?);
        let accreditation = AccreditationServiceClient::new(start.upstream("accreditation")?);
        let kind = grpc::Issuances { policies: policies.clone() };
        let (issuances, issuing) = chassis::Batcher::new(db.clone(), kind, start.stop.clone());
        let seps = grpc::Seps {
            db: db.clone(),
            policies: policies.clone(),
            issuances,
            membership: membership.clone(),
            referral: ReferralServiceClient::new(start.upstream("referral")?),
            accreditation: accreditation.clone(),
        };
        let wake = Arc::new(tokio::sync::Notify::new());
        let audits = grpc::Audits { db: db.clone(), policies: policies.clone(), wake: wake.clone() };
        let frames = grpc::FrameWork {
            db: db.clone(),
            policies: policies.clone(),
            piece: start.settings.audit_piece_rows.get().into(),
            wake,
        };
        let framing = frames.run(start.stop.clone());
        let follow_ups = grpc::FollowUps { db: db.clone(), policies: policies.clone() };
        let approvals = grpc::Approvals { db: db.clone(), policies: policies.clone() };
        let rules = grpc::Rules { db: db.clone(), policies: policies.clone() };
        let kind = grpc::Submissions { policies: policies.clone() };
        let (submissions, submitting) = chassis::Batcher::new(db.clone(), kind, start.stop.clone());
        let coders = grpc::Coders { db: db.clone(), policies: policies.clone(), accreditation };
        let grouper: Arc<dyn grouping::Grouper> = match start.settings.grouper {
            GrouperKind::Table => Arc::new(TableGrouper { policies: policies.clone() }),
            GrouperKind::Eklaim => Arc::new(EklaimGrouper::new(&start.settings.eklaim, membership)?),
        };
        let claims = grpc::Claims { db, policies, submissions, grouper };
        Ok(chassis::Parts::new()
            .serve(SepServiceServer::new(seps.clone()))
            .serve(AccidentServiceServer::new(seps))
            .serve(FollowUpServiceServer::new(follow_ups))
            .serve(SepApprovalServiceServer::new(approvals))
            .serve(ClaimServiceServer::new(claims.clone()))
            .serve(EklaimServiceServer::new(claims.clone()))
            .serve(CoderServiceServer::new(coders))
            .serve(RuleServiceServer::new(rules))
            .serve(DisputeServiceServer::new(claims.clone()))
            .serve(WorkServiceServer::new(claims.clone()))
            .serve(SettlementServiceServer::new(claims))
            .serve(AuditServiceServer::new(audits))
            .task("audit-frames", framing)
            .task("issuances", issuing)
            .task("submissions", submitting))
    }
}
