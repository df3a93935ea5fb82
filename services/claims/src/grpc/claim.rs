//! Claims over gRPC: which method is answered where.

use std::pin::Pin;

use futures::Stream;
use proto::claims::v1::{self as pb, claim_service_server::ClaimService};
use tonic::{Request, Response, Status, Streaming};

use super::Claims;

/// Hands a method on to the function that answers it.
macro_rules! answered {
    ($self:ident, $request:ident, $by:ident) => {{
        let (call, message) = chassis::call::accept($request)?;
        Ok(Response::new(Box::pin($self.$by(&call, message)).await?))
    }};
}
pub(super) use answered;

#[tonic::async_trait]
impl ClaimService for Claims {
    async fn create_claim(
        &self,
        request: Request<pb::CreateClaimRequest>,
    ) -> Result<Response<pb::CreateClaimResponse>, Status> {
        answered!(self, request, create)
    }

    async fn set_claim_data(
        &self,
        request: Request<pb::SetClaimDataRequest>,
    ) -> Result<Response<pb::SetClaimDataResponse>, Status> {
        answered!(self, request, set_data)
    }

    async fn group_claim(
        &self,
        request: Request<pb::GroupClaimRequest>,
    ) -> Result<Response<pb::GroupClaimResponse>, Status> {
        answered!(self, request, group)
    }

    async fn finalise_claim(
        &self,
        request: Request<pb::FinaliseClaimRequest>,
    ) -> Result<Response<pb::FinaliseClaimResponse>, Status> {
        answered!(self, request, finalise)
    }

    async fn submit_claim(
        &self,
        request: Request<pb::SubmitClaimRequest>,
    ) -> Result<Response<pb::SubmitClaimResponse>, Status> {
        let (call, message) = chassis::call::accept(request)?;
        Ok(Response::new(Box::pin(self.submit(call, message)).await?))
    }

    type SubmitClaimsStream = Pin<Box<dyn Stream<Item = Result<pb::SubmitClaimsResponse, Status>> + Send>>;

    async fn submit_claims(
        &self,
        request: Request<Streaming<pb::SubmitClaimsRequest>>,
    ) -> Result<Response<Self::SubmitClaimsStream>, Status> {
        let (call, rows) = chassis::call::accept(request)?;
        Ok(Response::new(Box::pin(self.submit_all(call, rows))))
    }

    async fn get_claim(
        &self,
        request: Request<pb::GetClaimRequest>,
    ) -> Result<Response<pb::GetClaimResponse>, Status> {
        answered!(self, request, get)
    }

    async fn list_claims(
        &self,
        request: Request<pb::ListClaimsRequest>,
    ) -> Result<Response<pb::ListClaimsResponse>, Status> {
        answered!(self, request, list)
    }

    type WatchClaimsStream = Pin<Box<dyn Stream<Item = Result<pb::WatchClaimsResponse, Status>> + Send>>;

    async fn watch_claims(
        &self,
        request: Request<pb::WatchClaimsRequest>,
    ) -> Result<Response<Self::WatchClaimsStream>, Status> {
        answered!(self, request, watch)
    }

    async fn record_verification(
        &self,
        request: Request<pb::RecordVerificationRequest>,
    ) -> Result<Response<pb::RecordVerificationResponse>, Status> {
        answered!(self, request, verify)
    }

    async fn answer_pending(
        &self,
        request: Request<pb::AnswerPendingRequest>,
    ) -> Result<Response<pb::AnswerPendingResponse>, Status> {
        answered!(self, request, answer)
    }

    async fn approve_claim(
        &self,
        request: Request<pb::ApproveClaimRequest>,
    ) -> Result<Response<pb::ApproveClaimResponse>, Status> {
        answered!(self, request, approve)
    }

    async fn settle_claim(
        &self,
        request: Request<pb::SettleClaimRequest>,
    ) -> Result<Response<pb::SettleClaimResponse>, Status> {
        answered!(self, request, settle)
    }
}
