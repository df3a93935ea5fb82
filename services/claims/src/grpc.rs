//! The service over gRPC: parse, call, map; no rule and no SQL.

mod accident;
mod audit;
mod audit_frame;
mod audit_work;
mod batch;
mod cited;
mod claim;
mod claim_data;
mod claim_detail;
mod claim_life;
mod claim_read;
mod claim_settle;
mod coder;
mod coding_review;
mod dispute;
mod eklaim;
mod filing;
mod follow_up;
mod frame_work;
mod issuance;
mod issue;
mod penalty;
mod recovery;
mod rule;
mod rule_facts;
mod sep;
mod sep_approval;
mod sep_fields;
mod sep_life;
mod settlement;
mod stay;
mod submit;
mod verification;
mod view;
mod visit;
mod work;

use std::sync::Arc;

use chassis::{Batcher, Db, Fields, Upstream, policy::Dated};
use proto::{
    accreditation::v1::accreditation_service_client::AccreditationServiceClient,
    membership::v1::membership_service_client::MembershipServiceClient,
    referral::v1::referral_service_client::ReferralServiceClient,
};
use vocabulary::FacilityCode;

pub(crate) use self::{
    coder::Coders, frame_work::FrameWork, issuance::Issuances, rule::Rules, submit::Submissions,
    verification::RuleSets,
};
use crate::{
    accident as accidents, audit::Rules as AuditRules, clock, coder::Duty, dispute as disputes,
    filing as filings, follow_up as letters, grouper, grouping::Grouper, payment, special, stay as stays,
    tariff, work as works,
};

/// What law fixes, as dated data.
pub(crate) struct Policies {
    pub(crate) sep: Dated<crate::sep::Rules>,
    pub(crate) clock: Dated<clock::Periods>,
    pub(crate) rules: RuleSets,
    pub(crate) groups: Dated<grouper::Table>,
    pub(crate) tariff: Dated<tariff::Table>,
    pub(crate) audit: Dated<AuditRules>,
    pub(crate) follow_up: Dated<letters::Rules>,
    pub(crate) accident: Dated<accidents::Rules>,
    pub(crate) dispute: Dated<disputes::Rules>,
    pub(crate) filing: Dated<filings::Calendar>,
    pub(crate) penalty: Dated<payment::Penalty>,
    pub(crate) bands: Dated<works::Bands>,
    pub(crate) coder: Dated<Duty>,
    pub(crate) special: Dated<special::Table>,
    pub(crate) stay: Dated<stays::Rules>,
    pub(crate) visit: Dated<crate::visit::Rules>,
}

/// Answers for SEPs.
#[derive(Clone)]
pub(crate) struct Seps {
    pub(crate) db: Db,
    pub(crate) policies: Arc<Policies>,
    pub(crate) issuances: Batcher<Issuances>,
    pub(crate) membership: MembershipServiceClient<Upstream>,
    pub(crate) referral: ReferralServiceClient<Upstream>,
    pub(crate) accreditation: AccreditationServiceClient<Upstream>,
}

/// Answers for claims.
#[derive(Clone)]
pub(crate) struct Claims {
    pub(crate) db: Db,
    pub(crate) policies: Arc<Policies>,
    pub(crate) submissions: Batcher<Submissions>,
    pub(crate) grouper: Arc<dyn Grouper>,
}

/// Answers for audits.
#[derive(Clone)]
pub(crate) struct Audits {
    pub(crate) db: Db,
    pub(crate) policies: Arc<Policies>,
    /// Rung when there is work on a frame.
    pub(crate) wake: Arc<tokio::sync::Notify>,
}

/// Answers for letters between two SEPs.
#[derive(Clone)]
pub(crate) struct FollowUps {
    pub(crate) db: Db,
    pub(crate) policies: Arc<Policies>,
}

/// Answers for requests for approval.
#[derive(Clone)]
pub(crate) struct Approvals {
    pub(crate) db: Db,
    pub(crate) policies: Arc<Policies>,
}

/// Free text that may be left out; empty then.
fn optional_text(fields: &mut Fields, path: &str, given: &str, most: usize) -> String {
    if given.is_empty() {
        return String::new();
    }
    fields.parse(path, vocabulary::text(given, most)).unwrap_or_default()
}

/// A value that may be left out.
fn optional<T, E: std::fmt::Display>(
    fields: &mut Fields,
    path: &str,
    given: &str,
    parse: impl FnOnce(&str) -> Result<T, E>,
) -> Option<T> {
    if given.is_empty() { None } else { fields.parse(path, parse(given)) }
}

/// The facility a list is narrowed to: a hospital sees its own whatever it asks for, and is told when it asks for
/// another's.
fn facility_scope(fields: &mut Fields, own: Option<&str>, asked: &str) -> Option<String> {
    let asked = optional(fields, "facility_code", asked, FacilityCode::parse);
    if let (Some(own), Some(asked)) = (own, &asked) {
        fields.require("facility_code", asked.as_str() == own, "your own facility, or nothing");
    }
    own.map(str::to_owned).or_else(|| asked.map(|code| code.as_str().to_owned()))
}
