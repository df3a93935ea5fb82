//! Calls through the gateway, as an institution makes them.

use std::time::Duration;

use anyhow::Context;
use prost_reflect::{DynamicMessage, MethodDescriptor};
use tonic::{
    Request, Status,
    client::Grpc,
    metadata::{Ascii, MetadataValue},
    service::{Interceptor, interceptor::InterceptedService},
    transport::{Channel, Endpoint},
};
use tonic_types::StatusExt;

use crate::Mesh;

/// A deadline for calls that are not about deadlines.
pub const AMPLE: Duration = Duration::from_secs(10);

/// Shows a token with each call.
#[derive(Clone)]
pub struct Bearer(MetadataValue<Ascii>);

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        request.metadata_mut().insert("authorization", self.0.clone());
        Ok(request)
    }
}

/// A channel on which every call shows an institution's token.
pub type AsInstitution = InterceptedService<Channel, Bearer>;

impl Mesh {
    /// A channel to the gateway on which every call is this institution's, e.g. `hospital:0301R011`.
    ///
    /// # Errors
    /// When the institution is none.
    pub fn channel(&self, caller: &str) -> anyhow::Result<AsInstitution> {
        self.channel_to(0, caller)
    }

    /// The same, to one of several gateways.
    ///
    /// # Errors
    /// When there is no such gateway, or the institution is none.
    pub fn channel_to(&self, gateway: usize, caller: &str) -> anyhow::Result<AsInstitution> {
        let bearer = MetadataValue::try_from(format!("Bearer {}", self.token(caller)?))?;
        let address = self.gateways().into_iter().nth(gateway).context("no such gateway")?;
        let channel = Endpoint::from_shared(address)?.timeout(Duration::from_secs(30)).connect_lazy();
        Ok(InterceptedService::new(channel, Bearer(bearer)))
    }

    /// A channel to the gateway without an identity.
    ///
    /// # Errors
    /// When the address is none.
    pub fn anonymous(&self) -> anyhow::Result<Channel> {
        Ok(Endpoint::from_shared(self.gateway())?.timeout(Duration::from_secs(30)).connect_lazy())
    }
}

/// Calls any method with one message and takes the first answer; for streams of either side too.
///
/// # Errors
/// The status of the refusal.
pub async fn call_any(
    channel: AsInstitution,
    method: &MethodDescriptor,
    message: DynamicMessage,
    deadline: Duration,
) -> Result<Option<DynamicMessage>, Status> {
    use tonic::codegen::tokio_stream::{self, StreamExt};
    let mut grpc = Grpc::new(channel);
    grpc.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
    let path = format!("/{}/{}", method.parent_service().full_name(), method.name());
    let path = path.parse().map_err(|_| Status::internal("not a path"))?;
    let mut request = Request::new(tokio_stream::once(message));
    request.set_timeout(deadline);
    if method.parent_service().package_name() == "jkn.feed.v1" {
        request.metadata_mut().insert("jkn-service", MetadataValue::from_static("claims"));
    }
    let codec = codec::Dynamic { output: method.output() };
    let mut answers = grpc.streaming(request, path, codec).await?.into_inner();
    if method.is_server_streaming() {
        // A stream that is open and silent was accepted.
        return match tokio::time::timeout(Duration::from_millis(300), answers.next()).await {
            Err(_silent) => Ok(None),
            Ok(first) => first.transpose(),
        };
    }
    answers.next().await.transpose()
}

/// The reason of a refusal.
#[must_use]
pub fn reason(status: &Status) -> String {
    status.get_details_error_info().map(|info| info.reason).unwrap_or_default()
}

/// The fields that a refusal names.
#[must_use]
pub fn wrong_fields(status: &Status) -> Vec<String> {
    status
        .get_details_bad_request()
        .map(|bad| bad.field_violations.into_iter().map(|v| v.field).collect())
        .unwrap_or_default()
}

/// The methods of the mesh, from the descriptor set.
///
/// # Errors
/// When there are none.
pub fn methods() -> anyhow::Result<Vec<MethodDescriptor>> {
    let found: Vec<_> = proto::pool()
        .services()
        .filter(|s| s.package_name().starts_with("jkn."))
        .flat_map(|s| s.methods().collect::<Vec<_>>())
        .collect();
    found.first().context("no methods")?;
    Ok(found)
}

mod codec {
    use prost::{Message, bytes::Buf};
    use prost_reflect::{DynamicMessage, MessageDescriptor};
    use tonic::{
        Status,
        codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
    };

    /// Messages by their descriptor.
    pub(super) struct Dynamic {
        pub(super) output: MessageDescriptor,
    }

    impl Codec for Dynamic {
        type Encode = DynamicMessage;
        type Decode = DynamicMessage;
        type Encoder = Encode;
        type Decoder = Decode;

        fn encoder(&mut self) -> Encode {
            Encode
        }

        fn decoder(&mut self) -> Decode {
            Decode(self.output.clone())
        }
    }

    pub(super) struct Encode;

    impl Encoder for Encode {
        type Item = DynamicMessage;
        type Error = Status;

        fn encode(&mut self, item: DynamicMessage, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
            item.encode(buffer).map_err(|error| Status::internal(error.to_string()))
        }
    }

    pub(super) struct Decode(MessageDescriptor);

    impl Decoder for Decode {
        type Item = DynamicMessage;
        type Error = Status;

        fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<DynamicMessage>, Status> {
            let bytes = buffer.copy_to_bytes(buffer.remaining());
            DynamicMessage::decode(self.0.clone(), bytes)
                .map(Some)
                .map_err(|error| Status::internal(error.to_string()))
        }
    }
}
