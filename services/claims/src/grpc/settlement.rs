//! Settlement over gRPC: which method is answered where.

use proto::claims::v1::{self as pb, settlement_service_server::SettlementService};
use tonic::{Request, Response, Status};

use super::{Claims, claim::answered};

#[tonic::async_trait]
impl SettlementService for Claims {
    async fn file_month(
        &self,
        request: Request<pb::FileMonthRequest>,
    ) -> Result<Response<pb::FileMonthResponse>, Status> {
        answered!(self, request, file)
    }

    async fn state_completeness(
        &self,
        request: Request<pb::StateCompletenessRequest>,
    ) -> Result<Response<pb::StateCompletenessResponse>, Status> {
        answered!(self, request, state)
    }

    async fn get_filing(
        &self,
        request: Request<pb::GetFilingRequest>,
    ) -> Result<Response<pb::GetFilingResponse>, Status> {
        answered!(self, request, one_filing)
    }

    async fn list_filings(
        &self,
        request: Request<pb::ListFilingsRequest>,
    ) -> Result<Response<pb::ListFilingsResponse>, Status> {
        answered!(self, request, filings)
    }

    async fn open_batch(
        &self,
        request: Request<pb::OpenBatchRequest>,
    ) -> Result<Response<pb::OpenBatchResponse>, Status> {
        answered!(self, request, begin_batch)
    }

    async fn post_claims(
        &self,
        request: Request<pb::PostClaimsRequest>,
    ) -> Result<Response<pb::PostClaimsResponse>, Status> {
        answered!(self, request, post)
    }

    async fn close_batch(
        &self,
        request: Request<pb::CloseBatchRequest>,
    ) -> Result<Response<pb::CloseBatchResponse>, Status> {
        answered!(self, request, close)
    }

    async fn record_payment(
        &self,
        request: Request<pb::RecordPaymentRequest>,
    ) -> Result<Response<pb::RecordPaymentResponse>, Status> {
        answered!(self, request, pay)
    }

    async fn get_batch(
        &self,
        request: Request<pb::GetBatchRequest>,
    ) -> Result<Response<pb::GetBatchResponse>, Status> {
        answered!(self, request, one_batch)
    }

    async fn list_batches(
        &self,
        request: Request<pb::ListBatchesRequest>,
    ) -> Result<Response<pb::ListBatchesResponse>, Status> {
        answered!(self, request, batches)
    }

    async fn list_batch_claims(
        &self,
        request: Request<pb::ListBatchClaimsRequest>,
    ) -> Result<Response<pb::ListBatchClaimsResponse>, Status> {
        answered!(self, request, batch_claims)
    }

    async fn record_recovery(
        &self,
        request: Request<pb::RecordRecoveryRequest>,
    ) -> Result<Response<pb::RecordRecoveryResponse>, Status> {
        answered!(self, request, recover)
    }

    async fn list_recoveries(
        &self,
        request: Request<pb::ListRecoveriesRequest>,
    ) -> Result<Response<pb::ListRecoveriesResponse>, Status> {
        answered!(self, request, recoveries)
    }

    async fn get_accounts(
        &self,
        request: Request<pb::GetAccountsRequest>,
    ) -> Result<Response<pb::GetAccountsResponse>, Status> {
        answered!(self, request, accounts)
    }

    async fn reconcile_settlement(
        &self,
        request: Request<pb::ReconcileSettlementRequest>,
    ) -> Result<Response<pb::ReconcileSettlementResponse>, Status> {
        answered!(self, request, reconcile)
    }
}
