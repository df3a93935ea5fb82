//! The service over gRPC: parse, call, map.

mod candidates;
mod create;
mod map;
mod read;
mod step;

use std::{pin::Pin, sync::Arc};

use chassis::{Call, Caller, Db, policy::Dated};
use futures::Stream;
use proto::{
    options::v1::InstitutionKind,
    referral::v1::{self as pb, referral_service_server::ReferralService},
};
use tonic::{Request, Response, Status};

use crate::{
    clock::Clock,
    course::{Now, Terms},
    error::Error,
    ladder::Ladder,
    letter::{Letter, Reader},
    registry::Registry,
};

/// What the handlers work with.
#[derive(Clone)]
pub(crate) struct Served {
    pub(crate) db: Db,
    pub(crate) registry: Registry,
    pub(crate) clock: Arc<Dated<Clock>>,
    pub(crate) ladder: Arc<Dated<Ladder>>,
    pub(crate) most_candidates: usize,
}

impl Served {
    fn terms(&self, letter: &Letter) -> Result<Terms, Error> {
        Ok(self.clock.on(letter.referral_date)?.terms(letter))
    }

    fn shown(&self, letter: &Letter, call: &Call) -> Result<pb::Referral, Error> {
        map::referral(letter, &self.terms(letter)?, now(call), reader(&call.caller))
    }
}

fn now(call: &Call) -> Now {
    Now { at: call.received_at, today: call.today }
}

fn reader(caller: &Caller) -> Reader<'_> {
    caller.facility().map_or(Reader::Every, Reader::Facility)
}

/// The service that acts for first-level facilities.
fn is_primary_care(caller: &Caller) -> bool {
    caller.kind == InstitutionKind::Service && caller.id == "primary-care"
}

#[tonic::async_trait]
impl ReferralService for Served {
    async fn create_referral(
        &self,
        request: Request<pb::CreateReferralRequest>,
    ) -> Result<Response<pb::CreateReferralResponse>, Status> {
        let (call, message) = chassis::call::accept(request)?;
        Ok(Response::new(self.create(&call, message).await?))
    }

    async fn list_candidates(
        &self,
        request: Request<pb::ListCandidatesRequest>,
    ) -> Result<Response<pb::ListCandidatesResponse>, Status> {
        let (call, message) = chassis::call::accept(request)?;
        Ok(Response::new(self.candidates(&call, message).await?))
    }

    async fn update_capacity(
        &self,
        request: Request<pb::UpdateCapacityRequest>,
    ) -> Result<Response<pb::UpdateCapacityResponse>, Status> {
        let (call, message) = chassis::call::accept(request)?;
        Ok(Response::new(self.post_capacity(&call, message).await?))
    }

    async fn accept_referral(
        &self,
        request: Request<pb::AcceptReferralRequest>,
    ) -> Result<Response<pb::AcceptReferralResponse>, Status> {
        let (call, message) = chassis::call::accept(request)?;
        Ok(Response::new(self.accept(&call, message).await?))
    }

    async fn refuse_referral(
        &self,
        request: Request<pb::RefuseReferralRequest>,
    ) -> Result<Response<pb::RefuseReferralResponse>, Status> {
        let (call, message) = chassis::call::accept(request)?;
        Ok(Response::new(self.refuse(&call, message).await?))
    }

    async fn cancel_referral(
        &self,
        request: Request<pb::CancelReferralRequest>,
    ) -> Result<Response<pb::CancelReferralResponse>, Status> {
        let (call, message) = chassis::call::accept(request)?;
        Ok(Response::new(self.cancel(&call, message).await?))
    }

    async fn record_arrival(
        &self,
        request: Request<pb::RecordArrivalRequest>,
    ) -> Result<Response<pb::RecordArrivalResponse>, Status> {
        let (call, message) = chassis::call::accept(request)?;
        Ok(Response::new(self.arrive(&call, message).await?))
    }

    async fn complete_referral(
        &self,
        request: Request<pb::CompleteReferralRequest>,
    ) -> Result<Response<pb::CompleteReferralResponse>, Status> {
        let (call, message) = chassis::call::accept(request)?;
        Ok(Response::new(self.complete(&call, message).await?))
    }

    async fn get_referral(
        &self,
        request: Request<pb::GetReferralRequest>,
    ) -> Result<Response<pb::GetReferralResponse>, Status> {
        let (call, message) = chassis::call::accept(request)?;
        Ok(Response::new(self.get(&call, &message).await?))
    }

    async fn list_referrals(
        &self,
        request: Request<pb::ListReferralsRequest>,
    ) -> Result<Response<pb::ListReferralsResponse>, Status> {
        let (call, message) = chassis::call::accept(request)?;
        Ok(Response::new(self.list(&call, &message).await?))
    }

    type WatchReferralsStream =
        Pin<Box<dyn Stream<Item = Result<pb::WatchReferralsResponse, Status>> + Send>>;

    async fn watch_referrals(
        &self,
        request: Request<pb::WatchReferralsRequest>,
    ) -> Result<Response<Self::WatchReferralsStream>, Status> {
        let (call, message) = chassis::call::accept(request)?;
        Ok(Response::new(self.watch(&call, &message).await?))
    }

    async fn check_referral(
        &self,
        request: Request<pb::CheckReferralRequest>,
    ) -> Result<Response<pb::CheckReferralResponse>, Status> {
        let (call, message) = chassis::call::accept(request)?;
        Ok(Response::new(self.check(&call, message).await?))
    }
}
