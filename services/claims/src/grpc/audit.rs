//! Audits over gRPC: which method is answered where.

use std::pin::Pin;

use futures::Stream;
use proto::claims::v1::{self as pb, audit_service_server::AuditService};
use tonic::{Request, Response, Status};

use super::Audits;

/// Hands a method on to the function that answers it.
macro_rules! answered {
    ($self:ident, $request:ident, $by:ident) => {{
        let (call, message) = chassis::call::accept($request)?;
        Ok(Response::new(Box::pin($self.$by(&call, message)).await?))
    }};
}

#[tonic::async_trait]
impl AuditService for Audits {
    async fn publish_frame(
        &self,
        request: Request<pb::PublishFrameRequest>,
    ) -> Result<Response<pb::PublishFrameResponse>, Status> {
        answered!(self, request, publish)
    }

    async fn draw_sample(
        &self,
        request: Request<pb::DrawSampleRequest>,
    ) -> Result<Response<pb::DrawSampleResponse>, Status> {
        answered!(self, request, draw)
    }

    async fn get_frame(
        &self,
        request: Request<pb::GetFrameRequest>,
    ) -> Result<Response<pb::GetFrameResponse>, Status> {
        answered!(self, request, frame)
    }

    async fn list_frames(
        &self,
        request: Request<pb::ListFramesRequest>,
    ) -> Result<Response<pb::ListFramesResponse>, Status> {
        answered!(self, request, frames)
    }

    type ExportFrameStream = Pin<Box<dyn Stream<Item = Result<pb::ExportFrameResponse, Status>> + Send>>;

    async fn export_frame(
        &self,
        request: Request<pb::ExportFrameRequest>,
    ) -> Result<Response<Self::ExportFrameStream>, Status> {
        answered!(self, request, export)
    }

    async fn get_sample(
        &self,
        request: Request<pb::GetSampleRequest>,
    ) -> Result<Response<pb::GetSampleResponse>, Status> {
        answered!(self, request, sample)
    }

    async fn get_audit(
        &self,
        request: Request<pb::GetAuditRequest>,
    ) -> Result<Response<pb::GetAuditResponse>, Status> {
        answered!(self, request, audit)
    }

    async fn list_audits(
        &self,
        request: Request<pb::ListAuditsRequest>,
    ) -> Result<Response<pb::ListAuditsResponse>, Status> {
        answered!(self, request, audits)
    }

    async fn begin_audit_review(
        &self,
        request: Request<pb::BeginAuditReviewRequest>,
    ) -> Result<Response<pb::BeginAuditReviewResponse>, Status> {
        answered!(self, request, begin_review)
    }

    async fn record_audit_finding(
        &self,
        request: Request<pb::RecordAuditFindingRequest>,
    ) -> Result<Response<pb::RecordAuditFindingResponse>, Status> {
        answered!(self, request, find)
    }

    async fn close_audit(
        &self,
        request: Request<pb::CloseAuditRequest>,
    ) -> Result<Response<pb::CloseAuditResponse>, Status> {
        answered!(self, request, close)
    }

    async fn get_audit_quarter(
        &self,
        request: Request<pb::GetAuditQuarterRequest>,
    ) -> Result<Response<pb::GetAuditQuarterResponse>, Status> {
        answered!(self, request, quarter)
    }

    async fn list_audit_recoveries(
        &self,
        request: Request<pb::ListAuditRecoveriesRequest>,
    ) -> Result<Response<pb::ListAuditRecoveriesResponse>, Status> {
        answered!(self, request, recoveries)
    }

    async fn record_coding_review(
        &self,
        request: Request<pb::RecordCodingReviewRequest>,
    ) -> Result<Response<pb::RecordCodingReviewResponse>, Status> {
        answered!(self, request, review)
    }

    async fn list_coding_reviews(
        &self,
        request: Request<pb::ListCodingReviewsRequest>,
    ) -> Result<Response<pb::ListCodingReviewsResponse>, Status> {
        answered!(self, request, reviews)
    }

    async fn get_coding_accuracy(
        &self,
        request: Request<pb::GetCodingAccuracyRequest>,
    ) -> Result<Response<pb::GetCodingAccuracyResponse>, Status> {
        answered!(self, request, accuracy)
    }
}
