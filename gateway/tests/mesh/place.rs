//! A gateway on a free port, with keys of its own, and clients of it.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    time::{Duration, Instant},
};

use chassis::{
    contract,
    identity::{Purpose, Signer, Verifier},
    reload::Reloaded,
};
use gateway::{Environment, Gateway, config};
use jiff::Timestamp;
use proto::feed::v1::{ReadEventsRequest, ReadEventsResponse, feed_service_client::FeedServiceClient};
use rcgen::KeyPair;
use tempfile::TempDir;
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::CancellationToken;
use tonic::{
    Request, Response, Status,
    metadata::MetadataMap,
    transport::{Channel, Endpoint},
};
use tonic_types::StatusExt;

pub(crate) type Client = FeedServiceClient<Channel>;

/// What differs between the gateways of the tests.
pub(crate) struct Plan {
    pub(crate) settings: String,
    pub(crate) deadline: Duration,
    pub(crate) most_calls: usize,
    pub(crate) stop_grace: Duration,
    pub(crate) server_tls: Option<Reloaded<rustls::ServerConfig>>,
    pub(crate) client_tls: Option<Reloaded<rustls::ClientConfig>>,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            settings: config::DEFAULTS
                .replace("connections-per-address = 4", "connections-per-address = 2")
                .replace("most-calls-per-service = 1000", "most-calls-per-service = 500"),
            deadline: Duration::from_secs(10),
            most_calls: 100,
            stop_grace: Duration::from_secs(2),
            server_tls: None,
            client_tls: None,
        }
    }
}

/// A running gateway.
pub(crate) struct Place {
    pub(crate) address: SocketAddr,
    pub(crate) stop: CancellationToken,
    pub(crate) ended: JoinHandle<()>,
    tokens: Signer,
    /// Checks what the gateway tells the services.
    pub(crate) assertions: Verifier,
    _keys: TempDir,
}

/// The address of every service of the contracts: one for all.
pub(crate) fn everywhere(address: SocketAddr) -> BTreeMap<String, String> {
    let names =
        contract::methods().map(|method| method.system.to_owned()).filter(|name| name != contract::FEED);
    names
        .chain(["claims".to_owned(), "referral".to_owned()])
        .map(|name| (name, format!("http://{address}")))
        .collect()
}

/// An address where nobody listens, and where no other test's server takes the port meanwhile.
pub(crate) async fn nobody() -> SocketAddr {
    TcpListener::bind("127.0.0.2:0").await.unwrap().local_addr().unwrap()
}

impl Place {
    pub(crate) async fn start(upstream: BTreeMap<String, String>, plan: Plan) -> Self {
        let (callers, assertions) = (key(), key());
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("callers.pem"), callers.public_key_pem()).unwrap();
        std::fs::write(folder.path().join("assertions.pem"), assertions.serialize_pem()).unwrap();
        let mut settings: config::Settings = toml::from_str(&plan.settings).unwrap();
        settings.caller_key = folder.path().join("callers.pem");
        settings.assertion_signing_key = folder.path().join("assertions.pem");
        let environment = Environment {
            upstream,
            server_tls: plan.server_tls,
            client_tls: plan.client_tls,
            deadline: plan.deadline,
            most_calls: plan.most_calls,
            stop_grace: plan.stop_grace,
        };
        let gateway = Gateway::build(settings, environment).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let ended = tokio::spawn(gateway::serve(listener, gateway, stop.clone()));
        Self {
            address,
            stop,
            ended,
            tokens: Signer::from_pem(&callers.serialize_pem(), Purpose::Token).unwrap(),
            assertions: Verifier::from_pem(&assertions.public_key_pem(), Purpose::Assertion).unwrap(),
            _keys: folder,
        }
    }

    pub(crate) async fn channel(&self) -> Channel {
        Endpoint::try_from(format!("http://{}", self.address)).unwrap().connect().await.unwrap()
    }

    pub(crate) async fn client(&self) -> Client {
        FeedServiceClient::new(self.channel().await).max_decoding_message_size(8_000_000)
    }

    /// A token that was valid from `issued` for a minute.
    pub(crate) fn token(&self, caller: &str, issued: Timestamp) -> String {
        self.tokens.sign(&caller.parse().unwrap(), issued, Duration::from_secs(60)).unwrap()
    }

    /// A call of BPJS-K to the feed of claims.
    pub(crate) fn call<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        put(
            request.metadata_mut(),
            "authorization",
            &format!("Bearer {}", self.token("bpjs:pusat", Timestamp::now())),
        );
        put(request.metadata_mut(), "jkn-service", "claims");
        request
    }

    /// Reads the feed of claims; the position makes the service behave.
    pub(crate) async fn read(&self, position: i64) -> Result<Response<ReadEventsResponse>, Status> {
        let request = self.call(ReadEventsRequest { after_position: position, limit: 0 });
        self.client().await.read_events(request).await
    }

    /// Reads the feed of another service.
    pub(crate) async fn read_of(
        &self,
        service: &str,
        position: i64,
    ) -> Result<Response<ReadEventsResponse>, Status> {
        let mut request = self.call(ReadEventsRequest { after_position: position, limit: 0 });
        put(request.metadata_mut(), "jkn-service", service);
        self.client().await.read_events(request).await
    }

    /// Waits until the service behind is connected.
    pub(crate) async fn ready(&self) {
        let until = Instant::now() + Duration::from_secs(10);
        while let Err(status) = self.read(0).await {
            assert!(Instant::now() < until, "not ready: {status:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

pub(crate) fn key() -> KeyPair {
    KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap()
}

pub(crate) fn put(metadata: &mut MetadataMap, key: &'static str, value: &str) {
    metadata.insert(key, value.parse().unwrap());
}

/// The metadata that the service got, in the answer to `read`.
pub(crate) fn seen<'a>(answer: &'a ReadEventsResponse, key: &str) -> Option<&'a str> {
    let found = answer.events.iter().find(|event| event.r#type == key)?;
    Some(std::str::from_utf8(&found.body).unwrap())
}

/// The documented reason of a refusal.
pub(crate) fn reason(status: &Status) -> String {
    let info = status.get_details_error_info().unwrap_or_else(|| panic!("no ErrorInfo in {status:?}"));
    assert_eq!(info.domain, "jkn");
    info.reason
}
