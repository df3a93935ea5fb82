//! The contract: parse, call, map. No rule and no SQL.

mod account;
mod import;
mod map;
mod member;
mod parse;
mod register;
mod update;

use std::sync::Arc;

use chassis::{
    Db, Problem, Upstream, Write,
    policy::{Dated, Mistake},
};
use jiff::civil::Date;
use prost::Message;
use proto::membership::v1::{self as pb, membership_service_server::MembershipService};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};
use uuid::Uuid;

use crate::{
    config::Settings,
    contribution::{Account, Contribution},
    eligibility::{PenaltyRule, Standing},
    error::Error,
    facility::Facilities,
    family::FamilyRule,
    fktp_choice::ChoiceRule,
    lookup::Lookup,
    registry::Registry,
    store::{Key, Record},
};

/// The policies of the service.
#[derive(Debug)]
pub struct Rules {
    pub(crate) contribution: Dated<Contribution>,
    pub(crate) penalty: Dated<PenaltyRule>,
    pub(crate) choice: Dated<ChoiceRule>,
    pub(crate) family: Dated<FamilyRule>,
}

pub(crate) const CONTRIBUTION: (&str, &str) =
    ("membership/contribution.toml", include_str!("../../../policy/membership/contribution.toml"));
pub(crate) const PENALTY: (&str, &str) =
    ("membership/inpatient-penalty.toml", include_str!("../../../policy/membership/inpatient-penalty.toml"));
pub(crate) const CHOICE: (&str, &str) =
    ("membership/fktp-choice.toml", include_str!("../../../policy/membership/fktp-choice.toml"));
pub(crate) const FAMILY: (&str, &str) =
    ("membership/family.toml", include_str!("../../../policy/membership/family.toml"));

impl Rules {
    /// The policies that were compiled in.
    ///
    /// # Errors
    /// The first mistake in one of them.
    pub fn compiled_in() -> Result<Self, Mistake> {
        Ok(Self {
            contribution: chassis::policy::parse(CONTRIBUTION.0, CONTRIBUTION.1)?,
            penalty: chassis::policy::parse(PENALTY.0, PENALTY.1)?,
            choice: chassis::policy::parse(CHOICE.0, CHOICE.1)?,
            family: chassis::policy::parse(FAMILY.0, FAMILY.1)?,
        })
    }

    pub(crate) fn account<'a>(&'a self, record: &'a Record) -> Account<'a> {
        Account {
            terms: &record.terms,
            members: &record.members,
            payments: &record.payments,
            policy: &self.contribution,
        }
    }

    pub(crate) fn standing<'a>(&'a self, record: &'a Record) -> Standing<'a> {
        Standing {
            registered_from: record.covered_from,
            ended_on: record.ended_on,
            account: self.account(record),
            choices: &record.choices,
        }
    }
}

/// The handlers. Cheap to clone.
#[derive(Clone)]
pub struct Membership {
    pub(crate) db: Db,
    pub(crate) facilities: Facilities,
    pub(crate) registry: Registry,
    pub(crate) lookup: Lookup,
    pub(crate) rules: Arc<Rules>,
}

impl Membership {
    /// The handlers over a database, the accreditation service and the civil registry that the settings name; and the
    /// work beside the calls without which they are not answered.
    ///
    /// # Errors
    /// When the settings name no civil registry that can be asked.
    pub fn new(
        db: Db,
        accreditation: Upstream,
        settings: &Settings,
        rules: Rules,
        stop: CancellationToken,
    ) -> anyhow::Result<(Self, impl Future<Output = anyhow::Result<()>> + Send + 'static)> {
        let (lookup, work) = Lookup::new(db.pool.clone(), settings.cache_records, stop);
        let handlers = Self {
            db,
            facilities: Facilities::new(accreditation),
            registry: Registry::new(&settings.civil_registry)?,
            lookup,
            rules: Arc::new(rules),
        };
        Ok((handlers, work))
    }

    /// The member that a key names on a day.
    async fn find(&self, key: &Key, day: Date) -> Result<Arc<Record>, Error> {
        latest(&self.lookup.now(key).await?, day)
    }

    /// The same, as it was at some moment of the last half second.
    async fn find_lately(&self, key: &Key, day: Date) -> Result<Arc<Record>, Error> {
        latest(&self.lookup.lately(key).await?, day)
    }

    /// Commits the change of a family. Whoever asks here after the answer finds what was written.
    async fn commit<R: Message>(&self, write: Write, family_id: Uuid, answer: R) -> Result<R, Problem> {
        let outcome = write.commit(answer).await;
        // Also when the outcome is unknown: it may have been written.
        self.lookup.changed([&family_id], None);
        outcome
    }
}

/// Of the records of a person who was registered anew, the latest that had begun by the day.
fn latest(records: &[Arc<Record>], day: Date) -> Result<Arc<Record>, Error> {
    let begun = records.iter().rfind(|record| record.covered_from <= day);
    begun.or_else(|| records.first()).map(Arc::clone).ok_or(Error::MemberNotFound)
}

/// A call's message and what is known of the call, handed to the part that answers.
macro_rules! answer {
    ($self:ident, $request:ident, $method:ident) => {{
        let (call, message) = chassis::call::accept($request)?;
        Ok(Response::new($self.$method(call, message).await?))
    }};
}

#[tonic::async_trait]
impl MembershipService for Membership {
    async fn register_family(
        &self,
        request: Request<pb::RegisterFamilyRequest>,
    ) -> Result<Response<pb::RegisterFamilyResponse>, Status> {
        answer!(self, request, register)
    }

    async fn get_member(
        &self,
        request: Request<pb::GetMemberRequest>,
    ) -> Result<Response<pb::GetMemberResponse>, Status> {
        answer!(self, request, get)
    }

    async fn find_member(
        &self,
        request: Request<pb::FindMemberRequest>,
    ) -> Result<Response<pb::FindMemberResponse>, Status> {
        answer!(self, request, find_known)
    }

    async fn update_member(
        &self,
        request: Request<pb::UpdateMemberRequest>,
    ) -> Result<Response<pb::UpdateMemberResponse>, Status> {
        answer!(self, request, update)
    }

    async fn list_family_members(
        &self,
        request: Request<pb::ListFamilyMembersRequest>,
    ) -> Result<Response<pb::ListFamilyMembersResponse>, Status> {
        answer!(self, request, list_family)
    }

    async fn change_fktp(
        &self,
        request: Request<pb::ChangeFktpRequest>,
    ) -> Result<Response<pb::ChangeFktpResponse>, Status> {
        answer!(self, request, change_facility)
    }

    async fn check_eligibility(
        &self,
        request: Request<pb::CheckEligibilityRequest>,
    ) -> Result<Response<pb::CheckEligibilityResponse>, Status> {
        answer!(self, request, check)
    }

    async fn get_contribution_statement(
        &self,
        request: Request<pb::GetContributionStatementRequest>,
    ) -> Result<Response<pb::GetContributionStatementResponse>, Status> {
        answer!(self, request, statement)
    }

    async fn post_contribution(
        &self,
        request: Request<pb::PostContributionRequest>,
    ) -> Result<Response<pb::PostContributionResponse>, Status> {
        answer!(self, request, post)
    }

    async fn verify_nik(
        &self,
        request: Request<pb::VerifyNikRequest>,
    ) -> Result<Response<pb::VerifyNikResponse>, Status> {
        answer!(self, request, verify)
    }

    async fn import_members(
        &self,
        request: Request<Streaming<pb::ImportMembersRequest>>,
    ) -> Result<Response<pb::ImportMembersResponse>, Status> {
        answer!(self, request, import)
    }
}
