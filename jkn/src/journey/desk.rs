//! The desks from which the journey calls: each call goes through the gateway, as the institution that would make it.

use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use chassis::Caller;
use proto::{
    accreditation::v1::{
        accreditation_service_client::AccreditationServiceClient,
        facility_service_client::FacilityServiceClient,
    },
    claims::v1::{
        claim_service_client::ClaimServiceClient, coder_service_client::CoderServiceClient,
        rule_service_client::RuleServiceClient, sep_service_client::SepServiceClient,
    },
    membership::v1::membership_service_client::MembershipServiceClient,
    primary_care::v1::primary_care_service_client::PrimaryCareServiceClient,
    referral::v1::referral_service_client::ReferralServiceClient,
    sismonev::v1::sismonev_service_client::SismonevServiceClient,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tonic::{
    Request, Status,
    metadata::{Ascii, MetadataValue},
    service::{Interceptor, interceptor::InterceptedService},
    transport::{Channel, Endpoint},
};

use super::cast::Person;
use crate::operate::Tokens;

/// How long one call may take.
const DEADLINE: Duration = Duration::from_secs(15);
/// How long a token of the journey is good.
const LIFETIME: Duration = Duration::from_secs(3600);

/// Shows the token of an institution with each call.
#[derive(Clone)]
pub(super) struct Seat(MetadataValue<Ascii>);

impl Interceptor for Seat {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        request.metadata_mut().insert("authorization", self.0.clone());
        request.set_timeout(DEADLINE);
        Ok(request)
    }
}

/// A connection on which an institution calls.
pub(super) type Line = InterceptedService<Channel, Seat>;

/// Every desk of the journey.
pub(super) struct Desks {
    channel: Channel,
    tokens: Tokens,
}

impl Desks {
    /// On a gateway; nothing is connected before the first call.
    pub(super) fn on(gateway: &str, tokens: Tokens) -> anyhow::Result<Self> {
        let endpoint = Endpoint::from_shared(gateway.to_owned())
            .with_context(|| format!("{gateway} is not an address, e.g. http://127.0.0.1:8080"))?;
        let channel = endpoint.connect_timeout(Duration::from_secs(5)).timeout(2 * DEADLINE).connect_lazy();
        Ok(Self { channel, tokens })
    }

    fn line(&self, caller: &str) -> anyhow::Result<Line> {
        let caller: Caller = caller.parse()?;
        let token = self.tokens.token(&caller, LIFETIME)?;
        let mut shown: MetadataValue<Ascii> = format!("Bearer {token}").parse()?;
        shown.set_sensitive(true);
        Ok(InterceptedService::new(self.channel.clone(), Seat(shown)))
    }

    pub(super) fn facilities(&self, caller: &str) -> anyhow::Result<FacilityServiceClient<Line>> {
        Ok(FacilityServiceClient::new(self.line(caller)?))
    }

    pub(super) fn accreditation(&self, caller: &str) -> anyhow::Result<AccreditationServiceClient<Line>> {
        Ok(AccreditationServiceClient::new(self.line(caller)?))
    }

    pub(super) fn membership(&self, caller: &str) -> anyhow::Result<MembershipServiceClient<Line>> {
        Ok(MembershipServiceClient::new(self.line(caller)?))
    }

    pub(super) fn primary_care(&self, caller: &str) -> anyhow::Result<PrimaryCareServiceClient<Line>> {
        Ok(PrimaryCareServiceClient::new(self.line(caller)?))
    }

    pub(super) fn referral(&self, caller: &str) -> anyhow::Result<ReferralServiceClient<Line>> {
        Ok(ReferralServiceClient::new(self.line(caller)?))
    }

    pub(super) fn seps(&self, caller: &str) -> anyhow::Result<SepServiceClient<Line>> {
        Ok(SepServiceClient::new(self.line(caller)?))
    }

    pub(super) fn claims(&self, caller: &str) -> anyhow::Result<ClaimServiceClient<Line>> {
        Ok(ClaimServiceClient::new(self.line(caller)?))
    }

    pub(super) fn rules(&self, caller: &str) -> anyhow::Result<RuleServiceClient<Line>> {
        Ok(RuleServiceClient::new(self.line(caller)?))
    }

    pub(super) fn coders(&self, caller: &str) -> anyhow::Result<CoderServiceClient<Line>> {
        Ok(CoderServiceClient::new(self.line(caller)?))
    }

    pub(super) fn sismonev(&self, caller: &str) -> anyhow::Result<SismonevServiceClient<Line>> {
        Ok(SismonevServiceClient::new(self.line(caller)?))
    }
}

/// An answer that may be missing in the contract but never is.
pub(super) fn given<T>(part: Option<T>) -> anyhow::Result<T> {
    part.ok_or_else(|| anyhow!("the answer lacks its main part"))
}

/// A key for one intended effect.
pub(super) fn key() -> String {
    uuid::Uuid::now_v7().to_string()
}

/// Tells the stand-in for the civil registry of people, so that it knows their NIK (docs/civil-registry.md).
pub(super) async fn tell_civil_registry(
    address: &str,
    people: impl Iterator<Item = &Person>,
) -> anyhow::Result<()> {
    let host = address
        .strip_prefix("http://")
        .context("the address of the civil registry must begin with http://")?;
    let host = host.trim_end_matches('/');
    let resident = |person: &Person| {
        serde_json::json!({
            "nik": person.nik.expose(),
            "name": person.name,
            "birth_date": person.birth_date.to_string(),
            "sex": if person.sex == proto::membership::v1::Sex::Female { "female" } else { "male" },
        })
    };
    let body = serde_json::Value::from_iter(people.map(resident)).to_string();
    let request = format!(
        "PUT /admin/residents HTTP/1.0\r\nhost: {host}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let ask = async {
        let mut stream = TcpStream::connect(host).await?;
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        anyhow::Ok(answer)
    };
    let answered =
        tokio::time::timeout(DEADLINE, ask).await.context("no answer in time").and_then(|answer| answer);
    let answer = answered.with_context(|| format!("the civil-registry stand-in at {address}"))?;
    let status = answer.split_whitespace().nth(1).unwrap_or_default();
    if !status.starts_with('2') {
        bail!("the civil-registry stand-in at {address} answered {status}");
    }
    Ok(())
}
