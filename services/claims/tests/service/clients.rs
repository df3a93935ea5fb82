//! Clients of the service, each with the name of its caller.

use proto::claims::v1::{
    accident_service_client::AccidentServiceClient, audit_service_client::AuditServiceClient,
    claim_service_client::ClaimServiceClient, coder_service_client::CoderServiceClient,
    dispute_service_client::DisputeServiceClient, eklaim_service_client::EklaimServiceClient,
    follow_up_service_client::FollowUpServiceClient, rule_service_client::RuleServiceClient,
    sep_approval_service_client::SepApprovalServiceClient, sep_service_client::SepServiceClient,
    settlement_service_client::SettlementServiceClient, work_service_client::WorkServiceClient,
};
use tonic::{
    Request, Status,
    service::{Interceptor, interceptor::InterceptedService},
    transport::Channel,
};

use crate::served::Served;

/// Puts the caller's name into each call.
#[derive(Clone)]
pub(crate) struct Named(pub(crate) &'static str);

impl Interceptor for Named {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        request.metadata_mut().insert("jkn-peer", self.0.parse().unwrap());
        Ok(request)
    }
}

/// What a client speaks over.
pub(crate) type Line = InterceptedService<Channel, Named>;

/// A client for SEPs.
pub(crate) type Seps = SepServiceClient<Line>;

impl Served {
    pub(crate) fn seps(&self, caller: &'static str) -> SepServiceClient<Line> {
        SepServiceClient::with_interceptor(self.channel.clone(), Named(caller))
    }

    pub(crate) fn claims(&self, caller: &'static str) -> ClaimServiceClient<Line> {
        ClaimServiceClient::with_interceptor(self.channel.clone(), Named(caller))
    }

    pub(crate) fn audits(&self, caller: &'static str) -> AuditServiceClient<Line> {
        AuditServiceClient::with_interceptor(self.channel.clone(), Named(caller))
    }

    pub(crate) fn follow_ups(&self, caller: &'static str) -> FollowUpServiceClient<Line> {
        FollowUpServiceClient::with_interceptor(self.channel.clone(), Named(caller))
    }

    pub(crate) fn approvals(&self, caller: &'static str) -> SepApprovalServiceClient<Line> {
        SepApprovalServiceClient::with_interceptor(self.channel.clone(), Named(caller))
    }

    pub(crate) fn disputes(&self, caller: &'static str) -> DisputeServiceClient<Line> {
        DisputeServiceClient::with_interceptor(self.channel.clone(), Named(caller))
    }

    pub(crate) fn work(&self, caller: &'static str) -> WorkServiceClient<Line> {
        WorkServiceClient::with_interceptor(self.channel.clone(), Named(caller))
    }

    pub(crate) fn settlement(&self, caller: &'static str) -> SettlementServiceClient<Line> {
        SettlementServiceClient::with_interceptor(self.channel.clone(), Named(caller))
    }

    pub(crate) fn rules(&self, caller: &'static str) -> RuleServiceClient<Line> {
        RuleServiceClient::with_interceptor(self.channel.clone(), Named(caller))
    }

    pub(crate) fn eklaim(&self, caller: &'static str) -> EklaimServiceClient<Line> {
        EklaimServiceClient::with_interceptor(self.channel.clone(), Named(caller))
    }

    pub(crate) fn coders(&self, caller: &'static str) -> CoderServiceClient<Line> {
        CoderServiceClient::with_interceptor(self.channel.clone(), Named(caller))
    }

    pub(crate) fn accidents(&self, caller: &'static str) -> AccidentServiceClient<Line> {
        AccidentServiceClient::with_interceptor(self.channel.clone(), Named(caller))
    }
}
